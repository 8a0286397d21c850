//! Two daemons that serve one volume, as on two hosts.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Mount, Volume, clear_mountpoint, errno, is_running, run, shell, wait_until};

/// A volume for two mounts: the second has its own mount point and runtime folder, and the same ciphertext and key.
fn pair() -> (Volume, Volume) {
    let one = Volume::create(&[]);
    let other = Volume::unmade();
    symlink(one.cipher_dir(), other.cipher_dir()).unwrap();
    symlink(one.keyring(), other.keyring()).unwrap();
    (one, other)
}

fn mount(volume: &Volume) -> Mount<'_> {
    volume.mount_with(&["--shared"])
}

fn is_whole(volume: &Volume) {
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}

fn append_to(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

fn update(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// A Python program in a process of its own, with `path` as its first argument; what it prints is read line by line.
struct Script {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Script {
    fn start(program: &str, path: &Path) -> Self {
        let prelude = "import fcntl, os, signal, sys, time, struct\npath = sys.argv[1]\n\
                       def say(word): print(word, flush=True)\n";
        let mut child = Command::new("python3")
            .arg("-c")
            .arg([prelude, program].concat())
            .arg(path)
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next line that it prints.
    fn heard(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[test]
fn processes_of_two_mounts_write_unaligned_records_into_the_same_chunks() {
    const RECORD: usize = 137;
    const RECORDS: usize = 1500;
    const WRITERS: usize = 4;
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), []).unwrap();
    thread::scope(|scope| {
        for nth in 0..WRITERS {
            let file = update(&[&one, &other][nth % 2].path("f"));
            scope.spawn(move || {
                for record in (nth..RECORDS).step_by(WRITERS) {
                    let fill = [record as u8 ^ 0x55; RECORD];
                    file.write_all_at(&fill, (record * RECORD) as u64).unwrap();
                }
            });
        }
    });
    let expected: Vec<u8> = (0..RECORD * RECORDS)
        .map(|at| (at / RECORD) as u8 ^ 0x55)
        .collect();
    for mount in [&one, &other] {
        assert!(fs::read(mount.path("f")).unwrap() == expected);
    }
    one.unmount();
    other.unmount();
    is_whole(&here);
}

#[test]
fn appenders_of_two_mounts_lose_no_line() {
    const LINES: usize = 400;
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    thread::scope(|scope| {
        for nth in 0..4 {
            let mut log = append_to(&[&one, &other][nth % 2].path("log"));
            scope.spawn(move || {
                for line in 0..LINES {
                    let text = format!("{nth} {line} {}\n", "x".repeat(line % 90));
                    log.write_all(text.as_bytes()).unwrap();
                }
            });
        }
    });
    for mount in [&one, &other] {
        let text = fs::read_to_string(mount.path("log")).unwrap();
        assert_eq!(text.lines().count(), 4 * LINES);
        for nth in 0..4 {
            let own = text
                .lines()
                .filter(|line| line.starts_with(&nth.to_string()));
            let expected = |line: usize| format!("{nth} {line} {}", "x".repeat(line % 90));
            assert!(own.eq((0..LINES).map(expected)), "writer {nth}");
        }
    }
    one.unmount();
    other.unmount();
    is_whole(&here);
}

/// Appends until it has done so often enough.
const APPENDS: &str = "
for _ in range(300):
    f = os.open(path, os.O_WRONLY | os.O_APPEND)
    for _ in range(10): os.write(f, b'a' * 300)
    os.close(f)
say('done')
";

/// Reads the end of the file, through the kernel's cache, for as long as it lives.
const FOLLOWS: &str = "
say('reads')
while True:
    f = os.open(path, os.O_RDONLY)
    for _ in range(20): os.pread(f, 8192, max(0, os.fstat(f).st_size - 6000))
    os.close(f)
";

/// Takes a mount away by force unless `done` goes away in time: what waits for an answer fails, and ends.
fn end_after_a_minute(mount: &Mount<'_>, done: mpsc::Receiver<()>) -> thread::JoinHandle<()> {
    let root = mount.root().to_owned();
    thread::spawn(move || {
        if done.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            run(Command::new("umount").args(["-f", "-l"]).arg(root));
        }
    })
}

/// What is appended lies elsewhere than this kernel takes it to, since the other mount appends too: pages are dropped
/// all the time that others read. No thread that serves reads may wait for that.
#[test]
fn who_appends_and_who_follows_the_end_never_wait_for_each_other() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("log"), "").unwrap();
    let (all_went_well, done) = mpsc::channel();
    let watchdog = end_after_a_minute(&one, done);
    let elsewhere = Script::start(&APPENDS.repeat(100), &other.path("log"));
    let mut followers = [(); 3].map(|()| Script::start(FOLLOWS, &one.path("log")));
    for follower in &mut followers {
        assert_eq!(follower.heard(), "reads");
    }
    let mut appenders = [(); 2].map(|()| Script::start(APPENDS, &one.path("log")));
    for appender in &mut appenders {
        assert_eq!(appender.heard(), "done", "the mount stood still");
    }
    drop(all_went_well);
    watchdog.join().unwrap();
    for follower in followers {
        follower.kill();
    }
    elsewhere.kill();
    let len = fs::metadata(one.path("log")).unwrap().len();
    assert!(len >= 2 * 3000 * 300 && len.is_multiple_of(300), "{len}");
    one.unmount();
    other.unmount();
    is_whole(&here);
}

#[test]
fn a_reader_never_fails_while_another_mount_writes_and_cuts() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), vec![0; 50_000]).unwrap();
    let (writer, reader) = (update(&one.path("f")), update(&other.path("f")));
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for round in 1..=150_u8 {
                writer.write_all_at(&vec![round; 50_000], 0).unwrap();
                writer.set_len(20_000 + u64::from(round)).unwrap();
            }
        });
        while !writing.is_finished() {
            let mut found = vec![0; 1000];
            for at in [0, 7_777, 18_000] {
                reader.read_exact_at(&mut found, at).unwrap();
            }
            assert!(fs::read(other.path("f")).unwrap().len() >= 20_000);
        }
    });
    drop((writer, reader));
    one.unmount();
    other.unmount();
    is_whole(&here);
}

