//! One pass over all files: a walk over the ciphertext folder, workers, and word of how far it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Counts, Event, Failed, Reins};
use crate::audit::{self, Field, Kind};
use crate::fs::{FileSystem, FsError, MoveWatch, Moved, Nameless, Renewed};
use crate::maint::{Folder, Unread, join, walk};
use crate::storage::{CName, FileKind, Node};
use crate::units::DirId;
use crate::volume::{Listed, Volume};

/// Files that wait for a worker: each keeps its folder open.
const WAITING: usize = 64;
/// How often whoever asked is told how far the pass is.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// A file to be worked on.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: Arc<Node>,
    pub(super) cname: CName,
    /// The path of its folder in the mount; `None` where that is not known.
    pub(super) folder: Option<Vec<u8>>,
    /// As the mount shows it.
    pub(super) path: String,
}

impl Place {
    /// Tells the audit of a file that was changed, or that could not be.
    pub(super) fn tell(&self, volume: &Volume, kind: Kind, done: &Result<Renewed, FsError>) {
        let event = || audit::Event::new(kind).with(Field::Path, self.path.as_str());
        match done {
            Ok(Renewed::Changed) => volume.note(|| event().with(Field::Result, "granted")),
            Ok(_) => {}
            Err(error) => volume.note(|| {
                event()
                    .with(Field::Result, "failed")
                    .with(Field::Message, error.to_string())
            }),
        }
    }
}

/// What is done to one file.
pub(super) type Work<'a> = dyn Fn(&Place) -> Result<Renewed, FsError> + Sync + 'a;

/// What the passes of one run share.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
    failures: Mutex<Vec<Failed>>,
}

impl Tally {
    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// A pass that looks at every file once more counts them anew; what was changed stays counted.
    pub(super) fn begin_again(&self) {
        let mut counts = self.counts.lock();
        *counts = Counts {
            changed: counts.changed,
            ..Counts::default()
        };
    }

    /// So many bytes were written anew.
    pub(super) fn wrote(&self, bytes: u64) {
        self.counts.lock().bytes += bytes;
    }

    pub(super) fn fail(&self, path: String, why: &dyn std::fmt::Display) {
        self.counts.lock().failed += 1;
        let why = why.to_string();
        // Names are for whoever asked: a log may lie where others read it.
        tracing::warn!(why, "a run left a file as it was");
        self.failures.lock().push(Failed { path, why });
    }

    /// No name leads to these, so no run does; their slots of a key that goes are still needed.
    pub(super) fn fail_deleted(&self, count: usize) {
        for _ in 0..count {
            let why = "it was deleted and is still open, by a key that is to go: run this again once it is closed";
            self.fail("(deleted)".to_owned(), &why);
        }
    }

    fn count(&self, path: &str, done: Result<Renewed, FsError>) {
        let done = match done {
            // It went, or its folder did, while the pass was on its way there.
            Err(error) if error.errno() == libc::ENOENT => Ok(Renewed::Gone),
            done => done,
        };
        let mut counts = self.counts.lock();
        match done {
            Ok(Renewed::Gone | Renewed::Unfinished) => return,
            Ok(Renewed::Changed) => counts.changed += 1,
            Ok(Renewed::Right) => counts.right += 1,
            Ok(Renewed::Empty) => counts.empty += 1,
            Ok(Renewed::Foreign) => counts.foreign += 1,
            Err(error) => {
                drop(counts);
                self.fail(path.to_owned(), &error);
                counts = self.counts.lock();
            }
        }
        counts.files += 1;
    }

    /// Tells what is new; says whether somebody still listens.
    pub(super) fn tell(&self, tell: &mut dyn FnMut(Event) -> bool) -> bool {
        let failures = std::mem::take(&mut *self.failures.lock());
        let mut heard = failures
            .into_iter()
            .all(|failed| tell(Event::Failure(failed)));
        heard = heard && tell(Event::Progress(self.counts()));
        heard
    }
}

/// A pass, or what is left of one.
pub(super) struct Pass<'a> {
    pub(super) fs: &'a FileSystem,
    pub(super) tally: &'a Tally,
    pub(super) workers: usize,
    pub(super) work: &'a Work<'a>,
}

