//! Makes the volume.

use std::path::{Path, PathBuf};

use super::{InitRequest, KeyChoice, KeyPlaces, default_key_folder, key_file_path};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::key_files::{self, BACK_UP, make_key_file, missing_key_file};
use crate::cli::providers::GivenKeys;
use crate::cli::{errors, output, providers};
use crate::crypto::{MemoryPolicy, random};
use crate::keys::Confirm;
use crate::units::{KeyUri, VolumeId};
use crate::volume::{self, CreateOptions};

/// Makes a volume and says where its key is.
///
/// # Errors
/// The folder is not empty, a key cannot be used, or nothing can be written. A key file that was made for it goes again.
pub fn run(request: &InitRequest) -> Result<(), Failure> {
    let made = make(request)?;
    let cipherdir = request.cipherdir.display();
    output::print(&format!(
        "{}Mount it with: envelopefs mount {cipherdir} MOUNTPOINT\n",
        made.report(&request.cipherdir)
    ))
}

/// A volume that was made.
pub(in crate::cli::cmd) struct Made {
    id: VolumeId,
    chosen: Chosen,
}

impl Made {
    /// What is said of it and of its keys, in the folder where it is to stay.
    pub(in crate::cli::cmd) fn report(&self, cipherdir: &Path) -> String {
        let mut text = format!("Made volume {} in {}\n", self.id, cipherdir.display());
        for path in &self.chosen.made {
            let path = path.display();
            text.push_str(&format!("Made key file {path}\n{BACK_UP}"));
        }
        text
    }
}

/// Makes a volume.
///
/// # Errors
/// As [`run`].
pub(in crate::cli::cmd) fn make(request: &InitRequest) -> Result<Made, Failure> {
    let what = format!("cannot make a volume in {}", request.cipherdir.display());
    providers::lock_memory(&what, MemoryPolicy::BestEffort)?;
    let volume_id = VolumeId(random::array());
    let chosen = choose_keys(&what, request, &volume_id)?;
    let options = CreateOptions {
        volume_id,
        layout: request.layout,
        names: request.names,
        key_scope: request.key_scope,
        foreign_files: request.foreign_files,
        keys: chosen.uris.clone(),
        volume_keys: chosen.volume_keys.clone(),
    };
    let providers = chosen.given.providers(&request.passphrase, Confirm::Yes);
    let created = volume::create(&request.cipherdir, &options, &providers);
    created.map_err(|error| {
        chosen.take_back();
        errors::volume(what, &error)
    })?;
    Ok(Made {
        id: volume_id,
        chosen,
    })
}

/// The keys of a new volume, and those key files that were made for it.
struct Chosen {
    uris: Vec<KeyUri>,
    volume_keys: Vec<KeyUri>,
    made: Vec<PathBuf>,
    given: GivenKeys,
}

impl Chosen {
    /// The volume was not made, so nothing needs its keys.
    fn take_back(&self) {
        for path in &self.made {
            key_files::take_back(path);
        }
    }
}

fn choose_keys(what: &str, request: &InitRequest, volume_id: &VolumeId) -> Result<Chosen, Failure> {
    match &request.keys {
        KeyChoice::Given(uris) => {
            let all = [&uris[..], &request.volume_keys].concat();
            let given = GivenKeys::parse(what, &all)?;
            let (keys, volume_keys) = given.uris.split_at(uris.len());
            let mut chosen = Chosen {
                uris: keys.to_vec(),
                volume_keys: volume_keys.to_vec(),
                made: Vec::new(),
                given,
            };
            for path in all.iter().filter_map(missing_key_file) {
                make_key_file(what, &path).inspect_err(|_failure| chosen.take_back())?;
                chosen.made.push(path);
            }
            Ok(chosen)
        }
        KeyChoice::NewKeyFile => {
            let folder = default_key_folder(&KeyPlaces::of_this_process()).ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    what,
                    "neither XDG_CONFIG_HOME nor HOME says where a key file may lie",
                )
                .advise("name the key: --key file:///path/to/key.json")
            })?;
            let path = key_file_path(&folder, volume_id);
            let uri = make_key_file(what, &path)?;
            Ok(Chosen {
                uris: vec![uri],
                volume_keys: Vec::new(),
                made: vec![path],
                given: GivenKeys::none(),
            })
        }
    }
}
