//! A mount of another host lives on while the next one looks over what a host that lost power left.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, SystemTime};

use envelopefs::content::SyncKind;
use envelopefs::maint::Severity;
use envelopefs::storage::Node;
use envelopefs::volume::Sharing;

use crate::image::Image;
use crate::inprocess::steps::Step::{self, *};
use crate::inprocess::volume::{self, Mounted, check, path_in};

/// Chunk 0 holds 3024 bytes and each further one 4048.
const SYNCED: usize = 3_024 + 4_048;
/// The block that never reached the disk: what is before it is kept.
const LOST: u64 = 5;
const KEPT: usize = SYNCED + 3 * 4_048;

/// Lays out a volume in which a host lost power: of two files, one block that was written and not synced is missing.
pub(crate) fn left_by_a_power_cut() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = volume::make();
    let path = path_in(&home);
    let root = Node::open_root(&path).unwrap();
    let mut at = Mounted::serve(root, &path, Sharing::Shared).unwrap();
    let steps: [Step; 8] = [
        Create("open"),
        Write("open", 0, SYNCED, 1),
        Sync("open"),
        Write("open", SYNCED as u64, 30_000, 2),
        Create("closed"),
        Write("closed", 0, SYNCED, 3),
        Sync("closed"),
        Write("closed", SYNCED as u64, 30_000, 4),
    ];
    for step in steps {
        step.run(&mut at).unwrap();
    }
    let mut image = Image::read(&path).0;
    at.unmount();
    let large = image.contents.values_mut().filter(|file| file.len > 30_000);
    let lost: Vec<_> = large.map(|file| file.pages.remove(&LOST)).collect();
    assert!(lost.len() == 2 && lost.iter().all(Option::is_some));
    let left = home.path().join("left");
    image.put(&left);
    (home, left)
}

/// What is there of `path`: as long as `stat` tells, and what is read.
fn seen(at: &Mounted, path: &str) -> (u64, Vec<u8>) {
    let ino = at.find(path).unwrap();
    let size = at.fs.getattr(ino, None).unwrap().size;
    (size, at.content(ino).unwrap())
}

pub(crate) fn looks_over_beside_one_that_lives() {
    let (_home, path) = left_by_a_power_cut();
    let serve = || Mounted::serve(Node::open_root(&path).unwrap(), &path, Sharing::Shared);
    let own = path.join(".envelopefs");
    let marks = |gone: bool| {
        let names = std::fs::read_dir(&own)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let is_mark = |path: &std::path::PathBuf| path.to_string_lossy().contains("in-use");
        let marks: BTreeSet<_> = names.filter(is_mark).collect();
        if gone {
            marks
                .iter()
                .for_each(|mark| std::fs::remove_file(mark).unwrap());
        }
        marks
    };
    // The one that lives was there before: for it there is nothing to look over.
    assert_eq!(marks(true).len(), 1);
    let alive = serve().unwrap();
    let handle = alive.open("open", true).unwrap();
    let read = alive.read_all(handle).unwrap();
    assert_eq!(
        read.len(),
        KEPT,
        "the one that lives finds the end by itself"
    );
    let dead = File::create_new(own.join("in-use.dead")).unwrap();
    dead.set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    drop(dead);

    let next = serve().unwrap();
    for path in ["open", "closed"] {
        let (size, content) = seen(&next, path);
        assert_eq!((size, content.len()), (KEPT as u64, KEPT), "{path}");
    }
    assert_eq!(seen(&next, "open").1, read);
    let at = alive
        .fs
        .append(handle, b"of the one that lives", false)
        .unwrap();
    assert_eq!(at, KEPT as u64);
    alive.fs.fsync(handle, SyncKind::Data).unwrap();
    assert!(seen(&next, "open").1.ends_with(b"of the one that lives"));
    alive.fs.release(handle).unwrap();
    next.unmount();
    assert_eq!(marks(false).len(), 1, "that of the one that lives is left");
    alive.unmount();
    assert_eq!(marks(false).len(), 0);
    let report = check(&path, false);
    let worse = report
        .findings
        .iter()
        .find(|finding| finding.severity != Severity::Note);
    assert!(worse.is_none(), "{worse:?}");
}
