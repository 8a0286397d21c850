//! What becomes of a mount that nobody uses: its keys are dropped, or it is unmounted.
//!
//! Requests are counted as they come, and here it is looked from time to time whether the count has risen: a request
//! itself costs nothing for it.

use std::io;
use std::time::{Duration, Instant};

use super::periodic::Periodic;

/// How long a mount may be unused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleTimes {
    /// Until it is unmounted, where no file is open; None: for ever.
    pub unmount: Option<Duration>,
    /// Until its keys are dropped; None: for ever.
    pub lock: Option<Duration>,
}

impl IdleTimes {
    fn shortest(&self) -> Option<Duration> {
        self.unmount.into_iter().chain(self.lock).min()
    }
}

/// The mount that is watched.
pub(super) trait Idling: Send {
    /// Rises with each use.
    fn uses(&self) -> u64;
    /// Whether a file is open, or a run over all files is under way.
    fn is_busy(&self) -> bool;
    /// Whether its keys are gone already.
    fn is_locked(&self) -> bool;
    /// Drops its keys.
    fn lock(&self);
    /// Unmounts it; not where somebody is in it.
    fn unmount(&self);
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(super) struct IdleWatch(Periodic<IdleTimes>);

/// Looks so often within the time, and at most and least this long apart.
const LOOKS: u32 = 10;
const LOOK_MOST: Duration = Duration::from_secs(20);
const LOOK_LEAST: Duration = Duration::from_millis(100);

impl IdleWatch {
    /// Watches `mount` on a thread of its own.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn start(times: IdleTimes, mount: impl Idling + 'static) -> io::Result<Self> {
        let mut last = Last::of(&mount, Instant::now());
        let look = move |times: &IdleTimes| {
            last.look(&mount, Instant::now());
            last.act(&mount, times);
            let pause = times.shortest()? / LOOKS;
            Some(pause.clamp(LOOK_LEAST, LOOK_MOST))
        };
        Periodic::start("idle", times, look).map(Self)
    }

    /// Other times hold from now on.
    pub(super) fn set(&self, times: IdleTimes) {
        self.0.set(times);
    }
}

/// When the mount was last used.
struct Last {
    uses: u64,
    used: Instant,
    /// The same, or since when it has its keys again.
    with_keys: Instant,
}

impl Last {
    fn of(mount: &dyn Idling, now: Instant) -> Self {
        Self {
            uses: mount.uses(),
            used: now,
            with_keys: now,
        }
    }

    fn act(&self, mount: &dyn Idling, times: &IdleTimes) {
        let due = |after: Option<Duration>, since: Instant| {
            after.is_some_and(|after| since.elapsed() >= after)
        };
        if due(times.unmount, self.used) && !mount.is_busy() {
            mount.unmount();
        }
        if due(times.lock, self.with_keys) {
            mount.lock();
        }
    }

    fn look(&mut self, mount: &dyn Idling, now: Instant) {
        let uses = mount.uses();
        if uses != self.uses {
            self.uses = uses;
            self.used = now;
            self.with_keys = now;
        }
        // Who unlocks is about to use it.
        if mount.is_locked() {
            self.with_keys = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::mpsc::{self, Receiver, Sender};

    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Facts {
        uses: AtomicU64,
        busy: AtomicBool,
        locked: AtomicBool,
    }

    struct Mount {
        facts: Arc<Facts>,
        /// Whether it is used at every look.
        in_use: bool,
        done: Mutex<Sender<&'static str>>,
    }

    impl Idling for Mount {
        fn uses(&self) -> u64 {
            let step = u64::from(self.in_use);
            self.facts.uses.fetch_add(step, Ordering::SeqCst)
        }
        fn is_busy(&self) -> bool {
            self.facts.busy.load(Ordering::SeqCst)
        }
        fn is_locked(&self) -> bool {
            self.facts.locked.load(Ordering::SeqCst)
        }
        fn lock(&self) {
            self.facts.locked.store(true, Ordering::SeqCst);
            self.done.lock().send("lock").unwrap_or_default();
        }
        fn unmount(&self) {
            self.done.lock().send("unmount").unwrap_or_default();
        }
    }

    const SHORT: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(30);

    fn watch(
        times: IdleTimes,
        in_use: bool,
        busy: bool,
    ) -> (IdleWatch, Receiver<&'static str>, Arc<Facts>) {
        let (sender, done) = mpsc::channel();
        let facts = Arc::new(Facts::default());
        facts.busy.store(busy, Ordering::SeqCst);
        let mount = Mount {
            facts: Arc::clone(&facts),
            in_use,
            done: Mutex::new(sender),
        };
        (IdleWatch::start(times, mount).unwrap(), done, facts)
    }

    #[test]
    fn an_unused_mount_is_locked_once_and_again_after_an_unlock() {
        let times = IdleTimes {
            lock: Some(SHORT),
            unmount: None,
        };
        let (watch, done, facts) = watch(times, false, true);
        assert_eq!(done.recv_timeout(PATIENCE), Ok("lock"));
        assert!(done.recv_timeout(SHORT * 4).is_err());
        facts.locked.store(false, Ordering::SeqCst);
        let unlocked = Instant::now();
        assert_eq!(done.recv_timeout(PATIENCE), Ok("lock"));
        assert!(unlocked.elapsed() >= SHORT / 2, "locked again at once");
        drop(watch);
    }

    #[test]
    fn an_unused_mount_is_unmounted_unless_a_file_is_open() {
        let times = IdleTimes {
            lock: None,
            unmount: Some(SHORT),
        };
        let (_watch, done, facts) = watch(times, false, true);
        assert!(done.recv_timeout(SHORT * 4).is_err());
        facts.busy.store(false, Ordering::SeqCst);
        assert_eq!(done.recv_timeout(PATIENCE), Ok("unmount"));
    }

    #[test]
    fn a_mount_in_use_is_left_alone() {
        let times = IdleTimes {
            lock: Some(PATIENCE),
            unmount: Some(PATIENCE),
        };
        let (watch, done, _facts) = watch(times, true, false);
        assert!(done.recv_timeout(SHORT * 4).is_err());
        drop(watch);
    }

    #[test]
    fn times_that_are_set_later_hold_at_once() {
        let (watch, done, _facts) = watch(IdleTimes::default(), false, false);
        assert!(done.recv_timeout(SHORT).is_err());
        watch.set(IdleTimes {
            lock: None,
            unmount: Some(SHORT),
        });
        assert_eq!(done.recv_timeout(PATIENCE), Ok("unmount"));
    }
}
