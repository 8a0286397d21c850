//! Whose a file is, what its mode lends, and what the kernel's FUSE leaves out: each as on the file system beneath,
//! or shown to be otherwise.

use std::fs;

use crate::harness::{Volume, require_root, same_as_beneath, shell, wait_until};

/// A script that says the same in a mount for all users as beneath it.
fn compared_with(options: &[&str], script: &str) -> String {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&[&["--allow-other"], options].concat());
    same_as_beneath(&mount, script)
}

fn compared(script: &str) -> String {
    compared_with(&[], script)
}

fn python(script: &str) -> String {
    format!("python3 - <<'END'\n{TOOLS}{script}\nEND")
}

const TOOLS: &str = r#"
import ctypes, errno, fcntl, mmap, os, struct, tempfile, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(call, *arguments, **named):
    try: return call(*arguments, **named)
    except OSError as e: return errno.errorcode[e.errno]
def checked(result):
    if result < 0: raise OSError(ctypes.get_errno(), "")
    return result
def as_user(uid, gid, groups, what):
    if os.fork() == 0:
        os.setgroups(groups); os.setgid(gid); os.setuid(uid); what(); os._exit(0)
    assert os.wait()[1] == 0
def put(path, data):
    with open(path, "wb") as file: file.write(data)
def mode(path): return oct(os.lstat(path).st_mode)
"#;

#[test]
fn new_files_of_a_set_gid_folder_keep_the_bit_for_its_group_alone() {
    let said = compared(&python(
        r#"
os.umask(0); os.mkdir("team"); os.chown("team", -1, 7); os.chmod("team", 0o2777)
def make(who):
    os.close(os.open("team/%s-file" % who, os.O_CREAT | os.O_EXCL, 0o2775)); os.mknod("team/%s-node" % who, 0o102755)
    os.close(os.open("team/%s-lock" % who, os.O_CREAT, 0o2764)); os.mkfifo("team/%s-pipe" % who, 0o2775)
    os.mkdir("team/%s-low" % who, 0o575); os.mkdir("team/%s-folder" % who, 0o2775)
as_user(65534, 65534, [7], lambda: make("member")); as_user(65534, 65534, [9], lambda: make("other")); make("root")
for name in sorted(os.listdir("team")): s = os.stat("team/" + name); print(name, oct(s.st_mode), s.st_uid, s.st_gid)"#,
    ));
    assert!(said.contains("member-file 0o102775 65534 7"), "{said}");
    assert!(said.contains("other-file 0o100775 65534 7"), "{said}");
    assert!(said.contains("other-low 0o42575 65534 7"), "{said}");
}

#[test]
fn set_id_bits_and_capabilities_go_when_others_change_a_file() {
    let said = compared(&python(
        r#"
capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
def changes():
    yield "write", lambda: put_at("f"); yield "append", lambda: append("f"); yield "truncate", lambda: os.truncate("f", 3)
    yield "cut", lambda: os.close(os.open("f", os.O_WRONLY | os.O_TRUNC)); yield "fallocate", lambda: allocate("f")
    yield "map", lambda: write_mapped("f"); yield "copy", lambda: copy_into("f"); yield "nothing", lambda: open("f", "rb").read(1)
def put_at(path): f = os.open(path, os.O_WRONLY); os.pwrite(f, b"new", 1); os.close(f)
def copy_into(path): f = os.open(path, os.O_RDWR); os.copy_file_range(f, f, 100, 0, 4000); os.close(f)
def append(path): f = os.open(path, os.O_WRONLY | os.O_APPEND); os.write(f, b"new"); os.close(f)
def allocate(path): f = os.open(path, os.O_RDWR); os.posix_fallocate(f, 0, 9000); os.close(f)
def write_mapped(path):
    f = os.open(path, os.O_RDWR); m = mmap.mmap(f, 0); m[0] = 7; m.flush(); m.close(); os.close(f)
for who, run in (("other", lambda what: as_user(65534, 65534, [], what)), ("root", lambda what: what())):
    for bits in (0o4777, 0o2777, 0o2767, 0o6777):
        for name, change in changes():
            put("f", bytes(5000)); os.chmod("f", bits); run(change)
            print(who, oct(bits), name, mode("f"))
for bits in (0o4777, 0o2777, 0o2767, 0o6777):
    put("f", b"x"); os.chmod("f", bits); os.chown("f", 5, 6); print("chown", oct(bits), mode("f"))
os.mkdir("d"); os.chmod("d", 0o6777); os.chown("d", 5, 6); print("folder", mode("d"))
for name, change in [("chown", lambda: os.chown("f", 1, 1)), ("chmod", lambda: os.chmod("f", 0o700)), *changes()]:
    if name in ("map", "fallocate"): continue
    put("f", bytes(5000)); os.chmod("f", 0o777); os.setxattr("f", "security.capability", capability)
    change(); print(name, attempt(os.getxattr, "f", "security.capability") == capability)"#,
    ));
    assert!(said.contains("other 0o4777 write 0o100777\n"), "{said}");
    assert!(said.contains("root 0o6777 write 0o106777\n"), "{said}");
    assert!(
        said.contains("write False\n") && said.contains("nothing True\n"),
        "{said}"
    );
}

