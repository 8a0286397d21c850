//! What Linux answers to each operation: result or errno, in the order in which it looks.

use std::collections::BTreeMap;

use super::op::{
    Access, Allocate, At, Attributes, How, Kind, On, Op, Outcome, Rename, Set, fill, xattr_name,
};
use super::tree::{Body, Changed, Flaw, Handle, Id, Inode, Model, Place, Try};

/// Of files and folders that are made here: what umask 022 leaves.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// Of a folder, which those made in it inherit.
const SET_GROUP_ID: u32 = 0o2000;

impl Model {
    /// Does what `process` does, and says why what `got` came of it in truth cannot be.
    pub(super) fn follow(&mut self, process: usize, op: &Op, got: &Outcome) -> Result<(), String> {
        let expected = match self.apply(process, op) {
            Ok(outcome) => outcome,
            Err(errno) => Outcome::Errno(errno),
        };
        match (&expected, got) {
            (Outcome::Attributes(model), Outcome::Attributes(real)) => {
                let (inode, before) = self.time_of(process, op);
                let fits = self.inodes[inode].changed.admits(real.changed);
                let same_time = Attributes {
                    changed: real.changed,
                    ..model.clone()
                };
                if same_time == *real && fits {
                    Ok(())
                } else {
                    Err(format!(
                        "{model:?} changed {before:?} was expected, and it is {real:?}"
                    ))
                }
            }
            _ if expected == *got => Ok(()),
            _ => Err(format!("{expected:?} was expected, and it came to {got:?}")),
        }
    }

    fn time_of(&self, process: usize, op: &Op) -> (Id, Changed) {
        let Op::Stat(on) = op else {
            panic!("only stat tells of times")
        };
        let inode = self.on(process, on, false).expect("stat found it");
        (inode, self.inodes[inode].changed)
    }

    fn apply(&mut self, process: usize, op: &Op) -> Try<Outcome> {
        match op {
            Op::Open(slot, at, how) => self.open(process, *slot, at, *how),
            Op::Close(slot) => {
                self.slot(process, *slot)?;
                self.processes[process].slots[*slot] = None;
                Ok(Outcome::Done)
            }
            Op::Chdir(at) => {
                let folder = self.find(process, at, true)?;
                self.names(folder)?;
                self.processes[process].cwd = folder;
                Ok(Outcome::Done)
            }
            Op::Remount => {
                self.remount();
                Ok(Outcome::Done)
            }
            Op::Read(..)
            | Op::Pread(..)
            | Op::Write(..)
            | Op::Pwrite(..)
            | Op::Map(..)
            | Op::Ftruncate(..)
            | Op::Truncate(..)
            | Op::Fallocate(..)
            | Op::Copy { .. }
            | Op::Fsync(_) => self.on_content(process, op),
            Op::Mkdir(_)
            | Op::Rmdir(_)
            | Op::Unlink(_)
            | Op::Link(..)
            | Op::Symlink(..)
            | Op::Rename(..) => self.on_names(process, op).map(|()| Outcome::Done),
            _ => self.on_attributes(process, op),
        }
    }

    fn slot(&self, process: usize, slot: usize) -> Try<Handle> {
        self.processes[process].slots[slot].ok_or(libc::EBADF)
    }

    fn on(&self, process: usize, on: &On, follow: bool) -> Try<Id> {
        match on {
            On::Path(at) => self.find(process, at, follow),
            On::Slot(slot) => self.slot(process, *slot).map(|handle| handle.inode),
        }
    }

    fn open(&mut self, process: usize, slot: usize, at: &At, how: How) -> Try<Outcome> {
        self.processes[process].slots[slot] = None;
        let exclusive = how.create && how.exclusive;
        let place = self.place(process, at, !exclusive)?;
        let writes = how.access != Access::Read;
        let inode = match place.found {
            Some(_) if exclusive => return Err(libc::EEXIST),
            Some(found) => {
                if self.is_folder(found) && (how.create || writes || how.truncate) {
                    return Err(libc::EISDIR);
                }
                found
            }
            None if !how.create => return Err(libc::ENOENT),
            None => self.make(place, Body::File(Vec::new()), FILE_MODE)?,
        };
        if how.truncate {
            self.perhaps_rewritten(inode);
            self.content(inode)?.clear();
        }
        self.processes[process].slots[slot] = Some(Handle {
            inode,
            position: 0,
            reads: how.access != Access::Write,
            writes,
            appends: how.append,
        });
        Ok(Outcome::Done)
    }

    fn make(&mut self, place: Place, body: Body, mode: u32) -> Try<Id> {
        if self.is_dead(place.folder) {
            return Err(libc::ENOENT);
        }
        let inode = self.add(body, mode);
        self.attach(place.folder, place.name, inode);
        self.changed_surely(place.folder);
        Ok(inode)
    }

