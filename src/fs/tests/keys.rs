//! Keys that are revoked, out of reach, locked away, or slow to come, by a provider that does what the test says.

use std::time::{Duration, Instant};

use super::*;
use crate::keys::double::{Double, Script};
use crate::keys::{KeyError, KeyErrorKind};

const KEY: &str = "double:key";
/// Long enough that a busy machine looks in time.
const TTL: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(60);

/// A mount whose keys a double holds.
struct Remote {
    fs: Arc<FileSystem>,
    script: Arc<Script>,
    kernel: Arc<Recorder>,
    providers: Arc<Providers>,
    folder: TempDir,
}

/// Writes down what the kernel was told to drop.
#[derive(Debug, Default)]
struct Recorder {
    inodes: Mutex<Vec<Ino>>,
    names: Mutex<Vec<(Ino, Vec<u8>)>>,
}

impl KernelCache for Recorder {
    fn drop_inode(&self, ino: Ino) {
        self.inodes.lock().push(ino);
    }

    fn drop_name(&self, parent: Ino, name: &[u8]) {
        self.names.lock().push((parent, name.to_vec()));
    }
}

struct Setting {
    scope: KeyScope,
    names: NameMode,
    ttl: Duration,
    grace: Duration,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            scope: KeyScope::File,
            names: NameMode::Encrypted,
            ttl: TTL,
            grace: LONG,
        }
    }
}

impl std::ops::Deref for Remote {
    type Target = Arc<FileSystem>;

    fn deref(&self) -> &Arc<FileSystem> {
        &self.fs
    }
}

impl Remote {
    fn new(setting: &Setting) -> Self {
        let folder = TempDir::new().unwrap();
        let providers = Arc::new(Providers::new(ProviderOptions {
            rate: None,
            ..ProviderOptions::default()
        }));
        let double = Double::new(KEY);
        let script = double.script();
        providers.put(Box::new(double));
        let create = CreateOptions {
            volume_id: VolumeId(random::array()),
            layout: Layout::DEFAULT,
            names: setting.names,
            key_scope: setting.scope,
            foreign_files: ForeignFiles::Deny,
            keys: vec![KEY.parse().unwrap()],
            volume_keys: Vec::new(),
        };
        volume::create(&folder.path().join("volume"), &create, &providers).unwrap();
        let (fs, kernel) = serve_remote(&folder, &providers, setting);
        Self {
            fs,
            script,
            kernel,
            providers,
            folder,
        }
    }

    /// An unmount and a mount: no key is known.
    fn reopened(self, setting: &Setting) -> Self {
        self.fs.shut_down();
        unmounted(self.fs);
        let (fs, kernel) = serve_remote(&self.folder, &self.providers, setting);
        Self { fs, kernel, ..self }
    }

    fn put(&self, name: &[u8], content: &[u8]) -> Ino {
        let (ino, fh) = self.make(name).unwrap();
        self.fs.write(fh, 0, content, false).unwrap();
        self.fs.release(fh).unwrap();
        ino
    }

    fn make(&self, name: &[u8]) -> Result<(Ino, Fh), FsError> {
        wait(|done| self.fs.create(SELF, ROOT, name, 0o644, true, done))
            .map(|made| (made.entry.attr.ino, made.opened.fh))
    }

    fn opened(&self, ino: Ino) -> Result<Fh, FsError> {
        wait(|done| self.fs.open(SELF, ino, true, done)).map(|opened| opened.fh)
    }

    fn read(&self, fh: Fh) -> Result<Vec<u8>, FsError> {
        let mut out = vec![0; 100];
        let len = self.fs.read(fh, 0, &mut out)?;
        out.truncate(len);
        Ok(out)
    }

    fn fail(&self, kind: KeyErrorKind) {
        self.script.fails(Some(KeyError::new(kind, "on purpose")));
    }

