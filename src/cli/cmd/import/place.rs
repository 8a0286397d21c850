//! Where an import is: the folder, the volume, the plaintext's later name, and how far it came.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ImportRequest;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::daemon::mounts;
use crate::daemon::place::sync_parent;

/// The folders of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The folder, as an absolute path without symlinks.
    pub(super) folder: PathBuf,
    /// The ciphertext.
    pub(super) cipherdir: PathBuf,
    /// Where the mount is while it is filled; afterwards the plaintext's name.
    pub(super) plain: PathBuf,
}

/// How far an import came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is there yet.
    Fresh,
    /// The volume is there, and the folder still holds the plaintext.
    Begun,
    /// The folder's name is the mount's.
    Done,
}

/// What the volume says of the import that it comes from. It decides what a second run does, and proves nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// The plaintext folder's inode number, which it keeps under its later name.
    inode: u64,
    /// Whether something in it has an ACL, once the mount takes its place.
    acl: Option<bool>,
}

const MARK: &str = ".envelopefs/import";
/// Until it is whole.
const NEW_MARK: &str = ".envelopefs/import.new";

/// What `import` cannot do.
pub(super) fn what(folder: &Path) -> String {
    format!("cannot import {}", folder.display())
}

impl Place {
    /// The folders that a request names.
    ///
    /// # Errors
    /// There is no such folder, or it has no name of its own.
    pub(super) fn of(request: &ImportRequest) -> Result<Self, Failure> {
        let usage = |why: String| Failure::new(Exit::Usage, what(&request.folder), why);
        let folder = fs::canonicalize(&request.folder).map_err(|error| usage(error.to_string()))?;
        if !folder.is_dir() {
            return Err(usage("it is not a folder".to_owned()));
        }
        let beside = |ending: &str| {
            let mut name = folder.file_name()?.to_owned();
            name.push(ending);
            Some(folder.with_file_name(name))
        };
        let (Some(by_default), Some(plain)) = (beside(".enc"), beside(".plain")) else {
            return Err(usage("it has no name of its own".to_owned()));
        };
        let cipherdir = match &request.cipherdir {
            Some(given) => absolute(given).map_err(|error| usage(error.to_string()))?,
            None => by_default,
        };
        if cipherdir.starts_with(&folder) || folder.starts_with(&cipherdir) || cipherdir == plain {
            return Err(usage(format!(
                "the ciphertext folder {} must lie apart from it, and not be {}",
                cipherdir.display(),
                plain.display()
            )));
        }
        Ok(Self {
            folder,
            cipherdir,
            plain,
        })
    }

    /// The volume under the name that it has until it has its mark.
    pub(super) fn unmarked(&self) -> PathBuf {
        let mut name = self.cipherdir.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.cipherdir.with_file_name(name)
    }

    /// How far an earlier run came.
    ///
    /// # Errors
    /// What is there is of something else.
    pub(super) fn stage(&self) -> Result<Stage, Failure> {
        let refuse = |why: String| Failure::new(Exit::OutputExists, what(&self.folder), why);
        let Some(mark) = read_mark(&self.cipherdir) else {
            if self.is_mounted() {
                return Err(refuse("it is the mount of a volume already".to_owned()));
            }
            for (path, ours) in [(&self.cipherdir, false), (&self.plain, true)] {
                if !is_absent_or_empty(path) || !ours && path.symlink_metadata().is_ok() {
                    let path = path.display();
                    return Err(refuse(format!("{path} is there already"))
                        .advise("move it away, or name another folder by --cipherdir"));
                }
            }
            return Ok(Stage::Fresh);
        };
        if self.is_mounted() || inode(&self.plain) == Some(mark.inode) {
            return Ok(Stage::Done);
        }
        if inode(&self.folder) == Some(mark.inode) {
            return Ok(Stage::Begun);
        }
        Err(refuse(format!(
            "{} was made from another folder",
            self.cipherdir.display()
        ))
        .advise("name another folder by --cipherdir"))
    }

    /// The volume is mounted at the folder's name.
    pub(super) fn is_mounted(&self) -> bool {
        let all = mounts::read().unwrap_or_default();
        mounts::at(&all, &self.folder).is_some_and(mounts::Mount::is_ours)
    }

    /// Marks a volume that was just made, and gives it its name. Durable.
    ///
    /// # Errors
    /// Those of writing and renaming.
    pub(super) fn mark(&self) -> std::io::Result<()> {
        let inode = fs::metadata(&self.folder)?.ino();
        let unmarked = self.unmarked();
        write_mark(&unmarked, &Mark { inode, acl: None })?;
        fs::rename(&unmarked, &self.cipherdir)?;
        sync_parent(&self.cipherdir)
    }

    /// Notes whether something in the plaintext has an ACL. Durable.
    ///
    /// # Errors
    /// Those of writing and renaming.
    pub(super) fn note_acl(&self, acl: bool) -> std::io::Result<()> {
        let mark = read_mark(&self.cipherdir).ok_or(std::io::ErrorKind::NotFound)?;
        let acl = Some(acl);
        write_mark(&self.cipherdir, &Mark { acl, ..mark })
    }