#[test]
fn sticky_folders_owners_and_refusals_are_those_of_the_file_system_beneath() {
    compared(&python(
        r#"
os.mkdir("sticky"); os.chmod("sticky", 0o1777); put("sticky/roots", b""); put("f", b""); os.mkdir("d")
def tries():
    put("sticky/own", b"")
    lines = [("unlink", os.unlink, "sticky/roots"), ("rename", os.rename, "sticky/roots", "sticky/x"), ("over", os.rename, "sticky/own", "sticky/roots"),
      ("chmod", os.chmod, "f", 0o666), ("chown", os.chown, "f", 65534, -1), ("give", os.chown, "sticky/own", 0, -1), ("group", os.chown, "sticky/own", -1, 7),
      ("foreign group", os.chown, "sticky/own", -1, 8), ("utime", os.utime, "f", (1, 1)), ("now", os.utime, "f"), ("trusted", os.setxattr, "sticky/own", "trusted.a", b"1"),
      ("user", os.setxattr, "f", "user.a", b"1"), ("security", os.setxattr, "sticky/own", "security.a", b"1"), ("mknod", os.mknod, "sticky/dev", 0o20666, os.makedev(1, 3)),
      ("create", put, "d/x", b""), ("link", os.link, "sticky/own", "d/l"), ("mkdir", os.mkdir, "d/d"), ("rmdir", os.rmdir, "d"), ("own", os.unlink, "sticky/own")]
    for name, call, *arguments in lines: print(name, attempt(call, *arguments), flush=True)
as_user(65534, 65534, [7], tries)
print(sorted(os.listdir("sticky")))"#,
    ));
}

#[test]
fn everything_works_on_a_file_that_was_deleted_while_open() {
    let said = compared(&python(
        r#"
for linked in (False, True):
    f = os.open("f", os.O_CREAT | os.O_RDWR, 0o644); os.write(f, bytes(range(250)) * 40)
    if linked: os.fsync(f)
    os.unlink("f")
    print(attempt(os.fsync, f), attempt(os.fdatasync, f), os.fstat(f).st_nlink, os.fstat(f).st_size)
    m = mmap.mmap(f, 0); m[5000] = 0; print(attempt(m.flush)); m.close()
    print(os.pread(f, 2, 4999), attempt(os.ftruncate, f, 9000), attempt(os.ftruncate, f, 20000), os.fstat(f).st_size)
    print(attempt(os.fchmod, f, 0o6640), attempt(os.fchown, f, 5, 6), attempt(os.utime, f, ns=(10**18 + 7, 10**18 + 8)))
    s = os.fstat(f); print(oct(s.st_mode), s.st_uid, s.st_gid, s.st_atime_ns, s.st_mtime_ns)
    print(attempt(os.setxattr, f, "user.a", b"value"), attempt(os.getxattr, f, "user.a"), [n for n in os.listxattr(f) if n.startswith("user")], attempt(os.removexattr, f, "user.a"), attempt(os.getxattr, f, "user.a"))
    print(attempt(os.posix_fallocate, f, 0, 30000), os.fstat(f).st_size, libc.fallocate(f, 3, ctypes.c_long(8192), ctypes.c_long(8192)), os.pread(f, 4, 9000))
    print(os.ftruncate(f, 1 << 22), os.lseek(f, 0, os.SEEK_DATA), os.lseek(f, 1 << 20, os.SEEK_HOLE) == 1 << 20, attempt(os.lseek, f, 1 << 22, os.SEEK_DATA))
    print(os.fstatvfs(f).f_namemax, attempt(fcntl.flock, f, fcntl.LOCK_EX), attempt(os.open, "f", os.O_RDONLY), attempt(os.link, "/proc/self/fd/%d" % f, "back"))
    print(os.pwrite(f, b"end", 1 << 22), attempt(os.sendfile, f, f, 0, 0), os.pread(f, 9, 1 << 22), attempt(os.fsync, f)); g = os.open("/proc/self/fd/%d" % f, os.O_RDWR)
    print(os.pread(g, 3, 1 << 22), attempt(os.ftruncate, g, 0), os.fstat(f).st_size); os.close(f); print(os.write(g, b"x"), attempt(os.fsync, g)); os.close(g)
d = os.mkdir("d"); d = os.open("d", os.O_RDONLY); os.rmdir("d")
print(attempt(os.fsync, d), attempt(os.fchmod, d, 0o700), oct(os.fstat(d).st_mode), os.listdir(d), attempt(os.open, "x", os.O_CREAT, dir_fd=d))"#,
    ));
    assert!(!said.contains("EIO") && !said.contains("ESTALE"), "{said}");
}

