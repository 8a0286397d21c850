//! The provider with a real OpenBao server.

use std::thread;
use std::time::{Duration, Instant};

use super::bao::{ALL, Bao, Engine, open};
use super::*;
use crate::keys::conformance::{CONTEXT, provider_suite};
use crate::keys::service::double::{self, Double};
use crate::keys::service::failures::{self, Subject, assert_says, service_failures};
use crate::units::FileId;

const REWRAP_ONLY: [&str; 2] = ["keys", "rewrap"];

fn with_subject(check: impl Fn(&Subject<'_>)) {
    let engine = Bao::shared().engine(&[]);
    let token = engine.token(&ALL, &[]);
    let open = |reach: &Reach| -> Box<dyn KeyProvider> {
        Box::new(open(&engine.uri(), reach, &[("VAULT_TOKEN", &token)]))
    };
    check(&Subject {
        service: Bao::shared().endpoint(),
        names_requests: true,
        open: &open,
    });
}

service_failures!(super::with_subject);

/// What each operation on a wrapped key says.
fn errors(provider: &dyn KeyProvider, wrapped: &WrappedDek) -> [KeyError; 2] {
    [
        provider.unwrap(wrapped, &CONTEXT).unwrap_err(),
        provider.rewrap(wrapped, &CONTEXT).unwrap_err(),
    ]
}

#[test]
fn keys_of_every_suitable_type_pass_the_suite() {
    for kind in TYPES {
        let engine = Bao::shared().engine(&[&format!("type={kind}")]);
        let provider = engine.provider();
        provider_suite(&provider);
        assert_eq!(provider.probe().unwrap().mechanism, Some(kind));
    }
}

#[test]
fn a_key_that_derives_by_the_context_passes_the_suite() {
    provider_suite(&Bao::shared().engine(&["derived=true"]).provider());
}

#[test]
fn keys_that_must_not_wrap_are_refused_with_the_reason() {
    for (options, says) in [
        (&["type=aes128-gcm96"][..], "type aes128-gcm96"),
        (&["type=rsa-2048"], "type rsa-2048"),
        (&["type=ed25519"], "type ed25519"),
        (
            &["derived=true", "convergent_encryption=true"],
            "convergent",
        ),
    ] {
        let provider = Bao::shared().engine(options).provider();
        let error = provider.generate(&CONTEXT).unwrap_err();
        assert_says(&error, KeyErrorKind::Config, says);
        assert_says(&provider.probe().unwrap_err(), KeyErrorKind::Config, says);
    }
}

impl Engine<'_> {
    fn rotate(&self) {
        let path = format!("{}/rotate", self.path("keys"));
        self.bao.admin(&["write", "-f", &path]);
    }

    fn configure(&self, setting: &str) {
        let path = format!("{}/config", self.path("keys"));
        self.bao.admin(&["write", &path, setting]);
    }
}

#[test]
fn a_rotated_key_wraps_anew_and_unwraps_what_was() {
    let engine = Bao::shared().engine(&[]);
    let provider = engine.provider();
    let (dek, old) = provider.generate(&CONTEXT).unwrap();
    engine.rotate();
    let health = provider.probe().unwrap();
    assert_eq!((health.key_version.as_str(), health.versions), ("2", 2));
    assert_eq!(old.key_version, "1");
    assert!(provider.unwrap(&old, &CONTEXT).unwrap() == dek);
    assert_eq!(provider.generate(&CONTEXT).unwrap().1.key_version, "2");
    let swapped = |version: &str| WrappedDek {
        key_version: version.to_owned(),
        ..old.clone()
    };
    let [unwrap, rewrap] = errors(&provider, &swapped("2"));
    assert_says(&unwrap, KeyErrorKind::Corrupt, "does not open");
    assert_says(&rewrap, KeyErrorKind::Corrupt, "does not open");
    let [unwrap, rewrap] = errors(&provider, &swapped("3"));
    assert_says(&unwrap, KeyErrorKind::NotFound, "no such version");
    assert_says(&rewrap, KeyErrorKind::NotFound, "no such version");
}

