//! Keys of a volume that come, go and are rotated, on a volume that is in use: `slots`, `rewrap` and `census`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::crash::kill;
use crate::harness::{Mount, Volume, noise, refuses, run, wait_until};

const USAGE: i32 = 2;
const KEY_DENIED: i32 = 12;
const BUSY: i32 = 19;
const INCOMPLETE: i32 = 24;

fn command(volume: &Volume, words: &[&str]) -> Command {
    let mut command = volume.envelopefs(words[0]);
    command.args(&words[1..]);
    command
}

/// The command for the ciphertext folder, with what stands behind it.
fn on(volume: &Volume, words: &[&str], rest: &[&str]) -> Command {
    let mut command = command(volume, words);
    command.arg(volume.cipher_dir()).args(rest);
    command
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&run(command.arg("--json"))).expect("--json prints JSON")
}

/// How many files name each key, by the key's file name and version.
fn census(volume: &Volume) -> BTreeMap<(String, String), u64> {
    let counted = json(&mut on(volume, &["census"], &[]));
    assert_eq!(counted["unread"], Value::Array(Vec::new()), "{counted:#}");
    let keys = counted["keys"].as_array().expect("keys").iter();
    keys.map(|count| {
        let text = |field: &str| count[field].as_str().expect("text").to_owned();
        let name = text("key").rsplit('/').next().unwrap().to_owned();
        ((name, text("version")), count["files"].as_u64().unwrap())
    })
    .collect()
}

fn by(name: &str, version: &str, files: u64) -> ((String, String), u64) {
    ((name.to_owned(), version.to_owned()), files)
}

/// The files of a test: in folders, of every kind of length.
fn contents(count: u64) -> BTreeMap<PathBuf, Vec<u8>> {
    let of = |number: u64| {
        let name = PathBuf::from(format!("d{}/f{number}", number % 7));
        (name, noise(number + 1, (number * 997 % 20_000) as usize))
    };
    (0..count).map(of).collect()
}

fn fill(root: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (name, content) in files {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), content).unwrap();
    }
}

#[track_caller]
fn verify(root: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (name, content) in files {
        let found = fs::read(root.join(name)).unwrap();
        assert!(found == *content, "{} has changed", name.display());
    }
}

/// A volume with these files, not mounted.
fn filled(count: u64) -> (Volume, BTreeMap<PathBuf, Vec<u8>>) {
    let volume = Volume::create(&[]);
    let files = contents(count);
    let mount = volume.mount();
    fill(mount.root(), &files);
    mount.unmount();
    (volume, files)
}

fn second_key(volume: &Volume) -> (PathBuf, String) {
    let path = volume.home().join("second.json");
    let uri = format!("file://{}", path.display());
    (path, uri)
}

/// Every ciphertext file's bytes.
fn ciphertext(folder: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            ciphertext(&path, into);
        } else if kind.is_file() {
            into.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn all_ciphertext(volume: &Volume) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    ciphertext(&volume.cipher_dir(), &mut found);
    found
}

/// Writers that go on until they are told to stop: content, new files, moves between folders.
struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<u64>>,
}

impl Crowd {
    fn start(root: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let start = |number: u64| {
            let folder = root.join(format!("crowd{number}"));
            fs::create_dir_all(folder.join("other")).unwrap();
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            thread::spawn(move || {
                let rewritten = fs::File::create(folder.join("rewritten")).unwrap();
                let mut round = 0;
                loop {
                    rewritten
                        .write_all_at(&noise(round, 3000), round % 5 * 4000)
                        .unwrap();
                    let (new, moved) = (
                        folder.join("new"),
                        folder.join(format!("other/{}", round % 9)),
                    );
                    fs::write(&new, noise(round, 700)).unwrap();
                    fs::rename(&new, &moved).unwrap();
                    assert_eq!(fs::read(&moved).unwrap(), noise(round, 700));
                    round += 1;
                    rounds.fetch_add(1, Ordering::AcqRel);
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                }
                round
            })
        };
        let threads = (0..3).map(start).collect();
        // What follows is to meet them at work.
        let at_work = || rounds.load(Ordering::Acquire) >= 6;
        wait_until("the writers to write", at_work);
        Self { stop, threads }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            assert!(thread.join().unwrap() > 0, "a writer that wrote nothing");
        }
    }
}

