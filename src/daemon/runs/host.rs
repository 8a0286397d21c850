//! Where a run works: in the process of a mount, or in a command that has the volume to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use super::{Event, FailureClass, Reins, RunFailure, RunReport, RunRequest, carry_out};
use crate::daemon::serve::{look_over, mark_clean};
use crate::fs::{FileSystem, FsOptions};
use crate::volume::Volume;

/// A mount that runs may be asked of, until it ends.
#[derive(Debug)]
pub struct RunHost {
    fs: Arc<FileSystem>,
    read_only: bool,
    stop: AtomicBool,
    running: Mutex<usize>,
    idle: Condvar,
}

impl RunHost {
    /// A host for the volume that `fs` serves.
    pub fn new(fs: Arc<FileSystem>, read_only: bool) -> Self {
        Self {
            fs,
            read_only,
            stop: AtomicBool::new(false),
            running: Mutex::new(0),
            idle: Condvar::new(),
        }
    }

    /// Does what is asked for, on this thread, until it is done, `tell` says that nobody listens, or the mount ends.
    ///
    /// # Errors
    /// Why nothing was done, or not all.
    pub fn run(
        &self,
        request: &RunRequest,
        tell: &mut dyn FnMut(Event) -> bool,
    ) -> Result<RunReport, RunFailure> {
        if self.read_only && !request.is_dry() {
            let why = "the volume is mounted read-only";
            return Err(RunFailure::new(FailureClass::Other, why));
        }
        let _running = Running::begin(self);
        // A run stops by itself where its asker has left; that must not stop the next one.
        let stop = AtomicBool::new(false);
        let mut heard = |event: Event| !self.stop.load(Ordering::Acquire) && tell(event);
        let mut reins = Reins {
            stop: &stop,
            tell: &mut heard,
        };
        carry_out(&self.fs, request, &mut reins)
    }

    /// Whether a run is under way.
    pub fn is_running(&self) -> bool {
        *self.running.lock() > 0
    }

    /// Stops every run, and waits until it has.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let mut running = self.running.lock();
        while *running > 0 {
            self.idle.wait(&mut running);
        }
    }
}

/// Counts a run for as long as it is under way, even if it panics.
struct Running<'a>(&'a RunHost);

impl<'a> Running<'a> {
    fn begin(host: &'a RunHost) -> Self {
        *host.running.lock() += 1;
        Self(host)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.idle.notify_all();
    }
}

/// Does what is asked for on a volume that is not mounted; `shared` says whether others may have mounted it.
///
/// # Errors
/// Why nothing was done, or not all.
pub fn offline(
    volume: Volume,
    shared: bool,
    request: &RunRequest,
    tell: &mut dyn FnMut(Event) -> bool,
) -> Result<RunReport, RunFailure> {
    let other = |why: String| RunFailure::new(FailureClass::Other, why);
    let volume = Arc::new(volume);
    let options = FsOptions {
        shared,
        ..FsOptions::default()
    };
    let begun = look_over(&volume, request.is_dry())
        .map_err(|error| other(error.to_string()))
        .and_then(|()| {
            let fs = FileSystem::new(Arc::clone(&volume), options);
            fs.map_err(|error| other(format!("opening the volume: {error}")))
        });
    let fs = begun.inspect_err(|_error| mark_clean(&volume))?;
    let stop = AtomicBool::new(false);
    let report = carry_out(&fs, request, &mut Reins { stop: &stop, tell });
    if fs.shut_down() {
        mark_clean(&volume);
    }
    report
}
