//! `--audit` of a mount: where its lines go, and the first of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::HEXLOWER;

use super::{MountRequest, Sharing};
use crate::audit::{Event, Field, Kind, Target, WhenFull};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, chain};
use crate::cli::values::{self, ValueError};
use crate::volume::{StoredPolicy, Volume};

/// Where audit lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditTo {
    /// Nowhere.
    #[default]
    Nowhere,
    /// Into this file.
    File(PathBuf),
    /// To journald.
    Journal,
}

impl FromStr for AuditTo {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(match text {
            "" => return Err(values::malformed("", "a file, journald, or -")),
            "-" => Self::Nowhere,
            "journald" => Self::Journal,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for AuditTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("-"),
            Self::Journal => f.write_str("journald"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Reads `drop` or `fail`.
pub(crate) fn parse_full(text: &str) -> Result<WhenFull, ValueError> {
    match text {
        "drop" => Ok(WhenFull::Drop),
        "fail" => Ok(WhenFull::Fail),
        other => Err(values::malformed(other, "drop or fail")),
    }
}

pub(crate) fn show_full(full: WhenFull) -> &'static str {
    match full {
        WhenFull::Drop => "drop",
        WhenFull::Fail => "fail",
    }
}

/// Begins the audit of a mount, if it is to have one.
pub(super) fn begin(
    volume: &Volume,
    request: &MountRequest,
    cipherdir: &Path,
    mountpoint: &Path,
    policy: Option<&StoredPolicy>,
) -> Result<(), Failure> {
    let what = format!("cannot mount {}", request.cipherdir.display());
    let target = match &request.audit {
        AuditTo::Nowhere => return Ok(()),
        AuditTo::Journal => Target::Journal,
        AuditTo::File(path) => {
            Target::File(outside(&what, ("--audit", path), cipherdir, mountpoint)?)
        }
    };
    let start = start(request, cipherdir, mountpoint).with_some(
        Field::Policy,
        policy.map(|stored| HEXLOWER.encode(&stored.sha256())),
    );
    let begun = volume.begin_audit(&target, request.audit_full, start);
    begun.map_err(|error| {
        Failure::new(Exit::Failure, what, format!("the audit: {}", chain(&error)))
            .advise("name another file with --audit, or mount without it")
    })
}

/// The whole path of a file that an option names. The mount's own writes must not come back to it as requests, nor be taken for
/// ciphertext.
pub(super) fn outside(
    what: &str,
    (option, path): (&str, &Path),
    cipherdir: &Path,
    mountpoint: &Path,
) -> Result<PathBuf, Failure> {
    let name = path.file_name();
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")));
    let folder = folder.map_err(|error| {
        Failure::new(
            Exit::Failure,
            what,
            format!("{option}: the folder of {}: {error}", path.display()),
        )
    })?;
    let Some(name) = name else {
        return Err(Failure::usage(
            what,
            format!("{option}: {} names no file", path.display()),
        ));
    };
    if folder.starts_with(mountpoint) || folder.starts_with(cipherdir) {
        let why = format!("{option}: {} lies in the volume itself", path.display());
        return Err(
            Failure::usage(what, why).advise("name a file outside the volume and its mount")
        );
    }
    Ok(folder.join(name))
}

fn start(request: &MountRequest, cipherdir: &Path, mountpoint: &Path) -> Event {
    let options: Vec<String> = [
        request.read_only.then(|| "ro".to_owned()),
        (request.sharing == Sharing::Shared).then(|| "shared".to_owned()),
        request.kernel.allow_other.then(|| "allow_other".to_owned()),
        Some(format!("audit_full={}", show_full(request.audit_full))),
    ]
    .into_iter()
    .flatten()
    .collect();
    Event::new(Kind::SessionStart)
        .with(Field::Version, env!("CARGO_PKG_VERSION"))
        .with(Field::Pid, std::process::id())
        .with(Field::Uid, rustix::process::geteuid().as_raw())
        .with(Field::Cipherdir, cipherdir.to_string_lossy())
        .with(Field::Mountpoint, mountpoint.to_string_lossy())
        .with(Field::Options, options.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_back() {
        for text in ["-", "journald", "/var/log/a", "a,b"] {
            assert_eq!(text.parse::<AuditTo>().unwrap().to_string(), text);
        }
        assert!("".parse::<AuditTo>().is_err());
        assert!(parse_full("").is_err() && parse_full("block").is_err());
    }

    #[test]
    fn an_audit_file_lies_outside_the_volume() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (cipherdir, mountpoint) = (root.join("c"), root.join("m"));
        for path in [&cipherdir, &mountpoint] {
            std::fs::create_dir(path).unwrap();
            assert!(outside("x", ("--audit", &path.join("a")), &cipherdir, &mountpoint).is_err());
        }
        assert_eq!(
            outside("x", ("--audit", &root.join("a")), &cipherdir, &mountpoint).unwrap(),
            root.join("a")
        );
        assert!(
            outside(
                "x",
                ("--audit", &root.join("none/a")),
                &cipherdir,
                &mountpoint
            )
            .is_err()
        );
        assert!(outside("x", ("--audit", Path::new("/")), &cipherdir, &mountpoint).is_err());
    }
}
