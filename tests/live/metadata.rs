//! What is known about files beside their contents: links, attributes, times, kinds, space.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with};

use crate::harness::{Mount, Volume, errno, set_mode, shell};

#[test]
fn hard_links_are_one_file() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let (one, two) = (mount.path("one"), mount.path("folder/two"));
    fs::write(&one, "first").unwrap();
    fs::create_dir(mount.path("folder")).unwrap();
    fs::hard_link(&one, &two).unwrap();
    fs::write(&two, "through the other name").unwrap();
    assert_eq!(fs::read(&one).unwrap(), b"through the other name");

    let mount = mount.again();
    let (one, two) = (mount.path("one"), mount.path("folder/two"));
    let (of_one, of_two) = (fs::metadata(&one).unwrap(), fs::metadata(&two).unwrap());
    assert_eq!((of_one.ino(), of_one.nlink()), (of_two.ino(), 2));
    fs::remove_file(&one).unwrap();
    assert_eq!(fs::read(&two).unwrap(), b"through the other name");
    assert_eq!(fs::metadata(&two).unwrap().nlink(), 1);
}

#[test]
fn symlinks_keep_their_targets_and_their_length() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let longest = "x/".repeat(1000);
    let targets = [
        "file",
        "../elsewhere",
        "/etc/passwd",
        "nul-free \u{e9}\n",
        &longest,
    ];
    for (number, target) in targets.iter().enumerate() {
        symlink(target, mount.path(&number.to_string())).unwrap();
    }
    let mount = mount.again();
    for (number, target) in targets.iter().enumerate() {
        let link = mount.path(&number.to_string());
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        assert_eq!(
            fs::symlink_metadata(&link).unwrap().len(),
            target.len() as u64
        );
    }
}

#[test]
fn extended_attributes_are_kept_listed_replaced_and_removed() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("file"), "").unwrap();
    let path = mount.path("file");
    let set = |name: &str, value: &[u8], flags| rustix::fs::setxattr(&path, name, value, flags);
    set("user.colour", b"red", XattrFlags::CREATE).unwrap();
    set("user.empty", b"", XattrFlags::empty()).unwrap();
    set("user.big", &[7; 2000], XattrFlags::empty()).unwrap();
    assert_eq!(
        set("user.colour", b"blue", XattrFlags::CREATE)
            .unwrap_err()
            .raw_os_error(),
        libc::EEXIST
    );
    assert_eq!(
        set("user.none", b"", XattrFlags::REPLACE)
            .unwrap_err()
            .raw_os_error(),
        libc::ENODATA
    );
    set("user.colour", b"green", XattrFlags::REPLACE).unwrap();

    let mount = mount.again();
    assert_eq!(xattr(&mount, "user.colour"), Ok(b"green".to_vec()));
    assert_eq!(xattr(&mount, "user.empty"), Ok(Vec::new()));
    assert_eq!(xattr(&mount, "user.big"), Ok(vec![7; 2000]));
    assert_eq!(xattr(&mount, "user.none"), Err(libc::ENODATA));
    assert_eq!(
        xattr_names(&mount),
        ["user.big", "user.colour", "user.empty"]
    );
    rustix::fs::removexattr(mount.path("file"), "user.big").unwrap();
    assert_eq!(xattr_names(&mount), ["user.colour", "user.empty"]);
}

fn xattr(mount: &Mount<'_>, name: &str) -> Result<Vec<u8>, i32> {
    let mut value = vec![0; 4096];
    let len = rustix::fs::getxattr(mount.path("file"), name, value.as_mut_slice())
        .map_err(rustix::io::Errno::raw_os_error)?;
    value.truncate(len);
    Ok(value)
}

fn xattr_names(mount: &Mount<'_>) -> Vec<String> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(mount.path("file"), names.as_mut_slice()).unwrap();
    let text = String::from_utf8_lossy(&names[..len]).into_owned();
    let mut names: Vec<String> = text
        .split_terminator('\0')
        .filter(|name| name.starts_with("user."))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

#[test]
fn attribute_names_and_values_do_not_show_in_the_ciphertext() {
    let volume = Volume::create(&["--names", "plain"]);
    let mount = volume.mount();
    shell(
        mount.root(),
        "echo > file; setfattr -n user.diagnosis -v broken-heart file",
    );
    mount.unmount();
    let stored = shell(&volume.cipher_dir(), "getfattr -d -m - file");
    assert!(
        !stored.contains("diagnosis") && !stored.contains("broken-heart"),
        "{stored}"
    );
}

#[test]
fn rename_replaces_refuses_and_exchanges_as_its_flags_say() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let (one, two) = (mount.path("one"), mount.path("two"));
    let rename = |flags| renameat_with(CWD, &one, CWD, &two, flags).map_err(|e| e.raw_os_error());
    fs::write(&one, "one").unwrap();
    fs::write(&two, "two").unwrap();

    assert_eq!(rename(RenameFlags::NOREPLACE), Err(libc::EEXIST));
    assert_eq!(rename(RenameFlags::EXCHANGE), Ok(()));
    assert_eq!(
        (fs::read(&one).unwrap(), fs::read(&two).unwrap()),
        (b"two".to_vec(), b"one".to_vec())
    );
    assert_eq!(rename(RenameFlags::empty()), Ok(()));
    assert_eq!(errno(fs::metadata(&one)), libc::ENOENT);
    assert_eq!(rename(RenameFlags::EXCHANGE), Err(libc::ENOENT));

    let mount = mount.again();
    assert_eq!(fs::read(mount.path("two")).unwrap(), b"two");
}

