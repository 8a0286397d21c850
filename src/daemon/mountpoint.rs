//! May a volume be mounted here? Checked before the passphrase is asked for.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::mounts;
use super::unmount::{self, Detach};

/// What the mount point may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// Anything: it is hidden while the volume is mounted (`-o nonempty`).
    Any,
    /// Nothing.
    #[default]
    Nothing,
}

/// A place where a volume cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountpointError {
    /// A volume is mounted there.
    #[error("{} is already an envelopefs mount", .0.display())]
    AlreadyMounted(PathBuf),
    /// The ciphertext folder is inside the mount point and would be hidden by it.
    #[error("{} holds the ciphertext folder", .0.display())]
    HoldsVolume(PathBuf),
    /// The mount point is the ciphertext folder, or in it.
    #[error("{} is inside the ciphertext folder", .0.display())]
    InsideVolume(PathBuf),
    /// No such folder.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// It is something else.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// It holds something.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The system does not let us look, for the mount point or the ciphertext folder.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// Which of them.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// Checks a mount point for the volume in `cipherdir`. A dead mount of this program there, whose
/// process was killed, is taken away first. Returns the mount point's canonical path.
///
/// # Errors
/// Why nothing can be mounted there.
pub fn check(
    mountpoint: &Path,
    cipherdir: &Path,
    contents: Contents,
) -> Result<PathBuf, MountpointError> {
    detach_dead_mount(mountpoint)?;
    let place = canonical_folder(mountpoint)?;
    refuse_second_mount(&place)?;
    refuse_overlap(&place, &canonical_folder(cipherdir)?)?;
    match contents {
        Contents::Any => Ok(place),
        Contents::Nothing if is_empty(&place)? => Ok(place),
        Contents::Nothing => Err(MountpointError::NotEmpty(place)),
    }
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> MountpointError + use<'_> {
    move |error| MountpointError::Unusable {
        path: path.to_owned(),
        error,
    }
}

/// A mount whose process is gone answers "not connected" to whatever the kernel cannot answer by itself, as it
/// may a stat; while the process is going, what is under way answers "aborted".
fn death_of(mountpoint: &Path) -> Option<io::Error> {
    let error = rustix::fs::statfs(mountpoint).err()?;
    let dead = matches!(error, Errno::NOTCONN | Errno::CONNABORTED);
    dead.then(|| error.into())
}

fn detach_dead_mount(mountpoint: &Path) -> Result<(), MountpointError> {
    let Some(error) = death_of(mountpoint) else {
        return Ok(());
    };
    let mounts = mounts::read().map_err(unusable(mountpoint))?;
    let Some(dead) = mounts::find(&mounts, mountpoint).filter(|mount| mount.is_ours()) else {
        return Err(MountpointError::Unusable {
            path: mountpoint.to_owned(),
            error,
        });
    };
    unmount::unmount(&dead.mountpoint, Detach::Lazily).map_err(|error| {
        let error = io::Error::other(format!("a dead mount cannot be taken away: {error}"));
        MountpointError::Unusable {
            path: mountpoint.to_owned(),
            error,
        }
    })?;
    tracing::warn!(mountpoint = %dead.mountpoint.display(), "took away a mount whose process is gone");
    Ok(())
}

fn canonical_folder(path: &Path) -> Result<PathBuf, MountpointError> {
    let canonical = fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountpointError::Missing(path.to_owned()),
        io::ErrorKind::NotADirectory => MountpointError::NotAFolder(path.to_owned()),
        _ => unusable(path)(error),
    })?;
    match fs::metadata(&canonical).map_err(unusable(path))?.is_dir() {
        true => Ok(canonical),
        false => Err(MountpointError::NotAFolder(path.to_owned())),
    }
}

