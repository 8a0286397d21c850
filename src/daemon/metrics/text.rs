//! Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;

use super::{COMMON_LABELS, METRICS, Metric};
use crate::daemon::status::MountStatus;

/// All metrics of these mounts.
pub fn render(mounts: &[MountStatus]) -> String {
    let mut text = String::new();
    for metric in METRICS {
        let mut samples = String::new();
        for status in mounts {
            (metric.samples)(
                status,
                &mut Samples {
                    metric,
                    status,
                    text: &mut samples,
                },
            );
        }
        if !samples.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "# HELP {} {}\n# TYPE {} {}",
                metric.name,
                metric.meaning,
                metric.name,
                metric.kind.name()
            );
            text.push_str(&samples);
        }
    }
    text
}

/// Where a metric of one mount puts its samples.
pub(super) struct Samples<'a> {
    metric: &'a Metric,
    status: &'a MountStatus,
    text: &'a mut String,
}

type Labels<'a> = [(&'static str, &'a str)];

impl Samples<'_> {
    /// The only one.
    pub(super) fn one(&mut self, value: u64) {
        self.labelled(&[], value);
    }

    pub(super) fn labelled(&mut self, labels: &Labels<'_>, value: u64) {
        self.line("", labels, None, &value.to_string());
    }

    /// `counts` has one place more than `bounds`, for what took longer than the last.
    pub(super) fn histogram(
        &mut self,
        labels: &Labels<'_>,
        bounds: &[u64],
        counts: &[u64],
        sum_micros: u64,
    ) {
        let bounds = bounds.iter().map(|bound| seconds(*bound));
        let mut so_far = 0_u64;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
            so_far = so_far.saturating_add(*count);
            self.line("_bucket", labels, Some(&bound), &so_far.to_string());
        }
        self.line("_sum", labels, None, &seconds(sum_micros));
        self.line("_count", labels, None, &so_far.to_string());
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, le: Option<&str>, value: &str) {
        let [mountpoint, volume] = COMMON_LABELS;
        let common = [
            (mountpoint, self.status.mountpoint.as_str()),
            (volume, &self.status.volume_id),
        ];
        let all = common
            .iter()
            .chain(labels)
            .copied()
            .chain(le.map(|le| ("le", le)));
        let shown: Vec<String> = all
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            self.text,
            "{}{suffix}{{{}}} {value}",
            self.metric.name,
            shown.join(",")
        );
    }
}

/// Exact, without the noise of a binary fraction.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A mount point may hold anything. Control characters beside a newline have no escape: they are left out.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter if letter.is_control() => {}
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::metrics::tests::full;

    #[test]
    fn a_histogram_counts_up_to_its_end() {
        let text = render(&[full()]);
        let volume = "ab".repeat(16);
        for line in [
            format!(
                "envelopefs_provider_latency_seconds_bucket{{mountpoint=\"/m\",volume=\"{volume}\",key=\"file:///k\",le=\"0.001\"}} 2"
            ),
            format!(
                "envelopefs_provider_latency_seconds_bucket{{mountpoint=\"/m\",volume=\"{volume}\",key=\"file:///k\",le=\"0.01\"}} 3"
            ),
            format!(
                "envelopefs_provider_latency_seconds_bucket{{mountpoint=\"/m\",volume=\"{volume}\",key=\"file:///k\",le=\"+Inf\"}} 4"
            ),
            format!(
                "envelopefs_provider_latency_seconds_sum{{mountpoint=\"/m\",volume=\"{volume}\",key=\"file:///k\"}} 1.5"
            ),
            format!(
                "envelopefs_provider_latency_seconds_count{{mountpoint=\"/m\",volume=\"{volume}\",key=\"file:///k\"}} 4"
            ),
            format!(
                "envelopefs_operations_total{{mountpoint=\"/m\",volume=\"{volume}\",operation=\"read\"}} 7"
            ),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn each_family_is_announced_once_for_all_mounts() {
        let other = MountStatus {
            mountpoint: "/other".into(),
            ..full()
        };
        let text = render(&[full(), other]);
        for metric in METRICS {
            let announced = text.matches(&format!("# TYPE {} ", metric.name)).count();
            assert_eq!(announced, 1, "{metric:?}");
        }
        assert_eq!(text.matches("envelopefs_read_bytes_total{").count(), 2);
    }

    #[test]
    fn no_value_breaks_a_line() {
        assert_eq!(escaped("a\"b\\c\nd\u{7}"), "a\\\"b\\\\c\\nd");
        let status = MountStatus {
            mountpoint: "/a\n\"} 1\nfake 7".into(),
            ..full()
        };
        let text = render(&[status]);
        assert!(
            text.lines()
                .all(|line| line.starts_with('#') || line.starts_with("envelopefs_")),
            "{text}"
        );
    }

    #[test]
    fn seconds_are_exact() {
        let shown: Vec<_> = [0, 1, 1000, 250_000, 1_000_000, 12_500_000]
            .map(seconds)
            .into();
        assert_eq!(shown, ["0", "0.000001", "0.001", "0.25", "1", "12.5"]);
    }
}
