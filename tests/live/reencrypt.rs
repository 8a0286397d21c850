//! New data keys for files that are in use: `envelopefs reencrypt`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::check::ciphertexts;
use crate::crash::kill;
use crate::harness::{Volume, noise, refuses, run};
use crate::slots::{kill_child, moments, spawn};

const USAGE: i32 = 2;
const IN_USE: i32 = 15;

fn on(volume: &Volume, rest: &[&str]) -> Command {
    let mut command = volume.envelopefs("reencrypt");
    command.arg(volume.cipher_dir()).args(rest);
    command
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&run(command.arg("--json"))).expect("--json prints JSON")
}

fn contents() -> BTreeMap<PathBuf, Vec<u8>> {
    let of = |number: u64| {
        let len = [10, 3000, 40_000, 900_000][number as usize % 4];
        (
            PathBuf::from(format!("d{}/f{number}", number % 3)),
            noise(number + 1, len),
        )
    };
    (0..24).map(of).collect()
}

fn filled(options: &[&str]) -> (Volume, BTreeMap<PathBuf, Vec<u8>>) {
    let volume = Volume::create(options);
    let files = contents();
    let mount = volume.mount();
    for (name, content) in &files {
        fs::create_dir_all(mount.path("").join(name).parent().unwrap()).unwrap();
        fs::write(mount.root().join(name), content).unwrap();
    }
    mount.unmount();
    (volume, files)
}

#[track_caller]
fn verify(root: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (name, content) in files {
        assert!(
            fs::read(root.join(name)).unwrap() == *content,
            "{}",
            name.display()
        );
    }
}

/// The ciphertext files, each with the numbers of its data keys as `inspect` shows them.
fn epochs(volume: &Volume) -> BTreeMap<PathBuf, Vec<u64>> {
    let numbers = |path: &PathBuf| {
        let shown = json(volume.envelopefs("inspect").arg(path));
        let epochs = shown["key_epochs"].as_array().unwrap().iter();
        epochs
            .map(|epoch| epoch["epoch"].as_u64().unwrap())
            .collect()
    };
    let files = ciphertexts(volume).into_iter();
    files.map(|path| (path.clone(), numbers(&path))).collect()
}

