//! One method for each request: convert, call `fs`, reply.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LkFlags, LockOwner, Notifier,
    OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyStatx, ReplyWrite, ReplyXattr, Request, RequestId, TimeOrNow, WriteFlags,
};

use crate::content::{Seek, SyncKind, with_buffer};
use crate::fs::{
    self, Ask, AttrChange, Caller, Created, Entry, Fh, FileSystem, FolderEntry, FsError,
    LockRequest,
};
use crate::storage::{self, XattrSet};

use super::capabilities::{self, Features};
use super::convert::{
    as_fuser_read_it, caller, device, errno, file_attr, file_type, generation, ino, maker,
    system_time, time_change,
};
use super::locks::{self, LockWaiters, Waiter};
use super::session::MountConfig;
use super::stale::StalePages;

/// Of what is no inode.
const NO_GENERATION: Generation = Generation(0);

/// Serves the kernel's requests from a [`FileSystem`].
#[derive(Debug)]
pub(super) struct Adapter {
    fs: Arc<FileSystem>,
    /// Speaks to the kernel unasked; there once the mount is.
    notifier: Arc<OnceLock<Notifier>>,
    /// What the kernel has wrong where other mounts append too; none in an exclusive mount.
    stale: Option<StalePages>,
    exclusive: bool,
    features: Features,
    ttl: Duration,
    /// Those who wait for locks, where other mounts may hold them.
    waiters: LockWaiters,
}

/// Replies to a request with what `work` comes to.
macro_rules! answer {
    ($self:ident, $operation:literal, $ino:expr, $request:ident, $reply:ident, $work:expr, |$value:pat_param| $done:expr) => {
        match settle(&$self.fs, ($operation, $ino, caller($request)), || $work) {
            Ok($value) => $done,
            Err(errno) => $reply.error(errno),
        }
    };
}

/// Goes on where the volume's policy lets the caller do what he asks for.
macro_rules! admitted {
    ($self:ident, $operation:literal, $ino:expr, $request:ident, $reply:ident, $ask:expr) => {
        let by = caller($request);
        let admitted = || $self.fs.admit(by, $operation, $ask);
        if let Err(errno) = settle(&$self.fs, ($operation, $ino, by), admitted) {
            return $reply.error(errno);
        }
    };
}

/// Runs `work`; its failure is logged, with what was asked for, of what and by whom, and becomes an errno. A panic is the
/// failure of this one request.
pub(super) fn settle<T>(
    fs: &FileSystem,
    (operation, ino, by): (&'static str, INodeNo, Caller),
    work: impl FnOnce() -> Result<T, FsError>,
) -> Result<T, Errno> {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(FsError::Panic));
    result.map_err(|error| {
        fs.note_failure(operation, Some(self::ino(ino)), Some(by), &error);
        errno(&error)
    })
}

impl Adapter {
    pub(super) fn new(
        fs: Arc<FileSystem>,
        config: &MountConfig,
        notifier: Arc<OnceLock<Notifier>>,
    ) -> io::Result<Self> {
        let ttl = if config.exclusive {
            config.cache_ttl
        } else {
            config.cache_ttl.min(SHARED_TTL)
        };
        let stale = || StalePages::start(Arc::clone(&notifier));
        Ok(Self {
            waiters: LockWaiters::new(Arc::clone(&fs)),
            fs,
            stale: (!config.exclusive).then(stale).transpose()?,
            notifier,
            exclusive: config.exclusive,
            features: config.features(),
            ttl,
        })
    }

    fn entry(&self, reply: ReplyEntry, entry: &Entry) {
        reply.entry(&self.ttl, &file_attr(&entry.attr), generation(entry));
    }

    /// Content stays cached between one handle and the next where nobody else can have changed it. A file whose
    /// length the kernel has wrong is read past the cache: the cache would end it early, without an error.
    fn file_flags(exclusive: bool, uncached: bool) -> FopenFlags {
        if uncached {
            FopenFlags::FOPEN_DIRECT_IO
        } else if exclusive {
            FopenFlags::FOPEN_KEEP_CACHE
        } else {
            FopenFlags::empty()
        }
    }

