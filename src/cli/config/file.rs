//! Reading a configuration file that only its owner may write.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// More is no configuration.
const MAX_LEN: u64 = 1 << 20;

/// Why a file is not read.
pub(super) struct Refused {
    pub(super) what: String,
    pub(super) mend: String,
}

/// The text; None where there is no file, or one that its owner keeps from this user.
pub(super) fn read(path: &Path) -> Result<Option<String>, Refused> {
    match try_read(path) {
        Ok(text) => text.map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_own(path) => Ok(None),
        Err(error) => Err(Refused {
            what: format!("it cannot be read: {error}"),
            mend: "see its mode and owner, and that it is UTF-8".to_owned(),
        }),
    }
}

fn try_read(path: &Path) -> io::Result<Result<String, Refused>> {
    let file = File::open(path)?;
    // What was opened is what is judged, wherever links lead.
    let real = fs::canonicalize(path)?;
    let folder = real.parent().map(fs::metadata).transpose()?;
    let judged = std::iter::once(file.metadata()?).chain(folder);
    for (found, what) in judged.zip(["it", "its folder"]) {
        if let Some(why) = untrusted(&found) {
            return Ok(Err(Refused {
                what: format!("{what} {why}, and could have any command run by a mount"),
                mend: format!("chown and chmod go-w {}, or its folder", path.display()),
            }));
        }
    }
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(Ok(text))
}

fn is_own(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|found| found.uid() == own)
}

fn untrusted(found: &fs::Metadata) -> Option<&'static str> {
    let own = rustix::process::geteuid().as_raw();
    // In a folder with the sticky bit nobody exchanges what is another's.
    let writable = found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0;
    match (found.uid() == 0 || found.uid() == own, writable) {
        (false, _) => Some("belongs to another user"),
        (true, true) => Some("may be written by others than its owner"),
        (true, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_that_others_may_write_is_refused_and_one_that_is_not_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert!(matches!(read(&path), Ok(None)));
        fs::write(&path, "x").unwrap();
        for (mode, good) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
            set(&path, mode);
            assert_eq!(read(&path).is_ok(), good, "{mode:o}");
        }
        set(&path, 0o644);
        set(folder.path(), 0o777);
        assert!(read(&path).is_err(), "anybody may put another in its place");
        set(folder.path(), 0o1777);
        assert!(read(&path).is_ok());
    }

    #[test]
    fn a_link_is_judged_by_where_it_leads() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = other.path().join("t");
        fs::write(&target, "x").unwrap();
        let link = folder.path().join("config.toml");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read(&link).is_ok());
        set(other.path(), 0o777);
        assert!(read(&link).is_err());
        set(other.path(), 0o700);
    }

    #[test]
    fn a_folder_is_no_configuration() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err());
    }
}
