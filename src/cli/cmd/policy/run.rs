//! Sets, shows, checks and removes policies.

use std::path::Path;

use super::{PolicyRequest, VolumeRequest};
use crate::cli::cmd::folders::keys_words;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{counted, harmless};
use crate::cli::providers::GivenKeys;
use crate::cli::{errors, output, providers};
use crate::crypto::MemoryPolicy;
use crate::daemon::control::{Client, ControlError, PolicyCall};
use crate::daemon::mounts::{self, Mount};
use crate::format::volume_config::NameMode;
use crate::keys::Confirm;
use crate::policy::{Given, Policy, folders};
use crate::volume::{self, Sharing, StoredPolicy, UnlockOptions, Volume};

/// Does what is asked with a policy.
///
/// # Errors
/// The policy cannot be followed, the volume not be opened, or a mount refuses.
pub fn run(request: &PolicyRequest) -> Result<(), Failure> {
    match request {
        PolicyRequest::Set(volume, file) => set(volume, Some(file)),
        PolicyRequest::Remove(volume) => set(volume, None),
        PolicyRequest::Show(volume) => show(volume),
        PolicyRequest::Reload(volume) => reload(volume),
        PolicyRequest::Check(file, who, path) => check(file, who, path.as_deref()),
    }
}

fn read(file: &Path) -> Result<StoredPolicy, Failure> {
    let what = format!("cannot follow {}", file.display());
    let text = std::fs::read(file).map_err(|error| Failure::new(Exit::Failure, &what, error))?;
    StoredPolicy::parse(text).map_err(|error| errors::volume(what, &error))
}

/// A mount that has the volume changes it, for nobody else may; the other ones here are told.
fn set(request: &VolumeRequest, file: Option<&Path>) -> Result<(), Failure> {
    let what = format!("cannot set the policy of {}", request.cipherdir.display());
    let stored = file.map(read).transpose()?;
    let mounts = mounts_of(&what, &request.cipherdir)?;
    let mut mounts = mounts.iter();
    let call = match &stored {
        Some(stored) => PolicyCall::Set(String::from_utf8_lossy(&stored.text).into_owned()),
        None => PolicyCall::Remove,
    };
    let encrypted = match mounts.next() {
        Some(first) => {
            ask(&what, first, call)?;
            false
        }
        None => {
            let volume = open(&what, request, Sharing::Exclusive)?;
            let set = volume.set_policy(stored.as_ref());
            set.map_err(|error| errors::volume(&what, &error))?;
            volume.config().names == NameMode::Encrypted
        }
    };
    for other in mounts.clone() {
        ask(&what, other, PolicyCall::Reload)?;
    }
    let Some(stored) = stored else {
        return output::print("The volume has no policy any more\n");
    };
    let mut text = format!("Set: {}\n", summary(&stored.policy));
    let has_folders = !stored.policy.folders.is_empty();
    if has_folders {
        text.push_str(
            "  Files that are there keep their keys until `envelopefs rewrap` brings them under those of their folders.\n",
        );
    }
    let has_paths = stored.policy.rules.iter().any(|rule| rule.path.is_some());
    if encrypted && (has_paths || has_folders) {
        text.push_str(
            "  Its paths stand in clear in .envelopefs/policy.toml, though names are encrypted.\n",
        );
    }
    output::print(&text)
}

fn summary(policy: &Policy) -> String {
    let mut text = format!(
        "{}, default {}",
        counted(policy.rules.len() as u64, "rule"),
        policy.default.as_str()
    );
    if !policy.folders.is_empty() {
        let folders = counted(policy.folders.len() as u64, "folder");
        text.push_str(&format!(", {folders} with keys"));
    }
    text
}

fn show(request: &VolumeRequest) -> Result<(), Failure> {
    let what = format!("cannot show the policy of {}", request.cipherdir.display());
    let text = match mounts_of(&what, &request.cipherdir)?.first() {
        Some(mount) => ask(&what, mount, PolicyCall::Get)?,
        None => {
            let volume = open(&what, request, Sharing::Shared)?;
            let stored = volume
                .policy()
                .map_err(|error| errors::volume(&what, &error))?;
            stored.map(|stored| String::from_utf8_lossy(&stored.text).into_owned())
        }
    };
    output::print(&text.unwrap_or_else(|| "# The volume has no policy\n".to_owned()))
}

fn reload(request: &VolumeRequest) -> Result<(), Failure> {
    let what = format!(
        "cannot have the policy of {} followed",
        request.cipherdir.display()
    );
    let mounts = mounts_of(&what, &request.cipherdir)?;
    if mounts.is_empty() {
        return Err(Failure::new(
            Exit::NotMounted,
            what,
            "it is not mounted here",
        ));
    }
    for mount in &mounts {
        ask(&what, mount, PolicyCall::Reload)?;
    }
    let count = counted(mounts.len() as u64, "mount");
    output::print(&format!("Told to {count}\n"))
}