#[test]
fn the_service_rewraps_for_one_who_may_not_unwrap() {
    let engine = Bao::shared().engine(&[]);
    let provider = engine.provider();
    let (dek, old) = provider.generate(&CONTEXT).unwrap();
    engine.rotate();
    let janitor = engine.open(&[("VAULT_TOKEN", &engine.token(&REWRAP_ONLY, &[]))]);
    let new = janitor.rewrap(&old, &CONTEXT).unwrap();
    assert_eq!(new.key_version, "2");
    assert!(provider.unwrap(&new, &CONTEXT).unwrap() == dek);
    let error = janitor.unwrap(&new, &CONTEXT).unwrap_err();
    let path = engine.path("decrypt");
    assert_says(&error, KeyErrorKind::Denied, &format!("update on {path}"));
}

#[test]
fn a_retired_version_is_revoked_and_says_so() {
    let engine = Bao::shared().engine(&[]);
    let provider = engine.provider();
    let (_dek, old) = provider.generate(&CONTEXT).unwrap();
    engine.rotate();
    engine.configure("min_decryption_version=2");
    for error in errors(&provider, &old) {
        assert_says(&error, KeyErrorKind::Revoked, "min_decryption_version");
    }
    assert_eq!(provider.probe().unwrap().versions, 1);
    engine.configure("min_decryption_version=1");
    assert!(provider.unwrap(&old, &CONTEXT).is_ok());
}

#[test]
fn a_deleted_key_is_not_found_and_not_made_again_by_a_wrap() {
    let engine = Bao::shared().engine(&[]);
    // One who may do everything: a policy would not let a wrap make a key.
    let root = engine
        .bao
        .admin(&["token", "create", "-field=token", "-policy=root"]);
    let provider = engine.open(&[("VAULT_TOKEN", &root)]);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    engine.configure("deletion_allowed=true");
    engine.bao.admin(&["delete", &engine.path("keys")]);
    for error in errors(&provider, &wrapped) {
        assert_says(&error, KeyErrorKind::NotFound, "no such key");
    }
    let error = provider.wrap(&dek, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::NotFound, "no such key");
    assert_says(
        &provider.probe().unwrap_err(),
        KeyErrorKind::NotFound,
        "no such key",
    );
}

#[test]
fn a_key_that_was_deleted_softly_is_revoked() {
    let engine = Bao::shared().engine(&[]);
    let provider = engine.provider();
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    engine
        .bao
        .admin(&["delete", &format!("{}/soft-delete", engine.path("keys"))]);
    for error in errors(&provider, &wrapped) {
        assert_says(&error, KeyErrorKind::Revoked, "can still be restored");
    }
    assert_says(
        &provider.probe().unwrap_err(),
        KeyErrorKind::Revoked,
        "restored",
    );
}

#[test]
fn what_no_policy_allows_is_denied_by_its_path() {
    let engine = Bao::shared().engine(&[]);
    let (dek, wrapped) = engine.provider().generate(&CONTEXT).unwrap();
    let poor = engine.open(&[("VAULT_TOKEN", &engine.token(&["keys"], &[]))]);
    for (error, operation) in [
        (poor.wrap(&dek, &CONTEXT).unwrap_err(), "datakey/plaintext"),
        (poor.unwrap(&wrapped, &CONTEXT).unwrap_err(), "decrypt"),
        (poor.rewrap(&wrapped, &CONTEXT).unwrap_err(), "rewrap"),
    ] {
        let says = format!("update on {}", engine.path(operation));
        assert_says(&error, KeyErrorKind::Denied, &says);
    }
    let stranger = engine.open(&[("VAULT_TOKEN", &engine.token(&["decrypt"], &[]))]);
    let error = stranger.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(
        &error,
        KeyErrorKind::Denied,
        &format!("read on {}", engine.path("keys")),
    );
}

