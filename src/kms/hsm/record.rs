//! What the store keeps of a key version in the HSM.
//!
//! ```text
//! 1  kind: 1 AES, 2 HMAC, 3 key pair
//!    AES:      how it seals (1 byte)
//!    key pair: how it decrypts by OAEP with SHA-1, with SHA-256 (1 byte each: 0 not, 1 the HSM does all of it,
//!              2 the HSM gives the padded message); the public half (SubjectPublicKeyInfo, DER)
//! ```

use crate::keys::pkcs11::hsm::Sealing;
use crate::kms::engine::error::KmsError;
use crate::kms::engine::model::KeySpec;
use crate::kms::material::{OaepHash, PublicHalf};

const FORMAT: u8 = 1;
const AES: u8 = 1;
const HMAC: u8 = 2;
const PAIR: u8 = 3;

/// How a version works, and its public half.
#[derive(Debug)]
pub enum Record {
    Aes(Sealing),
    Hmac,
    Pair { public: PublicHalf, oaep: Oaep },
}

/// How an RSA key decrypts, by hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oaep {
    pub sha1: OaepBy,
    pub sha256: OaepBy,
}

/// Who takes OAEP's padding off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OaepBy {
    /// Nobody: the key does not decrypt so.
    #[default]
    Nobody,
    Hsm,
    /// The HSM gives the padded message.
    Service,
}

impl Oaep {
    pub(super) fn of(self, hash: OaepHash) -> OaepBy {
        match hash {
            OaepHash::Sha1 => self.sha1,
            OaepHash::Sha256 => self.sha256,
        }
    }
}

impl OaepBy {
    fn number(self) -> u8 {
        match self {
            Self::Nobody => 0,
            Self::Hsm => 1,
            Self::Service => 2,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        [Self::Nobody, Self::Hsm, Self::Service]
            .into_iter()
            .find(|by| by.number() == number)
    }
}

impl Record {
    /// As it is kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Aes(sealing) => vec![FORMAT, AES, sealing.number()],
            Self::Hmac => vec![FORMAT, HMAC],
            Self::Pair { public, oaep } => {
                let start = [FORMAT, PAIR, oaep.sha1.number(), oaep.sha256.number()];
                [&start[..], public.der()].concat()
            }
        }
    }

    /// Of what was kept.
    ///
    /// # Errors
    /// `Internal` for what [`Record::to_bytes`] did not make.
    pub fn parse(spec: KeySpec, bytes: &[u8]) -> Result<Self, KmsError> {
        let parsed = match bytes {
            [FORMAT, AES, number] => Sealing::of_number(*number).map(Self::Aes),
            [FORMAT, HMAC] => Some(Self::Hmac),
            [FORMAT, PAIR, sha1, sha256, der @ ..] => {
                let oaep = OaepBy::of_number(*sha1).zip(OaepBy::of_number(*sha256));
                // Nothing after the key, which its parser would pass over.
                let public = PublicHalf::new(spec, der).ok();
                let public = public.filter(|public| public.der() == der);
                public.zip(oaep).map(|(public, (sha1, sha256))| Self::Pair {
                    public,
                    oaep: Oaep { sha1, sha256 },
                })
            }
            _ => None,
        };
        parsed.ok_or_else(|| {
            tracing::error!("what the store keeps of a key in the HSM cannot be read");
            KmsError::internal()
        })
    }
}