    fn content(&mut self, inode: Id) -> Try<&mut Vec<u8>> {
        match &mut self.inodes[inode].body {
            Body::File(content) => Ok(content),
            Body::Folder { .. } => Err(libc::EISDIR),
            Body::Symlink(_) => panic!("the model has a symlink open"),
        }
    }

    fn on_content(&mut self, process: usize, op: &Op) -> Try<Outcome> {
        match *op {
            Op::Read(slot, len) => {
                let at = self.slot(process, slot)?.position;
                let read = self.read(process, slot, at, len)?;
                self.advance(process, slot, at + read.len() as u64);
                Ok(Outcome::Bytes(read))
            }
            Op::Pread(slot, at, len) => self.read(process, slot, at, len).map(Outcome::Bytes),
            Op::Write(slot, seed, len) => {
                let at = self.slot(process, slot)?.position;
                let end = self.write(process, slot, at, &fill(seed, len))?;
                if len > 0 {
                    self.advance(process, slot, end);
                }
                Ok(Outcome::Count(len as u64))
            }
            Op::Pwrite(slot, at, seed, len) => {
                self.write(process, slot, at, &fill(seed, len))?;
                Ok(Outcome::Count(len as u64))
            }
            Op::Map(slot, at, seed, len) => self.write_mapped(process, slot, at, &fill(seed, len)),
            Op::Ftruncate(slot, len) => {
                let handle = self.slot(process, slot)?;
                if !handle.writes {
                    return Err(libc::EINVAL);
                }
                self.resize(handle.inode, len)
            }
            Op::Truncate(ref at, len) => self
                .find(process, at, true)
                .and_then(|inode| self.resize(inode, len)),
            Op::Fallocate(slot, mode, at, len) => self.allocate(process, slot, mode, (at, len)),
            Op::Copy {
                from,
                at,
                to,
                to_at,
                len,
            } => self.copy(process, (from, at), (to, to_at), len),
            Op::Fsync(slot) => self.slot(process, slot).map(|_| Outcome::Done),
            _ => panic!("{op:?} is about no content"),
        }
    }

    fn advance(&mut self, process: usize, slot: usize, to: u64) {
        if let Some(handle) = &mut self.processes[process].slots[slot] {
            handle.position = to;
        }
    }

    fn read(&mut self, process: usize, slot: usize, at: u64, len: usize) -> Try<Vec<u8>> {
        let handle = self.slot(process, slot)?;
        if !handle.reads {
            return Err(libc::EBADF);
        }
        let content = self.content(handle.inode)?;
        let from = content.len().min(at as usize);
        Ok(content[from..content.len().min(from + len)].to_vec())
    }

    /// Says where the write ended.
    fn write(&mut self, process: usize, slot: usize, at: u64, data: &[u8]) -> Try<u64> {
        let handle = self.slot(process, slot)?;
        if !handle.writes {
            return Err(libc::EBADF);
        }
        let keeps_time = self.flaw == Some(Flaw::WritesKeepTheTime);
        let content = self.content(handle.inode)?;
        let at = if handle.appends {
            content.len()
        } else {
            at as usize
        };
        let end = at + data.len();
        if !data.is_empty() {
            content.resize(content.len().max(end), 0);
            content[at..end].copy_from_slice(data);
            if !keeps_time {
                self.rewritten(handle.inode);
            }
        }
        Ok(end as u64)
    }

    fn write_mapped(&mut self, process: usize, slot: usize, at: u64, data: &[u8]) -> Try<Outcome> {
        let handle = self.slot(process, slot)?;
        if self.is_folder(handle.inode) {
            return Err(libc::ENODEV);
        }
        let content = self.content(handle.inode)?;
        let from = content.len().min(at as usize);
        let to = content.len().min(from + data.len());
        if from == to {
            return Ok(Outcome::Count(0));
        }
        if !(handle.reads && handle.writes) {
            return Err(libc::EACCES);
        }
        content[from..to].copy_from_slice(&data[..to - from]);
        self.rewritten(handle.inode);
        Ok(Outcome::Count((to - from) as u64))
    }

    fn perhaps_rewritten(&mut self, inode: Id) {
        self.touch(inode);
        self.inodes[inode].written = true;
    }

    fn rewritten(&mut self, inode: Id) {
        self.changed_surely(inode);
        self.inodes[inode].written = true;
    }

    fn resize(&mut self, inode: Id, len: u64) -> Try<Outcome> {
        let flaw = self.flaw;
        let content = self.content(inode)?;
        let had = content.len();
        content.resize(len as usize, 0);
        if flaw == Some(Flaw::CutBytesComeBack) && content.len() > had {
            content[had..].fill(0xaa);
        }
        // Whether the same length once more is a change differs between file systems.
        if had == len as usize {
            self.perhaps_rewritten(inode);
        } else {
            self.rewritten(inode);
        }
        Ok(Outcome::Done)
    }

