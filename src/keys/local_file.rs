//! Files of this machine that hold a secret, or a key that is trusted: who else may use them is
//! checked before they are read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::keys::error::{KeyError, KeyErrorKind};

/// The most bytes of a file of keys or certificates.
const LEN_MAX: usize = 64 * 1024;

/// Who may use a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Its owner: this user, or root.
    Private,
    /// Whoever systemd lets into the folder of a service's credentials.
    Service,
    /// All may read it; only its owner, this user or root, may change it.
    Trusted,
}

/// Opens a file that may be used; `what` says for messages what it is.
///
/// # Errors
/// `Config` where it cannot be opened, or others may use it; `NotFound` for a trusted file that is not
/// there.
pub(super) fn open(what: &str, path: &Path, guard: Guard) -> Result<File, KeyError> {
    let failed = |error| unreadable(what, path, guard, error);
    let file = File::open(path).map_err(failed)?;
    let stat = file.metadata().map_err(failed)?;
    check(what, path, guard, (stat.is_file(), stat.mode(), stat.uid()))?;
    Ok(file)
}

/// The whole of a file that may be used.
///
/// # Errors
/// Those of [`open`]; `Config` for one of over 64 KiB.
pub(super) fn read(what: &str, path: &Path, guard: Guard) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = open(what, path, guard)?;
    // One buffer of full size: growing would leave copies of keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN_MAX.saturating_add(1)));
    let most = u64::try_from(bytes.capacity()).unwrap_or(u64::MAX);
    let read = file.take(most).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(what, path, guard, error))?;
    if bytes.len() > LEN_MAX {
        let message = format!("{what} {} is longer than 64 KiB", path.display());
        return Err(KeyError::config(message));
    }
    Ok(bytes)
}

/// A failure to read what [`open`] gave.
pub(super) fn unreadable(what: &str, path: &Path, guard: Guard, error: io::Error) -> KeyError {
    let missing = guard == Guard::Trusted && error.kind() == io::ErrorKind::NotFound;
    let kind = if missing {
        KeyErrorKind::NotFound
    } else {
        KeyErrorKind::Config
    };
    let message = format!("cannot read {what} {}: {error}", path.display());
    KeyError::new(kind, message).caused_by(error)
}

/// A pipe or a descriptor is as private as whoever made it.
fn check(
    what: &str,
    path: &Path,
    guard: Guard,
    (is_file, mode, owner): (bool, u32, u32),
) -> Result<(), KeyError> {
    let (others, use_it, remedy) = match guard {
        Guard::Private => (0o077, "use", "600"),
        Guard::Trusted => (0o022, "change", "go-w"),
        Guard::Service => return Ok(()),
    };
    if !is_file {
        return Ok(());
    }
    let path = path.display();
    if mode & others != 0 {
        return Err(KeyError::config(format!(
            "{what} {path}: others than its owner may {use_it} it; run: chmod {remedy} {path}"
        )));
    }
    let this_user = rustix::process::geteuid().as_raw();
    if owner != 0 && owner != this_user {
        return Err(KeyError::config(format!(
            "{what} {path}: its owner is neither root nor this user"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PATH: &str = "/key";

    fn checked(guard: Guard, stat: (bool, u32, u32)) -> Result<(), String> {
        check("key file", Path::new(PATH), guard, stat).map_err(|error| error.to_string())
    }

    fn this_user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn who_else_may_use_a_secret_or_change_a_trusted_file_is_told_with_what_to_run() {
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o777] {
            let refused = checked(Guard::Private, (true, mode, this_user())).unwrap_err();
            assert!(refused.contains("chmod 600 /key"), "{mode:o}: {refused}");
        }
        for mode in [0o664, 0o646, 0o666, 0o777] {
            let refused = checked(Guard::Trusted, (true, mode, this_user())).unwrap_err();
            assert!(refused.contains("chmod go-w /key"), "{mode:o}: {refused}");
        }
        assert!(checked(Guard::Private, (true, 0o400, this_user())).is_ok());
        assert!(checked(Guard::Trusted, (true, 0o644, 0)).is_ok());
    }

    #[test]
    fn a_stranger_s_file_is_refused() {
        let stranger = this_user() + 1;
        for guard in [Guard::Private, Guard::Trusted] {
            assert!(checked(guard, (true, 0o600, stranger)).is_err());
            assert!(checked(guard, (true, 0o600, 0)).is_ok());
            assert!(checked(guard, (false, 0o666, stranger)).is_ok());
        }
        assert!(checked(Guard::Service, (true, 0o444, stranger)).is_ok());
    }

    #[test]
    fn a_file_is_read_whole_up_to_its_bound() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(file.path(), private).unwrap();
        for (len, fits) in [
            (0, true),
            (LEN_MAX, true),
            (LEN_MAX + 1, false),
            (LEN_MAX * 3, false),
        ] {
            std::fs::write(file.path(), vec![b'x'; len]).unwrap();
            let read = read("key file", file.path(), Guard::Private);
            assert_eq!(read.is_ok_and(|bytes| bytes.len() == len), fits, "{len}");
        }
        assert!(read("key file", Path::new("/dev/zero"), Guard::Private).is_err());
    }

    #[test]
    fn what_is_missing_is_named_with_its_path() {
        for (guard, kind) in [
            (Guard::Private, KeyErrorKind::Config),
            (Guard::Service, KeyErrorKind::Config),
            (Guard::Trusted, KeyErrorKind::NotFound),
        ] {
            let error = read("key file", Path::new("/nonexistent/key"), guard).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(
                error.message().contains("key file /nonexistent/key"),
                "{error}"
            );
        }
    }
}
