//! PyKMIP's server for tests, in a process group of its own, with an authority and certificates that
//! openssl makes.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::{KmipFile, KmipFiles, KmipOptions, KmipProvider};
use crate::units::KeyUri;

/// What an administrator of the server does: make, activate, revoke, destroy.
const ADMIN: &str = r#"
import sys
from kmip import enums
from kmip.pie.client import ProxyKmipClient
from kmip.pie.objects import SymmetricKey
home, port, who, what, *rest = sys.argv[1:]
mask = enums.CryptographicUsageMask
client = ProxyKmipClient("127.0.0.1", int(port), f"{home}/{who}.pem", f"{home}/{who}.key", f"{home}/ca.pem",
    ssl_version="PROTOCOL_TLSv1_2", config_file="/dev/null")
with client:
    if what in ("create", "preactive"):
        masks = [mask.ENCRYPT, mask.DECRYPT]
        id = client.create(enums.CryptographicAlgorithm.AES, 256, name=rest[0], cryptographic_usage_mask=masks)
        if what == "create":
            client.activate(id)
        print(id)
    elif what == "register":
        algorithm = enums.CryptographicAlgorithm[rest[1]]
        value = bytes(range(int(rest[2]) // 8))
        masks = [mask[name] for name in rest[3:]]
        client.activate(client.register(SymmetricKey(algorithm, len(value) * 8, value, masks, rest[0])))
    elif what == "revoke":
        reason = enums.RevocationReasonCode[rest[1]]
        client.revoke(reason, rest[0], compromise_occurrence_date=0 if rest[1] == "KEY_COMPROMISE" else None)
    elif what == "destroy":
        client.destroy(rest[0])
"#;

const EXTENSIONS: &str = "[server]\nsubjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n\
     [elsewhere]\nsubjectAltName=DNS:kms.example\nextendedKeyUsage=serverAuth\n\
     [client]\nextendedKeyUsage=clientAuth\n";

/// An authority, and the certificates that it has made: `NAME.pem`, `NAME.key`.
pub(super) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(super) fn new() -> Self {
        let made = Self {
            folder: TempDir::new().unwrap(),
        };
        std::fs::write(made.path("extensions"), EXTENSIONS).unwrap();
        made.authority("ca");
        made.issue("ca", "server", "server");
        made.issue("ca", "client", "client");
        made
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn authority(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -days 30 -keyout {name}.key -out {name}.pem"
        ));
    }

    /// A certificate by `authority`, with these extensions.
    pub(super) fn issue(&self, authority: &str, name: &str, extensions: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 30 -extfile extensions -extensions {extensions} -out {name}.pem"
        ));
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(&format!("{name}.key")), private).unwrap();
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .expect("these tests need openssl: apt-get install openssl (scripts/test.sh does)");
        assert!(output.status.success(), "openssl {arguments}: {output:?}");
    }

    /// The files of a client.
    pub(super) fn files(&self, client: &str) -> KmipFiles {
        let file = |name: &str| Some(KmipFile::File(self.path(name)));
        KmipFiles {
            ca: file("ca.pem"),
            cert: file(&format!("{client}.pem")),
            key: file(&format!("{client}.key")),
        }
    }
}

/// A server that runs until it is dropped.
pub(super) struct Server {
    pub(super) certificates: Certificates,
    pub(super) port: u16,
    process: Child,
}

impl Server {
    pub(super) fn start() -> Self {
        let certificates = Certificates::new();
        let port = free_port();
        let process = start(&certificates, port);
        Self {
            certificates,
            port,
            process,
        }
    }

    /// Stops the server; the port is free again.
    pub(super) fn stop(&mut self) {
        let group = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        // It may have ended by itself.
        let _killed = kill_process_group(group.unwrap(), Signal::KILL);
        self.process.wait().unwrap();
    }

    /// Starts the server again, with the keys that it had.
    pub(super) fn start_again(&mut self) {
        self.process = start(&self.certificates, self.port);
    }

    /// What an administrator does; gives what it prints.
    pub(super) fn admin(&self, who: &str, arguments: &[&str]) -> String {
        let home = self.certificates.folder.path().to_str().unwrap();
        let port = self.port.to_string();
        let output = Command::new(tool("python3"))
            .args(["-W", "ignore", "-c", ADMIN, home, &port, who])
            .args(arguments)
            .output()
            .unwrap();
        said(&output)
    }

    /// An active key; gives its unique identifier.
    pub(super) fn create(&self, name: &str) -> String {
        self.admin("client", &["create", name])
    }

    pub(super) fn uri(&self, key: &str) -> KeyUri {
        format!("kmip://127.0.0.1:{}/{key}", self.port)
            .parse()
            .unwrap()
    }

    pub(super) fn open(&self, key: &str) -> KmipProvider {
        self.open_as(key, "client")
    }

    pub(super) fn open_as(&self, key: &str, client: &str) -> KmipProvider {
        let options = KmipOptions {
            files: self.certificates.files(client),
            ..KmipOptions::default()
        };
        KmipProvider::open(&self.uri(key), &options).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(certificates: &Certificates, port: u16) -> Child {
    let home = certificates.folder.path();
    std::fs::create_dir_all(home.join("policy")).unwrap();
    let config = format!(
        "[server]\nhostname=127.0.0.1\nport={port}\ncertificate_path={home}/server.pem\nkey_path={home}/server.key\n\
         ca_path={home}/ca.pem\nauth_suite=TLS1.2\npolicy_path={home}/policy\nenable_tls_client_auth=True\n\
         logging_level=ERROR\ndatabase_path={home}/keys.sqlite\n",
        home = home.display()
    );
    std::fs::write(home.join("server.conf"), config).unwrap();
    let output = std::fs::File::create(home.join("output")).unwrap();
    let mut process = Command::new(tool("pykmip-server"))
        .arg("-f")
        .arg(home.join("server.conf"))
        .arg("-l")
        .arg(home.join("server.log"))
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0)
        .spawn()
        .unwrap();
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let output = std::fs::read_to_string(home.join("output")).unwrap_or_default();
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none(), "PyKMIP's server ended: {output}");
        let late = began.elapsed() > Duration::from_mins(1);
        assert!(!late, "PyKMIP's server does not start: {output}");
        std::thread::sleep(Duration::from_millis(50));
    }
    process
}

/// A program of PyKMIP's: on the PATH, or where scripts/test.sh installs it.
fn tool(name: &str) -> PathBuf {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    let tools = var("ENVELOPEFS_TOOLS").or_else(|| Some(cache?.join("envelopefs/tools")));
    let installed = tools.map(|tools| tools.join("python/bin").join(name));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let has_server = |folder: &Path| folder.join("pykmip-server").exists();
    let on_path = std::env::split_paths(&paths).find(|folder| has_server(folder));
    let found = installed
        .filter(|path| path.exists())
        .or_else(|| on_path.map(|folder| folder.join(name)));
    found.expect("these tests need PyKMIP: pip install PyKMIP==0.11.0 (scripts/test.sh test does)")
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{output:?}");
    text
}
