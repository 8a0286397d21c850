//! `envelopefs export`: the decrypted tree of a volume, in a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::pass::Pass;
use super::staging::{Opening, Staging, make_mountpoint, make_private};
use crate::cli::errors;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{self, harmless};
use crate::cli::walk::{WalkArgs, WalkOptions};
use crate::daemon::place::sync_parent;
use crate::maint::mirror::{self, MirrorError, Trust};
use crate::storage::Node;

const AFTER: &str = "\
EXAMPLES:
  envelopefs export /etc/nginx/tls.enc /root/tls
  envelopefs export /srv/data.enc /srv/data --key file:///etc/envelopefs/keys/data.json";

/// Arguments of `export`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct ExportArgs {
    /// The ciphertext folder; its volume must not be mounted
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// Where the plaintext is to be: an empty folder, or none yet
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// How it goes through the volume.
    #[command(flatten)]
    pub walk: WalkArgs,
}

/// A volume to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// The ciphertext folder as given.
    pub cipherdir: PathBuf,
    /// The plaintext folder as given.
    pub folder: PathBuf,
    /// How it is gone through, and opened.
    pub walk: WalkOptions,
}

impl From<ExportArgs> for ExportRequest {
    fn from(args: ExportArgs) -> Self {
        Self {
            cipherdir: args.cipherdir,
            folder: args.folder,
            walk: args.walk.into(),
        }
    }
}

/// Mounts the volume for itself, copies, compares, and gives the copy its name.
///
/// # Errors
/// The folder is there and not empty, the volume cannot be mounted, or something cannot be read or made. The folder is
/// complete or as it was.
pub fn run(request: &ExportRequest) -> Result<(), Failure> {
    let what = format!("cannot export {}", request.cipherdir.display());
    let folder = std::path::absolute(&request.folder).unwrap_or_default();
    let (Some(part), Some(source)) = (beside(&folder, "export"), beside(&folder, "mount")) else {
        return Err(Failure::usage(what, "the folder has no name of its own"));
    };
    match fs::read_dir(&folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(false) | Err(_) => {
            return Err(errors::output_exists(what, &folder)
                .advise("name an empty folder, or one that is not there yet"));
        }
    }
    let io = |path: &Path, error: io::Error| {
        Failure::new(Exit::Failure, &what, format!("{}: {error}", path.display()))
    };
    // Until the copy is complete, nobody else looks in.
    make_private(&part).map_err(|error| io(&part, error))?;
    make_mountpoint(&source).map_err(|error| io(&source, error))?;
    let opening = Opening {
        cipherdir: &request.cipherdir,
        keys: &request.walk.keys,
        passphrase: &request.walk.passphrase,
    };
    let staging = Staging::mount(opening, &source, true);
    let copied = staging.and_then(|staging| {
        let copied = copy(&what, request, &source, &part);
        staging.unmount().and(copied)
    });
    let removed = fs::remove_dir(&source);
    tracing::debug!(?removed, "the mount point of the copy");
    copied?;
    fs::rename(&part, &folder)
        .and_then(|()| sync_parent(&folder))
        .map_err(|error| io(&folder, error))?;
    output::print(&format!("Exported to {}\n", request.folder.display()))
}

/// Copies, compares, and makes the copy durable.
fn copy(what: &str, request: &ExportRequest, source: &Path, part: &Path) -> Result<(), Failure> {
    let io = |error: io::Error| Failure::new(Exit::Failure, what, error);
    let failed = |error: MirrorError| {
        Failure::new(Exit::Failure, what, harmless(&error.to_string()))
            .advise("remove the cause, and run it again to go on")
    };
    let (from, to) = (
        Node::open_root(source).map_err(io)?,
        Node::open_root(part).map_err(io)?,
    );
    let pass = Pass::begin(request.walk.progress, "copied");
    mirror::copy(&from, &to, Trust::Times, &mut |passed| pass.show(passed)).map_err(failed)?;
    let pass = Pass::begin(request.walk.progress, "compared");
    let differences =
        mirror::compare(&from, &to, &mut |passed| pass.show(passed)).map_err(failed)?;
    drop(pass);
    if let Some(difference) = differences.first() {
        let removed = fs::remove_dir_all(part);
        tracing::debug!(?removed, "a copy that differs");
        return Err(Failure::new(
            Exit::Failure,
            what,
            format!("the copy differs: {}", harmless(difference)),
        )
        .advise("run it again; what was copied is begun anew"));
    }
    to.sync_fs().map_err(io)
}

/// A name beside the folder that nothing else has.
fn beside(folder: &Path, ending: &str) -> Option<PathBuf> {
    let name = folder.file_name()?.to_string_lossy();
    Some(folder.with_file_name(format!(".{name}.envelopefs-{ending}")))
}
