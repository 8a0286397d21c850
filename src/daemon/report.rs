//! Fills in what a mount tells about itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::audit::{Audit, WhenFull};
use crate::crypto::locked_memory_report;
use crate::format::volume_config::{KeyScope, NameMode};
use crate::fs::FileSystem;
use crate::keys::{KeyProvider as _, ProviderCalls};
use crate::units::KeyUri;

use super::control::StatusSource;
use super::harden::HardeningReport;
use super::status::{AuditStatus, CallCounts, KeyringStatus, MountStatus, ProviderStatus};

/// What the status of a mount is made of.
#[derive(Debug)]
pub(super) struct StatusReporter {
    pub(super) fs: Arc<FileSystem>,
    pub(super) cipherdir: PathBuf,
    pub(super) mountpoint: PathBuf,
    pub(super) read_only: bool,
    pub(super) shared: bool,
    pub(super) hardening: HardeningReport,
    pub(super) since: Instant,
}

impl StatusReporter {
    pub(super) fn into_source(self) -> StatusSource {
        Arc::new(move || serde_json::to_value(self.report()).unwrap_or_default())
    }

    fn report(&self) -> MountStatus {
        let (volume, stats) = (self.fs.volume(), self.fs.stats());
        let (config, keyring) = (volume.config(), volume.keyring_stats());
        let providers: Vec<_> = volume
            .providers()
            .calls()
            .into_iter()
            .map(|used| self.provider(used))
            .collect();
        MountStatus {
            volume_id: config.volume_id.to_string(),
            cipherdir: self.cipherdir.to_string_lossy().into_owned(),
            mountpoint: self.mountpoint.to_string_lossy().into_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            read_only: self.read_only,
            shared: self.shared,
            names: match config.names {
                NameMode::Encrypted => "encrypted",
                NameMode::Plain => "plain",
            }
            .to_owned(),
            key_scope: match config.key_scope {
                KeyScope::File => "file",
                KeyScope::Volume => "volume",
            }
            .to_owned(),
            provider_calls: providers
                .iter()
                .map(|provider| provider.calls.of_keys())
                .sum(),
            providers,
            keyring: KeyringStatus {
                hits: keyring.hits,
                misses: keyring.misses,
                entries: keyring.entries,
                evictions: keyring.evictions,
            },
            locked_memory: self.locked_memory(),
            open_files: stats.open_files,
            files_opened: stats.files_opened,
            foreign_entries: stats.foreign_entries,
            inodes: stats.inodes,
            bytes_read: stats.bytes_read,
            bytes_written: stats.bytes_written,
            integrity_failures: stats.integrity_failures,
            policy_rules: self.fs.policy_rules().map(|count| count as u64),
            denied: stats.denied,
            audit: volume.audit().map(|audit| audit_status(audit)),
            uptime_secs: self.since.elapsed().as_secs(),
        }
    }

    fn locked_memory(&self) -> String {
        let keys = locked_memory_report()
            .map_or_else(|| "no key yet".to_owned(), |report| report.kind.to_string());
        format!("{}; keys: {keys}", self.hardening.memory)
    }

    fn provider(&self, (uri, calls): (KeyUri, ProviderCalls)) -> ProviderStatus {
        let probed = self
            .fs
            .volume()
            .providers()
            .open(&uri)
            .and_then(|provider| provider.probe());
        let failures = [
            calls.generate,
            calls.wrap,
            calls.unwrap,
            calls.rewrap,
            calls.probe,
        ]
        .map(|count| count.failures);
        ProviderStatus {
            uri: uri.to_string(),
            healthy: probed.is_ok(),
            health: match probed {
                Ok(health) => match health.mechanism {
                    Some(mechanism) => format!("key version {}, {mechanism}", health.key_version),
                    None => format!("key version {}", health.key_version),
                },
                Err(error) => error.to_string(),
            },
            calls: CallCounts {
                generate: calls.generate.calls,
                wrap: calls.wrap.calls,
                unwrap: calls.unwrap.calls,
                rewrap: calls.rewrap.calls,
                probe: calls.probe.calls,
                failures: failures.iter().sum(),
            },
        }
    }
}

fn audit_status(audit: &Audit) -> AuditStatus {
    let report = audit.report();
    AuditStatus {
        target: audit.target().to_string(),
        full: match audit.when_full() {
            WhenFull::Drop => "drop",
            WhenFull::Fail => "fail",
        }
        .to_owned(),
        head: report.head.show(),
        waiting: report.waiting as u64,
        dropped: report.dropped,
        failure: report.failure.unwrap_or_default(),
    }
}