impl Pass<'_> {
    /// Works on every file below `starts`. Says whether it came to its end: it was not stopped.
    pub(super) fn run(&self, starts: Vec<Start>, reins: &mut Reins<'_>) -> bool {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let receiver = Mutex::new(receiver);
        let over = Over::default();
        let stop = reins.stop;
        thread::scope(|scope| {
            let (over, receiver) = (&over, &receiver);
            scope.spawn(move || {
                let _ended = over.part();
                self.find(starts, &sender, stop);
            });
            for _ in 0..self.workers {
                scope.spawn(move || {
                    let _ended = over.part();
                    self.serve(receiver, stop);
                });
            }
            while !over.wait(self.workers + 1, TELL_EVERY) {
                if !self.tally.tell(reins.tell) {
                    stop.store(true, Ordering::Release);
                }
            }
        });
        if !self.tally.tell(reins.tell) {
            stop.store(true, Ordering::Release);
        }
        !stop.load(Ordering::Acquire)
    }

    fn serve(&self, places: &Mutex<Receiver<Place>>, stop: &AtomicBool) {
        loop {
            let next = places.lock().recv();
            let Ok(place) = next else { return };
            // The rest of what was found is taken, so that whoever sends it is not held up.
            if !stop.load(Ordering::Acquire) {
                self.tally.count(&place.path, (self.work)(&place));
            }
        }
    }

    /// Sends every file below `starts` to the workers.
    fn find(&self, starts: Vec<Start>, places: &SyncSender<Place>, stop: &AtomicBool) {
        let mut finder = Finder {
            volume: self.fs.volume(),
            tally: self.tally,
            places,
            stop,
            linked: HashSet::new(),
            plain: HashMap::new(),
        };
        for start in starts {
            // Stopped: the others need not be looked at either.
            if finder.start(start).is_err() {
                return;
            }
        }
    }
}

/// Where a pass begins.
#[derive(Debug)]
pub(super) enum Start {
    /// In the root and all below it.
    Root(Arc<Node>),
    /// At an entry of a folder, and below it where it is a folder itself.
    Entry(Arc<Node>, CName, Entry),
}

/// How the mount shows an entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// The path of its folder; `None` where that is not known.
    pub(super) folder: Option<Vec<u8>>,
    pub(super) name: Vec<u8>,
}

impl Entry {
    fn path(&self) -> Option<Vec<u8>> {
        Some(join_plain(self.folder.as_deref()?, &self.name))
    }

    fn shown(&self) -> String {
        let folder = self.folder.as_deref().unwrap_or(b"(moved)");
        String::from_utf8_lossy(&join_plain(folder, &self.name)).into_owned()
    }
}

fn join_plain(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    [folder, b"/", name].concat()
}

/// The whole volume.
pub(super) fn whole(volume: &Volume) -> Vec<Start> {
    vec![Start::Root(Arc::clone(volume.root()))]
}

/// Works on what came or moved since `watch` began, until nothing did. Says whether it came to that.
pub(super) fn moved_files(pass: &Pass<'_>, watch: &MoveWatch<'_>, reins: &mut Reins<'_>) -> bool {
    loop {
        let moved = watch.take();
        if moved.is_empty() {
            return true;
        }
        let volume = pass.fs.volume();
        let start = |moved: Moved| {
            let dir_id = volume.dir_id(&moved.dir).ok().flatten();
            let entry = Entry {
                name: plain_name(volume, (&moved.dir, dir_id.as_ref()), &moved.cname),
                folder: moved.folder,
            };
            Start::Entry(moved.dir, moved.cname, entry)
        };
        if !pass.run(moved.into_iter().map(start).collect(), reins) {
            return false;
        }
    }
}

/// Works on the files that have no name, which no walk finds: before the walk, since one may get its first name where the
/// walk has been.
pub(super) fn nameless_files(
    fs: &FileSystem,
    tally: &Tally,
    stop: &AtomicBool,
    mut work: impl FnMut(&Nameless) -> Result<Renewed, FsError>,
) {
    for file in fs.nameless() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        tally.count("(without a name)", work(&file));
    }
}

/// The pass was stopped.
struct Stopped;

