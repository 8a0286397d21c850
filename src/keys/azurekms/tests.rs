//! The provider with the double of Azure's services.

use std::thread;

use serde_json::Value;

use super::double::{Azure, CLIENT, FEDERATED, SECRET, TENANT, failure};
use super::*;
use crate::keys::conformance::{CONTEXT, provider_suite};
use crate::keys::error::KeyErrorKind;
use crate::keys::service::Reach;
use crate::keys::service::failures::{self, Subject, assert_says, at, options, service_failures};

fn open(
    reach: &Reach,
    host: &str,
    variables: &[(&str, &str)],
) -> Result<AzurekmsProvider, KeyError> {
    let uri: KeyUri = format!("azurekms://{host}/files").parse().unwrap();
    AzurekmsProvider::open(&uri, &options(&uri, reach, variables))
}

impl Azure {
    fn open(&self) -> AzurekmsProvider {
        self.open_with(&[("AZURE_CLIENT_SECRET", SECRET)])
    }

    fn open_with(&self, variables: &[(&str, &str)]) -> AzurekmsProvider {
        self.open_by(&at(&self.endpoint()), variables)
    }

    fn open_by(&self, reach: &Reach, variables: &[(&str, &str)]) -> AzurekmsProvider {
        let authority = self.endpoint().to_string();
        let mut all = vec![
            ("AZURE_AUTHORITY_HOST", authority.as_str()),
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_CLIENT_ID", CLIENT),
        ];
        all.extend_from_slice(variables);
        let is_hsm = self.state.key.lock().kty == "oct-HSM";
        let host = if is_hsm {
            "ada-kv.managedhsm.azure.net"
        } else {
            "ada-kv"
        };
        open(reach, host, &all).unwrap()
    }
}

fn with_subject(check: impl Fn(&Subject<'_>)) {
    let azure = Azure::start("RSA");
    check(&Subject {
        service: azure.endpoint(),
        names_requests: true,
        open: &|reach| Box::new(azure.open_by(reach, &[("AZURE_CLIENT_SECRET", SECRET)])),
    });
}

service_failures!(super::with_subject);

#[test]
fn keys_of_a_vault_and_of_an_hsm_pass_the_suite() {
    for (kty, way) in [
        ("RSA", "RSA-OAEP-256"),
        ("RSA-HSM", "RSA-OAEP-256"),
        ("oct-HSM", "A256KW"),
    ] {
        let azure = Azure::start(kty);
        let provider = azure.open();
        assert_eq!(provider.probe().unwrap().mechanism, Some(way));
        provider_suite(&provider);
    }
}

#[test]
fn a_wrap_fits_a_slot_and_says_how_it_was_made() {
    let azure = Azure::start("RSA");
    let (_dek, wrapped) = azure.open().generate(&CONTEXT).unwrap();
    assert_eq!(wrapped.bytes.len(), 2 + 72 + 256);
    let azure = Azure::start("oct-HSM");
    let (_dek, wrapped) = azure.open().generate(&CONTEXT).unwrap();
    assert_eq!(wrapped.bytes.len(), 2 + 72 + 40);
    assert_eq!(wrapped.key_version.len(), 32);
}

#[test]
fn a_rotated_key_wraps_anew_after_a_look_and_unwraps_what_was() {
    let azure = Azure::start("RSA");
    let provider = azure.open();
    let (dek, old) = provider.generate(&CONTEXT).unwrap();
    azure.rotate();
    let newest = provider.probe().unwrap().key_version;
    assert_ne!(newest, old.key_version);
    assert!(provider.unwrap(&old, &CONTEXT).unwrap() == dek);
    let new = provider.rewrap(&old, &CONTEXT).unwrap();
    assert_eq!(new.key_version, newest);
    assert!(provider.unwrap(&new, &CONTEXT).unwrap() == dek);
    let swapped = WrappedDek {
        key_version: newest,
        ..old.clone()
    };
    let error = provider.unwrap(&swapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Corrupt, "does not open");
    let unknown = WrappedDek {
        key_version: "0".repeat(32),
        ..old
    };
    let error = provider.unwrap(&unknown, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::NotFound, "KeyNotFound");
}

#[test]
fn a_disabled_key_is_revoked_and_not_wrapped_with() {
    let azure = Azure::start("RSA");
    let provider = azure.open();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    azure.state.key.lock().versions[0].enabled = false;
    let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Revoked, "KeyDisabled");
    assert_says(&error, KeyErrorKind::Revoked, "request req-1");
    assert_eq!(error.request_id(), Some("req-1"));
    assert_says(
        &provider.probe().unwrap_err(),
        KeyErrorKind::Revoked,
        "is disabled",
    );
    let error = azure.open().wrap(&dek, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Revoked, "is disabled");
}

#[test]
fn a_missing_permission_is_denied_and_a_deleted_key_not_found() {
    let azure = Azure::start("RSA");
    let provider = azure.open();
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    azure.state.key.lock().deny = true;
    let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Denied, "ForbiddenByRbac");
    azure.state.key.lock().deny = false;
    azure.state.key.lock().gone = true;
    for error in [
        provider.unwrap(&wrapped, &CONTEXT).unwrap_err(),
        provider.probe().unwrap_err(),
    ] {
        assert_says(&error, KeyErrorKind::NotFound, "KeyNotFound");
    }
}