    /// Whether ACLs are to be enforced: unless it was noted that there are none.
    pub(super) fn has_acl(&self) -> bool {
        let noted = read_mark(&self.cipherdir).and_then(|mark| mark.acl);
        noted.unwrap_or(true)
    }

    /// The import is over, and the plaintext gone.
    ///
    /// # Errors
    /// Those of `unlink(2)`.
    pub(super) fn unmark(&self) -> std::io::Result<()> {
        fs::remove_file(self.cipherdir.join(MARK))
    }
}

fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => Ok(absolute),
    }
}

fn write_mark(volume: &Path, mark: &Mark) -> std::io::Result<()> {
    let (path, new) = (volume.join(MARK), volume.join(NEW_MARK));
    let mut file = fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(mark)?)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    sync_parent(&path)
}

fn read_mark(cipherdir: &Path) -> Option<Mark> {
    serde_json::from_slice(&fs::read(cipherdir.join(MARK)).ok()?).ok()
}

/// Of a mount, what is mounted there: so never that of the plaintext.
fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|stat| stat.ino())
}

fn is_absent_or_empty(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        // A dead mount of a run that was killed says that it is not connected.
        Err(error) => {
            error.kind() == std::io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ENOTCONN)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(line: &str) -> ImportRequest {
        let line = format!("envelopefs import {line}");
        match Cli::try_parse_from(line.split_whitespace())
            .unwrap()
            .command
        {
            Command::Import(args) => (*args).try_into().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(home.path()).unwrap().join("d");
        fs::create_dir(&folder).unwrap();
        (home, folder)
    }

    fn place(folder: &Path, more: &str) -> Result<Place, Failure> {
        Place::of(&request(&format!("{} {more}", folder.display())))
    }

    /// A volume as far as the stage looks at it.
    fn marked(place: &Place) {
        fs::create_dir_all(place.unmarked().join(".envelopefs")).unwrap();
        place.mark().unwrap();
    }

    #[test]
    fn folders_stand_beside_the_folder() {
        let (_home, folder) = folder();
        let place = place(&folder, "").unwrap();
        assert_eq!(place.cipherdir, folder.with_file_name("d.enc"));
        assert_eq!(place.plain, folder.with_file_name("d.plain"));
        assert_eq!(place.stage().unwrap(), Stage::Fresh);
    }

    #[test]
    fn ciphertext_inside_above_or_in_the_plaintext_s_place_is_refused() {
        let (home, folder) = folder();
        let shown = |path: &Path| format!("--cipherdir {}", path.display());
        let home = fs::canonicalize(home.path()).unwrap();
        for cipherdir in [
            folder.join("enc"),
            folder.clone(),
            home,
            folder.with_file_name("d.plain"),
        ] {
            let failure = place(&folder, &shown(&cipherdir)).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{}", cipherdir.display());
        }
        assert!(place(Path::new("/"), "").is_err());
        assert!(place(&folder.with_file_name("none"), "").is_err());
    }

    #[test]
    fn the_stage_is_told_by_where_the_plaintext_is() {
        let (_home, folder) = folder();
        let place = place(&folder, "").unwrap();
        marked(&place);
        assert_eq!(place.stage().unwrap(), Stage::Begun);
        fs::rename(&place.folder, &place.plain).unwrap();
        fs::create_dir(&place.folder).unwrap();
        assert_eq!(place.stage().unwrap(), Stage::Done);
    }

    #[test]
    fn acls_are_enforced_unless_it_was_noted_that_there_are_none() {
        let (_home, folder) = folder();
        let place = place(&folder, "").unwrap();
        assert!(place.note_acl(false).is_err(), "nothing to note it in");
        marked(&place);
        assert!(place.has_acl());
        for acl in [false, true] {
            place.note_acl(acl).unwrap();
            assert_eq!(
                (place.has_acl(), place.stage().unwrap()),
                (acl, Stage::Begun)
            );
        }
        fs::write(place.cipherdir.join(MARK), "{}").unwrap();
        assert!(place.has_acl() && place.note_acl(false).is_err(), "no mark");
        assert!(!place.cipherdir.join(NEW_MARK).exists());
    }

    #[test]
    fn what_is_of_something_else_is_left_alone() {
        let (_home, folder) = folder();
        let place = place(&folder, "").unwrap();
        for path in [&place.cipherdir, &place.plain] {
            fs::create_dir_all(path.join("precious")).unwrap();
            assert_eq!(place.stage().unwrap_err().exit(), Exit::OutputExists);
            fs::remove_dir_all(path).unwrap();
        }
        fs::write(&place.cipherdir, "a file").unwrap();
        assert_eq!(place.stage().unwrap_err().exit(), Exit::OutputExists);
        fs::remove_file(&place.cipherdir).unwrap();
        marked(&place);
        fs::rename(&place.folder, folder.with_file_name("moved")).unwrap();
        fs::create_dir(&place.folder).unwrap();
        let failure = place.stage().unwrap_err();
        assert!(failure.to_string().contains("another folder"), "{failure}");
    }
}
