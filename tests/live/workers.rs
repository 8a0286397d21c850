//! Processes of the tests' own: this very program, started again to run one ignored test.

use std::env;
use std::process::{Child, Command, Stdio};

/// Tells a worker what to do.
const TASK: &str = "ENVELOPEFS_TEST_TASK";

/// Starts the ignored test `name` in a process of its own.
pub(crate) fn start(name: &str, task: &str) -> Worker {
    let program = env::current_exe().expect("the test's own program");
    let child = Command::new(program)
        .args(["--ignored", "--exact", name])
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    Worker {
        child: child.expect("a process"),
    }
}

/// What this worker was started to do.
pub(crate) fn task() -> String {
    env::var(TASK).expect("a worker is started by the test that it is a part of")
}

/// Killed when dropped.
pub(crate) struct Worker {
    child: Child,
}

impl Worker {
    /// Waits for the worker's end, which must be a good one.
    pub(crate) fn finish(mut self) {
        let status = self.child.wait().expect("the worker's end");
        assert!(status.success(), "a worker failed: {status}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
