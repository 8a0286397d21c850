//! The pages about the keys of services say what the sources do.

use std::collections::BTreeSet;

use super::UriForm;

/// What one page is about.
pub(crate) struct Page<'a> {
    pub(crate) text: &'a str,
    pub(crate) form: &'a UriForm,
    /// The sources that read variables and know codes.
    pub(crate) sources: &'a [&'a str],
    /// How the names of this cloud's variables begin.
    pub(crate) prefixes: &'a [&'a str],
}

impl Page<'_> {
    /// Panics where page and sources part: a URI that is refused, a variable or a code that only one
    /// of them knows.
    pub(crate) fn check(&self) {
        self.uris_are_taken();
        let told = self.variables(&[self.text]);
        let read = self.variables(self.sources);
        assert!(read.len() > 5, "found only {read:?}");
        assert_eq!(
            told, read,
            "variables of the page, and those of the sources"
        );
        for code in self.codes() {
            // A source may know all codes of a family: those that begin so.
            let family = code.split('.').next().unwrap();
            let forms = [format!("\"{code}\""), format!("with(\"{family}\")")];
            let has = |source: &&str| forms.iter().any(|form| source.contains(form));
            let is_known = self.sources.iter().any(has);
            assert!(
                is_known,
                "the page has a code or words that no source has: {code}"
            );
        }
    }

    fn uris_are_taken(&self) {
        let start = format!("{}://", self.form.scheme);
        let words = self.text.split(['`', '\'', ' ', '\n', '"']);
        let uris: Vec<_> = words.filter(|word| word.starts_with(&start)).collect();
        assert!(uris.len() >= 3, "found only {uris:?}");
        for uri in uris {
            let uri = uri.trim_end_matches(':');
            assert!(self.form.given(&uri.parse().unwrap()).is_ok(), "{uri}");
        }
    }

    fn variables(&self, texts: &[&str]) -> BTreeSet<String> {
        let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let words = texts.iter().flat_map(|text| text.split(|c| !is_part(c)));
        let is_one = |word: &&str| self.prefixes.iter().any(|prefix| word.starts_with(prefix));
        words.filter(is_one).map(str::to_owned).collect()
    }

    /// The service's codes in the table of messages: words in two cases, without spaces.
    fn codes(&self) -> Vec<&str> {
        let (_before, table) = self.text.split_once("| message |").unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
        let cells = rows.filter_map(|row| row.split(" | ").next());
        let is_code = |text: &&str| text.starts_with(|c: char| c.is_ascii_uppercase());
        let codes = cells.flat_map(|cell| cell.split(", ")).filter(is_code);
        codes.collect()
    }
}
