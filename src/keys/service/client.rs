//! One HTTP client for every service: TLS with certificate checks, bounded times and sizes, no
//! redirects.

use std::error::Error;
use std::fmt::Write;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::blocking::ClientBuilder;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Identity, Method, Url, redirect};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::endpoint;
use super::names::Names;
use super::reach::Reach;
use super::wire;
use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};

/// How long a call may take where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to come about; less where the whole call has less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer in bytes. Those of key services are a few KiB.
const ANSWER_MAX: usize = 256 * 1024;

/// Connections to one service, kept open between calls. For threads that may wait.
#[derive(Debug)]
pub(crate) struct Client {
    reach: Reach,
    /// By the environment's proxy, where it names one.
    by_proxy: Option<reqwest::blocking::Client>,
    /// Past any proxy. Made once it is needed.
    direct: OnceLock<reqwest::blocking::Client>,
}

/// One call.
pub(crate) struct Request {
    inner: reqwest::blocking::Request,
}

/// What came back.
pub(crate) struct Response {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

impl Client {
    /// A client that goes the way that `reach` says. A proxy is taken from the environment
    /// (`HTTPS_PROXY`, `NO_PROXY`), as by other programs, but never for what is on this machine or its
    /// link: requests to there may be in the clear.
    ///
    /// # Errors
    /// `Config` for a CA or client certificate that cannot be read.
    pub(crate) fn new(reach: &Reach) -> Result<Self, KeyError> {
        let by_proxy = built(builder(reach)?)?;
        Ok(Self {
            reach: reach.clone(),
            by_proxy: Some(by_proxy),
            direct: OnceLock::new(),
        })
    }

    /// A client that asks this very machine or its host (a metadata service), past any proxy.
    ///
    /// # Errors
    /// `Config` where the system has no way to make one.
    pub(crate) fn direct(timeout: Duration) -> Result<Self, KeyError> {
        let reach = Reach {
            timeout: Some(timeout),
            ..Reach::default()
        };
        let direct = OnceLock::from(built(builder(&reach)?.no_proxy())?);
        Ok(Self {
            reach,
            by_proxy: None,
            direct,
        })
    }

    /// The way to `url`.
    fn way(&self, url: &Url) -> Result<&reqwest::blocking::Client, KeyError> {
        match (&self.by_proxy, self.direct.get()) {
            (Some(by_proxy), _) if !endpoint::is_near(url) => Ok(by_proxy),
            (_, Some(direct)) => Ok(direct),
            (_, None) => {
                let direct = built(builder(&self.reach)?.no_proxy())?;
                Ok(self.direct.get_or_init(|| direct))
            }
        }
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// `Unavailable` where no answer came, or one that is too long.
    pub(crate) fn send(&self, request: Request) -> Result<Response, KeyError> {
        let host = authority(request.inner.url());
        let failed = |why: String| KeyError::unavailable(format!("no answer from {host}: {why}"));
        let answer = self
            .way(request.inner.url())?
            .execute(request.inner)
            .map_err(|error| failed(causes(&error.without_url())))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        // Made as large as it may get: one that grew would leave copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_MAX.saturating_add(1)));
        read_within(time_of(&self.reach), answer, &mut body)
            .map_err(|error| failed(causes(&error)))?;
        if body.len() > ANSWER_MAX {
            return Err(failed(format!("it is longer than {ANSWER_MAX} bytes")));
        }
        Ok(Response {
            status,
            headers,
            body,
        })
    }
}

impl Request {
    pub(crate) fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A `POST` of this body; it is wiped once it was sent.
    pub(crate) fn post(url: Url, body: Zeroizing<Vec<u8>>) -> Self {
        Self::new(Method::POST, url).with_body(body)
    }

    pub(crate) fn put(url: Url, body: Zeroizing<Vec<u8>>) -> Self {
        Self::new(Method::PUT, url).with_body(body)
    }

    fn new(method: Method, url: Url) -> Self {
        let inner = reqwest::blocking::Request::new(method, url);
        Self { inner }
    }

    fn with_body(mut self, body: Zeroizing<Vec<u8>>) -> Self {
        *self.inner.body_mut() = Some(Bytes::from_owner(body).into());
        self
    }

    /// Host and port as the request's `host` header has them, for signatures.
    pub(crate) fn host(&self) -> String {
        authority(self.inner.url())
    }

    /// The path, percent-encoded, for signatures.
    pub(crate) fn path(&self) -> &str {
        self.inner.url().path()
    }

