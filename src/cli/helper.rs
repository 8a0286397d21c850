//! The program by the names under which mount(8) and umount(8) call it (EXTERNAL HELPERS in each):
//! `mount.envelopefs SPEC DIR [-sfnv] [-o OPTIONS] [-N NAMESPACE] [-t TYPE]`, of mounts that are there already
//! `mount.fuse.envelopefs`, and `umount.fuse.envelopefs DIR [-flnv] [-N NAMESPACE] [-t TYPE]`. They make the same requests
//! as `envelopefs mount` and `envelopefs umount`; and one of their own, `-o remount`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser};

use super::Request;
use super::cmd::mount::{MountRequest, options_have_key};
use super::cmd::remount::RemountRequest;
use super::cmd::umount::UmountRequest;
use super::config::Configuration;
use super::failure::Failure;
use super::logging::LogRequest;
use super::options::{self, UnknownOption};

/// Mount an envelopefs volume; called by mount(8)
#[derive(Debug, Parser)]
#[command(name = "mount.envelopefs", version, max_term_width = 100)]
pub struct HelperArgs {
    /// The ciphertext folder
    #[arg(value_name = "CIPHERDIR")]
    spec: PathBuf,

    /// The mount point
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Pass over mount options that are not known
    #[arg(short)]
    sloppy: bool,

    /// Check the call and mount nothing
    #[arg(short)]
    fake: bool,

    /// Do not write /etc/mtab; it is never written
    #[arg(short)]
    no_mtab: bool,

    /// Log more
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,

    /// Mount read-only
    #[arg(short)]
    read_only: bool,

    /// Mount read-write
    #[arg(short = 'w', conflicts_with = "read_only")]
    read_write: bool,

    /// Mount options, as for `envelopefs mount`
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,

    /// The type that was asked for: envelopefs
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<String>,
}

/// Unmount an envelopefs volume; called by umount(8)
#[derive(Debug, Parser)]
#[command(name = "umount.fuse.envelopefs", version, max_term_width = 100)]
pub struct UmountHelperArgs {
    /// The mount point
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// As without it: a process that does not answer is not waited for in any case
    #[arg(short)]
    force: bool,

    /// Take the mount out of sight at once, though it is in use
    #[arg(short)]
    lazy: bool,

    /// Do not write /etc/mtab; it is never written
    #[arg(short)]
    no_mtab: bool,

    /// Log more
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,

    /// The mount namespace, which umount(8) has entered already
    #[arg(short = 'N', value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// The type that is mounted there
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<String>,
}

/// What mount(8) or umount(8) asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperCall {
    /// The work; nothing where a call was only to be checked.
    pub request: Request,
    /// What it says of the logs.
    pub logs: LogRequest,
}

/// Which helper the program was called as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    /// Of mount(8).
    Mount,
    /// Of umount(8).
    Umount,
}

impl Helper {
    /// By the program's name; None where that is no helper's.
    pub fn of_name(argv0: &OsStr) -> Option<Self> {
        match Path::new(argv0).file_name()?.to_str()? {
            "mount.envelopefs" | "mount.fuse.envelopefs" => Some(Self::Mount),
            "umount.envelopefs" | "umount.fuse.envelopefs" => Some(Self::Umount),
            _ => None,
        }
    }
}

impl HelperArgs {
    /// The request that mount(8) makes.
    ///
    /// # Errors
    /// A mount option that cannot be followed, or another type than ours.
    pub fn into_call(self, config: &Configuration) -> Result<HelperCall, Failure> {
        if let Some(kind) = self.kind.as_deref().filter(|kind| !is_our_type(kind)) {
            return Err(Failure::usage(
                "cannot mount",
                format!("{kind:?} is not envelopefs"),
            ));
        }
        let unknown = if self.sloppy {
            UnknownOption::Skip
        } else {
            UnknownOption::Refuse
        };
        let mut request = MountRequest::new(self.spec, self.dir);
        let remount = without_remount(&self.options);
        if remount.is_none() {
            let settings = config.settings(&request.cipherdir, &request.mountpoint);
            let has_key = options_have_key(&self.options);
            request.follow(&settings, &|name| name == "key" && has_key);
        }
        if self.read_only || self.read_write {
            request.read_only = self.read_only;
        }
        let options = match &remount {
            // mount(8) hands on what the table of mounts has too: user_id=, group_id=.
            Some(options) => request.apply(options, UnknownOption::Skip)?,
            None => request.apply(&self.options, unknown)?,
        };
        let mut logs = LogRequest {
            verbose: self.verbose,
            ..LogRequest::default()
        };
        config.lay_under(options, &mut logs, false);
        let request = match remount {
            _ if self.fake => Request::Nothing,
            Some(_) => Request::Remount(RemountRequest::from(request)),
            None => Request::Mount(Box::new(request)),
        };
        Ok(HelperCall { request, logs })
    }
}

