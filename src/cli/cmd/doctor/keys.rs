//! The keys of a volume: whether each provider answers, in time, and what this machine needs for it.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::within::within;
use super::{Area, Check, Finding, Level};
use crate::cli::args::PassphraseFrom;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::providers::GivenKeys;
use crate::format::volume_config::KeyScope;
use crate::keys::{
    Confirm, KeyError, KeyErrorKind, KeyProvider as _, PinSource, Providers, passphrase, pkcs11,
};
use crate::units::KeyUri;
use crate::volume::SeenKeys;

const KEYS: Area = Area("keys");
const MODULE: Check = KEYS.check("pkcs11-module", Exit::KeyUnavailable);

/// # Errors
/// A key that was given cannot be followed.
pub(super) fn look(
    what: &str,
    seen: &SeenKeys,
    given: &[KeyUri],
    limit: Duration,
) -> Result<Vec<Finding>, Failure> {
    let given = GivenKeys::only(what, given)?;
    let providers = given.providers(&PassphraseFrom::Prompt, Confirm::No);
    let opening: BTreeSet<&KeyUri> = seen.slots.iter().map(|slot| &slot.key_uri).collect();
    let folders = seen.folders.iter().flat_map(|folder| &folder.keys.keys);
    let all: BTreeSet<&KeyUri> = opening
        .iter()
        .copied()
        .chain(&seen.keys)
        .chain(folders)
        .collect();
    let mut findings = Vec::new();
    let mut opens = false;
    for uri in all {
        let asks = Asked::of(uri, &given, &mut findings);
        let finding = of_key(uri, &asks, &providers, limit);
        opens |= finding.level != Level::Fail && opening.contains(uri);
        findings.push(finding);
    }
    // One key opens a volume; only where files are wrapped under each one are all needed.
    if opens && seen.key_scope == KeyScope::Volume {
        for finding in findings
            .iter_mut()
            .filter(|found| found.level == Level::Fail)
        {
            finding.level = Level::Warn;
        }
    }
    Ok(findings)
}

