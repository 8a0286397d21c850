//! Whose credentials requests are signed with: looked for where users of Alibaba Cloud expect it, in their
//! order.

use std::path::PathBuf;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::service::credentials::{AccessKey, end_of};
use crate::keys::service::ini::Ini;
use crate::keys::service::renewed::{Leased, Source};
use crate::keys::service::{Endpoint, Environment, metadata};

/// The instance metadata service.
const INSTANCE: [&str; 1] = ["100.100.100.200"];
static INSTANCE_DIALECT: metadata::Dialect = metadata::Dialect {
    ttl_header: "x-aliyun-ecs-metadata-token-ttl-seconds",
    token_header: "x-aliyun-ecs-metadata-token",
    roles: ["latest", "meta-data", "ram", "security-credentials"],
};

/// The variables that hold an access key.
const VARIABLES: [&str; 3] = [
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
];

/// The environment's access key, the profile, the instance's role: the first that is there.
#[derive(Debug)]
pub(crate) struct Chain {
    environment: Environment,
}

/// What a profile says.
enum Profile {
    Key(AccessKey),
    /// The role of the instance; the one that it has, where none is named.
    Role(Option<String>),
}

/// Temporary credentials.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Temporary {
    access_key_id: String,
    access_key_secret: Zeroizing<String>,
    security_token: Zeroizing<String>,
    expiration: String,
}

impl Chain {
    pub(super) fn new(environment: Environment) -> Self {
        Self { environment }
    }

    /// What the profile that `ALIBABA_CLOUD_PROFILE` names says, or `default`; `None` without a file.
    fn profile(&self) -> Result<Option<Profile>, KeyError> {
        let Some((path, was_named)) = self.file() else {
            return Ok(None);
        };
        let contents = local_file::read("Alibaba Cloud credentials file", &path, Guard::Given)?;
        let refused = |why: String| {
            KeyError::config(format!(
                "Alibaba Cloud credentials file {}: {why}",
                path.display()
            ))
        };
        let text = std::str::from_utf8(&contents);
        let ini = Ini::parse(text.map_err(|_error| refused("it is not UTF-8".to_owned()))?);
        let asked = self.environment.text("ALIBABA_CLOUD_PROFILE")?;
        let is_asked_for = was_named || asked.is_some();
        let name = asked.unwrap_or_else(|| "default".to_owned());
        if !ini.has(&name) {
            let missing = is_asked_for.then(|| refused(format!("there is no profile {name:?}")));
            return missing.map_or(Ok(None), Err);
        }
        // A comment may follow a value.
        let value = |key| ini.value(&name, key)?.split('#').next().map(str::trim);
        let half = || {
            refused(format!(
                "profile {name:?} lacks access_key_id or access_key_secret"
            ))
        };
        match value("type") {
            Some("ecs_ram_role") => Ok(Some(Profile::Role(value("role_name").map(str::to_owned)))),
            None | Some("access_key" | "sts") => {
                let id = value("access_key_id").ok_or_else(half)?;
                let secret = value("access_key_secret").ok_or_else(half)?;
                let key = AccessKey::new(id, secret, value("security_token"), None)?;
                Ok(Some(Profile::Key(key)))
            }
            Some(kind) => Err(refused(format!(
                "profile {name:?} has the type {kind:?}, which envelopefs does not support: known are access_key, sts and ecs_ram_role"
            ))),
        }
    }

    /// The credentials file, and whether somebody named it.
    fn file(&self) -> Option<(PathBuf, bool)> {
        let environment = &self.environment;
        let named = environment.path("ALIBABA_CLOUD_CREDENTIALS_FILE");
        let given = || environment.credential("envelopefs.alibaba-credentials");
        if let Some(path) = named.or_else(given) {
            return Some((path, true));
        }
        let folder = environment.path("HOME")?.join(".alibabacloud");
        let mut known = ["credentials.ini", "credentials"]
            .map(|name| folder.join(name))
            .into_iter();
        Some((known.find(|path| path.exists())?, false))
    }

    fn of_instance(&self, role: Option<&str>) -> Result<AccessKey, KeyError> {
        let said = self
            .environment
            .text("ENVELOPEFS_ALIKMS_METADATA_ENDPOINT")?;
        let own = || format!("http://{}", INSTANCE[0]);
        let endpoint = Endpoint::parse_or_plain(&said.unwrap_or_else(own), &INSTANCE)?;
        let answer = metadata::role_s_key(&endpoint, &INSTANCE_DIALECT, role)?;
        let temporary: Temporary = answer.json()?;
        AccessKey::new(
            &temporary.access_key_id,
            &temporary.access_key_secret,
            Some(&temporary.security_token),
            Some(end_of(&temporary.expiration)?),
        )
    }

