//! The command line: arguments, configuration, exit codes, human and JSON output.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser as _};

use args::{Cli, Command};
use config::Configuration;
use exit::Exit;
use failure::Failure;
use helper::{Helper, HelperArgs, HelperCall, UmountHelperArgs};
use logging::{LogRequest, Logs};

pub mod args;
pub mod cmd;
pub mod config;
mod errors;
pub mod exit;
pub mod failure;
pub mod helper;
mod key_files;
#[cfg(feature = "kms")]
pub mod kms;
pub mod logging;
mod mounted;
pub mod options;
pub mod output;
mod pending;
mod progress;
mod providers;
pub mod reference;
pub mod values;
pub mod volume_run;
pub mod walk;

/// A command, its values parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `audit`
    Audit(cmd::audit::AuditRequest),
    /// `census`
    Census(cmd::census::CensusRequest),
    /// `check`
    Check(cmd::check::CheckRequest),
    /// `config`
    Config(cmd::config::ConfigRequest),
    /// `decrypt`
    Decrypt(cmd::decrypt::DecryptRequest),
    /// `doctor`
    Doctor(cmd::doctor::DoctorRequest),
    /// `encrypt`
    Encrypt(cmd::encrypt::EncryptRequest),
    /// `export`
    Export(cmd::export::ExportRequest),
    /// `import`
    Import(Box<cmd::import::ImportRequest>),
    /// `init`
    Init(cmd::init::InitRequest),
    /// `inspect`
    Inspect(cmd::inspect::InspectRequest),
    /// `lock`
    Lock(cmd::lock::LockRequest),
    /// `mount`, also by mount(8)
    Mount(Box<cmd::mount::MountRequest>),
    /// A correct call that asks for nothing: `mount.envelopefs -f`
    Nothing,
    /// `reencrypt`
    Reencrypt(cmd::reencrypt::ReencryptRequest),
    /// `mount -o remount`, by mount(8)
    Remount(cmd::remount::RemountRequest),
    /// `rewrap`
    Rewrap(cmd::rewrap::RewrapRequest),
    /// `seal`
    Seal(cmd::seal::SealRequest),
    /// `slots`
    Slots(cmd::slots::SlotsRequest),
    /// `policy`
    Policy(cmd::policy::PolicyRequest),
    /// `speed`
    Speed(cmd::speed::SpeedRequest),
    /// `status`
    Status(cmd::status::StatusRequest),
    /// `top`
    Top(cmd::top::TopRequest),
    /// `umount`
    Umount(cmd::umount::UmountRequest),
    /// `unlock`
    Unlock(cmd::unlock::UnlockRequest),
}

/// All that the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Of the logs.
    pub logs: LogRequest,
    /// Of the program.
    pub request: Request,
}

/// A command line that makes no invocation.
#[derive(Debug)]
pub enum NoInvocation {
    /// clap has something to print: help, the version, or what is wrong.
    Clap(Box<clap::Error>),
    /// A value that clap does not check.
    Failure(Failure),
}

impl From<clap::Error> for NoInvocation {
    fn from(error: clap::Error) -> Self {
        Self::Clap(Box::new(error))
    }
}

impl From<Failure> for NoInvocation {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The whole program. Starts no thread by itself, so that `mount` can still fork.
pub fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let outcome = Invocation::parse(&argv).and_then(|invocation| Ok(invocation.run()?));
    crate::keys::pkcs11::finalize_all();
    match outcome {
        Ok(()) => Exit::Ok.into(),
        Err(NoInvocation::Clap(error)) => {
            // Nowhere is left to say that this failed.
            drop(error.print());
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.number()))
        }
        Err(NoInvocation::Failure(failure)) => {
            let text = failure.to_string();
            if !text.is_empty() {
                // Nowhere is left to say that this failed.
                drop(writeln!(std::io::stderr(), "{text}"));
            }
            failure.exit().into()
        }
    }
}

