//! Names of entries, and the ids of folders.

use data_encoding::BASE64URL_NOPAD;
use envelopefs::format::names;

use super::*;

pub(super) fn vectors() -> Vectors<NameCase, BadName> {
    let long_175 = "n".repeat(175);
    let (long_176, long_255) = ("n".repeat(176), "n".repeat(255));
    let pass = |name: &str, dir: &DirId, plain: &[u8]| name_case(name, dir, plain);
    Vectors {
        description: "Names of entries: AES-256-SIV under the names keys of the volume, \
                      associated data = folder id, base64url; over 255 bytes by hash with a \
                      sidecar."
            .to_owned(),
        must_pass: vec![
            pass("short", &DIR_ID, b"hello.txt"),
            pass("short, in another folder", &OTHER_DIR_ID, b"hello.txt"),
            pass("one byte", &DIR_ID, b"a"),
            pass("not UTF-8", &DIR_ID, b"\xFF\xFE\x01\n"),
            pass("three dots", &DIR_ID, b"..."),
            pass("like a reserved name", &DIR_ID, b".envelopefs"),
            pass(
                "the longest without a sidecar",
                &DIR_ID,
                long_175.as_bytes(),
            ),
            pass("the shortest with a sidecar", &DIR_ID, long_176.as_bytes()),
            pass("the longest", &DIR_ID, long_255.as_bytes()),
        ],
        must_fail: [bad_short_names(), bad_plain_names(), bad_long_names()].concat(),
    }
}

fn seal_name(dir: &DirId, plain: &[u8]) -> (String, Option<Sidecar>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
    let volume = VolumeKeys {
        key: &volume_key(),
        id: &volume_id(),
    };
    let sealed = volume.names().seal(dir, plain);
    let sidecar = names::sidecar_name(sealed.on_disk()).zip(sealed.long());
    let sidecar = sidecar.map(|(name, long)| Sidecar {
        name: text(&name),
        target: text(long),
    });
    (text(sealed.on_disk()), sidecar)
}

fn name_case(name: &str, dir: &DirId, plain: &[u8]) -> NameCase {
    let (on_disk, sidecar) = seal_name(dir, plain);
    NameCase {
        name: name.to_owned(),
        volume_key: volume_key(),
        volume_id: volume_id(),
        dir_id: Hex(dir.0.to_vec()),
        plain: Hex(plain.to_vec()),
        on_disk,
        sidecar,
    }
}

fn bad_name(name: &str, error: &str, on_disk: &str, sidecar: Option<Sidecar>) -> BadName {
    BadName {
        name: name.to_owned(),
        error: error.to_owned(),
        volume_key: volume_key(),
        volume_id: volume_id(),
        dir_id: Hex(DIR_ID.0.to_vec()),
        on_disk: on_disk.to_owned(),
        sidecar,
    }
}

fn bad_short_names() -> Vec<BadName> {
    // 10 bytes and 16 of SIV: 26 bytes leave four bits to spare.
    let (good, _) = seal_name(&DIR_ID, b"hello.text");
    let (other_dir, _) = seal_name(&OTHER_DIR_ID, b"hello.text");
    let siv_only =
        BASE64URL_NOPAD.encode(&BASE64URL_NOPAD.decode(good.as_bytes()).expect("text")[..16]);
    let bad = |name: &str, error: &str, on_disk: &str| bad_name(name, error, on_disk, None);
    vec![
        bad("a name of another folder", "forged", &other_dir),
        bad(
            "the first character changed",
            "forged",
            &with_other(&good, 0),
        ),
        bad(
            "the last character changed",
            "encoding",
            &with_trailing_bit(&good),
        ),
        bad(
            "a character in the middle changed",
            "forged",
            &with_other(&good, 20),
        ),
        bad("cut by three characters", "forged", &good[..32]),
        bad("cut by two characters", "encoding", &good[..33]),
        bad("cut to the SIV", "forged", &siv_only),
        bad("padded", "encoding", &format!("{good}=")),
        bad(
            "with a character of the other base64",
            "encoding",
            &format!("+{}", &good[1..]),
        ),
        bad("with a line end", "encoding", &format!("{good}\n")),
        bad("a plain name", "encoding", "hello.txt"),
        bad(
            "a plain name within the alphabet",
            "forged",
            "lost-and_found00",
        ),
        bad("too short for a SIV", "forged", "AAAA"),
        bad("the volume's own folder", "hidden", ".envelopefs"),
        bad("a folder id", "hidden", ".envelopefs.dirid"),
        bad("a temporary entry", "hidden", ".envelopefs.tmp.1"),
    ]
}

