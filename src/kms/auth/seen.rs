//! Requests that were seen, as servers tell each other of them.
//!
//! ```text
//! for each access key    length of its id (1 byte), id, count (4)
//!   for each request     id (8), signed in second (8), arrived in second (8), may come again (1)
//! ```
//!
//! Numbers are big-endian, seconds since 1970.

use thiserror::Error;

/// One request of an access key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// The hash of its nonce or signature.
    pub(super) id: u64,
    /// Of a scheme without nonce.
    pub(super) repeatable: bool,
    pub(super) signed: i64,
    pub(super) arrived: i64,
}

/// Bytes that are none of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a list of requests")]
pub struct Malformed;

/// Adds those of one access key; none where there are none.
pub(super) fn encode(bytes: &mut Vec<u8>, access_key_id: &str, requests: &[Seen]) {
    let (Ok(len), Ok(count)) = (
        u8::try_from(access_key_id.len()),
        u32::try_from(requests.len()),
    ) else {
        return;
    };
    if count == 0 {
        return;
    }
    bytes.push(len);
    bytes.extend_from_slice(access_key_id.as_bytes());
    bytes.extend_from_slice(&count.to_be_bytes());
    for request in requests {
        bytes.extend_from_slice(&request.id.to_be_bytes());
        bytes.extend_from_slice(&request.signed.to_be_bytes());
        bytes.extend_from_slice(&request.arrived.to_be_bytes());
        bytes.push(u8::from(request.repeatable));
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<(&str, Vec<Seen>)>, Malformed> {
    let mut rest = Rest(bytes);
    let mut keys = Vec::new();
    while !rest.0.is_empty() {
        let [len] = rest.array()?;
        let id = rest.take(len.into())?;
        let id = std::str::from_utf8(id).map_err(|_error| Malformed)?;
        let count = u32::from_be_bytes(rest.array()?);
        let requests: Result<_, _> = (0..count).map(|_nth| rest.request()).collect();
        keys.push((id, requests?));
    }
    Ok(keys)
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_error| Malformed)
    }

    fn request(&mut self) -> Result<Seen, Malformed> {
        Ok(Seen {
            id: u64::from_be_bytes(self.array()?),
            signed: i64::from_be_bytes(self.array()?),
            arrived: i64::from_be_bytes(self.array()?),
            repeatable: match self.array()? {
                [0] => false,
                [1] => true,
                [_other] => return Err(Malformed),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn seen()(id: u64, repeatable: bool, signed: i64, arrived: i64) -> Seen {
            Seen { id, repeatable, signed, arrived }
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            keys in prop::collection::vec(("[A-Z0-9]{1,128}", prop::collection::vec(seen(), 1..9)), 0..9),
        ) {
            let mut bytes = Vec::new();
            for (id, requests) in &keys {
                encode(&mut bytes, id, requests);
            }
            let keys: Vec<_> = keys.iter().map(|(id, all)| (id.as_str(), all.clone())).collect();
            prop_assert_eq!(decode(&bytes), Ok(keys));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _any = decode(&bytes);
        }
    }

    #[test]
    fn a_count_that_lies_is_refused_before_anything_is_kept_for_it() {
        let mut bytes = vec![1, b'k'];
        bytes.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(decode(&bytes), Err(Malformed));
    }
}
