//! Shows and changes the keys of a volume.

use std::path::Path;

use serde::Serialize;

use super::SlotsRequest;
use crate::cli::cmd::folders::{ShownFolders, folder_lines};
use crate::cli::errors;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::key_files::{self, BACK_UP};
use crate::cli::output::{self, columns, harmless};
use crate::cli::providers::GivenKeys;
use crate::cli::volume_run::{self, RunOptions, counts_line, finish};
use crate::daemon::runs::{RunReport, RunRequest, SlotsRun};
use crate::maint::{self, Census};
use crate::policy::folders;
use crate::units::KeyUri;
use crate::volume::{self, SeenKeys};

/// Shows the keys of a volume, or changes them.
///
/// # Errors
/// There is no volume, or the change was not made, or not everywhere.
pub fn run(request: &SlotsRequest) -> Result<(), Failure> {
    match request {
        SlotsRequest::List {
            cipherdir,
            files,
            json,
        } => list(cipherdir, *files, *json),
        SlotsRequest::Change {
            volume,
            run,
            options,
        } => {
            let what = format!("cannot change the keys of {}", volume.display());
            carry_out(&what, volume, run, options)
        }
    }
}

/// Makes a change of the keys of a volume and of all its files, and prints what it came to.
///
/// # Errors
/// It was not made, or not everywhere.
pub(in crate::cli) fn carry_out(
    what: &str,
    path: &Path,
    run: &SlotsRun,
    options: &RunOptions,
) -> Result<(), Failure> {
    let remove = GivenKeys::parse(what, &run.remove)?.uris;
    let given =
        GivenKeys::parse(what, &run.add)?.restricted_to(what, &options.walk.keys, &remove)?;
    let made = make_missing(what, &given, run.dry_run)?;
    let run = SlotsRun {
        add: given.uris.clone(),
        remove,
        ..run.clone()
    };
    let request = RunRequest::Slots(run);
    let done = volume_run::carry_out(what, path, &request, &given, options);
    if let (Err(_), Some(key)) = (&done, &made)
        && !names_key(path, key)
        && let Ok(path) = crate::keys::FileProvider::path_of(key)
    {
        key_files::take_back(&path);
    }
    let outcome = done?;
    finish(what, options, &outcome, |report| {
        format!("{}{}", made_line(made.as_ref()), text(report))
    })
}

/// Makes the key file that is to be added, where it is not there.
fn make_missing(what: &str, given: &GivenKeys, dry_run: bool) -> Result<Option<KeyUri>, Failure> {
    let missing = |uri: &KeyUri| key_files::missing_key_file(uri);
    let Some(path) = given.uris.iter().find_map(missing) else {
        return Ok(None);
    };
    if dry_run {
        let why = format!(
            "{} is not there, and a dry run makes nothing",
            path.display()
        );
        return Err(Failure::new(Exit::KeyDenied, what, why));
    }
    key_files::make_key_file(what, &path).map(Some)
}

/// Whether the volume names a key, by now; where that cannot be told, it may.
fn names_key(path: &Path, key: &KeyUri) -> bool {
    volume::seen_keys(&volume_run::ciphertext_of(path)).map_or(true, |(_root, seen)| {
        let mut of_folders = folders::keys_of(&seen.folders);
        seen.keys.contains(key)
            || seen.slots.iter().any(|slot| slot.key_uri == *key)
            || of_folders.any(|of_folder| of_folder == key)
    })
}

fn made_line(made: Option<&KeyUri>) -> String {
    let path = made.and_then(|key| crate::keys::FileProvider::path_of(key).ok());
    path.map_or_else(String::new, |path| {
        format!("Made key file {}\n{BACK_UP}", path.display())
    })
}

fn text(report: &RunReport) -> String {
    let (changed, volume_key) = match report.dry_run {
        true => ("to be rewrapped", "to be rewrapped"),
        false => ("rewrapped", "rewrapped"),
    };
    let mut text = String::new();
    if report.volume_key {
        text.push_str(&format!("volume key: {volume_key}\n"));
    }
    if report.counts.files > 0 || report.counts.failed > 0 {
        text.push_str(&counts_line(report, changed));
    }
    for key in &report.removed {
        text.push_str(&format!("removed  {key}\n"));
    }
    for key in &report.leaving {
        text.push_str(&format!("not removed yet  {key}\n"));
    }
    for key in &report.keys {
        text.push_str(&format!("key  {key}\n"));
    }
    text
}

/// What `slots list` shows; none of it is authenticated.
#[derive(Debug, Serialize)]
struct Shown {
    key_scope: crate::format::volume_config::KeyScope,
    keys: Vec<ShownKey>,
    #[serde(flatten)]
    folders: ShownFolders,
    #[serde(skip_serializing_if = "Option::is_none")]
    census: Option<Census>,
}

#[derive(Debug, Serialize)]
struct ShownKey {
    key: KeyUri,
    /// Of the volume key's slot; none where it has none.
    version: Option<String>,
    /// Whether the key is on its way out.
    leaving: bool,
    /// Files that name it, in any version.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
}

fn list(cipherdir: &Path, files: bool, json: bool) -> Result<(), Failure> {
    let what = format!("cannot list the keys of {}", cipherdir.display());
    let (root, seen) = volume::seen_keys(&volume_run::ciphertext_of(cipherdir))
        .map_err(|error| errors::volume(&what, &error))?;
    let census = files.then(|| maint::census(&root, seen.volume_id, |_files| ()));
    let shown = Shown {
        key_scope: seen.key_scope,
        keys: shown_keys(&seen, census.as_ref()),
        folders: ShownFolders::of(&seen),
        census,
    };
    if json {
        return output::print_json(&shown);
    }
    let mut rows = vec![row(["key", "version", "files", ""])];
    rows.extend(shown.keys.iter().map(|key| {
        let files = key
            .files
            .map_or_else(|| "-".to_owned(), |files| files.to_string());
        let state = if key.leaving {
            "being removed, or a key of the volume alone"
        } else {
            ""
        };
        row([
            &harmless(key.key.as_str()),
            key.version.as_deref().unwrap_or("-"),
            &files,
            state,
        ])
    }));
    output::print(&(columns(&rows) + &folder_lines(&seen)))
}

fn row(cells: [&str; 4]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn shown_keys(seen: &SeenKeys, census: Option<&Census>) -> Vec<ShownKey> {
    let files = |key: &KeyUri| {
        let counts = census?.keys.iter().filter(|count| count.key == *key);
        Some(counts.map(|count| count.files).sum())
    };
    let shown = |key: &KeyUri| ShownKey {
        key: key.clone(),
        version: seen
            .slots
            .iter()
            .find(|slot| slot.key_uri == *key)
            .map(|slot| slot.key_version.clone()),
        leaving: !seen.keys.contains(key),
        files: files(key),
    };
    let leaving = seen.leaving();
    seen.keys.iter().chain(&leaving).map(shown).collect()
}
