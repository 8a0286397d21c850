//! From two samples of counters to what is shown: rates.

use std::collections::HashMap;
use std::time::Duration;

use super::Sample;
use crate::daemon::status::{Histogram, MountStatus, ProviderStatus, UserStatus};

/// One picture.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    pub(super) status: MountStatus,
    /// Bytes a second.
    pub(super) read: f64,
    pub(super) written: f64,
    /// Requests a second by kind, the most frequent first; those that came.
    pub(super) operations: Vec<(String, f64)>,
    /// Opens whose key was in memory, of all opens meanwhile that needed one.
    pub(super) keyring_hits: Option<f64>,
    pub(super) providers: Vec<ProviderView>,
    pub(super) users: Vec<UserView>,
}

#[derive(Debug, PartialEq)]
pub(super) struct ProviderView {
    pub(super) uri: String,
    pub(super) state: String,
    /// Calls a second.
    pub(super) calls: f64,
    pub(super) failures: u64,
    /// Of calls meanwhile, or of all where there were none; None where there never was one.
    pub(super) mean: Option<Duration>,
    /// Nine of ten took no longer, as far as the classes tell; None: longer than the last.
    pub(super) nine_of_ten: Option<Duration>,
}

#[derive(Debug, PartialEq)]
pub(super) struct UserView {
    pub(super) user: UserStatus,
    /// Bytes a second.
    pub(super) read: f64,
    pub(super) written: f64,
}

impl View {
    pub(super) fn between(before: &Sample, now: &Sample) -> Self {
        let secs = now.at.saturating_duration_since(before.at).as_secs_f64();
        let rate = Rate { secs };
        let (old, new) = (&before.status, &now.status);
        let hits = risen(old.keyring.hits, new.keyring.hits);
        let asked = hits + risen(old.keyring.misses, new.keyring.misses);
        Self {
            read: rate.of(old.bytes_read, new.bytes_read),
            written: rate.of(old.bytes_written, new.bytes_written),
            operations: operations(old, new, rate),
            keyring_hits: (asked > 0).then(|| hits as f64 / asked as f64),
            providers: providers(old, new, rate),
            users: users(old, new, rate),
            status: new.clone(),
        }
    }

    /// Requests a second.
    pub(super) fn all_operations(&self) -> f64 {
        // A sum of nothing would be -0.
        self.operations
            .iter()
            .fold(0.0, |sum, (_, rate)| sum + rate)
    }
}

/// A counter that fell belongs to another mount, which began meanwhile.
fn risen(old: u64, new: u64) -> u64 {
    if new < old { new } else { new - old }
}

#[derive(Clone, Copy)]
struct Rate {
    secs: f64,
}

impl Rate {
    fn of(self, old: u64, new: u64) -> f64 {
        if self.secs > 0.0 {
            risen(old, new) as f64 / self.secs
        } else {
            0.0
        }
    }
}

fn operations(old: &MountStatus, new: &MountStatus, rate: Rate) -> Vec<(String, f64)> {
    let rates = new.operations.iter().map(|(name, count)| {
        let before = old.operations.get(name).copied().unwrap_or(0);
        (name.clone(), rate.of(before, *count))
    });
    let mut rates: Vec<_> = rates.filter(|(_, rate)| *rate > 0.0).collect();
    rates.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    rates
}

fn providers(old: &MountStatus, new: &MountStatus, rate: Rate) -> Vec<ProviderView> {
    let none = ProviderStatus::default();
    let views = new.providers.iter().map(|provider| {
        let before = old
            .providers
            .iter()
            .find(|other| other.uri == provider.uri)
            .unwrap_or(&none);
        let latency = match provider.latency.count() == before.latency.count() {
            true => provider.latency.clone(),
            false => meanwhile(&before.latency, &provider.latency),
        };
        ProviderView {
            uri: provider.uri.clone(),
            state: provider.state.clone(),
            calls: rate.of(before.latency.count(), provider.latency.count()),
            failures: provider.calls.failures,
            mean: latency
                .sum_micros
                .checked_div(latency.count())
                .map(Duration::from_micros),
            nine_of_ten: nine_of_ten(&latency),
        }
    });
    views.collect()
}

