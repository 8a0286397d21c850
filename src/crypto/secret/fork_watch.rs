//! Tells a forked child from the process that made the keys: a word in a page that the kernel hands
//! to a child as zeros. (`pthread_atfork` would miss a raw `clone`; a stored process id can be
//! reused, and asking for it costs a system call per key.)
#![expect(unsafe_code, reason = "the page is mapped by hand")]

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// 1 in the process that armed it, 0 in its children.
static WORD: OnceLock<&'static AtomicU32> = OnceLock::new();

/// More than the word needs, and a whole number of pages whatever their size.
const MAP_LEN: usize = 64 * 1024;

/// Starts watching, the first time.
pub(super) fn arm() -> Result<(), Errno> {
    if WORD.get().is_none() {
        let word = map_word()?;
        word.store(1, Ordering::Relaxed);
        // Where two threads come here at once, one page is in use and the other lost.
        WORD.get_or_init(|| word);
    }
    Ok(())
}

/// Whether this process is a child (or a child's child) of the one that armed the watch.
#[inline]
pub(super) fn forked() -> bool {
    WORD.get()
        .is_some_and(|word| word.load(Ordering::Relaxed) == 0)
}

/// A zero word in a page of its own that is wiped on fork. Never unmapped.
fn map_word() -> Result<&'static AtomicU32, Errno> {
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address of the kernel's choice touches no other.
    let page = unsafe { mmap_anonymous(null_mut(), MAP_LEN, prot, flags) }?;
    wipe_on_fork(page, MAP_LEN)?;
    let word = NonNull::new(page.cast::<AtomicU32>()).ok_or(Errno::NOMEM)?;
    // SAFETY: the mapping is aligned, readable, writable, holds a valid zero word, and stays.
    Ok(unsafe { word.as_ref() })
}

/// Has the kernel give a forked child zeros in place of `len` bytes at `start`.
fn wipe_on_fork(start: *mut c_void, len: usize) -> Result<(), Errno> {
    // SAFETY: the advice changes nothing in this process.
    unsafe { madvise(start, len, Advice::LinuxWipeOnFork) }
}
