//! Imports the folder.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;

use super::place::{Place, Stage, what};
use super::{ImportRequest, users};
use crate::cli::cmd::init::{self, InitRequest};
use crate::cli::cmd::pass::Pass;
use crate::cli::cmd::staging::{Opening, Staging, make_mountpoint, make_private};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{self, counted, harmless};
use crate::daemon::mounts;
use crate::maint::mirror::{self, MirrorError, Survey, Trust, remove_tree};
use crate::storage::{self, CName, Node};

/// How often a folder is copied that changes meanwhile.
const ROUNDS: u32 = 4;

/// Copies the folder into a new volume, compares, and lets the mount take its place; or goes on where an earlier run
/// was cut short.
///
/// # Errors
/// Something stands in the way, or fails: the folder is then still the plaintext.
pub fn run(request: &ImportRequest) -> Result<(), Failure> {
    let import = Import {
        place: Place::of(request)?,
        request,
    };
    if !rustix::process::geteuid().is_root() {
        return Err(import
            .failure("only root can let a mount take a folder's place")
            .advise("run it as root; or, as an ordinary user: init, mount, copy, and move the folder away"));
    }
    let stage = import.place.stage()?;
    match stage {
        _ if request.remove_plaintext => import.remove_plaintext(stage),
        Stage::Done if request.dry_run => output::print("It is imported already.\n"),
        Stage::Done => import.mount_again(),
        Stage::Fresh | Stage::Begun => import.carry_out(stage),
    }
}

struct Import<'a> {
    place: Place,
    request: &'a ImportRequest,
}

