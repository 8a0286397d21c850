//! `envelopefs config`: what the configuration files say, and what is wrong with them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::mount::MountRequest;
use crate::cli::config::{self, Configuration, Problems};
use crate::cli::failure::Failure;
use crate::cli::output::{self, counted, harmless};

const AFTER: &str = "\
EXAMPLES:
  envelopefs config check
  envelopefs config check ./config.toml
  envelopefs config show
  envelopefs config show /srv/a.enc /srv/a --json | jq '.[] | select(.from != \"default\")'";

/// Arguments of `config`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What is done with configuration files.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say all that is wrong: unknown names, values of another kind or out of range, files that others may write
    ///
    /// Each with its file and line, and what to do.
    Check(CheckArgs),

    /// Show each value that a mount would take, and where it is from
    ///
    /// Options of `mount` and -o outrank all of it. Commands that tell a passphrase, and what stands behind the ? of a key's
    /// URI, are not shown.
    Show(ShowArgs),
}

/// Arguments of `config check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The file. Default: those that a mount would read
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Arguments of `config show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The ciphertext folder of the mount that is meant. Default: what holds for every mount
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: Option<PathBuf>,

    /// Its mount point
    #[arg(value_name = "MOUNTPOINT", requires = "cipherdir")]
    pub mountpoint: Option<PathBuf>,

    /// Print a JSON array of objects with name, value and from
    #[arg(long)]
    pub json: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigRequest {
    /// Say what is wrong with one file, or with all.
    Check(Option<PathBuf>),
    /// Show what a mount of the one at the other would take.
    Show {
        /// The ciphertext folder.
        cipherdir: PathBuf,
        /// The mount point.
        mountpoint: PathBuf,
        /// Print JSON.
        json: bool,
    },
}

impl From<ConfigArgs> for ConfigRequest {
    fn from(args: ConfigArgs) -> Self {
        // No volume is called so.
        let root = || PathBuf::from("/");
        match args.command {
            ConfigCommand::Check(args) => Self::Check(args.file),
            ConfigCommand::Show(args) => Self::Show {
                cipherdir: args.cipherdir.unwrap_or_else(root),
                mountpoint: args.mountpoint.unwrap_or_else(root),
                json: args.json,
            },
        }
    }
}

/// Checks or shows.
///
/// # Errors
/// A file cannot be followed; stdout cannot be written.
pub fn run(request: &ConfigRequest) -> Result<(), Failure> {
    match request {
        ConfigRequest::Check(Some(file)) => check(std::slice::from_ref(file), true),
        ConfigRequest::Check(None) => check(&config::files(), false),
        ConfigRequest::Show {
            cipherdir,
            mountpoint,
            json,
        } => show(cipherdir, mountpoint, *json),
    }
}

fn check(files: &[PathBuf], must_be_there: bool) -> Result<(), Failure> {
    let (mut text, mut wrong) = (String::new(), 0);
    for file in files {
        let shown = file.display();
        match config::read(file) {
            Ok(Some(_)) => text.push_str(&format!("{shown}: ok\n")),
            Ok(None) if must_be_there => {
                return Err(Failure::usage(
                    "cannot check the file",
                    format!("{shown} is not there"),
                ));
            }
            Ok(None) => text.push_str(&format!("{shown}: not there\n")),
            Err(Problems(problems)) => {
                wrong += problems.len();
                for problem in problems {
                    text.push_str(&format!(
                        "{}\n  → {}\n",
                        harmless(&problem.to_string()),
                        problem.mend
                    ));
                }
            }
        }
    }
    output::print(&text)?;
    match wrong {
        0 => Ok(()),
        some => Err(Failure::usage(
            "a mount would not follow this configuration",
            counted(some as u64, "problem"),
        )),
    }
}

/// A row of `config show`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    name: &'static str,
    value: String,
    /// `default`, or `FILE:LINE`.
    from: String,
}

fn show(cipherdir: &Path, mountpoint: &Path, json: bool) -> Result<(), Failure> {
    let rows = rows(&Configuration::load()?, cipherdir, mountpoint);
    if json {
        return output::print_json(&rows);
    }
    let lines = rows.iter().map(|row| {
        let value = harmless(&row.value);
        format!("{:<23}{value:<30}  {}\n", row.name, row.from)
    });
    output::print(&lines.collect::<String>())
}

fn rows(configuration: &Configuration, cipherdir: &Path, mountpoint: &Path) -> Vec<Row> {
    let settings = configuration.settings(cipherdir, mountpoint);
    let mut request = MountRequest::new(cipherdir.to_owned(), mountpoint.to_owned());
    request.follow(&settings, &|_name| false);
    let from = |origin: Option<String>| origin.unwrap_or_else(|| "default".to_owned());
    let logs = configuration.logs();
    let of_logs = [
        (
            "log-file",
            logs.file
                .map(|(file, origin)| (file.display().to_string(), origin)),
        ),
        (
            "log-format",
            logs.format
                .map(|(format, origin)| (format.to_string(), origin)),
        ),
        ("log-level", logs.level),
    ];
    let of_logs = of_logs.map(|(name, said)| {
        let (value, origin) = said.unzip();
        Row {
            name,
            value: value.unwrap_or_default(),
            from: from(origin.map(|origin| origin.to_string())),
        }
    });
    let of_mount = request.shown().into_iter().map(|(name, value)| Row {
        name,
        value,
        from: from(settings.get(name).map(|setting| setting.origin.to_string())),
    });
    of_mount.chain(of_logs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn every_name_has_a_row() {
        let rows = rows(&Configuration::default(), Path::new("/c"), Path::new("/m"));
        let names: Vec<_> = rows.iter().map(|row| row.name).collect();
        for name in config::names() {
            assert!(names.contains(&name), "{name}");
        }
        assert_eq!(names.len(), config::names().count() + 3);
        assert!(rows.iter().all(|row| row.from == "default"));
    }

    #[test]
    fn a_file_that_is_named_must_be_there_and_good() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        let checked = || run(&ConfigRequest::Check(Some(file.clone())));
        assert_eq!(checked().unwrap_err().exit(), Exit::Usage);
        std::fs::write(&file, "[mount]\nwait = \"1s\"\n").unwrap();
        assert!(checked().is_ok());
        std::fs::write(&file, "[mount]\nwait = \"1x\"\nfrob = 1\n").unwrap();
        let failure = checked().unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.to_string().contains("2 problems"), "{failure}");
    }
}