#[test]
fn what_one_mount_closed_the_other_opens() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    for round in 0..100_usize {
        let (writer, reader) = if round % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let text = vec![b'a' + (round % 26) as u8; (round * 311) % 9000];
        fs::write(writer.path("f"), &text).unwrap();
        assert!(fs::read(reader.path("f")).unwrap() == text, "round {round}");
        let size = File::open(reader.path("f"))
            .unwrap()
            .metadata()
            .unwrap()
            .len();
        assert_eq!(size, text.len() as u64);
    }
}

#[test]
fn a_file_saved_by_renaming_over_it_is_opened_new_at_once() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), "0").unwrap();
    for round in 1..30 {
        assert_eq!(
            fs::read_to_string(other.path("f")).unwrap(),
            (round - 1).to_string()
        );
        let held = File::open(other.path("f")).unwrap();
        fs::write(one.path("new"), round.to_string()).unwrap();
        fs::rename(one.path("new"), one.path("f")).unwrap();
        assert_eq!(
            fs::read_to_string(other.path("f")).unwrap(),
            round.to_string()
        );
        let mut old = String::new();
        (&held).read_to_string(&mut old).unwrap();
        assert_eq!(old, (round - 1).to_string());
        assert_eq!(held.metadata().unwrap().size(), old.len() as u64);
    }
    fs::rename(one.path("f"), one.path("g")).unwrap();
    wait_until("the renamed file", || {
        other.path("g").exists() && !other.path("f").exists()
    });
    fs::remove_file(other.path("g")).unwrap();
    wait_until("the removal", || !one.path("g").exists());
}

