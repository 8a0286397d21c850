//! An open file whose keys are taken away, and perhaps given back: its provider refuses, or the mount is locked.
//!
//! Without keys nothing can be read, written, resized or committed. What was sealed before stays in the ciphertext
//! file; a length that was not committed yet is found again when the file is opened anew, as after a crash.

use std::sync::Arc;

use crate::format::header::FileHeader;
use crate::keys::KeyError;

use super::error::{ContentError, Damage};
use super::keys::EpochKeys;
use super::probe::{Probe, probe};
use super::{OpenFile, State};

impl OpenFile {
    /// Drops all keys of the file, once what reads or writes it at this moment is done. From then on operations that
    /// need one fail, for the reason `why`, until [`OpenFile::give_keys`].
    pub fn take_keys(&self, why: KeyError) {
        let mut state = self.state.write();
        state.keys = Err(why);
        self.end_session();
        self.subkeys.clear();
    }

    /// Gives the file its keys again, where it has none.
    ///
    /// # Errors
    /// [`ContentError::Damaged`] where they are not those of its header.
    pub fn give_keys(&self, keys: EpochKeys) -> Result<(), ContentError> {
        let mut state = self.state.write();
        if state.keys.is_ok() {
            return Ok(());
        }
        // A new file's header was not sealed yet.
        if state.header_on_disk && !state.header.verify(keys.header_key()) {
            return Err(self.damaged(Damage::Header));
        }
        state.keys = Ok(Arc::new(keys));
        Ok(())
    }

    /// Why the file has no keys, if it has none.
    pub fn keys_gone(&self) -> Option<KeyError> {
        self.state.read().keys.as_ref().err().cloned()
    }

    /// The header as it is known here.
    pub fn header_known(&self) -> FileHeader {
        self.state.read().header.clone()
    }

    /// The header by whose slots the file's keys are to be had now: another program may have wrapped them anew since
    /// the file was opened. Slots stand under no tag, so this is taken from disk where it is of the same keys.
    pub fn header_now(&self) -> FileHeader {
        let state = self.state.read();
        let known = |header: &FileHeader| -> Vec<_> {
            let epochs = header.epochs.iter();
            epochs
                .map(|epoch| (epoch.epoch, epoch.commitment))
                .collect()
        };
        match probe(&state.file, self.layout) {
            Ok(Probe::Sealed(header))
                if header.file_id == state.header.file_id
                    && known(&header) == known(&state.header) =>
            {
                header
            }
            _ => state.header.clone(),
        }
    }

    /// The keys, where they are at hand.
    pub(super) fn keys<'s>(&self, state: &'s State) -> Result<&'s EpochKeys, ContentError> {
        state.keys.as_deref().map_err(|why| ContentError::KeysGone {
            file_id: self.file_id(),
            why: why.clone(),
        })
    }
}
