//! A sealed volume against somebody who can write its ciphertext folder.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use crate::harness::{Volume, errno, noise, refuses, run, shell};

/// A volume with plain names, so that an attacker finds what he looks for; `old` is its ciphertext before the last changes.
struct Sealed {
    volume: Volume,
    hash: String,
}

impl Sealed {
    fn new() -> Self {
        let volume = Volume::create(&["--names", "plain"]);
        let mount = volume.mount();
        for (name, seed) in [("one", 1), ("two", 2), ("big", 3)] {
            fs::write(mount.path(name), noise(seed, 300_000)).unwrap();
        }
        shell(
            mount.root(),
            "mkdir folder; echo old > folder/file; ln -s one link; ln one hard; setfattr -n user.a -v b two; touch -d 2020-01-01 one two big folder/file folder",
        );
        mount.unmount();
        shell(volume.home(), "cp -a enc old");
        let mount = volume.mount();
        let big = fs::File::options()
            .write(true)
            .open(mount.path("big"))
            .unwrap();
        big.write_all_at(&noise(4, 300_000), 0).unwrap();
        drop(big);
        fs::write(mount.path("folder/file"), "new\n").unwrap();
        shell(mount.root(), "touch -d 2020-01-01 big folder/file");
        mount.unmount();
        let hash = seal(&volume);
        shell(volume.home(), "cp -a enc whole");
        Self { volume, hash }
    }

    fn cipher(&self, name: &str) -> PathBuf {
        self.volume.cipher_dir().join(name)
    }

    /// Does what an attacker may do to the ciphertext folder, which is then whole again.
    fn attacked(&self, attack: &str, then: impl FnOnce()) {
        shell(&self.volume.cipher_dir(), attack);
        then();
        shell(self.volume.home(), "rm -r enc; cp -a whole enc");
    }
}

/// Seals the volume; gives the seal's hash.
fn seal(volume: &Volume) -> String {
    let said = run(volume.envelopefs("seal").arg(volume.cipher_dir()));
    let hash = said.split_whitespace().find(|word| word.len() == 64);
    hash.unwrap_or_else(|| panic!("no hash in {said}"))
        .to_owned()
}

#[test]
fn a_sealed_volume_reads_as_before_and_is_not_written() {
    for names in ["plain", "encrypted"] {
        let volume = Volume::create(&["--names", names]);
        let mount = volume.mount();
        let long = "n".repeat(240);
        shell(
            mount.root(),
            "mkdir -p a/b; echo secret > a/b/file; ln -s file a/b/link; truncate -s 1M hole; echo x >> hole; : > empty",
        );
        fs::write(mount.path(&long), "long").unwrap();
        mount.unmount();
        let hash = seal(&volume);
        for options in [
            &[][..],
            &["--require-seal", "any"],
            &["--shared", "--require-seal", &hash],
        ] {
            let mount = volume.mount_with(options);
            assert_eq!(fs::read(mount.path("a/b/link")).unwrap(), b"secret\n");
            assert_eq!(fs::read(mount.path("hole")).unwrap().len(), (1 << 20) + 2);
            assert_eq!(fs::read(mount.path("empty")).unwrap(), b"");
            assert_eq!(fs::read(mount.path(&long)).unwrap(), b"long");
            assert_eq!(fs::read_dir(mount.root()).unwrap().count(), 4);
            assert_eq!(errno(fs::metadata(mount.path("none"))), libc::ENOENT);
            assert_eq!(errno(fs::write(mount.path("new"), "")), libc::EROFS);
            mount.unmount();
        }
        run(volume.envelopefs("check").arg(volume.cipher_dir()));
        // Writing needs the seal to go, and is possible then.
        refuses(
            volume.envelopefs("rewrap").arg(volume.cipher_dir()),
            2,
            &["sealed", "seal --remove"],
        );
        refuses(
            volume
                .envelopefs("check")
                .arg("--repair")
                .arg(volume.cipher_dir()),
            2,
            &["sealed"],
        );
        refuses(
            volume.envelopefs("seal").arg(volume.cipher_dir()),
            1,
            &["sealed already"],
        );
        run(volume
            .envelopefs("seal")
            .arg("--remove")
            .arg(volume.cipher_dir()));
        refuses(
            volume
                .envelopefs("seal")
                .arg("--remove")
                .arg(volume.cipher_dir()),
            1,
            &["not sealed"],
        );
        volume.refuses_mount(&["--require-seal", "any"], 26, &["not sealed"]);
        let mount = volume.mount();
        fs::write(mount.path("new"), "new").unwrap();
    }
}

