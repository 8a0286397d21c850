//! The command line as clap sees it: the program, its global options, and what several
//! subcommands share. Each subcommand's own arguments are in its file under `cmd`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::cmd::{
    audit, census, check, config, decrypt, doctor, encrypt, export, import, init, inspect, lock,
    mount, policy, reencrypt, rewrap, seal, slots, speed, status, top, umount, unlock,
};
use super::exit;
use super::logging::{LogFormat, LogRequest};
use crate::units::KeyUri;

/// Files encrypted at rest, through a FUSE mount
///
/// envelopefs keeps a folder of ciphertext files (the ciphertext folder, CIPHERDIR) and shows it
/// decrypted at a mount point. Each file has a data key of its own, wrapped under a key that a
/// key provider holds, in the file's own header: a ciphertext file and its provider are enough to
/// read it, wherever it is copied to.
#[derive(Debug, Parser)]
#[command(
    name = "envelopefs",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "`envelopefs --help` has examples and the exit codes; `envelopefs COMMAND --help` the command's own.",
    after_long_help = after_long_help()
)]
pub struct Cli {
    /// Options of every subcommand.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
EXAMPLES:
  Make a volume, mount it, work in it, unmount it:
      envelopefs init ~/secrets.enc
      envelopefs mount ~/secrets.enc ~/secrets
      cp id_ed25519 ~/secrets/
      envelopefs umount ~/secrets

  At boot, by a line in /etc/fstab (the program also answers to the name mount.envelopefs):
      /srv/secrets.enc /srv/secrets envelopefs allow_other,noatime 0 0

  See what is mounted and how its keys are:
      envelopefs status

ENVIRONMENT:
  ENVELOPEFS_CONFIG   the only configuration file, in place of those that `config show` names; empty: none
  ENVELOPEFS_LOG   what is logged, in place of -v and -q: a level (error, warn, info, debug,
                   trace), or parts, as in `warn,envelopefs::keys=debug`
  ENVELOPEFS_KMIP_CA_FILE     the certificates of who may vouch for a server of `kmip:` keys
  ENVELOPEFS_KMIP_CERT_FILE   this host's certificate for it
  ENVELOPEFS_KMIP_KEY_FILE    the private key of that, mode 0600
  ENVELOPEFS_PKCS11_MODULE    the PKCS#11 module of `pkcs11:` keys
  ENVELOPEFS_PKCS11_PIN_FILE  the file that holds their PIN, mode 0600
  ENVELOPEFS_RSA_PRIVATE_KEY       the private key of `rsa:` keys in a token: a pkcs11: URI
  ENVELOPEFS_RSA_PRIVATE_KEY_FILE  the file that holds it, PEM, mode 0600
  NO_COLOR         if set, no colours
  XDG_CONFIG_HOME  where `init` puts a new key file: envelopefs/keys/ in it (~/.config if unset)
  XDG_RUNTIME_DIR  where a mount's control socket lies: envelopefs/ in it";

fn after_long_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::help_section(exit::Program::Fs))
}

/// Options that every subcommand takes.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Logging")]
pub struct GlobalArgs {
    /// Log more: -v what happens, -vv why, -vvv everything
    ///
    /// Without it warnings and errors are logged; a mount in the background also logs its start
    /// and end.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Log errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// How a log line looks: text for people, or a JSON object
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub log_format: LogFormat,

    /// Append the log to FILE
    ///
    /// The file is made with mode 0600 where it is missing. Default: stderr, or journald with fields where that is what reads
    /// it; a mount in the background: journald with fields, or syslog (/dev/log).
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

impl From<GlobalArgs> for LogRequest {
    fn from(args: GlobalArgs) -> Self {
        Self {
            format: args.log_format,
            file: args.log_file,
            level: None,
            quiet: args.quiet,
            verbose: args.verbose,
        }
    }
}

/// The subcommands, in the order of a volume's life.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a volume in a folder
    ///
    /// Makes CIPHERDIR where it is missing; it must be empty otherwise. What is chosen here holds
    /// for the volume's life, its keys aside.
    Init(init::InitArgs),

    /// Mount a volume
    ///
    /// Returns when the mount works; the process that serves it stays in the background.
    /// Everything written through the mount is encrypted before it reaches CIPHERDIR.
    Mount(Box<mount::MountArgs>),

