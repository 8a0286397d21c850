//! Power cuts: what a crash may leave of a volume, made from a recording and opened.
//!
//! A scenario is done once in a volume, in this process, with every change of the ciphertext folder and every sync written
//! down (`record`). From that the states are made that a journalling file system may be in after the power
//! failed at any moment (`state`, and `log_tree` for Btrfs); pages of 4 KiB reach the disk whole. Each
//! state is put onto a real folder, mounted, and compared with what the steps allow (`oracle`, `verify`):
//! what was synced is there; every other chunk is that of some moment since; every folder opens; every name leads where it
//! led at some moment since it was durable; no file answers EIO, but for new ones of which nothing was ever durable.
//!
//! `scripts/crash.sh` says how many states there are, and what varies them.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![expect(clippy::print_stdout, reason = "how many states were checked is told")]

mod history;
mod image;
#[path = "../inprocess/mod.rs"]
mod inprocess;
mod log_tree;
mod oracle;
mod record;
mod run;
mod scenarios;
mod state;
mod verify;

use run::check_scenario;

#[test]
fn an_appended_log_keeps_what_was_synced() {
    check_scenario(scenarios::APPENDED_LOG);
}
#[test]
fn x_all() {
    for s in scenarios::EACH { let _ = std::panic::catch_unwind(|| check_scenario(s)); }
}
