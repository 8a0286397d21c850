//! Keys of folders, through live mounts: what new files get, what opens them, and what `rewrap` makes of files that are there.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::crash::kill;
use crate::harness::{Volume, clear_mountpoint, errno, refuses, run, shell};

const USAGE: i32 = 2;
const UNFINISHED: i32 = 24;
const ENOKEY: i32 = 126;

/// A volume, and key files that are none of its keys.
struct Keys {
    volume: Volume,
    others: Vec<Volume>,
}

impl Keys {
    fn new(options: &[&str], others: usize) -> Self {
        Self {
            volume: Volume::create(options),
            others: (0..others).map(|_| Volume::create(&[])).collect(),
        }
    }

    /// The URI of the key `nth`; 0 is the volume's own.
    fn key(&self, nth: usize) -> String {
        match nth {
            0 => self.volume.key(),
            nth => self.others[nth - 1].key(),
        }
    }

    fn set(&self, folders: &[(&str, &[usize])]) -> Command {
        let table = |(path, keys): &(&str, &[usize])| {
            let keys: Vec<_> = keys.iter().map(|nth| self.key(*nth)).collect();
            match keys.is_empty() {
                true => format!("[[folder]]\npath = {path:?}\nscope = \"volume\"\n"),
                false => format!("[[folder]]\npath = {path:?}\nkeys = {keys:?}\n"),
            }
        };
        self.set_text(&folders.iter().map(table).collect::<String>())
    }

    fn set_text(&self, text: &str) -> Command {
        let file = self.volume.home().join("policy.toml");
        fs::write(&file, text).unwrap();
        let mut set = self.volume.envelopefs("policy");
        set.arg("set").arg(self.volume.cipher_dir()).arg(file);
        set
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.volume.envelopefs(words[0]);
        command.arg(self.volume.cipher_dir()).args(&words[1..]);
        command
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&run(self.command(words).arg("--json"))).expect("--json prints JSON")
    }

    /// How many files name each key, by its number; `None` is the volume key.
    fn census(&self) -> BTreeMap<Option<usize>, u64> {
        let counted = self.json(&["census"]);
        let mut census = BTreeMap::new();
        for count in counted["keys"].as_array().unwrap() {
            let uri = count["key"].as_str().unwrap();
            let nth = (0..=self.others.len()).find(|nth| self.key(*nth) == uri);
            assert!(nth.is_some() || uri.starts_with("volume:"), "{uri}");
            *census.entry(nth).or_default() += count["files"].as_u64().unwrap();
        }
        census
    }

    fn status(&self) -> String {
        let mut status = self.volume.envelopefs("status");
        run(status.arg(self.volume.mountpoint()).arg("--json"))
    }

    /// The key file `nth` goes, or comes back.
    /// How many mounts have left something to be looked over, or are there.
    fn marks(&self) -> usize {
        let entries = fs::read_dir(self.volume.cipher_dir().join(".envelopefs")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("in-use")).count()
    }

    fn hide(&self, nth: usize, hidden: bool) {
        let path = self.others[nth - 1].keyring();
        let aside = path.with_extension("aside");
        match hidden {
            true => fs::rename(path, aside).unwrap(),
            false => fs::rename(aside, path).unwrap(),
        }
    }
}

fn counts(expected: &[(Option<usize>, u64)]) -> BTreeMap<Option<usize>, u64> {
    expected.iter().copied().collect()
}

#[test]
fn new_files_of_a_folder_get_its_keys_and_open_by_them_alone() {
    for scope in ["file", "volume"] {
        let keys = Keys::new(&["--key-scope", scope], 2);
        let own = (scope == "file").then_some(0);
        let mount = keys.volume.mount();
        shell(
            mount.root(),
            "mkdir hr; echo before > hr/before; echo free > free",
        );
        let said = run(&mut keys.set(&[("/hr", &[1]), ("/hr/both", &[1, 2])]));
        assert!(
            said.contains("2 folders with keys") && said.contains("rewrap"),
            "{said}"
        );
        shell(
            mount.root(),
            "mkdir -p hr/deep/er hr/both; echo secret > hr/secret; : > hr/empty; ln hr/secret link; mknod hr/node p
             echo secret > hr/deep/er/secret; echo both > hr/both/f; echo free > hrx; mv hr/secret moved; mv hrx hr/came",
        );
        let expected = [(own, 3), (Some(1), 4), (Some(2), 1)];
        assert_eq!(keys.census(), counts(&expected), "{scope}");
        let listed = keys.status();
        assert!(
            listed.contains(&keys.key(1)) && listed.contains(&keys.key(2)),
            "{listed}"
        );
        mount.unmount();
        keys.hide(1, true);
        let mount = keys.volume.mount();
        for closed in ["moved", "link", "hr/empty", "hr/deep/er/secret"] {
            assert_eq!(errno(fs::read(mount.path(closed))), ENOKEY, "{closed}");
        }
        for open in ["hr/before", "free", "hr/came", "hr/both/f"] {
            assert!(fs::read(mount.path(open)).is_ok(), "{open}");
        }
        assert!(
            fs::write(mount.path("hr/new"), "x").is_err(),
            "made without its folder's key"
        );
        fs::write(mount.path("new"), "x").unwrap();
        let listed = keys.status();
        assert!(listed.contains(&keys.key(1)), "{listed}");
        mount.unmount();
        keys.hide(1, false);
        let mount = keys.volume.mount();
        assert_eq!(
            shell(mount.root(), "cat moved link hr/deep/er/secret"),
            "secret\nsecret\nsecret\n"
        );
        mount.unmount();
    }
}

