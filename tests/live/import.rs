//! A plaintext folder becomes a volume in its place, and a volume a plaintext folder again.

use std::collections::BTreeSet;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::harness::{
    Volume, is_mounted, kill, noise, processes_at, refuses, require_root, run, shell, wait_until,
};

/// A plaintext folder `d` with one of everything, and a copy `orig` of it.
struct Folder {
    volume: Volume,
}

impl Folder {
    fn filled() -> Self {
        let folder = Self::empty();
        shell(
            folder.home(),
            "mkdir -p d/sub/deep; echo secret > d/a; ln d/a d/sub/b; ln -s ../a d/sub/link; ln -s nowhere d/dangling
             mkfifo d/pipe; mknod d/null c 1 3; mknod d/disk b 7 99
             python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"d/socket\")'
             truncate -s 40M d/sparse; printf x | dd of=d/sparse bs=1 seek=20M conv=notrunc status=none
             setfattr -n user.colour -v red d/a; setfattr -n trusted.t -v 1 d/sub
             setfacl -m u:nobody:r,m::r d/a; setfacl -d -m g:nogroup:rx d/sub
             chmod 4711 d/sub/deep; chown nobody:nogroup d/sub/deep d/a; chown -h nobody d/sub/link; chmod 751 d
             touch -d '2001-02-03 04:05:06.123456789' d/a d/sub; touch -h -d '1965-01-01' d/sub/link",
        );
        fs::write(folder.home().join("d/noise"), noise(1, 5_000_000)).unwrap();
        for number in 0..200 {
            fs::write(
                folder.home().join(format!("d/sub/deep/{number}")),
                noise(number, 3000),
            )
            .unwrap();
        }
        shell(
            folder.home(),
            "touch -d '2011-01-01' d/sub/deep d; cp -a d orig",
        );
        folder
    }

    fn empty() -> Self {
        require_root();
        let volume = Volume::unmade();
        fs::create_dir(volume.home().join("d")).unwrap();
        Self { volume }
    }

