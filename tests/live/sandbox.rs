//! What the process of a mount may do no more, as the kernel tells of it.

use std::fs;

use crate::harness::{
    Mount, Volume, children_of, is_mounted, is_running, require_root, wait_until,
};

/// A field of the status of each thread of a process.
fn of_threads(pid: u32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon's threads");
    tasks
        .map(|task| task.expect("a thread").path().join("status"))
        .map(|path| {
            let text = fs::read_to_string(path).expect("a thread's status");
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            line.expect("a field that the kernel has").trim().to_owned()
        })
        .collect()
}

fn assert_all(mount: &Mount<'_>, field: &str, what: impl Fn(&str) -> bool) {
    let found = of_threads(mount.status().pid(), field);
    assert!(found.len() > 2, "{} threads", found.len());
    assert!(found.iter().all(|value| what(value)), "{field} {found:?}");
}

/// `CAP_SYS_MODULE`, `CAP_SYS_RAWIO`, `CAP_NET_ADMIN`, `CAP_SYS_BOOT`, `CAP_SYS_TIME`, `CAP_SETPCAP`, `CAP_SYS_PTRACE`.
const GONE: u64 = 1 << 16 | 1 << 17 | 1 << 12 | 1 << 22 | 1 << 25 | 1 << 8 | 1 << 19;

fn holds_little(set: &str) -> bool {
    u64::from_str_radix(set, 16).expect("a set of capabilities") & GONE == 0
}

#[test]
fn every_thread_is_in_the_sandbox() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--sandbox", "full", "--allow-other"]);
    fs::write(mount.path("f"), "content").expect("a file");
    assert_eq!(
        mount.status().text("/sandbox"),
        "full; no programs, network allowed"
    );
    assert_all(&mount, "NoNewPrivs:", |value| value == "1");
    assert_all(&mount, "Seccomp:", |value| value == "2");
    for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:", "CapInh:"] {
        assert_all(&mount, set, holds_little);
    }
    let mount = mount.again();
    assert_eq!(fs::read(mount.path("f")).expect("the file"), b"content");
}

/// Who looks for a mount that may not itself has that one capability, and ends with it.
#[test]
fn the_helper_that_looks_has_one_capability() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--sandbox", "full"]);
    let server = mount.status().pid();
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).expect("a name");
    let mut pids = children_of(server).into_iter();
    let scout = pids.find(|pid| name(pid).trim() == "envelopefs-look");
    let scout = scout.expect("the scout");
    assert_eq!(of_threads(scout, "CapEff:"), ["0000000000080000"]);
    assert_eq!(of_threads(scout, "NoNewPrivs:"), ["1"]);
    mount.unmount();
    wait_until("the end of the scout", || !is_running(scout));
}

#[test]
fn handles_leave_files_within_reach_and_it_is_told() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--sandbox", "full", "--export"]);
    assert_eq!(
        mount.status().text("/sandbox"),
        "full; no programs, network allowed, any file"
    );
}

#[test]
fn a_signal_still_unmounts() {
    let volume = Volume::create(&[]);
    let key = volume.key();
    let mount = volume.mount_with(&["--sandbox", "full", "--key", &key]);
    assert_eq!(
        mount.status().text("/sandbox"),
        "full; no programs, no network"
    );
    let pid = mount.status().pid();
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    // In use: the first signal leaves it, the second does not.
    let held = fs::File::create(mount.path("held")).expect("a file");
    let term = || rustix::process::kill_process(process, rustix::process::Signal::TERM);
    term().expect("a signal");
    wait_until("the refusal", || {
        fs::read_to_string(volume.log()).is_ok_and(|log| log.contains("could not unmount"))
    });
    assert!(is_mounted(mount.root()));
    drop(held);
    term().expect("a signal");
    wait_until("the unmount", || !is_mounted(mount.root()));
    wait_until("the end of the daemon", || !is_running(pid));
}

#[test]
fn the_sandbox_can_be_left_out() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["-o", "sandbox=off"]);
    assert_eq!(mount.status().text("/sandbox"), "off");
    assert_all(&mount, "Seccomp:", |value| value == "0");
    mount.unmount();
    volume.refuses_mount(&["--sandbox", "half"], 2, &["full or off"]);
}
