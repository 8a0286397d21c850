//! Faults of the disk: every system call on the ciphertext folder fails, is interrupted or is cut short in its
//! turn, while a program works in a volume.
//!
//! Whatever strikes: an operation that fails says so with the errno of the disk, and what it was about to change
//! is as before or as asked; what did not fail is there; everything else is untouched; the file system works on;
//! after a remount all is as it was, nothing is damaged, and once the files are deleted their space is free.
//!
//! By default a part of the calls is struck, chosen by `ENVELOPEFS_FAULTS_SEED`; with
//! `ENVELOPEFS_FAULTS=all` each is (`scripts/faults.sh`).

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![expect(clippy::print_stdout, reason = "how many calls were struck is told")]

mod disk;
#[path = "../inprocess/mod.rs"]
mod inprocess;
mod run;
mod scenarios;

use disk::Trouble;
use run::strike_each_call;
use scenarios::{FILES, FOLDERS, NAMES, OPENING};

const ONCE: [Trouble; 3] = [
    Trouble::Once(libc::EIO),
    Trouble::Once(libc::ENOSPC),
    Trouble::Once(libc::EDQUOT),
];

#[test]
fn a_failing_call_fails_its_operation_and_nothing_else_in_files() {
    strike_each_call(FILES, &ONCE);
}

#[test]
fn a_failing_call_fails_its_operation_and_nothing_else_in_folders() {
    strike_each_call(FOLDERS, &ONCE);
}

#[test]
fn a_failing_call_fails_its_operation_and_nothing_else_with_long_names() {
    strike_each_call(NAMES, &ONCE);
}

#[test]
fn a_failing_call_fails_its_operation_and_nothing_else_after_a_remount() {
    strike_each_call(OPENING, &ONCE);
}

#[test]
fn a_disk_that_stays_full_loses_nothing_and_works_when_there_is_room_again() {
    for scenario in [FILES, FOLDERS, NAMES, OPENING] {
        strike_each_call(
            scenario,
            &[Trouble::Full(libc::ENOSPC), Trouble::Full(libc::EDQUOT)],
        );
    }
}

#[test]
fn interrupted_and_short_calls_are_never_seen() {
    for scenario in [FILES, FOLDERS, NAMES, OPENING] {
        strike_each_call(
            scenario,
            &[
                Trouble::Once(libc::EINTR),
                Trouble::Short(1),
                Trouble::Short(4096),
            ],
        );
    }
}
