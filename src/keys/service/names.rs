//! Addresses of the hosts of key services.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::lookups;

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
            let found = Lookup::start(host)?.await?;
            // The client puts the port in.
            let found = found.into_iter().map(|address| SocketAddr::new(address, 0));
            let found: Addrs = Box::new(found);
            Ok(found)
        })
    }
}

type Answer = io::Result<Vec<IpAddr>>;

/// One that a thread of its own waits for: other requests of the client go on meanwhile.
struct Lookup(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

impl Lookup {
    fn start(host: String) -> io::Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let told = Arc::clone(&state);
        thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || {
                let answer = addresses(&host);
                let mut state = told.lock();
                state.answer = Some(answer);
                if let Some(waker) = state.waker.take() {
                    waker.wake();
                }
            })?;
        Ok(Self(state))
    }
}

impl Future for Lookup {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.0.lock();
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
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