#[test]
fn codes_decide_what_an_answer_means() {
    let azure = Azure::start("RSA");
    let provider = azure.open();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    use KeyErrorKind::{Config, Corrupt, Denied, NotFound, Revoked, Unavailable};
    for (status, code, inner, unwrap, wrap) in [
        (429, "Throttled", None, Unavailable, Unavailable),
        (500, "InternalServerError", None, Unavailable, Unavailable),
        (503, "ServiceUnavailable", None, Unavailable, Unavailable),
        (
            403,
            "Forbidden",
            Some("ForbiddenByFirewall"),
            Denied,
            Denied,
        ),
        (403, "Forbidden", Some("KeyExpired"), Revoked, Revoked),
        (403, "Forbidden", Some("KeyNotYetValid"), Revoked, Revoked),
        (404, "KeyNotFound", None, NotFound, NotFound),
        (
            409,
            "Conflict",
            Some("ObjectIsDeletedButRecoverable"),
            Revoked,
            Revoked,
        ),
        (400, "BadParameter", None, Corrupt, Config),
        (400, "Other", None, Config, Config),
    ] {
        *azure.state.instead.lock() = Some(failure(status, code, "m", inner));
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), unwrap, "{error}");
        let error = provider.wrap(&dek, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), wrap, "{error}");
        assert!(error.to_string().contains(inner.unwrap_or(code)), "{error}");
        assert!(error.to_string().contains("ask again in 3 s"), "{error}");
    }
}

#[test]
fn keys_that_wrap_nothing_are_refused_with_what_to_make() {
    let azure = Azure::start("RSA");
    azure.state.key.lock().kty = "EC-HSM";
    let error = azure.open().generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Config, "type EC-HSM");
}

#[test]
fn answers_about_another_key_or_version_are_not_taken() {
    let azure = Azure::start("RSA");
    let provider = azure.open();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let changes: [fn(&mut Value); 4] = [
        |body| body["kid"] = "https://ada-kv.vault.azure.net/keys/files/00".into(),
        |body| body["kid"] = "https://ada-kv.vault.azure.net/keys/others/00".into(),
        |body| body["value"] = "AAAA".into(),
        |body| body["value"] = "!".into(),
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        *azure.state.tamper.lock() = Some(change);
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{nth}: {error}");
        let error = provider.wrap(&dek, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{nth}: {error}");
    }
    *azure.state.tamper.lock() = Some(|body| body["key"]["kid"] = "https://x/keys/files/..".into());
    let error = provider.probe().unwrap_err();
    assert_says(&error, KeyErrorKind::Unavailable, "not the service's");
}

#[test]
fn an_access_token_that_ended_is_got_anew_once_and_then_denied() {
    let azure = Azure::start("RSA");
    let provider = azure.open();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    azure.state.tokens.lock().clear();
    // A token that is younger than this is not given up.
    thread::sleep(Duration::from_millis(1100));
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    assert_eq!(azure.state.tokens.lock().len(), 1);
    *azure.state.instead.lock() = Some(failure(
        401,
        "Unauthorized",
        "AKV10032: Invalid issuer.",
        None,
    ));
    let (before, begun) = (azure.calls(), Instant::now());
    for _ in 0..10 {
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_says(&error, KeyErrorKind::Denied, "AKV10032");
    }
    let calls = azure.calls() - before;
    assert!(calls <= failures::calls_without_storm(10, begun), "{calls}");
}

#[test]
fn federated_tokens_managed_identities_and_credentials_will_do() {
    let azure = Azure::start("RSA");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{FEDERATED}\n")).unwrap();
    let federated = [("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap())];
    azure.open_with(&federated).generate(&CONTEXT).unwrap();
    std::fs::write(folder.path().join("envelopefs.azure-client-secret"), SECRET).unwrap();
    let credentials = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    azure.open_with(&credentials).generate(&CONTEXT).unwrap();
    let address = azure.endpoint().to_string();
    let managed = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", address.as_str())];
    azure.open_with(&managed).generate(&CONTEXT).unwrap();
    *azure.state.no_identity.lock() = true;
    let error = azure.open_with(&managed).generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Config, "Identity not found");
}

#[test]
fn a_federated_token_that_ended_points_to_the_clock() {
    let azure = Azure::start("RSA");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "ended").unwrap();
    let federated = [("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap())];
    let error = azure.open_with(&federated).generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Unavailable, "clock");
}

#[test]
fn a_refused_application_is_denied_and_its_secret_does_not_show() {
    let azure = Azure::start("RSA");
    let provider = azure.open_with(&[("AZURE_CLIENT_SECRET", "hunter2")]);
    let error = provider.generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Denied, "AADSTS7000215");
    assert_says(&error, KeyErrorKind::Denied, CLIENT);
    assert!(!format!("{error} {error:?} {provider:?}").contains("hunter2"));
}

#[test]
fn what_is_missing_is_named() {
    let azure = Azure::start("RSA");
    let endpoint = azure.endpoint();
    let secret = ("AZURE_CLIENT_SECRET", SECRET);
    for (variables, says) in [
        (&[secret][..], "AZURE_TENANT_ID"),
        (&[secret, ("AZURE_TENANT_ID", TENANT)], "AZURE_CLIENT_ID"),
        (
            &[secret, ("AZURE_AUTHORITY_HOST", "http://login.example")],
            "https",
        ),
        (
            &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://10.0.0.1")],
            "https",
        ),
    ] {
        let error = open(&at(&endpoint), "ada-kv", variables).unwrap_err();
        assert_says(&error, KeyErrorKind::Config, says);
    }
    drop(azure);
    let address = endpoint.to_string();
    let lost = open(
        &at(&endpoint),
        "ada-kv",
        &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &address)],
    );
    let error = lost.unwrap().generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Unavailable, "AZURE_CLIENT_SECRET");
}
