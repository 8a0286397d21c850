//! Random damage, and then a repair: whatever could be read before can be read after.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::bench::{B, Bench, edit, pattern, set_len, tree};
use super::*;
use crate::content::SyncKind;
use crate::format::volume_config::NameMode;
use crate::units::PlainOffset;

/// What happens to the ciphertext. Numbers pick an entry, a place, another place; all are taken modulo what there is.
#[derive(Debug, Clone)]
enum Blow {
    Flip(usize, usize),
    Cut(usize, usize),
    Grow(usize, u64),
    Zero(usize, usize),
    Swap(usize, usize, usize),
    Double(usize, usize),
    Garbage(usize, usize),
    Exchange(usize, usize),
    DropSymlink(usize),
    Retarget(usize),
    Hide(usize),
    Move(usize),
    Stranger(usize, usize),
    Mark,
}

fn blow() -> impl Strategy<Value = Blow> {
    let n = 0..1_000_000_usize;
    prop_oneof![
        4 => (n.clone(), n.clone()).prop_map(|(file, at)| Blow::Flip(file, at)),
        3 => (n.clone(), n.clone()).prop_map(|(file, len)| Blow::Cut(file, len)),
        2 => (n.clone(), 0..40_000_u64).prop_map(|(file, by)| Blow::Grow(file, by)),
        3 => (n.clone(), n.clone()).prop_map(|(file, block)| Blow::Zero(file, block)),
        2 => (n.clone(), n.clone(), n.clone()).prop_map(|(file, a, b)| Blow::Swap(file, a, b)),
        1 => (n.clone(), n.clone()).prop_map(|(file, block)| Blow::Double(file, block)),
        2 => (n.clone(), 0..20_000_usize).prop_map(|(file, len)| Blow::Garbage(file, len)),
        1 => (n.clone(), n.clone()).prop_map(|(one, other)| Blow::Exchange(one, other)),
        2 => n.clone().prop_map(Blow::DropSymlink),
        1 => n.clone().prop_map(Blow::Retarget),
        1 => n.clone().prop_map(Blow::Hide),
        1 => n.clone().prop_map(Blow::Move),
        1 => (n, 0..5000_usize).prop_map(|(name, len)| Blow::Stranger(name, len)),
        1 => Just(Blow::Mark),
    ]
}

fn pick(bench: &Bench, nth: usize, kind: impl Fn(&fs::FileType) -> bool) -> Option<PathBuf> {
    let mut paths = tree(&bench.path());
    paths.retain(|path| kind(&path.symlink_metadata().unwrap().file_type()));
    let nth = nth.checked_rem(paths.len())?;
    Some(paths.swap_remove(nth))
}

fn strike(bench: &Bench, blow: &Blow) {
    match *blow {
        Blow::Grow(nth, by) => {
            if let Some(path) = file(bench, nth) {
                set_len(&path, path.metadata().unwrap().len() + by);
            }
        }
        Blow::Exchange(one, other) => {
            if let (Some(one), Some(other)) = (file(bench, one), file(bench, other)) {
                let (first, second) = (fs::read(&one).unwrap(), fs::read(&other).unwrap());
                fs::write(one, second).unwrap();
                fs::write(other, first).unwrap();
            }
        }
        Blow::Move(nth) => {
            if let Some(path) = file(bench, nth) {
                let name: &Path = path.file_name().unwrap().as_ref();
                let _taken = fs::rename(&path, bench.path().join(name));
            }
        }
        Blow::DropSymlink(nth) => drop(drop_symlink(bench, nth)),
        Blow::Retarget(nth) => {
            if let Some(path) = drop_symlink(bench, nth) {
                std::os::unix::fs::symlink("00112233445566778899aabbccddeeff", path).unwrap();
            }
        }
        Blow::Hide(nth) => {
            if let Some(path) = pick(bench, nth, fs::FileType::is_dir) {
                let hidden = path.with_file_name(format!(".envelopefs.tmp.{nth:016x}"));
                let _taken = fs::rename(path, hidden);
            }
        }
        Blow::Stranger(nth, len) => put_stranger(bench, nth, len),
        Blow::Mark => fs::write(bench.path().join(".envelopefs/in-use"), "").unwrap(),
        Blow::Flip(nth, ..)
        | Blow::Cut(nth, ..)
        | Blow::Zero(nth, ..)
        | Blow::Swap(nth, ..)
        | Blow::Double(nth, ..)
        | Blow::Garbage(nth, ..) => {
            if let Some(path) = file(bench, nth) {
                edit(&path, |bytes| strike_bytes(bytes, blow));
            }
        }
    }
}

fn file(bench: &Bench, nth: usize) -> Option<PathBuf> {
    pick(bench, nth, fs::FileType::is_file)
}

