//! Keys that are taken away at a key server, OpenBao, while a mount is in use: who has a file open, who has it mapped,
//! and who opens it anew read on until they are refused, which is within the bound that docs/SEMANTICS.md has.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::bao::{Kept, POLICY};
use crate::harness::{Mount, noise, run, wait_until};
use crate::keys::{begun, read_again};

/// How long a key is used without its server being asked, which is the bound.
const TTL: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
const SIGBUS: i32 = 7;
const KEY_DENIED: i32 = 12;
/// The key that is taken away, and another.
const KEY: &str = "files";
const OTHER: &str = "other";
/// The files of those who find out.
const FILES: [&str; 3] = ["open", "mapped", "anew"];

/// A path of the engine that is about the key which is taken away.
fn key_path(operation: &str) -> String {
    format!("transit/keys/{KEY}/{operation}")
}

fn mount(kept: &Kept) -> Mount<'_> {
    kept.mount_with(&["--key-cache-ttl", &format!("{}s", TTL.as_secs())])
}

/// Puts a file under the other key alone beside those that the mount makes.
fn drop_in(kept: &Kept, name: &str) {
    let plain = kept.volume.home().join("plain");
    fs::write(&plain, content()).unwrap();
    let mut encrypt = kept.command("encrypt");
    encrypt.args(["--key", &format!("hashivault://{OTHER}")]);
    run(encrypt.arg(plain).arg(kept.volume.cipher_dir().join(name)));
}

/// More than the kernel reads at once.
fn content() -> Vec<u8> {
    noise(5, 300_000)
}

/// A process that has a file mapped and reads all of it again and again, until that kills it.
struct Mapped(Child);

impl Mapped {
    fn open(path: &Path) -> Self {
        const SCRIPT: &str = "import mmap, sys, time\n\
            f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n\
            first = m[:]\n\
            print(len(first), flush=True)\n\
            while m[:] == first: time.sleep(0.05)";
        Self(begun(SCRIPT, path))
    }

    /// The signal that ends it.
    fn killed_by(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            match self.0.try_wait().unwrap() {
                Some(ended) => return ended.signal(),
                None => thread::sleep(PAUSE),
            }
            assert!(begun.elapsed() < TTL * 3, "still readable");
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _code = self.0.wait();
    }
}

/// Reads, with the right content, until it is refused; the errno, and when.
fn reads_until_refused(mut read: impl FnMut() -> io::Result<Vec<u8>>) -> (Errno, Instant) {
    let begun = Instant::now();
    loop {
        match read() {
            Ok(read) => assert!(read == content(), "other content than was written"),
            Err(error) => return (Errno::from_io_error(&error).unwrap(), Instant::now()),
        }
        assert!(begun.elapsed() < TTL * 3, "still readable");
        thread::sleep(PAUSE);
    }
}

/// Who has a file open when its key is taken away, who has one mapped, who opens one anew: in time each is told, the
/// last of them this. Gives the open file.
fn take_away(mount: &Mount<'_>, told: Errno, taking: impl FnOnce()) -> File {
    for name in FILES {
        fs::write(mount.path(name), content()).unwrap();
    }
    let mut open = File::open(mount.path("open")).unwrap();
    assert!(read_again(&mut open).unwrap() == content());
    let mut mapped = Mapped::open(&mount.path("mapped"));
    thread::scope(|scope| {
        let anew = scope.spawn(|| reads_until_refused(|| fs::read(mount.path("anew"))));
        taking();
        let taken = Instant::now();
        let held = reads_until_refused(|| read_again(&mut open));
        let killed = (mapped.killed_by(), Instant::now());
        let anew = anew.join().unwrap();
        assert_eq!((held.0, killed.0), (Errno::KEYREVOKED, Some(SIGBUS)));
        // He may have had it open at that very moment.
        assert!([told, Errno::KEYREVOKED].contains(&anew.0), "{:?}", anew.0);
        for (reader, at) in [("open", held.1), ("mapped", killed.1), ("anew", anew.1)] {
            let lag = at.saturating_duration_since(taken);
            assert!(lag <= TTL, "{reader}: refused after {lag:?}");
        }
    });
    for name in FILES {
        let refused = fs::read(mount.path(name)).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(told), "{name}");
    }
    open
}

/// The key is there again: what was refused opens, and then reads where it was open all the time.
fn comes_back(mount: &Mount<'_>, mut open: File) {
    for name in FILES {
        wait_until("the key's files to open again", || {
            fs::read(mount.path(name)).is_ok_and(|read| read == content())
        });
    }
    assert!(read_again(&mut open).unwrap() == content());
    fs::write(mount.path("new"), content()).unwrap();
}

