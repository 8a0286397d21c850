//! Which time of its last change the kernel had of a file, for the next mount: `.envelopefs/ctimes`.
//!
//! In binary: magic 8 ‖ tag 32, then for each file its inode number 8, and the time of the ciphertext file and the time
//! to show, each seconds 8 ‖ nanoseconds 4. The tag is HMAC-SHA-256 under the volume's configuration key over magic and
//! records, so that whoever may write the ciphertext cannot have a file that he put back look untouched.

use std::io;

use crate::storage::Timestamp;

use super::Volume;
use super::error::VolumeError;
use super::meta::{self, name};

const MAGIC: [u8; 8] = *b"ENVLCTM1";
const HEAD_LEN: usize = 8 + 32;
const RECORD_LEN: usize = 8 + 2 * TIME_LEN;
const TIME_LEN: usize = 8 + 4;
const NANOS: u32 = 1_000_000_000;

/// A time of the last change that is not the ciphertext file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptCtime {
    /// The number of the ciphertext inode.
    pub ino: u64,
    /// When the ciphertext inode was changed last: with any other time the record is void.
    pub ciphertext: Timestamp,
    /// What the file shows in its stead.
    pub told: Timestamp,
}

impl KeptCtime {
    /// Records that are kept, at most: 2 MiB of them.
    pub const MOST: usize = 65_536;

    fn to_bytes(self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        bytes[..8].copy_from_slice(&self.ino.to_le_bytes());
        put_time(&mut bytes[8..8 + TIME_LEN], self.ciphertext);
        put_time(&mut bytes[8 + TIME_LEN..], self.told);
        bytes
    }

    fn parse(record: &[u8]) -> Option<Self> {
        let (ino, rest) = record.split_first_chunk()?;
        let (ciphertext, told) = rest.split_at_checked(TIME_LEN)?;
        Some(Self {
            ino: u64::from_le_bytes(*ino),
            ciphertext: time(ciphertext)?,
            told: time(told)?,
        })
    }
}

fn put_time(bytes: &mut [u8], time: Timestamp) {
    bytes[..8].copy_from_slice(&time.secs.to_le_bytes());
    bytes[8..].copy_from_slice(&time.nanos.to_le_bytes());
}

fn time(bytes: &[u8]) -> Option<Timestamp> {
    let (secs, nanos) = bytes.split_first_chunk()?;
    let nanos = u32::from_le_bytes(nanos.try_into().ok()?);
    (nanos < NANOS).then_some(Timestamp {
        secs: i64::from_le_bytes(*secs),
        nanos,
    })
}

impl Volume {
    /// What the last mount kept, the newest last; nothing where there is none, or none that is this volume's.
    ///
    /// # Errors
    /// [`VolumeError::Io`]; [`VolumeError::Key`] while the volume is locked.
    pub fn kept_ctimes(&self) -> Result<Vec<KeptCtime>, VolumeError> {
        let most = HEAD_LEN + RECORD_LEN * KeptCtime::MOST;
        let bytes = match self.folder.read_file(&name(meta::CTIMES), most) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes.map_err(VolumeError::io("reading .envelopefs/ctimes"))?,
        };
        let Some((tag, records)) = parts(&bytes) else {
            return Ok(Vec::new());
        };
        if !self.vault.secrets()?.config.verify(&[&MAGIC, records], tag) {
            return Ok(Vec::new());
        }
        let records = records.chunks_exact(RECORD_LEN);
        Ok(records.filter_map(KeptCtime::parse).collect())
    }

    /// Keeps these for the next mount, the newest last, in place of what was there.
    ///
    /// # Errors
    /// As [`Volume::kept_ctimes`].
    pub fn keep_ctimes(&self, ctimes: &[KeptCtime]) -> Result<(), VolumeError> {
        let surplus = ctimes.len().saturating_sub(KeptCtime::MOST);
        let records: Vec<u8> = ctimes[surplus..]
            .iter()
            .flat_map(|one| one.to_bytes())
            .collect();
        let tag = self.vault.secrets()?.config.tag(&[&MAGIC, &records]);
        let bytes = [&MAGIC[..], &tag, &records].concat();
        let put = meta::as_owner(&self.folder, || {
            self.folder.replace_file(&name(meta::CTIMES), 0o600, &bytes)
        });
        put.map_err(VolumeError::io("writing .envelopefs/ctimes"))
    }
}

/// The tag, and the records.
fn parts(bytes: &[u8]) -> Option<(&[u8; 32], &[u8])> {
    bytes.strip_prefix(&MAGIC)?.split_first_chunk()
}
