//! What runs as a thread that asked for something: its executable and its systemd unit, as /proc tells.
//!
//! The caller of a request waits in the kernel for the answer, so that neither its executable nor its number changes
//! while this is read. Nothing here asks the file system that the executable lies on (it may be the very mount that is
//! being served): attributes are taken as the kernel has them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::retry_on_intr;

use super::proc_path::ProcPath;
use crate::lookups;

/// An executable: where it is, and which file it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// As the kernel names it; with ` (deleted)` behind it where that name is gone.
    pub path: PathBuf,
    /// Device and inode.
    pub file: (u64, u64),
}

impl Executable {
    /// Of the thread `pid`.
    ///
    /// # Errors
    /// ENOENT where there is no such thread, or where it is the kernel's; EACCES where this process may not look.
    /// Others where somebody else is to look and does not answer.
    pub fn of(pid: u32) -> io::Result<Self> {
        match lookups::elsewhere() {
            Some(lookups) => lookups
                .executable(pid)
                .map(|(path, file)| Self { path, file }),
            None => Self::seen(pid),
        }
    }

    /// Of the thread `pid`, as this very process sees it.
    ///
    /// # Errors
    /// As of [`of`](Self::of).
    pub fn seen(pid: u32) -> io::Result<Self> {
        let link = format!("/proc/{pid}/exe");
        let path = rustix::fs::readlinkat(CWD, &link, Vec::new())?;
        Ok(Self {
            path: Path::new(OsStr::from_bytes(path.as_bytes())).to_owned(),
            file: file_at(Path::new(&link), AtFlags::empty())?,
        })
    }

    /// Whether it is the file that stands at `path` now.
    pub fn is(&self, path: &Path) -> bool {
        self.path == path
            && file_at(path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|file| file == self.file)
    }
}

/// The path of what is at `path`, without symlinks and dots, as the kernel names executables.
///
/// # Errors
/// What `open(2)` answers.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let fd = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let real = rustix::fs::readlinkat(CWD, ProcPath::new(&fd).as_c_str(), Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(real.as_bytes())))
}

/// Device and inode, without a request to a FUSE daemon or over a network.
fn file_at(path: &Path, flags: AtFlags) -> io::Result<(u64, u64)> {
    let flags = flags | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let stat = rustix::fs::statx(CWD, path, flags, StatxFlags::INO)?;
    Ok((
        rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        stat.stx_ino,
    ))
}

/// The systemd unit of a thread, by its control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// This one.
    Named(String),
    /// It is in none.
    None,
    /// Its control group is outside what this process sees.
    Hidden,
}

impl Unit {
    /// Of the thread `pid`.
    ///
    /// # Errors
    /// ENOENT where there is no such thread.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self::parse(&read(&format!("/proc/{pid}/cgroup"))?))
    }

    /// By the lines of `/proc/PID/cgroup` (cgroups(7)): the system's unit. What a unit, or a user's own service manager,
    /// makes of control groups below its own is its own affair, and under names of its own choice.
    fn parse(cgroup: &str) -> Self {
        let of_v2 = |line: &str| line.strip_prefix("0::").map(str::to_owned);
        let of_v1 = |line: &str| {
            let (_number, rest) = line.split_once(':')?;
            rest.strip_prefix("name=systemd:").map(str::to_owned)
        };
        let by_systemd = cgroup.lines().find_map(of_v1);
        match by_systemd.or_else(|| cgroup.lines().find_map(of_v2)) {
            Some(path) => Self::of_path(&path),
            None => Self::None,
        }
    }

    fn of_path(path: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        if parts.peek() == Some(&"..") {
            return Self::Hidden;
        }
        // systemd puts `_` before names that would look like the kernel's own.
        let unescaped = parts.map(|part| part.strip_prefix('_').unwrap_or(part));
        let mut below_slices = unescaped.skip_while(|part| part.ends_with(".slice"));
        match below_slices.next() {
            Some(part) if is_unit(part) => Self::Named(part.to_owned()),
            _ => Self::None,
        }
    }
}

