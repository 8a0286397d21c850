//! A handle of an inode, and what can be found and opened from it.

mod attributes;
mod entries;

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

pub use attributes::XattrSet;
pub use entries::RenameFlags;

use super::dir_reader::DirReader;
use super::file::{Access, StorageFile};
use super::name::CName;
use super::observer::{Hook, StorageObserver, StorageOp};
use super::proc_path::ProcPath;
use super::stat::{FileKind, Stat, StatFs};

/// With `AT_EMPTY_PATH`: the inode behind the descriptor itself.
const EMPTY: &CStr = c"";
/// `f_type` of ext4 and XFS (linux/magic.h).
const ORDERING: [u64; 2] = [0xef53, 0x5846_5342];
/// One byte more than the longest target of a symlink.
const TARGET_BUFFER: usize = 4096;

/// A handle of an inode of any kind: `O_PATH`, so it can be had of what may not be read, of a FIFO
/// without waiting and of a device without touching it. A folder's handle is where its entries are
/// reached from. The inode stays the same whatever becomes of its names.
#[derive(Debug)]
pub struct Node {
    fd: OwnedFd,
    hook: Hook,
}

impl Node {
    /// Opens the ciphertext folder. The one place that takes a path and follows symlinks in it: the
    /// administrator's words, not a folder's contents.
    ///
    /// # Errors
    /// Those of `open(2)`: ENOENT, ENOTDIR, EACCES.
    pub fn open_root(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))?;
        Ok(Self {
            fd,
            hook: Hook::default(),
        })
    }

    /// As [`Node::open_root`], of a folder that is made, with mode 0700, if it is not there.
    ///
    /// # Errors
    /// Those of `mkdir(2)` and `open(2)`.
    pub fn create_root(path: &Path) -> io::Result<Self> {
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Self::open_root(path),
            Err(error) => Err(error.into()),
        }
    }

    /// The handle of an open file's inode, whatever has become of its names.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn of_file(file: &StorageFile) -> io::Result<Self> {
        let path = ProcPath::new(file);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        // Not observed, as `parent` is not: no entry or content is touched.
        let fd = retry_on_intr(|| rustix::fs::open(path.as_c_str(), flags, Mode::empty()))?;
        Ok(Self {
            fd,
            hook: file.hook().clone(),
        })
    }

    /// Lets `observer` hear of, and decide about, every system call on this and on all that is reached
    /// from it from now on.
    #[must_use]
    pub fn observed(self, observer: Arc<dyn StorageObserver>) -> Self {
        Self {
            hook: Hook::new(observer),
            ..self
        }
    }

    /// The handle of the entry `name`; of a symlink the symlink's own.
    ///
    /// # Errors
    /// Those of `openat(2)`: ENOENT, ENOTDIR where this is no folder.
    pub fn child(&self, name: &CName) -> io::Result<Self> {
        // Not openat2(RESOLVE_BENEATH): a CName is one component without '/', neither '.' nor '..',
        // and O_NOFOLLOW stops at a symlink, magic ones too. Nothing is left that could lead out,
        // and the plain call is the cheaper one.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self.run(&StorageOp::Child(name), || {
            rustix::fs::openat(&self.fd, name.as_c_str(), flags, Mode::empty())
        })?;
        Ok(Self {
            fd,
            hook: self.hook.clone(),
        })
    }

    /// The attributes of this inode.
    ///
    /// # Errors
    /// Those of `statx(2)`.
    pub fn stat(&self) -> io::Result<Stat> {
        self.run(&StorageOp::Stat, || stat_of(&self.fd))
    }

    /// The attributes of the entry `name`; of a symlink its own.
    ///
    /// # Errors
    /// Those of `statx(2)`: ENOENT, ENOTDIR.
    pub fn stat_child(&self, name: &CName) -> io::Result<Stat> {
        self.run(&StorageOp::StatChild(name), || stat_at(&self.fd, name))
    }

    /// Opens this inode, which must be a regular file: its kind never changes, so one stat at any
    /// time before tells. (Of a FIFO it would not wait, but of a device it would be the device.)
    ///
    /// # Errors
    /// Those of `open(2)`: EACCES, EROFS, ELOOP for a symlink, EISDIR for a folder to be written.
    pub fn open_file(&self, access: Access) -> io::Result<StorageFile> {
        self.open_file_with(access, OFlags::empty())
    }

    /// As [`Node::open_file`], and what is read leaves the time of the last access, if this process may have it so:
    /// it is the owner's right, and `CAP_FOWNER`'s.
    ///
    /// # Errors
    /// As [`Node::open_file`].
    pub fn open_file_untouched(&self, access: Access) -> io::Result<StorageFile> {
        match self.open_file_with(access, OFlags::NOATIME) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => self.open_file(access),
            opened => opened,
        }
    }

    fn open_file_with(&self, access: Access, more: OFlags) -> io::Result<StorageFile> {
        let access_flag = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        // No O_NOFOLLOW: the last component is the magic link. O_NONBLOCK means nothing to a
        // regular file's reads and writes.
        let flags = access_flag | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | more;
        let path = ProcPath::new(&self.fd);
        let fd = self.run(&StorageOp::OpenFile(access), || {
            rustix::fs::open(path.as_c_str(), flags, Mode::empty())
        })?;
        Ok(StorageFile::new(fd, access, self.hook.clone()))
    }

    /// Opens the regular file `name` in this folder. What is not one is not opened: the kind is
    /// seen on the very handle that is then opened, so nobody can put a FIFO or a device in between.
    ///
    /// # Errors
    /// Those of `openat(2)`; ELOOP for a symlink, EISDIR for a folder, ENXIO for the rest.
    pub fn open_child_file(&self, name: &CName, access: Access) -> io::Result<StorageFile> {
        let node = self.child(name)?;
        let refused = match node.stat()?.kind {
            FileKind::Regular => return node.open_file(access),
            FileKind::Directory => libc::EISDIR,
            FileKind::Symlink => libc::ELOOP,
            _other => libc::ENXIO,
        };
        Err(io::Error::from_raw_os_error(refused))
    }

    /// The target of this symlink.
    ///
    /// # Errors
    /// Those of `readlinkat(2)`: EINVAL where it is no symlink.
    pub fn read_link(&self) -> io::Result<Vec<u8>> {
        self.run(&StorageOp::ReadLink, || {
            // A handle always has an inode, so this ENOENT says that the inode is no symlink.
            read_link_at(self.fd.as_fd(), EMPTY).map_err(|error| match error {
                Errno::NOENT => Errno::INVAL,
                _other => error,
            })
        })
    }

    /// The target of the symlink `name` in this folder.
    ///
    /// # Errors
    /// Those of `readlinkat(2)`: EINVAL where it is no symlink.
    pub fn read_link_child(&self, name: &CName) -> io::Result<Vec<u8>> {
        self.run(&StorageOp::ReadLinkChild(name), || {
            read_link_at(self.fd.as_fd(), name.as_c_str())
        })
    }

    /// Opens this folder to read its entries.
    ///
    /// # Errors
    /// Those of `openat(2)`: ENOTDIR, EACCES.
    pub fn read_dir(&self) -> io::Result<DirReader> {
        Ok(DirReader::new(self.open_dir()?, self.hook.clone()))
    }

    /// Makes this folder's entries durable.
    ///
    /// # Errors
    /// Those of `openat(2)` and `fsync(2)`.
    pub fn sync_dir(&self) -> io::Result<()> {
        let fd = self.open_dir()?;
        self.run(&StorageOp::SyncDir, || rustix::fs::fsync(&fd))
    }

    /// Makes the whole file system that this folder is on durable (`syncfs(2)`).
    ///
    /// # Errors
    /// Those of `openat(2)` and `syncfs(2)`.
    pub fn sync_fs(&self) -> io::Result<()> {
        let fd = self.open_dir()?;
        self.run(&StorageOp::SyncFs, || rustix::fs::syncfs(&fd))
    }

    /// The state of the file system that this inode is on.
    ///
    /// # Errors
    /// Those of `fstatfs(2)`.
    pub fn stat_fs(&self) -> io::Result<StatFs> {
        let stat = self.run(&StorageOp::StatFs, || rustix::fs::fstatvfs(&self.fd))?;
        Ok(stat.into())
    }

    /// Whether the file system is known to bring changes of names and attributes to disk in their order, so that a power
    /// cut leaves none without those before it: ext4 (with its journal) and XFS do. Others may bring an inode to disk alone.
    ///
    /// # Errors
    /// Those of `fstatfs(2)`.
    pub fn orders_metadata(&self) -> io::Result<bool> {
        let stat = self.run(&StorageOp::StatFs, || rustix::fs::fstatfs(&self.fd))?;
        Ok(ORDERING.contains(&u64::try_from(stat.f_type).unwrap_or_default()))
    }

    /// The folder that this folder is in; of the file system's root itself.
    ///
    /// # Errors
    /// Those of `openat(2)`: ENOTDIR where this is no folder.
    pub fn parent(&self) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The hook's operations are those on entries and contents; this only climbs.
        let fd = retry_on_intr(|| rustix::fs::openat(&self.fd, c"..", flags, Mode::empty()))?;
        Ok(Self {
            fd,
            hook: self.hook.clone(),
        })
    }

    /// An `O_PATH` descriptor from elsewhere in this room; it is not observed.
    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self {
            fd,
            hook: Hook::default(),
        }
    }

    /// An `O_PATH` handle serves neither reads nor syncs: the folder is opened once more.
    pub(super) fn open_dir(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.run(&StorageOp::OpenDir, || {
            rustix::fs::openat(&self.fd, c".", flags, Mode::empty())
        })
    }

    #[inline]
    fn run<T>(
        &self,
        op: &StorageOp<'_>,
        call: impl FnMut() -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        self.hook.run(&self.fd, op, call)
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The attributes of an open inode.
pub(super) fn stat_of(fd: impl AsFd) -> rustix::io::Result<Stat> {
    statx(fd.as_fd(), EMPTY, AtFlags::EMPTY_PATH)
}

/// The attributes of the entry `name` of the folder `dir`; of a symlink its own.
pub(super) fn stat_at(dir: impl AsFd, name: &CName) -> rustix::io::Result<Stat> {
    statx(dir.as_fd(), name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
}

fn statx(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> rustix::io::Result<Stat> {
    // statx has fields of the same width on every architecture; it costs as much as fstatat.
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(Stat::from(&rustix::fs::statx(dir, name, flags, mask)?))
}

fn read_link_at(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); TARGET_BUFFER];
    let (target, rest) = rustix::fs::readlinkat_raw(dir, name, &mut buffer)?;
    // A full buffer may hold a target that was cut off; none of Linux's own fills it.
    if rest.is_empty() {
        return Err(Errno::NAMETOOLONG);
    }
    Ok(target.to_vec())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::storage::testing::{assert_errno, folder, name, need_root};
    use crate::units::CipherOffset;

    /// Fails instead of hanging where a call waits.
    fn in_time<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        std::thread::spawn(move || done.send(call()));
        result
            .recv_timeout(Duration::from_secs(10))
            .expect("the call waits")
    }

    #[test]
    fn the_root_must_be_a_folder() {
        let (dir, node) = folder();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        assert_errno(Node::open_root(&dir.path().join("f")), libc::ENOTDIR);
        assert_errno(Node::open_root(&dir.path().join("missing")), libc::ENOENT);
    }

    #[test]
    fn descriptors_are_closed_on_exec() {
        let (_dir, node) = folder();
        let file = node.create_file(&name("f"), 0o600).unwrap();
        let opened = node.open_child_file(&name("f"), Access::Read).unwrap();
        let child = node.child(&name("f")).unwrap();
        for fd in [node.as_fd(), child.as_fd(), file.as_fd(), opened.as_fd()] {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        let dir_fd = node.open_dir().unwrap();
        assert!(
            rustix::io::fcntl_getfd(&dir_fd)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }

    #[test]
    fn a_handle_outlives_the_name() {
        let (_dir, node) = folder();
        node.create_file(&name("f"), 0o600)
            .unwrap()
            .write_at(b"abc", CipherOffset(0))
            .unwrap();
        let child = node.child(&name("f")).unwrap();
        node.unlink(&name("f")).unwrap();
        assert_eq!(child.stat().unwrap().nlink, 0);
        let mut buf = [0; 3];
        let file = child.open_file(Access::ReadWrite).unwrap();
        assert_eq!(file.read_at(&mut buf, CipherOffset(0)).unwrap(), 3);
    }

    #[test]
    fn a_symlink_in_the_place_of_a_file_is_not_followed() {
        let (dir, node) = folder();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        node.make_symlink(b"secret", &name("l")).unwrap();
        node.make_symlink(b"/proc/self/fd/0", &name("magic"))
            .unwrap();
        for link in ["l", "magic"] {
            for access in [Access::Read, Access::ReadWrite] {
                assert_errno(node.open_child_file(&name(link), access), libc::ELOOP);
                assert_errno(
                    node.child(&name(link)).unwrap().open_file(access),
                    libc::ELOOP,
                );
            }
            assert_eq!(
                node.stat_child(&name(link)).unwrap().kind,
                FileKind::Symlink
            );
            assert_eq!(
                node.child(&name(link)).unwrap().stat().unwrap().kind,
                FileKind::Symlink
            );
        }
    }

    #[test]
    fn a_symlink_in_the_place_of_a_folder_leads_nowhere() {
        let (_dir, node) = folder();
        node.make_symlink(b"/", &name("l")).unwrap();
        let link = node.child(&name("l")).unwrap();
        assert_errno(link.child(&name("etc")), libc::ENOTDIR);
        assert_errno(link.stat_child(&name("etc")), libc::ENOTDIR);
        assert_errno(link.create_file(&name("x"), 0o600), libc::ENOTDIR);
        assert_errno(link.sync_dir(), libc::ENOTDIR);
        assert_errno(link.sync_fs(), libc::ENOTDIR);
    }

    #[test]
    fn a_fifo_does_not_make_anyone_wait() {
        let (_dir, node) = folder();
        node.make_node(&name("p"), libc::S_IFIFO | 0o600, 0)
            .unwrap();
        for access in [Access::Read, Access::ReadWrite] {
            let dir = Node {
                fd: node.fd.try_clone().unwrap(),
                hook: Hook::default(),
            };
            let opened = in_time(move || dir.open_child_file(&name("p"), access));
            assert_errno(opened, libc::ENXIO);
            let fifo = node.child(&name("p")).unwrap();
            in_time(move || drop(fifo.open_file(access)));
        }
    }

    #[test]
    fn a_device_is_not_opened() {
        need_root();
        let (_dir, node) = folder();
        let null = rustix::fs::makedev(1, 3);
        node.make_node(&name("null"), libc::S_IFCHR | 0o666, null)
            .unwrap();
        let stat = node.stat_child(&name("null")).unwrap();
        assert_eq!((stat.kind, stat.rdev), (FileKind::CharDevice, null));
        assert_errno(
            node.open_child_file(&name("null"), Access::Read),
            libc::ENXIO,
        );
    }

    #[test]
    fn sockets_and_folders_are_not_opened_as_files() {
        let (_dir, node) = folder();
        node.make_node(&name("s"), libc::S_IFSOCK | 0o600, 0)
            .unwrap();
        node.make_dir(&name("d"), 0o700).unwrap();
        assert_errno(node.open_child_file(&name("s"), Access::Read), libc::ENXIO);
        assert_errno(node.open_child_file(&name("d"), Access::Read), libc::EISDIR);
    }

    #[test]
    fn what_is_missing_or_no_folder_keeps_its_errno() {
        let (_dir, node) = folder();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        let file = node.child(&name("f")).unwrap();
        assert_errno(node.child(&name("x")), libc::ENOENT);
        assert_errno(node.stat_child(&name("x")), libc::ENOENT);
        assert_errno(node.open_child_file(&name("x"), Access::Read), libc::ENOENT);
        assert_errno(file.child(&name("x")), libc::ENOTDIR);
        assert_errno(file.stat_child(&name("x")), libc::ENOTDIR);
        assert_errno(file.read_link(), libc::EINVAL);
        assert_errno(node.read_link(), libc::EINVAL);
        assert_errno(node.read_link_child(&name("f")), libc::EINVAL);
        assert_errno(node.read_link_child(&name("x")), libc::ENOENT);
    }

    #[test]
    fn targets_of_symlinks_are_bytes_of_any_length() {
        let (_dir, node) = folder();
        for target in [&b"a"[..], b"/../\xff\n", &[b'x'; 4095]] {
            node.make_symlink(target, &name("l")).unwrap();
            assert_eq!(node.read_link_child(&name("l")).unwrap(), target);
            assert_eq!(node.child(&name("l")).unwrap().read_link().unwrap(), target);
            assert_eq!(
                node.stat_child(&name("l")).unwrap().size,
                target.len() as u64
            );
            node.unlink(&name("l")).unwrap();
        }
    }

    #[test]
    fn stat_says_what_the_standard_library_says() {
        use std::os::unix::fs::MetadataExt;
        let (dir, node) = folder();
        let file = node.create_file(&name("f"), 0o640).unwrap();
        file.write_at(&[1; 5000], CipherOffset(0)).unwrap();
        let stat = node.stat_child(&name("f")).unwrap();
        let other = std::fs::metadata(dir.path().join("f")).unwrap();
        assert_eq!(stat, file.stat().unwrap());
        assert_eq!(stat.dev, other.dev());
        assert_eq!(stat.ino, other.ino());
        assert_eq!(stat.mode, other.mode() & 0o7777);
        assert_eq!((stat.uid, stat.gid), (other.uid(), other.gid()));
        assert_eq!((stat.size, stat.blocks), (other.size(), other.blocks()));
        assert_eq!((stat.nlink, stat.kind), (1, FileKind::Regular));
        assert_eq!(stat.mtime.secs, other.mtime());
        assert_eq!(i64::from(stat.mtime.nanos), other.mtime_nsec());
        assert_eq!(stat.ctime.secs, other.ctime());
    }

    #[test]
    fn folders_and_file_systems_are_synced_and_told_of() {
        let (_dir, node) = folder();
        node.sync_dir().unwrap();
        node.sync_fs().unwrap();
        let stat = node.stat_fs().unwrap();
        assert_eq!(stat.name_max, 255);
        assert!(stat.blocks >= stat.blocks_free && stat.fragment_len > 0);
    }
}
