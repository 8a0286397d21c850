//! Making, renaming and removing the entries of a folder.
//!
//! New inodes belong to whoever the thread is at the time (see [`crate::storage::as_caller`]), and
//! modes are taken as they are: the process runs with umask 0.

use std::io;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

pub use rustix::fs::RenameFlags;

use super::Node;
use crate::storage::file::{Access, StorageFile};
use crate::storage::name::CName;
use crate::storage::observer::{StorageOp, Target};
use crate::storage::proc_path::ProcPath;

impl Node {
    /// Makes the regular file `name`, which must not be there, and opens it for reading and writing.
    ///
    /// # Errors
    /// Those of `openat(2)`: EEXIST whatever stands at the name, a symlink too.
    pub fn create_file(&self, name: &CName, mode: u32) -> io::Result<StorageFile> {
        // O_EXCL does not follow a symlink in the place of the name.
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = self.run(&StorageOp::CreateFile { name, mode }, || {
            rustix::fs::openat(&self.fd, name.as_c_str(), flags, permissions(mode))
        })?;
        Ok(StorageFile::new(fd, Access::ReadWrite, self.hook.clone()))
    }

    /// Makes a regular file without a name on this folder's file system, with what files of this folder inherit, and opens
    /// it for reading and writing. It is gone when nobody has it open any more, unless [`Node::link`] has given it a name.
    ///
    /// # Errors
    /// Those of `openat(2)` with `O_TMPFILE`: EOPNOTSUPP where the file system has no such files.
    pub fn create_nameless(&self, mode: u32) -> io::Result<StorageFile> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = self.run(&StorageOp::CreateNameless { mode }, || {
            rustix::fs::openat(&self.fd, c".", flags, permissions(mode))
        })?;
        Ok(StorageFile::new(fd, Access::ReadWrite, self.hook.clone()))
    }

    /// Makes the folder `name`.
    ///
    /// # Errors
    /// Those of `mkdirat(2)`.
    pub fn make_dir(&self, name: &CName, mode: u32) -> io::Result<()> {
        self.run(&StorageOp::MakeDir { name, mode }, || {
            rustix::fs::mkdirat(&self.fd, name.as_c_str(), permissions(mode))
        })
    }

    /// Makes the inode `name`: a FIFO, socket, device or empty regular file. `mode` holds its kind
    /// beside the permission bits, as in `mknod(2)` (none: a regular file); `rdev` is the number of a device.
    ///
    /// # Errors
    /// Those of `mknodat(2)`; EINVAL for a device number that Linux does not have.
    pub fn make_node(&self, name: &CName, mode: u32, rdev: u64) -> io::Result<()> {
        // The kernel takes 32 bits of it, so more must not be cut off silently.
        let number =
            u32::try_from(rdev).map_err(|_wide| io::Error::from_raw_os_error(libc::EINVAL))?;
        let kind = match mode & libc::S_IFMT {
            0 => FileType::RegularFile,
            _given => FileType::from_raw_mode(mode),
        };
        self.run(&StorageOp::MakeNode { name, mode, rdev }, || {
            rustix::fs::mknodat(
                &self.fd,
                name.as_c_str(),
                kind,
                permissions(mode),
                number.into(),
            )
        })
    }

    /// Makes the symlink `name` that leads to `target`.
    ///
    /// # Errors
    /// Those of `symlinkat(2)`: ENOENT for an empty target, ENAMETOOLONG for one over 4095 bytes;
    /// EINVAL for one with a NUL in it.
    pub fn make_symlink(&self, target: &[u8], name: &CName) -> io::Result<()> {
        self.run(&StorageOp::MakeSymlink { name, target }, || {
            rustix::fs::symlinkat(target, &self.fd, name.as_c_str())
        })
    }

    /// Gives this inode the further name `name` in `dir`; a symlink itself, not what it leads to.
    ///
    /// # Errors
    /// Those of `linkat(2)`: EPERM for a folder, ENOENT where its last name is already gone.
    pub fn link(&self, dir: &Self, name: &CName) -> io::Result<()> {
        // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH on kernels before 6.10; this never does.
        let path = ProcPath::new(&self.fd);
        let op = StorageOp::Link {
            dir: Target::new(&dir.fd),
            name,
        };
        self.run(&op, || {
            let (from, to) = (path.as_c_str(), name.as_c_str());
            rustix::fs::linkat(CWD, from, &dir.fd, to, AtFlags::SYMLINK_FOLLOW)
        })
    }

    /// Renames `name` in this folder to `to_name` in `to_dir`.
    ///
    /// # Errors
    /// Those of `renameat2(2)`: EEXIST by [`RenameFlags::NOREPLACE`], EINVAL for flags that the
    /// file system does not know.
    pub fn rename(
        &self,
        name: &CName,
        to_dir: &Self,
        to_name: &CName,
        flags: RenameFlags,
    ) -> io::Result<()> {
        let op = StorageOp::Rename {
            name,
            to_dir: Target::new(&to_dir.fd),
            to_name,
            flags,
        };
        self.run(&op, || {
            let (from, to) = (name.as_c_str(), to_name.as_c_str());
            rustix::fs::renameat_with(&self.fd, from, &to_dir.fd, to, flags)
        })
    }

    /// Removes the name `name` of what is not a folder.
    ///
    /// # Errors
    /// Those of `unlinkat(2)`: EISDIR for a folder.
    pub fn unlink(&self, name: &CName) -> io::Result<()> {
        self.run(&StorageOp::Unlink(name), || {
            rustix::fs::unlinkat(&self.fd, name.as_c_str(), AtFlags::empty())
        })
    }

    /// Removes the empty folder `name`.
    ///
    /// # Errors
    /// Those of `unlinkat(2)`: ENOTDIR, ENOTEMPTY.
    pub fn remove_dir(&self, name: &CName) -> io::Result<()> {
        self.run(&StorageOp::RemoveDir(name), || {
            rustix::fs::unlinkat(&self.fd, name.as_c_str(), AtFlags::REMOVEDIR)
        })
    }
}

fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileKind;
    use crate::storage::testing::{assert_errno, folder, name, names_in};

    #[test]
    fn nothing_that_stands_at_the_name_is_overwritten() {
        let (dir, node) = folder();
        node.make_dir(&name("d"), 0o700).unwrap();
        node.make_symlink(b"elsewhere", &name("l")).unwrap();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        for taken in ["d", "l", "f"] {
            let taken = name(taken);
            assert_errno(node.create_file(&taken, 0o600), libc::EEXIST);
            assert_errno(node.make_dir(&taken, 0o700), libc::EEXIST);
            assert_errno(node.make_symlink(b"x", &taken), libc::EEXIST);
            assert_errno(node.make_node(&taken, libc::S_IFIFO, 0), libc::EEXIST);
            assert_errno(
                node.child(&name("f")).unwrap().link(&node, &taken),
                libc::EEXIST,
            );
        }
        assert_eq!(names_in(dir.path()), ["d", "f", "l"]);
    }

    #[test]
    fn a_file_without_a_name_gets_one_or_is_gone() {
        let (dir, node) = folder();
        let file = node.create_nameless(0o640).unwrap();
        file.write_at(b"content", crate::units::CipherOffset(0))
            .unwrap();
        let stat = file.stat().unwrap();
        assert_eq!((stat.nlink, stat.mode), (0, 0o640));
        assert!(names_in(dir.path()).is_empty());
        Node::of_file(&file)
            .unwrap()
            .link(&node, &name("f"))
            .unwrap();
        drop(file);
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"content");
        assert_eq!(node.stat_child(&name("f")).unwrap().ino, stat.ino);
        drop(node.create_nameless(0o600).unwrap());
        assert_eq!(names_in(dir.path()), ["f"]);
    }

    #[test]
    fn no_file_without_a_name_is_made_where_there_is_no_folder() {
        let (_dir, node) = folder();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        let file = node.child(&name("f")).unwrap();
        assert_errno(file.create_nameless(0o600), libc::ENOTDIR);
    }

    #[test]
    fn nodes_of_every_kind_that_anyone_may_make() {
        let (_dir, node) = folder();
        for (mode, kind) in [
            (libc::S_IFIFO, FileKind::Fifo),
            (libc::S_IFSOCK, FileKind::Socket),
            (libc::S_IFREG, FileKind::Regular),
            (0, FileKind::Regular),
        ] {
            node.make_node(&name("n"), mode | 0o600, 0).unwrap();
            assert_eq!(node.stat_child(&name("n")).unwrap().kind, kind);
            node.unlink(&name("n")).unwrap();
        }
    }

    #[test]
    fn nodes_that_mknod_does_not_make() {
        let (_dir, node) = folder();
        let rdev = u64::from(u32::MAX) + 1;
        assert_errno(
            node.make_node(&name("n"), libc::S_IFDIR | 0o700, 0),
            libc::EPERM,
        );
        assert_errno(
            node.make_node(&name("n"), libc::S_IFLNK | 0o700, 0),
            libc::EINVAL,
        );
        assert_errno(node.make_node(&name("n"), libc::S_IFMT, 0), libc::EINVAL);
        assert_errno(
            node.make_node(&name("n"), libc::S_IFCHR, rdev),
            libc::EINVAL,
        );
    }

    #[test]
    fn targets_that_no_symlink_can_have() {
        let (_dir, node) = folder();
        assert_errno(node.make_symlink(b"", &name("l")), libc::ENOENT);
        assert_errno(
            node.make_symlink(&[b'x'; 4096], &name("l")),
            libc::ENAMETOOLONG,
        );
        assert_errno(node.make_symlink(b"a\0b", &name("l")), libc::EINVAL);
    }

    #[test]
    fn links_are_names_of_the_very_inode() {
        let (_dir, node) = folder();
        node.make_dir(&name("d"), 0o700).unwrap();
        node.make_symlink(b"f", &name("l")).unwrap();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        let dir = node.child(&name("d")).unwrap();
        for inode in ["f", "l"] {
            let inode = node.child(&name(inode)).unwrap();
            inode.link(&dir, &name("new")).unwrap();
            assert_eq!(dir.stat_child(&name("new")).unwrap(), inode.stat().unwrap());
            assert_eq!(inode.stat().unwrap().nlink, 2);
            dir.unlink(&name("new")).unwrap();
        }
    }

    #[test]
    fn links_that_cannot_be() {
        let (_dir, node) = folder();
        node.make_dir(&name("d"), 0o700).unwrap();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        assert_errno(
            node.child(&name("d")).unwrap().link(&node, &name("n")),
            libc::EPERM,
        );
        let file = node.child(&name("f")).unwrap();
        assert_errno(file.link(&file, &name("n")), libc::ENOTDIR);
        node.unlink(&name("f")).unwrap();
        assert_errno(file.link(&node, &name("n")), libc::ENOENT);
    }

    #[test]
    fn renames_obey_their_flags() {
        let (dir, node) = folder();
        let (a, b, sub) = (name("a"), name("b"), name("sub"));
        node.replace_file(&a, 0o600, b"a").unwrap();
        node.replace_file(&b, 0o600, b"b").unwrap();
        node.make_dir(&sub, 0o700).unwrap();
        let to = node.child(&sub).unwrap();
        assert_errno(
            node.rename(&a, &node, &b, RenameFlags::NOREPLACE),
            libc::EEXIST,
        );
        node.rename(&a, &node, &b, RenameFlags::EXCHANGE).unwrap();
        assert_eq!(node.read_file(&a, 9).unwrap(), b"b");
        node.rename(&b, &to, &a, RenameFlags::NOREPLACE).unwrap();
        assert_eq!(to.read_file(&a, 9).unwrap(), b"a");
        node.rename(&a, &to, &a, RenameFlags::empty()).unwrap();
        assert_eq!(to.read_file(&a, 9).unwrap(), b"b");
        assert_eq!(names_in(dir.path()), ["sub"]);
    }

    #[test]
    fn a_rename_can_leave_a_whiteout() {
        let (_dir, node) = folder();
        node.replace_file(&name("a"), 0o600, b"a").unwrap();
        node.rename(&name("a"), &node, &name("b"), RenameFlags::WHITEOUT)
            .unwrap();
        let left = node.stat_child(&name("a")).unwrap();
        assert_eq!((left.kind, left.rdev), (FileKind::CharDevice, 0));
        assert_eq!(node.read_file(&name("b"), 9).unwrap(), b"a");
    }

    #[test]
    fn renames_that_cannot_be() {
        let (_dir, node) = folder();
        let (a, d, x) = (name("a"), name("d"), name("x"));
        drop(node.create_file(&a, 0o600).unwrap());
        node.make_dir(&d, 0o700).unwrap();
        let inside = node.child(&d).unwrap();
        let both = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        assert_errno(
            node.rename(&x, &node, &a, RenameFlags::empty()),
            libc::ENOENT,
        );
        assert_errno(
            node.rename(&a, &node, &x, RenameFlags::EXCHANGE),
            libc::ENOENT,
        );
        assert_errno(
            node.rename(&a, &node, &d, RenameFlags::empty()),
            libc::EISDIR,
        );
        assert_errno(
            node.rename(&d, &node, &a, RenameFlags::empty()),
            libc::ENOTDIR,
        );
        assert_errno(
            node.rename(&d, &inside, &x, RenameFlags::empty()),
            libc::EINVAL,
        );
        assert_errno(node.rename(&a, &node, &x, both), libc::EINVAL);
    }

    #[test]
    fn removing_keeps_files_and_folders_apart() {
        let (_dir, node) = folder();
        node.make_dir(&name("d"), 0o700).unwrap();
        let dir = node.child(&name("d")).unwrap();
        drop(dir.create_file(&name("f"), 0o600).unwrap());
        assert_errno(node.unlink(&name("d")), libc::EISDIR);
        assert_errno(node.remove_dir(&name("d")), libc::ENOTEMPTY);
        assert_errno(dir.remove_dir(&name("f")), libc::ENOTDIR);
        assert_errno(dir.unlink(&name("x")), libc::ENOENT);
        dir.unlink(&name("f")).unwrap();
        node.remove_dir(&name("d")).unwrap();
        assert_errno(dir.create_file(&name("f"), 0o600), libc::ENOENT);
    }
}