/// Of the files that the test below has made by then.
fn exchange_by_policy(keys: &Keys) {
    // Other keys for the folder: the former one opens until the run is over, and then no more.
    run(&mut keys.set(&[("/hr", &[3])]));
    let listed = keys.json(&["census"]);
    assert_eq!(listed["former_keys"], Value::from(vec![keys.key(1)]));
    // A file that stands where the volume's keys are due may have been moved there to get them: it is named.
    let (former, next) = (keys.key(1), keys.key(3));
    let left = keys.command(&["rewrap"]).output().unwrap();
    let said = String::from_utf8([left.stdout, left.stderr].concat()).unwrap();
    assert_eq!(left.status.code(), Some(UNFINISHED), "{said}");
    for word in ["out", "outside/2", &former, "--to"] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert_eq!(
        keys.census(),
        counts(&[(Some(0), 7), (Some(1), 5), (Some(2), 7), (Some(3), 4)])
    );
    let done = run(&mut keys.command(&["rewrap", "--from", &former, "--to", &next]));
    assert!(
        done.contains(&format!("removed  {}", keys.key(1))),
        "{done}"
    );
    assert_eq!(keys.json(&["census"])["former_keys"], Value::Null);
    assert_eq!(
        keys.census(),
        counts(&[(Some(0), 7), (Some(2), 7), (Some(3), 9)])
    );
}

#[test]
fn rewrap_brings_files_under_the_keys_of_their_folder_and_takes_none_away_from_them() {
    for mounted in [true, false] {
        let keys = Keys::new(&[], 3);
        let mut mount = Some(keys.volume.mount());
        let root = keys.volume.mountpoint();
        shell(
            &root,
            "mkdir -p hr/x build; for n in 1 2 3 4; do echo $n > hr/$n; echo $n > hr/x/$n; echo $n > build/$n; echo $n > $n; done",
        );
        let unmount_for_run = |mount: &mut Option<crate::harness::Mount<'_>>| {
            if !mounted && let Some(mount) = mount.take() {
                mount.unmount();
            }
        };
        unmount_for_run(&mut mount);
        run(&mut keys.set(&[("/hr", &[1]), ("/build", &[])]));
        let dry = keys.json(&["rewrap", "--dry-run"]);
        assert_eq!(
            (&dry["changed"], &dry["right"]),
            (&12.into(), &4.into()),
            "{dry:#}"
        );
        assert_eq!(keys.census(), counts(&[(Some(0), 16)]));
        run(&mut keys.command(&["rewrap"]));
        assert_eq!(
            keys.census(),
            counts(&[(Some(0), 4), (Some(1), 8), (None, 4)])
        );
        // What becomes of the volume's keys, and moves, take nothing from a folder.
        let mut add = keys.volume.envelopefs("slots");
        run(add
            .arg("add")
            .arg(keys.volume.cipher_dir())
            .arg(keys.key(2)));
        assert_eq!(
            keys.census(),
            counts(&[(Some(0), 4), (Some(1), 8), (Some(2), 4), (None, 4)])
        );
        if mount.is_none() {
            mount = Some(keys.volume.mount());
        }
        shell(&root, "mv hr/1 out; mv hr/x outside; mv 1 hr/in");
        unmount_for_run(&mut mount);
        run(&mut keys.command(&["rewrap"]));
        assert_eq!(
            keys.census(),
            counts(&[(Some(0), 3), (Some(1), 9), (Some(2), 3), (None, 4)])
        );
        exchange_by_policy(&keys);
        keys.hide(1, true);
        if let Some(mount) = mount.take() {
            mount.unmount();
        }
        let mount = keys.volume.mount();
        let all = shell(mount.root(), "cat hr/* out outside/* build/* 2 3 4");
        assert_eq!(all.lines().count(), 16);
        mount.unmount();
    }
}

