//! Names of entries, and the ids of folders that they are bound to.
//!
//! A name is sealed with AES-256-SIV, the folder's id as associated data, and written in
//! base64url: the same name always has the same ciphertext in a folder, and another in every
//! other folder. A ciphertext name over 255 bytes stands as `L.` and its SHA-256; the full one is
//! the target of the symlink of that name with `.n` behind it, its sidecar.
//!
//! `.` is not in the alphabet: a sealed name is never `L.…`, `.`, `..` or reserved.

use sha2::{Digest, Sha256};

use super::base64;
use crate::crypto::siv::SivKey;
use crate::units::DirId;

/// What begins so is the volume's own and never shown.
pub const RESERVED_PREFIX: &[u8] = b".envelopefs";
/// The symlink whose target is its folder's id.
pub const DIR_ID_ENTRY: &[u8] = b".envelopefs.dirid";
/// What begins so is being made, and is left over only by a crash.
pub const TEMP_PREFIX: &[u8] = b".envelopefs.tmp.";
/// The longest name of an entry in bytes, on both sides (`NAME_MAX`).
pub const MAX_NAME_LEN: usize = 255;

const LONG_PREFIX: &[u8] = b"L.";
const SIDECAR_SUFFIX: &[u8] = b".n";
/// A SHA-256 in base64url.
const HASH_LEN: usize = 43;
/// The ciphertext name of a plain name of 255 bytes: SIV adds 16 bytes, base64url a third.
const MAX_SEALED_LEN: usize = 362;

/// Seals and opens the names of a volume.
#[derive(Debug)]
pub struct NameKey {
    siv: SivKey,
}

/// A sealed name as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedName {
    on_disk: Vec<u8>,
    long: Option<Vec<u8>>,
}

/// What an entry of a ciphertext folder with encrypted names is, by its name alone.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// `L.<hash>`: an entry whose ciphertext name is in its sidecar.
    LongName,
    /// Anything else: an entry whose name is its ciphertext name, or not the volume's.
    Name,
    /// The volume's own: folder ids, what is being made.
    Reserved,
    /// `L.<hash>.n`: keeps a long ciphertext name.
    Sidecar,
}

/// A name or folder id on disk that the volume did not write there.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It opens, but to what no entry may be called.
    #[error("the name opens to what is no name")]
    BadPlainName,
    /// Not a folder id.
    #[error("the folder id is not 32 lower-case hexadecimal digits")]
    DirId,
    /// Not base64url, or not in its one canonical form, or too long.
    #[error("the name is not a ciphertext name")]
    Encoding,
    /// The tag is wrong: changed, of another folder or another volume.
    #[error("the name fails authentication")]
    Forged,
}

impl NameKey {
    /// The names under the volume's name key.
    pub fn new(siv: SivKey) -> Self {
        Self { siv }
    }

    /// Seals the name of an entry in the folder `dir`. A name that is not [`is_plain_name`] is
    /// sealed, but never opens.
    pub fn seal(&self, dir: &DirId, name: &[u8]) -> SealedName {
        let full = base64::encode(&self.siv.seal(&dir.0, name));
        if full.len() <= MAX_NAME_LEN {
            SealedName {
                on_disk: full,
                long: None,
            }
        } else {
            SealedName {
                on_disk: hashed(&full),
                long: Some(full),
            }
        }
    }

    /// Opens a ciphertext name of the folder `dir`; of a long one, what its sidecar holds, which
    /// must first have matched ([`long_name_matches`]).
    ///
    /// # Errors
    ///
    /// `Encoding`, `Forged`, or `BadPlainName` for what would be no name, such as `..`.
    pub fn open(&self, dir: &DirId, sealed: &[u8]) -> Result<Vec<u8>, NameError> {
        if sealed.len() > MAX_SEALED_LEN {
            return Err(NameError::Encoding);
        }
        let sealed = base64::decode(sealed).ok_or(NameError::Encoding)?;
        let name = self
            .siv
            .open(&dir.0, &sealed)
            .map_err(|_error| NameError::Forged)?;
        if is_plain_name(&name) {
            Ok(name)
        } else {
            Err(NameError::BadPlainName)
        }
    }
}

impl SealedName {
    /// The name of the entry in the ciphertext folder, at most 255 bytes.
    pub fn on_disk(&self) -> &[u8] {
        &self.on_disk
    }

    /// The full ciphertext name that the sidecar must hold, where the name is a long one.
    pub fn long(&self) -> Option<&[u8]> {
        self.long.as_deref()
    }
}

/// Whether an entry may be called so: 1 to 255 bytes, neither `.` nor `..`, no `/`, no NUL.
pub fn is_plain_name(name: &[u8]) -> bool {
    let sound = name.iter().all(|&byte| byte != b'/' && byte != 0);
    sound && (1..=MAX_NAME_LEN).contains(&name.len()) && name != b"." && name != b".."
}