#[test]
fn files_made_by_both_mounts_at_once_are_one() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    for round in 0..60 {
        let name = format!("f{round}");
        thread::scope(|scope| {
            for (nth, mount) in [&one, &other].into_iter().enumerate() {
                let path = mount.path(&name);
                scope.spawn(move || {
                    let mut file = append_to(&path);
                    file.write_all(&[b'0' + nth as u8]).unwrap();
                });
            }
        });
        let mut text = fs::read(one.path(&name)).unwrap();
        text.sort_unstable();
        assert_eq!(text, b"01", "{name}");
        let exclusive = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(other.path(&name));
        assert_eq!(errno(exclusive), libc::EEXIST);
    }
}

const TAKE: &str = "
f = open(path, 'r+')
lock(f)
say('has')
sys.stdin.readline()
";

/// How each kind of lock is taken, all of the file.
const KINDS: [&str; 2] = [
    "def lock(f, more=0): fcntl.lockf(f, fcntl.LOCK_EX | more)\n",
    "def lock(f, more=0): fcntl.flock(f, fcntl.LOCK_EX | more)\n",
];

fn tries(kind: &str, path: &Path) -> bool {
    let program = format!(
        "{kind}
try: lock(open(path, 'r+'), fcntl.LOCK_NB); say('has')
except BlockingIOError: say('not')
"
    );
    Script::start(&program, path).heard() == "has"
}

#[test]
fn locks_exclude_between_mounts_wait_and_end_with_their_process() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), "content").unwrap();
    for kind in KINDS {
        let mut holder = Script::start(&[kind, TAKE].concat(), &one.path("f"));
        assert_eq!(holder.heard(), "has");
        assert!(!tries(kind, &other.path("f")), "between mounts: {kind}");
        assert!(!tries(kind, &one.path("f")), "within one: {kind}");
        let mut waiter = Script::start(&[kind, TAKE].concat(), &other.path("f"));
        let (before, end) = (Instant::now(), Duration::from_millis(300));
        holder.go_on();
        holder.end();
        assert_eq!(waiter.heard(), "has");
        assert!(before.elapsed() < 10 * end);
        assert!(!tries(kind, &one.path("f")), "granted: {kind}");
        waiter.kill();
        wait_until("the lock of the dead", || tries(kind, &one.path("f")));
    }
}

#[test]
fn a_waiter_that_is_killed_or_interrupted_goes_and_gets_no_lock() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), "content").unwrap();
    for kind in KINDS {
        let mut holder = Script::start(&[kind, TAKE].concat(), &one.path("f"));
        assert_eq!(holder.heard(), "has");
        for path in [one.path("f"), other.path("f")] {
            let waits = "f = open(path, 'r+')\nsay('waits')\nlock(f)\nsay('has')\ntime.sleep(60)\n";
            let mut killed = Script::start(&[kind, waits].concat(), &path);
            assert_eq!(killed.heard(), "waits");
            thread::sleep(Duration::from_millis(100));
            let before = Instant::now();
            killed.kill();
            assert!(before.elapsed() < Duration::from_secs(5));
            let alarmed = "
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
f = open(path, 'r+')
signal.setitimer(signal.ITIMER_REAL, 0.2)
try: lock(f); say('has')
except Alarm: say('interrupted')
";
            let mut alarmed = Script::start(&[kind, alarmed].concat(), &path);
            assert_eq!(alarmed.heard(), "interrupted");
        }
        holder.go_on();
        holder.end();
        assert!(tries(kind, &one.path("f")), "held for nobody: {kind}");
    }
}

#[test]
fn flock_and_fcntl_locks_do_not_exclude_each_other() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), "content").unwrap();
    let both = "
f = open(path, 'r+')
fcntl.flock(f, fcntl.LOCK_EX)
fcntl.lockf(f, fcntl.LOCK_EX)
say('has')
sys.stdin.readline()
open(path).close()
say('closed another')
sys.stdin.readline()
";
    let mut holder = Script::start(both, &one.path("f"));
    assert_eq!(holder.heard(), "has", "it waits for itself");
    for kind in KINDS {
        assert!(!tries(kind, &one.path("f")) && !tries(kind, &other.path("f")));
    }
    // Who closes any descriptor of the file loses his fcntl locks, and keeps the other kind.
    holder.go_on();
    assert_eq!(holder.heard(), "closed another");
    for path in [one.path("f"), other.path("f")] {
        assert!(tries(KINDS[0], &path));
        assert!(!tries(KINDS[1], &path));
    }
    holder.go_on();
    holder.end();
    wait_until("the flock of the ended", || {
        tries(KINDS[1], &other.path("f"))
    });
}

