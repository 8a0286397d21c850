//! What is derived of data keys and volume keys.

use envelopefs::crypto::derive::{Label, derive};
use envelopefs::format::file_keys::commitment;
use envelopefs::units::FileId;

use super::*;

pub(super) fn vectors() -> Vectors<DerivedCase, CommitmentCase> {
    let file = [Label::Content, Label::Header, Label::Commit];
    let of_file = file.map(|label| derived(label, dek(1), Hex(FILE_ID.0.to_vec())));
    let of_volume = Label::ALL
        .into_iter()
        .filter(|label| label.info().starts_with(b"envelopefs/v1/volume/"))
        .map(|label| derived(label, volume_key(), volume_id()));
    let other_file = derived(Label::Content, dek(1), Hex(OTHER_FILE_ID.0.to_vec()));
    let mut must_pass: Vec<DerivedCase> = of_file.into_iter().chain(of_volume).collect();
    must_pass.push(DerivedCase {
        name: "the same key in another file".to_owned(),
        ..other_file
    });
    Vectors {
        description: "HKDF-SHA-256(ikm, salt, info = label), 32 bytes".to_owned(),
        must_pass,
        must_fail: bad_commitments(),
    }
}

fn derived(label: Label, ikm: Hex, salt: Hex) -> DerivedCase {
    let key = derive(&secret(&ikm), &salt.0, label).expect("memory");
    let label = String::from_utf8(label.info().to_vec()).expect("ASCII");
    DerivedCase {
        name: label.clone(),
        label,
        ikm,
        salt,
        derived: Hex(key.expose().to_vec()),
    }
}

fn bad_commitments() -> Vec<CommitmentCase> {
    let good = commitment(&secret(&dek(1)), &FILE_ID);
    let mut flipped = good;
    flipped[31] ^= 1;
    let case = |name: &str, dek: Hex, file_id: FileId, commitment: [u8; 32]| CommitmentCase {
        name: name.to_owned(),
        dek,
        file_id: Hex(file_id.0.to_vec()),
        commitment: Hex(commitment.to_vec()),
    };
    vec![
        case("another key", dek(2), FILE_ID, good),
        case("another file", dek(1), OTHER_FILE_ID, good),
        case("one bit", dek(1), FILE_ID, flipped),
        case("zeros", dek(1), FILE_ID, [0; 32]),
    ]
}