#[test]
fn a_key_of_another_file_is_corrupt_and_says_so() {
    let engine = Bao::shared().engine(&[]);
    let provider = engine.provider();
    let other = EncryptionContext {
        file: Some(FileId([0x77; 16])),
        ..CONTEXT
    };
    let (_dek, wrapped) = provider.generate(&other).unwrap();
    for error in errors(&provider, &wrapped) {
        assert_says(&error, KeyErrorKind::Corrupt, "another file");
    }
}

#[test]
fn a_revoked_token_is_denied_with_what_to_do() {
    let engine = Bao::shared().engine(&[]);
    let token = engine.token(&ALL, &[]);
    let provider = engine.open(&[("VAULT_TOKEN", &token)]);
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    engine.bao.admin(&["token", "revoke", &token]);
    for error in errors(&provider, &wrapped) {
        assert_says(
            &error,
            KeyErrorKind::Denied,
            "expired or was revoked; set VAULT_TOKEN",
        );
        assert!(!error.to_string().contains(&token), "{error}");
    }
    let never = engine.open(&[("VAULT_TOKEN", "s.never")]);
    let error = never.generate(&CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Denied, "expired or was revoked");
}

#[test]
fn a_new_token_in_the_file_is_taken_once_the_old_one_is_refused() {
    let engine = Bao::shared().engine(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let old = engine.token(&ALL, &[]);
    std::fs::write(&file, &old).unwrap();
    let provider = engine.open(&[("VAULT_TOKEN_FILE", file.to_str().unwrap())]);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    engine.bao.admin(&["token", "revoke", &old]);
    let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Denied, "put a new one into");
    std::fs::write(&file, engine.token(&ALL, &[])).unwrap();
    assert!(eventually(|| provider.unwrap(&wrapped, &CONTEXT)).unwrap() == dek);
}

/// Asks until it is allowed: a token that is younger than a second is not given up at once.
fn eventually(ask: impl Fn() -> Result<SecretKey, KeyError>) -> Result<SecretKey, KeyError> {
    let begun = Instant::now();
    loop {
        match ask() {
            Err(error) if begun.elapsed() > Duration::from_secs(20) => return Err(error),
            Err(_denied) => thread::sleep(Duration::from_millis(100)),
            done @ Ok(_) => return done,
        }
    }
}

/// An AppRole that may use the engine; its role id and a secret id.
fn app_role(engine: &Engine<'_>, options: &[&str]) -> [String; 2] {
    static ENABLED: std::sync::Once = std::sync::Once::new();
    let bao = engine.bao;
    ENABLED.call_once(|| drop(bao.admin(&["auth", "enable", "approle"])));
    let role = format!("auth/approle/role/{}", engine.mount);
    let policies = format!("token_policies={}", engine.policy(&ALL));
    bao.admin(&[&["write", &role, &policies], options].concat());
    let id = bao.admin(&["read", "-field=role_id", &format!("{role}/role-id")]);
    let secret = [
        "write",
        "-f",
        "-field=secret_id",
        &format!("{role}/secret-id"),
    ];
    [id, bao.admin(&secret)]
}

#[test]
fn an_app_role_logs_in_and_again_once_its_token_is_revoked() {
    let engine = Bao::shared().engine(&[]);
    let [role_id, secret_id] = app_role(&engine, &[]);
    let provider = engine.open(&[("VAULT_ROLE_ID", &role_id), ("VAULT_SECRET_ID", &secret_id)]);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let token = provider.tokens.current().unwrap().reveal();
    engine.bao.admin(&["token", "revoke", &token]);
    assert!(eventually(|| provider.unwrap(&wrapped, &CONTEXT)).unwrap() == dek);
    assert_ne!(*provider.tokens.current().unwrap().reveal(), *token);
}

#[test]
fn a_refused_app_role_is_denied_and_its_secret_does_not_show() {
    let engine = Bao::shared().engine(&[]);
    let [role_id, secret_id] = app_role(&engine, &["secret_id_num_uses=1"]);
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("envelopefs.vault-role-id", &role_id),
        ("envelopefs.vault-secret-id", &secret_id),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let credentials = ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap());
    engine.open(&[credentials]).generate(&CONTEXT).unwrap();
    let error = engine.open(&[credentials]).generate(&CONTEXT).unwrap_err();
    assert_says(
        &error,
        KeyErrorKind::Denied,
        "AppRole login at auth/approle/login is refused",
    );
    assert!(!format!("{error} {error:?}").contains(&secret_id));
}

