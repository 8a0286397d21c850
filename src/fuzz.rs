//! What reads bytes of others, as fuzzers ask it: a function for each parser, which takes any bytes, holds what must hold
//! of them, and says in a word how it went.
//!
//! Two fuzzers share these functions and their seeds (`fuzz/corpus`): [`hunt`](mod@hunt), which `scripts/fuzz.sh` runs
//! for so many seconds on a stable toolchain, and libFuzzer, for who has a nightly one (`fuzz/`, with cargo-fuzz).
//! Compiled for them and for tests only.

pub mod hunt;
pub mod request;
#[cfg(test)]
mod tests;

use crate::format::header::FileHeader;
use crate::format::volume_config::VolumeConfig;
use crate::kms::engine::error::ErrorKind;
use crate::kms::engine::model::KeySpec;
use crate::kms::engine::{Caller, EncryptionContext};
use crate::kms::material::{Material, blob};
use crate::kms::policy::document::principal_name;
use crate::kms::policy::{Policy, PolicyKind, Request, Rules, decide};

const ACCOUNT: &str = "123456789012";

/// A ciphertext that somebody sends to be decrypted.
///
/// # Panics
///
/// Where it is read as something that it is not, or opens under a key that it cannot be of.
#[must_use]
pub fn ciphertext_blob(data: &[u8]) -> String {
    let Ok(parsed) = blob::parse(data) else {
        return "no blob".to_owned();
    };
    assert_eq!(parsed.to_bytes(), data, "a blob is read back as it was");
    assert!((blob::OVERHEAD..=blob::LEN_MAX).contains(&data.len()));
    let id = parsed.address().key().0;
    assert_eq!(id.len(), 36, "{id}");
    let Ok(material) = Material::from_secret(KeySpec::Aes256, &[7; 32]) else {
        panic!("32 bytes are a key");
    };
    match blob::open(&material, &parsed, &EncryptionContext::default()) {
        Ok(_) => panic!("a forged blob opened"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::CiphertextInvalid),
    }
    format!("a blob of some 2^{} bytes", data.len().ilog2())
}

/// A policy that somebody sets.
///
/// # Panics
///
/// Where reading it twice comes to two things, or what is taken anew could not be read again.
#[must_use]
pub fn policy_document(data: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(data) else {
        return "no text".to_owned();
    };
    let _name = principal_name(text, ACCOUNT);
    let of_key = Policy::parse(text, PolicyKind::Key, ACCOUNT);
    let own = Policy::parse(text, PolicyKind::Principal, ACCOUNT);
    assert_eq!(of_key, Policy::parse(text, PolicyKind::Key, ACCOUNT));
    for (kind, read) in [(PolicyKind::Key, &of_key), (PolicyKind::Principal, &own)] {
        if let Ok(new) = Policy::parse_new(text, kind, ACCOUNT) {
            assert_eq!(Ok(&new), read.as_ref(), "what is set is read");
        }
    }
    let caller = Caller::local("fuzz");
    let request = Request {
        principal: &caller.principal,
        action: "Encrypt",
        key: None,
        context: None,
        address: Some([192, 0, 2, 1].into()),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let rules = Rules {
        principal: own.as_ref().ok(),
        key: of_key.as_ref().ok(),
        grants: &[],
    };
    let decision = decide(&rules, &request);
    let why = |parsed: Result<Policy, _>| match parsed {
        Ok(_) => "read".to_owned(),
        Err(error) => without_what_was_given(&format!("{error}")),
    };
    format!("{decision:?}, {}, {}", why(of_key), why(own))
}

/// The beginning of a file's first block.
///
/// # Panics
///
/// Where one header has two encodings.
#[must_use]
pub fn file_header(data: &[u8]) -> String {
    let header = match FileHeader::decode(data) {
        Ok(header) => header,
        Err(error) => return without_what_was_given(&error.to_string()),
    };
    let mut again = vec![0; header.layout.header_len()];
    let encoded = header.encode(&mut again);
    assert!(encoded.is_ok(), "{encoded:?}");
    assert_eq!(data.get(..again.len()), Some(&again[..]));
    format!("{} epochs", header.epochs.len())
}

/// A volume's `volume.json`.
///
/// # Panics
///
/// Where what is read is out of the bounds that its reader promises.
#[must_use]
pub fn volume_json(data: &[u8]) -> String {
    match VolumeConfig::decode(data) {
        Ok(config) => {
            assert!(!config.slots().is_empty(), "a volume opens with some key");
            format!("{} slots, {:?}", config.slots().len(), config.key_scope())
        }
        Err(error) => without_what_was_given(&error.to_string()),
    }
}

/// A refusal by its kind: numbers and what is quoted differ with each input.
fn without_what_was_given(message: &str) -> String {
    let unquoted = message
        .split(['"', '`', '('])
        .step_by(2)
        .collect::<String>();
    unquoted
        .chars()
        .filter(|one| !one.is_ascii_digit())
        .take(80)
        .collect()
}
