//! Attributes and extended attributes of the inode behind a handle, whatever its kind.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Mode, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{EMPTY, Node};
use crate::storage::file::owner;
use crate::storage::observer::StorageOp;
use crate::storage::proc_path::ProcPath;
use crate::storage::stat::TimeSet;

/// Values and lists up to this length need one system call and no more memory than they are long.
const SMALL: usize = 1024;
/// The longest value and the longest list of names that Linux has (`XATTR_SIZE_MAX`,
/// `XATTR_LIST_MAX`).
const LARGEST: usize = 64 * 1024;

/// What to do about an extended attribute that is already there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrSet {
    /// It must not be there: EEXIST.
    Create,
    /// Either is fine.
    Either,
    /// It must be there: ENODATA.
    Replace,
}

impl From<XattrSet> for XattrFlags {
    fn from(set: XattrSet) -> Self {
        match set {
            XattrSet::Create => Self::CREATE,
            XattrSet::Either => Self::empty(),
            XattrSet::Replace => Self::REPLACE,
        }
    }
}

impl Node {
    /// Sets the permission bits (`0o7777` at most; others are ignored).
    ///
    /// # Errors
    /// Those of `fchmodat(2)`; a symlink has no mode of its own: EOPNOTSUPP.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        // fchmodat2 (Linux 6.6) would take the handle itself; the path works everywhere.
        let bits = Mode::from_raw_mode(mode & 0o7777);
        let path = ProcPath::new(&self.fd);
        self.run(&StorageOp::SetMode(mode), || {
            rustix::fs::chmodat(CWD, path.as_c_str(), bits, AtFlags::empty())
        })
    }

    /// Sets owner and group, those that are given; of a symlink its own.
    ///
    /// # Errors
    /// Those of `fchownat(2)`; EINVAL for `u32::MAX`, which is no id.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (new_uid, new_gid) = owner(uid, gid)?;
        self.run(&StorageOp::SetOwner(uid, gid), || {
            rustix::fs::chownat(&self.fd, EMPTY, new_uid, new_gid, AtFlags::EMPTY_PATH)
        })
    }

    /// Sets the times of the last access and the last change; of a symlink its own.
    ///
    /// # Errors
    /// Those of `utimensat(2)`; EINVAL for 10^9 nanoseconds and more.
    pub fn set_times(&self, atime: TimeSet, mtime: TimeSet) -> io::Result<()> {
        let times = TimeSet::pair(atime, mtime)?;
        self.run(&StorageOp::SetTimes(atime, mtime), || {
            match rustix::fs::utimensat(&self.fd, EMPTY, &times, AtFlags::EMPTY_PATH) {
                // Before Linux 5.8 it does not know the flag.
                Err(Errno::INVAL) => self.set_times_by_path(&times),
                other => other,
            }
        })
    }

    fn set_times_by_path(&self, times: &Timestamps) -> rustix::io::Result<()> {
        let path = ProcPath::new(&self.fd);
        rustix::fs::utimensat(CWD, path.as_c_str(), times, AtFlags::empty())
    }

    /// The value of the extended attribute `name`.
    ///
    /// # Errors
    /// Those of `getxattr(2)`: ENODATA where there is none.
    pub fn xattr(&self, name: &CStr) -> io::Result<Vec<u8>> {
        let path = ProcPath::new(&self.fd);
        self.run(&StorageOp::Xattr(name), || {
            let mut small = [MaybeUninit::<u8>::uninit(); SMALL];
            match rustix::fs::getxattr(path.as_c_str(), name, &mut small) {
                Ok((value, _unused)) => Ok(value.to_vec()),
                Err(Errno::RANGE) => whole(|large| {
                    rustix::fs::getxattr(path.as_c_str(), name, spare_capacity(large)).map(drop)
                }),
                Err(error) => Err(error),
            }
        })
    }

    /// Sets the extended attribute `name` to `value`.
    ///
    /// # Errors
    /// Those of `setxattr(2)`: EEXIST and ENODATA by `set`, EOPNOTSUPP, ENOSPC, EDQUOT; EPERM for
    /// `user.*` on what is neither a file nor a folder.
    pub fn set_xattr(&self, name: &CStr, value: &[u8], set: XattrSet) -> io::Result<()> {
        let path = ProcPath::new(&self.fd);
        self.run(&StorageOp::SetXattr { name, value, set }, || {
            rustix::fs::setxattr(path.as_c_str(), name, value, set.into())
        })
    }

    /// Removes the extended attribute `name`.
    ///
    /// # Errors
    /// Those of `removexattr(2)`: ENODATA where there is none.
    pub fn remove_xattr(&self, name: &CStr) -> io::Result<()> {
        let path = ProcPath::new(&self.fd);
        self.run(&StorageOp::RemoveXattr(name), || {
            rustix::fs::removexattr(path.as_c_str(), name)
        })
    }

    /// The names of all extended attributes, in the order of the file system.
    ///
    /// # Errors
    /// Those of `listxattr(2)`.
    pub fn list_xattr(&self) -> io::Result<Vec<CString>> {
        let path = ProcPath::new(&self.fd);
        self.run(&StorageOp::ListXattr, || {
            let mut small = [MaybeUninit::<u8>::uninit(); SMALL];
            match rustix::fs::listxattr(path.as_c_str(), &mut small) {
                Ok((list, _unused)) => Ok(split_names(list)),
                Err(Errno::RANGE) => {
                    let list = whole(|large| {
                        rustix::fs::listxattr(path.as_c_str(), spare_capacity(large)).map(drop)
                    })?;
                    Ok(split_names(&list))
                }
                Err(error) => Err(error),
            }
        })
    }
}

