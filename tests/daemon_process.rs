//! Going to the background and hardening, in real processes.
//!
//! Without the harness: it runs tests in threads, and a process with threads does not fork. Each
//! case runs in a process of its own, this program called again with [`CASE`] set.

#![expect(clippy::unwrap_used, reason = "a test program: to panic is to fail")]

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use envelopefs::daemon::background::{self, Readiness, Side, StartOutcome};
use envelopefs::daemon::harden;
use envelopefs::daemon::keeper::{self, Beside};
use envelopefs::daemon::unmount::Detach;

#[path = "daemon_process/ways.rs"]
mod ways;

const CASE: &str = "ENVELOPEFS_TEST_CASE";
const REPORT: &str = "ENVELOPEFS_TEST_REPORT";

fn main() {
    if let Ok(case) = std::env::var(CASE) {
        return run_case(&case);
    }
    if std::env::args().any(|argument| argument == "--list") {
        return say("daemon_process: test\n");
    }
    the_starter_ends_when_the_mount_works();
    the_starter_passes_an_error_on();
    the_starter_tells_of_a_child_that_vanished();
    a_process_with_threads_is_not_split();
    a_hardened_process_is_closed();
    who_is_in_the_sandbox_does_not_get_out();
    the_keeper_ends_with_who_it_is_for();
    say("daemon_process: 7 cases ok\n");
}

fn say(text: &str) {
    io::stdout().write_all(text.as_bytes()).unwrap();
}

fn case(name: &str, report: &Path) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(CASE, name)
        .env(REPORT, report)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = format!("{:?}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success(),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn the_starter_ends_when_the_mount_works() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    // `output` reads stdout until its last writer is gone: it returns at once only because the
    // child has let go of it.
    let start = Instant::now();
    assert_eq!(said(&case("works", &report)), "Works");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "the child holds on to the terminal"
    );
    assert_eq!(wait_for(&report), "own session, in /, stdio null");
}

fn wait_for(report: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match std::fs::read_to_string(report) {
            Ok(text) if !text.is_empty() => return text,
            _ => assert!(Instant::now() < end, "the child wrote nothing"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn the_starter_passes_an_error_on() {
    let told = said(&case("fails", Path::new("")));
    assert_eq!(told, "Failed { exit: 12, message: \"no: key\\n  → none\" }");
}

fn the_starter_tells_of_a_child_that_vanished() {
    let told = |name| said(&case(name, Path::new("")));
    assert_eq!(told("ends"), "Vanished { how: \"it ended with code 0\" }");
    assert_eq!(
        told("killed"),
        "Vanished { how: \"it was killed by signal 9\" }"
    );
}

fn a_process_with_threads_is_not_split() {
    assert!(said(&case("threads", Path::new(""))).contains("already has threads"));
}

fn a_hardened_process_is_closed() {
    let told = said(&case("hardened", Path::new("")));
    assert_eq!(told, "NotDumpable core 0 umask 0 files raised");
}

fn who_is_in_the_sandbox_does_not_get_out() {
    assert!(
        rustix::process::geteuid().is_root(),
        "needs root: run it as root"
    );
    assert_eq!(
        said(&case("sandboxed", Path::new(""))),
        "full; no programs, network allowed (TCP ports PORT), an earlier thread: EACCES"
    );
}

fn the_keeper_ends_with_who_it_is_for() {
    let told = said(&case("keeper", Path::new("")));
    assert!(
        told.starts_with("NotMounted") || told.starts_with("Refused"),
        "{told}"
    );
}

/// Nothing is mounted there; the keeper says so, and the drop waits for its end.
fn keeper() {
    let folder = tempfile::tempdir().unwrap();
    match keeper::start(folder.path()).unwrap() {
        Beside::Keeper(duty) => duty.keep().unwrap(),
        Beside::Server(keeper) => {
            let answer = keeper.unmount(Detach::Now).unwrap_err();
            drop(keeper);
            say(&format!("{answer:?}"));
        }
    }
}

fn run_case(name: &str) {
    match name {
        "keeper" => keeper(),
        "sandboxed" => say(&ways::tried()),
        "hardened" => say(&hardened()),
        "threads" => {
            let _thread = std::thread::spawn(|| std::thread::sleep(Duration::from_mins(1)));
            say(&background::split().unwrap_err().to_string());
        }
        _ => match background::split().unwrap() {
            Side::Starter(started) => say(&show(&started.wait())),
            Side::Mount(readiness) => be_the_child(name, readiness),
        },
    }
}

fn show(outcome: &StartOutcome) -> String {
    format!("{outcome:?}")
}

fn be_the_child(name: &str, readiness: Readiness) {
    match name {
        "works" => {
            readiness.works().unwrap();
            // The starter is gone by now; nobody but the report sees the rest.
            std::thread::sleep(Duration::from_secs(2));
            std::fs::write(std::env::var_os(REPORT).unwrap(), surroundings()).unwrap();
        }
        "fails" => assert!(readiness.failed(12, "no: key\n  → none")),
        "killed" => {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .unwrap();
        }
        _ => drop(readiness),
    }
}

fn surroundings() -> String {
    let own_session = rustix::process::getsid(None).unwrap() == rustix::process::getpid();
    let null = (0..3).all(|fd| {
        std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap() == Path::new("/dev/null")
    });
    let folder = std::env::current_dir().unwrap();
    let words = [
        if own_session {
            "own session"
        } else {
            "old session"
        },
        &format!("in {}", folder.display()),
        if null { "stdio null" } else { "stdio open" },
    ];
    words.join(", ")
}

fn hardened() -> String {
    use rustix::process::{Resource, getrlimit};
    let report = harden::harden().unwrap();
    let core = getrlimit(Resource::Core).maximum.unwrap();
    let umask = rustix::process::umask(rustix::fs::Mode::empty()).bits();
    let files = getrlimit(Resource::Nofile);
    let raised = files.current == files.maximum && report.open_files >= 1024;
    let dumpable = rustix::process::dumpable_behavior().unwrap();
    format!(
        "{dumpable:?} core {core} umask {umask} files {}",
        if raised { "raised" } else { "low" }
    )
}
