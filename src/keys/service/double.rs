//! A small HTTP server for tests: it answers what a closure says, on a port of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use super::endpoint::Endpoint;

/// What a client sent.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _value)| known == name);
        found.map(|(_name, value)| value.as_str())
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// The bytes of an answer.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// An answer with a JSON body.
pub(crate) fn json(status: u16, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    answer(
        status,
        &[("content-type", "application/json")],
        body.as_bytes(),
    )
}

type Handler = dyn Fn(&Received) -> Vec<u8> + Send + Sync;

/// The server. It ends when dropped.
pub(crate) struct Double {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Double {
    /// Starts it. After an empty answer, or one shorter than it says, the connection is cut.
    pub(crate) fn start(handler: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let (counted, stopped) = (Arc::<AtomicUsize>::clone(&calls), Arc::clone(&stop));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, counted) = (Arc::clone(&handler), Arc::clone(&counted));
                thread::spawn(move || serve(&stream.unwrap(), &*handler, &counted));
            }
        });
        Self {
            address,
            calls,
            stop,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("http://{}", self.address)).unwrap()
    }

    /// Requests so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

/// One connection: a request at a time, until the client goes or an answer cuts it.
fn serve(stream: &TcpStream, handler: &Handler, calls: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = receive(&mut reader) {
        calls.fetch_add(1, Ordering::SeqCst);
        let answer = handler(&request);
        let mut writer = stream;
        let is_last = request.header("connection") == Some("close");
        if writer.write_all(&answer).is_err() || !is_whole(&answer) || is_last {
            return;
        }
    }
}

/// Whether an answer is as long as it says.
pub(super) fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, _body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let len = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let says = name.eq_ignore_ascii_case("content-length");
        says.then(|| value.parse().ok()).flatten()
    });
    len.is_some_and(|len: usize| answer.len() >= head.len() + 4 + len)
}

fn receive(reader: &mut impl BufRead) -> Option<Received> {
    let mut line = || {
        let mut line = String::new();
        let len = reader.read_line(&mut line).ok()?;
        (len > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut parts = first.split(' ').map(str::to_owned);
    let (method, path) = (parts.next()?, parts.next()?);
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let len = headers
        .iter()
        .find(|(name, _value)| name == "content-length");
    let mut body = vec![0; len.map_or(0, |(_name, len)| len.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        method,
        path,
        headers,
        body,
    })
}
