//! The keyring file on disk: who may read it, and how it is written whole or not at all.
//!
//! The folder is held open from the start: what a mount may later put over its path does not come
//! between, and reading the file again never goes through the mount that it unlocks.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, linkat,
    openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::contents::FILE_MAX;
use crate::crypto::random;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::lookups;

/// Rights that anyone but the owner may have: none.
const OTHERS: u32 = 0o077;
const GROUP_READS: u32 = 0o040;

/// Where a keyring file stands, or is to stand.
#[derive(Debug)]
pub(super) struct KeyringFile {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
}

/// Held while a keyring is read, changed and written; freed by dropping it.
#[derive(Debug)]
pub(super) struct RotationLock {
    _folder: OwnedFd,
}

impl KeyringFile {
    /// Opens the folder; the file need not be there yet.
    pub(super) fn new(path: &Path) -> Result<Self, KeyError> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            let message = format!("{}: expected the path of a file", path.display());
            return Err(KeyError::config(message));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, folder, flags, Mode::empty());
        Ok(Self {
            folder: opened.map_err(|errno| os_error("open folder", folder, errno))?,
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file, after a check that nobody else may read it.
    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // Without NONBLOCK a FIFO in its place would hold us for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.folder, &self.name, flags, Mode::empty()).map_err(io::Error::from);
        let file = lookups::key_file(&self.path, file);
        let file = file.map_err(|error| self.io_error("open", error))?;
        self.check_private(&file)?;
        // One buffer of full size: growing would leave copies of keys behind.
        let mut contents = Zeroizing::new(vec![0; FILE_MAX.saturating_add(1)]);
        let len = read_in_full(&mut File::from(file), &mut contents)
            .map_err(|error| self.io_error("read", error))?;
        if len > FILE_MAX {
            let message = format!("{}: too long for a keyring file", self.path.display());
            return Err(KeyError::config(message));
        }
        contents.truncate(len);
        Ok(contents)
    }

    /// Writes a new file; an error, and nothing changed, where something stands there already.
    pub(super) fn create(&self, contents: &[u8]) -> Result<(), KeyError> {
        self.put(contents, |temp| self.rename_to_free_place(temp))
    }

    /// Writes the file anew. The name must be the file's own, not a symbolic link's.
    pub(super) fn replace(&self, contents: &[u8]) -> Result<(), KeyError> {
        let stat = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.os_error("stat", errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let path = self.path.display();
            let message = format!("{path} is a symbolic link: rotate the file that it names");
            return Err(KeyError::config(message));
        }
        self.put(contents, |temp| {
            renameat(&self.folder, temp, &self.folder, &self.name)
        })
    }

    /// Waits until no other process rotates keyrings in this folder.
    pub(super) fn lock(&self) -> Result<RotationLock, KeyError> {
        let folder = self.open_folder()?;
        flock(&folder, FlockOperation::LockExclusive)
            .map_err(|errno| self.os_error("lock the folder of", errno))?;
        Ok(RotationLock { _folder: folder })
    }

    /// Writes a temporary file, makes it durable, and has `place` give it the name.
    fn put(
        &self,
        contents: &[u8],
        place: impl FnOnce(&OsStr) -> Result<(), Errno>,
    ) -> Result<(), KeyError> {
        let temp = self.temp_name();
        let placed = self
            .write_temp(&temp, contents)
            .and_then(|()| place(&temp).map_err(|errno| self.place_error(errno)));
        if placed.is_err() {
            // Nothing to add to the first error: the temporary file may not even be there.
            let _unlinked = unlinkat(&self.folder, &temp, AtFlags::empty());
        }
        placed?;
        let synced = File::from(self.open_folder()?).sync_all();
        synced.map_err(|error| self.io_error("sync the folder of", error))
    }

    fn write_temp(&self, temp: &OsStr, contents: &[u8]) -> Result<(), KeyError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.folder, temp, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.os_error("create", errno))?;
        let mut file = File::from(file);
        file.write_all(contents)
            .and_then(|()| file.sync_all())
            .map_err(|error| self.io_error("write", error))
    }

    /// Not every file system knows RENAME_NOREPLACE; the others have hard links.
    fn rename_to_free_place(&self, temp: &OsStr) -> Result<(), Errno> {
        let (folder, name) = (&self.folder, &self.name);
        match renameat_with(folder, temp, folder, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                linkat(folder, temp, folder, name, AtFlags::empty())?;
                unlinkat(folder, temp, AtFlags::empty())
            }
            result => result,
        }
    }

    fn open_folder(&self) -> Result<OwnedFd, KeyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.folder, ".", flags, Mode::empty())
            .map_err(|errno| self.os_error("open the folder of", errno))
    }

    fn temp_name(&self) -> OsString {
        let mut temp = OsString::from(".");
        temp.push(&self.name);
        temp.push(format!(".{}.tmp", HEXLOWER.encode(&random::array::<8>())));
        temp
    }

    /// A regular file of the effective user, closed to all others; or one of root's among the credentials of this
    /// service, which systemd opens to the service by an access list, whose mask looks like a group's right to read.
    fn check_private(&self, file: &OwnedFd) -> Result<(), KeyError> {
        let stat = fstat(file).map_err(|errno| self.os_error("stat", errno))?;
        let path = self.path.display();
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(KeyError::config(format!("{path} is not a regular file")));
        }
        let user = rustix::process::geteuid();
        let is_credential = is_credential(&self.path);
        if stat.st_uid != user.as_raw() && !(is_credential && stat.st_uid == 0) {
            let (owner, user) = (stat.st_uid, user.as_raw());
            return Err(KeyError::config(format!(
                "keyring {path} belongs to user {owner}, not to user {user}: run `chown {user} {path}`"
            )));
        }
        let others = match is_credential {
            true => OTHERS & !GROUP_READS,
            false => OTHERS,
        };
        if stat.st_mode & others != 0 {
            let mode = stat.st_mode & 0o7777;
            return Err(KeyError::config(format!(
                "keyring {path} is open to others (mode {mode:04o}): run `chmod 600 {path}`"
            )));
        }
        Ok(())
    }

    fn place_error(&self, errno: Errno) -> KeyError {
        if errno == Errno::EXIST {
            let path = self.path.display();
            return KeyError::config(format!("{path} exists already: it is not overwritten"));
        }
        self.os_error("rename to", errno)
    }

    fn os_error(&self, what: &str, errno: Errno) -> KeyError {
        os_error(what, &self.path, errno)
    }

    fn io_error(&self, what: &str, error: io::Error) -> KeyError {
        failure(what, &self.path, error)
    }
}

