//! `envelopekms` on PostgreSQL, as a shell sees it: TLS and passwords, two servers on one database, one that is killed, a
//! database that goes away.

#![cfg(feature = "kms")]
#![expect(clippy::unwrap_used, reason = "a test program: to panic is to fail")]

#[path = "kms_postgres/client.rs"]
mod client;
#[path = "../src/kms/store/testing/cluster.rs"]
mod cluster;
#[path = "../examples/kms-load/signed.rs"]
mod signed;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use client::Client;
use cluster::Cluster;

/// A server that could not ask the database for so long does nothing more: nobody acts upon what is older.
const STALE_AT_MOST: Duration = Duration::from_secs(5);
const PASSWORD: &str = "hunter2-of-the-tests";

/// A database with a user that needs a password, over TLS.
struct Database {
    cluster: Cluster,
    port: u16,
    home: tempfile::TempDir,
}

impl Database {
    fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let database = Self {
            cluster: Cluster::start(port),
            port,
            home: tempfile::tempdir().unwrap(),
        };
        database.sql(&format!("CREATE ROLE kms LOGIN PASSWORD '{PASSWORD}'"));
        database.sql("CREATE DATABASE kms OWNER kms");
        database.password("pgpass", PASSWORD);
        database
    }

    /// As the database's administrator, over its socket.
    fn sql(&self, text: &str) {
        self.sql_in("postgres", text);
    }

    fn sql_in(&self, database: &str, text: &str) {
        let mut psql = Command::new("psql");
        psql.args([
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            database,
        ])
        .args(["-h", &self.cluster.folder, "-p", &self.port.to_string()])
        .args(["-c", text]);
        let output = psql.output().expect("psql of Debian's postgresql-client");
        assert!(output.status.success(), "{text}: {}", stderr(&output));
    }

    fn password(&self, file: &str, password: &str) {
        let path = self.path(file);
        fs::write(&path, format!("*:*:*:kms:{password}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn url(&self) -> String {
        let ca = format!("{}/server.pem", self.cluster.folder);
        self.url_with("kms", &format!("sslmode=verify-full&sslrootcert={ca}"))
    }

    fn url_with(&self, database: &str, options: &str) -> String {
        format!(
            "postgres://kms@127.0.0.1:{}/{database}?{options}",
            self.port
        )
    }

    fn program(&self, folder: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_envelopekms"));
        command
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("ENVELOPEKMS_DIR", self.path(folder))
            .env("PGPASSFILE", self.path("pgpass"))
            .env_remove("PGPASSWORD")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, folder: &str, arguments: &[&str]) -> Output {
        self.program(folder).args(arguments).output().unwrap()
    }

    fn done(&self, folder: &str, arguments: &[&str]) -> String {
        let output = self.run(folder, arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends with this code; gives what it says.
    #[track_caller]
    fn fails(&self, folder: &str, arguments: &[&str], code: i32) -> String {
        let output = self.run(folder, arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(!text.contains(PASSWORD));
        text
    }

    fn key_file(&self) -> String {
        format!("file://{}", self.path("root.json").display())
    }

    /// Makes the service; gives its first access key.
    fn init(&self, folder: &str) -> Value {
        let arguments = ["init", "--json", "--root-key", &self.key_file(), "--store"];
        let told = self.done(folder, &[&arguments[..], &[&self.url()]].concat());
        serde_json::from_str::<Value>(&told).unwrap()["access_key"].clone()
    }

    fn serve(&self, folder: &str) -> Served {
        let mut child = self
            .program(folder)
            .args(["serve", "--listen", "127.0.0.1:0", "--json", "--log-file"])
            .arg(self.path(&format!("{folder}.log")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.ends_with("}\n") {
            assert_ne!(lines.read_line(&mut text).unwrap(), 0, "no address: {text}");
        }
        let told: Value = serde_json::from_str(&text).unwrap();
        Served {
            child,
            address: told["address"].as_str().unwrap().to_owned(),
            ca: told["ca"].as_str().unwrap().into(),
        }
    }
}

struct Served {
    child: Child,
    address: String,
    ca: PathBuf,
}

impl Served {
    fn client(&self, access_key: &Value) -> Client {
        let text = |name: &str| access_key[name].as_str().unwrap().to_owned();
        Client::new(&self.address, &self.ca, text("id"), text("secret"))
    }

    fn readiness(&self) -> u16 {
        let nobody = json!({"id": "", "secret": ""});
        self.client(&nobody).get("/readyz").status
    }

    fn end(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{what}: not in a minute"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_database_that_refuses_is_told_from_one_that_is_not_there() {
    let mut database = Database::new();
    let with =
        |url: &str| ["init", "--root-key", &database.key_file(), "--store", url].map(str::to_owned);
    let refused = |url: &str, said: &str| {
        let arguments = with(url);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let told = database.fails("a", &arguments, 32);
        assert!(told.contains(said), "{url}: {told}");
        assert!(!database.path("a").exists() && !database.path("root.json").exists());
    };
    refused(&database.url_with("nosuch", "sslmode=require"), "nosuch");
    let other = tempfile::tempdir().unwrap();
    let made = another_certificate(other.path());
    refused(
        &database.url_with("kms", &format!("sslmode=verify-full&sslrootcert={made}")),
        "ertificate",
    );
    database.password("pgpass", "wrong");
    refused(&database.url(), "password");
    fs::remove_file(database.path("pgpass")).unwrap();
    refused(&database.url(), "password");
    database.password("pgpass", PASSWORD);

    let access_key = database.init("a");
    database.fails(
        "b",
        &[
            "init",
            "--root-key",
            &database.key_file(),
            "--store",
            &database.url(),
        ],
        31,
    );
    // The password is in its file and nowhere else.
    let settings = fs::read_to_string(database.path("a/envelopekms.toml")).unwrap();
    assert!(settings.contains("sslmode=verify-full") && !settings.contains(PASSWORD));
    let served = database.serve("a");
    for of in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{of}", served.child.id())).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(PASSWORD), "{of}");
    }
    goes_away_and_comes_back(&mut database, &served, &access_key);
    served.end();

    // The tables of a later program.
    database.sql_in(
        "kms",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (999, 'later', true, '', 0)",
    );
    let told = database.fails("a", &["key", "list"], 11);
    assert!(told.contains("999"), "{told}");
}

/// Nothing is done meanwhile, and nothing has to be started again.
fn goes_away_and_comes_back(database: &mut Database, served: &Served, access_key: &Value) {
    let client = served.client(access_key);
    let key = client.aws("CreateKey", &json!({})).ok()["KeyMetadata"]["KeyId"].clone();

    database.cluster.tell("stop");
    wait_for("not ready", || served.readiness() == 503);
    wait_for("nothing is done", || {
        client
            .aws(
                "GenerateDataKey",
                &json!({"KeyId": key, "KeySpec": "AES_256"}),
            )
            .status
            == 500
    });
    let told = database.fails("a", &["key", "list"], 32);
    assert!(told.contains("database"), "{told}");
    database.fails("a", &["serve", "--listen", "127.0.0.1:0"], 32);
    database.cluster.tell("start");
    wait_for("ready again", || served.readiness() == 200);
    client
        .aws(
            "GenerateDataKey",
            &json!({"KeyId": key, "KeySpec": "AES_256"}),
        )
        .ok();
}

/// A certificate that the database's is not issued by.
fn another_certificate(folder: &Path) -> String {
    let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=other",
            "-keyout",
        ])
        .arg(key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl of Debian's package openssl");
    assert!(made.status.success(), "{}", stderr(&made));
    certificate.to_str().unwrap().to_owned()
}

/// What the servers said was done.
#[derive(Default)]
struct Acknowledged {
    /// Ciphertext and plaintext.
    data_keys: Mutex<Vec<(Value, Value)>>,
    keys: Mutex<Vec<Value>>,
}

impl Acknowledged {
    /// Makes data keys and keys until it is told to end, or the server does not answer.
    fn load(&self, client: &Client, key: &Value, end: &AtomicBool) {
        let data_key = json!({"KeyId": key, "KeySpec": "AES_256"});
        for nth in 0_u32.. {
            let is_key = nth.is_multiple_of(20);
            let answer = match is_key {
                true => client.try_aws("CreateKey", &json!({})),
                false => client.try_aws("GenerateDataKey", &data_key),
            };
            let Some(answer) = answer else { return };
            // A server that is late to hear of the other's changes says so, and does nothing.
            if answer.status != 500 {
                self.note(is_key, &answer.ok());
            }
            if end.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn note(&self, is_key: bool, made: &Value) {
        if is_key {
            let id = made["KeyMetadata"]["KeyId"].clone();
            self.keys.lock().unwrap().push(id);
        } else {
            let pair = (made["CiphertextBlob"].clone(), made["Plaintext"].clone());
            self.data_keys.lock().unwrap().push(pair);
        }
    }

    fn count(&self) -> usize {
        self.data_keys.lock().unwrap().len()
    }
}

#[test]
fn one_of_two_servers_is_killed_under_load_and_nothing_is_lost() {
    let database = Database::new();
    let access_key = database.init("a");
    database.fails("b", &["join", "--store", "other.db"], 2);
    database.done("b", &["join", "--store", &database.url()]);
    database.fails("b", &["join", "--store", &database.url()], 31);
    let (mut one, two) = (database.serve("a"), database.serve("b"));
    let [at_one, at_two] = [&one, &two].map(|served| served.client(&access_key));
    let key = at_one.aws("CreateKey", &json!({})).ok()["KeyMetadata"]["KeyId"].clone();
    is_refused_within_the_bound(&at_one, &at_two, &key);
    a_replay_is_refused_by_the_other(&at_one, &at_two, &key);

    let (done, end) = (Acknowledged::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (done, key, end) = (&done, &key, &end);
        for client in [&at_one, &at_one, &at_two, &at_two] {
            scope.spawn(move || done.load(client, key, end));
        }
        wait_for("load", || done.count() > 200);
        // SIGKILL, in the middle of whatever it does.
        one.child.kill().unwrap();
        one.child.wait().unwrap();
        let before = done.count();
        wait_for("the other goes on", || done.count() > before + 200);
        end.store(true, Ordering::Relaxed);
    });
    for (blob, plaintext) in done.data_keys.into_inner().unwrap() {
        let opened = at_two.aws("Decrypt", &json!({"CiphertextBlob": blob})).ok();
        assert_eq!(opened["Plaintext"], plaintext);
    }
    let keys = done.keys.into_inner().unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        let described = at_two.aws("DescribeKey", &json!({"KeyId": key})).ok();
        assert_eq!(described["KeyMetadata"]["KeyState"], "Enabled");
    }
    // It comes back, and its trail goes on from where it was cut off.
    let one = database.serve("a");
    let opened = one
        .client(&access_key)
        .aws("DescribeKey", &json!({"KeyId": key}));
    opened.ok();
    one.end();
    two.end();
    for folder in ["a", "b"] {
        database.done(folder, &["audit", "verify"]);
    }
}

/// Disabled at one, a key is used at the other for no longer than is published.
fn is_refused_within_the_bound(one: &Client, other: &Client, key: &Value) {
    let asked = json!({"KeyId": key, "KeySpec": "AES_256"});
    for _ in 0..3 {
        other.aws("GenerateDataKey", &asked).ok();
        one.aws("DisableKey", &json!({"KeyId": key})).ok();
        let disabled = Instant::now();
        let mut last = Duration::ZERO;
        loop {
            let sent = disabled.elapsed();
            let answer = other.aws("GenerateDataKey", &asked);
            match answer.status {
                200 => last = sent,
                400 => {
                    assert_eq!(answer.body["__type"], "DisabledException", "{answer:?}");
                    break;
                }
                // It could not ask the database in time, and does nothing.
                _ => {}
            }
        }
        assert!(last < STALE_AT_MOST, "used {last:?} after it was disabled");
        eprintln!("refused {last:?} after it was disabled");
        one.aws("EnableKey", &json!({"KeyId": key})).ok();
        wait_for("it is enabled", || {
            other.aws("GenerateDataKey", &asked).status == 200
        });
    }
}

/// The same bytes once more, at the other server, when it can know of them.
fn a_replay_is_refused_by_the_other(one: &Client, other: &Client, key: &Value) {
    let query = format!("KeyId={}&KeySpec=AES_256", key.as_str().unwrap());
    for seconds in 1..=10 {
        // Signed for a name that both have, as behind a balancer.
        let request = one.alibaba_as("kms.example", "GenerateDataKey", &query);
        assert_eq!(one.send(&request).unwrap().status, 200);
        thread::sleep(Duration::from_secs(seconds));
        let again = other.send(&request).unwrap();
        if again.status == 400 {
            assert_eq!(again.body["Code"], "SignatureNonceUsed");
            return;
        }
    }
    panic!("what one server took, the other takes ten seconds later");
}

#[test]
fn a_service_moves_from_sqlite_to_postgresql_and_back() {
    let database = Database::new();
    database.done("file", &["init", "--root-key", &database.key_file()]);
    database.done("file", &["key", "create", "--alias", "alias/kept"]);
    let backup = |name: &str| database.path(name).to_str().unwrap().to_owned();
    let (there, back) = (backup("there"), backup("back"));
    database.done("file", &["backup", &there]);
    let url = database.url();
    database.done("server", &["restore", &there, "--store", &url]);
    database.fails("again", &["restore", &there, "--store", &url], 31);
    assert!(!database.path("again").exists());
    database.done("server", &["key", "create", "--alias", "alias/new"]);
    database.done("server", &["backup", &back]);
    database.done("file-again", &["restore", &back]);
    for folder in ["server", "file-again"] {
        let listed = database.done(folder, &["key", "list", "--json"]);
        assert!(
            listed.contains("alias/kept") && listed.contains("alias/new"),
            "{listed}"
        );
        database.done(folder, &["audit", "verify"]);
    }
}

#[test]
fn a_server_that_joins_has_the_keys_of_the_hsm_or_says_what_is_missing() {
    let database = Database::new();
    let config = database.path("softhsm2.conf");
    fs::create_dir(database.path("tokens")).unwrap();
    let tokens = format!(
        "directories.tokendir = {}\n",
        database.path("tokens").display()
    );
    fs::write(&config, tokens).unwrap();
    fs::write(database.path("pin"), "648219").unwrap();
    let own = fs::Permissions::from_mode(0o600);
    fs::set_permissions(database.path("pin"), own).unwrap();
    for label in ["own", "another"] {
        let mut init = Command::new("softhsm2-util");
        init.args(["--init-token", "--free", "--label", label])
            .args(["--so-pin", "87654321", "--pin", "648219"])
            .env("SOFTHSM2_CONF", &config);
        let made = init
            .output()
            .expect("softhsm2-util: apt-get install softhsm2");
        assert!(made.status.success(), "{}", stderr(&made));
    }
    let run = |folder: &str, arguments: &[&str]| {
        let mut command = database.program(folder);
        command
            .env("SOFTHSM2_CONF", &config)
            .env(
                "ENVELOPEFS_PKCS11_MODULE",
                "/usr/lib/softhsm/libsofthsm2.so",
            )
            .env("ENVELOPEFS_PKCS11_PIN_FILE", database.path("pin"));
        let output = command.args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap() + &stderr(&output);
        (output.status.code(), text)
    };
    let (url, root) = (database.url(), database.key_file());
    let init = ["init", "--root-key", &root, "--store", &url];
    let with = |hsm| [&init[..], &["--hsm", hsm]].concat();
    assert_eq!(run("a", &with("pkcs11:token=own")).0, Some(0));
    assert_eq!(run("a", &["key", "create", "--hsm"]).0, Some(0));
    let join = |folder, more: &[&str]| {
        let arguments = [&["join", "--store", &url][..], more].concat();
        run(folder, &arguments)
    };
    let (code, told) = join("b", &["--hsm", "pkcs11:token=another"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("is in this one"), "{told}");
    assert!(!database.path("b").exists(), "something is left");
    let (code, told) = join("b", &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("this server has none"), "{told}");
    let (code, told) = join("c", &["--hsm", "pkcs11:token=own"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("1 version of keys in the HSM: found there."),
        "{told}"
    );
}
