use std::sync::Arc;

use super::*;
use crate::keys::conformance::{self, CONTEXT};
use crate::keys::double::{Double, Script};
use crate::keys::error::KeyErrorKind;

fn guarded(double: Double) -> (Guarded, Arc<Script>) {
    let script = double.script();
    (Guarded::new(Metered::new(Box::new(double)), None), script)
}

fn remote() -> (Guarded, Arc<Script>) {
    guarded(Double::new("double:"))
}

fn silence() -> KeyError {
    KeyError::unavailable("no answer")
}

#[test]
fn what_is_guarded_passes_the_suite() {
    for double in [Double::new("double:"), Double::new("double:").local()] {
        conformance::provider_suite(&guarded(double).0);
    }
}

#[test]
fn silence_is_asked_again_and_each_try_counted() {
    let (guarded, script) = remote();
    script.fails(Some(silence()));
    let error = guarded.probe().unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Unavailable);
    assert_eq!(error.uri(), Some(guarded.uri()));
    assert_eq!(script.calls(), 3);
    let probes = guarded.calls().probe;
    assert_eq!((probes.calls, probes.failures), (3, 3));
}

#[test]
fn a_short_silence_is_not_noticed() {
    let (guarded, script) = remote();
    script.fails_times(silence(), 2);
    assert!(guarded.probe().is_ok());
    assert_eq!(script.calls(), 3);
    assert!(guarded.outage().is_none());
}

#[test]
fn refusals_are_final_and_no_outage() {
    for kind in [
        KeyErrorKind::Config,
        KeyErrorKind::Corrupt,
        KeyErrorKind::Denied,
        KeyErrorKind::NotFound,
        KeyErrorKind::Revoked,
    ] {
        let (guarded, script) = remote();
        script.fails(Some(KeyError::new(kind, "on purpose")));
        for asked in 1..=5 {
            assert_eq!(guarded.probe().unwrap_err().kind(), kind);
            assert_eq!(script.calls(), asked);
        }
        assert!(guarded.outage().is_none(), "{kind}");
    }
}

#[test]
fn what_does_not_answer_is_left_alone_and_found_again() {
    let (guarded, script) = remote();
    script.fails(Some(silence()));
    guarded.probe().unwrap_err();
    let asked = script.calls();
    for _ in 0..100 {
        let error = guarded.probe().unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(!error.is_outage(), "it was not asked");
    }
    assert!(script.calls() <= asked + 1, "{} calls", script.calls());
    assert!(guarded.outage().is_some());
    script.fails(None);
    let end = Instant::now() + Duration::from_secs(20);
    while guarded.probe().is_err() {
        assert!(Instant::now() < end, "still left alone");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(guarded.outage().is_none());
}

#[test]
fn failures_of_this_host_are_final_and_say_nothing_of_the_provider() {
    let (guarded, script) = remote();
    script.fails(Some(silence().of_this_host()));
    for asked in 1..=5 {
        guarded.probe().unwrap_err();
        assert_eq!(script.calls(), asked);
    }
    assert!(guarded.outage().is_none());
}

#[test]
fn a_time_asked_for_beyond_patience_ends_the_tries() {
    let (guarded, script) = remote();
    script.fails(Some(silence().retry_after(Duration::from_secs(60))));
    guarded.probe().unwrap_err();
    assert_eq!(script.calls(), 1);
}

#[test]
fn what_answers_from_memory_is_called_directly() {
    let (guarded, script) = guarded(Double::new("double:").local());
    script.fails(Some(silence()));
    for asked in 1..=10 {
        assert!(guarded.probe().unwrap_err().is_outage());
        assert_eq!(script.calls(), asked);
    }
    assert!(guarded.outage().is_none());
}

#[test]
fn more_calls_than_the_rate_allows_wait() {
    let double = Double::new("double:");
    let rate = NonZeroU32::new(20);
    let guarded = Guarded::new(Metered::new(Box::new(double)), rate);
    let begun = Instant::now();
    for _ in 0..26 {
        guarded
            .wrap(&SecretKey::random().unwrap(), &CONTEXT)
            .unwrap();
    }
    // 21 at once, and five more a twentieth of a second apart.
    assert!(begun.elapsed() >= Duration::from_millis(200));
}
