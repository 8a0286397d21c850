//! Each edit of a file is found, and what has an honest cause is only noted.

use std::time::SystemTime;

use super::super::chain::tests::root;
use super::super::chain::{Chain, SessionId};
use super::super::event::Event;
use super::*;
use crate::crypto::random;

const VOLUME: &str = "00112233445566778899aabbccddeeff";

/// The lines of sessions, made as a mount makes them.
struct Writer {
    lines: Vec<String>,
    head: Head,
}

impl Writer {
    fn new() -> Self {
        Self {
            lines: Vec::new(),
            head: Head::default(),
        }
    }

    fn session(mut self, start: Event, events: u64, ends: bool) -> Self {
        let session = SessionId(random::array());
        let key = SealKey::first(&root(1), session).unwrap();
        let mut chain = Chain::new(self.head, session, key);
        let start = start
            .with(Field::Session, session.show())
            .with(Field::Volume, VOLUME);
        let told = (0..events).map(|n| Event::new(Kind::Dropped).with(Field::Count, n));
        let end = ends.then(|| Event::new(Kind::SessionEnd));
        for event in std::iter::once(start).chain(told).chain(end) {
            let line = chain.one_line(SystemTime::now(), &event).unwrap();
            self.lines.push(line);
        }
        self.head = chain.head();
        self
    }
}

fn start() -> Event {
    Event::new(Kind::SessionStart)
}

/// Two sessions: lines 1 to 7 and 8 to 12.
fn two_sessions() -> Writer {
    Writer::new()
        .session(start(), 5, true)
        .session(start(), 3, true)
}

fn verified(files: &[&str], verifier: Verifier) -> Report {
    let mut verifier = verifier;
    for (nth, text) in files.iter().enumerate() {
        verifier
            .read(&format!("file-{nth}"), text.as_bytes())
            .unwrap();
    }
    verifier.finish()
}

fn sealed(text: &str) -> Report {
    let verifier = Verifier::new(None).with_seals(root(1), VOLUME.to_owned());
    verified(&[text], verifier)
}

fn chained(text: &str) -> Report {
    verified(&[text], Verifier::new(None))
}

#[track_caller]
fn clean(report: &Report) {
    assert_eq!(report.findings, []);
    assert_eq!(report.notes, []);
    assert!(report.intact);
}

#[test]
fn what_was_written_is_intact() {
    let writer = two_sessions();
    let text = writer.lines.concat();
    let report = sealed(&text);
    clean(&report);
    assert_eq!(
        (report.lines, report.sessions, report.seals_checked),
        (12, 2, true)
    );
    assert_eq!(report.head, writer.head.show());
    clean(&chained(&text));
}

/// What one edit makes of twelve lines.
type Edit = fn(&mut Vec<String>);

#[test]
fn every_edit_is_found_without_a_key() {
    let edits: [(&str, Edit); 9] = [
        ("a changed digit", |lines| {
            lines[3] = lines[3].replace("\"count\":2", "\"count\":3");
        }),
        ("a line deleted", |lines| drop(lines.remove(4))),
        ("two lines swapped", |lines| lines.swap(2, 3)),
        ("a line twice", |lines| lines.insert(5, lines[4].clone())),
        ("an older line again at the end", |lines| {
            lines.push(lines[1].clone());
        }),
        ("something put in", |lines| {
            lines.insert(6, "{}\n".to_owned());
        }),
        ("a whole session moved", |lines| lines.rotate_left(7)),
        ("a line's end lost", |lines| {
            lines[2] = lines[2].trim_end().to_owned();
        }),
        ("zeros", |lines| lines[8] = "\0\0\0\n".to_owned()),
    ];
    for (name, edit) in edits {
        let mut lines = two_sessions().lines;
        edit(&mut lines);
        let text = lines.concat();
        assert!(!chained(&text).intact, "{name}");
        assert!(!sealed(&text).intact, "{name}, with the key");
    }
}

#[test]
fn every_flipped_byte_is_found_with_the_key() {
    let text = Writer::new().session(start(), 1, true).lines.concat();
    for at in 0..text.len() - 1 {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let mut verifier = Verifier::new(None).with_seals(root(1), VOLUME.to_owned());
        verifier.read("f", bytes.as_slice()).unwrap();
        assert!(!verifier.finish().intact, "byte {at}");
    }
}

