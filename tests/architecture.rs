//! The house keeps its order: a room uses only rooms that stand below it, unsafe code, terminal
//! output and `std::fs` stay in the rooms that own them. Reads the sources as text, so it also
//! holds code that this platform does not compile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rooms from the ground up. A room may use every storey below its own, and no room beside it.
const STOREYS: &[&[&str]] = &[
    &["units"],
    &["crypto"],
    &["audit", "format"],
    &["keys", "policy", "storage"],
    &["kms", "volume"],
    &["content"],
    &["fs", "maint"],
    &["fuse"],
    &["daemon"],
    &["cli", "fuzz"],
    &["bin"],
];

/// Rooms that use no other room, and that every room may use.
const LEAVES: &[&str] = &["lookups", "telemetry", "threads"];

/// A thing that only some files may hold: the start of their paths below `src/`.
struct Privilege {
    what: &'static str,
    held: fn(&Code) -> Vec<usize>,
    holders: &'static [&'static str],
    /// Whether test code needs it too.
    in_tests: bool,
}

const PRIVILEGES: &[Privilege] = &[
    Privilege {
        what: "unsafe code",
        held: |code| code.lines_with_word("unsafe"),
        holders: &["crypto/secret", "storage/", "daemon/harden", "threads.rs"],
        in_tests: true,
    },
    // Others start theirs by `threads::spawn`: they may be at a request.
    Privilege {
        what: "std::thread::Builder",
        held: |code| code.lines_with_path(&["thread", "Builder"]),
        holders: &["threads.rs", "daemon/", "cli/", "kms/"],
        in_tests: false,
    },
    Privilege {
        what: "terminal output",
        held: |code| code.lines_with_macro(&["print", "println", "eprint", "eprintln"]),
        holders: &["cli/", "bin/"],
        in_tests: false,
    },
    Privilege {
        what: "process::exit",
        held: |code| code.lines_with_path(&["process", "exit"]),
        holders: &["cli/", "bin/"],
        in_tests: false,
    },
    Privilege {
        what: "std::fs",
        held: |code| code.lines_with_path(&["std", "fs"]),
        holders: &[
            "daemon/",
            "cli/",
            "audit/file.rs",
            "keys/file",
            "keys/local_file.rs",
            "keys/passphrase_source.rs",
            "kms/server/certificate.rs",
        ],
        in_tests: false,
    },
];

#[test]
fn the_sources_keep_the_order_of_the_house() {
    let sources = read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 10, "found only {} sources", sources.len());

    let found = violations(&sources);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

// ---------------------------------------------------------------------------------------------
// The checker

/// One source file: its path below `src/`, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The room that the file belongs to; the crate root belongs to none.
    fn room(&self) -> Option<&str> {
        let first = self.path.split('/').next().unwrap_or_default();
        let room = first.strip_suffix(".rs").unwrap_or(first);
        (room != "lib").then_some(room)
    }

    /// How many modules the file's own is deep: so many `super` lead to the crate's root, or more from
    /// a module within the file.
    fn depth(&self) -> usize {
        let module = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        module.split('/').count()
    }
}

fn violations(sources: &[Source]) -> Vec<String> {
    let rooms: BTreeSet<&str> = sources.iter().filter_map(Source::room).collect();
    let mut found = unplaced(&rooms);
    let test_files = test_only_files(sources);
    for source in sources {
        let all = Code::of(&source.text);
        found.extend(uses_of_higher_rooms(source, &all, &rooms));
        let shipped = if test_files.contains(&source.path) {
            Code::of("")
        } else {
            all.without_tests()
        };
        found.extend(stolen_privileges(source, &all, &shipped));
    }
    found
}

fn unplaced(rooms: &BTreeSet<&str>) -> Vec<String> {
    rooms
        .iter()
        .filter(|room| storey(room).is_none() && !LEAVES.contains(room))
        .map(|room| format!("room `{room}` has no storey: give it one in tests/architecture.rs"))
        .collect()
}

fn storey(room: &str) -> Option<usize> {
    STOREYS.iter().position(|rooms| rooms.contains(&room))
}

fn may_use(room: &str, other: &str) -> bool {
    if room == other || LEAVES.contains(&other) {
        return true;
    }
    match (storey(room), storey(other)) {
        (Some(own), Some(others)) => others < own,
        _ => false,
    }
}