/// The options of a mount that is there already and is to get others; None where a new one is asked for.
fn without_remount(options: &[String]) -> Option<Vec<String>> {
    let taken: Vec<_> = options
        .iter()
        .map(|text| options::without(text, "remount"))
        .collect();
    let any = taken.iter().any(Option::is_some);
    any.then(|| {
        let pairs = taken.into_iter().zip(options);
        pairs
            .map(|(rest, whole)| rest.unwrap_or_else(|| whole.clone()))
            .collect()
    })
}

impl UmountHelperArgs {
    /// The request that umount(8) makes.
    #[must_use]
    pub fn into_call(self) -> HelperCall {
        HelperCall {
            request: Request::Umount(UmountRequest {
                mountpoint: self.dir,
                lazy: self.lazy,
            }),
            logs: LogRequest {
                verbose: self.verbose,
                ..LogRequest::default()
            },
        }
    }
}

fn is_our_type(kind: &str) -> bool {
    matches!(kind, "envelopefs" | "fuse.envelopefs" | "fuse")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::cmd::mount::Sharing;
    use crate::cli::logging::LogFormat;

    fn call(line: &str) -> Result<HelperCall, String> {
        let line = format!("mount.envelopefs {line}");
        let args = HelperArgs::try_parse_from(line.split_whitespace());
        args.map_err(|error| error.to_string())?
            .into_call(&Configuration::default())
            .map_err(|failure| failure.to_string())
    }

    fn mount(line: &str) -> (MountRequest, LogRequest) {
        match call(line).unwrap() {
            HelperCall {
                request: Request::Mount(request),
                logs,
            } => (*request, logs),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn umount(line: &str) -> Result<UmountRequest, String> {
        let line = format!("umount.fuse.envelopefs {line}");
        let args = UmountHelperArgs::try_parse_from(line.split_whitespace());
        match args.map_err(|error| error.to_string())?.into_call().request {
            Request::Umount(request) => Ok(request),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_definitions() {
        HelperArgs::command().debug_assert();
        UmountHelperArgs::command().debug_assert();
    }

    #[test]
    fn mount_s_way_of_calling_is_understood() {
        let (request, logs) =
            mount("/srv/a.enc /srv/a -v -n -o rw,nosuid,shared,log_format=json -t envelopefs");
        assert_eq!(request.cipherdir, Path::new("/srv/a.enc"));
        assert_eq!(request.sharing, Sharing::Shared);
        assert_eq!((logs.verbose, logs.format), (1, LogFormat::Json));
        assert!(!request.read_only && !request.foreground);
    }

    #[test]
    fn letters_may_be_joined() {
        assert!(mount("a b -snv -o zap,ro").0.read_only);
        assert_eq!(
            call("a b -sfnv -o zap,ro").unwrap().request,
            Request::Nothing
        );
        assert_eq!(call("a b -f -o remount").unwrap().request, Request::Nothing);
    }

    #[test]
    fn a_remount_takes_what_the_kernel_can_change_of_all_that_is_handed_on() {
        let line = "a b -o rw,nosuid,nodev,relatime,user_id=0,group_id=0,allow_other,remount,ro";
        let Request::Remount(request) = call(line).unwrap().request else {
            panic!("no remount");
        };
        assert!(request.read_only);
        assert_eq!(request.mountpoint, Path::new("b"));
        let Request::Remount(request) = call("a b -o remount,rw").unwrap().request else {
            panic!("no remount");
        };
        assert!(!request.read_only);
    }

    #[test]
    fn umount_s_way_of_calling_is_understood() {
        let request = |lazy| UmountRequest {
            mountpoint: "/srv/a".into(),
            lazy,
        };
        assert_eq!(
            umount("/srv/a -n -v -t fuse.envelopefs"),
            Ok(request(false))
        );
        assert_eq!(umount("/srv/a -l -f -N /proc/7/ns/mnt"), Ok(request(true)));
        for line in ["", "a b", "a -r", "a -x", "a --lazy"] {
            assert!(umount(line).is_err(), "{line}");
        }
    }

    #[test]
    fn options_from_fstab_are_passed_over() {
        let request = mount("a b -o rw,noauto,nofail,x-systemd.automount,user=eve,_netdev").0;
        assert_eq!(request, MountRequest::new("a".into(), "b".into()));
    }

    #[test]
    fn calls_that_cannot_be_followed_are_refused() {
        for line in [
            "",
            "a",
            "a b c",
            "a b -o zap",
            "a b -t ext4",
            "a b -x",
            "a b -r -w",
            "a b --read-only",
            "a b -o remount=1",
        ] {
            assert!(call(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_helpers_names_are_known() {
        for (name, helper) in [
            ("mount.envelopefs", Helper::Mount),
            ("/sbin/mount.envelopefs", Helper::Mount),
            ("./mount.fuse.envelopefs", Helper::Mount),
            ("/sbin/umount.fuse.envelopefs", Helper::Umount),
            ("umount.envelopefs", Helper::Umount),
        ] {
            assert_eq!(Helper::of_name(OsStr::new(name)), Some(helper), "{name}");
        }
        for name in [
            "",
            "/",
            "envelopefs",
            "mount",
            "umount",
            "mount.envelopefs/x",
            "xmount.envelopefs",
        ] {
            assert_eq!(Helper::of_name(OsStr::new(name)), None, "{name}");
        }
    }
}
