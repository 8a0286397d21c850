//! How far a request's time may be from this machine's.

use jiff::{SignedDuration, Timestamp};

use super::error::AuthError;

/// The most that the time of a request may be before or after the time that it is. Both clouds have
/// 15 minutes.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(15);

pub(super) fn check(time: Timestamp, now: Timestamp) -> Result<(), AuthError> {
    if now.duration_since(time).abs() > WINDOW {
        return Err(AuthError::Expired(time, now));
    }
    Ok(())
}

/// `2026-01-31T23:59:59Z`, in UTC.
pub(super) fn extended(text: &str) -> Result<Timestamp, AuthError> {
    if !text.ends_with('Z') {
        return Err(AuthError::TimeMalformed);
    }
    text.parse().map_err(|_text| AuthError::TimeMalformed)
}

/// `20260131T235959Z`.
pub(super) fn basic(text: &str) -> Result<Timestamp, AuthError> {
    let parts = || {
        let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let whole = day.len() == 8 && time.len() == 6 && digits(day) && digits(time);
        whole.then(|| text.parse().ok()).flatten()
    };
    parts().ok_or(AuthError::TimeMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn fifteen_minutes_on_either_side_are_within_and_a_second_more_is_not() {
        let now = at("2026-11-22T12:00:00Z");
        for text in ["2026-11-22T11:45:00Z", "2026-11-22T12:15:00Z"] {
            assert_eq!(check(at(text), now), Ok(()));
        }
        for text in [
            "2026-11-22T11:44:59Z",
            "2026-11-22T12:15:01Z",
            "1970-01-01T00:00:00Z",
        ] {
            assert_eq!(check(at(text), now), Err(AuthError::Expired(at(text), now)));
        }
    }

    #[test]
    fn times_of_both_clouds_are_read() {
        let time = at("2026-11-22T11:26:37Z");
        assert_eq!(basic("20261122T112637Z"), Ok(time));
        assert_eq!(extended("2026-11-22T11:26:37Z"), Ok(time));
    }

    #[test]
    fn times_without_zone_and_other_texts_are_refused() {
        for text in [
            "",
            "20261122T112637",
            "20261322T112637Z",
            "20261122T116137Z",
            "2026-11-22T11:26:37Z",
            "20261122T1126Z",
            "+0261122T112637Z",
            "Z",
        ] {
            assert_eq!(basic(text), Err(AuthError::TimeMalformed), "{text}");
        }
        for text in [
            "",
            "2026-11-22T11:26:37",
            "2026-11-22T12:26:37+01:00",
            "soonZ",
            "Z",
        ] {
            assert_eq!(extended(text), Err(AuthError::TimeMalformed), "{text}");
        }
    }
}
