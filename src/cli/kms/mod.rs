//! The command line of `envelopekms`, the key service.
//!
//! * [`args`]: what clap sees
//! * `cmd`: a file for each command
//! * `place`: the folder of a service, and its settings
//! * `session`: a service that is opened to do one command's work

pub mod args;
pub mod cmd;
mod errors;
mod hand_over;
mod list;
mod place;
mod reference;
mod session;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use super::exit::Exit;
use super::failure::Failure;
use super::logging::{self, LogRequest};
use args::{Cli, Command};

/// The program's name: before each failure.
pub const PROGRAM: &str = "envelopekms";

/// The whole program.
pub fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(error) => {
            // Nowhere is left to say that this failed.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.number()));
        }
    };
    let done = run(cli);
    crate::keys::pkcs11::finalize_all();
    match done {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            // Nowhere is left to say that this failed.
            drop(writeln!(std::io::stderr(), "{}", failure.said_by(PROGRAM)));
            failure.exit().into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let mut logs = LogRequest::from(cli.global);
    if matches!(cli.command, Command::Serve(_)) && !logs.quiet {
        // A server's log holds its beginning and its end.
        logs.verbose = logs.verbose.max(1);
    }
    let _logs = logging::start(logs)?;
    let place = cli.place;
    match cli.command {
        Command::Init(args) => cmd::init::run(&place, &args),
        Command::Join(args) => cmd::join::run(&place, &args),
        Command::Serve(args) => cmd::serve::run(&place, &args),
        Command::Status(args) => cmd::status::run(&place, &args),
        Command::Principal(args) => cmd::principal::run(&place, &args),
        Command::Credential(args) => cmd::credential::run(&place, &args),
        Command::Key(args) => cmd::key::run(&place, &args),
        Command::Policy(args) => cmd::policy::run(&place, &args),
        Command::RootKey(args) => cmd::root_key::run(&place, &args),
        Command::Audit(args) => cmd::audit::run(&place, &args),
        Command::Backup(args) => cmd::backup::run(&place, &args),
        Command::Restore(args) => cmd::restore::run(&place, &args),
    }
}
