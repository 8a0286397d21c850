//! Who has something in a folder open, as far as `/proc` shows it to this process.

use std::fs;
use std::path::{Path, PathBuf};

/// A process that has something open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) pid: u32,
    pub(super) path: PathBuf,
    /// It may write there.
    pub(super) writes: bool,
}

/// Who has something at or below `folder` open, this process apart; best effort.
pub(super) fn of(folder: &Path) -> Vec<User> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != own);
    others.flat_map(|pid| opened_by(pid, folder)).collect()
}

fn opened_by(pid: u32, folder: &Path) -> Vec<User> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut users = Vec::new();
    let mut note = |path: PathBuf, writes: bool| {
        if path.starts_with(folder) {
            users.push(User { pid, path, writes });
        }
    };
    if let Ok(path) = fs::read_link(process.join("cwd")) {
        note(path, false);
    }
    for entry in fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if let Ok(path) = fs::read_link(entry.path()) {
            let info = process.join("fdinfo").join(entry.file_name());
            let writes = fs::read_to_string(info).is_ok_and(|info| may_write(&info));
            note(path, writes);
        }
    }
    for line in fs::read_to_string(process.join("maps"))
        .unwrap_or_default()
        .lines()
    {
        // Address, rights, offset, device, inode, path; `s`: shared.
        let fields: Vec<_> = line.splitn(6, ' ').collect();
        if let [_, rights, _, _, _, path] = fields[..] {
            let writes = rights.contains('w') && rights.ends_with('s');
            if writes {
                note(path.trim_start().into(), true);
            }
        }
    }
    users
}

/// From the octal `flags:` of fdinfo (proc_pid_fdinfo(5)).
fn may_write(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags
        .is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_PATH == 0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn flags_tell_who_may_write() {
        for (info, writes) in [
            ("pos:\t0\nflags:\t0100002\nmnt_id:\t1\n", true),
            ("pos:\t0\nflags:\t01\n", true),
            ("pos:\t0\nflags:\t0100000\n", false),
            ("pos:\t0\nflags:\t010000002\n", false),
            ("pos:\t0\n", false),
            ("flags:\tx\n", false),
        ] {
            assert_eq!(may_write(info), writes, "{info:?}");
        }
    }

    #[test]
    fn a_process_with_a_file_open_is_seen_and_how() {
        let home = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(home.path()).unwrap();
        let path = folder.join("file");
        fs::write(&path, "").unwrap();
        let reader = fs::File::open(&path).unwrap();
        let writer = fs::File::options().append(true).open(&path).unwrap();
        assert_eq!(of(&folder), []);
        for (file, writes) in [(reader, false), (writer, true)] {
            let mut child = Command::new("sleep")
                .arg("60")
                .stdin(Stdio::from(file))
                .spawn()
                .unwrap();
            let seen = of(&folder);
            child.kill().unwrap();
            child.wait().unwrap();
            let expected = User {
                pid: child.id(),
                path: path.clone(),
                writes,
            };
            assert!(seen.contains(&expected), "{seen:?}");
        }
        assert_eq!(of(&folder), []);
    }
}
