//! The programs that people run on a mount, as they are.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::harness::{Mount, Volume, require_root, run, set_mode, shell, wait_until};
use crate::tree;

const MIB_IN_KIB: u64 = 1024;

#[test]
fn a_tree_of_20000_files_is_copied_in_and_comes_back_whole() {
    let source = TempDir::new().unwrap();
    tree::grow(source.path(), 20_000);
    let volume = Volume::create(&[]);

    let mount = volume.mount();
    run(Command::new("cp")
        .arg("-a")
        .arg(source.path())
        .arg(mount.path("tree")));
    let resident = mount.status().resident_kib();
    assert!(
        resident < 80 * MIB_IN_KIB,
        "{resident} KiB resident after the copy"
    );

    let mount = mount.again();
    listing_asks_for_nothing(&mount);
    run(Command::new("diff")
        .arg("-r")
        .arg("--no-dereference")
        .arg(source.path())
        .arg(mount.path("tree")));
    mount.unmount();
}

/// With an empty keyring: names, sizes, modes and times need no key and no file.
fn listing_asks_for_nothing(mount: &Mount<'_>) {
    let before = mount.status();
    run(Command::new("ls").arg("-lR").arg(mount.root()));
    let after = mount.status();
    assert_eq!(
        after.provider_calls(),
        before.provider_calls(),
        "provider calls of ls -lR"
    );
    assert_eq!(
        after.files_opened(),
        before.files_opened(),
        "files opened by ls -lR"
    );
}

#[test]
fn a_git_clone_is_whole_and_stays_clean() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let source = TempDir::new().unwrap();
    tree::grow(source.path(), 300);
    let git = "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b \
               GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b;";
    shell(
        source.path(),
        &format!(
            "{git} git init -q; git add -A; git commit -qm one; git rm -rqf 0; git commit -qm two"
        ),
    );

    let clone = format!(
        "{git} git clone -q --no-local {} clone",
        source.path().display()
    );
    shell(mount.root(), &clone);
    let mount = mount.again();
    let work = format!(
        "{git} git fsck --full --strict 2>&1; git status --porcelain; git reset -q --hard HEAD~1; git gc -q; git fsck --full 2>&1; git status --porcelain"
    );
    let said = shell(&mount.path("clone"), &work);
    assert_eq!(
        said.lines()
            .filter(|line| !line.starts_with("dangling"))
            .count(),
        0,
        "{said}"
    );
}

#[test]
fn cargo_builds_a_crate_and_the_kernel_runs_it() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let script = r#"
        mkdir -p hello/src && cd hello
        printf '[package]\nname = "hello"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' > Cargo.toml
        echo 'fn main() { println!("built in the mount") }' > src/main.rs
        cargo build --quiet --offline
        target/debug/hello
        touch src/main.rs
        cargo build --quiet --offline"#;
    assert_eq!(shell(mount.root(), script), "built in the mount\n");
    let mount = mount.again();
    assert_eq!(
        run(&mut Command::new(mount.path("hello/target/debug/hello"))),
        "built in the mount\n"
    );
}

#[test]
fn sqlite_with_a_write_ahead_log_keeps_its_integrity() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let fill = r#"
        sqlite3 db 'PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB);'
        rows='WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) SELECT randomblob(i * 13) FROM n'
        writer() { for round in 1 2 3 4; do sqlite3 -cmd '.timeout 30000' db "INSERT INTO t (v) $rows;"; done; }
        writer & one=$!
        writer & two=$!
        wait $one; wait $two
        sqlite3 db 'DELETE FROM t WHERE id % 3 = 0; VACUUM;'"#;
    assert!(shell(mount.root(), fill).starts_with("wal\n"));
    let mount = mount.again();
    let asked = shell(
        mount.root(),
        "sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t;'",
    );
    assert_eq!(asked, "ok\n1334\n");
}

#[test]
fn tar_packs_and_unpacks_inside_the_mount() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let source = TempDir::new().unwrap();
    tree::grow(source.path(), 500);
    let script = format!(
        "tar -C {0} -cf all.tar . && mkdir out && tar -C out -xf all.tar && tar -C out --compare -f all.tar && diff -r --no-dereference {0} out",
        source.path().display()
    );
    shell(mount.root(), &script);
}

