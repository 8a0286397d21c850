//! `file:///path/keyring.json`: KEKs in a file that only the effective user may read. The default
//! provider, for a host of its own and for the key that another one falls back to.
//!
//! The file holds several versions of the KEK. New wraps use the primary one; a wrapped key names
//! the version that it needs, and the version is bound into its AAD. Wrapped form: XAES-256-GCM
//! of the data key under the KEK, 72 bytes.

mod contents;
mod path;
mod store;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::{NONCE_LEN, TAG_LEN, XaesKey};
use crate::keys::error::KeyError;
use crate::keys::local_file;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
use crate::units::KeyUri;
use contents::KekSet;
use store::KeyringFile;

/// The scheme of the URIs.
pub const SCHEME: &str = "file";

/// The length of a wrapped key in bytes.
const WRAPPED_LEN: usize = NONCE_LEN + TAG_LEN + SecretKey::LEN;

/// The file is read again for an unknown version at most this often: versions stand in headers,
/// where anyone who can write the ciphertext may invent them.
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// Opens a keyring file for somebody who may not look for it himself: whatever else is there stays closed. The
/// descriptor stands at the file's beginning.
///
/// # Errors
/// Those of `open(2)` and `read(2)`; `InvalidData` for what is no keyring.
pub fn open_keyring(path: &Path) -> io::Result<File> {
    local_file::open_where(path, contents::is_keyring)
}

/// A keyring file, opened. Its KEKs are in locked memory from then on; wraps and unwraps touch no
/// disk, but for an unwrap by a version that is not known yet.
#[derive(Debug)]
pub struct FileProvider {
    uri: KeyUri,
    file: KeyringFile,
    /// `None`: to be read again when next needed.
    keks: RwLock<Option<Arc<KekSet>>>,
    reloaded: Mutex<Option<Instant>>,
}

impl FileProvider {
    /// Makes a keyring file with one fresh key, mode 0600, whole or not at all. `path` is absolute.
    ///
    /// # Errors
    /// `Config` where something stands at `path` already, or the path cannot be a URI;
    /// `Unavailable` where the file cannot be written.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let uri = path::to_uri(path)?;
        let keks = KekSet::generate()?;
        let file = KeyringFile::new(path).map_err(|error| error.at(&uri))?;
        file.create(&keks.encode()?)
            .map_err(|error| error.at(&uri))?;
        Ok(Self::of(uri, file, keks))
    }

    /// Opens the keyring file that `uri` names.
    ///
    /// # Errors
    /// `Config` for a URI without an absolute path, for a file that others may read or own (the
    /// message says what to run), and for contents that are no keyring; `NotFound` where there is
    /// no file.
    pub fn open(uri: &KeyUri) -> Result<Self, KeyError> {
        let open = || {
            let file = KeyringFile::new(&path::of_uri(uri)?)?;
            let keks = KekSet::decode(&file.read()?)?;
            Ok(Self::of(uri.clone(), file, keks))
        };
        open().map_err(|error: KeyError| error.at(uri))
    }

    /// The keyring file that a `file:` URI names.
    ///
    /// # Errors
    /// `Config` for another scheme or a path that is not absolute.
    pub fn path_of(uri: &KeyUri) -> Result<PathBuf, KeyError> {
        path::of_uri(uri)
    }

    /// The URI of the keyring file at `path`.
    ///
    /// # Errors
    /// `Config` where the path is not absolute or too long.
    pub fn uri_of(path: &Path) -> Result<KeyUri, KeyError> {
        path::to_uri(path)
    }

    /// Adds a new version of the key to the file and makes it the primary one. Older versions
    /// stay, so that what they wrapped still opens. Returns the new version.
    ///
    /// # Errors
    /// Those of [`open`](FileProvider::open), `Config` for a full keyring or one behind a symbolic
    /// link, `Unavailable` where the file cannot be written.
    pub fn rotate(&self) -> Result<String, KeyError> {
        let rotated = || {
            let _lock = self.file.lock()?;
            let mut keks = KekSet::decode(&self.file.read()?)?;
            let version = keks.rotate()?;
            self.file.replace(&keks.encode()?)?;
            *self.keks.write() = Some(Arc::new(keks));
            Ok(version.to_string())
        };
        rotated().map_err(|error: KeyError| error.at(&self.uri))
    }

    fn of(uri: KeyUri, file: KeyringFile, keks: KekSet) -> Self {
        Self {
            uri,
            file,
            keks: RwLock::new(Some(Arc::new(keks))),
            reloaded: Mutex::new(None),
        }
    }

    fn keks(&self) -> Result<Arc<KekSet>, KeyError> {
        let kept = self.keks.read().as_ref().map(Arc::clone);
        kept.map_or_else(|| self.reload(), Ok)
    }

    /// The keys, read again where `version` is not among them: another process may have rotated.
    fn keks_with(&self, version: u32) -> Result<Arc<KekSet>, KeyError> {
        let keks = self.keks()?;
        if keks.version(version).is_some() || !self.reload_due() {
            return Ok(keks);
        }
        self.reload()
    }

    fn reload_due(&self) -> bool {
        let mut reloaded = self.reloaded.lock();
        let due = reloaded.is_none_or(|at| at.elapsed() >= RELOAD_EVERY);
        if due {
            *reloaded = Some(Instant::now());
        }
        due
    }

    /// Reads the file again. A failure leaves the keys as they are.
    fn reload(&self) -> Result<Arc<KekSet>, KeyError> {
        let keks = Arc::new(KekSet::decode(&self.file.read()?)?);
        *self.keks.write() = Some(Arc::clone(&keks));
        Ok(keks)
    }

    fn unwrap_at(
        &self,
        version: u32,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let keks = self.keks_with(version)?;
        let kek = keks.version(version).ok_or_else(|| {
            KeyError::not_found(format!("the keyring has no key version {version}"))
        })?;
        let aad = context.aad(SCHEME, &version.to_be_bytes());
        let dek = XaesKey::new(kek)
            .open(&aad, &wrapped.bytes)
            .map_err(|_error| does_not_open())?;
        Ok(SecretKey::from_slice(&Zeroizing::new(dek))?)
    }
}

