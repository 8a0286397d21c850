//! What must be refused: files that are no such keys, and wrapped keys that none of ours made.

use super::*;

const NOT_LOOKED_AT: [u8; 72] = [7; 72];

/// The answer to a public key file with these contents.
fn public(keys: &Keys, contents: &[u8]) -> (KeyErrorKind, String) {
    std::fs::write(keys.path("public.pem"), contents).unwrap();
    let dek = SecretKey::random().unwrap();
    kind(keys.open(&[]).wrap(&dek, &CONTEXT))
}

#[test]
fn public_keys_of_other_kinds_sizes_and_exponents_are_refused() {
    let keys = Keys::new();
    let rsa = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits";
    for (make, word) in [
        (format!("{rsa}:1024"), "too small"),
        (
            format!("{rsa}:2048 -pkeyopt rsa_keygen_pubexp:3"),
            "exponent",
        ),
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256".to_owned(),
            "no RSA key",
        ),
        ("genpkey -algorithm ED25519".to_owned(), "no RSA key"),
    ] {
        keys.openssl(&format!("{make} -out other.pem"));
        let (why, text) = public(&keys, &keys.openssl("pkey -in other.pem -pubout"));
        assert_eq!(why, KeyErrorKind::Config, "{make}");
        assert!(text.contains(word) && text.contains("public.pem"), "{text}");
    }
}

#[test]
fn a_public_key_that_no_slot_can_hold_is_refused() {
    use aws_lc_rs::encoding::AsDer;
    let spki = |len: usize| {
        let key = aws_lc_rs::rsa::PublicKeyComponents {
            n: vec![0xFF; len],
            e: vec![1, 0, 1],
        };
        AsDer::as_der(&key).unwrap().as_ref().to_vec()
    };
    assert!(PublicKey::of_spki(&spki(912)).is_ok());
    for len in [913, 1024, 2048] {
        let refused = PublicKey::of_spki(&spki(len)).unwrap_err();
        assert!(
            refused.contains("too large") && refused.contains("7296"),
            "{refused}"
        );
    }
}

