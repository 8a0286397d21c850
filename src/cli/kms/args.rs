//! The command line of `envelopekms` as clap sees it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::cmd::{
    audit, backup, credential, init, join, key, policy, principal, restore, root_key, serve, status,
};
use crate::cli::args::{GlobalArgs, PassphraseArgs};
use crate::cli::exit::{self, Program};

/// A key service that clients of Alibaba Cloud KMS and of AWS KMS use unchanged
///
/// envelopekms keeps keys, and encrypts, decrypts, signs and hands out data keys for whoever its policies allow.
/// Programs that were written for Alibaba Cloud KMS or AWS KMS only need its address, its certificate and an access key.
#[derive(Debug, Parser)]
#[command(
    name = "envelopekms",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "`envelopekms --help` has examples and the exit codes; `envelopekms COMMAND --help` the command's own.",
    after_long_help = after_long_help()
)]
pub struct Cli {
    /// Of the logs.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// Where the service is.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
EXAMPLES:
  Make a service, and serve:
      envelopekms init
      envelopekms serve

  A program that may use one key, and nothing else:
      envelopekms key create --alias alias/Apollo/WorkKey
      envelopekms principal create apollo --policy apollo.json
      envelopekms credential create apollo

  Nobody uses a key any more; then it goes:
      envelopekms key disable alias/Apollo/WorkKey
      envelopekms key schedule-deletion alias/Apollo/WorkKey --days 30

ENVIRONMENT:
  ENVELOPEKMS_DIR  the service's folder, in place of --dir
  ENVELOPEFS_LOG   what is logged, in place of -v and -q, as with envelopefs
  PGPASSFILE       the file with the password of a PostgreSQL store, mode 0600; default: ~/.pgpass
  PGPASSWORD       the password itself, which everything that this user runs could read: better a file
  CREDENTIALS_DIRECTORY  where systemd puts the key file of `--root-key credential:NAME`
  ENVELOPEFS_PKCS11_MODULE, ENVELOPEFS_PKCS11_PIN_FILE, …  what a root key's provider needs, as with envelopefs";

fn after_long_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::help_section(Program::Kms))
}

/// Where the service is.
#[derive(Args, Clone, Debug, Default)]
#[command(
    mut_arg("passphrase_file", |option| option.global(true)),
    mut_arg("passphrase_command", |option| option.global(true))
)]
pub struct PlaceArgs {
    /// The service's folder
    ///
    /// Default: /var/lib/envelopekms for root, else envelopekms in $XDG_DATA_HOME (~/.local/share).
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ENVELOPEKMS_DIR",
        hide_env = true
    )]
    pub dir: Option<PathBuf>,

    /// Let keys lie in memory that may reach swap, where memory cannot be locked
    #[arg(long, global = true)]
    pub allow_unlocked_memory: bool,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// How a result is printed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct JsonArgs {
    /// Print JSON in place of text
    #[arg(long)]
    pub json: bool,
}

/// The subcommands, in the order of a service's life.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a service in a folder
    ///
    /// Makes the root key, the store, a certificate, and a first administrator, whose access key is printed this once.
    Init(init::InitArgs),

    /// Make a folder for one server more of a service in a PostgreSQL database
    ///
    /// What opens the root key must open it here too: a key file is copied beforehand. The other servers' certificate is
    /// given by --tls-cert where all have one name; else this server gets one of its own.
    Join(join::JoinArgs),

    /// Serve clients, until SIGTERM or SIGINT
    ///
    /// Says its address and the lines that point clients at it. SIGHUP has it read its certificate again and go on in a
    /// new audit file where the old one was moved away. Works with systemd units of Type=notify.
    Serve(serve::ServeArgs),

    /// Say how the service is, without its root key
    Status(status::StatusArgs),

    /// Make, list or remove who can be given access keys, and what they may
    Principal(principal::PrincipalArgs),

    /// Make, list, disable, enable or delete access keys
    Credential(credential::CredentialArgs),

    /// Make keys, and lead them through their lives
    Key(key::KeyArgs),

    /// Show, set or check what may be done with a key or by a principal
    Policy(policy::PolicyArgs),

    /// Show or change what opens the root key
    RootKey(root_key::RootKeyArgs),

    /// Verify or print the audit trail
    Audit(audit::AuditArgs),

    /// Write the whole service into one encrypted file
    ///
    /// While it serves, or not. What opens the root key opens the backup too, and nothing else does. Keys that live in the
    /// HSM are not in it: it is said how many there are.
    Backup(backup::BackupArgs),

    /// Make a service of a backup, in a new folder and an empty store
    ///
    /// Keys that live in an HSM are looked for in the one that --hsm names, and those that are not there are told.
    Restore(restore::RestoreArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn clap_finds_nothing_wrong_with_the_definitions() {
        Cli::command().debug_assert();
    }

    fn check_help(command: &clap::Command) {
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{} {argument}",
                command.get_name()
            );
        }
        assert!(command.get_about().is_some(), "{}", command.get_name());
        command.get_subcommands().for_each(check_help);
    }

    #[test]
    fn every_command_and_option_says_what_it_does() {
        Cli::command().get_subcommands().for_each(check_help);
    }

    #[test]
    fn wrong_command_lines_are_usage_errors() {
        for line in [
            "envelopekms",
            "envelopekms frob",
            "envelopekms init a b",
            "envelopekms init --listen nowhere",
            "envelopekms init --account 12ab",
            "envelopekms serve --listen 127.0.0.1",
            "envelopekms key",
            "envelopekms key create --spec AES_512",
            "envelopekms key create --rotate-every 3",
            "envelopekms key schedule-deletion k --days x",
            "envelopekms key rotation k",
            "envelopekms key rotation k --off --every 90d",
            "envelopekms credential create",
            "envelopekms principal create p",
            "envelopekms principal create p --policy f --administrator",
            "envelopekms policy show",
            "envelopekms policy show k --principal p",
            "envelopekms policy set",
            "envelopekms backup",
            "envelopekms restore",
            "envelopekms audit verify --expect 7",
            "envelopekms --passphrase secret status",
            "envelopekms -v -q status",
        ] {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            let code = parsed
                .map(|_cli| 0)
                .unwrap_or_else(|error| error.exit_code());
            assert_eq!(code, 2, "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "envelopekms --dir /d --passphrase-file p key list",
            "envelopekms key list --dir /d --passphrase-file p",
        ] {
            let place = Cli::try_parse_from(line.split_whitespace()).unwrap().place;
            assert_eq!(place.dir, Some("/d".into()), "{line}");
            assert_eq!(place.passphrase.passphrase_file, Some("p".into()), "{line}");
        }
    }
}