impl KeyProvider for FileProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let keks = self.keks().map_err(|error| error.at(&self.uri))?;
        let (version, kek) = keks.primary();
        let aad = context.aad(SCHEME, &version.to_be_bytes());
        Ok(WrappedDek {
            key_version: version.to_string(),
            bytes: XaesKey::new(kek).seal(&aad, dek.expose()),
        })
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let unwrapped = || {
            let version = contents::parse_version(&wrapped.key_version)
                .ok_or_else(|| KeyError::corrupt("no key version of a keyring file"))?;
            if wrapped.bytes.len() != WRAPPED_LEN {
                return Err(does_not_open());
            }
            self.unwrap_at(version, wrapped, context)
        };
        unwrapped().map_err(|error: KeyError| error.at(&self.uri))
    }

    /// Reads the file again: new versions come into use, removed ones go.
    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let keks = self.reload().map_err(|error| error.at(&self.uri))?;
        Ok(KeyHealth {
            key_version: keks.primary().0.to_string(),
            versions: keks.len(),
            mechanism: None,
        })
    }

    fn describe(&self) -> String {
        format!("keyring file {}", self.file.path().display())
    }

    fn is_local(&self) -> bool {
        true
    }

    fn forget(&self) {
        *self.keks.write() = None;
    }
}