fn open(what: &str, request: &VolumeRequest, sharing: Sharing) -> Result<Volume, Failure> {
    providers::lock_memory(what, MemoryPolicy::BestEffort)?;
    let keys = GivenKeys::only(what, &request.keys)?;
    let providers = keys.providers(&request.passphrase, Confirm::No);
    let unlock = UnlockOptions {
        sharing,
        // No file is written, so that there is nothing to look over should this be cut short.
        read_only: true,
        ..UnlockOptions::default()
    };
    let volume = volume::open(&request.cipherdir, &unlock, providers);
    volume.map_err(|error| errors::volume(what, &error))
}

/// The mounts on this machine that answer and have this ciphertext folder.
fn mounts_of(what: &str, cipherdir: &Path) -> Result<Vec<Mount>, Failure> {
    let cipherdir = std::fs::canonicalize(cipherdir)
        .map_err(|error| Failure::new(Exit::NotAVolume, what, error))?;
    let all = mounts::read().map_err(|error| Failure::new(Exit::Failure, what, error))?;
    let has_it = |mount: &Mount| {
        let status = Client::connect(mount).and_then(Client::status);
        status.is_ok_and(|status| {
            status["cipherdir"].as_str().map(Path::new) == Some(cipherdir.as_path())
        })
    };
    Ok(all
        .into_iter()
        .filter(|mount| mount.is_ours() && has_it(mount))
        .collect())
}

fn ask(what: &str, mount: &Mount, call: PolicyCall) -> Result<Option<String>, Failure> {
    let asked = Client::connect(mount).and_then(|client| client.policy(call));
    asked.map_err(|error| match error {
        ControlError::Refused(why) => Failure::new(Exit::Usage, what, why),
        ControlError::KeyDenied(why) => {
            let point = mount.mountpoint.display();
            Failure::new(Exit::KeyDenied, what, why)
                .advise(format!("`envelopefs unlock {point}`, then try again"))
        }
        error => Failure::new(Exit::NoAnswer, what, error),
    })
}

fn check(file: &Path, who: &Given, path: Option<&str>) -> Result<(), Failure> {
    let stored = read(file)?;
    let policy = &stored.policy;
    let Some(path) = path else {
        return output::print(&format!("It can be followed: {}\n", summary(policy)));
    };
    if !path.starts_with('/') {
        return Err(Failure::usage(
            "cannot judge",
            format!("{path:?}: a path in the mount begins with /"),
        ));
    }
    output::print(&(harmless(&explain(policy, who, path)) + "\n"))
}

fn explain(policy: &Policy, who: &Given, path: &str) -> String {
    let verdict = policy.judge(Some(path.as_bytes()), who);
    let by = match verdict
        .rule
        .checked_sub(1)
        .and_then(|nth| policy.rules.get(nth))
    {
        None => "by the default".to_owned(),
        Some(rule) => match &rule.path {
            Some(pattern) => format!("by rule {}, path {pattern}", verdict.rule),
            None => format!("by rule {}, all paths", verdict.rule),
        },
    };
    let access = format!("{path}: {}, {by}", verdict.access.as_str());
    let folder = path.rsplit_once('/').map_or("", |(folder, _name)| folder);
    match folders::nearest(&policy.folders, folder.as_bytes()) {
        None => access,
        Some(keys) => format!("{access}; a new file gets {}", keys_words(keys)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoAccounts;

    impl crate::policy::Accounts for NoAccounts {
        fn user(&self, _name: &str) -> Option<u32> {
            None
        }

        fn group(&self, _name: &str) -> Option<u32> {
            None
        }
    }

    #[test]
    fn the_rule_is_told() {
        let text = "[[rule]]\npath = \"/c/**\"\nuid = 7\naccess = \"read-only\"\n";
        let policy = Policy::parse(text.as_bytes(), &NoAccounts).unwrap();
        let said = |who: &str, path: &str| {
            let who = super::super::parse_who(who).unwrap();
            explain(&policy, &who, path)
        };
        assert_eq!(
            said("uid=7", "/c/f"),
            "/c/f: read-only, by rule 1, path /c/**"
        );
        assert_eq!(said("uid=8", "/c/f"), "/c/f: allow, by the default");
        assert_eq!(said("uid=7", "/f"), "/f: allow, by the default");
    }

    #[test]
    fn the_keys_of_a_new_file_are_told() {
        let text = "[[folder]]\npath = \"/hr\"\nkeys = [\"file:///a\", \"file:///b\"]\n\
                    [[folder]]\npath = \"/hr/x\"\nscope = \"volume\"\n[[folder]]\npath = \"/y\"\nscope = \"file\"\n";
        let policy = Policy::parse(text.as_bytes(), &NoAccounts).unwrap();
        let said = |path: &str| explain(&policy, &Given::default(), path);
        for (path, keys) in [
            ("/hr/f", "file:///a, file:///b"),
            ("/hr/x/f", "the volume key"),
            ("/y/f", "the volume's keys, for each file by itself"),
        ] {
            assert!(
                said(path).ends_with(&format!("; a new file gets {keys}")),
                "{path}"
            );
        }
        for none in ["/hr", "/f", "/hrx/f"] {
            assert!(!said(none).contains("new file"), "{none}");
        }
        assert_eq!(
            summary(&policy),
            "0 rules, default allow, 3 folders with keys"
        );
    }
}
