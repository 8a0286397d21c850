//! The environment of this process, where users of a service expect its credentials to be looked for.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::keys::error::KeyError;

/// The variables of an environment. An empty one counts as not set.
#[derive(Clone)]
pub struct Environment(Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>);

impl fmt::Debug for Environment {
    /// Values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(..)")
    }
}

impl Default for Environment {
    /// One without variables.
    fn default() -> Self {
        Self(Arc::new(|_name| None))
    }
}

impl Environment {
    /// The environment of this process, looked at anew each time.
    pub fn of_process() -> Self {
        Self(Arc::new(|name| std::env::var_os(name)))
    }

    /// These variables and no others.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let variables: std::collections::HashMap<String, OsString> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        Self(Arc::new(move |name| variables.get(name).cloned()))
    }

    /// A variable.
    ///
    /// # Errors
    /// `Config` where it is not UTF-8.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, KeyError> {
        let value = self.value(name).map(OsString::into_string).transpose();
        value.map_err(|_value| KeyError::config(format!("{name}: it is not UTF-8")))
    }

    /// A variable that names a file.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    /// The file of a systemd credential (`LoadCredential=`), if this service has one of that name.
    pub(crate) fn credential(&self, name: &str) -> Option<PathBuf> {
        let file = PathBuf::from_iter([self.path("CREDENTIALS_DIRECTORY")?, name.into()]);
        file.exists().then_some(file)
    }

    fn value(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_not_set() {
        let environment = Environment::of(&[("A", "1"), ("B", "")]);
        assert_eq!(environment.text("A").unwrap().as_deref(), Some("1"));
        assert_eq!(environment.text("B").unwrap(), None);
        assert_eq!(environment.path("B"), None);
        assert_eq!(environment.text("C").unwrap(), None);
    }

    #[test]
    fn a_credential_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().to_str().unwrap();
        let environment = Environment::of(&[("CREDENTIALS_DIRECTORY", directory)]);
        assert_eq!(environment.credential("token"), None);
        std::fs::write(folder.path().join("token"), "t").unwrap();
        assert_eq!(
            environment.credential("token"),
            Some(folder.path().join("token"))
        );
        assert_eq!(Environment::default().credential("token"), None);
    }

    #[test]
    fn it_shows_nothing() {
        let environment = Environment::of(&[("SECRET", "hunter2")]);
        assert!(!format!("{environment:?}").contains("hunter2"));
    }
}
