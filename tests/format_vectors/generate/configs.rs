//! `volume.json`.

use envelopefs::format::volume_config::{self, ForeignFiles, KeyScope, NameMode, VolumeConfig};
use envelopefs::units::VolumeId;

use super::*;

fn config(scope: KeyScope, names: NameMode) -> VolumeConfig {
    let id = VolumeId(volume_id().array());
    VolumeConfig {
        volume_id: id,
        layout: Layout::DEFAULT,
        names,
        key_scope: scope,
        foreign_files: ForeignFiles::Deny,
        keys: vec![KEYRING.parse().expect("a URI")],
        commitment: volume_config::commitment(&secret(&volume_key()), &id),
        slots: vec![slot(KEYRING, "1", 72)],
        policy: None,
        former_keys: Vec::new(),
        seal: None,
    }
}

fn config_with_policy() -> VolumeConfig {
    VolumeConfig {
        policy: Some([0xAB; 32]),
        ..config(KeyScope::File, NameMode::Encrypted)
    }
}

fn config_with_former_keys() -> VolumeConfig {
    VolumeConfig {
        former_keys: vec!["file:///former.json".parse().expect("a URI")],
        ..config_with_policy()
    }
}

/// What is wrong about former keys.
fn former_configs() -> Vec<BadConfig> {
    let text = config_text(&config_with_former_keys());
    let many = vec!["\"file:///former.json\""; 17].join(", ");
    let cases = [
        ("former key changed", "forged", "former.json", "other.json"),
        (
            "former key no URI",
            "malformed",
            "file:///former.json",
            "former",
        ),
        (
            "too many former keys",
            "malformed",
            "\"file:///former.json\"",
            many.as_str(),
        ),
    ];
    let bad = cases.map(|(name, error, from, to)| {
        assert!(text.contains(from), "{name}: {from}");
        bad_config(name, error, text.replacen(from, to, 1))
    });
    bad.into()
}

/// What is wrong about a policy.
fn policy_configs() -> Vec<BadConfig> {
    let text = config_text(&config_with_policy());
    let hash = "ab".repeat(32);
    let line = format!("  \"policy\": \"{hash}\",\n");
    let cases = [
        ("policy removed", "forged", line.as_str(), String::new()),
        ("policy changed", "forged", &hash, "ac".repeat(32)),
        (
            "policy in upper case",
            "malformed",
            &hash,
            hash.to_uppercase(),
        ),
        ("policy cut", "malformed", &hash, hash[1..].to_owned()),
        (
            "policy as a list",
            "malformed",
            "\"policy\": \"",
            "\"policy\": [\"".to_owned(),
        ),
    ];
    let mut bad: Vec<BadConfig> = Vec::new();
    for (name, error, from, to) in cases {
        assert!(text.contains(from), "{name}: {from}");
        bad.push(bad_config(name, error, text.replacen(from, &to, 1)));
    }
    let null = text.replacen(&format!("\"{hash}\""), "null", 1);
    bad.push(bad_config("policy null", "forged", null));
    bad
}

fn config_text(config: &VolumeConfig) -> String {
    let key = VolumeKeys {
        key: &volume_key(),
        id: &volume_id(),
    }
    .config();
    String::from_utf8(config.encode(&key)).expect("JSON is text")
}

pub(super) fn vectors() -> Vectors<ConfigCase, BadConfig> {
    let pass = |name: &str, volume_json: String| ConfigCase {
        name: name.to_owned(),
        volume_key: volume_key(),
        volume_json,
    };
    let rich = VolumeConfig {
        layout: layout(1 << 20, 2048),
        foreign_files: ForeignFiles::Allow,
        keys: Vec::new(),
        slots: vec![
            slot("passphrase:", "", 97),
            slot("file:/a\"b\\c", "v\\2", 24),
        ],
        ..config(KeyScope::Volume, NameMode::Plain)
    };
    let simple = config_text(&config(KeyScope::File, NameMode::Encrypted));
    let with_policy = config_text(&config_with_policy());
    let flat = simple
        .replace("\n", "")
        .replace("  ", "")
        .replace("\": ", "\" :\t");
    Vectors {
        description: "volume.json, as text.".to_owned(),
        must_pass: vec![
            pass("simple", simple),
            pass("two slots, plain names, volume scope", config_text(&rich)),
            pass("other white space", flat),
            pass("a policy", with_policy),
            pass("former keys", config_text(&config_with_former_keys())),
        ],
        must_fail: [
            policy_configs(),
            former_configs(),
            forged_configs(),
            malformed_configs(),
            newer_configs(),
        ]
        .concat(),
    }
}

fn bad_config(name: &str, error: &str, volume_json: String) -> BadConfig {
    BadConfig {
        name: name.to_owned(),
        error: error.to_owned(),
        volume_key: volume_key(),
        volume_json,
    }
}

/// The simple volume.json with one passage replaced.
fn replaced_text(name: &str, error: &str, from: &str, to: &str) -> BadConfig {
    let simple = config_text(&config(KeyScope::File, NameMode::Encrypted));
    assert!(simple.contains(from), "{name}: {from}");
    bad_config(name, error, simple.replacen(from, to, 1))
}

