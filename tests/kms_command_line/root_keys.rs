//! What opens the root key: a passphrase, a credential of systemd's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use super::{key_uri, program, serve, stderr, succeeded};

fn with_passphrase(home: &tempfile::TempDir, file: &str) -> Command {
    let mut command = program(home);
    command.arg("--passphrase-file").arg(home.path().join(file));
    command
}

#[test]
fn a_passphrase_opens_what_it_made_and_another_does_not() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("right"), "correct horse battery\n").unwrap();
    fs::write(home.path().join("wrong"), "another horse battery\n").unwrap();
    fs::write(home.path().join("empty"), "\n").unwrap();
    let run = |file: &str, arguments: &[&str]| {
        with_passphrase(&home, file)
            .args(arguments)
            .output()
            .unwrap()
    };
    let init = ["init", "--root-key", "passphrase:"];
    let refused = run("empty", &init);
    assert_eq!(refused.status.code(), Some(12), "{}", stderr(&refused));
    assert!(!home.path().join("kms").exists());
    succeeded(run("right", &init));
    succeeded(run("right", &["key", "list"]));
    for arguments in [&["key", "list"][..], &["serve"], &["audit", "verify"]] {
        for file in ["wrong", "empty"] {
            let refused = run(file, arguments);
            assert_eq!(refused.status.code(), Some(12), "{}", stderr(&refused));
            assert!(!stderr(&refused).contains("horse"));
        }
    }
    let missing = run("missing", &["key", "list"]);
    assert!(matches!(missing.status.code(), Some(12 | 13)));
    // There is no terminal to ask at.
    let asked = program(&home).arg("serve").output().unwrap();
    assert_eq!(asked.status.code(), Some(12), "{}", stderr(&asked));
    // What needs no key asks for none.
    succeeded(program(&home).arg("status").output().unwrap());

    let served = serve(
        &mut with_passphrase(&home, "right"),
        &home.path().join("log"),
    );
    assert_eq!(served.status("/readyz"), 200);
    assert_eq!(served.end(), Some(0));
    let mut by_command = program(&home);
    let path = home.path().join("right");
    by_command
        .arg("--passphrase-command")
        .arg(format!("cat {}", path.display()));
    let served = serve(&mut by_command, &home.path().join("log"));
    assert_eq!(served.status("/readyz"), 200);
    assert_eq!(served.end(), Some(0));
}

/// The key file `root` as a credential, in the folder that systemd would make.
struct Credentials {
    home: tempfile::TempDir,
}

impl Credentials {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        // Any service makes a key file.
        let uri = key_uri(&home, "root");
        let elsewhere = home.path().join("elsewhere");
        let mut init = program(&home);
        init.arg("init").arg(&elsewhere).args(["--root-key", &uri]);
        succeeded(init.output().unwrap());
        let folder = home.path().join("credentials");
        fs::create_dir(&folder).unwrap();
        fs::rename(home.path().join("root.json"), folder.join("root")).unwrap();
        let credentials = Self { home };
        credentials.set_mode(0o400);
        credentials
    }

    fn folder(&self) -> std::path::PathBuf {
        self.home.path().join("credentials")
    }

    fn set_mode(&self, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.folder().join("root"), permissions).unwrap();
    }

    fn command(&self) -> Command {
        self.command_in(&self.folder())
    }

    fn command_in(&self, folder: &Path) -> Command {
        let mut command = program(&self.home);
        command.env("CREDENTIALS_DIRECTORY", folder);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let refused = self.run(arguments);
        let text = stderr(&refused);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {text}");
        text
    }
}

#[test]
fn a_credential_opens_the_root_key_where_systemd_put_it_for_the_service() {
    let credentials = Credentials::new();
    let told = credentials.fails(&["init", "--root-key", "credential:other"], 12);
    assert!(told.contains("credentials/other"), "{told}");
    for wrong in ["credential:", "credential:../root.json", "credential:a/b"] {
        credentials.fails(&["init", "--root-key", wrong], 13);
    }
    assert!(!credentials.home.path().join("kms").exists());
    succeeded(credentials.run(&["init", "--root-key", "credential:root"]));
    // By an access list, whose mask stands in the place of the group's rights.
    for mode in [0o400, 0o440] {
        credentials.set_mode(mode);
        let log = credentials.home.path().join("log");
        let served = serve(&mut credentials.command(), &log);
        assert_eq!(served.status("/readyz"), 200);
        assert_eq!(served.end(), Some(0));
    }
    for mode in [0o444, 0o404, 0o460, 0o420, 0o402] {
        credentials.set_mode(mode);
        let told = credentials.fails(&["serve"], 12);
        assert!(told.contains("open to others"), "{mode:o}: {told}");
    }
    credentials.set_mode(0o400);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut nowhere = credentials.command_in(elsewhere.path());
    let missing = nowhere.arg("serve").output().unwrap();
    assert_eq!(missing.status.code(), Some(12), "{}", stderr(&missing));
    let none = program(&credentials.home).arg("serve").output().unwrap();
    assert_eq!(none.status.code(), Some(13), "{}", stderr(&none));
    assert!(stderr(&none).contains("LoadCredential"));
    fs::write(credentials.folder().join("root"), "{}").unwrap();
    credentials.fails(&["serve"], 12);
}
