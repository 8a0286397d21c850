//! The check of one folder: its id, the names in it, and the volume's own entries beside them.

use crate::format::names::{self, EntryKind, NameError};
use crate::maint::open::{Opened, open};
use crate::maint::walk::{Folder, entries, join};
use crate::storage::{Access, CName, DirEntry, FileKind};
use crate::units::DirId;
use crate::volume::{Listed, VolumeError};

use super::mend;
use super::report::{Problem, damage, of_io, unopened};
use super::{LostRange, Run, Severity};

/// The check of one folder.
pub(super) struct Checker<'a, 'r> {
    pub(super) run: &'a mut Run<'r>,
    pub(super) folder: &'a mut Folder,
    /// The folder's path in the mount.
    plain: String,
    /// What its names are bound to; `None` where names are plain, and where it is lost.
    dir_id: Option<DirId>,
    /// The folder is none of the volume's, like ext4's lost+found.
    is_strangers: bool,
}

/// What an entry is called.
enum Called {
    /// A name of the user's.
    Name(Vec<u8>),
    /// The volume's own.
    Own(EntryKind),
    /// A name that is none of this folder's.
    Foreign(NameError),
    /// Nobody knows, for the folder's id is lost.
    Unknown,
}

impl<'a, 'r> Checker<'a, 'r> {
    pub(super) fn new(run: &'a mut Run<'r>, folder: &'a mut Folder, plain: String) -> Self {
        Self {
            run,
            folder,
            plain,
            dir_id: None,
            is_strangers: false,
        }
    }

    /// Checks every entry, and says where its folders stand in the mount: ciphertext path and plaintext path.
    pub(super) fn folder(mut self) -> Vec<(String, String)> {
        self.run.report.folders += 1;
        if self.is_encrypted() {
            self.dir_id = self.folder_id();
            self.long_names();
        }
        self.own_entries();
        let mut below = Vec::new();
        for entry in self.folder.entries.clone() {
            let called = self.called(&entry.name);
            let name = match &called {
                Called::Name(name) => Some(name.as_slice()),
                _ => None,
            };
            if entry.kind == FileKind::Directory {
                let plain = match name {
                    Some(name) => self.plain_path(name),
                    None => self.plain_path(entry.name.as_bytes()),
                };
                below.push((join(&self.folder.path, &entry.name), plain));
            }
            match called {
                Called::Own(_) => {}
                Called::Name(_) | Called::Unknown => self.entry(&entry, name),
                Called::Foreign(error) => self.foreign(&entry, error),
            }
        }
        below
    }

    fn is_encrypted(&self) -> bool {
        self.run.volume.seals_names()
    }

    fn called(&self, cname: &CName) -> Called {
        let kind = names::classify(cname.as_bytes());
        if self.is_encrypted() && self.dir_id.is_none() {
            return match kind {
                EntryKind::Reserved | EntryKind::Sidecar => Called::Own(kind),
                _ if self.is_strangers => Called::Foreign(NameError::Encoding),
                EntryKind::Name | EntryKind::LongName => Called::Unknown,
            };
        }
        let volume = self.run.volume;
        match volume.open_name(&self.folder.node, self.dir_id.as_ref(), cname) {
            Ok(Listed::Name(name)) => Called::Name(name),
            Ok(Listed::Own(kind)) => Called::Own(kind),
            Ok(Listed::Foreign(error)) => Called::Foreign(error),
            // Nobody locks a volume that is being checked.
            Err(_locked) => Called::Unknown,
        }
    }

    /// The id that the folder's names are bound to. An empty folder may get a new one.
    fn folder_id(&mut self) -> Option<DirId> {
        let problem = match self.run.volume.dir_id(&self.folder.node) {
            Ok(id) => return id,
            Err(VolumeError::FolderId(_)) => "the folder has no readable id",
            Err(VolumeError::Io { source, .. }) => {
                self.find(None, None, of_io(&source));
                return None;
            }
            Err(error) => {
                self.find(None, None, damage(&error));
                return None;
            }
        };
        let names = self.folder.entries.iter().filter(|entry| {
            matches!(
                names::classify(entry.name.as_bytes()),
                EntryKind::Name | EntryKind::LongName
            )
        });
        match names.count() {
            0 if self.is_unfinished() => None,
            0 => self.renew_id(problem),
            _ if self.has_strange_name() => {
                self.is_strangers = true;
                None
            }
            count => {
                let entry = String::from_utf8_lossy(names::DIR_ID_ENTRY).into_owned();
                let what = format!(
                    "{problem}, without which the names in it ({count}) cannot be read: only a backup of the symlink \
                     {entry} in it brings them back; the files' content needs none"
                );
                self.find(None, None, (Severity::Damage, what));
                None
            }
        }
    }

