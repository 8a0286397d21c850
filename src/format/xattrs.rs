//! Extended attributes. `user.*` and `trusted.*` are sealed: the namespace stays in clear, since
//! the kernel judges by it, and what follows it becomes `envelopefs.` and the base64url of its
//! AES-256-SIV with the namespace as associated data. Values are sealed with XAES-256-GCM, the
//! full plaintext name as associated data, so that no value passes for another attribute's.
//! `security.*` and the POSIX ACLs pass through as they are: the backing file system and the
//! kernel must understand them.
//!
//! Neither is bound to a file: who can write the ciphertext folder can move an attribute from
//! one file of the volume to another.

use super::base64;
use crate::crypto::siv::SivKey;
use crate::crypto::xaes::{NONCE_LEN, TAG_LEN, XaesKey};

/// The longest attribute name in bytes, namespace included (`XATTR_NAME_MAX`).
pub const MAX_NAME_LEN: usize = 255;
/// Bytes by which a sealed value is longer than its plaintext.
pub const VALUE_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

const SEALED_NAMESPACES: [&[u8]; 2] = [b"user.", b"trusted."];
const CLEAR_NAMESPACE: &[u8] = b"security.";
const CLEAR_NAMES: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
const MARK: &[u8] = b"envelopefs.";

/// Seals and opens the extended attributes of a volume.
#[derive(Debug)]
pub struct XattrKeys {
    names: SivKey,
    values: XaesKey,
}

/// An attribute that the volume cannot keep, or did not write.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XattrError {
    /// The value's tag is wrong.
    #[error("the attribute's value fails authentication")]
    Forged,
    /// The sealed name would be over 255 bytes.
    #[error("the attribute's name is too long to be sealed")]
    NameTooLong,
    /// A namespace that the volume does not keep, or no name behind it, or a NUL byte.
    #[error("the volume does not keep attributes of this name")]
    NotSupported,
}

/// How an attribute is kept, by its plaintext name.
enum Treatment<'a> {
    /// Name and value as they are.
    Clear,
    /// Name and value sealed.
    Sealed {
        namespace: &'static [u8],
        rest: &'a [u8],
    },
}

impl XattrKeys {
    /// The attributes under the volume's keys for their names and values.
    pub fn new(names: SivKey, values: XaesKey) -> Self {
        Self { names, values }
    }

    /// The name on disk of the attribute `name`.
    ///
    /// # Errors
    ///
    /// `NotSupported` or `NameTooLong` (over 163 bytes behind `user.`, 161 behind `trusted.`).
    pub fn seal_name(&self, name: &[u8]) -> Result<Vec<u8>, XattrError> {
        let (namespace, rest) = match treatment(name)? {
            Treatment::Clear => return Ok(name.to_vec()),
            Treatment::Sealed { namespace, rest } => (namespace, rest),
        };
        let text = base64::encode(&self.names.seal(namespace, rest));
        let sealed = [namespace, MARK, &text].concat();
        if sealed.len() > MAX_NAME_LEN {
            return Err(XattrError::NameTooLong);
        }
        Ok(sealed)
    }

    /// The plaintext name of the attribute that is `on_disk`; `None` for one that the volume did
    /// not write, which is not shown.
    pub fn open_name(&self, on_disk: &[u8]) -> Option<Vec<u8>> {
        let (namespace, rest) = match treatment(on_disk).ok()? {
            Treatment::Clear => return Some(on_disk.to_vec()),
            Treatment::Sealed { namespace, rest } => (namespace, rest),
        };
        let sealed = base64::decode(rest.strip_prefix(MARK)?)?;
        let rest = self.names.open(namespace, &sealed).ok()?;
        let name = [namespace, &rest].concat();
        treatment(&name).is_ok().then_some(name)
    }

