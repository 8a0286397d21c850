//! The queue and its writer, over real files.

use std::path::PathBuf;
use std::time::Duration;

use super::super::chain::tests::root;
use super::super::verify::Verifier;
use super::*;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    fn start(&self, when_full: WhenFull) -> Audit {
        let session = Session {
            root: &root(1),
            start: Event::new(Kind::SessionStart).with(Field::Volume, "v"),
        };
        Audit::start(&Target::File(self.path()), when_full, session).unwrap()
    }

    /// Line counts by event of a file that must be intact.
    fn count(&self, kind: Kind) -> usize {
        let text = std::fs::read_to_string(self.path()).unwrap();
        let needle = format!("\"event\":\"{}\"", kind.name());
        text.matches(&needle).count()
    }

    #[track_caller]
    fn intact(&self) {
        let text = std::fs::read(self.path()).unwrap();
        let mut verifier = Verifier::new(None).with_seals(root(1), "v".to_owned());
        verifier.read("audit", text.as_slice()).unwrap();
        let report = verifier.finish();
        assert!(report.intact, "{report:#?}");
    }
}

fn event() -> Event {
    Event::new(Kind::Lock).with(Field::Uid, 7)
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An audit whose lines nobody writes: its queue stays as it is.
fn stuck(when_full: WhenFull) -> Audit {
    Audit {
        shared: Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
        }),
        target: Target::Journal,
        when_full,
        writer: Mutex::default(),
    }
}

#[test]
fn what_many_threads_tell_is_written_and_sealed() {
    let bench = Bench::new();
    let audit = bench.start(WhenFull::Drop);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| audit.note(event())));
        }
    });
    assert!(audit.finish(true));
    assert_eq!(bench.count(Kind::Lock), 800);
    assert_eq!(bench.count(Kind::SessionEnd), 1);
    bench.intact();
}

#[test]
fn a_new_session_goes_on_from_the_last_line() {
    let bench = Bench::new();
    for _ in 0..3 {
        let audit = bench.start(WhenFull::Drop);
        audit.note(event());
        assert!(audit.finish(true));
    }
    // A crash, and a torn line.
    drop(bench.start(WhenFull::Drop));
    let mut text = std::fs::read(bench.path()).unwrap();
    text.extend_from_slice(b"{\"seq\":11,\"time");
    std::fs::write(bench.path(), text).unwrap();
    assert!(bench.start(WhenFull::Drop).finish(true));
    assert_eq!(bench.count(Kind::SessionStart), 5);
    bench.intact();
}

#[test]
fn the_report_tells_the_last_line() {
    let bench = Bench::new();
    let audit = bench.start(WhenFull::Drop);
    audit.note(event());
    wait_until("two lines", || audit.report().head.seq == 2);
    let expected = audit.report().head;
    assert!(audit.finish(true));
    let mut verifier = Verifier::new(Some(expected));
    verifier
        .read("audit", std::fs::read(bench.path()).unwrap().as_slice())
        .unwrap();
    assert!(verifier.finish().intact);
}

#[test]
fn a_full_queue_drops_and_counts() {
    let audit = stuck(WhenFull::Drop);
    for _ in 0..QUEUE + 5 {
        audit.note(event());
    }
    let report = audit.report();
    assert_eq!((report.waiting, report.dropped), (QUEUE, 5));
    let mut permit = audit.permit().unwrap();
    permit.note(event());
    assert_eq!(audit.report().dropped, 6);
}