/// As it belongs to the open file: others that share it hold it too, and the last of them lets go.
#[test]
fn a_flock_belongs_to_the_open_file() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), "content").unwrap();
    let forks = "
f = open(path)
fcntl.flock(f, fcntl.LOCK_EX)
g = open(path)
try: fcntl.flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB); say('twice')
except BlockingIOError: say('by one open file alone')
g.close()
if os.fork() == 0:
    sys.stdin.readline()
    fcntl.flock(f, fcntl.LOCK_SH)
    say('shared')
    sys.stdin.readline()
    os._exit(0)
f.close()
say('closed here')
os.wait()
";
    let shares = "
try: fcntl.flock(open(path), fcntl.LOCK_SH | fcntl.LOCK_NB); say('has')
except BlockingIOError: say('not')
";
    let has = |program, path: &Path| Script::start(program, path).heard() == "has";
    let mut holder = Script::start(forks, &one.path("f"));
    assert_eq!(holder.heard(), "by one open file alone");
    assert_eq!(holder.heard(), "closed here");
    assert!(!has(shares, &other.path("f")) && !tries(KINDS[1], &one.path("f")));
    holder.go_on();
    assert_eq!(holder.heard(), "shared");
    assert!(has(shares, &other.path("f")) && has(shares, &one.path("f")));
    assert!(!tries(KINDS[1], &other.path("f")));
    holder.go_on();
    holder.end();
    wait_until("the last holder's end", || {
        tries(KINDS[1], &other.path("f"))
    });
}

#[test]
fn both_holders_of_a_shared_flock_may_want_it_alone() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), "content").unwrap();
    let upgrades = "
f = open(path, 'r+')
fcntl.flock(f, fcntl.LOCK_SH)
say('shared')
sys.stdin.readline()
fcntl.flock(f, fcntl.LOCK_EX)
say('alone')
";
    let mut both = [&one, &other].map(|mount| Script::start(upgrades, &mount.path("f")));
    for holder in &mut both {
        assert_eq!(holder.heard(), "shared");
    }
    for holder in &mut both {
        holder.go_on();
    }
    for mut holder in both {
        assert_eq!(holder.heard(), "alone");
        holder.end();
    }
}

/// The signal is the process's: which of its threads takes it the kernel decides, and tells the daemon.
#[test]
fn a_waiter_in_another_thread_than_the_first_can_be_interrupted() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), "content").unwrap();
    for kind in KINDS {
        let mut holder = Script::start(&[kind, TAKE].concat(), &one.path("f"));
        assert_eq!(holder.heard(), "has");
        let call = match kind == KINDS[0] {
            true => "fcntl(f.fileno(), 7, struct.pack('hhqqi4x', 1, 0, 0, 0, 0))",
            false => "flock(f.fileno(), 2)",
        };
        let waits = format!(
            "
import ctypes, errno, threading
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
f = open(path, 'r+')
def wait():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    say(os.getpid())
    result = libc.{call}
    say('has' if result == 0 else errno.errorcode[ctypes.get_errno()])
thread = threading.Thread(target=wait)
thread.start()
thread.join()
"
        );
        for path in [one.path("f"), other.path("f")] {
            let mut waiter = Script::start(&waits, &path);
            let pid = waiter.heard().parse().ok().and_then(Pid::from_raw).unwrap();
            // Once it waits: a signal before that is no interrupt of it.
            let (ended, told) = mpsc::channel::<()>();
            let signalling = thread::spawn(move || {
                while told.recv_timeout(Duration::from_millis(100))
                    == Err(mpsc::RecvTimeoutError::Timeout)
                {
                    let _gone = kill_process(pid, Signal::USR1);
                }
            });
            assert_eq!(waiter.heard(), "EINTR");
            drop(ended);
            signalling.join().unwrap();
            waiter.end();
        }
        holder.go_on();
        holder.end();
    }
}

