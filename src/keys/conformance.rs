//! What every provider must do, whatever it is made of: one suite, run against each of them.

use std::path::Path;
use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};

use crate::crypto::passphrase::Argon2Params;
use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyErrorKind;
use crate::keys::file::FileProvider;
use crate::keys::passphrase::PassphraseProvider;
use crate::keys::passphrase_source::{Confirm, Passphrase, PassphraseSource};
use crate::keys::provider::{EncryptionContext, KeyProvider, WrappedDek};
use crate::units::{FileId, VolumeId};

/// A data key of a file.
pub(crate) const CONTEXT: EncryptionContext = EncryptionContext {
    volume: VolumeId([0x11; 16]),
    file: Some(FileId([0x22; 16])),
};

/// A fresh keyring file in `folder`.
pub(crate) fn keyring_in(folder: &Path) -> FileProvider {
    FileProvider::create(&folder.join("keyring.json")).unwrap()
}

/// A provider of this passphrase, as cheap as Argon2id can be.
pub(crate) fn passphrase_provider(passphrase: &[u8]) -> PassphraseProvider {
    let source = PassphraseSource::Fixed(passphrase.to_vec());
    let passphrase = Arc::new(Passphrase::new(source, Confirm::No));
    let params = Argon2Params::new(8, 1, 1).unwrap();
    PassphraseProvider::open(&"passphrase:".parse().unwrap(), passphrase, params).unwrap()
}

/// The suite.
pub(crate) fn provider_suite(provider: &dyn KeyProvider) {
    round_trips(provider);
    keys_and_wraps_are_fresh(provider);
    other_contexts_are_refused(provider);
    every_byte_counts(provider);
    other_lengths_are_refused(provider);
    the_version_is_recorded_and_bound(provider);
    others_wraps_are_refused(provider);
    rewrap_keeps_the_key(provider);
    nothing_secret_shows(provider);
}

/// Panics where `text` holds the secret in any of the forms that code prints bytes in.
pub(crate) fn assert_hides(text: &str, secret: &[u8; 32]) {
    let decimal = format!("{secret:?}");
    let decimal = decimal.trim_matches(['[', ']']);
    let forms = [
        HEXLOWER.encode(secret),
        BASE64.encode(secret),
        decimal.to_owned(),
    ];
    let lower = text.to_lowercase();
    assert!(!lower.contains(&forms[0]), "hex in {text}");
    assert!(!text.contains(&forms[1]), "base64 in {text}");
    assert!(!text.contains(&forms[2]), "decimal in {text}");
    let plain = std::str::from_utf8(secret).unwrap_or("no text");
    assert!(!text.contains(plain), "plain in {text}");
}

fn assert_refused(provider: &dyn KeyProvider, wrapped: &WrappedDek, what: &str) {
    match provider.unwrap(wrapped, &CONTEXT) {
        Ok(_dek) => panic!("{what}: opened"),
        Err(error) => assert!(
            matches!(
                error.kind(),
                KeyErrorKind::Corrupt | KeyErrorKind::Denied | KeyErrorKind::NotFound
            ),
            "{what}: {error}"
        ),
    }
}

fn round_trips(provider: &dyn KeyProvider) {
    let volume_key = EncryptionContext {
        file: None,
        ..CONTEXT
    };
    for context in [CONTEXT, volume_key] {
        let (dek, wrapped) = provider.generate(&context).unwrap();
        assert!(provider.unwrap(&wrapped, &context).unwrap() == dek);
        let given = SecretKey::random().unwrap();
        let wrapped = provider.wrap(&given, &context).unwrap();
        assert!(provider.unwrap(&wrapped, &context).unwrap() == given);
    }
}

