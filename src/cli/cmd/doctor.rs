//! `envelopefs doctor`: looks at this machine, at a volume and at its keys, and says what is wrong and how to mend it.

mod disk;
mod host;
mod keys;
mod limits;
mod mounted;
mod within;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::mount::DEFAULT_KEY_CACHE_ENTRIES;
use crate::cli::args::KeyArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{self, counted, harmless};
use crate::cli::values::{self, ValueError};
use crate::cli::{errors, volume_run};
use crate::units::KeyUri;
use crate::volume;

const AFTER: &str = "\
Each line is `ok`, `warn` (it works, with a drawback) or `fail` (a mount would fail, or lose what it is for). Ends with 0 where
nothing failed, else with the code that a mount would end with for the first that did.

EXAMPLES:
  envelopefs doctor
  envelopefs doctor ~/secrets.enc
  envelopefs doctor /srv/a.enc --json | jq '.[] | select(.level != \"ok\")'";

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct DoctorArgs {
    /// The ciphertext folder of a volume to look at too. Default: this machine alone
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: Option<PathBuf>,

    /// Print a JSON array in place of text: area, check, level, said, mend
    #[arg(long)]
    pub json: bool,

    /// How long each key provider, and each mount, may take to answer, 1s to 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_limit, default_value = "10s")]
    pub time_limit: Duration,

    /// Which keys to ask.
    #[command(flatten)]
    pub keys: KeyArgs,
}

fn parse_limit(text: &str) -> Result<Duration, ValueError> {
    values::parse_duration_in(text, Duration::from_secs(1)..=Duration::from_mins(5))
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorRequest {
    /// The ciphertext folder; None: this machine alone.
    pub cipherdir: Option<PathBuf>,
    /// Print JSON.
    pub json: bool,
    /// How long who is asked may take.
    pub time_limit: Duration,
    /// The keys that may be used; empty: any.
    pub keys: Vec<KeyUri>,
}

impl From<DoctorArgs> for DoctorRequest {
    fn from(args: DoctorArgs) -> Self {
        Self {
            cipherdir: args.cipherdir,
            json: args.json,
            time_limit: args.time_limit,
            keys: args.keys.keys,
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// `host`, `limits`, `mounts`, `keys` or `disk`.
    area: &'static str,
    /// What was looked at, for scripts: never another meaning under the same name.
    check: &'static str,
    level: Level,
    /// What was found, in a sentence.
    said: String,
    /// How to mend it; empty where there is nothing to mend.
    mend: String,
    /// What a mount would end with for it.
    #[serde(skip)]
    exit: Exit,
}

/// One of the areas of [`Finding`].
struct Area(&'static str);

impl Area {
    /// `exit`: the code where it fails.
    const fn check(&self, name: &'static str, exit: Exit) -> Check {
        Check {
            area: self.0,
            name,
            exit,
        }
    }
}

/// Where findings of an area come from.
#[derive(Clone, Copy, Debug)]
struct Check {
    area: &'static str,
    name: &'static str,
    /// The code where it fails.
    exit: Exit,
}

impl Check {
    fn ok(self, said: impl Into<String>) -> Finding {
        self.finding(Level::Ok, said, "")
    }

    fn warn(self, said: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(Level::Warn, said, mend)
    }

    fn fail(self, said: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(Level::Fail, said, mend)
    }

    fn finding(self, level: Level, said: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding {
            area: self.area,
            check: self.name,
            level,
            said: said.into(),
            mend: mend.into(),
            exit: self.exit,
        }
    }
}

/// Looks, and prints what was found.
///
/// # Errors
/// Something failed; there is no volume at all; stdout cannot be written.
pub fn run(request: &DoctorRequest) -> Result<(), Failure> {
    // The limits first: what follows changes them for this process.
    let mut findings = limits::look(u64::from(DEFAULT_KEY_CACHE_ENTRIES));
    findings.extend(host::look(request.time_limit));
    findings.extend(mounted::look(request.time_limit));
    if let Some(cipherdir) = &request.cipherdir {
        findings.extend(of_volume(request, cipherdir)?);
    }
    if request.json {
        output::print_json(&findings)?;
    } else {
        output::print(&text(&findings))?;
    }
    verdict(&findings)
}

fn of_volume(request: &DoctorRequest, cipherdir: &Path) -> Result<Vec<Finding>, Failure> {
    let what = format!("cannot look at {}", cipherdir.display());
    let cipherdir = volume_run::ciphertext_of(cipherdir);
    let (_root, seen) =
        volume::seen_keys(&cipherdir).map_err(|error| errors::volume(&what, &error))?;
    let mut findings = keys::look(&what, &seen, &request.keys, request.time_limit)?;
    findings.extend(disk::look(&cipherdir));
    Ok(findings)
}

fn text(findings: &[Finding]) -> String {
    findings.iter().map(line).collect()
}

fn line(finding: &Finding) -> String {
    let said = harmless(&finding.said);
    let mut line = format!("{:<5}{:<18}{said}\n", finding.level.name(), finding.check);
    if !finding.mend.is_empty() {
        line.push_str(&format!("{:23}→ {}\n", "", harmless(&finding.mend)));
    }
    line
}

fn verdict(findings: &[Finding]) -> Result<(), Failure> {
    let failed: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.level == Level::Fail)
        .collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => {
            let what = format!("{} failed", counted(failed.len() as u64, "check"));
            Err(Failure::new(first.exit, what, &first.said).advise(first.mend.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: Check = Area("host").check("fuse-device", Exit::NoFuse);

    #[test]
    fn a_person_reads_what_and_how_to_mend_it() {
        let findings = [CHECK.ok("fine"), CHECK.fail("gone\n", "modprobe fuse")];
        let text = text(&findings);
        assert_eq!(
            text,
            "ok   fuse-device       fine\nfail fuse-device       gone\\n\n                       → modprobe fuse\n"
        );
    }

    #[test]
    fn the_first_failure_decides_the_code_and_warnings_do_not() {
        let other = Check {
            exit: Exit::KeyDenied,
            ..CHECK
        };
        assert!(verdict(&[CHECK.ok("a"), CHECK.warn("b", "c")]).is_ok());
        let failure = verdict(&[CHECK.ok("a"), CHECK.fail("b", "c"), other.fail("d", "e")]);
        let failure = failure.unwrap_err();
        assert_eq!(failure.exit(), Exit::NoFuse);
        assert!(
            failure.to_string().contains("2 checks failed: b"),
            "{failure}"
        );
    }

    #[test]
    fn json_has_the_documented_fields() {
        let value = serde_json::to_value(CHECK.warn("a", "b")).unwrap();
        let expected = serde_json::json!({
            "area": "host", "check": "fuse-device", "level": "warn", "said": "a", "mend": "b"
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_folder_that_is_no_volume_has_its_own_code() {
        let folder = tempfile::tempdir().unwrap();
        let request = DoctorRequest {
            cipherdir: Some(folder.path().to_owned()),
            json: false,
            time_limit: Duration::from_secs(1),
            keys: Vec::new(),
        };
        let failure = of_volume(&request, folder.path()).unwrap_err();
        assert_eq!(failure.exit(), Exit::NotAVolume);
    }
}
