//! The capabilities of the processes of a mount.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

use crate::daemon::harden;

/// What serving needs, as root:
/// * inodes of any owner, mode and kind, made and changed for whoever asks: `CHOWN`, `DAC_OVERRIDE`, `DAC_READ_SEARCH`
///   (also file handles), `FOWNER`, `FSETID`, `MKNOD`, `SETFCAP` (`security.capability`);
/// * inodes that are the caller's from their first instant: `SETUID`, `SETGID`;
/// * keys that never reach swap: `IPC_LOCK`;
/// * `mount(2)` at the beginning, and `trusted.` attributes: `SYS_ADMIN`. What else it stands for is refused with the
///   system calls.
const SERVING: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_ADMIN);

/// Which program a caller runs, for policies and the audit: the scout's, where there is one.
const SCOUT: CapabilitySet = CapabilitySet::SYS_PTRACE;

/// Threads that serve over io_uring are of SCHED_IDLE at times. Where RLIMIT_NICE does not let them leave it, as in most
/// containers, this does; the system calls have it for the calling thread alone.
const POLICY: CapabilitySet = CapabilitySet::SYS_NICE;

/// What an unmount needs, wherever the mount point is.
const KEEPER: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::SYS_ADMIN);

/// The most capabilities that a set has room for (capabilities(7)).
const BITS: u32 = 64;

/// Keeps for this thread, and those that it will start, what serving needs of what it has. Programs that it runs may
/// become no more either, unless `programs` are to be run as ever; then there is no scout, and it looks itself.
pub(super) fn reduce(programs: bool) -> io::Result<()> {
    let serving = serving(programs, harden::may_come_back_from_idle());
    if !programs
        && capabilities(None)?
            .effective
            .contains(CapabilitySet::SETPCAP)
    {
        for capability in known().filter(|one| !serving.contains(*one)) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    keep(serving)
}

fn serving(programs: bool, comes_back: bool) -> CapabilitySet {
    match (programs, comes_back) {
        // Here no list says for which threads.
        (true, _) => SERVING.union(SCOUT),
        (false, true) => SERVING,
        (false, false) => SERVING.union(POLICY),
    }
}

/// Keeps for the keeper what it needs. It may have to run `fusermount3`, so programs are as ever.
pub(crate) fn keep_for_keeper() -> io::Result<()> {
    keep(KEEPER)
}

/// Keeps for the scout what it needs. It runs no program that could give it more.
pub(crate) fn keep_for_scout() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    keep(SCOUT)
}

fn keep(wanted: CapabilitySet) -> io::Result<()> {
    clear_ambient_capability_set()?;
    let own = capabilities(None)?;
    let kept = CapabilitySets {
        effective: own.effective.intersection(wanted),
        permitted: own.permitted.intersection(wanted),
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, kept)?)
}

/// Every capability that the kernel knows.
fn known() -> impl Iterator<Item = CapabilitySet> {
    (0..BITS)
        .map(|bit| CapabilitySet::from_bits_retain(1 << bit))
        .take_while(|one| capability_is_in_bounding_set(*one).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_all_that_is_kept() {
        let known = known().fold(CapabilitySet::empty(), CapabilitySet::union);
        assert!(known.contains(SERVING) && known.contains(KEEPER) && known.contains(SCOUT));
        assert!(!SERVING.contains(CapabilitySet::SYS_MODULE));
    }

    #[test]
    fn policies_are_for_who_needs_them_and_has_a_list_of_calls() {
        let has = |programs, comes_back| serving(programs, comes_back).contains(POLICY);
        assert!(has(false, false));
        assert!(!has(false, true) && !has(true, false) && !has(true, true));
    }

    /// Capabilities are a thread's own: this one is gone afterwards.
    #[test]
    fn a_thread_keeps_what_serving_needs_and_no_more() {
        let before = capabilities(None).unwrap();
        let wanted = serving(false, harden::may_come_back_from_idle());
        let after = std::thread::spawn(|| {
            reduce(false).unwrap();
            let bounding = known()
                .filter(|one| capability_is_in_bounding_set(*one) == Ok(true))
                .fold(CapabilitySet::empty(), CapabilitySet::union);
            (capabilities(None).unwrap(), bounding)
        });
        let (after, bounding) = after.join().unwrap();
        assert_eq!(after.effective, before.effective.intersection(wanted));
        assert_eq!(after.permitted, before.permitted.intersection(wanted));
        if before.effective.contains(CapabilitySet::SETPCAP) {
            assert!(wanted.contains(bounding), "{bounding:?}");
        }
    }
}
