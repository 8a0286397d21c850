//! `envelopefs status`: asks the daemons behind the mounts and prints what they say.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::{mounted, output, values};
use crate::daemon::control::{Client, ControlError};
use crate::daemon::metrics;
use crate::daemon::mounts::{self, Mount};
use crate::daemon::status::{AuditStatus, MountStatus, ProviderStatus};

const AFTER: &str = "\
EXAMPLES:
  envelopefs status
  envelopefs status ~/secrets
  envelopefs status --prometheus
  envelopefs status --json | jq '.[].integrity_failures'";

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct StatusArgs {
    /// The mount point. Default: all envelopefs mounts
    #[arg(value_name = "MOUNT")]
    pub mountpoint: Option<PathBuf>,

    /// Print JSON: an object for MOUNT, without it an array with one for each mount
    #[arg(long)]
    pub json: bool,

    /// Print metrics in Prometheus' text format (docs/METRICS.md); no key provider is asked for it
    #[arg(long, conflicts_with = "json")]
    pub prometheus: bool,
}

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    /// One mount; None: all.
    pub mountpoint: Option<PathBuf>,
    /// As what.
    pub shown_as: ShownAs,
}

/// How a status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownAs {
    /// JSON.
    Json,
    /// Metrics.
    Prometheus,
    /// For people.
    Text,
}

impl From<StatusArgs> for StatusRequest {
    fn from(args: StatusArgs) -> Self {
        Self {
            mountpoint: args.mountpoint,
            shown_as: match (args.json, args.prometheus) {
                (true, _) => ShownAs::Json,
                (false, true) => ShownAs::Prometheus,
                (false, false) => ShownAs::Text,
            },
        }
    }
}

/// A mount and what its daemon said, or why it said nothing.
struct Asked<'m> {
    mount: &'m Mount,
    answer: Result<Value, ControlError>,
}

/// Prints the status of one mount or of all.
///
/// # Errors
/// The one mount that was asked about is none of ours, or does not answer; stdout cannot be
/// written. Of several mounts those that do not answer are listed as such.
pub fn run(request: &StatusRequest) -> Result<(), Failure> {
    let mounts = mounts::read()
        .map_err(|error| Failure::new(Exit::Failure, "cannot list the mounts", error))?;
    let chosen = choose(&mounts, request)?;
    let asked = chosen.into_iter().map(|mount| ask(mount, request.shown_as));
    let asked: Vec<Asked<'_>> = asked.collect();
    match request.shown_as {
        ShownAs::Json => print_json(request, &asked)?,
        ShownAs::Prometheus => output::print(&metrics_of(&asked))?,
        ShownAs::Text => output::print(&render_all(&asked))?,
    }
    match (&request.mountpoint, asked.first()) {
        (
            Some(_),
            Some(Asked {
                mount,
                answer: Err(error),
            }),
        ) => Err(no_answer(mount, error)),
        _ => Ok(()),
    }
}

/// One object for one mount that was asked about, an array where all were.
fn print_json(request: &StatusRequest, asked: &[Asked<'_>]) -> Result<(), Failure> {
    let mut all: Vec<Value> = asked.iter().map(Asked::to_json).collect();
    match request.mountpoint {
        Some(_) => output::print_json(&all.pop()),
        None => output::print_json(&all),
    }
}

fn choose<'m>(mounts: &'m [Mount], request: &StatusRequest) -> Result<Vec<&'m Mount>, Failure> {
    let Some(path) = &request.mountpoint else {
        return Ok(mounts.iter().filter(|mount| mount.is_ours()).collect());
    };
    let what = format!("no status of {}", path.display());
    mounted::at(mounts, path, &what).map(|mount| vec![mount])
}

fn ask(mount: &Mount, shown_as: ShownAs) -> Asked<'_> {
    let question = match shown_as {
        ShownAs::Json | ShownAs::Text => Client::status,
        ShownAs::Prometheus => Client::counters,
    };
    Asked {
        mount,
        answer: Client::connect(mount).and_then(question),
    }
}

