//! Questions that a process in a sandbox cannot answer by itself: which program another process runs, which number a
//! user has, which addresses a host; and files of keys that nobody knew of when the sandbox was closed. Where somebody was named to [answer them](through), he is asked; else whoever asks
//! looks himself.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What bears a name of its own in the name services of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// A user.
    User,
    /// A group.
    Group,
}

/// Who looks for this process. Each call returns within a bound of time.
pub trait Lookups: fmt::Debug + Send + Sync {
    /// The program of a thread, and its file's device and inode.
    ///
    /// # Errors
    /// Those of looking at `/proc/PID/exe`; `TimedOut`, or another where nobody answers.
    fn executable(&self, pid: u32) -> io::Result<(PathBuf, (u64, u64))>;

    /// The number of the user or the group of this name; None where there is none.
    ///
    /// # Errors
    /// Nobody answers.
    fn account(&self, kind: Account, name: &str) -> io::Result<Option<u32>>;

    /// The addresses of a host.
    ///
    /// # Errors
    /// It has none, or nobody answers.
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// A file of this machine with a `file:` key, or a public one, open for reading.
    ///
    /// # Errors
    /// Those of opening it; another where it is no such file, or nobody answers.
    fn key_file(&self, path: &Path) -> io::Result<OwnedFd>;
}

static ELSEWHERE: OnceLock<Box<dyn Lookups>> = OnceLock::new();

/// Has all such questions of this process answered by `lookups` from now on. The first one named stays.
pub fn through(lookups: Box<dyn Lookups>) {
    let _named_before = ELSEWHERE.set(lookups);
}

/// Who answers for this process; None: it looks itself.
pub fn elsewhere() -> Option<&'static dyn Lookups> {
    ELSEWHERE.get().map(Box::as_ref)
}

/// A key's file as it was opened; where this process may not open it, whoever looks for it may.
///
/// # Errors
/// What `opened` is, or that of [`Lookups::key_file`].
pub fn key_file(path: &Path, opened: io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    match (opened, elsewhere()) {
        (Err(error), Some(lookups)) if error.kind() == io::ErrorKind::PermissionDenied => {
            lookups.key_file(path)
        }
        (opened, _) => opened,
    }
}
