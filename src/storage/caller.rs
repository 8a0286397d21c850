//! Becoming the caller for the span of one call, so that what the call makes is the caller's.
#![expect(unsafe_code, reason = "setfsuid and setfsgid have no safe form")]

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Whom a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What stays effective while a thread is a caller: access to the ciphertext folder is this
/// process's, whoever asks. Permissions of the mount are checked before a request comes here.
const KEPT: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

/// What the kernel drops when the file-system uid goes from 0 to another (`CAP_FS_MASK`).
const FILE_SYSTEM: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::MAC_OVERRIDE)
    .union(CapabilitySet::MKNOD);

thread_local! {
    /// Who this thread is to the file system, so that asking costs no system call. Nothing but this
    /// module changes it: the process keeps its ids from its start to its end.
    static CURRENT: Cell<Option<Caller>> = const { Cell::new(None) };
}

/// Runs `f` with the file-system uid and gid of `caller` on this thread: inodes that it makes belong
/// to the caller from their first instant, in a set-gid folder to the folder's group as ever, and
/// with the folder's default ACL. No other thread is touched. The thread is itself again when this
/// returns or `f` panics; if it cannot be, the process aborts, for the next request on this thread
/// would run as somebody else.
///
/// `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH` stay in effect where the process has them, so the
/// ciphertext folder can be searched and written whatever its modes. The other file-system
/// capabilities do not. Supplementary groups are not set: they stay the process's. So where a
/// caller is in a set-gid folder's group only by a supplementary group, a new file's own set-gid
/// bit (with group execute) is dropped by the kernel, and a mode that shall have it is to be set
/// afterwards by the process itself.
///
/// Costs nothing, not even a system call, where the thread is the caller already; else some ten
/// calls, five of which make new credentials. Only the making of inodes is worth it. May be nested.
/// A thread that `f` starts would stay the caller for ever: `f` starts none.
///
/// With each change of these ids the kernel sets the *process's* dumpable flag to
/// `fs.suid_dumpable` and forgets its parent-death signal. So what hardening shall keep core files
/// away must not rest on `PR_SET_DUMPABLE` alone.
///
/// # Errors
/// EPERM where the process may not take these ids (not `CAP_SETUID`, `CAP_SETGID`); `f` has then not
/// been run. EINVAL for `u32::MAX`, which is no id.
pub fn as_caller<T>(caller: Caller, f: impl FnOnce() -> T) -> io::Result<T> {
    let own = current();
    if caller == own {
        return Ok(f());
    }
    if caller.uid == u32::MAX || caller.gid == u32::MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let guard = Guard::new(own, caller)?;
    guard.become_caller(caller)?;
    let result = f();
    drop(guard);
    Ok(result)
}

/// Makes the thread `own` again when dropped. Bound to its thread.
struct Guard {
    own: Caller,
    /// As they were; `None` where the uid stays, for then the kernel leaves them alone.
    capabilities: Option<CapabilitySets>,
    not_send: PhantomData<*const ()>,
}

impl Guard {
    fn new(own: Caller, caller: Caller) -> io::Result<Self> {
        let capabilities = (own.uid != caller.uid)
            .then(|| capabilities(None))
            .transpose()?;
        Ok(Self {
            own,
            capabilities,
            not_send: PhantomData,
        })
    }

    /// On an error the guard's drop undoes what was done.
    fn become_caller(&self, caller: Caller) -> io::Result<()> {
        CURRENT.set(Some(caller));
        take_ids(caller)?;
        match self.capabilities {
            // To uid 0 the kernel itself gives all of them that are permitted.
            Some(before) if caller.uid != 0 => Ok(set_capabilities(None, as_user(before))?),
            _unchanged => Ok(()),
        }
    }

