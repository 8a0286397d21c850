//! A volume whose key is in AWS KMS: moto's, as the page about it has it.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use crate::documents::{Unmounts, blocks, output_of};
use crate::harness::{
    errno, is_running, program, refuses, require_fuse, run, set_mode, wait_until,
};

const PAGE: &str = include_str!("../../docs/keys/awskms.md");
/// The port that the page has.
const PORT: &str = "5017";
const KEY_DENIED: i32 = 12;
const KEY_UNAVAILABLE: i32 = 13;

/// A reader of the page, in a home of his own.
struct Reader {
    home: tempfile::TempDir,
    port: String,
}

impl Reader {
    fn new() -> Self {
        require_fuse();
        let home = tempfile::tempdir().unwrap();
        let run_folder = home.path().join("run");
        fs::create_dir(&run_folder).unwrap();
        set_mode(&run_folder, 0o700);
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        Self { home, port }
    }

    fn follow(&self, script: &str) -> String {
        let path = format!("export PATH={}:$PATH\n", tools().display());
        output_of(
            &(path + &script.replace(PORT, &self.port)),
            self.home.path(),
        )
    }

    /// An administrator's call by the AWS CLI.
    fn aws(&self, command: &str) -> String {
        self.follow(&format!(
            "export AWS_ENDPOINT_URL_KMS=http://127.0.0.1:{PORT} AWS_DEFAULT_REGION=eu-central-1
             export AWS_ACCESS_KEY_ID=anybody AWS_SECRET_ACCESS_KEY=anything
             aws kms {command}"
        ))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn envelopefs(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env(
                "AWS_ENDPOINT_URL_KMS",
                format!("http://127.0.0.1:{}", self.port),
            )
            .env("AWS_ACCESS_KEY_ID", "anybody")
            .env("AWS_SECRET_ACCESS_KEY", "hunter2");
        command
    }

    fn mount(&self) -> Command {
        self.envelopefs(&["mount", "aws.enc", "aws-files"])
    }

    fn stop_server(&self) {
        let Ok(pid) = fs::read_to_string(self.path("moto.pid")) else {
            return;
        };
        let pid: i32 = pid.trim().parse().unwrap();
        let server = rustix::process::Pid::from_raw(pid).unwrap();
        // It may have ended by itself.
        let _ended = rustix::process::kill_process(server, rustix::process::Signal::KILL);
        wait_until("the server to end", || !is_running(pid.unsigned_abs()));
        fs::remove_file(self.path("moto.pid")).unwrap();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop_server();
    }
}

/// The folder of moto_server and the AWS CLI.
fn tools() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache =
        || variable("XDG_CACHE_HOME").unwrap_or_else(|| variable("HOME").unwrap().join(".cache"));
    let tools = variable("ENVELOPEFS_TOOLS").unwrap_or_else(|| cache().join("envelopefs/tools"));
    let folder = tools.join("python/bin");
    for program in ["moto_server", "aws"] {
        assert!(
            folder.join(program).exists(),
            "{program} is missing in {}: run scripts/test.sh live, which installs moto[server] and awscli from PyPI",
            folder.display()
        );
    }
    folder
}

fn note(reader: &Reader) -> PathBuf {
    reader.path("aws-files/note")
}

#[test]
fn the_page_about_aws_kms_does_what_it_says() {
    let reader = Reader::new();
    let _unmounts = Unmounts(reader.path("aws-files"));
    let scripts = blocks(PAGE, "sh");
    assert_eq!(scripts.len(), 2, "the page was rearranged: adapt this test");
    let printed: Vec<_> = scripts.iter().map(|script| reader.follow(script)).collect();
    let shown = "awskms:///alias/files?region=eu-central-1: ok";
    assert!(printed[1].contains(shown), "{printed:?}");
    let stored = fs::read_to_string(reader.path("aws.enc/.envelopefs/volume.json")).unwrap();
    assert!(!stored.contains("127.0.0.1"), "{stored}");

    run(&mut reader.mount());
    assert_eq!(
        fs::read_to_string(note(&reader)).unwrap(),
        "by a key in AWS\n"
    );
    run(&mut reader.envelopefs(&["umount", "aws-files"]));
    an_exchanged_key_opens_old_and_new(&reader);
    a_deleted_key_is_a_refusal(&reader);
    a_server_that_is_gone_is_none(&reader);
    a_volume_does_not_say_where_the_service_is(&reader, &stored);
}

fn an_exchanged_key_opens_old_and_new(reader: &Reader) {
    let second = reader.aws("create-key --query KeyMetadata.KeyId --output text");
    let second = second.trim();
    reader.aws(&format!(
        "update-alias --alias-name alias/files --target-key-id {second}"
    ));
    run(&mut reader.mount());
    fs::write(reader.path("aws-files/second"), "by another key").unwrap();
    assert_eq!(
        fs::read_to_string(note(reader)).unwrap(),
        "by a key in AWS\n"
    );
    let status = run(&mut reader.envelopefs(&["status", "aws-files"]));
    assert!(status.contains(second), "{status}");
    run(&mut reader.envelopefs(&["umount", "aws-files"]));
    run(&mut reader.mount());
    let read = fs::read_to_string(reader.path("aws-files/second")).unwrap();
    assert_eq!(read, "by another key");
}

/// Behind a mount that has not asked for the file's key yet. The first key: it wrapped the note.
fn a_deleted_key_is_a_refusal(reader: &Reader) {
    let keys = reader.aws("list-keys --query 'Keys[].KeyId' --output text");
    for key in keys.split_whitespace() {
        reader.aws(&format!(
            "schedule-key-deletion --key-id {key} --pending-window-in-days 7"
        ));
    }
    let status = run(&mut reader.envelopefs(&["status", "aws-files"]));
    assert!(status.contains("scheduled for deletion"), "{status}");
    run(&mut reader.envelopefs(&["umount", "aws-files"]));
    for key in keys.split_whitespace() {
        reader.aws(&format!("cancel-key-deletion --key-id {key}"));
        reader.aws(&format!("enable-key --key-id {key}"));
    }
}

fn a_server_that_is_gone_is_none(reader: &Reader) {
    run(&mut reader.mount());
    reader.stop_server();
    let refused = errno(fs::read(note(reader)));
    let expected =
        [rustix::io::Errno::AGAIN, rustix::io::Errno::IO].map(rustix::io::Errno::raw_os_error);
    assert!(expected.contains(&refused), "errno {refused}");
    run(&mut reader.envelopefs(&["umount", "aws-files"]));
    let words = ["no answer from 127.0.0.1", "awskms:///alias/files"];
    refuses(&mut reader.mount(), KEY_UNAVAILABLE, &words);
    let mut without = reader.mount();
    without
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    refuses(
        &mut without,
        KEY_DENIED,
        &["no AWS credentials", "AWS_ACCESS_KEY_ID"],
    );
}

fn a_volume_does_not_say_where_the_service_is(reader: &Reader, stored: &str) {
    let elsewhere = "eu-central-1&endpoint=https://evil.example";
    let config = reader.path("aws.enc/.envelopefs/volume.json");
    fs::write(&config, stored.replace("eu-central-1", elsewhere)).unwrap();
    refuses(&mut reader.mount(), KEY_DENIED, &["must not say endpoint"]);
}