/// Of those that answered.
fn metrics_of(asked: &[Asked<'_>]) -> String {
    let answers = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
    let statuses = answers.filter_map(|answer| serde_json::from_value(answer.clone()).ok());
    metrics::render(&statuses.collect::<Vec<MountStatus>>())
}

fn no_answer(mount: &Mount, error: &ControlError) -> Failure {
    let what = format!("no status of {}", mount.mountpoint.display());
    let failure = Failure::new(Exit::NoAnswer, what, error);
    match error {
        ControlError::Denied => failure.advise("ask as root, or as the user who mounted"),
        _ => failure.advise("if its process is gone, `envelopefs umount` takes the mount away"),
    }
}

impl Asked<'_> {
    /// What the daemon said, with fields of later versions; the mount point in any case.
    fn to_json(&self) -> Value {
        match &self.answer {
            Ok(status) => status.clone(),
            Err(error) => json!({
                "mountpoint": self.mount.mountpoint.to_string_lossy(),
                "cipherdir": self.mount.source.to_string_lossy(),
                "read_only": self.mount.read_only,
                "error": error.to_string(),
            }),
        }
    }

    fn render(&self) -> String {
        let status = match &self.answer {
            Ok(status) => serde_json::from_value::<MountStatus>(status.clone())
                .map_err(|_error| ControlError::Malformed.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match status {
            Ok(status) => render(&status),
            Err(error) => format!(
                "{}\n  no status: {error}\n",
                self.mount.mountpoint.display()
            ),
        }
    }
}

fn render_all(asked: &[Asked<'_>]) -> String {
    if asked.is_empty() {
        return "no envelopefs is mounted\n".to_owned();
    }
    asked
        .iter()
        .map(Asked::render)
        .collect::<Vec<_>>()
        .join("\n")
}

fn render(status: &MountStatus) -> String {
    let keyring = status.keyring;
    let rows = [
        ("ciphertext", status.cipherdir.clone()),
        ("volume", status.volume_id.clone()),
        (
            "process",
            format!("{} (envelopefs {})", status.pid, status.version),
        ),
        (
            "mounted",
            format!("for {}, {}", uptime(status.uptime_secs), mode(status)),
        ),
        ("names", status.names.clone()),
        ("key scope", status.key_scope.clone()),
        ("keys", show_lock(status).to_owned()),
        ("locked memory", status.locked_memory.clone()),
        ("sandbox", status.sandbox.clone()),
        (
            "keyring",
            format!(
                "{} keys, {} hits, {} misses, {} evicted",
                keyring.entries, keyring.hits, keyring.misses, keyring.evictions
            ),
        ),
        (
            "open",
            format!("{} files, {} inodes", status.open_files, status.inodes),
        ),
        ("read", bytes(status.bytes_read)),
        ("written", bytes(status.bytes_written)),
        ("integrity failures", status.integrity_failures.to_string()),
    ];
    let mut lines = vec![format!("{}\n", status.mountpoint)];
    lines.extend(rows.map(|(name, value)| row(name, &value)));
    if let Some(rules) = status.policy_rules {
        lines.push(row(
            "policy",
            &format!("{rules} rules, {} denied", status.denied),
        ));
    }
    lines.extend(status.audit.iter().flat_map(render_audit));
    lines.extend(status.providers.iter().flat_map(render_provider));
    lines.concat()
}

fn row(name: &str, value: &str) -> String {
    format!("  {name:<20}{value}\n")
}

fn render_audit(audit: &AuditStatus) -> [String; 2] {
    let state = match audit.failure.as_str() {
        "" => format!("{} waiting, {} dropped", audit.waiting, audit.dropped),
        why => format!(
            "NOT WRITTEN: {why}; {} waiting, {} dropped",
            audit.waiting, audit.dropped
        ),
    };
    [
        row(
            "audit",
            &format!("{} ({} when full): {state}", audit.target, audit.full),
        ),
        row("audit head", &audit.head),
    ]
}

fn render_provider(provider: &ProviderStatus) -> [String; 2] {
    let calls = provider.calls;
    let health = match (provider.healthy, provider.health.as_str()) {
        (true, "") => "ok".to_owned(),
        (true, said) => format!("ok ({said})"),
        (false, said) if provider.state == "not asked" => format!("not asked: {said}"),
        (false, said) if provider.state.is_empty() => format!("FAILING: {said}"),
        (false, said) => format!("FAILING ({}{}): {said}", provider.state, rest(provider)),
    };
    let counts = format!(
        "{} generate, {} wrap, {} unwrap, {} rewrap, {} probe; {} failed",
        calls.generate, calls.wrap, calls.unwrap, calls.rewrap, calls.probe, calls.failures
    );
    [
        row("key", &format!("{}: {health}", provider.uri)),
        row("provider calls", &counts),
    ]
}

/// For how long a provider has not answered, and when it is asked again.
fn rest(provider: &ProviderStatus) -> String {
    match (provider.unreachable_secs, provider.retry_secs) {
        (Some(lasted), Some(retry)) => {
            format!(" for {}, asked again in {}", uptime(lasted), uptime(retry))
        }
        _ => String::new(),
    }
}

fn show_lock(status: &MountStatus) -> &'static str {
    match status.locked.as_str() {
        "" => "in use",
        "idle" => "LOCKED for want of use; `envelopefs unlock` opens it",
        "outage" => "LOCKED until a provider of the volume key answers",
        "refusal" => "LOCKED: the volume key was refused; `envelopefs unlock` asks again",
        _ => "LOCKED; `envelopefs unlock` opens it",
    }
}

fn mode(status: &MountStatus) -> &'static str {
    match (status.read_only, status.shared) {
        (true, _) => "read-only",
        (false, true) => "read-write, shared",
        (false, false) => "read-write",
    }
}

/// Days, hours, minutes, seconds; at most two of them.
fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => values::show_duration(Duration::from_secs(seconds)),
    }
}