    fn allocate(
        &mut self,
        process: usize,
        slot: usize,
        mode: Allocate,
        (at, len): (u64, u64),
    ) -> Try<Outcome> {
        let handle = self.slot(process, slot)?;
        if len == 0 {
            return Err(libc::EINVAL);
        }
        if !handle.writes {
            return Err(libc::EBADF);
        }
        if matches!(mode, Allocate::Zero | Allocate::ZeroKeep) && !self.zeroes_ranges {
            return Err(libc::EOPNOTSUPP);
        }
        self.perhaps_rewritten(handle.inode);
        let content = self.content(handle.inode)?;
        let end = (at + len) as usize;
        if !matches!(mode, Allocate::Grow | Allocate::Keep) {
            let had = content.len();
            content[had.min(at as usize)..had.min(end)].fill(0);
        }
        if matches!(mode, Allocate::Grow | Allocate::Zero) {
            content.resize(content.len().max(end), 0);
        }
        Ok(Outcome::Done)
    }

    fn copy(
        &mut self,
        process: usize,
        from: (usize, u64),
        to: (usize, u64),
        len: usize,
    ) -> Try<Outcome> {
        let (source, target) = (self.slot(process, from.0)?, self.slot(process, to.0)?);
        if self.is_folder(source.inode) || self.is_folder(target.inode) {
            return Err(libc::EISDIR);
        }
        if !source.reads || !target.writes || target.appends {
            return Err(libc::EBADF);
        }
        let content = self.content(source.inode)?;
        let start = content.len().min(from.1 as usize);
        let copied = content[start..content.len().min(start + len)].to_vec();
        // The overlap is judged by what there is to copy.
        let overlaps = source.inode == target.inode && from.1.abs_diff(to.1) < copied.len() as u64;
        if overlaps {
            return Err(libc::EINVAL);
        }
        self.write(process, to.0, to.1, &copied)?;
        Ok(Outcome::Count(copied.len() as u64))
    }

    fn on_names(&mut self, process: usize, op: &Op) -> Try<()> {
        match op {
            Op::Mkdir(at) => {
                let place = self.vacant(process, at)?;
                let folder = Body::empty_folder(place.folder);
                let inherited = self.inodes[place.folder].mode & SET_GROUP_ID;
                self.make(place, folder, FOLDER_MODE | inherited).map(drop)
            }
            Op::Symlink(at, target) => {
                let place = self.vacant(process, at)?;
                self.make(place, Body::Symlink(target.target()), 0o777)
                    .map(drop)
            }
            Op::Link(from, to) => {
                let inode = self.find(process, from, false)?;
                let place = self.vacant(process, to)?;
                if self.is_folder(inode) {
                    return Err(libc::EPERM);
                }
                self.attach(place.folder, place.name, inode);
                self.changed_surely(place.folder);
                Ok(())
            }
            Op::Unlink(at) => {
                let place = self.place(process, at, false)?;
                let inode = place.found.ok_or(libc::ENOENT)?;
                if self.is_folder(inode) {
                    return Err(libc::EISDIR);
                }
                self.detach(place.folder, &place.name);
                if self.flaw == Some(Flaw::DeletedFilesAreEmpty)
                    && let Body::File(content) = &mut self.inodes[inode].body
                {
                    content.clear();
                }
                Ok(())
            }
            Op::Rmdir(at) => {
                let place = self.place(process, at, false)?;
                if !self.names(place.found.ok_or(libc::ENOENT)?)?.is_empty() {
                    return Err(libc::ENOTEMPTY);
                }
                self.detach(place.folder, &place.name);
                Ok(())
            }
            Op::Rename(from, to, how) => self.rename(process, from, to, *how),
            _ => panic!("{op:?} is about no name"),
        }
    }

    /// Where something new can stand.
    fn vacant(&self, process: usize, at: &At) -> Try<Place> {
        let place = self.place(process, at, false)?;
        match place.found {
            Some(_) => Err(libc::EEXIST),
            None if self.is_dead(place.folder) => Err(libc::ENOENT),
            None => Ok(place),
        }
    }

