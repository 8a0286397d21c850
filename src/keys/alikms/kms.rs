//! The service itself: where it is, and how a request to it is made, signed and sent.

use data_encoding::HEXLOWER;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::acs3::{self, ToSign};
use super::credentials::Chain;
use super::{api, failure};
use crate::crypto::random;
use crate::keys::error::KeyError;
use crate::keys::service::credentials::AccessKey;
use crate::keys::service::refusal::Failure;
use crate::keys::service::signed::Signed;
use crate::keys::service::{Endpoint, Environment, Reach, Request, clock, digest};

/// Alibaba Cloud KMS in one region, as this machine reaches it.
#[derive(Debug)]
pub(super) struct Service {
    signed: Signed<Chain>,
}

impl Service {
    /// Finds out where the service is, and whose credentials will be used. Sends nothing.
    ///
    /// # Errors
    /// `Config` for what cannot be followed.
    pub(super) fn new(
        region: &str,
        reach: Reach,
        environment: &Environment,
    ) -> Result<Self, KeyError> {
        let reach = reach.or(of_environment(environment)?);
        let signed = Signed::new(
            &reach,
            || default_endpoint(region, environment),
            Chain::new(environment.clone()),
            failure::of,
        )?;
        Ok(Self { signed })
    }

    pub(super) fn signed(&self) -> &Signed<Chain> {
        &self.signed
    }

    /// Has the service do an operation. Where it calls the credentials bad or expired and others are
    /// to be had, it is asked once more.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let query = acs3::query(parameters);
        let sign = |key: &AccessKey| self.sign(operation, &query, key);
        Ok(self.signed.call(failure::words(operation), sign)?.json()?)
    }

    /// The parameters stand in the query, as the SDKs of the service have it.
    fn sign(&self, operation: &str, query: &str, key: &AccessKey) -> Result<Request, KeyError> {
        let mut url = self.signed.endpoint().url();
        url.set_query(Some(query));
        let request = Request::post(url, Zeroizing::default());
        let (host, path) = (request.host(), request.path().to_owned());
        let (date, token) = (clock::extended(clock::now()), key.token());
        let (nonce, digest) = (
            HEXLOWER.encode(&random::array::<16>()),
            digest::sha256_hex(b""),
        );
        let mut headers = vec![
            ("accept", "application/json"),
            ("x-acs-action", operation),
            ("x-acs-content-sha256", &digest),
            ("x-acs-date", &date),
            ("x-acs-signature-nonce", &nonce),
            ("x-acs-version", api::VERSION),
        ];
        headers.extend(
            token
                .as_ref()
                .map(|token| ("x-acs-security-token", token.as_str())),
        );
        let request = request.headers(&headers)?;
        // The client sets it, as it stands in the URL.
        headers.push(("host", &host));
        let to_sign = ToSign {
            path: &path,
            query,
            headers: &headers,
        };
        request.header(
            "authorization",
            &acs3::authorization(&to_sign, key.id(), &key.secret()),
        )
    }
}

fn of_environment(environment: &Environment) -> Result<Reach, KeyError> {
    let endpoint = environment.text("ENVELOPEFS_ALIKMS_ENDPOINT")?;
    Ok(Reach {
        endpoint: endpoint
            .map(|endpoint| Endpoint::parse(&endpoint))
            .transpose()?,
        ca: environment.path("ENVELOPEFS_ALIKMS_CA"),
        ..Reach::default()
    })
}

fn default_endpoint(region: &str, environment: &Environment) -> Result<Endpoint, KeyError> {
    let vpc = environment.text("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED")?;
    let vpc = vpc.is_some_and(|vpc| vpc.eq_ignore_ascii_case("true"));
    let service = if vpc { "kms-vpc" } else { "kms" };
    Endpoint::parse(&format!("https://{service}.{region}.aliyuncs.com"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_that_of_the_machine_before_that_of_the_region() {
        let endpoint = |reach: &str, variables: &[(&str, &str)]| {
            let reach = Reach {
                endpoint: Endpoint::parse(reach).ok(),
                ..Reach::default()
            };
            let kms = Service::new("cn-hangzhou", reach, &Environment::of(variables)).unwrap();
            kms.signed.endpoint().to_string()
        };
        let vpc = ("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "true");
        let own = ("ENVELOPEFS_ALIKMS_ENDPOINT", "https://own.example");
        assert_eq!(endpoint("", &[]), "https://kms.cn-hangzhou.aliyuncs.com");
        assert_eq!(
            endpoint("", &[vpc]),
            "https://kms-vpc.cn-hangzhou.aliyuncs.com"
        );
        assert_eq!(endpoint("", &[vpc, own]), "https://own.example");
        assert_eq!(
            endpoint("https://given.example", &[own]),
            "https://given.example"
        );
        for wrong in [
            ("ENVELOPEFS_ALIKMS_ENDPOINT", "http://kms.example"),
            ("ENVELOPEFS_ALIKMS_CA", "/nonexistent.pem"),
        ] {
            let environment = Environment::of(&[wrong]);
            assert!(Service::new("cn-hangzhou", Reach::default(), &environment).is_err());
        }
    }
}
