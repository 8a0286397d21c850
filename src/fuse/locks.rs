//! Callers' locks where other mounts hold locks too: the kernel sends each request here, and one that waits must not
//! keep a thread that others need. Waiters stand in a list, which one thread asks for again and again.
//!
//! That a waiting call was interrupted the kernel tells. That may come before the request does, and only so many are
//! remembered: so its thread's pending signals are looked at as well.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fuser::{Errno, INodeNo, ReplyEmpty, ReplyLock, RequestId};
use parking_lot::{Condvar, Mutex};

use crate::fs::{Caller, FileSystem, FsError, LockRequest};
use crate::storage::{LockKind, LockRange, is_signalled};
use crate::threads;

use super::adapter::settle;

/// How soon a lock is asked for again, at first and at last.
const SOON: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_millis(50);
/// Interrupts that are remembered: most are of requests that are no locks, and answered.
const INTERRUPTS: usize = 64;

/// A request that waits for its lock.
#[derive(Debug)]
pub(super) struct Waiter {
    /// What the kernel calls the request.
    pub(super) unique: RequestId,
    pub(super) inode: INodeNo,
    pub(super) request: LockRequest,
    /// Whose system call waits.
    pub(super) by: Caller,
    pub(super) reply: ReplyEmpty,
}

/// Those who wait for locks, and the thread that asks for them.
#[derive(Debug)]
pub(super) struct LockWaiters {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    fs: Arc<FileSystem>,
    list: Mutex<List>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct List {
    waiting: Vec<Waiter>,
    /// The requests that were interrupted last.
    interrupted: VecDeque<RequestId>,
    /// Something has changed: ask at once.
    news: bool,
    stop: bool,
}

impl LockWaiters {
    pub(super) fn new(fs: Arc<FileSystem>) -> Self {
        let (list, wake) = (Mutex::default(), Condvar::new());
        Self {
            shared: Arc::new(Shared { fs, list, wake }),
            thread: Mutex::default(),
        }
    }

    /// Answers a request for a lock: at once, or with `waits` when the lock is to be had.
    pub(super) fn set(&self, waiter: Waiter, waits: bool) {
        let Some(waiter) = self.shared.ask(waiter) else {
            return self.wake();
        };
        if !waits {
            waiter.reply.error(Errno::EAGAIN);
            // A lock that was to be exchanged may have gone.
            return self.wake();
        }
        if let Err(error) = self.ensure_thread() {
            tracing::error!(%error, "no thread to wait for locks");
            return waiter.reply.error(Errno::ENOLCK);
        }
        let mut list = self.shared.list.lock();
        list.waiting.push(waiter);
        list.news = true;
        self.shared.wake.notify_one();
    }

    /// Locks were given up: those who wait may have them.
    pub(super) fn wake(&self) {
        let mut list = self.shared.list.lock();
        if !list.waiting.is_empty() {
            list.news = true;
            self.shared.wake.notify_one();
        }
    }

    /// Whoever waits for this request is to be told so.
    pub(super) fn interrupt(&self, unique: RequestId) {
        let mut list = self.shared.list.lock();
        if list.interrupted.len() == INTERRUPTS {
            list.interrupted.pop_front();
        }
        list.interrupted.push_back(unique);
        list.news = true;
        self.shared.wake.notify_one();
    }

    fn ensure_thread(&self) -> std::io::Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            *thread = Some(threads::spawn("lock-waiters", move || shared.run())?);
        }
        Ok(())
    }
}

impl List {
    /// Whether this request was interrupted: said once, for the number comes again.
    fn takes_interrupt(&mut self, unique: RequestId) -> bool {
        let known = self.interrupted.iter().position(|known| *known == unique);
        known.is_some_and(|at| self.interrupted.remove(at).is_some())
    }
}

impl Drop for LockWaiters {
    fn drop(&mut self) {
        self.shared.list.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that waits for locks panicked");
        }
        // The mount is gone, and with it whoever waited.
        for waiter in self.shared.list.lock().waiting.drain(..) {
            waiter.reply.error(Errno::EINTR);
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut delay = SOON;
        loop {
            let mut list = self.list.lock();
            if list.waiting.is_empty() && !list.stop {
                self.wake.wait(&mut list);
            } else if !list.news && !list.stop {
                self.wake.wait_for(&mut list, delay);
            }
            if list.stop {
                return;
            }
            delay = if list.news { SOON } else { LATE.min(delay * 2) };
            list.news = false;
            // Who comes meanwhile stands behind those who wait already.
            let waiting = list.waiting.len();
            for _ in 0..waiting {
                let first = list.waiting.remove(0);
                if list.takes_interrupt(first.unique) {
                    first.reply.error(Errno::EINTR);
                    continue;
                }
                let still = parking_lot::MutexGuard::unlocked(&mut list, || self.ask_again(first));
                list.waiting.extend(still);
            }
        }
    }

    fn ask_again(&self, waiter: Waiter) -> Option<Waiter> {
        if is_signalled(waiter.by.pid) {
            waiter.reply.error(Errno::EINTR);
            return None;
        }
        self.ask(waiter)
    }

    /// Answers the request if the lock is to be had or never will be; else gives it back.
    fn ask(&self, waiter: Waiter) -> Option<Waiter> {
        let set = || self.fs.set_lock(&waiter.request);
        match settle(&self.fs, ("setlk", waiter.inode, waiter.by), set) {
            Ok(true) => waiter.reply.ok(),
            Ok(false) => return Some(waiter),
            Err(errno) => waiter.reply.error(errno),
        }
        None
    }
}

/// Tells of a lock that stands in the way of `request`.
pub(super) fn get(
    fs: &FileSystem,
    (inode, by): (INodeNo, Caller),
    request: &LockRequest,
    reply: ReplyLock,
) {
    match settle(fs, ("getlk", inode, by), || fs.find_conflict(request)) {
        Ok(None) => reply.locked(0, 0, libc::F_UNLCK, 0),
        Ok(Some(found)) => {
            let kind = match found.kind {
                LockKind::Exclusive => libc::F_WRLCK,
                LockKind::Shared => libc::F_RDLCK,
            };
            let (first, last) = found.range.bounds();
            reply.locked(first, last, kind, found.pid);
        }
        Err(errno) => reply.error(errno),
    }
}

/// A lock as the protocol has it. `EINVAL` where it is none.
pub(super) fn wanted(
    first: u64,
    last: u64,
    kind: i32,
) -> Result<(LockRange, Option<LockKind>), FsError> {
    let range = LockRange::of_caller(first, last).ok_or(FsError::Refused(libc::EINVAL))?;
    let kind = match kind {
        libc::F_RDLCK => Some(LockKind::Shared),
        libc::F_WRLCK => Some(LockKind::Exclusive),
        libc::F_UNLCK => None,
        _ => return Err(FsError::Refused(libc::EINVAL)),
    };
    Ok((range, kind))
}
