//! TTLV, the encoding of KMIP messages (KMIP 1.4 §9.1): tag, type, length and value, each item a multiple
//! of 8 bytes. Pure; what is read comes from a server that may be hostile, what is written may hold keys.

use zeroize::Zeroizing;

/// The longest message that is read or written, in bytes.
pub(super) const MESSAGE_MAX: usize = 64 * 1024;
/// Tag, type and length.
pub(super) const HEAD_LEN: usize = 8;
/// How deep structures may stand in each other; the messages that are used have six.
const DEPTH_MAX: usize = 16;

const STRUCTURE: u8 = 1;
const INTEGER: u8 = 2;
const LONG_INTEGER: u8 = 3;
const BIG_INTEGER: u8 = 4;
const ENUMERATION: u8 = 5;
const BOOLEAN: u8 = 6;
const TEXT: u8 = 7;
const BYTES: u8 = 8;
const DATE_TIME: u8 = 9;
const INTERVAL: u8 = 10;

/// One item. Its values lie in the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// Three bytes that say what it is.
    pub(super) tag: u32,
    pub(super) value: Value<'a>,
}

/// The value of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    BigInteger(&'a [u8]),
    Boolean(bool),
    Bytes(&'a [u8]),
    /// Seconds since 1970.
    DateTime(i64),
    Enumeration(u32),
    Integer(i32),
    /// Seconds.
    Interval(u32),
    LongInteger(i64),
    Structure(Vec<Item<'a>>),
    Text(&'a str),
}

/// Bytes that are no TTLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TtlvError {
    /// A value is not of its type.
    #[error("a value is not of its type")]
    BadValue,
    /// A length goes past the end, or is not that of the type.
    #[error("a length is wrong")]
    Length,
    /// More than one item, or bytes behind it.
    #[error("bytes follow the message")]
    Rest,
    /// Structures in structures in structures.
    #[error("structures are nested too deep")]
    TooDeep,
    /// More than [`MESSAGE_MAX`] bytes.
    #[error("the message is too long")]
    TooLong,
    /// A type that KMIP 1.4 does not have.
    #[error("a type is unknown")]
    UnknownType,
}

/// The length of the whole item that these bytes are the head of.
///
/// # Errors
/// `BadValue` where it is not the structure `tag`; `TooLong`.
pub(super) fn message_len(head: &[u8; HEAD_LEN], tag: u32) -> Result<usize, TtlvError> {
    let [first, second, third, kind, length @ ..] = *head;
    let found = u32::from_be_bytes([0, first, second, third]);
    if (found, kind) != (tag, STRUCTURE) {
        return Err(TtlvError::BadValue);
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let whole = length.saturating_add(HEAD_LEN);
    if whole > MESSAGE_MAX {
        return Err(TtlvError::TooLong);
    }
    Ok(whole)
}

/// Reads the one item that `bytes` are.
///
/// # Errors
/// [`TtlvError`].
pub(super) fn decode(bytes: &[u8]) -> Result<Item<'_>, TtlvError> {
    if bytes.len() > MESSAGE_MAX {
        return Err(TtlvError::TooLong);
    }
    match item(bytes, 0)? {
        (item, []) => Ok(item),
        (_item, _rest) => Err(TtlvError::Rest),
    }
}

/// The item that `bytes` begin with, and what follows it.
fn item(bytes: &[u8], depth: usize) -> Result<(Item<'_>, &[u8]), TtlvError> {
    let (head, rest) = bytes
        .split_first_chunk::<HEAD_LEN>()
        .ok_or(TtlvError::Length)?;
    let [first, second, third, kind, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_error| TtlvError::Length)?;
    let (contents, rest) = rest.split_at_checked(length).ok_or(TtlvError::Length)?;
    let padding = length.wrapping_neg() % HEAD_LEN;
    let (padding, rest) = rest.split_at_checked(padding).ok_or(TtlvError::Length)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(TtlvError::BadValue);
    }
    let item = Item {
        tag: u32::from_be_bytes([0, first, second, third]),
        value: value(kind, contents, depth)?,
    };
    Ok((item, rest))
}

fn value(kind: u8, bytes: &[u8], depth: usize) -> Result<Value<'_>, TtlvError> {
    Ok(match kind {
        STRUCTURE => Value::Structure(structure(bytes, depth.saturating_add(1))?),
        INTEGER => Value::Integer(i32::from_be_bytes(fixed(bytes)?)),
        LONG_INTEGER => Value::LongInteger(i64::from_be_bytes(fixed(bytes)?)),
        BIG_INTEGER if bytes.len().is_multiple_of(HEAD_LEN) => Value::BigInteger(bytes),
        BIG_INTEGER => return Err(TtlvError::Length),
        ENUMERATION => Value::Enumeration(u32::from_be_bytes(fixed(bytes)?)),
        BOOLEAN => match u64::from_be_bytes(fixed(bytes)?) {
            0 => Value::Boolean(false),
            1 => Value::Boolean(true),
            _ => return Err(TtlvError::BadValue),
        },
        TEXT => Value::Text(std::str::from_utf8(bytes).map_err(|_error| TtlvError::BadValue)?),
        BYTES => Value::Bytes(bytes),
        DATE_TIME => Value::DateTime(i64::from_be_bytes(fixed(bytes)?)),
        INTERVAL => Value::Interval(u32::from_be_bytes(fixed(bytes)?)),
        _ => return Err(TtlvError::UnknownType),
    })
}

