//! The nonces of a writer, and the AES-GCM key that their prefix selects.
//!
//! A session is begun and ended by who may change the file, so to him it is of the newest epoch. Others draw from it
//! too, for what they seal while the file is not theirs: see [`super::ahead`].

use std::sync::Arc;

use parking_lot::Mutex;

use crate::crypto::xaes::Subkey;
use crate::format::chunk::{self, NonceRun, WriterNonces};
use crate::units::ChunkIndex;

use super::error::ContentError;
use super::keys::SubkeyId;
use super::{OpenFile, State};

/// The nonces of one writer, and their key.
#[derive(Debug)]
pub(super) struct WriterSession {
    nonces: Mutex<WriterNonces>,
    subkey: Arc<Subkey>,
    /// What selects that key. No two sessions share it: the prefix is random.
    pub(super) id: SubkeyId,
}

/// Nonces for one write, and the AES-GCM key of their prefix.
pub(super) struct SealingRun {
    nonces: NonceRun,
    subkey: Arc<Subkey>,
    /// Of the session that they are from.
    pub(super) id: SubkeyId,
}

impl WriterSession {
    /// The next `count` nonces, which nobody is given again; `None` where fewer are left.
    pub(super) fn draw(&self, count: usize) -> Option<SealingRun> {
        let count = u32::try_from(count).expect("a request has far fewer than 2^32 blocks");
        let nonces = self.nonces.lock().take(count)?;
        Some(SealingRun {
            nonces,
            subkey: Arc::clone(&self.subkey),
            id: self.id,
        })
    }
}

impl OpenFile {
    /// `count` nonces of this writer, and their key. A new session begins when the counter is used up.
    pub(super) fn nonces(&self, state: &State, count: usize) -> Result<SealingRun, ContentError> {
        loop {
            let drawn = self.session.read().as_ref().and_then(|now| now.draw(count));
            if let Some(run) = drawn {
                return Ok(run);
            }
            let begun = self.begin_session(state)?;
            *self.session.write() = Some(begun);
        }
    }

    fn begin_session(&self, state: &State) -> Result<WriterSession, ContentError> {
        let (keys, nonces) = (self.keys(state)?, WriterNonces::new());
        let id = (keys.newest_epoch(), *nonces.prefix());
        let subkey = self.subkeys.subkey(keys, id);
        Ok(WriterSession {
            nonces: Mutex::new(nonces),
            subkey: subkey.expect("the newest epoch has a key"),
            id,
        })
    }

    /// From now on nothing is sealed with the key that was used until now; waits for who is about it. The caller holds
    /// the state exclusively.
    pub(super) fn end_session(&self) {
        *self.session.write() = None;
    }

    pub(super) fn seal_block(
        &self,
        run: &mut SealingRun,
        index: ChunkIndex,
        plain: &[u8],
        block: &mut [u8],
    ) {
        let header = if index.0 == 0 {
            self.layout.header_len()
        } else {
            0
        };
        let nonce = run
            .nonces
            .next()
            .expect("the run was drawn for as many blocks");
        chunk::seal(
            &self.context,
            &run.subkey,
            &nonce,
            run.id.0,
            index,
            plain,
            &mut block[header..],
        );
    }
}