    fn renew_id(&mut self, problem: &str) -> Option<DirId> {
        let node = std::sync::Arc::clone(&self.folder.node);
        let mut made = None;
        let spot = self.spot(None, None);
        self.run
            .mend(spot, &format!("{problem}, and is empty"), || {
                made = Some(mend::new_dir_id(&node)?);
                Ok("it has a new one".into())
            });
        made
    }

    /// Under a temporary name: the parent's check tells of it.
    fn is_unfinished(&self) -> bool {
        let name = self.folder.path.rsplit('/').next().unwrap_or_default();
        name.as_bytes().starts_with(names::TEMP_PREFIX)
    }

    /// No volume could have given the folder its name.
    fn has_strange_name(&self) -> bool {
        let name = self.folder.path.rsplit('/').next().unwrap_or_default();
        let is_short = looks_sealed(name.as_bytes());
        let is_long = names::classify(name.as_bytes()) == EntryKind::LongName;
        !(self.folder.path.is_empty() || is_short || is_long || self.is_unfinished())
    }

    /// Long names need their sidecars: without one nobody can list them.
    fn long_names(&mut self) {
        let Some(dir_id) = self.dir_id else { return };
        for entry in self.folder.entries.clone() {
            if names::classify(entry.name.as_bytes()) == EntryKind::LongName
                && !self.has_sidecar(&entry.name)
            {
                match self.full_name_elsewhere(&entry.name) {
                    Some(full) => self.put_sidecar(&entry.name, &full, &dir_id),
                    None => self.name_is_lost(&entry),
                }
            }
        }
    }

    fn has_sidecar(&self, cname: &CName) -> bool {
        sidecar_of(cname)
            .and_then(|sidecar| self.folder.node.read_link_child(&sidecar).ok())
            .is_some_and(|full| names::long_name_matches(cname.as_bytes(), &full))
    }

    /// The full form of a long name, from a sidecar that stands beside another.
    fn full_name_elsewhere(&self, cname: &CName) -> Option<Vec<u8>> {
        let sidecars = self.folder.entries.iter().filter(|entry| {
            entry.kind == FileKind::Symlink
                && names::classify(entry.name.as_bytes()) == EntryKind::Sidecar
        });
        let targets =
            sidecars.filter_map(|entry| self.folder.node.read_link_child(&entry.name).ok());
        targets
            .into_iter()
            .find(|full| names::long_name_matches(cname.as_bytes(), full))
    }

    fn put_sidecar(&mut self, cname: &CName, full: &[u8], dir_id: &DirId) {
        let Some(sidecar) = sidecar_of(cname) else {
            return;
        };
        let node = std::sync::Arc::clone(&self.folder.node);
        let name = self.run.volume.open_full_name(dir_id, full);
        let name = name.ok().flatten();
        let spot = self.spot(Some(cname), name.as_deref());
        let what = "the full form of this long name stood beside another";
        let put = self.run.mend(spot, what, || {
            mend::put_symlink(&node, &sidecar, full)?;
            Ok("put in place".into())
        });
        if put && let Ok(stat) = node.stat_child(&sidecar) {
            self.folder.entries.retain(|entry| entry.name != sidecar);
            self.folder.entries.push(DirEntry {
                name: sidecar,
                ino: stat.ino,
                kind: stat.kind,
            });
        }
    }

    fn name_is_lost(&mut self, entry: &DirEntry) {
        let what = "its name is lost, for its full form is missing or changed: only a backup tells it; no listing \
                    shows the entry, what is in it is there";
        self.find(Some(&entry.name), None, (Severity::Damage, what.into()));
        self.give_name(entry, "an entry whose name is lost");
    }

