//! The provider with the double of Google's services.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::double::{EMAIL, Google, KEY, Version, crc32c, failure};
use super::*;
use crate::keys::conformance::{CONTEXT, provider_suite};
use crate::keys::error::KeyErrorKind;
use crate::keys::service::Reach;
use crate::keys::service::double::answer;
use crate::keys::service::failures::{self, Subject, assert_says, at, options, service_failures};

/// Google, and this machine's credentials for it.
struct Place {
    google: Google,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            google: Google::start(),
            folder: tempfile::tempdir().unwrap(),
        };
        place.write(&place.google.account_file());
        place
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("account.json")
    }

    fn write(&self, contents: &Value) {
        std::fs::write(self.file(), contents.to_string()).unwrap();
    }

    fn open(&self) -> GcpkmsProvider {
        self.open_by(&at(&self.google.endpoint()))
    }

    fn open_by(&self, reach: &Reach) -> GcpkmsProvider {
        let file = self.file();
        open(
            reach,
            &[("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())],
        )
        .unwrap()
    }
}

fn open(reach: &Reach, variables: &[(&str, &str)]) -> Result<GcpkmsProvider, KeyError> {
    let uri: KeyUri = format!("gcpkms://{KEY}").parse().unwrap();
    GcpkmsProvider::open(&uri, &options(&uri, reach, variables))
}

fn with_subject(check: impl Fn(&Subject<'_>)) {
    let place = Place::new();
    check(&Subject {
        service: place.google.endpoint(),
        names_requests: false,
        open: &|reach| Box::new(place.open_by(reach)),
    });
}

service_failures!(super::with_subject);

#[test]
fn it_passes_the_suite() {
    let place = Place::new();
    provider_suite(&place.open());
}

#[test]
fn checksums_are_those_of_rfc_3720() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn a_uri_names_a_key_and_nothing_else() {
    let open = |uri: &str| GcpkmsProvider::open(&uri.parse().unwrap(), &ServiceOptions::default());
    assert!(open(&format!("gcpkms://{KEY}")).is_ok());
    assert!(
        open("gcpkms://projects/example.com:p/locations/global/keyRings/r/cryptoKeys/k").is_ok()
    );
    for uri in [
        "gcpkms://k".to_owned(),
        format!("gcpkms://{KEY}/"),
        format!("gcpkms://{KEY}/cryptoKeyVersions/1"),
        format!("gcpkms://{KEY}:decrypt"),
        format!("gcpkms:///{KEY}"),
        KEY.replace("ada-1", "..")
            .replace("projects", "gcpkms://projects"),
        KEY.replace("ring/", "r.r/")
            .replace("projects", "gcpkms://projects"),
        KEY.replace("files", "")
            .replace("projects", "gcpkms://projects"),
        format!("gcpkms://{KEY}?endpoint=https://evil.example"),
    ] {
        let error = open(&uri).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config, "{uri}");
    }
}

#[test]
fn a_rotated_key_wraps_anew_and_unwraps_what_was() {
    let place = Place::new();
    let provider = place.open();
    let (dek, old) = provider.generate(&CONTEXT).unwrap();
    place.google.state.key.lock().versions.push(Version::new());
    let health = provider.probe().unwrap();
    assert_eq!((health.key_version.as_str(), health.versions), ("2", 2));
    assert_eq!(health.mechanism, Some("in software"));
    assert!(provider.unwrap(&old, &CONTEXT).unwrap() == dek);
    let new = provider.rewrap(&old, &CONTEXT).unwrap();
    assert_eq!(
        (old.key_version.as_str(), new.key_version.as_str()),
        ("1", "2")
    );
    let swapped = WrappedDek {
        key_version: "2".to_owned(),
        ..old
    };
    let error = provider.unwrap(&swapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Corrupt, "does not open");
}

#[test]
fn disabled_and_destroyed_versions_are_revoked() {
    let place = Place::new();
    let provider = place.open();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    for state in ["DISABLED", "DESTROY_SCHEDULED", "DESTROYED"] {
        place.google.state.key.lock().versions[0].state = state;
        for error in [
            provider.unwrap(&wrapped, &CONTEXT).unwrap_err(),
            provider.wrap(&dek, &CONTEXT).unwrap_err(),
            provider.probe().unwrap_err(),
        ] {
            assert_says(&error, KeyErrorKind::Revoked, state);
        }
    }
}

#[test]
fn a_missing_permission_is_denied_and_a_missing_key_not_found() {
    let place = Place::new();
    let provider = place.open();
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    place.google.state.key.lock().deny = true;
    let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(
        &error,
        KeyErrorKind::Denied,
        "cloudkms.cryptoKeyVersions.useToDecrypt",
    );
    place.google.state.key.lock().deny = false;
    place.google.state.key.lock().gone = true;
    let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::NotFound, "not found");
}

