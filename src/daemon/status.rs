//! What a mount tells about itself: filled in by the daemon, printed by `envelopefs status`.
//!
//! Fields are added over time and never change their meaning; a reader takes an unknown field as
//! absent and a missing one as its default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of one mount. Counters begin at the mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountStatus {
    /// The volume's id.
    pub volume_id: String,
    /// The ciphertext folder.
    pub cipherdir: String,
    /// The mount point.
    pub mountpoint: String,
    /// The process that serves it.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Nothing can be changed.
    pub read_only: bool,
    /// Other mounts of the volume may run.
    pub shared: bool,
    /// How requests come from the kernel: `dev` or `io_uring`.
    pub transport: String,
    /// `encrypted` or `plain`.
    pub names: String,
    /// `file` or `volume`.
    pub key_scope: String,
    /// Why the mount has no keys: `user` (`envelopefs lock`), `idle` (`--idle-lock`), `refusal` of the volume key, `outage` of its provider.
    /// Empty: it has them.
    pub locked: String,
    /// The key providers, in the order of the volume.
    pub providers: Vec<ProviderStatus>,
    /// Calls to all of them together that make, wrap or unwrap a key.
    pub provider_calls: u64,
    /// The data keys in memory.
    pub keyring: KeyringStatus,
    /// What memory is locked, in words.
    pub locked_memory: String,
    /// How far the process is in its sandbox, in words; it begins with `full`, with the parts that stand
    /// (`capabilities and system calls only`), or with `off`.
    pub sandbox: String,
    /// Files that are open now.
    pub open_files: u64,
    /// Ciphertext files opened for their content since the mount.
    pub files_opened: u64,
    /// Entries of the ciphertext folder that are no names of this volume, counted whenever listed.
    pub foreign_entries: u64,
    /// Inodes that the kernel knows now.
    pub inodes: u64,
    /// Requests of the kernel by what they ask for, each kind under its name.
    pub operations: BTreeMap<String, u64>,
    /// Who reads and writes, who did most first; empty where key providers are asked (`status`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserStatus>,
    /// Plaintext bytes read through the mount.
    pub bytes_read: u64,
    /// Plaintext bytes written through the mount.
    pub bytes_written: u64,
    /// Chunks, headers and names that failed authentication.
    pub integrity_failures: u64,
    /// The rules of the policy; absent where there is no policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_rules: Option<u64>,
    /// Operations that the policy denied.
    pub denied: u64,
    /// The audit; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditStatus>,
    /// Seconds since the mount.
    pub uptime_secs: u64,
}

/// A process that opened files of the mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserStatus {
    /// His user id.
    pub uid: u32,
    /// The process; a thread of it where that is gone.
    pub pid: u32,
    /// The program; empty where the process is gone or not to be seen.
    pub exe: String,
    /// Its files that are open now.
    pub open_files: u64,
    /// Plaintext bytes read through them since the mount, as far as that is remembered.
    pub bytes_read: u64,
    /// Plaintext bytes written.
    pub bytes_written: u64,
}

/// What becomes of audit events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditStatus {
    /// The file, or `journald`.
    pub target: String,
    /// `drop` or `fail`.
    pub full: String,
    /// The last line, `SEQ:HASH`.
    pub head: String,
    /// Events that wait to be written.
    pub waiting: u64,
    /// Events that were lost.
    pub dropped: u64,
    /// Why lines cannot be written just now; empty where they can.
    pub failure: String,
}

/// A key provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderStatus {
    /// Its key URI.
    pub uri: String,
    /// It answers and the key may be used.
    pub healthy: bool,
    /// `ok`; `refusing`; `unreachable`; `misconfigured`; `not asked`, while the mount is locked.
    pub state: String,
    /// What it said, for a person.
    pub health: String,
    /// Seconds for which it has not answered, while it is left alone for that.
    pub unreachable_secs: Option<u64>,
    /// Seconds until it is asked again, while it is left alone.
    pub retry_secs: Option<u64>,
    /// Calls made to it.
    pub calls: CallCounts,
    /// How long they took, failed ones among them.
    pub latency: Histogram,
}

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// Upper bounds of the classes in microseconds.
    pub bounds_micros: Vec<u64>,
    /// How many fell into each class, and at last how many took longer.
    pub counts: Vec<u64>,
    /// All together.
    pub sum_micros: u64,
}

impl Histogram {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Calls to a key provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallCounts {
    /// Data keys made.
    pub generate: u64,
    /// Keys wrapped.
    pub wrap: u64,
    /// Keys unwrapped.
    pub unwrap: u64,
    /// Keys wrapped anew.
    pub rewrap: u64,
    /// Questions about its health.
    pub probe: u64,
    /// Those of them that failed.
    pub failures: u64,
}

impl CallCounts {
    /// Calls that make, wrap or unwrap a key.
    pub fn of_keys(&self) -> u64 {
        self.generate + self.wrap + self.unwrap + self.rewrap
    }
}

/// The data keys in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyringStatus {
    /// Opens that found their key in memory.
    pub hits: u64,
    /// Opens that did not.
    pub misses: u64,
    /// Keys in memory now.
    pub entries: u64,
    /// Keys that had to make room.
    pub evictions: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_back() {
        let status = MountStatus {
            volume_id: "00".repeat(16),
            providers: vec![ProviderStatus {
                uri: "passphrase:".into(),
                ..Default::default()
            }],
            bytes_read: u64::MAX,
            ..Default::default()
        };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(serde_json::from_value::<MountStatus>(json).unwrap(), status);
    }

    #[test]
    fn fields_of_another_version_do_no_harm() {
        let json = serde_json::json!({ "pid": 7, "from_the_future": [1] });
        let status: MountStatus = serde_json::from_value(json).unwrap();
        assert_eq!(
            status,
            MountStatus {
                pid: 7,
                ..Default::default()
            }
        );
    }
}