/// What the entry is. In a volume with plain names only `Reserved` means anything.
pub fn classify(entry: &[u8]) -> EntryKind {
    if entry.starts_with(RESERVED_PREFIX) {
        EntryKind::Reserved
    } else if is_long_name(entry) {
        EntryKind::LongName
    } else if entry.strip_suffix(SIDECAR_SUFFIX).is_some_and(is_long_name) {
        EntryKind::Sidecar
    } else {
        EntryKind::Name
    }
}

/// The name of the sidecar that belongs to `L.<hash>`; `None` for any other name.
pub fn sidecar_name(on_disk_long: &[u8]) -> Option<Vec<u8>> {
    is_long_name(on_disk_long).then(|| [on_disk_long, SIDECAR_SUFFIX].concat())
}

/// Whether `full`, from a sidecar, is the ciphertext name whose hash `on_disk` is.
pub fn long_name_matches(on_disk: &[u8], full: &[u8]) -> bool {
    full.len() <= MAX_SEALED_LEN && full.len() > MAX_NAME_LEN && hashed(full) == on_disk
}

/// The folder id as the target of the folder's [`DIR_ID_ENTRY`]: 32 hexadecimal digits.
pub fn encode_dir_id(id: &DirId) -> Vec<u8> {
    id.to_string().into_bytes()
}

/// The folder id that a [`DIR_ID_ENTRY`] points to.
///
/// # Errors
///
/// `DirId` for anything but 32 lower-case hexadecimal digits.
pub fn decode_dir_id(target: &[u8]) -> Result<DirId, NameError> {
    let text = std::str::from_utf8(target).map_err(|_error| NameError::DirId)?;
    text.parse().map_err(|_error| NameError::DirId)
}

/// `L.<base64url SHA-256 of the full ciphertext name>`.
fn hashed(full: &[u8]) -> Vec<u8> {
    [LONG_PREFIX, &base64::encode(&Sha256::digest(full))].concat()
}