#[test]
fn a_renamed_folder_takes_its_files_along() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let script = "mkdir -p a/b/c x; echo content > a/b/c/file; mv a/b x/moved; cat x/moved/c/file; mv x/moved/c/file .; cat file; rmdir x/moved/c";
    assert_eq!(shell(mount.root(), script), "content\ncontent\n");
    let mount = mount.again();
    assert_eq!(
        shell(mount.root(), "find . -mindepth 1 | sort"),
        "./a\n./file\n./x\n./x/moved\n"
    );
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let file = fs::File::create(mount.path("file")).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(then).set_accessed(then))
        .unwrap();
    drop(file);
    let mount = mount.again();
    let metadata = fs::metadata(mount.path("file")).unwrap();
    assert_eq!(metadata.modified().unwrap(), then);
    assert_eq!(metadata.accessed().unwrap(), then);
}

/// Programs that remember times, as git does, find every file as they left it, whatever they did to it. Within a tick of the
/// kernel's clock, in which most of these are made, written and closed, the kernel makes no new time, and has none to send.
#[test]
fn times_are_the_same_after_a_new_mount() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let names: Vec<String> = (0..300).map(|nth| nth.to_string()).collect();
    for name in &names {
        fs::write(mount.path(name), name).unwrap();
    }
    for name in names.iter().step_by(3) {
        fs::write(mount.path(name), "once more").unwrap();
    }
    for name in names.iter().step_by(5) {
        let mut file = fs::OpenOptions::new();
        let mut file = file.append(true).open(mount.path(name)).unwrap();
        file.write_all(b"and more").unwrap();
    }
    let script = "for name in $(seq 0 7 292); do
        chmod 600 $name; setfattr -n user.a -v b $name; touch -d '2001-01-01 UTC' $((name + 1))
        mv $((name + 2)) moved; mv moved $((name + 2)); ln $((name + 3)) $name.link; truncate -s 7 $((name + 4))
        head -c 100000 /dev/zero > $((name + 5))
    done";
    shell(mount.root(), script);
    let times = |mount: &Mount<'_>| -> Vec<_> {
        let times = |name: &String| {
            let found = fs::metadata(mount.path(name)).unwrap();
            let (mtime, ctime) = (found.modified().unwrap(), found.ctime_nsec());
            (name.clone(), mtime, found.ctime(), ctime)
        };
        names.iter().map(times).collect()
    };
    let before = times(&mount);
    let mount = mount.again();
    assert_eq!(times(&mount), before);
    let mount = mount.again();
    assert_eq!(times(&mount), before, "after a mount that changed nothing");
    fs::remove_file(volume.cipher_dir().join(".envelopefs/ctimes")).unwrap();
    assert_ne!(times(&mount.again()), before);
}

#[test]
fn a_write_and_a_change_of_mode_move_the_times_forward() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let script = r#"
        echo one > file; touch -d '2001-01-01 UTC' file; chmod 600 file
        [ "$(stat -c %Y file)" = 978307200 ]
        echo two >> file
        [ "$(stat -c %Y file)" -gt 978307200 ]"#;
    shell(mount.root(), script);
}

#[test]
fn pipes_sockets_and_modes_are_what_they_were_made() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    shell(
        mount.root(),
        "mkfifo pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'; echo > file",
    );
    for mode in [0o644, 0o400, 0o7755, 0o000] {
        set_mode(&mount.path("file"), mode);
        assert_eq!(
            fs::metadata(mount.path("file")).unwrap().mode() & 0o7777,
            mode
        );
    }
    let mount = mount.again();
    let kind = |name: &str| fs::symlink_metadata(mount.path(name)).unwrap().file_type();
    assert!(kind("pipe").is_fifo() && kind("socket").is_socket() && kind("file").is_file());
    let spoken = shell(mount.root(), "echo through the pipe > pipe & cat pipe");
    assert_eq!(spoken, "through the pipe\n");
}

#[test]
fn df_shows_the_space_of_the_ciphertext_folder() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let of = |path: &Path| rustix::fs::statvfs(path).unwrap();
    let (inside, outside) = (of(mount.root()), of(&volume.cipher_dir()));
    assert_eq!(
        inside.f_blocks * inside.f_frsize,
        outside.f_blocks * outside.f_frsize
    );
    assert!(inside.f_namemax > 0);
}

#[test]
fn a_folder_lists_each_entry_once_while_it_changes() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    for number in 0..3000 {
        fs::write(mount.path(&format!("keep{number}")), "").unwrap();
    }
    let mut seen = Vec::new();
    for (number, entry) in fs::read_dir(mount.root()).unwrap().enumerate() {
        let name = entry.unwrap().file_name();
        if number % 10 == 0 {
            fs::write(mount.path(&format!("new{number}")), "").unwrap();
        }
        if name.as_encoded_bytes().starts_with(b"keep") {
            seen.push(name);
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3000);
    assert!(seen.contains(&OsStr::new("keep2999").to_owned()));
}
