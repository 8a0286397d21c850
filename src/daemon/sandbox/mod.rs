//! The sandbox of the process that serves a mount: what it holds of root's rights, and which system calls it is refused.
//!
//! In two steps: [`reduce`] drops capabilities while the process has one thread, before a key is in memory and before
//! a provider's code is loaded; [`close`] comes when the mount is there, and refuses for good what only the way to it
//! needed. What neither may do any more, an unmount, the [keeper](super::keeper) does.

mod calls;
mod capabilities;

use std::fmt;
use std::io;

pub(super) use capabilities::keep_for_keeper;

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
}

/// How far a process got into its sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxReport {
    /// Capabilities were dropped, where there were any.
    pub capabilities: bool,
    /// System calls are refused, and no program gives new rights: for what needs.
    pub calls: Option<Needs>,
}

impl fmt::Display for SandboxReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(needs) = self.calls else {
            return f.write_str(if self.capabilities {
                "capabilities only"
            } else {
                "off"
            });
        };
        f.write_str(if self.capabilities {
            "full"
        } else {
            "system calls only"
        })?;
        match (needs.programs, needs.network) {
            (true, true) => f.write_str("; programs and network allowed"),
            (true, false) => f.write_str("; programs allowed, no network"),
            (false, true) => f.write_str("; no programs, network allowed"),
            (false, false) => f.write_str("; no programs, no network"),
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
        calls: None,
    })
}

/// Has the kernel refuse to every thread, now and later, what a mount that is there does not do, and give no new
/// rights to any program (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// The kernel has no such filters, and the user insists. The process may have been closed in part.
pub fn close(sandbox: Sandbox, needs: Needs, reduced: SandboxReport) -> io::Result<SandboxReport> {
    let closed = sandbox.settle("system calls", || calls::refuse(needs))?;
    Ok(SandboxReport {
        calls: closed.map(|()| needs),
        ..reduced
    })
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
        assert_eq!(report.to_string(), "full; no programs, no network");
        report.capabilities = false;
        report.calls = Some(Needs {
            programs: true,
            network: true,
        });
        assert_eq!(
            report.to_string(),
            "system calls only; programs and network allowed"
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