#[test]
fn what_the_service_says_decides_and_not_its_status() {
    let place = Place::new();
    let provider = place.open();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    use KeyErrorKind::{Config, Corrupt, Unavailable};
    for (code, status, message, unwrap, wrap) in [
        (
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for quota metric",
            Unavailable,
            Unavailable,
        ),
        (500, "INTERNAL", "Internal error", Unavailable, Unavailable),
        (503, "UNAVAILABLE", "try again", Unavailable, Unavailable),
        (504, "DEADLINE_EXCEEDED", "", Unavailable, Unavailable),
        (
            400,
            "FAILED_PRECONDITION",
            "the external key manager did not answer",
            Unavailable,
            Unavailable,
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "The checksum in field ciphertext_crc32c did not match",
            Unavailable,
            Unavailable,
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "Decryption failed",
            Corrupt,
            Config,
        ),
    ] {
        *place.google.state.instead.lock() = Some(failure(code, status, message));
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), unwrap, "{error}");
        let error = provider.wrap(&dek, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), wrap, "{error}");
        assert!(error.to_string().contains(status), "{error}");
    }
}

#[test]
fn an_access_token_that_ended_is_got_anew_once() {
    let place = Place::new();
    let provider = place.open();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    place.google.state.tokens.lock().clear();
    // A token that is younger than this is not given up.
    thread::sleep(Duration::from_millis(1100));
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    assert_eq!(place.google.state.tokens.lock().len(), 1);
}

#[test]
fn a_service_that_takes_no_token_sees_no_storm_of_logins() {
    let place = Place::new();
    let provider = place.open();
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    *place.google.state.instead.lock() = Some(failure(401, "UNAUTHENTICATED", "no"));
    let (before, begun) = (place.google.calls(), Instant::now());
    for _ in 0..10 {
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_says(&error, KeyErrorKind::Denied, "UNAUTHENTICATED");
    }
    let calls = place.google.calls() - before;
    assert!(calls <= failures::calls_without_storm(10, begun), "{calls}");
}

fn take(body: &mut Value, name: &str) {
    assert!(body.as_object_mut().unwrap().remove(name).is_some());
}

#[test]
fn what_was_changed_on_the_way_is_not_taken() {
    let place = Place::new();
    let provider = place.open();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let changes: [fn(&mut Value); 6] = [
        |body| body["ciphertextCrc32c"] = "1".into(),
        |body| take(body, "ciphertextCrc32c"),
        |body| body["verifiedPlaintextCrc32c"] = false.into(),
        |body| take(body, "verifiedAdditionalAuthenticatedDataCrc32c"),
        |body| body["name"] = "projects/x/cryptoKeyVersions/1".into(),
        |body| body["name"] = format!("{KEY}/cryptoKeyVersions/1/x").into(),
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        *place.google.state.tamper.lock() = Some(change);
        let error = provider.wrap(&dek, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{nth}: {error}");
    }
    let changes: [fn(&mut Value); 3] = [
        |body| body["plaintextCrc32c"] = "1".into(),
        |body| body["plaintext"] = "AAAA".into(),
        |body| take(body, "plaintext"),
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        *place.google.state.tamper.lock() = Some(change);
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{nth}: {error}");
    }
}

#[test]
fn a_wrong_clock_is_named() {
    let place = Place::new();
    *place.google.state.clock_ahead.lock() = Duration::from_secs(7200);
    let error = place.open().generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Unavailable, "clock");
}

