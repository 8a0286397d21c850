//! A service whose root key opens by a PKCS#11 token, and whose keys live in one: SoftHSM2, in processes of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Served, json, key_uri, program, serve, stderr, stdout, succeeded};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "648219";
const ROOT_KEY: &str = "pkcs11:token=kms;object=root";

/// A token with a key for the root key, and a home for a service.
struct Token {
    home: tempfile::TempDir,
}

impl Token {
    fn new() -> Self {
        assert!(
            Path::new(MODULE).exists(),
            "these tests need SoftHSM2 and OpenSC: apt-get install softhsm2 opensc (scripts/test.sh does)"
        );
        let token = Self {
            home: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(token.path("tokens")).unwrap();
        let tokens = token.path("tokens");
        let config = format!("directories.tokendir = {}\n", tokens.display());
        fs::write(token.path("softhsm2.conf"), config).unwrap();
        token.write_pin(PIN);
        let mut init = Command::new("softhsm2-util");
        init.args(["--init-token", "--free", "--label", "kms"])
            .args(["--so-pin", "87654321", "--pin", PIN])
            .env("SOFTHSM2_CONF", token.path("softhsm2.conf"));
        succeeded(
            init.output()
                .expect("softhsm2-util: apt-get install softhsm2"),
        );
        let key = ["--keygen", "--key-type", "aes:32", "--label", "root"];
        token.tool(&[&key[..], &["--id", "01", "--sensitive"]].concat());
        token
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn write_pin(&self, pin: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(self.path("pin"), pin).unwrap();
        fs::set_permissions(self.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// pkcs11-tool: another program that uses the token.
    fn tool(&self, arguments: &[&str]) -> String {
        let mut tool = Command::new("pkcs11-tool");
        tool.args(["--module", MODULE, "--token-label", "kms"])
            .args(["--login", "--pin", PIN])
            .args(arguments)
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        let done = tool.output().expect("pkcs11-tool: apt-get install opensc");
        stdout(&succeeded(done))
    }

    /// The keys that the service made in the token.
    fn made_keys(&self) -> usize {
        let listed = self.tool(&["--list-objects", "--type", "secrkey"]);
        listed.matches("envelopekms").count()
    }

    /// What this machine has for the token, as the query of a URI.
    fn query(&self) -> String {
        let pin = self.path("pin");
        format!("?module-path={MODULE}&pin-source={}", pin.display())
    }

    /// The program, which finds the token's folder.
    fn bare(&self) -> Command {
        let mut command = program(&self.home);
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command
    }

    /// The program, which finds module and PIN by its environment.
    fn command(&self) -> Command {
        let mut command = self.bare();
        command
            .env("ENVELOPEFS_PKCS11_MODULE", MODULE)
            .env("ENVELOPEFS_PKCS11_PIN_FILE", self.path("pin"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> Output {
        succeeded(self.run(arguments))
    }

    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(!text.contains(PIN), "{text}");
        text
    }

    fn serve(&self) -> Served {
        serve(&mut self.command(), &self.path("log"))
    }

    fn take_out(&self) {
        fs::rename(self.path("tokens"), self.path("away")).unwrap();
        fs::create_dir(self.path("tokens")).unwrap();
    }

    fn put_back(&self) {
        fs::remove_dir(self.path("tokens")).unwrap();
        fs::rename(self.path("away"), self.path("tokens")).unwrap();
    }
}

#[test]
fn the_root_key_opens_by_a_token_and_by_nothing_else() {
    let token = Token::new();
    token.done(&["init", "--root-key", ROOT_KEY]);
    token.done(&["key", "create", "--alias", "alias/a"]);
    for _ in 0..2 {
        let served = token.serve();
        assert_eq!(served.status("/readyz"), 200);
        assert_eq!(served.end(), Some(0));
    }
    let listed = json(&token.done(&["root-key", "list", "--json"]));
    assert_eq!(listed, serde_json::json!([ROOT_KEY]));

    token.write_pin("000000");
    for arguments in [&["key", "list"][..], &["serve"]] {
        let told = token.fails(arguments, 12);
        assert!(told.contains("refuses the PIN"), "{told}");
        assert!(told.contains("not sent again"), "{told}");
    }
    token.write_pin(PIN);
    token.done(&["key", "list"]);

    token.take_out();
    for arguments in [&["key", "list"][..], &["serve"]] {
        let told = token.fails(arguments, 13);
        assert!(told.contains("token \"kms\" is not there"), "{told}");
    }
    // What needs no root key works meanwhile.
    token.done(&["status"]);
    token.put_back();
    let shown = json(&token.done(&["key", "show", "alias/a", "--json"]));
    assert_eq!(shown["state"], "Enabled");

    token.tool(&["--delete-object", "--type", "secrkey", "--label", "root"]);
    let told = token.fails(&["key", "list"], 12);
    assert!(told.contains("has no key \"root\""), "{told}");
}

#[test]
fn init_keeps_what_its_uris_say_of_this_machine() {
    let token = Token::new();
    let init = |root: &str, hsm: &str| {
        let mut init = token.bare();
        init.args(["init", "--root-key", root, "--hsm", hsm]);
        init.output().unwrap()
    };
    let root = format!("{ROOT_KEY}{}", token.query());
    let hsm = format!("pkcs11:token=kms{}", token.query());
    for (root, hsm, code) in [
        (ROOT_KEY, &hsm[..], 12),
        (&root, "pkcs11:token=kms", 12),
        (&root, "pkcs11:token=kms;object=root", 12),
        (&root, &hsm.replace("=kms", "=another"), 13),
        (&root.replace("=root", "=another"), &hsm, 12),
    ] {
        let refused = init(root, hsm);
        let text = stderr(&refused);
        assert_eq!(refused.status.code(), Some(code), "{root} {hsm}: {text}");
        assert!(!token.path("kms").exists(), "something is left");
    }
    succeeded(init(&root, &hsm));
    let settings = fs::read_to_string(token.path("kms/envelopekms.toml")).unwrap();
    assert!(settings.contains(&format!("hsm = \"{hsm}\"")), "{settings}");
    assert!(
        settings.contains(&format!("root_keys = [\"{root}\"]")),
        "{settings}"
    );
    // The store, which other machines may share, has none of it.
    let listed = token.bare().args(["root-key", "list"]).output().unwrap();
    assert_eq!(stdout(&succeeded(listed)).trim(), ROOT_KEY);
    let create = ["key", "create", "--hsm"];
    succeeded(token.bare().args(create).output().unwrap());
    let served = serve(&mut token.bare(), &token.path("log"));
    assert_eq!(served.status("/readyz"), 200);
    assert_eq!(served.end(), Some(0));

    // Nor has the backup: who restores it says it again.
    let backup = token.path("backup").to_str().unwrap().to_owned();
    succeeded(token.bare().args(["backup", &backup]).output().unwrap());
    let restore = |folder: &str, more: &[&str]| {
        let mut restore = token.bare();
        restore.args(["restore", &backup, "--dir"]);
        restore.arg(token.path(folder)).args(more);
        restore.output().unwrap()
    };
    let refused = restore("refused", &[]);
    let text = stderr(&refused);
    assert_eq!(refused.status.code(), Some(12), "{text}");
    assert!(!token.path("refused").exists(), "something is left");
    let given = ["--root-key", &root, "--hsm", &hsm];
    let restored = stdout(&succeeded(restore("restored", &given)));
    assert!(restored.contains("found there"), "{restored}");
    let settings = fs::read_to_string(token.path("restored/envelopekms.toml")).unwrap();
    assert!(settings.contains(&root), "{settings}");
}

/// A service with a key file for the root key, and a token for keys.
fn with_keys_in_hsm() -> Token {
    let token = Token::new();
    let root = key_uri(&token.home, "root");
    token.done(&["init", "--root-key", &root, "--hsm", "pkcs11:token=kms"]);
    token
}

#[test]
fn keys_are_made_in_the_token_that_the_settings_name() {
    let token = with_keys_in_hsm();
    let served = token.serve();
    // Another process than the one that serves.
    let made = json(&token.done(&["key", "create", "--hsm", "--alias", "alias/h", "--json"]));
    assert_eq!(
        (&made["protection"], &made["origin"]),
        (&"HSM".into(), &"SERVICE".into())
    );
    assert_eq!(token.made_keys(), 1);
    token.done(&["key", "rotate", "alias/h"]);
    assert_eq!(token.made_keys(), 2);
    let objects = token.tool(&["--list-objects", "--type", "secrkey"]);
    let id = made["id"].as_str().unwrap();
    assert!(objects.contains(&format!("envelopekms {id}")), "{objects}");
    for kept in ["sensitive", "never extractable"] {
        assert!(objects.matches(kept).count() >= 2, "{kept}: {objects}");
    }
    assert_eq!(served.end(), Some(0));
    let software = json(&token.done(&["key", "create", "--json"]));
    assert_eq!(software["protection"], "SOFTWARE");

    token.fails(&["key", "create", "--hsm", "--external"], 2);
    token.fails(&["key", "create", "--hsm", "--spec", "SM4"], 33);
    token.take_out();
    let told = token.fails(&["key", "create", "--hsm"], 13);
    assert!(told.contains("HSM"), "{told}");
    token.done(&["key", "create"]);
    // It serves its other keys.
    let served = token.serve();
    assert_eq!(served.status("/readyz"), 200);
    token.put_back();
    assert_eq!(served.end(), Some(0));
    let log = fs::read_to_string(token.path("log")).unwrap();
    assert!(log.contains("the HSM is away"), "{log}");

    token.write_pin("000000");
    let told = token.fails(&["serve"], 12);
    assert!(told.contains("refuses the PIN"), "{told}");
}

#[test]
fn a_service_without_a_token_makes_no_keys_in_one() {
    let home = tempfile::tempdir().unwrap();
    let root = key_uri(&home, "root");
    let run = |arguments: &[&str]| program(&home).args(arguments).output().unwrap();
    succeeded(run(&["init", "--root-key", &root]));
    let refused = run(&["key", "create", "--hsm"]);
    assert_eq!(refused.status.code(), Some(33), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("no HSM"));
}

#[test]
fn a_backup_says_what_is_not_in_it_and_a_restored_service_looks_for_it() {
    let token = with_keys_in_hsm();
    let backup = token.path("backup").to_str().unwrap().to_owned();
    let silent = token.done(&["backup", &backup]);
    assert!(silent.stderr.is_empty() && silent.stdout.is_empty());
    let id = stdout(&token.done(&["key", "create", "--hsm"]));
    let noted = token.done(&["backup", &backup, "--force"]);
    assert!(
        stderr(&noted).contains("1 version of keys"),
        "{}",
        stderr(&noted)
    );
    assert!(stderr(&noted).contains("not in the backup"));

    let restore = |folder: &str, more: &[&str]| {
        let folder = token.path(folder).to_str().unwrap().to_owned();
        let arguments = [&["restore", &backup, "--dir", &folder][..], more].concat();
        stdout(&token.done(&arguments))
    };
    let hsm = ["--hsm", "pkcs11:token=kms"];
    let found = restore("found", &hsm);
    assert!(
        found.contains("1 version of keys in the HSM: found there."),
        "{found}"
    );
    let without = restore("without", &[]);
    assert!(without.contains("could not be looked for"), "{without}");
    token.take_out();
    let away = restore("away-then", &hsm);
    assert!(away.contains("could not be looked for"), "{away}");
    token.put_back();
    let label = format!("envelopekms {}", id.trim());
    token.tool(&["--delete-object", "--type", "secrkey", "--label", &label]);
    let missing = restore("missing", &hsm);
    assert!(missing.contains(&format!("key {}", id.trim())), "{missing}");
}

/// The page, read as a newcomer does: its commands are run one after the other.
#[test]
fn the_page_on_root_keys_and_hsms_is_so() {
    let token = Token::new();
    fs::remove_dir_all(token.path("tokens")).unwrap();
    fs::create_dir(token.path("tokens")).unwrap();
    let page = include_str!("../../docs/kms/HSM.md");
    let mut script = "set -eu\n".to_owned();
    for block in page.split("```sh\n").skip(1) {
        script.push_str(block.split("```").next().unwrap());
    }
    let folder = Path::new(env!("CARGO_BIN_EXE_envelopekms"))
        .parent()
        .unwrap();
    let path = std::env::var("PATH").unwrap();
    let run = Command::new("sh")
        .args(["-c", &script])
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("HOME", token.home.path())
        .env("SOFTHSM2_CONF", token.path("softhsm2.conf"))
        .env_remove("CREDENTIALS_DIRECTORY")
        .current_dir(token.home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, text) = (stdout(&run), stderr(&run));
    assert!(run.status.success(), "{out}\n{text}");
    for shown in page.split("```text\n").skip(1) {
        let shown = shown.split("```").next().unwrap();
        for line in shown.lines() {
            assert!(
                out.contains(line) || text.contains(line),
                "{line}\n{out}\n{text}"
            );
        }
    }
}
