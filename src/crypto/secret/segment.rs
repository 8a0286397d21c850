//! One mapping of 64 KiB for keys, between guard pages, never unmapped.
#![expect(unsafe_code, reason = "memory is mapped and handed out by hand")]

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{NonNull, null_mut};

use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, mprotect,
    munmap,
};

use super::MemoryKind;

/// The length of a slot in bytes: one key.
pub(super) const SLOT_LEN: usize = 32;

/// How many slots a segment has.
pub(super) const SLOTS: usize = SEGMENT_LEN / SLOT_LEN;

/// A whole number of pages for every page size of Linux (4, 16 and 64 KiB).
const SEGMENT_LEN: usize = 64 * 1024;

/// The only owner of the 32 bytes of one slot. Those are mapped, readable and writable from before
/// the slot is made to the end of the process (though not in a child forked from it, which the
/// callers see to).
pub(super) struct Slot(NonNull<[u8; SLOT_LEN]>);

// SAFETY: the bytes have one owner, the slot, and no tie to a thread.
unsafe impl Send for Slot {}
// SAFETY: a shared slot gives out shared references only.
unsafe impl Sync for Slot {}

impl Slot {
    /// What the slot holds.
    pub(super) fn bytes(&self) -> &[u8; SLOT_LEN] {
        // SAFETY: valid for the life of the process, and borrowed as the slot is.
        unsafe { self.0.as_ref() }
    }

    /// What the slot holds, to be written.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8; SLOT_LEN] {
        // SAFETY: valid for the life of the process, and borrowed alone as the slot is.
        unsafe { self.0.as_mut() }
    }
}

/// Maps a segment of this kind, or of none. Its slots are zeros.
pub(super) fn map(kind: MemoryKind) -> Result<impl Iterator<Item = Slot> + use<>, Errno> {
    let reservation = Reservation::new()?;
    match kind {
        MemoryKind::Secret => reservation.fill_with_secret_memory(),
        MemoryKind::Locked => reservation
            .fill_with_anonymous_memory()
            .and_then(|()| reservation.lock()),
        MemoryKind::Unlocked => reservation.fill_with_anonymous_memory(),
    }?;
    reservation.into_slots()
}

/// Address space for a segment and as much again on each side, to which any access faults.
struct Reservation {
    start: *mut c_void,
}

impl Reservation {
    const LEN: usize = 3 * SEGMENT_LEN;

    fn new() -> Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other.
        let start = unsafe { mmap_anonymous(null_mut(), Self::LEN, ProtFlags::empty(), flags) }?;
        Ok(Self { start })
    }

    /// Where the segment itself begins.
    fn middle(&self) -> *mut c_void {
        self.start.wrapping_byte_add(SEGMENT_LEN)
    }

    /// Puts a `memfd_secret` in the middle. Out of core files and swap by the kernel's own rules;
    /// a child does not get the mapping at all.
    fn fill_with_secret_memory(&self) -> Result<(), Errno> {
        let memory = memfd_secret()?;
        rustix::fs::ftruncate(&memory, SEGMENT_LEN as u64)?;
        let (prot, flags) = (
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED,
        );
        // SAFETY: it replaces pages of this reservation, to which there are no references.
        unsafe { mmap(self.middle(), SEGMENT_LEN, prot, flags, &memory, 0) }?;
        self.advise(Advice::LinuxDontFork)
    }

    /// Opens the middle for reading and writing, out of core files and wiped in a forked child.
    fn fill_with_anonymous_memory(&self) -> Result<(), Errno> {
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the pages are this reservation's, to which there are no references.
        unsafe { mprotect(self.middle(), SEGMENT_LEN, access) }?;
        self.advise(Advice::LinuxDontDump)?;
        self.advise(Advice::LinuxWipeOnFork)
    }

    /// Keeps the middle in memory.
    fn lock(&self) -> Result<(), Errno> {
        // SAFETY: the pages are this reservation's; what they hold does not change.
        unsafe { mlock(self.middle(), SEGMENT_LEN) }
    }

    fn advise(&self, advice: Advice) -> Result<(), Errno> {
        // SAFETY: the pages are this reservation's, and the advice is about dumps and forks only.
        unsafe { madvise(self.middle(), SEGMENT_LEN, advice) }
    }

    /// Cuts the middle into slots; from here on it is never unmapped.
    fn into_slots(self) -> Result<impl Iterator<Item = Slot> + use<>, Errno> {
        let reservation = ManuallyDrop::new(self);
        let first = NonNull::new(reservation.middle()).ok_or(Errno::NOMEM)?;
        // SAFETY: the segment is writable, and no slot refers to it yet. Written as a whole so that
        // every page is there before a key is: secret memory is not filled in ahead by the kernel.
        unsafe { first.cast::<u8>().write_bytes(0, SEGMENT_LEN) };
        let first = first.cast::<[u8; SLOT_LEN]>();
        // SAFETY: `index` < SLOTS, so the slot lies in the segment.
        Ok((0..SLOTS).map(move |index| Slot(unsafe { first.add(index) })))
    }
}