/// Whether systemd put the file there for this service alone.
fn is_credential(path: &Path) -> bool {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    folder.is_some_and(|folder| path.parent() == Some(Path::new(&folder)))
}

fn os_error(what: &str, path: &Path, errno: Errno) -> KeyError {
    failure(what, path, errno.into())
}

fn failure(what: &str, path: &Path, error: io::Error) -> KeyError {
    let kind = match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => KeyErrorKind::NotFound,
        Some(Errno::ACCESS | Errno::PERM) => KeyErrorKind::Denied,
        Some(Errno::NOTDIR) => KeyErrorKind::Config,
        _ => KeyErrorKind::Unavailable,
    };
    let message = format!("cannot {what} {}: {error}", path.display());
    KeyError::new(kind, message).caused_by(error)
}

fn read_in_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0_usize;
    while let Some(room) = buffer.get_mut(len..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(read) => len = len.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn in_folder(folder: &tempfile::TempDir, name: &str) -> KeyringFile {
        KeyringFile::new(&folder.path().join(name)).unwrap()
    }

    fn kind<T>(result: Result<T, KeyError>) -> Option<KeyErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn a_created_file_is_private_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = in_folder(&folder, "k");
        file.create(b"contents").unwrap();
        assert_eq!(file.read().unwrap().as_slice(), b"contents");
        let mode = file.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn create_replaces_nothing_be_it_file_folder_or_dangling_link() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"x").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        symlink("nowhere", folder.path().join("link")).unwrap();
        for name in ["file", "folder", "link"] {
            let created = in_folder(&folder, name).create(b"y");
            assert_eq!(kind(created), Some(KeyErrorKind::Config), "{name}");
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 3);
    }

    #[test]
    fn replace_leaves_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = in_folder(&folder, "k");
        file.create(b"old").unwrap();
        file.replace(b"new").unwrap();
        assert_eq!(file.read().unwrap().as_slice(), b"new");
    }

    #[test]
    fn a_link_may_be_read_but_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        in_folder(&folder, "k").create(b"old").unwrap();
        symlink("k", folder.path().join("link")).unwrap();
        let link = in_folder(&folder, "link");
        assert_eq!(link.read().unwrap().as_slice(), b"old");
        assert_eq!(kind(link.replace(b"new")), Some(KeyErrorKind::Config));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        rustix::fs::mkfifoat(CWD, folder.path().join("fifo"), Mode::RUSR).unwrap();
        for name in ["folder", "fifo"] {
            let read = in_folder(&folder, name).read();
            assert_eq!(kind(read), Some(KeyErrorKind::Config), "{name}");
        }
    }

    #[test]
    fn an_endless_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = in_folder(&folder, "k");
        file.create(&vec![b' '; FILE_MAX + 1]).unwrap();
        assert_eq!(kind(file.read()), Some(KeyErrorKind::Config));
    }

    #[test]
    fn no_file_and_no_folder_are_not_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            kind(in_folder(&folder, "k").read()),
            Some(KeyErrorKind::NotFound)
        );
        assert_eq!(
            kind(in_folder(&folder, "k").replace(b"")),
            Some(KeyErrorKind::NotFound)
        );
        let nowhere = KeyringFile::new(&folder.path().join("a/b"));
        assert_eq!(kind(nowhere), Some(KeyErrorKind::NotFound));
        assert_eq!(
            kind(KeyringFile::new(Path::new("/"))),
            Some(KeyErrorKind::Config)
        );
    }

    #[test]
    fn a_path_covered_later_does_not_come_between() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, moved) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir(&inner).unwrap();
        let file = KeyringFile::new(&inner.join("k")).unwrap();
        file.create(b"mine").unwrap();
        std::fs::rename(&inner, &moved).unwrap();
        std::fs::create_dir(&inner).unwrap();
        assert_eq!(file.read().unwrap().as_slice(), b"mine");
    }
}
