//! Whether a request counts: it was made now, came whole, and comes for the first time.

use std::borrow::Cow;

use data_encoding::HEXLOWER_PERMISSIVE;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::kms::api::web::WebError;
use crate::kms::auth::Replays;

/// How far the time of a request may be from the server's. Nonces are remembered for longer than that.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(5);
const NONCE_LEN_MIN: usize = 16;
const NONCE_LEN_MAX: usize = 128;

/// What makes a request count once.
#[derive(Deserialize)]
pub(super) struct Fresh<'a> {
    pub(super) timestamp: Time,
    #[serde(borrow)]
    pub(super) nonce: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sha256: Cow<'a, str>,
}

/// Seconds since 1970, as a number or its digits, or a time as RFC 3339 has it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Time {
    Seconds(f64),
    Text(String),
}

impl Fresh<'_> {
    /// Looks at the time, at the hash of `data`, and last at the nonce, which is remembered then.
    pub(super) fn admit(
        &self,
        data: &[u8],
        access_key_id: &str,
        replays: &Replays,
    ) -> Result<(), WebError> {
        let now = Timestamp::now();
        let time = self.check_time(now)?;
        self.check_hash(data)?;
        self.check_nonce()?;
        let admitted = replays.admit_nonce(access_key_id, &self.nonce, time, now);
        admitted.map_err(|_seen| {
            WebError::new(
                409,
                "NonceSeen",
                "A request with this nonce came before. Each request has a new one.",
            )
        })
    }

    fn check_time(&self, now: Timestamp) -> Result<Timestamp, WebError> {
        let time = self.timestamp.parse().ok_or_else(|| {
            WebError::invalid(
                "timestamp",
                "It is seconds since 1970, or a time such as 2026-01-31T23:59:59Z.",
            )
        })?;
        if now.duration_since(time).abs() <= WINDOW {
            return Ok(time);
        }
        let message = format!(
            "The request's time is more than {} seconds from the server's, which is {now:.0}.",
            WINDOW.as_secs()
        );
        Err(WebError::new(412, "TimestampOutsideWindow", message))
    }

    fn check_hash(&self, data: &[u8]) -> Result<(), WebError> {
        let given = HEXLOWER_PERMISSIVE.decode(self.sha256.as_bytes());
        let given = given.ok().filter(|hash| hash.len() == 32);
        let given = given.ok_or_else(|| {
            WebError::invalid("sha256", "It is a SHA-256 hash in 64 hexadecimal digits.")
        })?;
        if bool::from(Sha256::digest(data).as_slice().ct_eq(&given)) {
            return Ok(());
        }
        Err(WebError::new(
            422,
            "HashMismatch",
            "The SHA-256 hash is not that of the data that came.",
        ))
    }

    fn check_nonce(&self) -> Result<(), WebError> {
        let is_good = (NONCE_LEN_MIN..=NONCE_LEN_MAX).contains(&self.nonce.len())
            && self.nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if is_good {
            return Ok(());
        }
        Err(WebError::invalid(
            "nonce",
            "It is 16 to 128 visible ASCII characters, new for each request.",
        ))
    }
}

impl Time {
    fn parse(&self) -> Option<Timestamp> {
        let seconds = match self {
            Self::Seconds(seconds) => *seconds,
            Self::Text(text) => match text.parse::<i64>() {
                Ok(seconds) => return Timestamp::from_second(seconds).ok(),
                Err(_no_number) => return text.parse().ok(),
            },
        };
        let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
        Timestamp::from_duration(since).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "0123456789abcdef";
    /// Of `data`.
    const HASH: &str = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";

    fn code(timestamp: &str, nonce: &str, sha256: &str) -> &'static str {
        let text = format!(r#"{{"timestamp":{timestamp},"nonce":"{nonce}","sha256":"{sha256}"}}"#);
        let fresh: Fresh<'_> = serde_json::from_str(&text).unwrap();
        let admitted = fresh.admit(b"data", "key", &Replays::default());
        admitted.map_or_else(|error| error.code, |()| "")
    }

    fn now() -> String {
        Timestamp::now().as_second().to_string()
    }

    fn later(seconds: i64) -> String {
        (Timestamp::now().as_second() + seconds).to_string()
    }

    #[test]
    fn times_of_all_three_forms_are_read() {
        let digits = format!("\"{}\"", now());
        let text = format!("\"{}\"", Timestamp::now());
        let fraction = format!("{}.5", now());
        for time in [now(), digits, text, fraction, later(290), later(-290)] {
            assert_eq!(code(&time, NONCE, HASH), "", "{time}");
        }
    }

    #[test]
    fn times_that_are_off_or_none_are_refused() {
        for time in [later(-302), later(310), "0".to_owned(), "-1e9".to_owned()] {
            assert_eq!(code(&time, NONCE, HASH), "TimestampOutsideWindow", "{time}");
        }
        for time in ["\"\"", "\"now\"", "1e300", "\"2026-01-31T23:59:59\""] {
            assert_eq!(code(time, NONCE, HASH), "InvalidParameter", "{time}");
        }
    }

    #[test]
    fn hashes_that_are_wrong_or_none_are_refused() {
        let upper = HASH.to_uppercase();
        assert_eq!(code(&now(), NONCE, &upper), "");
        let wrong = HASH.replace('3', "4");
        assert_eq!(code(&now(), NONCE, &wrong), "HashMismatch");
        for hash in ["", &HASH[1..], &HASH[2..], "x"] {
            assert_eq!(code(&now(), NONCE, hash), "InvalidParameter", "{hash}");
        }
    }

    #[test]
    fn nonces_that_are_too_short_or_long_or_odd_are_refused() {
        let long = "n".repeat(129);
        for nonce in [
            "",
            &NONCE[1..],
            &long,
            "0123456789 abcdef",
            "0123456789äbcdef",
        ] {
            assert_eq!(code(&now(), nonce, HASH), "InvalidParameter", "{nonce}");
        }
        assert_eq!(code(&now(), &long[1..], HASH), "");
    }

    #[test]
    fn a_nonce_comes_once_and_a_request_with_a_wrong_hash_uses_none_up() {
        let replays = Replays::default();
        let of = |sha256: &str| Fresh {
            timestamp: Time::Text(now()),
            nonce: NONCE.into(),
            sha256: sha256.to_owned().into(),
        };
        let wrong = of(&HASH.replace('3', "4")).admit(b"data", "key", &replays);
        assert_eq!(wrong.unwrap_err().code, "HashMismatch");
        assert_eq!(of(HASH).admit(b"data", "key", &replays), Ok(()));
        let again = of(HASH).admit(b"data", "key", &replays).unwrap_err();
        assert_eq!((again.status, again.code), (409, "NonceSeen"));
        assert_eq!(of(HASH).admit(b"data", "other", &replays), Ok(()));
    }
}
