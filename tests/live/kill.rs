//! `kill -9` of the daemon under load, many times over: what a program was told is synced is there in the next
//! mount, and everything else opens.
//!
//! `ENVELOPEFS_KILLS=100` kills that often instead of a few times.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::crash::kill;
use crate::harness::{Volume, mounts_at, noise, run};
use crate::workers;

/// What a writer does until the daemon is gone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Load {
    /// Appends records to a log and syncs each.
    Log,
    /// Rewrites the pages of a file as a database does, and syncs each.
    Pages,
    /// Writes a file beside another, syncs it, puts it in the other's place and syncs the folder.
    Replace,
    /// Makes folders in one another's parent, syncs it, and syncs a file in each.
    Folders,
    /// Writes files and syncs none.
    Unsynced,
}

const LOADS: [Load; 5] = [
    Load::Log,
    Load::Pages,
    Load::Replace,
    Load::Folders,
    Load::Unsynced,
];
/// No divisor of a block: records and pages begin and end inside one.
const RECORD: usize = 700;
const PAGE: usize = 4096;
const PAGES: u64 = 24;
const NAMES: u64 = 7;

#[derive(Debug, Serialize, Deserialize)]
struct Task {
    load: Load,
    folder: PathBuf,
    /// Outside the mount: what the writer was told.
    journal: PathBuf,
}

/// What a writer noted: `try` before a change, `done` once it is synced.
#[derive(Debug, Default)]
struct Journal {
    tried: Vec<u64>,
    done: Vec<u64>,
}

impl Journal {
    fn read(path: &Path) -> Self {
        let mut journal = Self::default();
        for line in fs::read_to_string(path).unwrap().lines() {
            match line
                .split_once(' ')
                .map(|(word, number)| (word, number.parse().unwrap()))
            {
                Some(("try", number)) => journal.tried.push(number),
                Some(("done", number)) => journal.done.push(number),
                _ => panic!("a writer's journal says {line:?}"),
            }
        }
        journal
    }
}

#[test]
#[ignore = "a process of the kill test, which starts it"]
fn writer() {
    let task: Task = serde_json::from_str(&workers::task()).unwrap();
    let mut journal = File::create(&task.journal).unwrap();
    let mut note = |word: &str, number: u64| {
        let line = format!("{word} {number}\n");
        journal.write_all(line.as_bytes()).unwrap();
    };
    for number in 0.. {
        note("try", number);
        match change(task.load, &task.folder, number) {
            Ok(()) => note("done", number),
            Err(error) => {
                let dead = matches!(
                    error.raw_os_error(),
                    // The last: of a request that the kernel was about to hand to a ring (fuse_uring_send_in_task).
                    Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ECANCELED)
                );
                assert!(dead, "{:?} {number}: {error}", task.load);
                return;
            }
        }
    }
}

fn change(load: Load, folder: &Path, number: u64) -> io::Result<()> {
    match load {
        Load::Log => {
            let mut log = OpenOptions::new()
                .append(true)
                .create(true)
                .open(folder.join("log"))?;
            log.write_all(&noise(number, RECORD))?;
            log.sync_data()
        }
        Load::Pages => {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(folder.join("pages"))?;
            file.write_all_at(&noise(number, PAGE), (number * 5 % PAGES) * PAGE as u64)?;
            file.sync_all()
        }
        Load::Replace => {
            let new = folder.join("new");
            let mut file = File::create(&new)?;
            file.write_all(&noise(number, 5000 + number as usize))?;
            file.sync_all()?;
            fs::rename(&new, folder.join((number % NAMES).to_string()))?;
            File::open(folder)?.sync_all()
        }
        Load::Folders => {
            let below = folder.join(number.to_string());
            fs::create_dir(&below)?;
            File::open(folder)?.sync_all()?;
            let mut file = File::create(below.join("file"))?;
            file.write_all(&noise(number, 3000))?;
            file.sync_all()?;
            File::open(below)?.sync_all()
        }
        Load::Unsynced => fs::write(folder.join(number.to_string()), noise(number, 20_000)),
    }
}

/// Holds what is found against what the writer was told.
fn verify(load: Load, folder: &Path, journal: &Journal) {
    match load {
        Load::Log => verify_log(&folder.join("log"), journal),
        Load::Pages => verify_pages(&folder.join("pages"), journal),
        Load::Replace => verify_replaced(folder, journal),
        Load::Folders => {
            for number in &journal.done {
                let found = fs::read(folder.join(number.to_string()).join("file")).unwrap();
                assert!(found == noise(*number, 3000), "folder {number}");
            }
        }
        Load::Unsynced => verify_unsynced(folder, journal),
    }
}

