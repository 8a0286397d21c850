//! A thread that works for a part of the file system and ends with it.

use std::io;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use crate::threads;

/// The thread; none before it is started, nor once it was waited for.
#[derive(Debug, Default)]
pub(super) struct Worker(Mutex<Option<JoinHandle<()>>>);

impl Worker {
    pub(super) fn start(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = threads::spawn(name, work)?;
        *self.0.lock() = Some(thread);
        Ok(())
    }

    /// Waits for its end; not where that very thread held the last reference to the file system.
    pub(super) fn join(&self) {
        let thread = self.0.lock().take();
        let thread = thread.filter(|thread| thread.thread().id() != thread::current().id());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a thread of the file system panicked");
        }
    }
}
