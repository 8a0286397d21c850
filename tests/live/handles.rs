//! File handles (`name_to_handle_at`, `open_by_handle_at`) with `--export`, as an NFS server uses them.

use std::fs;

use crate::harness::{Mount, Volume, require_root, same_as_beneath, shell};

/// What every script here needs. Handles of what no program has open are asked for after the caches were dropped: then the
/// kernel has forgotten the inodes.
const TOOLS: &str = r#"
import ctypes, errno, os, struct, time
libc = ctypes.CDLL(None, use_errno=True)
def handle(path):
    raw = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128)); mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(path), raw, ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), path)
    return raw.raw[:8 + struct.unpack("I", raw.raw[:4])[0]]
def opened(handle, flags=os.O_RDONLY):
    where = os.open(".", os.O_RDONLY)
    fd = libc.open_by_handle_at(where, ctypes.create_string_buffer(handle), flags)
    error = ctypes.get_errno(); os.close(where)
    if fd < 0: raise OSError(error, "open_by_handle_at")
    return fd
def attempt(handle, flags=os.O_PATH):
    try: fd = opened(handle, flags)
    except OSError as e: return errno.errorcode[e.errno]
    found = os.fstat(fd); os.close(fd)
    return "opened"
def drop():
    os.sync()
    open("/proc/sys/vm/drop_caches", "w").write("2")
def deleted(handle):
    # The kernel keeps what was deleted until the last RELEASE of it is answered, for which nobody waits.
    until = time.time() + 10
    drop()
    while attempt(handle) != "ESTALE" and time.time() < until: time.sleep(0.01); drop()
    return attempt(handle)
def content(handle):
    fd = opened(handle); data = os.read(fd, 100); os.close(fd); return data
def put(path, data):
    with open(path, "w") as file: file.write(data)
"#;

fn exported(volume: &Volume) -> Mount<'_> {
    require_root();
    volume.mount_with(&["--export"])
}

fn python(script: &str) -> String {
    format!("python3 - <<'END'\n{TOOLS}{script}\nEND")
}

fn compared(script: &str) -> String {
    let said = ["encrypted", "plain"].map(|names| {
        let volume = Volume::create(&["--names", names]);
        let mount = exported(&volume);
        same_as_beneath(&mount, &python(script))
    });
    said.into_iter().next().unwrap_or_default()
}

#[test]
fn every_kind_of_inode_opens_by_handle_when_the_kernel_has_forgotten_it() {
    let said = compared(
        r#"
os.makedirs("a/b"); put("a/b/f", "content"); os.symlink("t", "a/l"); os.mkfifo("a/p"); put("a/empty", "")
names = ["a", "a/b", "a/b/f", "a/l", "a/p", "a/empty", "."]
handles = {name: (handle(name), os.lstat(name)) for name in names}
for name, (h, before) in handles.items():
    drop(); fd = opened(h, os.O_PATH); now = os.fstat(fd); os.close(fd)
    print(name, [getattr(now, a) == getattr(before, a) for a in ("st_ino", "st_mode", "st_size", "st_nlink")])
drop(); print(content(handles["a/b/f"][0]))
drop(); print(handle("a/b/f") == handles["a/b/f"][0])"#,
    );
    assert!(
        said.contains("b'content'\nTrue") && !said.contains("False"),
        "{said}"
    );
}

#[test]
fn a_folder_by_handle_is_connected_to_the_tree_above_it() {
    let said = compared(
        r#"
os.makedirs("1/2/3/4/5"); put("1/2/3/4/5/f", "x"); here = os.getcwd(); h = handle("1/2/3/4/5"); up = handle("1/2")
drop(); fd = opened(h)
print(os.listdir(fd), os.readlink("/proc/self/fd/%d" % fd)[len(here):])
inside = os.open("f", os.O_RDWR, dir_fd=fd); print(os.read(inside, 9)); os.close(inside)
above = os.open("..", os.O_RDONLY, dir_fd=fd); print(os.listdir(above)); os.close(above)
put("1/2/3/4/5/new", "y"); print(sorted(os.listdir(fd))); os.close(fd)
os.rename("1/2", "moved"); drop(); fd = opened(up)
print(os.listdir(fd), os.readlink("/proc/self/fd/%d" % fd)[len(here):]); os.close(fd)
fd = opened(h); print(os.readlink("/proc/self/fd/%d" % fd)[len(here):]); os.close(fd)"#,
    );
    assert!(said.ends_with("/moved/3/4/5\n"), "{said}");
}

#[test]
fn what_was_opened_by_handle_is_written_renamed_and_deleted_like_any_file() {
    compared(
        r#"
put("f", "content"); os.link("f", "hard"); h = handle("f"); drop()
fd = opened(h, os.O_RDWR); os.pwrite(fd, b"C", 0); os.ftruncate(fd, 4); os.fchmod(fd, 0o640); os.fsync(fd)
print(open("hard").read(), oct(os.stat("f").st_mode)); os.rename("f", "g"); os.pwrite(fd, b"c", 0)
os.unlink("g"); print(os.fstat(fd).st_nlink, os.pread(fd, 9, 0)); os.close(fd)
drop(); print(content(h)); fd = opened(h, os.O_RDWR); os.unlink("hard")
os.pwrite(fd, b"gone", 0); os.fsync(fd); os.fchmod(fd, 0o600); print(os.pread(fd, 9, 0), os.fstat(fd).st_nlink); os.close(fd)
print(deleted(h))"#,
    );
}

