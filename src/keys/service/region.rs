//! Regions of clouds.

use crate::keys::error::KeyError;

/// The longest region in bytes.
const REGION_MAX: usize = 32;

/// Whether this may be a region: it becomes a part of a host's name, and stands in volumes.
///
/// # Errors
/// `Config` for anything but `a-z`, `0-9` and hyphens between them.
pub(crate) fn check(region: &str) -> Result<(), KeyError> {
    let is_char = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=REGION_MAX).contains(&region.len())
        && region.bytes().all(is_char)
        && !region.starts_with('-')
        && !region.ends_with('-');
    if fits {
        Ok(())
    } else {
        Err(KeyError::config(
            "region: expected one like eu-central-1, of a-z, 0-9 and -",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_more_than_a_label_is_refused() {
        for region in ["eu-central-1", "us-gov-west-1", "eusc-de-east-1", "local"] {
            assert!(check(region).is_ok(), "{region}");
        }
        let long = "a".repeat(REGION_MAX + 1);
        for region in [
            "", "-", "-a", "a-", "EU-1", "eu.west", "eu_west", "a/b", "a@b", "a:1", "é", "a b",
            &long,
        ] {
            assert!(check(region).is_err(), "{region:?}");
        }
    }
}
