//! Which region, and where services are in it.

use super::credentials::Profile;
use crate::keys::error::KeyError;
use crate::keys::service::{Environment, region};

/// The regions that are not below amazonaws.com, by what they begin with.
const SUFFIXES: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
];

/// The region of this machine: of the environment, else of the profile.
///
/// # Errors
/// `Config` for what is no region, and for a profile that cannot be read.
pub(super) fn of_machine(environment: &Environment) -> Result<Option<String>, KeyError> {
    let mut found = None;
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if found.is_none() {
            found = environment.text(name)?;
        }
    }
    if found.is_none() {
        found = Profile::of(environment)?.and_then(|profile| profile.region());
    }
    found.as_deref().map_or(Ok(()), region::check)?;
    Ok(found)
}

/// The address of a service in a region that was checked.
pub(super) fn endpoint(service: &str, region: &str) -> String {
    let known = SUFFIXES.iter().find(|(start, _)| region.starts_with(start));
    let suffix = known.map_or("amazonaws.com", |(_, suffix)| suffix);
    format!("https://{service}.{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::service::python;

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
            region::check(region).unwrap();
            assert_eq!(endpoint(service, region), url);
            seen += 1;
        }
        assert!(seen > 60, "the SDK named only {seen}");
    }
}
