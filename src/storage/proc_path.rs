//! `/proc/self/fd/N`: the way to an inode for system calls that take no `O_PATH` descriptor.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::path::DecInt;

const PREFIX: &[u8] = b"/proc/self/fd/";
/// The prefix, the ten digits of the largest descriptor, a NUL; rounded up.
const LEN: usize = 32;

/// The text of `/proc/self/fd/N`, on the stack. Good while the descriptor is open.
///
/// The entry is a magic link: following it leads to the very inode that the descriptor holds, with
/// no name in between. Where that inode is a symlink it is *not* followed further.
pub(super) struct ProcPath([u8; LEN]);

impl ProcPath {
    pub(super) fn new(fd: impl AsFd) -> Self {
        let digits = DecInt::from_fd(fd);
        let mut path = [0; LEN];
        for (to, from) in path.iter_mut().zip(PREFIX.iter().chain(digits.as_bytes())) {
            *to = *from;
        }
        Self(path)
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        // There is a NUL: the array began as zeros and is longer than the longest path.
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use super::*;

    #[test]
    fn names_the_descriptor() {
        let path = ProcPath::new(std::io::stderr());
        assert_eq!(path.as_c_str(), c"/proc/self/fd/2");
    }

    #[test]
    fn holds_the_longest_descriptor() {
        assert!(PREFIX.len() + i32::MAX.to_string().len() < LEN);
    }

    #[test]
    fn opens_the_same_inode() {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::open(folder.path()).unwrap();
        let fd: BorrowedFd<'_> = file.as_fd();
        let link = std::fs::read_link(ProcPath::new(fd).as_c_str().to_str().unwrap()).unwrap();
        assert_eq!(link, folder.path().canonicalize().unwrap());
    }
}
