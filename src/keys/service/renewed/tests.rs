use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::keys::error::KeyErrorKind;

/// Renewed after two thirds of its lifetime; where that fails, again after ten seconds.
#[derive(Debug)]
struct Word(String);

impl Given for Word {
    fn early(lifetime: Duration) -> Duration {
        lifetime / 3
    }

    fn try_again(_lifetime: Duration) -> Duration {
        Duration::from_secs(10)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Numbers what it gives.
#[derive(Debug, Default)]
struct Words {
    lifetime: Option<Duration>,
    logins: AtomicUsize,
    renewals: AtomicUsize,
    /// Gives the same with each login.
    same: AtomicBool,
    fails: Mutex<Option<KeyErrorKind>>,
    /// An attempt lasts until so many wait for it.
    awaited: AtomicUsize,
    user: Mutex<Weak<Renewed<Arc<Self>>>>,
}

impl Source for Arc<Words> {
    type Given = Word;

    fn fetch(&self, last: Option<&Leased<Word>>) -> Result<Leased<Word>, KeyError> {
        let (counter, kind) = match last {
            Some(_) => (&self.renewals, "renewed"),
            None => (&self.logins, "login"),
        };
        let mut number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        let user = self.user.lock().upgrade();
        let waiting = || {
            user.as_ref()
                .map_or(usize::MAX, |user| user.fetching.waiting())
        };
        while waiting() < self.awaited.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(kind) = *self.fails.lock() {
            return Err(KeyError::new(kind, format!("attempt {number}")));
        }
        if self.same.load(Ordering::SeqCst) {
            number = 0;
        }
        let word = Word(format!("{kind}-{number}"));
        Ok(Leased::from_now(word, self.lifetime))
    }
}

impl Words {
    fn counts(&self) -> [usize; 2] {
        [&self.logins, &self.renewals].map(|count| count.load(Ordering::SeqCst))
    }

    fn fail(&self, kind: Option<KeyErrorKind>) {
        *self.fails.lock() = kind;
    }
}

fn renewed(lifetime: Option<Duration>) -> (Arc<Words>, Arc<Renewed<Arc<Words>>>) {
    let source = Arc::new(Words {
        lifetime,
        ..Words::default()
    });
    let renewed = Arc::new(Renewed::new(Arc::clone(&source)));
    *source.user.lock() = Arc::downgrade(&renewed);
    (source, renewed)
}

fn current(renewed: &Renewed<Arc<Words>>) -> String {
    renewed.current().unwrap().0.clone()
}

/// What the service says to whoever uses one that it does not know.
fn used(renewed: &Renewed<Arc<Words>>, known: &str) -> Result<String, KeyError> {
    renewed.with(
        |done: &Result<String, KeyError>| done.is_err(),
        |word| {
            if word.0 == known {
                Ok(word.0.clone())
            } else {
                Err(KeyError::new(KeyErrorKind::Denied, "refused"))
            }
        },
    )
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn all_who_wait_share_one_login() {
    let (source, renewed) = renewed(Some(HOUR));
    source.awaited.store(7, Ordering::SeqCst);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(current(&renewed), "login-1"));
        }
    });
    assert_eq!(source.counts(), [1, 0]);
}

#[test]
fn all_who_wait_share_a_login_that_fails() {
    let (source, renewed) = renewed(None);
    source.fail(Some(KeyErrorKind::Unavailable));
    source.awaited.store(7, Ordering::SeqCst);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let error = renewed.current().unwrap_err();
                assert_eq!(error.message(), "attempt 1");
            });
        }
    });
    assert_eq!(source.counts(), [1, 0]);
    source.awaited.store(0, Ordering::SeqCst);
    source.fail(None);
    assert_eq!(current(&renewed), "login-2", "an outage is not remembered");
}

#[test]
fn all_who_are_refused_share_one_new_login() {
    let (source, renewed) = renewed(None);
    assert_eq!(current(&renewed), "login-1");
    source.awaited.store(7, Ordering::SeqCst);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(used(&renewed, "login-2").unwrap(), "login-2"));
        }
    });
    assert_eq!(source.counts(), [2, 0]);
}

#[test]
fn it_is_renewed_before_its_end() {
    let (_source, renewed) = renewed(Some(HOUR));
    assert_eq!(current(&renewed), "login-1");
    assert!(renewed.due_in().unwrap() > HOUR / 2);
    renewed.age(HOUR / 2);
    assert_eq!(current(&renewed), "login-1");
    renewed.age(HOUR / 5);
    assert_eq!(current(&renewed), "renewed-1");
}