#[test]
fn a_key_is_exchanged_wherever_it_stands() {
    let keys = Keys::new(&[], 3);
    let mount = keys.volume.mount();
    shell(mount.root(), "mkdir hr legal");
    run(&mut keys.set(&[("/hr", &[1]), ("/legal", &[0, 2])]));
    shell(mount.root(), "echo a > hr/a; echo b > legal/b; echo c > c");
    let exchange = |from: usize, to: usize| {
        let (from, to) = (keys.key(from), keys.key(to));
        keys.command(&["rewrap", "--from", &from, "--to", &to])
    };
    let before = fs::read(keys.volume.cipher_dir().join(".envelopefs/volume.json")).unwrap();
    run(exchange(1, 3).arg("--dry-run"));
    assert_eq!(
        fs::read(keys.volume.cipher_dir().join(".envelopefs/volume.json")).unwrap(),
        before
    );
    run(&mut exchange(1, 3));
    assert_eq!(
        keys.census(),
        counts(&[(Some(0), 2), (Some(2), 1), (Some(3), 1)])
    );
    // The volume's own, which a folder has too.
    run(&mut exchange(0, 1));
    assert_eq!(
        keys.census(),
        counts(&[(Some(1), 2), (Some(2), 1), (Some(3), 1)])
    );
    refuses(&mut exchange(0, 1), USAGE, &["key.json"]);
    // Beside the new one in one list: left to people, and nothing was changed.
    refuses(&mut exchange(1, 2), USAGE, &["by hand"]);
    assert_eq!(
        keys.census(),
        counts(&[(Some(1), 2), (Some(2), 1), (Some(3), 1)])
    );
    assert_eq!(shell(mount.root(), "cat hr/a legal/b c"), "a\nb\nc\n");
    mount.unmount();
}

/// A crash leaves a file whose key is away at the next mount, which ends well.
#[test]
fn a_file_whose_key_is_away_is_looked_over_when_it_is_back() {
    for options in [&[][..], &["--shared"]] {
        let keys = Keys::new(&["--key-scope", "file"], 1);
        run(&mut keys.set(&[("/hr", &[1])]));
        let mount = keys.volume.mount_with(options);
        fs::create_dir(mount.path("hr")).unwrap();
        fs::write(mount.path("hr/file"), "content").unwrap();
        kill(&mount, Signal::KILL);
        clear_mountpoint(mount.root());
        drop(mount);
        assert_eq!(keys.marks(), 1);

        keys.hide(1, true);
        keys.volume.mount_with(options).unmount();
        assert_eq!(keys.marks(), 1, "{options:?}: nobody looked at the file");
        keys.hide(1, false);
        keys.volume.mount_with(options).unmount();
        assert_eq!(keys.marks(), 0, "{options:?}");
    }
}

#[test]
fn files_that_had_the_volumes_keys_by_a_folder_follow_when_it_is_gone() {
    let keys = Keys::new(&["--key-scope", "volume"], 1);
    let mount = keys.volume.mount();
    run(&mut keys.set_text("[[folder]]\npath = '/x'\nscope = 'file'\n"));
    shell(mount.root(), "mkdir x; echo a > x/a; echo b > b");
    assert_eq!(keys.census(), counts(&[(Some(0), 1), (None, 1)]));
    let mut remove = keys.volume.envelopefs("policy");
    run(remove.arg("remove").arg(keys.volume.cipher_dir()));
    let done = run(&mut keys.command(&["rewrap"]));
    assert!(
        !done.contains("removed"),
        "the volume keeps its key: {done}"
    );
    assert_eq!(keys.census(), counts(&[(None, 2)]));
    assert_eq!(shell(mount.root(), "cat x/a b"), "a\nb\n");
    mount.unmount();
}

#[test]
fn a_policy_whose_keys_cannot_be_used_is_not_set() {
    let keys = Keys::new(&[], 1);
    let mount = keys.volume.mount();
    for (text, words) in [
        (
            "[[folder]]\npath = '/a'\nkeys = ['file:///nowhere/key.json']\n",
            &["/nowhere/key.json"][..],
        ),
        (
            "[[folder]]\npath = '/a'\nkeys = ['nokms:x']\n",
            &["nokms:x"],
        ),
        ("[[folder]]\npath = '/a'\n", &["folder 1"]),
        ("[[folder]]\npath = 'a'\nscope = 'volume'\n", &["folder 1"]),
        (
            "[[folder]]\npath = '/a'\nkeys = ['hashivault://k?address=https%3A%2F%2Fevil.example']\n",
            &["hashivault"],
        ),
    ] {
        let output = keys.set_text(text).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{text}: {said}"
        );
    }
    assert!(
        !keys
            .volume
            .cipher_dir()
            .join(".envelopefs/policy.toml")
            .exists()
    );
    fs::create_dir(mount.path("a")).unwrap();
    fs::write(mount.path("a/f"), "of the volume's key").unwrap();
    assert_eq!(keys.census(), counts(&[(Some(0), 1)]));
    mount.unmount();
}

#[test]
fn reencrypt_wraps_a_new_data_key_for_the_folder() {
    let keys = Keys::new(&[], 1);
    let mount = keys.volume.mount();
    run(&mut keys.set(&[("/hr", &[1])]));
    shell(
        mount.root(),
        "mkdir hr; head -c 300000 /dev/zero > hr/f; echo free > free; mv hr/f moved",
    );
    run(&mut keys.command(&["reencrypt"]));
    assert_eq!(keys.census(), counts(&[(Some(0), 1), (Some(1), 1)]));
    assert_eq!(fs::read(mount.path("moved")).unwrap(), vec![0; 300_000]);
    mount.unmount();
}