#[test]
fn a_handle_of_what_was_deleted_is_stale_also_when_its_inode_number_is_used_again() {
    let volume = Volume::create(&[]);
    let mount = exported(&volume);
    let script = r#"
reused = 0
for kind in ("file", "folder"):
    make = (lambda p: put(p, "x")) if kind == "file" else os.mkdir
    remove = os.unlink if kind == "file" else os.rmdir
    for turn in range(20):
        make("old"); h, ino = handle("old"), os.stat("old").st_ino
        remove("old")
        assert deleted(h) == "ESTALE", attempt(h)
        new = ["new%d" % n for n in range(10)]
        for path in new: make(path)
        reused += ino in [os.stat(path).st_ino for path in new]
        assert attempt(h) == "ESTALE", attempt(h)
        for path in new: assert attempt(handle(path)) == "opened"
        drop()
        assert attempt(h) == "ESTALE", attempt(h)
        for path in new: remove(path)
print(reused > 0)"#;
    assert_eq!(
        shell(mount.root(), &python(script)),
        "True\n",
        "no number was used again: nothing was shown"
    );
}

#[test]
fn handles_are_good_after_a_new_mount_for_all_that_proves_to_be_the_volumes() {
    let volume = Volume::create(&[]);
    let mount = exported(&volume);
    let names = r#"names = ["a", "a/b", "a/f", "a/empty", "a/l", "a/p"]"#;
    let before = format!(
        "{names}\nos.makedirs('a/b'); put('a/f', 'content'); put('a/empty', ''); os.symlink('t', 'a/l'); os.mkfifo('a/p')
for name in names: print(handle(name).hex())"
    );
    let handles = shell(mount.root(), &python(&before));
    let mount = mount.again_with(&["--export"]);
    let after = format!(
        "for h in '''{handles}'''.split()[::-1]: print(attempt(bytes.fromhex(h)))
print(content(bytes.fromhex('''{handles}'''.split()[2])))"
    );
    // A FIFO holds nothing that only the volume's keys could have written.
    let expected = "ESTALE\nopened\nopened\nopened\nopened\nopened\nb'content'\n";
    assert_eq!(shell(mount.root(), &python(&after)), expected);
}

#[test]
fn no_forged_handle_leads_out_of_the_volume() {
    let volume = Volume::create(&[]);
    let mount = exported(&volume);
    shell(
        mount.root(),
        "mkdir own; echo x > own/file; ln -s x own/link",
    );
    let mount = mount.again_with(&["--export"]);
    fs::write(volume.home().join("outside"), "secret").unwrap();
    let (home, enc) = (
        volume.home().display().to_string(),
        volume.cipher_dir().display().to_string(),
    );
    // The number and generation that the file system beneath has, as the kernel packs them for a FUSE mount.
    let script = format!(
        r#"
def forged(path):
    ino, generation = struct.unpack("II", handle(path)[8:16])
    return struct.pack("IiIII", 12, 0x81, 0, ino, generation)
os.symlink("x", "{home}/link"); os.mkfifo("{home}/pipe"); os.mkdir("{home}/folder"); put("{home}/hollow", "")
for path in ("outside", "link", "pipe", "folder", "hollow", "", "mnt/.."):
    for flags in (os.O_PATH, os.O_RDONLY | os.O_NONBLOCK):
        assert attempt(forged("{home}/" + path), flags) == "ESTALE", path
for path in ["{enc}", "/", "/etc", "/etc/passwd"] + ["{enc}/" + e for e in os.listdir("{enc}") if e.startswith(".envelopefs")]:
    try: h = forged(path)
    except OSError: continue
    assert attempt(h) == "ESTALE", path
inside = ["{enc}/.envelopefs/" + e for e in os.listdir("{enc}/.envelopefs")]
assert inside
for path in inside: assert attempt(forged(path)) == "ESTALE", path
for ino in (0, 1, 2, 11, 12, 2**32 - 1):
    for generation in (0, 1): assert attempt(struct.pack("IiIII", 12, 0x81, 0, ino, generation)) in ("ESTALE", "opened") and (ino == 1 or attempt(struct.pack("IiIII", 12, 0x81, 0, ino, generation)) == "ESTALE")
for entry in os.listdir("{enc}"):
    if not entry.startswith(".envelopefs"): print(attempt(forged("{enc}/" + entry)))"#
    );
    // That the forging itself works shows in what is the volume's own.
    assert_eq!(shell(mount.root(), &python(&script)), "opened\n");
}

#[test]
fn without_the_option_handles_are_good_while_the_kernel_holds_the_inode() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let script = "put('f', 'content'); h = handle('f'); print(content(h)); time.sleep(6); drop(); print(attempt(h))";
    assert_eq!(shell(mount.root(), &python(script)), "b'content'\nESTALE\n");
}