impl Import<'_> {
    fn failure(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(Exit::Failure, what(&self.place.folder), why)
    }

    fn io(&self, path: &Path) -> impl FnOnce(io::Error) -> Failure {
        let path = path.display().to_string();
        move |error| self.failure(format!("{path}: {error}"))
    }

    fn carry_out(&self, stage: Stage) -> Result<(), Failure> {
        let mut survey = self.look()?;
        self.refuse(&survey, stage)?;
        self.refuse_writers()?;
        if self.request.dry_run {
            return output::print(&self.plan(&survey));
        }
        if stage == Stage::Fresh {
            self.probe()?;
            self.make_volume()?;
        }
        let mut trust = Trust::Times;
        for round in 0..ROUNDS {
            if round > 0 {
                self.refuse_writers()?;
                survey = self.look()?;
                self.refuse(&survey, Stage::Begun)?;
            }
            if let Some(difference) = self.fill(trust)?.first() {
                tracing::warn!(%difference, "differs, and is copied once more");
                trust = Trust::Nothing;
                continue;
            }
            match self.take_place(&survey) {
                Ok(()) => return self.report(&survey),
                Err(failure) if failure.exit() == Exit::Busy => {}
                Err(failure) => return Err(failure),
            }
        }
        let why = format!("it changed each time that it was copied, {ROUNDS} times");
        Err(Failure::new(Exit::Busy, what(&self.place.folder), why)
            .advise("stop what writes there, and run it again to go on"))
    }

    fn look(&self) -> Result<Survey, Failure> {
        let root = Node::open_root(&self.place.folder).map_err(self.io(&self.place.folder))?;
        mirror::survey(&root).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &MirrorError) -> Failure {
        let failure = self.failure(harmless(&error.to_string()));
        match error.source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => {
                failure.advise("make room, and run it again to go on")
            }
            Some(libc::ENOENT) => failure
                .advise("it went while it was copied: stop what writes there, and run it again"),
            _ => failure.advise("remove the cause, and run it again to go on"),
        }
    }

    /// Refuses what cannot be imported, each with its reason.
    fn refuse(&self, survey: &Survey, stage: Stage) -> Result<(), Failure> {
        let folder = &self.place.folder;
        if let Some(mount) = mounts::read()
            .unwrap_or_default()
            .iter()
            .find(|mount| mount.mountpoint.starts_with(folder))
        {
            let point = mount.mountpoint.display();
            return Err(Failure::new(
                Exit::Mountpoint,
                what(folder),
                format!("{point} is a mount point"),
            )
            .advise("unmount it first, or import the folders apart from it"));
        }
        if let Some(path) = &survey.other_file_system {
            return Err(self.failure(format!("{} is on another file system", harmless(path))));
        }
        if let Some(path) = &survey.volume {
            let path = folder.join(path);
            return Err(self.failure(format!(
                "{} holds the ciphertext of a volume",
                path.display()
            )));
        }
        if let Some(volume) = folder
            .ancestors()
            .skip(1)
            .find(|above| above.join(".envelopefs/volume.json").exists())
        {
            return Err(self.failure(format!(
                "it lies in the ciphertext folder {}",
                volume.display()
            )));
        }
        match stage {
            Stage::Fresh => self.refuse_without_room(survey),
            Stage::Begun | Stage::Done => Ok(()),
        }
    }

    fn refuse_without_room(&self, survey: &Survey) -> Result<(), Failure> {
        let parent = self.place.cipherdir.parent().unwrap_or(Path::new("/"));
        let room = rustix::fs::statvfs(parent).map_err(|error| self.io(parent)(error.into()))?;
        let (needed, free) = (needed(survey), room.f_bavail.saturating_mul(room.f_frsize));
        if needed <= free {
            return Ok(());
        }
        let why = format!(
            "the copy needs about {} MiB beside it, and {} has {} MiB",
            needed >> 20,
            parent.display(),
            free >> 20
        );
        Err(self
            .failure(why)
            .advise("make room, or name a roomier folder by --cipherdir"))
    }

    fn refuse_writers(&self) -> Result<(), Failure> {
        let users = users::of(&self.place.folder);
        let Some(writer) = users.iter().find(|user| user.writes) else {
            return Ok(());
        };
        let why = format!(
            "process {} has {} open for writing",
            writer.pid,
            writer.path.display()
        );
        Err(Failure::new(Exit::Busy, what(&self.place.folder), why)
            .advise("stop it until the import is done; it is to open its files anew in any case"))
    }

    /// Sees that the system can do what comes last, before hours of copying.
    fn probe(&self) -> Result<(), Failure> {
        let (one, other) = (self.place.unmarked(), &self.place.plain);
        self.clear_unmarked()?;
        for path in [&one, other] {
            make_private(path).map_err(self.io(path))?;
        }
        let exchanged = storage::exchange_with_mount(other, &one);
        fs::remove_dir(&one).map_err(self.io(&one))?;
        if exchanged.is_err() {
            fs::remove_dir(other).map_err(self.io(other))?;
        }
        exchanged.map_err(|error| {
            self.failure(format!("a mount cannot take its place here: {error}")).advise(
                "it needs CAP_SYS_ADMIN, and a file system that can exchange two names (RENAME_EXCHANGE: ext4, XFS, Btrfs and most others), the same for folder and ciphertext",
            )
        })
    }

    /// What a run has left that was killed while it made the volume.
    fn clear_unmarked(&self) -> Result<(), Failure> {
        let path = self.place.unmarked();
        match remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io(&path)(error)),
            _ => Ok(()),
        }
    }

    fn make_volume(&self) -> Result<(), Failure> {
        let request = InitRequest {
            cipherdir: self.place.unmarked(),
            ..self.request.volume.clone()
        };
        let made = init::make(&request)?;
        self.place.mark().map_err(self.io(&self.place.cipherdir))?;
        output::print(&made.report(&self.place.cipherdir))
    }

    fn opening<'a>(&'a self, keys: &'a [crate::units::KeyUri]) -> Opening<'a> {
        Opening {
            cipherdir: &self.place.cipherdir,
            keys,
            passphrase: &self.request.volume.passphrase,
        }
    }

    /// Copies, reads back and compares; answers what differs. What was copied is durable then.
    fn fill(&self, trust: Trust) -> Result<Vec<String>, Failure> {
        let plain = &self.place.plain;
        let keys = self.request.keys();
        make_mountpoint(plain).map_err(self.io(plain))?;
        let staging = Staging::mount(self.opening(&keys), plain, false)?;
        let differences = {
            let from = Node::open_root(&self.place.folder).map_err(self.io(&self.place.folder))?;
            let to = Node::open_root(plain).map_err(self.io(plain))?;
            let pass = Pass::begin(self.request.progress, "copied");
            let copied = mirror::copy(&from, &to, trust, &mut |passed| pass.show(passed));
            copied.map_err(|error| self.failed(&error))?;
            let pass = Pass::begin(self.request.progress, "compared");
            let compared = mirror::compare(&from, &to, &mut |passed| pass.show(passed));
            compared.map_err(|error| self.failed(&error))?
        };
        staging.unmount()?;
        let synced = Node::open_root(&self.place.cipherdir).and_then(|folder| folder.sync_fs());
        synced.map_err(self.io(&self.place.cipherdir))?;
        Ok(differences)
    }

    fn mount_options(&self, acl: bool) -> Vec<String> {
        let mut options = vec!["allow_other".to_owned()];
        options.extend(acl.then(|| "acl".to_owned()));
        options.extend(self.request.options.iter().cloned());
        options
    }

    fn mount_arguments(&self, acl: bool) -> Vec<OsString> {
        let options = self.mount_options(acl).into_iter();
        options
            .flat_map(|options| ["-o".into(), options.into()])
            .collect()
    }

    fn take_place(&self, survey: &Survey) -> Result<(), Failure> {
        self.refuse_writers()?;
        let noted = self.place.note_acl(survey.acl);
        noted.map_err(self.io(&self.place.cipherdir))?;
        let mut more = self.mount_arguments(survey.acl);
        more.extend(["--take-place-of".into(), self.place.folder.clone().into()]);
        more.extend([
            "--as-it-was".into(),
            HEXLOWER.encode(&survey.fingerprint).into(),
        ]);
        let keys = self.request.keys();
        self.opening(&keys).mount(&self.place.plain, &more)
    }

    /// After a restart, the mount alone is missing.
    fn mount_again(&self) -> Result<(), Failure> {
        let acl = self.place.has_acl();
        if !self.place.is_mounted() {
            let keys = self.request.keys();
            let more = self.mount_arguments(acl);
            self.opening(&keys).mount(&self.place.folder, &more)?;
        }
        output::print(&self.hints(acl))
    }

    fn plan(&self, survey: &Survey) -> String {
        format!(
            "{} with {}, {} and {} others, about {} MiB, would become the volume {}, and the plaintext would stay in {}.\nNothing stands in the way.\n",
            self.place.folder.display(),
            counted(survey.files, "file"),
            counted(survey.folders, "folder"),
            survey.others,
            survey.stored >> 20,
            self.place.cipherdir.display(),
            self.place.plain.display(),
        )
    }

    fn report(&self, survey: &Survey) -> Result<(), Failure> {
        let plain = &self.place.plain;
        let mut text = format!(
            "Imported {} in {} and {} others.\n",
            counted(survey.files, "file"),
            counted(survey.folders, "folder"),
            survey.others
        );
        for user in users::of(plain) {
            text.push_str(&format!(
                "Process {} still uses the plaintext: {}. Restart it.\n",
                user.pid,
                harmless(&user.path.display().to_string())
            ));
        }
        text.push_str(&self.hints(survey.acl));
        output::print(&text)?;
        let after = Node::open_root(plain).map_err(self.io(plain))?;
        let after = mirror::survey(&after).map_err(|error| self.failed(&error))?;
        if after.fingerprint == survey.fingerprint {
            return Ok(());
        }
        let why = "somebody changed it in the last moment, and that is not in the mount";
        Err(
            Failure::new(Exit::Incomplete, what(&self.place.folder), why)
                .advise(format!("compare it with {}", plain.display())),
        )
    }

    fn hints(&self, acl: bool) -> String {
        let Place {
            folder,
            cipherdir,
            plain,
        } = &self.place;
        let (folder, cipherdir, plain) = (folder.display(), cipherdir.display(), plain.display());
        let mut options = self.mount_options(acl);
        options.extend(
            self.request
                .keys()
                .iter()
                .map(|key| format!("key={}", key.to_string().replace(',', "%2C"))),
        );
        options.push("nofail".to_owned());
        let options = options.join(",");
        format!(
            "{folder} is the mount of the volume {cipherdir}. At each start, by a line in /etc/fstab:\n  \
             {cipherdir} {folder} envelopefs {options} 0 0\n\
             The plaintext is in {plain}. When all is well, remove it; flash, snapshots and journals keep traces all the same:\n  \
             envelopefs import --remove-plaintext {folder}\n"
        )
    }

    fn remove_plaintext(&self, stage: Stage) -> Result<(), Failure> {
        if stage != Stage::Done || !self.place.is_mounted() {
            return Err(self
                .failure("its volume is not mounted in its place, so the plaintext stays")
                .advise("finish the import first: run it without --remove-plaintext"));
        }
        let plain = &self.place.plain;
        let below = |mount: &mounts::Mount| mount.mountpoint.starts_with(plain);
        if mounts::read().unwrap_or_default().iter().any(below) {
            return Err(self.failure(format!("something is mounted in {}", plain.display())));
        }
        remove(plain).map_err(self.io(plain))?;
        self.place
            .unmark()
            .map_err(self.io(&self.place.cipherdir))?;
        output::print(&format!(
            "Removed {}. On flash, in snapshots and journals traces of it may be left.\n",
            plain.display()
        ))
    }
}

/// Contents with their tags, and for each entry a header, its attributes and its sealed name.
fn needed(survey: &Survey) -> u64 {
    survey.stored + survey.stored / 50 + survey.entries() * 8192
}

fn remove(path: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    remove_tree(&Node::open_root(parent)?, &CName::new(name.as_bytes())?)
}
