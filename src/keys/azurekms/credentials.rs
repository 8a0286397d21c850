//! Who this machine is at Azure, by the variables that Azure's own libraries know
//! (<https://learn.microsoft.com/en-us/dotnet/api/overview/azure/identity-readme>).

use std::path::PathBuf;
use std::time::Duration;

use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::passphrase_source::Locked;
use crate::keys::service::renewed::Source;
use crate::keys::service::{Client, Endpoint, Environment, Lease, Reach, Request, Token, oauth};

const AUTHORITY: &str = "https://login.microsoftonline.com";
/// The metadata service of Azure's machines.
const METADATA: &str = "169.254.169.254";
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// RFC 7523.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Where access tokens come from.
#[derive(Debug)]
pub(super) struct Credentials {
    client: Client,
    /// The vaults that tokens are for.
    resource: String,
    identity: Identity,
}

#[derive(Debug)]
enum Identity {
    /// An application, registered in a tenant.
    Application {
        authority: Endpoint,
        tenant: String,
        client_id: String,
        proof: Proof,
    },
    /// The machine's own.
    Managed {
        address: Endpoint,
        /// Which of several.
        client_id: Option<String>,
    },
}

/// How an application shows that it is that.
#[derive(Debug)]
enum Proof {
    Secret(Locked),
    SecretFile(PathBuf),
    /// A token of another issuer, which is exchanged in the file as it ends.
    FederatedFile(PathBuf),
}

impl Credentials {
    /// Looks where Azure's libraries do: a secret, a federated token, the machine's own.
    ///
    /// # Errors
    /// `Config` for settings that cannot be followed.
    pub(super) fn find(
        environment: &Environment,
        reach: &Reach,
        resource: String,
    ) -> Result<Self, KeyError> {
        let client_id = environment.text("AZURE_CLIENT_ID")?;
        if let Some(proof) = Proof::find(environment)? {
            let missing = |name: &str| KeyError::config(format!("{name} is not set"));
            let authority = environment.text("AZURE_AUTHORITY_HOST")?;
            let tenant = environment.text("AZURE_TENANT_ID")?;
            let identity = Identity::Application {
                authority: Endpoint::parse(authority.as_deref().unwrap_or(AUTHORITY))?,
                tenant: tenant.ok_or_else(|| missing("AZURE_TENANT_ID"))?,
                client_id: client_id.ok_or_else(|| missing("AZURE_CLIENT_ID"))?,
                proof,
            };
            // A CA or a certificate that was said for the key service goes for that alone.
            let client = Client::new(&Reach {
                timeout: reach.timeout,
                ..Reach::default()
            })?;
            return Ok(Self {
                client,
                resource,
                identity,
            });
        }
        let address = environment.text("AZURE_POD_IDENTITY_AUTHORITY_HOST")?;
        let address = address.unwrap_or_else(|| format!("http://{METADATA}"));
        let timeout = reach
            .timeout
            .unwrap_or(METADATA_TIMEOUT)
            .min(METADATA_TIMEOUT);
        Ok(Self {
            client: Client::direct(timeout)?,
            resource,
            identity: Identity::Managed {
                address: Endpoint::parse_or_plain(&address, &[METADATA])?,
                client_id,
            },
        })
    }
}

impl Proof {
    fn find(environment: &Environment) -> Result<Option<Self>, KeyError> {
        if let Some(file) = environment.credential("envelopefs.azure-client-secret") {
            return Ok(Some(Self::SecretFile(file)));
        }
        if let Some(secret) = environment.text("AZURE_CLIENT_SECRET")? {
            return Ok(Some(Self::Secret(Locked::new(secret.as_bytes())?)));
        }
        Ok(environment
            .path("AZURE_FEDERATED_TOKEN_FILE")
            .map(Self::FederatedFile))
    }
}

impl Source for Credentials {
    type Given = Token;

    fn fetch(&self, _last: Option<&Lease>) -> Result<Lease, KeyError> {
        match &self.identity {
            Identity::Application {
                authority,
                tenant,
                client_id,
                proof,
            } => {
                let url = authority.join([tenant, "oauth2", "v2.0", "token"]);
                let scope = format!("{}/.default", self.resource);
                let fields = [
                    ("grant_type", "client_credentials"),
                    ("client_id", client_id),
                    ("scope", &scope),
                ];
                let who = format!("application {client_id}");
                let ask = |proof: &[(&str, &str)]| {
                    oauth::ask(&self.client, url, &who, &[&fields[..], proof].concat())
                };
                match proof {
                    Proof::Secret(secret) => {
                        let secret = secret.reveal();
                        let secret = std::str::from_utf8(&secret).unwrap_or_default();
                        ask(&[("client_secret", secret)])
                    }
                    Proof::SecretFile(file) => {
                        let secret =
                            local_file::read_line("Azure client secret", file, Guard::Given)?;
                        ask(&[("client_secret", &secret)])
                    }
                    Proof::FederatedFile(file) => {
                        let token = local_file::read_line("federated token", file, Guard::Given)?;
                        ask(&[
                            ("client_assertion_type", ASSERTION_TYPE),
                            ("client_assertion", &token),
                        ])
                    }
                }
            }
            Identity::Managed { address, client_id } => {
                self.of_machine(address, client_id.as_deref())
            }
        }
    }
}

impl Credentials {
    fn of_machine(&self, address: &Endpoint, client_id: Option<&str>) -> Result<Lease, KeyError> {
        let mut url = address.join(["metadata", "identity", "oauth2", "token"]);
        url.query_pairs_mut()
            .append_pair("api-version", "2018-02-01")
            .append_pair("resource", &self.resource);
        if let Some(client_id) = client_id {
            url.query_pairs_mut().append_pair("client_id", client_id);
        }
        let response = self
            .client
            .send(Request::get(url).header("metadata", "true")?);
        let response = response.map_err(|error| {
            KeyError::unavailable(format!(
                "no Azure credentials: neither AZURE_CLIENT_SECRET nor AZURE_FEDERATED_TOKEN_FILE is set, and there is no metadata service: {}",
                error.message()
            ))
        })?;
        oauth::granted(&response, "the machine's managed identity")
    }
}
