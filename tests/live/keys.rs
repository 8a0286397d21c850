//! Mounts that are locked and unlocked: what the kernel has cached goes too.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{Mount, Volume, errno, refuses, run, set_mode, wait_until};

const KEY_DENIED: i32 = 12;

/// Whoever has a file mapped, read a byte of it, and waits for a word to read it again.
pub(crate) struct Mapped(Child);

impl Mapped {
    pub(crate) fn open(path: &Path) -> Self {
        const SCRIPT: &str = "import mmap, sys\n\
            f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n\
            print(m[0], flush=True); sys.stdin.readline(); print(m[0], flush=True)";
        Self(begun(SCRIPT, path))
    }

    /// The signal that it dies of when it reads again; `None` where it lives.
    pub(crate) fn reads_again(mut self) -> Option<i32> {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        self.0.wait().unwrap().signal()
    }
}

/// A process that does what a script says with a file, and has said that it began.
pub(crate) fn begun(script: &str, path: &Path) -> Child {
    let mut child = Command::new("python3")
        .args(["-c", script])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need python3: apt-get install python3");
    let mut first = [0; 1];
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut first).unwrap();
    child
}

/// The errno of reading an open file from its start.
pub(crate) fn read_again(file: &mut File) -> std::io::Result<Vec<u8>> {
    file.rewind()?;
    let mut content = Vec::new();
    std::io::copy(file, &mut content)?;
    Ok(content)
}

fn lock(mount: &Mount<'_>, volume: &Volume) {
    run(volume.envelopefs("lock").arg(mount.root()));
}

fn unlock(mount: &Mount<'_>, volume: &Volume) {
    run(volume.envelopefs("unlock").arg(mount.root()));
}

fn enokey() -> i32 {
    rustix::io::Errno::NOKEY.raw_os_error()
}

#[test]
fn a_locked_mount_shows_nothing_of_what_the_kernel_had_cached() {
    for options in [&[][..], &["--names", "plain"], &["--key-scope", "volume"]] {
        let volume = Volume::create(options);
        let mount = volume.mount();
        fs::create_dir(mount.path("d")).unwrap();
        fs::write(mount.path("d/f"), "in clear").unwrap();
        std::os::unix::fs::symlink("somewhere", mount.path("l")).unwrap();
        let mut open = File::open(mount.path("d/f")).unwrap();
        assert_eq!(read_again(&mut open).unwrap(), b"in clear");
        assert!(fs::metadata(mount.path("d/f")).is_ok());
        let mapped = Mapped::open(&mount.path("d/f"));
        let mut writer = OpenOptions::new()
            .append(true)
            .open(mount.path("d/f"))
            .unwrap();
        writer.write_all(b", written").unwrap();

        lock(&mount, &volume);
        assert_eq!(errno(read_again(&mut open)), enokey());
        assert_eq!(mapped.reads_again(), Some(7), "SIGBUS");
        assert_eq!(errno(fs::read(mount.path("d/f"))), enokey());
        assert_eq!(errno(fs::write(mount.path("new"), "x")), enokey());
        assert_eq!(
            errno(fs::read_dir(mount.root()).and_then(|mut dir| dir.next().unwrap())),
            enokey()
        );
        if options != ["--names", "plain"] {
            assert_eq!(errno(fs::metadata(mount.path("d/f"))), enokey());
            assert_eq!(errno(fs::read_link(mount.path("l"))), enokey());
        }
        let status = run(volume.envelopefs("status").arg(mount.root()));
        assert!(status.contains("LOCKED"), "{status}");

        unlock(&mount, &volume);
        assert_eq!(read_again(&mut open).unwrap(), b"in clear, written");
        writer.write_all(b" twice").unwrap();
        writer.sync_all().unwrap();
        assert_eq!(
            fs::read_to_string(mount.path("d/f")).unwrap(),
            "in clear, written twice"
        );
        drop((open, writer));
        mount.unmount();
    }
}

#[test]
fn a_mount_by_passphrase_asks_for_it_again_and_takes_no_other() {
    let volume = Volume::unmade();
    let pass = volume.home().join("pass");
    fs::write(&pass, "correct horse").unwrap();
    set_mode(&pass, 0o600);
    let mut init = volume.envelopefs("init");
    init.args(["--key", "passphrase:", "--passphrase-file"]);
    run(init.arg(&pass).arg(volume.cipher_dir()));
    let mount = volume.mount_with(&["--passphrase-file", pass.to_str().unwrap()]);
    fs::write(mount.path("f"), "secret").unwrap();
    lock(&mount, &volume);
    assert!(fs::read(mount.path("f")).is_err());

    let wrong = volume.home().join("wrong");
    fs::write(&wrong, "battery staple").unwrap();
    let mut with_wrong = volume.envelopefs("unlock");
    with_wrong.arg("--passphrase-file").arg(&wrong);
    refuses(with_wrong.arg(mount.root()), KEY_DENIED, &["cannot unlock"]);
    assert_eq!(errno(fs::read(mount.path("f"))), enokey());

    // The mount's own source has moved away: the command's counts.
    let moved = volume.home().join("moved");
    fs::rename(&pass, &moved).unwrap();
    refuses(
        volume.envelopefs("unlock").arg(mount.root()),
        KEY_DENIED,
        &["pass"],
    );
    let mut with_right = volume.envelopefs("unlock");
    with_right.arg("--passphrase-file").arg(&moved);
    run(with_right.arg(mount.root()));
    assert_eq!(fs::read_to_string(mount.path("f")).unwrap(), "secret");
    mount.unmount();
}

#[test]
fn locking_twice_unlocking_twice_and_a_locked_unmount_do_no_harm() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    unlock(&mount, &volume);
    fs::write(mount.path("f"), "kept").unwrap();
    lock(&mount, &volume);
    lock(&mount, &volume);
    let mount = mount.again();
    assert_eq!(fs::read_to_string(mount.path("f")).unwrap(), "kept");
    lock(&mount, &volume);
    unlock(&mount, &volume);
    unlock(&mount, &volume);
    assert_eq!(fs::read_to_string(mount.path("f")).unwrap(), "kept");
    mount.unmount();
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}

#[test]
fn a_mount_is_locked_and_unlocked_under_load_and_loses_nothing() {
    const FILES: usize = 40;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let root = mount.root().to_owned();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let root = root.clone();
            std::thread::spawn(move || {
                for file in 0..FILES {
                    let path = root.join(format!("f{writer}-{file}"));
                    // Refused while the mount is locked, and then done again.
                    wait_until("a file to be written and synced", || {
                        let written = File::create(&path).and_then(|mut made| {
                            made.write_all(&[7; 5000])?;
                            made.sync_all()
                        });
                        written.is_ok()
                    });
                }
            })
        })
        .collect();
    for _ in 0..5 {
        lock(&mount, &volume);
        unlock(&mount, &volume);
    }
    for writer in writers {
        writer.join().unwrap();
    }
    let mount = mount.again();
    for entry in fs::read_dir(mount.root()).unwrap() {
        assert_eq!(fs::read(entry.unwrap().path()).unwrap(), [7; 5000]);
    }
    mount.unmount();
}