fn uses_of_higher_rooms(source: &Source, code: &Code, rooms: &BTreeSet<&str>) -> Vec<String> {
    let Some(room) = source.room() else {
        return Vec::new();
    };
    let mut uses: Vec<(usize, String)> = code
        .paths()
        .into_iter()
        .filter_map(|(line, path)| Some((line, room_of_path(&path, source.depth(), rooms)?)))
        .filter(|(_, other)| !may_use(room, other))
        .collect();
    uses.dedup();
    let place = &source.path;
    let say = |(line, other)| {
        format!("src/{place}:{line}: `{room}` uses `{other}`, which does not stand below it")
    };
    uses.into_iter().map(say).collect()
}

/// The room that a path from the crate's root, or upwards out of a room, leads into.
fn room_of_path(path: &[String], depth: usize, rooms: &BTreeSet<&str>) -> Option<String> {
    let rest = match path.first()?.as_str() {
        "crate" | "envelopefs" => path.get(1)?,
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            path.get(up).filter(|_| up >= depth)?
        }
        _ => return None,
    };
    rooms.contains(rest.as_str()).then(|| rest.clone())
}

fn stolen_privileges(source: &Source, all: &Code, shipped: &Code) -> Vec<String> {
    let mut found = Vec::new();
    for privilege in PRIVILEGES {
        if privilege
            .holders
            .iter()
            .any(|holder| source.path.starts_with(holder))
        {
            continue;
        }
        let code = if privilege.in_tests { all } else { shipped };
        for line in (privilege.held)(code) {
            let (place, what) = (&source.path, privilege.what);
            let holders = privilege.holders.join(", ");
            found.push(format!("src/{place}:{line}: {what} belongs to {holders}"));
        }
    }
    found
}

