//! A tree of files as people have them: many small ones, some large, every kind of name.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::{noise, set_mode};

/// Around the capacities of the first chunk (3024), the first two (7072), and a large file.
const SIZES_AT_BORDERS: [usize; 12] = [
    0,
    1,
    3023,
    3024,
    3025,
    4095,
    4096,
    4097,
    7071,
    7072,
    7073,
    1 << 20,
];
const FILES_IN_A_FOLDER: usize = 25;

/// Grows a tree of `count` files below `root`, the same at every call.
pub(crate) fn grow(root: &Path, count: usize) {
    for number in 0..count {
        let branch = number / FILES_IN_A_FOLDER;
        let folder = root.join(format!("{}/{}", branch % 16, branch));
        if number.is_multiple_of(FILES_IN_A_FOLDER) {
            fs::create_dir_all(folder.join("empty")).expect("a folder");
            symlink("../somewhere else/\u{e9}", folder.join("link")).expect("a symlink");
        }
        let file = folder.join(OsStr::from_bytes(&name(number)));
        fs::write(&file, noise(number as u64, size(number))).expect("a file");
        set_mode(&file, [0o644, 0o600, 0o755, 0o444][number % 4]);
    }
}

fn size(number: usize) -> usize {
    match SIZES_AT_BORDERS.get(number) {
        Some(size) => *size,
        None if number.is_multiple_of(50) => number * 7919 % 65536,
        None => number * 7919 % 8192,
    }
}

fn name(number: usize) -> Vec<u8> {
    let plain = format!("{number}.rs");
    match number % 100 {
        0 => padded(&plain, 255),
        1 => padded(&plain, 176),
        2 => format!("name with spaces {number}").into_bytes(),
        3 => format!("-{number}\n").into_bytes(),
        4 => format!("\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} {number}").into_bytes(),
        5 => [b"\xff\xfe".as_slice(), plain.as_bytes()].concat(),
        6 => format!(".hidden{number}").into_bytes(),
        _ => plain.into_bytes(),
    }
}

fn padded(name: &str, len: usize) -> Vec<u8> {
    format!("{name:x<len$}").into_bytes()
}
