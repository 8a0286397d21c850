//! The user's PIN of a token: where it comes from, and how it is kept.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::passphrase_source::{Locked, first_line};

/// Where the PIN comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PinSource {
    /// The first line of a systemd credential, whose folder only this service may enter.
    Credential(PathBuf),
    /// The first line of a file that only its owner may read: this user, or root.
    File(PathBuf),
    /// The terminal, without echo.
    #[default]
    Prompt,
}

/// The longest PIN in bytes.
const PIN_MAX: usize = 256;

/// A PIN that is read once and then kept in locked memory: a token that was taken out and comes
/// back needs it again.
#[derive(Debug)]
pub(super) struct Pin {
    source: PinSource,
    kept: Mutex<Option<Locked>>,
}

impl Pin {
    pub(super) fn new(source: PinSource) -> Self {
        Self {
            source,
            kept: Mutex::new(None),
        }
    }

    /// The PIN of `token`.
    ///
    /// # Errors
    /// `Config` where it cannot be read, is empty or too long, or others could read it as well.
    pub(super) fn reveal(&self, token: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // Held while asking, on purpose: two prompts at once on one terminal help nobody.
        let mut kept = self.kept.lock();
        if let Some(pin) = &*kept {
            return Ok(pin.reveal());
        }
        let pin = self.source.read(token)?;
        *kept = Some(Locked::new(&pin)?);
        Ok(pin)
    }
}

impl Pin {
    /// Drops the PIN. One that a human entered stays: there may be no terminal to ask at again.
    pub(super) fn forget(&self) {
        if self.source != PinSource::Prompt {
            *self.kept.lock() = None;
        }
    }
}

impl PinSource {
    fn read(&self, token: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let pin = match self {
            Self::Credential(path) => of_file(path, Guard::Service)?,
            Self::File(path) => of_file(path, Guard::Private)?,
            Self::Prompt => prompt(token)?,
        };
        match pin.len() {
            0 => Err(KeyError::config(format!("the PIN of {token} is empty"))),
            1..=PIN_MAX => Ok(pin),
            _ => Err(KeyError::config(format!(
                "the PIN of {token} is longer than {PIN_MAX} bytes"
            ))),
        }
    }
}

fn prompt(token: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let answer = rpassword::prompt_password(format!("PIN of {token}: "));
    let answer = answer.map_err(|error| {
        KeyError::config(format!(
            "no terminal to ask for the PIN of {token}: name a file that holds it, by pin-source or ENVELOPEFS_PKCS11_PIN_FILE"
        ))
        .caused_by(error)
    })?;
    Ok(Zeroizing::new(answer.into_bytes()))
}

fn of_file(path: &Path, guard: Guard) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    const WHAT: &str = "PIN file";
    let mut file = local_file::open(WHAT, path, guard)?;
    let line = first_line(&mut file);
    let line = line.map_err(|error| local_file::unreadable(WHAT, path, guard, error))?;
    line.ok_or_else(|| KeyError::config(format!("PIN file {} is too long", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(contents: &[u8], mode: u32) -> (tempfile::NamedTempFile, Pin) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let pin = Pin::new(PinSource::File(file.path().to_owned()));
        (file, pin)
    }

    #[test]
    fn a_file_gives_its_first_line_and_is_read_once() {
        let (file, pin) = file(b"1234\nsecond\n", 0o600);
        assert_eq!(*pin.reveal("token").unwrap(), b"1234");
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(*pin.reveal("token").unwrap(), b"1234");
    }

    #[test]
    fn a_file_that_others_may_use_is_refused_with_what_to_run() {
        for mode in [0o640, 0o604, 0o620, 0o606, 0o777] {
            let (file, pin) = file(b"1234\n", mode);
            let error = pin.reveal("token").unwrap_err();
            let advice = format!("chmod 600 {}", file.path().display());
            assert!(error.message().contains(&advice), "{mode:o}: {error}");
            assert!(!error.to_string().contains("1234"));
        }
    }

    #[test]
    fn a_credential_s_mode_is_systemd_s_business() {
        let (file, _pin) = file(b"1234", 0o440);
        let pin = Pin::new(PinSource::Credential(file.path().to_owned()));
        assert_eq!(*pin.reveal("token").unwrap(), b"1234");
    }

    #[test]
    fn empty_endless_and_missing_pins_are_refused_and_asked_for_again() {
        for contents in [&b""[..], b"\n", &[b'1'; PIN_MAX + 1], &[b'1'; 9000]] {
            let (file, pin) = file(contents, 0o600);
            assert!(pin.reveal("token").is_err());
            std::fs::write(file.path(), b"1234").unwrap();
            assert_eq!(*pin.reveal("token").unwrap(), b"1234");
        }
        let missing = Pin::new(PinSource::File("/nonexistent/pin".into()));
        let error = missing.reveal("token").unwrap_err();
        assert!(error.message().contains("/nonexistent/pin"), "{error}");
    }

    #[test]
    fn debug_shows_no_pin() {
        let (_file, pin) = file(b"7593", 0o600);
        pin.reveal("token").unwrap();
        let text = format!("{pin:?}");
        assert!(!text.contains("7593") && !text.contains("55, 53"), "{text}");
    }
}