/// Files that some module declares as `#[cfg(test)] mod name;`, and those of the modules below them.
fn test_only_files(sources: &[Source]) -> BTreeSet<String> {
    let declared = declared_for_tests(sources);
    let is_below = |path: &str, file: &str| {
        let folder = file.trim_end_matches("mod.rs").trim_end_matches(".rs");
        let folder = folder.trim_end_matches('/');
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let below = sources
        .iter()
        .map(|source| source.path.clone())
        .filter(|path| declared.iter().any(|file| is_below(path, file)));
    below.chain(declared.iter().cloned()).collect()
}

fn declared_for_tests(sources: &[Source]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for source in sources {
        let folder = match source.path.strip_suffix("mod.rs") {
            Some(folder) => folder.to_owned(),
            None => format!("{}/", source.path.trim_end_matches(".rs")),
        };
        for name in Code::of(&source.text).test_module_files() {
            files.insert(format!("{folder}{name}.rs"));
            files.insert(format!("{folder}{name}/mod.rs"));
        }
    }
    files
}

fn read_sources(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable source folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root).expect("a path below src");
                sources.push(Source {
                    path: below.to_string_lossy().replace('\\', "/"),
                    text: fs::read_to_string(&path).expect("a readable source"),
                });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

// ---------------------------------------------------------------------------------------------
// Rust as tokens: enough of the language to tell paths from comments and text

/// The tokens of a source without its comments and literals.
struct Code {
    tokens: Vec<Token>,
}

#[derive(Clone)]
struct Token {
    line: usize,
    /// An identifier, `::`, or one character.
    text: String,
}

impl Code {
    fn of(text: &str) -> Self {
        let mut scanner = Scanner {
            rest: text,
            line: 1,
        };
        let mut tokens = Vec::new();
        while let Some(token) = scanner.next_token() {
            tokens.push(token);
        }
        Self { tokens }
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    fn is_at(&self, at: usize, texts: &[&str]) -> bool {
        texts
            .iter()
            .enumerate()
            .all(|(i, text)| self.text(at + i) == *text)
    }

    fn lines_with_word(&self, word: &str) -> Vec<usize> {
        let holds = |token: &&Token| token.text == word;
        self.tokens
            .iter()
            .filter(holds)
            .map(|token| token.line)
            .collect()
    }

    fn lines_with_macro(&self, names: &[&str]) -> Vec<usize> {
        let calls = |at: &usize| names.contains(&self.text(*at)) && self.text(at + 1) == "!";
        (0..self.tokens.len())
            .filter(calls)
            .map(|at| self.tokens[at].line)
            .collect()
    }

    /// Lines with a path that holds these parts one after the other.
    fn lines_with_path(&self, parts: &[&str]) -> Vec<usize> {
        self.paths()
            .into_iter()
            .filter(|(_, path)| path.windows(parts.len()).any(|window| window == parts))
            .map(|(line, _)| line)
            .collect()
    }

    /// Every path with at least two parts, `use` trees spread out, and the line it starts on.
    fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let start = at;
            at += 1;
            if is_identifier(self.text(start)) && self.text(at) == "::" {
                let mut found = Vec::new();
                at = self.spread(start, &[], &mut found);
                let line = self.tokens[start].line;
                paths.extend(found.into_iter().map(|path| (line, path)));
            }
        }
        paths
    }

    /// Spreads the tree at `at` into whole paths after `prefix`; returns where it ends.
    fn spread(&self, mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
        let mut path = prefix.to_vec();
        while is_identifier(self.text(at)) {
            path.push(self.text(at).to_owned());
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
        }
        if self.text(at) != "{" || self.text(at - 1) != "::" {
            found.push(path);
            return at;
        }
        at += 1;
        while !matches!(self.text(at), "}" | "") {
            at = self.spread(at, &path, found);
            while !matches!(self.text(at), "," | "}" | "") {
                at += 1;
            }
            at += usize::from(self.text(at) == ",");
        }
        at + 1
    }

    /// The names in `#[cfg(test)] mod name;`.
    fn test_module_files(&self) -> Vec<&str> {
        let after_visibility = |at: usize| match () {
            () if self.is_at(at, &["pub", "("]) => at + 4,
            () if self.is_at(at, &["pub"]) => at + 1,
            () => at,
        };
        (0..self.tokens.len())
            .filter(|at| self.is_at(*at, CFG_TEST))
            .map(|at| after_visibility(at + CFG_TEST.len()))
            .filter(|at| self.is_at(*at, &["mod"]) && self.text(at + 2) == ";")
            .map(|at| self.text(at + 1))
            .collect()
    }

    /// The same without the items that stand under `#[cfg(test)]`.
    fn without_tests(&self) -> Self {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(token) = self.tokens.get(at) {
            if self.is_at(at, CFG_TEST) {
                at = self.end_of_item(at + CFG_TEST.len());
            } else {
                tokens.push(token.clone());
                at += 1;
            }
        }
        Self { tokens }
    }

    /// Where the item ends that starts at `at`: after its `;`, or its block.
    fn end_of_item(&self, at: usize) -> usize {
        let mut depth = 0_usize;
        for (i, token) in self.tokens.iter().enumerate().skip(at) {
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" if depth == 1 => return i + 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                ";" if depth == 0 => return i + 1,
                _ => {}
            }
        }
        self.tokens.len()
    }
}

const CFG_TEST: &[&str] = &["#", "[", "cfg", "(", "test", ")", "]"];

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
}

impl Scanner<'_> {
    fn next_token(&mut self) -> Option<Token> {
        while self.skip_blank() || self.skip_comment() || self.skip_literal() {}
        let first = self.rest.chars().next()?;
        let len = if is_identifier(self.rest) {
            identifier_len(self.rest)
        } else if self.rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let token = Token {
            line: self.line,
            text: self.rest[..len].to_owned(),
        };
        self.skip(len);
        Some(token)
    }

    fn skip(&mut self, len: usize) {
        let (gone, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.line += gone.matches('\n').count();
        self.rest = rest;
    }

    fn skip_blank(&mut self) -> bool {
        let blank = self.rest.len() - self.rest.trim_start().len();
        self.skip(blank);
        blank > 0
    }

    fn skip_comment(&mut self) -> bool {
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            return true;
        }
        if !self.rest.starts_with("/*") {
            return false;
        }
        let mut depth = 0_usize;
        loop {
            let (change, len) = match self.rest.as_bytes() {
                [] => return true,
                [b'/', b'*', ..] => (1, 2),
                [b'*', b'/', ..] => (-1, 2),
                _ => (0, self.rest.chars().next().map_or(1, char::len_utf8)),
            };
            self.skip(len);
            depth = depth.saturating_add_signed(change);
            if depth == 0 {
                return true;
            }
        }
    }

    /// Skips a string, byte string, raw string or character; a lifetime is none of them.
    fn skip_literal(&mut self) -> bool {
        let len = raw_string_len(self.rest)
            .or_else(|| quoted_len(self.rest, '"'))
            .or_else(|| character_len(self.rest));
        self.skip(len.unwrap_or(0));
        len.is_some()
    }
}

