//! The address that a service is reached at.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use crate::keys::error::KeyError;

/// The base of a service's URLs: `https://host[:port][/path]`, and `http://` on this machine only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(Url);

impl Endpoint {
    /// Reads an address that a person of this machine gave.
    ///
    /// # Errors
    /// `Config` for what is no such URL. A name, a password, a query or a fragment in it is
    /// refused; and `http://` where the host is another machine, since data keys would go there in
    /// the clear.
    pub(crate) fn parse(text: &str) -> Result<Self, KeyError> {
        Self::parse_or_plain(text, &[])
    }

    /// As [`parse`](Self::parse), for the metadata service of a cloud's hosts: `http://` is good
    /// also to these addresses, which are link-local: the host itself answers there.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    pub(crate) fn parse_or_plain(text: &str, hosts: &[&str]) -> Result<Self, KeyError> {
        let url = Url::parse(text).map_err(|error| {
            KeyError::config("endpoint: expected https://HOST[:PORT]").caused_by(error)
        })?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.has_host();
        if !plain {
            return Err(KeyError::config(
                "endpoint: expected https://HOST[:PORT] without user, query and fragment",
            ));
        }
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_this_machine(&url) || is_one_of(&url, hosts) => Ok(Self(url)),
            _ => Err(KeyError::config(format!(
                "endpoint {url}: expected https:// (http:// is for addresses of this machine only)"
            ))),
        }
    }

    /// It itself as a URL.
    pub(crate) fn url(&self) -> Url {
        self.0.clone()
    }

    /// The URL of `path` below it. Each part is one segment, percent-encoded as it must be.
    pub(crate) fn join<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

fn is_one_of(url: &Url, hosts: &[&str]) -> bool {
    url.host_str().is_some_and(|host| hosts.contains(&host))
}

/// Whether it is this machine, or another one on its own link, as metadata services are. No proxy leads
/// there.
pub(super) fn is_near(url: &Url) -> bool {
    let is_on_link = |address| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    is_this_machine(url) || address_of(url).is_some_and(is_on_link)
}

fn is_this_machine(url: &Url) -> bool {
    url.host_str() == Some("localhost")
        || address_of(url).is_some_and(|address| address.is_loopback())
}

/// The address, where the host is said by one. An IPv4 address in an IPv6 one is that.
fn address_of(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address
        .parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_made_below_it() {
        let url = |endpoint: &str, path: &[&str]| {
            let endpoint = Endpoint::parse(endpoint).unwrap();
            endpoint.join(path.iter().copied()).to_string()
        };
        assert_eq!(url("https://kms.example", &[]), "https://kms.example/");
        let below = "https://kms.example:8200/base/v1/a%2Fb";
        assert_eq!(url("https://kms.example:8200/base", &["v1", "a/b"]), below);
        assert_eq!(url("https://kms.example:8200/base/", &["v1", "a/b"]), below);
        let sent_up = url("https://kms.example/v1", &["..", "sys", "?x#y"]);
        assert!(sent_up.starts_with("https://kms.example/v1/"), "{sent_up}");
    }

    #[test]
    fn http_is_for_this_machine() {
        for local in [
            "http://127.0.0.1:5000",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert_eq!(Endpoint::parse(local).unwrap().to_string(), local);
        }
        for other in [
            "http://10.0.0.1",
            "http://kms.example",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://169.254.169.254",
        ] {
            let error = Endpoint::parse(other).unwrap_err();
            assert!(error.to_string().contains("https"), "{error}");
        }
    }

    #[test]
    fn this_machine_and_its_link_are_near() {
        let near = |url: &str| is_near(&Url::parse(url).unwrap());
        for url in [
            "http://127.0.0.1:5000/x",
            "https://127.1.2.3",
            "http://[::1]:1",
            "http://[::ffff:127.0.0.1]",
            "http://localhost:8080",
            "http://LOCALHOST",
            "http://169.254.169.254",
            "http://[::ffff:169.254.169.254]",
            "https://[fe80::1]",
        ] {
            assert!(near(url), "{url}");
        }
        for url in [
            "http://10.0.0.1",
            "https://localhost.example",
            "https://127.0.0.1.example",
            "http://169.253.0.1",
            "http://100.100.100.200",
            "https://[2001:db8::1]",
            "https://[fec0::1]",
        ] {
            assert!(!near(url), "{url}");
        }
    }

    #[test]
    fn http_to_a_metadata_service_is_for_its_addresses_alone() {
        let hosts = ["169.254.169.254", "[fd00:ec2::254]"];
        for good in [
            "http://169.254.169.254",
            "http://[fd00:ec2::254]",
            "http://127.0.0.1:1338",
            "https://metadata.example",
        ] {
            assert!(Endpoint::parse_or_plain(good, &hosts).is_ok(), "{good}");
        }
        for bad in [
            "http://169.254.169.253",
            "http://169.254.169.254.example",
            "http://user@169.254.169.254",
            "http://metadata.example",
        ] {
            assert!(Endpoint::parse_or_plain(bad, &hosts).is_err(), "{bad}");
        }
    }

    #[test]
    fn anything_but_an_address_is_refused() {
        for text in [
            "",
            "kms.example",
            "kms.example:443",
            "ftp://kms.example",
            "file:///etc/passwd",
            "https://",
            "https://user@kms.example",
            "https://user:pass@kms.example",
            "https://kms.example?x=1",
            "https://kms.example#x",
            "unix:/run/socket",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_it_does_not_show() {
        let error = Endpoint::parse("https://ada:hunter2@kms.example").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
