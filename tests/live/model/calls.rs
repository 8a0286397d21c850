//! The system calls that have no safe form: a shared mapping, and truncate(2).

#![expect(unsafe_code, reason = "mmap and truncate have no safe form")]

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::null_mut;
use std::slice;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// Writes `data` at `at` through a mapping of the first `len` bytes of `file`, which is no shorter, and syncs it.
pub(crate) fn write_mapped(
    file: impl AsFd,
    len: usize,
    at: usize,
    data: &[u8],
) -> rustix::io::Result<()> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, at an address of the kernel's choice; nothing of this program lies there.
    let start = unsafe { mmap(null_mut(), len, access, MapFlags::SHARED, file, 0) }?;
    // SAFETY: `len` bytes are mapped at `start`, for reading and writing, until the munmap below, and no other
    // reference to them exists. Nobody cuts the file meanwhile: each test sees to that.
    let mapped = unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), len) };
    mapped[at..at + data.len()].copy_from_slice(data);
    // SAFETY: the mapping made above, which is still there.
    let synced = unsafe { msync(start, len, MsyncFlags::SYNC) };
    // SAFETY: the mapping made above; `mapped` is not used any more.
    unsafe { munmap(start, len) }?;
    synced
}

/// Cuts or grows what stands at `path`; the standard library would open it first.
pub(super) fn truncate(path: &Path, len: u64) -> rustix::io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_nul| Errno::INVAL)?;
    // SAFETY: the pointer is to a string that ends in a NUL and lives until the call is over.
    match unsafe { libc::truncate(path.as_ptr(), len as libc::off_t) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