#[test]
fn renames_take_the_flags_of_renameat2() {
    let said = compared(&python(
        r#"
def rename(a, b, flags): return attempt(lambda: checked(libc.renameat2(-100, a.encode(), -100, b.encode(), flags)))
put("a", b"a"); print("whiteout", rename("a", "b", 4), mode("a"), os.lstat("a").st_rdev, open("b").read()); put("c", b"c")
print(rename("b", "c", 1), rename("b", "c", 2), open("b").read(), open("c").read())
print([rename("b", "c", flags) for flags in (3, 6, 8, 16)], rename("b", "none", 2), rename("none", "b", 1), rename("b", "b", 1), rename("b", "new", 1))
os.makedirs("d/sub"); print(rename("d", "c", 2), os.path.isdir("c/sub"), open("d").read(), rename("c", "c/sub/x", 0), rename("c", "c/sub", 2))
print(rename("d", "d2", 5), mode("d"), open("d2").read(), os.unlink("d"), sorted(os.listdir(".")))"#,
    ));
    assert!(said.starts_with("whiteout 0 0o20000 0 a\n"), "{said}");
}

#[test]
fn mapped_writes_move_the_times_and_times_are_exact() {
    compared(&python(
        r#"
put("m", bytes(9000)); os.utime("m", ns=(10**18 + 1, 10**18 + 2)); f = os.open("m", os.O_RDWR); m = mmap.mmap(f, 0)
a = os.stat("m"); time.sleep(0.05); m[5] = 7; m.flush(); b = os.stat("m"); print(b.st_mtime_ns > a.st_mtime_ns, b.st_ctime_ns > a.st_ctime_ns)
time.sleep(0.05); m[8999] = 7; m.close(); os.close(f); os.sync(); c = os.stat("m"); print(c.st_mtime_ns > b.st_mtime_ns, c.st_ctime_ns > b.st_ctime_ns)
for times in ((0, 0), (1, 999999999), (-1, -1), (-2**31 * 10**9, 2**33 * 10**9 + 123456789)): os.utime("m", ns=times); s = os.stat("m"); print(s.st_atime_ns, s.st_mtime_ns)
os.symlink("x", "l"); os.utime("l", ns=(5, 6), follow_symlinks=False); print(os.lstat("l").st_mtime_ns)"#,
    ));
}

#[test]
fn reading_moves_the_access_time_unless_the_mount_says_noatime() {
    require_root();
    let volume = Volume::create(&[]);
    let prepare =
        "import os\nopen('f','wb').write(bytes(9000)); os.utime('f', ns=(10**18, 10**18 + 1))";
    for (options, moves) in [("relatime", "True\n"), ("noatime", "False\n")] {
        let mount = volume.mount();
        shell(mount.root(), &format!("python3 -c \"{prepare}\""));
        // Not from the kernel's cache: of that nobody is told.
        let mount = mount.again_with(&["-o", options]);
        let read = "import os\nopen('f','rb').read(); print(os.stat('f').st_atime_ns > 10**18)";
        assert_eq!(
            shell(mount.root(), &format!("python3 -c \"{read}\"")),
            moves,
            "{options}"
        );
        mount.unmount();
    }
}

