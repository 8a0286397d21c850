//! Tokens that a service gives for a time.

use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::renewed::{Given, Leased, Renewed};
use crate::keys::error::KeyError;
use crate::keys::passphrase_source::Locked;

/// A renewal that failed is tried again after this time at the least,
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// ... and after this part of the token's lifetime.
const TRY_AGAIN_PART: u32 = 20;

/// A token, in locked memory.
#[derive(Debug)]
pub(crate) struct Token {
    text: Locked,
    renewable: bool,
}

/// A token, good for a time.
pub(crate) type Lease = Leased<Token>;

/// The token in use.
pub(crate) type Tokens<S> = Renewed<S>;

impl Lease {
    /// A token from now on; without a lifetime it does not end.
    ///
    /// # Errors
    /// `Unavailable` where no locked memory is left.
    pub(crate) fn new(token: &str, lifetime: Option<Duration>) -> Result<Self, KeyError> {
        let token = Token {
            text: Locked::new(token.as_bytes())?,
            renewable: false,
        };
        Ok(Self::from_now(token, lifetime))
    }

    /// The same, said to be one that can be prolonged.
    #[must_use]
    pub(crate) fn renewable(self, renewable: bool) -> Self {
        self.map(|token| Token { renewable, ..token })
    }
}

impl Token {
    pub(crate) fn is_renewable(&self) -> bool {
        self.renewable
    }

    /// The token, in a buffer that is wiped when dropped.
    pub(crate) fn reveal(&self) -> Zeroizing<String> {
        let bytes = self.text.reveal();
        Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Given for Token {
    /// A third of its lifetime.
    fn early(lifetime: Duration) -> Duration {
        lifetime / 3
    }

    fn try_again(lifetime: Duration) -> Duration {
        TRY_AGAIN.max(lifetime / TRY_AGAIN_PART)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.text.reveal().ct_eq(&other.text.reveal()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_no_token() {
        let lease = Lease::new("hunter2", None).unwrap();
        assert!(!format!("{lease:?}").contains("hunter2"));
        assert_eq!(*lease.reveal(), "hunter2");
    }

    #[test]
    fn a_token_is_the_same_by_its_text_alone() {
        let token = |text| Lease::new(text, None).unwrap();
        let renewable = Lease::new("a", Some(TRY_AGAIN)).unwrap().renewable(true);
        assert!(renewable.is_renewable() && !token("a").is_renewable());
        assert!(renewable.is_same(&token("a")));
        assert!(!token("a").is_same(&token("b")) && !token("a").is_same(&token("ab")));
    }

    #[test]
    fn a_renewal_is_tried_again_in_a_part_of_the_lifetime() {
        for (lifetime, again) in [(30, 10), (3600, 180)] {
            let again = Duration::from_secs(again);
            assert_eq!(Token::try_again(Duration::from_secs(lifetime)), again);
        }
    }
}
