//! Patterns of paths: `*` and `?` within a name, `**` for any number of names.

use std::fmt;

use thiserror::Error;

/// A pattern of paths in the mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`
    AnyNames,
    Name(Vec<Glyph>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glyph {
    /// `*`
    Any,
    /// `?`
    One,
    Byte(u8),
}

/// What is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It does not begin with `/`.
    #[error("a path begins with /")]
    NotAbsolute,
    /// `//`, `/./`, `/../`, or `/` at the end.
    #[error("a path has no empty name, no . and no .., and no / at its end")]
    OddName,
    /// `**` beside other characters.
    #[error("** stands alone between two /")]
    Stars,
    /// A backslash at the end.
    #[error("\\ stands before the character that is meant as it is")]
    Backslash,
    /// A character that is kept for later.
    #[error("{0} has no meaning of its own: write \\{0}")]
    Reserved(char),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let below = text.strip_prefix('/').ok_or(PatternError::NotAbsolute)?;
        let parts = match below {
            "" => Vec::new(),
            _ => below
                .split('/')
                .map(Part::parse)
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// Whether the path is one of these.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.reach(path).last() == Some(&true)
    }

    /// Whether the path, or one that may be below it, is one of these.
    pub fn may_match_from(&self, path: &[u8]) -> bool {
        self.reach(path).contains(&true)
    }

    /// Whether the path and all that may be below it are of these.
    pub fn covers_from(&self, path: &[u8]) -> bool {
        self.parts.last() == Some(&Part::AnyNames) && self.matches(path)
    }

    /// For each number of parts whether just so many can stand for the whole path: one step for each name.
    fn reach(&self, path: &[u8]) -> Vec<bool> {
        let mut at = vec![false; self.parts.len() + 1];
        at[0] = true;
        self.pass_over_stars(&mut at);
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            let mut next = vec![false; at.len()];
            for (nth, part) in self.parts.iter().enumerate().filter(|(nth, _)| at[*nth]) {
                match part {
                    Part::AnyNames => next[nth] = true,
                    Part::Name(glyphs) if matches(glyphs, name) => next[nth + 1] = true,
                    Part::Name(_) => {}
                }
            }
            at = next;
            self.pass_over_stars(&mut at);
        }
        at
    }

    /// `**` stands for no name, too.
    fn pass_over_stars(&self, at: &mut [bool]) {
        for (nth, part) in self.parts.iter().enumerate() {
            if at[nth] && *part == Part::AnyNames {
                at[nth + 1] = true;
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, PatternError> {
        match name {
            "**" => return Ok(Self::AnyNames),
            "" | "." | ".." => return Err(PatternError::OddName),
            _ => {}
        }
        Ok(Self::Name(glyphs(name)?))
    }
}

fn glyphs(name: &str) -> Result<Vec<Glyph>, PatternError> {
    let mut glyphs = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        glyphs.push(match byte {
            b'*' if glyphs.last() == Some(&Glyph::Any) => return Err(PatternError::Stars),
            b'*' => Glyph::Any,
            b'?' => Glyph::One,
            b'\\' => Glyph::Byte(bytes.next().ok_or(PatternError::Backslash)?),
            b'[' | b']' | b'{' | b'}' | b'!' => return Err(PatternError::Reserved(byte.into())),
            other => Glyph::Byte(other),
        });
    }
    Ok(glyphs)
}

/// Whether a name with `*` and `?` is met by `text`, as the units of rules are written.
pub fn name_matches(pattern: &str, text: &str) -> bool {
    glyphs(pattern).is_ok_and(|glyphs| matches(&glyphs, text.as_bytes()))
}

/// Whether `pattern` can be read as a name with `*` and `?`.
pub(super) fn is_name_pattern(pattern: &str) -> bool {
    !pattern.is_empty() && glyphs(pattern).is_ok()
}

/// In a time of at most the product of both lengths: the last `*` takes one byte more where the rest does not fit.
fn matches(glyphs: &[Glyph], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (glyphs.get(at), name.get(from)) {
            (None, None) => return true,
            (Some(Glyph::Any), _) => {
                star = Some((at, from));
                at += 1;
                continue;
            }
            (Some(Glyph::Byte(wanted)), Some(byte)) if wanted == byte => {
                (at, from) = (at + 1, from + 1);
                continue;
            }
            (Some(Glyph::One), Some(_)) => {
                (at, from) = (at + 1, from + character_len(&name[from..]));
                continue;
            }
            _ => {}
        }
        match star {
            Some((star_at, taken)) if taken < name.len() => {
                star = Some((star_at, taken + 1));
                (at, from) = (star_at + 1, taken + 1);
            }
            _ => return false,
        }
    }
}