struct Finder<'a> {
    volume: &'a Volume,
    tally: &'a Tally,
    places: &'a SyncSender<Place>,
    stop: &'a AtomicBool,
    /// Files of several names that were sent.
    linked: HashSet<(u64, u64)>,
    /// The paths that the mount shows for folders that are yet to be visited, by ciphertext path; `None` where not known.
    plain: HashMap<String, Option<Vec<u8>>>,
}

/// A name as the mount shows it; the ciphertext name where it does not open.
fn plain_name(volume: &Volume, (dir, dir_id): (&Node, Option<&DirId>), cname: &CName) -> Vec<u8> {
    match volume.open_name(dir, dir_id, cname) {
        Ok(Listed::Name(name)) => name,
        Ok(Listed::Own(_) | Listed::Foreign(_)) | Err(_) => cname.as_bytes().to_vec(),
    }
}

impl Finder<'_> {
    fn start(&mut self, start: Start) -> Result<(), Stopped> {
        match start {
            Start::Root(node) => self.folder(&node, Some(Vec::new())),
            Start::Entry(dir, cname, entry) => {
                let node = match dir.child(&cname) {
                    Ok(node) => Arc::new(node),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => {
                        self.tally.fail(entry.shown(), &error);
                        return Ok(());
                    }
                };
                match node.stat().map(|stat| stat.kind) {
                    Ok(FileKind::Directory) => self.folder(&node, entry.path()),
                    _ => self.send(dir, cname, entry),
                }
            }
        }
    }

    fn folder(&mut self, node: &Arc<Node>, path: Option<Vec<u8>>) -> Result<(), Stopped> {
        self.plain = HashMap::from([(String::new(), path)]);
        walk(node, |folder| match folder {
            Err(unread) => {
                self.unread(unread);
                Ok(())
            }
            Ok(folder) => self.entries(folder),
        })
    }

    /// A folder that went meanwhile took its files along, to where they are noted.
    fn unread(&mut self, unread: Unread) {
        let known = self.plain.remove(&unread.path).flatten();
        let path = known.map_or(unread.path, |path| {
            String::from_utf8_lossy(&path).into_owned()
        });
        if unread.error.kind() != std::io::ErrorKind::NotFound {
            self.tally.fail(path, &unread.error);
        }
    }

    fn entries(&mut self, folder: &Folder) -> Result<(), Stopped> {
        let below = self.plain.remove(&folder.path).flatten();
        let dir_id = self.volume.dir_id(&folder.node).ok().flatten();
        for entry in &folder.entries {
            let is_folder = entry.kind == FileKind::Directory;
            if !is_folder && entry.kind != FileKind::Regular {
                continue;
            }
            let dir = (&*folder.node, dir_id.as_ref());
            let shown = Entry {
                folder: below.clone(),
                name: plain_name(self.volume, dir, &entry.name),
            };
            if is_folder {
                let at = join(&folder.path, &entry.name);
                self.plain.insert(at, shown.path());
            } else {
                self.send(Arc::clone(&folder.node), entry.name.clone(), shown)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, dir: Arc<Node>, cname: CName, entry: Entry) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Acquire) {
            return Err(Stopped);
        }
        match dir.stat_child(&cname) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Ok(stat) if stat.nlink > 1 && !self.linked.insert((stat.dev, stat.ino)) => {
                return Ok(());
            }
            _ => {}
        }
        let place = Place {
            dir,
            cname,
            path: entry.shown(),
            folder: entry.folder,
        };
        self.places.send(place).map_err(|_no_worker| Stopped)
    }
}

/// Counts the threads of a pass that have come to their end.
#[derive(Debug, Default)]
struct Over {
    ended: Mutex<usize>,
    wake: Condvar,
}

/// A thread of a pass; it ends with this, also by a panic.
struct Part<'a>(&'a Over);

impl Drop for Part<'_> {
    fn drop(&mut self) {
        *self.0.ended.lock() += 1;
        self.0.wake.notify_one();
    }
}

impl Over {
    fn part(&self) -> Part<'_> {
        Part(self)
    }

    /// Waits until `count` threads have ended, or for this long; says whether they have.
    fn wait(&self, count: usize, limit: Duration) -> bool {
        let mut ended = self.ended.lock();
        if *ended < count {
            self.wake.wait_for(&mut ended, limit);
        }
        *ended >= count
    }
}
