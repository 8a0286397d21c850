//! A volume whose key is in an HSM: SoftHSM2, through its PKCS#11 module.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Unmounts, Volume, errno, refuses, run, set_mode, wait_until};
use crate::keys::{Mapped, read_again};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "648219";
const KEY: &str = "pkcs11:token=live;object=files";
const KEY_DENIED: i32 = 12;
const KEY_UNAVAILABLE: i32 = 13;

/// A token with an AES key, and a volume that the key opens.
struct Hsm {
    volume: Volume,
}

impl Hsm {
    fn new() -> Self {
        assert!(
            Path::new(MODULE).exists(),
            "these tests need SoftHSM2: apt-get install softhsm2 opensc (scripts/test.sh live does)"
        );
        let hsm = Self {
            volume: Volume::unmade(),
        };
        fs::create_dir(hsm.tokens()).unwrap();
        fs::write(
            hsm.config(),
            format!("directories.tokendir = {}\n", hsm.tokens().display()),
        )
        .unwrap();
        fs::write(hsm.pin_file(), PIN).unwrap();
        set_mode(&hsm.pin_file(), 0o600);
        let mut init = Command::new("softhsm2-util");
        init.args([
            "--init-token",
            "--free",
            "--label",
            "live",
            "--so-pin",
            "87654321",
            "--pin",
            PIN,
        ]);
        run(init.env("SOFTHSM2_CONF", hsm.config()));
        hsm.make_key("01");
        hsm
    }

    /// A key of the volume's label, or a version more of it.
    fn make_key(&self, id: &str) {
        let key = ["--key-type", "aes:32", "--label", "files", "--sensitive"];
        self.tool(&[&["--keygen", "--id", id][..], &key].concat());
    }

    fn tokens(&self) -> PathBuf {
        self.volume.home().join("tokens")
    }

    fn config(&self) -> PathBuf {
        self.volume.home().join("softhsm2.conf")
    }

    fn pin_file(&self) -> PathBuf {
        self.volume.home().join("pin")
    }

    fn tool(&self, arguments: &[&str]) {
        let mut tool = Command::new("pkcs11-tool");
        tool.args([
            "--module",
            MODULE,
            "--token-label",
            "live",
            "--login",
            "--pin",
            PIN,
        ]);
        run(tool.args(arguments).env("SOFTHSM2_CONF", self.config()));
    }

    /// A command that finds module and PIN by its environment.
    fn with<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("SOFTHSM2_CONF", self.config())
            .env("ENVELOPEFS_PKCS11_MODULE", MODULE)
            .env("ENVELOPEFS_PKCS11_PIN_FILE", self.pin_file())
    }

    fn init(&self) {
        let mut init = self.volume.envelopefs("init");
        init.args(["--key", KEY]).arg(self.volume.cipher_dir());
        run(self.with(&mut init));
    }

    fn mount(&self) -> Unmounts {
        self.mount_with(&[])
    }

    fn mount_with(&self, options: &[&str]) -> Unmounts {
        run(self.with(&mut self.volume.mount_command(options)));
        Unmounts(self.volume.mountpoint())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.volume.mountpoint().join(name)
    }
}

#[test]
fn a_volume_lives_by_a_key_in_an_hsm() {
    let hsm = Hsm::new();
    hsm.init();
    let _unmounts = hsm.mount();
    fs::write(hsm.path("note"), "by an HSM").unwrap();
    let status = run(hsm.volume.envelopefs("status").arg(hsm.volume.mountpoint()));
    assert!(status.contains("key version 01, AES-GCM"), "{status}");
    hsm.volume.unmount();

    let _again = hsm.mount();
    assert_eq!(fs::read_to_string(hsm.path("note")).unwrap(), "by an HSM");
    hsm.volume.unmount();

    // Destroyed behind a mount that has not asked for the file's key yet.
    let _again = hsm.mount();
    hsm.tool(&["--delete-object", "--type", "secrkey", "--id", "01"]);
    let refused = errno(fs::read(hsm.path("note")));
    assert!(
        [libc_eacces(), libc_enokey()].contains(&refused),
        "errno {refused}"
    );
    wait_until("the log to name the key", || {
        fs::read_to_string(hsm.volume.log()).is_ok_and(|log| log.contains("has no key"))
    });
    hsm.volume.unmount();
    let words = ["\"live\" has no key \"files\""];
    refuses(
        hsm.with(&mut hsm.volume.mount_command(&[])),
        KEY_DENIED,
        &words,
    );
}

