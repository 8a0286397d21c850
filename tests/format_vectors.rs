//! The published test vectors of the format, tests/vectors/*.json (docs/FORMAT.md, "Test
//! vectors"): each must-pass case opens and is sealed again to the same bytes, each must-fail
//! case is refused for the reason that it names.
//!
//! The files are what `format_vectors/generate` makes; a test holds them to it. After a change
//! of the format: `ENVELOPEFS_WRITE_VECTORS=1 cargo test --test format_vectors the_committed`.

#[path = "format_vectors/derive.rs"]
mod derive;
#[path = "format_vectors/generate/mod.rs"]
mod generate;
#[path = "format_vectors/reader.rs"]
mod reader;
#[path = "format_vectors/schema.rs"]
mod schema;

use derive::{VolumeKeys, secret};
use envelopefs::crypto::derive::{Label, MacKey};
use envelopefs::format::file_keys::{commitment, commitment_matches};
use envelopefs::format::header::{FileHeader, HeaderFlags, KeyEpoch, KeySlot, Membership};
use envelopefs::format::layout::Layout;
use envelopefs::format::names::{self, EntryKind};
use envelopefs::format::volume_config::VolumeConfig;
use envelopefs::format::{symlink, xattrs};
use envelopefs::units::{CipherLen, DirId, EpochId, FileId, PlainLen, VolumeId};
use schema::*;

/// The bytes of a change's must-pass case, changed.
fn changed<P>(vectors: &[P], change: &Change, find: impl Fn(&P) -> (&str, &Image)) -> Vec<u8> {
    let (_, image) = vectors
        .iter()
        .map(find)
        .find(|(name, _)| *name == change.of)
        .expect("a must-pass case of that name");
    change.apply(image.bytes())
}

fn more_must_fail<P, F>(vectors: &Vectors<P, F>) {
    assert!(
        vectors.must_fail.len() > vectors.must_pass.len(),
        "{}",
        vectors.description
    );
}

#[test]
fn keys() {
    let vectors: Vectors<DerivedCase, CommitmentCase> = load("keys.json");
    for case in &vectors.must_pass {
        let label = Label::ALL
            .into_iter()
            .find(|label| label.info() == case.label.as_bytes());
        let label = label.expect("a label of the table");
        let derived = envelopefs::crypto::derive::derive(&secret(&case.ikm), &case.salt.0, label);
        assert_eq!(
            derived.expect("memory").expose(),
            &case.derived.array(),
            "{}",
            case.name
        );
    }
    for case in &vectors.must_fail {
        let matches = commitment_matches(
            &secret(&case.dek),
            &FileId(case.file_id.array()),
            &case.commitment.array(),
        );
        assert!(!matches, "{}", case.name);
    }
}

fn header_of(case: &HeaderCase) -> FileHeader {
    let slot = |slot: &SlotCase| KeySlot {
        key_uri: slot.key_uri.parse().expect("a URI"),
        key_version: slot.key_version.clone(),
        wrapped_dek: slot.wrapped_dek.0.clone(),
    };
    let epoch = |epoch: &EpochCase| KeyEpoch {
        epoch: EpochId(epoch.epoch),
        commitment: epoch.commitment.array(),
        slots: epoch.slots.iter().map(slot).collect(),
    };
    FileHeader {
        layout: Layout::new(case.block_len, case.header_len).expect("a layout"),
        file_id: FileId(case.file_id.array()),
        volume_id: Some(VolumeId(case.made_in.array())).filter(|id| *id != VolumeId::NONE),
        committed_len: PlainLen(case.committed_len),
        generation: case.generation,
        flags: HeaderFlags {
            sparse: case.sparse,
        },
        epochs: case.epochs.iter().map(epoch).collect(),
        header_tag: case.header_tag.array(),
        membership_tag: case.membership_tag.array(),
    }
}

