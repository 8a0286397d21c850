//! Whose credentials requests are signed with: looked for where users of AWS expect it, in their order.

mod metadata;
mod profile;
mod web_identity;

use super::region;
use crate::keys::error::KeyError;
use crate::keys::service::Environment;
use crate::keys::service::credentials::AccessKey;
use crate::keys::service::renewed::{Leased, Source};
use web_identity::WebIdentity;

pub(super) use profile::Profile;

/// The variables that hold an access key.
const VARIABLES: [&str; 3] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// The environment's access key, web identity, profile, container, instance: the first that is
/// there.
#[derive(Debug)]
pub(crate) struct Chain {
    environment: Environment,
    /// The region of the key.
    region: String,
}

impl Chain {
    pub(super) fn new(environment: Environment, region: String) -> Self {
        Self {
            environment,
            region,
        }
    }

    fn of_identity(&self, identity: &WebIdentity) -> Result<AccessKey, KeyError> {
        identity.fetch(&self.sts_region()?, &self.environment)
    }

    /// Where STS is asked: in the region of this machine, where it says one. That of the key may have been
    /// chosen by whoever wrote to the ciphertext folder, and STS is sent what this machine proves itself
    /// with.
    fn sts_region(&self) -> Result<String, KeyError> {
        let of_machine = region::of_machine(&self.environment)?;
        Ok(of_machine.unwrap_or_else(|| self.region.clone()))
    }
}

impl Source for Chain {
    type Given = AccessKey;

    fn fetch(&self, _last: Option<&Leased<AccessKey>>) -> Result<Leased<AccessKey>, KeyError> {
        self.find().map(Leased::from)
    }
}

impl Chain {
    fn find(&self) -> Result<AccessKey, KeyError> {
        let environment = &self.environment;
        if let Some(key) = AccessKey::of_environment(environment, VARIABLES)? {
            return Ok(key);
        }
        if let Some(identity) = WebIdentity::of_environment(environment)? {
            return self.of_identity(&identity);
        }
        if let Some(profile) = Profile::of(environment)? {
            if let Some(identity) = profile.web_identity()? {
                return self.of_identity(&identity);
            }
            if let Some(key) = profile.access_key()? {
                return Ok(key);
            }
        }
        match metadata::of_container(environment)? {
            Some(key) => Ok(key),
            None => metadata::of_instance(environment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::error::KeyErrorKind;
    use crate::keys::service::double::{Double, json};

    fn fetch(variables: &[(&str, &str)]) -> Result<AccessKey, KeyError> {
        Chain::new(Environment::of(variables), "eu-central-1".to_owned()).find()
    }

    const KEY: [(&str, &str); 3] = [
        ("AWS_ACCESS_KEY_ID", "AKENV"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "t"),
    ];

    fn credentials_file() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[default]\naws_access_key_id=AKFILE\naws_secret_access_key=s\n";
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_environment_is_first() {
        let file = credentials_file();
        let file = ("AWS_SHARED_CREDENTIALS_FILE", file.path().to_str().unwrap());
        let key = fetch(&[KEY[0], KEY[1], KEY[2], file]).unwrap();
        assert_eq!((key.id(), key.token().unwrap().as_str()), ("AKENV", "t"));
        assert_eq!(*key.secret(), b"hunter2");
        assert_eq!(fetch(&[file]).unwrap().id(), "AKFILE");
    }

    #[test]
    fn sts_is_asked_in_the_machine_s_region_before_that_of_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, "[default]\nregion = eu-west-3\n").unwrap();
        let all = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-2"),
            ("AWS_CONFIG_FILE", file.to_str().unwrap()),
        ];
        let region = |variables: &[_]| {
            Chain::new(Environment::of(variables), "cn-north-1".to_owned()).sts_region()
        };
        for (variables, expected) in [
            (&all[..], "eu-west-1"),
            (&all[1..], "eu-west-2"),
            (&all[2..], "eu-west-3"),
            (&[], "cn-north-1"),
        ] {
            assert_eq!(region(variables).unwrap(), expected);
        }
        assert!(region(&[("AWS_REGION", "evil.example/")]).is_err());
        assert!(region(&[("AWS_PROFILE", "nobody")]).is_err());
    }

    #[test]
    fn the_profile_goes_before_the_container_and_that_before_the_instance() {
        let double = Double::start(|request| {
            assert!(request.path.ends_with("/task"), "{}", request.path);
            json(
                200,
                &serde_json::json!({
                    "AccessKeyId": "AKTASK", "SecretAccessKey": "s", "Token": "t",
                    "Expiration": "2040-01-01T00:00:00Z",
                }),
            )
        });
        let uri = format!("{}/task", double.endpoint());
        let container = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str());
        assert_eq!(fetch(&[container]).unwrap().id(), "AKTASK");
        let file = credentials_file();
        let file = ("AWS_SHARED_CREDENTIALS_FILE", file.path().to_str().unwrap());
        assert_eq!(fetch(&[container, file]).unwrap().id(), "AKFILE");
    }

    #[test]
    fn where_there_are_none_it_says_where_it_looked() {
        let error = fetch(&[("AWS_EC2_METADATA_DISABLED", "true")]).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config);
        for place in ["AWS_ACCESS_KEY_ID", "~/.aws/credentials", "metadata"] {
            assert!(error.message().contains(place), "{error}");
        }
    }
}
