//! The file system under a volume: what it can, and what is left on it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FallocateFlags, RenameFlags, StatVfs, XattrFlags};

use super::{Area, Check, Finding};
use crate::cli::exit::Exit;

const WRITABLE: Check = check("writable");
const MODES: Check = check("modes");
const XATTRS: Check = check("xattrs");
const RENAMES: Check = check("rename-flags");
const HOLES: Check = check("holes");
const SPACE: Check = check("space");
const TIMES: Check = check("times");

/// The folder of the volume's own things, and what it is.
const OWN: &str = ".envelopefs";
const CONFIG: &str = "volume.json";

const fn check(name: &'static str) -> Check {
    Area("disk").check(name, Exit::Failure)
}

pub(super) fn look(cipherdir: &Path) -> Vec<Finding> {
    let mut findings = vec![modes(cipherdir), times(cipherdir, SystemTime::now())];
    match Trial::begin(&cipherdir.join(OWN)) {
        Err(error) => findings.push(WRITABLE.warn(
            format!("the volume cannot be written, so what its file system can was not tried: {error}"),
            "mount it with --read-only; or see who owns it, and that its file system is mounted read-write",
        )),
        Ok(trial) => {
            findings.push(WRITABLE.ok("the volume can be written"));
            findings.extend([xattrs(&trial), renames(&trial), holes(&trial)]);
        }
    }
    findings.push(match rustix::fs::statvfs(cipherdir) {
        Ok(stat) => space(&stat),
        Err(error) => SPACE.warn(
            format!("the space that is left is not known: {error}"),
            "see the kernel's log",
        ),
    });
    findings
}

/// A folder of this run's own in the volume's, where no file of the mount ever is; gone in the end.
struct Trial(PathBuf);

impl Trial {
    fn begin(own: &Path) -> io::Result<Self> {
        let path = own.join(format!("doctor-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> io::Result<File> {
        File::create(self.0.join(name))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "what was made for a trial stays");
        }
    }
}

fn modes(cipherdir: &Path) -> Finding {
    match fs::metadata(cipherdir) {
        Err(error) => MODES.fail(
            format!("the folder cannot be looked at: {error}"),
            "see who owns it",
        ),
        Ok(found) if found.mode() & 0o002 != 0 && found.mode() & 0o1000 == 0 => MODES.warn(
            "any user may remove and exchange files of the ciphertext folder",
            format!("chmod o-w {}", cipherdir.display()),
        ),
        Ok(_) => MODES.ok("only its owner and group change the ciphertext folder"),
    }
}

/// An hour, as a clock and that of a file server may differ.
const AHEAD: Duration = Duration::from_hours(1);

fn times(cipherdir: &Path, now: SystemTime) -> Finding {
    let changed = fs::metadata(cipherdir.join(OWN).join(CONFIG)).and_then(|found| found.modified());
    match changed {
        Ok(changed) if changed > now + AHEAD => TIMES.warn(
            "the volume was changed in the future, as this machine's clock has it",
            "set the time, and run a time service",
        ),
        _ => TIMES.ok("the volume's times make sense"),
    }
}

fn xattrs(trial: &Trial) -> Finding {
    let tried = trial.file("x").and_then(|file| {
        let set = rustix::fs::fsetxattr(&file, "user.envelopefs.doctor", b"1", XattrFlags::CREATE);
        Ok(set?)
    });
    match tried {
        Ok(()) => XATTRS.ok("the file system keeps extended attributes"),
        Err(error) => XATTRS.warn(
            format!("extended attributes cannot be set through a mount: {error}"),
            "keep the volume on ext4, XFS, Btrfs or (Linux 6.6) tmpfs",
        ),
    }
}

fn renames(trial: &Trial) -> Finding {
    let tried = || -> io::Result<()> {
        drop((trial.file("a")?, trial.file("b")?));
        let folder = File::open(&trial.0)?;
        let rename = |from, to, flags| {
            rustix::fs::renameat_with(folder.as_fd(), from, folder.as_fd(), to, flags)
        };
        rename("a", "c", RenameFlags::NOREPLACE)?;
        Ok(rename("b", "c", RenameFlags::EXCHANGE)?)
    };
    match tried() {
        Ok(()) => RENAMES.ok("the file system exchanges names"),
        Err(error) => RENAMES.warn(
            format!(
                "programs that rename with RENAME_NOREPLACE or RENAME_EXCHANGE will fail: {error}"
            ),
            "keep the volume on ext4, XFS, Btrfs or tmpfs",
        ),
    }
}