fn keys_and_wraps_are_fresh(provider: &dyn KeyProvider) {
    let (first, _) = provider.generate(&CONTEXT).unwrap();
    let (second, _) = provider.generate(&CONTEXT).unwrap();
    assert!(first != second);
    let wraps = [(); 2].map(|()| provider.wrap(&first, &CONTEXT).unwrap());
    assert_ne!(wraps[0].bytes, wraps[1].bytes);
}

fn other_contexts_are_refused(provider: &dyn KeyProvider) {
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    for context in [
        EncryptionContext {
            file: None,
            ..CONTEXT
        },
        EncryptionContext {
            file: Some(FileId([0x23; 16])),
            ..CONTEXT
        },
        EncryptionContext {
            volume: VolumeId([0x12; 16]),
            ..CONTEXT
        },
    ] {
        assert!(provider.unwrap(&wrapped, &context).is_err(), "{context:?}");
        assert!(provider.rewrap(&wrapped, &context).is_err(), "{context:?}");
    }
}

fn every_byte_counts(provider: &dyn KeyProvider) {
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    for at in 0..wrapped.bytes.len() {
        for flip in [0x01, 0x80] {
            let mut altered = wrapped.clone();
            altered.bytes[at] ^= flip;
            assert_refused(provider, &altered, &format!("byte {at} ^ {flip:#04x}"));
        }
    }
}

fn other_lengths_are_refused(provider: &dyn KeyProvider) {
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    for len in 0..wrapped.bytes.len() {
        let mut cut = wrapped.clone();
        cut.bytes.truncate(len);
        assert_refused(provider, &cut, &format!("cut to {len}"));
    }
    for more in [&[0][..], &[0; 16], &wrapped.bytes] {
        let mut extended = wrapped.clone();
        extended.bytes.extend_from_slice(more);
        assert_refused(provider, &extended, &format!("extended by {}", more.len()));
    }
}

fn the_version_is_recorded_and_bound(provider: &dyn KeyProvider) {
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    assert_eq!(wrapped.key_version, provider.probe().unwrap().key_version);
    assert!(
        wrapped
            .key_version
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
    );
    for version in [
        String::new(),
        format!("{}0", wrapped.key_version),
        "é".to_owned(),
    ] {
        let swapped = WrappedDek {
            key_version: version,
            ..wrapped.clone()
        };
        assert_refused(provider, &swapped, &swapped.key_version);
    }
}

fn others_wraps_are_refused(provider: &dyn KeyProvider) {
    let folder = tempfile::tempdir().unwrap();
    let strangers: [&dyn KeyProvider; 2] = [
        &keyring_in(folder.path()),
        &passphrase_provider(b"a stranger's"),
    ];
    let ours = provider
        .wrap(&SecretKey::random().unwrap(), &CONTEXT)
        .unwrap();
    for stranger in strangers {
        let (_dek, theirs) = stranger.generate(&CONTEXT).unwrap();
        assert_refused(provider, &theirs, "a stranger's");
        assert_refused(stranger, &ours, "ours at a stranger's");
    }
}

fn rewrap_keeps_the_key(provider: &dyn KeyProvider) {
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let rewrapped = provider.rewrap(&wrapped, &CONTEXT).unwrap();
    assert_ne!(wrapped.bytes, rewrapped.bytes);
    assert_eq!(rewrapped.key_version, provider.probe().unwrap().key_version);
    assert!(provider.unwrap(&rewrapped, &CONTEXT).unwrap() == dek);
    let mut altered = wrapped;
    altered.bytes[0] ^= 1;
    assert!(provider.rewrap(&altered, &CONTEXT).is_err());
}

fn nothing_secret_shows(provider: &dyn KeyProvider) {
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let mut altered = wrapped.clone();
    altered.bytes[0] ^= 1;
    let error = provider.unwrap(&altered, &CONTEXT).unwrap_err();
    for text in [
        format!("{provider:?} {wrapped:?} {dek:?}"),
        format!("{error:?} {error}"),
        provider.describe(),
    ] {
        assert_hides(&text, dek.expose());
    }
}
