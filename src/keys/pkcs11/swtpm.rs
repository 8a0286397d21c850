//! tpm2-pkcs11 on swtpm, a TPM in software, for tests, each in a process of its own.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::softhsm::{KEY, PIN, TOKEN, options, uri};
use super::{Pkcs11Provider, alone};
use crate::crypto::random;

/// Name the folder of the TPM and its port, in the process of a test.
const HOME: &str = "ENVELOPEFS_TEST_SWTPM";
const PORT: &str = "ENVELOPEFS_TEST_SWTPM_PORT";
const START_MAX: Duration = Duration::from_secs(60);

/// Runs a test in a process of its own, with a TPM that holds a token and nothing in it.
pub(super) fn with_tpm<F: Fn(&Tpm)>(test: F) {
    if let Some(home) = std::env::var_os(HOME) {
        let port = std::env::var(PORT).unwrap().parse().unwrap();
        let tpm = Tpm {
            home: home.into(),
            port,
            swtpm: RefCell::default(),
        };
        tpm.start();
        tpm.add_token();
        return test(&tpm);
    }
    let home = tempfile::tempdir().unwrap();
    for folder in ["state", "store"] {
        std::fs::create_dir(home.path().join(folder)).unwrap();
    }
    let (port, store) = (free_ports(), home.path().join("store"));
    let (text, tcti) = (port.to_string(), tcti(port));
    let environment = [
        (HOME, home.path().as_os_str()),
        (PORT, OsStr::new(&text)),
        ("TPM2_PKCS11_BACKEND", OsStr::new("esysdb")),
        ("TPM2_PKCS11_STORE", store.as_os_str()),
        ("TPM2_PKCS11_TCTI", OsStr::new(&tcti)),
    ];
    alone::run(&test, &environment);
}

/// How the TPM at this port is reached, as tpm2-tss has it.
fn tcti(port: u16) -> String {
    format!("swtpm:host=127.0.0.1,port={port}")
}

/// A port that is free, as is the next one: swtpm listens on both. Below those that the system gives out.
fn free_ports() -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let both = |port: &u16| free(*port) && free(*port + 1);
    let mut ports =
        std::iter::repeat_with(|| 20_000 + u16::from_le_bytes(random::array()) % 12_000);
    ports.find(both).unwrap()
}

/// The TPM of a test.
pub(super) struct Tpm {
    home: PathBuf,
    port: u16,
    swtpm: RefCell<Option<Child>>,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Tpm {
    /// The module; without it the test fails.
    pub(super) fn module() -> PathBuf {
        let known = [
            "/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1",
            "/usr/lib/aarch64-linux-gnu/libtpm2_pkcs11.so.1",
            "/usr/lib64/libtpm2_pkcs11.so.1",
        ];
        let found = known.iter().map(PathBuf::from).find(|path| path.exists());
        found.expect(
            "these tests need tpm2-pkcs11: apt-get install libtpm2-pkcs11-1 (scripts/test.sh does)",
        )
    }

    /// Switches the TPM on, with the state that it was left in.
    pub(super) fn start(&self) {
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.home.join("state").display()))
            .args(["--server", &self.listen(0), "--ctrl", &self.listen(1)])
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need swtpm: apt-get install swtpm (scripts/test.sh does)");
        *self.swtpm.borrow_mut() = Some(child);
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port + 1)).is_err() {
            assert!(started.elapsed() < START_MAX, "swtpm does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn listen(&self, nth: u16) -> String {
        let port = self.port + nth;
        format!("type=tcp,port={port},bindaddr=127.0.0.1")
    }

    /// Takes its power away.
    pub(super) fn stop(&self) {
        if let Some(mut child) = self.swtpm.borrow_mut().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The objects and sessions that are loaded.
    pub(super) fn holds(&self) -> [String; 2] {
        ["handles-transient", "handles-loaded-session"].map(|capability| self.says(capability))
    }

    /// What the TPM says of itself.
    fn says(&self, capability: &str) -> String {
        let output = Command::new("tpm2_getcap")
            .arg(capability)
            .env("TPM2TOOLS_TCTI", tcti(self.port))
            .output()
            .expect(
                "these tests need tpm2_getcap: apt-get install tpm2-tools (scripts/test.sh does)",
            );
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// How many wrong authorisations the TPM has counted: at its most it locks itself.
    pub(super) fn wrong_tries(&self) -> u32 {
        let text = self.says("properties-variable");
        let line = text.lines().find(|line| line.contains("LOCKOUT_COUNTER"));
        let value = line.unwrap().split("0x").nth(1).unwrap();
        u32::from_str_radix(value.trim(), 16).unwrap()
    }

    pub(super) fn open(&self, pin: &str) -> Pkcs11Provider {
        let uri = uri(&format!("token=efs%20test;object={KEY}"));
        Pkcs11Provider::open(&uri, &options(&self.home, Self::module(), pin)).unwrap()
    }

    fn add_token(&self) {
        const SO_PIN: &str = "87654321";
        tool(&[
            "--slot-index",
            "0",
            "--init-token",
            "--label",
            TOKEN,
            "--so-pin",
            SO_PIN,
        ]);
        let as_so = ["--token-label", TOKEN, "--login", "--login-type", "so"];
        let new = ["--so-pin", SO_PIN, "--init-pin", "--pin", PIN];
        tool(&[&as_so[..], &new].concat());
    }

    /// An RSA key pair in the TPM.
    pub(super) fn add_key(&self, id: &str) {
        let login = ["--token-label", TOKEN, "--login", "--pin", PIN];
        let key = [
            "--keypairgen",
            "--key-type",
            "rsa:2048",
            "--label",
            KEY,
            "--id",
            id,
        ];
        tool(&[&login[..], &key].concat());
    }
}

/// What a TPM and a token in it are made with: by another process, since a TPM holds three objects at
/// once, and this one is to have none of them.
fn tool(arguments: &[&str]) {
    let made = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(Tpm::module())
        .args(arguments)
        .output()
        .expect("these tests need pkcs11-tool: apt-get install opensc (scripts/test.sh does)");
    assert!(made.status.success(), "{made:?}");
}
