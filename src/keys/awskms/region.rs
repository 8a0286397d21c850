//! Regions, and the names of services in them.

use crate::keys::error::KeyError;

/// The longest region in bytes.
const REGION_MAX: usize = 32;

/// The regions that are not below amazonaws.com, by what they begin with.
const SUFFIXES: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
];

/// Whether this may be a region: it becomes a part of a host's name, and stands in volumes.
///
/// # Errors
/// `Config` for anything but `a-z`, `0-9` and hyphens between them.
pub(super) fn check(region: &str) -> Result<(), KeyError> {
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

/// The address of a service in a region that was [checked](check).
pub(super) fn endpoint(service: &str, region: &str) -> String {
    let known = SUFFIXES.iter().find(|(start, _)| region.starts_with(start));
    let suffix = known.map_or("amazonaws.com", |(_, suffix)| suffix);
    format!("https://{service}.{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::service::python;

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

    /// Every region that the public SDK knows, service by service.
    #[test]
    fn addresses_are_those_of_the_sdk() {
        const SCRIPT: &str = "
import boto3
session = boto3.Session()
for service in ('kms', 'sts'):
    for partition in session.get_available_partitions():
        for region in session.get_available_regions(service, partition):
            client = session.client(service, region, aws_access_key_id='a', aws_secret_access_key='b')
            print(service, region, client.meta.endpoint_url)
";
        let printed = python::run(SCRIPT, "");
        let mut seen = 0;
        for line in printed.lines() {
            let [service, region, url] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            check(region).unwrap();
            assert_eq!(endpoint(service, region), url);
            seen += 1;
        }
        assert!(seen > 60, "the SDK named only {seen}");
    }
}
