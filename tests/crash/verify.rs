//! Puts a crash state onto a real folder, opens the volume in it as a mount does, and compares it with what is due.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use envelopefs::content::SyncKind;
use envelopefs::fs::{FsError, Ino};
use envelopefs::keys::FileProvider;
use envelopefs::maint::{CheckReport, Severity};
use envelopefs::storage::{FileKind, Node};
use envelopefs::volume::Sharing;

use crate::image::{Id, Image, ROOT};
use crate::inprocess::model::Entry;
use crate::inprocess::volume::{Mounted, SELF, check, wait};
use crate::oracle::Expectation;

/// What is done with a state beside opening it and reading all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extras {
    /// The times of change did not reach the disk, so that recovery looks at no file.
    pub(crate) unexamined: bool,
    /// Every file is written to and every folder gets a file; all of it is there after a further mount.
    pub(crate) work: bool,
    /// `check` looks at the state first.
    pub(crate) check: bool,
    /// `check --repair` mends a copy, and has nothing left to do the second time.
    pub(crate) repair: bool,
}

/// Says what is wrong with a state; `folder` is where it may be built.
pub(crate) fn verify(
    image: &Image,
    expectation: &Expectation,
    (folder, sharing, extras): (&Path, Sharing, Extras),
) -> Result<(), String> {
    let path = folder.join("state");
    let ids = image.put(&path);
    let without = Unnamed::hide(folder, &path);
    let verified = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let state = State {
            ids,
            path: path.clone(),
            expectation,
            sharing,
        };
        state.verify(image, extras)
    }));
    without.put_back();
    std::fs::remove_dir_all(&path).unwrap();
    verified.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic".into()))
    })
}

/// Keys that the volume does not name: they may have been destroyed by now, so they are away while a state is looked at.
struct Unnamed(Vec<(PathBuf, PathBuf)>);

impl Unnamed {
    /// The keys lie beside the volume, in `folder`.
    fn hide(folder: &Path, volume: &Path) -> Self {
        let config = std::fs::read_to_string(volume.join(".envelopefs/volume.json")).unwrap();
        let mut hidden = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let key = entry.unwrap().path();
            let is_named = config.contains(&format!("\"{}\"", FileProvider::uri_of(&key).unwrap()));
            if key.is_file() && !is_named {
                let away = key.with_extension("away");
                std::fs::rename(&key, &away).unwrap();
                hidden.push((key, away));
            }
        }
        Self(hidden)
    }

    fn put_back(self) {
        for (key, away) in self.0 {
            std::fs::rename(away, key).unwrap();
        }
    }
}

struct State<'a> {
    path: PathBuf,
    ids: HashMap<u64, Id>,
    expectation: &'a Expectation,
    sharing: Sharing,
}

/// What a look at everything found.
#[derive(Default)]
struct Seen {
    ids: BTreeSet<Id>,
    folders: Vec<(String, Ino)>,
    files: Vec<(String, Vec<u8>)>,
    /// New files that came back without a header.
    headerless: BTreeSet<String>,
}

