//! Does one operation of the file system some times, for its instructions and system calls to be counted:
//! `budget OPERATION FOLDER`.
//!
//! `scripts/budget.sh` counts what runs inside of [`counted`], on the thread that calls it: threads beside it (data keys made
//! ahead, the committer, the watch over keys) do no part of it. There is no kernel in between, so a request's way to and from
//! `/dev/fuse` is not in it. Prints how often the operation was done.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what cannot be set up has nothing to count, and the count is what is printed"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, mpsc};

use envelopefs::content::{SyncKind, with_buffer};
use envelopefs::crypto::random;
use envelopefs::format::layout::Layout;
use envelopefs::format::volume_config::{ForeignFiles, KeyScope, NameMode};
use envelopefs::fs::{Caller, Fh, FileSystem, FsError, FsOptions, Ino};
use envelopefs::keys::{FileProvider, ProviderOptions, Providers};
use envelopefs::storage;
use envelopefs::units::VolumeId;
use envelopefs::volume::{self, CreateOptions, UnlockOptions};

/// A request as the kernel makes it of a stream without large requests.
const REQUEST: usize = 128 << 10;
/// How often each operation is done; fewer files than a pool of data keys has.
const TIMES: usize = 48;
/// How often it is done before, until buffers have grown to what they are used for.
const WARM_UP: usize = 8;
const ROOT: Ino = Ino::ROOT;
const CALLER: Caller = Caller {
    ids: storage::Caller { uid: 0, gid: 0 },
    pid: 0,
    umask: 0,
};

/// All that is counted. Two system calls that nothing else here makes say to strace where it begins and ends.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    black_box(std::os::unix::process::parent_id());
    black_box(work)();
    black_box(std::os::unix::process::parent_id());
}

/// Makes a volume as `envelopefs init` does, in that empty folder.
fn make(folder: &Path) {
    let key = folder.join("key");
    drop(FileProvider::create(&key).unwrap());
    let create = CreateOptions {
        volume_id: VolumeId(random::array()),
        layout: Layout::DEFAULT,
        names: NameMode::Encrypted,
        key_scope: KeyScope::File,
        foreign_files: ForeignFiles::Deny,
        keys: vec![FileProvider::uri_of(&key).unwrap()],
        volume_keys: Vec::new(),
    };
    let providers = Providers::new(ProviderOptions::default());
    volume::create(&folder.join("volume"), &create, &providers).unwrap();
}

fn serve(folder: &Path) -> Arc<FileSystem> {
    let providers = Arc::new(Providers::new(ProviderOptions::default()));
    let path = folder.join("volume");
    let volume = volume::open(&path, &UnlockOptions::default(), providers).unwrap();
    FileSystem::new(Arc::new(volume), FsOptions::default()).unwrap()
}

fn names(what: &str) -> Vec<Vec<u8>> {
    (0..TIMES)
        .map(|nth| format!("{what}-{nth}").into_bytes())
        .collect()
}

/// Waits for what `start` hands to its callback, perhaps on another thread.
fn wait<T: Send + 'static>(start: impl FnOnce(Box<dyn FnOnce(Result<T, FsError>) + Send>)) -> T {
    let (done, result) = mpsc::channel();
    start(Box::new(move |value| done.send(value).unwrap()));
    result.recv().unwrap().unwrap()
}

fn create(fs: &Arc<FileSystem>, name: &[u8]) -> (Ino, Fh) {
    let made = wait(|done| fs.create(CALLER, ROOT, name, 0o644, true, done));
    (made.entry.attr.ino, made.opened.fh)
}

fn open(fs: &Arc<FileSystem>, ino: Ino) -> Fh {
    wait(|done| fs.open(CALLER, ino, false, done)).fh
}

/// Closed files of these names, which the kernel would have forgotten.
fn forgotten_files(fs: &Arc<FileSystem>, names: &[Vec<u8>]) {
    for name in names {
        let (ino, fh) = create(fs, name);
        fs.write(fh, 0, &[7; 1024], false).unwrap();
        fs.flush(fh).unwrap();
        fs.release(fh).unwrap();
        fs.forget(ino, 1);
    }
}