    /// The ids first: on a return to uid 0 the kernel raises all that is permitted. Mostly that is
    /// what was effective, and to look is far cheaper than to set: new credentials are made for
    /// every set.
    fn restore(&self) -> io::Result<()> {
        take_ids(self.own)?;
        match self.capabilities {
            Some(before) if capabilities(None)? != before => Ok(set_capabilities(None, before)?),
            _same => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.restore().is_err() {
            std::process::abort();
        }
        CURRENT.set(Some(self.own));
    }
}

/// The capabilities of a thread that is an ordinary user to the file system.
fn as_user(before: CapabilitySets) -> CapabilitySets {
    let dropped = FILE_SYSTEM.difference(KEPT);
    CapabilitySets {
        effective: before.effective.difference(dropped),
        ..before
    }
}

/// The calls do not say whether they failed, so each is followed by the question who we are now.
/// Otherwise an inode could be made as root that shall be somebody else's.
fn take_ids(ids: Caller) -> io::Result<()> {
    set_fsgid(ids.gid);
    set_fsuid(ids.uid);
    if ask_kernel() == ids {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}

fn current() -> Caller {
    CURRENT.get().unwrap_or_else(|| {
        let own = ask_kernel();
        CURRENT.set(Some(own));
        own
    })
}

/// `u32::MAX` is no id: the call changes nothing and tells the present one.
fn ask_kernel() -> Caller {
    Caller {
        uid: set_fsuid(u32::MAX),
        gid: set_fsgid(u32::MAX),
    }
}

/// Sets this thread's file-system uid if that is permitted; gives the one before.
fn set_fsuid(uid: u32) -> u32 {
    // SAFETY: takes a number and touches no memory of ours. Unlike setuid, the C libraries do not
    // carry it to other threads.
    unsafe { libc::setfsuid(uid) }.cast_unsigned()
}

/// Sets this thread's file-system gid if that is permitted; gives the one before.
fn set_fsgid(gid: u32) -> u32 {
    // SAFETY: as in `set_fsuid`.
    unsafe { libc::setfsgid(gid) }.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::storage::testing::{assert_errno, folder, name, need_root};
    use crate::storage::{Access, Node};

    const USER: Caller = Caller {
        uid: 12_345,
        gid: 23_456,
    };

    fn effective() -> CapabilitySet {
        capabilities(None).unwrap().effective
    }

    fn owner_of(node: &Node, entry: &str) -> Caller {
        let stat = node.stat_child(&name(entry)).unwrap();
        Caller {
            uid: stat.uid,
            gid: stat.gid,
        }
    }

    #[test]
    fn whoever_it_is_already_needs_no_right() {
        let own = ask_kernel();
        assert_eq!(as_caller(own, || 7).unwrap(), 7);
        assert_eq!(ask_kernel(), own);
    }

    #[test]
    fn what_is_made_is_the_callers() {
        need_root();
        let (_dir, node) = folder();
        as_caller(USER, || {
            let file = node.create_file(&name("f"), 0o4751).unwrap();
            assert_eq!(file.stat().unwrap().uid, USER.uid);
            node.make_dir(&name("d"), 0o700).unwrap();
            node.make_symlink(b"f", &name("l")).unwrap();
            node.make_node(&name("p"), libc::S_IFIFO | 0o600, 0)
                .unwrap();
        })
        .unwrap();
        drop(node.create_file(&name("own"), 0o600).unwrap());
        for entry in ["f", "d", "l", "p"] {
            assert_eq!(owner_of(&node, entry), USER, "{entry}");
        }
        assert_eq!(owner_of(&node, "own"), Caller { uid: 0, gid: 0 });
    }

    #[test]
    fn the_ciphertext_folder_is_open_to_a_caller() {
        need_root();
        let (_dir, node) = folder();
        node.make_dir(&name("d"), 0).unwrap();
        let dir = node.child(&name("d")).unwrap();
        as_caller(USER, || {
            drop(dir.create_file(&name("f"), 0).unwrap());
            dir.open_child_file(&name("f"), Access::ReadWrite).unwrap();
            dir.child(&name("f"))
                .unwrap()
                .link(&dir, &name("g"))
                .unwrap();
            assert!(dir.read_dir().unwrap().next_entry().is_some());
        })
        .unwrap();
    }

    #[test]
    fn a_caller_has_no_more_capabilities_than_it_needs() {
        need_root();
        let before = effective();
        let (_dir, node) = folder();
        let during = as_caller(USER, || {
            drop(node.create_file(&name("f"), 0o600).unwrap());
            assert_errno(
                node.child(&name("f")).unwrap().set_owner(Some(1), None),
                libc::EPERM,
            );
            assert_errno(node.make_node(&name("n"), libc::S_IFCHR, 5), libc::EPERM);
            effective()
        })
        .unwrap();
        assert_eq!(during, before.difference(FILE_SYSTEM.difference(KEPT)));
        assert!(during.contains(KEPT));
        assert_eq!(effective(), before);
    }

    #[test]
    fn the_thread_is_itself_again_after_a_panic() {
        need_root();
        let (before, own) = (effective(), ask_kernel());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            as_caller(USER, || {
                assert_eq!(ask_kernel(), USER);
                std::panic::resume_unwind(Box::new("on purpose"));
            })
        }));
        assert!(panicked.is_err());
        assert_eq!((ask_kernel(), current()), (own, own));
        assert_eq!(effective(), before);
    }

    #[test]
    fn the_group_alone_can_differ() {
        need_root();
        let (_dir, node) = folder();
        let before = effective();
        let caller = Caller { uid: 0, gid: 7 };
        let during = as_caller(caller, || {
            drop(node.create_file(&name("f"), 0o600).unwrap());
            effective()
        });
        assert_eq!(owner_of(&node, "f"), caller);
        assert_eq!(during.unwrap(), before);
        assert_eq!(ask_kernel(), Caller { uid: 0, gid: 0 });
    }

    #[test]
    fn what_the_thread_had_given_up_does_not_come_back() {
        need_root();
        // On a thread of its own: effective is less than permitted, and the kernel raises all.
        let lesser = std::thread::spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::CHOWN);
            set_capabilities(None, sets).unwrap();
            as_caller(USER, || ()).unwrap();
            assert_eq!(capabilities(None).unwrap(), sets);
        });
        lesser.join().unwrap();
    }

    #[test]
    fn callers_nest() {
        need_root();
        let other = Caller { uid: 5, gid: 6 };
        let root = ask_kernel();
        as_caller(USER, || {
            as_caller(other, || assert_eq!(ask_kernel(), other)).unwrap();
            assert_eq!(ask_kernel(), USER);
            as_caller(root, || assert_eq!(ask_kernel(), root)).unwrap();
            as_caller(USER, || assert_eq!(ask_kernel(), USER)).unwrap();
            assert_eq!(ask_kernel(), USER);
            assert!(effective().contains(KEPT) && !effective().contains(CapabilitySet::CHOWN));
        })
        .unwrap();
        assert_eq!(ask_kernel(), root);
    }

    #[test]
    fn other_threads_stay_who_they_are() {
        need_root();
        as_caller(USER, || {
            let other = std::thread::spawn(|| {
                // A new thread starts as the one that made it, and is asked, not guessed.
                as_caller(Caller { uid: 9, gid: 9 }, ask_kernel).unwrap()
            });
            assert_eq!(other.join().unwrap(), Caller { uid: 9, gid: 9 });
            assert_eq!(ask_kernel(), USER);
        })
        .unwrap();
    }

    #[test]
    fn no_id_is_no_caller() {
        for caller in [
            Caller {
                uid: u32::MAX,
                gid: 0,
            },
            Caller {
                uid: 0,
                gid: u32::MAX,
            },
        ] {
            assert_errno(as_caller(caller, || panic!("it ran")), libc::EINVAL);
        }
    }

    #[test]
    fn a_set_gid_folder_gives_its_group() {
        need_root();
        let (_dir, node) = folder();
        node.make_dir(&name("d"), 0o700).unwrap();
        let dir = node.child(&name("d")).unwrap();
        dir.set_owner(None, Some(77)).unwrap();
        dir.set_mode(0o2770).unwrap();
        as_caller(USER, || {
            drop(dir.create_file(&name("f"), 0o2770).unwrap());
            dir.make_dir(&name("d"), 0o770).unwrap();
        })
        .unwrap();
        assert_eq!(owner_of(&dir, "f"), Caller { gid: 77, ..USER });
        let set_gid = |entry| dir.stat_child(&name(entry)).unwrap().mode & 0o2000 != 0;
        assert!(set_gid("d"));
        assert!(
            !set_gid("f"),
            "whoever is not in the group makes no set-gid file of it"
        );
    }

    #[test]
    fn who_may_not_become_another_is_told_and_stays() {
        need_root();
        // On a thread of its own, which gives up being root.
        let user = std::thread::spawn(|| {
            let uid = rustix::process::Uid::from_raw(USER.uid);
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            let own = ask_kernel();
            assert_errno(
                as_caller(Caller { uid: 1, ..own }, || panic!("it ran")),
                libc::EPERM,
            );
            assert_errno(
                as_caller(Caller { uid: 0, ..own }, || panic!("it ran")),
                libc::EPERM,
            );
            assert_errno(
                as_caller(Caller { gid: 99, ..own }, || panic!("it ran")),
                libc::EPERM,
            );
            assert_eq!((ask_kernel(), current()), (own, own));
            as_caller(own, || ()).unwrap();
        });
        user.join().unwrap();
    }
}