/// Whoever may write the file can make every hash anew, and all that the seals need but the key.
#[test]
fn a_chain_made_anew_deceives_the_hashes_and_not_the_seals() {
    let forge = |key: &SecretKey, session| {
        let key = SealKey::first(key, session).unwrap();
        let mut chain = Chain::new(Head::default(), session, key);
        let start = start()
            .with(Field::Session, session.show())
            .with(Field::Volume, VOLUME);
        let mut line = |event| chain.one_line(SystemTime::now(), event).unwrap();
        line(&start) + &line(&Event::new(Kind::SessionEnd))
    };
    let forged = forge(&root(2), SessionId([7; 16]));
    clean(&chained(&forged));
    let report = sealed(&forged);
    assert_eq!(report.findings.len(), 2, "{:?}", report.findings);
    clean(&sealed(&forge(&root(1), SessionId([7; 16]))));
}

/// The key of a later line is what an intruder finds in the mount's memory.
#[test]
fn a_later_key_makes_no_earlier_seal() {
    let session = SessionId([7; 16]);
    let first = SealKey::first(&root(1), session).unwrap();
    let stolen = first.next().unwrap().next().unwrap();
    let mut chain = Chain::new(Head::default(), session, stolen);
    let start = start()
        .with(Field::Session, session.show())
        .with(Field::Volume, VOLUME);
    let text = chain.one_line(SystemTime::now(), &start).unwrap();
    assert!(!sealed(&text).intact);
}

#[test]
fn a_cut_tail_is_found_where_the_head_was_noted() {
    let writer = two_sessions();
    let expected = Some(writer.head);
    let whole = writer.lines.concat();
    clean(&verified(&[&whole], Verifier::new(expected)));
    for left in [11, 8, 7, 1, 0] {
        let cut = writer.lines[..left].concat();
        let report = verified(&[&cut], Verifier::new(expected));
        assert!(!report.intact, "{left} lines");
    }
    // An end in the middle of a session at least looks odd.
    let cut = sealed(&writer.lines[..10].concat());
    assert!(cut.intact && cut.notes.len() == 1, "{cut:?}");
    assert_eq!(chained("").findings.len(), 1, "an empty file is no audit");
}

#[test]
fn a_crash_is_a_note() {
    let writer = Writer::new()
        .session(start(), 2, false)
        .session(start(), 1, true);
    let report = sealed(&writer.lines.concat());
    assert!(report.intact);
    assert_eq!((report.notes.len(), report.notes[0].line), (1, 4));
}

#[test]
fn what_a_power_cut_tore_is_a_note_once_the_next_session_tells_of_it() {
    for torn in ["{\"seq\":4,\"ti", "\0\0\0", "x\ny", "x\n"] {
        let writer = Writer::new().session(start(), 2, false);
        let before = writer.lines.concat();
        let told = Torn::of(torn.as_bytes()).told_by(start());
        let after = writer.session(told, 1, true).lines[3..].concat();
        let report = sealed(&format!("{before}{torn}\n{after}"));
        assert_eq!(report.findings, [], "{torn:?}");
        assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
        let other = sealed(&format!("{before}{torn}z\n{after}"));
        assert!(!other.intact, "other bytes than the session tells of");
        let untold = sealed(&format!("{before}{torn}\n"));
        assert!(!untold.intact, "nobody tells of it");
    }
    let half = Writer::new().session(start(), 2, false).lines.concat() + "{\"seq\":4,";
    let report = sealed(&half);
    assert!(report.intact && report.notes.len() == 2, "{report:?}");
}

#[test]
fn several_files_in_order_are_one_chain() {
    let writer = two_sessions();
    let (old, new) = (writer.lines[..7].concat(), writer.lines[7..].concat());
    let verifier = || Verifier::new(None).with_seals(root(1), VOLUME.to_owned());
    clean(&verified(&[&old, &new], verifier()));
    assert!(
        !verified(&[&new, &old], verifier()).intact,
        "in the other order"
    );
    let later = verified(&[&new], verifier());
    assert!(later.intact && later.notes.len() == 1, "{later:?}");
}

