//! Tests in processes of their own: a module, and what it reads of its environment, belong to the
//! process.

use std::ffi::OsStr;
use std::process::Command;

/// Runs the test that calls this in a process of its own, with more in its environment; `test` is what
/// that process will run.
pub(super) fn run<F>(_test: &F, environment: &[(&str, &OsStr)]) {
    let name = std::any::type_name::<F>();
    let name = name
        .split_once("::")
        .unwrap()
        .1
        .trim_end_matches("::{{closure}}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name}:\n{text}"
    );
}
