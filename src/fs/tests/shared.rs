//! Two mounts of one volume.

use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::content::SyncKind;
use crate::storage::{LockKind, LockRange};

fn shared() -> FsOptions {
    FsOptions {
        shared: true,
        ..FsOptions::default()
    }
}

/// Two mounts of a new volume, as on two hosts.
fn pair(names: NameMode) -> (Bench, Bench) {
    let one = Bench::with(names, FsOptions::default()).reopened_with(shared());
    let folder = TempDir::new().unwrap();
    symlink(one.path(), folder.path().join("volume")).unwrap();
    let fs = serve(&folder, shared());
    (one, Bench { fs, folder })
}

fn create(bench: &Bench, name: &[u8], must_be_new: bool) -> Result<(Ino, Fh), FsError> {
    wait(|done| bench.fs.create(SELF, ROOT, name, 0o644, must_be_new, done))
        .map(|made| (made.entry.attr.ino, made.opened.fh))
}

#[test]
fn what_one_wrote_and_closed_the_other_opens() {
    for names in MODES {
        let (one, other) = pair(names);
        let ino = one.put(ROOT, b"f", b"");
        assert_eq!(other.find(ROOT, b"f").unwrap().ino, ino);
        for round in 1..60_usize {
            let (writer, reader) = if round % 2 == 0 {
                (&one, &other)
            } else {
                (&other, &one)
            };
            let content = pattern((round * 977) % 20_000);
            let fh = writer.opened(ino, true).unwrap();
            writer.resize(ino, 0).unwrap();
            writer.write(fh, 0, &content, false).unwrap();
            writer.flush(fh).unwrap();
            assert!(reader.content(ino).unwrap() == content, "round {round}");
            let size = reader.getattr(ino, None).unwrap().size;
            assert_eq!(size, content.len() as u64);
            writer.release(fh).unwrap();
        }
    }
}

#[test]
fn a_new_file_has_its_header_before_its_name() {
    for names in MODES {
        let (one, other) = pair(names);
        let (ino, fh) = one.make(ROOT, b"f").unwrap();
        assert_eq!(other.find(ROOT, b"f").unwrap().ino, ino);
        assert_eq!(other.find(ROOT, b"f").unwrap().nlink, 1);
        assert_eq!(other.content(ino).unwrap(), b"");
        let theirs = other.opened(ino, true).unwrap();
        other.write(theirs, 0, b"theirs", false).unwrap();
        one.write(fh, 6, b" and ours", false).unwrap();
        assert_eq!(other.read_all(theirs).unwrap(), b"theirs and ours");
        assert_eq!(one.disk_entries().len(), 1, "{:?}", one.disk_entries());
        one.release(fh).unwrap();
        other.release(theirs).unwrap();
    }
}

#[test]
fn the_first_new_file_after_another_mount_gave_its_folder_a_key_has_it() {
    for names in MODES {
        // However it is made; and the other mount had a folder with keys before, or none.
        for (nth, earlier) in [false, true].into_iter().enumerate() {
            let (one, other) = pair(names);
            let hr = one.folder(ROOT, b"hr");
            let blank = one.put(hr, b"blank", b"");
            if earlier {
                let text = b"[[folder]]\npath = '/x'\nscope = 'file'\n".to_vec();
                let stored = volume::StoredPolicy::parse(text).unwrap();
                other.volume.set_policy(Some(&stored)).unwrap();
                one.put(ROOT, b"before", b"1");
            }
            let path = one.on_disk_in(hr, b"blank");
            one.fs.forget(blank, 1);
            std::fs::write(path, b"").unwrap();
            let blank = one.find(hr, b"blank").unwrap().ino;
            let key = other.give_folder_a_key("/hr", "first");
            match nth {
                0 => drop(one.put(hr, b"new", b"1")),
                _ => {
                    let mode = libc::S_IFREG | 0o644;
                    wait(|done| one.fs.mknod(SELF, hr, b"new", mode, 0, done)).unwrap();
                }
            }
            assert_eq!(one.slot_uris(hr, b"new"), [key], "{names:?}");
            other.volume.set_policy(None).unwrap();
            one.put(ROOT, b"free", b"1");
            let key = other.give_folder_a_key("/hr", "second");
            let fh = one.opened(blank, true).unwrap();
            one.fs.write(fh, 0, b"2", false).unwrap();
            one.fs.release(fh).unwrap();
            assert_eq!(one.slot_uris(hr, b"blank"), [key], "{names:?}");
        }
    }
}

