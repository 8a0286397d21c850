//! Tests in processes of their own: a module, and what it reads of its environment, belong to the
//! process.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a test may take: one that stands still fails, and keeps nobody waiting.
const TEST_MAX: Duration = Duration::from_secs(300);

/// Runs the test that calls this in a process of its own, with more in its environment; `test` is what
/// that process will run.
pub(super) fn run<F>(_test: &F, environment: &[(&str, &OsStr)]) {
    let name = std::any::type_name::<F>();
    let name = name
        .split_once("::")
        .unwrap()
        .1
        .trim_end_matches("::{{closure}}");
    // A file and no pipe: what a test has started and not stopped would hold a pipe open.
    let output = tempfile::NamedTempFile::new().unwrap();
    let written = output.reopen().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .envs(environment.iter().copied())
        .stdout(written.try_clone().unwrap())
        .stderr(written)
        .process_group(0)
        .spawn()
        .unwrap();
    let status = ended(&mut child);
    let text = std::fs::read(output.path()).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(
        status.success() && text.contains("1 passed"),
        "{name} ended with {status}:\n{text}"
    );
}

/// Waits for the test, and ends what it has started besides.
fn ended(test: &mut Child) -> ExitStatus {
    let group = Pid::from_child(test);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = test.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > TEST_MAX {
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    // There is nobody left where all is well.
    let _nobody = kill_process_group(group, Signal::KILL);
    status.unwrap_or_else(|| test.wait().unwrap())
}
