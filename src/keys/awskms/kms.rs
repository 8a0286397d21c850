//! The service itself: where it is, and how a request to it is made, signed and sent.

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::credentials::Chain;
use super::failure;
use super::region;
use super::sigv4::{self, Signer, ToSign};
use crate::keys::error::KeyError;
use crate::keys::service::credentials::AccessKey;
use crate::keys::service::refusal::Failure;
use crate::keys::service::region::check as check_region;
use crate::keys::service::signed::Signed;
use crate::keys::service::{Endpoint, Environment, Reach, Request, clock, wire};

/// AWS KMS in one region, as this machine reaches it.
#[derive(Debug)]
pub(super) struct Service {
    signed: Signed<Chain>,
    region: String,
}

impl Service {
    /// Finds out where the service is, and whose credentials will be used. Sends nothing.
    ///
    /// # Errors
    /// `Config` where no region or a wrong one is said, and for what cannot be followed.
    pub(super) fn new(
        region: Option<&str>,
        reach: Reach,
        environment: &Environment,
    ) -> Result<Self, KeyError> {
        let region = region_of(region, environment)?;
        let reach = reach.or(of_environment(environment, "AWS_ENDPOINT_URL_KMS")?);
        let signed = Signed::new(
            &reach,
            || default_endpoint(&region, environment),
            Chain::new(environment.clone(), region.clone()),
            failure::of,
        )?;
        Ok(Self { signed, region })
    }

    pub(super) fn signed(&self) -> &Signed<Chain> {
        &self.signed
    }

    /// Has the service do an operation. Where it calls the credentials bad or expired and others are
    /// to be had, it is asked once more.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call_named(operation, request)
            .map(|(answer, _id)| answer)
    }

    /// The same, with the service's name for the request.
    pub(super) fn call_named<T: DeserializeOwned>(
        &self,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<(T, Option<String>), Failure> {
        let body = wire::body(request)?;
        let sign = |key: &AccessKey| self.sign(operation, &body, key);
        let answer = self.signed.call(&failure::WORDS, sign)?;
        Ok((answer.json()?, answer.request_id(failure::REQUEST_ID)))
    }

    fn sign(&self, operation: &str, body: &[u8], key: &AccessKey) -> Result<Request, KeyError> {
        let now = clock::now();
        let request = Request::post(self.signed.endpoint().url(), Zeroizing::new(body.to_vec()));
        let (host, path) = (request.host(), request.path().to_owned());
        let (date, token) = (clock::basic(now), key.token());
        let target = format!("TrentService.{operation}");
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-date", &date),
            ("x-amz-target", &target),
        ];
        headers.extend(
            token
                .as_ref()
                .map(|token| ("x-amz-security-token", token.as_str())),
        );
        let request = request.headers(&headers)?;
        // The client sets it, as it stands in the URL.
        headers.push(("host", &host));
        let to_sign = ToSign {
            path: &path,
            headers: &headers,
            body,
        };
        let signer = Signer {
            id: key.id(),
            secret: &key.secret(),
            region: &self.region,
            service: "kms",
        };
        request.header(
            "authorization",
            &sigv4::authorization(&to_sign, &signer, now),
        )
    }
}

/// How the environment says that a service is reached; `own` is the variable of this service.
///
/// # Errors
/// `Config` for an address that cannot be followed.
pub(super) fn of_environment(environment: &Environment, own: &str) -> Result<Reach, KeyError> {
    let endpoint = match environment.text(own)? {
        Some(endpoint) => Some(endpoint),
        None => environment.text("AWS_ENDPOINT_URL")?,
    };
    Ok(Reach {
        endpoint: endpoint
            .map(|endpoint| Endpoint::parse(&endpoint))
            .transpose()?,
        ca: environment.path("AWS_CA_BUNDLE"),
        ..Reach::default()
    })
}

/// The region of the key's URI, else that of the machine.
fn region_of(of_key: Option<&str>, environment: &Environment) -> Result<String, KeyError> {
    let found = match of_key {
        Some(region) => Some(region.to_owned()),
        None => region::of_machine(environment)?,
    };
    let region = found.ok_or_else(|| {
        KeyError::config("no region: say it by ?region=, by AWS_REGION, or in the profile")
    })?;
    check_region(&region)?;
    Ok(region)
}

fn default_endpoint(region: &str, environment: &Environment) -> Result<Endpoint, KeyError> {
    let fips = environment.text("AWS_USE_FIPS_ENDPOINT")?;
    let fips = fips.is_some_and(|fips| fips.eq_ignore_ascii_case("true"));
    let service = if fips { "kms-fips" } else { "kms" };
    Endpoint::parse(&region::endpoint(service, region))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kms(region: Option<&str>, variables: &[(&str, &str)]) -> Result<Service, KeyError> {
        Service::new(region, Reach::default(), &Environment::of(variables))
    }

    #[test]
    fn the_region_is_looked_for_in_order() {
        let both = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-2"),
        ];
        assert_eq!(kms(Some("eu-west-3"), &both).unwrap().region, "eu-west-3");
        assert_eq!(kms(None, &both).unwrap().region, "eu-west-1");
        assert_eq!(kms(None, &both[1..]).unwrap().region, "eu-west-2");
        let error = kms(None, &[]).unwrap_err();
        assert!(error.message().contains("AWS_REGION"), "{error}");
        assert!(kms(None, &[("AWS_REGION", "evil.example/")]).is_err());
    }

    #[test]
    fn the_endpoint_is_that_of_the_machine_before_that_of_the_region() {
        let endpoint = |variables: &[(&str, &str)]| {
            let kms = kms(Some("cn-north-1"), variables).unwrap();
            kms.signed.endpoint().to_string()
        };
        assert_eq!(endpoint(&[]), "https://kms.cn-north-1.amazonaws.com.cn");
        assert_eq!(
            endpoint(&[("AWS_USE_FIPS_ENDPOINT", "true")]),
            "https://kms-fips.cn-north-1.amazonaws.com.cn"
        );
        let all = ("AWS_ENDPOINT_URL", "https://all.example");
        assert_eq!(endpoint(&[all]), "https://all.example");
        let own = ("AWS_ENDPOINT_URL_KMS", "https://own.example");
        assert_eq!(endpoint(&[all, own]), "https://own.example");
        let reach = Reach {
            endpoint: Some(Endpoint::parse("https://given.example").unwrap()),
            ..Reach::default()
        };
        let given = Service::new(Some("cn-north-1"), reach, &Environment::of(&[all, own])).unwrap();
        assert_eq!(given.signed.endpoint().to_string(), "https://given.example");
        let plain = [("AWS_ENDPOINT_URL", "http://kms.example")];
        assert!(kms(Some("cn-north-1"), &plain).is_err());
    }

    #[test]
    fn a_ca_bundle_that_is_none_is_named() {
        let error = kms(Some("eu-west-1"), &[("AWS_CA_BUNDLE", "/nonexistent.pem")]).unwrap_err();
        assert!(error.message().contains("/nonexistent.pem"), "{error}");
    }
}
