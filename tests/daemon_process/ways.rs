//! Ways out of the sandbox, each tried before a process is in it and after: what fails anyway would prove nothing.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use envelopefs::daemon::sandbox::{self, Needs, Reach, Sandbox};
use envelopefs::daemon::scout::{self, Scout};
use envelopefs::lookups::{Account, Lookups as _};
use rustix::mount::UnmountFlags;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::Pid;

/// What there is to be reached, and what not.
struct World {
    own: PathBuf,
    key: PathBuf,
    others: PathBuf,
    given: TcpListener,
    other: TcpListener,
    hidden: SocketAddr,
    _listens: UnixListener,
    sleeper: Child,
    scout: Scout,
}

type Way = (
    &'static str,
    fn(&World) -> io::Result<()>,
    &'static str,
    &'static str,
);

/// Its name, how it is gone, and what comes of it before and after.
const WAYS: &[Way] = &[
    (
        "a file of the volume",
        |world| fs::write(world.own.join("f"), "x"),
        "ok",
        "ok",
    ),
    ("a file into another folder of it", move_within, "ok", "ok"),
    ("a key file that was replaced", replaced_key, "ok", "ok"),
    ("a thread", |_| thread(), "ok", "ok"),
    (
        "a socket of this machine",
        |_| UnixDatagram::unbound().map(drop),
        "ok",
        "ok",
    ),
    ("a server's port", |world| connect(&world.given), "ok", "ok"),
    (
        "a program, by the scout",
        |world| world.scout.executable(world.sleeper.id()).map(drop),
        "ok",
        "ok",
    ),
    (
        "a user, by the scout",
        |world| world.scout.account(Account::User, "root").map(drop),
        "ok",
        "ok",
    ),
    (
        "a host, by the scout",
        |world| world.scout.addresses("localhost").map(drop),
        "ok",
        "ok",
    ),
    (
        "a file without a key, by the scout",
        |world| world.scout.key_file(Path::new("/etc/shadow")).map(drop),
        "EACCES",
        "EACCES",
    ),
    (
        "others' file",
        |world| fs::read(world.others.join("f")).map(drop),
        "ok",
        "EACCES",
    ),
    (
        "others' passwords",
        |_| fs::read("/etc/shadow").map(drop),
        "ok",
        "EACCES",
    ),
    (
        "others' folder",
        |world| fs::read_dir(&world.others).map(drop),
        "ok",
        "EACCES",
    ),
    (
        "a write into others' file",
        |world| append(&world.others.join("f")),
        "ok",
        "EACCES",
    ),
    (
        "a new file of others",
        |world| fs::write(world.others.join("new"), ""),
        "ok",
        "EACCES",
    ),
    (
        "a file out of the volume",
        move_out,
        "ok",
        "EACCES or EXDEV",
    ),
    (
        "a write where a key is read",
        |world| fs::write(world.key.join("new"), ""),
        "ok",
        "EACCES",
    ),
    (
        "another port",
        |world| connect(&world.other),
        "ok",
        "EACCES",
    ),
    (
        "a port to listen on",
        |_| TcpListener::bind("127.0.0.1:0").map(drop),
        "ok",
        "EACCES",
    ),
    (
        "a datagram",
        |_| UdpSocket::bind("127.0.0.1:0").map(drop),
        "ok",
        "EPERM or ENOSYS",
    ),
    (
        "the kernel's sockets",
        |_| socket(AddressFamily::NETLINK),
        "ok",
        "EPERM",
    ),
    (
        "a socket without a path",
        |world| UnixStream::connect_addr(&world.hidden).map(drop),
        "ok",
        "EPERM",
    ),
    (
        "a signal",
        |world| Ok(rustix::process::test_kill_process(pid(world))?),
        "ok",
        "EPERM or ENOSYS",
    ),
    (
        "another's program",
        |world| fs::read_link(of_sleeper(world, "exe")).map(drop),
        "ok",
        "EACCES",
    ),
    (
        "another's memory",
        |world| File::open(of_sleeper(world, "mem")).map(drop),
        "ok",
        "EACCES",
    ),
    (
        "a program",
        |_| Command::new("true").status().map(drop),
        "ok",
        "EPERM or ENOSYS",
    ),
    ("a call that no mount makes", |_| priority(), "ok", "ENOSYS"),
    ("its own processors", |_| bind(None), "ok", "ok"),
    (
        "another's processors",
        |world| bind(Some(pid(world))),
        "ok",
        "ENOSYS",
    ),
    (
        "a mount",
        |world| Ok(rustix::mount::mount_bind(&world.own, world.own.join("-"))?),
        "ENOENT",
        "EPERM",
    ),
    (
        "an unmount",
        |world| Ok(rustix::mount::unmount(&world.own, UnmountFlags::empty())?),
        "EINVAL",
        "EPERM",
    ),
    (
        "another root",
        |world| Ok(rustix::process::chroot(world.own.join("-"))?),
        "ENOENT",
        "EPERM",
    ),
    (
        "the host's name",
        |_| Ok(rustix::system::sethostname(&[b'x'; 100])?),
        "EINVAL",
        "EPERM",
    ),
];

fn move_within(world: &World) -> io::Result<()> {
    fs::create_dir_all(world.own.join("d"))?;
    fs::rename(world.own.join("f"), world.own.join("d/f"))
}

fn replaced_key(world: &World) -> io::Result<()> {
    fs::read(world.key.join("key")).map(drop)
}

