//! The man pages are as man(1) and mandoc(1) want them, and there is one for every command.

#![cfg(feature = "kms")]
#![expect(clippy::unwrap_used, reason = "a test program: to panic is to fail")]

#[path = "../examples/manuals/pages.rs"]
mod pages;
#[path = "../examples/manuals/written.rs"]
mod written;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use clap::CommandFactory as _;
use tempfile::TempDir;

fn output(command: &mut Command, package: &str) -> Output {
    let program = command.get_program().to_owned();
    command
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}: install the Debian package {package}",
                program.display()
            )
        })
}

fn written_pages() -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let pages = pages::all("2026-01-31").unwrap();
    for page in &pages {
        fs::write(folder.path().join(&page.file), &page.text).unwrap();
    }
    (folder, pages.into_iter().map(|page| page.file).collect())
}

#[test]
fn mandoc_finds_nothing_to_say() {
    let (folder, files) = written_pages();
    let mut mandoc = Command::new("mandoc");
    // Pages of the other packages need not be installed here.
    mandoc
        .args(["-T", "lint", "-W", "style"])
        .args(&files)
        .current_dir(&folder);
    let said = output(&mut mandoc, "mandoc");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "");
    assert!(said.status.success());
}

#[test]
fn man_warns_of_nothing_and_shows_the_text() {
    let (folder, files) = written_pages();
    for file in &files {
        let mut man = Command::new("man");
        man.args(["--warnings", "--local-file", file])
            .current_dir(&folder);
        let said = output(man.env("MANWIDTH", "80"), "man-db");
        assert_eq!(String::from_utf8_lossy(&said.stderr), "", "{file}");
        let text = String::from_utf8_lossy(&said.stdout);
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"] {
            assert!(
                text.lines().any(|line| line == heading),
                "{file}: no {heading}:\n{text}"
            );
        }
    }
}

#[test]
fn every_command_has_a_page_and_every_page_is_referred_to() {
    let files: BTreeSet<String> = written_pages().1.into_iter().collect();
    for mut program in [
        envelopefs::cli::args::Cli::command().disable_help_subcommand(true),
        envelopefs::cli::kms::args::Cli::command().disable_help_subcommand(true),
    ] {
        program.build();
        let mut open = vec![&program];
        while let Some(command) = open.pop() {
            let name = command.get_display_name().unwrap_or(command.get_name());
            assert!(files.contains(&format!("{name}.1")), "{name}");
            open.extend(command.get_subcommands());
        }
    }
    assert!(files.contains("mount.envelopefs.8"));
}

#[test]
fn the_programs_pages_tell_every_exit_code_and_where_files_lie() {
    use envelopefs::cli::exit::Program;
    let pages = pages::all("2026-01-31").unwrap();
    let text = |file: &str| &pages.iter().find(|page| page.file == file).unwrap().text;
    for (file, program) in [
        ("envelopefs.1", Program::Fs),
        ("envelopekms.1", Program::Kms),
    ] {
        for exit in program.exits() {
            let row = format!(".TP\n\\fB{}\\fR\n", exit.number());
            assert!(text(file).contains(&row), "{file}: {}", exit.number());
        }
        for heading in ["ENVIRONMENT", "FILES", "EXAMPLES"] {
            assert!(
                text(file).contains(&format!(".SH \"{heading}\"\n")),
                "{file}: {heading}"
            );
        }
    }
    assert!(text("mount.envelopefs.8").contains("\\fBallow_other\\fR"));
}
