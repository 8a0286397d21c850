//! The program by the name `mount.envelopefs`, as mount(8) and fstab call it:
//! `mount.envelopefs SPEC DIR [-sfnv] [-o OPTIONS] [-N NAMESPACE] [-t TYPE]` (mount(8), EXTERNAL
//! HELPERS). Makes the same request as `envelopefs mount`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser};

use super::cmd::mount::{MountRequest, options_have_key};
use super::config::Configuration;
use super::failure::Failure;
use super::logging::LogRequest;
use super::options::UnknownOption;

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

/// What mount(8) asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperCall {
    /// The mount.
    pub request: MountRequest,
    /// What it says of the logs.
    pub logs: LogRequest,
    /// Check only.
    pub fake: bool,
}

/// Whether the program was called by a helper's name.
pub fn is_helper_name(argv0: &OsStr) -> bool {
    let name = Path::new(argv0).file_name();
    name.is_some_and(|name| name == "mount.envelopefs" || name == "mount.fuse.envelopefs")
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
        let settings = config.settings(&request.cipherdir, &request.mountpoint);
        let has_key = options_have_key(&self.options);
        request.follow(&settings, &|name| name == "key" && has_key);
        if self.read_only || self.read_write {
            request.read_only = self.read_only;
        }
        let logs = request.apply(&self.options, unknown)?;
        let said = config.logs();
        let logs = LogRequest {
            file: logs.file.or(said.file.map(|(file, _)| file)),
            format: logs
                .format
                .or(said.format.map(|(format, _)| format))
                .unwrap_or_default(),
            level: said.level.map(|(level, _)| level),
            verbose: self.verbose,
            quiet: false,
        };
        Ok(HelperCall {
            request,
            logs,
            fake: self.fake,
        })
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

    #[test]
    fn clap_finds_nothing_wrong_with_the_definition() {
        HelperArgs::command().debug_assert();
    }

    #[test]
    fn mount_s_way_of_calling_is_understood() {
        let call =
            call("/srv/a.enc /srv/a -v -n -o rw,nosuid,shared,log_format=json -t envelopefs")
                .unwrap();
        assert_eq!(call.request.cipherdir, Path::new("/srv/a.enc"));
        assert_eq!(call.request.sharing, Sharing::Shared);
        assert_eq!((call.logs.verbose, call.logs.format), (1, LogFormat::Json));
        assert!(!call.fake && !call.request.read_only && !call.request.foreground);
    }

    #[test]
    fn letters_may_be_joined() {
        let call = call("a b -sfnv -o zap,ro").unwrap();
        assert!(call.fake && call.request.read_only);
    }

    #[test]
    fn options_from_fstab_are_passed_over() {
        let call = call("a b -o rw,noauto,nofail,x-systemd.automount,user=eve,_netdev").unwrap();
        assert_eq!(call.request, MountRequest::new("a".into(), "b".into()));
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
        ] {
            assert!(call(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_helper_s_names_are_known() {
        for name in [
            "mount.envelopefs",
            "/sbin/mount.envelopefs",
            "./mount.fuse.envelopefs",
        ] {
            assert!(is_helper_name(OsStr::new(name)), "{name}");
        }
        for name in [
            "",
            "/",
            "envelopefs",
            "mount",
            "mount.envelopefs/x",
            "xmount.envelopefs",
        ] {
            assert!(!is_helper_name(OsStr::new(name)), "{name}");
        }
    }
}
