//! What goes over the line between who serves a mount and its scout.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::lookups::Account;

/// A question's bytes, at most: a path (`PATH_MAX`), or a name.
pub(super) const QUESTION_MAX: usize = 4097;
/// An answer's bytes, at most: a path, or a few addresses.
pub(super) const ANSWER_MAX: u64 = 65_536;
/// As many addresses of a host are told.
const ADDRESSES_MAX: usize = 64;

/// What is asked: a letter, and the rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The program of this thread.
    Executable(u32),
    /// The number of this user or group.
    Account(Account, String),
    /// The addresses of this host.
    Host(String),
    /// The file of a key.
    KeyFile(PathBuf),
}

impl Question {
    /// None where it is too long to be one.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let (kind, rest) = match self {
            Self::Executable(pid) => (b'e', pid.to_le_bytes().to_vec()),
            Self::Account(Account::User, name) => (b'u', name.as_bytes().to_vec()),
            Self::Account(Account::Group, name) => (b'g', name.as_bytes().to_vec()),
            Self::Host(name) => (b'h', name.as_bytes().to_vec()),
            Self::KeyFile(path) => (b'k', path.as_os_str().as_bytes().to_vec()),
        };
        let bytes = [&[kind][..], &rest].concat();
        (bytes.len() <= QUESTION_MAX).then_some(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let name = || String::from_utf8(rest.to_vec()).ok();
        Some(match kind {
            b'e' => Self::Executable(u32::from_le_bytes(rest.try_into().ok()?)),
            b'u' => Self::Account(Account::User, name()?),
            b'g' => Self::Account(Account::Group, name()?),
            b'h' => Self::Host(name()?),
            b'k' => Self::KeyFile(OsStr::from_bytes(rest).into()),
            _ => return None,
        })
    }
}

/// A letter that says what follows: what was asked for, an errno, or a sentence.
pub(super) fn encode_answer(answer: &io::Result<Vec<u8>>) -> Vec<u8> {
    let (kind, rest) = match answer {
        Ok(found) => (b'+', found.clone()),
        Err(error) => match error.raw_os_error() {
            Some(errno) => (b'e', errno.to_le_bytes().to_vec()),
            None => (b't', error.to_string().into_bytes()),
        },
    };
    [&[kind][..], &rest].concat()
}

pub(super) fn decode_answer(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Err(io::Error::other("the mount's scout has no answer"));
    };
    match kind {
        b'+' => Ok(rest.to_vec()),
        b'e' => Err(rest.try_into().map_or_else(
            |_error| garbled(),
            |errno| io::Error::from_raw_os_error(i32::from_le_bytes(errno)),
        )),
        b't' => Err(io::Error::other(String::from_utf8_lossy(rest).into_owned())),
        _ => Err(garbled()),
    }
}

pub(super) fn garbled() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the mount's scout answers what was not asked",
    )
}

pub(super) fn encode_executable(path: &Path, (device, inode): (u64, u64)) -> Vec<u8> {
    let path = path.as_os_str().as_bytes();
    [&device.to_le_bytes()[..], &inode.to_le_bytes(), path].concat()
}

pub(super) fn decode_executable(bytes: &[u8]) -> Option<(PathBuf, (u64, u64))> {
    let (device, rest) = bytes.split_first_chunk()?;
    let (inode, path) = rest.split_first_chunk()?;
    let file = (u64::from_le_bytes(*device), u64::from_le_bytes(*inode));
    Some((PathBuf::from(OsStr::from_bytes(path)), file))
}

pub(super) fn encode_number(number: Option<u32>) -> Vec<u8> {
    number.map_or_else(Vec::new, |number| number.to_le_bytes().to_vec())
}

pub(super) fn decode_number(bytes: &[u8]) -> Option<Option<u32>> {
    match bytes {
        [] => Some(None),
        _ => Some(Some(u32::from_le_bytes(bytes.try_into().ok()?))),
    }
}

pub(super) fn encode_addresses(addresses: &[IpAddr]) -> Vec<u8> {
    let one = |address: &IpAddr| match address {
        IpAddr::V4(address) => [&[4][..], &address.octets()].concat(),
        IpAddr::V6(address) => [&[16][..], &address.octets()].concat(),
    };
    addresses.iter().take(ADDRESSES_MAX).flat_map(one).collect()
}

pub(super) fn decode_addresses(mut bytes: &[u8]) -> Option<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    while let Some((len, rest)) = bytes.split_first() {
        let (octets, after) = rest.split_at_checked(usize::from(*len))?;
        let v4 = || <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).into());
        let v6 = || <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).into());
        addresses.push(v4().or_else(|_error| v6()).ok()?);
        bytes = after;
    }
    Some(addresses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn questions_read_back() {
        for question in [
            Question::Executable(u32::MAX),
            Question::Account(Account::User, "ü".into()),
            Question::Account(Account::Group, String::new()),
            Question::Host("kms.example".into()),
            Question::KeyFile("/k/ü".into()),
        ] {
            let bytes = question.encode().unwrap();
            assert_eq!(Question::decode(&bytes), Some(question));
        }
        assert_eq!(Question::Host("h".repeat(QUESTION_MAX)).encode(), None);
    }

    #[test]
    fn what_is_no_question_is_none() {
        for bytes in [&b""[..], b"e", b"e123", b"e12345", b"x", b"u\xff"] {
            assert_eq!(Question::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn answers_read_back() {
        let path = Path::new("/usr/bin/\u{fc} (deleted)");
        let bytes = encode_executable(path, (u64::MAX, 7));
        assert_eq!(
            decode_executable(&bytes),
            Some((path.to_owned(), (u64::MAX, 7)))
        );
        for number in [None, Some(0), Some(u32::MAX)] {
            assert_eq!(decode_number(&encode_number(number)), Some(number));
        }
        let addresses = ["127.0.0.1", "::1"].map(|address| address.parse().unwrap());
        let bytes = encode_addresses(&addresses);
        assert_eq!(decode_addresses(&bytes).unwrap(), addresses);
        assert_eq!(decode_addresses(b""), Some(Vec::new()));
    }

    #[test]
    fn errors_stay_what_they_are() {
        let errno = |result: io::Result<Vec<u8>>| {
            decode_answer(&encode_answer(&result))
                .unwrap_err()
                .raw_os_error()
        };
        assert_eq!(
            errno(Err(io::Error::from_raw_os_error(libc::ENOENT))),
            Some(libc::ENOENT)
        );
        let said = encode_answer(&Err(io::Error::other("no such name")));
        assert_eq!(
            decode_answer(&said).unwrap_err().to_string(),
            "no such name"
        );
        assert_eq!(decode_answer(&encode_answer(&Ok(vec![1]))).unwrap(), [1]);
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error() {
        for bytes in [&b""[..], b"e\x01", b"?"] {
            assert!(decode_answer(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(decode_executable(&[0; 15]), None);
        assert_eq!(decode_number(&[0; 3]), None);
        for bytes in [&[4, 1][..], &[5, 1, 2, 3, 4, 5], &[0]] {
            assert_eq!(decode_addresses(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>) {
            drop((Question::decode(&bytes), decode_answer(&bytes)));
            drop((decode_executable(&bytes), decode_number(&bytes), decode_addresses(&bytes)));
        }
    }
}
