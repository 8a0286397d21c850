//! Extended attributes: names and values sealed, but for those that the kernel itself must read.

use std::ffi::{CStr, CString};

use crate::format::xattrs::XattrError;
use crate::fs::error::FsError;
use crate::fs::inodes::{Ino, Inode, Xattrs};
use crate::fs::ops::acl;
use crate::fs::stats::Operation;
use crate::fs::{Caller, FileSystem};
use crate::storage::{Node, XattrSet};

impl FileSystem {
    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; `EOPNOTSUPP` for a namespace that is not kept; `EIO` where the value is not authentic.
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>, FsError> {
        self.stats.count(Operation::GetXattr);
        let sealed_name = self.seal_xattr_name(name)?;
        let inode = self.inode(ino)?;
        if *inode.xattrs().lock() == Xattrs::None {
            return Err(FsError::NO_DATA);
        }
        let node = self.node(&inode)?;
        if self.is_bare(&inode, &node) {
            return Err(FsError::NO_DATA);
        }
        let sealed = node.xattr(&sealed_name);
        if acl::is_acl(name) && sealed.as_ref().is_err_and(acl::is_without_acl) {
            // The kernel asks before it lets anybody in, and takes any other error for a refusal.
            return Err(FsError::NO_DATA);
        }
        let sealed = sealed?;
        if is_for_the_kernel(name) {
            return Ok(sealed);
        }
        let opened = self.volume.xattr_keys()?.open_value(name, &sealed);
        opened.map_err(|_error| FsError::Unsealable("the extended attribute"))
    }

    /// Most files have no attribute at all, and are asked for several: by the kernel before it writes, by `ls` for each
    /// line. Where no other mount sets any, one look is enough for all.
    fn is_bare(&self, inode: &Inode, node: &Node) -> bool {
        if self.options.shared {
            return false;
        }
        let mut xattrs = inode.xattrs().lock();
        if *xattrs == Xattrs::Unknown
            && let Ok(names) = node.list_xattr()
        {
            *xattrs = match names.is_empty() {
                true => Xattrs::None,
                false => Xattrs::Some,
            };
        }
        *xattrs == Xattrs::None
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST` and `ENODATA` by `set`, `EOPNOTSUPP`, `ENOSPC`; `ERANGE` for a name too long to be sealed.
    pub fn setxattr(
        &self,
        caller: Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        set: XattrSet,
    ) -> Result<(), FsError> {
        self.stats.count(Operation::SetXattr);
        // One that is not enforced protects nothing, and its mask would be taken for the group's rights.
        if acl::is_acl(name) && !self.options.acl {
            return Err(FsError::NOT_SUPPORTED);
        }
        let sealed_name = self.seal_xattr_name(name)?;
        let inode = self.inode(ino)?;
        let node = self.node(&inode)?;
        let mut xattrs = inode.xattrs().lock();
        *xattrs = Xattrs::Some;
        if is_for_the_kernel(name) {
            node.set_xattr(&sealed_name, value, set)?;
            return self.after_acl(caller, name, &node);
        }
        let sealed = self.volume.xattr_keys()?.seal_value(name, value);
        Ok(node.set_xattr(&sealed_name, &sealed, set)?)
    }

    /// The names of an inode's extended attributes, each ended by a NUL.
    ///
    /// # Errors
    /// What the ciphertext folder answers.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        self.stats.count(Operation::ListXattr);
        let mut list = Vec::new();
        let inode = self.inode(ino)?;
        if *inode.xattrs().lock() == Xattrs::None {
            return Ok(list);
        }
        for on_disk in self.node(&inode)?.list_xattr()? {
            let on_disk = on_disk.as_bytes();
            let name = match is_for_the_kernel(on_disk) {
                true => Some(on_disk.to_vec()),
                false => self.volume.xattr_keys()?.open_name(on_disk),
            };
            if let Some(name) = name {
                list.extend_from_slice(&name);
                list.push(0);
            }
        }
        Ok(list)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`.
    pub fn removexattr(&self, ino: Ino, name: &[u8]) -> Result<(), FsError> {
        self.stats.count(Operation::RemoveXattr);
        let sealed_name: CString = self.seal_xattr_name(name)?;
        let sealed_name: &CStr = &sealed_name;
        Ok(self.node(&*self.inode(ino)?)?.remove_xattr(sealed_name)?)
    }

    fn seal_xattr_name(&self, name: &[u8]) -> Result<CString, FsError> {
        let on_disk = match is_for_the_kernel(name) {
            true => name.to_vec(),
            false => self
                .volume
                .xattr_keys()?
                .seal_name(name)
                .map_err(|error| match error {
                    XattrError::NameTooLong => FsError::Refused(libc::ERANGE),
                    _ => FsError::NOT_SUPPORTED,
                })?,
        };
        CString::new(on_disk).map_err(|_nul| FsError::INVALID)
    }
}

/// Attributes that the kernel acts on (capabilities, security labels, ACLs) must stand on the ciphertext as they are.
pub fn is_for_the_kernel(name: &[u8]) -> bool {
    name.starts_with(b"security.") || acl::is_acl(name)
}