    /// How a file opened with `flags` is cached. What is appended where another mount may have appended too comes to
    /// stand where the kernel does not expect it.
    fn cached_how(exclusive: bool, uncached: bool, flags: i32) -> FopenFlags {
        let appends = !exclusive && flags & libc::O_APPEND != 0;
        Self::file_flags(exclusive, uncached || appends)
    }

    /// Lets the kernel ask for the attributes of an inode that other mounts may have changed: `open` comes after their `close`.
    /// It drops no page for that, and so waits for nothing.
    fn forget_attributes(notifier: &OnceLock<Notifier>, inode: INodeNo) {
        let forgotten = notifier
            .get()
            .map(|notifier| notifier.inval_inode(inode, -1, 0));
        if let Some(Err(error)) = forgotten {
            tracing::debug!(%error, "attributes that the kernel keeps");
        }
    }

    /// `clear_set_id` is who appends, where set-id bits go with that.
    fn append(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        clear_set_id: Option<Caller>,
        reply: ReplyWrite,
    ) {
        let appended = || {
            let at = self.fs.append(fh(handle), data, clear_set_id.is_some())?;
            if let Some(caller) = clear_set_id {
                self.fs.content_changed(caller, fh(handle))?;
            }
            Ok(at)
        };
        answer!(self, "append", inode, request, reply, appended(), |at| {
            reply.written(data.len() as u32);
            // The kernel has put the data where it took the end to be.
            if at != offset
                && let Some(stale) = &self.stale
            {
                stale.drop_later(inode, offset..offset.saturating_add(data.len() as u64));
            }
        });
    }

