//! A volume whose key is in a TPM: swtpm, through tpm2-pkcs11.

use crate::documents::free_ports;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::harness::{Unmounts, Volume, errno, refuses, run, set_mode, wait_until};

const MODULE: &str = "/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1";
const PIN: &str = "648219";
const KEY: &str = "pkcs11:token=live;object=files";
const KEY_DENIED: i32 = 12;
const KEY_UNAVAILABLE: i32 = 13;

/// A TPM with an RSA key, and a volume that the key opens.
struct Tpm {
    volume: Volume,
    port: u16,
    swtpm: Option<Child>,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        self.switch_off();
    }
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

impl Tpm {
    fn new() -> Self {
        assert!(
            Path::new(MODULE).exists(),
            "these tests need tpm2-pkcs11: apt-get install libtpm2-pkcs11-1 swtpm tpm2-tools opensc (scripts/test.sh live does)"
        );
        let mut tpm = Self {
            volume: Volume::unmade(),
            port: free_ports(2)[0].parse().unwrap(),
            swtpm: None,
        };
        for folder in ["state", "store"] {
            fs::create_dir(tpm.home().join(folder)).unwrap();
        }
        tpm.switch_on();
        tpm.write_pin(PIN);
        let so = ["--so-pin", "87654321"];
        tpm.tool(
            &[
                &["--slot-index", "0", "--init-token", "--label", "live"][..],
                &so,
            ]
            .concat(),
        );
        let as_so = ["--token-label", "live", "--login", "--login-type", "so"];
        tpm.tool(&[&as_so[..], &so, &["--init-pin", "--pin", PIN]].concat());
        let as_user = ["--token-label", "live", "--login", "--pin", PIN];
        let key = [
            "--keypairgen",
            "--key-type",
            "rsa:2048",
            "--label",
            "files",
            "--id",
            "01",
        ];
        tpm.tool(&[&as_user[..], &key].concat());
        tpm
    }

    fn home(&self) -> &Path {
        self.volume.home()
    }

    fn pin_file(&self) -> PathBuf {
        self.home().join("pin")
    }

    fn write_pin(&self, pin: &str) {
        fs::write(self.pin_file(), pin).unwrap();
        set_mode(&self.pin_file(), 0o600);
    }

    fn switch_on(&mut self) {
        let listen = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.home().join("state").display()))
            .args([
                "--server",
                &listen(self.port),
                "--ctrl",
                &listen(self.port + 1),
            ])
            .spawn()
            .expect("these tests need swtpm: apt-get install swtpm (scripts/test.sh live does)");
        self.swtpm = Some(swtpm);
        wait_until("the TPM to start", || answers(self.port + 1));
    }

    fn switch_off(&mut self) {
        if let Some(mut swtpm) = self.swtpm.take() {
            swtpm.kill().unwrap();
            swtpm.wait().unwrap();
        }
    }

    fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// A command that finds the TPM; module and PIN are none of its environment.
    fn with<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("TPM2_PKCS11_BACKEND", "esysdb")
            .env("TPM2_PKCS11_STORE", self.home().join("store"))
            .env("TPM2_PKCS11_TCTI", self.tcti())
            .env_remove("ENVELOPEFS_PKCS11_MODULE")
            .env_remove("ENVELOPEFS_PKCS11_PIN_FILE")
    }

    fn tool(&self, arguments: &[&str]) {
        let mut tool = Command::new("pkcs11-tool");
        tool.args(["--module", MODULE]).args(arguments);
        run(self.with(&mut tool));
    }

    /// The objects and sessions that are loaded.
    fn holds(&self) -> [String; 2] {
        ["handles-transient", "handles-loaded-session"].map(|capability| self.says(capability))
    }

    /// What the TPM says of itself.
    fn says(&self, capability: &str) -> String {
        let mut tool = Command::new("tpm2_getcap");
        run(tool.arg(capability).env("TPM2TOOLS_TCTI", self.tcti()))
    }

    /// How many wrong authorisations it has counted: at its most it locks itself.
    fn wrong_tries(&self) -> u32 {
        let said = self.says("properties-variable");
        let line = said.lines().find(|line| line.contains("LOCKOUT_COUNTER"));
        let value = line.unwrap().split("0x").nth(1).unwrap();
        u32::from_str_radix(value.trim(), 16).unwrap()
    }

    /// The key, and where this machine has its module and its PIN.
    fn key(&self) -> String {
        format!(
            "{KEY}?module-path={MODULE}&pin-source={}",
            self.pin_file().display()
        )
    }

    fn init(&self) {
        let mut init = self.volume.envelopefs("init");
        init.args(["--key", &self.key(), "--header-size", "2048"]);
        run(self.with(init.arg(self.volume.cipher_dir())));
    }

    fn mount_command(&self) -> Command {
        let mut mount = self.volume.mount_command(&["--key", &self.key()]);
        self.with(&mut mount);
        mount
    }

    fn mount(&self) -> Unmounts {
        run(&mut self.mount_command());
        Unmounts(self.volume.mountpoint())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.volume.mountpoint().join(name)
    }
}

