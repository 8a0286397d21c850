//! Headers.

use envelopefs::format::header::epochs_len;

use super::*;

const OTHER_VOLUME: &[u8; 16] = b"another-volume--";

fn simple_header() -> FileHeader {
    let epochs = vec![epoch_of(1, &FILE_ID, vec![slot(KEYRING, "1", 72)])];
    of_volume(
        draft(Layout::DEFAULT, FILE_ID, epochs, 5_000_000),
        &volume_id(),
    )
}

/// Two epochs, the first with two slots; sparse.
fn rich_header() -> FileHeader {
    let slots = vec![slot(KEYRING, "1", 72), slot("passphrase:", "", 97)];
    let epochs = vec![
        epoch_of(2, &FILE_ID, slots),
        epoch_of(4, &FILE_ID, vec![slot(KEYRING, "2", 72)]),
    ];
    let mut header = draft(layout(65536, 2048), FILE_ID, epochs, 1 << 40);
    header.flags.sparse = true;
    header.generation = 0x0102_0304_0506_0708;
    of_volume(header, &volume_id())
}

fn foreign_header() -> FileHeader {
    let epochs = vec![epoch_of(1, &FILE_ID, vec![slot("passphrase:", "", 97)])];
    tagged(draft(layout(4096, 512), FILE_ID, epochs, 0))
}

/// The slot of the simple header wrapped anew by a host that has no data key: the tags stay.
fn rewrapped_header() -> FileHeader {
    let mut header = simple_header();
    header.epochs[0].slots = vec![slot(KEYRING, "10", 88)];
    header
}

pub(super) fn vectors() -> Vectors<HeaderCase, Change> {
    Vectors {
        description: "Headers of ciphertext files. A reader decodes, compares the commitment of \
                      the newest data key, verifies the header tag, then the membership tag."
            .to_owned(),
        must_pass: vec![
            header_case("simple", "valid", &simple_header()),
            header_case("two epochs, two slots, sparse", "valid", &rich_header()),
            header_case("made outside a volume", "foreign", &foreign_header()),
            header_case(
                "slot wrapped anew, tags as before",
                "valid",
                &rewrapped_header(),
            ),
        ],
        must_fail: [
            bad_fixed_fields(),
            bad_epochs_lengths(),
            bad_epochs(),
            bad_older_epochs(),
            bad_tags(),
            cut_headers(),
        ]
        .concat(),
    }
}

fn header_case(name: &str, membership: &str, header: &FileHeader) -> HeaderCase {
    let slot = |slot: &KeySlot| SlotCase {
        key_uri: slot.key_uri.to_string(),
        key_version: slot.key_version.clone(),
        wrapped_dek: Hex(slot.wrapped_dek.clone()),
    };
    let epoch = |epoch: &KeyEpoch| EpochCase {
        epoch: epoch.epoch.0,
        commitment: Hex(epoch.commitment.to_vec()),
        slots: epoch.slots.iter().map(slot).collect(),
    };
    HeaderCase {
        name: name.to_owned(),
        newest_dek: dek(header.newest().epoch.0),
        volume_key: volume_key(),
        volume_id: volume_id(),
        membership: membership.to_owned(),
        block_len: header.layout.block_len() as u32,
        header_len: header.layout.header_len() as u32,
        file_id: Hex(header.file_id.0.to_vec()),
        made_in: Hex(header.volume_id.map_or(vec![0; 16], |id| id.0.to_vec())),
        committed_len: header.committed_len.0,
        generation: header.generation,
        sparse: header.flags.sparse,
        epochs: header.epochs.iter().map(epoch).collect(),
        header_tag: Hex(header.header_tag.to_vec()),
        membership_tag: Hex(header.membership_tag.to_vec()),
        bytes: Image::of(&encoded(header)),
    }
}

fn bad_fixed_fields() -> Vec<Change> {
    let max = Layout::DEFAULT.max_plain_len().0;
    let cases: [(&str, &str, usize, &[u8]); 21] = [
        ("magic", "not-ours", 0, b"e"),
        ("magic zeroed", "not-ours", 0, &[0; 8]),
        ("version 2", "newer-version", 8, &[2]),
        ("version 0", "malformed", 8, &[0]),
        ("suite 2", "unknown-suite", 10, &[2]),
        ("suite 0", "unknown-suite", 10, &[0]),
        ("blocks of 2 KiB", "malformed", 12, &[11]),
        ("blocks of 2 MiB", "malformed", 12, &[21]),
        ("blocks of 8 KiB instead of 4", "header-tag", 12, &[13]),
        ("header of 0 bytes", "malformed", 13, &[0]),
        ("header of 1536 bytes", "malformed", 13, &[3]),
        ("reserved byte at 14", "malformed", 14, &[1]),
        ("another file id", "commitment", 16, b"F"),
        ("a shorter committed length", "header-tag", 32, &[0; 8]),
        (
            "a committed length over the longest",
            "malformed",
            32,
            &(max + 1).to_le_bytes(),
        ),
        ("an older generation", "header-tag", 40, &[0]),
        ("SPARSE set", "header-tag", 48, &[1]),
        ("an unknown flag", "unknown-flags", 48, &[2]),
        ("newest epoch that is not there", "malformed", 52, &[2]),
        ("reserved byte at 60", "malformed", 60, &[1]),
        ("a byte behind the epochs", "malformed", 1023, &[1]),
    ];
    cases
        .map(|(name, error, at, bytes)| edit("simple", name, error, at, bytes))
        .to_vec()
}