/// What a reader checks of a header, with the keys of the case that it comes from.
fn check_header(
    case: &HeaderCase,
    newest_dek: &Hex,
    bytes: &[u8],
) -> Result<(FileHeader, &'static str), &'static str> {
    let header = FileHeader::decode(bytes).map_err(|error| reader::header_error(&error))?;
    let dek = secret(newest_dek);
    if !commitment_matches(&dek, &header.file_id, &header.newest().commitment) {
        return Err("commitment");
    }
    let keys = envelopefs::format::file_keys::FileKeys::derive(&dek, &header.file_id);
    if !header.verify(keys.expect("memory").header()) {
        return Err("header-tag");
    }
    let volume = VolumeKeys {
        key: &case.volume_key,
        id: &case.volume_id,
    };
    match header.verify_membership(&volume.membership()) {
        Membership::Foreign => Ok((header, "foreign")),
        Membership::Invalid => Err("membership"),
        Membership::Valid => Ok((header, "valid")),
    }
}

#[test]
fn header() {
    let vectors: Vectors<HeaderCase, Change> = load("header.json");
    more_must_fail(&vectors);
    for case in &vectors.must_pass {
        let (expected, bytes) = (header_of(case), case.bytes.bytes());
        let membership = case.membership.as_str();
        assert_eq!(
            check_header(case, &case.newest_dek, &bytes),
            Ok((expected.clone(), membership)),
            "{}",
            case.name
        );
        let mut encoded = vec![0xFF; bytes.len()];
        expected.encode(&mut encoded).expect("it has an encoding");
        assert_eq!(encoded, bytes, "{}", case.name);
    }
    for change in &vectors.must_fail {
        let of = vectors
            .must_pass
            .iter()
            .find(|case| case.name == change.of)
            .expect("a case");
        let bytes = change.apply(of.bytes.bytes());
        let dek = change.newest_dek.as_ref().unwrap_or(&of.newest_dek);
        let refused = check_header(of, dek, &bytes).map(|_| ());
        assert_eq!(refused, Err(change.error.as_str()), "{}", change.name);
    }
}

fn check_files(file: &str) {
    let vectors: Vectors<FileCase, Change> = load(file);
    more_must_fail(&vectors);
    for case in &vectors.must_pass {
        let opened = reader::read_file(&case.file.bytes(), &case.deks);
        assert!(
            opened.as_ref() == Ok(&case.plaintext.bytes()),
            "{}: {opened:?}",
            case.name
        );
    }
    for change in &vectors.must_fail {
        let bytes = changed(&vectors.must_pass, change, |case| (&case.name, &case.file));
        let of = vectors
            .must_pass
            .iter()
            .find(|case| case.name == change.of)
            .expect("a case");
        let refused = reader::read_file(&bytes, &of.deks).map(|_| ());
        assert_eq!(refused, Err(change.error.as_str()), "{}", change.name);
    }
}

#[test]
fn one_chunk() {
    check_files("one-chunk.json");
}

#[test]
fn multi_chunk() {
    check_files("multi-chunk.json");
}

#[test]
fn files_have_the_size_that_says_their_length() {
    for file in ["one-chunk.json", "multi-chunk.json"] {
        let vectors: Vectors<FileCase, Change> = load(file);
        for case in &vectors.must_pass {
            let bytes = case.file.bytes();
            let layout = FileHeader::decode(&bytes).expect("a header").layout;
            let plain = PlainLen(case.plaintext.bytes().len() as u64);
            let physical = CipherLen(bytes.len() as u64);
            let hint_lost = case.name.contains("size hint lost");
            assert_eq!(
                layout.physical_len(plain) == physical,
                !hint_lost,
                "{}",
                case.name
            );
            assert_eq!(
                layout.plain_len(physical) == plain,
                !hint_lost,
                "{}",
                case.name
            );
        }
    }
}

/// Opens an entry of a folder as a reader does: through its sidecar if its name is a long one.
fn open_entry(
    volume: &VolumeKeys<'_>,
    dir: &Hex,
    on_disk: &str,
    sidecar: Option<&Sidecar>,
) -> Result<Vec<u8>, &'static str> {
    let full = match (names::classify(on_disk.as_bytes()), sidecar) {
        (EntryKind::Name, _) => on_disk,
        (EntryKind::LongName, None) => return Err("no-sidecar"),
        (EntryKind::LongName, Some(sidecar)) => {
            let name = names::sidecar_name(on_disk.as_bytes());
            assert_eq!(name.as_deref(), Some(sidecar.name.as_bytes()));
            if !names::long_name_matches(on_disk.as_bytes(), sidecar.target.as_bytes()) {
                return Err("sidecar");
            }
            &sidecar.target
        }
        (EntryKind::Reserved | EntryKind::Sidecar, _) => return Err("hidden"),
    };
    volume
        .names()
        .open(&DirId(dir.array()), full.as_bytes())
        .map_err(reader::name_error)
}

#[test]
fn names() {
    let vectors: Vectors<NameCase, BadName> = load("names.json");
    more_must_fail(&vectors);
    for case in &vectors.must_pass {
        let volume = VolumeKeys {
            key: &case.volume_key,
            id: &case.volume_id,
        };
        let sealed = volume
            .names()
            .seal(&DirId(case.dir_id.array()), &case.plain.0);
        assert_eq!(sealed.on_disk(), case.on_disk.as_bytes(), "{}", case.name);
        let full = case
            .sidecar
            .as_ref()
            .map(|sidecar| sidecar.target.as_bytes());
        assert_eq!(sealed.long(), full, "{}", case.name);
        let opened = open_entry(&volume, &case.dir_id, &case.on_disk, case.sidecar.as_ref());
        assert_eq!(opened, Ok(case.plain.0.clone()), "{}", case.name);
    }
    for case in &vectors.must_fail {
        let volume = VolumeKeys {
            key: &case.volume_key,
            id: &case.volume_id,
        };
        let opened = open_entry(&volume, &case.dir_id, &case.on_disk, case.sidecar.as_ref());
        assert_eq!(opened, Err(case.error.as_str()), "{}", case.name);
    }
}

