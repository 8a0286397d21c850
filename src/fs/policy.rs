//! Whether the volume's policy lets a caller do what he asks for. `fuse` asks before each operation on a name or an inode;
//! what is done with a handle that is open goes by the right with which it was opened.
//!
//! A file is judged by the path under which it was found. Of one with several names each that the mount has seen
//! counts, and the strictest decides; where no path is known, every rule counts. Names, attributes and the targets of
//! symlinks stay visible to whom modes let in.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::audit::{Event, Field, Kind};
use crate::policy::{Access, Facts, Policy, Verdict};
use crate::storage::{CName, Credentials, Executable, FileKind, Unit, real_path};

use super::FileSystem;
use super::caller::Caller;
use super::error::FsError;
use super::handles::Fh;
use super::inodes::{Ino, Inode, Whereabouts};
use super::ops::attr::AttrChange;
use super::subject::{path_below, show_path};

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// To read what an inode holds.
    Read(Ino),
    /// To change what an inode holds, or its attributes.
    Change(Ino),
    /// To change attributes, perhaps by a handle.
    SetAttr(Ino, Option<Fh>, &'a AttrChange),
    /// To make a name in a folder, or to take it away.
    Name(Ino, &'a [u8]),
    /// To give an inode one name more.
    Link(Ino, Ino, &'a [u8]),
    /// To rename, or to exchange two names.
    Rename(Ino, &'a [u8], Ino, &'a [u8]),
}

/// The policy in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Whether there is one: what is asked for each operation.
    any: AtomicBool,
    policy: RwLock<Option<Arc<Policy>>>,
}

impl Rules {
    fn get(&self) -> Option<Arc<Policy>> {
        match self.any.load(Ordering::Acquire) {
            true => self.policy.read().clone(),
            false => None,
        }
    }
}

/// What is known of a caller, looked up at most once.
struct Known {
    caller: Caller,
    credentials: OnceCell<Option<Credentials>>,
    exe: OnceCell<Option<Executable>>,
    unit: OnceCell<Option<String>>,
}

impl Known {
    fn of(caller: Caller) -> Self {
        Self {
            caller,
            credentials: OnceCell::new(),
            exe: OnceCell::new(),
            unit: OnceCell::new(),
        }
    }

    fn pid(&self) -> Option<u32> {
        Some(self.caller.pid).filter(|pid| *pid != 0)
    }

    fn credentials(&self) -> Option<&Credentials> {
        let ask = || self.pid().and_then(|pid| Credentials::of(pid).ok());
        self.credentials.get_or_init(ask).as_ref()
    }
}

impl Facts for Known {
    fn is_user(&self, uid: u32) -> Option<bool> {
        match self.caller.ids.uid {
            u32::MAX => self.credentials().map(|known| known.uid == uid),
            own => Some(own == uid),
        }
    }

    fn is_in_group(&self, gid: u32) -> Option<bool> {
        if self.caller.ids.gid == gid {
            return Some(true);
        }
        self.credentials().map(|known| known.groups.contains(&gid))
    }

    fn runs(&self, exe: &Path) -> Option<bool> {
        let ask = || self.pid().and_then(|pid| Executable::of(pid).ok());
        self.exe.get_or_init(ask).as_ref().map(|own| own.is(exe))
    }

    fn unit(&self) -> Option<String> {
        let ask = || match Unit::of(self.pid()?).ok()? {
            Unit::Named(unit) => Some(unit),
            Unit::None => Some(String::new()),
            Unit::Hidden => None,
        };
        self.unit.get_or_init(ask).clone()
    }
}

impl FileSystem {
    /// Follows this policy from now on. What is open stays open.
    pub fn follow_policy(&self, policy: Option<Policy>) {
        let policy = policy.map(with_real_paths);
        let any = policy.is_some();
        *self.rules.policy.write() = policy.map(Arc::new);
        self.rules.any.store(any, Ordering::Release);
    }

    /// How many rules are in force; `None` where there is no policy.
    pub fn policy_rules(&self) -> Option<usize> {
        self.rules.get().map(|policy| policy.rules.len())
    }

    /// Whether the policy lets `caller` do this; what it denies is told to the audit. `operation` is for that.
    ///
    /// # Errors
    /// `EACCES` where nothing is allowed, `EROFS` where only reading is.
    pub fn admit(
        &self,
        caller: Caller,
        operation: &'static str,
        ask: Ask<'_>,
    ) -> Result<(), FsError> {
        match self.rules.get() {
            None => Ok(()),
            Some(policy) => self.judge(&policy, caller, operation, ask),
        }
    }

    fn judge(
        &self,
        policy: &Policy,
        caller: Caller,
        operation: &'static str,
        ask: Ask<'_>,
    ) -> Result<(), FsError> {
        let known = Known::of(caller);
        let judged = match ask {
            Ask::SetAttr(ino, fh, change) if self.is_by_handle(ino, fh, change) => return Ok(()),
            Ask::Read(ino) | Ask::Change(ino) | Ask::SetAttr(ino, _, _) => {
                self.judge_inode(policy, &known, ino)?
            }
            Ask::Name(parent, name) => {
                vec![self.judge_name(policy, &known, (parent, name), false)?]
            }
            Ask::Link(ino, parent, name) => {
                let mut judged = self.judge_inode(policy, &known, ino)?;
                judged.push(self.judge_name(policy, &known, (parent, name), false)?);
                judged
            }
            Ask::Rename(from, name, to, new_name) => {
                let folders = self.is_folder(from, name) || self.is_folder(to, new_name);
                [(from, name), (to, new_name)]
                    .map(|end| self.judge_name(policy, &known, end, folders))
                    .into_iter()
                    .collect::<Result<_, _>>()?
            }
        };
        let needed = match ask {
            Ask::Read(_) => Access::ReadOnly,
            _ => Access::Allow,
        };
        let strictest = judged.into_iter().min_by_key(|(_, verdict)| verdict.access);
        match strictest {
            Some((path, verdict)) if verdict.access < needed => {
                self.tell_denied(caller, operation, path, verdict);
                Err(FsError::Refused(match verdict.access {
                    Access::Deny => libc::EACCES,
                    Access::ReadOnly | Access::Allow => libc::EROFS,
                }))
            }
            _ => Ok(()),
        }
    }

    /// A new length by a handle goes by the handle; so do the times that the kernel itself sets of what it writes back,
    /// which it does by a handle that writes (`fuse_write_inode`, linux/fs/fuse/file.c). Times that a caller sets come
    /// without one, also by `futimens`.
    fn is_by_handle(&self, ino: Ino, fh: Option<Fh>, change: &AttrChange) -> bool {
        let of_inode = change.mode.is_some() || change.uid.is_some() || change.gid.is_some();
        let writes = |fh| {
            let handle = self.files.find(fh);
            handle.is_ok_and(|handle| handle.writes && handle.inode.ino() == ino)
        };
        !of_inode && fh.is_some_and(writes)
    }

    /// By each name that is known.
    fn judge_inode(
        &self,
        policy: &Policy,
        known: &Known,
        ino: Ino,
    ) -> Result<Vec<Judged>, FsError> {
        let inode = self.inode(ino)?;
        let paths = std::iter::once(self.path_of(&inode)).chain(self.other_paths(&inode));
        let judge = |path: Option<Vec<u8>>| {
            let verdict = policy.judge(path.as_deref(), known);
            (path, verdict)
        };
        Ok(paths.map(judge).collect())
    }

    /// With `whole`, also what may lie below the name.
    fn judge_name(
        &self,
        policy: &Policy,
        known: &Known,
        (parent, name): (Ino, &[u8]),
        whole: bool,
    ) -> Result<Judged, FsError> {
        let path = self.path_in(parent, name)?;
        let verdict = match whole {
            true => policy.judge_tree(path.as_deref(), known),
            false => policy.judge(path.as_deref(), known),
        };
        Ok((path, verdict))
    }

    fn path_in(&self, parent: Ino, name: &[u8]) -> Result<Option<Vec<u8>>, FsError> {
        let folder = self.path_of(&self.inode(parent)?);
        Ok(folder.map(|folder| path_below(&folder, name)))
    }

    /// Paths by which the inode was found besides the last, as far as they still are its own.
    fn other_paths(&self, inode: &Arc<Inode>) -> Vec<Option<Vec<u8>>> {
        let mut names = inode.other_names().lock();
        if names.known.is_empty() && !names.more {
            return Vec::new();
        }
        names.known.retain(|(parent, cname)| {
            let dir = self.folder_node(parent);
            let found = dir.and_then(|dir| Ok(dir.stat_child(cname)?));
            found.is_ok_and(|stat| inode.is(&stat))
        });
        let last = inode.whereabouts().read().clone();
        let others = names
            .known
            .iter()
            .filter(|(parent, cname)| !last.is_at(parent, cname));
        let known = others.count() + 1;
        names.more &= self
            .stat(inode)
            .map_or(true, |stat| stat.nlink as usize > known);
        let (known, more) = (names.known.clone(), names.more);
        drop(names);
        let paths = known
            .into_iter()
            .map(|(parent, cname)| self.path_of_name(&parent, &cname));
        paths.chain(more.then_some(None)).collect()
    }

    fn is_folder(&self, parent: Ino, name: &[u8]) -> bool {
        let stat = self
            .inode(parent)
            .and_then(|parent| self.place(&parent, name))
            .and_then(|place| Ok(place.dir.stat_child(&place.cname)?));
        stat.is_ok_and(|stat| stat.kind == FileKind::Directory)
    }

    fn tell_denied(
        &self,
        caller: Caller,
        operation: &'static str,
        path: Option<Vec<u8>>,
        verdict: Verdict,
    ) {
        self.stats.count_denied();
        self.volume.note(|| {
            Event::new(Kind::AccessDenied)
                .with(Field::Operation, operation)
                .with_some(Field::Path, path.map(|path| show_path(&path)))
                .with(Field::Access, verdict.access.as_str())
                .with(Field::Rule, verdict.rule)
                .by(&caller.subject())
        });
    }
}

/// Names of one inode that are remembered.
const MAX_NAMES: usize = 64;

/// Names under which an inode was found before the last one.
#[derive(Debug, Default)]
pub(super) struct OtherNames {
    known: Vec<(Arc<Inode>, CName)>,
    /// There were more than are remembered: then no path of it is sure.
    more: bool,
}

type Judged = (Option<Vec<u8>>, Verdict);

/// The kernel names executables without symlinks, so rules are to name them so too. One that is not there stays as it is.
fn with_real_paths(mut policy: Policy) -> Policy {
    for exe in policy.rules.iter_mut().flat_map(|rule| &mut rule.exes) {
        if let Ok(real) = real_path(exe) {
            *exe = real;
        }
    }
    policy
}

/// Executables of a policy that lie below the mount point: asking for them would be a request to the mount itself.
pub fn executable_below(policy: &Policy, mountpoint: &Path) -> Option<PathBuf> {
    let mut exes = policy.rules.iter().flat_map(|rule| &rule.exes);
    let is_below = |exe: &&PathBuf| {
        let real = real_path(exe);
        exe.starts_with(mountpoint) || real.is_ok_and(|real| real.starts_with(mountpoint))
    };
    exes.find(is_below).cloned()
}

/// Remembers under which name an inode was found before, where it has several.
pub(super) fn remember_name(inode: &Inode, before: Whereabouts) {
    let Whereabouts::At { parent, cname } = before else {
        return;
    };
    let mut names = inode.other_names().lock();
    let is_known = |(other, name): &(Arc<Inode>, _)| other.ino() == parent.ino() && *name == cname;
    if names.known.iter().any(is_known) {
        return;
    }
    if names.known.len() < MAX_NAMES {
        names.known.push((parent, cname));
    } else {
        names.more = true;
    }
}