#[test]
fn a_rotated_key_is_followed_by_every_file_while_the_volume_is_in_use() {
    let (volume, files) = filled(60);
    let before = census(&volume);
    assert_eq!(before, BTreeMap::from([by("key.json", "1", 60)]));
    let mount = volume.mount();
    let crowd = Crowd::start(mount.root());
    let dry = json(&mut on(&volume, &["rewrap"], &["--dry-run"]));
    assert_eq!(dry["changed"], 0, "{dry:#}");
    let done = json(&mut on(&volume, &["rewrap"], &["--rotate"]));
    assert_eq!(done["complete"], true, "{done:#}");
    assert!(done["changed"].as_u64().unwrap() >= 60);
    crowd.finish();
    verify(mount.root(), &files);
    let mount = mount.again();
    verify(mount.root(), &files);
    mount.unmount();
    let after = census(&volume);
    let versions: Vec<_> = after.keys().map(|(_, version)| version.as_str()).collect();
    assert_eq!(versions, ["2"], "{after:?}");
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
    let again = json(&mut on(&volume, &["rewrap"], &[]));
    assert_eq!(again["changed"], 0, "{again:#}");
}

#[test]
fn a_key_comes_and_the_first_one_goes_while_the_volume_is_in_use() {
    let (volume, files) = filled(40);
    let (_, second) = second_key(&volume);
    let mount = volume.mount();
    let crowd = Crowd::start(mount.root());
    let said = run(command(&volume, &["slots", "add"])
        .arg(mount.root())
        .arg(&second));
    assert!(
        said.contains("Made key file") && said.contains("rewrapped"),
        "{said}"
    );
    let said = run(on(&volume, &["slots", "remove"], &[&volume.key()]).arg("--rate=2000"));
    assert!(said.contains("removed  file:"), "{said}");
    crowd.finish();
    verify(mount.root(), &files);
    fs::remove_file(volume.keyring()).unwrap();
    let mount = mount.again();
    verify(mount.root(), &files);
    fs::write(mount.path("late"), "by the second key").unwrap();
    mount.unmount();
    let keys: Vec<_> = census(&volume).into_keys().map(|(key, _)| key).collect();
    assert_eq!(keys, ["second.json"]);
    let listed = run(&mut on(&volume, &["slots", "list"], &["--files"]));
    assert!(
        listed.contains("second.json") && !listed.contains("/key.json"),
        "{listed}"
    );
}

#[test]
fn any_one_key_opens_a_volume_of_two() {
    let (volume, files) = filled(8);
    let (path, second) = second_key(&volume);
    run(&mut on(&volume, &["slots", "add"], &[&second]));
    for hidden in [&path, &volume.keyring()] {
        fs::rename(hidden, hidden.with_extension("hidden")).unwrap();
        let mount = volume.mount();
        verify(mount.root(), &files);
        mount.unmount();
        fs::rename(hidden.with_extension("hidden"), hidden).unwrap();
    }
}

#[test]
fn from_one_key_to_another_in_one_run_of_a_volume_that_is_not_mounted() {
    for scope in ["file", "volume"] {
        let volume = Volume::create(&["--key-scope", scope]);
        let files = contents(12);
        let mount = volume.mount();
        fill(mount.root(), &files);
        mount.unmount();
        let before = all_ciphertext(&volume);
        let (_, second) = second_key(&volume);
        run(&mut on(
            &volume,
            &["rewrap"],
            &["--from", &volume.key(), "--to", &second],
        ));
        if scope == "volume" {
            let mut after = all_ciphertext(&volume);
            let mut before = before;
            for files in [&mut before, &mut after] {
                files.retain(|path, _| !path.to_string_lossy().contains("/.envelopefs/"));
            }
            assert!(before == after, "files of scope volume name no key");
        }
        fs::remove_file(volume.keyring()).unwrap();
        let mount = volume.mount();
        verify(mount.root(), &files);
    }
}

#[test]
fn a_dry_run_changes_no_byte() {
    let (volume, _) = filled(10);
    let (path, second) = second_key(&volume);
    run(volume
        .envelopefs("init")
        .args(["--key", &second])
        .arg(volume.home().join("x")));
    assert!(path.exists());
    let before = all_ciphertext(&volume);
    let dry = ["--dry-run", "--to", &second, "--from", &volume.key()];
    let counted = json(&mut on(&volume, &["rewrap"], &dry));
    assert_eq!(
        (&counted["changed"], &counted["dry_run"]),
        (&10.into(), &true.into())
    );
    assert!(before == all_ciphertext(&volume));
}

