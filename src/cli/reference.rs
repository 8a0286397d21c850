//! The parts of docs/CLI.md and docs/kms/CLI.md that are made from the declarations, so that they never say
//! something else than the program: the exit codes and every option.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Arg, Command};

use super::exit::{self, Program};

/// The generated parts of a program's document by name; each stands in it between `<!-- begin NAME -->` and
/// `<!-- end NAME -->`.
pub fn parts(program: &Command, exits: Program) -> [(&'static str, String); 2] {
    [
        ("exit codes", exit::markdown_table(exits)),
        ("options", options(program)),
    ]
}

fn options(program: &Command) -> String {
    let mut text = String::from("### Options of every command\n\n");
    text.push_str(&table(program.get_arguments()));
    for command in program.get_subcommands() {
        text.push_str(&sections(program.get_name(), command, ""));
    }
    text
}

/// A command's section and those of the commands below it.
fn sections(program: &str, command: &Command, above: &str) -> String {
    let name = format!("{above}{}", command.get_name());
    let below = command
        .get_subcommands()
        .filter(|below| below.get_name() != "help");
    let below: Vec<String> = below
        .map(|below| sections(program, below, &format!("{name} ")))
        .collect();
    if below.is_empty() {
        section(program, command, &name)
    } else {
        below.concat()
    }
}

fn section(program: &str, command: &Command, name: &str) -> String {
    let about = command.get_long_about().or(command.get_about());
    let usage: Vec<String> = command.get_positionals().map(show_positional).collect();
    let mut text = format!(
        "\n### {name}\n\n`{program} {name} [OPTIONS] {}`\n\n",
        usage.join(" ")
    );
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}\n", plain(about));
    text.push_str(&table(command.get_arguments()));
    text
}

fn show_positional(argument: &Arg) -> String {
    let name = argument.get_value_names().and_then(<[_]>::first);
    let name = name.map_or_else(|| argument.get_id().as_str(), |name| name.as_str());
    if argument.is_required_set() {
        name.to_owned()
    } else {
        format!("[{name}]")
    }
}

fn table<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let mut text = String::from("| option | meaning |\n|---|---|\n");
    for argument in arguments.filter(|argument| !argument.is_hide_set()) {
        let help = argument.get_long_help().or(argument.get_help());
        let meaning = cell(&plain(help));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {meaning}{} |",
            show(argument),
            default(argument)
        );
    }
    text
}

