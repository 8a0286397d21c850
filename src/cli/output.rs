//! What a command prints on stdout.

use std::io::{self, Write};

use serde::Serialize;

use super::exit::Exit;
use super::failure::Failure;

/// Prints text on stdout. Whoever reads it may stop reading early: that is no failure.
///
/// # Errors
/// stdout cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    print_to(&mut io::stdout().lock(), text)
}

/// Prints a value as indented JSON and a newline on stdout.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| cannot_print(&error))?;
    print(&(text + "\n"))
}

fn print_to(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_print(&error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn cannot_print(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failure, "cannot print the result", error)
}

/// A count with what it counts: "1 file", "2 files".
pub fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
}

/// Text from the ciphertext folder or a name, which may hold anything, so that it does nothing to the terminal.
pub fn harmless(text: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Rows of text in columns that are as wide as their widest cell. The first column is aligned to
/// the left, the others to the right.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
    let cells: Vec<String> = cells.collect();
    format!("{}\n", cells.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure_and_a_full_disk_is() {
        assert!(print_to(&mut Broken(io::ErrorKind::BrokenPipe), "x").is_ok());
        assert!(print_to(&mut Broken(io::ErrorKind::StorageFull), "x").is_err());
    }

    #[test]
    fn one_is_singular() {
        let counted = [0, 1, 2].map(|count| counted(count, "file"));
        assert_eq!(counted, ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        let name = "a\n\u{1b}[2J\u{9b}é b";
        assert_eq!(harmless(name), "a\\n\\u{1b}[2J\\u{9b}é b");
    }

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let table = columns(&[row(["block", "a", "ratio"]), row(["4K", "10.5", "1"])]);
        assert_eq!(table, "block     a  ratio\n4K     10.5      1\n");
    }

    #[test]
    fn uneven_rows_do_no_harm() {
        assert_eq!(columns(&[]), "");
        assert_eq!(
            columns(&[vec!["a".into()], vec!["b".into(), "c".into()]]),
            "a\nb  c\n"
        );
    }
}
