//! Power cuts: what a crash may leave of a volume, made from a recording and opened.
//!
//! A scenario is done once in a volume, in this process, with every change of the ciphertext folder and every sync written
//! down (`record`). From that the states are made that a journalling file system may be in after the power
//! failed at any moment (`state`, and `log_tree` for Btrfs); pages of 4 KiB reach the disk whole. Each
//! state is put onto a real folder, mounted, and compared with what the steps allow (`oracle`, `verify`):
//! what was synced is there; every other chunk is that of some moment since; every folder opens; every name leads where it
//! led at some moment since it was durable; no file answers EIO, but for new ones of which nothing was ever durable, nor
//! needs a key that the volume does not name.
//!
//! `scripts/crash.sh` says how many states there are, and what varies them.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![expect(clippy::print_stdout, reason = "how many states were checked is told")]

mod attack;
mod beside;
mod history;
mod image;
#[path = "../inprocess/mod.rs"]
mod inprocess;
mod log_tree;
mod oracle;
mod random;
mod record;
mod run;
mod sabotage;
mod scenarios;
mod state;
mod verify;

use envelopefs::format::volume_config::NameMode;
use envelopefs::volume::Sharing;

use run::{Scenario, check_scenario, find_damage, number, replayed_seed};
use sabotage::Sabotage;

#[test]
fn an_appended_log_keeps_what_was_synced() {
    check_scenario(scenarios::APPENDED_LOG);
}

#[test]
fn a_database_that_rewrites_pages_keeps_what_was_synced() {
    check_scenario(scenarios::DATABASE);
}

#[test]
fn a_file_emptied_and_written_anew_is_old_or_empty_or_new() {
    check_scenario(scenarios::EMPTIED);
}

#[test]
fn a_file_renamed_over_another_is_the_old_or_the_new() {
    check_scenario(scenarios::RENAME_OVER);
}

#[test]
fn new_folders_open() {
    check_scenario(scenarios::NEW_FOLDERS);
}

#[test]
fn moved_folders_open() {
    check_scenario(scenarios::MOVED_FOLDERS);
}

#[test]
fn growth_past_a_hole_loses_nothing() {
    check_scenario(scenarios::GAPS);
}

#[test]
fn a_cut_loses_nothing_else() {
    check_scenario(scenarios::SHRINK);
}

#[test]
fn a_punched_hole_loses_nothing_else() {
    check_scenario(scenarios::PUNCH);
}

#[test]
fn long_names_are_never_lost() {
    check_scenario(scenarios::LONG_NAMES);
}

#[test]
fn links_and_attributes_are_of_some_moment() {
    check_scenario(scenarios::ATTRIBUTES);
}

#[test]
fn files_that_were_never_synced_do_no_harm() {
    check_scenario(scenarios::NEVER_SYNCED);
}

#[test]
fn an_unmount_makes_all_durable() {
    check_scenario(scenarios::UNMOUNT);
    check_scenario(scenarios::UNMOUNT_OF_MANY);
}

#[test]
fn keys_that_change_leave_no_file_without_one() {
    check_scenario(scenarios::CHANGED_KEYS);
}

#[test]
fn all_of_it_holds_with_plain_names() {
    for scenario in [
        scenarios::NEW_FOLDERS,
        scenarios::MOVED_FOLDERS,
        scenarios::ATTRIBUTES,
    ] {
        check_scenario(Scenario {
            name: &format!("{}, plain names", scenario.name),
            names: NameMode::Plain,
            ..scenario
        });
    }
}

#[test]
fn all_of_it_holds_in_a_shared_mount() {
    for scenario in [
        scenarios::APPENDED_LOG,
        scenarios::DATABASE,
        scenarios::EMPTIED,
        scenarios::RENAME_OVER,
        scenarios::NEW_FOLDERS,
        scenarios::GAPS,
        scenarios::SHRINK,
        scenarios::PUNCH,
        scenarios::LONG_NAMES,
        scenarios::NEVER_SYNCED,
        scenarios::UNMOUNT,
        scenarios::CHANGED_KEYS,
    ] {
        check_scenario(Scenario {
            name: &format!("{}, shared", scenario.name),
            sharing: Sharing::Shared,
            ..scenario
        });
    }
}

#[test]
fn a_shared_mount_looks_over_what_a_dead_one_left_beside_one_that_lives() {
    beside::looks_over_beside_one_that_lives();
}

#[test]
fn steps_of_any_kind_lose_nothing() {
    let first = number("ENVELOPEFS_CRASH_SEED", 1);
    let seeds = first..first + number("ENVELOPEFS_CRASH_RANDOM", 2);
    for seed in replayed_seed().map_or(seeds, |seed| seed..seed + 1) {
        let scenario = scenarios::empty();
        check_scenario(Scenario {
            name: &format!("random steps {seed}"),
            steps: &random::steps(scenario, seed),
            ..scenario
        });
    }
}

#[test]
fn a_file_cut_below_its_committed_length_answers_eio() {
    attack::cut_each_file(scenarios::APPENDED_LOG);
    attack::cut_each_file(scenarios::PUNCH);
}

#[test]
fn every_wrong_order_of_writes_is_found_out() {
    for (sabotage, scenario) in [
        (Sabotage::CommitBeforeData, scenarios::APPENDED_LOG),
        (Sabotage::CutBeforeHeader, scenarios::SHRINK),
        (Sabotage::LazyHeaders, scenarios::SHRINK),
        (Sabotage::LazyHeaders, scenarios::PUNCH),
        (Sabotage::NoSyncs, scenarios::DATABASE),
        (Sabotage::NoSyncs, scenarios::RENAME_OVER),
        (Sabotage::NoFolderSyncs, scenarios::NEW_FOLDERS),
        (Sabotage::NoFolderSyncs, scenarios::LONG_NAMES),
        (Sabotage::NoWholeSyncs, scenarios::CHANGED_KEYS),
        (Sabotage::IdAfterEntry, scenarios::NEW_FOLDERS),
        (Sabotage::FullNameAfterName, scenarios::LONG_NAMES),
        (Sabotage::TornPages, scenarios::DATABASE),
    ] {
        let found = find_damage(scenario, sabotage);
        let found =
            found.unwrap_or_else(|| panic!("{sabotage:?} in {} was not seen", scenario.name));
        println!(
            "crash: {sabotage:?} in {}: {}: {}",
            scenario.name, found.state, found.what
        );
    }
}
