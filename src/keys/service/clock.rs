//! Times as services write them. Functions take the time that it is: signatures can be tested.

use std::fmt::Write;

use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

use super::client::Response;

/// The time that it is now.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// `20260131T235959Z`.
pub(crate) fn basic(time: Timestamp) -> String {
    formatted(time, "%Y%m%dT%H%M%SZ")
}

/// `2026-01-31T23:59:59Z`.
pub(crate) fn extended(time: Timestamp) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%SZ")
}

fn formatted(time: Timestamp, format: &str) -> String {
    let mut text = String::new();
    // A fixed format of a time in UTC, into a String, does not fail.
    let _ok = write!(text, "{}", time.strftime(format));
    text
}

/// A time with its zone as ISO 8601 has it; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// By how much this machine's clock differs from the service's, in words, where that is more than
/// `tolerated`: services refuse signatures of another time.
pub(crate) fn skew(
    response: &Response,
    now: Timestamp,
    tolerated: SignedDuration,
) -> Option<String> {
    let theirs = rfc2822::parse(response.header("date")?).ok()?.timestamp();
    let ahead = now.duration_since(theirs);
    let side = if ahead.is_negative() {
        "behind"
    } else {
        "ahead of"
    };
    (ahead.abs() > tolerated).then(|| {
        format!(
            "this machine's clock is {} {side} the service's: set it, by NTP for example",
            in_words(ahead.abs())
        )
    })
}

fn in_words(duration: SignedDuration) -> String {
    let minutes = duration.as_secs().saturating_add(30).div_euclid(60);
    match minutes {
        0..120 => format!("{minutes} minutes"),
        _ => format!("{} hours", minutes.div_euclid(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, Request};
    use super::super::double::{Double, answer};
    use super::super::reach::Reach;
    use super::*;

    const FIVE_MINUTES: SignedDuration = SignedDuration::from_mins(5);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_written_in_utc() {
        let time = at("2026-02-28T23:59:59.75-01:00");
        assert_eq!(basic(time), "20260301T005959Z");
        assert_eq!(extended(time), "2026-03-01T00:59:59Z");
        assert_eq!(basic(Timestamp::UNIX_EPOCH), "19700101T000000Z");
    }

    #[test]
    fn times_without_zone_and_other_texts_are_none() {
        let expected = at("2026-11-22T11:26:37Z");
        for same in ["2026-11-22T11:26:37Z", "2026-11-22T12:26:37+01:00"] {
            assert_eq!(parse(same), Some(expected));
        }
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T11:26:37",
            "1795346797",
            "soon",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    fn skew_of(date: &'static str, now: &str) -> Option<String> {
        let double = Double::start(move |_request| answer(400, &[("date", date)], b""));
        let client = Client::new(&Reach::default()).unwrap();
        let response = client
            .send(Request::get(double.endpoint().join([])))
            .unwrap();
        skew(&response, at(now), FIVE_MINUTES)
    }

    #[test]
    fn a_clock_that_goes_wrong_is_told_by_how_much() {
        const DATE: &str = "Sun, 22 Nov 2026 11:00:00 GMT";
        for (now, words) in [
            ("2026-11-22T11:17:10Z", "17 minutes ahead of"),
            ("2026-11-22T10:43:00Z", "17 minutes behind"),
            ("2026-11-22T14:10:00Z", "3 hours ahead of"),
            ("2025-11-22T11:00:00Z", "8760 hours behind"),
        ] {
            let said = skew_of(DATE, now).unwrap();
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(skew_of(DATE, "2026-11-22T11:05:00Z"), None);
        assert_eq!(skew_of(DATE, "2026-11-22T10:55:00Z"), None);
        assert_eq!(skew_of("yesterday", "2020-01-01T00:00:00Z"), None);
    }
}