#[test]
fn a_sparse_file_may_reach_beyond_eight_tebibytes() {
    let said = compared(&python(
        r#"
f = os.open("big", os.O_RDWR | os.O_CREAT); print(os.pwrite(f, b"end", 2**43), os.fstat(f).st_size, os.pread(f, 9, 2**43 - 2))
os.fsync(f); print(os.fstat(f).st_blocks < 200, os.lseek(f, 1 << 20, os.SEEK_DATA) > 2**43 - 8192, attempt(os.ftruncate, f, 2**43 + 12345), os.fstat(f).st_size)
print([attempt(os.ftruncate, f, 2**n) for n in (44, 50, 62)], attempt(os.ftruncate, f, 5), os.fstat(f).st_size)"#,
    ));
    assert!(said.contains("3 8796093022211 b'\\x00\\x00end'"), "{said}");
}

#[test]
fn devices_work_with_dev_alone_and_names_are_any_bytes() {
    let script = python(
        r#"
os.mknod("zero", 0o20666, os.makedev(1, 5)); os.mknod("disk", 0o60600, os.makedev(259, 300)); print(attempt(lambda: open("zero", "rb").read(3)))
for name in ("zero", "disk"): s = os.lstat(name); print(oct(s.st_mode), os.major(s.st_rdev), os.minor(s.st_rdev))
for name in (b"n" * 255, b"\xff\xfe\x01", b"a\nb", b" ", "\u00e9".encode() * 127, b"\\", b"..."): print(attempt(put, name, b"x"), name in os.listdir(b"."), attempt(os.rename, name, name[:200] + b"!"))
print(attempt(put, b"n" * 256, b""), attempt(os.mkdir, b"x" * 255), attempt(os.symlink, b"t", b"y" * 256), attempt(os.stat, b"x" * 255 + b"/" + b"z" * 256))"#,
    );
    let said = compared_with(&["-o", "dev"], &script);
    assert!(said.starts_with("b'\\x00\\x00\\x00'\n"), "{said}");
    let volume = Volume::create(&[]);
    let said = shell(volume.mount().root(), &script);
    assert!(said.starts_with("EACCES\n"), "{said}");
}

#[test]
fn every_appended_line_of_many_processes_arrives_once() {
    compared(&python(
        r#"
for worker in range(8):
    if os.fork() == 0:
        f = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for n in range(200): os.write(f, b"%d %d %s\n" % (worker, n, b"x" * (n * 7 % 300)))
        os._exit(0)
print(sum(os.wait()[1] for _ in range(8)))
lines = [line.split(b" ") for line in open("log", "rb").read().splitlines()]
print(len(lines), all(len(l) == 3 and len(l[2]) == int(l[1]) * 7 % 300 for l in lines), len({(l[0], l[1]) for l in lines}))"#,
    ));
}

#[test]
fn the_mount_can_be_mounted_again_with_mapped_ids() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--allow-other", "-o", "suid"]);
    let script = python(
        r#"
import signal
SHIFT = 100000
r, w = os.pipe(); pid = os.fork()
if pid == 0: checked(libc.unshare(0x10000000)); os.write(w, b"x"); signal.pause()
os.read(r, 1)
for ids in ("uid_map", "gid_map"): open("/proc/%d/%s" % (pid, ids), "w").write("0 %d 65536" % SHIFT)
namespace = os.open("/proc/%d/ns/user" % pid, os.O_RDONLY); os.kill(pid, 9); os.wait()
checked(libc.unshare(0x20000)); checked(libc.mount(b"none", b"/", None, 0x44000, None))
os.mkdir("inside"); os.mkdir("mapped"); os.chmod("inside", 0o755)
tree = checked(libc.syscall(428, -100, b"inside", 1)); arguments = ctypes.create_string_buffer(struct.pack("QQQQ", 0x100000, 0, 0, namespace))
checked(libc.syscall(442, tree, b"", 0x1000, arguments, 32)); checked(libc.syscall(429, tree, b"", -100, b"mapped", 4))
def show(path): s = os.lstat(path); print(path, s.st_uid, s.st_gid, oct(s.st_mode), flush=True)
def work():
    os.umask(0o022); put("mapped/f", b"root"); os.mkdir("mapped/d"); os.symlink("x", "mapped/l"); os.mkfifo("mapped/p"); os.chmod("mapped/f", 0o4755)
as_user(SHIFT, SHIFT, [], work); as_user(SHIFT + 7, SHIFT + 7, [], lambda: print(attempt(put, "mapped/f", b"x"), attempt(os.mkdir, "mapped/no"), flush=True))
print(attempt(put, "mapped/unmapped", b"x"))
for name in "fdlp": show("mapped/" + name); show("inside/" + name)
os.chown("mapped/f", SHIFT + 7, SHIFT + 8); os.chmod("mapped/f", 0o4755); show("inside/f"); os.truncate("inside/f", 2); show("inside/f")
as_user(SHIFT + 7, SHIFT + 8, [], lambda: os.truncate("mapped/f", 1)); show("inside/f")
checked(libc.umount2(b"mapped", 2))"#,
    );
    let said = same_as_beneath(&mount, &script);
    assert!(
        said.contains("mapped/f 100000 100000 0o104755\ninside/f 0 0 0o104755\n"),
        "{said}"
    );
    assert!(
        said.ends_with("inside/f 7 8 0o104755\ninside/f 7 8 0o104755\ninside/f 7 8 0o100755\n"),
        "{said}"
    );
}

