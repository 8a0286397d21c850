//! `envelopekms` as a shell sees it: exit codes, stdout, stderr, files.

#![cfg(feature = "kms")]
#![expect(clippy::unwrap_used, reason = "a test program: to panic is to fail")]

mod hsm;
mod root_keys;
mod socket;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A folder with a service in it.
struct Service {
    home: tempfile::TempDir,
    made: Value,
}

impl Service {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let made = program(&home)
            .args(["init", "--json", "--root-key"])
            .arg(key_uri(&home, "root"))
            .output()
            .unwrap();
        let made = json(&succeeded(made));
        Self { home, made }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        program(&self.home).args(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> Output {
        succeeded(self.run(arguments))
    }

    /// Ends with this code, and says so on stderr alone; gives what it says.
    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(
            text.starts_with("envelopekms: ") || text.starts_with("error: "),
            "{arguments:?}: {text}"
        );
        text
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn serve(&self) -> Served {
        serve(&mut program(&self.home), &self.path("log"))
    }
}

/// Starts `serve`, and waits until it says its address.
fn serve(command: &mut Command, log: &Path) -> Served {
    let mut child = command
        .args(["serve", "--listen", "127.0.0.1:0", "--json", "--log-file"])
        .arg(log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.ends_with("}\n") {
        assert_ne!(lines.read_line(&mut text).unwrap(), 0, "no address: {text}");
    }
    Served {
        child,
        told: serde_json::from_str(&text).unwrap(),
    }
}

struct Served {
    child: Child,
    told: Value,
}

impl Served {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The status of an answer, by a client that trusts what `serve` names.
    fn status(&self, path: &str) -> u16 {
        let address = self.told["address"].as_str().unwrap();
        let ca = fs::read(self.told["ca"].as_str().unwrap()).unwrap();
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
            .build()
            .unwrap();
        let answer = client.get(format!("https://{address}{path}")).send();
        answer.unwrap().status().as_u16()
    }

    fn end(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn program(home: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_envelopekms"));
    command
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path().join("config"))
        .env("ENVELOPEKMS_DIR", home.path().join("kms"))
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null());
    command
}

fn key_uri(home: &tempfile::TempDir, name: &str) -> String {
    format!("file://{}/{name}.json", home.path().display())
}

fn succeeded(output: Output) -> Output {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn help_goes_to_stdout_and_names_this_program_s_exit_codes() {
    let home = tempfile::tempdir().unwrap();
    let output = succeeded(program(&home).arg("--help").output().unwrap());
    let text = stdout(&output);
    assert!(text.contains("EXIT STATUS") && text.contains("holds no key service"));
    assert!(!text.contains("mount point"), "codes of envelopefs");
    assert!(output.stderr.is_empty());
}

#[test]
fn what_is_no_service_ends_with_30_everywhere() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["serve"][..],
        &["status"],
        &["key", "list"],
        &["credential", "create", "admin"],
        &["principal", "list"],
        &["policy", "show", "alias/a"],
        &["root-key", "list"],
        &["audit", "verify"],
        &["audit", "show"],
        &["backup", "b"],
    ] {
        let output = program(&home)
            .args(arguments)
            .current_dir(home.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(30), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("envelopekms init"),
            "{arguments:?}"
        );
    }
    assert!(!home.path().join("b").exists());
}

#[test]
fn a_new_service_keeps_its_files_to_itself_and_its_secret_is_told_once() {
    let service = Service::new();
    let secret = service.made["access_key"]["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 40);
    for (file, mode) in [
        ("kms", 0o711),
        ("kms/envelopekms.toml", 0o600),
        ("kms/store.db", 0o600),
        ("kms/tls/server.key", 0o600),
        ("kms/tls/ca.pem", 0o644),
        ("kms/audit", 0o700),
        ("root.json", 0o600),
    ] {
        let metadata = fs::metadata(service.path(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{file}");
    }
    let everything = [
        service.done(&["credential", "list", "--json"]),
        service.done(&["principal", "list", "--json"]),
        service.done(&["status", "--json"]),
        service.done(&["audit", "show"]),
    ];
    for output in everything {
        assert!(!stdout(&output).contains(secret));
    }
    for file in ["kms/store.db", "kms/audit/commands-0.log"] {
        let bytes = fs::read(service.path(file)).unwrap_or_default();
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{file}");
    }
}

#[test]
fn init_makes_nothing_over_something_and_leaves_nothing_where_it_fails() {
    let service = Service::new();
    let again = key_uri(&service.home, "again");
    service.fails(&["init", "--root-key", &again], 31);
    assert!(!service.path("again.json").exists(), "a key for nothing");
    fs::create_dir(service.path("full")).unwrap();
    fs::write(service.path("full/file"), "mine").unwrap();
    let full = service.path("full").to_str().unwrap().to_owned();
    service.fails(&["init", &full], 1);
    let new = service.path("new").to_str().unwrap().to_owned();
    service.fails(&["init", &new, "--root-key", "credential:root"], 13);
    service.fails(&["init", &new, "--root-key", "nosuch:key"], 12);
    service.fails(
        &["init", &new, "--administrator", "a b", "--root-key", &again],
        33,
    );
    service.fails(&["init", &new, "--tls-cert", "c.pem"], 2);
    let password = "postgres://kms:hunter2@127.0.0.1/kms";
    let told = service.fails(&["init", &new, "--store", password], 2);
    assert!(told.contains("PGPASSWORD"), "{told}");
    let nobody = "postgres://kms@127.0.0.1:1/kms";
    service.fails(&["init", &new, "--store", nobody, "--root-key", &again], 32);
    assert!(!service.path("new").exists());
    assert!(!service.path("again.json").exists());
}

#[test]
fn the_life_of_a_key() {
    let service = Service::new();
    let made = json(&service.done(&["key", "create", "--alias", "alias/a/b", "--json"]));
    let id = made["id"].as_str().unwrap();
    let state = || json(&service.done(&["key", "show", "alias/a/b", "--json"]))["state"].clone();
    assert_eq!(state(), "Enabled");
    service.done(&["key", "disable", id]);
    assert_eq!(state(), "Disabled");
    service.done(&["key", "enable", id]);
    service.done(&["key", "rotate", id]);
    let uses = json(&service.done(&["key", "use", id, "--json"]));
    assert_eq!(uses.as_array().unwrap().len(), 2);
    service.done(&["key", "rotation", id, "--every", "90d"]);
    service.done(&["key", "protect", id]);
    service.fails(&["key", "schedule-deletion", id], 33);
    service.done(&["key", "unprotect", id]);
    service.done(&["key", "schedule-deletion", id, "--days", "7"]);
    assert_eq!(state(), "PendingDeletion");
    service.fails(&["key", "enable", id], 33);
    service.done(&["key", "cancel-deletion", id]);
    let listed = json(&service.done(&["key", "list", "--json"]));
    assert_eq!(listed[0]["aliases"][0], "alias/a/b");
    service.done(&["key", "unalias", "alias/a/b"]);
    service.fails(&["key", "show", "alias/a/b"], 34);
}

#[test]
fn what_a_key_refuses() {
    let service = Service::new();
    let id = stdout(&service.done(&["key", "create", "--alias", "alias/a"]));
    let id = id.trim();
    for (arguments, code) in [
        (
            &["key", "show", "00000000-0000-4000-8000-000000000000"][..],
            34,
        ),
        (&["key", "disable", "alias/none"], 34),
        (&["key", "alias", id, "alias/a"], 33),
        (
            &[
                "key",
                "create",
                "--spec",
                "HMAC_256",
                "--usage",
                "ENCRYPT_DECRYPT",
            ],
            33,
        ),
        (
            &[
                "key",
                "create",
                "--spec",
                "RSA_2048",
                "--rotate-every",
                "90d",
            ],
            33,
        ),
        (&["key", "schedule-deletion", id, "--days", "6"], 33),
        (&["key", "cancel-deletion", id], 33),
        (&["key", "disable-version", id, "no-such"], 34),
        (&["key", "rotation", id], 2),
        (&["key", "show", "a key"], 2),
    ] {
        service.fails(arguments, code);
    }
    assert_eq!(
        json(&service.done(&["key", "list", "--json"]))
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn principals_access_keys_and_policies() {
    let service = Service::new();
    let policy =
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}]}"#;
    let good = service.write("good.json", policy);
    let bad = service.write("bad.json", r#"{"Statement":[{"Effect":"Perhaps"}]}"#);
    service.done(&["policy", "check", "--principal", &good]);
    service.fails(&["policy", "check", "--principal", &bad], 33);
    service.fails(&["policy", "check", &good], 33);
    let nobody = r#"{"Version":"1","Statement":[{"Effect":"Deny","Principal":{"AWS":"ali*"},"Action":"kms:*"}]}"#;
    let nobody = service.write("nobody.json", nobody);
    service.fails(&["policy", "check", &nobody], 33);
    let alias = r#"{"Version":"1","Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"alias/prod"}]}"#;
    let alias = service.write("alias.json", alias);
    service.fails(&["policy", "check", "--principal", &alias], 33);
    service.fails(&["principal", "create", "other", "--policy", &alias], 33);
    service.done(&["principal", "create", "guest", "--policy", &good]);
    service.fails(&["principal", "create", "guest", "--policy", &good], 33);
    service.fails(&["principal", "create", "other", "--policy", &bad], 33);
    service.fails(&["principal", "create", "other", "--policy", "/no/such"], 1);
    let shown = json(&service.done(&["policy", "show", "--principal", "guest"]));
    assert_eq!(shown["Statement"][0]["Action"], "kms:Decrypt");
    service.fails(&["policy", "show", "--principal", "nobody"], 34);
    service.fails(&["policy", "set", "--principal", "nobody", &good], 34);
    service.fails(&["policy", "set", &good], 2);
    service.fails(&["credential", "create", "nobody"], 34);
    let key = json(&service.done(&["credential", "create", "guest", "--json"]));
    let id = key["id"].as_str().unwrap();
    service.done(&["credential", "disable", id]);
    let listed = json(&service.done(&["credential", "list", "--principal", "guest", "--json"]));
    assert_eq!(listed[0]["enabled"], false);
    service.done(&["credential", "enable", id]);
    service.done(&["credential", "delete", id]);
    service.fails(&["credential", "disable", id], 34);
    service.done(&["principal", "delete", "guest"]);
    service.fails(&["principal", "delete", "guest"], 34);
}

#[test]
fn the_root_key_opens_with_a_second_key_and_never_with_none() {
    let service = Service::new();
    let first = key_uri(&service.home, "root");
    fs::copy(service.path("root.json"), service.path("kept.json")).unwrap();
    service.fails(&["root-key", "remove", &first], 33);
    service.fails(&["root-key", "add", "file:///no/such/key.json"], 12);
    fs::write(service.path("pass"), "correct horse battery\n").unwrap();
    let pass = service.path("pass").to_str().unwrap().to_owned();
    let by_pass = ["--passphrase-file", &pass];
    service.done(&[&["root-key", "add", "passphrase:"][..], &by_pass].concat());
    fs::remove_file(service.path("root.json")).unwrap();
    service.done(&[&["key", "list"][..], &by_pass].concat());
    service.done(&[&["root-key", "remove", &first][..], &by_pass].concat());
    let left = json(&service.done(&["root-key", "list", "--json"]));
    assert_eq!(left, serde_json::json!(["passphrase:"]));
}

#[test]
fn a_backup_comes_back_and_a_changed_one_does_not() {
    let service = Service::new();
    service.done(&["key", "create", "--alias", "alias/kept"]);
    let file = service.path("backup").to_str().unwrap().to_owned();
    service.done(&["backup", &file]);
    service.fails(&["backup", &file], 22);
    service.done(&["backup", &file, "--force"]);
    let restored = service.path("restored").to_str().unwrap().to_owned();
    let mut bytes = fs::read(&file).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    service.done(&["restore", &file, "--dir", &restored]);
    let listed = json(&service.done(&["key", "list", "--json", "--dir", &restored]));
    assert_eq!(listed[0]["aliases"][0], "alias/kept");
    service.fails(&["restore", &file, "--dir", &restored], 31);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(service.path("changed"), &bytes).unwrap();
    let none = service.write("none", "nothing");
    let changed = service.path("changed").to_str().unwrap().to_owned();
    let elsewhere = service.path("elsewhere").to_str().unwrap().to_owned();
    for file in [changed, none] {
        service.fails(&["restore", &file, "--dir", &elsewhere], 36);
        assert!(!service.path("elsewhere").exists());
    }
    service.fails(&["restore", "/no/such", "--dir", &elsewhere], 1);
}

#[test]
fn the_audit_tells_what_was_done_and_a_changed_line_is_found() {
    let service = Service::new();
    service.done(&["key", "create"]);
    service.fails(&["key", "show", "alias/none"], 34);
    let shown = stdout(&service.done(&["audit", "show"]));
    assert!(shown.contains("action=CreateKey"), "{shown}");
    let report = json(&service.done(&["audit", "verify", "--json"]));
    assert_eq!(
        (&report["intact"], &report["seals_checked"]),
        (&true.into(), &true.into())
    );
    let folder = fs::read_dir(service.path("kms/audit")).unwrap();
    let trail = folder.last().unwrap().unwrap().path();
    let text = fs::read_to_string(&trail).unwrap();
    let trail = trail.to_str().unwrap();
    let copy = service.path("copy.log").to_str().unwrap().to_owned();
    let without: String = text
        .lines()
        .filter(|line| !line.contains("CreateKey"))
        .map(|line| format!("{line}\n"))
        .collect();
    for broken in [text.replacen("CreateKey", "DescribeX", 1), without] {
        assert_ne!(broken, text);
        fs::write(&copy, broken).unwrap();
        let output = service.run(&["audit", "verify", &copy]);
        assert_eq!(output.status.code(), Some(25), "{}", stdout(&output));
    }
    let elsewhere = format!("99999:{}", "0".repeat(64));
    let output = service.run(&["audit", "verify", "--expect", &elsewhere, trail]);
    assert_eq!(output.status.code(), Some(25));
    let another = Service::new();
    let output = another.run(&["audit", "verify", trail]);
    assert_eq!(output.status.code(), Some(25), "seals of another service");
}

#[test]
fn it_serves_reloads_and_ends() {
    let service = Service::new();
    let served = service.serve();
    let address = served.told["address"].as_str().unwrap().to_owned();
    let status = |path: &str| served.status(path);
    assert_eq!((status("/healthz"), status("/readyz")), (200, 200));
    // Commands work meanwhile, a second server on the same folder does not.
    service.done(&["key", "create"]);
    service.fails(&["serve", "--listen", "127.0.0.1:0"], 1);
    let (host, port) = address.rsplit_once(':').unwrap();
    let taken = Service::new();
    taken.fails(&["serve", "--listen", &format!("{host}:{port}")], 35);
    served.signal(rustix::process::Signal::HUP);
    assert_eq!(status("/healthz"), 200);
    assert_eq!(served.end(), Some(0));
    let status = service.run(&["status", "--check"]);
    assert_eq!(status.status.code(), Some(37));
    service.done(&["audit", "verify"]);
}

/// Who is handed the lines is somewhere else.
#[test]
fn what_is_printed_of_a_relative_folder_is_absolute() {
    let home = tempfile::tempdir().unwrap();
    let in_home = || {
        let mut command = program(&home);
        command.current_dir(home.path());
        command
    };
    let root = key_uri(&home, "root");
    let mut init = in_home();
    init.args(["init", "here", "--json", "--root-key", &root]);
    let made = json(&succeeded(init.output().unwrap()));
    let here = fs::canonicalize(home.path()).unwrap().join("here");
    let is = |told: &Value, below: &str| {
        let told = fs::canonicalize(told.as_str().unwrap());
        assert_eq!(told.unwrap(), here.join(below));
    };
    for told in [&made["ca"], &made["dir"]] {
        assert!(Path::new(told.as_str().unwrap()).is_absolute(), "{told}");
    }
    is(&made["ca"], "tls/ca.pem");
    let served = serve(
        in_home().env("ENVELOPEKMS_DIR", "here"),
        &home.path().join("log"),
    );
    assert!(Path::new(served.told["ca"].as_str().unwrap()).is_absolute());
    is(&served.told["ca"], "tls/ca.pem");
    assert_eq!(served.status("/healthz"), 200);
    assert_eq!(served.end(), Some(0));
}

/// The authority is one, and the certificate is issued by it; its key is nowhere.
#[test]
fn the_certificate_is_issued_by_an_authority_of_its_own() {
    let service = Service::new();
    let openssl = |arguments: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments).current_dir(service.path("kms/tls"));
        openssl
            .output()
            .expect("this test needs openssl: apt-get install openssl")
    };
    let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"];
    succeeded(openssl(&[&verify[..], &["ca.pem", "server.pem"]].concat()));
    let alone = openssl(&[&verify[..], &["server.pem", "server.pem"]].concat());
    assert!(!alone.status.success());
    let text = stdout(&succeeded(openssl(&[
        "x509", "-in", "ca.pem", "-noout", "-text",
    ])));
    assert!(
        text.contains("CA:TRUE, pathlen:0") && text.contains("Certificate Sign"),
        "{text}"
    );
    let text = stdout(&succeeded(openssl(&[
        "x509",
        "-in",
        "server.pem",
        "-noout",
        "-text",
    ])));
    assert!(
        !text.contains("CA:TRUE") && text.contains("DNS:localhost"),
        "{text}"
    );
    let files = fs::read_dir(service.path("kms/tls")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.pem", "server.key", "server.pem"]);
}

#[test]
fn settings_that_cannot_be_followed_are_named() {
    let service = Service::new();
    let path = service.path("kms/envelopekms.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("zap = 1\n{good}")).unwrap();
    let told = service.fails(&["serve"], 2);
    assert!(
        told.contains("zap") && told.contains("envelopekms.toml"),
        "{told}"
    );
    fs::write(&path, good.replace("server.pem", "gone.pem")).unwrap();
    let told = service.fails(&["serve", "--listen", "127.0.0.1:0"], 1);
    assert!(told.contains("gone.pem"), "{told}");
    fs::write(&path, good.replace("store.db", "gone.db")).unwrap();
    service.fails(&["key", "list"], 30);
}
