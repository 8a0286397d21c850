//! Text of the command line to values: sizes and durations, each with its range.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::units::KeyUri;

/// Text that is not a value of its kind; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a number with a known unit.
    #[error("{text:?} is not {expected}")]
    Malformed {
        /// What was given, cut to a sane length.
        text: String,
        /// What a value looks like.
        expected: &'static str,
    },
    /// A value outside what is allowed.
    #[error("{text} is outside {range}")]
    OutOfRange {
        /// What was given, cut to a sane length.
        text: String,
        /// The allowed range as a person reads it.
        range: String,
    },
}

const DURATION_FORM: &str = "a duration such as 90, 90s, 5m, 1h or 1d";
const SIZE_FORM: &str = "a size such as 4096, 4K or 1M";
const COUNT_FORM: &str = "a whole number";
const KEY_FORM: &str = "a key's URI, SCHEME:… in printable ASCII";
const SECOND: u64 = 1;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// The URI of a key.
///
/// # Errors
/// Anything else. What stands behind a `?` is not repeated: somebody may have put a secret there.
pub fn parse_key(text: &str) -> Result<KeyUri, ValueError> {
    let path = text.split('?').next().unwrap_or_default();
    text.parse().map_err(|_not_a_uri| malformed(path, KEY_FORM))
}

/// A whole number of seconds, or of the unit `s`, `m`, `h` or `d` behind it.
///
/// # Errors
/// Anything else, or more seconds than 64 bits hold.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let (digits, unit) = split_unit(text);
    let seconds = match unit {
        "" | "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return Err(malformed(text, DURATION_FORM)),
    };
    let total = parse_digits(digits).and_then(|count| count.checked_mul(seconds));
    total
        .map(Duration::from_secs)
        .ok_or_else(|| malformed(text, DURATION_FORM))
}

/// The shortest text that [`parse_duration`] reads as the same duration; parts of a second are cut.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, name) in [(DAY, "d"), (HOUR, "h"), (MINUTE, "m")] {
        if seconds != 0 && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

/// A duration inside `range`.
///
/// # Errors
/// Not a duration, or outside the range.
pub fn parse_duration_in(
    text: &str,
    range: RangeInclusive<Duration>,
) -> Result<Duration, ValueError> {
    let duration = parse_duration(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let range = format!(
        "{}..{}",
        show_duration(*range.start()),
        show_duration(*range.end())
    );
    Err(ValueError::OutOfRange {
        text: clip(text),
        range,
    })
}

/// Bytes: a whole number with `K` or `M` (1024 and 1024²; `KiB`, `MiB` mean the same) behind it.
///
/// # Errors
/// Anything else, or more than 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let (digits, unit) = split_unit(text);
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        _ => return Err(malformed(text, SIZE_FORM)),
    };
    let total = parse_digits(digits).and_then(|count| count.checked_mul(bytes));
    total.ok_or_else(|| malformed(text, SIZE_FORM))
}

/// Bytes as a person reads them, exact where they are whole KiB or MiB.
pub fn show_size(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}M", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}K", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// A whole number inside `range`.
///
/// # Errors
/// Not a number, or outside the range.
pub fn parse_count_in(text: &str, range: RangeInclusive<u32>) -> Result<u32, ValueError> {
    let count = parse_digits(text).ok_or_else(|| malformed(text, COUNT_FORM))?;
    match u32::try_from(count) {
        Ok(count) if range.contains(&count) => Ok(count),
        Ok(_) | Err(_) => Err(ValueError::OutOfRange {
            text: clip(text),
            range: format!("{}..{}", range.start(), range.end()),
        }),
    }
}

/// Digits only: `u64::from_str` would take a leading `+`.
fn parse_digits(text: &str) -> Option<u64> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits_only.then(|| text.parse().ok()).flatten()
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(end)
}

pub(super) fn malformed(text: &str, expected: &'static str) -> ValueError {
    ValueError::Malformed {
        text: clip(text),
        expected,
    }
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_take_a_bare_number_or_a_unit() {
        for (text, seconds) in [
            ("0", 0),
            ("300", 300),
            ("90s", 90),
            ("5m", 300),
            ("1h", 3600),
            ("2d", 172_800),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "m5",
            "5 m",
            "-1",
            "+1",
            "1.5h",
            "1h30m",
            "5M",
            "5ms",
            "١",
            "99999999999999999999",
            "9999999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_outside_their_range_are_refused_with_the_range() {
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        assert_eq!(
            parse_duration_in("5m", range.clone()),
            Ok(Duration::from_secs(300))
        );
        for text in ["0", "2h"] {
            let error = parse_duration_in(text, range.clone()).unwrap_err();
            assert_eq!(error.to_string(), format!("{text} is outside 1s..1h"));
        }
    }

    #[test]
    fn sizes_take_bytes_or_binary_units() {
        for (text, bytes) in [
            ("512", 512),
            ("4K", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("1M", 1 << 20),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "K",
            "4KB",
            "4 K",
            "-4K",
            "4G",
            "0x10",
            "18446744073709551615K",
        ] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn counts_outside_their_range_are_refused() {
        assert_eq!(parse_count_in("7", 1..=9), Ok(7));
        for text in ["0", "10", "99999999999", "", "a", "+7", "7 "] {
            assert!(parse_count_in(text, 1..=9).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_shown_whole() {
        let shown: Vec<_> = [0, 100, 4096, 1 << 20, 4097].map(show_size).into();
        assert_eq!(shown, ["0", "100", "4K", "1M", "4097"]);
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(seconds in 0..=u64::MAX) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".*") {
            drop(parse_duration(&text));
            drop(parse_size(&text));
            drop(parse_count_in(&text, 0..=10));
        }
    }
}