    /// Adds headers, as [`header`](Self::header) does.
    ///
    /// # Errors
    /// Those of [`header`](Self::header).
    pub(crate) fn headers(self, headers: &[(&'static str, &str)]) -> Result<Self, KeyError> {
        let mut headers = headers.iter();
        headers.try_fold(self, |request, (name, value)| request.header(name, value))
    }

    /// Adds a header. A value is never shown.
    ///
    /// # Errors
    /// `Config` for a value that no header may have.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Result<Self, KeyError> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_error| KeyError::config(format!("{name}: no value of an HTTP header")))?;
        value.set_sensitive(true);
        self.inner
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
        Ok(self)
    }
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the service calls the request, in this header.
    pub(crate) fn request_id(&self, header: &str) -> Option<String> {
        wire::request_id(self.header(header)?)
    }

    /// `Retry-After` in seconds, if the service said so; at most an hour.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(3600)))
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as JSON of this form.
    ///
    /// # Errors
    /// `Unavailable` where it is not: something else than the service answered.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, KeyError> {
        // serde's message may quote the body, which may hold a key.
        serde_json::from_slice(&self.body).map_err(|_error| {
            KeyError::unavailable(format!(
                "an answer (HTTP {}) that is not of the service's form",
                self.status
            ))
        })
    }
}

/// Reads up to one byte more than an answer may have. The library bounds the time of each read alone, and who sends a byte
/// now and then would hold this thread for ever.
fn read_within(time: Duration, mut answer: impl Read, body: &mut Vec<u8>) -> io::Result<()> {
    let begun = Instant::now();
    let mut part = Zeroizing::new([0; 4096]);
    while body.len() <= ANSWER_MAX {
        let room = ANSWER_MAX.saturating_add(1).saturating_sub(body.len());
        let len = match answer.read(part.get_mut(..room.min(4096)).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if len == 0 {
            return Ok(());
        }
        if begun.elapsed() > time {
            return Err(io::ErrorKind::TimedOut.into());
        }
        body.extend_from_slice(part.get(..len).unwrap_or_default());
    }
    Ok(())
}

/// How long an answer may take to begin, and its body to arrive.
fn time_of(reach: &Reach) -> Duration {
    reach.timeout.unwrap_or(TIMEOUT)
}

fn built(builder: ClientBuilder) -> Result<reqwest::blocking::Client, KeyError> {
    let client = builder.build();
    client.map_err(|error| KeyError::config(format!("no HTTP client: {}", causes(&error))))
}

fn builder(reach: &Reach) -> Result<ClientBuilder, KeyError> {
    let timeout = time_of(reach);
    let mut builder = reqwest::blocking::Client::builder()
        .user_agent(concat!("envelopefs/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .timeout(timeout)
        .connect_timeout(timeout.min(CONNECT_TIMEOUT))
        .tcp_nodelay(true)
        .dns_resolver(Arc::new(Names));
    if let Some(path) = &reach.ca {
        builder = builder.tls_certs_only(authorities(path)?);
    }
    if let Some(path) = &reach.client_cert {
        builder = builder.identity(identity(path, reach.client_key.as_deref())?);
    }
    Ok(builder)
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, KeyError> {
    let pem = local_file::read("CA file", path, Guard::Any)?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(KeyError::config(format!(
            "CA file {}: it has no PEM certificate",
            path.display()
        ))),
    }
}

/// Certificate and private key, from one file or from two.
fn identity(path: &Path, key: Option<&Path>) -> Result<Identity, KeyError> {
    let certificate = local_file::read("client certificate", path, Guard::Any)?;
    let key = key
        .map(|path| local_file::read("client key", path, Guard::Any))
        .transpose()?;
    let (key, gap) = key
        .as_ref()
        .map_or((&[][..], &[][..]), |key| (key.as_slice(), b"\n"));
    let mut pem = Zeroizing::new(Vec::with_capacity(
        certificate
            .len()
            .saturating_add(key.len())
            .saturating_add(1),
    ));
    for part in [certificate.as_slice(), gap, key] {
        pem.extend_from_slice(part);
    }
    Identity::from_pem(&pem).map_err(|_error| {
        KeyError::config(format!(
            "client certificate {}: expected a PEM certificate and its private key",
            path.display()
        ))
    })
}

/// Host and port, for messages: a path may name a key, a query holds parameters.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// An error with all that caused it, in one line: the outermost alone rarely says what is wrong.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            // Writing to a String does not fail.
            let _ok = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::double::{self, Double};
    use super::super::endpoint::Endpoint;
    use super::*;
    use crate::keys::error::KeyErrorKind;
    use std::fs;
    use std::net::TcpListener;

    fn client() -> Client {
        Client::new(&Reach::default()).unwrap()
    }

    fn get(double: &Double) -> Result<Response, KeyError> {
        client().send(Request::get(double.endpoint().join(["x"])))
    }

    #[test]
    fn a_request_arrives_and_its_answer_comes_back() {
        let double = Double::start(|request| {
            assert_eq!(request.method, "POST");
            assert_eq!(request.path, "/v1/x");
            assert_eq!(request.header("x-token"), Some("t"));
            assert_eq!(request.body, b"{}");
            double::answer(201, &[("x-request-id", "7")], b"{\"a\":1}")
        });
        let request = Request::post(
            double.endpoint().join(["v1", "x"]),
            Zeroizing::new(b"{}".to_vec()),
        );
        let request = request.header("x-token", "t").unwrap();
        let response = client().send(request).unwrap();
        assert_eq!((response.status(), response.is_success()), (201, true));
        assert_eq!(response.header("x-request-id"), Some("7"));
        let body: serde_json::Value = response.json().unwrap();
        assert_eq!(body["a"], 1);
    }

    /// The library reads a proxy from the environment of the process, so this is run in one of its own.
    #[test]
    fn what_is_near_is_asked_past_a_proxy() {
        const ADDRESS: &str = "ENVELOPEFS_TEST_PROXY";
        if std::env::var_os(ADDRESS).is_some() {
            return asked_from_behind_a_proxy();
        }
        let proxy = Double::start(|_request| double::answer(418, &[], b""));
        let address = proxy.endpoint().to_string();
        let own_name = "keys::service::client::tests::what_is_near_is_asked_past_a_proxy";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", own_name, "--nocapture"]);
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "ALL_PROXY",
            ADDRESS,
        ] {
            child.env(name, &address);
        }
        for name in [
            "NO_PROXY",
            "no_proxy",
            "https_proxy",
            "all_proxy",
            "REQUEST_METHOD",
        ] {
            child.env_remove(name);
        }
        let output = child.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert_eq!(proxy.calls(), 1, "what is not near, and nothing else");
    }

    fn asked_from_behind_a_proxy() {
        let double = Double::start(|_request| double::answer(200, &[], b""));
        let client = Client::new(&Reach::default()).unwrap();
        let status = |url: &str| {
            let answer = client.send(Request::get(Url::parse(url).unwrap()));
            answer.map(|answer| answer.status())
        };
        let address = double.endpoint().to_string();
        let port = Url::parse(&address).unwrap().port().unwrap();
        assert_eq!(status(&address).unwrap(), 200);
        assert_eq!(status(&format!("http://localhost:{port}")).unwrap(), 200);
        assert_eq!(status("http://kms.example").unwrap(), 418);
        // Nobody is there, but for a machine that has such an address: the proxy did not answer.
        assert_ne!(status("http://[fe80::1]:1").unwrap_or(0), 418);
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let elsewhere = Double::start(|_request| panic!("it was followed"));
        let to = elsewhere.endpoint().to_string();
        let double = Double::start(move |_request| double::answer(307, &[("location", &to)], b""));
        let response = get(&double).unwrap();
        assert_eq!((response.status(), response.is_success()), (307, false));
    }

    #[test]
    fn an_endless_answer_is_cut_off() {
        let double =
            Double::start(|_request| double::answer(200, &[], &vec![b'x'; ANSWER_MAX + 1]));
        let error = get(&double).err().unwrap();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(error.to_string().contains("longer than"), "{error}");
    }

    #[test]
    fn a_server_that_says_nothing_costs_one_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let reach = Reach {
            timeout: Some(Duration::from_millis(300)),
            ..Reach::default()
        };
        let begun = Instant::now();
        let url = Endpoint::parse(&endpoint).unwrap().join([]);
        let error = Client::new(&reach).unwrap().send(Request::get(url));
        let error = error.err().unwrap();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(begun.elapsed() < Duration::from_secs(5), "{error}");
    }

    #[test]
    fn an_answer_that_trickles_ends_with_its_time() {
        struct Trickle;
        impl Read for Trickle {
            fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
                std::thread::sleep(Duration::from_millis(20));
                part[0] = b'x';
                Ok(1)
            }
        }
        let mut body = Vec::new();
        let error = read_within(Duration::from_millis(100), Trickle, &mut body).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!body.is_empty() && body.len() < 100);
    }