#[test]
fn rsync_carries_hard_links_xattrs_and_acls_over_and_back() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--acl"]);
    let source = TempDir::new().unwrap();
    tree::grow(source.path(), 100);
    let dress = r#"
        cd 0/0
        ln 7.rs hard && ln 7.rs harder
        setfattr -n user.colour -v red 8.rs
        setfattr -n user.big -v "$(printf %1000s)" 9.rs
        setfacl -m u:nobody:r,g:nogroup:rx 10.rs
        setfacl -d -m u:nobody:rwx empty
        truncate -s 3M sparse && echo end >> sparse
        touch -d '1999-12-31 23:59:59.123456789 UTC' 11.rs"#;
    shell(source.path(), dress);

    let copy = |from: &Path, to: &Path| rsync(&["-aHAXS"], from, to);
    copy(source.path(), &mount.path("tree"));
    let mount = mount.again_with(&["--acl"]);
    assert_eq!(differences(source.path(), &mount.path("tree")), "");

    let back = TempDir::new().unwrap();
    copy(&mount.path("tree"), back.path());
    assert_eq!(differences(source.path(), back.path()), "");
}

fn rsync(options: &[&str], from: &Path, to: &Path) -> String {
    run(Command::new("rsync")
        .args(options)
        .arg(format!("{}/", from.display()))
        .arg(to))
}

fn differences(from: &Path, to: &Path) -> String {
    rsync(
        &["-aHAXn", "--checksum", "--delete", "--itemize-changes"],
        from,
        to,
    )
}

#[test]
fn nginx_serves_tls_with_its_certificate_and_key_in_the_mount() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--allow-other"]);
    let make_certificate = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost 2>/dev/null
        chmod 600 key.pem; mkdir www; echo 'read through the mount' > www/index.html";
    shell(mount.root(), make_certificate);
    set_mode(mount.root(), 0o755);
    let mount = mount.again_with(&["--allow-other"]);

    let server = Nginx::start(&volume, mount.root());
    let ask = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -connect 127.0.0.1:{} -CAfile {} -verify_return_error 2>/dev/null",
        server.port,
        mount.path("cert.pem").display()
    );
    let answer = shell(volume.home(), &ask);
    assert!(
        answer.contains("200 OK") && answer.ends_with("read through the mount\n"),
        "{answer}"
    );
}

struct Nginx {
    port: u16,
    process: Child,
}

impl Nginx {
    /// Starts a server whose workers are `nobody`, and waits until it listens.
    fn start(volume: &Volume, site: &Path) -> Self {
        let port = free_port();
        let config = volume.home().join("nginx.conf");
        fs::write(&config, Self::config(volume.home(), site, port)).expect("a configuration");
        let mut command = Command::new("nginx");
        command
            .arg("-e")
            .arg(volume.home().join("nginx.log"))
            .arg("-c")
            .arg(&config);
        let process = command.spawn().expect("nginx runs");
        let server = Self { port, process };
        wait_until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    fn config(home: &Path, site: &Path, port: u16) -> String {
        let (home, site) = (home.display(), site.display());
        let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = folders
            .iter()
            .map(|name| format!("{name}_temp_path {home}/{name};\n"))
            .collect();
        format!(
            "daemon off; user nobody nogroup; worker_processes 1; pid {home}/nginx.pid; error_log {home}/nginx.log;
             events {{}}
             http {{
                 access_log off; {temporary}
                 server {{
                     listen 127.0.0.1:{port} ssl;
                     ssl_certificate {site}/cert.pem; ssl_certificate_key {site}/key.pem;
                     root {site}/www;
                 }}
             }}"
        )
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM to the master ends its workers too.
        let pid = self.process.id().to_string();
        let ended = Command::new("kill")
            .arg(pid)
            .status()
            .is_ok_and(|status| status.success());
        if !ended {
            eprintln!("nginx was gone already");
        }
        self.process.wait().expect("nginx ends");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
