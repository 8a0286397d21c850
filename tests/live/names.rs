//! Names: what a mount takes, and what the ciphertext folder shows of them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::harness::{Mount, Volume, errno, shell};

/// Names at the borders: every byte but `/` and NUL, and as long as names can be.
fn odd_names() -> Vec<Vec<u8>> {
    let every_byte: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    vec![
        b"x".to_vec(),
        b" ".to_vec(),
        b"...".to_vec(),
        b"-rf".to_vec(),
        b"new\nline".to_vec(),
        b"\xff\xfe not UTF-8".to_vec(),
        "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}".into(),
        b"L.looks-like-a-long-name".to_vec(),
        every_byte,
        vec![b'n'; 175],
        vec![b'n'; 176],
        vec![b'n'; 177],
        vec![b'n'; 255],
        [vec![b'n'; 254], vec![b'm']].concat(),
    ]
}

fn at(mount: &Mount<'_>, name: &[u8]) -> PathBuf {
    mount.root().join(OsStr::from_bytes(name))
}

fn sorted_names(mount: &Mount<'_>) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(mount.root()).unwrap();
    let mut names: Vec<Vec<u8>> = entries
        .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
        .collect();
    names.sort();
    names
}

#[test]
fn any_name_that_linux_allows_works_in_both_name_modes() {
    for mode in ["encrypted", "plain"] {
        let volume = Volume::create(&["--names", mode]);
        let mount = volume.mount();
        for name in odd_names() {
            fs::write(at(&mount, &name), &name).unwrap();
        }
        let mount = mount.again();
        let mut expected = odd_names();
        expected.sort();
        assert_eq!(sorted_names(&mount), expected, "{mode}");
        for name in odd_names() {
            assert_eq!(fs::read(at(&mount, &name)).unwrap(), name, "{mode}");
        }
    }
}

#[test]
fn long_names_move_link_and_vanish_like_short_ones() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let (one, two) = (at(&mount, &[b'a'; 255]), at(&mount, &[b'b'; 255]));
    let folder = at(&mount, &[b'f'; 255]);
    fs::write(&one, "content").unwrap();
    fs::hard_link(&one, &two).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::rename(&one, folder.join("short")).unwrap();
    fs::rename(&two, folder.join(OsStr::from_bytes(&[b'c'; 255]))).unwrap();
    fs::remove_file(folder.join("short")).unwrap();
    fs::remove_file(folder.join(OsStr::from_bytes(&[b'c'; 255]))).unwrap();
    fs::remove_dir(&folder).unwrap();
    assert_eq!(sorted_names(&mount), Vec::<Vec<u8>>::new());
    mount.unmount();
    let left = shell(&volume.cipher_dir(), "find . -name 'L.*'");
    assert_eq!(left, "", "left behind by long names");
}

#[test]
fn a_name_of_256_bytes_is_refused() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    assert_eq!(
        errno(fs::write(at(&mount, &[b'n'; 256]), "")),
        libc::ENAMETOOLONG
    );
}

#[test]
fn encrypted_names_and_contents_do_not_show_in_the_ciphertext_folder() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    shell(
        mount.root(),
        "mkdir divorce; echo 'the plan' > divorce/lawyer; ln -s divorce/lawyer shortcut",
    );
    mount.unmount();
    let seen = shell(
        &volume.cipher_dir(),
        "find . -printf '%p %l\\n'; grep -rc 'the plan' . | grep -v ':0$' || true",
    );
    for word in ["divorce", "lawyer", "shortcut", "plan"] {
        assert!(!seen.contains(word), "{word} shows in: {seen}");
    }
}

#[test]
fn equal_names_in_two_folders_look_different() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    shell(mount.root(), "mkdir a b; echo > a/same; echo > b/same");
    mount.unmount();
    let repeated = shell(
        &volume.cipher_dir(),
        "find . -mindepth 2 -type f -not -path './.envelopefs/*' -printf '%f\\n' | sort | uniq -d",
    );
    assert_eq!(repeated, "");
}

#[test]
fn what_the_volume_keeps_for_itself_is_not_in_the_mount() {
    for mode in ["encrypted", "plain"] {
        let volume = Volume::create(&["--names", mode]);
        let mount = volume.mount();
        fs::create_dir(mount.path("folder")).unwrap();
        assert_eq!(sorted_names(&mount), [b"folder"], "{mode}");
        assert_eq!(
            fs::read_dir(mount.path("folder")).unwrap().count(),
            0,
            "{mode}"
        );
        if mode == "plain" {
            assert_eq!(errno(fs::metadata(mount.path(".envelopefs"))), libc::ENOENT);
            assert!(fs::write(mount.path(".envelopefs/volume.json"), "").is_err());
        }
    }
}
