//! Every key that is made of another: HKDF-SHA-256 (RFC 5869) with one table of labels, and the
//! HMAC-SHA-256 (RFC 2104) that such keys are for.

use std::fmt;

use hkdf::HkdfExtract;
use hmac::digest::Output;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::crypto::secret::{LockedMemoryError, SecretKey};

/// What a derived key is for: HKDF's `info`. Two uses never share a label, and a label never
/// changes its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Of the key of an audit line: the key of the next line.
    AuditNext,
    /// Of the volume's key for audit lines, salted with the session id: the key of a session's first line.
    AuditSession,
    /// Of a data key, salted with the file id: the key commitment in the header.
    Commit,
    /// Of a data key: the XAES key of the file's chunks.
    Content,
    /// Of a data key: the HMAC key of the file's header.
    Header,
    /// Of the volume key: what the keys of audit lines are derived from.
    VolumeAudit,
    /// Of the volume key: the HMAC key of `volume.json`.
    VolumeConfig,
    /// Of the volume key: the key-encryption key of data keys wrapped by the volume itself.
    VolumeDekWrap,
    /// Of the volume key: the HMAC key that says which files were made in this volume.
    VolumeMembership,
    /// Of the volume key: the first half (MAC) of the AES-SIV key of names.
    VolumeNames1,
    /// Of the volume key: the second half (CTR) of the AES-SIV key of names.
    VolumeNames2,
    /// Of the volume key: the XAES key of symlink targets.
    VolumeSymlinks,
    /// Of the volume key: the first half (MAC) of the AES-SIV key of the names of xattrs.
    VolumeXattrNames1,
    /// Of the volume key: the second half (CTR) of the AES-SIV key of the names of xattrs.
    VolumeXattrNames2,
    /// Of the volume key: the XAES key of the values of xattrs.
    VolumeXattrValues,
}

impl Label {
    /// Every label there is.
    pub const ALL: [Self; 15] = [
        Self::AuditNext,
        Self::AuditSession,
        Self::Commit,
        Self::Content,
        Self::Header,
        Self::VolumeAudit,
        Self::VolumeConfig,
        Self::VolumeDekWrap,
        Self::VolumeMembership,
        Self::VolumeNames1,
        Self::VolumeNames2,
        Self::VolumeSymlinks,
        Self::VolumeXattrNames1,
        Self::VolumeXattrNames2,
        Self::VolumeXattrValues,
    ];

    /// The bytes that HKDF sees.
    pub fn info(self) -> &'static [u8] {
        match self {
            Self::AuditNext => b"envelopefs/v1/audit/next",
            Self::AuditSession => b"envelopefs/v1/audit/session",
            Self::Commit => b"envelopefs/v1/commit",
            Self::Content => b"envelopefs/v1/content",
            Self::Header => b"envelopefs/v1/header",
            Self::VolumeAudit => b"envelopefs/v1/volume/audit",
            Self::VolumeConfig => b"envelopefs/v1/volume/config",
            Self::VolumeDekWrap => b"envelopefs/v1/volume/dek-wrap",
            Self::VolumeMembership => b"envelopefs/v1/volume/membership",
            Self::VolumeNames1 => b"envelopefs/v1/volume/names/1",
            Self::VolumeNames2 => b"envelopefs/v1/volume/names/2",
            Self::VolumeSymlinks => b"envelopefs/v1/volume/symlinks",
            Self::VolumeXattrNames1 => b"envelopefs/v1/volume/xattr-names/1",
            Self::VolumeXattrNames2 => b"envelopefs/v1/volume/xattr-names/2",
            Self::VolumeXattrValues => b"envelopefs/v1/volume/xattr-values",
        }
    }
}

/// `HKDF-SHA-256(ikm, salt, label)`, 32 bytes, straight into locked memory.
///
/// # Errors
/// Where no locked memory is left.
pub fn derive(ikm: &SecretKey, salt: &[u8], label: Label) -> Result<SecretKey, LockedMemoryError> {
    SecretKey::init(|key| hkdf_sha256(ikm.expose(), salt, label.info(), key))
}