    /// Opens an attribute as it stands on disk and says what it is called; `None` for one that no volume sealed.
    ///
    /// # Errors
    ///
    /// `Forged` where it looks like a sealed one, and name or value do not open.
    pub fn open(&self, on_disk: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, XattrError> {
        match treatment(on_disk) {
            Ok(Treatment::Sealed { rest, .. }) if rest.starts_with(MARK) => {
                let name = self.open_name(on_disk).ok_or(XattrError::Forged)?;
                self.open_value(&name, value)?;
                Ok(Some(name))
            }
            _ => Ok(None),
        }
    }

    /// What to store as the value of the attribute whose plaintext name is `name`.
    pub fn seal_value(&self, name: &[u8], value: &[u8]) -> Vec<u8> {
        if is_clear(name) {
            value.to_vec()
        } else {
            self.values.seal(name, value)
        }
    }

    /// The value of the attribute whose plaintext name is `name`.
    ///
    /// # Errors
    ///
    /// `Forged` for a value that was changed, is another attribute's or another volume's.
    pub fn open_value(&self, name: &[u8], sealed: &[u8]) -> Result<Vec<u8>, XattrError> {
        if is_clear(name) {
            return Ok(sealed.to_vec());
        }
        self.values
            .open(name, sealed)
            .map_err(|_error| XattrError::Forged)
    }
}

/// The length of the value from the stored one's, both in bytes, for the attribute whose
/// plaintext name is `name`.
pub fn plain_value_len(name: &[u8], stored_len: usize) -> usize {
    if is_clear(name) {
        stored_len
    } else {
        stored_len.saturating_sub(VALUE_OVERHEAD)
    }
}

fn is_clear(name: &[u8]) -> bool {
    matches!(treatment(name), Ok(Treatment::Clear))
}

fn treatment(name: &[u8]) -> Result<Treatment<'_>, XattrError> {
    if name.contains(&0) {
        return Err(XattrError::NotSupported);
    }
    if CLEAR_NAMES.contains(&name) || behind(name, CLEAR_NAMESPACE).is_some() {
        return Ok(Treatment::Clear);
    }
    SEALED_NAMESPACES
        .into_iter()
        .find_map(|namespace| {
            behind(name, namespace).map(|rest| Treatment::Sealed { namespace, rest })
        })
        .ok_or(XattrError::NotSupported)
}