/// Reads into a buffer that holds whatever the kernel can have; no second try is ever needed.
fn whole(read: impl FnOnce(&mut Vec<u8>) -> rustix::io::Result<()>) -> rustix::io::Result<Vec<u8>> {
    let mut large = Vec::with_capacity(LARGEST);
    read(&mut large)?;
    large.shrink_to_fit();
    Ok(large)
}

/// The kernel's list: names one after the other, each ended by a NUL.
fn split_names(list: &[u8]) -> Vec<CString> {
    list.split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(CStr::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Timestamp;
    use crate::storage::testing::{assert_errno, folder, name, need_root};

    const NAME: &CStr = c"user.envelopefs.test";

    /// A file, a folder and a symlink to the file.
    fn inodes() -> (tempfile::TempDir, [Node; 3]) {
        let (dir, node) = folder();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        node.make_dir(&name("d"), 0o700).unwrap();
        node.make_symlink(b"f", &name("l")).unwrap();
        let inodes = ["f", "d", "l"].map(|entry| node.child(&name(entry)).unwrap());
        (dir, inodes)
    }

    #[test]
    fn modes_are_set_on_handles_that_cannot_be_read() {
        let (_dir, [file, folder, _link]) = inodes();
        for node in [file, folder] {
            for mode in [0, 0o7777, 0o640] {
                node.set_mode(mode).unwrap();
                assert_eq!(node.stat().unwrap().mode, mode);
            }
        }
    }

    #[test]
    fn a_symlinks_mode_stays_and_its_target_is_untouched() {
        let (_dir, [file, _folder, link]) = inodes();
        assert_errno(link.set_mode(0o777), libc::EOPNOTSUPP);
        assert_eq!(file.stat().unwrap().mode, 0o600);
    }

    #[test]
    fn owners_are_set_one_by_one_and_symlinks_not_followed() {
        need_root();
        let (_dir, [file, folder, link]) = inodes();
        link.set_owner(Some(7), Some(8)).unwrap();
        folder.set_owner(None, Some(9)).unwrap();
        folder.set_owner(Some(10), None).unwrap();
        folder.set_owner(None, None).unwrap();
        let ids = |node: &Node| node.stat().map(|stat| (stat.uid, stat.gid)).unwrap();
        assert_eq!(
            (ids(&file), ids(&folder), ids(&link)),
            ((0, 0), (10, 9), (7, 8))
        );
    }

    #[test]
    fn no_id_is_no_owner() {
        let (_dir, [file, ..]) = inodes();
        assert_errno(file.set_owner(Some(u32::MAX), None), libc::EINVAL);
        assert_errno(file.set_owner(Some(0), Some(u32::MAX)), libc::EINVAL);
    }

    #[test]
    fn times_are_set_kept_and_not_followed() {
        let (_dir, [file, folder, link]) = inodes();
        let before = file.stat().unwrap();
        for node in [&folder, &link] {
            node.set_times(TimeSet::At(-5, 6), TimeSet::At(1 << 32, 999_999_999))
                .unwrap();
            node.set_times(TimeSet::Keep, TimeSet::Keep).unwrap();
            let stat = node.stat().unwrap();
            assert_eq!(stat.atime, Timestamp { secs: -5, nanos: 6 });
            assert_eq!(
                stat.mtime,
                Timestamp {
                    secs: 1 << 32,
                    nanos: 999_999_999
                }
            );
        }
        assert_eq!(file.stat().unwrap(), before);
        folder.set_times(TimeSet::Keep, TimeSet::Now).unwrap();
        let stat = folder.stat().unwrap();
        assert_eq!(stat.atime.secs, -5);
        assert!(stat.mtime.secs < 1 << 32 && stat.mtime.secs >= before.mtime.secs);
    }

    #[test]
    fn times_by_path_are_the_same() {
        let (_dir, [file, _folder, link]) = inodes();
        let before = file.stat().unwrap();
        let times = TimeSet::pair(TimeSet::At(5, 6), TimeSet::At(7, 8)).unwrap();
        link.set_times_by_path(&times).unwrap();
        let stat = link.stat().unwrap();
        assert_eq!((stat.atime.secs, stat.mtime.nanos), (5, 8));
        assert_eq!(file.stat().unwrap(), before);
    }

    #[test]
    fn times_that_are_none_change_nothing() {
        let (_dir, [file, ..]) = inodes();
        let before = file.stat().unwrap();
        let bad = TimeSet::At(0, 1_000_000_000);
        assert_errno(file.set_times(bad, TimeSet::Now), libc::EINVAL);
        assert_errno(file.set_times(TimeSet::Now, bad), libc::EINVAL);
        assert_eq!(file.stat().unwrap(), before);
    }

    #[test]
    fn xattrs_of_files_and_folders() {
        let (_dir, [file, folder, _link]) = inodes();
        for node in [file, folder] {
            for len in [0, 1, SMALL, SMALL + 1, 3000] {
                let value = vec![7; len];
                node.set_xattr(NAME, &value, XattrSet::Either).unwrap();
                assert_eq!(node.xattr(NAME).unwrap(), value);
            }
            assert!(node.list_xattr().unwrap().contains(&NAME.to_owned()));
            node.remove_xattr(NAME).unwrap();
            assert_errno(node.xattr(NAME), libc::ENODATA);
            assert!(!node.list_xattr().unwrap().contains(&NAME.to_owned()));
        }
    }

    #[test]
    fn xattrs_are_made_and_replaced_as_asked() {
        let (_dir, [file, ..]) = inodes();
        assert_errno(file.set_xattr(NAME, b"a", XattrSet::Replace), libc::ENODATA);
        file.set_xattr(NAME, b"a", XattrSet::Create).unwrap();
        assert_errno(file.set_xattr(NAME, b"b", XattrSet::Create), libc::EEXIST);
        assert_eq!(file.xattr(NAME).unwrap(), b"a");
        file.set_xattr(NAME, b"b", XattrSet::Replace).unwrap();
        assert_eq!(file.xattr(NAME).unwrap(), b"b");
    }

    #[test]
    fn xattrs_that_cannot_be() {
        let (_dir, [file, _folder, link]) = inodes();
        assert_errno(file.remove_xattr(NAME), libc::ENODATA);
        assert_errno(file.xattr(c"nonsense"), libc::EOPNOTSUPP);
        assert_errno(
            file.set_xattr(c"user.", b"", XattrSet::Either),
            libc::EINVAL,
        );
        assert_errno(link.set_xattr(NAME, b"", XattrSet::Either), libc::EPERM);
        let huge = vec![0; LARGEST + 1];
        assert_errno(file.set_xattr(NAME, &huge, XattrSet::Either), libc::E2BIG);
        assert_errno(file.xattr(NAME), libc::ENODATA);
    }

    #[test]
    fn a_symlinks_own_xattrs() {
        need_root();
        let (_dir, [file, _folder, link]) = inodes();
        let name = c"trusted.envelopefs.test";
        link.set_xattr(name, b"v", XattrSet::Either).unwrap();
        assert_eq!(link.xattr(name).unwrap(), b"v");
        assert_errno(file.xattr(name), libc::ENODATA);
    }

    #[test]
    fn many_names_are_listed() {
        let (_dir, [file, ..]) = inodes();
        let names: Vec<_> = (0..12)
            .map(|i| CString::new(format!("user.{i:0>100}")).unwrap())
            .collect();
        for name in &names {
            file.set_xattr(name, b"", XattrSet::Create).unwrap();
        }
        let mut listed = file.list_xattr().unwrap();
        listed.retain(|name| name.as_bytes().starts_with(b"user."));
        listed.sort();
        assert_eq!(listed, names);
    }

    #[test]
    fn xattrs_work_without_any_permission() {
        let (_dir, [file, ..]) = inodes();
        file.set_xattr(NAME, b"v", XattrSet::Either).unwrap();
        file.set_mode(0).unwrap();
        assert!(file.list_xattr().unwrap().contains(&NAME.to_owned()));
    }
}
