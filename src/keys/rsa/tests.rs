//! The provider, with keys that openssl makes and openssl as the judge of what it wraps.

mod refusals;
mod token;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::keys::conformance::{self, CONTEXT, assert_hides};

/// A folder of keys.
pub(super) struct Keys {
    folder: TempDir,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    /// With a key pair of 2048 bits: `public.pem` and `private.pem`.
    pub(super) fn with_pair() -> Self {
        let keys = Self::new();
        keys.add_pair("", 2048);
        keys
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `public<suffix>.pem` and `private<suffix>.pem`.
    pub(super) fn add_pair(&self, suffix: &str, bits: usize) {
        let (public, private) = (
            format!("public{suffix}.pem"),
            format!("private{suffix}.pem"),
        );
        self.openssl(&format!(
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -out {private}"
        ));
        self.openssl(&format!("pkey -in {private} -pubout -out {public}"));
        set_mode(&self.path(&private), 0o600);
        set_mode(&self.path(&public), 0o644);
    }

    /// Runs openssl in the folder; gives what it prints.
    pub(super) fn openssl(&self, arguments: &str) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .expect("these tests need openssl: apt-get install openssl (scripts/test.sh does)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
        output.stdout
    }

    /// Encrypts by the public key, with these options of `pkeyutl`.
    pub(super) fn encrypted(&self, plain: &[u8], options: &str) -> Vec<u8> {
        std::fs::write(self.path("plain"), plain).unwrap();
        self.openssl(&format!(
            "pkeyutl -encrypt -pubin -inkey public.pem -in plain {options}"
        ))
    }

    pub(super) fn uri(&self) -> KeyUri {
        format!("rsa:{}", self.path("public.pem").display())
            .parse()
            .unwrap()
    }

    /// A provider with these private key files.
    pub(super) fn open(&self, private: &[&str]) -> RsaProvider {
        self.open_uri(&self.uri(), private)
    }

    pub(super) fn open_uri(&self, uri: &KeyUri, private: &[&str]) -> RsaProvider {
        let file = |name: &&str| PrivateKeySource::File(self.path(name));
        let options = RsaOptions {
            private_keys: private.iter().map(file).collect(),
            ..RsaOptions::default()
        };
        RsaProvider::open(uri, &options, &Pkcs11Options::default()).unwrap()
    }
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn kind<T>(result: Result<T, KeyError>) -> (KeyErrorKind, String) {
    match result {
        Ok(_) => panic!("must be refused, and was not"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

const OAEP: &str =
    "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256";

#[test]
fn a_key_pair_passes_the_suite() {
    let keys = Keys::with_pair();
    let provider = keys.open(&["private.pem"]);
    conformance::provider_suite(&provider);
    let health = provider.probe().unwrap();
    assert_eq!(health.mechanism, Some("RSA-OAEP SHA-256"));
    let wrapped = provider.generate(&CONTEXT).unwrap().1;
    assert_eq!(wrapped.bytes.len(), 2 + 256 + 72);
    assert!(!provider.is_local());
}

#[test]
fn sha_1_where_the_uri_says_so_passes_the_suite() {
    let keys = Keys::with_pair();
    let uri = format!("{};oaep=sha1", keys.uri()).parse().unwrap();
    let provider = keys.open_uri(&uri, &["private.pem"]);
    conformance::provider_suite(&provider);
    let health = provider.probe().unwrap();
    assert_eq!(health.mechanism, Some("RSA-OAEP SHA-1"));
}

#[test]
fn each_size_wraps_and_unwraps() {
    let keys = Keys::new();
    for bits in [2048, 3072, 4096] {
        keys.add_pair("", bits);
        let provider = keys.open(&["private.pem"]);
        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        assert_eq!(wrapped.bytes.len(), 2 + bits / 8 + 72);
        assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    }
}

#[test]
fn openssl_unwraps_what_is_wrapped() {
    let keys = Keys::with_pair();
    let provider = keys.open(&[]);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let blob = Blob::parse(&wrapped.bytes).unwrap();
    std::fs::write(keys.path("wrapped"), blob.by_token).unwrap();
    let between = keys.openssl(&format!(
        "pkeyutl -decrypt -inkey private.pem -in wrapped {OAEP}"
    ));
    assert_eq!(between.len(), 32);
    // The rest is as docs/FORMAT.md says.
    let spki = keys.openssl("pkey -pubin -in public.pem -outform DER");
    let fingerprint: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(spki).into();
    let bound = [&[1, 4][..], &fingerprint].concat();
    let aad = [
        &b"rsa\0"[..],
        &34_u32.to_be_bytes(),
        &bound,
        &CONTEXT.encode(),
    ]
    .concat();
    assert!(between::open(&between, &aad, blob.sealed).unwrap() == dek);
}

#[test]
fn what_openssl_wraps_is_unwrapped() {
    let keys = Keys::with_pair();
    let provider = keys.open(&["private.pem"]);
    let public = provider.public.current().unwrap();
    let dek = SecretKey::random().unwrap();
    let aad = aad(
        SCHEME,
        Mechanism::OaepSha256,
        public.fingerprint(),
        &CONTEXT,
    );
    let sealed =
        between::seal::<_, KeyError>(&dek, &aad, |secret| Ok(keys.encrypted(secret, OAEP)));
    let (by_key, sealed) = sealed.unwrap();
    let blob = Blob {
        mechanism: Mechanism::OaepSha256,
        by_token: &by_key,
        sealed: &sealed,
    };
    let wrapped = WrappedDek {
        key_version: public.version(),
        bytes: blob.encode(),
    };
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
}

#[test]
fn a_version_is_the_beginning_of_what_openssl_says_of_the_key() {
    let keys = Keys::with_pair();
    std::fs::write(
        keys.path("public.der"),
        keys.openssl("pkey -pubin -in public.pem -outform DER"),
    )
    .unwrap();
    let digest = String::from_utf8(keys.openssl("dgst -sha256 -r public.der")).unwrap();
    let version = keys.open(&[]).probe().unwrap().key_version;
    assert_eq!(version.len(), 16);
    assert!(digest.starts_with(&version), "{version} {digest}");
    assert!(public::is_version(&version));
}

#[test]
fn a_host_without_the_private_key_writes_and_does_not_read() {
    let keys = Keys::with_pair();
    let writer = keys.open(&[]);
    let (dek, wrapped) = writer.generate(&CONTEXT).unwrap();
    let (why, text) = kind(writer.unwrap(&wrapped, &CONTEXT));
    assert_eq!(why, KeyErrorKind::Denied);
    for word in [
        "public.pem",
        "ENVELOPEFS_RSA_PRIVATE_KEY_FILE",
        &wrapped.key_version,
    ] {
        assert!(text.contains(word), "{text}");
    }
    let health = writer.probe().unwrap();
    assert_eq!(
        health.mechanism,
        Some("RSA-OAEP SHA-256, no private key here")
    );
    // Nor does a reader need the public key.
    std::fs::remove_file(keys.path("public.pem")).unwrap();
    let reader = keys.open(&["private.pem"]);
    assert!(reader.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    assert_eq!(kind(reader.wrap(&dek, &CONTEXT)).0, KeyErrorKind::NotFound);
}

#[test]
fn a_new_public_key_in_the_file_is_a_new_version() {
    let keys = Keys::with_pair();
    keys.add_pair("-new", 2048);
    let writer = keys.open(&[]);
    let (dek, old) = writer.generate(&CONTEXT).unwrap();
    std::fs::rename(keys.path("public-new.pem"), keys.path("public.pem")).unwrap();
    let new = writer.wrap(&dek, &CONTEXT).unwrap();
    assert_ne!(old.key_version, new.key_version);
    assert_eq!(new.key_version, writer.probe().unwrap().key_version);

    let both = |private: &[&str]| {
        let reader = keys.open(private);
        [&old, &new].map(|wrapped| reader.unwrap(wrapped, &CONTEXT).map(|found| found == dek))
    };
    // In two files, or in one.
    assert!(matches!(
        both(&["private-new.pem", "private.pem"]),
        [Ok(true), Ok(true)]
    ));
    let bundle = [keys.path("private.pem"), keys.path("private-new.pem")];
    let bundle = bundle.map(|path| std::fs::read(path).unwrap()).concat();
    std::fs::write(keys.path("both.pem"), bundle).unwrap();
    set_mode(&keys.path("both.pem"), 0o600);
    assert!(matches!(both(&["both.pem"]), [Ok(true), Ok(true)]));
    let [first, second] = both(&["private.pem"]);
    assert!(first.unwrap());
    let (why, text) = kind(second);
    assert_eq!(why, KeyErrorKind::NotFound);
    assert!(text.contains(&new.key_version), "{text}");
}

#[test]
fn a_private_key_that_comes_later_is_found() {
    let keys = Keys::with_pair();
    keys.add_pair("-new", 2048);
    let running = keys.open(&["private.pem"]);
    let (_dek, wrapped) = running.generate(&CONTEXT).unwrap();
    running.unwrap(&wrapped, &CONTEXT).unwrap();
    std::fs::rename(keys.path("public-new.pem"), keys.path("public.pem")).unwrap();
    let (dek, new) = running.generate(&CONTEXT).unwrap();
    assert_eq!(
        kind(running.unwrap(&new, &CONTEXT)).0,
        KeyErrorKind::NotFound
    );
    std::fs::rename(keys.path("private-new.pem"), keys.path("private.pem")).unwrap();
    let start = std::time::Instant::now();
    while running.unwrap(&new, &CONTEXT).is_err() {
        assert!(start.elapsed().as_secs() < 20, "the new key is not found");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(running.unwrap(&new, &CONTEXT).unwrap() == dek);
}

#[test]
fn what_was_said_for_one_key_outranks_what_holds_for_all() {
    let keys = Keys::with_pair();
    let given: KeyUri = format!(
        "{}?private-key={}",
        keys.uri(),
        keys.path("private.pem").display()
    )
    .parse()
    .unwrap();
    let (stored, sources) = super::given(&given).unwrap();
    let options = RsaOptions {
        private_keys: vec![PrivateKeySource::File("/nonexistent".into())],
        of_key: [(stored.clone(), sources)].into(),
    };
    let provider = RsaProvider::open(&stored, &options, &Pkcs11Options::default()).unwrap();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    let refused = RsaProvider::open(&given, &options, &Pkcs11Options::default());
    assert_eq!(kind(refused).0, KeyErrorKind::Config);
}

#[test]
fn debug_shows_no_key() {
    let keys = Keys::with_pair();
    let provider = keys.open(&["private.pem"]);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    provider.unwrap(&wrapped, &CONTEXT).unwrap();
    let text = format!("{provider:?} {}", provider.describe());
    assert_hides(&text, dek.expose());
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}