/// What stands behind the namespace, if there is something.
fn behind<'a>(name: &'a [u8], namespace: &[u8]) -> Option<&'a [u8]> {
    name.strip_prefix(namespace).filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::secret::SecretKey;

    fn keys(byte: u8) -> XattrKeys {
        let key = |add| SecretKey::from_bytes(&[byte + add; 32]).unwrap();
        XattrKeys::new(SivKey::new(key(0), key(1)), XaesKey::new(&key(2)))
    }

    #[test]
    fn sealed_names_keep_their_namespace() {
        for (name, start) in [
            ("user.a", "user.envelopefs."),
            ("trusted.a", "trusted.envelopefs."),
        ] {
            let sealed = keys(1).seal_name(name.as_bytes()).unwrap();
            assert!(sealed.starts_with(start.as_bytes()), "{name}");
            assert_eq!(keys(1).open_name(&sealed).unwrap(), name.as_bytes());
        }
    }

    #[test]
    fn names_that_the_kernel_must_read_pass_through() {
        for name in [
            "security.capability",
            "security.selinux",
            "system.posix_acl_access",
            "system.posix_acl_default",
        ] {
            let name = name.as_bytes();
            assert_eq!(keys(1).seal_name(name).unwrap(), name);
            assert_eq!(keys(1).open_name(name).unwrap(), name);
            assert_eq!(keys(1).seal_value(name, b"value"), b"value");
            assert_eq!(keys(1).open_value(name, b"value").unwrap(), b"value");
            assert_eq!(plain_value_len(name, 5), 5);
        }
    }

    #[test]
    fn other_names_are_not_kept() {
        for name in [
            "",
            "user",
            "user.",
            "trusted.",
            "security.",
            "a",
            "os2.a",
            "User.a",
        ] {
            assert_eq!(
                keys(1).seal_name(name.as_bytes()),
                Err(XattrError::NotSupported),
                "{name}"
            );
        }
        for name in [
            "system.",
            "system.nfs4_acl",
            "system.posix_acl_accessx",
            "user.a\0b",
        ] {
            assert_eq!(
                keys(1).seal_name(name.as_bytes()),
                Err(XattrError::NotSupported),
                "{name}"
            );
        }
    }

    #[test]
    fn the_longest_names_still_fit() {
        for (namespace, longest) in [("user.", 163), ("trusted.", 161)] {
            let name = |len: usize| [namespace.as_bytes(), &vec![b'n'; len]].concat();
            let sealed = keys(1).seal_name(&name(longest)).unwrap();
            assert_eq!(keys(1).open_name(&sealed).unwrap(), name(longest));
            assert_eq!(
                keys(1).seal_name(&name(longest + 1)),
                Err(XattrError::NameTooLong)
            );
        }
    }

    #[test]
    fn names_that_the_volume_did_not_write_are_hidden() {
        let good = keys(1).seal_name(b"user.a").unwrap();
        assert_eq!(keys(9).open_name(&good), None);
        let trusted = [b"trusted.", &good[5..]].concat();
        assert_eq!(
            keys(1).open_name(&trusted),
            None,
            "moved to another namespace"
        );
        let padded = [&good[..], b"="].concat();
        for name in [
            b"user.a".as_slice(),
            b"user.envelopefs.",
            b"user.envelopefs.AAAA",
            &padded,
            b"os2.a",
            b"",
        ] {
            assert_eq!(keys(1).open_name(name), None, "{name:?}");
        }
        for at in 16..good.len() {
            let mut changed = good.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys(1).open_name(&changed), None, "{at}");
        }
    }

    #[test]
    fn a_name_sealed_over_nothing_or_nul_is_hidden() {
        for rest in [&b""[..], b"a\0"] {
            let text = base64::encode(&keys(1).names.seal(b"user.", rest));
            assert_eq!(
                keys(1).open_name(&[b"user.envelopefs.", &text[..]].concat()),
                None
            );
        }
    }

    #[test]
    fn a_value_opens_under_its_own_name_only() {
        let sealed = keys(1).seal_value(b"user.a", b"value");
        assert_eq!(keys(1).open_value(b"user.a", &sealed).unwrap(), b"value");
        assert_eq!(
            keys(1).open_value(b"user.b", &sealed),
            Err(XattrError::Forged)
        );
        assert_eq!(
            keys(1).open_value(b"trusted.a", &sealed),
            Err(XattrError::Forged)
        );
        assert_eq!(
            keys(9).open_value(b"user.a", &sealed),
            Err(XattrError::Forged)
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(
                keys(1).open_value(b"user.a", &changed),
                Err(XattrError::Forged),
                "{at}"
            );
        }
        assert_eq!(keys(1).open_value(b"user.a", b""), Err(XattrError::Forged));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(rest in vec(1_u8.., 1..=161), value: Vec<u8>) {
            for namespace in SEALED_NAMESPACES {
                let name = [namespace, &rest].concat();
                let sealed = keys(1).seal_name(&name).unwrap();
                prop_assert!(sealed.len() <= MAX_NAME_LEN);
                prop_assert_eq!(keys(1).open_name(&sealed), Some(name.clone()));
                let stored = keys(1).seal_value(&name, &value);
                prop_assert_eq!(plain_value_len(&name, stored.len()), value.len());
                prop_assert_eq!(keys(1).open_value(&name, &stored), Ok(value.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_neither_panic_nor_open(bytes: Vec<u8>) {
            let name = [b"user.envelopefs.", &bytes[..]].concat();
            prop_assert_eq!(keys(1).open_name(&name), None);
            prop_assert!(keys(1).open_value(b"user.a", &bytes).is_err());
            drop(keys(1).seal_name(&bytes));
        }
    }
}
