//! The values of a mount as people read them, by the names of the flags; no secret is among them.

use super::{MountRequest, Sharing, show_full};
use crate::cli::args::PassphraseFrom;
use crate::cli::options::Atime;
use crate::cli::values::show_duration;

impl MountRequest {
    /// Every value by its name.
    pub fn shown(&self) -> Vec<(&'static str, String)> {
        let kernel = &self.kernel;
        let keys = self.keys.iter().map(|uri| without_query(uri.as_str()));
        let (command, file) = match &self.passphrase {
            PassphraseFrom::Prompt => (String::new(), String::new()),
            PassphraseFrom::Command(_) => ("(not shown)".to_owned(), String::new()),
            PassphraseFrom::File(path) => (String::new(), path.display().to_string()),
        };
        let metrics = self.metrics.as_ref().map(|path| path.display().to_string());
        vec![
            ("accept-empty", self.accept_empty.to_string()),
            ("acl", kernel.acl.to_string()),
            ("allow-other", kernel.allow_other.to_string()),
            (
                "allow-unlocked-memory",
                self.allow_unlocked_memory.to_string(),
            ),
            ("atime", atime(kernel.atime).to_owned()),
            ("audit", self.audit.to_string()),
            ("audit-full", show_full(self.audit_full).to_owned()),
            ("cache-ttl", show_duration(self.effective_cache_ttl())),
            (
                "default-permissions",
                kernel.default_permissions.to_string(),
            ),
            ("dev", kernel.dev.to_string()),
            ("exec", kernel.exec.to_string()),
            ("export", kernel.export.to_string()),
            ("fsname", kernel.fsname.clone().unwrap_or_default()),
            ("idle-lock", show_duration(self.idle_lock)),
            ("idle-unmount", show_duration(self.idle_unmount)),
            ("key", keys.collect::<Vec<_>>().join(" ")),
            ("key-cache-entries", self.key_cache_entries.to_string()),
            ("key-cache-ttl", show_duration(self.key_cache_ttl)),
            ("metrics", metrics.unwrap_or_default()),
            ("nonempty", self.nonempty.to_string()),
            ("offline-grace", show_duration(self.offline_grace)),
            ("passphrase-command", command),
            ("passphrase-file", file),
            ("provider-rate", self.provider_rate.to_string()),
            ("read-only", self.read_only.to_string()),
            (
                "require-seal",
                self.require_seal
                    .map(|required| required.to_string())
                    .unwrap_or_default(),
            ),
            ("sandbox", self.sandbox.name().to_owned()),
            ("shared", (self.sharing == Sharing::Shared).to_string()),
            ("suid", kernel.suid.to_string()),
            (
                "threads",
                self.threads
                    .map(|count| count.to_string())
                    .unwrap_or_default(),
            ),
            ("transport", self.transport.name().to_owned()),
            ("wait", show_duration(self.wait)),
        ]
    }

    /// The names of what differs and cannot change while a mount runs.
    pub(super) fn fixed_differences(&self, other: &Self) -> Vec<&'static str> {
        const CHANGEABLE: [&str; 4] = ["idle-lock", "idle-unmount", "metrics", "provider-rate"];
        let pairs = self.shown().into_iter().zip(other.shown());
        let mut names: Vec<_> = pairs
            .filter(|((name, own), (_, others))| own != others && !CHANGEABLE.contains(name))
            .map(|((name, _), _)| name)
            .collect();
        if names.is_empty() && (self.passphrase != other.passphrase || self.keys != other.keys) {
            names.push(if self.keys == other.keys {
                "passphrase-command"
            } else {
                "key"
            });
        }
        names
    }
}

fn atime(atime: Atime) -> &'static str {
    match atime {
        Atime::Strict => "strictatime",
        Atime::Relative => "relatime",
        Atime::Never => "noatime",
    }
}

/// A PIN's place may stand there, or a PIN.
fn without_query(uri: &str) -> String {
    match uri.split_once('?') {
        Some((path, _query)) => format!("{path}?…"),
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request() -> MountRequest {
        MountRequest::new("/c".into(), "/m".into())
    }

    #[test]
    fn no_secret_is_shown() {
        let mut secretive = request();
        secretive.passphrase = PassphraseFrom::Command("echo hunter2".into());
        secretive.keys = vec!["pkcs11:object=k?pin-value=1234".parse().unwrap()];
        let shown = format!("{:?}", secretive.shown());
        assert!(
            !shown.contains("hunter2") && !shown.contains("1234"),
            "{shown}"
        );
        assert!(shown.contains("pkcs11:object=k?…"));
    }

    #[test]
    fn what_cannot_change_is_told_from_what_can() {
        let mut other = request();
        other.idle_lock = Duration::from_secs(9);
        other.metrics = Some("/x".into());
        other.provider_rate = 3;
        assert!(request().fixed_differences(&other).is_empty());
        other.kernel.acl = true;
        other.threads = Some(3);
        assert_eq!(request().fixed_differences(&other), ["acl", "threads"]);
        let mut other = request();
        other.passphrase = PassphraseFrom::Command("a".into());
        let mut third = request();
        third.passphrase = PassphraseFrom::Command("b".into());
        assert_eq!(other.fixed_differences(&third), ["passphrase-command"]);
    }
}