    fn of_instance_at_last(&self) -> Result<AccessKey, KeyError> {
        const NO_OTHERS: &str = "no Alibaba Cloud credentials: neither ALIBABA_CLOUD_ACCESS_KEY_ID nor a profile (~/.alibabacloud/credentials.ini)";
        let disabled = self
            .environment
            .text("ALIBABA_CLOUD_ECS_METADATA_DISABLED")?;
        if disabled.is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
            return Err(KeyError::config(format!(
                "{NO_OTHERS}, and ALIBABA_CLOUD_ECS_METADATA_DISABLED forbids to ask the instance's metadata service"
            )));
        }
        let role = self.environment.text("ALIBABA_CLOUD_ECS_METADATA")?;
        self.of_instance(role.as_deref()).map_err(|error| {
            let why = error.message();
            let message = format!("{NO_OTHERS}, and of the instance's metadata service: {why}");
            KeyError::new(error.kind(), message)
        })
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
        if let Some(key) = AccessKey::of_environment(&self.environment, VARIABLES)? {
            return Ok(key);
        }
        match self.profile()? {
            Some(Profile::Key(key)) => Ok(key),
            Some(Profile::Role(role)) => self.of_instance(role.as_deref()),
            None => self.of_instance_at_last(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::keys::error::KeyErrorKind;
    use crate::keys::service::double::Double;
    use crate::keys::service::metadata::testing;

    fn fetch(variables: &[(&str, &str)]) -> Result<AccessKey, KeyError> {
        Chain::new(Environment::of(variables)).find()
    }

    const KEY: [(&str, &str); 3] = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "AKENV"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "hunter2"),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", "t"),
    ];

    fn with_file(text: &str, more: &[(&str, &str)]) -> Result<AccessKey, KeyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.ini");
        std::fs::write(&path, text).unwrap();
        let mut variables = vec![("ALIBABA_CLOUD_CREDENTIALS_FILE", path.to_str().unwrap())];
        variables.extend_from_slice(more);
        fetch(&variables)
    }

    const FILE: &str = "
[default]
type = access_key # the usual one
access_key_id = AKFILE
access_key_secret = hunter2
[temporary]
type = sts
access_key_id = AKSTS
access_key_secret = s
security_token = tok
[role]
type = ecs_ram_role
role_name = files
[other]
type = ram_role_arn
[half]
access_key_id = AKHALF
";

    fn role() -> Value {
        json!({
            "Code": "Success", "AccessKeyId": "STS.ROLE", "AccessKeySecret": "hunter2",
            "SecurityToken": "tok", "Expiration": "2040-01-01T00:00:00Z",
        })
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let key = with_file(FILE, &KEY).unwrap();
        assert_eq!((key.id(), key.token().unwrap().as_str()), ("AKENV", "t"));
        assert_eq!(with_file(FILE, &[]).unwrap().id(), "AKFILE");
        let sts = with_file(FILE, &[("ALIBABA_CLOUD_PROFILE", "temporary")]).unwrap();
        assert_eq!((sts.id(), sts.token().unwrap().as_str()), ("AKSTS", "tok"));
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (profile, says) in [
            ("other", "ram_role_arn"),
            ("half", "lacks"),
            ("none", "no profile"),
        ] {
            let error = with_file(FILE, &[("ALIBABA_CLOUD_PROFILE", profile)]).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config);
            assert!(error.message().contains(says), "{error}");
        }
        let missing = fetch(&[("ALIBABA_CLOUD_CREDENTIALS_FILE", "/nonexistent")]).unwrap_err();
        assert!(missing.message().contains("/nonexistent"), "{missing}");
    }

    #[test]
    fn a_home_without_a_profile_asks_the_instance() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".alibabacloud")).unwrap();
        std::fs::write(home.path().join(".alibabacloud/credentials"), "[x]\n").unwrap();
        let instance = testing::instance(&INSTANCE_DIALECT, "files", role);
        let address = instance.endpoint().to_string();
        let home = ("HOME", home.path().to_str().unwrap());
        let key = fetch(&[home, ("ENVELOPEFS_ALIKMS_METADATA_ENDPOINT", &address)]).unwrap();
        assert_eq!(key.id(), "STS.ROLE");
    }

    fn of_instance(instance: &Double, more: &[(&str, &str)]) -> Result<AccessKey, KeyError> {
        let address = instance.endpoint().to_string();
        let mut variables = vec![("ENVELOPEFS_ALIKMS_METADATA_ENDPOINT", address.as_str())];
        variables.extend_from_slice(more);
        fetch(&variables)
    }

    #[test]
    fn an_instance_gives_its_role_s_key() {
        let instance = testing::instance(&INSTANCE_DIALECT, "files", role);
        let key = of_instance(&instance, &[]).unwrap();
        assert_eq!(
            (key.id(), &*key.secret()),
            ("STS.ROLE", &b"hunter2".to_vec())
        );
        assert_eq!(*key.token().unwrap(), "tok");
        assert!(format!("{key:?}").contains("2040"));
        assert_eq!(instance.calls(), 3);
        of_instance(&instance, &[("ALIBABA_CLOUD_ECS_METADATA", "files")]).unwrap();
        assert_eq!(instance.calls(), 5);
    }

    #[test]
    fn an_instance_without_role_or_answer_gives_none() {
        let without = testing::instance(&INSTANCE_DIALECT, "", role);
        assert_eq!(
            of_instance(&without, &[]).unwrap_err().kind(),
            KeyErrorKind::Config
        );
        let odd = testing::instance(&INSTANCE_DIALECT, "files", || json!({"Code": "Failed"}));
        assert_eq!(
            of_instance(&odd, &[]).unwrap_err().kind(),
            KeyErrorKind::Unavailable
        );
        let error =
            of_instance(&odd, &[("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")]).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config);
        assert!(
            error.message().contains("ALIBABA_CLOUD_ACCESS_KEY_ID"),
            "{error}"
        );
        let elsewhere = [("ENVELOPEFS_ALIKMS_METADATA_ENDPOINT", "http://10.0.0.1")];
        assert_eq!(fetch(&elsewhere).unwrap_err().kind(), KeyErrorKind::Config);
    }
}
