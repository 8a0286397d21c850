//! Who a running thread is to the kernel: what a request does not tell of its caller.

use std::io;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::retry_on_intr;

/// The user and groups that a thread's access to files is judged by, as this process's user namespace numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The file-system user id.
    pub uid: u32,
    /// The file-system group id, and then the supplementary groups.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Those of the thread `pid`, from /proc (see proc_pid_status(5)).
    ///
    /// # Errors
    /// ENOENT where there is no such thread, or none that this process sees; `InvalidData`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let path = format!("/proc/{pid}/status");
        let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = Vec::with_capacity(4096);
        while retry_on_intr(|| {
            text.reserve(4096);
            rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut text))
        })? > 0
        {}
        Self::parse(&String::from_utf8_lossy(&text))
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(status: &str) -> Option<Self> {
        let numbers = |field: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            let parsed = line.split_whitespace().map(str::parse);
            parsed.collect::<Result<_, _>>().ok()
        };
        // Real, effective, saved, file system.
        let of_files = |field| numbers(field)?.get(3).copied();
        let mut groups = vec![of_files("Gid:")?];
        groups.extend(numbers("Groups:")?);
        Some(Self {
            uid: of_files("Uid:")?,
            groups,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::assert_errno;

    const STATUS: &str =
        "Name:\tbash\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t9 10 \nNSpid:\t1\n";

    #[test]
    fn the_ids_for_files_and_all_groups_are_taken() {
        let expected = Credentials {
            uid: 4,
            groups: vec![8, 9, 10],
        };
        assert_eq!(Credentials::parse(STATUS), Some(expected));
        let without = STATUS.replace("9 10 ", "");
        assert_eq!(Credentials::parse(&without).unwrap().groups, [8]);
    }

    #[test]
    fn what_is_not_whole_is_nobody() {
        for (part, instead) in [
            ("Uid:\t1\t2\t3\t4\n", ""),
            ("5\t6\t7\t8", "5\t6\t7"),
            ("Groups:", "Group:"),
            ("9 10", "9 x"),
            ("4\n", "-1\n"),
        ] {
            let status = STATUS.replace(part, instead);
            assert_eq!(Credentials::parse(&status), None, "{part:?}");
        }
    }

    #[test]
    fn this_thread_is_who_the_kernel_says() {
        let own = Credentials::of(std::process::id()).unwrap();
        assert_eq!(own.uid, rustix::process::geteuid().as_raw());
        assert_eq!(own.groups[0], rustix::process::getegid().as_raw());
    }

    #[test]
    fn a_thread_that_is_not_seen_is_nobody() {
        assert_errno(Credentials::of(0), libc::ENOENT);
        assert_errno(Credentials::of(u32::MAX), libc::ENOENT);
    }
}
