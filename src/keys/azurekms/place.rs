//! Which key of which vault. A vault's name says its host, so a stored URI must not name a host that is
//! not Azure's: this machine's credentials would go there.

use std::fmt;

use crate::keys::error::KeyError;
use crate::keys::service::{ServiceUri, UriForm};

pub(in crate::keys) const FORM: UriForm = UriForm {
    scheme: super::SCHEME,
    example: "azurekms://VAULT/KEY or azurekms://NAME.managedhsm.azure.net/KEY",
    stored: &[],
};

/// The hosts of a vault that is named without one.
const DOMAIN: &str = "vault.azure.net";

/// The domains whose hosts are the service's, in each of its clouds.
const DOMAINS: [&str; 6] = [
    DOMAIN,
    "managedhsm.azure.net",
    "vault.azure.cn",
    "managedhsm.azure.cn",
    "vault.usgovcloudapi.net",
    "managedhsm.usgovcloudapi.net",
];

/// A key of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPlace {
    name: String,
    domain: &'static str,
    key: String,
}

impl KeyPlace {
    /// # Errors
    /// `Config` for what is no vault or no key.
    pub(super) fn of(uri: &ServiceUri) -> Result<Self, KeyError> {
        let parse = || {
            let (vault, key) = uri.target().split_once('/')?;
            let (name, domain) = vault.split_once('.').unwrap_or((vault, DOMAIN));
            let domain = DOMAINS.into_iter().find(|known| *known == domain)?;
            (is_name(name, 24) && is_name(key, 127)).then(|| Self {
                name: name.to_owned(),
                domain,
                key: key.to_owned(),
            })
        };
        parse().ok_or_else(|| {
            KeyError::config(format!(
                "expected {}; hosts are those of {}",
                FORM.example,
                DOMAINS.join(", ")
            ))
        })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The address of the vault.
    pub(super) fn address(&self) -> String {
        format!("https://{}.{}", self.name, self.domain)
    }

    /// What an access token is asked for: the vaults of this cloud.
    pub(super) fn resource(&self) -> String {
        format!("https://{}", self.domain)
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} of {}.{}", self.key, self.name, self.domain)
    }
}

fn is_name(text: &str, most: usize) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=most).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(fits)
}

/// Whether a key may have such a version; it stands in the path of requests.
pub(super) fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(uri: &str) -> Result<KeyPlace, KeyError> {
        KeyPlace::of(&FORM.stored(&uri.parse().unwrap())?)
    }

    #[test]
    fn a_vault_is_named_with_or_without_its_domain() {
        for uri in [
            "azurekms://ada-kv/files",
            "azurekms://ada-kv.vault.azure.net/files",
        ] {
            let place = place(uri).unwrap();
            assert_eq!(place.address(), "https://ada-kv.vault.azure.net");
            assert_eq!(place.resource(), "https://vault.azure.net");
            assert_eq!(place.key(), "files");
        }
        let hsm = place("azurekms://ada.managedhsm.azure.net/files").unwrap();
        assert_eq!(hsm.resource(), "https://managedhsm.azure.net");
        assert_eq!(hsm.to_string(), "key files of ada.managedhsm.azure.net");
    }

    #[test]
    fn no_uri_leads_to_another_host() {
        for uri in [
            "azurekms://files",
            "azurekms://ada-kv/",
            "azurekms:///files",
            "azurekms://ada-kv/files/1",
            "azurekms://ada-kv/..",
            "azurekms://evil.example/files",
            "azurekms://ada.vault.azure.net.evil.example/files",
            "azurekms://evil.example.vault.azure.net/files",
            "azurekms://vault.azure.net/files",
            "azurekms://ada.evilvault.azure.net/files",
            "azurekms://user@ada.vault.azure.net/files",
            "azurekms://ada.vault.azure.net:8443/files",
            "azurekms://-ada/files",
            "azurekms://ada_kv/files",
            "azurekms://ada-kv/fi.les",
            "azurekms://ada-kv/files?endpoint=https://evil.example",
        ] {
            assert!(place(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn versions_lead_nowhere() {
        assert!(is_version("78deebed173b48e48f55abf87ed4cf71"));
        for version in ["", "..", "a/b", "a?b", "a b", "é", &"a".repeat(65)] {
            assert!(!is_version(version), "{version}");
        }
    }
}
