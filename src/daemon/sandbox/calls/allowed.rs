//! System calls that a mount makes when it is there, and near relatives of them that do no more.
//!
//! The list is made from what traces of the tests show: `scripts/syscalls.py` runs them under strace, and names whatever is
//! missing here. All else does not exist for the process (ENOSYS), so that the C library takes an older call where it
//! tries a newer one first.

use seccompiler::{
    BackendError, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompRule,
};

use super::{Rules, any_of};
use crate::daemon::sandbox::Needs;

/// Whatever its arguments are.
const FREELY: &[&[i64]] = &[
    CONTENT,
    NAMES,
    ATTRIBUTES,
    MEMORY,
    THREADS,
    IDENTITY,
    WAITING,
    TIME,
    CONNECTIONS,
    #[cfg(target_arch = "x86_64")]
    OLD_NAMES,
];

/// Files that are open: of the volume, of keys, the audit, metrics and logs; /dev/fuse.
const CONTENT: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
];

/// Names in the ciphertext folder.
const NAMES: &[i64] = &[
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    // Inodes that the kernel has forgotten (`--export`).
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
];

/// Attributes, access lists and extended attributes.
const ATTRIBUTES: &[i64] = &[
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];

/// Linux 6.6; the same number everywhere.
const SYS_FCHMODAT2: i64 = 452;

/// Memory that holds no code (that is looked at apart), and that of keys.
const MEMORY: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_munlock,
    libc::SYS_munlockall,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
];

/// Threads and their ends; signals to them. New ones are looked at apart.
const THREADS: &[i64] = &[
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getcpu,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // An abort; the panics of others' code.
    libc::SYS_tgkill,
    // On the way to the background.
    libc::SYS_setsid,
    libc::SYS_chdir,
    // The keeper's end.
    libc::SYS_wait4,
    libc::SYS_waitid,
    // More filters.
    libc::SYS_seccomp,
];

/// Inodes that are the caller's, with what it takes to be him and to be oneself again.
const IDENTITY: &[i64] = &[
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getsid,
    libc::SYS_getpgid,
];

/// Waiting for several things.
const WAITING: &[i64] = &[
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
];

/// Clocks, limits, random bytes, and which machine this is.
const TIME: &[i64] = &[
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_getrlimit,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getrandom,
];

/// Sockets that are there already: key services, `status`, the journal, the service manager, keeper and scout. New ones
/// are looked at apart.
const CONNECTIONS: &[i64] = &[
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
];

/// What the C library and the standard library still call by older names where the machine has them.
#[cfg(target_arch = "x86_64")]
const OLD_NAMES: &[i64] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_time,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
];

/// FUSE over io_uring. A ring does by itself much of what calls do, past this list, though not past the rules for files.
const RING: &[i64] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// What is asked of descriptors and of this process, and nothing else of its kind.
const IOCTLS: &[u64] = &[
    libc::TCGETS,
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    FUSE_DEV_IOC_CLONE,
];
/// `linux/fuse.h`: `_IOR(229, 0, uint32_t)`.
const FUSE_DEV_IOC_CLONE: u64 = 0x8004_e500;

const PRCTLS: &[i32] = &[
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_DUMPABLE,
    libc::PR_CAPBSET_READ,
    libc::PR_SET_VMA,
];

/// All of it, for a mount with these needs.
pub(super) fn rules(needs: Needs) -> Result<Rules, BackendError> {
    let ring = if needs.ring { RING } else { &[] };
    let free = FREELY.iter().copied().flatten().chain(ring);
    let mut rules: Rules = free.map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![thread()?]);
    rules.insert(libc::SYS_mmap, vec![no_code()?]);
    rules.insert(libc::SYS_mprotect, vec![no_code()?]);
    rules.insert(libc::SYS_ioctl, any_of(1, IOCTLS)?);
    let of_this_process: Vec<u64> = PRCTLS.iter().map(|one| bits(*one)).collect();
    rules.insert(libc::SYS_prctl, any_of(0, &of_this_process)?);
    rules.insert(libc::SYS_socket, sockets(needs)?);
    rules.insert(
        libc::SYS_sched_setaffinity,
        vec![SeccompRule::new(vec![of_itself()?])?],
    );
    rules.insert(libc::SYS_sched_setscheduler, own_policies()?);
    Ok(rules)
}

fn bits(number: i32) -> u64 {
    u64::from(number.cast_unsigned())
}

/// A thread, and no process.
fn thread() -> Result<SeccompRule, BackendError> {
    let flag = bits(libc::CLONE_THREAD);
    SeccompRule::new(vec![SeccompCondition::new(
        0,
        Len::Qword,
        Op::MaskedEq(flag),
        flag,
    )?])
}

/// Memory that is not to be run. All code that this process runs is loaded by now.
fn no_code() -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        2,
        Len::Qword,
        Op::MaskedEq(bits(libc::PROT_EXEC)),
        0,
    )?])
}

/// The first argument is the calling thread.
fn of_itself() -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(0, Len::Dword, Op::Eq, 0)
}

/// The calling thread gives way to whom it answers, or does so no longer.
fn own_policies() -> Result<Vec<SeccompRule>, BackendError> {
    let policy = |policy| SeccompCondition::new(1, Len::Dword, Op::Eq, bits(policy));
    [libc::SCHED_IDLE, libc::SCHED_OTHER]
        .into_iter()
        .map(|to| SeccompRule::new(vec![of_itself()?, policy(to)?]))
        .collect()
}

/// Those of this machine, and streams of the internet. Names are the scout's, so no datagrams.
fn sockets(needs: Needs) -> Result<Vec<SeccompRule>, BackendError> {
    let family = |family: i32| SeccompCondition::new(0, Len::Dword, Op::Eq, bits(family));
    let stream = || {
        let (all, stream) = (SOCKET_TYPES, bits(libc::SOCK_STREAM));
        SeccompCondition::new(1, Len::Dword, Op::MaskedEq(all), stream)
    };
    let mut rules = vec![SeccompRule::new(vec![family(libc::AF_UNIX)?])?];
    if needs.network {
        for internet in [libc::AF_INET, libc::AF_INET6] {
            rules.push(SeccompRule::new(vec![family(internet)?, stream()?])?);
        }
    }
    Ok(rules)
}

/// `SOCK_TYPE_MASK` (linux/net.h): the rest are flags.
const SOCKET_TYPES: u64 = 0xf;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_call_is_named_twice() {
        let all: Vec<i64> = FREELY
            .iter()
            .chain(&[RING])
            .copied()
            .flatten()
            .copied()
            .collect();
        let once: BTreeSet<i64> = all.iter().copied().collect();
        assert_eq!(once.len(), all.len());
    }

    #[test]
    fn what_is_looked_at_apart_is_not_free() {
        for apart in [
            libc::SYS_clone,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_ioctl,
            libc::SYS_prctl,
            libc::SYS_socket,
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_setscheduler,
        ] {
            assert!(
                !FREELY.iter().copied().flatten().any(|call| *call == apart),
                "{apart}"
            );
        }
    }

    #[test]
    fn a_ring_is_allowed_to_who_has_one() {
        let with = |ring| {
            let needs = Needs {
                ring,
                ..Needs::default()
            };
            rules(needs)
                .unwrap()
                .contains_key(&libc::SYS_io_uring_enter)
        };
        assert!(with(true) && !with(false));
    }
}