    /// Reads until that fails, and says with which errno.
    fn reads_until_failure(&self, fh: Fh) -> i32 {
        let end = Instant::now() + LONG;
        loop {
            match self.read(fh) {
                Ok(content) => assert_eq!(content, b"secret"),
                Err(error) => return error.errno(),
            }
            assert!(Instant::now() < end, "it can still be read");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn serve_remote(
    folder: &TempDir,
    providers: &Arc<Providers>,
    setting: &Setting,
) -> (Arc<FileSystem>, Arc<Recorder>) {
    let unlock = UnlockOptions {
        key_cache_ttl: setting.ttl,
        ..UnlockOptions::default()
    };
    let path = folder.path().join("volume");
    let volume = volume::open(&path, &unlock, Arc::clone(providers)).unwrap();
    let options = FsOptions {
        offline_grace: setting.grace,
        ..FsOptions::default()
    };
    let (fs, kernel) = (
        FileSystem::new(Arc::new(volume), options).unwrap(),
        Arc::new(Recorder::default()),
    );
    fs.set_kernel_cache(Arc::clone(&kernel) as Arc<dyn KernelCache>);
    (fs, kernel)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_open_file_is_unreadable_before_the_ttl_of_its_revoked_key_is_over() {
    for kind in [
        KeyErrorKind::Denied,
        KeyErrorKind::NotFound,
        KeyErrorKind::Revoked,
    ] {
        let remote = Remote::new(&Setting::default());
        let ino = remote.put(b"f", b"secret");
        let fh = remote.opened(ino).unwrap();
        let revoked = Instant::now();
        remote.fail(kind);
        let errno = remote.reads_until_failure(fh);
        assert!(revoked.elapsed() <= TTL, "{kind}: {:?}", revoked.elapsed());
        assert_eq!(errno, libc::EKEYREVOKED, "{kind}");
        refused(remote.write(fh, 0, b"x", false), libc::EKEYREVOKED);
        assert!(remote.opened(ino).is_err(), "{kind}");
        wait_until("the pages to go", || {
            remote.kernel.inodes.lock().contains(&ino)
        });
        // The provider has a change of mind: who opens the file finds that out, also for those who had it open.
        remote.script.fails(None);
        wait_until("the file to open", || {
            // The volume key was refused as well, if its turn came.
            remote.unlock(None).is_ok() && remote.opened(ino).is_ok()
        });
        assert_eq!(remote.read(fh).unwrap(), b"secret");
    }
}

#[test]
fn the_end_and_the_holes_of_a_file_without_key_are_told_to_nobody() {
    let remote = Remote::new(&Setting::default());
    let ino = remote.put(b"f", b"");
    let fh = remote.opened(ino).unwrap();
    assert_eq!(remote.read(fh).unwrap(), b"");
    remote.lock(None);
    refused(remote.read(fh), libc::ENOKEY);
    refused(remote.fs.fallocate(fh, 0, 0, 10), libc::ENOKEY);
}

#[test]
fn a_closed_file_is_refused_when_its_time_is_over() {
    let setting = Setting {
        ttl: Duration::from_millis(500),
        ..Setting::default()
    };
    let remote = Remote::new(&setting);
    let ino = remote.put(b"f", b"secret");
    remote.fail(KeyErrorKind::Revoked);
    wait_until("a refusal", || {
        remote
            .opened(ino)
            .map(|fh| remote.release(fh))
            .is_err_and(|error| error.errno() == libc::EKEYREVOKED)
    });
}

#[test]
fn silence_leaves_keys_in_use_and_fails_new_opens_at_once() {
    let setting = Setting {
        ttl: Duration::from_millis(500),
        ..Setting::default()
    };
    let remote = Remote::new(&setting);
    let (ino, other) = (remote.put(b"f", b"secret"), remote.put(b"g", b"other"));
    let fh = remote.opened(ino).unwrap();
    remote.fail(KeyErrorKind::Unavailable);
    wait_until("the keyring to forget", || {
        remote.volume().keyring_stats().entries == 0
    });
    refused(remote.opened(other), libc::EAGAIN);
    let begun = Instant::now();
    for _ in 0..20 {
        refused(remote.opened(other), libc::EAGAIN);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "they wait");
    for _ in 0..10 {
        assert_eq!(remote.read(fh).unwrap(), b"secret");
    }
}

#[test]
fn keys_go_when_the_grace_is_over_and_come_back_with_the_provider() {
    let setting = Setting {
        ttl: Duration::from_millis(500),
        grace: Duration::from_millis(500),
        ..Setting::default()
    };
    let remote = Remote::new(&setting);
    let ino = remote.put(b"f", b"secret");
    let fh = remote.opened(ino).unwrap();
    remote.fail(KeyErrorKind::Unavailable);
    assert_eq!(remote.reads_until_failure(fh), libc::EAGAIN);
    wait_until("the mount to be locked", || {
        remote.locked_by() == Some(LockedBy::Outage)
    });
    refused(remote.lookup(ROOT, b"f"), libc::EAGAIN);
    remote.script.fails(None);
    wait_until("the mount to come back", || remote.locked_by().is_none());
    wait_until("the file to come back", || remote.read(fh).is_ok());
    assert!(remote.lookup(ROOT, b"f").is_ok());
}

#[test]
fn keys_that_nobody_uses_are_not_asked_for_and_those_in_use_are_now_and_then() {
    let setting = Setting {
        ttl: Duration::from_secs(1),
        ..Setting::default()
    };
    let remote = Remote::new(&setting);
    let inos: Vec<_> = (0..20)
        .map(|n| remote.put(format!("f{n}").as_bytes(), b"secret"))
        .collect();
    let in_use = [(); 2].map(|()| remote.opened(inos[0]).unwrap());
    // Without writes nothing is made ahead.
    let (begun, before) = (Instant::now(), remote.script.calls());
    std::thread::sleep(setting.ttl * 3);
    let times = begun.elapsed().as_secs_f64() / setting.ttl.as_secs_f64();
    let calls = (remote.script.calls() - before) as f64;
    // The file's key and the volume's, each at most twice in a TTL.
    assert!(
        calls >= 2.0 && calls <= 4.0 * (times + 1.0),
        "{calls} calls"
    );
    assert_eq!(remote.read(in_use[1]).unwrap(), b"secret");
}

#[test]
fn a_refused_volume_key_locks_the_mount() {
    for names in MODES {
        let remote = Remote::new(&Setting {
            scope: KeyScope::Volume,
            ttl: Duration::from_millis(500),
            names,
            ..Setting::default()
        });
        let ino = remote.put(b"f", b"secret");
        let fh = remote.opened(ino).unwrap();
        remote.fail(KeyErrorKind::Revoked);
        assert_eq!(remote.reads_until_failure(fh), libc::EKEYREVOKED);
        wait_until("the lock", || remote.locked_by() == Some(LockedBy::Refusal));
        refused(remote.opened(ino), libc::EKEYREVOKED);
        refused(remote.make(b"new"), libc::EKEYREVOKED);
        assert!(remote.unlock(None).is_err(), "it is still refused");
        remote.script.fails(None);
        remote.unlock(None).unwrap();
        assert_eq!(remote.read(fh).unwrap(), b"secret");
        assert!(remote.make(b"new").is_ok());
    }
}

#[test]
fn a_locked_mount_has_no_keys_and_an_unlocked_one_has_them_again() {
    for names in MODES {
        let remote = Remote::new(&Setting {
            names,
            ..Setting::default()
        });
        let ino = remote.put(b"f", b"secret");
        let folder = remote.mkdir(SELF, ROOT, b"d", 0o755).unwrap().attr.ino;
        let link = remote.symlink(SELF, ROOT, b"l", b"target").unwrap();
        let fh = remote.opened(ino).unwrap();
        remote.write(fh, 0, b"SECRET", false).unwrap();
        remote.lock(None);
        for _ in 0..2 {
            refused(remote.read(fh), libc::ENOKEY);
            refused(remote.write(fh, 0, b"x", false), libc::ENOKEY);
            refused(remote.opened(ino), libc::ENOKEY);
            refused(remote.make(b"new"), libc::ENOKEY);
            refused(remote.getxattr(ino, b"user.x"), libc::ENOKEY);
            // Once more changes nothing.
            remote.lock(None);
        }
        if names == NameMode::Encrypted {
            refused(remote.lookup(ROOT, b"f"), libc::ENOKEY);
            refused(remote.readlink(link.attr.ino), libc::ENOKEY);
        }
        let dir = remote.opendir(ROOT).unwrap();
        refused(remote.readdir(dir, 0, false, |_| true), libc::ENOKEY);
        assert!(remote.getattr(ino, None).is_ok(), "attributes need no key");
        assert!(remote.script.forgotten() > 0);
        let dropped = remote.kernel.inodes.lock().clone();
        assert!([ino, folder, ROOT].iter().all(|ino| dropped.contains(ino)));
        for name in [&b"f"[..], b"d", b"l"] {
            assert!(remote.kernel.names.lock().contains(&(ROOT, name.to_vec())));
        }
        remote.unlock(None).unwrap();
        assert_eq!(remote.read(fh).unwrap(), b"SECRET");
        remote.write(fh, 0, b"S", false).unwrap();
        assert!(remote.make(b"new").is_ok());
        assert!(remote.lookup(ROOT, b"f").is_ok());
        remote.unlock(None).unwrap();
    }
}

#[test]
fn an_open_that_crosses_an_unlock_has_its_keys() {
    for scope in [KeyScope::File, KeyScope::Volume] {
        let setting = Setting {
            scope,
            ..Setting::default()
        };
        let remote = Remote::new(&setting);
        let ino = remote.put(b"f", b"secret");
        let fh = remote.opened(ino).unwrap();
        let file = Arc::clone(&remote.fs.files.find(fh).unwrap().file);
        // Whoever opens it sees the lock, and acts upon it when the unlock has looked at all files.
        remote.lock(None);
        let seen = remote.volume.locked().unwrap();
        remote.unlock(None).unwrap();
        assert_eq!(remote.read(fh).unwrap(), b"secret");
        remote.fs.close_as_locked(&file, seen.clone());
        let end = Instant::now() + LONG;
        while file.keys_gone().is_some() {
            assert!(Instant::now() < end, "{scope:?}: it stays without keys");
            std::thread::yield_now();
        }
        assert_eq!(remote.read(fh).unwrap(), b"secret");
        // While the lock lasts it gets none.
        remote.lock(None);
        remote.fs.close_as_locked(&file, seen);
        refused(remote.read(fh), libc::ENOKEY);
        remote.unlock(None).unwrap();
        assert_eq!(remote.read(fh).unwrap(), b"secret");
    }
}

#[test]
fn what_was_written_before_a_lock_is_committed_and_found_after_a_new_mount() {
    let setting = Setting::default();
    let remote = Remote::new(&setting);
    let (ino, fh) = remote.make(b"f").unwrap();
    let (_empty, _fh) = remote.make(b"empty").unwrap();
    remote.write(fh, 0, b"secret", false).unwrap();
    remote.lock(None);
    assert!(
        !remote
            .inode(ino)
            .unwrap()
            .open_file()
            .unwrap()
            .needs_commit()
    );
    let remote = remote.reopened(&setting);
    for (name, content) in [(&b"f"[..], &b"secret"[..]), (b"empty", b"")] {
        let ino = remote.lookup(ROOT, name).unwrap().attr.ino;
        assert_eq!(remote.read(remote.opened(ino).unwrap()).unwrap(), content);
    }
}

#[test]
fn no_key_slips_through_while_the_mount_is_locked() {
    let remote = Remote::new(&Setting::default());
    let inos: Vec<_> = (0..8)
        .map(|n| remote.put(format!("f{n}").as_bytes(), b"secret"))
        .collect();
    for _ in 0..30 {
        std::thread::scope(|scope| {
            for ino in &inos {
                scope.spawn(|| remote.opened(*ino).map(|fh| remote.read(fh)));
            }
            remote.lock(None);
        });
        let with_keys = remote
            .inodes
            .all()
            .iter()
            .filter_map(|inode| inode.open_file())
            .filter(|file| file.keys_gone().is_none())
            .count();
        assert_eq!(with_keys, 0);
        remote.unlock(None).unwrap();
    }
}

#[test]
fn a_folder_read_in_its_order_costs_one_call_for_each_file_and_many_at_a_time() {
    const FILES: u32 = 1000;
    const CALL: Duration = Duration::from_millis(50);
    let setting = Setting {
        ttl: LONG,
        ..Setting::default()
    };
    let remote = Remote::new(&setting);
    for n in 0..FILES {
        remote.put(format!("f{n}").as_bytes(), b"secret");
    }
    let remote = remote.reopened(&setting);
    remote.script.takes(CALL);
    let (begun, before) = (Instant::now(), remote.script.calls());
    let dir = remote.opendir(ROOT).unwrap();
    let mut inos = Vec::new();
    remote
        .readdir(dir, 2, true, |entry| {
            inos.push(entry.ino);
            true
        })
        .unwrap();
    assert_eq!(inos.len(), FILES as usize);
    for ino in inos {
        let fh = remote.opened(ino).unwrap();
        assert_eq!(remote.read(fh).unwrap(), b"secret");
        remote.release(fh).unwrap();
    }
    assert_eq!(remote.script.calls() - before, u64::from(FILES));
    let bound = CALL * FILES / 16;
    assert!(
        begun.elapsed() <= bound,
        "{:?} > {bound:?}",
        begun.elapsed()
    );
}

#[test]
fn many_files_made_at_once_wait_for_few_calls() {
    const FILES: u32 = 1000;
    const CALL: Duration = Duration::from_millis(50);
    let remote = Remote::new(&Setting {
        ttl: LONG,
        ..Setting::default()
    });
    remote.script.takes(CALL);
    let begun = Instant::now();
    for n in 0..FILES {
        remote.put(format!("f{n}").as_bytes(), b"x");
    }
    let bound = CALL * FILES / 16;
    assert!(
        begun.elapsed() <= bound,
        "{:?} > {bound:?}",
        begun.elapsed()
    );
    assert!(remote.script.most_running() > 16);
}

#[test]
fn in_scope_volume_a_mount_costs_one_call_whatever_is_done_in_it() {
    let setting = Setting {
        scope: KeyScope::Volume,
        ttl: LONG,
        ..Setting::default()
    };
    let remote = Remote::new(&setting);
    let before = remote.script.calls();
    let remote = remote.reopened(&setting);
    let inos: Vec<_> = (0..100)
        .map(|n| remote.put(format!("f{n}").as_bytes(), b"secret"))
        .collect();
    for ino in inos {
        assert_eq!(remote.read(remote.opened(ino).unwrap()).unwrap(), b"secret");
    }
    assert_eq!(remote.script.calls() - before, 1);
}
