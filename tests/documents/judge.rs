//! What is wrong with the commands of one document.

use crate::known::Known;
use crate::markdown::{Block, Mark, blocks};
use crate::shell;

/// What blocks may be.
const KINDS: &[&str] = &["sh", "text", "toml", "ini", "json", "yaml", "sql"];

/// First words by which commands in a block of text give themselves away.
const COMMANDS: &[&str] = &[
    "$",
    "apt",
    "apt-get",
    "cargo",
    "chmod",
    "chown",
    "cp",
    "curl",
    "docker",
    "envelopefs",
    "envelopekms",
    "export",
    "install",
    "mkdir",
    "mount",
    "pip",
    "podman",
    "python3",
    "sudo",
    "systemctl",
    "umount",
];

/// A sentence for each thing that is wrong, with its place in front.
pub(crate) fn judge(path: &str, document: &str, known: &Known) -> Vec<String> {
    let blocks = blocks(document);
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut above: Option<&Block<'_>> = None;
    for block in &blocks {
        let is_output = block.is_below_block && above.is_some_and(Block::is_run);
        let of_block = of_kind(block, is_output)
            .or_else(|| of_running(path, document, block, known))
            .or_else(|| of_commands(block, known));
        found.extend(of_block.map(|what| (block.line, what)));
        above = Some(block);
    }
    let words = outside(document, &blocks);
    found.extend(indented(&words).into_iter().map(|line| {
        (
            line,
            "indented code: put it between fences, which say what it is".to_owned(),
        )
    }));
    for (line, text) in &words {
        found.extend(of_words(text, known).map(|what| (*line, what)));
    }
    for (number, line) in document.lines().enumerate() {
        let unknown = variables(line).find(|name| !known.has_variable(name));
        found.extend(unknown.map(|name| (number + 1, format!("nothing reads {name}"))));
    }
    found.sort();
    let place = |(line, what)| format!("{path}:{line}: {what}");
    found.into_iter().map(place).collect()
}

fn of_kind(block: &Block<'_>, is_output: bool) -> Option<String> {
    let first_word = |line: &str| {
        line.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let is_command =
        |word: String| COMMANDS.contains(&word.as_str()) || word.starts_with("scripts/");
    match (block.kind, block.mark) {
        (kind, _) if !KINDS.contains(&kind) => Some(format!(
            "`{kind}` is no kind of block: there are {}; commands are sh",
            KINDS.join(", ")
        )),
        ("sh", Some(Mark::NotRun(why))) if why.split(' ').count() < 3 => {
            Some("`not run` needs a reason".to_owned())
        }
        ("sh", _) => None,
        (_, Some(Mark::NotRun(_))) => Some("`not run` is said only of commands (sh)".to_owned()),
        ("text", _) if !is_output && block.text.lines().map(first_word).any(is_command) => {
            Some("commands in a block of text: make it sh".to_owned())
        }
        _ => None,
    }
}

/// That a test runs the block.
fn of_running(path: &str, document: &str, block: &Block<'_>, known: &Known) -> Option<String> {
    if !block.is_run() {
        return None;
    }
    let Some((runner, text)) = known.runner_of(path) else {
        let how = "name the page in tests/live/pages.rs, or say `<!-- not run: WHY -->` above it";
        return Some(format!("no test runs this block: {how}"));
    };
    // This one takes a page in parts, between which it looks around.
    let heading = document
        .lines()
        .take(block.line)
        .filter_map(|line| line.strip_prefix("## "))
        .last();
    let heading = heading.unwrap_or_default();
    let is_told = || {
        ["", "\""]
            .iter()
            .any(|quote| text.contains(&format!("told {quote}{heading}{quote}\n")))
    };
    (runner.ends_with(".sh") && !is_told())
        .then(|| format!("{runner} does not run the commands of `{heading}`"))
}

/// That the commands of a block are ones that there are.
fn of_commands(block: &Block<'_>, known: &Known) -> Option<String> {
    let script = match block.kind {
        "sh" => block.text.clone(),
        "ini" => {
            let started = block.text.lines().filter(|line| line.starts_with("Exec"));
            let commands = started.filter_map(|line| Some(line.split_once('=')?.1));
            commands.collect::<Vec<_>>().join("\n")
        }
        _ => return None,
    };
    let commands = shell::commands(&script);
    commands
        .iter()
        .find_map(|words| known.finding(words, false))
}

/// The lines that are in no block, with their numbers.
fn outside<'a>(document: &'a str, blocks: &[Block<'_>]) -> Vec<(usize, &'a str)> {
    let inside = |number: usize| {
        let holds = |block: &Block<'_>| {
            (block.line..=block.line + block.text.lines().count() + 1).contains(&number)
        };
        blocks.iter().any(holds)
    };
    let lines = document
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line));
    lines.filter(|(number, _)| !inside(*number)).collect()
}

/// Where code begins that is only indented. In a list an indented line is a part of its item.
fn indented(lines: &[(usize, &str)]) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut in_list, mut after_empty) = (false, true);
    for (number, line) in lines {
        let is_item = line.trim_start().starts_with(['*', '-'])
            || line
                .trim_start()
                .starts_with(|first: char| first.is_ascii_digit());
        if line.starts_with("    ") && after_empty && !in_list {
            found.push(*number);
        } else if !line.is_empty() && !line.starts_with(' ') {
            in_list = is_item;
        }
        after_empty = line.is_empty();
    }
    found
}

/// Commands between backticks.
fn of_words<'a>(line: &'a str, known: &'a Known) -> impl Iterator<Item = String> + 'a {
    let spans = line.split('`').skip(1).step_by(2);
    let commands = spans.flat_map(shell::commands);
    commands.filter_map(|words| {
        let is_ours = ["envelopefs", "envelopekms", "cargo"].contains(&words[0].as_str())
            || words[0].starts_with("scripts/");
        known
            .finding(&words, true)
            .filter(|_| is_ours && words.len() > 1)
    })
}

/// Variables of the project that a line names.
fn variables(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| {
        ["ENVELOPEFS_", "ENVELOPEKMS_", "ENVELOPE_"]
            .iter()
            .any(|start| word.starts_with(start))
    })
}
