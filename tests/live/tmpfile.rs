//! `O_TMPFILE`: files without a name, which may get one later.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::crash::kill;
use crate::harness::{
    NOBODY, Volume, clear_mountpoint, errno, noise, require_root, run, same_as_beneath, set_mode,
    shell, shell_as_nobody, wait_until,
};

fn nameless(folder: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o640)
        .open(folder)
        .unwrap()
}

fn link(file: &File, to: &Path) -> std::io::Result<()> {
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = rustix::fs::AtFlags::SYMLINK_FOLLOW;
    Ok(rustix::fs::linkat(
        rustix::fs::CWD,
        from,
        rustix::fs::CWD,
        to,
        flags,
    )?)
}

/// All entries of a folder and of those below it.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(entries(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// Names of what is asked for, and what the answers were.
const SCRIPT: &str = r#"
import ctypes, errno, fcntl, mmap, os, tempfile
libc = ctypes.CDLL(None, use_errno=True)
def attempt(call, *arguments, **named):
    try: return call(*arguments, **named)
    except OSError as e: return errno.errorcode[e.errno]
def linkat(folder, path, to, flags):
    return None if libc.linkat(folder, path, -100, to.encode(), flags) == 0 else errno.errorcode[ctypes.get_errno()]
def link(f, to): return linkat(-100, b"/proc/self/fd/%d" % f, to, 0x400)
def link_empty(f, to): return linkat(f, b"", to, 0x1000)
def tmp(flags=0, mode=0o600, at="."): return os.open(at, os.O_TMPFILE | os.O_RDWR | flags, mode)
def as_user(uid, gid, groups, what):
    if os.fork() == 0:
        os.setgroups(groups); os.setgid(gid); os.setuid(uid); what(); os._exit(0)
    assert os.wait()[1] == 0
"#;

fn python(script: &str) -> String {
    format!("python3 - <<'END'\n{SCRIPT}{script}\nEND")
}

/// The same program says the same in the mount and on the file system beneath.
fn compared(options: &[&str], script: &str) -> String {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&[&["--allow-other"], options].concat());
    same_as_beneath(&mount, &python(script))
}

#[test]
fn files_without_a_name_do_as_beneath() {
    let script = r#"
f = tmp(mode=0o6751); s = os.fstat(f); print(oct(s.st_mode), s.st_nlink, s.st_size, os.listdir("."))
print(os.write(f, bytes(range(250)) * 400), attempt(os.fsync, f), os.pread(f, 3, 5001), attempt(os.ftruncate, f, 20000), os.fstat(f).st_size)
m = mmap.mmap(f, 0); m[5000] = 7; print(attempt(m.flush)); m.close(); print(os.pread(f, 1, 5000))
print(attempt(os.fchmod, f, 0o604), attempt(os.setxattr, f, "user.a", b"v"), attempt(os.getxattr, f, "user.a"), attempt(fcntl.flock, f, fcntl.LOCK_EX), attempt(fcntl.lockf, f, fcntl.LOCK_EX))
g = os.open("/proc/self/fd/%d" % f, os.O_RDWR); print(os.pread(g, 1, 5000), os.pwrite(g, b"end", 30000), os.fstat(f).st_size); os.close(g)
print(link(f, "a"), link(f, "a"), os.fstat(f).st_nlink, sorted(os.listdir(".")), os.stat("a").st_size, oct(os.stat("a").st_mode), os.getxattr("a", "user.a"))
print(link(f, "b"), os.fstat(f).st_nlink, os.stat("a").st_ino == os.stat("b").st_ino == os.fstat(f).st_ino)
print(os.pwrite(f, b"through the old one", 0), open("b", "rb").read(11)); os.unlink("a"); os.unlink("b"); print(link(f, "c"), os.fstat(f).st_nlink); os.close(f)
f = tmp(); os.write(f, b"x"); print(link_empty(f, "d")); os.close(f); print(open("d", "rb").read()); os.unlink("d")
f = tmp(os.O_EXCL); os.write(f, b"x"); print(link(f, "e"), link_empty(f, "e"), os.listdir(".")); os.close(f)
f = tmp(os.O_APPEND); print(os.write(f, b"one"), os.write(f, b"two"), os.pread(f, 9, 0)); os.close(f)
f = tmp(); path = os.open("/proc/self/fd/%d" % f, os.O_PATH); os.write(f, b"kept by its path"); os.close(f)
print(link(path, "late"), open("late", "rb").read()); os.close(path); os.unlink("late")
print(attempt(os.open, ".", os.O_TMPFILE | os.O_RDONLY, 0o600), attempt(os.open, "none", os.O_TMPFILE | os.O_RDWR, 0o600))
open("file", "w").close(); print(attempt(os.open, "file", os.O_TMPFILE | os.O_RDWR, 0o600))
os.mkdir("gone"); d = os.open("gone", os.O_RDONLY); f = tmp(at="gone"); os.rmdir("gone"); print(attempt(os.open, "/proc/self/fd/%d" % d, os.O_TMPFILE | os.O_RDWR, 0o600), link(f, "saved"), os.stat("saved").st_nlink)
t = tempfile.TemporaryFile(dir="."); t.write(b"x" * 100000); t.flush(); print(os.fstat(t.fileno()).st_nlink, os.fstat(t.fileno()).st_size); t.close()
print(sorted(os.listdir(".")))"#;
    let plain = compared(&[], script);
    assert!(
        !plain.contains("ENOTSUP") && !plain.contains("EIO"),
        "{plain}"
    );
    assert_eq!(compared(&["--shared"], script), plain);
}