fn thread() -> io::Result<()> {
    let thread = std::thread::Builder::new().spawn(|| fs::read("/etc/shadow").is_ok())?;
    thread
        .join()
        .map(drop)
        .map_err(|_panic| io::ErrorKind::Other.into())
}

fn connect(to: &TcpListener) -> io::Result<()> {
    TcpStream::connect(to.local_addr()?).map(drop)
}

fn append(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).open(path).map(drop)
}

fn move_out(world: &World) -> io::Result<()> {
    let own = world.own.join("leaves");
    fs::write(&own, "")?;
    fs::rename(own, world.others.join("left"))
}

fn socket(family: AddressFamily) -> io::Result<()> {
    Ok(rustix::net::socket(family, SocketType::RAW, None).map(drop)?)
}

fn pid(world: &World) -> Pid {
    Pid::from_raw(world.sleeper.id().cast_signed()).unwrap()
}

fn of_sleeper(world: &World, what: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{what}", world.sleeper.id()))
}

fn priority() -> io::Result<()> {
    Ok(rustix::process::getpriority_process(None).map(drop)?)
}

/// To those that it has.
fn bind(process: Option<Pid>) -> io::Result<()> {
    let own = rustix::thread::sched_getaffinity(None)?;
    Ok(rustix::thread::sched_setaffinity(process, &own)?)
}

fn errno(result: &io::Result<()>) -> String {
    let Err(error) = result else {
        return "ok".to_owned();
    };
    let known = [
        (libc::EACCES, "EACCES"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EPERM, "EPERM"),
        (libc::EXDEV, "EXDEV"),
    ];
    let name = known
        .iter()
        .find(|(errno, _)| Some(*errno) == error.raw_os_error());
    name.map_or_else(|| format!("{error:?}"), |(_, name)| (*name).to_owned())
}

/// Says what was not as it should be.
pub(crate) fn tried() -> String {
    let scout = match scout::start().unwrap() {
        scout::Beside::Scout(duty) => {
            duty.answer().unwrap();
            return String::new();
        }
        scout::Beside::Server(scout) => scout,
    };
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path(), scout);
    let before: Vec<String> = WAYS.iter().map(|way| errno(&way.1(&world))).collect();
    // Threads that are there before are in it as well: one that waits, and one that is asked for the worst afterwards.
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let _waits = std::thread::spawn(|| std::thread::sleep(Duration::from_mins(1)));
    let earlier = std::thread::spawn(move || {
        asked.recv().unwrap();
        errno(&fs::read("/etc/shadow").map(drop))
    });
    let standing = world.close();
    world.replace_key();
    let after: Vec<String> = WAYS.iter().map(|way| errno(&way.1(&world))).collect();
    ask.send(()).unwrap();
    let mut wrong = vec![format!(
        "{standing}, an earlier thread: {}",
        earlier.join().unwrap()
    )];
    for ((way, _, was, is), (before, after)) in WAYS.iter().zip(before.iter().zip(&after)) {
        if before != was || !is.split(" or ").any(|one| one == after) {
            wrong.push(format!("{way}: {before} → {after}"));
        }
    }
    assert_eq!(fs::read(world.key.join("key")).unwrap(), b"fresh");
    // It ends when nobody can tell it anything any more.
    drop(world.sleeper.stdin.take());
    world.sleeper.wait().unwrap();
    wrong.join("; ")
}

/// Another process: it replaces the key when it is told, and ends with this one.
fn another(key: &Path) -> Child {
    const SCRIPT: &str = r#"read now; mv "$0/fresh" "$0/key"; echo moved; read end"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT]).arg(key);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    shell.spawn().unwrap()
}

impl World {
    fn new(root: &Path, scout: Scout) -> Self {
        let [own, key, others] = ["own", "key", "others"].map(|name| root.join(name));
        for folder in [&own, &key, &others] {
            fs::create_dir(folder).unwrap();
        }
        for name in ["key", "fresh"] {
            fs::write(key.join(name), name).unwrap();
        }
        fs::write(others.join("f"), "secret").unwrap();
        let name = format!("envelopefs-test-{}", std::process::id());
        let hidden = SocketAddr::from_abstract_name(name).unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            given: bind(),
            other: bind(),
            _listens: UnixListener::bind_addr(&hidden).unwrap(),
            hidden,
            sleeper: another(&key),
            scout,
            own,
            key,
            others,
        }
    }

    fn close(&self) -> String {
        let needs = Needs {
            network: true,
            ..Needs::default()
        };
        let reduced = sandbox::reduce(Sandbox::Full, needs).unwrap();
        let mut reach = Reach::default();
        reach.read_file(&self.key.join("key"));
        let port = self.given.local_addr().unwrap().port();
        reach.ports = Some(BTreeSet::from([port]));
        let bounds = sandbox::bound(Sandbox::Full, needs, &self.own, reach).unwrap();
        let report = sandbox::close(Sandbox::Full, needs, bounds, reduced).unwrap();
        report.to_string().replace(&port.to_string(), "PORT")
    }

    /// As whoever rotates it does, outside the sandbox. The inode is another one then.
    fn replace_key(&mut self) {
        let (to, from) = (self.sleeper.stdin.as_mut(), self.sleeper.stdout.as_mut());
        to.unwrap().write_all(b"now\n").unwrap();
        from.unwrap().read_exact(&mut [0; 6]).unwrap();
    }
}