/// An open file of so many requests, all written and committed.
fn written_file(fs: &Arc<FileSystem>) -> Fh {
    let (_ino, fh) = create(fs, b"stream");
    let data = vec![0x5a; REQUEST];
    for nth in 0..WARM_UP + TIMES {
        fs.write(fh, (nth * REQUEST) as u64, &data, false).unwrap();
    }
    fs.fsync(fh, SyncKind::All).unwrap();
    fh
}

/// One request after the other.
fn in_requests(mut request: impl FnMut(u64)) {
    let mut offsets = (0..).step_by(REQUEST);
    offsets.by_ref().take(WARM_UP).for_each(&mut request);
    counted(&mut || offsets.by_ref().take(TIMES).for_each(&mut request));
}

fn read(fs: &Arc<FileSystem>) {
    let fh = written_file(fs);
    in_requests(|at| {
        let read = with_buffer(REQUEST, |buffer| fs.read(fh, at, buffer));
        assert_eq!(read.unwrap(), REQUEST);
    });
}

/// At the end of a file that grows, as a stream does.
fn write(fs: &Arc<FileSystem>) {
    let (_ino, fh) = create(fs, b"stream");
    let data = vec![0xa5; REQUEST];
    in_requests(|at| fs.write(fh, at, &data, false).unwrap());
}

fn lookup(fs: &Arc<FileSystem>) {
    let names = names("looked-up");
    forgotten_files(fs, &names);
    fs.lookup(ROOT, b"not there").unwrap_err();
    counted(&mut || {
        for name in &names {
            fs.lookup(ROOT, name).unwrap();
        }
    });
}

/// Of files whose keys are in memory.
fn opens(fs: &Arc<FileSystem>) {
    let names = names("opened");
    forgotten_files(fs, &names);
    opens_of(fs, &names);
}

/// Of files that were made before the mount, whose keys have to be unwrapped.
fn first_opens(folder: &Path) {
    let names = names("opened-first");
    let fs = serve(folder);
    forgotten_files(&fs, &names);
    fs.shut_down();
    drop(fs);
    let fs = serve(folder);
    opens_of(&fs, &names);
    fs.shut_down();
}

fn opens_of(fs: &Arc<FileSystem>, names: &[Vec<u8>]) {
    let found = names
        .iter()
        .map(|name| fs.lookup(ROOT, name).unwrap().attr.ino);
    let found: Vec<Ino> = found.collect();
    counted(&mut || {
        for ino in &found {
            fs.release(open(fs, *ino)).unwrap();
        }
    });
}

/// What ran on another thread would not be counted: the data keys have to be there.
fn creates(fs: &Arc<FileSystem>) {
    let (_ino, first) = create(fs, b"first");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let names = names("new");
    let (done, made) = mpsc::channel();
    counted(&mut || {
        for name in &names {
            let done = done.clone();
            fs.create(CALLER, ROOT, name, 0o644, true, move |new| {
                done.send((std::thread::current().id(), new)).unwrap();
            });
        }
    });
    fs.release(first).unwrap();
    for _ in &names {
        let (thread, new) = made.recv().unwrap();
        assert_eq!(thread, std::thread::current().id(), "no data key was ready");
        fs.release(new.unwrap().opened.fh).unwrap();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, operation, folder] = arguments.as_slice() else {
        panic!("usage: budget read|write|lookup|open|first-open|create FOLDER");
    };
    let folder = Path::new(folder);
    make(folder);
    if operation == "first-open" {
        first_opens(folder);
        println!("{TIMES}");
        return;
    }
    let fs = serve(folder);
    match operation.as_str() {
        "read" => read(&fs),
        "write" => write(&fs),
        "lookup" => lookup(&fs),
        "open" => opens(&fs),
        "create" => creates(&fs),
        other => panic!("no operation is called {other}"),
    }
    fs.shut_down();
    println!("{TIMES}");
}