impl Invocation {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// It is wrong, or asks for help or the version.
    pub fn parse(argv: &[OsString]) -> Result<Self, NoInvocation> {
        if let Some(helper) = argv.first().and_then(|name| Helper::of_name(name)) {
            let HelperCall { request, logs } = match helper {
                Helper::Mount => {
                    HelperArgs::try_parse_from(argv)?.into_call(&Configuration::load()?)?
                }
                Helper::Umount => UmountHelperArgs::try_parse_from(argv)?.into_call(),
            };
            return Ok(Self { logs, request });
        }
        let matches = Cli::command().try_get_matches_from(argv)?;
        let Cli { global, command } = Cli::from_arg_matches(&matches)?;
        let mut logs = LogRequest::from(global);
        let given = Given::of(&matches);
        let request = command.into_request(&mut logs, &given)?;
        Ok(Self { logs, request })
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// What to print and the code to exit with.
    pub fn run(self) -> Result<(), Failure> {
        let logs = logging::start(self.logs)?;
        run(self.request, &logs)
    }
}

/// The flags that stand on the command line itself.
struct Given(BTreeSet<String>);

impl Given {
    fn of(matches: &ArgMatches) -> Self {
        let of_command = matches.subcommand().map(|(_name, matches)| matches);
        let levels = std::iter::once(matches).chain(of_command);
        let given = levels.flat_map(|matches| {
            let ids = matches.ids().map(clap::Id::as_str);
            // A group's id is one too, and has no source of its own.
            let stands = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
            ids.filter(stands).map(|id| match id {
                "keys" => "key".to_owned(),
                id => id.replace('_', "-"),
            })
        });
        Self(given.collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// A mount over what the configuration files say.
fn mount_request(
    args: cmd::mount::MountArgs,
    logs: &mut LogRequest,
    given: &Given,
) -> Result<cmd::mount::MountRequest, Failure> {
    let config = Configuration::load()?;
    let settings = config.settings(&args.cipherdir, &args.mountpoint);
    let (request, said) = args.into_request_over(&settings, &|name| given.has(name))?;
    config.lay_under(said, logs, given.has("log-format"));
    Ok(request)
}

impl Command {
    fn into_request(self, logs: &mut LogRequest, given: &Given) -> Result<Request, Failure> {
        Ok(match self {
            Self::Audit(args) => Request::Audit(args.into()),
            Self::Census(args) => Request::Census(args.into()),
            Self::Check(args) => Request::Check(args.into()),
            Self::Config(args) => Request::Config(args.into()),
            Self::Decrypt(args) => Request::Decrypt(args.into()),
            Self::Doctor(args) => Request::Doctor(args.into()),
            Self::Encrypt(args) => Request::Encrypt(args.try_into()?),
            Self::Export(args) => Request::Export(args.into()),
            Self::Import(args) => Request::Import(Box::new((*args).try_into()?)),
            Self::Init(args) => Request::Init(args.try_into()?),
            Self::Inspect(args) => Request::Inspect(args.into()),
            Self::Mount(args) => Request::Mount(Box::new(mount_request(*args, logs, given)?)),
            Self::Reencrypt(args) => Request::Reencrypt(args.try_into()?),
            Self::Rewrap(args) => Request::Rewrap(args.into()),
            Self::Seal(args) => Request::Seal(args.into()),
            Self::Slots(command) => Request::Slots(command.into()),
            Self::Policy(args) => Request::Policy(args.into()),
            Self::Speed(args) => Request::Speed(args.into()),
            Self::Status(args) => Request::Status(args.into()),
            Self::Lock(args) => Request::Lock(args.into()),
            Self::Top(args) => Request::Top(args.into()),
            Self::Umount(args) => Request::Umount(args.into()),
            Self::Unlock(args) => Request::Unlock(args.into()),
        })
    }
}

fn run(request: Request, logs: &Logs) -> Result<(), Failure> {
    match request {
        Request::Nothing => Ok(()),
        Request::Policy(request) => cmd::policy::run(&request),
        Request::Speed(request) => cmd::speed::run(&request),
        Request::Status(request) => cmd::status::run(&request),
        Request::Lock(request) => cmd::lock::run(&request),
        Request::Top(request) => cmd::top::run(&request),
        Request::Umount(request) => cmd::umount::run(&request),
        Request::Unlock(request) => cmd::unlock::run(&request),
        Request::Census(request) => cmd::census::run(&request),
        Request::Audit(request) => cmd::audit::run(&request),
        Request::Check(request) => cmd::check::run(&request),
        Request::Config(request) => cmd::config::run(&request),
        Request::Decrypt(request) => cmd::decrypt::run(&request),
        Request::Doctor(request) => cmd::doctor::run(&request),
        Request::Encrypt(request) => cmd::encrypt::run(&request),
        Request::Export(request) => cmd::export::run(&request),
        Request::Import(request) => cmd::import::run(&request),
        Request::Init(request) => cmd::init::run(&request),
        Request::Inspect(request) => cmd::inspect::run(&request),
        Request::Reencrypt(request) => cmd::reencrypt::run(&request),
        Request::Remount(request) => cmd::remount::run(&request),
        Request::Rewrap(request) => cmd::rewrap::run(&request),
        Request::Seal(request) => cmd::seal::run(&request),
        Request::Slots(request) => cmd::slots::run(&request),
        Request::Mount(request) => cmd::mount::run(&request, logs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logging::LogFormat;

    fn parsed(line: &str) -> Result<Invocation, NoInvocation> {
        let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Invocation::parse(&argv)
    }

    fn mount(line: &str) -> cmd::mount::MountRequest {
        match parsed(line).unwrap().request {
            Request::Mount(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_name_decides_how_arguments_are_read() {
        let by_person = mount("envelopefs mount c m --read-only");
        let by_mount = mount("/sbin/mount.envelopefs c m -o ro");
        assert_eq!(by_person, by_mount);
    }

    #[test]
    fn where_a_passphrase_comes_from_is_an_option_of_the_commands_that_need_one() {
        let request = mount("envelopefs mount c m --passphrase-file f");
        let file = args::PassphraseFrom::File("f".into());
        assert_eq!(request.passphrase, file);
        let request = mount("envelopefs mount c m --passphrase-command c");
        let command = args::PassphraseFrom::Command("c".into());
        assert_eq!(request.passphrase, command);
        for line in ["check c", "rewrap c", "export c d"] {
            let line = format!("envelopefs {line} --passphrase-file f");
            assert!(parsed(&line).is_ok(), "{line}");
        }
        for line in ["--passphrase-file f check c", "status --passphrase-file f"] {
            let line = format!("envelopefs {line}");
            assert!(parsed(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_fake_mount_asks_for_nothing() {
        let invocation = parsed("mount.envelopefs c m -f").unwrap();
        assert_eq!(invocation.request, Request::Nothing);
    }

    #[test]
    fn log_options_count_wherever_they_stand() {
        let logs = parsed("envelopefs -v mount c m -o log_file=/l,log_format=json")
            .unwrap()
            .logs;
        let expected = LogRequest {
            format: LogFormat::Json,
            file: Some("/l".into()),
            level: None,
            quiet: false,
            verbose: 1,
        };
        assert_eq!(logs, expected);
        let logs = parsed("envelopefs mount c m --log-file /l").unwrap().logs;
        assert_eq!(logs.file, Some("/l".into()));
    }

    #[test]
    fn help_and_version_are_no_failures() {
        for line in [
            "envelopefs --help",
            "envelopefs -V",
            "envelopefs help mount",
            "mount.envelopefs --help",
        ] {
            match parsed(line) {
                Err(NoInvocation::Clap(error)) => assert_eq!(error.exit_code(), 0, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn wrong_command_lines_are_usage_errors() {
        for line in [
            "envelopefs",
            "envelopefs frob",
            "mount.envelopefs c",
            "",
            "envelopefs umount",
        ] {
            match parsed(line) {
                Err(NoInvocation::Clap(error)) => assert_eq!(error.exit_code(), 2, "{line:?}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        match parsed("envelopefs mount c m -o zap") {
            Err(NoInvocation::Failure(failure)) => assert_eq!(failure.exit(), Exit::Usage),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clap_s_own_usage_code_is_ours() {
        let error = Cli::try_parse_from(["envelopefs", "frob"]).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.number()));
    }
}
