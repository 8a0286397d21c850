//! The provider against PyKMIP's server, and against servers that misbehave.

mod misbehaviour;

use super::pykmip::Server;
use super::*;
use crate::keys::conformance::{self, CONTEXT, assert_hides};

pub(super) fn kind<T>(result: Result<T, KeyError>) -> (KeyErrorKind, String) {
    match result {
        Ok(_) => panic!("must be refused, and was not"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

#[test]
fn a_key_passes_the_suite_with_gcm() {
    let server = Server::start();
    let id = server.create("files");
    let provider = server.open("files");
    let health = provider.probe().unwrap();
    assert_eq!((health.key_version, health.versions), (id, 1));
    assert_eq!(health.mechanism, Some("AES-GCM"));
    assert_eq!(provider.generate(&CONTEXT).unwrap().1.bytes.len(), 62);
    conformance::provider_suite(&provider);
    assert!(!provider.is_local());
    assert_eq!(provider.client.idle(), 1, "one connection serves all calls");
}

#[test]
fn an_older_protocol_passes_the_suite_with_cbc_and_a_key_in_between() {
    let server = Server::start();
    server.create("files");
    for minor in [2, 3] {
        let provider = server.open("files");
        provider.client.speak(Version(minor));
        let health = provider.probe().unwrap();
        assert_eq!(health.mechanism, Some("AES-CBC and a key in between"));
        assert_eq!(provider.generate(&CONTEXT).unwrap().1.bytes.len(), 138);
        if minor == 3 {
            conformance::provider_suite(&provider);
        }
    }
}

#[test]
fn the_newest_protocol_is_agreed_on() {
    let server = Server::start();
    assert_eq!(server.open("x").client.version().unwrap(), Version::NEWEST);
}

#[test]
fn a_unique_identifier_names_a_key_too() {
    let server = Server::start();
    let id = server.create("files");
    let provider = server.open(&id);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    assert_eq!(wrapped.key_version, id);
    assert!(server.open("files").unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    let (why, text) = kind(server.open("nobody").generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::NotFound, "{text}");
    assert!(text.contains("nobody"), "{text}");
}

#[test]
fn the_newest_active_key_of_a_name_wraps_and_old_ones_unwrap() {
    let server = Server::start();
    let first = server.create("files");
    let provider = server.open("files");
    let (dek, old) = provider.generate(&CONTEXT).unwrap();
    assert_eq!(old.key_version, first);
    let second = server.create("files");
    server.admin("client", &["preactive", "files"]);
    // The new one is noticed with the next look.
    assert_eq!(provider.wrap(&dek, &CONTEXT).unwrap().key_version, first);
    let health = provider.probe().unwrap();
    assert_eq!((&health.key_version, health.versions), (&second, 3));
    let new = provider.rewrap(&old, &CONTEXT).unwrap();
    assert_eq!(new.key_version, second);
    for wrapped in [&old, &new] {
        assert!(provider.unwrap(wrapped, &CONTEXT).unwrap() == dek);
    }
    let mut swapped = old.clone();
    swapped.key_version = second.clone();
    assert_eq!(
        kind(provider.unwrap(&swapped, &CONTEXT)).0,
        KeyErrorKind::Corrupt
    );
    // Where the newest is revoked, the one before it wraps, without anyone's doing.
    server.admin("client", &["revoke", &second, "SUPERSEDED"]);
    assert_eq!(provider.wrap(&dek, &CONTEXT).unwrap().key_version, first);
    assert_eq!(
        kind(provider.unwrap(&new, &CONTEXT)).0,
        KeyErrorKind::Revoked
    );
    assert!(provider.unwrap(&old, &CONTEXT).unwrap() == dek);
}

#[test]
fn a_revoked_key_is_revoked_and_a_destroyed_one_is_not_found() {
    let server = Server::start();
    for (reason, word) in [
        ("CESSATION_OF_OPERATION", "deactivated"),
        ("KEY_COMPROMISE", "compromised"),
    ] {
        let id = server.create(reason);
        let provider = server.open(reason);
        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        server.admin("client", &["revoke", &id, reason]);
        for result in [
            provider.unwrap(&wrapped, &CONTEXT).map(drop),
            provider.wrap(&dek, &CONTEXT).map(drop),
            provider.probe().map(drop),
        ] {
            let (why, text) = kind(result);
            assert_eq!(why, KeyErrorKind::Revoked, "{text}");
            assert!(text.contains(word), "{text}");
        }
        server.admin("client", &["destroy", &id]);
        for result in [
            provider.unwrap(&wrapped, &CONTEXT).map(drop),
            provider.wrap(&dek, &CONTEXT).map(drop),
            provider.probe().map(drop),
        ] {
            let (why, text) = kind(result);
            assert_eq!(why, KeyErrorKind::NotFound, "{text}");
        }
    }
}

#[test]
fn keys_that_are_not_activated_may_not_encrypt_or_are_no_aes_keys_are_refused() {
    let server = Server::start();
    server.admin("client", &["preactive", "waiting"]);
    let (why, text) = kind(server.open("waiting").generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::Config, "{text}");
    assert!(text.contains("not activated"), "{text}");
    let register = |name: &str, key: [&str; 2], masks: &[&str]| {
        server.admin("client", &[&["register", name][..], &key, masks].concat());
        server.open(name)
    };
    let macs = register("macs", ["AES", "256"], &["MAC_GENERATE"]);
    let (why, text) = kind(macs.generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::Denied, "{text}");
    assert!(text.contains("Encrypt bit"), "{text}");
    let old = register("old", ["TRIPLE_DES", "192"], &["ENCRYPT", "DECRYPT"]);
    let (why, text) = kind(old.generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::Config, "{text}");
    assert!(text.contains("no AES key"), "{text}");
    for bits in ["128", "192"] {
        let short = register(
            &format!("aes{bits}"),
            ["AES", bits],
            &["ENCRYPT", "DECRYPT"],
        );
        let (dek, wrapped) = short.generate(&CONTEXT).unwrap();
        assert!(short.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    }
}

#[test]
fn another_client_s_key_is_denied() {
    let server = Server::start();
    server.certificates.issue("ca", "other", "client");
    server.create("files");
    let owner = server.open("files");
    let (_dek, wrapped) = owner.generate(&CONTEXT).unwrap();
    let other = server.open_as("files", "other");
    assert_eq!(
        kind(other.unwrap(&wrapped, &CONTEXT)).0,
        KeyErrorKind::Denied
    );
    // It does not even see the name.
    assert!(matches!(
        kind(other.generate(&CONTEXT)).0,
        KeyErrorKind::NotFound | KeyErrorKind::Denied
    ));
    assert!(owner.unwrap(&wrapped, &CONTEXT).is_ok());
}

#[test]
fn a_client_certificate_that_the_server_does_not_take_is_named_and_no_refusal() {
    let server = Server::start();
    server.create("files");
    server.certificates.authority("stranger");
    server.certificates.issue("stranger", "mallory", "client");
    let (why, text) = kind(server.open_as("files", "mallory").generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::Config, "{text}");
    assert!(
        text.contains("does not accept this host's certificate"),
        "{text}"
    );
    // One of its authority that is for servers only.
    server.certificates.issue("ca", "webserver", "server");
    let (why, text) = kind(server.open_as("files", "webserver").generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::Config, "{text}");
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let server = Server::start();
    server.create("files");
    server.certificates.authority("stranger");
    let mut files = server.certificates.files("client");
    files.ca = Some(KmipFile::File(server.certificates.path("stranger.pem")));
    let options = KmipOptions {
        files,
        ..KmipOptions::default()
    };
    let provider = KmipProvider::open(&server.uri("files"), &options).unwrap();
    let (why, text) = kind(provider.generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::Unavailable, "{text}");
    assert!(text.contains("ENVELOPEFS_KMIP_CA_FILE"), "{text}");
}

#[test]
fn missing_and_wrong_certificates_are_named() {
    let server = Server::start();
    let certificates = &server.certificates;
    let file = |name: &str| Some(KmipFile::File(certificates.path(name)));
    let good = certificates.files("client");
    std::fs::write(certificates.path("garbage"), "garbage").unwrap();
    std::fs::copy(
        certificates.path("client.key"),
        certificates.path("open.key"),
    )
    .unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(certificates.path("open.key"), open).unwrap();
    let private = |name: &str, from: &str| {
        std::fs::copy(certificates.path(from), certificates.path(name)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(certificates.path(name), mode).unwrap();
    };
    private("nokey", "client.pem");
    let with = |change: &dyn Fn(&mut KmipFiles)| {
        let mut files = good.clone();
        change(&mut files);
        files
    };
    for (files, word) in [
        (KmipFiles::default(), "ENVELOPEFS_KMIP_CA_FILE"),
        (
            with(&|files| files.cert = None),
            "ENVELOPEFS_KMIP_CERT_FILE",
        ),
        (with(&|files| files.key = None), "ENVELOPEFS_KMIP_KEY_FILE"),
        (with(&|files| files.ca = file("missing")), "missing"),
        (
            with(&|files| files.ca = file("garbage")),
            "holds no certificate",
        ),
        (
            with(&|files| files.cert = file("client.key")),
            "holds no certificate",
        ),
        (
            with(&|files| files.key = file("nokey")),
            "holds no private key",
        ),
        (
            with(&|files| files.key = file("server.key")),
            "is not the key of",
        ),
        (with(&|files| files.key = file("open.key")), "chmod 600"),
    ] {
        let options = KmipOptions {
            files,
            ..KmipOptions::default()
        };
        let provider = KmipProvider::open(&server.uri("files"), &options).unwrap();
        let (why, text) = kind(provider.generate(&CONTEXT));
        assert!(
            matches!(why, KeyErrorKind::Config | KeyErrorKind::NotFound),
            "{text}"
        );
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_server_that_was_down_is_used_again() {
    let mut server = Server::start();
    server.create("files");
    let provider = server.open("files");
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    server.stop();
    for _ in 0..2 {
        let (why, text) = kind(provider.unwrap(&wrapped, &CONTEXT));
        assert_eq!(why, KeyErrorKind::Unavailable, "{text}");
        assert!(text.contains(&server.port.to_string()), "{text}");
    }
    server.start_again();
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    // A connection that the server has closed meanwhile is opened anew within one call.
    assert_eq!(provider.client.idle(), 1);
    server.stop();
    server.start_again();
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
}

#[test]
fn many_threads_share_a_few_connections() {
    let server = Server::start();
    server.create("files");
    let provider = server.open("files");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
                    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
                }
            });
        }
    });
    assert!(provider.client.idle() <= 4);
}

#[test]
fn a_stored_uri_does_not_say_where_certificates_are() {
    let uri: KeyUri = "kmip://h/k?ca=/ca.pem".parse().unwrap();
    let refused = KmipProvider::open(&uri, &KmipOptions::default());
    let (why, text) = kind(refused);
    assert_eq!(why, KeyErrorKind::Config);
    assert!(text.contains("must not say"), "{text}");
}

#[test]
fn debug_shows_no_key() {
    let server = Server::start();
    server.create("files");
    let provider = server.open("files");
    let (dek, _wrapped) = provider.generate(&CONTEXT).unwrap();
    let text = format!("{provider:?} {}", provider.describe());
    assert_hides(&text, dek.expose());
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}
