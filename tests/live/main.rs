//! Live mounts: the built program, the kernel's FUSE, and the programs that people use on a mount.
//!
//! `scripts/test.sh live` installs what the tests need and runs them as root on the release build;
//! `cargo test --test live` runs them on the dev build. A test that cannot run fails and says why.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod acls;
mod audit;
mod awskms;
mod bad_input;
mod bao;
mod callers;
mod check;
mod config;
mod crash;
mod doctor;
mod documents;
mod economy;
mod files;
mod folders;
mod given_keys;
mod handles;
mod harness;
mod hsm;
mod idle;
mod import;
mod keys;
mod kill;
mod kmip;
mod limits;
#[path = "../documents/markdown.rs"]
mod markdown;
mod metadata;
mod metrics;
mod model;
mod mount_command;
mod names;
mod options;
mod pages;
mod policy;
mod random_io;
mod real_work;
mod reencrypt;
mod revocation;
mod rights;
mod sandbox;
mod seal;
mod shared;
mod single_files;
mod slots;
mod slow_keys;
mod tmpfile;
mod top;
mod tpm;
mod transit;
mod transport;
mod tree;
mod workers;
mod write_only;
