//! Small files as wholes: read at once, replaced atomically.

use std::io;

use data_encoding::HEXLOWER;

use super::file::{Access, StorageFile};
use super::name::CName;
use super::node::{Node, RenameFlags};
use crate::crypto::random;
use crate::format::names::TEMP_PREFIX;
use crate::units::CipherOffset;

impl Node {
    /// Puts a file with `contents` and exactly `mode` at `name` in this folder, in place of what
    /// was there: after a crash at any point the name leads to the old file or the new one, whole.
    /// When this returns the new one is durable.
    ///
    /// # Errors
    /// Those of the system calls on the way. No temporary file is left, and unless it was the last
    /// step, the sync of the folder, that failed, `name` is as it was.
    pub fn replace_file(&self, name: &CName, mode: u32, contents: &[u8]) -> io::Result<()> {
        let (temp, file) = TempEntry::create(self)?;
        file.set_mode(mode)?;
        file.write_at(contents, CipherOffset(0))?;
        file.sync_all()?;
        temp.persist(name)?;
        self.sync_dir()
    }

    /// The contents of the regular file `name` in this folder.
    ///
    /// # Errors
    /// EFBIG where they are more than `max_len` bytes, else those of
    /// [`Node::open_child_file`] and of reading.
    pub fn read_file(&self, name: &CName, max_len: usize) -> io::Result<Vec<u8>> {
        let too_big = || io::Error::from_raw_os_error(libc::EFBIG);
        let file = self.open_child_file(name, Access::Read)?;
        let len = usize::try_from(file.len()?.0).map_err(|_wide| too_big())?;
        if len > max_len {
            return Err(too_big());
        }
        let mut contents = vec![0; len];
        let count = file.read_at(&mut contents, CipherOffset(0))?;
        contents.truncate(count);
        Ok(contents)
    }
}

/// An entry under a temporary name, unlinked when dropped unless it was renamed into place.
struct TempEntry<'a> {
    dir: &'a Node,
    name: CName,
    armed: bool,
}

impl<'a> TempEntry<'a> {
    fn create(dir: &'a Node) -> io::Result<(Self, StorageFile)> {
        loop {
            let name = temp_name()?;
            match dir.create_file(&name, 0o600) {
                Ok(file) => {
                    return Ok((
                        Self {
                            dir,
                            name,
                            armed: true,
                        },
                        file,
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn persist(mut self, name: &CName) -> io::Result<()> {
        self.dir
            .rename(&self.name, self.dir, name, RenameFlags::empty())?;
        self.armed = false;
        Ok(())
    }
}

impl Drop for TempEntry<'_> {
    fn drop(&mut self) {
        if self.armed {
            // The error that brought us here is the one to report.
            let _unlinked = self.dir.unlink(&self.name);
        }
    }
}

/// A name that nobody else draws; the prefix keeps it out of every mount.
fn temp_name() -> io::Result<CName> {
    let suffix = HEXLOWER.encode(&random::array::<8>());
    Ok(CName::new(&[TEMP_PREFIX, suffix.as_bytes()].concat())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{assert_errno, folder, name, names_in};

    #[test]
    fn a_file_is_made_and_then_replaced() {
        let (dir, node) = folder();
        for (contents, mode) in [
            (&b"first"[..], 0o600),
            (b"", 0o644),
            (b"third, longer", 0o666),
        ] {
            node.replace_file(&name("v"), mode, contents).unwrap();
            assert_eq!(node.read_file(&name("v"), 100).unwrap(), contents);
            assert_eq!(node.stat_child(&name("v")).unwrap().mode, mode);
            assert_eq!(names_in(dir.path()), ["v"]);
        }
    }

    #[test]
    fn who_has_the_old_file_open_keeps_it() {
        let (_dir, node) = folder();
        node.replace_file(&name("v"), 0o600, b"old").unwrap();
        let old = node.open_child_file(&name("v"), Access::Read).unwrap();
        node.replace_file(&name("v"), 0o600, b"new").unwrap();
        let mut contents = [0; 3];
        old.read_at(&mut contents, CipherOffset(0)).unwrap();
        assert_eq!(&contents, b"old");
    }

    #[test]
    fn a_symlink_is_replaced_and_not_followed() {
        let (dir, node) = folder();
        std::fs::write(dir.path().join("target"), "kept").unwrap();
        node.make_symlink(b"target", &name("v")).unwrap();
        node.replace_file(&name("v"), 0o600, b"new").unwrap();
        assert_eq!(std::fs::read(dir.path().join("target")).unwrap(), b"kept");
        assert_eq!(node.read_file(&name("v"), 9).unwrap(), b"new");
    }

    #[test]
    fn a_failed_replacement_leaves_nothing_behind() {
        let (dir, node) = folder();
        node.make_dir(&name("v"), 0o700).unwrap();
        assert_errno(node.replace_file(&name("v"), 0o600, b"new"), libc::EISDIR);
        assert_eq!(names_in(dir.path()), ["v"]);
    }

    #[test]
    fn a_temporary_file_that_was_given_up_is_gone() {
        let (dir, node) = folder();
        let (temp, file) = TempEntry::create(&node).unwrap();
        file.write_at(b"half", CipherOffset(0)).unwrap();
        let names = names_in(dir.path());
        assert!(
            names.len() == 1 && names[0].as_bytes().starts_with(TEMP_PREFIX),
            "{names:?}"
        );
        drop(temp);
        assert!(names_in(dir.path()).is_empty());
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let (_dir, node) = folder();
        node.make_dir(&name("d"), 0o700).unwrap();
        node.make_symlink(b"d", &name("l")).unwrap();
        node.make_node(&name("p"), libc::S_IFIFO | 0o600, 0)
            .unwrap();
        assert_errno(node.read_file(&name("missing"), 9), libc::ENOENT);
        assert_errno(node.read_file(&name("d"), 9), libc::EISDIR);
        assert_errno(node.read_file(&name("l"), 9), libc::ELOOP);
        assert_errno(node.read_file(&name("p"), 9), libc::ENXIO);
    }

    #[test]
    fn no_more_is_read_than_was_allowed() {
        let (_dir, node) = folder();
        node.replace_file(&name("v"), 0o600, b"12345").unwrap();
        assert_eq!(node.read_file(&name("v"), 5).unwrap(), b"12345");
        assert_errno(node.read_file(&name("v"), 4), libc::EFBIG);
        assert_errno(node.read_file(&name("v"), 0), libc::EFBIG);
    }

    #[test]
    fn a_huge_sparse_file_costs_no_memory() {
        let (_dir, node) = folder();
        let file = node.create_file(&name("v"), 0o600).unwrap();
        file.set_len(crate::units::CipherLen(1 << 40)).unwrap();
        assert_errno(node.read_file(&name("v"), 1 << 20), libc::EFBIG);
    }
}
