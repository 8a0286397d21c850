//! A checked name: one path component that cannot lead out of its folder.

use std::ffi::{CStr, CString};
use std::fmt;

/// One component of a path, checked once so that no system call after it has to be.
///
/// Names are bytes: what Linux takes in a folder, in whatever encoding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CName(CString);

/// Why bytes are no name of a folder entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// No bytes at all.
    #[error("a name may not be empty")]
    Empty,
    /// A `/` or a NUL byte within.
    #[error("a name may not hold '/' or NUL")]
    Forbidden,
    /// `.` or `..`.
    #[error("'.' and '..' are not names")]
    Relative,
    /// More than [`CName::MAX_LEN`] bytes.
    #[error("a name may not be longer than 255 bytes")]
    TooLong,
}

impl CName {
    /// The longest name in bytes (`NAME_MAX` of Linux).
    pub const MAX_LEN: usize = 255;

    /// Checks `name`.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn new(name: &[u8]) -> Result<Self, InvalidName> {
        match name {
            b"" => Err(InvalidName::Empty),
            b"." | b".." => Err(InvalidName::Relative),
            _ if name.len() > Self::MAX_LEN => Err(InvalidName::TooLong),
            _ if name.contains(&b'/') => Err(InvalidName::Forbidden),
            _ => CString::new(name)
                .map(Self)
                .map_err(|_nul| InvalidName::Forbidden),
        }
    }

    /// The name without a NUL at its end.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The name for messages; bytes that are no UTF-8 are replaced.
    pub fn to_string_lossy(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }

    /// The name as system calls take it.
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }
}

impl AsRef<[u8]> for CName {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for CName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CName(\"{}\")", self.as_bytes().escape_ascii())
    }
}

impl From<InvalidName> for std::io::Error {
    /// The errno that the kernel has for it: ENAMETOOLONG, ENOENT for nothing, else EINVAL.
    fn from(error: InvalidName) -> Self {
        Self::from_raw_os_error(match error {
            InvalidName::Empty => libc::ENOENT,
            InvalidName::Forbidden | InvalidName::Relative => libc::EINVAL,
            InvalidName::TooLong => libc::ENAMETOOLONG,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken_byte_for_byte() {
        for name in [
            &b"a"[..],
            b"...",
            b"..a",
            b".hidden",
            b"\xff\xfe",
            b"a b\n",
            &[b'x'; 255],
        ] {
            assert_eq!(CName::new(name).unwrap().as_bytes(), name);
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for (name, error) in [
            (&b""[..], InvalidName::Empty),
            (b".", InvalidName::Relative),
            (b"..", InvalidName::Relative),
            (b"/", InvalidName::Forbidden),
            (b"a/b", InvalidName::Forbidden),
            (b"../x", InvalidName::Forbidden),
            (b"a/", InvalidName::Forbidden),
            (b"a\0", InvalidName::Forbidden),
            (b"\0", InvalidName::Forbidden),
            (&[b'x'; 256], InvalidName::TooLong),
        ] {
            assert_eq!(CName::new(name), Err(error), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn errors_carry_an_errno() {
        let errno = |error: InvalidName| std::io::Error::from(error).raw_os_error();
        assert_eq!(errno(InvalidName::TooLong), Some(libc::ENAMETOOLONG));
        assert_eq!(errno(InvalidName::Relative), Some(libc::EINVAL));
    }

    #[test]
    fn debug_shows_bytes_escaped() {
        let name = CName::new(b"a\xff\"").unwrap();
        assert_eq!(format!("{name:?}"), r#"CName("a\xff\"")"#);
    }
}
