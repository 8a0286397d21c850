//! Makes the volume.

use std::path::{Path, PathBuf};

use super::{InitRequest, KeyChoice, KeyPlaces, default_key_folder, key_file_path};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::providers::GivenKeys;
use crate::cli::{errors, output, providers};
use crate::crypto::{MemoryPolicy, random};
use crate::keys::{Confirm, FileProvider};
use crate::units::{KeyUri, VolumeId};
use crate::volume::{self, CreateOptions};

/// Makes a volume and says where its key is.
///
/// # Errors
/// The folder is not empty, a key cannot be used, or nothing can be written. A key file that was made for it goes again.
pub fn run(request: &InitRequest) -> Result<(), Failure> {
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
    output::print(&report(request, &volume_id, &chosen))
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
            let removed = std::fs::remove_file(path);
            tracing::debug!(?removed, path = %path.display(), "key file of a volume that was not made");
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

/// The path of a `file:` key that is not there yet: it is made with the volume.
fn missing_key_file(uri: &KeyUri) -> Option<PathBuf> {
    let path = FileProvider::path_of(uri).ok()?;
    let missing = path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    missing.then_some(path)
}

fn make_key_file(what: &str, path: &Path) -> Result<KeyUri, Failure> {
    if let Some(folder) = path.parent() {
        make_private_folder(folder).map_err(|error| {
            Failure::new(
                Exit::Failure,
                what,
                format!("{}: {error}", folder.display()),
            )
            .advise("make the folder, or name another key: --key file:///path/to/key.json")
        })?;
    }
    let made = FileProvider::create(path).and_then(|_provider| FileProvider::uri_of(path));
    made.map_err(|error| errors::key(what, &error))
}

/// Only its owner may look into a folder of keys.
fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

fn report(request: &InitRequest, volume_id: &VolumeId, chosen: &Chosen) -> String {
    let cipherdir = request.cipherdir.display();
    let mut text = format!("Made volume {volume_id} in {cipherdir}\n");
    for path in &chosen.made {
        let path = path.display();
        text.push_str(&format!(
            "Made key file {path}\n  Back this up: without it nobody, you included, can read the volume.\n"
        ));
    }
    text.push_str(&format!(
        "Mount it with: envelopefs mount {cipherdir} MOUNTPOINT\n"
    ));
    text
}