/// Names that only a member of the volume could have sealed, and that are no names.
fn bad_plain_names() -> Vec<BadName> {
    let cases: [(&str, &[u8]); 7] = [
        ("sealed: empty", b""),
        ("sealed: one dot", b"."),
        ("sealed: two dots", b".."),
        ("sealed: a slash", b"/"),
        ("sealed: a path", b"a/b"),
        ("sealed: a way out", b"../../etc/passwd"),
        ("sealed: a NUL byte", b"a\0b"),
    ];
    let bad = |(name, plain): (&str, &[u8])| {
        bad_name(name, "bad-plain-name", &seal_name(&DIR_ID, plain).0, None)
    };
    cases.map(bad).to_vec()
}

fn bad_long_names() -> Vec<BadName> {
    let (good, sidecar) = seal_name(&DIR_ID, &[b'n'; 200]);
    let sidecar = sidecar.expect("a long name");
    let (other_dir, of_other_dir) = seal_name(&OTHER_DIR_ID, &[b'n'; 200]);
    let (other_name, _) = seal_name(&DIR_ID, &[b'm'; 200]);
    let (too_long, of_too_long) = seal_name(&DIR_ID, &[b'n'; 256]);
    let target = |target: String| {
        Some(Sidecar {
            target,
            ..sidecar.clone()
        })
    };
    let own_name = |on_disk: &str| {
        Some(Sidecar {
            name: format!("{on_disk}.n"),
            ..sidecar.clone()
        })
    };
    vec![
        bad_name("long: no sidecar", "no-sidecar", &good, None),
        bad_name(
            "long: a changed sidecar",
            "sidecar",
            &good,
            target(with_other(&sidecar.target, 0)),
        ),
        bad_name(
            "long: a cut sidecar",
            "sidecar",
            &good,
            target(sidecar.target[..256].to_owned()),
        ),
        bad_name(
            "long: an empty sidecar",
            "sidecar",
            &good,
            target(String::new()),
        ),
        bad_name(
            "long: the sidecar of another name",
            "sidecar",
            &other_name,
            own_name(&other_name),
        ),
        bad_name(
            "long: of another folder",
            "forged",
            &other_dir,
            of_other_dir,
        ),
        bad_name(
            "long: over 255 bytes of name",
            "sidecar",
            &too_long,
            of_too_long,
        ),
        bad_name(
            "long: the sidecar itself",
            "hidden",
            &format!("{good}.n"),
            None,
        ),
        bad_name(
            "long: a hash one character short",
            "encoding",
            &good[..good.len() - 1],
            None,
        ),
    ]
}

pub(super) fn dir_ids() -> Vectors<DirIdCase, BadDirId> {
    let pass = |name: &str, id: [u8; 16]| DirIdCase {
        name: name.to_owned(),
        id: Hex(id.to_vec()),
        target: String::from_utf8(names::encode_dir_id(&DirId(id))).expect("ASCII"),
    };
    let fail = |name: &str, target: &str| BadDirId {
        name: name.to_owned(),
        target: target.to_owned(),
    };
    let good = "6469722d2d69642d31362d6279746573";
    Vectors {
        description: "Folder ids as the target of the symlink .envelopefs.dirid.".to_owned(),
        must_pass: vec![
            pass("letters", DIR_ID.0),
            pass("zeros", [0; 16]),
            pass("ones", [0xFF; 16]),
        ],
        must_fail: vec![
            fail("empty", ""),
            fail("one digit short", &good[1..]),
            fail("one digit more", &format!("{good}0")),
            fail("upper case", &good.to_uppercase()),
            fail("with dashes", "6469722d-2d69-642d-3136-2d6279746573"),
            fail("not a digit", &format!("{}g", &good[1..])),
            fail("a path", "../.envelopefs.dirid"),
            fail("a line end", &format!("{}\n", &good[1..])),
        ],
    }
}
