//! Pages that the kernel has wrong, and the thread that has it drop them.
//!
//! To drop a page the kernel waits for its lock, and whoever reads the page holds that until his read is answered. So a thread
//! that serves requests must not ask for it: it would wait for what it has to answer itself, or all threads would for each other.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::threads;

/// What the kernel is still to drop. Its thread ends with it, and is not waited for: it may be in the kernel.
#[derive(Debug)]
pub(super) struct StalePages(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    list: Mutex<List>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct List {
    /// One range of bytes for each inode, around all that is wrong in it.
    ranges: HashMap<INodeNo, Range<u64>>,
    stop: bool,
}

impl StalePages {
    /// Starts the thread. Nothing is dropped before there is a notifier: nothing is cached until then.
    ///
    /// # Errors
    /// That there is no thread to be had.
    pub(super) fn start(notifier: Arc<OnceLock<Notifier>>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let run = move || told.run(|inode, range| ask(&notifier, inode, range));
        threads::spawn("stale-pages", run)?;
        Ok(Self(shared))
    }

    /// Has the kernel drop these bytes of a file, soon. Never waits for the kernel.
    pub(super) fn drop_later(&self, inode: INodeNo, range: Range<u64>) {
        self.0.list.lock().add(inode, range);
        self.0.wake.notify_one();
    }
}

impl Drop for StalePages {
    fn drop(&mut self) {
        self.0.list.lock().stop = true;
        self.0.wake.notify_one();
    }
}

impl List {
    fn add(&mut self, inode: INodeNo, range: Range<u64>) {
        let around = |known: &mut Range<u64>| {
            *known = known.start.min(range.start)..known.end.max(range.end);
        };
        self.ranges.entry(inode).and_modify(around).or_insert(range);
    }
}

impl Shared {
    fn run(&self, ask: impl Fn(INodeNo, &Range<u64>)) {
        let mut list = self.list.lock();
        while !list.stop {
            if list.ranges.is_empty() {
                self.wake.wait(&mut list);
            }
            let ranges = std::mem::take(&mut list.ranges);
            MutexGuard::unlocked(&mut list, || {
                for (inode, range) in &ranges {
                    ask(*inode, range);
                }
            });
        }
    }
}

fn ask(notifier: &OnceLock<Notifier>, inode: INodeNo, range: &Range<u64>) {
    let Some(notifier) = notifier.get() else {
        return;
    };
    let len = range.end - range.start;
    if let Err(error) = notifier.inval_inode(inode, range.start as i64, len as i64) {
        // Pages that are in use at the moment; times and size tell the kernel later.
        tracing::trace!(ino = inode.0, ?range, %error, "the kernel keeps pages");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const A: INodeNo = INodeNo(2);
    const B: INodeNo = INodeNo(3);

    #[test]
    fn one_range_of_an_inode_is_around_all_of_its_ranges() {
        let mut list = List::default();
        for (inode, range) in [(A, 100..200), (B, 7..8), (A, 50..60), (A, 150..170)] {
            list.add(inode, range);
        }
        assert_eq!(list.ranges, HashMap::from([(A, 50..200), (B, 7..8)]));
    }

    #[test]
    fn who_tells_does_not_wait_for_the_kernel_and_nothing_told_meanwhile_is_lost() {
        let pages = StalePages(Arc::default());
        let shared = Arc::clone(&pages.0);
        let (asked, hear) = mpsc::channel();
        let (let_go, held) = mpsc::channel::<()>();
        let run = thread::spawn(move || {
            shared.run(|inode, range| {
                asked.send((inode, range.clone())).unwrap();
                held.recv().unwrap();
            });
        });
        pages.drop_later(A, 0..10);
        assert_eq!(hear.recv(), Ok((A, 0..10)));
        // The kernel is at it.
        pages.drop_later(A, 10..20);
        pages.drop_later(A, 20..30);
        let_go.send(()).unwrap();
        assert_eq!(hear.recv(), Ok((A, 10..30)));
        drop(pages);
        let_go.send(()).unwrap();
        run.join().unwrap();
        assert!(hear.recv().is_err(), "asked after the end");
    }
}