/// A mount of the volume of `bench` that may use this key alone.
fn given(bench: &Bench, key: &crate::units::KeyUri, ttl: Duration) -> Bench {
    let folder = TempDir::new().unwrap();
    let mut options = ProviderOptions::default();
    options.restrict_to(std::slice::from_ref(key)).unwrap();
    let unlock = UnlockOptions {
        sharing: volume::Sharing::Shared,
        key_cache_ttl: ttl,
        ..UnlockOptions::default()
    };
    let providers = Arc::new(Providers::new(options));
    let volume = volume::open(&bench.path(), &unlock, providers).unwrap();
    let fs = FileSystem::new(Arc::new(volume), shared()).unwrap();
    Bench { fs, folder }
}

/// As a revoked key, and not as an outage: that would last for the grace of an hour.
#[test]
fn a_mount_whose_given_key_the_volume_loses_has_no_keys_within_its_ttl() {
    let keys = TempDir::new().unwrap();
    let second = keys.path().join("second");
    drop(FileProvider::create(&second).unwrap());
    let second = FileProvider::uri_of(&second).unwrap();
    let one = Bench::with_scope(NameMode::Plain, KeyScope::File, FsOptions::default());
    let one = one.reopened_with(shared());
    let change = |add: &[&crate::units::KeyUri], remove: &[&crate::units::KeyUri]| {
        let owned = |uris: &[&crate::units::KeyUri]| uris.iter().copied().cloned().collect();
        volume::KeyChange {
            add: owned(add),
            remove: owned(remove),
        }
    };
    let run = one.volume.begin_run().unwrap();
    one.volume
        .change_keys(&run, &change(&[&second], &[]))
        .unwrap();
    let ino = one.put(ROOT, b"f", b"secret");
    let other = given(&one, &second, Duration::from_secs(2));
    assert_eq!(other.find(ROOT, b"f").unwrap().ino, ino);
    let fh = other.opened(ino, false).unwrap();
    assert_eq!(other.read_all(fh).unwrap(), b"secret");
    one.volume
        .change_keys(&run, &change(&[], &[&second]))
        .unwrap();
    let options = volume::RenewalOptions {
        keys: one.volume.config().keys.clone(),
        exchange: None,
        verify: true,
        anew: false,
        calls_per_second: 0,
    };
    let renewal = one.volume.renewal(&options).unwrap();
    let place = one.fs.place(&one.fs.inode(ROOT).unwrap(), b"f").unwrap();
    one.fs
        .renew_slots(&place.dir, &place.cname, Some(b""), &renewal, false)
        .unwrap();
    one.volume.finish_removal(&run, &[second]).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let error = loop {
        match other.read_all(fh) {
            Ok(_) => assert!(Instant::now() < end, "it is still read"),
            Err(error) => break error,
        }
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(error.errno(), libc::EKEYREVOKED, "{error}");
    assert!(other.opened(ino, false).is_err());
    assert_eq!(one.content(ino).unwrap(), b"secret");
}

#[test]
fn of_many_who_make_one_file_one_does_and_the_others_look_again() {
    let (one, other) = pair(NameMode::Encrypted);
    for round in 0..40_u32 {
        let name = format!("n{round}").into_bytes();
        let must_be_new = round % 2 == 0;
        let results: Vec<_> = thread::scope(|scope| {
            let make = |bench| {
                let name = &name;
                scope.spawn(move || create(bench, name, must_be_new))
            };
            let threads = [make(&one), make(&other), make(&one), make(&other)];
            threads.map(|thread| thread.join().unwrap()).into()
        });
        let errno = if must_be_new {
            libc::EEXIST
        } else {
            libc::ESTALE
        };
        let made = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(made, 1);
        for result in results.into_iter().filter(Result::is_err) {
            refused(result, errno);
        }
        let inos = [&one, &other].map(|bench| bench.find(ROOT, &name).unwrap().ino);
        assert_eq!(inos[0], inos[1]);
        let left = std::fs::read_dir(one.path()).unwrap().count();
        assert_eq!(left, round as usize + 3, "debris beside the names");
    }
}

#[test]
fn a_file_that_came_by_another_way_is_looked_up_again() {
    let bench = Bench::new(NameMode::Encrypted);
    bench.put(ROOT, b"f", b"content");
    refused(create(&bench, b"f", true), libc::EEXIST);
    refused(create(&bench, b"f", false), libc::ESTALE);
    let ino = bench.find(ROOT, b"f").unwrap().ino;
    assert_eq!(bench.content(ino).unwrap(), b"content");
}

#[test]
fn a_replaced_name_is_not_opened_as_what_it_was() {
    for names in MODES {
        let (one, other) = pair(names);
        let old = one.put(ROOT, b"f", b"old");
        assert_eq!(other.find(ROOT, b"f").unwrap().ino, old);
        let reader = other.opened(old, false).unwrap();
        one.put(ROOT, b"new", b"new");
        one.mv((ROOT, b"new"), (ROOT, b"f")).unwrap();
        // Upon this the kernel looks the name up again.
        refused(other.opened(old, false), libc::ESTALE);
        refused(other.resize(old, 0), libc::ESTALE);
        let new = other.find(ROOT, b"f").unwrap().ino;
        assert_ne!(new, old);
        assert_eq!(other.content(new).unwrap(), b"new");
        // Who has the old one open keeps it, for every operation.
        assert_eq!(other.read_all(reader).unwrap(), b"old");
        assert_eq!(other.getattr(old, None).unwrap().size, 3);
        let mode = AttrChange {
            mode: Some(0o600),
            ..AttrChange::default()
        };
        assert_eq!(other.set(old, Some(reader), mode).unwrap().mode, 0o600);
        other.release(reader).unwrap();
    }
}

#[test]
fn a_renamed_file_is_found_and_stays_usable_by_its_handles() {
    for names in MODES {
        let (one, other) = pair(names);
        let ino = one.put(ROOT, b"f", b"content");
        other.find(ROOT, b"f").unwrap();
        let fh = other.opened(ino, true).unwrap();
        let folder = one.folder(ROOT, b"d");
        one.mv((ROOT, b"f"), (folder, b"g")).unwrap();
        refused(other.find(ROOT, b"f"), libc::ENOENT);
        other.write(fh, 0, b"CONTENT", false).unwrap();
        other.fsync(fh, SyncKind::All).unwrap();
        let size = AttrChange {
            size: Some(4),
            ..AttrChange::default()
        };
        assert_eq!(other.set(ino, Some(fh), size).unwrap().size, 4);
        let folder = other.find(ROOT, b"d").unwrap().ino;
        assert_eq!(other.find(folder, b"g").unwrap().ino, ino);
        assert_eq!(other.content(ino).unwrap(), b"CONT");
        other.release(fh).unwrap();
    }
}

#[test]
fn growth_by_fallocate_never_cuts_what_another_wrote() {
    let (one, other) = pair(NameMode::Encrypted);
    let (ino, fh) = one.make(ROOT, b"f").unwrap();
    other.find(ROOT, b"f").unwrap();
    let theirs = other.opened(ino, true).unwrap();
    other.write(theirs, 0, &pattern(30_000), false).unwrap();
    one.fallocate(fh, 0, 0, 10_000).unwrap();
    assert!(one.read_all(fh).unwrap() == pattern(30_000));
    one.fallocate(fh, 0, 0, 31_000).unwrap();
    assert_eq!(other.getattr(ino, Some(theirs)).unwrap().size, 31_000);
    one.release(fh).unwrap();
    other.release(theirs).unwrap();
}

#[test]
fn a_folder_removed_by_one_while_the_other_fills_it_keeps_what_is_in_it() {
    for names in MODES {
        let (one, other) = pair(names);
        for round in 0..60_u32 {
            let name = format!("n{round}").into_bytes();
            let folder = one.folder(ROOT, &name);
            let theirs = other.find(ROOT, &name).unwrap().ino;
            assert_eq!(folder, theirs);
            let (removed, made) = thread::scope(|scope| {
                let remover = scope.spawn(|| one.rmdir(ROOT, &name));
                let maker = scope.spawn(|| {
                    let made = wait(|done| other.fs.create(SELF, theirs, b"f", 0o600, true, done));
                    made.map(|made| other.release(made.opened.fh).unwrap())
                });
                (remover.join().unwrap(), maker.join().unwrap())
            });
            assert!(removed.is_err() || made.is_err(), "both succeeded");
            if let Err(error) = made {
                // The folder is gone, or on its way: then the kernel looks it up again.
                let errno = error.errno();
                assert!([libc::ENOENT, libc::ESTALE].contains(&errno), "{errno}");
            } else {
                let folder = one.find(ROOT, &name).unwrap().ino;
                assert_eq!(one.names_in(folder).unwrap(), [b"f".to_vec()]);
                assert_eq!(
                    one.content(one.find(folder, b"f").unwrap().ino).unwrap(),
                    b""
                );
            }
        }
    }
}

fn request(fh: Fh, owner: u64, first: u64, last: u64, kind: Option<LockKind>) -> LockRequest {
    LockRequest {
        fh,
        owner: LockOwner::Fcntl(owner),
        pid: owner as u32 + 100,
        range: LockRange::of_caller(first, last).unwrap(),
        kind,
    }
}

/// The same by `flock`.
fn whole(fh: Fh, owner: u64, kind: Option<LockKind>) -> LockRequest {
    LockRequest {
        owner: LockOwner::Flock(owner),
        ..request(fh, owner, 0, u64::MAX, kind)
    }
}

const WRITE: Option<LockKind> = Some(LockKind::Exclusive);
const READ: Option<LockKind> = Some(LockKind::Shared);

#[test]
fn locks_of_owners_in_both_mounts_exclude_each_other() {
    let (one, other) = pair(NameMode::Encrypted);
    let (ino, fh) = one.make(ROOT, b"f").unwrap();
    other.find(ROOT, b"f").unwrap();
    let theirs = other.opened(ino, true).unwrap();
    assert!(one.set_lock(&request(fh, 1, 0, 99, WRITE)).unwrap());
    // Another owner here, the same number there: neither is the holder.
    for (bench, fh, owner) in [(&one, fh, 2), (&other, theirs, 1)] {
        assert!(!bench.set_lock(&request(fh, owner, 50, 60, READ)).unwrap());
        let conflict = bench
            .find_conflict(&request(fh, owner, 50, 60, READ))
            .unwrap()
            .unwrap();
        let holder = if std::ptr::eq(bench, &one) { 101 } else { 0 };
        assert_eq!(conflict.range.bounds(), (0, 99));
        assert_eq!((conflict.kind, conflict.pid), (LockKind::Exclusive, holder));
        assert!(bench.set_lock(&request(fh, owner, 100, 100, READ)).unwrap());
    }
    // The owner himself is in nobody's way but others'.
    assert!(
        one.set_lock(&request(fh, 1, 40, 200, READ))
            .is_ok_and(|had| had)
    );
    one.set_lock(&request(fh, 1, 0, u64::MAX, None)).unwrap();
    assert!(other.set_lock(&request(theirs, 1, 0, 99, WRITE)).unwrap());
    assert!(!one.set_lock(&request(fh, 1, 0, 99, WRITE)).unwrap());
    one.release(fh).unwrap();
    other.release(theirs).unwrap();
}

#[test]
fn locks_end_with_a_close_by_their_owner_or_with_the_handle() {
    let (one, other) = pair(NameMode::Encrypted);
    let (ino, fh) = one.make(ROOT, b"f").unwrap();
    let second = one.opened(ino, true).unwrap();
    other.find(ROOT, b"f").unwrap();
    let theirs = other.opened(ino, true).unwrap();
    let free = |first| {
        other
            .find_conflict(&request(theirs, 9, first, first, WRITE))
            .unwrap()
            .is_none()
    };
    assert!(one.set_lock(&request(fh, 1, 0, 0, WRITE)).unwrap());
    assert!(one.set_lock(&request(fh, 2, 1, 1, WRITE)).unwrap());
    // Closing any handle of the file gives up what the process holds, and nobody else's.
    assert!(one.drop_locks(second, LockOwner::Fcntl(1)).unwrap());
    assert!(!one.drop_locks(second, LockOwner::Fcntl(1)).unwrap());
    assert!(free(0) && !free(1));
    one.release(second).unwrap();
    assert!(!free(1));
    one.release(fh).unwrap();
    assert!(free(1));
    refused(one.set_lock(&request(fh, 2, 1, 1, WRITE)), libc::EBADF);
    other.release(theirs).unwrap();
}

#[test]
fn locks_of_flock_and_of_fcntl_do_not_meet() {
    let (one, other) = pair(NameMode::Encrypted);
    let (ino, fh) = one.make(ROOT, b"f").unwrap();
    other.find(ROOT, b"f").unwrap();
    let theirs = other.opened(ino, true).unwrap();
    assert!(one.set_lock(&request(fh, 1, 0, u64::MAX, WRITE)).unwrap());
    // Not even of the same number.
    assert!(one.set_lock(&whole(fh, 1, WRITE)).unwrap());
    for kind in [WRITE, READ] {
        assert!(!one.set_lock(&whole(fh, 2, kind)).unwrap());
        assert!(!other.set_lock(&whole(theirs, 1, kind)).unwrap());
        let ranges = request(theirs, 1, 7, 7, kind);
        assert!(!other.set_lock(&ranges).unwrap());
    }
    // A close by the process ends the ranges, and the last of the open file the other.
    assert!(one.drop_locks(fh, LockOwner::Fcntl(1)).unwrap());
    assert!(
        other
            .set_lock(&request(theirs, 1, 0, u64::MAX, WRITE))
            .unwrap()
    );
    assert!(!other.set_lock(&whole(theirs, 1, READ)).unwrap());
    one.release(fh).unwrap();
    assert!(other.set_lock(&whole(theirs, 1, WRITE)).unwrap());
    other
        .write(theirs, 0, b"written under both", false)
        .unwrap();
    other.set_lock(&whole(theirs, 1, None)).unwrap();
    other.release(theirs).unwrap();
}

#[test]
fn who_wants_a_shared_flock_alone_lets_go_of_it_first() {
    let (one, other) = pair(NameMode::Encrypted);
    let (ino, fh) = one.make(ROOT, b"f").unwrap();
    other.find(ROOT, b"f").unwrap();
    let theirs = other.opened(ino, true).unwrap();
    assert!(one.set_lock(&whole(fh, 1, READ)).unwrap());
    assert!(other.set_lock(&whole(theirs, 1, READ)).unwrap());
    assert!(!one.set_lock(&whole(fh, 1, WRITE)).unwrap());
    // Neither waits for the other for ever.
    assert!(other.set_lock(&whole(theirs, 1, WRITE)).unwrap());
    assert!(!one.set_lock(&whole(fh, 1, READ)).unwrap());
    assert!(other.set_lock(&whole(theirs, 1, READ)).unwrap());
    assert!(one.set_lock(&whole(fh, 1, READ)).unwrap());
    // Ranges stay as they were where they cannot be exchanged.
    assert!(one.set_lock(&request(fh, 1, 0, 9, READ)).unwrap());
    assert!(other.set_lock(&request(theirs, 1, 0, 9, READ)).unwrap());
    assert!(!one.set_lock(&request(fh, 1, 0, 9, WRITE)).unwrap());
    assert!(!other.set_lock(&request(theirs, 1, 0, 9, WRITE)).unwrap());
    one.release(fh).unwrap();
    other.release(theirs).unwrap();
}

#[test]
fn a_lock_outlives_the_name_of_its_file() {
    let (one, other) = pair(NameMode::Encrypted);
    let (ino, fh) = one.make(ROOT, b"f").unwrap();
    other.find(ROOT, b"f").unwrap();
    let theirs = other.opened(ino, true).unwrap();
    one.unlink(ROOT, b"f").unwrap();
    assert!(one.set_lock(&request(fh, 1, 0, 0, WRITE)).unwrap());
    assert!(!other.set_lock(&request(theirs, 1, 0, 0, WRITE)).unwrap());
    one.write(fh, 0, b"still", false).unwrap();
    assert_eq!(other.read_all(theirs).unwrap(), b"still");
    one.release(fh).unwrap();
    other.release(theirs).unwrap();
}

#[test]
fn the_turn_to_write_is_no_lock_of_a_caller() {
    let (one, other) = pair(NameMode::Encrypted);
    let (ino, fh) = one.make(ROOT, b"f").unwrap();
    other.find(ROOT, b"f").unwrap();
    let theirs = other.opened(ino, true).unwrap();
    assert!(one.set_lock(&request(fh, 1, 0, u64::MAX, WRITE)).unwrap());
    // Locks are advisory.
    other.write(theirs, 0, b"written", false).unwrap();
    assert_eq!(one.append(fh, b" and more", false).unwrap(), 7);
    assert_eq!(other.read_all(theirs).unwrap(), b"written and more");
    one.release(fh).unwrap();
    other.release(theirs).unwrap();
}