#[test]
fn changes_that_make_no_sense_are_refused_and_change_nothing() {
    let (volume, _) = filled(3);
    let (path, second) = second_key(&volume);
    let before = all_ciphertext(&volume);
    refuses(
        &mut on(&volume, &["slots", "remove"], &[&volume.key()]),
        USAGE,
        &["last key"],
    );
    refuses(
        &mut on(&volume, &["slots", "remove"], &[&second]),
        USAGE,
        &["no key of this volume"],
    );
    refuses(
        &mut on(&volume, &["slots", "add"], &["file:relative"]),
        KEY_DENIED,
        &["file:"],
    );
    refuses(
        &mut on(&volume, &["slots", "add"], &["nonsense://x"]),
        KEY_DENIED,
        &["unknown kind of key"],
    );
    refuses(
        &mut on(&volume, &["rewrap"], &["--to", &second, "--dry-run"]),
        KEY_DENIED,
        &["a dry run makes nothing"],
    );
    let elsewhere = volume.home().join("nothing");
    refuses(volume.envelopefs("rewrap").arg(&elsewhere), 10, &["rewrap"]);
    refuses(
        volume.envelopefs("census").arg(volume.home()),
        10,
        &["not an envelopefs volume"],
    );
    assert!(!path.exists(), "a key file that was made for nothing stays");
    let mut after = all_ciphertext(&volume);
    after.retain(|path, _| !path.ends_with(".envelopefs/run"));
    assert!(before == after);
}

#[test]
fn a_read_only_mount_changes_nothing_and_counts() {
    let (volume, _) = filled(3);
    let _mount = volume.mount_with(&["--read-only"]);
    refuses(&mut on(&volume, &["rewrap"], &[]), 1, &["read-only"]);
    let counted = json(&mut on(&volume, &["rewrap"], &["--dry-run"]));
    assert_eq!(counted["files"], 3);
}

#[test]
fn what_cannot_be_rewrapped_is_named_and_keeps_its_key_in_the_volume() {
    let (volume, files) = filled(9);
    let (_, second) = second_key(&volume);
    // The wrapped key of one file is damaged: nobody can wrap it anew.
    let mut victim = all_ciphertext(&volume);
    victim.retain(|path, _| !path.to_string_lossy().contains("/.envelopefs/"));
    let (path, bytes) = victim.first_key_value().unwrap();
    let mut damaged = bytes.clone();
    damaged[196 + 24 + volume.key().len() + 1 + 30] ^= 1;
    fs::write(path, &damaged).unwrap();
    let exchange = ["--from", &volume.key(), "--to", &second];
    let mut rewrap = on(&volume, &["rewrap"], &exchange);
    let output = rewrap.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(INCOMPLETE), "{said}");
    assert!(
        said.contains("failed  /d") && said.contains("not removed yet"),
        "{said}"
    );
    assert_eq!(fs::read(path).unwrap(), damaged);
    let listed = run(&mut on(&volume, &["slots", "list"], &[]));
    assert!(listed.contains("being removed"), "{listed}");
    // Brought back from a backup, it is only gone on with.
    fs::write(path, bytes).unwrap();
    let done = json(&mut on(&volume, &["rewrap"], &[]));
    assert_eq!(
        (&done["changed"], &done["complete"]),
        (&1.into(), &true.into())
    );
    fs::remove_file(volume.keyring()).unwrap();
    let mount = volume.mount();
    verify(mount.root(), &files);
}

pub(crate) fn spawn(command: &mut Command) -> Child {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().expect("the command starts")
}

