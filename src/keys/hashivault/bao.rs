//! OpenBao for tests: a development server, which ends with the process that started it.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::keys::service::{Endpoint, Reach, failures, python};
use crate::units::KeyUri;

use super::{HashivaultProvider, given};

/// The token that may do everything.
const ROOT: &str = "root-of-the-tests";
const KEY: &str = "files";

/// The server.
pub(crate) struct Bao {
    address: String,
    folder: tempfile::TempDir,
    tls: bool,
    /// Its end, by a closed pipe, ends the server.
    shell: Child,
}

impl Bao {
    /// The server that tests share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Bao> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(false))
    }

    /// A server of one's own.
    pub(crate) fn start(tls: bool) -> Self {
        // The port may be taken by another before the server gets to it.
        for _ in 0..5 {
            let mut server = Self::try_start(tls);
            if server.comes_up() {
                return server;
            }
        }
        panic!(
            "OpenBao does not come up: {}",
            python::program("bao").display()
        );
    }

    fn try_start(tls: bool) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        // The shell waits for its input to end, which it does with this process, however that ends.
        shell.args(["-c", "\"$@\" & read -r _; kill $!; wait", "sh"]);
        shell.arg(python::program("bao"));
        shell.args(["server", "-dev", "-dev-no-store-token"]);
        shell.arg(format!("-dev-root-token-id={ROOT}"));
        shell.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        if tls {
            let mut certificates = OsStr::new("-dev-tls-cert-dir=").to_owned();
            certificates.push(folder.path());
            shell.arg("-dev-tls").arg(certificates);
        }
        shell.env("HOME", folder.path()).stdin(Stdio::piped());
        let shell = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self {
            address: format!("{}://127.0.0.1:{port}", if tls { "https" } else { "http" }),
            folder,
            tls,
            shell: shell.unwrap(),
        }
    }

    fn comes_up(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            if self.run(&["status"]).status().unwrap().success() {
                return true;
            }
            if self.shell.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(100));
        }
        false
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.address).unwrap()
    }

    /// The CA of a server with TLS.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("vault-ca.pem")
    }

    /// The server's own certificate and key.
    pub(crate) fn certificate(&self) -> [PathBuf; 2] {
        ["vault-cert.pem", "vault-key.pem"].map(|name| self.folder.path().join(name))
    }

    /// Has the administrator do something; gives back what was printed.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "bao {arguments:?} failed");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What the administrator would run.
    pub(crate) fn run(&self, arguments: &[&str]) -> Command {
        let mut bao = Command::new(python::program("bao"));
        bao.args(arguments).env("HOME", self.folder.path());
        bao.env("BAO_ADDR", &self.address).env("BAO_TOKEN", ROOT);
        bao.env_remove("BAO_NAMESPACE")
            .env_remove("VAULT_NAMESPACE");
        if self.tls {
            bao.env("BAO_CACERT", self.ca());
        }
        bao.stdout(Stdio::null()).stderr(Stdio::null());
        bao
    }

    /// A new Transit engine with a key.
    pub(crate) fn engine(&self, key_options: &[&str]) -> Engine<'_> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mount = format!("engine{}", COUNT.fetch_add(1, Ordering::SeqCst));
        self.admin(&["secrets", "enable", &format!("-path={mount}"), "transit"]);
        let engine = Engine { bao: self, mount };
        let key = engine.path("keys");
        self.admin(&[&["write", "-f", &key], key_options].concat());
        engine
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

/// A Transit engine with a key.
pub(crate) struct Engine<'a> {
    pub(crate) bao: &'a Bao,
    pub(crate) mount: String,
}

impl Engine<'_> {
    /// The path of an operation on the key.
    pub(crate) fn path(&self, operation: &str) -> String {
        format!("{}/{operation}/{KEY}", self.mount)
    }

    /// What docs/keys/hashivault.md tells to allow, and what else.
    pub(crate) fn policy(&self, operations: &[&str]) -> String {
        let name = format!("{}-{}", self.mount, operations.len());
        let rule = |operation: &&str| {
            let capability = if *operation == "keys" {
                "read"
            } else {
                "update"
            };
            let path = self.path(operation);
            format!("path \"{path}\" {{ capabilities = [\"{capability}\"] }}\n")
        };
        let rules: String = operations.iter().map(rule).collect();
        let file = self.bao.folder.path().join(&name);
        std::fs::write(&file, rules).unwrap();
        self.bao
            .admin(&["policy", "write", &name, file.to_str().unwrap()]);
        name
    }

    /// A token that may do these operations on the key.
    pub(crate) fn token(&self, operations: &[&str], options: &[&str]) -> String {
        let policy = format!("-policy={}", self.policy(operations));
        let create = ["token", "create", "-field=token", &policy];
        self.bao.admin(&[&create[..], options].concat())
    }

    pub(crate) fn uri(&self) -> KeyUri {
        format!("hashivault://{KEY}?mount={}", self.mount)
            .parse()
            .unwrap()
    }

    /// The provider of the key, with a token that may do what a mount needs.
    pub(crate) fn provider(&self) -> HashivaultProvider {
        self.open(&[("VAULT_TOKEN", &self.token(&ALL, &[]))])
    }

    /// The provider of the key in an environment.
    pub(crate) fn open(&self, variables: &[(&str, &str)]) -> HashivaultProvider {
        open(&self.uri(), &self.reach(), variables)
    }

    pub(crate) fn reach(&self) -> Reach {
        Reach {
            ca: self.bao.tls.then(|| self.bao.ca()),
            ..failures::at(&self.bao.endpoint())
        }
    }
}

/// The operations that a mount needs.
pub(crate) const ALL: [&str; 4] = ["keys", "datakey/plaintext", "decrypt", "rewrap"];

pub(crate) fn open(uri: &KeyUri, reach: &Reach, variables: &[(&str, &str)]) -> HashivaultProvider {
    let (stored, of_uri) = given(uri).unwrap();
    let options = failures::options(&stored, &of_uri.or(reach.clone()), variables);
    HashivaultProvider::open(&stored, &options).unwrap()
}
