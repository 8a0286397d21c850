//! Random sequences of operations on names, against a tree of maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What the mount should hold.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    File(Vec<u8>),
    Folder(BTreeMap<Vec<u8>, Self>),
}

#[derive(Debug, Clone)]
enum Op {
    File(Path3, Vec<u8>),
    Folder(Path3),
    Unlink(Path3),
    Rmdir(Path3),
    Rename(Path3, Path3),
    NoReplace(Path3, Path3),
    Exchange(Path3, Path3),
    Remount,
}

/// One to three components out of few names, so that paths meet.
type Path3 = Vec<u8>;

fn component_of(nth: u8) -> Vec<u8> {
    match nth {
        0 => b"a".to_vec(),
        1 => b"b".to_vec(),
        _ => long_name(220, b'l'),
    }
}

fn path() -> impl Strategy<Value = Path3> {
    prop::collection::vec(0_u8..3, 1..=3)
}

fn op() -> impl Strategy<Value = Op> {
    let content = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => (path(), content).prop_map(|(path, content)| Op::File(path, content)),
        4 => path().prop_map(Op::Folder),
        2 => path().prop_map(Op::Unlink),
        2 => path().prop_map(Op::Rmdir),
        4 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Op::NoReplace(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Op::Exchange(from, to)),
        1 => Just(Op::Remount),
    ]
}

type Map = BTreeMap<Vec<u8>, Tree>;

/// The folder that `path` without its last component leads to.
fn parent<'a>(root: &'a mut Map, path: &[u8]) -> Option<&'a mut Map> {
    let (_last, above) = path.split_last()?;
    let mut map = root;
    for nth in above {
        match map.get_mut(&component_of(*nth))? {
            Tree::Folder(below) => map = below,
            Tree::File(_) => return None,
        }
    }
    Some(map)
}

fn last(path: &[u8]) -> Vec<u8> {
    component_of(*path.last().expect("a path has components"))
}

fn entry(root: &mut Map, path: &[u8]) -> Option<Tree> {
    parent(root, path)?.get(&last(path)).cloned()
}

/// Whether the operation may be done; does it.
fn apply(root: &mut Map, op: &Op) -> bool {
    match op {
        Op::File(path, content) => insert_new(root, path, Tree::File(content.clone())),
        Op::Folder(path) => insert_new(root, path, Tree::Folder(Map::new())),
        Op::Unlink(path) => remove_if(root, path, |tree| matches!(tree, Tree::File(_))),
        Op::Rmdir(path) => remove_if(
            root,
            path,
            |tree| matches!(tree, Tree::Folder(below) if below.is_empty()),
        ),
        Op::Rename(from, to) => rename(root, from, to, true),
        Op::NoReplace(from, to) => rename(root, from, to, false),
        Op::Exchange(from, to) => exchange(root, from, to),
        Op::Remount => true,
    }
}

fn insert_new(root: &mut Map, path: &[u8], tree: Tree) -> bool {
    let Some(map) = parent(root, path) else {
        return false;
    };
    let vacant = !map.contains_key(&last(path));
    if vacant {
        map.insert(last(path), tree);
    }
    vacant
}

fn remove_if(root: &mut Map, path: &[u8], may: impl Fn(&Tree) -> bool) -> bool {
    let fits = entry(root, path).is_some_and(|tree| may(&tree));
    if fits {
        parent(root, path).unwrap().remove(&last(path));
    }
    fits
}

fn rename(root: &mut Map, from: &[u8], to: &[u8], replace: bool) -> bool {
    let Some(source) = entry(root, from) else {
        return false;
    };
    if parent(root, to).is_none() {
        return false;
    }
    let target = entry(root, to);
    if from == to {
        return replace;
    }
    if to.starts_with(from) || from.starts_with(to) {
        return false;
    }
    let fits = match (&source, &target) {
        (_, None) => true,
        (Tree::File(_), Some(Tree::File(_))) => replace,
        (Tree::Folder(_), Some(Tree::Folder(below))) => replace && below.is_empty(),
        _ => false,
    };
    if fits {
        parent(root, from).unwrap().remove(&last(from));
        parent(root, to).unwrap().insert(last(to), source);
    }
    fits
}