fn meanwhile(old: &Histogram, new: &Histogram) -> Histogram {
    let before = old.counts.iter().copied().chain(std::iter::repeat(0));
    Histogram {
        bounds_micros: new.bounds_micros.clone(),
        counts: new
            .counts
            .iter()
            .zip(before)
            .map(|(new, old)| risen(old, *new))
            .collect(),
        sum_micros: risen(old.sum_micros, new.sum_micros),
    }
}

fn nine_of_ten(latency: &Histogram) -> Option<Duration> {
    let wanted = latency.count().saturating_mul(9).div_ceil(10);
    let mut so_far = 0;
    for (bound, count) in latency.bounds_micros.iter().zip(&latency.counts) {
        so_far += count;
        if so_far >= wanted && wanted > 0 {
            return Some(Duration::from_micros(*bound));
        }
    }
    None
}

fn users(old: &MountStatus, new: &MountStatus, rate: Rate) -> Vec<UserView> {
    let before: HashMap<(u32, u32), &UserStatus> = old
        .users
        .iter()
        .map(|user| ((user.uid, user.pid), user))
        .collect();
    let none = UserStatus::default();
    let views = new.users.iter().map(|user| {
        let before = before.get(&(user.uid, user.pid)).copied().unwrap_or(&none);
        UserView {
            read: rate.of(before.bytes_read, user.bytes_read),
            written: rate.of(before.bytes_written, user.bytes_written),
            user: user.clone(),
        }
    });
    let mut views: Vec<_> = views.collect();
    views.sort_by(|one, other| (other.read + other.written).total_cmp(&(one.read + one.written)));
    views
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::daemon::status::{CallCounts, KeyringStatus};

    fn status(factor: u64) -> MountStatus {
        MountStatus {
            mountpoint: "/m".into(),
            bytes_read: 1 << 20,
            operations: BTreeMap::from([("read".into(), 100 * factor), ("open".into(), 5)]),
            keyring: KeyringStatus {
                hits: 30 * factor,
                misses: 10 * factor,
                ..KeyringStatus::default()
            },
            providers: vec![ProviderStatus {
                uri: "file:///k".into(),
                state: "ok".into(),
                calls: CallCounts {
                    failures: 2,
                    ..CallCounts::default()
                },
                latency: Histogram {
                    bounds_micros: vec![1000, 5000],
                    counts: vec![8 * factor, 2 * factor, 0],
                    sum_micros: 20_000 * factor,
                },
                ..ProviderStatus::default()
            }],
            users: vec![
                UserStatus {
                    uid: 7,
                    pid: 9,
                    exe: "/bin/cat".into(),
                    bytes_read: 5,
                    ..UserStatus::default()
                },
                UserStatus {
                    uid: 7,
                    pid: 8,
                    exe: "/bin/tar".into(),
                    bytes_read: 4096 * factor,
                    ..UserStatus::default()
                },
            ],
            ..MountStatus::default()
        }
    }

    /// Two seconds of work.
    pub(in super::super) fn view() -> View {
        let begun = Instant::now();
        let sample = |factor, secs| Sample {
            status: status(factor),
            at: begun + Duration::from_secs(secs),
        };
        View::between(&sample(1, 0), &sample(2, 2))
    }

    #[test]
    fn counters_become_rates() {
        let view = view();
        assert_eq!(view.operations, [("read".to_owned(), 50.0)]);
        assert_eq!((view.read, view.keyring_hits), (0.0, Some(0.75)));
        let provider = &view.providers[0];
        assert_eq!(
            (provider.calls, provider.mean),
            (5.0, Some(Duration::from_millis(2)))
        );
        assert_eq!(provider.nine_of_ten, Some(Duration::from_millis(5)));
        let programs: Vec<_> = view
            .users
            .iter()
            .map(|user| user.user.exe.as_str())
            .collect();
        assert_eq!(programs, ["/bin/tar", "/bin/cat"]);
        assert_eq!(view.users[0].read, 2048.0);
    }

    #[test]
    fn no_time_and_a_new_mount_do_no_harm() {
        let now = Sample {
            status: status(1),
            at: Instant::now(),
        };
        let view = View::between(&now, &now);
        assert!(view.operations.is_empty() && view.keyring_hits.is_none());
        let later = Sample {
            status: MountStatus::default(),
            at: now.at + Duration::from_secs(1),
        };
        assert_eq!(View::between(&now, &later).read, 0.0);
        assert_eq!(nine_of_ten(&Histogram::default()), None);
    }
}
