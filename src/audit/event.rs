//! What is told: the kinds of events and their fields, one table of each. A name is never used again for something
//! else; docs/AUDIT.md holds the same tables and a test holds them together.

use std::fmt::Write as _;

use serde_json::Value;

use crate::units::Stability;

macro_rules! kinds {
    ($($variant:ident = $name:literal, $stability:ident, [$($field:ident),*], $meaning:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $meaning] $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in a line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// Whether programs may rely on it.
            pub fn stability(self) -> Stability {
                match self { $(Self::$variant => Stability::$stability,)* }
            }

            /// The fields that it may have, in their order.
            pub fn fields(self) -> &'static [Field] {
                match self { $(Self::$variant => &[$(Field::$field,)*],)* }
            }
        }
    };
}

kinds! {
    SessionStart = "session-start", Stable, [Session, Volume, Version, Pid, Uid, Cipherdir, Mountpoint, Options, Policy, TornBytes, TornSha256],
        "A mount or a key service begins to tell; its lines are sealed under a key of this session.";
    SessionEnd = "session-end", Stable, [Clean], "It ended, and nothing was left to tell.";
    Continued = "continued", Stable, [Session, Line], "The file was changed for a new one; the line before is the last of the old one.";
    Dropped = "dropped", Stable, [Count], "So many events found no room in the queue and are lost.";
    Unwrap = "unwrap", Stable,
        [Purpose, Cause, Result, Path, FileId, Provider, KeyVersion, RequestId, Error, Message, Pid, Uid, Gid, Exe, Unit],
        "A key provider was asked for a key: of the volume, or of a file.";
    IntegrityFailure = "integrity-failure", Stable, [Operation, Path, Ciphertext, Message, Pid, Uid, Gid, Exe, Unit],
        "What lies in the ciphertext folder is not what was written there.";
    AccessDenied = "access-denied", Stable, [Operation, Path, Access, Rule, Pid, Uid, Gid, Exe, Unit],
        "The volume's policy does not allow it.";
    PolicyChanged = "policy-changed", Stable, [Policy, Rules, Uid], "The mount has another policy, or none any more.";
    Lock = "lock", Provisional, [Cause, Uid], "The keys of the mount were dropped; nothing opens until it is unlocked.";
    Unlock = "unlock", Provisional, [Result, Uid, Provider, RequestId, Error, Message], "A locked mount was asked to open again.";
    Revoked = "revoked", Provisional, [Path, FileId, Provider, RequestId, Error, Message],
        "A provider refused a key that was in use, and the key was dropped.";
    Rewrap = "rewrap", Provisional, [Purpose, Result, Path, FileId, Provider, KeyVersion, RequestId, Error, Message, Uid],
        "A key was wrapped anew, under another key or another version.";
    Reencrypt = "reencrypt", Provisional, [Result, Path, FileId, Error, Message, Uid], "A file got a new data key.";
    KmsCall = "kms-call", Provisional,
        [RequestId, Dialect, Action, Principal, AccessKey, Address, KeyId, OtherKeyId, Context, Result, Error, Message],
        "The key service was asked for something.";
    KmsUnproven = "kms-unproven", Provisional, [Address, Count],
        "So many requests to the key service did not prove whose they were, or were of a disabled access key, beyond those with a line of their own (`kms-call`, `Authenticate`).";
}