#[test]
fn a_token_of_an_idle_mount_is_renewed_until_the_mount_is_gone() {
    let engine = Bao::shared().engine(&[]);
    let token = engine.token(&ALL, &["-period=10s"]);
    let provider = engine.open(&[("VAULT_TOKEN", &token)]);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    thread::sleep(Duration::from_secs(12));
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    let tokens = Arc::downgrade(&provider.tokens);
    drop(provider);
    let begun = Instant::now();
    while tokens.strong_count() > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the thread goes on"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_token_that_cannot_be_renewed_is_used_to_its_end() {
    let engine = Bao::shared().engine(&[]);
    let token = engine.token(&ALL, &["-ttl=6s", "-renewable=false"]);
    let provider = engine.open(&[("VAULT_TOKEN", &token)]);
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let begun = Instant::now();
    while provider.unwrap(&wrapped, &CONTEXT).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(200));
    }
    let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Denied, "expired or was revoked");
}

#[test]
fn namespaces_come_from_the_uri_or_the_machine() {
    let bao = Bao::shared();
    bao.admin(&["namespace", "create", "team"]);
    bao.admin(&["secrets", "enable", "-namespace=team", "transit"]);
    bao.admin(&["write", "-f", "-namespace=team", "transit/keys/files"]);
    let root = bao.admin(&["token", "create", "-field=token", "-policy=root"]);
    let reach = failures::at(&bao.endpoint());
    let token = ("VAULT_TOKEN", root.as_str());
    let named = open(
        &"hashivault://files?namespace=team".parse().unwrap(),
        &reach,
        &[token],
    );
    let (dek, wrapped) = named.generate(&CONTEXT).unwrap();
    let here: KeyUri = "hashivault://files".parse().unwrap();
    let by_machine = open(&here, &reach, &[token, ("BAO_NAMESPACE", "team")]);
    assert!(by_machine.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    let error = open(&here, &reach, &[token])
        .unwrap(&wrapped, &CONTEXT)
        .unwrap_err();
    assert_says(&error, KeyErrorKind::NotFound, "no engine is mounted there");
    let nowhere = open(&here, &reach, &[token, ("BAO_NAMESPACE", "elsewhere")]);
    let error = nowhere.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::NotFound, "no such namespace");
}

#[test]
fn nothing_is_posted_to_an_engine_of_another_kind() {
    let bao = Bao::shared();
    bao.admin(&["secrets", "enable", "-path=shelf", "-version=1", "kv"]);
    let root = bao.admin(&["token", "create", "-field=token", "-policy=root"]);
    let reach = failures::at(&bao.endpoint());
    let uri = "hashivault://files?mount=shelf".parse().unwrap();
    let provider = open(&uri, &reach, &[("VAULT_TOKEN", &root)]);
    assert!(provider.generate(&CONTEXT).is_err());
    let (_dek, wrapped) = bao.engine(&[]).provider().generate(&CONTEXT).unwrap();
    for error in errors(&provider, &wrapped) {
        assert_says(&error, KeyErrorKind::NotFound, "no such key");
    }
    let list = bao.run(&["kv", "list", "shelf"]).status().unwrap();
    assert_eq!(list.code(), Some(2), "the shelf is empty");
}

#[test]
fn too_many_requests_are_no_refusal() {
    let engine = Bao::shared().engine(&[]);
    let provider = engine.provider();
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let quota = format!("sys/quotas/rate-limit/{}", engine.mount);
    let path = format!("path={}", engine.mount);
    engine
        .bao
        .admin(&["write", &quota, &path, "rate=1", "interval=60s"]);
    let error = (0..20).find_map(|_| provider.unwrap(&wrapped, &CONTEXT).err());
    assert_says(
        &error.unwrap(),
        KeyErrorKind::Unavailable,
        "too many requests",
    );
}

