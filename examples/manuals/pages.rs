//! Man pages: what clap declares, by clap_mangen, and the sections behind `--help` and of `written`, each in its place.

use std::fmt::Write as _;
use std::io;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use envelopefs::cli::helper::HelperArgs;
use envelopefs::cli::{args, kms};

use crate::written;

/// A page, and what its file is called.
pub(crate) struct Page {
    pub(crate) file: String,
    pub(crate) text: String,
}

/// Every page of the programs.
pub(crate) fn all(date: &str) -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    for (program, more) in [
        (args::Cli::command(), written::FS),
        (kms::args::Cli::command(), written::KMS),
    ] {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let own = format!("{}\n\n{more}", after(&program));
        pages.push(page(&program, "1", date, &own)?);
        below(&program, program.get_name(), date, &mut pages)?;
    }
    pages.push(helper(date)?);
    Ok(pages)
}

/// The page of `mount.envelopefs`; its mount options are those that `envelopefs mount` tells.
fn helper(date: &str) -> io::Result<Page> {
    let program = args::Cli::command();
    let mount = program
        .find_subcommand("mount")
        .map_or_else(String::new, after);
    let options = mount.split("\n\nEXAMPLES:").next().unwrap_or_default();
    let more = format!("{options}\n\n{}", written::HELPER);
    page(&HelperArgs::command(), "8", date, &more)
}

/// The pages of all commands below one.
fn below(command: &Command, program: &str, date: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    let above = command.get_display_name().unwrap_or(program);
    let see = match above == program {
        true => format!("{program}(1)"),
        false => format!("{above}(1), {program}(1)"),
    };
    for sub in command.get_subcommands() {
        let more = format!(
            "{}\n\nEXIT STATUS:\n  0 if it did what it says. The other codes are those of {program}(1).\n\nSEE ALSO:\n  {see}",
            after(sub)
        );
        pages.push(page(sub, "1", date, &more)?);
        below(sub, program, date, pages)?;
    }
    Ok(())
}

/// What `--help` ends with.
fn after(command: &Command) -> String {
    let text = command.get_after_long_help();
    text.map(ToString::to_string).unwrap_or_default()
}

fn page(command: &Command, number: &str, date: &str, more: &str) -> io::Result<Page> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .section(number)
        .date(date)
        .source(format!("envelopefs {version}"))
        .manual("envelopefs");
    let (front, sections) = sections(more);
    let mut text = rendered(|out| {
        man.render_title(out)?;
        man.render_name_section(out)?;
        man.render_synopsis_section(out)?;
        man.render_description_section(out)
    })?;
    text.push_str(&front);
    if command.get_arguments().next().is_some() {
        text.push_str(&options(&rendered(|out| man.render_options_section(out))?));
    }
    if command.get_subcommands().next().is_some() {
        text.push_str(&rendered(|out| man.render_subcommands_section(out))?);
    }
    text.push_str(&sections);
    Ok(Page {
        file: format!("{name}.{number}"),
        text: finish(&text),
    })
}

