//! What a mount counts, as Prometheus reads it: one table of every metric, made of the same [`MountStatus`] that
//! `envelopefs status` shows.
//!
//! No label holds a name of a file in the volume, nor a secret: the mount point, the volume's id, key URIs as `volume.json` has
//! them, and words of this program are all there is.

mod file;
mod text;

use std::fmt::Write as _;

use super::status::{Histogram, MountStatus, ProviderStatus};
use crate::units::Stability;
use text::Samples;

pub(super) use file::MetricsFile;
pub use text::render;

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from 0 at the mount.
    Counter,
    /// Rises and falls.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
pub struct Metric {
    /// Its whole name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, besides those of every metric ([`COMMON_LABELS`]).
    pub labels: &'static [&'static str],
    /// How long it stays.
    pub stability: Stability,
    /// What it says, in one sentence; the HELP line.
    pub meaning: &'static str,
    samples: fn(&MountStatus, &mut Samples<'_>),
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Metric").field(&self.name).finish()
    }
}

/// What every sample says of its mount.
pub const COMMON_LABELS: [&str; 2] = ["mountpoint", "volume"];

macro_rules! metrics {
    ($($name:literal, $kind:ident, [$($label:literal),*], $stability:ident, $meaning:literal, $samples:expr;)*) => {
        /// Every metric. A name is never used again for another meaning.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            stability: Stability::$stability,
            meaning: $meaning,
            samples: $samples,
        },)*];
    };
}

metrics! {
    "envelopefs_info", Gauge, ["version", "transport", "key_scope", "names"], Stable,
        "1; what serves the mount, and how, is in the labels.", info;
    "envelopefs_uptime_seconds", Gauge, [], Stable,
        "Seconds since the mount.", |status, out| out.one(status.uptime_secs);
    "envelopefs_read_only", Gauge, [], Stable,
        "1 where nothing can be changed through the mount.", |status, out| out.one(status.read_only.into());
    "envelopefs_locked", Gauge, ["reason"], Stable,
        "1 where the mount has no keys, for each reason (user, idle, refusal, outage); else 0.", locked;
    "envelopefs_operations_total", Counter, ["operation"], Stable,
        "Requests of the kernel, by what they ask for. What it answers from its cache is not among them.", operations;
    "envelopefs_read_bytes_total", Counter, [], Stable,
        "Plaintext bytes that the kernel read.", |status, out| out.one(status.bytes_read);
    "envelopefs_written_bytes_total", Counter, [], Stable,
        "Plaintext bytes that the kernel wrote.", |status, out| out.one(status.bytes_written);
    "envelopefs_open_files", Gauge, [], Stable,
        "File handles that are open.", |status, out| out.one(status.open_files);
    "envelopefs_inodes", Gauge, [], Provisional,
        "Inodes that the kernel knows.", |status, out| out.one(status.inodes);
    "envelopefs_files_opened_total", Counter, [], Provisional,
        "Ciphertext files opened for their content.", |status, out| out.one(status.files_opened);
    "envelopefs_integrity_failures_total", Counter, [], Stable,
        "Operations that met ciphertext which is not what was written. Anything but 0 is an alarm.", |status, out| out.one(status.integrity_failures);
    "envelopefs_foreign_entries_total", Counter, [], Provisional,
        "Entries of the ciphertext folder that are no names of this volume, counted whenever listed.", |status, out| out.one(status.foreign_entries);
    "envelopefs_policy_denied_total", Counter, [], Stable,
        "Operations that the policy denied.", |status, out| out.one(status.denied);
    "envelopefs_keyring_hits_total", Counter, [], Stable,
        "Opens that found their data key in memory.", |status, out| out.one(status.keyring.hits);
    "envelopefs_keyring_misses_total", Counter, [], Stable,
        "Opens that did not.", |status, out| out.one(status.keyring.misses);
    "envelopefs_keyring_evictions_total", Counter, [], Stable,
        "Data keys that had to make room: --key-cache-entries is small.", |status, out| out.one(status.keyring.evictions);
    "envelopefs_keyring_keys", Gauge, [], Stable,
        "Data keys in memory.", |status, out| out.one(status.keyring.entries);
    "envelopefs_provider_up", Gauge, ["key"], Stable,
        "0 while a key provider is left alone because it did not answer, else 1.", provider_up;
    "envelopefs_provider_calls_total", Counter, ["key", "call"], Stable,
        "Calls to a key provider, each try of one counted: generate, wrap, unwrap, rewrap, probe.", provider_calls;
    "envelopefs_provider_failures_total", Counter, ["key"], Stable,
        "Those of them that failed.", provider_failures;
    "envelopefs_provider_latency_seconds", Histogram, ["key"], Stable,
        "How long calls to a key provider took, failed ones among them.", provider_latency;
    "envelopefs_audit_waiting", Gauge, [], Provisional,
        "Audit events that wait to be written; absent where there is no audit.", |status, out| audit(status, out, |audit| audit.waiting);
    "envelopefs_audit_dropped_total", Counter, [], Stable,
        "Audit events that were lost; absent where there is no audit.", |status, out| audit(status, out, |audit| audit.dropped);
    "envelopefs_audit_failing", Gauge, [], Stable,
        "1 while audit lines cannot be written; absent where there is no audit.", |status, out| audit(status, out, |audit| u64::from(!audit.failure.is_empty()));
}