fn drop_symlink(bench: &Bench, nth: usize) -> Option<PathBuf> {
    let path = pick(bench, nth, fs::FileType::is_symlink)?;
    fs::remove_file(&path).unwrap();
    Some(path)
}

fn put_stranger(bench: &Bench, nth: usize, len: usize) {
    let names = [
        "README",
        ".envelopefs.tmp.x",
        "L.x",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    let path = bench.path().join(names[nth % names.len()]);
    if path.symlink_metadata().is_err() {
        fs::write(path, pattern(len, 3)).unwrap();
    }
}

/// The blows that change bytes of one file.
fn strike_bytes(bytes: &mut Vec<u8>, blow: &Blow) {
    let (len, count) = (bytes.len(), bytes.len() / B as usize);
    let block = |nth: usize| {
        let start = (nth % count.max(1)) * B as usize;
        start..start + B as usize
    };
    match *blow {
        Blow::Flip(_, at) if len > 0 => bytes[at % len] ^= 1 << (at % 8),
        Blow::Cut(_, to) => bytes.truncate(to % (len + 1)),
        Blow::Zero(_, nth) if count > 0 => bytes[block(nth)].fill(0),
        Blow::Swap(_, a, b) if count > 0 => {
            let (first, second) = (bytes[block(a)].to_vec(), bytes[block(b)].to_vec());
            bytes[block(a)].copy_from_slice(&second);
            bytes[block(b)].copy_from_slice(&first);
        }
        Blow::Double(_, nth) if count > 0 => bytes.extend_from_within(block(nth)),
        Blow::Garbage(_, more) => bytes.extend(pattern(more, 77)),
        _ => {}
    }
}

/// A few files of each shape, in folders with short and with long names.
fn volume(names: NameMode) -> Bench {
    let bench = Bench::new(names);
    let root = bench.root();
    bench.put(&root, b"small", &pattern(100, 1));
    bench.put(&root, b"large", &pattern(30_000, 2));
    let sparse = bench.make(&bench.place(&root, b"sparse"));
    sparse
        .write(PlainOffset(40_000), &pattern(9000, 3))
        .unwrap();
    sparse.sync(SyncKind::All).unwrap();
    let growing = bench.put(&root, b"growing", &pattern(5000, 4));
    let open = bench.reopen(&growing);
    open.write(PlainOffset(5000), &pattern(30_000, 5)).unwrap();
    drop(open);
    if names == NameMode::Encrypted {
        bench.put(&root, &[b'n'; 200], &pattern(9000, 6));
        let dir = bench.mkdir(&root, b"dir");
        bench.put(&dir, b"inside", &pattern(20_000, 7));
        let deep = bench.mkdir(&dir, &[b'd'; 220]);
        bench.put(&deep, b"deep", &pattern(12_000, 8));
        bench.symlink(&deep, b"link", b"target");
    }
    bench
}

/// Whether all that `before` has stands in `after`, the same.
fn holds(
    after: &std::collections::BTreeMap<(String, u64), Vec<u8>>,
    before: &std::collections::BTreeMap<(String, u64), Vec<u8>>,
) -> Result<(), String> {
    for (place, chunk) in before {
        match after.get(place) {
            Some(now) if now == chunk => {}
            now => {
                return Err(format!(
                    "{place:?}: {} bytes, now {:?}",
                    chunk.len(),
                    now.map(Vec::len)
                ));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_opened_before_a_repair_opens_after_it(
        blows in prop::collection::vec(blow(), 1..8),
        plain in prop::bool::weighted(0.25),
        quick in prop::bool::weighted(0.25),
    ) {
        let bench = volume(if plain { NameMode::Plain } else { NameMode::Encrypted });
        for blow in &blows {
            strike(&bench, blow);
        }
        let (shown, anywhere) = (bench.readable(), bench.anywhere());
        let extent = if quick { Extent::First } else { Extent::All };
        let found = bench.run(extent, false);
        prop_assert_eq!(&bench.readable(), &shown, "a check changed something");
        let repaired = bench.run(extent, true);
        holds(&bench.readable(), &shown).map_err(TestCaseError::fail)?;
        holds(&bench.anywhere(), &anywhere).map_err(TestCaseError::fail)?;
        for severity in [Severity::Mended, Severity::Mendable] {
            let again = bench.run(extent, true);
            prop_assert_eq!(again.count(severity), 0, "{:#?}\nfirst {:#?}", again, repaired);
        }
        let still = bench.run(extent, false);
        prop_assert_eq!(still.count(Severity::Mendable), 0, "{:#?}", still);
        prop_assert!(still.count(Severity::Damage) <= found.count(Severity::Damage));
    }
}
