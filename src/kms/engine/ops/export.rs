//! How something is wrapped with a public key, to leave the service or to come in.

use crate::kms::engine::model::named;

/// RSA or SM2 encryption of key material.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportAlgorithm {
    RsaAesKeyWrapSha1,
    RsaAesKeyWrapSha256,
    RsaesOaepSha1,
    RsaesOaepSha256,
    RsaesPkcs1V15,
    Sm2Pke,
}

named!(ExportAlgorithm {
    RsaAesKeyWrapSha1 = "RSA_AES_KEY_WRAP_SHA_1",
    RsaAesKeyWrapSha256 = "RSA_AES_KEY_WRAP_SHA_256",
    RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
    RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
    RsaesPkcs1V15 = "RSAES_PKCS1_V1_5",
    Sm2Pke = "SM2PKE",
});
