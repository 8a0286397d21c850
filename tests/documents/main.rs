//! Every command in every document is run by a test, or says why none does, and is one that programs and scripts know.
//!
//! What stands above a block says which it is: `markdown.rs`. Nothing is run here: that the commands do what the pages say
//! is for the tests that [`RUNNERS`] names.

#![cfg(feature = "kms")]
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod judge;
mod known;
mod markdown;
mod shell;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use judge::judge;
use known::Known;

/// What runs the blocks of pages: of each page that one of these names, all.
const RUNNERS: &[&str] = &[
    "tests/live/pages.rs",
    "tests/live/awskms.rs",
    "tests/live/kmip.rs",
    "tests/kms_command_line/hsm.rs",
    "scripts/package-test.sh",
];

/// Folders that hold no documents of the project.
const FOREIGN: &[&str] = &["target", "vendor", ".git"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents, by their paths below the project's folder.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            let is_foreign = FOREIGN.iter().any(|foreign| path == Path::new(foreign));
            if root().join(&path).is_dir() && !is_foreign {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_command_of_every_document_is_run_or_says_why_not() {
    let known = Known::of(root(), RUNNERS);
    let documents = documents();
    assert!(documents.len() > 40, "found only {documents:?}");
    let judged = documents.iter().flat_map(|path| {
        let text = fs::read_to_string(root().join(path)).unwrap();
        judge(path, &text, &known)
    });
    let found: Vec<String> = judged.collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_example_of_help_is_one_that_the_programs_take() {
    let known = Known::of(root(), RUNNERS);
    let mut examples = 0;
    let mut found = Vec::new();
    let mut open = vec![
        envelopefs::cli::args::Cli::command(),
        envelopefs::cli::kms::args::Cli::command(),
    ];
    while let Some(command) = open.pop() {
        let help = command
            .get_after_long_help()
            .or(command.get_after_help())
            .map(|help| help.to_string())
            .unwrap_or_default();
        let (_, shown) = help.split_once("EXAMPLES:").unwrap_or_default();
        let shown = shown.split("\n\nENVIRONMENT").next().unwrap_or_default();
        let commands = shell::commands(shown);
        let commands = commands
            .iter()
            .filter(|words| words[0].starts_with("envelope"));
        examples += commands.clone().count();
        found.extend(commands.filter_map(|words| known.finding(words, false)));
        open.extend(command.get_subcommands().cloned());
    }
    assert!(examples > 50, "found only {examples}");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// What is found in a page that no test runs.
fn found_in(text: &str) -> String {
    judge("docs/NEW.md", text, &Known::of(root(), RUNNERS)).join("\n")
}

fn assert_found(text: &str, words: &str) {
    let found = found_in(text);
    assert!(found.contains(words), "{text}\n→ {found:?}");
}

/// A block of commands that is not run, for a good reason.
fn not_run(commands: &str) -> String {
    format!("# Page\n\n<!-- not run: it takes a cloud -->\n```sh\n{commands}\n```\n")
}

#[test]
fn a_block_that_nothing_runs_is_found() {
    assert_found(
        "```sh\ntrue\n```\n",
        "docs/NEW.md:1: no test runs this block",
    );
    assert_found("<!-- not run: -->\n```sh\ntrue\n```\n", "needs a reason");
    assert_found(
        "<!-- not run: it takes a cloud -->\n\nWords.\n\n```sh\ntrue\n```\n",
        ":5: no test runs",
    );
    let run = judge(
        "docs/KEYS.md",
        "```sh\ntrue\n```\n",
        &Known::of(root(), RUNNERS),
    );
    assert_eq!(run, [""; 0]);
    assert_eq!(found_in(&not_run("true")), "");
}

#[test]
fn a_section_that_the_packages_test_is_not_told_of_is_found() {
    let text = "## Going\n```sh\ntrue\n```\n## Coming\n```sh\ntrue\n```\n";
    let found = judge("docs/INSTALL.md", text, &Known::of(root(), RUNNERS));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("docs/INSTALL.md:6") && found[0].contains("Coming"),
        "{found:?}"
    );
}

#[test]
fn commands_that_hide_are_found() {
    for kind in ["bash", "console", "shell", ""] {
        assert_found(&format!("```{kind}\ntrue\n```\n"), "is no kind of block");
    }
    assert_found(
        "Do this:\n\n    envelopefs status\n",
        "docs/NEW.md:3: indented",
    );
    assert_eq!(found_in("* one\n\n    of a list\n"), "");
    for hidden in [
        "$ ls",
        "envelopefs status",
        "systemctl start nginx",
        "scripts/test.sh",
    ] {
        assert_found(
            &format!("```text\n{hidden}\n```\n"),
            "commands in a block of text",
        );
    }
    assert_found(
        "<!-- not run: no reason at all -->\n```text\nx\n```\n",
        "only of commands",
    );
}

#[test]
fn what_the_programs_do_not_know_is_found() {
    for (wrong, words) in [
        ("envelopefs frobnicate /a", "frobnicate"),
        ("envelopefs mount --fast /a /b", "--fast"),
        ("envelopefs mount /a", "required"),
        ("envelopefs mount --key=file:///k --fast /a /b", "--fast"),
        ("sudo env A=B envelopefs mount --fast /a /b", "--fast"),
        (
            "runuser -u envelopekms -- envelopekms serve --wrong",
            "--wrong",
        ),
        ("envelopefs init ~/a --key nothing-known:", "nothing-known"),
        ("sudo envelopefs mount --fast /a /b", "--fast"),
        (
            "true && x=$(envelopefs status --wrong | head -1)",
            "--wrong",
        ),
        ("echo \"$(envelopefs inspect --wrong x)\"", "--wrong"),
        ("if envelopefs check --wrong x; then true; fi", "--wrong"),
        ("envelopekms serve --wrong", "--wrong"),
        ("envelopekms key make", "make"),
    ] {
        assert_found(&not_run(wrong), words);
    }
    assert_found(
        "```ini\n[Service]\nExecStart=/usr/bin/envelopefs mount --fast /a /b\n```\n",
        "--fast",
    );
    assert_found("Use `envelopefs mount --fast`.\n", "docs/NEW.md:1: ");
    assert_found("Use `envelopekms frobnicate`.\n", "frobnicate");
    assert_found(
        "Set `ENVELOPEFS_NO_SUCH_THING=1`.\n",
        "ENVELOPEFS_NO_SUCH_THING",
    );
}

#[test]
fn what_the_programs_know_is_not() {
    let right = "cd ~ # envelopefs frobnicate\n\
        echo 'envelopefs frobnicate'; apt-get install envelopefs\n\
        (umask 077; envelopefs init ~/a \\\n    --key \"file://$HOME/k.json\" > log 2>&1) && envelopefs --version\n\
        cat <<END\nenvelopefs frobnicate\nEND\n\
        until envelopefs status ~/b >/dev/null; do sleep 1; done";
    assert_eq!(found_in(&not_run(right)), "");
    let inline = "`envelopefs COMMAND --help`, `envelopefs rewrap`, `envelopefs slots add`, `envelopefs mount --shared`\n";
    assert_eq!(found_in(inline), "");
}

#[test]
fn scripts_and_targets_that_are_not_there_are_found() {
    for (wrong, words) in [
        ("scripts/none.sh", "scripts/none.sh is not there"),
        ("scripts/console.py", "cannot be run"),
        ("scripts/crash.sh --forever", "does not know --forever"),
        ("scripts/test.sh shell painting", "does not know painting"),
        ("ENVELOPEFS_KILLS=1 scripts/none.sh", "not there"),
        ("cp packaging/none /etc", "packaging/none is not there"),
        ("cargo test --test none", "tests/none"),
        ("cargo bench --bench none", "benches/none"),
        ("cargo test --lib nowhere::", "src/nowhere"),
        ("cargo test --test live -- nowhere::", "tests/live/nowhere"),
    ] {
        assert_found(&not_run(wrong), words);
    }
    assert_found("`scripts/crash.sh --forever`\n", "--forever");
    let right = "scripts/crash.sh --long\nscripts/test.sh shell fmt\ncargo test --test live kill::\ncargo bench --bench chunk";
    assert_eq!(found_in(&not_run(right)), "");
}

/// Numbers that several decisions have.
fn doubles(names: &[String]) -> Vec<String> {
    let mut by_number: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let number = name.split('-').next().unwrap_or_default();
        by_number.entry(number).or_default().push(name);
    }
    let doubles = by_number.into_values().filter(|names| names.len() > 1);
    doubles.map(|names| names.join(", ")).collect()
}

#[test]
fn each_decision_has_a_number_of_its_own() {
    let entries = fs::read_dir(root().join("docs/adr")).unwrap();
    let names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() > 20);
    for name in &names {
        let (number, title) = name.split_once('-').unwrap_or_default();
        let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
        assert!(
            is_number && title.ends_with(".md"),
            "{name} is no NUMBER-TITLE.md"
        );
    }
    assert_eq!(doubles(&names), [""; 0]);
    let twice = ["0001-a.md", "0002-b.md", "0001-c.md"].map(str::to_owned);
    assert_eq!(doubles(&twice), ["0001-a.md, 0001-c.md"]);
}