    /// Answers with a file that was made and opened with `flags`.
    fn created(
        &self,
        asked: (&'static str, INodeNo, Caller),
        flags: i32,
        reply: ReplyCreate,
    ) -> impl FnOnce(Result<Created, FsError>) + Send + 'static {
        let (fs, ttl, exclusive) = (Arc::clone(&self.fs), self.ttl, self.exclusive);
        move |created| match settle(&fs, asked, || created) {
            Ok(made) => {
                let attr = file_attr(&made.entry.attr);
                let flags = Self::cached_how(exclusive, made.opened.uncached, flags);
                let (fh, generation) = (FileHandle(made.opened.fh.0), generation(&made.entry));
                reply.created(&ttl, &attr, generation, fh, flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn lock_request(
        handle: FileHandle,
        (owner, flags): (LockOwner, LkFlags),
        pid: u32,
        lock: (u64, u64, i32),
    ) -> Result<LockRequest, FsError> {
        let (range, kind) = locks::wanted(lock.0, lock.1, lock.2)?;
        Ok(LockRequest {
            fh: fh(handle),
            owner: if flags.contains(LkFlags::FUSE_LK_FLOCK) {
                fs::LockOwner::Flock(owner.0)
            } else {
                fs::LockOwner::Fcntl(owner.0)
            },
            pid,
            range,
            kind,
        })
    }

    fn folder_flags(&self) -> FopenFlags {
        let cached = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
        if self.exclusive {
            cached
        } else {
            FopenFlags::empty()
        }
    }
}

/// Names and attributes may be this old where other mounts change the volume.
const SHARED_TTL: Duration = Duration::from_secs(1);

fn fh(handle: FileHandle) -> Fh {
    Fh(handle.0)
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        capabilities::negotiate(config, self.features)?;
        debug_assert!(config.capabilities().contains(InitFlags::FUSE_BIG_WRITES));
        Ok(())
    }

    fn interrupt(&self, _request: &Request, unique: RequestId) -> Result<(), Errno> {
        // Nothing waits but for locks.
        if self.exclusive {
            return Err(Errno::ENOSYS);
        }
        self.waiters.interrupt(unique);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let by = caller(request);
        match settle(&self.fs, ("lookup", parent, by), || {
            self.fs.lookup(ino(parent), name.as_bytes())
        }) {
            Ok(entry) => self.entry(reply, &entry),
            Err(errno) if errno.code() == libc::ENOENT && self.exclusive => {
                reply.entry(&self.ttl, &NO_INODE, NO_GENERATION);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _request: &Request, inode: INodeNo, nlookup: u64) {
        self.fs.forget(ino(inode), nlookup);
    }

    fn getattr(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        answer!(
            self,
            "getattr",
            inode,
            request,
            reply,
            self.fs.getattr(ino(inode), handle.map(fh)),
            |attr| {
                reply.attr(&self.ttl, &file_attr(&attr));
            }
        );
    }

    fn statx(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: Option<FileHandle>,
        _mask: u32,
        reply: ReplyStatx,
    ) {
        let attr = self.fs.getattr(ino(inode), handle.map(fh));
        answer!(self, "statx", inode, request, reply, attr, |attr| {
            let birth = attr.btime.map(system_time);
            reply.statx(&self.ttl, &file_attr(&attr), birth);
        });
    }

    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let by = caller(request);
        let (atime, mtime) = (atime.map(time_change), mtime.map(time_change));
        let mode = mode.map(|mode| mode & 0o7777);
        let change = AttrChange {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
            ctime: ctime.map(as_fuser_read_it),
        };
        let ask = Ask::SetAttr(ino(inode), handle.map(fh), &change);
        admitted!(self, "setattr", inode, request, reply, ask);
        let (fs, ttl) = (Arc::clone(&self.fs), self.ttl);
        self.fs.setattr(
            caller(request),
            ino(inode),
            handle.map(fh),
            change,
            move |attr| match settle(&fs, ("setattr", inode, by), || attr) {
                Ok(attr) => reply.attr(&ttl, &file_attr(&attr)),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn readlink(&self, request: &Request, inode: INodeNo, reply: ReplyData) {
        answer!(
            self,
            "readlink",
            inode,
            request,
            reply,
            self.fs.readlink(ino(inode)),
            |target| reply.data(&target)
        );
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let by = caller(request);
        admitted!(
            self,
            "mknod",
            parent,
            request,
            reply,
            Ask::Name(ino(parent), name.as_bytes())
        );
        let (fs, ttl) = (Arc::clone(&self.fs), self.ttl);
        self.fs.mknod(
            maker(request, umask),
            ino(parent),
            name.as_bytes(),
            mode,
            device(rdev),
            move |entry| match settle(&fs, ("mknod", parent, by), || entry) {
                Ok(entry) => reply.entry(&ttl, &file_attr(&entry.attr), generation(&entry)),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        admitted!(
            self,
            "mkdir",
            parent,
            request,
            reply,
            Ask::Name(ino(parent), name.as_bytes())
        );
        let made = || {
            self.fs
                .mkdir(maker(request, umask), ino(parent), name.as_bytes(), mode)
        };
        answer!(self, "mkdir", parent, request, reply, made(), |entry| self
            .entry(reply, &entry));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        admitted!(
            self,
            "unlink",
            parent,
            request,
            reply,
            Ask::Name(ino(parent), name.as_bytes())
        );
        answer!(
            self,
            "unlink",
            parent,
            request,
            reply,
            self.fs.unlink(ino(parent), name.as_bytes()),
            |()| reply.ok()
        );
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        admitted!(
            self,
            "rmdir",
            parent,
            request,
            reply,
            Ask::Name(ino(parent), name.as_bytes())
        );
        answer!(
            self,
            "rmdir",
            parent,
            request,
            reply,
            self.fs.rmdir(ino(parent), name.as_bytes()),
            |()| reply.ok()
        );
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        admitted!(
            self,
            "symlink",
            parent,
            request,
            reply,
            Ask::Name(ino(parent), name.as_bytes())
        );
        let target = target.as_os_str().as_bytes();
        let made = || {
            self.fs
                .symlink(caller(request), ino(parent), name.as_bytes(), target)
        };
        answer!(self, "symlink", parent, request, reply, made(), |entry| {
            self.entry(reply, &entry);
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        admitted!(
            self,
            "rename",
            parent,
            request,
            reply,
            Ask::Rename(
                ino(parent),
                name.as_bytes(),
                ino(newparent),
                newname.as_bytes()
            )
        );
        let flags = storage::RenameFlags::from_bits_retain(flags.bits());
        let (name, newname) = (name.as_bytes(), newname.as_bytes());
        let renamed = || {
            self.fs
                .rename(ino(parent), name, ino(newparent), newname, flags)
        };
        answer!(self, "rename", parent, request, reply, renamed(), |()| {
            reply.ok();
        });
    }

    fn link(
        &self,
        request: &Request,
        inode: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        admitted!(
            self,
            "link",
            inode,
            request,
            reply,
            Ask::Link(ino(inode), ino(newparent), newname.as_bytes())
        );
        let linked = || self.fs.link(ino(inode), ino(newparent), newname.as_bytes());
        answer!(self, "link", inode, request, reply, linked(), |entry| self
            .entry(reply, &entry));
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let by = caller(request);
        let write = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let ask = if write { Ask::Change } else { Ask::Read };
        admitted!(self, "open", inode, request, reply, ask(ino(inode)));
        let (fs, exclusive) = (Arc::clone(&self.fs), self.exclusive);
        let notifier = Arc::clone(&self.notifier);
        self.fs.open(
            caller(request),
            ino(inode),
            write,
            move |opened| match settle(&fs, ("open", inode, by), || opened) {
                Ok(opened) => {
                    if !exclusive {
                        Self::forget_attributes(&notifier, inode);
                    }
                    let flags = Self::cached_how(exclusive, opened.uncached, flags.0);
                    reply.opened(FileHandle(opened.fh.0), flags);
                }
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        mut reply: ReplyData,
    ) {
        if let Some(memory) = reply.memory(size as usize) {
            let read = self.fs.read(fh(handle), offset, memory);
            answer!(self, "read", inode, request, reply, read, |len| reply
                .filled(len));
            return;
        }
        with_buffer(size as usize, |buffer| {
            let mut read = || self.fs.read(fh(handle), offset, buffer);
            answer!(self, "read", inode, request, reply, read(), |len| reply
                .data(&buffer[..len]));
        });
    }

    fn write(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let clear_set_id = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        // Pages of a mapping (WRITE_CACHE) go where they are.
        let cached = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let appends = flags.0 & libc::O_APPEND != 0 && !cached;
        if appends && !self.exclusive {
            let by = clear_set_id.then(|| caller(request));
            return self.append(request, inode, handle, offset, data, by, reply);
        }
        let written = || {
            // Where other mounts write too, no time is put back.
            if self.exclusive && !cached {
                self.fs.written_past_cache(fh(handle))?;
            }
            self.fs.write(fh(handle), offset, data, clear_set_id)?;
            if clear_set_id {
                self.fs.content_changed(caller(request), fh(handle))?;
            }
            Ok(())
        };
        answer!(self, "write", inode, request, reply, written(), |()| reply
            .written(data.len() as u32));
    }

    fn flush(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Nothing is held back until close, so the kernel need not ask again: ENOSYS tells it so. Where
        // other mounts read the volume, a new file's header must be there when close returns.
        if self.exclusive {
            reply.error(Errno::ENOSYS);
        } else {
            let owner = fs::LockOwner::Fcntl(lock_owner.0);
            let flushed = self.fs.flush(fh(handle));
            let unlocked = self.fs.drop_locks(fh(handle), owner);
            if matches!(unlocked, Ok(true)) {
                self.waiters.wake();
            }
            answer!(self, "flush", inode, request, reply, flushed, |()| reply
                .ok());
        }
    }

    fn release(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        answer!(
            self,
            "release",
            inode,
            request,
            reply,
            self.fs.release(fh(handle)),
            |()| reply.ok()
        );
        self.waiters.wake();
    }

    fn getlk(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        pid: u32,
        flags: LkFlags,
        reply: ReplyLock,
    ) {
        let by = caller(request);
        match Self::lock_request(handle, (lock_owner, flags), pid, (start, end, kind)) {
            Ok(request) => locks::get(&self.fs, (inode, by), &request, reply),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setlk(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        pid: u32,
        flags: LkFlags,
        waits: bool,
        reply: ReplyEmpty,
    ) {
        let (by, unique) = (caller(request), request.unique());
        match Self::lock_request(handle, (lock_owner, flags), pid, (start, end, kind)) {
            Ok(request) => {
                let waiter = Waiter {
                    unique,
                    inode,
                    request,
                    by,
                    reply,
                };
                self.waiters.set(waiter, waits);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn fsync(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let kind = if datasync {
            SyncKind::Data
        } else {
            SyncKind::All
        };
        answer!(
            self,
            "fsync",
            inode,
            request,
            reply,
            self.fs.fsync(fh(handle), kind),
            |()| reply.ok()
        );
    }

    fn opendir(&self, request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        answer!(
            self,
            "opendir",
            inode,
            request,
            reply,
            self.fs.opendir(ino(inode)),
            |handle| {
                reply.opened(FileHandle(handle.0), self.folder_flags());
            }
        );
    }

    fn readdir(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let by = caller(request);
        let add = |entry: &FolderEntry<'_>| {
            let name = OsStr::from_bytes(entry.name);
            !reply.add(
                INodeNo(entry.ino.0),
                entry.next,
                file_type(entry.kind),
                name,
            )
        };
        let read = settle(&self.fs, ("readdir", inode, by), || {
            self.fs.readdir(fh(handle), offset, false, add)
        });
        match read {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let by = caller(request);
        let add = |given: &FolderEntry<'_>| {
            let name = OsStr::from_bytes(given.name);
            // `.` and `..` carry no inode: the kernel takes no reference for them.
            let (node, attr, generation) = match &given.entry {
                Some(entry) => (
                    INodeNo(given.ino.0),
                    file_attr(&entry.attr),
                    generation(entry),
                ),
                None => (
                    INodeNo(0),
                    FileAttr {
                        ino: INodeNo(given.ino.0),
                        ..NO_INODE
                    },
                    NO_GENERATION,
                ),
            };
            !reply.add(node, given.next, name, &self.ttl, &attr, generation)
        };
        let read = settle(&self.fs, ("readdirplus", inode, by), || {
            self.fs.readdir(fh(handle), offset, true, add)
        });
        match read {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        answer!(
            self,
            "releasedir",
            inode,
            request,
            reply,
            self.fs.releasedir(fh(handle)),
            |()| reply.ok()
        );
    }

    fn fsyncdir(
        &self,
        request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer!(
            self,
            "fsyncdir",
            inode,
            request,
            reply,
            self.fs.fsyncdir(ino(inode)),
            |()| reply.ok()
        );
    }

    fn statfs(&self, request: &Request, inode: INodeNo, reply: ReplyStatfs) {
        answer!(
            self,
            "statfs",
            inode,
            request,
            reply,
            self.fs.statfs(),
            |stat| reply.statfs(
                stat.blocks,
                stat.blocks_free,
                stat.blocks_available,
                stat.files,
                stat.files_free,
                stat.block_len as u32,
                // A name of any length that the kernel allows finds room: long ones in a sidecar.
                255,
                stat.fragment_len as u32,
            )
        );
    }

    fn setxattr(
        &self,
        request: &Request,
        inode: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        admitted!(
            self,
            "setxattr",
            inode,
            request,
            reply,
            Ask::Change(ino(inode))
        );
        let set = match flags {
            libc::XATTR_CREATE => XattrSet::Create,
            libc::XATTR_REPLACE => XattrSet::Replace,
            _ => XattrSet::Either,
        };
        let set = || {
            self.fs
                .setxattr(caller(request), ino(inode), name.as_bytes(), value, set)
        };
        answer!(self, "setxattr", inode, request, reply, set(), |()| reply
            .ok());
    }

    fn getxattr(
        &self,
        request: &Request,
        inode: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        if !fs::is_for_the_kernel(name.as_bytes()) {
            admitted!(
                self,
                "getxattr",
                inode,
                request,
                reply,
                Ask::Read(ino(inode))
            );
        }
        let value = || self.fs.getxattr(ino(inode), name.as_bytes());
        answer!(self, "getxattr", inode, request, reply, value(), |value| {
            sized_reply(reply, &value, size);
        });
    }

    fn listxattr(&self, request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        answer!(
            self,
            "listxattr",
            inode,
            request,
            reply,
            self.fs.listxattr(ino(inode)),
            |list| {
                sized_reply(reply, &list, size);
            }
        );
    }

    fn removexattr(&self, request: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        admitted!(
            self,
            "removexattr",
            inode,
            request,
            reply,
            Ask::Change(ino(inode))
        );
        answer!(
            self,
            "removexattr",
            inode,
            request,
            reply,
            self.fs.removexattr(ino(inode), name.as_bytes()),
            |()| reply.ok()
        );
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let by = caller(request);
        admitted!(
            self,
            "create",
            parent,
            request,
            reply,
            Ask::Name(ino(parent), name.as_bytes())
        );
        self.fs.create(
            maker(request, umask),
            ino(parent),
            name.as_bytes(),
            mode,
            flags & libc::O_EXCL != 0,
            self.created(("create", parent, by), flags, reply),
        );
    }

    fn tmpfile(
        &self,
        request: &Request,
        parent: INodeNo,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let by = caller(request);
        let ask = Ask::Name(ino(parent), fs::NAMELESS);
        admitted!(self, "tmpfile", parent, request, reply, ask);
        let made = self.created(("tmpfile", parent, by), flags, reply);
        self.fs
            .tmpfile(maker(request, umask), ino(parent), mode, made);
    }

    fn fallocate(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let done = || {
            self.fs.fallocate(fh(handle), mode, offset, length)?;
            self.fs.content_changed(caller(request), fh(handle))
        };
        answer!(self, "fallocate", inode, request, reply, done(), |()| reply
            .ok());
    }

    fn lseek(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let by = caller(request);
        let fs = Arc::clone(&self.fs);
        let seek = move || match settle(&fs, ("lseek", inode, by), || {
            seek(&fs, fh(handle), offset, whence)
        }) {
            Ok(offset) => reply.offset(offset as i64),
            Err(errno) => reply.error(errno),
        };
        if !self.fs.has_writers(ino(inode)) {
            return seek();
        }
        // The kernel may hold written pages that it has not sent, and asks for holes without sending them
        // first. They are written before this is answered: on a thread of its own, since those that serve
        // requests must be free to take them.
        let notifier = Arc::clone(&self.notifier);
        std::thread::spawn(move || {
            if let Some(Err(error)) = notifier
                .get()
                .map(|notifier| notifier.inval_inode(inode, 0, 0))
            {
                tracing::debug!(%error, "flushing before a seek");
            }
            seek();
        });
    }

    fn ioctl(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copied = || {
            let (from, to) = (fh(fh_in), fh(fh_out));
            let copied = self
                .fs
                .copy_file_range(from, offset_in, to, offset_out, len)?;
            self.fs.content_changed(caller(request), to)?;
            Ok(copied)
        };
        answer!(
            self,
            "copy_file_range",
            ino_in,
            request,
            reply,
            copied(),
            |len| {
                reply.written(len as u32);
            }
        );
    }
}

fn seek(fs: &FileSystem, fh: Fh, offset: i64, whence: i32) -> Result<u64, FsError> {
    let offset = u64::try_from(offset).map_err(|_negative| FsError::Refused(libc::ENXIO))?;
    match whence {
        libc::SEEK_DATA => fs.lseek(fh, offset, Seek::Data),
        libc::SEEK_HOLE => fs.lseek(fh, offset, Seek::Hole),
        _ => Err(FsError::Refused(libc::EINVAL)),
    }
}

/// Inode 0: no such name, which the kernel may remember.
const NO_INODE: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: SystemTime::UNIX_EPOCH,
    mtime: SystemTime::UNIX_EPOCH,
    ctime: SystemTime::UNIX_EPOCH,
    crtime: SystemTime::UNIX_EPOCH,
    kind: fuser::FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

/// `getxattr(2)` with size 0 asks for the size alone; a buffer that is too small is `ERANGE`.
fn sized_reply(reply: ReplyXattr, value: &[u8], size: u32) {
    match (size as usize, value.len()) {
        (0, len) => reply.size(len as u32),
        (room, len) if len > room => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}