    /// Brings an entry back under a new name, in this folder.
    fn give_name(&mut self, entry: &DirEntry, problem: &str) {
        if self.is_encrypted() && self.dir_id.is_none() {
            let what = format!("{problem}: it can get a name when the folder has its id again");
            return self.find(Some(&entry.name), None, (Severity::Note, what));
        }
        let node = std::sync::Arc::clone(&self.folder.node);
        let (volume, dir_id) = (self.run.volume, self.dir_id);
        let (spot, folder) = (self.spot(Some(&entry.name), None), self.plain.clone());
        let mut given = None;
        self.run.mend(spot, problem, || {
            let (cname, plain) = mend::give_name(volume, &node, dir_id.as_ref(), &entry.name)?;
            given = Some(cname);
            Ok(format!("it is /{} now", below(&folder, &plain)))
        });
        let listed = self.folder.entries.iter_mut();
        if let Some((cname, listed)) =
            given.zip(listed.into_iter().find(|listed| listed.name == entry.name))
        {
            listed.name = cname;
        }
    }

    /// What crashes leave of the volume's own entries.
    fn own_entries(&mut self) {
        for entry in self.folder.entries.clone() {
            let bytes = entry.name.as_bytes();
            let Called::Own(kind) = self.called(&entry.name) else {
                continue;
            };
            let is_root_own =
                self.folder.path.is_empty() && bytes == crate::volume::Volume::OWN_FOLDER;
            let is_temporary = bytes.starts_with(names::TEMP_PREFIX);
            match (kind, entry.kind) {
                (EntryKind::Sidecar, FileKind::Symlink) => self.sidecar(&entry),
                (_, FileKind::Symlink) if bytes == names::DIR_ID_ENTRY => {}
                (_, FileKind::Directory) if is_root_own => {}
                (_, FileKind::Directory) if is_temporary => self.unfinished_folder(&entry),
                (_, FileKind::Symlink) if is_temporary => {
                    self.remove(&entry, "a symlink whose making a crash cut short");
                }
                (_, FileKind::Regular) => self.misnamed_file(&entry),
                _ => {
                    let what = "a name that the volume keeps for itself, and none of its own";
                    self.find(Some(&entry.name), None, (Severity::Note, what.into()));
                }
            }
        }
    }

    fn sidecar(&mut self, entry: &DirEntry) {
        let is_its = |other: &DirEntry| {
            names::sidecar_name(other.name.as_bytes()).as_deref() == Some(entry.name.as_bytes())
        };
        // Without the folder's id it is not known what is whose.
        if self.dir_id.is_some() && !self.folder.entries.iter().any(is_its) {
            self.remove(entry, "the full form of a long name that is gone");
        }
    }

    fn unfinished_folder(&mut self, entry: &DirEntry) {
        let what = "a folder whose making or removal a crash cut short";
        let node = std::sync::Arc::clone(&self.folder.node);
        let inside = node.child(&entry.name).and_then(|folder| {
            let empty = mend::is_debris(&folder)?;
            Ok((empty, entries(&folder)?.len()))
        });
        match inside {
            Err(error) => self.find(Some(&entry.name), None, of_io(&error)),
            Ok((true, _)) => {
                let spot = self.spot(Some(&entry.name), None);
                self.run.mend(spot, what, || {
                    mend::remove_debris(&node, &entry.name)?;
                    node.sync_dir()?;
                    Ok("removed, it was empty".into())
                });
                // Whatever became of it, there is nothing to look at in it.
                self.folder
                    .entries
                    .retain(|listed| listed.name != entry.name);
            }
            Ok((false, _)) => {
                self.give_name(entry, &format!("{what}, and that is not empty"));
            }
        }
    }

    /// A file under a name of the volume's own: nothing is there, or it is somebody's.
    fn misnamed_file(&mut self, entry: &DirEntry) {
        let what = "a file under a name that the volume keeps for itself";
        if self.has_name_beside(entry) {
            return self.remove(
                entry,
                "the first name of a new file, which has its own since",
            );
        }
        match open(
            self.run.volume,
            &self.folder.node,
            &entry.name,
            Access::Read,
        ) {
            Ok(Opened::Empty(file)) if mend::is_blank(&file).unwrap_or(false) => {
                self.remove(entry, &format!("{what}, without content"));
            }
            Ok(Opened::Sealed(open)) if open.is_empty() && !open.is_untidy() => {
                self.remove(
                    entry,
                    "a new file that has neither its name nor any content",
                );
            }
            Ok(Opened::Sealed(_)) => {
                self.give_name(entry, what);
                if !self.run.options.repair {
                    self.entry(entry, None);
                }
            }
            Err(error) if self.is_our_file(&entry.name) => {
                let (severity, why) = unopened(&error);
                let problem = (severity, format!("{what}: {why}"));
                self.find(Some(&entry.name), None, problem);
            }
            _ => {
                let what = format!("{what}, and none of its own");
                self.find(Some(&entry.name), None, (Severity::Note, what));
            }
        }
    }

