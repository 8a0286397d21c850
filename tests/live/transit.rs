//! A volume whose key is in a Transit engine: OpenBao's development server.

use std::fs;

use serde_json::Value;

use crate::bao::Kept;

#[test]
fn an_unwrap_is_told_with_the_name_that_the_server_s_own_log_has_for_it() {
    let kept = Kept::new(&["files"], &["--key", "hashivault://files"]);
    let audit = kept.volume.home().join("audit");
    let option = format!("audit={}", audit.display());
    let mount = kept.mount_with(&["-o", &option]);
    fs::write(mount.path("note"), "by Transit").unwrap();
    mount.unmount();
    let mount = kept.mount_with(&["-o", &option]);
    assert_eq!(fs::read(mount.path("note")).unwrap(), b"by Transit");
    mount.unmount();

    let lines = |text: String| -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap();
        text.lines().map(parse).collect()
    };
    let asked: Vec<_> = lines(kept.bao.log())
        .into_iter()
        .filter(|line| line["request"]["path"] == "transit/decrypt/files")
        .map(|line| line["request"]["id"].clone())
        .collect();
    let told = lines(fs::read_to_string(&audit).unwrap());
    let granted = told.iter().filter(|line| line["event"] == "unwrap");
    let names: Vec<_> = granted.map(|line| &line["request_id"]).collect();
    assert_eq!(names.len(), 3, "two mounts and a file: {told:?}");
    for name in names {
        assert!(asked.contains(name), "{name} is none of {asked:?}");
    }
}