/// Kills a process that this test started, if it still runs.
pub(crate) fn kill_child(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn one_run_at_a_time() {
    let (volume, _) = filled(40);
    let mount = volume.mount();
    let slow = spawn(&mut on(&volume, &["rewrap"], &["--rotate", "--rate", "5"]));
    let begun = || run(&mut on(&volume, &["slots", "list"], &[])).contains("2      -");
    wait_until("the volume key to be rewrapped", begun);
    refuses(&mut on(&volume, &["rewrap"], &[]), BUSY, &["another run"]);
    // Whoever asked has gone: the run stops, and the next one goes on.
    kill_child(slow);
    let over = || {
        on(&volume, &["rewrap"], &[])
            .output()
            .unwrap()
            .status
            .success()
    };
    wait_until("the first run to stop", over);
    mount.unmount();
    assert_eq!(census(&volume), BTreeMap::from([by("key.json", "2", 40)]));
}

#[test]
fn an_unmount_stops_a_run_and_the_next_goes_on() {
    let (volume, files) = filled(30);
    let mount = volume.mount();
    let mut slow = spawn(&mut on(&volume, &["rewrap"], &["--rotate", "--rate", "10"]));
    thread::sleep(Duration::from_millis(700));
    mount.unmount();
    assert_eq!(slow.wait().unwrap().code(), Some(INCOMPLETE));
    run(&mut on(&volume, &["rewrap"], &[]));
    assert_eq!(census(&volume), BTreeMap::from([by("key.json", "2", 30)]));
    let mount = volume.mount();
    verify(mount.root(), &files);
}

/// Moments for a kill: another one each time.
pub(crate) fn moments(count: u64) -> impl Iterator<Item = Duration> {
    (0..count).map(|number| Duration::from_millis(60 + number * 137 % 420))
}

#[test]
fn a_command_that_is_killed_at_any_point_is_gone_on_with() {
    let (volume, files) = filled(60);
    let (_, second) = second_key(&volume);
    let exchange = ["--from", &volume.key(), "--to", &second, "--rate", "150"];
    for moment in moments(6) {
        let rewrap = spawn(&mut on(&volume, &["rewrap"], &exchange));
        thread::sleep(moment);
        kill_child(rewrap);
        let mount = volume.mount();
        verify(mount.root(), &files);
        mount.unmount();
    }
    let listed = run(&mut on(&volume, &["slots", "list"], &[]));
    // Whatever point it had come to: the two keys are the volume's, or one is on its way out.
    if listed.contains("being removed") {
        run(&mut on(&volume, &["slots", "remove"], &[&volume.key()]));
    } else if listed.contains("/key.json") {
        run(&mut on(&volume, &["rewrap"], &exchange[..4]));
    }
    assert_eq!(
        census(&volume),
        BTreeMap::from([by("second.json", "1", 60)])
    );
    fs::remove_file(volume.keyring()).unwrap();
    let mount = volume.mount();
    verify(mount.root(), &files);
    mount.unmount();
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}

#[test]
fn a_daemon_that_is_killed_at_any_point_loses_nothing_and_the_run_is_gone_on_with() {
    let (volume, files) = filled(60);
    let (_, second) = second_key(&volume);
    run(&mut on(&volume, &["slots", "add"], &[&second]));
    let mut removing = false;
    for moment in moments(5) {
        let mount: Mount<'_> = volume.mount();
        let mut remove = spawn(&mut on(
            &volume,
            &["slots", "remove"],
            &[&volume.key(), "--rate", "100"],
        ));
        thread::sleep(moment);
        kill(&mount, Signal::KILL);
        remove.wait().unwrap();
        drop(mount);
        let mount = volume.mount();
        verify(mount.root(), &files);
        mount.unmount();
        removing |= run(&mut on(&volume, &["slots", "list"], &[])).contains("being removed");
    }
    assert!(removing, "no kill came while the key was being removed");
    // Where the last one had come to its end there is nothing to remove any more.
    let last = on(&volume, &["slots", "remove"], &[&volume.key()])
        .output()
        .unwrap();
    assert!(matches!(last.status.code(), Some(0 | USAGE)), "{last:?}");
    assert_eq!(
        census(&volume),
        BTreeMap::from([by("second.json", "1", 60)])
    );
    fs::remove_file(volume.keyring()).unwrap();
    let mount = volume.mount();
    verify(mount.root(), &files);
}

#[test]
fn two_shared_mounts_follow_one_run() {
    let (volume, files) = filled(20);
    let (_, second) = second_key(&volume);
    let one = volume.mount_with(&["--shared"]);
    let other = volume.home().join("mnt2");
    fs::create_dir(&other).unwrap();
    let mut mount = volume.envelopefs("mount");
    run(mount.arg("--shared").arg(volume.cipher_dir()).arg(&other));
    let open = fs::File::options()
        .write(true)
        .open(other.join("d1/f1"))
        .unwrap();
    run(&mut on(
        &volume,
        &["rewrap"],
        &["--from", &volume.key(), "--to", &second],
    ));
    open.write_all_at(&noise(2, 997)[..500], 0).unwrap();
    drop(open);
    fs::write(other.join("new"), "by the other mount").unwrap();
    for root in [one.root(), &other] {
        verify(root, &files);
        assert_eq!(fs::read(root.join("new")).unwrap(), b"by the other mount");
    }
    run(volume.envelopefs("umount").arg(&other));
    one.unmount();
    assert_eq!(
        census(&volume),
        BTreeMap::from([by("second.json", "1", 21)])
    );
}

#[test]
fn a_census_of_a_copy_needs_no_key_and_tells_what_it_cannot_read() {
    let (volume, _) = filled(6);
    let copy = volume.home().join("copy");
    run(Command::new("cp")
        .arg("-a")
        .arg(volume.cipher_dir())
        .arg(&copy));
    fs::remove_file(volume.keyring()).unwrap();
    let counted = json(volume.envelopefs("census").arg(&copy));
    assert_eq!(counted["files"], 6);
    let mut found = BTreeMap::new();
    ciphertext(&copy, &mut found);
    found.retain(|path, _| !path.to_string_lossy().contains("/.envelopefs/"));
    let (path, bytes) = found.first_key_value().unwrap();
    fs::write(path, &bytes[..100]).unwrap();
    let output = volume.envelopefs("census").arg(&copy).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("unread  "));
}