    /// Turn a plaintext folder into a volume, and mount it in its place
    ///
    /// Copies the folder into a new ciphertext folder beside it, reads the copy back and compares everything, and then
    /// exchanges folder and mount in one step: whoever opens DIR finds either the whole plaintext or the whole mount. The
    /// plaintext stays in DIR.plain until --remove-plaintext. Cut short at any point, nothing is lost: run it again to go on.
    Import(Box<import::ImportArgs>),

    /// Write the decrypted tree of a volume to a folder
    ///
    /// With everything: owners, modes, times, extended attributes, ACLs, hard links, symlinks, FIFOs, sockets, devices,
    /// holes. The result is read back and compared before it gets its name. The volume must not be mounted, and nothing of it
    /// is changed. Cut short, it is gone on with by running it again.
    Export(export::ExportArgs),

    /// Show what is mounted, its keys and its counters
    ///
    /// Asks the process behind MOUNT, or behind each envelopefs mount. Only root and the user who
    /// mounted get an answer.
    Status(status::StatusArgs),

    /// Watch what a mount does: requests, throughput, keys, providers, and who reads
    ///
    /// Asks the process behind MOUNT again and again; no key provider is asked for it.
    Top(top::TopArgs),

    /// Look at this machine, a volume and its keys, and say how to mend what is wrong
    ///
    /// FUSE, limits, the kernel, memory for keys, mounts that nobody serves; of a volume each key's provider, and the file
    /// system below it. Shows no secret, and asks for no passphrase.
    Doctor(doctor::DoctorArgs),

    /// Check the configuration file, or show what a mount would take from where
    ///
    /// /etc/envelopefs/config.toml and envelopefs/config.toml in XDG_CONFIG_HOME (~/.config) hold what `mount` takes where
    /// neither its options nor -o say otherwise. SIGHUP has a running mount read them again.
    Config(config::ConfigArgs),

    /// Drop every key of a mount, and what the kernel has cached
    ///
    /// What was written is committed first. Until `unlock` whatever needs a key fails with ENOKEY, in files that are
    /// open and mapped too; the mount itself stays.
    Lock(lock::LockArgs),

    /// Give a locked mount its keys again
    ///
    /// Has the volume key unwrapped anew, and the keys of files that are open. Asks for a passphrase where the mount
    /// was given one at the terminal: there, or where there is none by systemd-ask-password, if that is installed.
    Unlock(unlock::UnlockArgs),

    /// Unmount a volume and wait until all is written
    ///
    /// Returns when the process behind the mount has written everything and is gone.
    Umount(umount::UmountArgs),

    /// Show the header of a ciphertext file, without any key
    ///
    /// Says which keys open the file. Nothing shown is authenticated: that needs the key.
    Inspect(inspect::InspectArgs),

    /// Encrypt one file
    ///
    /// The result is a file as a volume holds it: it opens in a volume with plain names that has
    /// the same block and header sizes, and `decrypt` opens it anywhere.
    Encrypt(encrypt::EncryptArgs),

    /// Decrypt one file
    ///
    /// Opens a ciphertext file with any one of the keys that its header names. OUT is complete and
    /// authentic, or is not there.
    Decrypt(decrypt::DecryptArgs),

    /// Read every chunk of every file and report damage
    ///
    /// Changes nothing, unless with --repair. Unmount the volume first; without --repair, mounts with --shared may go
    /// on meanwhile. Damage is told by the path in the mount and the range of bytes that only a backup brings back.
    Check(check::CheckArgs),

    /// Seal a volume: from then on it is read-only, and anything that is not as it was is refused
    ///
    /// Reads everything, and writes a manifest of names, attributes and contents, authenticated under the volume's keys. Who can write
    /// CIPHERDIR then cannot exchange, remove, add or put back anything unnoticed. The volume must not be mounted.
    Seal(seal::SealArgs),

    /// Show or change the keys of a volume
    Slots(slots::SlotsCommand),

    /// Bring the key slots of all files to their keys' newest versions
    ///
    /// After a key was rotated, or to move files from one key to another: headers only, no content is touched, while
    /// mounted or not. Every file gets exactly one slot for each of the volume's keys; each new slot is unwrapped once
    /// before an old one goes. A run that was cut short, at any point, is gone on with by running it again.
    Rewrap(rewrap::RewrapArgs),

    /// Give files new data keys, after a suspected leak
    ///
    /// Each file's content is sealed again under a data key that was not there before, in place, while it is read and
    /// written, mounted or not, but not with --shared. A run that was cut short leaves every file readable; --resume goes
    /// on with it.
    Reencrypt(reencrypt::ReencryptArgs),

