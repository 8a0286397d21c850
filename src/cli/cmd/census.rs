//! `envelopefs census`: which keys and key versions files need.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::args::ProgressArgs;
use crate::cli::cmd::folders::{ShownFolders, folder_lines};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{self, columns, counted, harmless};
use crate::cli::{errors, progress, volume_run};
use crate::maint::{self, Census, Spot};
use crate::units::KeyUri;
use crate::volume::{self, SeenKeys};

const AFTER: &str = "\
A version that is named neither by a file nor by the volume key may be retired where the key is held, once each mount
that was there before the rotation has been unmounted, or `envelopefs rewrap` has run since: until then a mount may hold
data keys made ahead under it. Backups and copies elsewhere are not counted.

EXAMPLES:
  envelopefs census ~/secrets.enc
  envelopefs census /mnt/backup/secrets.enc --json";

/// Arguments of `census`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct CensusArgs {
    /// The ciphertext folder, or the mount point
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// Print a JSON object in place of text
    #[arg(long)]
    pub json: bool,

    /// Whether a progress bar is shown.
    #[command(flatten)]
    pub progress: ProgressArgs,
}

/// Files to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CensusRequest {
    /// The ciphertext folder.
    pub cipherdir: PathBuf,
    /// As JSON.
    pub json: bool,
    /// Show a progress bar on stderr.
    pub progress: bool,
}

impl From<CensusArgs> for CensusRequest {
    fn from(args: CensusArgs) -> Self {
        Self {
            cipherdir: args.cipherdir,
            json: args.json,
            progress: args.progress.shown_here(),
        }
    }
}

/// The count, and what the volume itself says.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    census: &'a Census,
    /// The slots of the volume key.
    volume_key: Vec<OwnSlot<'a>>,
    /// Keys that are on their way out.
    leaving: Vec<KeyUri>,
    #[serde(flatten)]
    folders: ShownFolders,
}

#[derive(Debug, Serialize)]
struct OwnSlot<'a> {
    key: &'a KeyUri,
    version: &'a str,
}

/// Counts the files of a volume by key and key version, without any key.
///
/// # Errors
/// There is no volume; [`Exit::Failure`] where something could not be read, so that the count is short.
pub fn run(request: &CensusRequest) -> Result<(), Failure> {
    let what = format!("cannot count the files of {}", request.cipherdir.display());
    let (root, seen) = volume::seen_keys(&volume_run::ciphertext_of(&request.cipherdir))
        .map_err(|error| errors::volume(&what, &error))?;
    let bar = progress::spinner(request.progress, "{spinner} {pos} files, {elapsed}");
    let census = maint::census(&root, seen.volume_id, |files| bar.set_position(files));
    bar.finish_and_clear();
    if request.json {
        output::print_json(&shown(&census, &seen))?;
    } else {
        output::print(&text(&census, &seen))?;
    }
    match census.unread.len() {
        0 => Ok(()),
        short => {
            let why = format!(
                "{} could not be read",
                counted(short as u64, "header or folder")
            );
            Err(Failure::new(Exit::Failure, what, why)
                .advise("the count is short by these: do not retire a key on the strength of it"))
        }
    }
}

fn shown<'a>(census: &'a Census, seen: &'a SeenKeys) -> Shown<'a> {
    let slots = seen.slots.iter();
    Shown {
        census,
        volume_key: slots
            .map(|slot| OwnSlot {
                key: &slot.key_uri,
                version: &slot.key_version,
            })
            .collect(),
        leaving: seen.leaving(),
        folders: ShownFolders::of(seen),
    }
}

