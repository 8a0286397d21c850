//! The profile of the shared files, `~/.aws/credentials` and `~/.aws/config`.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::web_identity::WebIdentity;
use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::service::Environment;
use crate::keys::service::credentials::AccessKey;
use crate::keys::service::ini::Ini;

/// Ways to credentials that a profile may name and this program does not go.
const NOT_SUPPORTED: [&str; 5] = [
    "credential_process",
    "credential_source",
    "source_profile",
    "sso_session",
    "sso_start_url",
];

/// The profile that `AWS_PROFILE` names, or `default`.
pub(in super::super) struct Profile {
    name: String,
    /// Both files as one: what the credentials file says goes before the other.
    credentials: Text,
    config: Text,
}

/// A file's text, empty where it is not there.
struct Text(Zeroizing<String>);

impl Profile {
    /// The profile; `None` where neither file has one and none was asked for.
    ///
    /// # Errors
    /// `Config` where a profile was asked for that is not there, and for files that cannot be read.
    pub(in super::super) fn of(environment: &Environment) -> Result<Option<Self>, KeyError> {
        let asked = environment.text("AWS_PROFILE")?;
        let (credentials, config) = (
            file_of(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            file_of(environment, "AWS_CONFIG_FILE", "config"),
        );
        let profile = Self {
            name: asked.clone().unwrap_or_else(|| "default".to_owned()),
            credentials: Text::read("AWS credentials file", credentials.as_ref())?,
            config: Text::read("AWS config file", config.as_ref())?,
        };
        let is_there = profile.credentials.ini().has(&profile.name)
            || profile
                .config_sections()
                .any(|name| profile.config.ini().has(&name));
        match asked {
            Some(name) if !is_there => Err(KeyError::config(format!(
                "AWS_PROFILE: there is no profile {name:?} in the AWS credentials and config files"
            ))),
            _ => Ok(is_there.then_some(profile)),
        }
    }

    pub(in super::super) fn region(&self) -> Option<String> {
        self.value("region").map(|region| region.to_string())
    }

    /// The access key that stands in the profile.
    ///
    /// # Errors
    /// `Config` for half of one, and where the profile names another way that is not supported.
    pub(super) fn access_key(&self) -> Result<Option<AccessKey>, KeyError> {
        let way = NOT_SUPPORTED.iter().find(|name| self.value(name).is_some());
        // A role goes before the key that it is assumed with.
        let assumes = self.value("role_arn").is_some();
        let keys = (
            self.value("aws_access_key_id"),
            self.value("aws_secret_access_key"),
        );
        match (keys, way) {
            ((Some(id), Some(secret)), _) if !assumes => {
                let token = self.value("aws_session_token");
                let token = token.as_ref().map(|token| token.as_str());
                AccessKey::new(&id, &secret, token, None).map(Some)
            }
            (_, Some(way)) => Err(KeyError::config(format!(
                "AWS profile {:?} has {way}, which envelopefs does not support: give it an access key, or use another source",
                self.name
            ))),
            ((None, None), None) if !assumes => Ok(None),
            _ => Err(KeyError::config(format!(
                "AWS profile {:?} must have aws_access_key_id and aws_secret_access_key, and no role_arn",
                self.name
            ))),
        }
    }

    /// The web identity that stands in the profile.
    ///
    /// # Errors
    /// `Config` for a token file without a role.
    pub(super) fn web_identity(&self) -> Result<Option<WebIdentity>, KeyError> {
        let text = |name| self.value(name).map(|value| value.to_string());
        WebIdentity::of(
            text("web_identity_token_file").map(PathBuf::from),
            text("role_arn"),
            text("role_session_name"),
        )
    }

    fn value(&self, name: &str) -> Option<Zeroizing<String>> {
        let credentials = self.credentials.ini();
        let config = self.config.ini();
        let found = credentials.value(&self.name, name).or_else(|| {
            let mut sections = self.config_sections();
            sections.find_map(|section| config.value(&section, name))
        });
        found.map(|value| Zeroizing::new(value.to_owned()))
    }

    /// How the profile may be called in the config file.
    fn config_sections(&self) -> impl Iterator<Item = String> {
        let bare = (self.name == "default").then(|| self.name.clone());
        std::iter::once(format!("profile {}", self.name)).chain(bare)
    }
}

impl Text {
    fn read(what: &str, path: Option<&PathBuf>) -> Result<Self, KeyError> {
        let Some(path) = path.filter(|path| path.exists()) else {
            return Ok(Self(Zeroizing::default()));
        };
        let contents = local_file::read(what, path, Guard::Given)?;
        match std::str::from_utf8(&contents) {
            Ok(text) => Ok(Self(Zeroizing::new(text.to_owned()))),
            Err(_error) => Err(KeyError::config(format!("{what}: it is not UTF-8"))),
        }
    }

    fn ini(&self) -> Ini<'_> {
        Ini::parse(&self.0)
    }
}

