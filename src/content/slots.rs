//! Exchanging a file's key slots under it. No data key is needed: no tag covers the slots, and each is bound to the file by
//! the commitment.
//!
//! Only the slots are written, over the header that is on disk. The page that holds them is old or new after a crash, and
//! either opens the file, so nothing is synced here.

use std::io;
use std::sync::Arc;

use crate::format::header::{FileHeader, KeyEpoch};
use crate::format::layout::Layout;
use crate::storage::{LockKind, StorageFile};
use crate::units::CipherOffset;

use super::OpenFile;
use super::error::ContentError;
use super::probe::{Probe, probe};
use super::shared::Turn;
use super::writer::put_back_mtime;

impl OpenFile {
    /// The header as this process knows it.
    ///
    /// # Errors
    /// As [`OpenFile::open`], where other mounts may have written another.
    pub fn header(&self) -> Result<FileHeader, ContentError> {
        if self.shared {
            self.refresh()?;
        }
        Ok(self.state.read().header.clone())
    }

    /// Puts `new` in the place of the epochs `known`, through a descriptor that may write; says whether they still were
    /// the file's. Only slots may differ between the two.
    ///
    /// # Errors
    /// [`ContentError::Io`], and [`ContentError::NotReadable`] where the new slots do not fit: then the old ones stay.
    pub fn exchange_slots(
        &self,
        writer: &Arc<StorageFile>,
        known: &[KeyEpoch],
        new: &[KeyEpoch],
    ) -> Result<bool, ContentError> {
        let mut state = self.state.write();
        let _turn = match self.shared {
            true => Some(Turn::take(writer, LockKind::Exclusive)?),
            false => None,
        };
        if self.shared {
            self.take_over(&mut state)?;
        }
        if state.header.epochs != known {
            return Ok(false);
        }
        let (exchanged, put_back) = match state.header_on_disk {
            true => exchange(writer, self.layout, known, new)?,
            false => (true, Ok(())),
        };
        if exchanged {
            state.header.epochs = new.to_vec();
        }
        put_back?;
        Ok(exchanged)
    }
}

/// As [`OpenFile::exchange_slots`], of a file that this process does not have open and keeps from being opened meanwhile;
/// with `shared`, other mounts may have.
///
/// # Errors
/// As [`OpenFile::exchange_slots`].
pub fn exchange_slots(
    file: StorageFile,
    layout: Layout,
    known: &[KeyEpoch],
    new: &[KeyEpoch],
    shared: bool,
) -> Result<bool, ContentError> {
    let file = Arc::new(file);
    let _turn = match shared {
        true => Some(Turn::take(&file, LockKind::Exclusive)?),
        false => None,
    };
    let (exchanged, put_back) = exchange(&file, layout, known, new)?;
    put_back?;
    Ok(exchanged)
}

/// Whether the slots on disk are the new ones, and whether the time of the last change could be put back then: what is
/// on disk counts in either case.
fn exchange(
    file: &StorageFile,
    layout: Layout,
    known: &[KeyEpoch],
    new: &[KeyEpoch],
) -> Result<(bool, io::Result<()>), ContentError> {
    let unchanged = Ok((false, Ok(())));
    let Probe::Sealed(mut header) = probe(file, layout)? else {
        return unchanged;
    };
    if header.epochs != known || !same_keys(known, new) {
        return unchanged;
    }
    header.epochs = new.to_vec();
    let mut bytes = vec![0; layout.header_len()];
    header.encode(&mut bytes)?;
    let mtime = file.stat()?.mtime;
    let written = file.write_at(&bytes, CipherOffset(0));
    let put_back = put_back_mtime(file, mtime);
    written?;
    Ok((true, put_back))
}

/// Whether two lists hold the same data keys.
pub(super) fn same_keys(one: &[KeyEpoch], other: &[KeyEpoch]) -> bool {
    let keys = |epochs: &[KeyEpoch]| -> Vec<_> {
        let each = epochs.iter();
        each.map(|epoch| (epoch.epoch, epoch.commitment)).collect()
    };
    keys(one) == keys(other)
}