fn text(census: &Census, seen: &SeenKeys) -> String {
    let mut text: String = census.unread.iter().map(unread).collect();
    text.push_str(&columns(&rows(census, seen)));
    let mut parts = vec![counted(census.files, "file")];
    for (count, word) in [
        (census.unfinished, "between two data keys (reencrypt)"),
        (census.foreign, "made outside the volume"),
        (census.empty, "without a header"),
        (census.strange, "not of envelopefs"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    text.push_str(&format!("{}\n", parts.join(", ")));
    for key in seen.leaving() {
        text.push_str(&format!(
            "being removed, or a key of the volume alone: {}\n",
            harmless(key.as_str())
        ));
    }
    text.push_str(&folder_lines(seen));
    text.push_str(
        "Versions that are not listed are needed by no file here: they may be retired once each mount from before the \
         rotation has been unmounted, or rewrap has run since.\n",
    );
    text
}

fn unread(spot: &Spot) -> String {
    format!(
        "{}\n",
        harmless(&format!("unread  {}  {}", spot.ciphertext, spot.why))
    )
}

/// One row for each version of each key: what names it.
fn rows(census: &Census, seen: &SeenKeys) -> Vec<Vec<String>> {
    let of_volume = |key: &KeyUri, version: &str| {
        let mut slots = seen.slots.iter();
        slots.any(|slot| slot.key_uri == *key && slot.key_version == version)
    };
    let row = |key: &KeyUri, version: &str, files: u64, alone: u64| {
        let own = match of_volume(key, version) {
            true => "yes",
            false => "no",
        };
        let version = if version.is_empty() { "-" } else { version };
        let cells = [
            harmless(key.as_str()),
            version.to_owned(),
            files.to_string(),
            alone.to_string(),
            own.to_owned(),
        ];
        cells.to_vec()
    };
    let head = ["key", "version", "files", "only by it", "volume key"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for count in &census.keys {
        rows.push(row(&count.key, &count.version, count.files, count.alone));
    }
    let counted = |key: &KeyUri, version: &str| {
        let mut keys = census.keys.iter();
        keys.any(|count| count.key == *key && count.version == version)
    };
    for slot in &seen.slots {
        if !counted(&slot.key_uri, &slot.key_version) {
            rows.push(row(&slot.key_uri, &slot.key_version, 0, 0));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::KeySlot;
    use crate::format::volume_config::KeyScope;
    use crate::maint::KeyCount;
    use crate::policy::{Folder, NewFileKeys};
    use crate::units::VolumeId;

    fn slot(version: &str) -> KeySlot {
        KeySlot {
            key_uri: "file:///k".parse().unwrap(),
            key_version: version.into(),
            wrapped_dek: vec![0; 72],
        }
    }

    fn seen() -> SeenKeys {
        SeenKeys {
            volume_id: VolumeId([1; 16]),
            keys: vec!["file:///k".parse().unwrap()],
            slots: vec![slot("2")],
            key_scope: KeyScope::File,
            folders: vec![Folder {
                path: "/a\x1bb".into(),
                keys: NewFileKeys {
                    scope: KeyScope::File,
                    keys: vec!["file:///hr".parse().unwrap()],
                },
            }],
            former_keys: vec!["file:///old".parse().unwrap()],
        }
    }

    #[test]
    fn folders_and_what_they_once_had_are_told_without_harm_to_the_terminal() {
        let text = text(&Census::default(), &seen());
        assert!(
            text.contains("b: file:///hr\n") && !text.contains('\x1b'),
            "{text:?}"
        );
        assert!(text.contains(
            "no folder's key any more, and until a rewrap files may need it: file:///old\n"
        ));
        let json = serde_json::to_value(shown(&Census::default(), &seen())).unwrap();
        assert_eq!(json["former_keys"][0], "file:///old");
        assert_eq!(json["folders"][0]["keys"][0], "file:///hr");
    }

    #[test]
    fn each_version_has_a_row_and_so_has_the_volume_keys_own_where_no_file_names_it() {
        let census = Census {
            files: 1,
            keys: vec![KeyCount {
                key: "file:///k".parse().unwrap(),
                version: "1".into(),
                files: 1,
                alone: 1,
            }],
            ..Census::default()
        };
        let rows = rows(&census, &seen());
        assert_eq!(rows[1][1..], ["1", "1", "1", "no"]);
        assert_eq!(rows[2][1..], ["2", "0", "0", "yes"]);
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn what_could_not_be_read_is_told_without_harm_to_the_terminal() {
        let census = Census {
            unread: vec![Spot {
                ciphertext: "a\x1bb".into(),
                why: "cut".into(),
            }],
            ..Census::default()
        };
        assert!(text(&census, &seen()).starts_with("unread  a\\u{1b}b  cut\n"));
    }
}
