//! `status`, `umount` and the check of the mount point against live mounts: an empty FUSE file
//! system under this program's type, with a real control socket.
//!
//! Without the harness: the process that serves a mount is this program, called again with
//! [`SERVE`] set, so that it can be killed.

#![expect(clippy::unwrap_used, reason = "a test program: to panic is to fail")]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, UNIX_EPOCH};

use envelopefs::daemon::control;
use envelopefs::daemon::mountpoint::{self, Contents, MountpointError};
use envelopefs::daemon::mounts;
use envelopefs::daemon::runs::{Event, RunFailure, RunReport, RunRequest};
use envelopefs::daemon::signals;
use envelopefs::daemon::status::MountStatus;
use envelopefs::daemon::unmount::{self, Detach};
use fuser::{
    Config, FileAttr, FileHandle, FileType, Filesystem, INodeNo, MountOption, ReplyAttr, Session,
};

const SERVE: &str = "ENVELOPEFS_TEST_SERVE";
/// What the served mount "writes" after its unmount: `umount` must wait for it.
const WRITING: Duration = Duration::from_millis(700);

/// A mount that tells this, and is not locked.
struct Told(serde_json::Value);

impl control::Served for Told {
    fn status(&self) -> serde_json::Value {
        self.0.clone()
    }

    fn lock(&self, _uid: u32) {}

    fn unlock(&self, _passphrase: Option<&[u8]>, _uid: u32) -> Result<(), control::NotUnlocked> {
        Ok(())
    }

    fn run(
        &self,
        _request: &RunRequest,
        _tell: &mut dyn FnMut(Event) -> bool,
    ) -> Result<RunReport, RunFailure> {
        Ok(RunReport::default())
    }

    fn policy(
        &self,
        _call: control::PolicyCall,
        _uid: u32,
    ) -> Result<Option<String>, control::PolicyRefusal> {
        let why = "no policy here".to_owned();
        Err(control::PolicyRefusal::Other(why))
    }
}

fn main() {
    if let Some(mountpoint) = std::env::var_os(SERVE) {
        return serve(Path::new(&mountpoint));
    }
    if std::env::args().any(|argument| argument == "--list") {
        return say("daemon_mount: test\n");
    }
    status_shows_what_the_daemon_tells();
    umount_waits_until_all_is_written();
    a_busy_mount_stays_and_goes_lazily();
    a_dead_mount_is_listed_unmounted_and_replaced();
    a_second_mount_on_top_is_refused();
    a_signal_unmounts();
    say("daemon_mount: 6 cases ok\n");
}

fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

/// A folder and nothing in it.
struct Empty;

impl Filesystem for Empty {
    fn getattr(&self, _: &fuser::Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attr = FileAttr {
            ino,
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::Directory,
            perm: 0o755,
            nlink: 2,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&Duration::ZERO, &attr);
    }
}

fn session(mountpoint: &Path) -> Session<Empty> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("/cipher dir".to_owned()),
        // By `Subtype` the kernel would not learn of it where root mounts.
        MountOption::CUSTOM("subtype=envelopefs".to_owned()),
        MountOption::DefaultPermissions,
    ];
    Session::new(Empty, mountpoint, &config).unwrap()
}

fn serve(mountpoint: &Path) {
    let session = session(mountpoint).spawn().unwrap();
    let status = MountStatus {
        mountpoint: mountpoint.display().to_string(),
        pid: std::process::id(),
        ..MountStatus::default()
    };
    let told = serde_json::to_value(status).unwrap();
    let control = control::serve(mountpoint, &(Arc::new(Told(told)) as _)).unwrap();
    let (sender, ended) = mpsc::channel();
    let place = mountpoint.to_owned();
    let unmount = move |_| unmount::unmount(&place, Detach::Now).unwrap();
    let _signals = signals::on_termination(unmount, || {}).unwrap();
    std::thread::spawn(move || sender.send(session.join().is_ok()));
    say("ready\n");
    ended.recv().unwrap();
    std::thread::sleep(WRITING);
    control.finish();
}

