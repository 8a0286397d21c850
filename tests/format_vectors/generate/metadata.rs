//! Targets of symlinks, and extended attributes.

use data_encoding::BASE64URL_NOPAD;
use envelopefs::crypto::xaes::XaesKey;
use envelopefs::format::chunk::ChunkNonce;

use super::*;

/// What `XaesKey::seal` makes, under a nonce that is given.
fn seal_small(key: &XaesKey, nonce: &[u8; 24], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let nonce = ChunkNonce(*nonce);
    let mut data = plaintext.to_vec();
    let tag = key
        .subkey(nonce.prefix())
        .seal_in_place(nonce.gcm(), aad, &mut data);
    [&nonce.0[..], &tag, &data].concat()
}

fn seal_target(target: &[u8], aad: &[u8]) -> String {
    let key = VolumeKeys {
        key: &volume_key(),
        id: &volume_id(),
    }
    .symlinks();
    BASE64URL_NOPAD.encode(&seal_small(&key, b"symlink-nonce-24-bytes--", aad, target))
}

pub(super) fn symlinks() -> Vectors<SymlinkCase, BadSymlink> {
    let pass = |name: &str, target: &[u8]| SymlinkCase {
        name: name.to_owned(),
        volume_key: volume_key(),
        volume_id: volume_id(),
        target: Hex(target.to_vec()),
        sealed: seal_target(target, b""),
    };
    let fail = |name: &str, error: &str, sealed: &str| BadSymlink {
        name: name.to_owned(),
        error: error.to_owned(),
        volume_key: volume_key(),
        volume_id: volume_id(),
        sealed: sealed.to_owned(),
    };
    let good = seal_target(b"../lib/liba.so.1", b"");
    Vectors {
        description: "Targets of symlinks: XAES-256-GCM under the symlinks key of the volume, \
                      base64url of nonce, tag and ciphertext."
            .to_owned(),
        must_pass: vec![
            pass("relative", b"../lib/liba.so.1"),
            pass("one byte", b"a"),
            pass("not UTF-8", b"/\xFF\xFE"),
            pass("the longest", &text(3031)),
        ],
        must_fail: vec![
            fail("the nonce changed", "forged", &with_other(&good, 0)),
            fail("the tag changed", "forged", &with_other(&good, 33)),
            fail("the ciphertext changed", "forged", &with_other(&good, 60)),
            fail(
                "bits behind the last byte",
                "encoding",
                &with_trailing_bit(&good),
            ),
            fail("cut", "forged", &good[..72]),
            fail("padded", "encoding", &format!("{good}=")),
            fail("empty", "forged", ""),
            fail("a plain target", "encoding", "../lib/liba.so.1"),
            fail(
                "sealed with associated data",
                "forged",
                &seal_target(b"target", b"x"),
            ),
            fail("sealed: empty", "bad-target", &seal_target(b"", b"")),
            fail(
                "sealed: a NUL byte",
                "bad-target",
                &seal_target(b"a\0b", b""),
            ),
            fail(
                "sealed: longer than the longest",
                "encoding",
                &seal_target(&text(3032), b""),
            ),
        ],
    }
}

fn stored_xattr(plain_name: &str, value: &[u8]) -> (String, Hex) {
    let volume = VolumeKeys {
        key: &volume_key(),
        id: &volume_id(),
    };
    let name = volume
        .xattrs()
        .seal_name(plain_name.as_bytes())
        .expect("a name to seal");
    let name = String::from_utf8(name).expect("ASCII");
    if name == plain_name {
        return (name, Hex(value.to_vec()));
    }
    let nonce = b"xattr-nonce-of-24-bytes-";
    let value = seal_small(&volume.xattr_values(), nonce, plain_name.as_bytes(), value);
    (name, Hex(value))
}

pub(super) fn xattrs() -> Vectors<XattrCase, BadXattr> {
    let pass = |name: &str, plain_name: &str, value: &[u8]| {
        let (stored_name, stored_value) = stored_xattr(plain_name, value);
        XattrCase {
            name: name.to_owned(),
            volume_key: volume_key(),
            volume_id: volume_id(),
            plain_name: plain_name.to_owned(),
            plain_value: Hex(value.to_vec()),
            stored_name,
            stored_value,
        }
    };
    Vectors {
        description: "Extended attributes: name by AES-256-SIV, value by XAES-256-GCM with the \
                      plaintext name as associated data."
            .to_owned(),
        must_pass: vec![
            pass("user", "user.comment", b"some text"),
            pass("trusted", "trusted.comment", b"some text"),
            pass("an empty value", "user.comment", b""),
            pass(
                "the longest user name",
                &format!("user.{}", "n".repeat(163)),
                b"value",
            ),
            pass("a name like a sealed one", "user.envelopefs.x", b"value"),
            pass(
                "capabilities in clear",
                "security.capability",
                &[1, 0, 0, 2],
            ),
            pass("an ACL in clear", "system.posix_acl_access", &[2, 0, 0, 0]),
        ],
        must_fail: bad_xattrs(),
    }
}

fn bad_xattrs() -> Vec<BadXattr> {
    let (name, value) = stored_xattr("user.comment", b"some text");
    let (other_name, other_value) = stored_xattr("user.other", b"some text");
    let flipped = |at: usize| {
        let mut value = value.clone();
        value.0[at] ^= 1;
        value
    };
    let bad = |case: &str, error: &str, name: &str, value: &Hex| BadXattr {
        name: case.to_owned(),
        error: error.to_owned(),
        volume_key: volume_key(),
        volume_id: volume_id(),
        stored_name: name.to_owned(),
        stored_value: value.clone(),
    };
    let moved = format!("trusted.{}", &name[5..]);
    vec![
        bad(
            "the value of another attribute",
            "forged",
            &name,
            &other_value,
        ),
        bad(
            "the name of another attribute",
            "forged",
            &other_name,
            &value,
        ),
        bad("the nonce changed", "forged", &name, &flipped(0)),
        bad("the tag changed", "forged", &name, &flipped(39)),
        bad("the value changed", "forged", &name, &flipped(48)),
        bad("an empty value", "forged", &name, &Hex(Vec::new())),
        bad(
            "a value cut to nonce and tag",
            "forged",
            &name,
            &Hex(value.0[..40].to_vec()),
        ),
        bad(
            "a value in clear",
            "forged",
            &name,
            &Hex(b"some text".to_vec()),
        ),
        bad("moved to another namespace", "hidden", &moved, &value),
        bad("the name changed", "hidden", &with_other(&name, 20), &value),
        bad("the name in clear", "hidden", "user.comment", &value),
        bad("a name without text", "hidden", "user.envelopefs.", &value),
        bad("the name padded", "hidden", &format!("{name}="), &value),
        bad("another namespace", "hidden", "system.nfs4_acl", &value),
    ]
}
