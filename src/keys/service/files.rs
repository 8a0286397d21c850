//! Files that belong to the way to a service: certificates and credentials.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::keys::error::KeyError;

/// The largest file in bytes.
const FILE_MAX: usize = 1024 * 1024;

/// Group and others may write.
const WRITABLE: u32 = 0o022;
/// Others may read.
const READABLE: u32 = 0o004;

/// Reads a file; `what` it is stands in messages.
///
/// # Errors
/// `Config` where it cannot be read or is too large.
pub(crate) fn read(what: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    contents(what, path, &open(what, path)?)
}

/// Reads a file with credentials. One that others may read is read with a warning: services put
/// such files into containers. One that others may write is refused.
///
/// # Errors
/// `Config`, also where it cannot be read or is too large.
pub(crate) fn secret(what: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = open(what, path)?;
    let stat = file
        .metadata()
        .map_err(|error| failed(what, path, &error))?;
    check_mode(what, path, stat.is_file(), stat.mode())?;
    contents(what, path, &file)
}

/// Reads a file with one credential: its only line, without white space around it.
///
/// # Errors
/// `Config`, also where it is empty, has several lines or is no printable ASCII.
pub(crate) fn secret_line(what: &str, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let contents = secret(what, path)?;
    let line = contents.trim_ascii();
    let text = std::str::from_utf8(line).unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(KeyError::config(format!(
            "{what} {}: expected one line without spaces",
            path.display()
        )));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn open(what: &str, path: &Path) -> Result<File, KeyError> {
    File::open(path).map_err(|error| failed(what, path, &error))
}

fn contents(what: &str, path: &Path, file: &File) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // Made as large as it may get: one that grew would leave copies behind.
    let mut contents = Zeroizing::new(Vec::with_capacity(FILE_MAX.saturating_add(1)));
    let most = u64::try_from(FILE_MAX).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1))
        .read_to_end(&mut contents)
        .map_err(|error| failed(what, path, &error))?;
    if contents.len() > FILE_MAX {
        let path = path.display();
        return Err(KeyError::config(format!(
            "{what} {path}: it is larger than {FILE_MAX} bytes"
        )));
    }
    Ok(contents)
}

/// A pipe or a descriptor is as private as whoever made it.
fn check_mode(what: &str, path: &Path, is_file: bool, mode: u32) -> Result<(), KeyError> {
    let path = path.display();
    if is_file && mode & WRITABLE != 0 {
        return Err(KeyError::config(format!(
            "{what} {path}: others than its owner may write it; run: chmod go-w {path}"
        )));
    }
    if is_file && mode & READABLE != 0 {
        tracing::warn!(%path, "every user may read this {what}");
    }
    Ok(())
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> KeyError {
    KeyError::config(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::keys::error::KeyErrorKind;

    fn file(contents: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_credential_is_its_line() {
        for contents in [&b"s.abc"[..], b"s.abc\n", b" s.abc \r\n\n"] {
            let file = file(contents, 0o600);
            assert_eq!(*secret_line("token", file.path()).unwrap(), "s.abc");
        }
    }

    #[test]
    fn what_is_no_line_is_refused_and_not_repeated() {
        for contents in [
            &b""[..],
            b"\n",
            b"hunter2\nb",
            b"hunter2 b",
            b"hunter2\0",
            b"hunter2\xff",
        ] {
            let file = file(contents, 0o600);
            let error = secret_line("token", file.path()).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused_with_what_to_run() {
        for mode in [0o620, 0o602, 0o666] {
            let file = file(b"s.abc", mode);
            let error = secret("token", file.path()).unwrap_err();
            let advice = format!("chmod go-w {}", file.path().display());
            assert!(error.to_string().contains(&advice), "{error}");
        }
        for mode in [0o400, 0o600, 0o640, 0o644] {
            assert!(
                secret("token", file(b"s.abc", mode).path()).is_ok(),
                "{mode:o}"
            );
        }
        assert!(check_mode("token", Path::new("/pipe"), false, 0o666).is_ok());
    }

    #[test]
    fn endless_and_missing_files_are_refused_by_name() {
        let endless = file(&vec![b'x'; FILE_MAX + 1], 0o600);
        for path in [endless.path(), Path::new("/nonexistent/token")] {
            let error = read("token", path).unwrap_err();
            assert!(
                error.to_string().contains(&*path.to_string_lossy()),
                "{error}"
            );
        }
        assert_eq!(
            read("token", file(&vec![b'x'; FILE_MAX], 0o600).path())
                .unwrap()
                .len(),
            FILE_MAX
        );
    }
}