#[test]
fn rights_owners_and_inherited_groups_are_as_beneath() {
    let said = compared(
        &["--acl"],
        r#"
os.mkdir("own"); os.chmod("own", 0o755); os.mkdir("free"); os.chmod("free", 0o1777); os.mkdir("team"); os.chown("team", 0, 7); os.chmod("team", 0o2777)
def show(f): s = os.fstat(f); return oct(s.st_mode), s.st_uid, s.st_gid
def tries():
    print(attempt(os.open, "own", os.O_TMPFILE | os.O_RDWR, 0o600), flush=True)
    f = tmp(at="free"); print(show(f), link(f, "own/x"), link(f, "free/x"), flush=True); os.close(f)
    os.umask(0o027); f = tmp(at="team", mode=0o2777); print(show(f), link(f, "team/x"), show(f), flush=True); os.close(f)
as_user(65534, 65534, [], tries); os.unlink("team/x"); os.unlink("free/x")
as_user(65534, 65534, [7], tries)
import subprocess
subprocess.run(["setfacl", "-m", "d:u:12345:rw,d:m::rw", "own"], check=True); os.umask(0o077)
f = tmp(at="own", mode=0o666); print(show(f), link(f, "own/acl")); print(subprocess.run(["getfacl", "-cpE", "own/acl"], check=True, capture_output=True, text=True).stdout)"#,
    );
    assert!(
        said.contains("EACCES") && said.contains("user:12345:rw"),
        "{said}"
    );
}

#[test]
fn a_linked_one_outlives_the_mount_and_one_without_a_name_leaves_nothing() {
    let volume = Volume::create(&[]);
    for options in [&[][..], &["--shared"]] {
        let mount = volume.mount_with(options);
        let before = entries(&volume.cipher_dir());
        let (kept, lost) = (nameless(mount.root()), nameless(mount.root()));
        let content = noise(3, 200_000);
        (&kept).write_all(&content).unwrap();
        (&lost).write_all(&content).unwrap();
        lost.sync_all().unwrap();
        assert_eq!(entries(&volume.cipher_dir()), before, "there is a name");
        link(&kept, &mount.path("kept")).unwrap();
        assert_eq!(entries(&volume.cipher_dir()).len(), before.len() + 1);
        drop((kept, lost));
        let mount = mount.again_with(options);
        assert_eq!(fs::read(mount.path("kept")).unwrap(), content);
        assert_eq!(fs::metadata(mount.path("kept")).unwrap().nlink(), 1);
        fs::remove_file(mount.path("kept")).unwrap();
        mount.unmount();
        run(volume.envelopefs("check").arg(volume.cipher_dir()));
    }
}

#[test]
fn a_killed_daemon_leaves_what_was_linked_and_synced_and_nothing_else() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let before = entries(&volume.cipher_dir());
    let content = noise(5, 70_001);
    let (kept, empty, lost) = (
        nameless(mount.root()),
        nameless(mount.root()),
        nameless(mount.root()),
    );
    for file in [&kept, &lost] {
        let mut file: &File = file;
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
    }
    link(&kept, &mount.path("kept")).unwrap();
    link(&empty, &mount.path("empty")).unwrap();
    kill(&mount, Signal::KILL);
    drop((kept, empty, lost));
    clear_mountpoint(mount.root());
    drop(mount);
    let mount = volume.mount();
    assert_eq!(entries(&volume.cipher_dir()).len(), before.len() + 2);
    assert_eq!(fs::read(mount.path("kept")).unwrap(), content);
    assert_eq!(fs::read(mount.path("empty")).unwrap(), b"");
    mount.unmount();
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}

#[test]
fn the_space_of_a_closed_one_is_free_again() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let descriptors = || {
        let fds = format!("/proc/{}/fd", mount.status().pid());
        let open = fs::read_dir(fds)
            .unwrap()
            .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        open.filter(|path| path.to_string_lossy().ends_with(" (deleted)"))
            .count()
    };
    let files: Vec<_> = (0..20).map(|_| nameless(mount.root())).collect();
    for file in &files {
        let mut file: &File = file;
        file.write_all(&noise(1, 100_000)).unwrap();
    }
    assert!(descriptors() >= 20);
    drop(files);
    wait_until("all of them to be gone", || descriptors() == 0);
}

#[test]
fn a_mount_that_only_reads_has_none_and_the_policy_denies() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--allow-other"]);
    set_mode(mount.root(), 0o755);
    for folder in ["secret", "free"] {
        fs::create_dir(mount.path(folder)).unwrap();
        set_mode(&mount.path(folder), 0o777);
    }
    let policy = volume.home().join("policy.toml");
    let rule = format!("[[rule]]\npath = '/secret/**'\nuid = {NOBODY}\naccess = 'deny'\n");
    fs::write(&policy, rule).unwrap();
    let mut set = volume.envelopefs("policy");
    run(set.arg("set").arg(volume.cipher_dir()).arg(policy));
    let said = shell_as_nobody(
        mount.root(),
        &python(
            r#"
print(attempt(os.open, "secret", os.O_TMPFILE | os.O_RDWR, 0o600))
f = tmp(at="free"); os.write(f, b"x"); print(link(f, "secret/f"), link(f, "free/f"))"#,
        ),
    );
    assert_eq!(said, "EACCES\nEACCES None\n");
    let mount = mount.again_with(&["-o", "ro"]);
    let refused = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(mount.root());
    assert_eq!(errno(refused), libc::EROFS);
    assert_eq!(shell(mount.root(), "cat free/f"), "x");
}
