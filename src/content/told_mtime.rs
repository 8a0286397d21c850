//! The time of the last change, where the kernel owns it.
//!
//! A kernel that caches writes makes their times, and sends them when it has made a new one. A write within the tick of its
//! clock (some milliseconds) in which the file was made, or got its last time, makes no new one, and the kernel sends none:
//! the ciphertext file would keep the time at which the daemon wrote it, and show that after the next mount.

use std::io;

use crate::storage::Timestamp;

use super::writer::put_back_mtime;
use super::{OpenFile, State};

/// What the kernel has, as long as it sends no other.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToldMtime {
    time: Timestamp,
    /// Whether the daemon wrote since, and so gave the ciphertext file another.
    written_since: bool,
}

impl OpenFile {
    /// Notes which time of the last change the kernel was told of a file that it has just learnt of.
    pub fn tell_mtime(&self, time: Timestamp) {
        self.state.write().told_mtime = self.told(time);
    }

    /// What is written past the kernel's cache leaves its times as they were: those of the ciphertext file are better.
    pub fn written_past_cache(&self) {
        let is_told = |state: &State| state.told_mtime.is_some() || state.told_ctime.is_some();
        if is_told(&self.state.read()) {
            let mut state = self.state.write();
            state.told_mtime = None;
            state.told_ctime = None;
        }
    }

    /// Where other mounts write the file too, their times are as good.
    pub(super) fn told(&self, time: Timestamp) -> Option<ToldMtime> {
        (!self.shared).then_some(ToldMtime {
            time,
            written_since: false,
        })
    }

    /// Gives the ciphertext file the time that the kernel has. To be called when a program closes the file: by then the
    /// kernel has sent what it had to.
    ///
    /// # Errors
    /// What `futimens` answers.
    pub fn settle_mtime(&self) -> io::Result<()> {
        let is_due = |told: &ToldMtime| told.written_since;
        if !self.state.read().told_mtime.as_ref().is_some_and(is_due) {
            return Ok(());
        }
        let mut state = self.state.write();
        let Some(told) = state.told_mtime.as_mut().filter(|told| is_due(told)) else {
            return Ok(());
        };
        told.written_since = false;
        let time = told.time;
        put_back_mtime(&state.file, time)
    }
}

impl ToldMtime {
    pub(super) fn written(&mut self) {
        self.written_since = true;
    }
}
