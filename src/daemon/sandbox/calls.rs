//! System calls that a mount which is there does not make.
//!
//! What is known to lead out of a process is forbidden (EPERM). Beyond that, calls that are not on the list of those
//! [allowed] do not exist (ENOSYS): but not where the code of a PKCS#11 module runs in this process, or a user's command
//! beside it, which may make any harmless call.

mod allowed;

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Needs;

/// Always.
const REFUSED: &[i64] = &[
    // The tree of mounts, and its root.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Namespaces. Those of clone are told apart below.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes: their memory, their descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Code in the kernel, and another kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_userfaultfd,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    libc::SYS_personality,
    // Calls of one architecture: ports, segments, a second name of kexec.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
];

/// Where no program is to be run. The kernel's own keys are other programs', and a passphrase command may well be one of
/// them (`keyctl`, `systemd-ask-password`).
const PROGRAMS: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// Flags of clone(2) that make a namespace.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Letters to terminals, as if they had been typed there (ioctl(2)).
const TYPING: [u64; 2] = [libc::TIOCSTI, TIOCLINUX];
const TIOCLINUX: u64 = 0x541c;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refuses to all threads, for good.
pub(super) fn refuse(needs: Needs) -> io::Result<()> {
    for (rules, actions) in filters(needs).map_err(io::Error::other)? {
        let program = program(rules, actions).map_err(io::Error::other)?;
        apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// The filters, in the order in which they are set, with what becomes of calls that each lists, and of others. Where several
/// refuse a call, the last one's errno counts.
fn filters(
    needs: Needs,
) -> Result<[(Rules, (SeccompAction, SeccompAction)); 2], seccompiler::BackendError> {
    let errno = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
    let first = match needs.is_bounded() {
        true => (
            allowed::rules(needs)?,
            (SeccompAction::Allow, errno(libc::ENOSYS)),
        ),
        // What clone3 is to do lies in memory, where a filter does not see it; who lacks the call takes clone.
        false => (
            Rules::from([(libc::SYS_clone3, Vec::new())]),
            (errno(libc::ENOSYS), SeccompAction::Allow),
        ),
    };
    let forbidden = (errno(libc::EPERM), SeccompAction::Allow);
    Ok([first, (rules(needs)?, forbidden)])
}

fn program(
    rules: Rules,
    (listed, others): (SeccompAction, SeccompAction),
) -> Result<BpfProgram, seccompiler::BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, others, listed, architecture)?.try_into()
}

/// An argument that is one of these.
fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let one = |value: &u64| {
        SeccompRule::new(vec![SeccompCondition::new(
            argument,
            Len::Dword,
            Op::Eq,
            *value,
        )?])
    };
    values.iter().map(one).collect()
}

fn rules(needs: Needs) -> Result<Rules, seccompiler::BackendError> {
    let programs = if needs.programs { &[][..] } else { PROGRAMS };
    let always = REFUSED.iter().chain(programs);
    let mut rules: Rules = always.map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, namespaces()?);
    rules.insert(libc::SYS_ioctl, any_of(1, &TYPING)?);
    rules.insert(libc::SYS_socket, sockets(needs)?);
    Ok(rules)
}

fn namespaces() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let with = |flag: &i32| {
        let flag = u64::from(flag.cast_unsigned());
        SeccompRule::new(vec![SeccompCondition::new(
            0,
            Len::Qword,
            Op::MaskedEq(flag),
            flag,
        )?])
    };
    NAMESPACES.iter().map(with).collect()
}

/// Of no other family than these. A PKCS#11 module, which is where programs may be run, may have others.
fn sockets(needs: Needs) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let families: &[i32] = match (needs.programs, needs.network) {
        (true, true) => return any_of(0, &[u64::from(libc::AF_PACKET.cast_unsigned())]),
        (false, true) => &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6],
        (_, false) => &[libc::AF_UNIX],
    };
    let other = |family: &i32| {
        SeccompCondition::new(0, Len::Dword, Op::Ne, u64::from(family.cast_unsigned()))
    };
    let others: Result<_, _> = families.iter().map(other).collect();
    Ok(vec![SeccompRule::new(others?)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_filter_can_be_made() {
        for (programs, network) in [(false, false), (false, true), (true, false), (true, true)] {
            let needs = Needs {
                programs,
                network,
                ring: network,
                handles: programs,
            };
            let [(first, _), (forbidden, _)] = filters(needs).unwrap();
            assert_eq!(forbidden.contains_key(&libc::SYS_execve), !programs);
            assert!(forbidden.contains_key(&libc::SYS_ptrace));
            assert_eq!(first.contains_key(&libc::SYS_openat), !programs);
            assert_eq!(first.contains_key(&libc::SYS_clone3), programs);
            for (rules, actions) in filters(needs).unwrap() {
                assert!(!program(rules, actions).unwrap().is_empty());
            }
        }
    }

    #[test]
    fn what_is_forbidden_is_not_allowed() {
        let allowed = allowed::rules(Needs::default()).unwrap();
        for call in REFUSED.iter().chain(PROGRAMS) {
            assert!(!allowed.contains_key(call), "{call}");
        }
    }

    #[test]
    fn no_call_is_named_twice() {
        let all: std::collections::BTreeSet<_> = REFUSED.iter().chain(PROGRAMS).collect();
        assert_eq!(all.len(), REFUSED.len() + PROGRAMS.len());
    }
}