#[test]
fn a_revoked_key_is_out_of_use_within_its_ttl_in_open_and_mapped_files_too() {
    const TTL: Duration = Duration::from_secs(8);
    for scope in ["file", "volume"] {
        let hsm = Hsm::new();
        let mut init = hsm.volume.envelopefs("init");
        init.args(["--key", KEY, "--key-scope", scope]);
        run(hsm.with(init.arg(hsm.volume.cipher_dir())));
        let _unmounts = hsm.mount_with(&["--key-cache-ttl", "8s"]);
        fs::write(hsm.path("note"), "by an HSM").unwrap();
        let mut open = File::open(hsm.path("note")).unwrap();
        let mut writer = File::create(hsm.path("new")).unwrap();
        writer.write_all(b"synced").unwrap();
        writer.sync_all().unwrap();
        let mapped = Mapped::open(&hsm.path("note"));

        hsm.tool(&["--delete-object", "--type", "secrkey", "--id", "01"]);
        let revoked = Instant::now();
        let refused = loop {
            match read_again(&mut open) {
                Ok(content) => assert_eq!(content, b"by an HSM"),
                Err(error) => break error,
            }
            assert!(revoked.elapsed() <= TTL, "{scope}: still readable");
            std::thread::sleep(Duration::from_millis(50));
        };
        let expected = rustix::io::Errno::KEYREVOKED.raw_os_error();
        assert_eq!(refused.raw_os_error(), Some(expected), "{scope}");
        assert_eq!(mapped.reads_again(), Some(7), "{scope}: SIGBUS");
        // What is written now is lost, and whoever asks is told.
        wait_until("a write to be refused", || {
            let mut writer = &writer;
            let written = writer.write_all(b"lost").and_then(|()| writer.sync_all());
            written.is_err()
        });
        assert!(fs::read(hsm.path("note")).is_err());
        drop((open, writer));
        hsm.volume.unmount();
    }
}

fn libc_eacces() -> i32 {
    rustix::io::Errno::ACCESS.raw_os_error()
}

fn libc_enokey() -> i32 {
    rustix::io::Errno::NOKEY.raw_os_error()
}

/// Each key of the label is a version: the newest by its id.
#[test]
fn a_rotated_key_is_followed_by_rewrap_and_the_old_one_may_be_destroyed() {
    let hsm = Hsm::new();
    hsm.init();
    let _unmounts = hsm.mount();
    for number in 0..20 {
        fs::write(hsm.path(&format!("f{number}")), vec![number; 9000]).unwrap();
    }
    hsm.make_key("02");
    let mut rewrap = hsm.volume.envelopefs("rewrap");
    let said = run(rewrap.arg(hsm.volume.mountpoint()));
    assert!(
        said.contains("20 files: 20 rewrapped") && said.contains("volume key: rewrapped"),
        "{said}"
    );
    fs::write(hsm.path("late"), "by the new key").unwrap();
    hsm.volume.unmount();
    let census = run(hsm.volume.envelopefs("census").arg(hsm.volume.cipher_dir()));
    assert!(
        census.contains(" 02 ") && !census.contains(" 01 "),
        "{census}"
    );
    hsm.tool(&["--delete-object", "--type", "secrkey", "--id", "01"]);
    let _again = hsm.mount();
    for number in 0..20 {
        assert_eq!(
            fs::read(hsm.path(&format!("f{number}"))).unwrap(),
            vec![number; 9000]
        );
    }
    assert_eq!(fs::read(hsm.path("late")).unwrap(), b"by the new key");
    hsm.volume.unmount();

    // From the HSM to a key file, of a volume that is not mounted.
    let file = hsm.volume.key();
    let mut rewrap = hsm.volume.envelopefs("rewrap");
    rewrap
        .arg(hsm.volume.cipher_dir())
        .args(["--from", KEY, "--to", &file]);
    run(hsm.with(&mut rewrap));
    let mount = hsm.volume.mount();
    assert_eq!(fs::read(mount.path("late")).unwrap(), b"by the new key");
}