fn show(argument: &Arg) -> String {
    if argument.is_positional() {
        return show_positional(argument);
    }
    let short = argument.get_short().map(|letter| format!("-{letter}"));
    let long = argument.get_long().map(|word| format!("--{word}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let takes_value = argument.get_action().takes_values();
    let value = argument
        .get_value_names()
        .and_then(<[_]>::first)
        .filter(|_| takes_value);
    names.join(", ") + &value.map_or_else(String::new, |value| format!(" {value}"))
}

fn default(argument: &Arg) -> String {
    let values = argument.get_default_values();
    let shown: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
    match shown.as_slice() {
        // Flags have a default too, which says nothing.
        _ if !argument.get_action().takes_values() => String::new(),
        [] => String::new(),
        values => format!(" Default: `{}`.", values.join(" ")),
    }
}

fn plain(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// A table's cell has one line and no bars.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split("\n\n").map(str::trim).collect();
    let sentences = words.iter().map(|part| match part.ends_with(['.', ':']) {
        true => (*part).to_owned(),
        false => format!("{part}."),
    });
    sentences
        .collect::<Vec<_>>()
        .join(" ")
        .replace('\n', " ")
        .replace('|', "\\|")
}

/// The document with each part as it should be.
#[cfg(test)]
fn with_parts(document: &str, parts: &[(&str, String)]) -> String {
    let mut text = document.to_owned();
    for (name, part) in parts {
        let (begin, end) = (
            format!("<!-- begin {name} -->\n"),
            format!("<!-- end {name} -->"),
        );
        let start = text.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
        let stop = text.find(&end).unwrap_or_else(|| panic!("no {end}"));
        text.replace_range(start..stop, part);
    }
    text
}

/// Holds a document against its parts, or writes them anew.
#[cfg(test)]
pub(super) fn hold(path: &str, parts: &[(&str, String)]) {
    let document = std::fs::read_to_string(path).unwrap();
    let wanted = with_parts(&document, parts);
    if std::env::var_os("ENVELOPEFS_UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert!(
            document == wanted,
            "{path} is behind: run this test with ENVELOPEFS_UPDATE_DOCS=1"
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use serde_json::Value;

    use super::*;
    use crate::cli::args::Cli;
    use crate::daemon::metrics;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CLI.md");

    /// `ENVELOPEFS_UPDATE_DOCS=1 cargo test --lib cli::reference` writes the parts anew.
    #[test]
    fn the_document_says_what_the_program_declares() {
        hold(PATH, &parts(&Cli::command(), Program::Fs));
    }

    #[test]
    fn the_document_names_every_mount_option_and_status_field() {
        let document = std::fs::read_to_string(PATH).unwrap();
        let names = crate::cli::options::names();
        let status = serde_json::to_value(crate::daemon::status::MountStatus::default()).unwrap();
        let fields = status.as_object().unwrap().keys().map(String::as_str);
        for name in names.into_iter().chain(fields) {
            assert!(
                document.contains(&format!("`{name}")),
                "docs/CLI.md lacks {name}"
            );
        }
    }

    const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    const DASHBOARD: &str = include_str!("../../docs/grafana/envelopefs.json");

    #[test]
    fn the_metrics_document_says_what_is_declared() {
        hold(METRICS, &[("metrics", metrics::markdown_table())]);
    }

    /// Every text that stands under this name, however deep.
    fn texts<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| texts(item, name, found)),
            Value::Object(fields) => {
                found.extend(fields.get(name).and_then(Value::as_str));
                fields.values().for_each(|item| texts(item, name, found));
            }
            _ => {}
        }
    }

    /// The names of metrics in a query.
    fn used(query: &str) -> impl Iterator<Item = &str> {
        query
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("envelopefs_"))
    }

    #[test]
    fn the_dashboard_asks_for_what_there_is() {
        let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
        let (mut queries, mut asked) = (Vec::new(), 0);
        for name in ["expr", "query", "definition"] {
            texts(&dashboard, name, &mut queries);
        }
        for name in queries.iter().flat_map(|query| used(query)) {
            let is_it = |metric: &&metrics::Metric| {
                let parts = ["", "_bucket", "_sum", "_count"];
                let parts = if metric.kind == metrics::Kind::Histogram {
                    &parts[1..]
                } else {
                    &parts[..1]
                };
                parts
                    .iter()
                    .any(|part| name.strip_suffix(part) == Some(metric.name))
            };
            assert!(
                metrics::METRICS.iter().any(|metric| is_it(&metric)),
                "{name}"
            );
            asked += 1;
        }
        assert!(asked > 10, "the dashboard asks for {asked} metrics");
        let mut titles = Vec::new();
        texts(&dashboard["panels"], "title", &mut titles);
        assert_eq!(titles.len(), dashboard["panels"].as_array().unwrap().len());
    }

    #[test]
    fn a_metric_that_is_not_there_is_seen() {
        let names: Vec<_> =
            used("sum by (key) (rate(envelopefs_a_total{x=\"$y\"}[5m])) / envelopefs_b").collect();
        assert_eq!(names, ["envelopefs_a_total", "envelopefs_b"]);
    }

    #[test]
    fn every_option_has_a_row() {
        let options = options(&Cli::command());
        for name in [
            "--key-cache-ttl DURATION",
            "-f, --foreground",
            "CIPHERDIR",
            "[MOUNT]",
            "--log-file FILE",
        ] {
            assert!(options.contains(&format!("| `{name}` |")), "{name}");
        }
        assert!(options.contains("Default: `5m`."));
    }

    #[test]
    fn a_cell_is_one_line_without_bars() {
        assert_eq!(cell("Do\nit\n\nDefault: a|b"), "Do it. Default: a\\|b.");
    }
}