struct Served {
    process: Child,
    place: PathBuf,
    _dir: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = std::fs::canonicalize(dir.path()).unwrap().join("a mount");
        std::fs::create_dir(&place).unwrap();
        let process = Self::serve_at(&place);
        Self {
            process,
            place,
            _dir: dir,
        }
    }

    fn serve_at(place: &Path) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut process = command
            .env(SERVE, place)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        std::io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut line).unwrap();
        process
    }

    fn is_mounted(&self) -> bool {
        let mounts = mounts::read().unwrap();
        mounts::at(&mounts, &self.place).is_some_and(mounts::Mount::is_ours)
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.is_mounted() {
            drop(unmount::unmount(&self.place, Detach::Lazily));
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn envelopefs(arguments: &[&str], place: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_envelopefs"));
    command.args(arguments).arg(place).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output
        .status
        .code()
        .unwrap_or_else(|| panic!("{}", told(output)))
}

fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn status_shows_what_the_daemon_tells() {
    let served = Served::start();
    let output = envelopefs(&["status", "--json"], &served.place);
    assert_eq!(code(&output), 0, "{}", told(&output));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["pid"], served.process.id());
    let output = envelopefs(&["status"], &served.place);
    assert!(
        told(&output).contains(&served.place.display().to_string()),
        "{}",
        told(&output)
    );
}

fn umount_waits_until_all_is_written() {
    let mut served = Served::start();
    let start = Instant::now();
    let output = envelopefs(&["umount"], &served.place);
    assert_eq!((code(&output), told(&output).as_str()), (0, ""));
    assert!(start.elapsed() >= WRITING, "umount did not wait");
    assert!(!served.is_mounted());
    assert!(
        served.process.try_wait().unwrap().is_some(),
        "the process is still there"
    );
    assert_eq!(code(&envelopefs(&["umount"], &served.place)), 18);
}

fn a_busy_mount_stays_and_goes_lazily() {
    let mut served = Served::start();
    let user = File::open(&served.place).unwrap();
    let output = envelopefs(&["umount"], &served.place);
    assert_eq!(code(&output), 19, "{}", told(&output));
    assert!(told(&output).contains("lsof"), "{}", told(&output));
    assert!(served.is_mounted());
    assert_eq!(code(&envelopefs(&["umount", "--lazy"], &served.place)), 0);
    assert!(!served.is_mounted());
    assert!(
        served.process.try_wait().unwrap().is_none(),
        "its user is still there"
    );
    drop(user);
    assert!(served.process.wait().unwrap().success());
}

fn a_dead_mount_is_listed_unmounted_and_replaced() {
    let mut served = Served::start();
    served.kill();
    assert!(served.is_mounted());
    let output = envelopefs(&["status"], &served.place);
    assert_eq!(code(&output), 23, "{}", told(&output));
    let cipherdir = tempfile::tempdir().unwrap();
    let place = mountpoint::check(&served.place, cipherdir.path(), Contents::Nothing).unwrap();
    assert!(!served.is_mounted());
    // Its socket is still there; the next mount takes its place.
    served.process = Served::serve_at(&place);
    assert_eq!(code(&envelopefs(&["status"], &place)), 0);
    served.kill();
    let output = envelopefs(&["umount"], &place);
    assert_eq!(code(&output), 0, "{}", told(&output));
    assert!(!served.is_mounted());
}

fn a_second_mount_on_top_is_refused() {
    let served = Served::start();
    let cipherdir = tempfile::tempdir().unwrap();
    let refused = mountpoint::check(&served.place, cipherdir.path(), Contents::Nothing);
    assert!(
        matches!(refused, Err(MountpointError::AlreadyMounted(_))),
        "{refused:?}"
    );
}

fn a_signal_unmounts() {
    let mut served = Served::start();
    let pid = rustix::process::Pid::from_child(&served.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(served.process.wait().unwrap().success());
    assert!(!served.is_mounted());
}