#[test]
fn a_process_that_is_stopped_hard_leaves_the_run_to_the_next() {
    let (volume, _) = filled(30);
    let rewrap = spawn(&mut on(&volume, &["rewrap"], &["--rotate", "--rate", "20"]));
    thread::sleep(Duration::from_millis(400));
    let pid = Pid::from_child(&rewrap);
    kill_process(pid, Signal::INT).unwrap();
    rewrap.wait_with_output().unwrap();
    run(&mut on(&volume, &["rewrap"], &[]));
    let counted = census(&volume);
    assert_eq!(counted.values().sum::<u64>(), 30, "{counted:?}");
    assert_eq!(counted.len(), 1, "{counted:?}");
}

#[test]
fn what_root_does_for_a_user_stays_the_users() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    crate::harness::require_root();
    let (volume, files) = filled(4);
    let mut waiting = vec![volume.cipher_dir()];
    let user = crate::harness::NOBODY;
    while let Some(path) = waiting.pop() {
        std::os::unix::fs::lchown(&path, Some(user), Some(user)).unwrap();
        if path.symlink_metadata().unwrap().is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    chown(volume.cipher_dir(), Some(user), Some(user)).unwrap();
    run(&mut on(&volume, &["rewrap"], &["--rotate"]));
    run(volume.envelopefs("reencrypt").arg(volume.cipher_dir()));
    for path in all_ciphertext(&volume).keys() {
        assert_eq!(
            fs::metadata(path).unwrap().uid(),
            user,
            "{}",
            path.display()
        );
    }
    let mount = volume.mount();
    verify(mount.root(), &files);
}

/// No name leads to such a file, so the run cannot give it its slot of another key.
#[test]
fn a_file_that_was_deleted_while_open_keeps_the_key_that_it_needs() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let deleted = fs::File::create(mount.path("gone")).unwrap();
    (&deleted).write_all(b"still here").unwrap();
    deleted.sync_all().unwrap();
    fs::remove_file(mount.path("gone")).unwrap();
    let second = format!("file://{}", volume.home().join("second.json").display());
    run(&mut on(&volume, &["slots", "add"], &[&second]));
    let remove = || {
        on(&volume, &["slots", "remove"], &[&volume.key()])
            .output()
            .unwrap()
    };
    let refused = remove();
    assert_eq!(refused.status.code(), Some(INCOMPLETE));
    let said = String::from_utf8(refused.stdout).unwrap();
    assert!(
        said.contains("(deleted)  it was deleted and is still open"),
        "{said}"
    );
    (&deleted).write_all(b", and written").unwrap();
    deleted.sync_all().unwrap();
    drop(deleted);
    // The kernel tells of the close in its own time.
    wait_until("the key to go", || remove().status.success());
    mount.unmount();
}