/// The bytes of the first character; one where it is none of UTF-8.
fn character_len(bytes: &[u8]) -> usize {
    let chunk = bytes.utf8_chunks().next();
    chunk
        .and_then(|chunk| chunk.valid().chars().next())
        .map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_match_whole_paths() {
        for (text, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/b", false),
            ("/a", "/ab", false),
            ("/**", "/", true),
            ("/**", "/a/b/c", true),
            ("/certs/**", "/certs", true),
            ("/certs/**", "/certs/x/y", true),
            ("/certs/**", "/certs2/x", false),
            ("/certs/*", "/certs/x", true),
            ("/certs/*", "/certs/x/y", false),
            ("/certs/*", "/certs", false),
            ("/**/*.key", "/x.key", true),
            ("/**/*.key", "/a/b/x.key", true),
            ("/**/*.key", "/a/b/x.key/y", false),
            ("/a/**/z", "/a/z", true),
            ("/a/**/z", "/a/b/c/z", true),
            ("/a/**/z", "/a/b/c", false),
            ("/a?c", "/abc", true),
            ("/a?c", "/aéc", true),
            ("/a?c", "/ac", false),
            ("/*a*b*", "/xxaxxbxx", true),
            ("/*a*b*", "/xxbxxaxx", false),
            (r"/\*\?\[", "/*?[", true),
            (r"/\*", "/x", false),
            ("/A", "/a", false),
        ] {
            assert_eq!(
                pattern(text).matches(path.as_bytes()),
                expected,
                "{text} {path}"
            );
        }
        assert!(pattern("/?").matches(b"/\xFF"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "", "a", "certs/**", "//", "/a/", "/a//b", "/./a", "/a/..", "/a**", "/**b", "/a/***",
            "/a\\", "/[ab]", "/a]", "/{a,b}", "/!a",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_may_be_below_is_known() {
        for (text, path, may, covers) in [
            ("/certs/**", "/", true, false),
            ("/certs/**", "/certs", true, true),
            ("/certs/**", "/certs/a", true, true),
            ("/certs/**", "/other", false, false),
            ("/certs/*", "/certs", true, false),
            ("/certs/*", "/certs/a/b", false, false),
            ("/**/*.key", "/anything/at/all", true, false),
            ("/**", "/", true, true),
        ] {
            let pattern = pattern(text);
            assert_eq!(
                pattern.may_match_from(path.as_bytes()),
                may,
                "{text} {path}"
            );
            assert_eq!(
                pattern.covers_from(path.as_bytes()),
                covers,
                "{text} {path}"
            );
        }
    }

    #[test]
    fn many_stars_cost_no_time() {
        let many = format!("/{}b", "*a".repeat(60));
        assert!(!pattern(&many).matches(format!("/{}", "a".repeat(255)).as_bytes()));
        let many = format!("/{}x", "**/a/".repeat(60));
        assert!(!pattern(&many).matches("/a".repeat(1000).as_bytes()));
    }

    #[test]
    fn units_are_names_with_stars() {
        assert!(name_matches("worker@*.service", "worker@3.service"));
        assert!(!name_matches("nginx.service", "nginx.service.x"));
        assert!(!is_name_pattern("") && !is_name_pattern("a**"));
    }

    proptest! {
        #[test]
        fn what_matches_may_match_from_every_folder_above(text in "(/(\\*\\*|[ab*?]{1,3})){0,4}", path in "(/[ab]{1,2}){1,5}") {
            let Ok(pattern) = PathPattern::parse(if text.is_empty() { "/" } else { &text }) else { return Ok(()) };
            if pattern.matches(path.as_bytes()) {
                for (at, _) in path.match_indices('/') {
                    prop_assert!(pattern.may_match_from(&path.as_bytes()[..at]));
                }
            }
            if pattern.covers_from(path.as_bytes()) {
                let below = format!("{path}/zz");
                prop_assert!(pattern.matches(below.as_bytes()));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*", path: Vec<u8>) {
            if let Ok(pattern) = PathPattern::parse(&text) {
                pattern.matches(&path);
                pattern.may_match_from(&path);
            }
        }
    }
}