/// Of each kind of inode, by every name, by an open file, after a change, a rename and a new mount.
#[test]
fn the_birth_time_is_that_of_the_ciphertext() {
    for options in [&[][..], &["--shared"]] {
        let volume = Volume::create(&["--names", "plain"]);
        let mount = volume.mount_with(options);
        shell(
            mount.root(),
            "mkdir d; echo x > d/f; ln -s f d/l; mkfifo d/p; ln d/f linked; sleep 0.02; echo more >> d/f; chmod 600 d/f",
        );
        // Also where the kernel has the other attributes already.
        shell(mount.root(), "ls -lR > /dev/null");
        let script = "stat -c '%n %W %w' d d/f d/l d/p linked; exec 3< d/f; stat -Lc '%W %w' /proc/self/fd/3";
        let said = shell(mount.root(), script);
        assert_eq!(said, shell(&volume.cipher_dir(), script));
        assert!(!said.contains(" 0 -"), "{said}");
        shell(mount.root(), "mv d/f moved; stat moved > /dev/null");
        let mount = mount.again_with(options);
        let script = "stat -c '%n %W %w' d d/l d/p linked moved";
        let again = shell(mount.root(), script);
        assert_eq!(again, shell(&volume.cipher_dir(), script));
        let full = shell(
            mount.root(),
            "stat -c '%a %h %u %g %s %F %X %Y' moved d/p; stat -c %i . d moved",
        );
        let asked_without = shell(
            mount.root(),
            &python(
                r#"
kinds = {0o100000: "regular file", 0o010000: "fifo"}
for n in ("moved", "d/p"):
    s = os.stat(n); print("%o" % (s.st_mode & 0o7777), s.st_nlink, s.st_uid, s.st_gid, s.st_size, kinds[s.st_mode & 0o170000], int(s.st_atime), int(s.st_mtime))
for n in (".", "d", "moved"): print(os.stat(n).st_ino)"#,
            ),
        );
        assert_eq!(full, asked_without);
    }
}

#[test]
fn syncfs_sends_what_was_written_to_the_ciphertext() {
    let volume = Volume::create(&["--names", "plain"]);
    let mount = volume.mount();
    let file = fs::File::create(mount.path("f")).unwrap();
    std::io::Write::write_all(&mut &file, &[7; 3_000_000]).unwrap();
    let stored = || fs::metadata(volume.cipher_dir().join("f")).unwrap().len();
    let (root, before) = (fs::File::open(mount.root()).unwrap(), stored());
    rustix::fs::syncfs(&root).unwrap();
    assert!(
        before < 3_000_000,
        "nothing was left to send: {before} bytes"
    );
    wait_until("what syncfs sends", || stored() > 3_000_000);
    file.sync_all().unwrap();
}

#[test]
fn dot_and_dot_dot_have_the_numbers_that_stat_tells() {
    compared(
        r#"mkdir -p a/b; cd a/b; ls -aif | awk '{print $1, $2}' > /dev/null
        [ "$(ls -ai | awk '$2 == ".." {print $1}')" = "$(stat -c %i ..)" ]; [ "$(ls -ai | awk '$2 == "." {print $1}')" = "$(stat -c %i .)" ]
        cd ..; mv b ../moved; cd ../moved; [ "$(stat -c %i ..)" = "$(stat -c %i "$PWD/..")" ]; echo as stat tells"#,
    );
}