fn identifier_len(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

fn raw_string_len(text: &str) -> Option<usize> {
    let body = ["br", "cr", "r"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inner
        .find(&close)
        .map_or(inner.len(), |end| end + close.len());
    Some(text.len() - inner.len() + end)
}

/// The length of a literal in these quotes, with an optional `b` or `c` before it.
fn quoted_len(text: &str, quote: char) -> Option<usize> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let inner = body.strip_prefix(quote)?;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(text.len() - inner.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

fn character_len(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('b').unwrap_or(text).strip_prefix('\'')?;
    let mut chars = inner.chars();
    let first = chars.next()?;
    let is_character = first == '\\' || chars.next() == Some('\'');
    is_character.then(|| quoted_len(text, '\'')).flatten()
}

// ---------------------------------------------------------------------------------------------
// Does the checker see what it is there to see?

fn check(files: &[(&str, &str)]) -> Vec<String> {
    let source = |(path, text): &(&str, &str)| Source {
        path: (*path).to_owned(),
        text: (*text).to_owned(),
    };
    violations(&files.iter().map(source).collect::<Vec<_>>())
}

/// One file of a house where every room exists.
fn check_one(path: &str, text: &str) -> Vec<String> {
    let mut files: Vec<(String, &str)> = STOREYS
        .concat()
        .iter()
        .map(|room| (format!("{room}/mod.rs"), ""))
        .collect();
    files.retain(|(file, _)| file != path);
    files.push((path.to_owned(), text));
    check(
        &files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect::<Vec<_>>(),
    )
}

#[test]
fn a_room_may_use_the_rooms_below_it() {
    let text = "use crate::keys::{Keyring, pool::Pool};\nuse crate::{crypto, units::EpochId};";
    assert_eq!(check_one("volume/unlock.rs", text), [] as [&str; 0]);
}

#[test]
fn a_room_above_is_seen_in_every_form_of_path() {
    for text in [
        "use crate::fuse::Adapter;",
        "use crate::{units::FileId, fuse::{Adapter, Session}};",
        "fn f() { crate::fuse::go(); }",
        "fn f(x: &crate::fuse::Adapter) {}",
        "use super::super::fuse::Adapter;",
        "use super::{super::fuse::Adapter};",
        "/* a /* nested */ comment */ use crate::fuse;",
        "const A: char = '\"'; use crate::fuse::Adapter; const B: char = '\"';",
        "const A: &str = r#\"\"#; use crate::fuse::Adapter;",
        "fn f<'a>(x: &'a str) { crate::fuse::go() }",
        "#[cfg(test)] mod tests { use crate::fuse::Adapter; }",
    ] {
        let found = check_one("content/reader.rs", text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(
            found[0].starts_with("src/content/reader.rs:1: `content` uses `fuse`"),
            "{found:?}"
        );
    }
}

/// A module may have a room's name.
#[test]
fn a_neighbour_of_a_room_s_name_is_none() {
    for (path, text) in [
        ("keys/awskms/moto.rs", "use super::kms::Kms;"),
        (
            "keys/awskms/credentials/web.rs",
            "use super::super::kms::Kms;",
        ),
        ("keys/awskms/mod.rs", "use super::kms::Kms;"),
    ] {
        assert_eq!(check_one(path, text), [] as [&str; 0], "{path}");
    }
    for (path, text) in [
        ("keys/mod.rs", "use super::kms::Kms;"),
        ("keys/awskms.rs", "use super::super::kms::Kms;"),
        ("keys/awskms/moto.rs", "use super::super::super::kms::Kms;"),
    ] {
        assert_eq!(check_one(path, text).len(), 1, "{path}");
    }
}

#[test]
fn a_room_beside_is_seen() {
    assert_eq!(check_one("keys/file", "use crate::storage::Node;").len(), 1);
    assert_eq!(
        check_one("storage/node.rs", "use crate::keys::Keyring;").len(),
        1
    );
    assert_eq!(
        check_one("maint/check.rs", "use crate::fs::Inode;").len(),
        1
    );
}

#[test]
fn comments_and_text_are_no_uses() {
    for text in [
        "// use crate::fuse::Adapter;",
        "//! [`crate::fuse`] calls this",
        "/* use crate::fuse; */",
        "const HELP: &str = \"crate::fuse::x \\\" crate::fuse\";",
        "const HELP: &str = r#\"unsafe \" crate::fuse\"#;",
    ] {
        assert_eq!(
            check_one("content/reader.rs", text),
            [] as [&str; 0],
            "{text}"
        );
    }
}

#[test]
fn a_room_without_a_storey_is_seen() {
    let found = check(&[("attic/mod.rs", "")]);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("`attic` has no storey"), "{found:?}");
}

#[test]
fn a_leaf_is_for_all_and_uses_none() {
    let leaf_used = [
        ("telemetry.rs", ""),
        ("units.rs", "use crate::telemetry::counter;"),
    ];
    assert_eq!(check(&leaf_used), [] as [&str; 0]);
    let leaf_uses = [
        ("telemetry.rs", "use crate::units::FileId;"),
        ("units.rs", ""),
    ];
    assert_eq!(check(&leaf_uses).len(), 1);
}

#[test]
fn unsafe_code_is_seen_in_tests_too() {
    let text = "#[cfg(test)]\nmod tests { fn f() { unsafe { g() } } }";
    assert_eq!(check_one("content/reader.rs", text).len(), 1);
    assert_eq!(check_one("crypto/secret.rs", text), [] as [&str; 0]);
    assert_eq!(check_one("crypto/secret/arena.rs", text), [] as [&str; 0]);
    assert_eq!(
        check_one("content/reader.rs", "#![deny(unsafe_code)]"),
        [] as [&str; 0]
    );
}

#[test]
fn terminal_output_and_exit_are_seen_outside_the_command_line() {
    for text in [
        "fn f() { println!(\"x\") }",
        "fn f() { std::process::exit(1) }",
    ] {
        assert_eq!(check_one("daemon/run.rs", text).len(), 1, "{text}");
        assert_eq!(check_one("cli/run.rs", text), [] as [&str; 0], "{text}");
    }
}

#[test]
fn std_fs_is_seen_outside_its_rooms_but_not_in_tests() {
    for text in [
        "use std::fs;",
        "use std::{io, fs::File};",
        "fn f() { std::fs::read(\"x\") }",
    ] {
        assert_eq!(check_one("content/reader.rs", text).len(), 1, "{text}");
        assert_eq!(check_one("keys/file", text), [] as [&str; 0], "{text}");
        let test = format!("#[cfg(test)]\nmod tests {{ {text} }}\nfn after() {{}}");
        assert_eq!(
            check_one("content/reader.rs", &test),
            [] as [&str; 0],
            "{test}"
        );
    }
}

#[test]
fn a_file_that_is_only_for_tests_may_use_std_fs() {
    let files = [
        ("volume/mod.rs", "#[cfg(test)]\nmod testing;"),
        ("volume/testing.rs", "use std::fs;"),
    ];
    assert_eq!(check(&files), [] as [&str; 0]);
    let below = [
        ("volume/mod.rs", "#[cfg(test)]\nmod testing;"),
        ("volume/testing.rs", "mod more;"),
        ("volume/testing/more.rs", "use std::fs;"),
        ("volume/testing_not.rs", "use std::fs;"),
    ];
    assert_eq!(check(&below).len(), 1);
    let shipped = [
        ("volume/mod.rs", "mod testing;"),
        ("volume/testing.rs", "use std::fs;"),
    ];
    assert_eq!(check(&shipped).len(), 1);
}

#[test]
fn code_after_a_test_module_is_still_checked() {
    let text = "#[cfg(test)] mod tests { fn f() {} }\nuse std::fs;";
    assert_eq!(check_one("content/reader.rs", text).len(), 1);
}
