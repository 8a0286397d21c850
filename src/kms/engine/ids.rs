//! Names that the service gives.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use super::model::KeyId;
use crate::crypto::random;

/// A random UUID in lower case (RFC 9562, version 4): of keys, versions, grants, requests.
#[must_use]
pub fn uuid() -> String {
    let mut bytes: [u8; 16] = random::array();
    bytes[6] = (bytes[6] & 0x0F) | 0x40;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    let hex = HEXLOWER.encode(&bytes);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// The public half of an access key: 20 characters, as clients of either cloud take it.
pub(super) fn access_key_id() -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bytes: [u8; 16] = random::array();
    let tail = bytes
        .iter()
        .map(|byte| char::from(DIGITS[usize::from(byte % 32)]));
    "EKMS".chars().chain(tail).collect()
}

/// 240 random bits in 40 characters that no wire format changes.
pub(super) fn secret() -> zeroize::Zeroizing<String> {
    let bytes = zeroize::Zeroizing::new(random::array::<30>());
    zeroize::Zeroizing::new(BASE64URL_NOPAD.encode(&bytes[..]))
}

/// Where the service stands, as its names have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNames {
    /// 12 digits.
    pub account: String,
    pub region: String,
}

impl KeyNames {
    /// A key as a resource: of either cloud, and its id alone.
    pub(super) fn of(&self, key: &KeyId) -> [String; 3] {
        let Self { account, region } = self;
        let id = &key.0;
        [
            format!("arn:aws:kms:{region}:{account}:key/{id}"),
            format!("acs:kms:{region}:{account}:key/{id}"),
            id.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uuids_have_their_form_and_do_not_come_again() {
        let made: HashSet<_> = (0..1000).map(|_| uuid()).collect();
        assert_eq!(made.len(), 1000);
        for id in made {
            let lens: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(lens, [8, 4, 4, 4, 12]);
            assert_eq!(&id[14..15], "4");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
    }

    #[test]
    fn access_keys_are_of_characters_that_no_wire_format_changes() {
        for _ in 0..100 {
            let (id, secret) = (access_key_id(), secret());
            assert_eq!((id.len(), secret.len()), (20, 40));
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            );
            assert!(
                secret
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            );
        }
    }
}
