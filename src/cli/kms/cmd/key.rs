//! `envelopekms key`: keys and their lives.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::kms::args::JsonArgs;
use crate::cli::values::parse_duration_in;
use crate::kms::engine::model::{KeyId, KeyRef, KeySpec, KeyState, KeyUsage, KeyVersionId};

pub use super::key_run::run;

const AFTER: &str = "\
EXAMPLES:
  envelopekms key create --alias alias/Apollo/WorkKey --rotate-every 90d
  envelopekms key create --spec RSA_2048 --usage SIGN_VERIFY
  envelopekms key create --hsm --alias alias/Apollo/HsmKey
  envelopekms key list
  envelopekms key rotate alias/Apollo/WorkKey
  envelopekms key use alias/Apollo/WorkKey
  envelopekms key schedule-deletion 1f2e3d4c-… --days 30";

const DAY: Duration = Duration::from_secs(86_400);
/// What Alibaba Cloud KMS and AWS KMS allow.
const ROTATION_DAYS: (u32, u32) = (7, 2560);

/// Arguments of `key`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What is done with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key
    Create(CreateArgs),
    /// List keys
    List(ListArgs),
    /// Say what there is to know of a key
    Show(ShowArgs),
    /// Let a key be used (again)
    Enable(KeyOnly),
    /// Let a key not be used, until it is enabled
    Disable(KeyOnly),
    /// Give a key a new version, which encrypts from now on
    Rotate(KeyOnly),
    /// Have a key rotated by schedule, or not
    Rotation(RotationArgs),
    /// Say how much each version of a key was used: what is still under an old one
    Use(ShowArgs),
    /// Let one version of a key be used (again)
    EnableVersion(VersionArgs),
    /// Let one version of a key neither decrypt nor verify
    DisableVersion(VersionArgs),
    /// Have a key destroyed after a waiting time, in which this can be cancelled
    ScheduleDeletion(DeletionArgs),
    /// Keep a key that was to be destroyed; it is disabled then
    CancelDeletion(KeyOnly),
    /// Refuse to schedule a key's deletion
    Protect(KeyOnly),
    /// Allow a key's deletion again
    Unprotect(KeyOnly),
    /// Set a key's description
    Describe(DescribeArgs),
    /// Give a key a name more, or move the name to it
    Alias(AliasArgs),
    /// Take a name away; its key stays
    Unalias(UnaliasArgs),
}

/// Arguments of `key create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Its kind and size: AES_256, AES_128, SM4, RSA_2048, RSA_3072, RSA_4096, EC_P256, EC_P384, EC_P256K, EC_SM2, HMAC_256 …
    #[arg(long, value_name = "SPEC", default_value = "AES_256", value_parser = parse_spec)]
    pub spec: KeySpec,

    /// What it is for: ENCRYPT_DECRYPT, SIGN_VERIFY or GENERATE_VERIFY_MAC. Default: the first that SPEC allows
    #[arg(long, value_name = "USAGE", value_parser = parse_usage)]
    pub usage: Option<KeyUsage>,

    /// Its first name: alias/NAME
    #[arg(long, value_name = "ALIAS", value_parser = parse_alias)]
    pub alias: Option<String>,

    /// In words
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub description: String,

    /// Its material is to be imported
    #[arg(long)]
    pub external: bool,

    /// Make it in the service's HSM, which it never leaves
    #[arg(long, conflicts_with = "external")]
    pub hsm: bool,

    /// Rotate it by schedule: 7d to 2560d
    #[arg(long, value_name = "DURATION", value_parser = parse_period)]
    pub rotate_every: Option<Duration>,

    /// Its JSON policy. Default: whatever principals' own policies allow
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// How the result is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// Arguments of `key list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Only keys in this state: Enabled, Disabled, PendingDeletion or PendingImport
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    pub state: Option<KeyState>,

    /// How the result is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// A key, and how it is shown.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The key: its id or alias/NAME
    #[arg(value_name = "KEY", value_parser = parse_key)]
    pub key: KeyRef,

    /// How the result is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// A key.
#[derive(Args, Clone, Debug)]
pub struct KeyOnly {
    /// The key: its id or alias/NAME
    #[arg(value_name = "KEY", value_parser = parse_key)]
    pub key: KeyRef,
}

/// Arguments of `key rotation`.
#[derive(Args, Clone, Debug)]
pub struct RotationArgs {
    /// The key: its id or alias/NAME
    #[arg(value_name = "KEY", value_parser = parse_key)]
    pub key: KeyRef,

    /// So often: 7d to 2560d
    #[arg(long, value_name = "DURATION", value_parser = parse_period, required_unless_present = "off")]
    pub every: Option<Duration>,

    /// No more
    #[arg(long, conflicts_with = "every")]
    pub off: bool,
}

/// One version of a key.
#[derive(Args, Clone, Debug)]
pub struct VersionArgs {
    /// The key: its id or alias/NAME
    #[arg(value_name = "KEY", value_parser = parse_key)]
    pub key: KeyRef,

