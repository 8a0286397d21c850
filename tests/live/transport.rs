//! How requests come from the kernel: by /dev/fuse, or over io_uring where the kernel offers it.
//!
//! `scripts/test.sh io_uring` has the kernel offer it, and runs these tests and others once more.

use std::fs::{self, File};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::harness::{Mount, Volume, is_running, noise, run, shell, wait_until};

const OFFER: &str = "/sys/module/fuse/parameters/enable_uring";

/// Whether mounts of this machine get requests over io_uring.
fn is_offered() -> bool {
    fs::read_to_string(OFFER).is_ok_and(|text| text.trim() == "Y")
}

fn transport(volume: &Volume) -> String {
    let mut status = volume.envelopefs("status");
    let told = run(status.arg("--json").arg(volume.mountpoint()));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    told["transport"].as_str().unwrap().to_owned()
}

#[test]
fn a_mount_tells_how_requests_come_and_takes_no_other_way_than_it_was_told() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let expected = if is_offered() { "io_uring" } else { "dev" };
    assert_eq!(transport(&volume), expected);
    fs::write(mount.path("f"), "content").unwrap();
    let mount = mount.again_with(&["--transport", "dev"]);
    assert_eq!(transport(&volume), "dev");
    assert_eq!(fs::read(mount.path("f")).unwrap(), b"content");
    drop(mount);
    if is_offered() {
        let mount = volume.mount_with(&["-o", "transport=io_uring"]);
        assert_eq!(transport(&volume), "io_uring");
        assert_eq!(fs::read(mount.path("f")).unwrap(), b"content");
    } else {
        volume.refuses_mount(
            &["--transport", "io_uring"],
            16,
            &["enable_uring", "--transport auto"],
        );
    }
    volume.refuses_mount(&["--transport", "uring"], 2, &["auto, dev or io_uring"]);
}

fn seed(thread: usize, nth: usize) -> u64 {
    u64::try_from(thread * 16 + nth).unwrap()
}

/// Requests and replies of every length, from several threads at once, on whichever processor they run.
#[test]
fn what_many_threads_write_and_read_is_the_same() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let lengths = [
        0,
        1,
        4095,
        4096,
        131_071,
        131_072,
        131_073,
        1 << 20,
        5_000_001,
    ];
    let write = |thread: usize| {
        for (nth, len) in lengths.into_iter().enumerate() {
            let path = mount.path(&format!("{thread}-{nth}"));
            fs::write(&path, noise(seed(thread, nth), len)).unwrap();
        }
    };
    thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || write(thread));
        }
    });
    let mount = mount.again_with(&[]);
    let read = |thread: usize| {
        for (nth, len) in lengths.into_iter().enumerate() {
            let read = fs::read(mount.path(&format!("{thread}-{nth}"))).unwrap();
            let written = noise(seed(thread, nth), len);
            assert!(read == written, "{thread} {nth}");
        }
    };
    thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || read(thread));
        }
    });
    // A folder whose listing takes many replies.
    shell(
        mount.root(),
        "mkdir many && cd many && seq 3000 | xargs touch",
    );
    assert_eq!(fs::read_dir(mount.path("many")).unwrap().count(), 3000);
}

/// The threads end with the mount: with `umount`, with a detached mount's last user, with a kernel that is told to abort.
#[test]
fn the_daemon_ends_with_its_mount() {
    let volume = Volume::create(&[]);
    for how in [&["umount"][..], &["umount", "-l"], &["umount", "-f"]] {
        let mount = volume.mount();
        fs::write(mount.path("f"), how.concat()).unwrap();
        let pid = mount.status().pid();
        let mut umount = Command::new(how[0]);
        run(umount.args(&how[1..]).arg(volume.mountpoint()));
        wait_until("the daemon ends", || !is_running(pid));
        drop(mount);
    }
}

/// The scheduling policies of the daemon's threads (proc(5), the 41st field of `stat`): 0 SCHED_OTHER, 5 SCHED_IDLE.
fn policies(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats =
        threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).ok());
    let policy = |stat: String| {
        // The second field may hold spaces.
        let (_, from_third) = stat.rsplit_once(") ").unwrap();
        from_third.split(' ').nth(41 - 3).unwrap().parse().unwrap()
    };
    stats.map(policy).collect()
}

const SCHED_IDLE: u32 = 5;

