//! A role for the token of a workload (IAM Roles for Service Accounts): AssumeRoleWithWebIdentity at STS.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::super::region;
use crate::keys::awskms::kms::of_environment;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::local_file::{self, Guard};
use crate::keys::service::credentials::{AccessKey, end_of};
use crate::keys::service::refusal::Refusal;
use crate::keys::service::{Client, Endpoint, Environment, Request, Response, oauth};

/// Which role, and where the token is.
#[derive(Debug)]
pub(super) struct WebIdentity {
    token_file: PathBuf,
    role: String,
    session: String,
}

impl WebIdentity {
    /// What these say; `None` where no token file is named.
    ///
    /// # Errors
    /// `Config` for a token file without a role.
    pub(super) fn of(
        token_file: Option<PathBuf>,
        role: Option<String>,
        session: Option<String>,
    ) -> Result<Option<Self>, KeyError> {
        let Some(token_file) = token_file else {
            return Ok(None);
        };
        let role = role.ok_or_else(|| {
            KeyError::config("a web identity token file needs a role: AWS_ROLE_ARN or role_arn")
        })?;
        Ok(Some(Self {
            token_file,
            role,
            session: session.unwrap_or_else(|| "envelopefs".to_owned()),
        }))
    }

    /// What the environment says.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn of_environment(environment: &Environment) -> Result<Option<Self>, KeyError> {
        Self::of(
            environment.path("AWS_WEB_IDENTITY_TOKEN_FILE"),
            environment.text("AWS_ROLE_ARN")?,
            environment.text("AWS_ROLE_SESSION_NAME")?,
        )
    }

    /// Asks STS in this region. The token is read anew each time: whoever gave it renews it.
    ///
    /// # Errors
    /// `Config` for a token that cannot be read, `Denied` where STS refuses, `Unavailable` where it
    /// does not answer.
    pub(super) fn fetch(
        &self,
        region: &str,
        environment: &Environment,
    ) -> Result<AccessKey, KeyError> {
        let token = local_file::read_line("web identity token", &self.token_file, Guard::Given)?;
        let reach = of_environment(environment, "AWS_ENDPOINT_URL_STS")?;
        let endpoint = match &reach.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => Endpoint::parse(&region::endpoint("sts", region))?,
        };
        let request = Request::post(endpoint.url(), self.form(&token))
            .header("content-type", "application/x-www-form-urlencoded")?;
        let answer = Client::new(&reach)?.send(request)?;
        if answer.is_success() {
            key_of(&answer)
        } else {
            Err(self.refused(&answer))
        }
    }

    fn form(&self, token: &str) -> Zeroizing<Vec<u8>> {
        oauth::form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role),
            ("RoleSessionName", &self.session),
            ("WebIdentityToken", token),
        ])
    }

    fn refused(&self, answer: &Response) -> KeyError {
        let text = |name| element(answer.body(), name).unwrap_or_default();
        let refusal = Refusal::new(answer, text("Code"), text("Message"), text("RequestId"));
        let kind = match refusal.code() {
            _ if refusal.status() >= 500 || refusal.status() == 429 => KeyErrorKind::Unavailable,
            "AccessDenied"
            | "ExpiredTokenException"
            | "IDPRejectedClaim"
            | "InvalidIdentityToken" => KeyErrorKind::Denied,
            "ValidationError" => KeyErrorKind::Config,
            _ => KeyErrorKind::Unavailable,
        };
        let what = format!("sts:AssumeRoleWithWebIdentity for {}", self.role);
        refusal.to_error(kind, &what, "")
    }
}

fn key_of(answer: &Response) -> Result<AccessKey, KeyError> {
    let text = |name| {
        element(answer.body(), name)
            .ok_or_else(|| KeyError::unavailable(format!("an answer of STS without {name}")))
    };
    AccessKey::new(
        text("AccessKeyId")?,
        text("SecretAccessKey")?,
        Some(text("SessionToken")?),
        Some(end_of(text("Expiration")?)?),
    )
}

/// The text of the first XML element of this name, which has neither attributes nor parts. What is
/// looked for here is never escaped.
fn element<'a>(xml: &'a [u8], name: &str) -> Option<&'a str> {
    let xml = std::str::from_utf8(xml).ok()?;
    let (_before, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _after) = rest.split_once(&format!("</{name}>"))?;
    (!text.contains(['<', '&'])).then(|| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::service::double::{Double, answer};

    const GOOD: &str =
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
  <AssumeRoleWithWebIdentityResult><Credentials>
    <SessionToken>tok+/=</SessionToken><SecretAccessKey>hunter2/+</SecretAccessKey>
    <Expiration>2040-01-01T00:00:00Z</Expiration><AccessKeyId>ASIAX</AccessKeyId>
  </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

    fn fetch(status: u16, body: &'static str) -> Result<AccessKey, KeyError> {
        let double = Double::start(move |request| {
            let form = String::from_utf8(request.body.clone()).unwrap();
            assert_eq!(
                form,
                "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=envelopefs&WebIdentityToken=a.b-c_d%3D"
            );
            assert_eq!(request.header("authorization"), None);
            answer(status, &[], body.as_bytes())
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "a.b-c_d=\n").unwrap();
        let environment = Environment::of(&[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", path.to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
            ("AWS_ENDPOINT_URL_STS", &double.endpoint().to_string()),
        ]);
        let identity = WebIdentity::of_environment(&environment).unwrap().unwrap();
        identity.fetch("eu-central-1", &environment)
    }

    #[test]
    fn a_token_becomes_an_access_key() {
        let key = fetch(200, GOOD).unwrap();
        assert_eq!(
            (key.id(), &*key.secret()),
            ("ASIAX", &b"hunter2/+".to_vec())
        );
        assert_eq!(*key.token().unwrap(), "tok+/=");
        assert!(format!("{key:?}").contains("2040"));
    }

    #[test]
    fn what_sts_refuses_is_told() {
        const DENIED: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error><RequestId>r-1</RequestId></ErrorResponse>";
        let error = fetch(403, DENIED).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Denied);
        assert!(error.message().contains("AccessDenied") && error.message().contains("r-1"));
        for (status, body, kind) in [
            (500, DENIED, KeyErrorKind::Unavailable),
            (
                400,
                "<Code>ExpiredTokenException</Code>",
                KeyErrorKind::Denied,
            ),
            (400, "<Code>ValidationError</Code>", KeyErrorKind::Config),
            (400, "<Code>Throttling</Code>", KeyErrorKind::Unavailable),
            (403, "<html>a proxy</html>", KeyErrorKind::Unavailable),
        ] {
            assert_eq!(
                fetch(status, body).unwrap_err().kind(),
                kind,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn answers_without_credentials_are_none() {
        for body in [
            "",
            "{}",
            "<AccessKeyId>a</AccessKeyId>",
            "<AccessKeyId>a&amp;</AccessKeyId>",
        ] {
            let error = fetch(200, body).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{body}");
        }
    }

    #[test]
    fn a_token_without_a_role_and_a_missing_token_are_config_errors() {
        let file = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token");
        let error = WebIdentity::of_environment(&Environment::of(&[file])).unwrap_err();
        assert!(error.message().contains("AWS_ROLE_ARN"), "{error}");
        let environment = Environment::of(&[file, ("AWS_ROLE_ARN", "r")]);
        let identity = WebIdentity::of_environment(&environment).unwrap().unwrap();
        let error = identity.fetch("eu-central-1", &environment).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config);
        assert!(error.message().contains("/nonexistent/token"), "{error}");
        assert!(
            WebIdentity::of_environment(&Environment::default())
                .unwrap()
                .is_none()
        );
    }
}
