//! What this machine says: where the service is, and who it is there. The variables are those of the
//! `bao` and `vault` programs: `BAO_X` where it is set, else `VAULT_X`.

use std::path::PathBuf;

use super::login::{Identity, Secret};
use super::vault::Vault;
use crate::keys::error::KeyError;
use crate::keys::service::{Client, Endpoint, Environment, Reach};

/// Where Kubernetes puts a pod's token.
const KUBERNETES_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The settings of this machine.
pub(super) struct Settings<'a> {
    environment: &'a Environment,
}

impl<'a> Settings<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self { environment }
    }

    /// The server: as `of_key` says, else as the environment does.
    ///
    /// # Errors
    /// `Config` where no address is said, and for settings that cannot be followed.
    pub(super) fn vault(&self, of_key: Reach, namespace: Option<&str>) -> Result<Vault, KeyError> {
        self.refuse_what_is_not_followed()?;
        let address = self.text("ADDR")?;
        let reach = of_key.or(Reach {
            endpoint: address.map(|text| Endpoint::parse(&text)).transpose()?,
            ca: self.path("CACERT"),
            client_cert: self.path("CLIENT_CERT"),
            client_key: self.path("CLIENT_KEY"),
            timeout: None,
        });
        let endpoint = reach.endpoint.clone().ok_or_else(|| {
            KeyError::config(
                "no address of the service: set VAULT_ADDR or BAO_ADDR, or give ?address=",
            )
        })?;
        let own = self.text("NAMESPACE")?;
        let namespace = namespace.map(str::to_owned).or_else(|| own.clone());
        Ok(Vault::new(Client::new(&reach)?, endpoint, namespace, own))
    }

    /// Who this machine is. What is said on purpose goes before what lies about.
    ///
    /// # Errors
    /// `Config` where nothing says it.
    pub(super) fn identity(&self) -> Result<Identity, KeyError> {
        if let Some(token) = self.secret("envelopefs.vault-token", "TOKEN")? {
            return Ok(Identity::Token(token));
        }
        if let Some(role_id) = self.secret("envelopefs.vault-role-id", "ROLE_ID")? {
            let secret_id = self.secret("envelopefs.vault-secret-id", "SECRET_ID")?;
            let mount = self.text("AUTH_PATH")?;
            return Ok(Identity::AppRole {
                mount: mount.unwrap_or_else(|| "approle".to_owned()),
                role_id,
                secret_id,
            });
        }
        if let Some(role) = self.text("K8S_ROLE")? {
            let mount = self.text("AUTH_PATH")?;
            let jwt = self.path("K8S_TOKEN_FILE");
            return Ok(Identity::Kubernetes {
                mount: mount.unwrap_or_else(|| "kubernetes".to_owned()),
                role,
                jwt: jwt.unwrap_or_else(|| KUBERNETES_TOKEN.into()),
            });
        }
        let home = self.environment.path("HOME").unwrap_or_default();
        let file = PathBuf::from_iter([home, ".vault-token".into()]);
        if file.exists() {
            return Ok(Identity::Token(Secret::File(file)));
        }
        Err(KeyError::config(
            "nothing says who this machine is: set VAULT_TOKEN or VAULT_TOKEN_FILE, VAULT_ROLE_ID and VAULT_SECRET_ID, or VAULT_K8S_ROLE; or log in (bao login)",
        ))
    }

    /// A credential of systemd, a variable, or a file that a variable names.
    fn secret(&self, credential: &str, name: &str) -> Result<Option<Secret>, KeyError> {
        if let Some(file) = self.environment.credential(credential) {
            return Ok(Some(Secret::File(file)));
        }
        if let Some(text) = self.text(name)? {
            return Ok(Some(Secret::kept(&format!("VAULT_{name}"), &text)?));
        }
        Ok(self.path(&format!("{name}_FILE")).map(Secret::File))
    }

    /// To pass over these would be worse than to stop.
    fn refuse_what_is_not_followed(&self) -> Result<(), KeyError> {
        let skip = self.text("SKIP_VERIFY")?.unwrap_or_default();
        if !matches!(
            skip.as_str(),
            "" | "0" | "false" | "f" | "F" | "FALSE" | "False"
        ) {
            return Err(KeyError::config(
                "VAULT_SKIP_VERIFY is set: the server's certificate is always checked; name its CA by VAULT_CACERT",
            ));
        }
        for (name, instead) in [
            ("CAPATH", "name one file by VAULT_CACERT"),
            (
                "TLS_SERVER_NAME",
                "give the address by the name in the server's certificate",
            ),
        ] {
            if self.text(name)?.is_some() {
                return Err(KeyError::config(format!(
                    "VAULT_{name} is not followed: {instead}"
                )));
            }
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Result<Option<String>, KeyError> {
        match self.environment.text(&format!("BAO_{name}"))? {
            Some(text) => Ok(Some(text)),
            None => self.environment.text(&format!("VAULT_{name}")),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let bao = self.environment.path(&format!("BAO_{name}"));
        bao.or_else(|| self.environment.path(&format!("VAULT_{name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::error::KeyErrorKind;

    fn vault(variables: &[(&str, &str)], of_key: Reach) -> Result<Vault, KeyError> {
        Settings::new(&Environment::of(variables)).vault(of_key, None)
    }

    fn identity(variables: &[(&str, &str)]) -> Result<Identity, KeyError> {
        Settings::new(&Environment::of(variables)).identity()
    }

    #[test]
    fn an_address_given_for_the_key_goes_first_then_openbao_s_then_vault_s() {
        let vault_addr = ("VAULT_ADDR", "https://vault.example:8200");
        let bao_addr = ("BAO_ADDR", "https://bao.example:8200");
        let of_key = Reach {
            endpoint: Some(Endpoint::parse("https://key.example").unwrap()),
            ..Reach::default()
        };
        let endpoint = |variables: &[_], of_key: &Reach| {
            vault(variables, of_key.clone())
                .unwrap()
                .endpoint()
                .to_string()
        };
        let none = Reach::default();
        assert_eq!(
            endpoint(&[vault_addr, bao_addr], &of_key),
            "https://key.example"
        );
        assert_eq!(endpoint(&[vault_addr, bao_addr], &none), bao_addr.1);
        assert_eq!(endpoint(&[vault_addr], &none), vault_addr.1);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let address = ("VAULT_ADDR", "https://vault.example");
        for (variables, name) in [
            (&[][..], "VAULT_ADDR"),
            (&[("VAULT_ADDR", "http://vault.example")], "https"),
            (
                &[address, ("VAULT_SKIP_VERIFY", "true")],
                "VAULT_SKIP_VERIFY",
            ),
            (&[address, ("BAO_SKIP_VERIFY", "1")], "VAULT_SKIP_VERIFY"),
            (&[address, ("VAULT_CAPATH", "/etc/ssl")], "VAULT_CAPATH"),
            (
                &[address, ("VAULT_TLS_SERVER_NAME", "x")],
                "VAULT_TLS_SERVER_NAME",
            ),
            (
                &[address, ("VAULT_CACERT", "/nonexistent.pem")],
                "/nonexistent.pem",
            ),
            (
                &[address, ("VAULT_CLIENT_CERT", "/nonexistent.pem")],
                "/nonexistent.pem",
            ),
        ] {
            let error = vault(variables, Reach::default()).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(vault(&[address, ("VAULT_SKIP_VERIFY", "false")], Reach::default()).is_ok());
    }

    #[test]
    fn what_is_said_on_purpose_goes_before_what_lies_about() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        for name in [".vault-token", "envelopefs.vault-token"] {
            std::fs::write(folder.path().join(name), "t").unwrap();
        }
        let file_of = |identity: Identity| match identity {
            Identity::Token(Secret::File(file)) => file.file_name().unwrap().to_owned(),
            other => panic!("{other:?}"),
        };
        let home = ("HOME", path);
        assert_eq!(file_of(identity(&[home]).unwrap()), ".vault-token");
        let credentials = ("CREDENTIALS_DIRECTORY", path);
        let token = ("VAULT_TOKEN", "t");
        let first = identity(&[home, credentials, token]).unwrap();
        assert_eq!(file_of(first), "envelopefs.vault-token");
        let role = ("VAULT_ROLE_ID", "r");
        let second = identity(&[home, role, token]).unwrap();
        assert!(matches!(second, Identity::Token(Secret::Kept { .. })));
        let third = identity(&[home, role, ("VAULT_TOKEN_FILE", "/x")]).unwrap();
        assert!(matches!(third, Identity::Token(Secret::File(_))));
        let fourth = identity(&[home, role, ("VAULT_K8S_ROLE", "r")]).unwrap();
        assert!(matches!(
            fourth,
            Identity::AppRole {
                secret_id: None,
                ..
            }
        ));
        let fifth = identity(&[home, ("VAULT_K8S_ROLE", "r")]).unwrap();
        assert!(matches!(fifth, Identity::Kubernetes { .. }));
    }

    #[test]
    fn who_says_nothing_is_told_what_to_say() {
        let error = identity(&[("HOME", "/nonexistent")]).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config);
        assert!(error.to_string().contains("VAULT_TOKEN"), "{error}");
    }

    #[test]
    fn no_secret_shows() {
        let variables = [("VAULT_ROLE_ID", "hunter1"), ("VAULT_SECRET_ID", "hunter2")];
        let text = format!("{:?}", identity(&variables).unwrap());
        assert!(!text.contains("hunter"), "{text}");
        assert!(
            identity(&[("VAULT_TOKEN", "a\nb: hunter2")]).is_err_and(|error| {
                !error.to_string().contains("hunter2") && error.to_string().contains("VAULT_TOKEN")
            })
        );
    }
}
