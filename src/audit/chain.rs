//! How a line looks, and what holds it to the one before. Pure.
//!
//! A line is a JSON object: `seq`, `time`, `event`, the event's fields, `prev`, and then `hash` and `seal`, each 64
//! hexadecimal digits. `hash` is SHA-256 over the bytes of the line before `,"hash":`; `prev` is the hash of the line
//! before, zeros in the first. `seal` is HMAC-SHA-256 over the hash, under a key that goes on with each line and is
//! forgotten: who comes later, as whom ever, cannot make the seal of a line that is written.

use std::fmt::Write as _;
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::event::{Event, Field, Kind};
use super::time::rfc3339;
use crate::crypto::{Label, LockedMemoryError, MacKey, SecretKey, derive};

/// No line is longer, in bytes.
pub const MAX_LINE: usize = 64 << 10;
const HASH_LEN: usize = 32;
const BEFORE_HASH: &str = r#","hash":""#;
const BEFORE_SEAL: &str = r#"","seal":""#;
const END: &str = r#""}"#;
/// What comes behind the part that is hashed.
const SUFFIX_LEN: usize = BEFORE_HASH.len() + BEFORE_SEAL.len() + END.len() + 4 * HASH_LEN;

/// Names one session: the lines of one mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// As it stands in a line.
    pub fn show(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// A line's number and hash: what the next one goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// From 1; 0 stands before the first line.
    pub seq: u64,
    /// The hash.
    pub hash: [u8; HASH_LEN],
}

impl Head {
    /// As a person writes it down for `audit verify --expect`.
    pub fn show(&self) -> String {
        format!("{}:{}", self.seq, HEXLOWER.encode(&self.hash))
    }

    /// Reads what [`Head::show`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        Some(Self {
            seq: seq.parse().ok()?,
            hash: parse_hash(hash)?,
        })
    }

    /// Whether the line with this number and `prev` comes right after.
    pub(super) fn is_before(&self, line: &Line) -> bool {
        self.seq.checked_add(1) == Some(line.seq) && self.hash == line.prev
    }
}

/// The key of one line's seal, and the way to the next line's.
#[derive(Debug)]
pub struct SealKey(SecretKey);

impl SealKey {
    /// The key of a session's first line. `root` is the volume's key for audit lines.
    ///
    /// # Errors
    /// No locked memory is left.
    pub fn first(root: &SecretKey, session: SessionId) -> Result<Self, LockedMemoryError> {
        derive(root, &session.0, Label::AuditSession).map(Self)
    }

    /// The key of the next line. From it there is no way back to this one, which is wiped when dropped.
    ///
    /// # Errors
    /// No locked memory is left.
    pub fn next(&self) -> Result<Self, LockedMemoryError> {
        derive(&self.0, b"", Label::AuditNext).map(Self)
    }

    fn mac(&self) -> Result<MacKey, LockedMemoryError> {
        self.0.try_clone().map(MacKey::new)
    }

    fn seal(&self, hash: &[u8; HASH_LEN]) -> Result<[u8; HASH_LEN], LockedMemoryError> {
        Ok(self.mac()?.tag(&[hash]))
    }

    /// Whether the line bears the seal of this key, in constant time.
    pub(super) fn sealed(&self, line: &Line) -> Result<bool, LockedMemoryError> {
        Ok(self.mac()?.verify(&[&line.hash], &line.seal))
    }
}

/// Makes lines, one after the other.
#[derive(Debug)]
pub(super) struct Chain {
    head: Head,
    session: SessionId,
    /// The key of the next line.
    key: SealKey,
    /// Lines made in this session.
    made: u64,
}

