//! What every provider of a service must do when the service does not answer, or something else answers
//! in its place: one suite, run against each of them.
//!
//! A proxy stands before the service. It forwards until there is trouble, and again when that is over.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::double::{Double, Received, answer, is_whole};
use super::endpoint::Endpoint;
use super::environment::Environment;
use super::reach::{Reach, ServiceOptions};
use crate::keys::conformance::{CONTEXT, assert_hides};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::guarded::Guarded;
use crate::keys::metered::Metered;
use crate::keys::provider::KeyProvider;
use crate::units::KeyUri;

/// How long a call may take where nothing is answered.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What may go wrong on the way to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The connection ends in the middle of an answer.
    Cut,
    /// Nothing is answered.
    Silent,
    /// Something else answers, as captive portals and proxies do, with this status.
    Stranger(u16),
    /// The service's own trouble.
    Status(u16),
}

/// What a machine says on which a key's service is reached so.
pub(crate) fn options(uri: &KeyUri, reach: &Reach, variables: &[(&str, &str)]) -> ServiceOptions {
    ServiceOptions {
        environment: Environment::of(variables),
        of_key: [(uri.clone(), reach.clone())].into(),
    }
}

/// The way to an address.
pub(crate) fn at(endpoint: &Endpoint) -> Reach {
    Reach {
        endpoint: Some(endpoint.clone()),
        ..Reach::default()
    }
}

/// A service, and how a provider of it is opened that goes this way.
pub(crate) struct Subject<'a> {
    pub(crate) service: Endpoint,
    /// Whether the service gives each request a name, which the audit is to have.
    pub(crate) names_requests: bool,
    pub(crate) open: &'a dyn Fn(&Reach) -> Box<dyn KeyProvider>,
}

/// Panics where a failure is of another kind, or does not say this.
#[track_caller]
pub(crate) fn assert_says(error: &KeyError, kind: KeyErrorKind, says: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

/// Has trouble come up while a provider is in use, and go again.
pub(crate) fn check(subject: &Subject<'_>, trouble: Trouble, says: &str) {
    let proxy = Proxy::before(&subject.service);
    let reach = Reach {
        timeout: (trouble == Trouble::Silent).then_some(TIMEOUT),
        ..at(&proxy.double.endpoint())
    };
    let provider = Metered::new((subject.open)(&reach));
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    *proxy.trouble.lock() = Some(trouble);
    let begun = Instant::now();
    let errors: [(&str, KeyError); 4] = [
        ("wrap", provider.wrap(&dek, &CONTEXT).err().unwrap()),
        ("unwrap", provider.unwrap(&wrapped, &CONTEXT).err().unwrap()),
        ("rewrap", provider.rewrap(&wrapped, &CONTEXT).err().unwrap()),
        ("probe", provider.probe().err().unwrap()),
    ];
    assert!(
        begun.elapsed() < TIMEOUT * 20,
        "bounded: {:?}",
        begun.elapsed()
    );
    for (what, error) in errors {
        assert_says(&error, KeyErrorKind::Unavailable, says);
        assert_eq!(error.uri(), Some(provider.uri()), "{what}: {error}");
        assert!(error.to_string().len() < 1000, "{what}: {error}");
        assert_hides(&format!("{error} {error:?}"), dek.expose());
    }
    *proxy.trouble.lock() = None;
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
}

/// As many requests as so many refused calls may make since then: a login and one call more each
/// second.
pub(crate) fn calls_without_storm(calls: usize, begun: Instant) -> usize {
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    calls + 2 * (seconds + 2)
}

/// An unwrapped key has the service's name for the request with it, where there is one, whatever stands around the
/// provider.
pub(crate) fn check_names(subject: &Subject<'_>) {
    let provider = (subject.open)(&at(&subject.service));
    let provider = Guarded::new(Metered::new(provider), None);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    let (unwrapped, name) = provider.unwrap_named(&wrapped, &CONTEXT).unwrap();
    assert!(unwrapped == dek);
    assert_eq!(name.is_some(), subject.names_requests, "{name:?}");
    let name = name.unwrap_or_default();
    assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
}

/// Nobody listens where the service should be.
pub(crate) fn check_down(subject: &Subject<'_>) {
    let (_dek, wrapped) = (subject.open)(&at(&subject.service))
        .generate(&CONTEXT)
        .unwrap();
    let gone = Double::start(|_request| Vec::new());
    let nowhere = gone.endpoint();
    drop(gone);
    let error = (subject.open)(&at(&nowhere))
        .unwrap(&wrapped, &CONTEXT)
        .err()
        .unwrap();
    let address = nowhere.to_string();
    let address = address.trim_start_matches("http://");
    assert_says(&error, KeyErrorKind::Unavailable, address);
}

/// The suite, as tests of these names for the subject that `$with` hands to a closure.
macro_rules! service_failures {
    ($with:path) => {
        mod service_failures {
            use $crate::keys::service::failures::{Trouble, check, check_down, check_names};

            #[test]
            fn an_unwrap_has_the_service_s_name_for_the_request() {
                $with(check_names);
            }

            #[test]
            fn a_service_that_is_down_is_unavailable() {
                $with(check_down);
            }

            #[test]
            fn a_silent_service_is_unavailable_after_its_time() {
                $with(|subject| check(subject, Trouble::Silent, "no answer from 127.0.0.1"));
            }

            #[test]
            fn a_cut_connection_is_unavailable() {
                $with(|subject| check(subject, Trouble::Cut, "no answer from 127.0.0.1"));
            }

            #[test]
            fn trouble_of_the_service_is_unavailable() {
                for status in [500, 502, 503, 504] {
                    let says = format!("HTTP {status}");
                    $with(|subject| check(subject, Trouble::Status(status), &says));
                }
            }

            #[test]
            fn a_throttling_proxy_is_unavailable() {
                $with(|subject| check(subject, Trouble::Stranger(429), "HTTP 429"));
            }

            #[test]
            fn a_stranger_cannot_refuse_in_the_service_s_name() {
                for status in [200, 302, 400, 401, 403, 404, 407, 410] {
                    let says = format!("HTTP {status}");
                    $with(|subject| check(subject, Trouble::Stranger(status), &says));
                }
            }
        }
    };
}
pub(crate) use service_failures;

struct Proxy {
    double: Double,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

impl Proxy {
    fn before(service: &Endpoint) -> Self {
        let service = service.to_string();
        let address = service.trim_start_matches("http://").to_owned();
        let trouble = Arc::new(Mutex::new(None::<Trouble>));
        let current = Arc::clone(&trouble);
        let double = Double::start(move |request| match *current.lock() {
            None => forward(request, &address),
            Some(trouble) => trouble.answer(),
        });
        Self { double, trouble }
    }
}

impl Trouble {
    fn answer(self) -> Vec<u8> {
        match self {
            Self::Cut => b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"".to_vec(),
            Self::Silent => {
                thread::sleep(TIMEOUT + Duration::from_millis(500));
                Vec::new()
            }
            Self::Stranger(status) => answer(
                status,
                &[
                    ("content-type", "text/html"),
                    ("location", "https://portal.example/"),
                ],
                b"<html><body>please log in to the network</body></html>",
            ),
            Self::Status(status) => answer(status, &[], b""),
        }
    }
}

/// Sends the request on, and has the answer come on a connection of its own.
fn forward(request: &Received, address: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in request.headers() {
        if name != "connection" {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&request.body).unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while !is_whole(&answer) {
        match stream.read(&mut chunk).unwrap() {
            0 => break,
            len => answer.extend_from_slice(&chunk[..len]),
        }
    }
    answer
}