fn rendered(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut bytes = Vec::new();
    render(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// clap's headings of options stand below one section, so that none is taken for a section of its own.
fn options(section: &str) -> String {
    let below = section.replace(".SH ", ".SS ");
    let (begin, first) = (".SH OPTIONS\n", ".SS OPTIONS\n");
    match below
        .strip_prefix(first)
        .or(below.split_once(first).map(|(_, rest)| rest))
    {
        Some(rest) => format!("{begin}{rest}"),
        None => format!("{begin}{below}"),
    }
}

/// The order of man-pages(7); what is not in it comes before.
const ORDER: &[&str] = &[
    "EXIT STATUS",
    "ENVIRONMENT",
    "FILES",
    "EXAMPLES",
    "SEE ALSO",
];

/// Makes sections of text; what stands before the first heading comes back by itself.
fn sections(text: &str) -> (String, String) {
    let mut front = String::new();
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        let heading = line.strip_suffix(':').filter(|_| !line.starts_with(' '));
        match (heading, found.last_mut()) {
            (Some(heading), _) => found.push((heading, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) if line.is_empty() => {}
            (None, None) if front.is_empty() => front = format!(".PP\n{}\n", plain(line)),
            (None, None) => front.push_str(&format!("{}\n", plain(line))),
        }
    }
    found.sort_by_key(|(heading, _)| {
        ORDER
            .iter()
            .position(|known| known == heading)
            .map_or(0, |at| at + 1)
    });
    let sections = found.iter().map(|(heading, lines)| {
        let body = match *heading {
            "EXAMPLES" => literal(lines),
            _ => meanings(lines),
        };
        format!(".SH \"{heading}\"\n{body}")
    });
    (front, sections.collect())
}

fn literal(lines: &[&str]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| plain(line.strip_prefix("  ").unwrap_or(line)))
        .collect();
    format!(".nf\n{}\n.fi\n", lines.join("\n").trim_end())
}

/// `  NAME  meaning`, gone on with in lines that stand further in; or a paragraph.
fn meanings(lines: &[&str]) -> String {
    let mut text = String::new();
    let mut named = true;
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let inner = line.strip_prefix("  ").unwrap_or(line);
        // Writing to a String cannot fail.
        let _ = match inner.split_once("  ") {
            _ if inner.starts_with(' ') => writeln!(text, "{}", plain(inner.trim_start())),
            Some((name, meaning)) => {
                named = true;
                writeln!(
                    text,
                    ".TP\n\\fB{}\\fR\n{}",
                    plain(name),
                    plain(meaning.trim_start())
                )
            }
            None => {
                let begin = if named && !text.is_empty() {
                    ".PP\n"
                } else {
                    ""
                };
                named = false;
                writeln!(text, "{begin}{}", plain(inner))
            }
        };
    }
    text
}

/// A line of text in roff's spelling.
fn plain(line: &str) -> String {
    let text = line
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\*(Aq");
    match text.starts_with('.') {
        true => format!("\\&{text}"),
        false => text,
    }
}

/// What clap_mangen leaves: paragraphs of options as empty lines, `words` in quotes, signs that roff takes for accents,
/// long lines.
fn finish(text: &str) -> String {
    let mut out = String::new();
    let (mut within_literal, mut tag) = (false, false);
    let lines: Vec<&str> = text.lines().collect();
    let is_empty = |at: Option<usize>| {
        at.and_then(|at| lines.get(at))
            .is_some_and(|line| line.is_empty())
    };
    for (at, line) in lines.iter().copied().enumerate() {
        if line == ".br" && (is_empty(at.checked_sub(1)) || is_empty(Some(at + 1))) {
            continue;
        }
        within_literal = match line {
            ".nf" => true,
            ".fi" => false,
            _ => within_literal,
        };
        match line.trim_end() {
            "" if !within_literal => out.push_str(".sp\n"),
            trimmed if within_literal || tag || trimmed.starts_with('.') => {
                out.push_str(&format!("{}\n", quoted(trimmed)));
            }
            trimmed => broken(&quoted(trimmed), &mut out),
        }
        // The one line behind it is the tag.
        tag = line == ".TP";
    }
    out.replace('~', "\\(ti").replace('^', "\\(ha")
}

/// Bytes of a word when it has been made ASCII.
fn width(word: &str) -> usize {
    let escaped = "\\[u2026]".len();
    word.chars()
        .map(|letter| if letter.is_ascii() { 1 } else { escaped })
        .sum()
}

/// Breaks a line of text between words.
fn broken(line: &str, out: &mut String) {
    let mut length = 0;
    for word in line.split(' ') {
        let begins = length == 0;
        if !begins && length + width(word) > 72 {
            out.push('\n');
            length = 0;
            if word.starts_with(['.', '\'']) {
                out.push_str("\\&");
            }
        } else if !begins {
            out.push(' ');
        }
        out.push_str(word);
        length += width(word) + 1;
    }
    out.push('\n');
}

/// What stands between backquotes is a command's own word: bold.
fn quoted(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return parts.join("\\(ga");
    }
    let marked = parts.iter().enumerate().map(|(at, part)| match at % 2 {
        0 => (*part).to_owned(),
        _ => format!("\\fB{part}\\fR"),
    });
    marked.collect()
}