#[test]
fn a_file_that_goes_on_within_a_session_is_checked_alone() {
    let session = SessionId([7; 16]);
    let mut chain = Chain::new(
        Head::default(),
        session,
        SealKey::first(&root(1), session).unwrap(),
    );
    let start = start()
        .with(Field::Session, session.show())
        .with(Field::Volume, VOLUME);
    let mut line = |event: &Event| chain.one_line(SystemTime::now(), event).unwrap();
    let old = line(&start) + &line(&Event::new(Kind::Dropped).with(Field::Count, 1));
    let continued = chain.continued();
    let mut line = |event: &Event| chain.one_line(SystemTime::now(), event).unwrap();
    let new = line(&continued) + &line(&Event::new(Kind::SessionEnd));
    let alone = sealed(&new);
    assert!(alone.intact && alone.notes.len() == 1, "{alone:?}");
    let verifier = Verifier::new(None).with_seals(root(1), VOLUME.to_owned());
    clean(&verified(&[&old, &new], verifier));
    // Without that first line nobody knows the key.
    let rest = new.split_inclusive('\n').nth(1).unwrap();
    assert!(!sealed(rest).intact);
}

#[test]
fn sessions_of_the_journal_are_chains_of_their_own() {
    let one = Writer::new().session(start(), 1, true).lines.concat();
    let two = Writer::new().session(start(), 2, true).lines.concat();
    let text = one + &two;
    assert!(!sealed(&text).intact);
    let verifier = Verifier::new(None).with_seals(root(1), VOLUME.to_owned());
    clean(&verified(&[&text], verifier.of_journal()));
}

#[test]
fn another_volumes_lines_are_told_apart() {
    let text = Writer::new().session(start(), 1, true).lines.concat();
    let verifier = Verifier::new(None).with_seals(root(1), "ff".repeat(16));
    assert!(!verified(&[&text], verifier).intact);
}

#[test]
fn numbers_beyond_reason_cost_no_time() {
    let session = SessionId([7; 16]);
    let head = Head {
        seq: u64::MAX - 2,
        hash: [1; 32],
    };
    let first = Writer::new().session(start(), 1, false).lines.concat();
    let mut chain = Chain::new(head, session, SealKey::first(&root(1), session).unwrap());
    let far = chain
        .one_line(SystemTime::now(), &Event::new(Kind::SessionEnd))
        .unwrap();
    assert!(!sealed(&(first + &far)).intact);
}

#[test]
fn bytes_of_any_kind_make_no_panic() {
    for seed in 0..50_u8 {
        let bytes: Vec<u8> = (0..500_u32)
            .map(|n| (n.wrapping_mul(u32::from(seed) * 7 + 3) >> 2) as u8)
            .collect();
        let mut verifier = Verifier::new(None).with_seals(root(1), VOLUME.to_owned());
        verifier.read("f", bytes.as_slice()).unwrap();
        assert!(!verifier.finish().intact);
    }
    let long = "x".repeat(5 << 20);
    assert!(!chained(&long).intact);
}

/// A line of another session's seals whose number is this; its hash is its own.
fn line_of(seq: u64) -> String {
    let head = Head {
        seq: seq - 1,
        hash: [7; 32],
    };
    let session = SessionId(random::array());
    let key = SealKey::first(&root(1), session).unwrap();
    let event = Event::new(Kind::Dropped).with(Field::Count, 1);
    Chain::new(head, session, key)
        .one_line(SystemTime::now(), &event)
        .unwrap()
}

#[test]
fn a_file_that_sends_the_keys_to_and_fro_takes_bounded_work() {
    let mut text = two_sessions().lines[0].clone();
    for _ in 0..50 {
        text += &line_of(1001);
        text += &line_of(2);
    }
    let mut verifier = Verifier::new(None).with_seals(root(1), VOLUME.to_owned());
    verifier.steps = 10_000;
    let report = verified(&[&text], verifier);
    let unchecked = |found: &&Finding| found.what.contains("its seal was not checked");
    let unchecked = report.findings.iter().filter(unchecked).count();
    // Each way there costs 999 steps; the one back is free.
    assert_eq!(unchecked, 40);
    assert!(!report.intact);
}

#[test]
fn a_line_at_the_end_of_numbers_is_out_of_reach() {
    let text = two_sessions().lines[0].clone() + &line_of(u64::MAX);
    let report = sealed(&text);
    assert!(
        report
            .findings
            .iter()
            .any(|found| found.what.contains("was not checked"))
    );
}

#[test]
fn what_is_found_too_often_is_counted() {
    let line = two_sessions().lines[0].clone();
    let text = line.repeat(MAX_TOLD + 51);
    let report = chained(&text);
    assert_eq!(
        (report.findings.len(), report.more_findings),
        (MAX_TOLD, 50)
    );
    assert_eq!((report.notes.len(), report.more_notes), (MAX_TOLD, 51));
    assert!(!report.intact);
}