/// What the variable names, else what systemd gave to this service, else what is in the home.
fn file_of(environment: &Environment, variable: &str, name: &str) -> Option<PathBuf> {
    let given = || environment.credential(&format!("envelopefs.aws-{name}"));
    let home = || Some(environment.path("HOME")?.join(".aws").join(name));
    environment.path(variable).or_else(given).or_else(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home with these files.
    struct Home(tempfile::TempDir);

    impl Home {
        fn new(credentials: &str, config: &str) -> Self {
            let home = tempfile::tempdir().unwrap();
            let folder = home.path().join(".aws");
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("credentials"), credentials).unwrap();
            std::fs::write(folder.join("config"), config).unwrap();
            Self(home)
        }

        fn profile(&self, name: Option<&str>) -> Result<Option<Profile>, KeyError> {
            let mut variables = vec![("HOME", self.0.path().to_str().unwrap())];
            variables.extend(name.map(|name| ("AWS_PROFILE", name)));
            Profile::of(&Environment::of(&variables))
        }

        fn key(&self, name: Option<&str>) -> Result<Option<AccessKey>, KeyError> {
            self.profile(name)?.unwrap().access_key()
        }
    }

    const CREDENTIALS: &str = "
[default]
aws_access_key_id = AKDEFAULT
aws_secret_access_key = hunter2
[ada]
aws_access_key_id = AKADA
aws_secret_access_key = s
aws_session_token = t
";
    const CONFIG: &str = "
[default]
region = eu-central-1
[profile ada]
region = eu-west-1
aws_access_key_id = AKOTHER
[profile only-config]
aws_access_key_id = AKCONFIG
aws_secret_access_key = s
";

    #[test]
    fn both_files_make_a_profile() {
        let home = Home::new(CREDENTIALS, CONFIG);
        for (name, id, region) in [
            (None, "AKDEFAULT", Some("eu-central-1")),
            (Some("ada"), "AKADA", Some("eu-west-1")),
            (Some("only-config"), "AKCONFIG", None),
        ] {
            assert_eq!(home.key(name).unwrap().unwrap().id(), id);
            let profile = home.profile(name).unwrap().unwrap();
            assert_eq!(profile.region().as_deref(), region);
        }
        let token = home.key(Some("ada")).unwrap().unwrap().token();
        assert_eq!(*token.unwrap(), "t");
    }

    #[test]
    fn a_missing_profile_is_an_error_only_where_it_was_asked_for() {
        let home = Home::new("", "");
        assert!(home.profile(None).unwrap().is_none());
        let error = home.profile(Some("ada")).err().unwrap();
        assert!(error.message().contains("\"ada\""), "{error}");
        let nowhere = Environment::of(&[("HOME", "/nonexistent")]);
        assert!(Profile::of(&nowhere).unwrap().is_none());
        assert!(Profile::of(&Environment::default()).unwrap().is_none());
    }

    #[test]
    fn a_systemd_credential_goes_before_the_home_and_a_variable_before_both() {
        let home = Home::new(
            "[default]\naws_access_key_id=AKHOME\naws_secret_access_key=s\n",
            "",
        );
        let folder = tempfile::tempdir().unwrap();
        let key =
            |id: &str| format!("[default]\naws_access_key_id={id}\naws_secret_access_key=s\n");
        let given = folder.path().join("envelopefs.aws-credentials");
        let named = folder.path().join("named");
        std::fs::write(&given, key("AKGIVEN")).unwrap();
        std::fs::write(&named, key("AKNAMED")).unwrap();
        let variables = [
            ("HOME", home.0.path().to_str().unwrap()),
            ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap()),
            ("AWS_SHARED_CREDENTIALS_FILE", named.to_str().unwrap()),
        ];
        for (len, id) in [(1, "AKHOME"), (2, "AKGIVEN"), (3, "AKNAMED")] {
            let profile = Profile::of(&Environment::of(&variables[..len]))
                .unwrap()
                .unwrap();
            assert_eq!(profile.access_key().unwrap().unwrap().id(), id);
        }
    }

    #[test]
    fn ways_that_are_not_supported_are_named() {
        for way in [
            "credential_process = /bin/x",
            "sso_session = s",
            "role_arn = r\nsource_profile = x\naws_access_key_id = i\naws_secret_access_key = s",
            "role_arn = r\ncredential_source = Ec2InstanceMetadata",
        ] {
            let home = Home::new("", &format!("[profile x]\n{way}\n"));
            let error = home.key(Some("x")).err().unwrap();
            assert!(error.message().contains("does not support"), "{error}");
        }
    }

    #[test]
    fn half_a_key_and_a_file_that_is_no_text_are_refused() {
        for half in [
            "aws_access_key_id = i",
            "aws_secret_access_key = hunter2",
            "role_arn = r",
        ] {
            let home = Home::new(&format!("[default]\n{half}\n"), "");
            let error = home.key(None).err().unwrap();
            assert!(!format!("{error:?}").contains("hunter2"), "{error}");
        }
        let home = Home::new("", "");
        std::fs::write(home.0.path().join(".aws/credentials"), b"\xff").unwrap();
        assert!(home.profile(None).is_err());
    }

    #[test]
    fn a_profile_may_have_a_web_identity() {
        let home = Home::new(
            "",
            "[default]\nrole_arn = r\nweb_identity_token_file = /token\n",
        );
        assert!(
            home.profile(None)
                .unwrap()
                .unwrap()
                .web_identity()
                .unwrap()
                .is_some()
        );
        let home = Home::new("", "[default]\nweb_identity_token_file = /token\n");
        assert!(home.profile(None).unwrap().unwrap().web_identity().is_err());
    }
}