/// Whether asking a provider would ask a human.
enum Asked {
    AHuman(&'static str),
    Nobody,
}

impl Asked {
    /// Tells of a token's module too.
    fn of(uri: &KeyUri, given: &GivenKeys, findings: &mut Vec<Finding>) -> Self {
        match uri.scheme() {
            passphrase::SCHEME => Self::AHuman("a passphrase"),
            pkcs11::SCHEME => {
                let found = given
                    .pkcs11()
                    .module_of(uri)
                    .map_err(|error| error.message().to_owned());
                findings.push(match found {
                    Ok(path) => module(&path),
                    Err(why) => MODULE.fail(why, "docs/keys has a page for each kind of token"),
                });
                match given.pkcs11().pin_of(uri) {
                    PinSource::Prompt => {
                        Self::AHuman("a PIN (ENVELOPEFS_PKCS11_PIN_FILE, ?pin-source=)")
                    }
                    PinSource::Credential(_) | PinSource::File(_) => Self::Nobody,
                }
            }
            _ => Self::Nobody,
        }
    }
}

/// Code that is loaded into the process that holds the keys.
fn module(path: &Path) -> Finding {
    let shown = path.display();
    let found = match std::fs::metadata(path) {
        Err(error) => {
            return MODULE.fail(
                format!("the PKCS#11 module {shown} cannot be used: {error}"),
                "install the token's package, or name the module by ENVELOPEFS_PKCS11_MODULE",
            );
        }
        Ok(found) => found,
    };
    match (found.is_file(), found.mode() & 0o022 != 0) {
        (false, _) => MODULE.fail(
            format!("the PKCS#11 module {shown} is no file"),
            "name the module by ENVELOPEFS_PKCS11_MODULE",
        ),
        (true, true) => MODULE.warn(
            format!("others may change the PKCS#11 module {shown}, and so read the keys"),
            format!("chmod go-w {shown}"),
        ),
        (true, false) => MODULE.ok(format!("the PKCS#11 module {shown} is there")),
    }
}

fn of_key(uri: &KeyUri, asks: &Asked, providers: &Arc<Providers>, limit: Duration) -> Finding {
    let key = KEYS.check("key", Exit::KeyUnavailable);
    if !providers.may_use(uri) {
        return key.ok(format!(
            "{uri}: not asked, for it is not among those of --key"
        ));
    }
    if let Asked::AHuman(what) = asks {
        return key.ok(format!("{uri}: not asked, for it would ask for {what}"));
    }
    let (asked, providers) = (uri.clone(), Arc::clone(providers));
    let answer = within(limit, move || providers.open(&asked)?.probe());
    match answer {
        Some(Ok(health)) => key.ok(format!(
            "{uri}: answers, key version {}",
            health.key_version
        )),
        Some(Err(error)) => refused(uri, &error),
        None => key.fail(
            format!("{uri}: no answer within {} s", limit.as_secs()),
            "see that the key provider is reachable: address, firewall, proxy, DNS",
        ),
    }
}

fn refused(uri: &KeyUri, error: &KeyError) -> Finding {
    let said = format!("{uri}: {}", error.message());
    let (exit, mend) = match error.kind() {
        KeyErrorKind::Config => (
            Exit::KeyDenied,
            "see docs/KEYS.md for what this kind of key needs",
        ),
        KeyErrorKind::Corrupt | KeyErrorKind::Denied => (
            Exit::KeyDenied,
            "see that this machine's credentials are good, and may use the key",
        ),
        KeyErrorKind::NotFound | KeyErrorKind::Revoked => (
            Exit::KeyDenied,
            "see that the key is still there, and enabled; `envelopefs slots` puts another in its place",
        ),
        KeyErrorKind::Unavailable => (
            Exit::KeyUnavailable,
            "see that the key provider is reachable: address, firewall, proxy, DNS",
        ),
    };
    KEYS.check("key", exit).fail(said, mend)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn finding(uri: &str) -> Finding {
        let given = GivenKeys::none();
        let providers = given.providers(&PassphraseFrom::Prompt, Confirm::No);
        let uri: KeyUri = uri.parse().unwrap();
        let asks = Asked::of(&uri, &given, &mut Vec::new());
        of_key(&uri, &asks, &providers, LIMIT)
    }

    #[test]
    fn nobody_is_asked_for_a_passphrase() {
        let found = finding("passphrase:");
        assert!(
            found.level == Level::Ok && found.said.contains("not asked"),
            "{found:?}"
        );
    }

    #[test]
    fn a_key_that_is_gone_fails_with_the_code_of_a_mount() {
        let found = finding("file:///nonexistent/key.json");
        assert_eq!(found.level, Level::Fail);
        assert!(!found.mend.is_empty() && found.said.contains("/nonexistent/key.json"));
    }

    #[test]
    fn a_service_that_does_not_answer_is_told_from_one_that_refuses() {
        let found = finding("kmip://127.0.0.1:1/k");
        assert_eq!(found.level, Level::Fail, "{found:?}");
    }

    #[test]
    fn modules_are_files_that_others_cannot_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.so");
        assert_eq!(module(&path).level, Level::Fail);
        assert_eq!(module(folder.path()).level, Level::Fail);
        fs::write(&path, "").unwrap();
        for (mode, level) in [
            (0o644, Level::Ok),
            (0o664, Level::Warn),
            (0o666, Level::Warn),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(module(&path).level, level, "{mode:o}");
        }
    }

    #[test]
    fn a_token_s_module_is_told_of_though_its_pin_is_not_known() {
        let given = GivenKeys::parse(
            "x",
            &["pkcs11:object=k?module-path=/nonexistent.so"
                .parse()
                .unwrap()],
        );
        let given = given.unwrap();
        let mut findings = Vec::new();
        let asks = Asked::of(&given.uris[0], &given, &mut findings);
        assert!(matches!(asks, Asked::AHuman(_)));
        assert!(findings[0].level == Level::Fail && findings[0].said.contains("/nonexistent.so"));
    }
}
