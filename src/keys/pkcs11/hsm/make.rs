//! Making keys in a token.

use cryptoki::mechanism::Mechanism as Call;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;

use super::calls::Sealing;
use super::{Failure, Hsm, Id};
use crate::keys::error::KeyError;
use crate::keys::pkcs11::cipher::{self, Mechanism};
use crate::keys::pkcs11::object::Key;
use crate::keys::pkcs11::outside::Components;

/// 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An AES key, which seals and opens.
    Aes {
        /// In bytes: 16, 24 or 32.
        len: u8,
    },
    /// A key pair that signs by ECDSA.
    Ec(Curve),
    /// A secret that authenticates by HMAC.
    Hmac {
        /// In bytes.
        len: u8,
    },
    /// An RSA key pair.
    Rsa {
        /// Of the modulus.
        bits: u16,
        /// One of the two.
        for_use: PairUse,
    },
}

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// secp256k1.
    P256K,
    /// NIST P-384.
    P384,
}

/// What an RSA key pair is for: one of them, as NIST SP 800-57 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairUse {
    /// RSAES-OAEP.
    Decrypt,
    /// RSASSA-PKCS1-v1_5 and RSASSA-PSS.
    Sign,
}

/// A hash of the SHA-2 family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// 28 bytes.
    Sha224,
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

/// What there is to know of a key that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// How it seals.
    Aes(Sealing),
    /// The public half: an uncompressed point (SEC 1, §2.3.3).
    Ec {
        /// `4 ‖ x ‖ y`.
        point: Vec<u8>,
    },
    /// Nothing.
    Hmac,
    /// The public half, big-endian.
    Rsa {
        /// Without leading zeros.
        modulus: Vec<u8>,
        /// Without leading zeros.
        exponent: Vec<u8>,
    },
}

impl Curve {
    /// The curve's OID in DER, as CKA_EC_PARAMS has it (RFC 5480, §2.1.1.1; SEC 2).
    fn parameters(self) -> Vec<u8> {
        match self {
            Self::P256 => vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
            Self::P256K => vec![6, 5, 0x2b, 0x81, 4, 0, 0x0a],
            Self::P384 => vec![6, 5, 0x2b, 0x81, 4, 0, 0x22],
        }
    }

    /// The length of an uncompressed point in bytes.
    fn point_len(self) -> usize {
        match self {
            Self::P256 | Self::P256K => 65,
            Self::P384 => 97,
        }
    }
}

impl Hsm {
    /// Makes a key of this id, which nothing in the token may have yet; people see `label`.
    ///
    /// # Errors
    /// `Config` for a kind of key that the token cannot make, or would hand out; `Unavailable` where it is away.
    pub fn generate(&self, id: &Id, label: &str, kind: Kind) -> Result<Made, KeyError> {
        let named = Named { id, label };
        self.in_session("making a key", &|session, _epoch| match kind {
            Kind::Aes { len } => named.aes(session, len).map(Made::Aes),
            Kind::Ec(curve) => named.ec(session, curve),
            Kind::Hmac { len } => named.hmac(session, len),
            Kind::Rsa { bits, for_use } => named.rsa(session, bits, for_use),
        })
    }
}

/// The one thing that a key may be used for. Many tokens allow whatever a template does not forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Encrypt,
    Sign,
    /// Of other keys: AES keys of tokens without GCM.
    Wrap,
}

impl Use {
    fn of_secret(self) -> [Attribute; 7] {
        [
            Attribute::Encrypt(self == Self::Encrypt),
            Attribute::Decrypt(self == Self::Encrypt),
            Attribute::Sign(self == Self::Sign),
            Attribute::Verify(self == Self::Sign),
            Attribute::Wrap(self == Self::Wrap),
            Attribute::Unwrap(self == Self::Wrap),
            Attribute::Derive(false),
        ]
    }

    fn of_private(self) -> [Attribute; 4] {
        [
            Attribute::Decrypt(self == Self::Encrypt),
            Attribute::Sign(self == Self::Sign),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ]
    }

    fn of_public(self) -> [Attribute; 4] {
        [
            Attribute::Encrypt(self == Self::Encrypt),
            Attribute::Verify(self == Self::Sign),
            Attribute::Wrap(false),
            Attribute::Derive(false),
        ]
    }
}

/// How a new key is called.
pub(super) struct Named<'a> {
    pub(super) id: &'a Id,
    pub(super) label: &'a str,
}

