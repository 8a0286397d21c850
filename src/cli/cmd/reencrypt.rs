//! `envelopefs reencrypt`: its arguments, the request they make, and the run.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::providers::GivenKeys;
use crate::cli::values::{self, ValueError, show_size};
use crate::cli::volume_run::{self, RunArgs, RunOptions, counts_line, finish};
use crate::daemon::runs::{ReencryptRun, RunReport, RunRequest};

const AFTER: &str = "\
It helps where a data key may have leaked and its ciphertext has not: whoever has both has read the file. Older copies of
the ciphertext, as in backups and snapshots, still open with the older keys: destroy them, or the keys that wrap theirs.

EXAMPLES:
  envelopefs reencrypt ~/secrets.enc
  envelopefs reencrypt ~/secrets accounts letters/note.txt
  envelopefs reencrypt ~/secrets.enc --resume";

/// Arguments of `reencrypt`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct ReencryptArgs {
    /// The mount point, or the ciphertext folder
    #[arg(value_name = "MOUNT")]
    pub volume: PathBuf,

    /// Files and folders, as paths below MOUNT. Default: all
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Go on with a run over all files that was cut short: leave those that it has done
    ///
    /// Without it every file gets a new data key, whatever an earlier run came to.
    #[arg(long, conflicts_with = "paths")]
    pub resume: bool,

    /// Do it although the volume's blocks are larger than 4096 bytes
    ///
    /// A power cut while such a block is written anew can lose its chunk. Have a backup.
    #[arg(long)]
    pub allow_tearing: bool,

    /// Call key providers at most N times a second, 1 to 100000. Default: no limit
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub rate: Option<u32>,

    /// Options of a run.
    #[command(flatten)]
    pub run: RunArgs,
}

fn parse_rate(text: &str) -> Result<u32, ValueError> {
    values::parse_count_in(text, 1..=100_000)
}

/// Files that are to get new data keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReencryptRequest {
    /// The mount point or the ciphertext folder.
    pub volume: PathBuf,
    /// What is to be done.
    pub run: ReencryptRun,
    /// How it is shown.
    pub options: RunOptions,
}

impl ReencryptArgs {
    fn into_request(self, stderr_is_terminal: bool) -> Result<ReencryptRequest, Failure> {
        let paths = self.paths.iter().map(|path| below(&self.volume, path));
        Ok(ReencryptRequest {
            run: ReencryptRun {
                paths: paths.collect::<Result<_, _>>()?,
                resume: self.resume,
                allow_tearing: self.allow_tearing,
                dry_run: self.run.dry_run,
                calls_per_second: self.rate.unwrap_or(0),
            },
            volume: self.volume,
            options: RunOptions::of(self.run, stderr_is_terminal),
        })
    }
}

/// A path as it stands below the volume's root.
fn below(volume: &Path, path: &Path) -> Result<String, Failure> {
    let inside = path.strip_prefix(volume).unwrap_or(path);
    if inside.components().any(|part| part.as_os_str() == "..") {
        let why = "`..` leads out of what was named";
        return Err(Failure::usage(format!("{}", path.display()), why));
    }
    OsString::from(inside).into_string().map_err(|_bytes| {
        Failure::usage(format!("{}", path.display()), "the path is not UTF-8")
            .advise("name the folder that it is in")
    })
}

impl TryFrom<ReencryptArgs> for ReencryptRequest {
    type Error = Failure;

    fn try_from(args: ReencryptArgs) -> Result<Self, Failure> {
        args.into_request(std::io::stderr().is_terminal())
    }
}

/// Gives files new data keys.
///
/// # Errors
/// It was not done, or not all.
pub fn run(request: &ReencryptRequest) -> Result<(), Failure> {
    let what = format!("cannot reencrypt {}", request.volume.display());
    let options = &request.options;
    let given = GivenKeys::only(&what, &options.walk.keys)?;
    let run = RunRequest::Reencrypt(request.run.clone());
    let outcome = volume_run::carry_out(&what, &request.volume, &run, &given, options)?;
    finish(&what, options, &outcome, text)
}

fn text(report: &RunReport) -> String {
    let changed = match report.dry_run {
        true => "to get a new data key",
        false => "got a new data key",
    };
    let mut text = counts_line(report, changed);
    if !report.dry_run {
        text.push_str(&format!(
            "{} written anew\n",
            show_size(report.counts.bytes)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn args(line: &str) -> Result<ReencryptArgs, clap::Error> {
        let line = format!("envelopefs reencrypt {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Reencrypt(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_are_taken_from_the_mount_on() {
        let request = args("/m /m/a b/c --rate 3").unwrap().into_request(false);
        let run = request.unwrap().run;
        assert_eq!(run.paths, ["a", "b/c"]);
        assert!(!run.resume && run.calls_per_second == 3);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in ["", "m p --resume", "m --rate 0", "m --resume=yes"] {
            assert!(args(line).is_err(), "{line}");
        }
        let out = args("m a/../../b").unwrap().into_request(false);
        assert!(out.is_err());
    }
}