#[test]
fn public_files_that_hold_something_else_are_refused_with_what_to_do() {
    let keys = Keys::with_pair();
    keys.openssl("req -x509 -new -key private.pem -subj /CN=x -days 2 -out certificate.pem");
    keys.openssl("rsa -in private.pem -RSAPublicKey_out -out pkcs1.pem");
    let read = |name: &str| std::fs::read(keys.path(name)).unwrap();
    let (good, private) = (read("public.pem"), read("private.pem"));
    for (contents, word) in [
        (private, "pkey -in"),
        (read("certificate.pem"), "openssl x509"),
        (read("pkcs1.pem"), "-RSAPublicKey_in"),
        (good.repeat(2), "more than the one"),
        (good[..good.len() / 2].to_vec(), "without its END"),
        (Vec::new(), "no PEM file"),
        (b"garbage \xff\n".repeat(50), "no PEM file"),
        (vec![b'x'; 70_000], "longer than 64 KiB"),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_vec(),
            "no RSA key",
        ),
        (
            b"-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----\n".to_vec(),
            "no RSA key",
        ),
    ] {
        let (why, text) = public(&keys, &contents);
        assert_eq!(why, KeyErrorKind::Config, "{text}");
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_running_writer_does_not_go_on_with_a_public_key_that_is_gone() {
    let keys = Keys::with_pair();
    let writer = keys.open(&[]);
    let (dek, _wrapped) = writer.generate(&CONTEXT).unwrap();
    std::fs::write(keys.path("public.pem"), "garbage").unwrap();
    assert_eq!(kind(writer.wrap(&dek, &CONTEXT)).0, KeyErrorKind::Config);
    std::fs::remove_file(keys.path("public.pem")).unwrap();
    assert_eq!(kind(writer.wrap(&dek, &CONTEXT)).0, KeyErrorKind::NotFound);
    assert_eq!(kind(writer.probe()).0, KeyErrorKind::NotFound);
}

#[test]
fn a_public_key_that_others_may_change_is_refused() {
    let keys = Keys::with_pair();
    for mode in [0o664, 0o646] {
        set_mode(&keys.path("public.pem"), mode);
        let (why, text) = kind(keys.open(&[]).generate(&CONTEXT));
        assert_eq!(why, KeyErrorKind::Config);
        assert!(text.contains("chmod go-w"), "{text}");
    }
}

#[test]
fn private_keys_that_cannot_be_used_are_refused_with_what_to_do() {
    let keys = Keys::with_pair();
    let (_dek, wrapped) = keys.open(&[]).generate(&CONTEXT).unwrap();
    let read = |name: &str| std::fs::read(keys.path(name)).unwrap();
    for (name, make) in [
        (
            "encrypted.pem",
            "pkcs8 -topk8 -in private.pem -passout pass:word -out encrypted.pem",
        ),
        (
            "legacy.pem",
            "rsa -in private.pem -traditional -aes128 -passout pass:word -out legacy.pem",
        ),
        (
            "pkcs1.pem",
            "rsa -in private.pem -traditional -out pkcs1.pem",
        ),
        (
            "ec.pem",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem",
        ),
        (
            "small.pem",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.pem",
        ),
    ] {
        keys.openssl(make);
        assert!(keys.path(name).exists());
    }
    let good = read("private.pem");
    let cut = [&good[..200], b"\n-----END PRIVATE KEY-----\n"].concat();
    for (name, contents, word) in [
        ("a", read("encrypted.pem"), "openssl pkey -in"),
        ("b", read("legacy.pem"), "openssl pkey -in"),
        ("c", read("pkcs1.pem"), "openssl pkcs8 -topk8"),
        ("d", read("ec.pem"), "no RSA key"),
        ("e", read("small.pem"), "too small"),
        ("f", read("public.pem"), "holds no private key"),
        ("g", b"garbage".to_vec(), "holds no private key"),
        ("h", cut, "base64"),
        ("i", good[..200].to_vec(), "without its END"),
    ] {
        std::fs::write(keys.path(name), &contents).unwrap();
        set_mode(&keys.path(name), 0o600);
        let (why, text) = kind(keys.open(&[name]).unwrap(&wrapped, &CONTEXT));
        assert_eq!(why, KeyErrorKind::Config, "{text}");
        assert!(text.contains(word), "{word}: {text}");
        // One source that is of no use does not keep the others from serving.
        assert!(
            keys.open(&[name, "private.pem"])
                .unwrap(&wrapped, &CONTEXT)
                .is_ok()
        );
    }
    let (why, text) = kind(keys.open(&["missing"]).unwrap(&wrapped, &CONTEXT));
    assert_eq!(
        (why, text.contains("missing")),
        (KeyErrorKind::Config, true)
    );
}

#[test]
fn a_private_key_that_others_may_read_is_refused() {
    let keys = Keys::with_pair();
    let (_dek, wrapped) = keys.open(&[]).generate(&CONTEXT).unwrap();
    for mode in [0o640, 0o604, 0o644, 0o660, 0o777] {
        set_mode(&keys.path("private.pem"), mode);
        let (why, text) = kind(keys.open(&["private.pem"]).unwrap(&wrapped, &CONTEXT));
        assert_eq!(why, KeyErrorKind::Config, "{mode:o}");
        assert!(text.contains("chmod 600"), "{mode:o}: {text}");
    }
}

#[test]
fn a_wrap_of_another_key_does_not_open_under_this_one_s_version() {
    let keys = Keys::with_pair();
    keys.add_pair("-other", 2048);
    let (_dek, mut wrapped) = keys.open(&[]).generate(&CONTEXT).unwrap();
    std::fs::rename(keys.path("public-other.pem"), keys.path("public.pem")).unwrap();
    let other = keys.open(&["private-other.pem"]);
    assert_eq!(
        kind(other.unwrap(&wrapped, &CONTEXT)).0,
        KeyErrorKind::NotFound
    );
    wrapped.key_version = other.probe().unwrap().key_version;
    assert_eq!(
        kind(other.unwrap(&wrapped, &CONTEXT)).0,
        KeyErrorKind::Corrupt
    );
}

#[test]
fn ciphertexts_of_other_paddings_hashes_labels_and_lengths_are_refused() {
    let keys = Keys::with_pair();
    let provider = keys.open(&["private.pem"]);
    let public = provider.public.current().unwrap();
    let secret = [5; 32];
    let sha1 = OAEP.replace("sha256", "sha1");
    let mut wrong = vec![
        keys.encrypted(&secret, "-pkeyopt rsa_padding_mode:pkcs1"),
        keys.encrypted(&secret, &sha1),
        keys.encrypted(&secret, &OAEP.replace("mgf1_md:sha256", "mgf1_md:sha1")),
        keys.encrypted(&secret, &format!("{OAEP} -pkeyopt rsa_oaep_label:00ff")),
        keys.encrypted(&[0; 256], "-pkeyopt rsa_padding_mode:none"),
        vec![0; 256],
        vec![0xFF; 256],
        vec![1; 255],
        vec![1; 257],
    ];
    for len in [0, 1, 31, 33, 64] {
        wrong.push(keys.encrypted(&vec![5; len], OAEP));
    }
    for by_key in &wrong {
        let blob = Blob {
            mechanism: Mechanism::OaepSha256,
            by_token: by_key,
            sealed: &NOT_LOOKED_AT,
        };
        let wrapped = WrappedDek {
            key_version: public.version(),
            bytes: blob.encode(),
        };
        let (why, text) = kind(provider.unwrap(&wrapped, &CONTEXT));
        assert_eq!(why, KeyErrorKind::Corrupt, "{text}");
        assert!(text.contains("does not open"), "one answer to all: {text}");
    }
}

#[test]
fn mechanisms_of_tokens_alone_are_refused() {
    let keys = Keys::with_pair();
    let provider = keys.open(&["private.pem"]);
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    for number in [0, 1, 2, 3, 5, 6, 255] {
        let mut other = wrapped.clone();
        other.bytes[1] = number;
        assert_eq!(
            kind(provider.unwrap(&other, &CONTEXT)).0,
            KeyErrorKind::Corrupt,
            "{number}"
        );
    }
    for version in [
        "",
        "0123456789abcde",
        "0123456789ABCDEF",
        "0123456789abcdefg",
    ] {
        let other = WrappedDek {
            key_version: version.to_owned(),
            ..wrapped.clone()
        };
        assert_eq!(
            kind(provider.unwrap(&other, &CONTEXT)).0,
            KeyErrorKind::Corrupt,
            "{version}"
        );
    }
}
