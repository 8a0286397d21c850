//! The role of a container or an instance, as the host's metadata service gives it.

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::service::credentials::{AccessKey, end_of};
use crate::keys::service::{Client, Endpoint, Environment, Request, Response, metadata};

/// The instance metadata service, by IPv4 and IPv6.
const INSTANCE: [&str; 2] = ["169.254.169.254", "[fd00:ec2::254]"];
const INSTANCE_DIALECT: metadata::Dialect = metadata::Dialect {
    ttl_header: "x-aws-ec2-metadata-token-ttl-seconds",
    token_header: "x-aws-ec2-metadata-token",
    roles: ["latest", "meta-data", "iam", "security-credentials"],
};
/// The container agents of ECS, and of EKS by IPv4 and IPv6.
const CONTAINER: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// Temporary credentials.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Temporary {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    token: Zeroizing<String>,
    expiration: String,
}

impl Temporary {
    fn into_key(self) -> Result<AccessKey, KeyError> {
        let end = end_of(&self.expiration)?;
        let Self {
            access_key_id,
            secret_access_key,
            token,
            ..
        } = self;
        AccessKey::new(&access_key_id, &secret_access_key, Some(&token), Some(end))
    }
}

/// The credentials of the container that this process runs in (ECS, EKS Pod Identity); `None` where the
/// environment names no place for them.
///
/// # Errors
/// `Config` for a place that cannot be followed, `Unavailable` where it does not answer.
pub(super) fn of_container(environment: &Environment) -> Result<Option<AccessKey>, KeyError> {
    let Some((variable, place)) = container_at(environment)? else {
        return Ok(None);
    };
    let endpoint = Endpoint::parse_or_plain(&place, &CONTAINER)
        .map_err(|error| KeyError::config(format!("{variable}: {}", error.message())))?;
    let mut request = Request::get(endpoint.url());
    if let Some(token) = container_token(environment)? {
        request = request.header("authorization", &token)?;
    }
    let answer = Client::direct(metadata::TIMEOUT)?.send(request)?;
    temporary("the container's credentials", &answer).map(Some)
}

/// The variable that names a place for a container's credentials, and the place.
fn container_at(environment: &Environment) -> Result<Option<(&'static str, String)>, KeyError> {
    const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let [host, ..] = CONTAINER;
    Ok(match environment.text(RELATIVE)? {
        Some(path) => Some((RELATIVE, format!("http://{host}{path}"))),
        None => environment.text(FULL)?.map(|place| (FULL, place)),
    })
}

fn container_token(environment: &Environment) -> Result<Option<Zeroizing<String>>, KeyError> {
    match environment.path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => local_file::read_line("container token", &path, Guard::Given).map(Some),
        None => {
            let token = environment.text("AWS_CONTAINER_AUTHORIZATION_TOKEN")?;
            Ok(token.map(Zeroizing::new))
        }
    }
}

/// The credentials of the instance's role, by the instance metadata service, version 2.
///
/// # Errors
/// `Config` where it is switched off or the instance has no role, `Unavailable` where it does not
/// answer.
pub(super) fn of_instance(environment: &Environment) -> Result<AccessKey, KeyError> {
    let disabled = environment.text("AWS_EC2_METADATA_DISABLED")?;
    if disabled.is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
        return Err(KeyError::config(format!(
            "{}, and AWS_EC2_METADATA_DISABLED forbids to ask the instance's metadata service",
            no_others()
        )));
    }
    let asked = instance_at(environment).and_then(|endpoint| {
        let answer = metadata::role_s_key(&endpoint, &INSTANCE_DIALECT, None)?;
        temporary("the role's credentials", &answer)
    });
    asked.map_err(|error| {
        let why = error.message();
        let message = format!(
            "{}, and of the instance's metadata service: {why}",
            no_others()
        );
        KeyError::new(error.kind(), message)
    })
}

fn no_others() -> &'static str {
    "no AWS credentials: neither AWS_ACCESS_KEY_ID, a profile (~/.aws/credentials) nor a container's"
}

