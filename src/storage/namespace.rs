//! Giving a mount the name of a folder, in one step for everybody.
//!
//! A folder that something is mounted on cannot be renamed in a mount namespace that has the mount (EBUSY); in one
//! that does not it can, and the mount goes along: it hangs on the folder, not on its name. So a thread takes a
//! namespace of its own, takes the mount away there, and exchanges the two names.

#![expect(unsafe_code, reason = "unshare has no safe form")]

use std::io;
use std::path::Path;
use std::thread;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

/// Exchanges the names of two folders on one file system, `mounted` with what is mounted on it: whoever opens either name
/// finds what the other was, and never anything in between. `mounted` may also have nothing on it. Durable when
/// both parents are synced. Both paths are absolute.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN; those of `renameat2(2)`: EINVAL where the file system cannot exchange, EBUSY where
/// `folder` is a mount point, EXDEV.
pub fn exchange_with_mount(mounted: &Path, folder: &Path) -> io::Result<()> {
    let exchange = || exchange_apart(mounted, folder);
    let done = thread::scope(|scope| scope.spawn(exchange).join());
    done.unwrap_or_else(|_panic| Err(io::Error::other("the thread that renames panicked")))
}

/// Run by a thread that ends with this, and its namespace with it.
fn exchange_apart(mounted: &Path, folder: &Path) -> io::Result<()> {
    // SAFETY: `FILES` is not among the flags, so no descriptor becomes another's. `FS` makes the current folder and
    // the umask this thread's own, and the thread ends before anything relies on sharing them.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
    // What is unmounted here must stay mounted elsewhere.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    match rustix::mount::unmount(mounted, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // Nothing is mounted there.
        Err(Errno::INVAL) | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::renameat_with(CWD, mounted, CWD, folder, RenameFlags::EXCHANGE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{assert_errno, names_in, need_root};

    #[test]
    fn two_folders_change_their_names() {
        need_root();
        let home = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| home.path().join(name));
        for folder in [&one, &two] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join(folder.file_name().unwrap()), "").unwrap();
        }
        exchange_with_mount(&one, &two).unwrap();
        assert_eq!(names_in(&one), ["two"]);
        assert_eq!(names_in(&two), ["one"]);
    }

    #[test]
    fn a_mount_goes_along_with_its_folder() {
        need_root();
        let home = tempfile::tempdir().unwrap();
        let [point, plain] = ["point", "plain"].map(|name| home.path().join(name));
        std::fs::create_dir(&point).unwrap();
        std::fs::create_dir(&plain).unwrap();
        std::fs::write(plain.join("old"), "").unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &point, "tmpfs", flags, None::<&std::ffi::CStr>).unwrap();
        std::fs::write(point.join("new"), "").unwrap();
        let exchanged = exchange_with_mount(&point, &plain);
        let seen = (names_in(&plain), names_in(&point));
        for folder in [&point, &plain] {
            let _either = rustix::mount::unmount(folder, UnmountFlags::DETACH);
        }
        exchanged.unwrap();
        assert_eq!(seen, (vec!["new".to_owned()], vec!["old".to_owned()]));
    }

    #[test]
    fn what_is_mounted_on_the_other_folder_or_missing_is_refused_and_stays() {
        need_root();
        let home = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| home.path().join(name));
        std::fs::create_dir(&one).unwrap();
        assert_errno(exchange_with_mount(&one, &two), libc::ENOENT);
        std::fs::create_dir(&two).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &two, "tmpfs", flags, None::<&std::ffi::CStr>).unwrap();
        let refused = exchange_with_mount(&one, &two);
        rustix::mount::unmount(&two, UnmountFlags::DETACH).unwrap();
        assert_errno(refused, libc::EBUSY);
    }
}