#[test]
fn what_was_dropped_is_told_by_the_next_line() {
    let bench = Bench::new();
    let audit = bench.start(WhenFull::Drop);
    audit.shared.state.lock().dropped = 3;
    assert!(audit.finish(true));
    let text = std::fs::read_to_string(bench.path()).unwrap();
    assert!(text.contains(r#""event":"dropped","count":3"#), "{text}");
    bench.intact();
}

#[test]
fn a_full_queue_refuses_permits_where_nothing_may_be_lost() {
    let audit = stuck(WhenFull::Fail);
    let mut permits: Vec<_> = (0..QUEUE / PER_PERMIT)
        .map(|_| audit.permit().unwrap())
        .collect();
    assert_eq!(audit.permit().unwrap_err(), QueueFull);
    // Whoever has a permit finds room, whatever others tell.
    audit.note(event());
    assert_eq!(audit.report().dropped, 1);
    for permit in &mut permits {
        (0..PER_PERMIT).for_each(|_| permit.note(event()));
    }
    assert_eq!((audit.report().waiting, audit.report().dropped), (QUEUE, 1));
    drop(permits);
    assert_eq!(audit.permit().unwrap_err(), QueueFull);
    audit.shared.state.lock().queue.clear();
    assert!(audit.permit().is_ok());
}

#[test]
fn what_a_permit_did_not_need_is_given_back() {
    let audit = stuck(WhenFull::Fail);
    for _ in 0..QUEUE {
        let mut permit = audit.permit().unwrap();
        permit.note(event());
        audit.shared.state.lock().queue.clear();
    }
    assert_eq!(audit.shared.state.lock().reserved, 0);
}

#[test]
fn a_file_that_logrotate_moved_is_gone_on_from_in_a_new_one() {
    let bench = Bench::new();
    let audit = bench.start(WhenFull::Drop);
    audit.note(event());
    wait_until("two lines", || audit.report().head.seq == 2);
    let old = bench.folder.path().join("audit.1");
    std::fs::rename(bench.path(), &old).unwrap();
    audit.note(event());
    wait_until("a line in the old file", || audit.report().head.seq == 3);
    audit.reopen();
    wait_until("the new file", || bench.path().exists());
    audit.reopen();
    assert!(audit.finish(true));
    bench.intact();
    let mut verifier = Verifier::new(None).with_seals(root(1), "v".to_owned());
    for path in [&old, &bench.path()] {
        verifier
            .read("f", std::fs::read(path).unwrap().as_slice())
            .unwrap();
    }
    let report = verifier.finish();
    assert_eq!(
        (report.findings, report.notes, report.lines),
        (vec![], vec![], 5)
    );
}

/// A device that is full takes the place of a disk that is.
#[test]
fn a_disk_that_is_full_holds_nobody_up_and_loses_nothing_that_still_finds_room() {
    let bench = Bench::new();
    let audit = bench.start(WhenFull::Drop);
    let started = Instant::now();
    (0..QUEUE * 2).for_each(|_| audit.note(event()));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "nobody waits for the disk"
    );
    let told = audit.report().dropped as usize;
    assert!(audit.finish(true));
    assert_eq!(bench.count(Kind::Lock) + told, QUEUE * 2);
    bench.intact();
}

#[test]
fn the_journal_gets_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let journald = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let session = Session {
        root: &root(1),
        start: Event::new(Kind::SessionStart).with(Field::Volume, "v"),
    };
    let audit = Audit::start_with(&Target::Journal, &socket, WhenFull::Drop, session).unwrap();
    audit.note(event());
    assert!(audit.finish(true));
    let mut text = Vec::new();
    for _ in 0..3 {
        let mut entry = [0; 4096];
        let len = journald.recv(&mut entry).unwrap();
        let entry = std::str::from_utf8(&entry[..len]).unwrap();
        let message = entry
            .lines()
            .find_map(|line| line.strip_prefix("MESSAGE="))
            .unwrap();
        text.extend_from_slice(message.as_bytes());
        text.push(b'\n');
    }
    let mut verifier = Verifier::new(None).with_seals(root(1), "v".to_owned());
    verifier.read("journal", text.as_slice()).unwrap();
    let report = verifier.finish();
    assert!(report.intact && report.notes.is_empty(), "{report:?}");
}

#[test]
fn a_target_that_cannot_be_used_is_an_error_that_names_it() {
    let target = Target::File("/nonexistent/audit".into());
    let session = Session {
        root: &root(1),
        start: Event::new(Kind::SessionStart),
    };
    let error = Audit::start(&target, WhenFull::Drop, session).unwrap_err();
    assert!(
        error.to_string().starts_with("/nonexistent/audit: "),
        "{error}"
    );
}

/// `/dev/full` answers each write with ENOSPC; through a folder where the file's name is taken by it nothing is lost.
#[test]
fn lines_that_cannot_be_written_wait() {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        wake: Condvar::new(),
    });
    assert!(!shared.failed("full"), "the session goes on");
    assert_eq!(shared.state.lock().report.failure.as_deref(), Some("full"));
    shared.wrote(1, Head::default());
    assert_eq!(shared.state.lock().report.failure, None);
    shared.state.lock().closed = true;
    assert!(shared.failed("full"), "and ends");
}
