//! A PostgreSQL server of the tests' own. It ends, and leaves nothing, with the process that started it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Debian's postgresql-15.
const BIN: &str = "/usr/lib/postgresql/15/bin";
/// Without a port it serves on a socket alone, and trusts who comes there. With one it serves TLS there too, and wants a
/// password. It does what its standard input says, line by line, until that ends.
const SCRIPT: &str = r#"
set -eu
bin=$1 port=$2
folder=$(mktemp -d /tmp/envelopekms-pg.XXXXXX)
options="-k $folder -c fsync=off -c max_connections=200"
stop() { "$bin/pg_ctl" -D "$folder/data" -m immediate -w stop >>"$folder/log" 2>&1 || true; }
start() { "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w -t 120 -o "$options" start >>"$folder/log" 2>&1 </dev/null; }
trap 'stop; rm -rf "$folder"' EXIT
# Whoever started it may be gone before it is told of: that is an end as any other, and no signal.
trap '' PIPE
trap 'exit 1' HUP INT TERM
"$bin/initdb" --auth-local=trust --auth-host=scram-sha-256 --username=postgres --no-sync \
    --pgdata="$folder/data" >"$folder/log" 2>&1
if [ "$port" -eq 0 ]; then
    options="$options -c listen_addresses="
else
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -addext basicConstraints=critical,CA:FALSE -keyout "$folder/server.key" -out "$folder/server.pem" 2>>"$folder/log"
    options="$options -c listen_addresses=127.0.0.1 -p $port -c ssl=on"
    options="$options -c ssl_cert_file=$folder/server.pem -c ssl_key_file=$folder/server.key"
fi
start
echo "$folder"
while read -r command; do
    "$command"
    echo "done"
done
"#;

pub(crate) struct Cluster {
    /// Of its socket, and of `server.pem`, which is its certificate and what is to be trusted.
    pub(crate) folder: String,
    stdout: BufReader<ChildStdout>,
    /// Held for as long as the server is to live.
    stdin: Option<ChildStdin>,
    shell: Child,
}

impl Cluster {
    /// Starts a server; 0 for none but its socket.
    pub(crate) fn start(port: u16) -> Self {
        assert!(
            Path::new(BIN).join("initdb").exists(),
            "PostgreSQL is not there: install Debian's package postgresql-15"
        );
        let mut command = if rustix::process::geteuid().is_root() {
            // It does not run as root; Debian's package makes the user.
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut shell = command
            .args(["-c", SCRIPT, "sh", BIN, &port.to_string()])
            .current_dir("/")
            // A test in a process of its own takes its whole group away when it ends, and this has to clear up then.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh, and runuser of Debian's package util-linux where tests run as root");
        let mut cluster = Self {
            folder: String::new(),
            stdout: BufReader::new(shell.stdout.take().unwrap()),
            stdin: shell.stdin.take(),
            shell,
        };
        cluster.folder = cluster.line();
        assert!(!cluster.folder.is_empty(), "PostgreSQL does not start");
        cluster
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// `stop`, as if its machine lost power, or `start`.
    #[allow(dead_code, reason = "used by one of the two crates that this is in")]
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
        assert_eq!(self.line(), "done", "{command}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ended = self.shell.wait();
    }
}