    fn rename(&mut self, process: usize, from: &At, to: &At, how: Rename) -> Try<()> {
        let from = self.place(process, from, false)?;
        let to = self.place(process, to, false)?;
        let source = from.found.ok_or(libc::ENOENT)?;
        match (how, to.found) {
            (Rename::NoReplace, Some(_)) => return Err(libc::EEXIST),
            (Rename::Exchange, None) => return Err(libc::ENOENT),
            _ => {}
        }
        if self.is_folder(source) && self.is_at_or_above(source, to.folder) {
            return Err(libc::EINVAL);
        }
        let target_above =
            |target| self.is_folder(target) && self.is_at_or_above(target, from.folder);
        match (how, to.found) {
            (Rename::Exchange, Some(target)) if target_above(target) => return Err(libc::EINVAL),
            (_, Some(target)) if target_above(target) => return Err(libc::ENOTEMPTY),
            (_, Some(target)) if target == source => return Ok(()),
            (_, None) if self.is_dead(to.folder) => return Err(libc::ENOENT),
            _ => {}
        }
        if how == Rename::Exchange {
            return self.exchange(&from, &to);
        }
        if let Some(target) = to.found {
            self.may_replace(source, target)?;
            self.detach(to.folder, &to.name);
        }
        if self.flaw != Some(Flaw::RenamesCopy) || from.folder == to.folder {
            self.detach(from.folder, &from.name);
        }
        self.attach(to.folder, to.name, source);
        Ok(())
    }

    fn may_replace(&self, source: Id, target: Id) -> Try<()> {
        match (self.is_folder(source), self.is_folder(target)) {
            (true, false) => Err(libc::ENOTDIR),
            (false, true) => Err(libc::EISDIR),
            (true, true) if !self.names(target)?.is_empty() => Err(libc::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    fn exchange(&mut self, from: &Place, to: &Place) -> Try<()> {
        let (source, target) = (
            from.found.ok_or(libc::ENOENT)?,
            to.found.ok_or(libc::ENOENT)?,
        );
        self.detach(from.folder, &from.name);
        self.detach(to.folder, &to.name);
        self.attach(from.folder, from.name.clone(), target);
        self.attach(to.folder, to.name.clone(), source);
        Ok(())
    }

    fn on_attributes(&mut self, process: usize, op: &Op) -> Try<Outcome> {
        match op {
            Op::Chmod(on, mode) => {
                let inode = self.on(process, on, true)?;
                self.inodes[inode].mode = *mode;
                Ok(Outcome::Done)
            }
            Op::Utimes(on, secs) => {
                let inode = self.on(process, on, false)?;
                self.inodes[inode].changed = Changed::Exactly((*secs, 0));
                self.inodes[inode].written = false;
                Ok(Outcome::Done)
            }
            Op::Stat(on) => self
                .on(process, on, false)
                .map(|inode| Outcome::Attributes(self.attributes(inode))),
            Op::Readlink(at) => match &self.inodes[self.find(process, at, false)?].body {
                Body::Symlink(target) => Ok(Outcome::Bytes(target.clone())),
                Body::File(_) | Body::Folder { .. } => Err(libc::EINVAL),
            },
            Op::Readdir(at) => {
                let folder = self.find(process, at, true)?;
                let names = self.names(folder)?;
                let kinds: BTreeMap<_, _> = names
                    .iter()
                    .map(|(name, inode)| (name.clone(), self.kind(*inode)))
                    .collect();
                Ok(Outcome::Names(kinds))
            }
            _ => self.on_xattrs(process, op),
        }
    }

    fn attributes(&self, inode: Id) -> Attributes {
        let Inode {
            body, mode, links, ..
        } = &self.inodes[inode];
        Attributes {
            kind: self.kind(inode),
            mode: *mode,
            links: *links,
            len: match body {
                Body::File(content) | Body::Symlink(content) => content.len() as u64,
                Body::Folder { .. } => 0,
            },
            changed: (0, 0),
        }
    }

    fn on_xattrs(&mut self, process: usize, op: &Op) -> Try<Outcome> {
        let (Op::SetXattr(on, ..)
        | Op::GetXattr(on, _)
        | Op::RemoveXattr(on, _)
        | Op::ListXattr(on)) = op
        else {
            panic!("{op:?} is about no attribute");
        };
        let inode = self.on(process, on, false)?;
        let is_symlink = self.kind(inode) == Kind::Symlink;
        let xattrs = &mut self.inodes[inode].xattrs;
        match op {
            // `user.` attributes are for files and folders (xattr(7)).
            Op::SetXattr(..) | Op::RemoveXattr(..) if is_symlink => Err(libc::EPERM),
            Op::SetXattr(_, name, set, len) => match (set, xattrs.contains_key(name)) {
                (Set::Create, true) => Err(libc::EEXIST),
                (Set::Replace, false) => Err(libc::ENODATA),
                _ => {
                    xattrs.insert(*name, fill(*name, *len));
                    Ok(Outcome::Done)
                }
            },
            Op::GetXattr(_, name) => xattrs
                .get(name)
                .map(|value| Outcome::Bytes(value.clone()))
                .ok_or(libc::ENODATA),
            Op::RemoveXattr(_, name) => xattrs
                .remove(name)
                .map(|_| Outcome::Done)
                .ok_or(libc::ENODATA),
            _ => Ok(Outcome::Xattrs(
                xattrs.keys().map(|name| xattr_name(*name)).collect(),
            )),
        }
    }
}