/// The commitment to a data key: [`derive`](fn@derive) with [`Label::Commit`], and no secret. Who
/// finds two keys with one commitment has found a collision of SHA-256.
pub fn derive_commitment(dek: &SecretKey, salt: &[u8]) -> [u8; 32] {
    let mut commitment = [0; 32];
    hkdf_sha256(dek.expose(), salt, Label::Commit.info(), &mut commitment);
    commitment
}

/// HKDF, and the wiping of what stands between its two steps. At most 255 · 32 bytes of output.
fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) {
    let mut extract = HkdfExtract::<Sha256>::new(Some(salt));
    extract.input_ikm(ikm);
    let (mut prk, expand) = extract.finalize();
    prk.zeroize();
    expand
        .expand(info, out)
        .expect("the output is within HKDF's bound");
}

/// A key for HMAC-SHA-256. The key itself stays in locked memory and is set up anew for each tag,
/// which costs two compressions of SHA-256.
pub struct MacKey {
    key: SecretKey,
}

impl MacKey {
    /// A key for tags and for nothing else.
    pub fn new(key: SecretKey) -> Self {
        Self { key }
    }

    /// The tag of `parts`, one after the other. The boundaries between them are not in the tag:
    /// it is for the caller to give parts whose lengths are fixed, or are themselves in a part.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.mac(parts).into()
    }

    /// Whether `tag` is the tag of `parts`, in a time that does not depend on where it differs.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
        self.mac(parts).as_slice().ct_eq(tag).into()
    }

    fn mac(&self, parts: &[&[u8]]) -> Output<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.key.expose())
            .expect("HMAC takes a key of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::crypto::testing::{key_of, one_bit_flips, unhex};

    fn hkdf_vec(ikm: &[u8], salt: &[u8], info: &[u8], len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        hkdf_sha256(ikm, salt, info, &mut out);
        out
    }

    #[test]
    fn rfc_5869_case_1_holds() {
        let salt = unhex("000102030405060708090a0b0c");
        let info = unhex("f0f1f2f3f4f5f6f7f8f9");
        let okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
                   34007208d5b887185865";
        assert_eq!(hkdf_vec(&[0x0b; 22], &salt, &info, 42), unhex(okm));
    }

    #[test]
    fn rfc_5869_case_3_without_salt_and_info_holds() {
        let okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d\
                   9d201395faa4b61a96c8";
        assert_eq!(hkdf_vec(&[0x0b; 22], b"", b"", 42), unhex(okm));
    }

    /// Made by OpenSSL. A change here is a change of the on-disk format.
    #[test]
    fn derived_keys_are_fixed() {
        let keys = [
            "4032e979b0a137ba871f15d0c1da8af2fd52c3a3a5d5213ff1aef2af171067ed",
            "be31fd3256ecf800ebde1da23af725199c0d4c12f2e3c64f04875027879dc76a",
            "79a5bcd755dbf228fa02ef248dbfabc52d97c3f6c2a62e35acd4c19c2282f70c",
            "48c6624ee59f6828134503a73c5871fbeadcdea1bc05c5f9d8781f7e1228f775",
            "ca307a2fcc1bd60483d90dd324fc2ab52e236fd829a89dacb7208d5dd6c1a498",
            "4e2e8a9bd5087eb6b6da51e97f659589f7c35ea643d30988b543353535efc070",
            "01ee877f38133852456d207ec32b844b4c7ee8c035c46b2be81dc77baddcafbf",
            "e3a094a182a99811ffddb4f4323562d9b30ba355cd8f96acd3131cbac07eb96f",
            "68f63fbd110be9430910e2701f3314a7b03511b2f84766a501e502748968ab65",
            "43fe87d0acd14e610625a7660d1e347a4c91c61d2398f1a25f28403b520b833a",
            "425b1fa7134ae7e081abbc12f2ce7ef5a7cd56425b046e51298dec44c9d9a3cd",
            "e7ca8d0d659d49dbab0eb10932bfeb0b06492313d8d4ce1a6f28f81255f6a92a",
            "8eee8da2d1de7666dc860904cade4f86f4dd305b4799d0840f3867a34b64bd84",
            "0f8a67c7989f1253ee464a47d74b744d3469a719479c32d49912225ed2437861",
            "c2942b260d08878a05daf63a187a5da22522691d66b0eb3665cd34a630fc567e",
        ];
        for (label, key) in Label::ALL.into_iter().zip(keys) {
            let derived = derive(&key_of(1), &[2; 16], label).unwrap();
            assert_eq!(derived.expose()[..], unhex(key), "{label:?}");
        }
    }

    #[test]
    fn a_commitment_is_the_key_of_its_label() {
        let derived = derive(&key_of(1), &[2; 16], Label::Commit).unwrap();
        assert_eq!(&derive_commitment(&key_of(1), &[2; 16]), derived.expose());
    }

    #[test]
    fn no_two_labels_are_alike() {
        let infos: HashSet<_> = Label::ALL.iter().map(|label| label.info()).collect();
        assert_eq!(infos.len(), Label::ALL.len());
        assert!(infos.iter().all(|info| info.starts_with(b"envelopefs/v1/")));
    }

    #[test]
    fn another_key_salt_or_label_gives_another_key() {
        let keys: HashSet<_> = [
            (1, [2; 16], Label::Content),
            (3, [2; 16], Label::Content),
            (1, [3; 16], Label::Content),
            (1, [2; 16], Label::Header),
        ]
        .into_iter()
        .map(|(ikm, salt, label)| *derive(&key_of(ikm), &salt, label).unwrap().expose())
        .collect();
        assert_eq!(keys.len(), 4);
    }

    /// A key for HMAC as RFC 2104 has it: filled up with zeros, which changes nothing.
    fn mac_key(key: &[u8]) -> MacKey {
        MacKey::new(SecretKey::init(|bytes| bytes[..key.len()].copy_from_slice(key)).unwrap())
    }

    #[test]
    fn rfc_4231_cases_1_to_4_hold() {
        let counting: Vec<u8> = (1..=25).collect();
        let vectors: [(&[u8], &[u8], &str); 4] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &counting,
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
        ];
        for (key, data, tag) in vectors {
            assert_eq!(mac_key(key).tag(&[data])[..], unhex(tag));
        }
    }

    #[test]
    fn parts_are_as_one() {
        let key = mac_key(b"Jefe");
        let whole = key.tag(&[b"what do ya want for nothing?"]);
        assert_eq!(key.tag(&[b"what do ya ", b"", b"want for nothing?"]), whole);
        assert!(key.verify(&[b"what ", b"do ya want for nothing?"], &whole));
    }

    #[test]
    fn a_tag_with_any_byte_changed_is_refused() {
        let key = mac_key(b"key");
        let tag = key.tag(&[b"data"]);
        assert!(key.verify(&[b"data"], &tag));
        for changed in one_bit_flips(&tag) {
            assert!(!key.verify(&[b"data"], &changed.try_into().unwrap()));
        }
    }

    #[test]
    fn a_tag_of_other_data_or_another_key_is_refused() {
        let tag = mac_key(b"key").tag(&[b"data"]);
        for data in [&b""[..], b"dat", b"data\0", b"Data"] {
            assert!(!mac_key(b"key").verify(&[data], &tag));
        }
        assert!(!mac_key(b"kez").verify(&[b"data"], &tag));
        assert!(!mac_key(b"key").verify(&[b"data"], &[0; 32]));
        assert!(!mac_key(b"key").verify(&[], &tag));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", mac_key(b"key")), "MacKey(..)");
    }
}
