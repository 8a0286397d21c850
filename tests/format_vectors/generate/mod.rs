//! Makes the vectors, each from fixed keys, ids and nonces, so that every run makes the same.

mod configs;
mod files;
mod headers;
mod keys;
mod metadata;
mod names;

use envelopefs::format::file_keys::{FileKeys, commitment};
use envelopefs::format::header::{FileHeader, HeaderFlags, KeyEpoch, KeySlot};
use envelopefs::format::layout::Layout;
use envelopefs::units::{DirId, EpochId, FileId, PlainLen, VolumeId};

use crate::derive::{VolumeKeys, secret};
use crate::schema::*;

pub(crate) const FILE_ID: FileId = FileId(*b"file-id-16-bytes");
pub(crate) const OTHER_FILE_ID: FileId = FileId(*b"other-file-bytes");
pub(crate) const DIR_ID: DirId = DirId(*b"dir--id-16-bytes");
pub(crate) const OTHER_DIR_ID: DirId = DirId(*b"other-dir--bytes");

/// Compares every file of vectors with what is made here, or writes it.
pub(crate) fn all() {
    compare_or_write("keys.json", &keys::vectors());
    compare_or_write("header.json", &headers::vectors());
    compare_or_write("one-chunk.json", &files::one_chunk());
    compare_or_write("multi-chunk.json", &files::multi_chunk());
    compare_or_write("names.json", &names::vectors());
    compare_or_write("dir-id.json", &names::dir_ids());
    compare_or_write("symlink.json", &metadata::symlinks());
    compare_or_write("xattr.json", &metadata::xattrs());
    compare_or_write("volume-config.json", &configs::vectors());
}

/// 32 bytes that count up from `first`.
pub(crate) fn key(first: u8) -> Hex {
    Hex((0..32).map(|i| first + i).collect())
}

/// The data key of epoch `epoch`.
pub(crate) fn dek(epoch: u32) -> Hex {
    key((epoch - 1) as u8 * 0x20)
}

pub(crate) fn volume_key() -> Hex {
    key(0x80)
}

pub(crate) fn volume_id() -> Hex {
    Hex(b"volume--16-bytes".to_vec())
}

/// `len` bytes of plaintext; no two chunks alike.
pub(crate) fn text(len: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|line| format!("line {line}\n").into_bytes())
        .take(len)
        .collect()
}

// -- headers, which several files of vectors hold

pub(crate) fn slot(uri: &str, version: &str, wrapped_len: usize) -> KeySlot {
    KeySlot {
        key_uri: uri.parse().expect("a URI"),
        key_version: version.to_owned(),
        wrapped_dek: (0..wrapped_len).map(|i| 0xE0 ^ i as u8).collect(),
    }
}

pub(crate) fn epoch_of(number: u32, file: &FileId, slots: Vec<KeySlot>) -> KeyEpoch {
    let commitment = commitment(&secret(&dek(number)), file);
    KeyEpoch {
        epoch: EpochId(number),
        commitment,
        slots,
    }
}

/// A header that is to be sealed.
pub(crate) fn draft(
    layout: Layout,
    file_id: FileId,
    epochs: Vec<KeyEpoch>,
    len: u64,
) -> FileHeader {
    FileHeader {
        layout,
        file_id,
        volume_id: None,
        committed_len: PlainLen(len),
        generation: 1,
        flags: HeaderFlags { sparse: false },
        epochs,
        header_tag: [0; 32],
        membership_tag: [0; 32],
    }
}

/// Sets the header tag under the newest epoch's data key.
pub(crate) fn tagged(mut header: FileHeader) -> FileHeader {
    let dek = secret(&dek(header.newest().epoch.0));
    let keys = FileKeys::derive(&dek, &header.file_id).expect("memory");
    header.seal(keys.header());
    header
}

/// Sets the volume's id and both tags.
pub(crate) fn of_volume(mut header: FileHeader, volume_id: &Hex) -> FileHeader {
    let volume = VolumeKeys {
        key: &volume_key(),
        id: volume_id,
    };
    header.volume_id = Some(VolumeId(volume_id.array()));
    header.seal_membership(&volume.membership());
    tagged(header)
}

pub(crate) fn encoded(header: &FileHeader) -> Vec<u8> {
    let mut bytes = vec![0; header.layout.header_len()];
    header.encode(&mut bytes).expect("it has an encoding");
    bytes
}

pub(crate) fn layout(block_len: u32, header_len: u32) -> Layout {
    Layout::new(block_len, header_len).expect("a layout")
}

pub(crate) const KEYRING: &str = "file:///etc/envelopefs/keyring.json";

// -- changes

/// A change of a few bytes.
pub(crate) fn edit(of: &str, name: &str, error: &str, at: usize, bytes: &[u8]) -> Change {
    let edits = vec![Edit {
        at,
        hex: Hex(bytes.to_vec()),
    }];
    Change {
        edits,
        ..change(of, name, error)
    }
}

pub(crate) fn change(of: &str, name: &str, error: &str) -> Change {
    Change {
        name: name.to_owned(),
        error: error.to_owned(),
        of: of.to_owned(),
        ..Change::default()
    }
}

pub(crate) fn cut(of: &str, name: &str, error: &str, len: usize) -> Change {
    Change {
        truncate_to: Some(len),
        ..change(of, name, error)
    }
}

/// The header replaced by another.
pub(crate) fn replaced(of: &str, name: &str, error: &str, header: &FileHeader) -> Change {
    edit(of, name, error, 0, &encoded(header))
}

/// The text with its character at `at` replaced by another.
pub(crate) fn with_other(text: &str, at: usize) -> String {
    let other = if text.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

/// The text with a bit set behind its last byte: another text of the same bytes.
pub(crate) fn with_trailing_bit(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (last, rest) = text.as_bytes().split_last().expect("a text");
    let value = ALPHABET
        .iter()
        .position(|character| character == last)
        .expect("base64url");
    assert!(
        !text.len().is_multiple_of(4) && value.is_multiple_of(2),
        "no bits to spare"
    );
    let rest = std::str::from_utf8(rest).expect("ASCII");
    format!("{rest}{}", char::from(ALPHABET[value + 1]))
}