#[test]
fn a_sealed_server_is_unavailable_and_its_certificate_is_checked() {
    let bao = Bao::start(true);
    let engine = bao.engine(&[]);
    let provider = engine.provider();
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let token = engine.token(&ALL, &[]);
    let without_ca = Reach {
        ca: None,
        ..engine.reach()
    };
    let trusting = open(&engine.uri(), &without_ca, &[("VAULT_TOKEN", &token)]);
    let error = trusting.unwrap(&wrapped, &CONTEXT).unwrap_err();
    assert_says(&error, KeyErrorKind::Unavailable, "certificate");
    let ca = bao.ca();
    let [certificate, key] = bao.certificate();
    let by_machine = open(
        &engine.uri(),
        &without_ca,
        &[
            ("VAULT_TOKEN", token.as_str()),
            ("VAULT_CACERT", ca.to_str().unwrap()),
            ("VAULT_CLIENT_CERT", certificate.to_str().unwrap()),
            ("VAULT_CLIENT_KEY", key.to_str().unwrap()),
        ],
    );
    assert!(by_machine.unwrap(&wrapped, &CONTEXT).is_ok());
    bao.admin(&["operator", "seal"]);
    for error in errors(&provider, &wrapped) {
        assert_says(&error, KeyErrorKind::Unavailable, "unseal it");
    }
}

/// A server that logs pods in. Transit is not asked.
fn kubernetes(expected: &'static str) -> Double {
    Double::start(move |request| {
        assert_eq!(request.path, "/v1/auth/eu/k8s/login");
        let body = request.json();
        assert_eq!(body["role"], "files");
        if body["jwt"] != expected {
            let errors = serde_json::json!({"errors": ["permission denied"]});
            return double::json(403, &errors);
        }
        let auth = serde_json::json!({
            "client_token": "s.pod", "lease_duration": 3600, "renewable": true,
        });
        double::json(200, &serde_json::json!({ "auth": auth }))
    })
}

#[test]
fn a_pod_logs_in_by_its_service_account() {
    let folder = tempfile::tempdir().unwrap();
    let jwt = folder.path().join("jwt");
    std::fs::write(&jwt, "e.y.J\n").unwrap();
    let server = kubernetes("e.y.J");
    let reach = failures::at(&server.endpoint());
    let variables = [
        ("VAULT_K8S_ROLE", "files"),
        ("VAULT_K8S_TOKEN_FILE", jwt.to_str().unwrap()),
        ("VAULT_AUTH_PATH", "eu/k8s/"),
    ];
    let provider = open(&"hashivault://files".parse().unwrap(), &reach, &variables);
    let lease = provider.tokens.current().unwrap();
    assert_eq!(
        (lease.reveal().as_str(), lease.is_renewable()),
        ("s.pod", true)
    );
    std::fs::write(&jwt, "o.l.d").unwrap();
    let stranger = open(&"hashivault://files".parse().unwrap(), &reach, &variables);
    let error = stranger.probe().unwrap_err();
    assert_says(&error, KeyErrorKind::Denied, "Kubernetes login");
    assert!(!format!("{error} {error:?}").contains("o.l.d"));
}

#[test]
fn a_standby_server_that_sends_callers_on_is_named() {
    let standby = Double::start(|_request| {
        double::answer(307, &[("location", "https://active.example/v1/x")], b"")
    });
    let reach = failures::at(&standby.endpoint());
    let provider = open(
        &"hashivault://files".parse().unwrap(),
        &reach,
        &[("VAULT_TOKEN", "t")],
    );
    let error = provider.probe().unwrap_err();
    assert_says(&error, KeyErrorKind::Unavailable, "standby");
}

#[test]
fn it_is_described_by_key_and_address() {
    let provider = open(
        &"hashivault://files?address=https://vault.example:8200"
            .parse()
            .unwrap(),
        &Reach::default(),
        &[("VAULT_TOKEN", "t")],
    );
    assert_eq!(
        provider.describe(),
        "key files of transit at https://vault.example:8200"
    );
    assert_eq!(provider.uri().as_str(), "hashivault://files");
}
