//! Volumes of `rsa:` keys: a host that makes files and cannot read them, and one that reads them all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Unmounts, Volume, errno, noise, refuses, run, set_mode, wait_until};

const KEY_DENIED: i32 = 12;
const PRIVATE: &str = "ENVELOPEFS_RSA_PRIVATE_KEY_FILE";

/// A key pair, and a volume whose files only the private key opens.
struct DropBox {
    volume: Volume,
}

impl DropBox {
    fn new() -> Self {
        let made = Self {
            volume: Volume::unmade(),
        };
        made.add_pair("");
        made
    }

    fn home(&self, name: &str) -> PathBuf {
        self.volume.home().join(name)
    }

    fn add_pair(&self, suffix: &str) {
        let (public, private) = (
            self.home(&format!("public{suffix}.pem")),
            self.home(&format!("private{suffix}.pem")),
        );
        openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            text(&private),
        ]);
        openssl(&[
            "pkey",
            "-in",
            text(&private),
            "-pubout",
            "-out",
            text(&public),
        ]);
        set_mode(&private, 0o600);
        set_mode(&public, 0o644);
    }

    fn rsa(&self) -> String {
        format!("rsa:{}", self.home("public.pem").display())
    }

    fn init(&self) {
        let mut init = self.volume.envelopefs("init");
        init.args(["--header-size", "2048", "--key", &self.rsa()])
            .args(["--volume-key", &self.volume.key()])
            .arg(self.volume.cipher_dir());
        run(&mut init);
    }

    /// Mounts as the host that writes.
    fn writer(&self) -> Unmounts {
        run(&mut self.volume.mount_command(&[]));
        Unmounts(self.volume.mountpoint())
    }

    /// Mounts as a host with a private key and without the writer's key.
    fn reader(&self, private: &str) -> Unmounts {
        let away = self.home("away.json");
        fs::rename(self.volume.keyring(), &away).unwrap();
        let mut mount = self.volume.mount_command(&[]);
        run(mount.env(PRIVATE, self.home(private)));
        fs::rename(away, self.volume.keyring()).unwrap();
        Unmounts(self.volume.mountpoint())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.volume.mountpoint().join(name)
    }

    fn refuses_to_open(&self, name: &str) {
        let eacces = rustix::io::Errno::ACCESS.raw_os_error();
        assert_eq!(errno(fs::read(self.path(name))), eacces, "{name}");
        let append = fs::OpenOptions::new().append(true).open(self.path(name));
        assert_eq!(errno(append), eacces, "{name}");
        assert_eq!(errno(fs::write(self.path(name), "x")), eacces, "{name}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn openssl(arguments: &[&str]) {
    run(Command::new("openssl").args(arguments));
}

#[test]
fn who_writes_cannot_read_and_who_has_the_private_key_reads_all() {
    let files = DropBox::new();
    files.init();
    let content = noise(7, 50_000);
    let _unmounts = files.writer();
    fs::create_dir(files.path("day")).unwrap();
    fs::write(files.path("day/report"), &content).unwrap();
    std::os::unix::fs::symlink("day/report", files.path("latest")).unwrap();
    // The data key of what this mount has just made is still at hand.
    assert!(fs::read(files.path("day/report")).unwrap() == content);
    let status = run(files
        .volume
        .envelopefs("status")
        .arg(files.volume.mountpoint()));
    assert!(status.contains("no private key here"), "{status}");
    files.volume.unmount();

    let _unmounts = files.writer();
    files.refuses_to_open("day/report");
    wait_until("the log to say what is missing", || {
        fs::read_to_string(files.volume.log()).is_ok_and(|log| log.contains(PRIVATE))
    });
    // Names, lengths and links it sees, and it makes, renames over and removes files.
    let stat = fs::metadata(files.path("latest")).unwrap();
    assert_eq!(stat.len(), 50_000);
    fs::write(files.path("second"), "two").unwrap();
    fs::write(files.path("new"), "newer").unwrap();
    fs::rename(files.path("new"), files.path("second")).unwrap();
    fs::write(files.path("gone"), "").unwrap();
    fs::remove_file(files.path("gone")).unwrap();
    files.volume.unmount();

    let _unmounts = files.reader("private.pem");
    assert!(fs::read(files.path("latest")).unwrap() == content);
    assert_eq!(fs::read(files.path("second")).unwrap(), b"newer");
    fs::write(files.path("answer"), "by the reader").unwrap();
    files.volume.unmount();

    let _unmounts = files.writer();
    files.refuses_to_open("answer");
    let names: Vec<_> = fs::read_dir(files.volume.mountpoint())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    files.volume.unmount();
}

#[test]
fn what_a_writer_made_is_out_of_its_reach_when_the_key_s_time_is_up() {
    let files = DropBox::new();
    files.init();
    run(&mut files.volume.mount_command(&["--key-cache-ttl", "1s"]));
    let _unmounts = Unmounts(files.volume.mountpoint());
    fs::write(files.path("log"), "line").unwrap();
    wait_until("the data key to be dropped", || {
        fs::File::open(files.path("log")).is_err()
    });
    files.refuses_to_open("log");
    files.volume.unmount();
}

#[test]
fn a_new_public_key_wraps_from_then_on_and_both_private_keys_are_needed() {
    let files = DropBox::new();
    files.init();
    let _unmounts = files.writer();
    fs::write(files.path("old"), "old").unwrap();
    files.volume.unmount();
    files.add_pair("-new");
    fs::rename(files.home("public-new.pem"), files.home("public.pem")).unwrap();
    let _unmounts = files.writer();
    fs::write(files.path("new"), "new").unwrap();
    files.volume.unmount();

    let both = ["private.pem", "private-new.pem"].map(|name| fs::read(files.home(name)).unwrap());
    fs::write(files.home("both.pem"), both.concat()).unwrap();
    set_mode(&files.home("both.pem"), 0o600);
    let _unmounts = files.reader("both.pem");
    assert_eq!(fs::read(files.path("old")).unwrap(), b"old");
    assert_eq!(fs::read(files.path("new")).unwrap(), b"new");
    files.volume.unmount();

    let _unmounts = files.reader("private.pem");
    assert_eq!(fs::read(files.path("old")).unwrap(), b"old");
    let enokey = rustix::io::Errno::NOKEY.raw_os_error();
    assert_eq!(errno(fs::read(files.path("new"))), enokey);
    files.volume.unmount();
}

#[test]
fn neither_of_its_keys_is_no_mount_and_both_are_named() {
    let files = DropBox::new();
    files.init();
    fs::rename(files.volume.keyring(), files.home("away.json")).unwrap();
    let words = [PRIVATE, "key.json"];
    files.volume.refuses_mount(&[], KEY_DENIED, &words);
    let private = files.home("private.pem");
    set_mode(&private, 0o644);
    let mut mount = files.volume.mount_command(&[]);
    refuses(mount.env(PRIVATE, &private), KEY_DENIED, &["chmod 600"]);
}

#[test]
fn single_files_are_encrypted_here_and_decrypted_there() {
    let files = DropBox::new();
    let (plain, sealed, back) = (
        files.home("plain"),
        files.home("sealed"),
        files.home("back"),
    );
    fs::write(&plain, noise(3, 20_000)).unwrap();
    let mut encrypt = files.volume.envelopefs("encrypt");
    run(encrypt
        .arg(&plain)
        .arg(&sealed)
        .args(["--key", &files.rsa()]));
    let decrypt = || {
        let mut decrypt = files.volume.envelopefs("decrypt");
        decrypt.arg(&sealed).arg(&back);
        decrypt
    };
    refuses(&mut decrypt(), KEY_DENIED, &[PRIVATE]);
    let private = files.home("private.pem");
    run(decrypt().env(PRIVATE, &private));
    assert!(fs::read(&back).unwrap() == noise(3, 20_000));

    // Moved to a machine where the public key is not, the private key said on the command line.
    fs::remove_file(&back).unwrap();
    fs::remove_file(files.home("public.pem")).unwrap();
    let uri = format!("{}?private-key={}", files.rsa(), private.display());
    run(decrypt().args(["--key", &uri]));
    assert!(fs::read(&back).unwrap() == noise(3, 20_000));
}

#[test]
fn a_volume_may_not_say_where_a_private_key_is() {
    let files = DropBox::new();
    files.init();
    let config = files.volume.cipher_dir().join(".envelopefs/volume.json");
    let stored = fs::read_to_string(&config).unwrap();
    let uri = files.rsa();
    let changed = stored.replace(&uri, &format!("{uri}?private-key=/etc/shadow"));
    assert_ne!(stored, changed);
    fs::write(&config, changed).unwrap();
    fs::rename(files.volume.keyring(), files.home("away.json")).unwrap();
    files
        .volume
        .refuses_mount(&[], KEY_DENIED, &["must not say"]);
}