fn exchange(root: &mut Map, from: &[u8], to: &[u8]) -> bool {
    let (Some(one), Some(other)) = (entry(root, from), entry(root, to)) else {
        return false;
    };
    if from == to {
        return true;
    }
    if to.starts_with(from) || from.starts_with(to) {
        return false;
    }
    parent(root, from).unwrap().insert(last(from), other);
    parent(root, to).unwrap().insert(last(to), one);
    true
}

/// The inode of the folder above the last component; looked up on the way, never forgotten.
fn walk(bench: &Bench, path: &[u8]) -> Result<Ino, FsError> {
    let (_last, above) = path.split_last().unwrap();
    let mut ino = ROOT;
    for nth in above {
        let attr = bench.find(ino, &component_of(*nth))?;
        if attr.kind != FileKind::Directory {
            return Err(FsError::Refused(libc::ENOTDIR));
        }
        ino = attr.ino;
    }
    Ok(ino)
}

fn run(bench: &Bench, op: &Op) -> Result<(), FsError> {
    let mv = |from: &[u8], to: &[u8], flags| {
        let ends = (walk(bench, from)?, walk(bench, to)?);
        bench.mv_with((ends.0, &last(from)), (ends.1, &last(to)), flags)
    };
    match op {
        Op::File(path, content) => {
            let (_ino, fh) = bench.make(walk(bench, path)?, &last(path))?;
            bench.write(fh, 0, content, false)?;
            bench.release(fh)
        }
        Op::Folder(path) => bench
            .mkdir(SELF, walk(bench, path)?, &last(path), 0o755)
            .map(drop),
        Op::Unlink(path) => bench.unlink(walk(bench, path)?, &last(path)),
        Op::Rmdir(path) => bench.rmdir(walk(bench, path)?, &last(path)),
        Op::Rename(from, to) => mv(from, to, RenameFlags::empty()),
        Op::NoReplace(from, to) => mv(from, to, RenameFlags::NOREPLACE),
        Op::Exchange(from, to) => mv(from, to, RenameFlags::EXCHANGE),
        Op::Remount => Ok(()),
    }
}

fn read_tree(bench: &Bench, ino: Ino) -> Map {
    let names = bench.names_in(ino).unwrap();
    let read = |name: Vec<u8>| {
        let attr = bench.find(ino, &name).unwrap();
        let tree = match attr.kind {
            FileKind::Directory => Tree::Folder(read_tree(bench, attr.ino)),
            _ => Tree::File(bench.content(attr.ino).unwrap()),
        };
        (name, tree)
    };
    names.into_iter().map(read).collect()
}

/// How many entries the ciphertext folder should hold: one sidecar for each long name.
fn disk_count(map: &Map) -> usize {
    let one = |(name, tree): (&Vec<u8>, &Tree)| {
        let below = match tree {
            Tree::Folder(below) => disk_count(below),
            Tree::File(_) => 0,
        };
        below + if name.len() > 175 { 2 } else { 1 }
    };
    map.iter().map(one).sum()
}

fn entries_below(path: &Path) -> usize {
    let count = |name: &String| {
        let below = path.join(name);
        let folder = below.symlink_metadata().unwrap().is_dir();
        1 + if folder { entries_below(&below) } else { 0 }
    };
    entries_of(path).iter().map(count).sum()
}

fn check(names: NameMode, ops: &[Op]) {
    let mut bench = Bench::new(names);
    let mut model = Map::new();
    for op in ops {
        if matches!(op, Op::Remount) {
            bench = bench.reopened();
        }
        let expected = apply(&mut model, op);
        let done = run(&bench, op);
        assert_eq!(done.is_ok(), expected, "{op:?}: {done:?}");
    }
    assert_eq!(read_tree(&bench, ROOT), model);
    if names == NameMode::Encrypted {
        assert_eq!(entries_below(&bench.path()), disk_count(&model));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_sealed_names_is_that_of_a_tree_of_maps(ops in prop::collection::vec(op(), 1..60)) {
        check(NameMode::Encrypted, &ops);
    }

    #[test]
    fn any_history_of_plain_names_is_that_of_a_tree_of_maps(ops in prop::collection::vec(op(), 1..60)) {
        check(NameMode::Plain, &ops);
    }
}
