//! What the control socket of a mount can do: it tells about itself, is locked and unlocked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{Audit, WhenFull};
use crate::crypto::locked_memory_report;
use crate::format::volume_config::{KeyScope, NameMode};
use crate::fs::{FileSystem, LockedBy};
use crate::fuse::Transport;
use crate::keys::{
    Guarded, KeyErrorKind, KeyHealth, KeyProvider as _, LATENCY_BOUNDS, LatencyReport,
    ProviderCalls,
};
use crate::volume::VolumeError;

use super::callers;
use super::control::{NotUnlocked, PolicyCall, PolicyRefusal, Served};
use super::harden::HardeningReport;
use super::policy::PolicyHost;
use super::runs::{Event, RunFailure, RunHost, RunReport, RunRequest};
use super::sandbox::SandboxReport;
use super::status::{
    AuditStatus, CallCounts, Histogram, KeyringStatus, MountStatus, ProviderStatus,
};

/// What the status of a mount is made of.
#[derive(Debug)]
pub(super) struct StatusReporter {
    pub(super) fs: Arc<FileSystem>,
    pub(super) runs: Arc<RunHost>,
    pub(super) policy: PolicyHost,
    pub(super) cipherdir: PathBuf,
    pub(super) mountpoint: PathBuf,
    pub(super) read_only: bool,
    pub(super) shared: bool,
    pub(super) transport: Transport,
    pub(super) hardening: HardeningReport,
    pub(super) sandbox: SandboxReport,
    pub(super) since: Instant,
}

/// Whether each key provider is asked how it is, for which it may be waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    No,
    Yes,
}

impl StatusReporter {
    pub(super) fn report(&self, probe: Probe) -> MountStatus {
        let (volume, stats) = (self.fs.volume(), self.fs.stats());
        let (config, keyring) = (volume.config(), volume.keyring_stats());
        let providers = self.providers(probe);
        MountStatus {
            volume_id: config.volume_id.to_string(),
            cipherdir: self.cipherdir.to_string_lossy().into_owned(),
            mountpoint: self.mountpoint.to_string_lossy().into_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            read_only: self.read_only,
            shared: self.shared,
            transport: self.transport.name().to_owned(),
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
            locked: match self.fs.locked_by() {
                None => "",
                Some(LockedBy::Idleness) => "idle",
                Some(LockedBy::Outage) => "outage",
                Some(LockedBy::Refusal) => "refusal",
                Some(LockedBy::User) => "user",
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
            sandbox: self.sandbox.to_string(),
            open_files: stats.open_files,
            files_opened: stats.files_opened,
            foreign_entries: stats.foreign_entries,
            inodes: stats.inodes,
            operations: self.operations(),
            users: Vec::new(),
            bytes_read: stats.bytes_read,
            bytes_written: stats.bytes_written,
            integrity_failures: stats.integrity_failures,
            policy_rules: self.fs.policy_rules().map(|count| count as u64),
            denied: stats.denied,
            audit: volume.audit().map(|audit| audit_status(audit)),
            uptime_secs: self.since.elapsed().as_secs(),
        }
    }

    fn operations(&self) -> BTreeMap<String, u64> {
        let counts = self.fs.operations().into_iter();
        counts
            .map(|(operation, count)| (operation.name().to_owned(), count))
            .collect()
    }

    fn locked_memory(&self) -> String {
        let keys = locked_memory_report()
            .map_or_else(|| "no key yet".to_owned(), |report| report.kind.to_string());
        format!("{}; keys: {keys}", self.hardening.memory)
    }

    /// Those in use, and those of folders, whose files nobody may have opened yet.
    fn providers(&self, probe: Probe) -> Vec<ProviderStatus> {
        let volume = self.fs.volume();
        let mut unopened = Vec::new();
        // While the mount is locked, none is begun with.
        let known = match self.fs.locked_by() {
            None if probe == Probe::Yes => volume.folder_keys(),
            Some(_) | None => Vec::new(),
        };
        for uri in known {
            if let Err(error) = volume.providers().open(&uri) {
                unopened.push(ProviderStatus {
                    uri: uri.to_string(),
                    healthy: false,
                    state: state_of(error.kind()).to_owned(),
                    health: error.to_string(),
                    unreachable_secs: None,
                    retry_secs: None,
                    calls: CallCounts::default(),
                    latency: Histogram::default(),
                });
            }
        }
        let opened = volume.providers().opened();
        let opened = opened.iter().map(|provider| self.provider(provider, probe));
        opened.chain(unopened).collect()
    }

    fn provider(&self, provider: &Guarded, probe: Probe) -> ProviderStatus {
        let outage = provider.outage();
        let (state, health) = match probe {
            Probe::Yes => self.ask(provider),
            Probe::No => match &outage {
                None => ("ok", String::new()),
                Some(_) => ("unreachable", "it did not answer".to_owned()),
            },
        };
        ProviderStatus {
            uri: provider.uri().to_string(),
            healthy: state == "ok",
            state: state.to_owned(),
            health,
            unreachable_secs: outage.as_ref().map(|outage| outage.lasted.as_secs()),
            retry_secs: outage.as_ref().map(|outage| outage.retry_in.as_secs()),
            calls: counts(&provider.calls()),
            latency: histogram(provider.latency()),
        }
    }

    /// The state of a provider, and what it says.
    fn ask(&self, provider: &Guarded) -> (&'static str, String) {
        // While the mount is locked, a provider must not get at its secrets again.
        let probed = self.fs.locked_by().is_none().then(|| provider.probe());
        match &probed {
            None => ("not asked", "the mount is locked".to_owned()),
            Some(Ok(health)) => ("ok", show_health(health)),
            Some(Err(error)) => (state_of(error.kind()), error.to_string()),
        }
    }
}

fn histogram(report: LatencyReport) -> Histogram {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Histogram {
        bounds_micros: LATENCY_BOUNDS.map(micros).to_vec(),
        counts: report.counts,
        sum_micros: micros(report.sum),
    }
}

fn show_health(health: &KeyHealth) -> String {
    match health.mechanism {
        Some(mechanism) => format!("key version {}, {mechanism}", health.key_version),
        None => format!("key version {}", health.key_version),
    }
}

fn state_of(kind: KeyErrorKind) -> &'static str {
    match kind {
        KeyErrorKind::Config => "misconfigured",
        KeyErrorKind::Corrupt
        | KeyErrorKind::Denied
        | KeyErrorKind::NotFound
        | KeyErrorKind::Revoked => "refusing",
        KeyErrorKind::Unavailable => "unreachable",
    }
}

