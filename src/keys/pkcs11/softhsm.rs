//! SoftHSM2 for tests, each in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::{AuthPin, Date};

use super::{PinSource, Pkcs11Options, Pkcs11Provider, alone};
use crate::units::KeyUri;

/// Names the folder of the tokens, in the process of a test.
const HOME: &str = "ENVELOPEFS_TEST_SOFTHSM";
pub(crate) const PIN: &str = "648219";
pub(crate) const TOKEN: &str = "efs test";
pub(crate) const KEY: &str = "kek";

/// Runs a test in a process of its own, with a fresh token.
pub(crate) fn with_token<F: Fn(&SoftHsm)>(test: F) {
    if let Some(home) = std::env::var_os(HOME) {
        let hsm = SoftHsm { home: home.into() };
        hsm.add_token(TOKEN);
        return test(&hsm);
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("tokens")).unwrap();
    let config = home.path().join("softhsm2.conf");
    let tokens = home.path().join("tokens");
    let text = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&config, text).unwrap();
    let environment = [
        (HOME, home.path().as_os_str()),
        ("SOFTHSM2_CONF", config.as_os_str()),
    ];
    alone::run(&test, &environment);
}

/// The tokens of a test.
pub(crate) struct SoftHsm {
    home: PathBuf,
}

impl SoftHsm {
    /// The module; without it the test fails.
    pub(crate) fn module() -> PathBuf {
        let known = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib64/softhsm/libsofthsm2.so",
        ];
        let found = known.iter().map(PathBuf::from).find(|path| path.exists());
        found.expect("these tests need SoftHSM2: apt-get install softhsm2 (scripts/test.sh does)")
    }

    pub(crate) fn add_token(&self, label: &str) {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label])
            .args(["--so-pin", "87654321", "--pin", PIN])
            .output()
            .expect("these tests need softhsm2-util: apt-get install softhsm2");
        assert!(made.status.success(), "{made:?}");
    }

    fn tokens(&self) -> PathBuf {
        self.home.join("tokens")
    }

    /// Takes every token out of its slot.
    pub(crate) fn take_out(&self) {
        std::fs::rename(self.tokens(), self.home.join("away")).unwrap();
        std::fs::create_dir(self.tokens()).unwrap();
    }

    pub(crate) fn put_back(&self) {
        std::fs::remove_dir_all(self.tokens()).unwrap();
        std::fs::rename(self.home.join("away"), self.tokens()).unwrap();
    }

    pub(crate) fn options(&self, pin: &str) -> Pkcs11Options {
        options(&self.home, Self::module(), pin)
    }

    pub(crate) fn open(&self, path: &str) -> Pkcs11Provider {
        Pkcs11Provider::open(&uri(path), &self.options(PIN)).unwrap()
    }

    /// The URI of the token, with all that this machine has for it; the PIN is this one.
    pub(crate) fn token_uri(&self, pin: &str) -> KeyUri {
        let options = self.options(pin);
        let PinSource::File(pin) = options.pin else {
            unreachable!("the PIN is in a file")
        };
        uri(&format!(
            "token=efs%20test?module-path={}&pin-source={}",
            Self::module().display(),
            pin.display()
        ))
    }

    /// The provider of [`KEY`].
    pub(crate) fn provider(&self) -> Pkcs11Provider {
        self.open(&format!("token=efs%20test;object={KEY}"))
    }

    /// Runs `work` as another user of the token: a session that may write.
    pub(crate) fn as_admin<T>(&self, work: impl FnOnce(&Session) -> T) -> T {
        let pkcs11 = Pkcs11::new(Self::module()).unwrap();
        // Initialised already where a provider is open.
        drop(pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)));
        // A slot may be what is left of a token that was taken out.
        let slot = |slot: &_| {
            let info = pkcs11.get_token_info(*slot);
            info.is_ok_and(|info| info.label() == TOKEN)
        };
        let slots = pkcs11.get_slots_with_token().unwrap();
        let slot = slots.into_iter().find(slot).unwrap();
        let session = pkcs11.open_rw_session(slot).unwrap();
        let pin = AuthPin::from(PIN.to_owned());
        drop(session.login(UserType::User, Some(&pin)));
        work(&session)
    }

    pub(crate) fn add_aes(&self, id: &[u8], more: &[Attribute]) {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(KEY.into()),
            Attribute::Id(id.to_vec()),
            Attribute::ValueLen(32.into()),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
        ];
        let replaced = |one: &Attribute| {
            more.iter()
                .any(|other| other.attribute_type() == one.attribute_type())
        };
        template.retain(|one| !replaced(one));
        template.extend_from_slice(more);
        self.as_admin(|session| {
            session
                .generate_key(&Mechanism::AesKeyGen, &template)
                .unwrap()
        });
    }

    /// An RSA key pair of 2048 bits.
    pub(crate) fn add_rsa(&self, id: &[u8]) {
        let both = |class: [Attribute; 2]| {
            let mut template = vec![
                Attribute::Token(true),
                Attribute::Label(KEY.into()),
                Attribute::Id(id.to_vec()),
            ];
            template.extend(class);
            template
        };
        let mut public = both([Attribute::Encrypt(true), Attribute::Wrap(true)]);
        public.extend([
            Attribute::ModulusBits(2048.into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ]);
        let mut private = both([Attribute::Decrypt(true), Attribute::Unwrap(true)]);
        private.extend([Attribute::Private(true), Attribute::Sensitive(true)]);
        let call = Mechanism::RsaPkcsKeyPairGen;
        self.as_admin(|session| session.generate_key_pair(&call, &public, &private).unwrap());
    }

    /// Does something to each object of this class and id.
    pub(crate) fn change(
        &self,
        id: &[u8],
        class: ObjectClass,
        change: impl Fn(&Session, ObjectHandle),
    ) {
        self.as_admin(|session| {
            let template = [Attribute::Id(id.to_vec()), Attribute::Class(class)];
            let found = session.find_objects(&template).unwrap();
            assert!(!found.is_empty());
            found.iter().for_each(|object| change(session, *object));
        });
    }
}

/// What a machine has whose PIN file is in `home`.
pub(super) fn options(home: &Path, module: PathBuf, pin: &str) -> Pkcs11Options {
    use std::os::unix::fs::PermissionsExt;
    let file = home.join(format!("pin-{}", pin.len()));
    std::fs::write(&file, pin).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    Pkcs11Options {
        module: Some(module),
        pin: PinSource::File(file),
        ..Pkcs11Options::default()
    }
}

pub(crate) fn uri(path: &str) -> KeyUri {
    format!("pkcs11:{path}").parse().unwrap()
}

pub(crate) fn date(year: &str) -> Attribute {
    Attribute::StartDate(Date::new_from_str_slice(year, "01", "01").unwrap())
}