/// The kinds of units that processes run in.
fn is_unit(name: &str) -> bool {
    let kinds = [".service", ".scope", ".socket", ".mount", ".swap"];
    kinds
        .iter()
        .any(|kind| name.len() > kind.len() && name.ends_with(kind))
}

fn read(path: &str) -> io::Result<String> {
    let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(1024);
    while retry_on_intr(|| {
        text.reserve(1024);
        rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut text))
    })? > 0
    {}
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::assert_errno;

    #[test]
    fn this_process_has_its_own_executable() {
        let own = Executable::of(std::process::id()).unwrap();
        assert_eq!(own.path, std::env::current_exe().unwrap());
        assert!(own.is(&own.path.clone()));
        assert!(!own.is(Path::new("/bin/sh")));
    }

    #[test]
    fn a_copy_or_another_name_is_not_the_executable() {
        let folder = tempfile::tempdir().unwrap();
        let (cat, copy, link) = (
            folder.path().join("cat"),
            folder.path().join("copy"),
            folder.path().join("link"),
        );
        std::fs::copy("/bin/cat", &cat).unwrap();
        std::fs::copy("/bin/cat", &copy).unwrap();
        std::fs::hard_link(&cat, &link).unwrap();
        let mut child = std::process::Command::new(&cat)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let running = Executable::of(child.id()).unwrap();
        assert!(running.is(&cat));
        assert!(!running.is(&copy) && !running.is(&link));
        // Replaced, as by a package that is upgraded.
        std::fs::rename(&copy, &cat).unwrap();
        assert!(!Executable::of(child.id()).unwrap().is(&cat));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_is_not_there_has_neither() {
        assert_errno(Executable::of(0), libc::ENOENT);
        assert_errno(Unit::of(u32::MAX), libc::ENOENT);
    }

    #[test]
    fn a_unit_is_the_systems() {
        for (cgroup, unit) in [
            ("0::/system.slice/nginx.service\n", "nginx.service"),
            (
                "0::/system.slice/system-worker.slice/worker@2.service\n",
                "worker@2.service",
            ),
            (
                "0::/user.slice/user-1000.slice/session-3.scope\n",
                "session-3.scope",
            ),
            (
                "12:cpu:/x\n1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n",
                "a.service",
            ),
            ("0::/init.scope", "init.scope"),
            ("0::/system.slice/_cpu.service", "cpu.service"),
            // Made by whoever may make control groups below his own.
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service\n",
                "user@1000.service",
            ),
            (
                "0::/system.slice/docker-ab.scope/nginx.service\n",
                "docker-ab.scope",
            ),
        ] {
            assert_eq!(Unit::parse(cgroup), Unit::Named(unit.into()), "{cgroup}");
        }
    }

    #[test]
    fn what_is_no_unit_is_none() {
        for cgroup in [
            "",
            "0::/\n",
            "0::/lxc/nginx.service\n",
            "0::/system.slice\n",
            "0::/system.slice/plain\n",
            "0::/.service\n",
            "4:memory:/system.slice/nginx.service\n",
            "nonsense",
        ] {
            assert_eq!(Unit::parse(cgroup), Unit::None, "{cgroup}");
        }
    }

    #[test]
    fn a_control_group_outside_the_namespace_is_hidden() {
        assert_eq!(Unit::parse("0::/../nginx.service\n"), Unit::Hidden);
        assert_eq!(
            Unit::parse("0::/../../system.slice/nginx.service\n"),
            Unit::Hidden
        );
    }

    #[test]
    fn a_path_is_followed_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::write(root.join("f"), "").unwrap();
        std::os::unix::fs::symlink("f", root.join("l")).unwrap();
        assert_eq!(real_path(&root.join("./l")).unwrap(), root.join("f"));
        assert!(real_path(&root.join("none")).is_err());
    }
}