impl Named<'_> {
    /// By GCM where the token can; else by wrapping keys in between.
    fn aes(&self, session: &Session, len: u8) -> Result<Sealing, Failure> {
        match self.aes_for(session, len, Use::Encrypt) {
            Err(failure) if !failure.is_stale() => {
                tracing::debug!(?failure, "the token's AES keys do not encrypt by GCM");
                self.aes_for(session, len, Use::Wrap)
            }
            made => made,
        }
    }

    pub(super) fn aes_for(
        &self,
        session: &Session,
        len: u8,
        for_use: Use,
    ) -> Result<Sealing, Failure> {
        let mut template = self.kept();
        template.push(Attribute::KeyType(KeyType::AES));
        template.push(Attribute::ValueLen(u64::from(len).into()));
        template.extend(for_use.of_secret());
        let key = session.generate_key(&Call::AesKeyGen, &template)?;
        let seals = check_kept(session, key).and_then(|()| self.sealing(session, key));
        self.or_destroyed(session, &[key], seals.map(Sealing))
    }

    fn sealing(&self, session: &Session, key: ObjectHandle) -> Result<Mechanism, Failure> {
        cipher::choose(session, &Key::of_secret(self.id.to_vec(), key))
    }

    fn hmac(&self, session: &Session, len: u8) -> Result<Made, Failure> {
        let mut template = self.kept();
        template.push(Attribute::KeyType(KeyType::GENERIC_SECRET));
        template.push(Attribute::ValueLen(u64::from(len).into()));
        template.extend(Use::Sign.of_secret());
        let key = session.generate_key(&Call::GenericSecretKeyGen, &template)?;
        self.or_destroyed(
            session,
            &[key],
            check_kept(session, key).map(|()| Made::Hmac),
        )
    }

    fn rsa(&self, session: &Session, bits: u16, for_use: PairUse) -> Result<Made, Failure> {
        let for_use = match for_use {
            PairUse::Decrypt => Use::Encrypt,
            PairUse::Sign => Use::Sign,
        };
        let mut public = self.names();
        public.extend(for_use.of_public());
        public.extend([
            Attribute::ModulusBits(u64::from(bits).into()),
            Attribute::PublicExponent(EXPONENT.to_vec()),
        ]);
        let mut private = self.kept();
        private.extend(for_use.of_private());
        let (public, private) =
            session.generate_key_pair(&Call::RsaPkcsKeyPairGen, &public, &private)?;
        let made = check_kept(session, private).and_then(|()| {
            let Components { modulus, exponent } =
                Components::read(session, private, Some(public))?;
            Ok(Made::Rsa { modulus, exponent })
        });
        self.or_destroyed(session, &[private, public], made)
    }

    fn ec(&self, session: &Session, curve: Curve) -> Result<Made, Failure> {
        let mut public = self.names();
        public.extend(Use::Sign.of_public());
        public.push(Attribute::EcParams(curve.parameters()));
        let mut private = self.kept();
        private.extend(Use::Sign.of_private());
        let (public, private) =
            session.generate_key_pair(&Call::EccKeyPairGen, &public, &private)?;
        let made = check_kept(session, private).and_then(|()| {
            let point = point(session, public, curve)?;
            Ok(Made::Ec { point })
        });
        self.or_destroyed(session, &[private, public], made)
    }

    /// What was made, or nothing of it is left.
    fn or_destroyed<T>(
        &self,
        session: &Session,
        objects: &[ObjectHandle],
        made: Result<T, Failure>,
    ) -> Result<T, Failure> {
        if made.is_err() {
            for object in objects {
                session.destroy_object(*object)?;
            }
        }
        made
    }

    fn names(&self) -> Vec<Attribute> {
        vec![
            Attribute::Token(true),
            Attribute::Id(self.id.to_vec()),
            Attribute::Label(self.label.as_bytes().to_vec()),
        ]
    }

    /// Of keys that never leave the token.
    fn kept(&self) -> Vec<Attribute> {
        let mut template = self.names();
        template.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
        ]);
        template
    }
}

/// Whether the token keeps a key to itself: some pass over what a template says.
fn check_kept(session: &Session, key: ObjectHandle) -> Result<(), Failure> {
    let asked = [AttributeType::Sensitive, AttributeType::Extractable];
    let read = session.get_attributes(key, &asked)?;
    let kept = [Attribute::Sensitive(true), Attribute::Extractable(false)];
    if kept.iter().all(|attribute| read.contains(attribute)) {
        return Ok(());
    }
    let message =
        "the token would hand out the key that it made: it is extractable, or not sensitive";
    Err(KeyError::config(message).into())
}

/// CKA_EC_POINT is an OCTET STRING in DER; some modules give what is in it.
fn point(session: &Session, public: ObjectHandle, curve: Curve) -> Result<Vec<u8>, Failure> {
    let read = session.get_attributes(public, &[AttributeType::EcPoint])?;
    let len = curve.point_len();
    if let Some(Attribute::EcPoint(point)) = read.first() {
        let inner = match point.as_slice() {
            [4, in_der, inner @ ..] if usize::from(*in_der) == len && inner.len() == len => inner,
            all => all,
        };
        if inner.len() == len && inner.first() == Some(&4) {
            return Ok(inner.to_vec());
        }
    }
    Err(KeyError::config("the token does not give the public half of a key that it made").into())
}
