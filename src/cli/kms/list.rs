//! Lists: got page by page, and printed as tables.

use crate::cli::failure::Failure;
use crate::cli::output::harmless;
use crate::kms::engine::model::{Page, PageRequest};

/// The most that a page has.
const PAGE: u32 = 1000;

/// Everything on every page.
pub(super) fn all<T>(
    mut page: impl FnMut(PageRequest) -> Result<Page<T>, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    let mut next = Some(0);
    while let Some(offset) = next {
        let got = page(PageRequest {
            offset,
            limit: PAGE,
        })?;
        next = got.next_offset();
        items.extend(got.items);
    }
    Ok(items)
}

/// Rows in columns as wide as their widest cell, the first row being the head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| harmless(cell)).collect())
        .collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_asked_for_and_a_failure_ends_it() {
        let numbers: Vec<u64> = (0..2500).collect();
        let page = |request: PageRequest| {
            let offset = usize::try_from(request.offset).unwrap();
            let rest = numbers.get(offset..).unwrap_or_default();
            let items: Vec<u64> = rest.iter().take(1000).copied().collect();
            Ok(Page {
                items,
                total: 2500,
                request,
            })
        };
        assert_eq!(all(page).unwrap(), numbers);
        let refused = all(|request| match request.offset {
            0 => page(request),
            _ => Err(Failure::usage("a", "b")),
        });
        assert!(refused.is_err());
    }

    #[test]
    fn tables_are_aligned_and_cannot_speak_to_the_terminal() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = table(&[
            row(["ID", "NAME"]),
            row(["longer", "x\u{1b}"]),
            row(["a", ""]),
        ]);
        assert_eq!(text, "ID      NAME\nlonger  x\\u{1b}\na\n");
        assert_eq!(table(&[]), "");
    }
}
