//! Keys, bodies and a service's words on their way through HTTP.

use data_encoding::Encoding;
use serde::Serialize;
use zeroize::Zeroizing;

use super::client::Response;
use crate::crypto::secret::SecretKey;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::provider::NamedKey;

/// The room for a body in bytes; those of key services are smaller.
const BODY_ROOM: usize = 16 * 1024;
/// How much of what a service says is repeated, in characters.
const SAID_MAX: usize = 400;
/// How much of a service's name for a request is kept, in characters. Those of the services are half as long.
const REQUEST_ID_MAX: usize = 128;

/// A JSON body. It is written into room that it does not outgrow, so that no copies stay behind.
///
/// # Errors
/// `Config` for what is no JSON.
pub(crate) fn body(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut body = Zeroizing::new(Vec::with_capacity(BODY_ROOM));
    serde_json::to_writer(&mut *body, value)
        .map_err(|_error| KeyError::config("no JSON body for the service"))?;
    Ok(body)
}

/// The key as text.
pub(crate) fn key_to_text(key: &SecretKey, encoding: &Encoding) -> Zeroizing<String> {
    Zeroizing::new(encoding.encode(key.expose()))
}

/// The key that this text stands for.
///
/// # Errors
/// `Unavailable` where it is none: a service that gives something else is not that service.
pub(crate) fn key_of_text(text: &str, encoding: &Encoding) -> Result<SecretKey, KeyError> {
    let no_key = || KeyError::unavailable("an answer without a key of 256 bits");
    let len = encoding.decode_len(text.len()).map_err(|_error| no_key())?;
    // As much as the text may stand for: padding is not known yet.
    if len > SecretKey::LEN.saturating_add(2) {
        return Err(no_key());
    }
    let mut bytes = Zeroizing::new(vec![0; len]);
    let len = encoding
        .decode_mut(text.as_bytes(), &mut bytes)
        .map_err(|_error| no_key())?;
    bytes.truncate(len);
    match <&[u8; SecretKey::LEN]>::try_from(bytes.as_slice()) {
        Ok(key) => Ok(SecretKey::from_bytes(key)?),
        Err(_length) => Err(no_key()),
    }
}

/// What a service said, fit for a message: one line of bounded length, printable ASCII only.
pub(crate) fn said(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let printable = |char: char| {
        if char.is_ascii_graphic() || char == ' ' {
            char
        } else {
            '?'
        }
    };
    words
        .join(" ")
        .chars()
        .take(SAID_MAX)
        .map(printable)
        .collect()
}

/// A service's own name for a request, fit for a log: printable and of bounded length. `None` where it gave none.
pub(crate) fn request_id(text: &str) -> Option<String> {
    let id: String = said(text).chars().take(REQUEST_ID_MAX).collect();
    (!id.is_empty()).then_some(id)
}

/// What came of an answer that holds a key, with the service's [name for the request](request_id).
///
/// # Errors
/// The failure, with that name.
pub(crate) fn named(
    id: Option<String>,
    key: Result<SecretKey, KeyError>,
) -> Result<NamedKey, KeyError> {
    match key {
        Ok(key) => Ok((key, id)),
        Err(error) => Err(error.of_request(id)),
    }
}

/// The failure that an answer stands for which is not in the service's words: a refusal of somebody
/// in between must not count as the service's.
pub(crate) fn stranger(response: &Response, doing: &str) -> KeyError {
    let status = response.status();
    KeyError::unavailable(format!(
        "{doing}: an answer (HTTP {status}) that is not the service's: is there a proxy in between, or is the address another program's?"
    ))
}

/// The failure that an answer stands for, with the service's [name for the request](request_id), and the time that it
/// wants to be left alone for.
pub(crate) fn failure(
    response: &Response,
    kind: KeyErrorKind,
    message: &str,
    request_id: Option<String>,
) -> KeyError {
    let mut message = message.to_owned();
    if let Some(id) = &request_id {
        message.push_str(&format!("; request {id}"));
    }
    let error = match response.retry_after() {
        Some(time) => {
            let seconds = time.as_secs();
            message.push_str(&format!("; ask again in {seconds} s"));
            KeyError::new(kind, message).retry_after(time)
        }
        None => KeyError::new(kind, message),
    };
    error.of_request(request_id)
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL_NOPAD};

    use super::*;

    #[test]
    fn a_key_comes_back_from_its_text() {
        let key = SecretKey::random().unwrap();
        for encoding in [BASE64, BASE64URL_NOPAD] {
            let text = key_to_text(&key, &encoding);
            assert!(key_of_text(&text, &encoding).unwrap() == key);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let texts = [0, 1, 31, 33, 34, 35, 64, 5000].map(|len| BASE64.encode(&vec![b'k'; len]));
        for text in texts
            .iter()
            .map(String::as_str)
            .chain(["=", "!", "a", "kkkk kkkk"])
        {
            let error = key_of_text(text, &BASE64).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Unavailable);
            assert!(text.is_empty() || !error.to_string().contains(text) || text.len() == 1);
        }
    }

    #[test]
    fn words_of_a_service_are_one_short_line() {
        assert_eq!(said("1 error:\n\t* no\u{1b}[31m\n\n"), "1 error: * no?[31m");
        assert_eq!(said(&"x".repeat(5000)).len(), SAID_MAX);
        assert_eq!(said("é\0"), "??");
    }

    #[test]
    fn a_name_for_a_request_is_printable_and_short() {
        assert_eq!(request_id("r-1").as_deref(), Some("r-1"));
        assert_eq!(request_id("r\u{1b}[31m\n2").as_deref(), Some("r?[31m 2"));
        assert_eq!(request_id(&"r".repeat(5000)).unwrap().len(), REQUEST_ID_MAX);
        assert_eq!((request_id(""), request_id(" \n")), (None, None));
    }

    #[test]
    fn a_key_and_a_failure_have_the_name_of_their_request() {
        let id = || Some("r-1".to_owned());
        let (_key, named_so) = named(id(), Ok(SecretKey::random().unwrap())).unwrap();
        assert_eq!(named_so, id());
        let error = named(id(), Err(KeyError::corrupt("altered"))).unwrap_err();
        assert_eq!(error.request_id(), Some("r-1"));
    }

    #[test]
    fn a_body_is_json() {
        assert_eq!(*body(&["a"]).unwrap(), b"[\"a\"]");
    }
}