fn forged_configs() -> Vec<BadConfig> {
    let cases = [
        ("block size", r#""block_len": 4096"#, r#""block_len": 8192"#),
        (
            "header size",
            r#""header_len": 1024"#,
            r#""header_len": 2048"#,
        ),
        ("names", r#""names": "encrypted""#, r#""names": "plain""#),
        (
            "key scope",
            r#""key_scope": "file""#,
            r#""key_scope": "volume""#,
        ),
        (
            "foreign files",
            r#""foreign_files": "deny""#,
            r#""foreign_files": "allow""#,
        ),
        ("key of new files", r#""file:///etc"#, r#""file:///tmp"#),
        (
            "key version of a slot",
            r#""key_version": "1""#,
            r#""key_version": "2""#,
        ),
    ];
    let mut bad: Vec<BadConfig> = cases
        .into_iter()
        .map(|(name, from, to)| replaced_text(&format!("{name} changed"), "forged", from, to))
        .collect();
    let simple = config_text(&config(KeyScope::File, NameMode::Encrypted));
    let tag = simple.split_once(r#""tag": ""#).expect("a tag").1[..64].to_owned();
    bad.push(replaced_text(
        "tag changed",
        "forged",
        &tag,
        &"0".repeat(64),
    ));
    bad.push(replaced_text("tag cut", "malformed", &tag, &tag[1..]));
    bad.push(replaced_text(
        "tag in upper case",
        "malformed",
        &tag,
        &tag.to_uppercase(),
    ));
    let id = VolumeId(volume_id().array()).to_string();
    bad.push(replaced_text(
        "volume id changed",
        "commitment",
        &id,
        &"0".repeat(32),
    ));
    bad
}

/// What is replaced by what, so that nothing sound is left.
const MALFORMED: [(&str, &str, &str); 15] = [
    ("an unknown field", "{", r#"{"more": 1,"#),
    ("a field twice", "{", r#"{"names": "encrypted","#),
    ("a field missing", r#""names": "encrypted","#, ""),
    (
        "a number as text",
        r#""block_len": 4096"#,
        r#""block_len": "4096""#,
    ),
    (
        "a block size that is none",
        r#""block_len": 4096"#,
        r#""block_len": 4097"#,
    ),
    (
        "a header size that is none",
        r#""header_len": 1024"#,
        r#""header_len": 1000"#,
    ),
    (
        "names that are neither",
        r#""names": "encrypted""#,
        r#""names": "Encrypted""#,
    ),
    ("format 0", r#""format": 1"#, r#""format": 0"#),
    ("format as text", r#""format": 1"#, r#""format": "1""#),
    (
        "a volume id in upper case",
        r#""volume_id": "7"#,
        r#""volume_id": "A"#,
    ),
    (
        "a key URI without a scheme",
        r#""file:///etc"#,
        r#""///etc"#,
    ),
    (
        "a line end in a key version",
        r#""key_version": "1""#,
        r#""key_version": "\n""#,
    ),
    (
        "padded base64",
        r#""wrapped_dek": ""#,
        r#""wrapped_dek": "="#,
    ),
    ("more behind the object", "\n}\n", "\n}\n{}"),
    ("a comma too many", "\n}\n", ",\n}\n"),
];

fn malformed_configs() -> Vec<BadConfig> {
    let mut bad: Vec<BadConfig> = MALFORMED
        .into_iter()
        .map(|(name, from, to)| replaced_text(name, "malformed", from, to))
        .collect();
    let whole = [
        ("empty", ""),
        ("an empty object", "{}"),
        ("a list", "[]"),
        ("only the format", r#"{"format": 1}"#),
    ];
    bad.extend(whole.map(|(name, text)| bad_config(name, "malformed", text.to_owned())));
    bad.extend(sealed_out_of_bounds());
    bad
}

/// What has the right tag, and is refused all the same.
fn sealed_out_of_bounds() -> Vec<BadConfig> {
    let good = config(KeyScope::File, NameMode::Plain);
    let no_slots = VolumeConfig {
        slots: Vec::new(),
        ..good.clone()
    };
    let no_keys = VolumeConfig {
        keys: Vec::new(),
        ..good.clone()
    };
    let short = VolumeConfig {
        slots: vec![slot(KEYRING, "1", 23)],
        ..good
    };
    let bad =
        |name: &str, config: &VolumeConfig| bad_config(name, "malformed", config_text(config));
    vec![
        bad("sealed: no slots", &no_slots),
        bad("sealed: no key for new files", &no_keys),
        bad("sealed: a wrapped key of 23 bytes", &short),
    ]
}

fn newer_configs() -> Vec<BadConfig> {
    vec![
        replaced_text(
            "format 2",
            "newer-version",
            r#""format": 1"#,
            r#""format": 2"#,
        ),
        bad_config(
            "format 2 and nothing that is known",
            "newer-version",
            r#"{"cipher": {"name": "other"}, "format": 2, "names": [1, null]}"#.to_owned(),
        ),
    ]
}
