//! What the server counts, in the text format of Prometheus.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>
//!
//! | Metric | Labels | |
//! |---|---|---|
//! | `envelopekms_requests_total` | dialect, operation, error | counter; error is the dialect's code, empty for none |
//! | `envelopekms_request_seconds` | dialect, operation | histogram |
//! | `envelopekms_requests_in_flight` | | gauge |
//! | `envelopekms_connections` | | gauge |
//! | `envelopekms_connections_refused_total` | | counter: beyond a bound |
//!
//! Labels are names that the program has, never text of a client: their number is bounded.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::kms::engine::Dialect;

/// The upper bounds of the histogram's buckets, in microseconds, as they are and as they are written.
const BUCKETS: [(u64, &str); 12] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (1_000_000, "1"),
    (10_000_000, "10"),
];

type Labels = (&'static str, &'static str);

#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: RwLock<BTreeMap<(Labels, &'static str), Arc<AtomicU64>>>,
    seconds: RwLock<BTreeMap<Labels, Arc<Histogram>>>,
    refused: AtomicU64,
    in_flight: AtomicU64,
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let fits = |((bound, _text), _count): &(&(u64, &str), &AtomicU64)| micros <= *bound;
        if let Some((_bound, count)) = BUCKETS.iter().zip(&self.buckets).find(fits) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A request of a dialect that was answered.
    pub(super) fn count(
        &self,
        dialect: Dialect,
        operation: &'static str,
        error: Option<&'static str>,
        took: Duration,
    ) {
        let labels = (dialect.name(), operation);
        let counted = (labels, error.unwrap_or_default());
        of(&self.requests, counted).fetch_add(1, Ordering::Relaxed);
        of(&self.seconds, labels).add(took);
    }

    /// A request of a dialect that came.
    pub(super) fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// A connection beyond a bound.
    pub(super) fn refuse_connection(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it as text.
    pub(super) fn text(&self, connections: usize) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a String does not fail.
        let _ok = self.write(&mut text, connections);
        text
    }

    fn write(&self, text: &mut String, connections: usize) -> std::fmt::Result {
        head(
            text,
            "requests_total",
            "counter",
            "Requests by dialect, operation and error.",
        )?;
        for (((dialect, operation), error), count) in &*self.requests.read() {
            let labels =
                format!("dialect=\"{dialect}\",operation=\"{operation}\",error=\"{error}\"");
            let count = count.load(Ordering::Relaxed);
            writeln!(text, "envelopekms_requests_total{{{labels}}} {count}")?;
        }
        head(
            text,
            "request_seconds",
            "histogram",
            "How long requests took.",
        )?;
        for ((dialect, operation), histogram) in &*self.seconds.read() {
            let labels = format!("dialect=\"{dialect}\",operation=\"{operation}\"");
            histogram.write(text, &labels)?;
        }
        head(
            text,
            "requests_in_flight",
            "gauge",
            "Requests that are being answered.",
        )?;
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        writeln!(text, "envelopekms_requests_in_flight {in_flight}")?;
        head(text, "connections", "gauge", "Open connections.")?;
        writeln!(text, "envelopekms_connections {connections}")?;
        head(
            text,
            "connections_refused_total",
            "counter",
            "Connections beyond a bound.",
        )?;
        let refused = self.refused.load(Ordering::Relaxed);
        writeln!(text, "envelopekms_connections_refused_total {refused}")
    }
}

impl Histogram {
    fn write(&self, text: &mut String, labels: &str) -> std::fmt::Result {
        const NAME: &str = "envelopekms_request_seconds";
        let mut below = 0;
        for ((_bound, bound), count) in BUCKETS.iter().zip(&self.buckets) {
            below += count.load(Ordering::Relaxed);
            writeln!(text, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
        }
        let count = self.count.load(Ordering::Relaxed);
        let took = Duration::from_micros(self.micros.load(Ordering::Relaxed));
        writeln!(text, "{NAME}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
        writeln!(text, "{NAME}_sum{{{labels}}} {}", took.as_secs_f64())?;
        writeln!(text, "{NAME}_count{{{labels}}} {count}")
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(text, "# HELP envelopekms_{name} {help}")?;
    writeln!(text, "# TYPE envelopekms_{name} {kind}")
}

/// What is counted under a key.
fn of<K: Ord, V: Default>(map: &RwLock<BTreeMap<K, Arc<V>>>, key: K) -> Arc<V> {
    if let Some(found) = map.read().get(&key) {
        return Arc::clone(found);
    }
    Arc::clone(map.write().entry(key).or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_became_of_them() {
        let metrics = Metrics::default();
        let took = Duration::from_micros(300);
        metrics.count(Dialect::Aws, "Encrypt", None, took);
        metrics.count(Dialect::Aws, "Encrypt", None, took);
        metrics.count(Dialect::Aws, "Encrypt", Some("DisabledException"), took);
        metrics.count(
            Dialect::Alibaba,
            "unknown",
            Some("MissingParameter"),
            Duration::from_secs(60),
        );
        metrics.refuse_connection();
        let _one = metrics.enter();
        drop(metrics.enter());
        let text = metrics.text(7);
        for line in [
            "# TYPE envelopekms_requests_total counter",
            "envelopekms_requests_total{dialect=\"aws\",operation=\"Encrypt\",error=\"\"} 2",
            "envelopekms_requests_total{dialect=\"aws\",operation=\"Encrypt\",error=\"DisabledException\"} 1",
            "envelopekms_request_seconds_bucket{dialect=\"aws\",operation=\"Encrypt\",le=\"0.00025\"} 0",
            "envelopekms_request_seconds_bucket{dialect=\"aws\",operation=\"Encrypt\",le=\"0.0005\"} 3",
            "envelopekms_request_seconds_bucket{dialect=\"aws\",operation=\"Encrypt\",le=\"10\"} 3",
            "envelopekms_request_seconds_bucket{dialect=\"alibaba\",operation=\"unknown\",le=\"10\"} 0",
            "envelopekms_request_seconds_bucket{dialect=\"alibaba\",operation=\"unknown\",le=\"+Inf\"} 1",
            "envelopekms_request_seconds_sum{dialect=\"aws\",operation=\"Encrypt\"} 0.0009",
            "envelopekms_request_seconds_count{dialect=\"aws\",operation=\"Encrypt\"} 3",
            "envelopekms_requests_in_flight 1",
            "envelopekms_connections 7",
            "envelopekms_connections_refused_total 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
    }
}
