//! The README does what it says: its commands run, in their order, and print what stands below them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{clear_mountpoint, program, require_fuse, run, set_mode};

const README: &str = include_str!("../../README.md");
/// The home of the README's reader.
const ADA: &str = "/home/ada";

/// The contents of the fenced blocks of this kind, in their order.
pub(crate) fn blocks<'a>(document: &'a str, kind: &str) -> Vec<&'a str> {
    let opening = format!("\n```{kind}\n");
    let rest = document.split(opening.as_str()).skip(1);
    rest.map(|rest| rest.split("\n```").next().unwrap())
        .collect()
}

/// The part of a document below a heading of the second level.
pub(crate) fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document
        .find(&format!("\n## {heading}"))
        .expect("the heading")
        + 1;
    let rest = &document[start..];
    rest[3..].find("\n## ").map_or(rest, |end| &rest[..end + 3])
}

/// A line without what differs from run to run: ids, sealed names, paths, and memory that the machine grants.
fn normal(line: &str) -> String {
    let word = |word: &str| {
        let is_hex = word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex {
            "ID".to_owned()
        } else {
            without_sealed_names(word)
        }
    };
    let words: Vec<_> = line.split_whitespace().map(word).collect();
    let text = words.join(" ");
    match text.split_once("locked memory") {
        Some((before, _granted)) => format!("{before}locked memory"),
        None => text,
    }
}

fn without_sealed_names(path: &str) -> String {
    let is_sealed = |part: &&str| {
        let sealed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        part.len() >= 20 && part.trim_end_matches(':').bytes().all(sealed)
    };
    let part = |part: &str| {
        if is_sealed(&part) && part.ends_with(':') {
            "NAME:".to_owned()
        } else if is_sealed(&part) {
            "NAME".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Everything that `script` prints, with the home folder under the name that it has in the README.
pub(crate) fn output_of(script: &str, home: &Path) -> String {
    let path = std::env::var("PATH").unwrap();
    let own = program();
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script])
        .current_dir(home)
        .env("HOME", home)
        .env("LC_ALL", "C")
        .env(
            "PATH",
            format!("{}:{path}", own.parent().unwrap().display()),
        )
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("ENVELOPEFS_LOG");
    run(&mut bash).replace(&home.display().to_string(), ADA)
}

/// The home of a page's reader.
pub(crate) fn home() -> tempfile::TempDir {
    require_fuse();
    let home = tempfile::tempdir().unwrap();
    for folder in [home.path().to_owned(), home.path().join("run")] {
        fs::create_dir_all(&folder).unwrap();
        set_mode(&folder, 0o700);
    }
    home
}

/// What each script of a page prints, one run after the other; `count` of them must be there.
pub(crate) fn printed_by(page: &str, count: usize, home: &Path) -> Vec<String> {
    let scripts = blocks(page, "sh");
    assert_eq!(
        scripts.len(),
        count,
        "the page was rearranged: adapt this test"
    );
    let output = |script: &&str| output_of(script, home);
    scripts.iter().map(output).collect()
}

fn assert_prints(expected: &str, printed: &str) {
    let printed: Vec<_> = printed.lines().map(normal).collect();
    let mut rest = printed.iter();
    for line in expected.lines().filter(|line| line.trim() != "…") {
        let line = normal(line);
        assert!(
            rest.any(|printed| *printed == line),
            "the document has the line\n  {line}\nand this was printed:\n  {}",
            printed.join("\n  ")
        );
    }
}

#[test]
fn the_readme_does_what_it_says() {
    let home = home();
    let (commands, outputs) = (blocks(README, "sh"), blocks(README, "text"));
    assert!(
        commands.len() >= 4 && outputs.len() == 3,
        "the README was rearranged: adapt this test"
    );
    let _unmounts = Unmounts(home.path().join("secrets"));
    for (nth, script) in commands.iter().enumerate() {
        let printed = output_of(script, home.path());
        if let Some(expected) = outputs.get(nth) {
            assert_prints(expected, &printed);
        }
    }
}

#[test]
fn the_page_about_keys_does_what_it_says_of_rotation_and_more_keys() {
    let home = home();
    let _unmounts = Unmounts(home.path().join("office"));
    let page = section(include_str!("../../docs/KEYS.md"), "Rotation, more keys");
    let (commands, outputs) = (blocks(page, "sh"), blocks(page, "text"));
    assert_eq!((commands.len(), outputs.len()), (3, 3));
    for (script, expected) in commands.iter().zip(outputs) {
        assert_prints(expected, &output_of(script, home.path()));
    }
}

/// Unmounts when the test ends, however it ends.
pub(crate) struct Unmounts(pub(crate) PathBuf);

impl Drop for Unmounts {
    fn drop(&mut self) {
        clear_mountpoint(&self.0);
    }
}

#[test]
fn a_readme_that_says_something_else_is_found_out() {
    let printed = "2 folders, 1 file\n/home/ada/secrets.enc/9MWzrD7i9sAquwM3INuW9v9flod-k-U3\n";
    assert_prints("/home/ada/secrets.enc/AAAAAAAAAAAAAAAAAAAAAAAA", printed);
    for wrong in [
        "3 folders, 1 file",
        "/home/ada/elsewhere/AAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let result = std::panic::catch_unwind(|| assert_prints(wrong, printed));
        assert!(result.is_err(), "{wrong}");
    }
}