#[test]
fn a_volume_lives_by_a_key_in_a_tpm() {
    let mut tpm = Tpm::new();
    // Making keys leaves something there.
    let before = tpm.holds();
    tpm.init();
    let _unmounts = tpm.mount();
    for number in 0..5 {
        fs::write(tpm.path(&format!("f{number}")), vec![number; 9000]).unwrap();
    }
    let status = run(tpm.volume.envelopefs("status").arg(tpm.volume.mountpoint()));
    assert!(
        status.contains("key version 01, RSA-OAEP SHA-256"),
        "{status}"
    );
    tpm.volume.unmount();
    // It has room for three objects and three sessions.
    wait_until("the TPM to be left as it was", || tpm.holds() == before);

    tpm.switch_off();
    refuses(
        &mut tpm.mount_command(),
        KEY_UNAVAILABLE,
        &["libtpm2_pkcs11"],
    );
    tpm.switch_on();
    let _again = tpm.mount();
    for number in 0..5 {
        let content = fs::read(tpm.path(&format!("f{number}"))).unwrap();
        assert_eq!(content, vec![number; 9000]);
    }
    tpm.volume.unmount();
}

#[test]
fn a_wrong_pin_reaches_the_tpm_once() {
    let tpm = Tpm::new();
    tpm.init();
    let before = tpm.wrong_tries();
    tpm.write_pin("111111");
    let mut mount = tpm.mount_command();
    let output = mount.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(KEY_DENIED), "{said}");
    assert!(
        said.contains("refuses the PIN") && !said.contains("111111"),
        "{said}"
    );
    assert_eq!(tpm.wrong_tries(), before + 1);
    tpm.write_pin(PIN);
    let _unmounts = tpm.mount();
    tpm.volume.unmount();
}

#[test]
fn a_mount_outlives_a_tpm_that_goes_and_comes_back() {
    let mut tpm = Tpm::new();
    tpm.init();
    let _unmounts = tpm.mount();
    fs::write(tpm.path("note"), "by a TPM").unwrap();
    fs::write(tpm.path("other"), "by a TPM too").unwrap();
    tpm.volume.unmount();
    let _again = tpm.mount();
    assert_eq!(fs::read_to_string(tpm.path("note")).unwrap(), "by a TPM");
    tpm.switch_off();
    // Its key is there; that of the other is not.
    assert_eq!(fs::read_to_string(tpm.path("note")).unwrap(), "by a TPM");
    let unavailable = rustix::io::Errno::AGAIN.raw_os_error();
    assert_eq!(errno(fs::read(tpm.path("other"))), unavailable);
    tpm.switch_on();
    wait_until("the TPM to be used again", || {
        fs::read(tpm.path("other")).is_ok_and(|content| content == b"by a TPM too")
    });
    fs::write(tpm.path("new"), "after").unwrap();
    tpm.volume.unmount();
}
