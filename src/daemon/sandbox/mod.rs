//! The sandbox of the process that serves a mount: what it holds of root's rights, which files and ports it reaches, and
//! which system calls it is refused.
//!
//! In three steps: [`reduce`] drops capabilities while the process has one thread, before a key is in memory and before
//! a provider's code is loaded; [`bound`] makes the rules for files before the mount; [`close`] comes when the mount is there, and refuses for good what only the way to it
//! needed. What it may do no more others do for it: an unmount the [keeper](super::keeper), a look at other processes
//! and at names the [scout](super::scout).

mod calls;
mod capabilities;
mod reach;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::harden::threads;

pub(super) use capabilities::{keep_for_keeper, keep_for_scout};
pub use reach::Reach;

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// As [`Full`](Self::Full); where the kernel lacks a part, a warning.
    #[default]
    Auto,
    /// All of it, or there is no mount.
    Full,
    /// None.
    Off,
}

impl Sandbox {
    /// The one that the command line names so.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "full" => Some(Self::Full),
            "off" => Some(Self::Off),
            _ => None,
        }
    }

    /// As the command line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Full => "full",
            Self::Off => "off",
        }
    }

    /// What has come of a step: its failure is one of the mount only where the user insists.
    fn settle<T>(self, what: &str, step: impl FnOnce() -> io::Result<T>) -> io::Result<Option<T>> {
        match self {
            Self::Off => Ok(None),
            Self::Full => step().map(Some),
            Self::Auto => Ok(step()
                .inspect_err(|error| tracing::warn!(%error, "the sandbox is not whole: {what}"))
                .ok()),
        }
    }
}

/// What a mount still does when it is there, beyond reading and writing its volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// It may run programs: a passphrase command, or what a PKCS#11 module starts.
    pub programs: bool,
    /// It may reach other machines: its keys are not all on this one.
    pub network: bool,
    /// Its requests come over io_uring.
    pub ring: bool,
    /// It opens inodes by file handles, to which no path may lead: rules for folders do not find them.
    pub handles: bool,
}

impl Needs {
    /// Whether all that it does is known here. What a vendor's module or a user's command does nobody knows.
    #[must_use]
    pub fn is_bounded(self) -> bool {
        !self.programs
    }

    /// Whether its files and ports are bounded.
    fn has_rules(self) -> bool {
        self.is_bounded() && !self.handles
    }
}

/// How far a process got into its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxReport {
    /// Capabilities were dropped, where there were any.
    pub capabilities: bool,
    /// No files but these and those of the volume are reached.
    pub files: Option<Reach>,
    /// System calls are refused, and no program gives new rights: for what needs.
    pub calls: Option<Needs>,
}

impl SandboxReport {
    /// `full` where all stands that such a mount has; else the parts.
    fn stands(&self) -> String {
        let files = (self.files.is_some(), "files");
        let parts = [
            (self.capabilities, "capabilities"),
            files,
            (self.calls.is_some(), "system calls"),
        ];
        let bounded = self.calls.is_none_or(Needs::has_rules);
        if parts
            .iter()
            .all(|part| part.0 || (*part == files && !bounded))
        {
            return "full".to_owned();
        }
        let standing: Vec<_> = parts.into_iter().filter(|part| part.0).collect();
        match standing.as_slice() {
            [] => "off".to_owned(),
            parts => format!(
                "{} only",
                parts
                    .iter()
                    .map(|part| part.1)
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
        }
    }
}

impl fmt::Display for SandboxReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stands())?;
        let Some(needs) = self.calls else {
            return Ok(());
        };
        f.write_str(match (needs.programs, needs.network) {
            (true, true) => "; programs and network allowed",
            (true, false) => "; programs allowed, no network",
            (false, true) => "; no programs, network allowed",
            (false, false) => "; no programs, no network",
        })?;
        if self.files.is_none() {
            f.write_str(", any file")?;
        }
        match self.files.as_ref().and_then(|reach| reach.ports.as_ref()) {
            Some(ports) if needs.network => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(f, " (TCP ports {})", ports.join(", "))
            }
            _ => Ok(()),
        }
    }
}