/// A count of bytes with three digits or so.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let power = (count.ilog2() / 10).min(6);
    let whole = count >> (10 * power);
    let tenths = ((count >> (10 * (power - 1))) % 1024) * 10 / 1024;
    let unit = usize::try_from(power - 1)
        .ok()
        .and_then(|index| UNITS.get(index));
    format!("{whole}.{tenths} {}", unit.unwrap_or(&"EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::mounts::FS_TYPE;
    use crate::daemon::status::{CallCounts, KeyringStatus};

    fn mount() -> Mount {
        Mount {
            device: "0:52".into(),
            mountpoint: "/m".into(),
            fs_type: FS_TYPE.into(),
            source: "/c".into(),
            read_only: false,
            owner: Some(0),
        }
    }

    fn status() -> MountStatus {
        MountStatus {
            volume_id: "ab".repeat(16),
            cipherdir: "/c".into(),
            mountpoint: "/m".into(),
            pid: 7,
            version: "0.1.0".into(),
            names: "encrypted".into(),
            key_scope: "file".into(),
            providers: vec![ProviderStatus {
                uri: "file:///k".into(),
                healthy: false,
                health: "no such file".into(),
                calls: CallCounts {
                    unwrap: 3,
                    failures: 1,
                    ..Default::default()
                },
                ..Default::default()
            }],
            keyring: KeyringStatus {
                hits: 5,
                misses: 2,
                entries: 2,
                evictions: 0,
            },
            bytes_read: 1536,
            uptime_secs: 3700,
            ..Default::default()
        }
    }

    #[test]
    fn a_person_sees_every_part() {
        let text = render(&status());
        for part in [
            "/m\n",
            "/c",
            "7 (envelopefs 0.1.0)",
            "for 1h 1m, read-write",
            "encrypted",
            "5 hits, 2 misses",
            "1.5 KiB",
            "file:///k: FAILING: no such file",
            "3 unwrap",
            "1 failed",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn a_person_sees_what_is_locked_and_who_does_not_answer() {
        let mut status = status();
        assert!(render(&status).contains("in use"));
        for (locked, word) in [
            ("user", "unlock"),
            ("idle", "unlock"),
            ("refusal", "refused"),
            ("outage", "answers"),
        ] {
            status.locked = locked.into();
            let text = render(&status);
            assert!(text.contains("LOCKED") && text.contains(word), "{text}");
        }
        let provider = &mut status.providers[0];
        provider.state = "unreachable".into();
        provider.unreachable_secs = Some(70);
        provider.retry_secs = Some(5);
        let text = render(&status);
        let expected = "FAILING (unreachable for 1m 10s, asked again in 5s): no such file";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_mount_that_is_silent_is_listed_with_the_reason() {
        let mount = mount();
        let asked = Asked {
            mount: &mount,
            answer: Err(ControlError::NoSocket),
        };
        assert!(
            asked
                .render()
                .contains("no status: its process has no control socket")
        );
        assert_eq!(asked.to_json()["mountpoint"], "/m");
        assert!(asked.to_json()["error"].is_string());
    }

    #[test]
    fn json_keeps_fields_of_later_versions() {
        let mount = mount();
        let asked = Asked {
            mount: &mount,
            answer: Ok(json!({ "pid": 1, "later": true })),
        };
        assert_eq!(asked.to_json(), json!({ "pid": 1, "later": true }));
    }

    #[test]
    fn an_answer_of_another_shape_is_told_as_such() {
        let mount = mount();
        for value in [json!(7), json!({ "pid": "x" })] {
            let asked = Asked {
                mount: &mount,
                answer: Ok(value),
            };
            assert!(asked.render().contains("makes no sense"));
        }
    }

    #[test]
    fn asking_for_what_is_not_mounted_has_its_own_code() {
        let request = StatusRequest {
            mountpoint: Some("/nonexistent/m".into()),
            shown_as: ShownAs::Text,
        };
        assert_eq!(run(&request).unwrap_err().exit(), Exit::NotMounted);
    }

    #[test]
    fn nothing_mounted_is_no_failure() {
        assert_eq!(render_all(&[]), "no envelopefs is mounted\n");
    }

    #[test]
    fn counts_of_bytes_are_short() {
        let shown: Vec<_> = [0, 1023, 1024, 1536, 1 << 20, u64::MAX].map(bytes).into();
        assert_eq!(
            shown,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "15.9 EiB"]
        );
    }

    #[test]
    fn uptimes_are_short() {
        let shown: Vec<_> = [0, 59, 61, 3700, 90_000].map(uptime).into();
        assert_eq!(shown, ["0s", "59s", "1m 1s", "1h 1m", "1d 1h"]);
    }
}
