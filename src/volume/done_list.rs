//! Which files a run that takes hours has done, so that the next can go on after it was cut short.
//!
//! `.envelopefs/reencrypt`, in binary: magic 8 ‖ run id 16 ‖ tag 32, then for each file that was done the commitment of its
//! new data key 32 ‖ tag 16. Tags are HMAC-SHA-256 under the volume's configuration key, so that whoever may write the
//! ciphertext cannot have files left out; he can put back the list of an earlier run, which is why a run begins anew unless
//! it is told to go on. What is behind a record that is not whole was never written.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::crypto::random;
use crate::storage::{Access, StorageFile};
use crate::units::{CipherLen, CipherOffset};

use super::Volume;
use super::error::VolumeError;
use super::key_set::SoleRun;
use super::meta::{self, name};
use super::secrets::VolumeSecrets;

const MAGIC: [u8; 8] = *b"ENVLPRE1";
const HEAD_LEN: usize = 8 + 16 + 32;
const RECORD_LEN: usize = 32 + 16;
/// More than a volume of so many files would need is not read: 64 million.
const MAX_LEN: usize = HEAD_LEN + RECORD_LEN * (64 << 20);

/// The files that a run has done.
#[derive(Debug)]
pub struct DoneList {
    secrets: Arc<VolumeSecrets>,
    id: [u8; 16],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The commitments of the data keys that the run gave.
    done: HashSet<[u8; 32]>,
    /// Where the list is kept; `None` for a run that is not gone on with.
    file: Option<(StorageFile, u64)>,
}

impl DoneList {
    /// Whether the run, or the one that it goes on with, gave this data key.
    pub fn has(&self, commitment: &[u8; 32]) -> bool {
        self.state.lock().done.contains(commitment)
    }

    /// How many files were done.
    pub fn len(&self) -> usize {
        self.state.lock().done.len()
    }

    /// Whether no file was done yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes a file that was done. A record that cannot be written only means that the file is done once more.
    pub fn note(&self, commitment: [u8; 32]) {
        let record = self.record(&commitment);
        let mut state = self.state.lock();
        state.done.insert(commitment);
        if let Some((file, end)) = &mut state.file {
            match file.write_at(&record, CipherOffset(*end)) {
                Ok(()) => *end += RECORD_LEN as u64,
                Err(error) => {
                    tracing::warn!(%error, "not noted as done: a run that goes on does the file again");
                }
            }
        }
    }

    fn record(&self, commitment: &[u8; 32]) -> [u8; RECORD_LEN] {
        let tag = self.secrets.config.tag(&[&MAGIC, &self.id, commitment]);
        let mut record = [0; RECORD_LEN];
        record[..32].copy_from_slice(commitment);
        record[32..].copy_from_slice(&tag[..RECORD_LEN - 32]);
        record
    }

    fn head(&self) -> Vec<u8> {
        let tag = self.secrets.config.tag(&[&MAGIC, &self.id]);
        [&MAGIC[..], &self.id, &tag].concat()
    }
}

impl Volume {
    /// A list for a run that begins anew; what is left of another goes. With `kept`, it outlives the process.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn new_done_list(&self, _run: &SoleRun, kept: bool) -> Result<DoneList, VolumeError> {
        let list = DoneList {
            secrets: self.vault.secrets()?,
            id: random::array(),
            state: Mutex::new(State {
                done: HashSet::new(),
                file: None,
            }),
        };
        if kept {
            let head = list.head();
            let put = meta::as_owner(&self.folder, || {
                self.folder.replace_file(&name(meta::DONE), 0o600, &head)
            });
            put.map_err(VolumeError::io("writing .envelopefs/reencrypt"))?;
            list.state.lock().file = Some((self.done_file()?, head.len() as u64));
        }
        Ok(list)
    }

    /// The list of a run that was cut short; `None` where there is none that is this volume's.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn kept_done_list(&self, _run: &SoleRun) -> Result<Option<DoneList>, VolumeError> {
        let bytes = match self.folder.read_file(&name(meta::DONE), MAX_LEN) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(VolumeError::io("reading .envelopefs/reencrypt"))?,
        };
        let Some(id) = bytes.get(8..24).and_then(|id| id.try_into().ok()) else {
            return Ok(None);
        };
        let list = DoneList {
            secrets: self.vault.secrets()?,
            id,
            state: Mutex::new(State {
                done: HashSet::new(),
                file: None,
            }),
        };
        let Some(records) = bytes.strip_prefix(list.head().as_slice()) else {
            return Ok(None);
        };
        let commitment = |record: &[u8]| -> Option<[u8; 32]> {
            let commitment = record.get(..32)?.try_into().ok()?;
            (list.record(&commitment) == record).then_some(commitment)
        };
        let done: HashSet<_> = records
            .chunks_exact(RECORD_LEN)
            .map_while(commitment)
            .collect();
        let end = (HEAD_LEN + RECORD_LEN * done.len()) as u64;
        let file = self.done_file()?;
        file.set_len(CipherLen(end))
            .map_err(VolumeError::io("cutting .envelopefs/reencrypt"))?;
        *list.state.lock() = State {
            done,
            file: Some((file, end)),
        };
        Ok(Some(list))
    }

    /// The run came to its end: there is nothing to go on with.
    ///
    /// # Errors
    /// [`VolumeError::Io`].
    pub fn drop_done_list(&self, _run: &SoleRun) -> Result<(), VolumeError> {
        match self.folder.unlink(&name(meta::DONE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VolumeError::io("removing .envelopefs/reencrypt")(error))
            }
            _ => Ok(()),
        }
    }

    fn done_file(&self) -> Result<StorageFile, VolumeError> {
        let opened = self
            .folder
            .open_child_file(&name(meta::DONE), Access::ReadWrite);
        opened.map_err(VolumeError::io("opening .envelopefs/reencrypt"))
    }
}