impl Drop for Reservation {
    /// Only where the segment did not come about.
    fn drop(&mut self) {
        // SAFETY: the pages are this reservation's, to which there are no references.
        let unmapped = unsafe { munmap(self.start, Self::LEN) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// A new file of secret memory. Fails where the kernel has none, or a sandbox forbids the call.
fn memfd_secret() -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes one flag and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

    use rustix::pipe::PipeFlags;

    use super::*;
    use crate::crypto::secret::fork_watch;

    const KINDS: [MemoryKind; 3] = [MemoryKind::Secret, MemoryKind::Locked, MemoryKind::Unlocked];

    /// The slots of a new segment of each kind that this machine has. (A container may have a limit
    /// of 0 for locked memory; an old kernel has no secret memory.)
    fn segments() -> Vec<(MemoryKind, Vec<Slot>)> {
        let segments: Vec<_> = KINDS
            .into_iter()
            .filter_map(|kind| map(kind).ok().map(|slots| (kind, slots.collect())))
            .collect();
        assert!(
            segments
                .iter()
                .any(|(kind, _slots)| *kind == MemoryKind::Unlocked)
        );
        segments
    }

    #[test]
    fn slots_are_zeros_side_by_side() {
        for (kind, slots) in segments() {
            assert_eq!(slots.len(), SLOTS, "{kind}");
            let first = slots[0].0.addr().get();
            for (index, slot) in slots.iter().enumerate() {
                assert_eq!(slot.0.addr().get(), first + index * SLOT_LEN, "{kind}");
                assert_eq!(slot.bytes(), &[0; SLOT_LEN], "{kind}");
            }
        }
    }

    /// What the kernel writes of 32 bytes at `start` into `pipe`: it answers EFAULT where we would
    /// get a signal.
    fn write_from(start: *const u8, pipe: BorrowedFd<'_>) -> Result<usize, Errno> {
        // SAFETY: the kernel checks the address; this process does not read there.
        let written = unsafe { libc::write(pipe.as_raw_fd(), start.cast(), SLOT_LEN) };
        usize::try_from(written).map_err(|_negative| {
            // SAFETY: always answers, with the address of this thread's own errno.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: valid as long as the thread is.
            Errno::from_raw_os_error(unsafe { *errno })
        })
    }

    #[test]
    fn before_and_after_a_segment_there_is_nothing() {
        let (_reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        for (kind, slots) in segments() {
            let first = slots[0].bytes().as_ptr();
            let last = slots[SLOTS - 1].bytes().as_ptr();
            assert_eq!(write_from(first, writer.as_fd()), Ok(SLOT_LEN), "{kind}");
            assert_eq!(write_from(last, writer.as_fd()), Ok(SLOT_LEN), "{kind}");
            let before = first.wrapping_sub(SLOT_LEN);
            assert_eq!(
                write_from(before, writer.as_fd()),
                Err(Errno::FAULT),
                "{kind}"
            );
            let after = last.wrapping_add(SLOT_LEN);
            assert_eq!(
                write_from(after, writer.as_fd()),
                Err(Errno::FAULT),
                "{kind}"
            );
        }
    }

    /// The kernel's flags (proc(5), `VmFlags`) of the mapping that a slot is in.
    fn vm_flags(slot: &Slot) -> Vec<String> {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let address = slot.0.addr().get();
        let mut here = false;
        for line in smaps.lines() {
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_flags| here) {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let bound = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(start), Some(end))) = range.map(|(s, e)| (bound(s), bound(e))) {
                here = (start..end).contains(&address);
            }
        }
        panic!("the slot is in no mapping");
    }

    #[test]
    fn the_kernel_keeps_a_segment_from_core_files_swap_and_children() {
        for (kind, slots) in segments() {
            let flags = vm_flags(&slots[0]);
            let has = |flag| flags.iter().any(|known| known == flag);
            assert!(has("dd"), "{kind} is not dumped: {flags:?}");
            assert_eq!(
                has("lo"),
                kind != MemoryKind::Unlocked,
                "{kind} is locked: {flags:?}"
            );
            let kept_from_children = if kind == MemoryKind::Secret {
                "dc"
            } else {
                "wf"
            };
            assert!(has(kept_from_children), "{kind} and fork: {flags:?}");
        }
    }

    /// What a forked child writes of the slot, and whether it knows that it is one.
    ///
    /// The child of a threaded process may only do what a signal handler may: it makes one system
    /// call, reads one word and exits, and neither allocates nor locks nor panics.
    fn child_sees(slot: &Slot) -> (Result<[u8; SLOT_LEN], Errno>, bool) {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        // SAFETY: as said above.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let written = write_from(slot.0.as_ptr().cast(), writer.as_fd());
            let fault = i32::from(written == Err(Errno::FAULT));
            // SAFETY: ends the child, and runs nothing of ours.
            unsafe { libc::_exit(2 * fault + i32::from(fork_watch::forked())) };
        }
        assert!(child > 0);
        drop(writer);
        let mut status = 0;
        // SAFETY: a child of ours, and a status that is ours to write.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status), "{status:#x}");
        let code = libc::WEXITSTATUS(status);
        let mut bytes = [0xee; SLOT_LEN];
        let read = rustix::io::read(&reader, &mut bytes).unwrap();
        let seen = if code & 2 == 0 {
            Ok(bytes)
        } else {
            Err(Errno::FAULT)
        };
        assert_eq!(read, if seen.is_ok() { SLOT_LEN } else { 0 });
        (seen, code & 1 != 0)
    }

    #[test]
    fn a_forked_child_sees_no_key_and_knows_why() {
        fork_watch::arm().unwrap();
        for (kind, mut slots) in segments() {
            slots[5].bytes_mut().fill(0xaa);
            let expected = match kind {
                MemoryKind::Secret => Err(Errno::FAULT),
                MemoryKind::Locked | MemoryKind::Unlocked => Ok([0; SLOT_LEN]),
            };
            assert_eq!(child_sees(&slots[5]), (expected, true), "{kind}");
            assert_eq!(slots[5].bytes(), &[0xaa; SLOT_LEN], "{kind}, in the parent");
            assert!(!fork_watch::forked());
        }
    }
}
