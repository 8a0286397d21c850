//! Files of this machine with keys, certificates and credentials: who else may use them is checked
//! before they are read, and they are read up to a bound.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::keys::error::{KeyError, KeyErrorKind};
use crate::lookups;

/// The most bytes of a file that is this machine's alone.
const LEN_MAX: usize = 64 * 1024;
/// The most bytes of one that others give to it, such as a bundle of authorities.
const GIVEN_LEN_MAX: usize = 1024 * 1024;

/// Others than the owner may use it, may change it; every user may read it.
const USABLE: u32 = 0o077;
const WRITABLE: u32 = 0o022;
const READABLE: u32 = 0o004;

/// Who may use a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Whoever its mode says.
    Any,
    /// Of credentials that a service puts into a container: whoever it belongs to, only its owner may
    /// change it. One that every user may read is read with a warning.
    Given,
    /// Its owner: this user, or root.
    Private,
    /// Whoever systemd lets into the folder of a service's credentials.
    Service,
    /// All may read it; only its owner, this user or root, may change it.
    Trusted,
}

impl Guard {
    fn len_max(self) -> usize {
        match self {
            Self::Any | Self::Given => GIVEN_LEN_MAX,
            Self::Private | Self::Service | Self::Trusted => LEN_MAX,
        }
    }
}

/// Opens a file that may be used; `what` says for messages what it is.
///
/// # Errors
/// `Config` where it cannot be opened, or others may use it; `NotFound` for a trusted file that is not
/// there.
pub(super) fn open(what: &str, path: &Path, guard: Guard) -> Result<File, KeyError> {
    let failed = |error| unreadable(what, path, guard, error);
    let opened = File::open(path);
    let file = match guard {
        Guard::Trusted => lookups::key_file(path, opened.map(OwnedFd::from)).map(File::from),
        Guard::Any | Guard::Given | Guard::Private | Guard::Service => opened,
    };
    let file = file.map_err(failed)?;
    let stat = file.metadata().map_err(failed)?;
    check(what, path, guard, (stat.is_file(), stat.mode(), stat.uid()))?;
    Ok(file)
}

/// Opens a public key for somebody who may not look for it himself: whatever else is there stays closed. The descriptor
/// stands at the file's beginning.
///
/// # Errors
/// Those of `open(2)` and `read(2)`; `InvalidData` for what is no public key.
pub fn open_public(path: &Path) -> io::Result<File> {
    const BEGIN: &[u8] = b"-----BEGIN PUBLIC KEY-----";
    open_where(path, |bytes| bytes.trim_ascii_start().starts_with(BEGIN))
}

/// Opens a file whose content is as it should be.
///
/// # Errors
/// Those of `open(2)` and `read(2)`; `InvalidData` for another content.
pub(super) fn open_where(path: &Path, is: impl FnOnce(&[u8]) -> bool) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() || !is(&up_to(&file, LEN_MAX)?) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.rewind()?;
    Ok(file)
}

/// What a file begins with: one byte more than `len_max` at most, by which a longer one is known.
fn up_to(file: &File, len_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // One buffer of full size: growing would leave copies of keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len_max.saturating_add(1)));
    let most = u64::try_from(len_max).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole of a file that may be used.
///
/// # Errors
/// Those of [`open`]; `Config` for one that is over the bound.
pub(super) fn read(what: &str, path: &Path, guard: Guard) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = open(what, path, guard)?;
    let len_max = guard.len_max();
    let read = up_to(&file, len_max);
    let bytes = read.map_err(|error| unreadable(what, path, guard, error))?;
    if bytes.len() > len_max {
        let (path, most) = (path.display(), len_max / 1024);
        let message = format!("{what} {path} is longer than {most} KiB");
        return Err(KeyError::config(message));
    }
    Ok(bytes)
}

/// The credential in such a file: its only line, without white space around it.
///
/// # Errors
/// Those of [`read`]; `Config` where it is empty, has several lines or is no printable ASCII.
pub(super) fn read_line(
    what: &str,
    path: &Path,
    guard: Guard,
) -> Result<Zeroizing<String>, KeyError> {
    let contents = read(what, path, guard)?;
    let text = std::str::from_utf8(contents.trim_ascii()).unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let path = path.display();
        let message = format!("{what} {path}: expected one line without spaces");
        return Err(KeyError::config(message));
    }
    Ok(Zeroizing::new(text.to_owned()))
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
        Guard::Private => (USABLE, "use", "600"),
        Guard::Trusted | Guard::Given => (WRITABLE, "change", "go-w"),
        Guard::Any | Guard::Service => return Ok(()),
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
    if guard == Guard::Given {
        if mode & READABLE != 0 {
            tracing::warn!(%path, "every user may read this {what}");
        }
        return Ok(());
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
        for guard in [Guard::Trusted, Guard::Given] {
            for mode in [0o664, 0o646, 0o666, 0o777] {
                let refused = checked(guard, (true, mode, this_user())).unwrap_err();
                assert!(refused.contains("chmod go-w /key"), "{mode:o}: {refused}");
            }
        }
        for mode in [0o400, 0o600, 0o640, 0o644] {
            assert!(checked(Guard::Given, (true, mode, this_user())).is_ok());
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
        assert!(checked(Guard::Given, (true, 0o644, stranger)).is_ok());
        assert!(checked(Guard::Any, (true, 0o666, stranger)).is_ok());
    }

    fn file(contents: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(file.path(), private).unwrap();
        std::fs::write(file.path(), contents).unwrap();
        file
    }

    #[test]
    fn a_file_is_read_whole_up_to_its_bound() {
        for guard in [Guard::Private, Guard::Given] {
            let most = guard.len_max();
            for (len, fits) in [
                (0, true),
                (most, true),
                (most + 1, false),
                (most * 3, false),
            ] {
                let read = read("key file", file(&vec![b'x'; len]).path(), guard);
                assert_eq!(read.is_ok_and(|bytes| bytes.len() == len), fits, "{len}");
            }
            assert!(read("key file", Path::new("/dev/zero"), guard).is_err());
        }
    }

    #[test]
    fn a_credential_is_its_line() {
        for contents in [&b"s.abc"[..], b"s.abc\n", b" s.abc \r\n\n"] {
            let line = read_line("token", file(contents).path(), Guard::Given);
            assert_eq!(*line.unwrap(), "s.abc");
        }
        for contents in [
            &b""[..],
            b"\n",
            b"hunter2\nb",
            b"hunter2 b",
            b"hunter2\0",
            b"hunter2\xff",
        ] {
            let error = read_line("token", file(contents).path(), Guard::Given).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_path() {
        for (guard, kind) in [
            (Guard::Private, KeyErrorKind::Config),
            (Guard::Service, KeyErrorKind::Config),
            (Guard::Given, KeyErrorKind::Config),
            (Guard::Any, KeyErrorKind::Config),
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