    /// Whether the inode has a name of the user's in this folder too.
    fn has_name_beside(&self, entry: &DirEntry) -> bool {
        self.folder.entries.iter().any(|other| {
            other.ino == entry.ino && matches!(self.called(&other.name), Called::Name(_))
        })
    }

    fn remove(&mut self, entry: &DirEntry, what: &str) {
        let node = std::sync::Arc::clone(&self.folder.node);
        let name = self.sidecars_name(&entry.name);
        let spot = self.spot(Some(&entry.name), name.as_deref());
        let removed = self.run.mend(spot, what, || {
            node.unlink(&entry.name)?;
            node.sync_dir()?;
            Ok("removed".into())
        });
        if removed {
            self.folder
                .entries
                .retain(|listed| listed.name != entry.name);
        }
    }

    /// The name that a sidecar holds, if it does.
    fn sidecars_name(&self, cname: &CName) -> Option<Vec<u8>> {
        let full = self.folder.node.read_link_child(cname).ok()?;
        let opened = self.run.volume.open_full_name(&self.dir_id?, &full);
        opened.ok().flatten()
    }

    /// An entry that the mount does not show. What is the volume's own has lost its place; the rest is none of its.
    fn foreign(&mut self, entry: &DirEntry, error: NameError) {
        let ours = match entry.kind {
            FileKind::Regular => self.is_our_file(&entry.name),
            FileKind::Symlink => self.is_our_symlink(&entry.name),
            FileKind::Directory => self.is_our_folder(&entry.name),
            _ => false,
        };
        let long = names::classify(entry.name.as_bytes()) == EntryKind::LongName;
        if long && self.dir_id.is_some() && !self.has_sidecar(&entry.name) {
            // That its name is lost was told already.
            return self.entry(entry, None);
        }
        if !ours && !long {
            let what = format!("not a name of this volume: {error}");
            return self.find(Some(&entry.name), None, (Severity::Note, what));
        }
        let what = format!(
            "of this volume, under a name that is none of this folder's ({error}), so that the mount does not show \
             it: only a backup tells where it belongs"
        );
        self.find(Some(&entry.name), None, (Severity::Damage, what));
        self.entry(entry, None);
    }

    fn is_our_folder(&self, cname: &CName) -> bool {
        let child = self.folder.node.child(cname);
        child.is_ok_and(|child| self.run.volume.dir_id(&child).is_ok())
    }

    pub(super) fn find(&mut self, cname: Option<&CName>, name: Option<&[u8]>, problem: Problem) {
        self.find_lost(cname, name, problem, None);
    }

    pub(super) fn find_lost(
        &mut self,
        cname: Option<&CName>,
        name: Option<&[u8]>,
        problem: Problem,
        lost: Option<LostRange>,
    ) {
        let spot = self.spot(cname, name);
        self.run.find(spot, problem, lost);
    }

    /// Where an entry stands: in the mount, and in the ciphertext folder.
    pub(super) fn spot(&self, cname: Option<&CName>, name: Option<&[u8]>) -> (String, String) {
        let ciphertext = cname.map_or_else(
            || self.folder.path.clone(),
            |cname| join(&self.folder.path, cname),
        );
        let path = name.map_or_else(|| self.plain.clone(), |name| self.plain_path(name));
        (path, ciphertext)
    }

    /// The folder's path in the mount.
    pub(super) fn plain(&self) -> &str {
        &self.plain
    }

    fn plain_path(&self, name: &[u8]) -> String {
        below(&self.plain, &String::from_utf8_lossy(name))
    }
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

fn sidecar_of(cname: &CName) -> Option<CName> {
    CName::new(&names::sidecar_name(cname.as_bytes())?).ok()
}

/// Whether a name could be one that the volume sealed: base64url of more than the 16 bytes of its tag.
fn looks_sealed(name: &[u8]) -> bool {
    const SHORTEST: usize = 23;
    let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.len() >= SHORTEST && name.iter().all(in_alphabet)
}
