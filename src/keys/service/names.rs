//! Addresses of the hosts of key services.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use crate::lookups;
use crate::threads;

/// The addresses of a host, as this machine's name services have them.
///
/// # Errors
/// It has none, or nobody could be asked.
pub(crate) fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![address]);
    }
    match lookups::elsewhere() {
        Some(lookups) => lookups.addresses(host),
        None => Ok((host, 0)
            .to_socket_addrs()?
            .map(|address| address.ip())
            .collect()),
    }
}

/// [`addresses`] for the HTTP client.
#[derive(Debug)]
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            // In a thread of its own: other requests of the client go on meanwhile, and the client's end waits for no name.
            let (answer, answered) = oneshot::channel();
            threads::spawn("names", move || drop(answer.send(addresses(&host))))?;
            let found = answered.await??;
            // The client puts the port in.
            let found = found.into_iter().map(|address| SocketAddr::new(address, 0));
            let found: Addrs = Box::new(found);
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_own_name() {
        for (host, address) in [("192.0.2.1", "192.0.2.1"), ("[::1]", "::1"), ("::1", "::1")] {
            let expected: IpAddr = address.parse().unwrap();
            assert_eq!(addresses(host).unwrap(), [expected], "{host}");
        }
    }

    #[test]
    fn a_name_is_looked_up_and_one_that_nobody_has_is_an_error() {
        assert!(
            addresses("localhost")
                .unwrap()
                .iter()
                .all(IpAddr::is_loopback)
        );
        assert!(addresses("no-such-host.invalid").is_err());
    }
}
