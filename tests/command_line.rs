//! The program as a shell sees it: exit codes, stdout, stderr.

#![expect(clippy::unwrap_used, reason = "a test program: to panic is to fail")]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_envelopefs"))
        .args(arguments)
        .output()
        .unwrap()
}

fn run_as(name: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_envelopefs"))
        .arg0(name)
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_goes_to_stdout_and_names_the_exit_codes() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("EXIT STATUS"));
    assert!(output.stderr.is_empty());
}

#[test]
fn wrong_command_lines_end_with_2_and_say_so_on_stderr() {
    for arguments in [
        &[][..],
        &["frob"],
        &["umount"],
        &["mount", "a", "b", "-o", "zap"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn an_unknown_mount_option_is_named_with_advice() {
    let text = stderr(&run(&["mount", "a", "b", "-o", "ro,zap=1"]));
    assert!(
        text.starts_with("envelopefs: cannot follow the mount options: "),
        "{text}"
    );
    assert!(
        text.contains("\"zap\"") && text.contains("\n  → "),
        "{text}"
    );
}

#[test]
fn umount_and_status_of_what_is_not_mounted_end_with_18() {
    for command in ["umount", "status"] {
        let output = run(&[command, "/proc"]);
        assert_eq!(output.status.code(), Some(18), "{}", stderr(&output));
        assert!(stderr(&output).contains("/proc"));
    }
}

#[test]
fn status_in_json_is_an_array() {
    let output = run(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(status.is_array());
}

#[test]
fn speed_measures_every_block_size() {
    let output = run(&["speed", "--time", "1s", "--json", "-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 18);
}

#[test]
fn the_helper_s_name_changes_how_arguments_are_read() {
    let fake = run_as("mount.envelopefs", &["/c", "/m", "-f", "-o", "rw,nofail"]);
    assert_eq!(fake.status.code(), Some(0), "{}", stderr(&fake));
    let wrong = run_as("mount.envelopefs", &["/c", "/m", "-f", "-o", "zap"]);
    assert_eq!(wrong.status.code(), Some(2));
    let sloppy = run_as("mount.envelopefs", &["/c", "/m", "-sf", "-o", "zap"]);
    assert_eq!(sloppy.status.code(), Some(0));
}

#[test]
fn a_malformed_filter_in_the_environment_is_a_usage_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_envelopefs"));
    let output = command
        .arg("status")
        .env("ENVELOPEFS_LOG", "envelopefs=lots")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("ENVELOPEFS_LOG"));
}
