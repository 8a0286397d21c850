//! `envelopefs top`: what mounts do just now, in a terminal.

mod screen;
mod view;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::mounted;
use crate::cli::output;
use crate::cli::values::{self, ValueError};
use crate::daemon::control::Client;
use crate::daemon::mounts::{self, Mount};
use crate::daemon::status::MountStatus;
use view::View;

const AFTER: &str = "\
Keys: q or Esc ends it, n and p go to the next and the previous mount.

What the kernel answers from its cache is not seen. Who reads is the process that opened the file, as far as /proc shows it.

EXAMPLES:
  envelopefs top
  envelopefs top --once ~/secrets";

/// Arguments of `top`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct TopArgs {
    /// The mount point to begin with. Default: the first mount
    #[arg(value_name = "MOUNT")]
    pub mountpoint: Option<PathBuf>,

    /// Print one picture of --interval as text, and end
    #[arg(long)]
    pub once: bool,

    /// How long each picture looks back, 1s to 1m
    #[arg(long, value_name = "DURATION", value_parser = parse_interval, default_value = "1s")]
    pub interval: Duration,
}

fn parse_interval(text: &str) -> Result<Duration, ValueError> {
    values::parse_duration_in(text, Duration::from_secs(1)..=Duration::from_mins(1))
}

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRequest {
    /// The mount to begin with; None: the first.
    pub mountpoint: Option<PathBuf>,
    /// One picture, as text.
    pub once: bool,
    /// How long each picture looks back.
    pub interval: Duration,
}

impl From<TopArgs> for TopRequest {
    fn from(args: TopArgs) -> Self {
        Self {
            mountpoint: args.mountpoint,
            once: args.once,
            interval: args.interval,
        }
    }
}

/// What a mount said, and when.
struct Sample {
    status: MountStatus,
    at: Instant,
}

/// Shows what mounts do, until it is told to end.
///
/// # Errors
/// Nothing is mounted there, its process does not answer, there is no terminal.
pub fn run(request: &TopRequest) -> Result<(), Failure> {
    let mount = chosen(request)?;
    if request.once {
        let first = sample(&mount)?;
        thread::sleep(request.interval);
        return output::print(&screen::text(&View::between(&first, &sample(&mount)?)));
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage("cannot show a live view", "there is no terminal")
                .advise("`--once` prints one picture as text"),
        );
    }
    live(mount, request.interval)
}

fn chosen(request: &TopRequest) -> Result<Mount, Failure> {
    let mounts = mounted::ours()?;
    let found = match &request.mountpoint {
        Some(path) => mounts::find(&mounts, path).cloned(),
        None => mounts.into_iter().next(),
    };
    found.ok_or_else(|| mounted::none_mounted("nothing to show"))
}

fn sample(mount: &Mount) -> Result<Sample, Failure> {
    let no_answer = |why: String| {
        let what = format!("no counters of {}", mount.mountpoint.display());
        Failure::new(Exit::NoAnswer, what, why)
    };
    let answer = Client::connect(mount).and_then(Client::counters);
    let answer = answer.map_err(|error| no_answer(error.to_string()))?;
    let status = serde_json::from_value(answer).map_err(|error| no_answer(error.to_string()))?;
    Ok(Sample {
        status,
        at: Instant::now(),
    })
}

/// The mount beside this one, in the order of mounting.
fn beside(mount: &Mount, step: isize) -> Result<Mount, Failure> {
    let mounts = mounted::ours()?;
    let here = mounts
        .iter()
        .position(|other| other.mountpoint == mount.mountpoint)
        .unwrap_or(0);
    let count = isize::try_from(mounts.len()).unwrap_or(1).max(1);
    let there = (isize::try_from(here).unwrap_or(0) + step).rem_euclid(count);
    let there = usize::try_from(there)
        .ok()
        .and_then(|there| mounts.into_iter().nth(there));
    Ok(there.unwrap_or_else(|| mount.clone()))
}

fn live(mut mount: Mount, interval: Duration) -> Result<(), Failure> {
    let cannot =
        |error: std::io::Error| Failure::new(Exit::Failure, "cannot show a live view", error);
    let mut screen = screen::Screen::open().map_err(cannot)?;
    let mut before = sample(&mount)?;
    let mut view = View::between(&before, &before);
    loop {
        screen.draw(&view).map_err(cannot)?;
        match screen.wait(interval).map_err(cannot)? {
            screen::Asked::End => return Ok(()),
            screen::Asked::Nothing => {
                let now = sample(&mount)?;
                view = View::between(&before, &now);
                before = now;
            }
            screen::Asked::Step(step) => {
                mount = beside(&mount, step)?;
                before = sample(&mount)?;
                view = View::between(&before, &before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mounted_has_its_own_code() {
        let request = TopRequest {
            mountpoint: Some("/nonexistent/m".into()),
            once: true,
            interval: Duration::from_secs(1),
        };
        assert_eq!(run(&request).unwrap_err().exit(), Exit::NotMounted);
    }
}