    fn home(&self) -> &Path {
        self.volume.home()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    fn import(&self, options: &[&str]) -> Command {
        let mut command = self.volume.envelopefs("import");
        command.arg(self.path("d")).args(options);
        command.args(["--key", &self.volume.key()]);
        command
    }

    fn umount(&self) {
        run(self.volume.envelopefs("umount").arg(self.path("d")));
    }

    fn export(&self) -> Command {
        let mut command = self.volume.envelopefs("export");
        command.arg(self.path("d.enc")).arg(self.path("back"));
        command
    }

    /// What rsync would have to do to make `name` like the original: nothing.
    fn is_like_the_original(&self, name: &str) {
        let script = format!("rsync -aHAXn --delete --checksum --itemize-changes orig/ {name}/");
        assert_eq!(shell(self.home(), &script), "", "{name} differs");
    }

    /// Every process of a command that has this folder in its arguments: the import and the mounts that it made.
    fn power_off(&self) {
        processes_at(self.home()).into_iter().for_each(kill);
        shell(
            self.home(),
            "for at in d d.plain; do while mountpoint -q $at || [ \"$(stat $at 2>&1 | grep -c connected)\" = 1 ]; do umount -l $at; done; done",
        );
    }
}

#[test]
fn a_folder_becomes_a_mount_and_comes_back_with_everything() {
    let folder = Folder::filled();
    let said = run(&mut folder.import(&[]));
    assert!(
        said.contains("--remove-plaintext") && said.contains("acl,"),
        "{said}"
    );
    assert!(is_mounted(&folder.path("d")) && !is_mounted(&folder.path("d.plain")));
    folder.is_like_the_original("d");
    folder.is_like_the_original("d.plain");
    let blocks = fs::metadata(folder.path("d.plain/sparse"))
        .unwrap()
        .blocks();
    assert!(blocks * 512 < 1 << 20);
    // What is written goes into the volume alone.
    fs::write(folder.path("d/new"), "new").unwrap();
    assert!(!folder.path("d.plain/new").exists());
    fs::remove_file(folder.path("d/new")).unwrap();
    shell(folder.home(), "touch -d '2011-01-01' d");

    run(folder.import(&["--remove-plaintext"]).stdin(Stdio::null()));
    assert!(!folder.path("d.plain").exists());
    folder.umount();
    assert_eq!(fs::read_dir(folder.path("d")).unwrap().count(), 0);
    run(&mut folder.export());
    folder.is_like_the_original("back");
    let blocks = fs::metadata(folder.path("back/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "the holes were filled");
    run(folder.volume.envelopefs("check").arg(folder.path("d.enc")));
}

#[test]
fn whoever_looks_finds_all_of_the_folder_at_every_moment() {
    let folder = Folder::filled();
    let path = folder.path("d");
    let wanted = names(&path).unwrap();
    let (over, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(names(&path).unwrap(), wanted);
                assert_eq!(fs::read(path.join("a")).unwrap(), b"secret\n");
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        run(&mut folder.import(&[]));
        over.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
    assert!(looks.load(Ordering::Relaxed) > 10);
    assert!(is_mounted(&path));
}

fn names(folder: &Path) -> std::io::Result<BTreeSet<std::ffi::OsString>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// Kills the import ever later, until one run comes to its end before it is killed.
fn killed_again_and_again(kill: impl Fn(&Folder, &mut Child)) -> u32 {
    let folder = Folder::filled();
    let mut kills = 0;
    for step in 0.. {
        let mut child = folder
            .import(&[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(40 * step));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        kill(&folder, &mut child);
        child.wait().unwrap();
        kills += 1;
        // Nothing is lost: the plaintext is whole, under the one name or the other.
        let whole = if folder.path("d/noise").exists() {
            "d"
        } else {
            "d.plain"
        };
        folder.is_like_the_original(whole);
        assert!(step < 1000, "it never comes to its end");
    }
    run(&mut folder.import(&[]));
    assert!(is_mounted(&folder.path("d")));
    folder.is_like_the_original("d");
    folder.is_like_the_original("d.plain");
    run(&mut folder.import(&["--remove-plaintext"]));
    folder.is_like_the_original("d");
    kills
}

#[test]
fn an_import_that_is_killed_anywhere_is_gone_on_with() {
    let kills = killed_again_and_again(|_folder, child| child.kill().unwrap());
    assert!(kills >= 3, "killed only {kills} times");
}

#[test]
fn an_import_whose_machine_goes_down_anywhere_is_gone_on_with() {
    let kills = killed_again_and_again(|folder, child| {
        child.kill().unwrap();
        folder.power_off();
    });
    assert!(kills >= 3, "killed only {kills} times");
}

#[test]
fn after_a_restart_import_mounts_again() {
    let folder = Folder::filled();
    run(&mut folder.import(&[]));
    folder.power_off();
    assert!(!is_mounted(&folder.path("d")));
    assert_eq!(fs::read_dir(folder.path("d")).unwrap().count(), 0);
    refuses(
        &mut folder.import(&["--remove-plaintext"]),
        1,
        &["is not mounted in its place"],
    );
    run(&mut folder.import(&[]));
    folder.is_like_the_original("d");
}

#[test]
fn an_export_that_is_killed_is_gone_on_with_and_is_there_whole_or_not_at_all() {
    let folder = Folder::filled();
    run(&mut folder.import(&[]));
    folder.umount();
    for step in 0..1000 {
        let mut child = folder
            .export()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(40 * step));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if folder.path("back").exists() {
            break;
        }
    }
    if !folder.path("back").exists() {
        run(&mut folder.export());
    }
    folder.is_like_the_original("back");
}

#[test]
fn a_dry_run_changes_nothing() {
    let folder = Folder::filled();
    let said = run(&mut folder.import(&["--dry-run"]));
    assert!(said.contains("Nothing stands in the way"), "{said}");
    for name in ["d.enc", "d.plain", "d.enc.new", "key.json"] {
        assert!(!folder.path(name).exists(), "{name}");
    }
}

#[test]
fn what_stands_in_the_way_is_told_and_nothing_is_made() {
    let folder = Folder::filled();
    let refused = |code, words: &[&str]| {
        for options in [&["--dry-run"][..], &[]] {
            refuses(&mut folder.import(options), code, words);
        }
        assert!(!folder.path("d.enc").exists());
        assert!(folder.path("d/noise").exists());
    };
    shell(folder.home(), "mkdir d/m; mount -t tmpfs none d/m");
    refused(14, &["d/m is a mount point"]);
    shell(folder.home(), "umount d/m; mount --bind d d");
    refused(14, &["is a mount point"]);
    shell(folder.home(), "umount d; mount --bind d/sub d/m");
    refused(14, &["d/m is a mount point"]);
    shell(folder.home(), "umount d/m; rmdir d/m");

    run(folder
        .volume
        .envelopefs("init")
        .arg(folder.path("d/v"))
        .args(["--key", &folder.volume.key()]));
    refused(1, &["d/v holds the ciphertext of a volume"]);
    shell(folder.home(), "rm -r d/v key.json");

    let file = fs::File::options()
        .append(true)
        .open(folder.path("d/a"))
        .unwrap();
    let mut writer = Command::new("sleep")
        .arg("600")
        .stdout(file)
        .spawn()
        .unwrap();
    refused(
        19,
        &[&format!("process {}", writer.id()), "d/a open for writing"],
    );
    writer.kill().unwrap();
    writer.wait().unwrap();
    shell(folder.home(), "touch -d '2011-01-01' d");
    folder.is_like_the_original("d");
}

#[test]
fn names_that_are_taken_or_lie_elsewhere_are_refused() {
    let folder = Folder::filled();
    shell(folder.home(), "mkdir d.plain; touch d.plain/precious");
    refuses(&mut folder.import(&[]), 22, &["d.plain is there already"]);
    shell(folder.home(), "rm -r d.plain; touch d.enc.file");
    refuses(
        &mut folder.import(&[
            "--cipherdir",
            &folder.path("d.enc.file").display().to_string(),
        ]),
        22,
        &["is there already"],
    );
    refuses(
        &mut folder.import(&["--cipherdir", &folder.path("d/enc").display().to_string()]),
        2,
        &["must lie apart"],
    );
    refuses(
        &mut folder.import(&["--cipherdir", "/dev/shm/d.enc"]),
        1,
        &["the same for folder and ciphertext"],
    );
    assert!(!Path::new("/dev/shm/d.enc").exists() && !Path::new("/dev/shm/d.enc.new").exists());
    refuses(
        &mut folder.import(&["--remove-plaintext"]),
        1,
        &["is not mounted in its place"],
    );
    refuses(
        folder.volume.envelopefs("import").arg("/"),
        2,
        &["no name of its own"],
    );
    refuses(
        folder.volume.envelopefs("import").arg(folder.path("none")),
        2,
        &["No such file"],
    );
    refuses(
        folder
            .volume
            .envelopefs("import")
            .arg(folder.path("orig/a")),
        2,
        &["not a folder"],
    );
    folder.is_like_the_original("d");
}

#[test]
fn a_folder_without_room_for_its_copy_is_refused() {
    let folder = Folder::empty();
    shell(
        folder.home(),
        "mkdir small; mount -t tmpfs -o size=16M none small; mkdir small/d; head -c 9M /dev/zero > small/d/f",
    );
    let mut import = folder.volume.envelopefs("import");
    refuses(
        import
            .arg(folder.path("small/d"))
            .args(["--key", &folder.volume.key()]),
        1,
        &["needs about", "make room"],
    );
    assert_eq!(names(&folder.path("small")).unwrap().len(), 1);
    shell(folder.home(), "umount small");
}

#[test]
fn a_folder_that_changes_all_the_time_stays_plaintext() {
    let folder = Folder::filled();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Opened and closed at once: no open file shows it.
                fs::write(folder.path("d/restless"), "again").unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let output = folder.import(&[]).output().unwrap();
        stop.store(true, Ordering::Relaxed);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(19), "{said}");
    });
    assert!(!is_mounted(&folder.path("d")) && !is_mounted(&folder.path("d.plain")));
    assert!(folder.path("d/restless").exists());
    fs::remove_file(folder.path("d/restless")).unwrap();
    shell(folder.home(), "touch -d '2011-01-01' d");
    run(&mut folder.import(&[]));
    folder.is_like_the_original("d");
}

#[test]
fn an_import_of_another_folder_s_volume_is_refused() {
    let folder = Folder::filled();
    run(&mut folder.import(&[]));
    folder.umount();
    shell(
        folder.home(),
        "rmdir d; mv d.plain moved; mkdir d; echo other > d/other",
    );
    refuses(
        &mut folder.import(&[]),
        22,
        &["was made from another folder"],
    );
    assert_eq!(fs::read(folder.path("d/other")).unwrap(), b"other\n");
}

#[test]
fn a_mounted_volume_or_a_full_folder_is_not_exported() {
    let folder = Folder::filled();
    run(&mut folder.import(&[]));
    refuses(&mut folder.export(), 15, &["in use"]);
    folder.umount();
    shell(folder.home(), "mkdir back; touch back/precious");
    refuses(&mut folder.export(), 22, &["back is there already"]);
    shell(folder.home(), "rm back/precious");
    run(&mut folder.export());
    folder.is_like_the_original("back");
    shell(folder.home(), "rm -r back; mv key.json away");
    refuses(&mut folder.export(), 12, &[]);
    assert!(!folder.path("back").exists());
    let left = names(folder.home()).unwrap();
    assert!(
        !left.contains(std::ffi::OsStr::new(".back.envelopefs-mount")),
        "{left:?}"
    );
}

#[test]
fn damage_is_no_export() {
    let folder = Folder::filled();
    run(&mut folder.import(&["--names", "plain"]));
    folder.umount();
    shell(
        folder.home(),
        "printf x | dd of=d.enc/noise bs=1 seek=9000 conv=notrunc status=none",
    );
    refuses(&mut folder.export(), 1, &["noise"]);
    assert!(!folder.path("back").exists());
}

#[test]
fn ordinary_users_are_told_that_it_needs_root() {
    let folder = Folder::filled();
    // The program may lie where nobody else gets in.
    let copy = folder.path("program");
    crate::harness::install(&crate::harness::program(), &copy);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(copy)
        .arg("import")
        .arg(folder.path("d"));
    refuses(&mut command, 1, &["only root"]);
}

#[test]
fn a_certificate_that_is_renewed_is_seen_by_who_watches() {
    let folder = Folder::empty();
    shell(
        &folder.path("d"),
        "mkdir -p archive live; for file in cert key; do echo old > archive/${file}1.pem; ln -s ../archive/${file}1.pem live/$file.pem; done; echo old > single.pem",
    );
    run(&mut folder.import(&[]));
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    let flags = WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::CLOSE_WRITE;
    for name in ["d", "d/live", "d/archive"] {
        inotify::add_watch(&watch, folder.path(name), flags).unwrap();
    }
    // As certbot does it: new files, then each symlink anew under a temporary name and over the old one.
    shell(
        &folder.path("d"),
        "for file in cert key; do echo new > archive/${file}2.pem; ln -s ../archive/${file}2.pem live/$file.tmp; mv -T live/$file.tmp live/$file.pem; done
         echo new > .single.tmp; mv .single.tmp single.pem",
    );
    let mut seen = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    while let Ok(event) = events.next() {
        let name = event.file_name().unwrap().to_string_lossy().into_owned();
        seen.push((name, event.events()));
    }
    let has = |name: &str, flags| {
        seen.iter()
            .any(|(seen, events)| seen == name && events.contains(flags))
    };
    for name in ["cert.pem", "key.pem", "single.pem"] {
        assert!(has(name, inotify::ReadFlags::MOVED_TO), "{name}: {seen:?}");
    }
    assert!(
        has("cert2.pem", inotify::ReadFlags::CLOSE_WRITE),
        "{seen:?}"
    );
    for name in ["live/cert.pem", "live/key.pem", "single.pem"] {
        wait_until("the new certificate", || {
            fs::read(folder.path("d").join(name)).unwrap() == b"new\n"
        });
    }
    let old = fs::read(folder.path("d.plain/live/cert.pem")).unwrap();
    assert_eq!(old, b"old\n");
}
