//! Key slots of files are renewed while the files are open, closed, moved and written.

use super::*;
use crate::content::{Probe, SyncKind, probe};
use crate::format::header::FileHeader;
use crate::storage::{Access, CName, Node};
use crate::units::KeyUri;
use crate::volume::{DoneList, KeyChange, Renewal, RenewalOptions};

/// A volume of scope `file`, or its mount.
fn bench(options: FsOptions) -> Bench {
    let bench = Bench::with_scope(NameMode::Encrypted, KeyScope::File, options);
    assert_eq!(bench.fs.volume.config().keys.len(), 1);
    bench
}

fn key(bench: &Bench) -> KeyUri {
    bench.fs.volume.config().keys[0].clone()
}

/// A new version of the key, and what slots should be then.
fn rotated(bench: &Bench) -> Renewal {
    FileProvider::open(&key(bench)).unwrap().rotate().unwrap();
    renewal(bench)
}

fn renewal(bench: &Bench) -> Renewal {
    let options = RenewalOptions {
        keys: bench.fs.volume.config().keys.clone(),
        verify: true,
        exchange: None,
        anew: false,
        calls_per_second: 0,
    };
    bench.fs.volume.renewal(&options).unwrap()
}

/// The folder and the ciphertext name of an entry of the root.
fn place(bench: &Bench, name: &[u8]) -> (Arc<Node>, CName) {
    let root = bench.fs.inode(ROOT).unwrap();
    let place = bench.fs.place(&root, name).unwrap();
    (place.dir, place.cname)
}

fn renew(bench: &Bench, name: &[u8], renewal: &Renewal) -> Result<Renewed, FsError> {
    let (dir, cname) = place(bench, name);
    bench.fs.renew_slots(&dir, &cname, None, renewal, false)
}

fn on_disk(bench: &Bench, name: &[u8]) -> FileHeader {
    let (dir, cname) = place(bench, name);
    let file = dir.open_child_file(&cname, Access::Read).unwrap();
    match probe(&file, bench.fs.volume.layout()).unwrap() {
        Probe::Sealed(header) => header,
        Probe::Empty => panic!("no header"),
    }
}

fn version(bench: &Bench, name: &[u8]) -> String {
    on_disk(bench, name).epochs[0].slots[0].key_version.clone()
}

#[test]
fn closed_open_read_only_and_empty_files_get_the_newest_version_and_keep_their_content_and_times() {
    let bench = bench(FsOptions::default());
    let contents: [(&[u8], usize); 4] = [
        (b"small", 100),
        (b"large", 50_000),
        (b"open", 20_000),
        (b"read", 9000),
    ];
    for (name, len) in contents {
        bench.put(ROOT, name, &pattern(len));
    }
    let (_, empty) = bench.make(ROOT, b"empty").unwrap();
    let bench = {
        bench.fs.release(empty).unwrap();
        bench.reopened()
    };
    let ino = |name| bench.find(ROOT, name).unwrap().ino;
    let writer = bench.opened(ino(b"open"), true).unwrap();
    let reader = bench.opened(ino(b"read"), false).unwrap();
    let before: Vec<_> = contents
        .map(|(name, _)| bench.find(ROOT, name).unwrap().mtime)
        .to_vec();
    let renewal = rotated(&bench);
    for name in [&b"small"[..], b"large", b"open", b"read", b"empty"] {
        assert_eq!(renew(&bench, name, &renewal).unwrap(), Renewed::Changed);
        assert_eq!(renew(&bench, name, &renewal).unwrap(), Renewed::Right);
        assert_eq!(version(&bench, name), "2");
    }
    let after: Vec<_> = contents
        .map(|(name, _)| bench.find(ROOT, name).unwrap().mtime)
        .to_vec();
    assert_eq!(after, before);
    // A commit of the open file must not bring the old slots back.
    bench.fs.write(writer, 0, &pattern(30_000), false).unwrap();
    bench.fs.fsync(writer, SyncKind::All).unwrap();
    assert_eq!(version(&bench, b"open"), "2");
    bench.fs.release(writer).unwrap();
    bench.fs.release(reader).unwrap();
    let bench = bench.reopened();
    for (name, len) in contents {
        let len = if name == b"open" { 30_000 } else { len };
        let ino = bench.find(ROOT, name).unwrap().ino;
        assert_eq!(bench.content(ino).unwrap(), pattern(len));
        assert_eq!(version(&bench, name), "2");
    }
}

