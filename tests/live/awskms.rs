//! A volume whose key is in AWS KMS: moto's, as the page about it has it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::documents::{Page, Reader};
use crate::harness::{errno, refuses, run};

/// The port that the page has.
const PORT: &str = "5017";
const KEY_DENIED: i32 = 12;
const KEY_UNAVAILABLE: i32 = 13;

/// An administrator's call by the AWS CLI.
fn aws(reader: &Reader, command: &str) -> String {
    reader.run(&format!(
        "export AWS_ENDPOINT_URL_KMS=http://127.0.0.1:{PORT} AWS_DEFAULT_REGION=eu-central-1
         export AWS_ACCESS_KEY_ID=anybody AWS_SECRET_ACCESS_KEY=anything
         aws kms {command}"
    ))
}

fn envelopefs(reader: &Reader, arguments: &[&str]) -> Command {
    let mut command = reader.envelopefs(arguments);
    let service = format!("http://127.0.0.1:{}", reader.with_ports(PORT));
    command
        .env("AWS_ENDPOINT_URL_KMS", service)
        .env("AWS_ACCESS_KEY_ID", "anybody")
        .env("AWS_SECRET_ACCESS_KEY", "hunter2");
    command
}

fn mount(reader: &Reader) -> Command {
    envelopefs(reader, &["mount", "aws.enc", "aws-files"])
}

fn note(reader: &Reader) -> PathBuf {
    reader.path("aws-files/note")
}

#[test]
fn the_page_about_aws_kms_does_what_it_says() {
    let page = Page::new(include_str!("../../docs/keys/awskms.md"));
    let tools = &[
        ("moto_server", "moto[server]==5.2.5"),
        ("aws", "awscli==1.46.3"),
    ];
    let reader = page.ports(&[PORT]).tools(tools).follow();
    let stored = fs::read_to_string(reader.path("aws.enc/.envelopefs/volume.json")).unwrap();
    assert!(!stored.contains("127.0.0.1"), "{stored}");

    run(&mut mount(&reader));
    assert_eq!(
        fs::read_to_string(note(&reader)).unwrap(),
        "by a key in AWS\n"
    );
    run(&mut envelopefs(&reader, &["umount", "aws-files"]));
    an_exchanged_key_opens_old_and_new(&reader);
    a_deleted_key_is_a_refusal(&reader);
    a_server_that_is_gone_is_none(&reader);
    a_volume_does_not_say_where_the_service_is(&reader, &stored);
}

fn an_exchanged_key_opens_old_and_new(reader: &Reader) {
    let second = aws(reader, "create-key --query KeyMetadata.KeyId --output text");
    let second = second.trim();
    aws(
        reader,
        &format!("update-alias --alias-name alias/files --target-key-id {second}"),
    );
    run(&mut mount(reader));
    fs::write(reader.path("aws-files/second"), "by another key").unwrap();
    assert_eq!(
        fs::read_to_string(note(reader)).unwrap(),
        "by a key in AWS\n"
    );
    let status = run(&mut envelopefs(reader, &["status", "aws-files"]));
    assert!(status.contains(second), "{status}");
    run(&mut envelopefs(reader, &["umount", "aws-files"]));
    run(&mut mount(reader));
    let read = fs::read_to_string(reader.path("aws-files/second")).unwrap();
    assert_eq!(read, "by another key");
}

/// Behind a mount that has not asked for the file's key yet. The first key: it wrapped the note.
fn a_deleted_key_is_a_refusal(reader: &Reader) {
    let keys = aws(reader, "list-keys --query 'Keys[].KeyId' --output text");
    for key in keys.split_whitespace() {
        aws(
            reader,
            &format!("schedule-key-deletion --key-id {key} --pending-window-in-days 7"),
        );
    }
    let status = run(&mut envelopefs(reader, &["status", "aws-files"]));
    assert!(status.contains("scheduled for deletion"), "{status}");
    run(&mut envelopefs(reader, &["umount", "aws-files"]));
    for key in keys.split_whitespace() {
        aws(reader, &format!("cancel-key-deletion --key-id {key}"));
        aws(reader, &format!("enable-key --key-id {key}"));
    }
}

fn a_server_that_is_gone_is_none(reader: &Reader) {
    run(&mut mount(reader));
    reader.stop_servers();
    let refused = errno(fs::read(note(reader)));
    let expected =
        [rustix::io::Errno::AGAIN, rustix::io::Errno::IO].map(rustix::io::Errno::raw_os_error);
    assert!(expected.contains(&refused), "errno {refused}");
    run(&mut envelopefs(reader, &["umount", "aws-files"]));
    let words = ["no answer from 127.0.0.1", "awskms:///alias/files"];
    refuses(&mut mount(reader), KEY_UNAVAILABLE, &words);
    let mut without = mount(reader);
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
    refuses(&mut mount(reader), KEY_DENIED, &["must not say endpoint"]);
}