#[test]
fn more_waiters_than_threads_hold_nobody_up() {
    let (here, there) = pair();
    let one = here.mount_with(&["--shared", "--threads", "2"]);
    let other = there.mount_with(&["--shared", "--threads", "2"]);
    fs::write(one.path("f"), "content").unwrap();
    let (take, path) = ([KINDS[0], TAKE].concat(), other.path("f"));
    let mut holder = Script::start(&take, &one.path("f"));
    assert_eq!(holder.heard(), "has");
    let queue = [KINDS[0], "lock(open(path, 'r+'))\nsay('had')\n"].concat();
    let mut waiters: Vec<_> = (0..8).map(|_| Script::start(&queue, &path)).collect();
    thread::sleep(Duration::from_millis(500));
    shell(
        other.root(),
        "for n in $(seq 20); do echo $n > g$n; done; timeout 20 cat f g*",
    );
    holder.go_on();
    holder.end();
    for waiter in &mut waiters {
        assert_eq!(waiter.heard(), "had");
    }
}

#[test]
fn byte_ranges_stand_side_by_side_and_tell_their_holder() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    fs::write(one.path("f"), "content").unwrap();
    let holds = "
f = open(path, 'r+')
fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
say(os.getpid())
sys.stdin.readline()
open(path).close()
say('closed another')
sys.stdin.readline()
";
    let asks = "
f = open(path, 'r+')
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 15)
found = fcntl.fcntl(f, fcntl.F_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
kind, _, start, length, pid = struct.unpack('hhqqi4x', found)
say(f'{kind == fcntl.F_WRLCK} {start} {length} {pid}')
";
    let mut holder = Script::start(holds, &one.path("f"));
    let pid = holder.heard();
    assert_eq!(
        Script::start(asks, &one.path("f")).heard(),
        format!("True 5 10 {pid}")
    );
    assert_eq!(Script::start(asks, &other.path("f")).heard(), "True 5 10 0");
    holder.go_on();
    assert_eq!(holder.heard(), "closed another");
    assert!(tries(KINDS[0], &other.path("f")));
    holder.end();
}

#[test]
fn a_killed_daemon_leaves_its_locks_and_the_other_goes_on() {
    let (here, there) = pair();
    let (one, other) = (mount(&here), mount(&there));
    for round in 0..5 {
        let victim = if round == 0 {
            None
        } else {
            Some(mount(&there))
        };
        let victim = victim.as_ref().unwrap_or(&other);
        fs::write(one.path("f"), vec![1; 30_000]).unwrap();
        let mut holder = Script::start(&[KINDS[0], TAKE].concat(), &victim.path("f"));
        assert_eq!(holder.heard(), "has");
        let mut log = append_to(&victim.path("log"));
        let writing = thread::spawn(move || while log.write_all(&[b'v'; 777]).is_ok() {});
        let mut own = append_to(&one.path("log"));
        for _ in 0..20 {
            own.write_all(&[b'o'; 555]).unwrap();
        }
        let daemon = victim.status().pid();
        let pid = Pid::from_raw(i32::try_from(daemon).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        wait_until("the daemon to end", || !is_running(daemon));
        writing.join().unwrap();
        own.write_all(&[b'e'; 555]).unwrap();
        let log = fs::read(one.path("log")).unwrap();
        assert!(log.ends_with(&[b'e'; 555]));
        assert!(log.iter().all(|byte| b"voe\0".contains(byte)));
        assert!(tries(KINDS[0], &one.path("f")), "locks of a dead daemon");
        holder.kill();
        clear_mountpoint(victim.root());
    }
    drop(other);
    one.unmount();
    is_whole(&here);
}
