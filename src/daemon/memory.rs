//! Memory goes back to the system when the kernel has forgotten many files.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fs::FileSystem;

use super::harden;

/// How often it is looked how many files the kernel knows.
const LOOK: Duration = Duration::from_secs(10);
/// With fewer there is nothing to gain: some megabytes.
const MANY: u64 = 10_000;

/// The thread that looks; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to look.
///
/// # Errors
/// There is no thread.
pub(super) fn watch(fs: &Arc<FileSystem>) -> io::Result<MemoryWatch> {
    let (stop, stopped) = mpsc::channel();
    let fs = Arc::downgrade(fs);
    let thread = std::thread::Builder::new().name("memory".to_owned());
    let thread = thread.spawn(move || {
        let mut most = 0;
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            match look(&fs, most) {
                Some(now) => most = now,
                None => return,
            }
        }
    })?;
    Ok(MemoryWatch {
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// The most files that the kernel has known since memory was given back; `None` where the mount is gone.
fn look(fs: &Weak<FileSystem>, most: u64) -> Option<u64> {
    let fs = fs.upgrade()?;
    let now = fs.stats().inodes;
    if most < MANY || now > most / 2 {
        return Some(most.max(now));
    }
    fs.shrink();
    harden::give_back_memory();
    tracing::debug!(most, now, "memory was given back");
    Some(now)
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that gives memory back panicked");
        }
    }
}