fn info(status: &MountStatus, out: &mut Samples<'_>) {
    let labels = [
        ("version", status.version.as_str()),
        ("transport", &status.transport),
        ("key_scope", &status.key_scope),
        ("names", &status.names),
    ];
    out.labelled(&labels, 1);
}

fn locked(status: &MountStatus, out: &mut Samples<'_>) {
    for reason in ["user", "idle", "refusal", "outage"] {
        out.labelled(&[("reason", reason)], u64::from(status.locked == reason));
    }
}

fn operations(status: &MountStatus, out: &mut Samples<'_>) {
    for (operation, count) in &status.operations {
        out.labelled(&[("operation", operation)], *count);
    }
}

fn provider_up(status: &MountStatus, out: &mut Samples<'_>) {
    for provider in &status.providers {
        let up = u64::from(provider.unreachable_secs.is_none());
        out.labelled(&[("key", &provider.uri)], up);
    }
}

fn provider_calls(status: &MountStatus, out: &mut Samples<'_>) {
    for ProviderStatus { uri, calls, .. } in &status.providers {
        for (call, count) in [
            ("generate", calls.generate),
            ("wrap", calls.wrap),
            ("unwrap", calls.unwrap),
            ("rewrap", calls.rewrap),
            ("probe", calls.probe),
        ] {
            out.labelled(&[("key", uri), ("call", call)], count);
        }
    }
}

fn provider_failures(status: &MountStatus, out: &mut Samples<'_>) {
    for provider in &status.providers {
        out.labelled(&[("key", &provider.uri)], provider.calls.failures);
    }
}

fn provider_latency(status: &MountStatus, out: &mut Samples<'_>) {
    for ProviderStatus { uri, latency, .. } in &status.providers {
        let Histogram {
            bounds_micros,
            counts,
            sum_micros,
        } = latency;
        out.histogram(&[("key", uri)], bounds_micros, counts, *sum_micros);
    }
}

fn audit(
    status: &MountStatus,
    out: &mut Samples<'_>,
    value: impl Fn(&super::status::AuditStatus) -> u64,
) {
    if let Some(audit) = &status.audit {
        out.one(value(audit));
    }
}

/// The table of docs/METRICS.md.
pub fn markdown_table() -> String {
    let mut text =
        String::from("| metric | type | labels | stability | meaning |\n|---|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let stability = metric.stability.as_str();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {stability} | {} |",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.meaning
        );
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::daemon::status::{AuditStatus, CallCounts};

    /// A status that has something of everything.
    pub(in crate::daemon) fn full() -> MountStatus {
        MountStatus {
            volume_id: "ab".repeat(16),
            mountpoint: "/m".into(),
            version: "0.1.0".into(),
            operations: BTreeMap::from([("read".into(), 7), ("write".into(), 2)]),
            providers: vec![ProviderStatus {
                uri: "file:///k".into(),
                calls: CallCounts {
                    unwrap: 3,
                    failures: 1,
                    ..CallCounts::default()
                },
                latency: Histogram {
                    bounds_micros: vec![1000, 10_000],
                    counts: vec![2, 1, 1],
                    sum_micros: 1_500_000,
                },
                ..ProviderStatus::default()
            }],
            audit: Some(AuditStatus {
                dropped: 4,
                ..AuditStatus::default()
            }),
            ..MountStatus::default()
        }
    }

    #[test]
    fn names_are_as_prometheus_wants_them_and_stand_once() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let letters = |text: &str| {
                text.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            assert!(metric.name.starts_with("envelopefs_") && letters(metric.name));
            assert!(
                metric.labels.iter().all(|label| letters(label)),
                "{metric:?}"
            );
            let counts = metric.kind == Kind::Counter;
            assert_eq!(metric.name.ends_with("_total"), counts, "{metric:?}");
            assert!(metric.meaning.ends_with('.') && !metric.meaning.contains('\n'));
        }
    }

    #[test]
    fn each_metric_has_samples_with_just_the_labels_that_are_declared() {
        let text = render(&[full()]);
        for metric in METRICS {
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| !line.starts_with('#'))
                .filter(|line| {
                    line.strip_prefix(metric.name).is_some_and(|rest| {
                        ["{", "_bucket{", "_sum{", "_count{"]
                            .iter()
                            .any(|next| rest.starts_with(next))
                    })
                })
                .collect();
            assert!(!lines.is_empty(), "{metric:?} has no sample in\n{text}");
            for line in lines {
                let inside = line.split(['{', '}']).nth(1).unwrap();
                let labels: BTreeSet<&str> = inside
                    .split("\",")
                    .map(|label| label.split('=').next().unwrap())
                    .filter(|label| *label != "le")
                    .collect();
                let declared = COMMON_LABELS.iter().chain(metric.labels).copied().collect();
                assert_eq!(labels, declared, "{line}");
            }
        }
    }

    #[test]
    fn a_lock_shows_its_reason() {
        let status = MountStatus {
            locked: "idle".into(),
            ..full()
        };
        let text = render(&[status]);
        assert!(
            text.contains("reason=\"idle\"} 1\n") && text.contains("reason=\"user\"} 0\n"),
            "{text}"
        );
    }
}
