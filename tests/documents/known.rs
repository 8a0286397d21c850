//! What there is for commands to name: the two programs, scripts and their options, targets of cargo, variables.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

/// Folders whose files read variables of the environment; these tests, which name some that there are not, read none.
const SOURCES: &[&str] = &["src", "tests", "scripts", "fuzz", "packaging"];

/// Folders of the project: a word of a command that begins so is a file of it.
const FOLDERS: &[&str] = &[
    "scripts/",
    "tests/",
    "packaging/",
    "docs/",
    "examples/",
    "benches/",
    "fuzz/",
];

pub(crate) struct Known {
    root: PathBuf,
    /// The texts of what runs pages, by path.
    runners: Vec<(&'static str, String)>,
    /// All sources in one text.
    sources: String,
    /// What scripts print for `--help`, as far as it was asked for.
    helps: RefCell<BTreeMap<String, String>>,
}

impl Known {
    pub(crate) fn of(root: &Path, runners: &'static [&'static str]) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        Self {
            root: root.to_owned(),
            runners: runners.iter().map(|path| (*path, text(path))).collect(),
            sources: SOURCES
                .iter()
                .map(|folder| texts_below(&root.join(folder)))
                .collect(),
            helps: RefCell::default(),
        }
    }

    /// The text of what runs a page; none where nothing does.
    pub(crate) fn runner_of(&self, page: &str) -> Option<(&str, &str)> {
        let named = format!("{page}\"");
        let runs = |(_, text): &&(&'static str, String)| text.contains(&named);
        self.runners
            .iter()
            .find(runs)
            .map(|(path, text)| (*path, text.as_str()))
    }

    /// Whether some source has this variable.
    pub(crate) fn has_variable(&self, name: &str) -> bool {
        self.sources.contains(name)
    }

    /// What is wrong with a command. Where it stands in a sentence, `in_words`, it need not be whole.
    pub(crate) fn finding(&self, words: &[String], in_words: bool) -> Option<String> {
        let called = called(words)?;
        let name = called[0].rsplit('/').next().unwrap_or_default();
        match name {
            "envelopefs" | "envelopekms" => program_finding(name, called, in_words),
            "cargo" => self.cargo_finding(called),
            _ if called[0].starts_with("scripts/") => self.script_finding(called),
            _ => called.iter().find_map(|word| self.file_finding(word)),
        }
    }

    fn file_finding(&self, word: &str) -> Option<String> {
        let is_ours = FOLDERS.iter().any(|folder| word.starts_with(folder));
        let is_plain = !word.contains(['*', '$', '…']);
        (is_ours && is_plain && !self.root.join(word).exists())
            .then(|| format!("{word} is not there"))
    }

    fn script_finding(&self, called: &[String]) -> Option<String> {
        let script = called[0].as_str();
        let missing = called.iter().find_map(|word| self.file_finding(word));
        if missing.is_some() {
            return missing;
        }
        let mode = fs::metadata(self.root.join(script))
            .unwrap()
            .permissions()
            .mode();
        if mode & 0o111 == 0 {
            return Some(format!("{script} cannot be run: it has mode {mode:o}"));
        }
        let help = self.help_of(script);
        let is_stage = |word: &str| {
            script == "scripts/test.sh"
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let asked = called[1..]
            .iter()
            .map(|word| word.split('=').next().unwrap_or_default());
        let mut asked = asked.filter(|word| word.starts_with('-') || is_stage(word));
        let says = |word: &str| {
            help.split([' ', '\n', '[', ']', '|', ',', '='])
                .any(|said| said == word)
        };
        let unknown = asked.find(|word| !says(word))?;
        Some(format!("{script} does not know {unknown}"))
    }

    /// What a script says of itself. One that is not of those that all answer `--help` is not run for it.
    fn help_of(&self, script: &str) -> String {
        let mut helps = self.helps.borrow_mut();
        let help = helps.entry(script.to_owned()).or_insert_with(|| {
            let path = self.root.join(script);
            let text = fs::read_to_string(&path).unwrap();
            if !text.contains("\n. \"$(dirname \"$0\")/") {
                return text;
            }
            let output = Command::new("bash")
                .arg(&path)
                .arg("--help")
                .output()
                .unwrap();
            assert!(output.status.success(), "{script} --help: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        });
        help.clone()
    }

    /// The targets that `--test`, `--bench` and `--example` name, and the module in a filter.
    fn cargo_finding(&self, called: &[String]) -> Option<String> {
        let mut base = PathBuf::from("src");
        let mut words = called.iter();
        while let Some(word) = words.next() {
            let folder = match word.as_str() {
                "--test" => "tests",
                "--bench" => "benches",
                "--example" => "examples",
                _ => {
                    let module = word.split_once("::").map(|(module, _)| base.join(module));
                    if let Some(module) = module.filter(|module| !self.is_module(module)) {
                        return Some(format!("{} is no module", module.display()));
                    }
                    continue;
                }
            };
            base = Path::new(folder).join(words.next()?);
            if !self.is_module(&base) {
                return Some(format!("{} is no target", base.display()));
            }
        }
        None
    }

    fn is_module(&self, path: &Path) -> bool {
        let path = self.root.join(path);
        path.is_dir() || path.with_extension("rs").is_file()
    }
}

/// The words from the program on that a command calls, be it by another one.
fn called(words: &[String]) -> Option<&[String]> {
    let mut words = words;
    loop {
        words = match words.first()?.as_str() {
            "sudo" | "exec" | "env" | "time" => {
                let is_own = |word: &&String| word.starts_with('-') || word.contains('=');
                let own = words[1..].iter().take_while(is_own).count();
                &words[1 + own..]
            }
            "runuser" => {
                let end = words.iter().position(|word| word == "--")?;
                &words[end + 1..]
            }
            _ => return Some(words),
        };
    }
}

fn program_finding(name: &str, called: &[String], in_words: bool) -> Option<String> {
    let program = match name {
        "envelopefs" => envelopefs::cli::args::Cli::command(),
        _ => envelopefs::cli::kms::args::Cli::command(),
    };
    // What stands in brackets may be left out.
    let is_optional = |word: &&String| in_words && word.starts_with('[');
    let words = called.iter().filter(|word| !is_optional(word));
    let error = program.try_get_matches_from(words).err()?;
    let is_placeholder = |word: &String| {
        word.chars()
            .all(|letter| letter.is_uppercase() || letter == '…')
    };
    // The shell, or the reader, puts something in.
    let is_unfinished = called.iter().any(|word| word.contains(['$', '…']));
    let is_wrong = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => false,
        ErrorKind::InvalidSubcommand => !(in_words && called.get(1).is_some_and(is_placeholder)),
        ErrorKind::UnknownArgument => true,
        ErrorKind::ValueValidation => !in_words && !is_unfinished,
        _ => !in_words,
    };
    let said = error.to_string();
    let said: Vec<&str> = said
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    is_wrong.then(|| format!("`{}`: {}", called.join(" "), said.join(" ")))
}

fn texts_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests/documents") {
            continue;
        }
        if path.is_dir() {
            text.push_str(&texts_below(&path));
        } else if path.extension().is_none_or(|extension| extension != "md") {
            // Some are no text: seeds of fuzzers.
            text.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
    text
}
