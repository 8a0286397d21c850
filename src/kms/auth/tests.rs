//! Requests as the real clients send them, and what becomes of them when something is changed.

mod alibaba;
mod aws;

use jiff::Timestamp;

use super::{AuthError, Call, Proven, Request, Scheme, SignedRequest};

/// A request that owns its parts, so that tests can change them.
#[derive(Debug, Clone)]
struct Sent {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sent {
    /// From the request line and the headers, one a line.
    fn of(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let mut words = lines.next().unwrap().split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: lines.map(header).collect(),
            body: Vec::new(),
        }
    }

    fn verify(&self, secret: &[u8], now: Timestamp) -> Result<Proven, AuthError> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            body: &self.body,
        };
        SignedRequest::parse(&request, now)?.verify(secret)
    }

    fn header(&mut self, name: &str) -> &mut String {
        let found = self.headers.iter_mut().find(|(other, _)| other == name);
        &mut found.unwrap().1
    }

    fn without(mut self, name: &str) -> Self {
        let before = self.headers.len();
        self.headers.retain(|(other, _)| other != name);
        assert_ne!(self.headers.len(), before, "{name} was not there");
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn replaced(mut self, from: &str, to: &str) -> Self {
        let mut texts: Vec<_> = self.headers.iter_mut().map(|(_, value)| value).collect();
        texts.push(&mut self.query);
        let mut any = false;
        for text in texts {
            any |= text.contains(from);
            *text = text.replace(from, to);
        }
        assert!(any, "{from} was not there");
        self
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
