//! What integration tests share that work in a volume without FUSE: steps of a program, a plain model of what they
//! come to, and the volume that is served over an observed ciphertext folder.

#![allow(dead_code, reason = "each of the tests uses a part")]

pub(crate) mod model;
pub(crate) mod steps;
pub(crate) mod volume;

/// A name that has a sidecar.
pub(crate) const LONG: &str = text(&[b'n'; 200]);
/// Another.
pub(crate) const OTHER: &str = text(&[b'o'; 200]);
/// [`LONG`] in the folder [`OTHER`].
pub(crate) const INSIDE: &str = text(&path(OTHER, LONG));

const fn text(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("ASCII"),
    }
}

const fn path(folder: &str, name: &str) -> [u8; 401] {
    let mut path = [b'/'; 401];
    let (mut at, folder, name) = (0, folder.as_bytes(), name.as_bytes());
    while at < 200 {
        path[at] = folder[at];
        path[at + 201] = name[at];
        at += 1;
    }
    path
}
