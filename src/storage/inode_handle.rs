//! File handles of the ciphertext folder's file system: an inode by what it is, not by a name.
#![expect(
    unsafe_code,
    reason = "name_to_handle_at and open_by_handle_at have no safe form"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::name::CName;
use super::node::Node;

/// `MAX_HANDLE_SZ` of linux/exportfs.h.
const LARGEST: usize = 128;
/// `FILEID_INO32_GEN` of linux/exportfs.h: 32 bits of inode number, 32 of generation.
const INO32_GEN: i32 = 1;

/// `struct file_handle`, with room for the largest.
#[repr(C)]
struct Raw {
    len: u32,
    kind: i32,
    bytes: [u8; LARGEST],
}

/// What `name_to_handle_at(2)` tells of an inode: it stays the inode's over renames and reboots, and is no other's after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InodeHandle {
    kind: i32,
    bytes: Box<[u8]>,
}

impl InodeHandle {
    /// The handle of any inode numbered `ino`, of a file system whose handles look like `like` (that of the inode
    /// numbered `like_ino`): ext4 and its like take generation 0 for any. `None` where handles are made otherwise.
    pub fn by_number(ino: u64, like: &Self, like_ino: u64) -> Option<Self> {
        let begins = |handle: &Self, ino: u64| {
            u32::try_from(ino).is_ok_and(|ino| handle.bytes.starts_with(&ino.to_ne_bytes()))
        };
        if like.kind != INO32_GEN || like.bytes.len() != 8 || !begins(like, like_ino) {
            return None;
        }
        let ino = u32::try_from(ino).ok()?;
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&ino.to_ne_bytes());
        Some(Self {
            kind: INO32_GEN,
            bytes: Box::new(bytes),
        })
    }

    /// A number that differs, but for one in 2^32, between two inodes that had the same inode number one after the
    /// other: the file system's own generation or, where that stands nobody knows where, a hash (FNV-1a) of it all.
    pub fn generation(&self) -> u32 {
        match (self.kind, &*self.bytes) {
            (INO32_GEN, [_, _, _, _, a, b, c, d]) => u32::from_ne_bytes([*a, *b, *c, *d]),
            (_, bytes) => bytes.iter().fold(0x811c_9dc5, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            }),
        }
    }
}

impl Node {
    /// The handle of this inode.
    ///
    /// # Errors
    /// EOPNOTSUPP where the file system has none.
    pub fn handle(&self) -> io::Result<InodeHandle> {
        handle_at(self.as_fd(), c"", libc::AT_EMPTY_PATH)
    }

    /// The handle of the entry `name`; of a symlink its own.
    ///
    /// # Errors
    /// ENOENT; EOPNOTSUPP where the file system has none.
    pub fn child_handle(&self, name: &CName) -> io::Result<InodeHandle> {
        handle_at(self.as_fd(), name.as_c_str(), 0)
    }
}

/// A file system whose inodes are opened by their handles.
#[derive(Debug)]
pub struct HandleOpener(OwnedFd);

impl HandleOpener {
    /// That of the folder `folder`.
    ///
    /// # Errors
    /// Those of `openat(2)`.
    pub fn new(folder: &Node) -> io::Result<Self> {
        folder.open_dir().map(Self)
    }