fn verify_log(log: &Path, journal: &Journal) {
    if journal.done.is_empty() {
        return;
    }
    let found = fs::read(log).unwrap();
    let synced: Vec<u8> = journal
        .done
        .iter()
        .flat_map(|number| noise(*number, RECORD))
        .collect();
    assert!(
        found.starts_with(&synced),
        "{} records were synced: {} bytes are there",
        journal.done.len(),
        found.len()
    );
    let tried: Vec<u8> = journal
        .tried
        .iter()
        .flat_map(|number| noise(*number, RECORD))
        .collect();
    assert!(tried.starts_with(&found), "the log holds what nobody wrote");
}

/// Each byte is that of the last synced version, or of the one that the kill interrupted.
fn verify_pages(pages: &Path, journal: &Journal) {
    let Some(last) = journal.tried.last() else {
        return;
    };
    let place = |number: u64| (number * 5 % PAGES) as usize;
    let synced: BTreeMap<usize, u64> = journal
        .done
        .iter()
        .map(|number| (place(*number), *number))
        .collect();
    let found = if synced.is_empty() {
        Vec::new()
    } else {
        fs::read(pages).unwrap()
    };
    let interrupted = noise(*last, PAGE);
    for (page, number) in synced {
        let version = noise(number, PAGE);
        let found = &found[page * PAGE..(page + 1) * PAGE];
        let may_be = |at: usize| {
            found[at] == version[at] || (page == place(*last) && found[at] == interrupted[at])
        };
        assert!(
            (0..PAGE).all(may_be),
            "page {page}, synced as version {number}"
        );
    }
}

fn verify_replaced(folder: &Path, journal: &Journal) {
    let synced: BTreeMap<u64, u64> = journal
        .done
        .iter()
        .map(|number| (number % NAMES, *number))
        .collect();
    for (name, number) in synced {
        let found = fs::read(folder.join(name.to_string())).unwrap();
        let version = |number: u64| found == noise(number, 5000 + number as usize);
        let newest = journal
            .tried
            .last()
            .is_some_and(|last| last % NAMES == name && version(*last));
        assert!(
            version(number) || newest,
            "file {name}, synced as version {number}"
        );
    }
}

/// A file that was closed is there whole: the kernel sent all of it then. That the close succeeded shows in that
/// the next file was made after it. One that was being written is what of it had been sent; one that had got
/// nothing yet may have no header (docs/FORMAT.md).
fn verify_unsynced(folder: &Path, journal: &Journal) {
    for number in &journal.tried {
        let path = folder.join(number.to_string());
        let closed = journal.done.contains(&(number + 1));
        match fs::read(&path) {
            Ok(found) if closed => assert!(found == noise(*number, 20_000), "closed file {number}"),
            Ok(found) => assert!(noise(*number, 20_000).starts_with(&found), "file {number}"),
            Err(error) => {
                let never_written = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0);
                let missing = error.kind() == io::ErrorKind::NotFound;
                assert!(
                    !closed && (missing || never_written),
                    "file {number}: {error}"
                );
            }
        }
    }
}

struct Shift {
    tasks: Vec<Task>,
}

impl Shift {
    fn begin(volume: &Volume, number: u32) -> (Self, Vec<workers::Worker>) {
        let folder = |load: Load| volume.mountpoint().join(format!("{number}-{load:?}"));
        let tasks = LOADS.map(|load| Task {
            load,
            folder: folder(load),
            journal: volume.home().join(format!("{number}-{load:?}.journal")),
        });
        let start = |task: &Task| {
            fs::create_dir(&task.folder).unwrap();
            workers::start("kill::writer", &serde_json::to_string(task).unwrap())
        };
        let writers = tasks.iter().map(start).collect();
        (
            Self {
                tasks: tasks.into(),
            },
            writers,
        )
    }

    /// Says how much was synced.
    fn verify(&self) -> usize {
        let one = |task: &Task| {
            let journal = Journal::read(&task.journal);
            verify(task.load, &task.folder, &journal);
            journal.done.len()
        };
        self.tasks.iter().map(one).sum()
    }
}

#[test]
fn nothing_that_was_synced_is_lost_however_often_the_daemon_is_killed() {
    let kills = std::env::var("ENVELOPEFS_KILLS").map_or(10, |kills| {
        kills.parse().expect("ENVELOPEFS_KILLS is a number")
    });
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let mut shifts = Vec::new();
    let mut synced = 0;
    for number in 0..kills {
        let (shift, writers) = Shift::begin(&volume, number);
        // Another moment each time: 100 to 500 ms.
        thread::sleep(Duration::from_millis(100 + u64::from(number) * 77 % 401));
        kill(&mount, Signal::KILL);
        writers.into_iter().for_each(workers::Worker::finish);
        run(&mut volume.mount_command(&[]));
        assert_eq!(mounts_at(mount.root()), 1, "the dead mount is still there");
        synced += shift.verify();
        shifts.push(shift);
    }
    let all: usize = shifts.iter().map(Shift::verify).sum();
    assert_eq!(all, synced);
    assert!(
        synced > 20 * kills as usize,
        "{synced} changes in {kills} kills are no load"
    );
    eprintln!("{kills} kills, {synced} synced changes, all there");
    mount.unmount();
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}