fn holes(trial: &Trial) -> Finding {
    let tried = || -> io::Result<()> {
        let file = trial.file("h")?;
        file.write_all_at(&[1; 16384], 0)?;
        let mode = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
        Ok(rustix::fs::fallocate(&file, mode, 4096, 8192)?)
    };
    match tried() {
        Ok(()) => HOLES.ok("the file system makes holes"),
        Err(error) => HOLES.warn(
            format!("what is cut out of files keeps its space: {error}"),
            "keep the volume on ext4, XFS, Btrfs or tmpfs",
        ),
    }
}

/// Less than one part in so many is little.
const LITTLE: u64 = 20;

fn space(stat: &StatVfs) -> Finding {
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let shown = format!("{} MiB", free >> 20);
    let mend = "free some, or enlarge the file system";
    let little = |left: u64, all: u64| all > 0 && left < all / LITTLE;
    if free == 0 {
        return SPACE.fail("no space is left for ciphertext", mend);
    }
    if stat.f_files > 0 && stat.f_favail == 0 {
        return SPACE.fail("no inode is left for new files", mend);
    }
    match (
        little(stat.f_bavail, stat.f_blocks),
        little(stat.f_favail, stat.f_files),
    ) {
        (true, _) => SPACE.warn(format!("only {shown} are left for ciphertext"), mend),
        (false, true) => SPACE.warn(format!("only {} inodes are left", stat.f_favail), mend),
        (false, false) => SPACE.ok(format!("{shown} are left for ciphertext")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::cmd::doctor::Level;

    #[test]
    fn the_trial_leaves_nothing_behind() {
        let volume = tempfile::tempdir().unwrap();
        let own = volume.path().join(OWN);
        fs::create_dir(&own).unwrap();
        let findings = look(volume.path());
        let names: Vec<_> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(
            names,
            [
                "modes",
                "times",
                "writable",
                "xattrs",
                "rename-flags",
                "holes",
                "space"
            ]
        );
        assert_eq!(fs::read_dir(&own).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_told_and_not_tried() {
        let volume = tempfile::tempdir().unwrap();
        let findings = look(volume.path());
        let writable = findings
            .iter()
            .find(|finding| finding.check == "writable")
            .unwrap();
        assert!(writable.level == Level::Warn && writable.mend.contains("--read-only"));
        assert!(findings.iter().all(|finding| finding.check != "holes"));
    }

    #[test]
    fn a_folder_that_anybody_may_change_is_told() {
        let volume = tempfile::tempdir().unwrap();
        for (mode, level) in [
            (0o755, Level::Ok),
            (0o777, Level::Warn),
            (0o1777, Level::Ok),
        ] {
            fs::set_permissions(volume.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(modes(volume.path()).level, level, "{mode:o}");
        }
    }

    #[test]
    fn a_volume_of_the_future_is_told() {
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join(OWN)).unwrap();
        fs::write(volume.path().join(OWN).join(CONFIG), "").unwrap();
        assert_eq!(times(volume.path(), SystemTime::now()).level, Level::Ok);
        assert_eq!(
            times(volume.path(), SystemTime::UNIX_EPOCH).level,
            Level::Warn
        );
    }

    #[test]
    fn little_space_is_told_and_none_fails() {
        let mut stat = rustix::fs::statvfs("/").unwrap();
        stat.f_frsize = 4096;
        stat.f_blocks = 1000;
        stat.f_files = 1000;
        stat.f_favail = 900;
        for (free, level) in [(900, Level::Ok), (49, Level::Warn), (0, Level::Fail)] {
            stat.f_bavail = free;
            assert_eq!(space(&stat).level, level, "{free}");
        }
        stat.f_bavail = 900;
        for (inodes, level) in [(49, Level::Warn), (0, Level::Fail)] {
            stat.f_favail = inodes;
            assert_eq!(space(&stat).level, level, "{inodes}");
        }
    }
}