#[test]
fn dir_id() {
    let vectors: Vectors<DirIdCase, BadDirId> = load("dir-id.json");
    more_must_fail(&vectors);
    for case in &vectors.must_pass {
        let id = DirId(case.id.array());
        assert_eq!(
            names::encode_dir_id(&id),
            case.target.as_bytes(),
            "{}",
            case.name
        );
        assert_eq!(
            names::decode_dir_id(case.target.as_bytes()),
            Ok(id),
            "{}",
            case.name
        );
    }
    for case in &vectors.must_fail {
        assert!(
            names::decode_dir_id(case.target.as_bytes()).is_err(),
            "{}",
            case.name
        );
    }
}

#[test]
fn symlink() {
    let vectors: Vectors<SymlinkCase, BadSymlink> = load("symlink.json");
    more_must_fail(&vectors);
    for case in &vectors.must_pass {
        let key = VolumeKeys {
            key: &case.volume_key,
            id: &case.volume_id,
        }
        .symlinks();
        let opened = symlink::open(&key, case.sealed.as_bytes());
        assert_eq!(opened, Ok(case.target.0.clone()), "{}", case.name);
        let plain_len = symlink::plain_len(case.sealed.len() as u64);
        assert_eq!(plain_len, case.target.0.len() as u64, "{}", case.name);
    }
    for case in &vectors.must_fail {
        let key = VolumeKeys {
            key: &case.volume_key,
            id: &case.volume_id,
        }
        .symlinks();
        let opened = symlink::open(&key, case.sealed.as_bytes()).map_err(reader::symlink_error);
        assert_eq!(opened, Err(case.error.as_str()), "{}", case.name);
    }
}

/// Opens a stored attribute as a reader does.
fn open_xattr(
    keys: &xattrs::XattrKeys,
    name: &str,
    value: &Hex,
) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    let name = keys.open_name(name.as_bytes()).ok_or("hidden")?;
    let value = keys
        .open_value(&name, &value.0)
        .map_err(|_error| "forged")?;
    Ok((name, value))
}

#[test]
fn xattr() {
    let vectors: Vectors<XattrCase, BadXattr> = load("xattr.json");
    more_must_fail(&vectors);
    for case in &vectors.must_pass {
        let keys = VolumeKeys {
            key: &case.volume_key,
            id: &case.volume_id,
        }
        .xattrs();
        let name = keys.seal_name(case.plain_name.as_bytes());
        assert_eq!(
            name.as_deref(),
            Ok(case.stored_name.as_bytes()),
            "{}",
            case.name
        );
        let plain = (
            case.plain_name.clone().into_bytes(),
            case.plain_value.0.clone(),
        );
        let opened = open_xattr(&keys, &case.stored_name, &case.stored_value);
        assert_eq!(opened, Ok(plain), "{}", case.name);
    }
    for case in &vectors.must_fail {
        let keys = VolumeKeys {
            key: &case.volume_key,
            id: &case.volume_id,
        }
        .xattrs();
        let opened = open_xattr(&keys, &case.stored_name, &case.stored_value);
        assert_eq!(opened, Err(case.error.as_str()), "{}", case.name);
    }
}

/// Reads a volume.json as unlocking does: commitment first, then the tag.
fn open_config(volume_key: &Hex, json: &str) -> Result<(VolumeConfig, MacKey), &'static str> {
    let config = |error| reader::config_error(&error);
    let unverified = VolumeConfig::decode(json.as_bytes()).map_err(config)?;
    if !unverified.commitment_matches(&secret(volume_key)) {
        return Err("commitment");
    }
    let id = Hex(unverified.volume_id().0.to_vec());
    let key = VolumeKeys {
        key: volume_key,
        id: &id,
    }
    .config();
    unverified
        .verify(&key)
        .map(|config| (config, key))
        .map_err(config)
}

#[test]
fn volume_config() {
    let vectors: Vectors<ConfigCase, BadConfig> = load("volume-config.json");
    more_must_fail(&vectors);
    for case in &vectors.must_pass {
        let (config, key) = open_config(&case.volume_key, &case.volume_json).expect(&case.name);
        if case.name != "other white space" {
            assert_eq!(
                config.encode(&key),
                case.volume_json.as_bytes(),
                "{}",
                case.name
            );
        }
    }
    for case in &vectors.must_fail {
        let opened = open_config(&case.volume_key, &case.volume_json).map(|_| ());
        assert_eq!(opened, Err(case.error.as_str()), "{}", case.name);
    }
}

#[test]
fn the_committed_vectors_are_what_the_generator_makes() {
    generate::all();
}

#[test]
fn a_commitment_is_derived_under_its_label() {
    let (dek, file) = (secret(&Hex(vec![1; 32])), FileId([2; 16]));
    let derived = envelopefs::crypto::derive::derive(&dek, &file.0, Label::Commit);
    assert_eq!(derived.expect("memory").expose(), &commitment(&dek, &file));
}