#[test]
fn a_query_is_followed_and_not_stored() {
    let hsm = Hsm::new();
    let uri = format!(
        "{KEY}?module-path={MODULE}&pin-source=file:{}",
        hsm.pin_file().display()
    );
    let mut init = hsm.volume.envelopefs("init");
    init.args(["--key", &uri]).arg(hsm.volume.cipher_dir());
    run(init.env("SOFTHSM2_CONF", hsm.config()));
    let config = hsm.volume.cipher_dir().join(".envelopefs/volume.json");
    let stored = fs::read_to_string(&config).unwrap();
    assert!(
        stored.contains(KEY) && !stored.contains("module-path"),
        "{stored}"
    );
    let _unmounts = hsm.mount();
    hsm.volume.unmount();

    // A volume must not choose the code that a mount loads.
    fs::write(&config, stored.replace(KEY, &uri)).unwrap();
    refuses(
        hsm.with(&mut hsm.volume.mount_command(&[])),
        KEY_DENIED,
        &["must not say"],
    );
}

#[test]
fn a_folder_has_a_key_of_its_own_in_the_hsm() {
    let hsm = Hsm::new();
    let key = ["--key-type", "aes:32", "--label", "hr", "--sensitive"];
    hsm.tool(&[&["--keygen", "--id", "77"][..], &key].concat());
    hsm.init();
    let unmounts = hsm.mount();
    let file = |name: &str| hsm.volume.mountpoint().join(name);
    fs::create_dir(file("hr")).unwrap();
    fs::write(file("hr/before"), "before").unwrap();
    let policy = hsm.volume.home().join("policy.toml");
    let on_volume = |words: &[&str]| {
        let mut command = hsm.volume.envelopefs(words[0]);
        command.args(&words[1..]).arg(hsm.volume.cipher_dir());
        command
    };
    let set = |uri: &str| {
        fs::write(
            &policy,
            format!("[[folder]]\npath = '/hr'\nkeys = ['{uri}']\n"),
        )
        .unwrap();
        let mut set = on_volume(&["policy", "set"]);
        set.arg(&policy);
        set
    };
    let hr = "pkcs11:token=live;object=hr";
    let told = format!("{hr}?module-path={MODULE}");
    assert!(
        !hsm.with(&mut set(&told)).output().unwrap().status.success(),
        "it tells of the machine"
    );
    assert!(
        !hsm.with(&mut set("pkcs11:token=live;object=none"))
            .output()
            .unwrap()
            .status
            .success()
    );
    run(hsm.with(&mut set(hr)));
    fs::write(file("hr/secret"), "secret").unwrap();
    fs::write(file("free"), "free").unwrap();
    run(hsm.with(&mut on_volume(&["rewrap"])));
    let census = run(&mut on_volume(&["census", "--json"]));
    assert!(
        census.contains("object=hr") && census.contains(KEY),
        "{census}"
    );
    drop(unmounts);
    hsm.tool(&["--delete-object", "--type", "secrkey", "--label", "hr"]);
    let _unmounts = hsm.mount();
    for name in ["hr/before", "hr/secret"] {
        assert!(
            fs::read(file(name)).is_err(),
            "{name} opens without its folder's key"
        );
    }
    assert_eq!(fs::read(file("free")).unwrap(), b"free");
}

#[test]
fn what_is_missing_is_named_and_no_secret_is() {
    let hsm = Hsm::new();
    hsm.init();
    let mount = || hsm.volume.mount_command(&[]);
    refuses(
        mount()
            .env("SOFTHSM2_CONF", hsm.config())
            .env_remove("ENVELOPEFS_PKCS11_MODULE"),
        KEY_DENIED,
        &["ENVELOPEFS_PKCS11_MODULE"],
    );
    refuses(
        hsm.with(&mut mount())
            .env("ENVELOPEFS_PKCS11_MODULE", "/nonexistent.so"),
        KEY_DENIED,
        &["/nonexistent.so"],
    );
    let away = hsm.volume.home().join("away");
    fs::rename(hsm.tokens(), &away).unwrap();
    fs::create_dir(hsm.tokens()).unwrap();
    refuses(
        hsm.with(&mut mount()),
        KEY_UNAVAILABLE,
        &["token \"live\" is not there"],
    );
    fs::remove_dir(hsm.tokens()).unwrap();
    fs::rename(away, hsm.tokens()).unwrap();

    fs::write(hsm.pin_file(), "111111").unwrap();
    let output = hsm.with(&mut mount()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(KEY_DENIED), "{said}");
    assert!(
        said.contains("refuses the PIN") && !said.contains("111111"),
        "{said}"
    );
    let mut init = hsm.volume.envelopefs("init");
    init.args(["--key", "pkcs11:token=live;object=files?pin-value=648219"]);
    let output = init.arg(hsm.volume.home().join("other")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("pin-value is refused"),
        "{said}"
    );
    assert!(!said.contains(PIN), "{said}");
}
