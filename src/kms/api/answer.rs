//! What goes back.

use serde::Serialize;
use zeroize::Zeroizing;

/// An HTTP answer of a dialect.
#[derive(Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// The header in which the dialect's clients look for the request's id.
    pub request_id_header: &'static str,
    /// A UUID, which the audit trail has too.
    pub request_id: String,
    /// The operation's name; `unknown` for any that the dialect does not have. A label of metrics.
    pub operation: &'static str,
    /// The dialect's name for what went wrong; `None` where nothing did. A label of metrics.
    pub error: Option<&'static str>,
    /// It may hold a secret.
    pub body: Body,
}

/// A body that is wiped once it was sent.
pub struct Body(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// No answer with a secret in it is longer: 6 KiB of plaintext, each of whose bytes JSON may write as
/// six characters.
const ROOM: usize = 48 * 1024;
/// Most are much shorter.
const ROOM_SMALL: usize = 2 * 1024;

impl Body {
    /// `value` as JSON. It is written twice where it is long, so that no buffer grows with a secret in it.
    pub(super) fn json(value: &impl Serialize) -> Self {
        let mut short = Bounded(Zeroizing::new(Vec::with_capacity(ROOM_SMALL)));
        if serde_json::to_writer(&mut short, value).is_ok() {
            return Self(short.0);
        }
        Self::json_of(value, ROOM)
    }

    /// `value` as JSON of at most `room` bytes; of more the buffer grows.
    pub(super) fn json_of(value: &impl Serialize, room: usize) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        // Writing what serialises to memory does not fail.
        let _ok = serde_json::to_writer(&mut *bytes, value);
        Self(bytes)
    }

    /// What is in the program.
    pub(super) fn fixed(text: &'static [u8]) -> Self {
        Self(Zeroizing::new(text.to_vec()))
    }

    /// Without anything.
    #[must_use]
    pub fn empty() -> Self {
        Self(Zeroizing::new(Vec::new()))
    }
}

/// A buffer that never moves: it is full where it would have to.
struct Bounded(Zeroizing<Vec<u8>>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.capacity() - self.0.len() < bytes.len() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_values_are_whole() {
        for len in [0, 10, ROOM_SMALL - 2, ROOM_SMALL - 1, ROOM, 200_000] {
            let text = "x".repeat(len);
            let body = Body::json(&text);
            assert_eq!(*body.0, format!("\"{text}\"").into_bytes());
        }
    }

    #[test]
    fn a_body_is_not_shown() {
        assert_eq!(format!("{:?}", Body::json(&"hidden")), "Body(8 bytes)");
    }
}