macro_rules! fields {
    ($($variant:ident = $name:literal, $meaning:literal;)*) => {
        /// What a line says of an event, besides its number, time and name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Field {
            $(#[doc = $meaning] $variant,)*
        }

        impl Field {
            /// Every field.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in a line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

fields! {
    Access = "access", "What the policy gives there: `deny` or `read-only`.";
    AccessKey = "access_key", "The id of the access key that signed the request.";
    Action = "action", "What was asked of the key service, by its name in policies.";
    Address = "address", "The network address that asked; of `kms-unproven` where they came from: an address of IPv4, a /64 of IPv6, or `others`.";
    Cause = "cause", "What led to it, such as `mount`, `open` or `refresh` (the age of a key that is in use).";
    Cipherdir = "cipherdir", "The ciphertext folder.";
    Ciphertext = "ciphertext", "The ciphertext file, below the ciphertext folder.";
    Clean = "clean", "Whether everything was written and committed.";
    Context = "context", "The encryption context, as JSON; cut like any text.";
    Count = "count", "How many.";
    Dialect = "dialect", "The wire format of the request: `alibaba`, `aws`, `rest`, `console`; `local` for the command line, `service` for what is done by schedule.";
    Error = "error", "What the failure means: `denied`, `not found`, `revoked`, `unavailable`, `corrupt`, `misconfigured`; of `kms-call` the kind of refusal, such as `AccessDenied`.";
    Exe = "exe", "The executable of the process that asked, as the kernel names it.";
    FileId = "file_id", "The file's id, 32 hexadecimal digits.";
    Gid = "gid", "The group that asked.";
    KeyId = "key_id", "The key of the key service.";
    KeyVersion = "key_version", "The version of the provider's key.";
    Line = "line", "How many lines this session wrote before.";
    Message = "message", "The failure in words.";
    Mountpoint = "mountpoint", "The mount point.";
    Operation = "operation", "What was asked for, such as `open` or `unlink`.";
    Options = "options", "How the mount was asked for.";
    OtherKeyId = "other_key_id", "The second key, of what has two: where something is encrypted anew, where an alias goes.";
    Path = "path", "The path in the mount; bytes that are no UTF-8 are shown as U+FFFD.";
    Pid = "pid", "The thread that asked; of `session-start` the process that serves the mount.";
    Policy = "policy", "SHA-256 of policy.toml, in hexadecimal digits; absent where there is none.";
    Principal = "principal", "Who asked the key service.";
    Provider = "provider", "The URI of the key.";
    Purpose = "purpose", "`volume-key` or `data-key`.";
    RequestId = "request_id", "The key service's own name for the request, where it gave one.";
    Result = "result", "`granted` or `failed`; `abandoned` where the caller went away before the key service was done.";
    Rule = "rule", "The rule that decided, counted from 1; 0 is the default.";
    Rules = "rules", "How many rules the policy has.";
    Session = "session", "The session's id, 32 hexadecimal digits.";
    TornBytes = "torn_bytes", "How many bytes before this line are no line: what a crash left of one.";
    TornSha256 = "torn_sha256", "SHA-256 of those bytes.";
    Uid = "uid", "The user who asked.";
    Unit = "unit", "The systemd unit of the process that asked, by its control group.";
    Version = "version", "The program's version.";
    Volume = "volume", "The id of the volume or of the key service, 32 hexadecimal digits.";
}

/// Who asked, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The thread.
    pub pid: Option<u32>,
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The executable.
    pub exe: Option<String>,
    /// The systemd unit.
    pub unit: Option<String>,
}

/// One thing that happened. Holds no secret; names of files it does hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    kind: Kind,
    fields: Vec<(Field, Value)>,
}

/// A text of more than so many bytes is cut, so that a line stays within [`super::chain::MAX_LINE`].
const MAX_TEXT: usize = 4096;

impl Event {
    /// An event of which nothing more is known yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            fields: Vec::new(),
        }
    }

    /// With one thing more.
    #[must_use]
    pub fn with(mut self, field: Field, value: impl Into<Value>) -> Self {
        debug_assert!(
            self.kind.fields().contains(&field),
            "{:?} has no {field:?}",
            self.kind
        );
        let value = match value.into() {
            Value::String(text) => Value::String(cut(text)),
            other => other,
        };
        self.fields.push((field, value));
        self
    }

    /// With one thing more, where it is known.
    #[must_use]
    pub fn with_some(self, field: Field, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// With who asked.
    #[must_use]
    pub fn by(self, subject: &Subject) -> Self {
        self.with_some(Field::Pid, subject.pid)
            .with_some(Field::Uid, subject.uid)
            .with_some(Field::Gid, subject.gid)
            .with_some(Field::Exe, subject.exe.clone())
            .with_some(Field::Unit, subject.unit.clone())
    }

    /// What happened.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is known of it.
    pub fn fields(&self) -> &[(Field, Value)] {
        &self.fields
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

/// The tables of docs/AUDIT.md.
pub fn markdown_tables() -> [(&'static str, String); 2] {
    let mut kinds = String::from("| event | stability | fields | meaning |\n|---|---|---|---|\n");
    for kind in Kind::ALL {
        let fields: Vec<_> = kind
            .fields()
            .iter()
            .map(|field| format!("`{}`", field.name()))
            .collect();
        let stability = kind.stability().as_str();
        // Writing to a String cannot fail.
        let _ = writeln!(
            kinds,
            "| `{}` | {stability} | {} | {} |",
            kind.name(),
            fields.join(", "),
            kind.meaning()
        );
    }
    let mut fields = String::from("| field | meaning |\n|---|---|\n");
    for field in Field::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(fields, "| `{}` | {} |", field.name(), field.meaning());
    }
    [("audit events", kinds), ("audit fields", fields)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let kinds: HashSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
        let fields: HashSet<_> = Field::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(fields.len(), Field::ALL.len());
        let plain = |name: &&str| {
            name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            })
        };
        assert!(kinds.iter().chain(&fields).all(plain));
    }

    /// The fields that every line has of itself.
    #[test]
    fn no_field_takes_the_name_of_one_that_each_line_has() {
        for name in ["seq", "time", "event", "prev", "hash", "seal"] {
            assert!(Field::ALL.iter().all(|field| field.name() != name));
        }
    }

    #[test]
    fn every_field_is_some_events() {
        for field in Field::ALL {
            let used = Kind::ALL.iter().any(|kind| kind.fields().contains(field));
            assert!(used, "{field:?}");
        }
    }

    #[test]
    #[should_panic(expected = "has no")]
    fn a_field_that_the_table_does_not_give_an_event_is_a_defect() {
        drop(Event::new(Kind::SessionEnd).with(Field::Path, "/x"));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let event = Event::new(Kind::IntegrityFailure).with(Field::Path, "é".repeat(MAX_TEXT));
        let Value::String(text) = &event.fields()[0].1 else {
            panic!("a text");
        };
        assert_eq!(text.len(), MAX_TEXT + '…'.len_utf8());
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let subject = Subject {
            uid: Some(7),
            ..Subject::default()
        };
        let event = Event::new(Kind::AccessDenied).by(&subject);
        assert_eq!(event.fields(), [(Field::Uid, Value::from(7))]);
    }

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/AUDIT.md");

    /// `ENVELOPEFS_UPDATE_DOCS=1 cargo test --lib audit::event` writes the tables anew.
    #[test]
    fn the_document_has_the_tables() {
        let document = std::fs::read_to_string(PATH).unwrap();
        let mut wanted = document.clone();
        for (name, table) in markdown_tables() {
            let begin = format!("<!-- begin {name} -->\n");
            let start = wanted.find(&begin).unwrap() + begin.len();
            let stop = wanted.find(&format!("<!-- end {name} -->")).unwrap();
            wanted.replace_range(start..stop, &table);
        }
        if std::env::var_os("ENVELOPEFS_UPDATE_DOCS").is_some() {
            std::fs::write(PATH, &wanted).unwrap();
        } else {
            assert!(
                document == wanted,
                "docs/AUDIT.md is behind: run this test with ENVELOPEFS_UPDATE_DOCS=1"
            );
        }
    }
}