impl Chain {
    pub(super) fn new(head: Head, session: SessionId, key: SealKey) -> Self {
        Self {
            head,
            session,
            key,
            made: 0,
        }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Adds the next line, with its line end, to `text`.
    ///
    /// # Errors
    /// No locked memory is left. There is no line then, and the next call tries again.
    pub(super) fn line(
        &mut self,
        text: &mut String,
        time: SystemTime,
        event: &Event,
    ) -> Result<(), LockedMemoryError> {
        let (seq, begin) = (self.head.seq + 1, text.len());
        body(text, seq, time, event, &self.head.hash);
        let hash: [u8; HASH_LEN] = Sha256::digest(&text.as_bytes()[begin..]).into();
        let keys = self
            .key
            .seal(&hash)
            .and_then(|seal| Ok((seal, self.key.next()?)));
        let (seal, next) = keys.inspect_err(|_error| text.truncate(begin))?;
        for (before, bytes) in [(BEFORE_HASH, hash), (BEFORE_SEAL, seal)] {
            text.push_str(before);
            HEXLOWER.encode_append(&bytes, text);
        }
        text.push_str(END);
        text.push('\n');
        self.key = next;
        self.head = Head { seq, hash };
        self.made += 1;
        Ok(())
    }

    /// The next line alone.
    #[cfg(test)]
    pub(super) fn one_line(
        &mut self,
        time: SystemTime,
        event: &Event,
    ) -> Result<String, LockedMemoryError> {
        let mut text = String::new();
        self.line(&mut text, time, event)?;
        Ok(text)
    }

    /// What the first line of a further file says, so that it can be checked alone.
    pub(super) fn continued(&self) -> Event {
        Event::new(Kind::Continued)
            .with(Field::Session, self.session.show())
            .with(Field::Line, self.made)
    }
}

/// Adds the part of a line that is hashed.
fn body(text: &mut String, seq: u64, time: SystemTime, event: &Event, prev: &[u8; HASH_LEN]) {
    let (time, name) = (rfc3339(time), event.kind().name());
    // Writing to a String does not fail.
    let _ = write!(text, r#"{{"seq":{seq},"time":"{time}","event":"{name}""#);
    for (field, value) in event.fields() {
        let _ = write!(text, r#","{}":{value}"#, field.name());
    }
    text.push_str(r#","prev":""#);
    HEXLOWER.encode_append(prev, text);
    text.push('"');
}

/// A line that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// The event's name.
    pub event: String,
    /// All of it but hash and seal.
    pub fields: Map<String, Value>,
    pub(super) prev: [u8; HASH_LEN],
    pub(super) hash: [u8; HASH_LEN],
    pub(super) seal: [u8; HASH_LEN],
    /// Whether the hash is that of the line.
    pub(super) hash_matches: bool,
}

/// What is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an audit line")]
pub struct NoLine;

impl Line {
    /// Reads a line, without its line end.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoLine> {
        let text = std::str::from_utf8(bytes).map_err(|_error| NoLine)?;
        if text.len() > MAX_LINE {
            return Err(NoLine);
        }
        let (body, suffix) = text
            .len()
            .checked_sub(SUFFIX_LEN)
            .and_then(|at| text.split_at_checked(at))
            .ok_or(NoLine)?;
        let (hash, seal) = parse_suffix(suffix).ok_or(NoLine)?;
        let fields: Map<String, Value> =
            serde_json::from_str(&format!("{body}}}")).map_err(|_error| NoLine)?;
        let text_of = |name: &str| fields.get(name).and_then(Value::as_str);
        Ok(Self {
            seq: fields.get("seq").and_then(Value::as_u64).ok_or(NoLine)?,
            event: text_of("event").ok_or(NoLine)?.to_owned(),
            prev: text_of("prev").and_then(parse_hash).ok_or(NoLine)?,
            hash,
            seal,
            hash_matches: Sha256::digest(body.as_bytes()).as_slice() == hash,
            fields,
        })
    }

    /// Its number and hash.
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// A field's text.
    pub fn text(&self, field: Field) -> Option<&str> {
        self.fields.get(field.name()).and_then(Value::as_str)
    }

    pub(super) fn number(&self, field: Field) -> Option<u64> {
        self.fields.get(field.name()).and_then(Value::as_u64)
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        self.event == kind.name()
    }
}

fn parse_suffix(suffix: &str) -> Option<([u8; HASH_LEN], [u8; HASH_LEN])> {
    let rest = suffix.strip_prefix(BEFORE_HASH)?.strip_suffix(END)?;
    let (hash, seal) = rest.split_at_checked(2 * HASH_LEN)?;
    Some((
        parse_hash(hash)?,
        parse_hash(seal.strip_prefix(BEFORE_SEAL)?)?,
    ))
}

fn parse_hash(text: &str) -> Option<[u8; HASH_LEN]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::crypto::random;

    pub(in crate::audit) fn root(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; 32]).unwrap()
    }

    pub(in crate::audit) fn chain(head: Head, root: &SecretKey) -> Chain {
        let session = SessionId(random::array());
        Chain::new(head, session, SealKey::first(root, session).unwrap())
    }

    fn event() -> Event {
        Event::new(Kind::Unwrap)
            .with(Field::Path, "/a\"b\\c\u{1}é")
            .with(Field::KeyVersion, "3")
    }

    fn lines(count: usize) -> Vec<String> {
        let mut chain = chain(Head::default(), &root(1));
        (0..count)
            .map(|_| chain.one_line(SystemTime::UNIX_EPOCH, &event()).unwrap())
            .collect()
    }

    #[test]
    fn a_line_reads_back() {
        let made = lines(2);
        let parsed: Vec<_> = made
            .iter()
            .map(|line| Line::parse(line.trim_end().as_bytes()).unwrap())
            .collect();
        assert_eq!(parsed[0].seq, 1);
        assert_eq!(parsed[0].prev, [0; 32]);
        assert_eq!(parsed[0].text(Field::Path), Some("/a\"b\\c\u{1}é"));
        assert!(parsed.iter().all(|line| line.hash_matches));
        assert!(parsed[0].head().is_before(&parsed[1]));
        assert!(!parsed[1].head().is_before(&parsed[0]));
    }

    /// Whoever writes a reader of his own needs the bytes. The seal is HMAC-SHA-256, under HKDF-SHA-256 of a key of
    /// 32 bytes of 1 with the session id as salt.
    #[test]
    fn the_bytes_are_those_of_the_document() {
        let session = SessionId([2; 16]);
        let key = SealKey::first(&root(1), session).unwrap();
        let mut chain = Chain::new(Head::default(), session, key);
        let event = Event::new(Kind::Dropped).with(Field::Count, 7);
        let line = chain.one_line(SystemTime::UNIX_EPOCH, &event).unwrap();
        let body = r#"{"seq":1,"time":"1970-01-01T00:00:00.000000000Z","event":"dropped","count":7,"prev":"0000000000000000000000000000000000000000000000000000000000000000""#;
        assert!(line.starts_with(body), "{line}");
        let hash = HEXLOWER.encode(&Sha256::digest(body));
        assert!(line.contains(&format!(r#","hash":"{hash}","seal":""#)));
    }

    #[test]
    fn each_line_has_a_seal_of_its_own_key() {
        let made = lines(3);
        let parsed: Vec<_> = made
            .iter()
            .map(|line| Line::parse(line.trim_end().as_bytes()).unwrap())
            .collect();
        let session = SessionId([9; 16]);
        let mut key = SealKey::first(&root(1), session).unwrap();
        let again = SealKey::first(&root(1), session).unwrap();
        let mut chain = Chain::new(Head::default(), session, again);
        for _ in 0..3 {
            let line = chain.one_line(SystemTime::UNIX_EPOCH, &event()).unwrap();
            let line = Line::parse(line.trim_end().as_bytes()).unwrap();
            assert!(key.sealed(&line).unwrap());
            assert!(!parsed.iter().any(|other| key.sealed(other).unwrap()));
            key = key.next().unwrap();
            assert!(!key.sealed(&line).unwrap(), "by the next line's key");
        }
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let line = lines(1).remove(0);
        let line = line.trim_end();
        let long = line.replace("1970", &"1".repeat(MAX_LINE));
        for text in [
            "",
            "{}",
            "null",
            &line[1..],
            &line[..line.len() - 1],
            &format!("{line} "),
            &line.replace("\"hash\"", "\"hush\""),
            &line.replace("\"seq\":1", "\"seq\":-1"),
            &line.replace("\"event\"", "\"other\""),
            &line.replace("\"prev\":\"0", "\"prev\":\"g"),
            &line.to_uppercase(),
            &long,
        ] {
            assert_eq!(Line::parse(text.as_bytes()), Err(NoLine), "{text:.80}");
        }
        assert_eq!(Line::parse(&[0xFF; 200]), Err(NoLine));
    }

    #[test]
    fn every_changed_byte_of_a_line_shows() {
        let line = lines(1).remove(0);
        let line = line.trim_end().as_bytes();
        let original = Line::parse(line).unwrap();
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            let seen = match Line::parse(&changed) {
                Err(NoLine) => true,
                Ok(line) => !line.hash_matches || line.seal != original.seal,
            };
            assert!(seen, "byte {at}");
        }
    }

    #[test]
    fn a_head_reads_back() {
        let head = Head {
            seq: 12,
            hash: [0xAB; 32],
        };
        assert_eq!(Head::parse(&head.show()), Some(head));
        for text in ["", "12", "12:", ":ab", "x:00", "12:AB", "-1:00"] {
            assert_eq!(Head::parse(text), None, "{text}");
        }
    }
}