fn bad_epochs_lengths() -> Vec<Change> {
    let len = epochs_len(&simple_header().epochs) as u32;
    let cases: [(&str, &str, usize, &[u8]); 4] = [
        ("epochs of length 0", "malformed", 56, &[0; 4]),
        (
            "epochs one byte shorter",
            "malformed",
            56,
            &(len - 1).to_le_bytes(),
        ),
        (
            "epochs one byte longer",
            "malformed",
            56,
            &(len + 1).to_le_bytes(),
        ),
        (
            "epochs longer than the header",
            "malformed",
            56,
            &881_u32.to_le_bytes(),
        ),
    ];
    cases
        .map(|(name, error, at, bytes)| edit("simple", name, error, at, bytes))
        .to_vec()
}

fn bad_epochs() -> Vec<Change> {
    // Epoch count at 144, first epoch at 152, its commitment at 156, its slot count at 188, the
    // first slot's URI length at 196, the URI at 204, the version's length behind it.
    let version = 204 + KEYRING.len();
    let wrapped = version + 8 + 1;
    let cases: [(&str, &str, usize, &[u8]); 15] = [
        ("no epochs", "malformed", 144, &[0]),
        ("five epochs", "malformed", 144, &[5]),
        ("2^64 - 1 epochs", "malformed", 144, &[0xFF; 8]),
        ("epoch 0", "malformed", 152, &[0]),
        ("the commitment of another key", "commitment", 156, &[0; 32]),
        ("no slots", "malformed", 188, &[0]),
        ("nine slots", "malformed", 188, &[9]),
        ("2^64 - 1 slots", "malformed", 188, &[0xFF; 8]),
        (
            "2^63 bytes of URI",
            "malformed",
            196,
            &[0, 0, 0, 0, 0, 0, 0, 0x80],
        ),
        ("a URI without a scheme", "malformed", 204, b"/"),
        ("a control character in a URI", "malformed", 216, &[0x1B]),
        ("a URI that is not UTF-8", "malformed", 216, &[0xFF]),
        (
            "a control character in a key version",
            "malformed",
            version + 8,
            b"\n",
        ),
        ("a wrapped key of 23 bytes", "malformed", wrapped, &[23]),
        (
            "a wrapped key of 1025 bytes",
            "malformed",
            wrapped,
            &1025_u64.to_le_bytes(),
        ),
    ];
    cases
        .map(|(name, error, at, bytes)| edit("simple", name, error, at, bytes))
        .to_vec()
}

fn bad_older_epochs() -> Vec<Change> {
    let mut dropped = rich_header();
    dropped.epochs.remove(0);
    let mut added = simple_header();
    added.epochs[0] = epoch_of(4, &FILE_ID, vec![slot(KEYRING, "1", 72)]);
    let mut added = FileHeader {
        layout: rich_header().layout,
        ..of_volume(added, &volume_id())
    };
    added
        .epochs
        .insert(0, epoch_of(3, &FILE_ID, vec![slot(KEYRING, "1", 72)]));
    [
        ("another number", "header-tag", 152, &[1][..]),
        ("out of order", "malformed", 152, &[5]),
        ("another key", "header-tag", 156, &[0; 32]),
        ("dropped", "header-tag", 0, &encoded(&dropped)),
        ("added", "header-tag", 0, &encoded(&added)),
    ]
    .map(|(name, error, at, bytes)| {
        let name = format!("the older epoch: {name}");
        edit("two epochs, two slots, sparse", &name, error, at, bytes)
    })
    .to_vec()
}

fn bad_tags() -> Vec<Change> {
    let (simple, of) = (simple_header(), "simple");
    let flip =
        |name: &str, at: usize| edit(of, name, "header-tag", at, &[encoded(&simple)[at] ^ 1]);
    let other_volume = of_volume(simple.clone(), &Hex(OTHER_VOLUME.to_vec()));
    let mut planted = simple.clone();
    planted.epochs[0] = epoch_of(2, &FILE_ID, vec![slot(KEYRING, "1", 72)]);
    let planted = tagged(planted);
    vec![
        flip("a bit of the header tag", 95),
        edit(of, "header tag zeroed", "header-tag", 64, &[0; 32]),
        flip("a bit of the membership tag", 96),
        edit(of, "membership tag zeroed", "header-tag", 96, &[0; 32]),
        flip("a bit of the volume id", 128),
        edit(of, "volume id zeroed", "header-tag", 128, &[0; 16]),
        edit(
            of,
            "the id of another volume",
            "header-tag",
            128,
            OTHER_VOLUME,
        ),
        edit(
            "made outside a volume",
            "the id of a volume put in",
            "header-tag",
            128,
            &volume_id().0,
        ),
        edit(
            "made outside a volume",
            "one bit of a volume id put in",
            "header-tag",
            143,
            &[1],
        ),
        replaced(of, "member of another volume", "membership", &other_volume),
        replaced(
            of,
            "another key, unwrapped as before",
            "commitment",
            &planted,
        ),
        Change {
            newest_dek: Some(dek(2)),
            ..replaced(
                of,
                "a key of his own, by who may wrap",
                "membership",
                &planted,
            )
        },
    ]
}

fn cut_headers() -> Vec<Change> {
    [0, 143, 144, 1023]
        .map(|len| cut("simple", &format!("cut to {len} bytes"), "truncated", len))
        .to_vec()
}