    #[test]
    fn a_closed_port_and_a_cut_connection_are_no_answer() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let url = Endpoint::parse(&format!("http://{address}")).unwrap();
        let error = client().send(Request::get(url.join([]))).err().unwrap();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(error.to_string().contains(&address.to_string()), "{error}");

        let cut =
            Double::start(|_request| b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec());
        let error = get(&cut).err().unwrap();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
    }

    #[test]
    fn what_is_no_json_of_the_form_is_not_repeated() {
        let double = Double::start(|_request| double::answer(200, &[], b"{\"key\":\"hunter2\"}"));
        let error = get(&double).unwrap().json::<Vec<u8>>().unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_wait_is_read_and_bounded() {
        for (header, expected) in [("7", Some(7)), ("999999", Some(3600)), ("soon", None)] {
            let double =
                Double::start(move |_request| double::answer(429, &[("retry-after", header)], b""));
            let expected = expected.map(Duration::from_secs);
            assert_eq!(get(&double).unwrap().retry_after(), expected, "{header}");
        }
    }

    #[test]
    fn certificates_that_are_none_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("junk.pem");
        fs::write(&path, "junk").unwrap();
        let ca = |path: &Path| Reach {
            ca: Some(path.to_owned()),
            ..Reach::default()
        };
        let cert = |path: &Path| Reach {
            client_cert: Some(path.to_owned()),
            ..Reach::default()
        };
        let missing = folder.path().join("missing.pem");
        for reach in [ca(&path), cert(&path), ca(&missing), cert(&missing)] {
            let error = Client::new(&reach).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config);
            assert!(error.to_string().contains(".pem"), "{error}");
        }
    }

    #[test]
    fn a_header_with_a_line_break_is_refused() {
        let url = Endpoint::parse("https://kms.example").unwrap().join([]);
        let error = Request::get(url).header("x-token", "a\r\nb: hunter2");
        let error = error.err().unwrap();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
