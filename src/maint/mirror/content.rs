//! The content of one file.

use std::io;

use rustix::fs::Advice;

use crate::storage::StorageFile;
use crate::units::{CipherLen, CipherOffset};

const PIECE: usize = 1 << 20;

/// Makes the content of `to` that of `from`, holes as holes. Says how many bytes are no hole.
pub(super) fn copy(
    from: &StorageFile,
    to: &StorageFile,
    mut tell: impl FnMut(u64),
) -> io::Result<()> {
    to.set_len(CipherLen(0))?;
    let mut piece = vec![0; PIECE];
    let mut at = CipherOffset(0);
    while let Some(start) = from.seek_data(at)? {
        let end = from.seek_hole(start)?.unwrap_or(CipherOffset(u64::MAX));
        at = start;
        while at < end {
            let most = usize::try_from(end.0 - at.0).unwrap_or(PIECE).min(PIECE);
            let count = from.read_at(&mut piece[..most], at)?;
            if count == 0 {
                break;
            }
            to.write_at(&piece[..count], at)?;
            at.0 += count as u64;
            tell(count as u64);
        }
        if at < end {
            // It became shorter meanwhile.
            break;
        }
    }
    to.set_len(from.len()?)
}

/// Whether two files hold the same bytes. `to` is read from where it is stored, not from what the kernel keeps of it.
pub(super) fn same(
    from: &StorageFile,
    to: &StorageFile,
    mut tell: impl FnMut(u64),
) -> io::Result<bool> {
    rustix::fs::fadvise(to, 0, None, Advice::DontNeed)?;
    let mut pieces = [vec![0; PIECE], vec![0; PIECE]];
    let mut at = CipherOffset(0);
    loop {
        let [one, other] = &mut pieces;
        let count = from.read_at(one, at)?;
        if to.read_at(other, at)? != count || one[..count] != other[..count] {
            return Ok(false);
        }
        if count < PIECE {
            return Ok(true);
        }
        at.0 += count as u64;
        tell(count as u64);
    }
}