fn structure(mut bytes: &[u8], depth: usize) -> Result<Vec<Item<'_>>, TtlvError> {
    if depth > DEPTH_MAX {
        return Err(TtlvError::TooDeep);
    }
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let (next, rest) = item(bytes, depth)?;
        items.push(next);
        bytes = rest;
    }
    Ok(items)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], TtlvError> {
    bytes.try_into().map_err(|_error| TtlvError::Length)
}

impl<'a> Item<'a> {
    /// The items of a structure; none of anything else.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::Structure(items) => items,
            Value::BigInteger(_)
            | Value::Boolean(_)
            | Value::Bytes(_)
            | Value::DateTime(_)
            | Value::Enumeration(_)
            | Value::Integer(_)
            | Value::Interval(_)
            | Value::LongInteger(_)
            | Value::Text(_) => &[],
        }
    }

    /// The items of a structure that have this tag.
    pub(super) fn all(&self, tag: u32) -> impl Iterator<Item = &Self> {
        self.items().iter().filter(move |item| item.tag == tag)
    }

    /// The first of them.
    pub(super) fn find(&self, tag: u32) -> Option<&Self> {
        self.all(tag).next()
    }

    /// The bytes of the first item of this tag, if it is a byte string.
    pub(super) fn bytes(&self, tag: u32) -> Option<&'a [u8]> {
        if let Value::Bytes(bytes) = self.find(tag)?.value {
            Some(bytes)
        } else {
            None
        }
    }

    /// As [`bytes`](Self::bytes), of a text.
    pub(super) fn text(&self, tag: u32) -> Option<&'a str> {
        if let Value::Text(text) = self.find(tag)?.value {
            Some(text)
        } else {
            None
        }
    }

    /// As [`bytes`](Self::bytes), of an enumeration.
    pub(super) fn enumeration(&self, tag: u32) -> Option<u32> {
        if let Value::Enumeration(number) = self.find(tag)?.value {
            Some(number)
        } else {
            None
        }
    }

    /// As [`bytes`](Self::bytes), of an integer.
    pub(super) fn integer(&self, tag: u32) -> Option<i32> {
        if let Value::Integer(number) = self.find(tag)?.value {
            Some(number)
        } else {
            None
        }
    }
}

/// Writes items into a buffer that is wiped, and never grows.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// A structure of this tag, and what `fill` writes into it.
    pub(super) fn message(tag: u32, fill: impl FnOnce(&mut Self)) -> Zeroizing<Vec<u8>> {
        let bytes = Zeroizing::new(Vec::with_capacity(MESSAGE_MAX));
        let mut writer = Self { bytes };
        writer.structure(tag, fill);
        writer.bytes
    }

    /// As [`message`](Self::message), inside another structure.
    pub(super) fn structure(&mut self, tag: u32, fill: impl FnOnce(&mut Self)) {
        self.head(tag, STRUCTURE, 0);
        let start = self.bytes.len();
        fill(self);
        let len = self.bytes.len().saturating_sub(start);
        let length = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let place = start.checked_sub(length.len()).map(|from| from..start);
        if let Some(place) = place.and_then(|place| self.bytes.get_mut(place)) {
            place.copy_from_slice(&length);
        }
    }

    pub(super) fn integer(&mut self, tag: u32, number: i32) {
        self.item(tag, INTEGER, &number.to_be_bytes());
    }

    pub(super) fn enumeration(&mut self, tag: u32, number: u32) {
        self.item(tag, ENUMERATION, &number.to_be_bytes());
    }

    pub(super) fn text(&mut self, tag: u32, text: &str) {
        self.item(tag, TEXT, text.as_bytes());
    }

    pub(super) fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        self.item(tag, BYTES, bytes);
    }

    fn item(&mut self, tag: u32, kind: u8, value: &[u8]) {
        self.head(tag, kind, value.len());
        self.bytes.extend_from_slice(value);
        let padding = value.len().wrapping_neg() % HEAD_LEN;
        self.bytes.extend(std::iter::repeat_n(0, padding));
    }

    fn head(&mut self, tag: u32, kind: u8, len: usize) {
        let [_zero, tag @ ..] = tag.to_be_bytes();
        let length = u32::try_from(len).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&tag);
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