fn instance_at(environment: &Environment) -> Result<Endpoint, KeyError> {
    let mode = environment.text("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")?;
    let by_ipv6 = mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
    let [ipv4, ipv6] = INSTANCE;
    let own = format!("http://{}", if by_ipv6 { ipv6 } else { ipv4 });
    let said = environment.text("AWS_EC2_METADATA_SERVICE_ENDPOINT")?;
    Endpoint::parse_or_plain(&said.unwrap_or(own), &INSTANCE)
}

fn temporary(what: &str, answer: &Response) -> Result<AccessKey, KeyError> {
    metadata::check(what, answer)?;
    let temporary: Temporary = answer.json()?;
    temporary.into_key()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::keys::error::KeyErrorKind;
    use crate::keys::service::double::{Double, answer, json as json_answer};
    use crate::keys::service::metadata::testing;

    fn role() -> Value {
        json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKROLE",
            "SecretAccessKey": "hunter2", "Token": "tok", "Expiration": "2040-01-01T00:00:00Z",
        })
    }

    static DIALECT: metadata::Dialect = INSTANCE_DIALECT;

    fn of_instance_at(double: &Double) -> Result<AccessKey, KeyError> {
        let endpoint = double.endpoint().to_string();
        of_instance(&Environment::of(&[(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            &endpoint,
        )]))
    }

    #[test]
    fn an_instance_gives_its_role_s_key() {
        let double = testing::instance(&DIALECT, "role", role);
        let key = of_instance_at(&double).unwrap();
        assert_eq!((key.id(), &*key.secret()), ("AKROLE", &b"hunter2".to_vec()));
        assert_eq!(*key.token().unwrap(), "tok");
        assert!(format!("{key:?}").contains("2040"));
        assert_eq!(double.calls(), 3);
    }

    #[test]
    fn an_instance_without_a_role_is_not_asked_again() {
        let double = testing::instance(&DIALECT, "", role);
        let error = of_instance_at(&double).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config);
        assert!(error.message().contains("no role"), "{error}");
    }

    #[test]
    fn answers_of_another_form_are_no_credentials() {
        let bodies = [
            json!({}),
            json!({"Code": "AssumeRoleUnauthorizedAccess"}),
            json!({"AccessKeyId": "a", "SecretAccessKey": "hunter2", "Token": "t", "Expiration": "soon"}),
            json!({"AccessKeyId": "a", "SecretAccessKey": "hunter2", "Token": "t"}),
        ];
        for body in bodies {
            let double = testing::instance(&DIALECT, "role", move || body.clone());
            let error = of_instance_at(&double).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_metadata_service_that_fails_or_is_not_there_may_come_back() {
        let double = Double::start(|_request| answer(500, &[], b""));
        let error = of_instance_at(&double).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        let gone = double.endpoint().to_string();
        drop(double);
        let gone = Environment::of(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &gone)]);
        let error = of_instance(&gone).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(error.message().contains("AWS_ACCESS_KEY_ID"), "{error}");
    }

    #[test]
    fn a_metadata_service_elsewhere_is_refused() {
        for endpoint in [
            "http://10.0.0.1",
            "http://metadata.example",
            "ftp://127.0.0.1",
        ] {
            let environment = Environment::of(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)]);
            assert_eq!(
                of_instance(&environment).unwrap_err().kind(),
                KeyErrorKind::Config
            );
            let environment = Environment::of(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint)]);
            assert_eq!(
                of_container(&environment).unwrap_err().kind(),
                KeyErrorKind::Config
            );
        }
    }

    #[test]
    fn a_container_shows_its_token() {
        let double = Double::start(|request| {
            assert_eq!(request.path, "/v1/credentials/");
            match request.header("authorization") {
                Some("from-file" | "from-environment") => json_answer(200, &role()),
                _ => answer(401, &[], b""),
            }
        });
        let uri = format!("{}/v1/credentials/", double.endpoint());
        let uri = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from-file\n").unwrap();
        let file = (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            path.to_str().unwrap(),
        );
        let text = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "from-environment");
        for variables in [&[uri, file][..], &[uri, text], &[uri, file, text]] {
            let key = of_container(&Environment::of(variables)).unwrap().unwrap();
            assert_eq!(key.id(), "AKROLE");
        }
        let error = of_container(&Environment::of(&[uri])).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(error.message().contains("401"), "{error}");
        assert!(of_container(&Environment::default()).unwrap().is_none());
    }
}