/// Drops the capabilities that no mount needs. The process has one thread, for each has its own.
///
/// # Errors
/// The kernel refuses, and the user insists.
pub fn reduce(sandbox: Sandbox, needs: Needs) -> io::Result<SandboxReport> {
    let reduced = sandbox.settle("capabilities", || capabilities::reduce(needs.programs))?;
    Ok(SandboxReport {
        capabilities: reduced.is_some(),
        ..SandboxReport::default()
    })
}

/// Which files and ports a mount may reach, ready for [`close`].
#[derive(Debug)]
pub struct Bounds {
    reach: Reach,
    rules: OwnedFd,
}

/// Makes the rules of what a mount of `cipherdir` reaches. Before it is mounted: whoever looks for a folder then must
/// not meet the mount itself, which nobody serves yet.
///
/// # Errors
/// The kernel has no such rules, and the user insists.
pub fn bound(
    sandbox: Sandbox,
    needs: Needs,
    cipherdir: &Path,
    reach: Reach,
) -> io::Result<Option<Bounds>> {
    if !needs.has_rules() {
        return Ok(None);
    }
    sandbox.settle("files", || {
        let rules = reach.rules(cipherdir)?;
        Ok(Bounds { reach, rules })
    })
}

/// Has the kernel refuse to every thread, now and later, what a mount that is there does not do, and give no new
/// rights to any program (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// The kernel has no such rules or filters, and the user insists. The process may have been closed in part.
pub fn close(
    sandbox: Sandbox,
    needs: Needs,
    bounds: Option<Bounds>,
    mut report: SandboxReport,
) -> io::Result<SandboxReport> {
    let restrict = |Bounds { reach, rules }| {
        let restricted = sandbox.settle("files", || threads::restrict_all(&rules))?;
        Ok::<_, io::Error>(restricted.map(|_threads| reach))
    };
    report.files = bounds.map(restrict).transpose()?.flatten();
    let closed = sandbox.settle("system calls", || calls::refuse(needs))?;
    report.calls = closed.map(|()| needs);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_insists_fails() {
        let fail = || Err::<(), _>(io::ErrorKind::Unsupported.into());
        assert_eq!(Sandbox::Auto.settle("x", fail).unwrap(), None);
        assert!(Sandbox::Full.settle("x", fail).is_err());
        assert_eq!(Sandbox::Off.settle("x", fail).unwrap(), None);
        assert_eq!(Sandbox::Auto.settle("x", || Ok(7)).unwrap(), Some(7));
    }

    #[test]
    fn the_report_says_what_is_missing() {
        let mut report = SandboxReport::default();
        assert_eq!(report.to_string(), "off");
        report.capabilities = true;
        assert_eq!(report.to_string(), "capabilities only");
        report.calls = Some(Needs::default());
        assert_eq!(
            report.to_string(),
            "capabilities and system calls only; no programs, no network, any file"
        );
        report.files = Some(Reach::default());
        assert_eq!(report.to_string(), "full; no programs, no network");
        report.capabilities = false;
        assert_eq!(
            report.to_string(),
            "files and system calls only; no programs, no network"
        );
    }

    #[test]
    fn the_report_says_what_is_allowed() {
        let needs = |programs| Needs {
            programs,
            network: true,
            ..Needs::default()
        };
        let ports = Some([443, 8200].into());
        let mut report = SandboxReport {
            capabilities: true,
            files: Some(Reach {
                ports,
                ..Reach::default()
            }),
            calls: Some(needs(false)),
        };
        assert_eq!(
            report.to_string(),
            "full; no programs, network allowed (TCP ports 443, 8200)"
        );
        // Nobody knows what a module opens.
        (report.files, report.calls) = (None, Some(needs(true)));
        assert_eq!(
            report.to_string(),
            "full; programs and network allowed, any file"
        );
    }

    #[test]
    fn names_read_back() {
        for sandbox in [Sandbox::Full, Sandbox::Off] {
            assert_eq!(Sandbox::of_name(sandbox.name()), Some(sandbox));
        }
        assert_eq!(Sandbox::of_name("on"), None);
    }
}
