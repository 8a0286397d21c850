//! What the process does to itself before it holds a key; and fork, the one call here that needs
//! `unsafe`.
//!
//! `PR_SET_NO_NEW_PRIVS` is not set yet: an ordinary user mounts through the set-uid program `fusermount3`. The
//! [sandbox](super::sandbox) sets it when the mount is there.

#![expect(unsafe_code, reason = "fork has no safe form")]

use std::fmt;
use std::io;

use rustix::fs::Mode;
use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit};
use rustix::thread::CapabilitySet;

pub(super) mod threads;

/// What hardening achieved, for the log and for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardeningReport {
    /// How many files the process may hold open.
    pub open_files: u64,
    /// Whether all memory is locked, not only that of keys.
    pub memory: WholeMemory,
}

/// Whether all memory of the process is kept out of swap. Keys are in any case: their memory is
/// locked by itself (`crypto::configure_locked_memory`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeMemory {
    /// The kernel refused though it should not have.
    Failed(String),
    /// All of it.
    Locked,
    /// This user may lock a little only.
    NotAllowed,
}

impl fmt::Display for WholeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "keys only ({why})"),
            Self::Locked => f.write_str("all"),
            Self::NotAllowed => f.write_str("keys only"),
        }
    }
}

/// A process that could not be made safe for keys.
#[derive(Debug, thiserror::Error)]
#[error("cannot forbid {what}")]
pub struct HardenError {
    what: &'static str,
    #[source]
    source: io::Error,
}

/// Hardens the process: not dumpable (so neither a core nor another process of the user shows
/// its memory), no core file, umask 0 (the kernel applies the caller's own before it sends a
/// mode), as many open files as allowed, and all memory locked where that is allowed.
///
/// To be called in the process that will hold the keys, after the fork: locks are not inherited.
///
/// # Errors
/// The process can still be dumped. What only costs speed or comfort is in the report instead.
pub fn harden() -> Result<HardeningReport, HardenError> {
    let cannot = |what| {
        move |errno: rustix::io::Errno| HardenError {
            what,
            source: errno.into(),
        }
    };
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(cannot("dumps of the process"))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none).map_err(cannot("core files"))?;
    rustix::process::umask(Mode::empty());
    allow_to_come_back_from_idle();
    Ok(HardeningReport {
        open_files: raise_open_files(),
        memory: lock_whole_memory(),
    })
}

/// What root raises the number of open files to: an O_PATH handle for each cached inode.
const OPEN_FILES: u64 = 1_048_576;

/// Raises the soft limit to the hard one, and as root the hard one first. Returns what holds.
fn raise_open_files() -> u64 {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let wanted = wanted_open_files(&before, rustix::process::geteuid().is_root());
    let only_soft = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if rustix::process::setrlimit(Resource::Nofile, wanted).is_err() {
        // A container may keep root from raising the hard limit; the soft one is always ours. If
        // even that fails the limit stays, and the inode table lives with fewer handles.
        let _ = rustix::process::setrlimit(Resource::Nofile, only_soft);
    }
    rustix::process::getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX)
}

fn wanted_open_files(before: &Rlimit, root: bool) -> Rlimit {
    let maximum = match before.maximum {
        Some(hard) if root => Some(hard.max(OPEN_FILES)),
        other => other,
    };
    // "Unlimited" is more than the kernel's own bound on files of a process.
    Rlimit {
        current: maximum.or(Some(OPEN_FILES)),
        maximum,
    }
}

/// Threads that serve requests over io_uring are of SCHED_IDLE at times, and leave it only within RLIMIT_NICE or with
/// CAP_SYS_NICE. Where neither can be had, as by who is not root, they never are: requests are slower then.
fn allow_to_come_back_from_idle() {
    if may_come_back_from_idle() {
        return;
    }
    let wanted = limit_for_nice(own_nice());
    let before = rustix::process::getrlimit(Resource::Nice);
    let raised = Rlimit {
        current: Some(wanted),
        maximum: before.maximum.map(|hard| hard.max(wanted)),
    };
    let _ = rustix::process::setrlimit(Resource::Nice, raised);
}

/// Whether RLIMIT_NICE lets a thread of SCHED_IDLE become a usual one.
pub(super) fn may_come_back_from_idle() -> bool {
    let limit = rustix::process::getrlimit(Resource::Nice).current;
    limit.is_none_or(|limit| limit >= limit_for_nice(own_nice()))
}

fn own_nice() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

/// The RLIMIT_NICE that allows a nice value, −20 to 19 (getrlimit(2)).
fn limit_for_nice(nice: i32) -> u64 {
    u64::try_from(20 - nice).unwrap_or(0)
}

/// `MCL_ONFAULT`: only what is touched is locked, not every reserved stack.
fn lock_whole_memory() -> WholeMemory {
    if !may_lock_everything() {
        return WholeMemory::NotAllowed;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match rustix::mm::mlockall(flags) {
        Ok(()) => WholeMemory::Locked,
        Err(errno) => WholeMemory::Failed(errno.to_string()),
    }
}

/// Under a finite limit `MCL_FUTURE` would make later allocations fail, so not then.
fn may_lock_everything() -> bool {
    let unlimited = rustix::process::getrlimit(Resource::Memlock)
        .current
        .is_none();
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    unlimited || capable
}

/// Which process this is after a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forked {
    /// The new one.
    Child,
    /// The old one, and the child's id.
    Parent(Pid),
}

/// Forks a process that has one thread.
///
/// # Errors
/// The process has more threads than one, or the kernel makes no process.
pub(super) fn fork() -> io::Result<Forked> {
    if thread_count()? != 1 {
        return Err(io::Error::other("the process already has threads"));
    }
    // SAFETY: this is the only thread (counted above, and no other could start one), so no lock
    // of the allocator or of the standard library is held in the child by a thread that is gone.
    let id = unsafe { libc::fork() };
    match id {
        0 => Ok(Forked::Child),
        _ => Pid::from_raw(id)
            .filter(|_| id > 0)
            .map(Forked::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nice_value_has_its_limit() {
        assert_eq!([-20, 0, 19].map(limit_for_nice), [40, 20, 1]);
    }

    #[test]
    fn root_raises_the_hard_limit_and_others_use_what_they_have() {
        let before = Rlimit {
            current: Some(1024),
            maximum: Some(4096),
        };
        let all = |count| Rlimit {
            current: Some(count),
            maximum: Some(count),
        };
        assert_eq!(wanted_open_files(&before, true), all(OPEN_FILES));
        assert_eq!(wanted_open_files(&before, false), all(4096));
    }

    #[test]
    fn a_higher_hard_limit_is_kept() {
        let before = Rlimit {
            current: Some(1024),
            maximum: Some(OPEN_FILES * 2),
        };
        assert_eq!(
            wanted_open_files(&before, true).maximum,
            Some(OPEN_FILES * 2)
        );
        let unlimited = Rlimit {
            current: Some(1024),
            maximum: None,
        };
        let wanted = wanted_open_files(&unlimited, false);
        assert_eq!((wanted.current, wanted.maximum), (Some(OPEN_FILES), None));
    }

    #[test]
    fn a_process_with_threads_does_not_fork() {
        // The test harness runs this in a thread of its own.
        assert!(thread_count().unwrap() > 1);
        assert!(fork().unwrap_err().to_string().contains("threads"));
    }
}