fn is_long_name(entry: &[u8]) -> bool {
    entry
        .strip_prefix(LONG_PREFIX)
        .is_some_and(|hash| hash.len() == HASH_LEN && base64::decode(hash).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::secret::SecretKey;

    const DIR: DirId = DirId([1; 16]);
    const OTHER_DIR: DirId = DirId([2; 16]);

    fn key() -> NameKey {
        let key = |byte| SecretKey::from_bytes(&[byte; 32]).unwrap();
        NameKey::new(SivKey::new(key(1), key(2)))
    }

    /// The ciphertext name of whatever bytes, as a member of the volume could make it.
    fn sealed(bytes: &[u8]) -> Vec<u8> {
        let name = key().seal(&DIR, bytes);
        name.long().unwrap_or(name.on_disk()).to_vec()
    }

    #[test]
    fn names_up_to_175_bytes_are_short_and_longer_ones_long() {
        for len in 1..=255 {
            let name = key().seal(&DIR, &vec![b'n'; len]);
            assert_eq!(name.long().is_some(), len > 175, "{len}");
            assert!(name.on_disk().len() <= MAX_NAME_LEN, "{len}");
            let kind = if len > 175 {
                EntryKind::LongName
            } else {
                EntryKind::Name
            };
            assert_eq!(classify(name.on_disk()), kind, "{len}");
        }
        assert_eq!(sealed(&[b'n'; 255]).len(), MAX_SEALED_LEN);
    }

    #[test]
    fn a_long_name_matches_what_its_sidecar_holds_only() {
        let name = key().seal(&DIR, &[b'n'; 200]);
        let full = name.long().unwrap();
        assert!(long_name_matches(name.on_disk(), full));
        let mut changed = full.to_vec();
        changed[0] ^= 1;
        assert!(!long_name_matches(name.on_disk(), &changed));
        assert!(!long_name_matches(name.on_disk(), &full[1..]));
        assert!(!long_name_matches(&name.on_disk()[2..], full));
        let short = sealed(b"short");
        assert!(
            !long_name_matches(&hashed(&short), &short),
            "a short name has one form only"
        );
    }

    #[test]
    fn a_name_opens_in_its_folder_only() {
        let sealed = sealed(b"name");
        assert_eq!(key().open(&DIR, &sealed), Ok(b"name".to_vec()));
        assert_eq!(key().open(&OTHER_DIR, &sealed), Err(NameError::Forged));
    }

    #[test]
    fn the_same_name_in_two_folders_has_two_ciphertexts() {
        let (one, two) = (key().seal(&DIR, b"name"), key().seal(&OTHER_DIR, b"name"));
        assert_ne!(one.on_disk(), two.on_disk());
        assert_eq!(one, key().seal(&DIR, b"name"));
    }

    #[test]
    fn what_opens_to_no_name_is_refused() {
        let too_long = vec![b'n'; 256];
        for name in [&b""[..], b".", b"..", b"/", b"a/b", b"../x", b"a\0", b"\0"] {
            assert_eq!(
                key().open(&DIR, &sealed(name)),
                Err(NameError::BadPlainName),
                "{name:?}"
            );
        }
        assert_eq!(
            key().open(&DIR, &sealed(&too_long)),
            Err(NameError::Encoding)
        );
    }

    #[test]
    fn what_is_no_ciphertext_name_is_refused() {
        let good = sealed(b"name");
        let twisted = [&good[..good.len() - 1], b"_"].concat();
        for text in [
            b"".as_slice(),
            b"AAAA",
            b"lost+found",
            b"a.txt",
            b"\xFF\xFF\xFF\xFF",
            &good[1..],
            &twisted,
        ] {
            assert!(key().open(&DIR, text).is_err(), "{text:?}");
        }
        for padded in [[&good[..], b"="].concat(), [b"\n", &good[..]].concat()] {
            assert_eq!(key().open(&DIR, &padded), Err(NameError::Encoding));
        }
    }

    #[test]
    fn every_changed_character_is_detected() {
        let good = sealed(b"some name");
        for at in 0..good.len() {
            for byte in (0..=255).filter(|&byte| byte != good[at]) {
                let mut changed = good.clone();
                changed[at] = byte;
                assert!(key().open(&DIR, &changed).is_err(), "{at} {byte}");
            }
        }
    }

    #[test]
    fn entries_are_told_apart() {
        let hash = "A".repeat(42) + "E";
        for (entry, kind) in [
            (format!("L.{hash}"), EntryKind::LongName),
            (format!("L.{hash}.n"), EntryKind::Sidecar),
            (format!("L.{hash}.m"), EntryKind::Name),
            (format!("L.{hash}.n.n"), EntryKind::Name),
            (format!("L.{hash}A"), EntryKind::Name),
            (format!("l.{hash}"), EntryKind::Name),
            ("L.".to_owned() + &"A".repeat(42) + "F", EntryKind::Name),
            ("L.short".to_owned(), EntryKind::Name),
            ("lost+found".to_owned(), EntryKind::Name),
            (".envelopefs".to_owned(), EntryKind::Reserved),
            (".envelopefs.dirid".to_owned(), EntryKind::Reserved),
            (".envelopefs.tmp.x".to_owned(), EntryKind::Reserved),
            (".envelopefsx".to_owned(), EntryKind::Reserved),
            (".envelope".to_owned(), EntryKind::Name),
        ] {
            assert_eq!(classify(entry.as_bytes()), kind, "{entry}");
        }
    }

    #[test]
    fn only_long_names_have_a_sidecar() {
        let name = key().seal(&DIR, &[b'n'; 255]);
        let sidecar = sidecar_name(name.on_disk()).unwrap();
        assert_eq!(classify(&sidecar), EntryKind::Sidecar);
        assert_eq!(sidecar_name(&sidecar), None);
        assert_eq!(sidecar_name(b"L.x"), None);
        assert_eq!(sidecar_name(key().seal(&DIR, b"n").on_disk()), None);
    }

    #[test]
    fn a_folder_id_is_32_hexadecimal_digits() {
        let id = DirId(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xAA\xBB\xCC\xDD\xEE\xFF");
        assert_eq!(encode_dir_id(&id), b"00112233445566778899aabbccddeeff");
        assert_eq!(decode_dir_id(&encode_dir_id(&id)), Ok(id));
        for text in [
            "",
            "0",
            "00112233445566778899AABBCCDDEEFF",
            "00112233445566778899aabbccddeeff0",
            "/",
        ] {
            assert_eq!(
                decode_dir_id(text.as_bytes()),
                Err(NameError::DirId),
                "{text}"
            );
        }
        assert_eq!(decode_dir_id(&[0xFF; 32]), Err(NameError::DirId));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(dir: [u8; 16], name in vec(any::<u8>(), 1..=255)) {
            prop_assume!(is_plain_name(&name));
            let sealed = key().seal(&DirId(dir), &name);
            let full = sealed.long().unwrap_or(sealed.on_disk());
            prop_assert_eq!(key().open(&DirId(dir), full), Ok(name));
        }

        #[test]
        fn arbitrary_names_neither_panic_nor_open(entry in vec(any::<u8>(), 0..400)) {
            prop_assert!(key().open(&DIR, &entry).is_err());
            classify(&entry);
            sidecar_name(&entry);
            let _ = decode_dir_id(&entry);
        }

        #[test]
        fn a_folder_id_reads_back(id: [u8; 16]) {
            prop_assert_eq!(decode_dir_id(&encode_dir_id(&DirId(id))), Ok(DirId(id)));
        }
    }
}
