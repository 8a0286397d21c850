//! Python with the packages that tests judge by: `scripts/test.sh test` makes it.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The interpreter of the tools' virtual environment.
pub(crate) fn interpreter() -> PathBuf {
    program("python3")
}

/// A program of the tools' virtual environment.
pub(crate) fn program(name: &str) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = || {
        let home = || variable("HOME").unwrap().join(".cache");
        variable("XDG_CACHE_HOME").unwrap_or_else(home)
    };
    let tools = variable("ENVELOPEFS_TOOLS").unwrap_or_else(|| cache().join("envelopefs/tools"));
    let program = tools.join("python/bin").join(name);
    assert!(
        program.exists(),
        "{} is missing: run scripts/test.sh test, which makes it with moto, botocore, OpenBao and others from PyPI",
        program.display()
    );
    program
}

/// What a script prints, given this input.
pub(crate) fn run(script: &str, input: &str) -> String {
    let mut child = Command::new(interpreter())
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(
        output.status.success(),
        "a Python script failed; does the virtual environment lack a package? Run scripts/test.sh test, which installs them"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Ends the process when its standard input ends: with this process, however that ends.
const UNTIL_INPUT_ENDS: &str = "
import os, sys, threading
def until_input_ends():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=until_input_ends, daemon=True).start()
";

/// A server written in Python, which lives as long as this process.
pub(crate) struct Server {
    /// What it printed first.
    pub(crate) first_line: String,
    _child: Child,
}

impl Server {
    /// Starts a script and waits for the first line that it prints.
    pub(crate) fn start(script: &str) -> Self {
        let mut child = Command::new(interpreter())
            .args(["-c", &format!("{UNTIL_INPUT_ENDS}{script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first_line).unwrap();
        assert!(
            !first_line.is_empty(),
            "a server in Python ended at once; does the virtual environment lack a package? Run scripts/test.sh test, which installs them"
        );
        Self {
            first_line: first_line.trim().to_owned(),
            _child: child,
        }
    }
}