#[test]
fn a_refused_account_is_denied_by_name_and_its_key_does_not_show() {
    let place = Place::new();
    place.write(&Google::start().account_file());
    let mut other = Google::start().account_file();
    other["token_uri"] = place.google.account_file()["token_uri"].clone();
    place.write(&other);
    let error = place.open().generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Denied, "Invalid JWT Signature");
    assert_says(&error, KeyErrorKind::Denied, EMAIL);
    let key = other["private_key"].as_str().unwrap();
    let key = key.lines().nth(1).unwrap();
    assert!(!format!("{error} {error:?}").contains(key));
}

#[test]
fn a_user_s_and_a_machine_s_credentials_will_do() {
    let place = Place::new();
    place.write(&place.google.user_file());
    place.open().generate(&CONTEXT).unwrap();
    let endpoint = place.google.endpoint();
    let host = endpoint.to_string().replace("http://", "");
    let machine = open(&at(&endpoint), &[("GCE_METADATA_HOST", &host)]).unwrap();
    machine.generate(&CONTEXT).unwrap();
    let config = place.folder.path().to_str().unwrap();
    std::fs::rename(
        place.file(),
        place
            .folder
            .path()
            .join("application_default_credentials.json"),
    )
    .unwrap();
    let gcloud = open(&at(&endpoint), &[("CLOUDSDK_CONFIG", config)]).unwrap();
    gcloud.generate(&CONTEXT).unwrap();
}

#[test]
fn credentials_that_cannot_be_followed_are_named() {
    let place = Place::new();
    let account = place.google.account_file();
    let changed = |name: &str, value: &str| {
        let mut account = account.clone();
        account[name] = value.into();
        account
    };
    for (contents, says) in [
        (Value::from("x"), "expected JSON"),
        (changed("type", "external_account"), "external_account"),
        (
            changed("private_key", "-----BEGIN PRIVATE KEY-----\nhunter2\n"),
            "private key",
        ),
        (changed("token_uri", "http://token.example"), "https"),
        (changed("type", "authorized_user"), "refresh_token"),
    ] {
        place.write(&contents);
        let error = place.open().generate(&CONTEXT).unwrap_err();
        assert_says(&error, KeyErrorKind::Config, says);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    std::fs::remove_file(place.file()).unwrap();
    let error = place.open().generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Config, "account.json");
}

#[test]
fn a_machine_without_credentials_is_told_what_to_set() {
    let gone = Google::start();
    let endpoint = gone.endpoint();
    let host = endpoint.to_string().replace("http://", "");
    drop(gone);
    let error = open(&at(&endpoint), &[("GCE_METADATA_HOST", &host)]).unwrap();
    let error = error.generate(&CONTEXT).unwrap_err();
    assert_says(
        &error,
        KeyErrorKind::Unavailable,
        "GOOGLE_APPLICATION_CREDENTIALS",
    );
    let error = open(&at(&endpoint), &[("GCE_METADATA_HOST", "metadata.example")]).unwrap_err();
    assert_says(&error, KeyErrorKind::Config, "https");
}

#[test]
fn a_stranger_s_metadata_service_is_not_believed() {
    let place = Place::new();
    *place.google.state.instead.lock() = Some(answer(
        200,
        &[],
        b"{\"access_token\":\"t\",\"expires_in\":9}",
    ));
    let endpoint = place.google.endpoint();
    let host = endpoint.to_string().replace("http://", "");
    let provider = open(&at(&endpoint), &[("GCE_METADATA_HOST", &host)]).unwrap();
    let error = provider.generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Unavailable, "not the service's");
}