impl State<'_> {
    fn verify(&self, image: &Image, extras: Extras) -> Result<(), String> {
        if extras.unexamined {
            self.set_mark_to_the_future();
        }
        let checked = extras.check.then(|| check(&self.path, false));
        let at = self.mount()?;
        let mut seen = Seen::default();
        self.walk(&at, (String::new(), Ino::ROOT, ROOT), extras, &mut seen)?;
        let missing: Vec<_> = self.expectation.present().difference(&seen.ids).collect();
        if !missing.is_empty() {
            return Err(format!("inodes {missing:?} have no name any more"));
        }
        if let Some(report) = checked {
            only_what_crashes_leave(&report, &seen.headerless)?;
        }
        if extras.work {
            self.work(&at, &mut seen)?;
            at.unmount();
            self.all_is_there(&seen)?;
        } else {
            drop(at);
        }
        if extras.repair {
            self.repair(image, &seen.headerless)?;
        }
        Ok(())
    }

    fn mount(&self) -> Result<Mounted, String> {
        let root = Node::open_root(&self.path).unwrap();
        Mounted::serve(root, &self.path, self.sharing).map_err(|error| format!("mounting: {error}"))
    }

    /// As if no file had changed since the mount that crashed.
    fn set_mark_to_the_future(&self) {
        let future = SystemTime::now() + Duration::from_secs(3600);
        for entry in std::fs::read_dir(self.path.join(".envelopefs")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().starts_with("in-use") {
                let mark = File::options().write(true).open(entry.path()).unwrap();
                mark.set_times(FileTimes::new().set_modified(future))
                    .unwrap();
            }
        }
    }

    fn walk(
        &self,
        at: &Mounted,
        (path, ino, id): (String, Ino, Id),
        extras: Extras,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let told = |what: &str, error: FsError| format!("{what} /{path}: {error}");
        let names = at.names_in(ino).map_err(|error| told("listing", error))?;
        let absent = self
            .expectation
            .names_in(id)
            .filter(|name| !names.contains(name));
        for name in absent {
            self.expectation
                .check_name(id, name, None)
                .map_err(|error| format!("in /{path}: {error}"))?;
        }
        for name in &names {
            let below = format!("{path}{name}");
            let attr = at
                .fs
                .lookup(ino, name.as_bytes())
                .map_err(|error| told("looking up in", error))?
                .attr;
            let child = *self
                .ids
                .get(&attr.ino.0)
                .ok_or("an inode that was never made")?;
            self.expectation
                .check_name(id, name, Some(child))
                .map_err(|error| format!("in /{path}: {error}"))?;
            seen.ids.insert(child);
            self.inode(at, (&below, attr.ino, child), extras, seen)
                .map_err(|error| format!("/{below}: {error}"))?;
            if attr.kind == FileKind::Directory {
                self.walk(at, (format!("{below}/"), attr.ino, child), extras, seen)?;
            }
        }
        seen.folders.push((path, ino));
        Ok(())
    }

    fn inode(
        &self,
        at: &Mounted,
        (path, ino, id): (&str, Ino, Id),
        extras: Extras,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let told = |error: FsError| error.to_string();
        let attr = at.fs.getattr(ino, None).map_err(told)?;
        let entry = match attr.kind {
            FileKind::Directory => Entry::Folder,
            FileKind::Symlink => Entry::Symlink(at.fs.readlink(ino).map_err(told)?),
            FileKind::Regular => Entry::File(self.content(at, (path, ino, id), seen)?),
            _ => Entry::Other,
        };
        if let Entry::File(content) = &entry {
            if !extras.unexamined
                && attr.size != content.len() as u64
                && !seen.headerless.contains(path)
            {
                return Err(format!(
                    "stat tells {} bytes of {}",
                    attr.size,
                    content.len()
                ));
            }
            seen.files.push((path.to_owned(), content.clone()));
        }
        let attributes = at.attributes(ino).map_err(told)?;
        let found = (entry, attr.mode, attributes);
        self.expectation
            .check_inode(id, &found, at.fs.volume().layout())
    }

    fn content(
        &self,
        at: &Mounted,
        (path, ino, id): (&str, Ino, Id),
        seen: &mut Seen,
    ) -> Result<Vec<u8>, String> {
        match at.content(ino) {
            Err(FsError::EmptyFile) if self.expectation.is_unsynced(id) => {
                seen.headerless.insert(path.to_owned());
                Ok(Vec::new())
            }
            content => content.map_err(|error| error.to_string()),
        }
    }

    /// Every file is grown over a gap and written to at its beginning, every folder gets a file.
    fn work(&self, at: &Mounted, seen: &mut Seen) -> Result<(), String> {
        for (path, content) in &mut seen.files {
            let told = |error: FsError| format!("working on /{path}: {error}");
            let fh = at.open(path, true).map_err(told)?;
            let end = content.len() + 9000;
            content.resize(end, 0);
            for (offset, bytes) in [(end, b"behind the end"), (0, b"at the start..")] {
                at.fs.write(fh, offset as u64, bytes, false).map_err(told)?;
                content.resize(content.len().max(offset + bytes.len()), 0);
                content[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            at.fs.fsync(fh, SyncKind::All).map_err(told)?;
            if at.read_all(fh).map_err(told)? != *content {
                return Err(format!("/{path} is not what was written after the crash"));
            }
            at.fs.release(fh).map_err(told)?;
        }
        for (path, ino) in &seen.folders {
            let told = |error: FsError| format!("making a file in /{path}: {error}");
            let made = wait(|done| at.fs.create(SELF, *ino, b"made after", 0o644, true, done));
            let fh = made.map_err(told)?.opened.fh;
            at.fs.write(fh, 0, b"made after", false).map_err(told)?;
            at.fs.release(fh).map_err(told)?;
            seen.files
                .push((format!("{path}made after"), b"made after".to_vec()));
        }
        Ok(())
    }

    /// After a further mount, and nothing is damaged.
    fn all_is_there(&self, seen: &Seen) -> Result<(), String> {
        let at = self.mount()?;
        for (path, content) in &seen.files {
            let found = at.find(path).and_then(|ino| at.content(ino));
            match found {
                Ok(found) if found == *content => {}
                Ok(_) => return Err(format!("/{path} has lost what was written after the crash")),
                Err(error) => return Err(format!("/{path}, written after the crash: {error}")),
            }
        }
        at.unmount();
        only_what_crashes_leave(&check(&self.path, false), &BTreeSet::new())
    }

    /// On a copy: repair, and then nothing is left to be found.
    fn repair(&self, image: &Image, headerless: &BTreeSet<String>) -> Result<(), String> {
        let path = self.path.with_extension("repaired");
        image.put(&path);
        check(&path, true);
        let report = check(&path, false);
        std::fs::remove_dir_all(&path).unwrap();
        let left = report
            .findings
            .iter()
            .filter(|finding| !may_stay(finding, headerless) && finding.severity != Severity::Note);
        let left: Vec<_> = left.collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("repair left {left:?}"))
        }
    }
}

/// Damage is none of a crash's doing, but where nothing of a new file was ever durable: its header may not
/// have reached the disk while pages behind it did, and then it looks like a file whose header was wiped.
fn only_what_crashes_leave(
    report: &CheckReport,
    headerless: &BTreeSet<String>,
) -> Result<(), String> {
    let damage = report.findings.iter().find(|finding| {
        !matches!(
            finding.severity,
            Severity::Note | Severity::Mendable | Severity::Mended
        ) && !may_stay(finding, headerless)
    });
    match damage {
        Some(finding) => Err(format!("check finds {finding:?}")),
        None => Ok(()),
    }
}

fn may_stay(finding: &envelopefs::maint::Finding, headerless: &BTreeSet<String>) -> bool {
    finding.what.contains("zeros stand in the header's place") && headerless.contains(&finding.path)
}
