//! Long requests that no thread serves yet, and who is told of them.
//!
//! A thread puts what comes to it into the queue, tells threads that wait for something to do, and takes what they do not.
//! Each that is told takes one, so a thread that looks whether anything is left does not count what they are about to take.
//!
//! Nothing is forgotten: whoever makes something left (who puts a request, who hears that he was told) is awake, and waits
//! only when nothing is left.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

/// The requests, in the order they came.
#[derive(Debug)]
pub(crate) struct LongQueue<T> {
    queue: Mutex<Queue<T>>,
    /// How many are there that nobody was told of, for a look without the lock.
    left: AtomicUsize,
}

#[derive(Debug)]
struct Queue<T> {
    requests: VecDeque<T>,
    /// Threads that were told, and have not heard yet.
    told: usize,
}

impl<T> Default for LongQueue<T> {
    fn default() -> Self {
        let queue = Queue {
            requests: VecDeque::new(),
            told: 0,
        };
        Self {
            queue: Mutex::new(queue),
            left: AtomicUsize::new(0),
        }
    }
}

impl<T> LongQueue<T> {
    /// Whether there are more than those who were told will take.
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire) > 0
    }

    pub(crate) fn put(&self, request: T) {
        self.with(|queue| queue.requests.push_back(request));
    }

    /// The one that waits longest.
    pub(crate) fn take(&self) -> Option<T> {
        self.with(|queue| queue.requests.pop_front())
    }

    /// Tells a thread to take one, if it waits; says whether it does. That it has heard it says under the same lock, so not
    /// before it is counted.
    pub(crate) fn tell(&self, thread: &Presence) -> bool {
        self.with(|queue| {
            let waited = thread.tell();
            queue.told += usize::from(waited);
            waited
        })
    }

    /// What a thread that was told says before it takes one.
    pub(crate) fn heard(&self) {
        self.with(|queue| queue.told -= 1);
    }

    fn with<R>(&self, work: impl FnOnce(&mut Queue<T>) -> R) -> R {
        let mut queue = self.queue.lock();
        let result = work(&mut queue);
        let left = queue.requests.len().saturating_sub(queue.told);
        self.left.store(left, Ordering::Release);
        result
    }
}

/// Whether a thread waits for something to do.
#[derive(Debug, Default)]
pub(crate) struct Presence(AtomicU8);

const BUSY: u8 = 0;
const WAITING: u8 = 1;
const TOLD: u8 = 2;

impl Presence {
    pub(crate) fn waits(&self) {
        self.0.store(WAITING, Ordering::Release);
    }

    /// The thread waits no more; says whether it was told of a request meanwhile.
    pub(crate) fn comes_back(&self) -> bool {
        self.0.swap(BUSY, Ordering::AcqRel) == TOLD
    }

    /// A thread that waits is told once; says whether it is now.
    fn tell(&self) -> bool {
        let (before, after) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.compare_exchange(WAITING, TOLD, before, after).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;
    use std::time::Instant;

    use super::*;

    #[test]
    fn requests_come_out_in_their_order_and_once() {
        let queue = LongQueue::default();
        assert_eq!(queue.take(), None);
        for request in 0..3 {
            queue.put(request);
        }
        assert_eq!((queue.take(), queue.take(), queue.take()), (Some(0), Some(1), Some(2)));
        assert_eq!(queue.take(), None);
        assert!(!queue.is_left());
    }

    #[test]
    fn who_is_busy_is_not_told() {
        let (queue, thread) = (LongQueue::default(), Presence::default());
        queue.put(());
        assert!(!queue.tell(&thread));
        assert!(queue.is_left());
        assert!(!thread.comes_back());
    }

    #[test]
    fn who_waits_is_told_once_and_what_he_will_take_is_not_left() {
        let (queue, thread) = (LongQueue::default(), Presence::default());
        queue.put(1);
        queue.put(2);
        thread.waits();
        assert!(queue.tell(&thread));
        assert!(!queue.tell(&thread));
        assert!(queue.is_left());
        assert_eq!(queue.take(), Some(1));
        assert!(!queue.is_left());
        assert!(thread.comes_back());
        queue.heard();
        assert!(queue.is_left());
        assert_eq!(queue.take(), Some(2));
    }

    #[test]
    fn who_was_told_too_late_hears_of_it_and_finds_nothing() {
        let (queue, thread) = (LongQueue::default(), Presence::default());
        queue.put(());
        thread.waits();
        assert!(queue.tell(&thread));
        assert_eq!(queue.take(), Some(()));
        assert!(thread.comes_back());
        queue.heard();
        assert!(!queue.is_left());
        assert_eq!(queue.take(), None);
        // And is not left out of what comes then.
        queue.put(());
        assert!(queue.is_left());
    }

    #[test]
    fn a_thread_that_came_back_by_itself_is_told_no_more() {
        let (queue, thread) = (LongQueue::<()>::default(), Presence::default());
        thread.waits();
        assert!(!thread.comes_back());
        assert!(!queue.tell(&thread));
    }

    /// Two threads that put requests, each into the other's sleep, and end when all are taken: one that is forgotten
    /// leaves both asleep, until the test is given up.
    #[test]
    fn no_request_is_forgotten() {
        const EACH: usize = 20_000;
        let begin = Instant::now();
        let queue = LongQueue::default();
        let threads = [Presence::default(), Presence::default()];
        let wakes = [AtomicBool::new(false), AtomicBool::new(false)];
        let taken = AtomicUsize::new(0);
        let is_done =
            || taken.load(Ordering::Acquire) == 2 * EACH || begin.elapsed() > Duration::from_secs(60);
        let work = |own: usize| {
            let (presence, other) = (&threads[own], 1 - own);
            let mut put = 0;
            while !is_done() {
                if put < EACH {
                    queue.put(());
                    put += 1;
                    if put % 3 == 0 && queue.tell(&threads[other]) {
                        wakes[other].store(true, Ordering::Release);
                    }
                }
                while queue.is_left() && queue.take().is_some() {
                    taken.fetch_add(1, Ordering::AcqRel);
                }
                if put % 2 == 0 {
                    presence.waits();
                    // Nothing of its own to do any more: only who tells wakes it.
                    while put == EACH
                        && !is_done()
                        && !wakes[own].swap(false, Ordering::AcqRel)
                    {
                        std::thread::yield_now();
                    }
                    if presence.comes_back() {
                        queue.heard();
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| work(0));
            scope.spawn(|| work(1));
        });
        assert_eq!(taken.into_inner(), 2 * EACH);
        assert!(!queue.is_left());
        assert_eq!(queue.queue.into_inner().told, 0);
    }
}