fn counts(calls: &ProviderCalls) -> CallCounts {
    let failures = [
        calls.generate,
        calls.wrap,
        calls.unwrap,
        calls.rewrap,
        calls.probe,
    ]
    .map(|count| count.failures);
    CallCounts {
        generate: calls.generate.calls,
        wrap: calls.wrap.calls,
        unwrap: calls.unwrap.calls,
        rewrap: calls.rewrap.calls,
        probe: calls.probe.calls,
        failures: failures.iter().sum(),
    }
}

impl Served for StatusReporter {
    fn status(&self) -> serde_json::Value {
        serde_json::to_value(self.report(Probe::Yes)).unwrap_or_default()
    }

    fn counters(&self) -> serde_json::Value {
        let status = MountStatus {
            users: callers::told(self.fs.users()),
            ..self.report(Probe::No)
        };
        serde_json::to_value(status).unwrap_or_default()
    }

    fn run(
        &self,
        request: &RunRequest,
        tell: &mut dyn FnMut(Event) -> bool,
    ) -> Result<RunReport, RunFailure> {
        self.runs.run(request, tell)
    }

    fn policy(&self, call: PolicyCall, uid: u32) -> Result<Option<String>, PolicyRefusal> {
        self.policy.answer(call, uid)
    }

    fn lock(&self, uid: u32) {
        self.fs.lock(Some(uid));
    }

    fn unlock(&self, passphrase: Option<&[u8]>, uid: u32) -> Result<(), NotUnlocked> {
        let volume = self.fs.volume();
        if self.fs.locked_by().is_none() {
            return Ok(());
        }
        if let Some(passphrase) = passphrase {
            let given = volume.providers().passphrase().give(passphrase);
            given.map_err(|error| NotUnlocked::Denied(error.to_string()))?;
        }
        self.fs.unlock(Some(uid)).map_err(|error| {
            let wanted = volume.needs_passphrase();
            // A wrong passphrase must not be tried for files, nor a right one stay in a mount that is locked.
            volume.forget_providers();
            match error {
                _ if wanted => NotUnlocked::PassphraseWanted,
                VolumeError::Key(error) if error.kind() == KeyErrorKind::Unavailable => {
                    NotUnlocked::Unavailable(error.to_string())
                }
                error => NotUnlocked::Denied(error.to_string()),
            }
        })
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