/// No block of a file is sealed under another key than its newest: the number stands at byte 44 of each chunk.
fn assert_sealed_anew(path: &Path, newest: u64) {
    let bytes = fs::read(path).unwrap();
    for (nth, block) in bytes.chunks_exact(4096).enumerate() {
        let chunk = &block[if nth == 0 { 1024 } else { 0 }..];
        if chunk.iter().any(|byte| *byte != 0) {
            let epoch = u32::from_le_bytes(chunk[44..48].try_into().unwrap());
            assert_eq!(
                u64::from(epoch),
                newest,
                "block {nth} of {}",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_is_sealed_anew_mounted_or_not() {
    let (volume, files) = filled(&[]);
    let done = json(&mut on(&volume, &[]));
    assert_eq!(
        (&done["changed"], &done["complete"]),
        (&24.into(), &true.into())
    );
    let mount = volume.mount();
    verify(mount.root(), &files);
    let open = fs::File::open(mount.path("d0/f3")).unwrap();
    let said = run(volume.envelopefs("reencrypt").arg(mount.root()));
    assert!(said.contains("24 got a new data key"), "{said}");
    drop(open);
    verify(mount.root(), &files);
    mount.unmount();
    for (path, numbers) in epochs(&volume) {
        assert_eq!(numbers, [3], "{}", path.display());
        assert_sealed_anew(&path, 3);
    }
    let mount = volume.mount();
    verify(mount.root(), &files);
    mount.unmount();
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}

#[test]
fn named_files_and_folders_alone() {
    let (volume, files) = filled(&[]);
    let mount = volume.mount();
    let dry = json(
        volume
            .envelopefs("reencrypt")
            .arg(mount.root())
            .args(["d1", "--dry-run"]),
    );
    assert_eq!(dry["changed"], 8);
    let done = json(
        volume
            .envelopefs("reencrypt")
            .arg(mount.root())
            .args(["d1", "/d0/f3"]),
    );
    assert_eq!(done["changed"], 9);
    let inside = mount.path("d0/f6");
    run(volume.envelopefs("reencrypt").arg(mount.root()).arg(inside));
    refuses(
        volume.envelopefs("reencrypt").arg(mount.root()).arg("none"),
        USAGE,
        &["/none"],
    );
    verify(mount.root(), &files);
    mount.unmount();
    let renewed = epochs(&volume)
        .into_values()
        .filter(|numbers| numbers == &[2])
        .count();
    assert_eq!(renewed, 10);
}

#[test]
fn a_database_works_while_its_file_gets_new_keys() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let path = mount.path("pages");
    fs::write(&path, vec![0; 2_000_000]).unwrap();
    let writer = thread::spawn(move || {
        use std::os::unix::fs::FileExt as _;
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        for round in 0..400_u64 {
            let at = round * 7 % 480 * 4096;
            file.write_all_at(&noise(round, 4096), at).unwrap();
            if round % 50 == 0 {
                file.sync_all().unwrap();
            }
            let mut found = vec![0; 4096];
            file.read_exact_at(&mut found, at).unwrap();
            assert!(found == noise(round, 4096), "round {round}");
        }
    });
    while !writer.is_finished() {
        run(volume.envelopefs("reencrypt").arg(mount.root()));
    }
    writer.join().unwrap();
    let before = fs::read(mount.path("pages")).unwrap();
    let mount = mount.again();
    assert!(fs::read(mount.path("pages")).unwrap() == before);
}

#[test]
fn a_sparse_file_stays_sparse() {
    use std::os::unix::fs::MetadataExt as _;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let file = fs::File::create(mount.path("sparse")).unwrap();
    file.set_len(1 << 34).unwrap();
    drop(file);
    let blocks = || fs::metadata(mount.path("sparse")).unwrap().blocks();
    let before = blocks();
    run(volume.envelopefs("reencrypt").arg(mount.root()));
    assert_eq!(blocks(), before);
}

#[test]
fn a_kill_at_any_point_loses_nothing_and_the_run_is_gone_on_with() {
    let (volume, files) = filled(&[]);
    for (number, moment) in moments(8).enumerate() {
        let mounted = (number % 2 == 0).then(|| volume.mount());
        let options: &[&str] = if number > 1 { &["--resume"] } else { &[] };
        let mut child = spawn(on(&volume, options).args(["--rate", "30"]));
        thread::sleep(moment);
        match &mounted {
            Some(mount) => kill(mount, Signal::KILL),
            None => child.kill().unwrap(),
        }
        child.wait().unwrap();
        drop(mounted);
        let mount = volume.mount();
        verify(mount.root(), &files);
        mount.unmount();
    }
    let between = run(volume.envelopefs("census").arg(volume.cipher_dir()));
    assert!(between.contains("24 files"), "{between}");
    // Whatever was left: to its end, and then nothing is left to go on with.
    run(&mut on(&volume, &[]));
    refuses(
        &mut on(&volume, &["--resume"]),
        USAGE,
        &["no run to go on with"],
    );
    for (path, numbers) in epochs(&volume) {
        let [newest] = numbers[..] else {
            panic!("{} has {numbers:?}", path.display())
        };
        assert!(newest > 1);
        assert_sealed_anew(&path, newest);
    }
    let mount = volume.mount();
    verify(mount.root(), &files);
    mount.unmount();
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}

#[test]
fn a_run_that_goes_on_leaves_what_was_done() {
    let (volume, files) = filled(&[]);
    let child = spawn(&mut on(&volume, &["--rate", "10"]));
    // Two calls a file: some are done by now, and not all.
    let list = volume.cipher_dir().join(".envelopefs/reencrypt");
    crate::harness::wait_until("two files to be done", || {
        fs::metadata(&list).is_ok_and(|list| list.len() >= 56 + 2 * 48)
    });
    kill_child(child);
    let done = json(&mut on(&volume, &["--resume"]));
    assert_eq!(done["complete"], true, "{done:#}");
    let right = done["right"].as_u64().unwrap();
    assert!((2..24).contains(&right), "{done:#}");
    assert_eq!(done["changed"].as_u64().unwrap() + right, 24);
    assert!(!list.exists());
    let mount = volume.mount();
    verify(mount.root(), &files);
}

#[test]
fn shared_mounts_and_large_blocks_are_refused_with_the_reason() {
    let (volume, _) = filled(&["--block-size", "64K"]);
    refuses(
        &mut on(&volume, &[]),
        USAGE,
        &["65536 bytes", "--allow-tearing"],
    );
    let mount = volume.mount_with(&["--shared"]);
    refuses(&mut on(&volume, &[]), USAGE, &["--shared"]);
    mount.unmount();
    run(&mut on(&volume, &["--allow-tearing"]));
    // Nobody answers for it: somebody else has it.
    let lock = volume.cipher_dir().join(".envelopefs/lock");
    let holder = fs::File::open(&lock).unwrap();
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&holder, exclusive).unwrap();
    refuses(&mut on(&volume, &["--allow-tearing"]), IN_USE, &["in use"]);
}

#[test]
fn a_damaged_file_is_named_and_the_others_are_done() {
    let (volume, _) = filled(&[]);
    let victim = epochs(&volume)
        .into_keys()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&victim).unwrap();
    bytes[5 * 4096 + 2000] ^= 1;
    fs::write(&victim, bytes).unwrap();
    let output = on(&volume, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(24));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("failed  /d") && said.contains("chunk 5"),
        "{said}"
    );
    assert!(said.contains("23 got a new data key"), "{said}");
    let census = run(volume.envelopefs("census").arg(volume.cipher_dir()));
    assert!(census.contains("1 between two data keys"), "{census}");
}
