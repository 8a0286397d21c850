//! The check of what stands under a name: a file's header and chunks, a symlink's target, extended attributes.

use crate::content::{Damage, OpenFile};
use crate::format::symlink;
use crate::maint::open::{Opened, open};
use crate::storage::{Access, CName, DirEntry, FileKind, Node, StorageFile};

use super::folder::Checker;
use super::report::{Problem, damage, in_words, of_content, of_io, unopened};
use super::{LostRange, Severity, mend};

impl Checker<'_, '_> {
    pub(super) fn entry(&mut self, entry: &DirEntry, name: Option<&[u8]>) {
        match entry.kind {
            FileKind::Regular => self.file(&entry.name, name),
            FileKind::Symlink => self.symlink(&entry.name, name),
            _ => {}
        }
        for problem in self.attributes(&entry.name) {
            self.find(Some(&entry.name), name, problem);
        }
    }

    fn file(&mut self, cname: &CName, name: Option<&[u8]>) {
        self.run.report.files += 1;
        match open(self.run.volume, &self.folder.node, cname, Access::Read) {
            Ok(Opened::Sealed(open)) => self.sealed(&open, cname, name),
            Ok(Opened::Empty(file)) => self.without_header(&file, cname, name),
            Ok(Opened::Foreign) => {
                let problem = (Severity::Damage, "not made in this volume".to_owned());
                self.find(Some(cname), name, problem);
            }
            Err(error) => self.find(Some(cname), name, unopened(&error)),
        }
        let report = &self.run.report;
        (self.run.progress)(report.files, report.chunks);
    }

    fn sealed(&mut self, open: &OpenFile, cname: &CName, name: Option<&[u8]>) {
        let files = self.run.report.files;
        let (chunks, progress) = (&mut self.run.report.chunks, &mut self.run.progress);
        let verified = open.verify(self.run.options.extent, || {
            *chunks += 1;
            progress(files, *chunks);
        });
        let lost = match verified {
            Ok(lost) => lost,
            Err(error) => return self.find(Some(cname), name, of_content(&error)),
        };
        for lost in &lost {
            let problem = (Severity::Damage, in_words(lost));
            self.find_lost(Some(cname), name, problem, Some(lost.into()));
        }
        let is_cut = lost
            .iter()
            .any(|lost| matches!(lost.damage, Damage::Cut { .. }));
        if (open.is_untidy() || open.is_uncommitted()) && !is_cut {
            self.untidy(open, cname, name);
        }
    }

    /// A crash left blocks behind the end, a length that does not tell it, or one that is not committed.
    fn untidy(&mut self, open: &OpenFile, cname: &CName, name: Option<&[u8]>) {
        match open.stranded() {
            Err(error) => self.find(Some(cname), name, of_content(&error)),
            Ok(Some((from, to))) => {
                let what = format!(
                    "bytes {from}..{to} were written and never synced, and a crash lost what was written before them: \
                     they open, and are not the file's; left as they are, until something is written to it"
                );
                self.find(Some(cname), name, (Severity::Note, what));
            }
            Ok(None) => {
                let (volume, node) = (self.run.volume, std::sync::Arc::clone(&self.folder.node));
                let spot = self.spot(Some(cname), name);
                let what = "a crash left its length or its tail in doubt";
                self.run.mend(spot, what, || {
                    let len = mend::set_length(volume, &node, cname)?;
                    Ok(format!(
                        "all of it that was synced is there; it ends at byte {len}"
                    ))
                });
            }
        }
    }

    fn without_header(&mut self, file: &StorageFile, cname: &CName, name: Option<&[u8]>) {
        let blank = match mend::is_blank(file) {
            Ok(blank) => blank,
            Err(error) => return self.find(Some(cname), name, of_io(&error)),
        };
        if blank {
            let (volume, node) = (self.run.volume, std::sync::Arc::clone(&self.folder.node));
            let spot = self.spot(Some(cname), name);
            let plain = format!("/{}", self.plain()).into_bytes();
            let what = "no header and no content, as a crash before a new file's first sync leaves it; had it ever \
                        been synced, only a backup has its content";
            self.run.mend(spot, what, || {
                mend::write_header(volume, &node, &plain, cname)?;
                Ok("it is an empty file now".into())
            });
            return;
        }
        let physical = file.len().unwrap_or_default();
        let to = self.run.volume.layout().plain_len(physical).0;
        let what = format!(
            "bytes 0..{to}: zeros stand in the header's place, and what stands behind them cannot be opened without \
             it; if the file was never synced, a crash left it so, and it may be deleted"
        );
        let lost = Some(LostRange { from: 0, to });
        self.find_lost(Some(cname), name, (Severity::Damage, what), lost);
    }

    fn symlink(&mut self, cname: &CName, name: Option<&[u8]>) {
        self.run.report.symlinks += 1;
        let target = match self.folder.node.read_link_child(cname) {
            Ok(target) => target,
            Err(error) => return self.find(Some(cname), name, of_io(&error)),
        };
        let key = self.run.volume.symlink_key().ok().flatten();
        let opened = key.map(|key| symlink::open(&key, &target));
        if let Some(Err(error)) = opened {
            self.find(Some(cname), name, damage(&error));
        }
    }

    pub(super) fn is_our_symlink(&self, cname: &CName) -> bool {
        let target = self.folder.node.read_link_child(cname).ok();
        let key = self.run.volume.symlink_key().ok().flatten();
        target
            .zip(key)
            .is_some_and(|(target, key)| symlink::open(&key, &target).is_ok())
    }

    /// Whether a file has a header that this volume takes: its keys need not be at hand.
    pub(super) fn is_our_file(&self, cname: &CName) -> bool {
        use crate::content::{Probe, probe};
        let file = self.folder.node.open_child_file(cname, Access::Read);
        let probed = file.ok().map(|file| probe(&file, self.run.volume.layout()));
        let admits = |header| self.run.volume.admits(header).unwrap_or(false);
        matches!(probed, Some(Ok(Probe::Sealed(header))) if admits(&header))
    }

    /// Extended attributes that look sealed and do not open.
    fn attributes(&self, cname: &CName) -> Vec<Problem> {
        let listed = self.folder.node.child(cname).and_then(|node| {
            let names = node.list_xattr()?;
            Ok((node, names))
        });
        let (node, names) = match listed {
            Ok(listed) => listed,
            // Not every kind of inode, nor every file system, has any.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Vec::new(),
            Err(error) => return vec![of_io(&error)],
        };
        let unsealed = |on_disk: &std::ffi::CString| self.attribute(&node, on_disk);
        names.iter().filter_map(unsealed).collect()
    }

    fn attribute(&self, node: &Node, on_disk: &std::ffi::CStr) -> Option<Problem> {
        let keys = match self.run.volume.xattr_keys() {
            Ok(keys) => keys,
            Err(error) => return Some((Severity::KeyUnavailable, error.to_string())),
        };
        let opened = match node.xattr(on_disk) {
            Ok(value) => keys.open(on_disk.to_bytes(), &value),
            Err(error) if error.raw_os_error() == Some(libc::ENODATA) => return None,
            Err(error) => return Some(of_io(&error)),
        };
        let name = String::from_utf8_lossy(on_disk.to_bytes());
        let what = |error| format!("the extended attribute that is stored as {name}: {error}");
        opened.err().map(|error| (Severity::Damage, what(error)))
    }
}