/// A key is taken away and given back, beside one that nobody touches.
fn of_one_key(told: Errno, taking: impl FnOnce(&Kept), giving_back: impl FnOnce(&Kept)) {
    let key = format!("hashivault://{KEY}");
    let other = format!("hashivault://{OTHER}");
    let kept = Kept::new(
        &[KEY, OTHER],
        &["--names", "plain", "--key", &key, "--volume-key", &other],
    );
    drop_in(&kept, "other");
    let mount = mount(&kept);
    let over = AtomicBool::new(false);
    let open = thread::scope(|scope| {
        let reads_on = scope.spawn(|| {
            let mut other = File::open(mount.path("other")).unwrap();
            while !over.load(Ordering::SeqCst) {
                assert!(read_again(&mut other).unwrap() == content(), "open");
                assert!(fs::read(mount.path("other")).unwrap() == content(), "anew");
                thread::sleep(PAUSE);
            }
        });
        let ends = Ends(&over);
        let open = take_away(&mount, told, || taking(&kept));
        // As long as the other key's time lasts, and longer.
        thread::sleep(TTL / 2);
        drop(ends);
        reads_on.join().unwrap();
        open
    });
    giving_back(&kept);
    comes_back(&mount, open);
    mount.unmount();
}

/// Ends who reads on, also where the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_retired_version_is_refused_in_time_and_comes_back() {
    let configure = |kept: &Kept, oldest: u8| {
        let oldest = format!("min_decryption_version={oldest}");
        kept.bao.admin(&["write", &key_path("config"), &oldest]);
    };
    of_one_key(
        Errno::KEYREVOKED,
        |kept| {
            kept.bao.admin(&["write", "-f", &key_path("rotate")]);
            configure(kept, 2);
        },
        |kept| configure(kept, 1),
    );
}

#[test]
fn a_softly_deleted_key_is_refused_in_time_and_comes_back() {
    of_one_key(
        Errno::KEYREVOKED,
        |kept| drop(kept.bao.admin(&["delete", &key_path("soft-delete")])),
        |kept| {
            let restore = key_path("soft-delete-restore");
            kept.bao.admin(&["write", "-f", &restore]);
        },
    );
}

#[test]
fn a_deleted_key_is_refused_in_time_and_comes_back_from_a_backup() {
    let backup = std::cell::OnceCell::new();
    of_one_key(
        Errno::NOKEY,
        |kept| {
            let config = key_path("config");
            let settings = [
                "exportable=true",
                "allow_plaintext_backup=true",
                "deletion_allowed=true",
            ];
            kept.bao
                .admin(&[&["write", &config], &settings[..]].concat());
            let taken = ["read", "-field=backup", &format!("transit/backup/{KEY}")];
            backup.set(kept.bao.admin(&taken)).unwrap();
            kept.bao.admin(&["delete", &format!("transit/keys/{KEY}")]);
        },
        |kept| {
            let backup = format!("backup={}", backup.get().unwrap());
            kept.bao
                .admin(&["write", &format!("transit/restore/{KEY}"), &backup]);
        },
    );
}

#[test]
fn a_key_that_the_policy_no_longer_allows_is_refused_in_time_and_comes_back() {
    of_one_key(
        Errno::ACCESS,
        |kept| kept.bao.allow(POLICY, &[OTHER]),
        |kept| kept.bao.allow(POLICY, &[KEY, OTHER]),
    );
}

/// In scope `volume` it is the volume key that is refused: the mount is locked, and `unlock` asks again.
fn of_the_volume(taking: impl FnOnce(&Kept), giving_back: impl FnOnce(&Kept)) {
    let key = format!("hashivault://{KEY}");
    let kept = Kept::new(&[KEY, OTHER], &["--key-scope", "volume", "--key", &key]);
    let mount = mount(&kept);
    let mut open = take_away(&mount, Errno::KEYREVOKED, || taking(&kept));
    let status = run(kept.volume.envelopefs("status").arg(mount.root()));
    assert!(status.contains("LOCKED"), "{status}");
    let unlock = || {
        kept.volume
            .envelopefs("unlock")
            .arg(mount.root())
            .output()
            .unwrap()
    };
    let refused = unlock();
    assert_eq!(refused.status.code(), Some(KEY_DENIED), "{refused:?}");
    assert!(read_again(&mut open).is_err());
    giving_back(&kept);
    wait_until("the mount to be unlocked", || unlock().status.success());
    comes_back(&mount, open);
    mount.unmount();
}

#[test]
fn a_softly_deleted_key_of_a_volume_locks_the_mount_in_time_until_it_is_unlocked() {
    of_the_volume(
        |kept| drop(kept.bao.admin(&["delete", &key_path("soft-delete")])),
        |kept| {
            let restore = key_path("soft-delete-restore");
            kept.bao.admin(&["write", "-f", &restore]);
        },
    );
}

#[test]
fn a_revoked_token_locks_the_mount_in_time_until_there_is_a_new_one() {
    of_the_volume(
        |kept| {
            let token = fs::read_to_string(kept.token_file()).unwrap();
            kept.bao.admin(&["token", "revoke", token.trim()]);
        },
        |kept| kept.bao.put_token(POLICY, &kept.token_file()),
    );
}