#[test]
fn what_an_attacker_changed_before_the_mount_is_refused_by_it() {
    let sealed = Sealed::new();
    for (attack, words) in [
        (
            "mv one tmp; mv two one; mv tmp two",
            &["one", "attributes"][..],
        ),
        ("rm two", &["two", "was there when"]),
        ("rm -r folder", &["folder", "was there when"]),
        ("cp -a two three", &["three", "was not there"]),
        ("mkdir empty", &["empty", "was not there"]),
        ("chmod 4777 one", &["attributes"]),
        ("chown nobody folder", &["folder", "attributes"]),
        ("ln -sfn two link", &["link", "attributes"]),
        ("rm hard; cp -a one hard", &["attributes"]),
        ("setfattr -n user.x -v y folder", &["folder", "attributes"]),
        (
            "n=$(getfattr --only-values -d two >/dev/null; getfattr -h -m - two | grep '^user' | head -1); setfattr -x $n two",
            &["two", "attributes"],
        ),
        ("truncate -s 8192 big", &["big", "attributes"]),
        ("touch big", &["big", "attributes"]),
        ("rm .envelopefs/seal", &["manifest", "removed"]),
        (
            "sed -i 's/[0-9a-f] /0 /' .envelopefs/seal; echo >> .envelopefs/seal",
            &["manifest", "changed"],
        ),
    ] {
        sealed.attacked(attack, || sealed.volume.refuses_mount(&[], 26, words));
    }
    // Whoever says that the volume was never sealed has no key for that.
    let forged = "python3 - <<'E'\nimport json\np='.envelopefs/volume.json'\nc=json.load(open(p))\ndel c['seal']\njson.dump(c,open(p,'w'))\nE";
    sealed.attacked(forged, || {
        sealed.volume.refuses_mount(&[], 21, &["authentication"]);
    });
    sealed.volume.mount().unmount();
}

#[test]
fn an_older_whole_is_refused_where_the_seal_is_required() {
    let sealed = Sealed::new();
    let Sealed { volume, hash } = &sealed;
    sealed.attacked("find . -mindepth 1 -delete; cp -a ../old/. .", || {
        // Nothing in the folder can tell that it was once newer.
        volume.mount_with(&[]).unmount();
        volume.refuses_mount(&["--require-seal", "any"], 26, &["not sealed"]);
        volume.refuses_mount(
            &["-o", &format!("require_seal={hash}")],
            26,
            &["not sealed"],
        );
    });
    // The older volume.json by itself unseals the rest.
    sealed.attacked("cp -a ../old/.envelopefs/volume.json .envelopefs/", || {
        volume.refuses_mount(&["--require-seal", "any"], 26, &["not sealed"]);
    });
    run(volume
        .envelopefs("seal")
        .arg("--remove")
        .arg(volume.cipher_dir()));
    let mount = volume.mount();
    fs::write(mount.path("one"), "newer").unwrap();
    mount.unmount();
    let second = seal(volume);
    volume.refuses_mount(&["--require-seal", hash], 26, &["another seal"]);
    volume.mount_with(&["--require-seal", &second]).unmount();
}

#[test]
fn an_older_content_behind_the_same_attributes_does_not_open() {
    let sealed = Sealed::new();
    for (attack, name) in [
        ("cat ../old/big > big; touch -d 2020-01-01 big", "big"),
        (
            "cat ../old/folder/file > folder/file; touch -d 2020-01-01 folder/file",
            "folder/file",
        ),
        // One chunk alone, which the file's own key opens.
        (
            "dd if=../old/big of=big bs=4096 skip=50 seek=50 count=1 conv=notrunc status=none; touch -d 2020-01-01 big",
            "big",
        ),
    ] {
        sealed.attacked(attack, || {
            let mount = sealed.volume.mount();
            assert_eq!(
                errno(fs::File::open(mount.path(name))),
                libc::EIO,
                "{attack}"
            );
            assert_eq!(fs::read(mount.path("two")).unwrap(), noise(2, 300_000));
        });
    }
}

#[test]
fn what_an_attacker_changes_under_the_mount_is_no_answer() {
    let sealed = Sealed::new();
    let mount = sealed.volume.mount_with(&["--cache-ttl", "0"]);
    let mut big = fs::File::open(mount.path("big")).unwrap();
    let old = fs::read(sealed.volume.home().join("old/big")).unwrap();
    let cipher = fs::File::options()
        .write(true)
        .open(sealed.cipher("big"))
        .unwrap();
    let at = 50 * 4096;
    cipher.write_all_at(&old[at..at + 4096], at as u64).unwrap();
    // The chunk is authentic, and of another time.
    let mut all = vec![0; 300_000];
    assert_eq!(errno(big.read_exact(&mut all)), libc::EIO);

    shell(
        &sealed.volume.cipher_dir(),
        "rm two; cp -a one three; chmod 777 folder",
    );
    assert_eq!(errno(fs::metadata(mount.path("two"))), libc::EIO);
    assert_eq!(errno(fs::metadata(mount.path("three"))), libc::EIO);
    assert_eq!(errno(fs::metadata(mount.path("folder"))), libc::EIO);
    let listed: Result<Vec<_>, _> = fs::read_dir(mount.root()).and_then(Iterator::collect);
    assert_eq!(errno(listed), libc::EIO);
    assert_eq!(fs::read(mount.path("one")).unwrap(), noise(1, 300_000));
}

#[test]
fn only_a_sound_volume_that_nobody_uses_is_sealed() {
    let volume = Volume::create(&["--names", "plain"]);
    let mount = volume.mount();
    fs::write(mount.path("file"), noise(1, 50_000)).unwrap();
    refuses(
        volume.envelopefs("seal").arg(volume.cipher_dir()),
        15,
        &["in use"],
    );
    mount.unmount();
    shell(
        volume.home(),
        "printf x | dd of=enc/file bs=1 seek=9000 conv=notrunc status=none",
    );
    refuses(
        volume.envelopefs("seal").arg(volume.cipher_dir()),
        20,
        &["not everything in it is sound"],
    );
    refuses(
        volume.envelopefs("seal").arg(volume.home().join("mnt")),
        10,
        &[],
    );
    assert!(!volume.cipher_dir().join(".envelopefs/seal").exists());
}