/// Names that are not there, each asked for once: short requests, one after the other.
fn ask_in_vain(mount: &Mount<'_>, names: Range<u32>) {
    for nth in names {
        assert!(!mount.path(&format!("none-{nth}")).exists());
    }
}

/// Calls `ask` on each processor in turn: a thread of the daemon's hears of requests that are made on its own.
fn on_each_processor(mut ask: impl FnMut()) {
    let before = sched_getaffinity(None).unwrap();
    for processor in (0..CpuSet::MAX_CPU).filter(|nth| before.is_set(*nth)) {
        let mut alone = CpuSet::new();
        alone.set(processor);
        sched_setaffinity(None, &alone).unwrap();
        ask();
    }
    sched_setaffinity(None, &before).unwrap();
}

/// Processes that want as many processors as there are.
struct Hogs(Vec<Child>);

impl Hogs {
    fn on_all_processors() -> Self {
        let count = thread::available_parallelism().unwrap().get();
        let hog = |_nth| {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
        };
        Self((0..count).map(|nth| hog(nth).unwrap()).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _gone = hog.kill().and_then(|()| hog.wait());
        }
    }
}

/// A thread that would keep its processor from whom it answers gives way to him; one that others would keep from its
/// work does not.
#[test]
fn threads_give_way_while_a_processor_is_idle_and_not_while_all_are_wanted() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let pid = mount.status().pid();
    let gives_way = || policies(pid).contains(&SCHED_IDLE);
    let mut asked = 0;
    let mut ask = |count| {
        ask_in_vain(&mount, asked..asked + count);
        asked += count;
    };
    if is_offered() && thread::available_parallelism().unwrap().get() > 1 {
        // Other tests want the processors too, but not all the time.
        let begin = Instant::now();
        while !gives_way() {
            assert!(
                begin.elapsed() < Duration::from_secs(90),
                "no thread ever gave way: that takes CAP_SYS_NICE or CAP_SYS_RESOURCE"
            );
            ask(500);
        }
    } else {
        ask(5000);
        assert!(!gives_way());
    }
    let hogs = Hogs::on_all_processors();
    thread::sleep(Duration::from_millis(100));
    on_each_processor(|| ask(1000));
    assert!(!gives_way(), "{:?}", policies(pid));
    drop(hogs);
}

/// A file system that writes nothing until this is dropped: who asks it to waits.
struct Frozen(PathBuf);

impl Frozen {
    fn freeze(folder: PathBuf) -> Self {
        run(Command::new("fsfreeze").arg("-f").arg(&folder));
        Self(folder)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _thawed = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
    }
}

/// A command on the first processor alone.
fn on_one_processor(command: &[&str]) -> Command {
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", "0"]).args(command);
    taskset
}

/// Whether the process is in fallocate(2).
fn waits(child: &Child) -> bool {
    let call = fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap_or_default();
    // Its number on x86-64.
    call.starts_with("285 ")
}

/// What waits for a disk holds up only who asked for it, also where requests of one processor come to one thread.
#[test]
fn a_disk_that_stands_still_holds_up_nobody_who_does_not_need_it() {
    let volume = Volume::unmade();
    let disk = volume.home().join("disk");
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&disk));
    fs::create_dir(volume.cipher_dir()).unwrap();
    let mut loop_mount = Command::new("mount");
    run(loop_mount
        .args(["-o", "loop"])
        .arg(&disk)
        .arg(volume.cipher_dir()));
    fs::remove_dir(volume.cipher_dir().join("lost+found")).unwrap();
    volume.init(&[]);
    let mount = volume.mount();
    fs::write(mount.path("f"), "content").unwrap();
    File::open(mount.path("f")).unwrap().sync_all().unwrap();
    let frozen = Frozen::freeze(volume.cipher_dir());
    let path = mount.path("f").display().to_string();
    let mut waiting = on_one_processor(&["fallocate", "-l", "1M", &path])
        .spawn()
        .unwrap();
    wait_until("somebody waits for the disk", || waits(&waiting));
    for _ in 0..20 {
        // Not waited for at once: a request that the daemon has is waited for even by who is killed.
        let mut other = on_one_processor(&["stat", "-f", &path]);
        let mut other = other.stdout(Stdio::null()).spawn().unwrap();
        wait_until("another request's answer", || {
            other.try_wait().unwrap().is_some()
        });
    }
    assert!(waits(&waiting), "the disk did not stand still");
    drop(frozen);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(fs::metadata(mount.path("f")).unwrap().len(), 1 << 20);
}
