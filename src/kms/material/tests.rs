//! Keys of every kind, with openssl as their judge. Here is what the tests of this room share.

mod curves;
mod keys;
mod rsa;
mod sm2;

use std::process::{Command, Output};
use std::sync::OnceLock;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use tempfile::TempDir;

use crate::kms::engine::KmsError;
use crate::kms::engine::error::ErrorKind;
use crate::kms::engine::model::KeySpec;
use crate::kms::material::Material;

/// Every spec there is.
pub(super) const SPECS: [KeySpec; 15] = [
    KeySpec::Aes128,
    KeySpec::Aes192,
    KeySpec::Aes256,
    KeySpec::EcP256,
    KeySpec::EcP256K,
    KeySpec::EcP384,
    KeySpec::EcSm2,
    KeySpec::Hmac224,
    KeySpec::Hmac256,
    KeySpec::Hmac384,
    KeySpec::Hmac512,
    KeySpec::Rsa2048,
    KeySpec::Rsa3072,
    KeySpec::Rsa4096,
    KeySpec::Sm4,
];

/// The openssl program, in a folder of its own.
pub(super) struct Openssl {
    folder: TempDir,
}

impl Openssl {
    pub(super) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn output(&self, arguments: &str) -> Output {
        Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .expect("these tests need openssl: apt-get install openssl (scripts/test.sh does)")
    }

    /// What it prints.
    pub(super) fn run(&self, arguments: &str) -> Vec<u8> {
        let output = self.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
        output.stdout
    }

    pub(super) fn refuses(&self, arguments: &str) {
        let output = self.output(arguments);
        assert!(!output.status.success(), "openssl {arguments}");
    }

    /// The key as `private.der` and `public.der`.
    pub(super) fn take(&self, key: &Material) {
        self.write("private.der", key.secret());
        self.write("public.der", key.public_key_der().unwrap());
    }

    /// A new private key as PKCS#8 in DER, with these options of `genpkey`.
    pub(super) fn private_key(&self, options: &str) -> Vec<u8> {
        self.run(&format!("genpkey -out made.pem {options}"));
        self.run("pkcs8 -topk8 -nocrypt -in made.pem -outform DER")
    }
}

/// One RSA-2048 key for all tests: it takes long to make.
pub(super) fn rsa_2048() -> &'static Material {
    static KEY: OnceLock<Material> = OnceLock::new();
    KEY.get_or_init(|| Material::generate(KeySpec::Rsa2048).unwrap())
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Every string that differs from `bytes` in one bit of one byte.
pub(super) fn one_bit_flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).map(move |place| {
        let mut changed = bytes.to_vec();
        changed[place] ^= 1 << (place % 8);
        changed
    })
}

/// Every beginning of `bytes` but the whole, and `bytes` with a byte more.
pub(super) fn other_lengths(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let longer = [bytes, &[0]].concat();
    (0..bytes.len())
        .map(move |len| bytes[..len].to_vec())
        .chain([longer])
}

pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, KmsError>, kind: ErrorKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}