    /// The version's id, as `key use` shows it
    #[arg(value_name = "VERSION", value_parser = parse_version)]
    pub version: KeyVersionId,
}

/// Arguments of `key schedule-deletion`.
#[derive(Args, Clone, Debug)]
pub struct DeletionArgs {
    /// The key: its id or alias/NAME
    #[arg(value_name = "KEY", value_parser = parse_key)]
    pub key: KeyRef,

    /// The waiting time in days: 7 to 366
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub days: u32,
}

/// Arguments of `key describe`.
#[derive(Args, Clone, Debug)]
pub struct DescribeArgs {
    /// The key: its id or alias/NAME
    #[arg(value_name = "KEY", value_parser = parse_key)]
    pub key: KeyRef,

    /// In words
    #[arg(value_name = "TEXT")]
    pub description: String,
}

/// Arguments of `key alias`.
#[derive(Args, Clone, Debug)]
pub struct AliasArgs {
    /// The key: its id or another alias/NAME
    #[arg(value_name = "KEY", value_parser = parse_key)]
    pub key: KeyRef,

    /// The name: alias/NAME
    #[arg(value_name = "ALIAS", value_parser = parse_alias)]
    pub alias: String,

    /// Where another key has the name, move it
    #[arg(long = "move")]
    pub moves: bool,
}

/// Arguments of `key unalias`.
#[derive(Args, Clone, Debug)]
pub struct UnaliasArgs {
    /// The name: alias/NAME
    #[arg(value_name = "ALIAS", value_parser = parse_alias)]
    pub alias: String,
}

/// A key as a person names it: an id, an alias, or either behind the frame of a resource name.
pub(super) fn parse_key(text: &str) -> Result<KeyRef, String> {
    let name = match text.strip_prefix("arn:").or(text.strip_prefix("acs:")) {
        Some(rest) => rest.rsplit(':').next().unwrap_or(rest),
        None => text,
    };
    let name = name.strip_prefix("key/").unwrap_or(name);
    if name.starts_with("alias/") {
        return parse_alias(name).map(KeyRef::Alias);
    }
    let is_id = !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_id {
        true => Ok(KeyRef::Id(KeyId(name.to_owned()))),
        false => Err("expected a key's id, or alias/NAME".to_owned()),
    }
}

fn parse_alias(text: &str) -> Result<String, String> {
    match text.strip_prefix("alias/") {
        Some(name) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("expected alias/NAME".to_owned()),
    }
}

fn parse_version(text: &str) -> Result<KeyVersionId, String> {
    match text.is_empty() || text.len() > 64 {
        true => Err("expected a version's id".to_owned()),
        false => Ok(KeyVersionId(text.to_owned())),
    }
}

fn parse_period(text: &str) -> Result<Duration, String> {
    let (least, most) = ROTATION_DAYS;
    parse_duration_in(text, DAY * least..=DAY * most).map_err(|error| error.to_string())
}

fn one_of(names: impl Iterator<Item = &'static str>) -> String {
    format!("there are {}", names.collect::<Vec<_>>().join(", "))
}

fn parse_spec(text: &str) -> Result<KeySpec, String> {
    let all = KeySpec::ALL.iter().map(|spec| spec.name());
    KeySpec::of_name(text).ok_or_else(|| one_of(all))
}

fn parse_usage(text: &str) -> Result<KeyUsage, String> {
    let all = KeyUsage::ALL.iter().map(|usage| usage.name());
    KeyUsage::of_name(text).ok_or_else(|| one_of(all))
}

fn parse_state(text: &str) -> Result<KeyState, String> {
    let all = KeyState::ALL.iter().map(|state| state.name());
    KeyState::of_name(text).ok_or_else(|| one_of(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_id_alias_or_resource_name() {
        let id = || KeyRef::Id(KeyId("0a-1".to_owned()));
        let alias = || KeyRef::Alias("alias/a/b".to_owned());
        for (text, key) in [
            ("0a-1", id()),
            ("arn:aws:kms:local:100000000000:key/0a-1", id()),
            ("acs:kms:local:100000000000:key/0a-1", id()),
            ("alias/a/b", alias()),
            ("arn:aws:kms:local:100000000000:alias/a/b", alias()),
        ] {
            assert_eq!(parse_key(text), Ok(key), "{text}");
        }
    }

    #[test]
    fn what_names_no_key_is_refused() {
        for text in ["", "a b", "alias/", "../a", "key/", "arn:", &"a".repeat(65)] {
            assert!(parse_key(text).is_err(), "{text}");
        }
        for text in ["", "a", "alias/", "Alias/a"] {
            assert!(parse_alias(text).is_err(), "{text}");
        }
        for text in ["6d", "2561d", "x", "604800000"] {
            assert!(parse_period(text).is_err(), "{text}");
        }
        assert_eq!(parse_period("7d"), Ok(DAY * 7));
    }
}