    /// Count files by key and key version, without any key
    ///
    /// Reads the headers in CIPHERDIR, mounted or not, also of a copy: so that an old key or version can be retired with
    /// certainty. Nothing shown is authenticated.
    Census(census::CensusArgs),

    /// Say who may do what in a volume
    Policy(policy::PolicyArgs),

    /// Verify or print what a mount with --audit told
    Audit(audit::AuditArgs),

    /// Measure how fast this machine seals and opens chunks
    ///
    /// One core, in memory, no file system: for each block size the throughput of aws-lc-rs, which
    /// serves the mount, and of RustCrypto, the implementation that it is held against.
    Speed(speed::SpeedArgs),
}

/// Which keys may open a volume, and where this machine has them.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Keys")]
pub struct KeyArgs {
    /// Open the volume by this key and no other; may be given several times
    ///
    /// As `slots list` shows it. What is of this machine may stand behind it, as for `init`: ?module-path=, ?pin-source=,
    /// ?endpoint=, ?ca= and so on. A volume that has none of these keys is refused, and no other key is asked for
    /// anything. Of a volume that is mounted, the mount's own keys count. Default: any key that the volume names.
    #[arg(long = "key", value_name = "URI")]
    pub keys: Vec<KeyUri>,
}

/// Whether a command that takes its time shows how far it is.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressArgs {
    /// Show no progress bar. Default: one where stderr is a terminal
    #[arg(long)]
    pub no_progress: bool,
}

impl ProgressArgs {
    /// Whether there is a bar in a process whose stderr is, or is not, a terminal.
    #[must_use]
    pub fn shown(&self, stderr_is_terminal: bool) -> bool {
        stderr_is_terminal && !self.no_progress
    }

    /// Whether there is one in this process.
    #[must_use]
    pub fn shown_here(&self) -> bool {
        self.shown(std::io::stderr().is_terminal())
    }
}

/// Where a passphrase comes from. There is no option to give one on the command line, where
/// every user of the machine could read it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Passphrase")]
pub struct PassphraseArgs {
    /// Read the passphrase of a `passphrase:` key from FILE
    ///
    /// The first line is the passphrase, without its line end. FILE may be a descriptor, as in
    /// /dev/fd/3. Default: ask on the terminal.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_command")]
    pub passphrase_file: Option<PathBuf>,

    /// Take the passphrase of a `passphrase:` key from the output of COMMAND
    ///
    /// COMMAND is run by `sh -c`; the first line it prints is the passphrase. Default: ask on the
    /// terminal.
    #[arg(long, value_name = "COMMAND")]
    pub passphrase_command: Option<String>,
}

/// Where a passphrase comes from, should one be needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PassphraseFrom {
    /// The first line that this shell command prints.
    Command(String),
    /// The first line of this file.
    File(PathBuf),
    /// The terminal.
    #[default]
    Prompt,
}

impl From<PassphraseArgs> for PassphraseFrom {
    fn from(args: PassphraseArgs) -> Self {
        match (args.passphrase_file, args.passphrase_command) {
            (Some(path), _) => Self::File(path),
            (None, Some(command)) => Self::Command(command),
            (None, None) => Self::Prompt,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_definitions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_subcommand() {
        for line in [
            "envelopefs -vv --log-format json status",
            "envelopefs status -vv --log-format json",
        ] {
            let global = parsed(line).unwrap().global;
            assert_eq!(
                (global.verbose, global.log_format),
                (2, LogFormat::Json),
                "{line}"
            );
        }
    }

    #[test]
    fn wrong_command_lines_are_usage_errors() {
        for line in [
            "envelopefs",
            "envelopefs frob",
            "envelopefs -v -q status",
            "envelopefs status --log-format xml",
            "envelopefs mount a",
            "envelopefs --passphrase secret status",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn every_option_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {argument}",
                    command.get_name()
                );
            }
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn the_long_help_lists_examples_and_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("EXAMPLES:"));
        assert!(
            exit::Program::Fs
                .exits()
                .all(|exit| help.contains(exit.meaning()))
        );
    }

    #[test]
    fn a_passphrase_comes_from_one_place() {
        let file = PassphraseArgs {
            passphrase_file: Some("/p".into()),
            passphrase_command: None,
        };
        assert_eq!(
            PassphraseFrom::from(file),
            PassphraseFrom::File("/p".into())
        );
        assert_eq!(
            PassphraseFrom::from(PassphraseArgs::default()),
            PassphraseFrom::Prompt
        );
        let line = "envelopefs init d --passphrase-file f --passphrase-command c";
        assert!(parsed(line).is_err());
    }
}