#[test]
fn a_file_that_is_being_made_gets_it_with_its_first_header() {
    let bench = bench(FsOptions::default());
    let (ino, fh) = bench.make(ROOT, b"new").unwrap();
    let renewal = rotated(&bench);
    assert_eq!(renew(&bench, b"new", &renewal).unwrap(), Renewed::Changed);
    bench.fs.write(fh, 0, b"first", false).unwrap();
    bench.fs.release(fh).unwrap();
    assert_eq!(version(&bench, b"new"), "2");
    assert_eq!(bench.content(ino).unwrap(), b"first");
}

#[test]
fn what_is_no_file_of_the_volume_is_left_alone() {
    let bench = bench(FsOptions::default());
    bench.folder(ROOT, b"folder");
    bench.put(ROOT, b"foreign", &pattern(10));
    let renewal = rotated(&bench);
    for name in [&b"folder"[..], b"missing"] {
        assert_eq!(renew(&bench, name, &renewal).unwrap(), Renewed::Gone);
    }
    let path = bench.on_disk(b"foreign");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[96..128].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(
        renew(&bench, b"foreign", &renewal).unwrap(),
        Renewed::Foreign
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::write(&path, [0; 4096]).unwrap();
    assert_eq!(renew(&bench, b"foreign", &renewal).unwrap(), Renewed::Empty);
    std::fs::write(&path, b"no header at all").unwrap();
    assert_eq!(
        renew(&bench, b"foreign", &renewal).unwrap(),
        Renewed::Foreign
    );
    bytes[8] = 9;
    std::fs::write(&path, &bytes).unwrap();
    assert!(renew(&bench, b"foreign", &renewal).is_err());
}

#[test]
fn a_dry_run_says_what_is_due_and_writes_nothing() {
    let bench = bench(FsOptions::default());
    bench.put(ROOT, b"f", &pattern(5000));
    let renewal = rotated(&bench);
    let before = std::fs::read(bench.on_disk(b"f")).unwrap();
    let (dir, cname) = place(&bench, b"f");
    let dry = bench.fs.renew_slots(&dir, &cname, None, &renewal, true);
    assert_eq!(dry.unwrap(), Renewed::Changed);
    assert_eq!(std::fs::read(bench.on_disk(b"f")).unwrap(), before);
}

#[test]
fn slots_that_do_not_open_leave_the_file_as_it_was() {
    let bench = bench(FsOptions::default());
    bench.put(ROOT, b"f", &pattern(5000));
    let bench = bench.reopened();
    let path = bench.on_disk(b"f");
    let mut bytes = std::fs::read(&path).unwrap();
    // In the wrapped key of the first slot.
    let at = 196 + 3 * 8 + key(&bench).as_str().len() + 1 + 30;
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(renew(&bench, b"f", &rotated(&bench)).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn inodes_are_given_back() {
    let bench = bench(FsOptions::default());
    let ino = bench.put(ROOT, b"f", &pattern(10));
    bench.fs.forget(ino, 1);
    let before = bench.fs.stats().inodes;
    let renewal = rotated(&bench);
    renew(&bench, b"f", &renewal).unwrap();
    assert_eq!(bench.fs.stats().inodes, before);
}

#[test]
fn a_run_that_begins_while_a_file_is_on_its_way_to_its_name_finds_it() {
    let bench = bench(FsOptions::default());
    bench.put(ROOT, b"first", b"its pool is there");
    // It has its keys, and waits for its name.
    let root = bench.fs.inode(ROOT).unwrap();
    let names = root.names().read();
    let (done, made) = mpsc::channel();
    std::thread::scope(|scope| {
        let fs = &bench.fs;
        scope.spawn(move || {
            let done = move |made| done.send(made).unwrap();
            fs.create(SELF, ROOT, b"late", 0o644, true, done);
        });
        while !fs.volume.is_making_files() {
            std::thread::yield_now();
        }
        let run = scope.spawn(|| rotated(&bench));
        // Without waiting it would be over long before.
        for _ in 0..50 {
            if run.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(names);
        let renewal = run.join().unwrap();
        let (dir, cname) = place(&bench, b"late");
        let file = bench.fs.visit(&dir, &cname).unwrap();
        let found = file.and_then(|visit| bench.fs.admitted_header(&visit).unwrap().ok());
        assert!(
            found.is_some(),
            "the run passes by a file that keeps its old slots"
        );
        assert_eq!(renew(&bench, b"late", &renewal).unwrap(), Renewed::Changed);
    });
    let made = made.recv().unwrap().unwrap();
    bench.fs.release(made.opened.fh).unwrap();
    assert_eq!(version(&bench, b"late"), "2");
    assert!(!bench.fs.volume.is_making_files());
}

#[test]
fn in_a_shared_volume_a_file_whose_keys_went_meanwhile_gets_no_name() {
    let shared = FsOptions {
        shared: true,
        ..FsOptions::default()
    };
    let one = bench(shared.clone());
    let other = serve(&one.folder, shared);
    let (done, new) = mpsc::channel();
    one.fs
        .volume
        .new_file(|| Some(Vec::new()), move |new| done.send(new).unwrap());
    let new = new.recv().unwrap().unwrap();
    assert!(one.fs.volume.is_of_this_moment(&new.being_made));
    let second = one.folder.path().join("second");
    drop(FileProvider::create(&second).unwrap());
    let change = KeyChange {
        add: vec![FileProvider::uri_of(&second).unwrap()],
        remove: vec![key(&one)],
    };
    let sole = other.volume.begin_run().unwrap();
    other.volume.change_keys(&sole, &change).unwrap();
    assert!(!one.fs.volume.is_of_this_moment(&new.being_made));
    refused(
        one.fs
            .create_file(SELF, &one.fs.inode(ROOT).unwrap(), b"late", 0o644, new),
        libc::ESTALE,
    );
    assert_eq!(one.disk_entries().len(), 0);
    let made = one.put(ROOT, b"late", b"of the second key");
    one.fs.forget(made, 1);
    let slots = &on_disk(&one, b"late").epochs[0].slots;
    assert_eq!(
        slots.iter().map(|slot| &slot.key_uri).collect::<Vec<_>>(),
        change.add.iter().collect::<Vec<_>>()
    );
}

/// A file without a name, with some content: its number and its handle.
fn nameless(fs: &Arc<FileSystem>) -> (Ino, Fh) {
    let made = wait(|done| fs.tmpfile(SELF, ROOT, 0o600, done)).unwrap();
    let fh = made.opened.fh;
    fs.write(fh, 0, &pattern(9000), false).unwrap();
    (made.entry.attr.ino, fh)
}

#[test]
fn files_without_a_name_are_found_by_a_run_before_they_get_one() {
    for closed in [false, true] {
        let bench = bench(FsOptions::default());
        let (ino, fh) = nameless(&bench.fs);
        if closed {
            bench.fs.release(fh).unwrap();
        }
        let watch = bench.fs.watch_moves();
        let renewal = rotated(&bench);
        let found = bench.fs.nameless();
        assert_eq!(found.iter().map(|file| file.ino).collect::<Vec<_>>(), [ino]);
        assert_eq!(found[0].folder.as_deref(), Some(&b"/"[..]));
        let renew = || bench.fs.renew_slots_of_nameless(&found[0], &renewal);
        assert_eq!(renew().unwrap(), Renewed::Changed);
        assert_eq!(renew().unwrap(), Renewed::Right);
        // One that gets its name before the run comes to it is found as what moved.
        bench.fs.link(ino, ROOT, b"f").unwrap();
        assert_eq!(renew().unwrap(), Renewed::Gone);
        assert_eq!(watch.take().len(), 1);
        assert!(bench.fs.nameless().is_empty());
        assert_eq!(version(&bench, b"f"), "2");
        assert_eq!(bench.content(ino).unwrap(), pattern(9000));
        if !closed {
            bench.fs.release(fh).unwrap();
        }
        drop(watch);
        let bench = bench.reopened();
        let ino = bench.find(ROOT, b"f").unwrap().ino;
        assert_eq!(bench.content(ino).unwrap(), pattern(9000));
    }
}

#[test]
fn files_without_a_name_get_new_data_keys_like_others() {
    let bench = bench(FsOptions::default());
    let (ino, fh) = nameless(&bench.fs);
    let before = bench.fs.inode(ino).unwrap().open_file().unwrap();
    let commitment = |file: &crate::content::OpenFile| file.header().unwrap().newest().commitment;
    let old = commitment(&before);
    let sole = bench.fs.volume.begin_run().unwrap();
    let done = bench.fs.volume.new_done_list(&sole, false).unwrap();
    let renewal = renewal(&bench);
    let file = bench.fs.nameless().remove(0);
    let changed = bench
        .fs
        .reencrypt_nameless(&file, &renewal, &done, &mut |_step| true);
    assert_eq!(changed.unwrap(), Renewed::Changed);
    assert_ne!(commitment(&before), old);
    assert!(done.has(&commitment(&before)));
    drop(before);
    bench.fs.link(ino, ROOT, b"f").unwrap();
    bench.fs.release(fh).unwrap();
    assert_eq!(on_disk(&bench, b"f").epochs.len(), 1);
    assert_eq!(bench.content(ino).unwrap(), pattern(9000));
}

#[test]
fn in_a_shared_volume_a_nameless_file_whose_keys_went_meanwhile_gets_no_name() {
    let shared = FsOptions {
        shared: true,
        ..FsOptions::default()
    };
    let one = bench(shared.clone());
    let other = serve(&one.folder, shared);
    let (late, fh) = nameless(&one.fs);
    let second = one.folder.path().join("second");
    drop(FileProvider::create(&second).unwrap());
    let change = KeyChange {
        add: vec![FileProvider::uri_of(&second).unwrap()],
        remove: Vec::new(),
    };
    let sole = other.volume.begin_run().unwrap();
    other.volume.change_keys(&sole, &change).unwrap();
    refused(one.fs.link(late, ROOT, b"late"), libc::ESTALE);
    assert!(one.disk_entries().is_empty());
    // What it holds is not lost, and a run of this mount's own brings its keys to this moment's.
    assert_eq!(one.read_all(fh).unwrap(), pattern(9000));
    let renewal = renewal(&one);
    let file = one.fs.nameless().remove(0);
    let renewed = one.fs.renew_slots_of_nameless(&file, &renewal);
    assert_eq!(renewed.unwrap(), Renewed::Changed);
    one.fs.link(late, ROOT, b"late").unwrap();
    one.fs.release(fh).unwrap();
    assert_eq!(on_disk(&one, b"late").epochs[0].slots.len(), 2);
}

#[test]
fn moves_and_links_are_noted_while_somebody_watches() {
    let bench = bench(FsOptions::default());
    bench.put(ROOT, b"a", b"");
    let folder = bench.folder(ROOT, b"folder");
    bench.mv((ROOT, b"a"), (ROOT, b"b")).unwrap();
    let watch = bench.fs.watch_moves();
    assert_eq!(watch.take().len(), 0);
    bench.mv((ROOT, b"b"), (folder, b"c")).unwrap();
    let found = bench.find(folder, b"c").unwrap().ino;
    bench.fs.link(found, ROOT, b"d").unwrap();
    bench.put(ROOT, b"e", b"of this moment's keys");
    let noted = watch.take();
    assert_eq!(noted.len(), 2);
    assert!(
        noted
            .iter()
            .all(|moved| moved.dir.stat_child(&moved.cname).is_ok())
    );
    assert_eq!(watch.take().len(), 0);
    bench.mv((ROOT, b"d"), (ROOT, b"f")).unwrap();
    drop(watch);
    assert_eq!(bench.fs.watch_moves().take().len(), 0);
}

#[test]
fn another_mount_that_has_the_file_open_does_not_bring_old_slots_back() {
    let shared = FsOptions {
        shared: true,
        ..FsOptions::default()
    };
    let one = bench(shared.clone());
    let ino = one.put(ROOT, b"f", &pattern(20_000));
    let fh = one.opened(ino, true).unwrap();
    let other = serve(&one.folder, shared);
    let (dir, cname) = place(&one, b"f");
    FileProvider::open(&key(&one)).unwrap().rotate().unwrap();
    let options = RenewalOptions {
        keys: other.volume.config().keys.clone(),
        verify: true,
        exchange: None,
        anew: false,
        calls_per_second: 0,
    };
    let renewal = other.volume.renewal(&options).unwrap();
    let renewed = other.renew_slots(&dir, &cname, None, &renewal, false);
    assert_eq!(renewed.unwrap(), Renewed::Changed);
    one.fs.write(fh, 5, b"more", false).unwrap();
    one.fs.fsync(fh, SyncKind::All).unwrap();
    one.fs.write(fh, 19_990, &pattern(5000), false).unwrap();
    one.fs.release(fh).unwrap();
    assert_eq!(version(&one, b"f"), "2");
}

#[test]
fn files_made_while_keys_change_are_of_the_new_keys_or_noted() {
    let bench = bench(FsOptions::default());
    let other = bench.folder.path().join("other");
    drop(FileProvider::create(&other).unwrap());
    let other = FileProvider::uri_of(&other).unwrap();
    let watch = bench.fs.watch_moves();
    let changed = std::sync::atomic::AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let maker = scope.spawn(|| {
            let mut count: u32 = 0;
            while !changed.load(std::sync::atomic::Ordering::Acquire) || count < 50 {
                bench.put(ROOT, format!("{count}").as_bytes(), b"x");
                count += 1;
            }
            count
        });
        let run = bench.fs.volume.begin_run().unwrap();
        let change = KeyChange {
            add: vec![other.clone()],
            remove: vec![key(&bench)],
        };
        bench.fs.volume.change_keys(&run, &change).unwrap();
        changed.store(true, std::sync::atomic::Ordering::Release);
        maker.join().unwrap()
    });
    // As the walk does that begins after the change.
    let renewal = renewal(&bench);
    for number in 0..made {
        renew(&bench, format!("{number}").as_bytes(), &renewal).unwrap();
    }
    for Moved { dir, cname, .. } in watch.take() {
        bench
            .fs
            .renew_slots(&dir, &cname, None, &renewal, false)
            .unwrap();
    }
    for number in 0..made {
        let header = on_disk(&bench, format!("{number}").as_bytes());
        assert_eq!(header.epochs[0].slots[0].key_uri, other, "{number}");
    }
}

fn done_list(bench: &Bench) -> DoneList {
    let run = bench.fs.volume.begin_run().unwrap();
    bench.fs.volume.new_done_list(&run, false).unwrap()
}

fn rekey(bench: &Bench, name: &[u8], done: &DoneList) -> Result<Renewed, FsError> {
    let (dir, cname) = place(bench, name);
    let renewal = renewal(bench);
    bench
        .fs
        .reencrypt(&dir, &cname, None, &renewal, Some(done), &mut |_step| true)
}

#[test]
fn every_file_gets_a_new_data_key_that_any_of_its_keys_opens_and_keeps_its_content() {
    for scope in [KeyScope::File, KeyScope::Volume] {
        let bench = Bench::with_scope(NameMode::Encrypted, scope, FsOptions::default());
        let contents: [(&[u8], usize); 4] = [
            (b"none", 0),
            (b"small", 100),
            (b"large", 700_000),
            (b"open", 9000),
        ];
        for (name, len) in contents {
            bench.put(ROOT, name, &pattern(len));
        }
        let bench = bench.reopened();
        let before = contents.map(|(name, _)| on_disk(&bench, name));
        let open = bench
            .opened(bench.find(ROOT, b"open").unwrap().ino, false)
            .unwrap();
        let done = done_list(&bench);
        for (name, _) in contents {
            assert_eq!(rekey(&bench, name, &done).unwrap(), Renewed::Changed);
            assert_eq!(rekey(&bench, name, &done).unwrap(), Renewed::Right);
        }
        assert_eq!(bench.read_all(open).unwrap(), pattern(9000));
        bench.fs.release(open).unwrap();
        let bench = bench.reopened();
        for ((name, len), before) in contents.into_iter().zip(before) {
            let after = on_disk(&bench, name);
            assert_eq!(after.epochs.len(), 1);
            assert_eq!(after.epochs[0].epoch.0, before.epochs[0].epoch.0 + 1);
            assert_ne!(after.epochs[0].commitment, before.epochs[0].commitment);
            assert!(bench.fs.volume.wrote(&after).unwrap());
            let ino = bench.find(ROOT, name).unwrap().ino;
            assert_eq!(bench.content(ino).unwrap(), pattern(len));
        }
    }
}

#[test]
fn one_that_was_stopped_in_the_middle_reads_on_and_the_next_run_ends_it() {
    let bench = bench(FsOptions::default());
    let content = pattern(900_000);
    bench.put(ROOT, b"f", &content);
    let done = done_list(&bench);
    let (dir, cname) = place(&bench, b"f");
    let stopped = bench.fs.reencrypt(
        &dir,
        &cname,
        None,
        &renewal(&bench),
        Some(&done),
        &mut |_step| false,
    );
    assert_eq!(stopped.unwrap(), Renewed::Unfinished);
    assert!(done.is_empty());
    let bench = bench.reopened();
    assert_eq!(on_disk(&bench, b"f").epochs.len(), 2);
    let ino = bench.find(ROOT, b"f").unwrap().ino;
    assert_eq!(bench.content(ino).unwrap(), content);
    // Slots of both keys follow a rotation meanwhile.
    assert_eq!(
        renew(&bench, b"f", &rotated(&bench)).unwrap(),
        Renewed::Changed
    );
    let header = on_disk(&bench, b"f");
    assert!(
        header
            .epochs
            .iter()
            .all(|epoch| epoch.slots[0].key_version == "2")
    );
    assert_eq!(
        rekey(&bench, b"f", &done_list(&bench)).unwrap(),
        Renewed::Changed
    );
    let header = on_disk(&bench, b"f");
    // The key that the stopped run gave is not trusted to be new enough.
    assert_eq!(
        header
            .epochs
            .iter()
            .map(|epoch| epoch.epoch.0)
            .collect::<Vec<_>>(),
        [3]
    );
    let bench = bench.reopened();
    let ino = bench.find(ROOT, b"f").unwrap().ino;
    assert_eq!(bench.content(ino).unwrap(), content);
}

#[test]
fn what_gets_no_new_key_is_told() {
    let bench = bench(FsOptions::default());
    bench.folder(ROOT, b"folder");
    bench.put(ROOT, b"f", &pattern(10));
    let done = done_list(&bench);
    assert_eq!(rekey(&bench, b"folder", &done).unwrap(), Renewed::Gone);
    assert_eq!(rekey(&bench, b"missing", &done).unwrap(), Renewed::Gone);
    let (dir, cname) = place(&bench, b"f");
    let before = std::fs::read(bench.on_disk(b"f")).unwrap();
    let dry = bench
        .fs
        .reencrypt(&dir, &cname, None, &renewal(&bench), None, &mut |_step| {
            true
        });
    assert_eq!(dry.unwrap(), Renewed::Changed);
    assert_eq!(std::fs::read(bench.on_disk(b"f")).unwrap(), before);
}

#[test]
fn paths_are_found_from_the_root_on_and_inodes_given_back() {
    let bench = bench(FsOptions::default());
    let folder = bench.folder(ROOT, b"folder");
    let file = bench.put(folder, b"file", b"x");
    bench.fs.forget(file, 1);
    bench.fs.forget(folder, 1);
    let before = bench.fs.stats().inodes;
    let (dir, cname) = bench.fs.locate(b"/folder//file").unwrap().unwrap();
    assert!(dir.stat_child(&cname).is_ok());
    assert!(bench.fs.locate(b"/").unwrap().is_none());
    refused(bench.fs.locate(b"folder/none"), libc::ENOENT);
    refused(bench.fs.locate(b"none/file"), libc::ENOENT);
    refused(bench.fs.locate(b"folder/file/below"), libc::ENOTDIR);
    assert_eq!(bench.fs.stats().inodes, before);
}

#[test]
fn readers_and_writers_go_on_while_a_file_gets_a_new_key() {
    let bench = bench(FsOptions::default());
    let content = pattern(600_000);
    let ino = bench.put(ROOT, b"f", &content);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..2_u64 {
            let (bench, done, content) = (&bench, &done, &content);
            scope.spawn(move || {
                let fh = bench.opened(ino, true).unwrap();
                let mut round = number;
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    // Each of the two rewrites what is there, in its own half.
                    let at = (number * 300_000 + round * 4999 % 290_000) as usize;
                    bench
                        .fs
                        .write(fh, at as u64, &content[at..at + 5000], false)
                        .unwrap();
                    let mut read = vec![0; 7000];
                    let got = bench.fs.read(fh, at as u64, &mut read).unwrap();
                    assert_eq!(read[..got], content[at..at + got]);
                    round += 1;
                }
                bench.fs.release(fh).unwrap();
            });
        }
        for _ in 0..3 {
            let list = done_list(&bench);
            assert_eq!(rekey(&bench, b"f", &list).unwrap(), Renewed::Changed);
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    assert_eq!(on_disk(&bench, b"f").epochs[0].epoch.0, 4);
    let bench = bench.reopened();
    let ino = bench.find(ROOT, b"f").unwrap().ino;
    assert_eq!(bench.content(ino).unwrap(), content);
}
