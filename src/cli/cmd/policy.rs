//! `envelopefs policy`: who may do what in a volume.

mod run;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::{KeyArgs, PassphraseArgs, PassphraseFrom};

use crate::policy::Given;
use crate::units::KeyUri;

pub use run::run;

const AFTER: &str = "\
EXAMPLES:
  envelopefs policy check policy.toml
  envelopefs policy check policy.toml --as uid=33,exe=/usr/sbin/nginx,unit=nginx.service /certs/a.key
  envelopefs policy set ~/secrets.enc policy.toml
  envelopefs policy show ~/secrets.enc
  envelopefs policy remove ~/secrets.enc";

/// Arguments of `policy`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What is done with a policy.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Give a volume a policy, or another one
    ///
    /// Unlocks the volume, or asks the mount on this machine that has it; that mount follows the policy from then on.
    /// Other machines follow it from their next mount on, or after `policy reload` there.
    Set(SetArgs),

    /// Print the policy of a volume
    Show(VolumeArgs),

    /// Say whether a policy can be followed, and what it would say to whom
    ///
    /// Without PATH only the file is checked. What --as does not say is taken for unknown, as in a mount.
    Check(CheckArgs),

    /// Take the policy of a volume away
    Remove(VolumeArgs),

    /// Have the mounts on this machine follow the policy that stands in the volume now
    ///
    /// After it was set on another machine.
    Reload(VolumeArgs),
}

/// Arguments of `policy set`.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// The volume, and how to open it.
    #[command(flatten)]
    pub volume: VolumeArgs,

    /// The policy: a TOML file, as docs/POLICY.md says
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// A volume, and how to open it.
#[derive(Args, Clone, Debug)]
pub struct VolumeArgs {
    /// The ciphertext folder
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// Which keys may open the volume.
    #[command(flatten)]
    pub keys: KeyArgs,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Arguments of `policy check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The policy
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Who asks: uid=, gid= (also for further groups), exe=, unit=, separated by commas
    #[arg(
        long = "as",
        value_name = "WHO",
        default_value = "",
        hide_default_value = true, value_parser = parse_who)]
    pub who: Given,

    /// A path in the mount
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
}

fn parse_who(text: &str) -> Result<Given, String> {
    let mut who = Given::default();
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (name, value) = item
            .split_once('=')
            .ok_or(format!("{item:?} is not of the form name=value"))?;
        let number = || {
            value
                .parse()
                .map_err(|_error| format!("{name}={value}: a number is due"))
        };
        match name {
            "uid" => who.uid = Some(number()?),
            "gid" => who.gids.get_or_insert_default().push(number()?),
            "exe" => who.exe = Some(value.into()),
            "unit" => who.unit = Some(value.to_owned()),
            _ => return Err(format!("{name:?} is none of uid, gid, exe, unit")),
        }
    }
    Ok(who)
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyRequest {
    /// `policy set`
    Set(VolumeRequest, PathBuf),
    /// `policy show`
    Show(VolumeRequest),
    /// `policy check`
    Check(PathBuf, Given, Option<String>),
    /// `policy remove`
    Remove(VolumeRequest),
    /// `policy reload`
    Reload(VolumeRequest),
}

/// A volume to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRequest {
    /// The ciphertext folder.
    pub cipherdir: PathBuf,
    /// The keys that may be used; empty: any.
    pub keys: Vec<KeyUri>,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseFrom,
}

impl From<VolumeArgs> for VolumeRequest {
    fn from(args: VolumeArgs) -> Self {
        Self {
            cipherdir: args.cipherdir,
            keys: args.keys.keys,
            passphrase: args.passphrase.into(),
        }
    }
}

impl From<PolicyArgs> for PolicyRequest {
    fn from(args: PolicyArgs) -> Self {
        match args.command {
            PolicyCommand::Set(args) => Self::Set(args.volume.into(), args.file),
            PolicyCommand::Show(args) => Self::Show(args.into()),
            PolicyCommand::Check(args) => Self::Check(args.file, args.who, args.path),
            PolicyCommand::Remove(args) => Self::Remove(args.into()),
            PolicyCommand::Reload(args) => Self::Reload(args.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_read_as_far_as_he_is_said() {
        let who = parse_who("uid=33,gid=33,gid=109,exe=/bin/x,unit=a.service").unwrap();
        assert_eq!((who.uid, who.gids), (Some(33), Some(vec![33, 109])));
        assert_eq!(
            (who.exe, who.unit.as_deref()),
            (Some("/bin/x".into()), Some("a.service"))
        );
        assert_eq!(parse_who(""), Ok(Given::default()));
        for text in ["uid", "uid=", "uid=x", "user=1", "uid=-1", "gid=1 "] {
            assert!(parse_who(text).is_err(), "{text}");
        }
    }
}
