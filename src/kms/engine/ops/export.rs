//! How something is wrapped with a public key, to leave the service or to come in.

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
