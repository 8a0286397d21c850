//! Threads that use a mount, to processes with their programs, as far as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;

use crate::fs::{Usage, User};
use crate::storage::Executable;

use super::status::UserStatus;

/// As many are told of: those who did most.
const TOLD: usize = 64;

/// Users by process, who did most first.
pub(super) fn told(users: Vec<(User, Usage)>) -> Vec<UserStatus> {
    let mut processes: BTreeMap<(u32, u32), UserStatus> = BTreeMap::new();
    for (user, usage) in users {
        let process = Process::of(user);
        let told = processes
            .entry((process.uid, process.pid))
            .or_insert_with(|| UserStatus {
                uid: process.uid,
                pid: process.pid,
                exe: process.exe,
                ..UserStatus::default()
            });
        told.open_files += usage.open_files;
        told.bytes_read += usage.bytes_read;
        told.bytes_written += usage.bytes_written;
    }
    let mut told: Vec<UserStatus> = processes.into_values().collect();
    told.sort_by_key(|user| std::cmp::Reverse(user.bytes_read.saturating_add(user.bytes_written)));
    told.truncate(TOLD);
    told
}

struct Process {
    uid: u32,
    pid: u32,
    exe: String,
}

impl Process {
    /// Of a thread that is gone, its own id is all that is left.
    fn of(user: User) -> Self {
        let User { uid, pid } = user;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line?.split_whitespace().next()?.parse().ok()
        };
        let own = number("Uid:");
        // The id may be another's by now.
        let same = uid == u32::MAX || own == Some(uid);
        let process = number("Tgid:").filter(|_| same).unwrap_or(pid);
        let exe = same.then(|| Executable::of(process).ok()).flatten();
        Self {
            uid: if uid == u32::MAX {
                own.unwrap_or(uid)
            } else {
                uid
            },
            pid: process,
            exe: exe
                .map(|exe| exe.path.to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(bytes_read: u64) -> Usage {
        Usage {
            bytes_read,
            ..Usage::default()
        }
    }

    #[test]
    fn threads_of_one_process_are_one_user() {
        let uid = rustix::process::geteuid().as_raw();
        let thread = u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        let users = [thread, std::process::id()].map(|pid| (User { uid, pid }, usage(5)));
        let told = told(users.to_vec());
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].pid, told[0].bytes_read), (std::process::id(), 10));
        assert!(!told[0].exe.is_empty());
    }

    #[test]
    fn who_is_gone_stays_by_number_and_who_did_most_comes_first() {
        let gone = |pid| User { uid: 7, pid };
        let users = vec![(gone(0), usage(1)), (gone(u32::MAX), usage(9))];
        let told = told(users);
        assert_eq!((told[0].bytes_read, told[0].exe.as_str()), (9, ""));
        assert_eq!(told.len(), 2);
    }
}