#[test]
fn without_an_end_it_is_never_renewed() {
    let (source, renewed) = renewed(None);
    assert_eq!(current(&renewed), "login-1");
    renewed.age(HOUR);
    assert_eq!(current(&renewed), "login-1");
    assert_eq!(renewed.due_in(), None);
    assert_eq!(source.counts(), [1, 0]);
}

#[test]
fn what_cannot_be_renewed_is_used_to_its_end_and_no_longer() {
    let (source, renewed) = renewed(Some(HOUR));
    assert_eq!(current(&renewed), "login-1");
    renewed.age(HOUR * 3 / 4);
    source.fail(Some(KeyErrorKind::Unavailable));
    for _ in 0..5 {
        assert_eq!(current(&renewed), "login-1");
    }
    assert_eq!(source.counts(), [1, 1], "one try in a while");
    renewed.age(Duration::from_secs(10));
    assert_eq!(current(&renewed), "login-1");
    assert_eq!(source.counts(), [1, 2], "and then another");
    renewed.age(HOUR / 4);
    assert!(renewed.current().is_err());
    source.fail(None);
    assert_eq!(current(&renewed), "login-3");
}

#[test]
fn who_is_refused_again_and_again_asks_once_in_a_while() {
    let (source, renewed) = renewed(None);
    for _ in 0..20 {
        used(&renewed, "none").unwrap_err();
    }
    assert_eq!(source.counts(), [2, 0], "one that was in use, and another");
    for (seconds, logins) in [
        (1, 3),
        (1, 3),
        (1, 4),
        (3, 4),
        (1, 5),
        (8, 6),
        (7, 6),
        (1, 7),
    ] {
        renewed.age(Duration::from_secs(seconds));
        used(&renewed, "none").unwrap_err();
        used(&renewed, "none").unwrap_err();
        assert_eq!(source.counts()[0], logins);
    }
    // A refusal long after is looked into at once.
    renewed.age(CALM);
    assert_eq!(used(&renewed, "login-8").unwrap(), "login-8");
}

#[test]
fn a_change_is_noticed_within_the_longest_pause() {
    let (source, renewed) = renewed(None);
    source.same.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        used(&renewed, "login-7").unwrap_err();
        renewed.age(LONGEST_PAUSE);
    }
    source.same.store(false, Ordering::SeqCst);
    assert_eq!(used(&renewed, "login-7").unwrap(), "login-7");
}

#[test]
fn the_same_again_is_not_tried_again() {
    let (source, renewed) = renewed(None);
    source.same.store(true, Ordering::SeqCst);
    let uses = AtomicUsize::new(0);
    let refused = renewed.with(
        |done: &Result<(), KeyError>| done.is_err(),
        |_word| {
            uses.fetch_add(1, Ordering::SeqCst);
            Err(KeyError::new(KeyErrorKind::Denied, "refused"))
        },
    );
    refused.unwrap_err();
    assert_eq!((uses.into_inner(), source.counts()), (1, [2, 0]));
}

#[test]
fn what_is_refused_goes_out_of_use_where_there_is_no_other() {
    let (source, renewed) = renewed(None);
    assert_eq!(current(&renewed), "login-1");
    source.fail(Some(KeyErrorKind::Unavailable));
    for attempt in ["attempt 2", "attempt 3"] {
        let error = used(&renewed, "none").unwrap_err();
        // The refusal would say that access was taken away.
        assert_eq!(error.message(), attempt);
    }
    source.fail(None);
    assert_eq!(used(&renewed, "login-4").unwrap(), "login-4");
}

#[test]
fn a_login_that_is_denied_is_not_tried_with_each_call() {
    let (source, renewed) = renewed(None);
    source.fail(Some(KeyErrorKind::Denied));
    for _ in 0..5 {
        let error = renewed.current().unwrap_err();
        assert_eq!(error.message(), "attempt 1");
    }
    renewed.age(FIRST_PAUSE);
    source.fail(None);
    assert_eq!(current(&renewed), "login-2");
}

#[test]
fn what_was_asked_for_before_all_is_forgotten_is_not_kept() {
    let (source, renewed) = renewed(Some(HOUR));
    source.awaited.store(1, Ordering::SeqCst);
    thread::scope(|scope| {
        let first = scope.spawn(|| current(&renewed));
        while source.counts() == [0, 0] {
            thread::sleep(Duration::from_millis(1));
        }
        renewed.forget();
        assert_eq!(current(&renewed), "login-1");
        assert_eq!(first.join().unwrap(), "login-1");
    });
    assert_eq!(renewed.due_in(), None);
    source.awaited.store(0, Ordering::SeqCst);
    assert_eq!(current(&renewed), "login-2");
    renewed.forget();
    assert_eq!(renewed.due_in(), None);
}
