//! Where control sockets lie: a folder that only the mount's owner may write.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// The folders where a mount of user `owner` may have its socket, the preferred one first.
/// `runtime_dir` is `XDG_RUNTIME_DIR` where it belongs to that user.
pub fn folders(owner: u32, runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let shared = PathBuf::from(format!("/tmp/envelopefs-{owner}"));
    if owner == 0 {
        return vec![PathBuf::from("/run/envelopefs"), shared];
    }
    let given = runtime_dir.map(|dir| dir.join("envelopefs"));
    let usual = PathBuf::from(format!("/run/user/{owner}/envelopefs"));
    let mut folders: Vec<PathBuf> = given.into_iter().chain([usual, shared]).collect();
    folders.dedup();
    folders
}

/// `XDG_RUNTIME_DIR` of this process, where it is a folder of user `owner`: after `su` it may
/// still be somebody else's.
pub fn runtime_dir(owner: u32) -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    let belongs = fs::symlink_metadata(&dir).is_ok_and(|found| found.uid() == owner);
    (dir.is_absolute() && belongs).then_some(dir)
}

/// The socket's name for a mount at this canonical path.
pub fn socket_name(mountpoint: &Path) -> String {
    let digest = Sha256::digest(mountpoint.as_os_str().as_bytes());
    // Half of it: a socket's whole path has 107 bytes (unix(7)).
    let half = digest.get(..16).unwrap_or(&digest);
    format!("{}.sock", HEXLOWER.encode(half))
}

/// Makes the folder where it is missing, and checks it.
///
/// # Errors
/// It cannot be made, or [`check`] refuses it.
pub fn prepare(folder: &Path, owner: u32) -> io::Result<()> {
    // Root's folder shows others that there are mounts; the sockets in it are closed to them.
    let mode = if owner == 0 { 0o755 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => check(folder, owner),
    }
}

/// A socket in a folder of somebody else could be anybody's.
///
/// # Errors
/// The folder is missing, a symlink, not this user's, or writable for others.
pub fn check(folder: &Path, owner: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let refuse = |why: &str| Err(io::Error::other(format!("{}: {why}", folder.display())));
    if !found.is_dir() {
        return refuse("not a folder");
    }
    if found.uid() != owner {
        return refuse("belongs to another user");
    }
    if found.mode() & 0o022 != 0 {
        return refuse("others may write in it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn root_uses_run_and_others_their_own_folder() {
        let given = Path::new("/run/user/7");
        assert_eq!(folders(0, Some(given))[0], Path::new("/run/envelopefs"));
        let own = ["/run/user/7/envelopefs", "/tmp/envelopefs-7"].map(PathBuf::from);
        assert_eq!(folders(7, Some(given)), own);
        assert_eq!(folders(7, None), own);
        assert_eq!(
            folders(7, Some(Path::new("/x")))[0],
            Path::new("/x/envelopefs")
        );
    }

    #[test]
    fn names_differ_by_mount_point_and_are_short() {
        let name = socket_name(Path::new("/home/u/secrets"));
        assert_eq!(name.len(), 37);
        assert_eq!(name, socket_name(Path::new("/home/u/secrets")));
        assert_ne!(name, socket_name(Path::new("/home/u/secret")));
    }

    #[test]
    fn a_new_folder_is_prepared_and_found_good_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("envelopefs");
        prepare(&folder, me()).unwrap();
        prepare(&folder, me()).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o022, 0);
    }

    #[test]
    fn folders_that_others_could_use_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for folder in [&open, &link, &file] {
            assert!(prepare(folder, me()).is_err(), "{folder:?}");
        }
        assert!(check(dir.path(), me() + 1).is_err());
        assert!(check(&dir.path().join("missing"), me()).is_err());
    }
}