    /// Opens the inode of `handle`. Which one that is, and where, is the caller's to ask: it may lie anywhere on
    /// the file system.
    ///
    /// # Errors
    /// ESTALE where the inode is gone; EPERM without `CAP_DAC_READ_SEARCH`.
    pub fn open(&self, handle: &InodeHandle) -> io::Result<Node> {
        let mut raw = Raw {
            len: u32::try_from(handle.bytes.len()).unwrap_or(u32::MAX),
            kind: handle.kind,
            bytes: [0; LARGEST],
        };
        let room = raw.bytes.get_mut(..handle.bytes.len());
        room.ok_or(io::ErrorKind::InvalidInput)?
            .copy_from_slice(&handle.bytes);
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: `raw` is laid out as `struct file_handle` and lives through the call, which reads `len` bytes
        // of it at most: those are there.
        let fd =
            unsafe { libc::open_by_handle_at(self.0.as_raw_fd(), (&raw mut raw).cast(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call gave a new descriptor, which nobody else owns.
        Ok(Node::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

fn handle_at(dir: BorrowedFd<'_>, name: &CStr, flags: i32) -> io::Result<InodeHandle> {
    let mut raw = Raw {
        len: LARGEST as u32,
        kind: 0,
        bytes: [0; LARGEST],
    };
    let mut mount_id = 0;
    // SAFETY: `raw` is laid out as `struct file_handle` with room for `len` bytes, which is all that the call writes;
    // `name` ends with a NUL; both live through the call.
    let result = unsafe {
        libc::name_to_handle_at(
            dir.as_raw_fd(),
            name.as_ptr(),
            (&raw mut raw).cast(),
            &raw mut mount_id,
            flags,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = raw.bytes.get(..raw.len as usize);
    Ok(InodeHandle {
        kind: raw.kind,
        bytes: bytes.ok_or(io::ErrorKind::InvalidData)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{assert_errno, folder, name, need_root};

    #[test]
    fn an_inode_is_found_by_its_handle_wherever_it_went() {
        need_root();
        let (_dir, node) = folder();
        let opener = HandleOpener::new(&node).unwrap();
        node.make_dir(&name("d"), 0o700).unwrap();
        node.make_symlink(b"x", &name("l")).unwrap();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        for entry in ["d", "l", "f"] {
            let handle = node.child_handle(&name(entry)).unwrap();
            let of_inode = node.child(&name(entry)).unwrap();
            assert_eq!(of_inode.handle().unwrap(), handle, "{entry}");
            let to = name("moved");
            node.rename(&name(entry), &node, &to, super::super::RenameFlags::empty())
                .unwrap();
            let found = opener.open(&handle).unwrap().stat().unwrap();
            assert_eq!(found, of_inode.stat().unwrap(), "{entry}");
            drop(of_inode);
            match entry {
                "d" => node.remove_dir(&to).unwrap(),
                _ => node.unlink(&to).unwrap(),
            }
            assert_errno(opener.open(&handle), libc::ESTALE);
        }
    }

    #[test]
    fn handles_that_no_file_system_made_open_nothing() {
        need_root();
        let (_dir, node) = folder();
        let opener = HandleOpener::new(&node).unwrap();
        let own = node.handle().unwrap();
        for (kind, len) in [(own.kind, 0), (own.kind, 4), (77, 8), (own.kind, 128)] {
            let handle = InodeHandle {
                kind,
                bytes: vec![0xEE; len].into(),
            };
            assert!(opener.open(&handle).is_err(), "{kind} {len}");
        }
        let handle = InodeHandle {
            kind: 1,
            bytes: vec![0; LARGEST + 1].into(),
        };
        let error = opener.open(&handle).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn generations_tell_inodes_of_one_number_apart() {
        let handle = |kind, bytes: &[u8]| InodeHandle {
            kind,
            bytes: bytes.into(),
        };
        let ext4 = handle(INO32_GEN, &[9, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(ext4.generation(), u32::from_ne_bytes([1, 0, 0, 0]));
        let other = |byte| handle(2, &[9, 0, 0, 0, 0, 0, 0, 0, byte, 0, 0, 0]).generation();
        assert_ne!(other(1), other(2));
    }

    #[test]
    fn handles_by_number_are_made_only_where_they_look_so() {
        let like = |kind, bytes: &[u8]| InodeHandle {
            kind,
            bytes: bytes.into(),
        };
        let ext4 = like(INO32_GEN, &[2_u32.to_ne_bytes(), [1; 4]].concat());
        let made = InodeHandle::by_number(77, &ext4, 2).unwrap();
        assert_eq!(*made.bytes, *[77_u32.to_ne_bytes(), [0; 4]].concat());
        let wide = u64::from(u32::MAX) + 1;
        assert_eq!(InodeHandle::by_number(wide, &ext4, 2), None);
        assert_eq!(InodeHandle::by_number(77, &ext4, 3), None);
        assert_eq!(InodeHandle::by_number(77, &ext4, wide + 2), None);
        let longer = like(INO32_GEN, &[2, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]);
        assert_eq!(InodeHandle::by_number(77, &longer, 2), None);
        let other = like(0x81, &ext4.bytes);
        assert_eq!(InodeHandle::by_number(77, &other, 2), None);
    }
}