fn refuse_second_mount(place: &Path) -> Result<(), MountpointError> {
    let mounts = mounts::read().map_err(unusable(place))?;
    match mounts::at(&mounts, place) {
        Some(mount) if mount.is_ours() => Err(MountpointError::AlreadyMounted(place.to_owned())),
        Some(_) | None => Ok(()),
    }
}

/// By identity, not by path alone: a bind mount gives a folder a second path.
fn refuse_overlap(place: &Path, cipherdir: &Path) -> Result<(), MountpointError> {
    if is_at_or_above(cipherdir, place)? {
        return Err(MountpointError::InsideVolume(place.to_owned()));
    }
    if is_at_or_above(place, cipherdir)? {
        return Err(MountpointError::HoldsVolume(place.to_owned()));
    }
    Ok(())
}

fn is_at_or_above(upper: &Path, lower: &Path) -> Result<bool, MountpointError> {
    let wanted = identity(upper).map_err(unusable(upper))?;
    for folder in lower.ancestors() {
        if identity(folder).map_err(unusable(folder))? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn is_empty(place: &Path) -> Result<bool, MountpointError> {
    Ok(fs::read_dir(place)
        .map_err(unusable(place))?
        .next()
        .is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Places {
        dir: tempfile::TempDir,
    }

    impl Places {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["cipher", "cipher/sub", "plain", "full", "full/x"] {
                fs::create_dir(dir.path().join(name)).unwrap();
            }
            fs::write(dir.path().join("file"), "x").unwrap();
            Self { dir }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn check(&self, name: &str) -> Result<PathBuf, MountpointError> {
            check(&self.at(name), &self.at("cipher"), Contents::Nothing)
        }
    }

    #[test]
    fn an_empty_folder_elsewhere_is_taken_by_its_canonical_path() {
        let places = Places::new();
        symlink("plain", places.at("link")).unwrap();
        let expected = fs::canonicalize(places.at("plain")).unwrap();
        assert_eq!(places.check("plain").unwrap(), expected);
        assert_eq!(places.check("cipher/../link/.").unwrap(), expected);
    }

    #[test]
    fn what_is_missing_or_no_folder_is_refused() {
        let places = Places::new();
        symlink("nowhere", places.at("dangling")).unwrap();
        for name in ["missing", "missing/x", "dangling"] {
            assert!(
                matches!(places.check(name), Err(MountpointError::Missing(_))),
                "{name}"
            );
        }
        for name in ["file", "file/x"] {
            assert!(
                matches!(places.check(name), Err(MountpointError::NotAFolder(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn a_full_folder_is_refused_unless_that_is_wanted() {
        let places = Places::new();
        assert!(matches!(
            places.check("full"),
            Err(MountpointError::NotEmpty(_))
        ));
        check(&places.at("full"), &places.at("cipher"), Contents::Any).unwrap();
    }

    #[test]
    fn the_volume_and_what_is_inside_it_are_refused() {
        let places = Places::new();
        symlink("cipher/sub", places.at("link")).unwrap();
        for name in ["cipher", "cipher/sub", "link"] {
            assert!(
                matches!(places.check(name), Err(MountpointError::InsideVolume(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn what_holds_the_volume_is_refused_even_if_it_need_not_be_empty() {
        let places = Places::new();
        let result = check(places.dir.path(), &places.at("cipher"), Contents::Any);
        assert!(matches!(result, Err(MountpointError::HoldsVolume(_))));
        let result = check(Path::new("/"), &places.at("cipher"), Contents::Any);
        assert!(matches!(result, Err(MountpointError::HoldsVolume(_))));
    }

    #[test]
    fn a_neighbour_whose_name_begins_alike_is_elsewhere() {
        let places = Places::new();
        fs::create_dir(places.at("cipher2")).unwrap();
        assert!(places.check("cipher2").is_ok());
    }

    #[test]
    fn errors_name_the_place() {
        let error = Places::new().check("missing").unwrap_err().to_string();
        assert!(error.ends_with("/missing does not exist"), "{error}");
    }
}
