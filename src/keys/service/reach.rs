//! How this machine reaches a service.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::endpoint::Endpoint;
use super::environment::Environment;
use crate::keys::error::KeyError;
use crate::units::KeyUri;

/// The attributes of a given URI that are of the machine. `address` is Vault's word for `endpoint`.
pub(super) const ATTRIBUTES: &[&str] = &[
    "address",
    "ca",
    "client-cert",
    "client-key",
    "endpoint",
    "timeout",
];

/// The longest `timeout`.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// What was said of the way to one service. What is `None` is looked for elsewhere: in the
/// environment, then in what the service has by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The service's address.
    pub(crate) endpoint: Option<Endpoint>,
    /// PEM certificates of the authorities that may sign for the service, instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate that this machine shows: a PEM file.
    pub(crate) client_cert: Option<PathBuf>,
    /// The private key of that certificate, where it is not in the same file.
    pub(crate) client_key: Option<PathBuf>,
    /// How long one call may take.
    pub(crate) timeout: Option<Duration>,
}

impl Reach {
    /// What was said here, and the rest as `other` has it.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        // A certificate never goes with the key of another one.
        let (client_cert, client_key) = if self.client_cert.is_some() {
            (self.client_cert, self.client_key)
        } else {
            (other.client_cert, self.client_key.or(other.client_key))
        };
        Self {
            endpoint: self.endpoint.or(other.endpoint),
            ca: self.ca.or(other.ca),
            client_cert,
            client_key,
            timeout: self.timeout.or(other.timeout),
        }
    }

    /// # Errors
    /// `Config` for a value that cannot be followed.
    pub(super) fn of_attributes(attributes: &[(&str, String)]) -> Result<Self, KeyError> {
        let mut reach = Self::default();
        for (name, value) in attributes {
            match *name {
                "address" | "endpoint" if reach.endpoint.is_some() => {
                    return Err(KeyError::config("address and endpoint say the same twice"));
                }
                "address" | "endpoint" => reach.endpoint = Some(Endpoint::parse(value)?),
                "ca" => reach.ca = Some(absolute(name, value)?),
                "client-cert" => reach.client_cert = Some(absolute(name, value)?),
                "client-key" => reach.client_key = Some(absolute(name, value)?),
                _timeout => reach.timeout = Some(seconds(name, value)?),
            }
        }
        Ok(reach)
    }
}

/// What the providers of services get from this machine.
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
    /// Where credentials and addresses are looked for.
    pub environment: Environment,
    /// What was said for one key: by the URI that a person gave.
    pub of_key: HashMap<KeyUri, Reach>,
}

impl ServiceOptions {
    /// What was said of the way to the service of this key.
    pub(crate) fn reach(&self, uri: &KeyUri) -> Reach {
        self.of_key.get(uri).cloned().unwrap_or_default()
    }
}

fn absolute(name: &str, value: &str) -> Result<PathBuf, KeyError> {
    let path = Path::new(value);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(KeyError::config(format!(
            "{name}: expected an absolute path"
        )))
    }
}

fn seconds(name: &str, value: &str) -> Result<Duration, KeyError> {
    let timeout = value.parse().ok().map(Duration::from_secs);
    let fits = |timeout: &Duration| !timeout.is_zero() && *timeout <= TIMEOUT_MAX;
    timeout.filter(fits).ok_or_else(|| {
        KeyError::config(format!(
            "{name}: expected seconds, 1 to {}",
            TIMEOUT_MAX.as_secs()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &[(&str, &str)]) -> Result<Reach, KeyError> {
        let owned: Vec<_> = attributes
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        Reach::of_attributes(&owned)
    }

    #[test]
    fn what_is_said_for_a_key_goes_before_the_rest() {
        let key = of(&[("ca", "/key.pem"), ("timeout", "2")]).unwrap();
        let machine = of(&[("ca", "/machine.pem"), ("endpoint", "https://e")]).unwrap();
        let both = key.or(machine);
        assert_eq!(both.ca, Some("/key.pem".into()));
        assert_eq!(both.timeout, Some(Duration::from_secs(2)));
        assert_eq!(both.endpoint, Some(Endpoint::parse("https://e").unwrap()));
        assert_eq!(both.client_cert, None);
    }

    #[test]
    fn a_certificate_does_not_get_the_key_of_another() {
        let key = of(&[("client-cert", "/one.pem")]).unwrap();
        let machine = of(&[("client-cert", "/two.pem"), ("client-key", "/two.key")]).unwrap();
        let both = key.or(machine.clone());
        assert_eq!(
            (both.client_cert, both.client_key),
            (Some("/one.pem".into()), None)
        );
        let both = Reach::default().or(machine);
        assert_eq!(both.client_key, Some("/two.key".into()));
    }

    #[test]
    fn an_address_is_an_endpoint_and_said_once() {
        let address = of(&[("address", "https://e")]).unwrap();
        assert_eq!(address, of(&[("endpoint", "https://e")]).unwrap());
        assert!(of(&[("address", "https://e"), ("endpoint", "https://e")]).is_err());
    }

    #[test]
    fn times_and_paths_have_their_bounds() {
        for (name, value) in [
            ("timeout", "0"),
            ("timeout", "301"),
            ("timeout", "-1"),
            ("timeout", "1s"),
            ("ca", "ca.pem"),
            ("client-cert", "./x"),
            ("client-key", "x"),
            ("endpoint", "http://kms.example"),
        ] {
            assert!(of(&[(name, value)]).is_err(), "{name}={value}");
        }
    }
}