fn does_not_open() -> KeyError {
    KeyError::corrupt("the wrapped key does not open: altered, or made for another file or keyring")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::keys::conformance::{self, CONTEXT, keyring_in};
    use crate::keys::error::KeyErrorKind;

    fn reopened(provider: &FileProvider) -> FileProvider {
        FileProvider::open(provider.uri()).unwrap()
    }

    #[test]
    fn it_passes_the_suite() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        conformance::provider_suite(&provider);
        conformance::provider_suite(&reopened(&provider));
        provider.rotate().unwrap();
        conformance::provider_suite(&provider);
    }

    #[test]
    fn what_one_process_wraps_another_unwraps() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        assert!(reopened(&provider).unwrap(&wrapped, &CONTEXT).unwrap() == dek);
        assert!(provider.is_local());
    }

    #[test]
    fn rotation_keeps_old_keys_and_wraps_with_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let (dek, old) = provider.generate(&CONTEXT).unwrap();
        assert_eq!(
            (
                old.key_version.as_str(),
                provider.rotate().unwrap().as_str()
            ),
            ("1", "2")
        );
        let new = provider.rewrap(&old, &CONTEXT).unwrap();
        assert_eq!(new.key_version, "2");
        for wrapped in [&old, &new] {
            assert!(reopened(&provider).unwrap(wrapped, &CONTEXT).unwrap() == dek);
        }
        let health = provider.probe().unwrap();
        assert_eq!((health.key_version.as_str(), health.versions), ("2", 2));
    }

    #[test]
    fn versions_cannot_be_swapped() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let (_dek, mut wrapped) = provider.generate(&CONTEXT).unwrap();
        provider.rotate().unwrap();
        wrapped.key_version = "2".to_owned();
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Corrupt);
    }

    #[test]
    fn another_process_s_rotation_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let running = keyring_in(folder.path());
        let rotating = reopened(&running);
        rotating.rotate().unwrap();
        let (dek, wrapped) = rotating.generate(&CONTEXT).unwrap();
        assert_eq!(wrapped.key_version, "2");
        assert!(running.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
        assert_eq!(running.wrap(&dek, &CONTEXT).unwrap().key_version, "2");
    }

    #[test]
    fn rotations_by_two_processes_lose_no_version() {
        let folder = tempfile::tempdir().unwrap();
        let first = keyring_in(folder.path());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let provider = reopened(&first);
                scope.spawn(move || provider.rotate().unwrap());
            }
        });
        assert_eq!(first.probe().unwrap().versions, 5);
    }

    #[test]
    fn invented_versions_are_not_found_and_do_not_reread_the_file_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let (_dek, mut wrapped) = provider.generate(&CONTEXT).unwrap();
        wrapped.key_version = "7".to_owned();
        for _ in 0..2 {
            let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::NotFound);
        }
        assert!(!provider.reload_due());
    }

    #[test]
    fn versions_in_other_spellings_are_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        for version in ["", "0", "01", "+1", " 1", "1 ", "-1", "4294967296", "one"] {
            let swapped = WrappedDek {
                key_version: version.to_owned(),
                ..wrapped.clone()
            };
            let error = provider.unwrap(&swapped, &CONTEXT).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Corrupt, "{version:?}");
        }
    }

    #[test]
    fn it_refuses_to_overwrite() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        let path = path::of_uri(provider.uri()).unwrap();
        let error = FileProvider::create(&path).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config);
        assert!(reopened(&provider).unwrap(&wrapped, &CONTEXT).is_ok());
        assert_eq!(
            folder.path().read_dir().unwrap().count(),
            1,
            "nothing left behind"
        );
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_what_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let path = path::of_uri(provider.uri()).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601, 0o660, 0o777] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = FileProvider::open(provider.uri()).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config, "{mode:o}");
            let advice = format!("chmod 600 {}", path.display());
            assert!(error.message().contains(&advice), "{error}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(FileProvider::open(provider.uri()).is_ok());
    }

    #[test]
    fn no_file_is_not_found() {
        let uri: KeyUri = "file:///nonexistent/folder/keyring.json".parse().unwrap();
        let error = FileProvider::open(&uri).unwrap_err();
        assert_eq!(
            (error.kind(), error.uri()),
            (KeyErrorKind::NotFound, Some(&uri))
        );
    }

    #[test]
    fn a_probe_after_the_file_is_gone_fails_and_keeps_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        std::fs::remove_file(path::of_uri(provider.uri()).unwrap()).unwrap();
        assert_eq!(provider.probe().unwrap_err().kind(), KeyErrorKind::NotFound);
        assert!(provider.unwrap(&wrapped, &CONTEXT).is_ok());
    }

    #[test]
    fn a_version_taken_out_of_the_file_is_gone_after_a_probe() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        provider.rotate().unwrap();
        let path = path::of_uri(provider.uri()).unwrap();
        let text = std::fs::read(&path).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        json["keys"].as_array_mut().unwrap().remove(0);
        std::fs::write(&path, json.to_string()).unwrap();
        assert!(
            provider.unwrap(&wrapped, &CONTEXT).is_ok(),
            "not read again yet"
        );
        assert_eq!(provider.probe().unwrap().versions, 1);
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::NotFound);
    }

    #[test]
    fn debug_shows_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let provider = keyring_in(folder.path());
        let text = format!("{provider:?}");
        let keks = provider.keks().unwrap();
        conformance::assert_hides(&text, keks.primary().1.expose());
    }
}
