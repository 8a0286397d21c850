//! Who this machine is at Google Cloud: Application Default Credentials
//! (<https://docs.cloud.google.com/docs/authentication/application-default-credentials>).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::pem;
use crate::keys::service::renewed::Source;
use crate::keys::service::{
    Client, Endpoint, Environment, Lease, Reach, Request, Token, oauth, wire,
};

/// What an access token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// How long an assertion is good for, in seconds: the most that the service takes.
const ASSERTION_SECONDS: u64 = 3600;
/// The metadata service of Google's machines; `metadata.google.internal` is a name of it.
const METADATA: &str = "169.254.169.254";
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

/// Where access tokens come from.
#[derive(Debug)]
pub(super) enum Credentials {
    /// A file, read anew for each token: it may be exchanged, and no secret stays in memory.
    File { path: PathBuf, client: Client },
    /// The machine's own service account.
    Metadata { address: Endpoint, client: Client },
}

/// What such a file holds.
#[derive(Deserialize)]
struct Contents {
    #[serde(rename = "type")]
    kind: String,
    token_uri: Option<String>,
    client_email: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<Zeroizing<String>>,
    client_id: Option<String>,
    client_secret: Option<Zeroizing<String>>,
    refresh_token: Option<Zeroizing<String>>,
}

#[derive(Serialize)]
struct JwtHeader<'a> {
    alg: &'a str,
    typ: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

impl Credentials {
    /// Looks where users of the service have them: a systemd credential, the file that
    /// `GOOGLE_APPLICATION_CREDENTIALS` names, that of `gcloud`, the machine's own.
    ///
    /// # Errors
    /// `Config` for settings that cannot be followed.
    pub(super) fn find(environment: &Environment, reach: &Reach) -> Result<Self, KeyError> {
        let named = environment
            .credential("envelopefs.gcp-credentials")
            .or_else(|| environment.path("GOOGLE_APPLICATION_CREDENTIALS"))
            .or_else(|| gcloud_file(environment));
        if let Some(path) = named {
            // A CA or a certificate that was said for the key service goes for that alone.
            let client = Client::new(&Reach {
                timeout: reach.timeout,
                ..Reach::default()
            })?;
            return Ok(Self::File { path, client });
        }
        let host = environment.text("GCE_METADATA_HOST")?;
        let address = format!("http://{}", host.as_deref().unwrap_or(METADATA));
        let address = Endpoint::parse_or_plain(&address, &[METADATA])?;
        let client = Client::direct(
            reach
                .timeout
                .unwrap_or(METADATA_TIMEOUT)
                .min(METADATA_TIMEOUT),
        )?;
        Ok(Self::Metadata { address, client })
    }
}

impl Source for Credentials {
    type Given = Token;

    fn fetch(&self, _last: Option<&Lease>) -> Result<Lease, KeyError> {
        match self {
            Self::File { path, client } => of_file(path, client),
            Self::Metadata { address, client } => of_metadata(address, client),
        }
    }
}

/// What `gcloud auth application-default login` writes.
fn gcloud_file(environment: &Environment) -> Option<PathBuf> {
    let folder = environment.path("CLOUDSDK_CONFIG").or_else(|| {
        let home = environment.path("HOME")?;
        Some(PathBuf::from_iter([home, ".config/gcloud".into()]))
    })?;
    let file = PathBuf::from_iter([folder, "application_default_credentials.json".into()]);
    file.exists().then_some(file)
}

fn of_file(path: &Path, client: &Client) -> Result<Lease, KeyError> {
    let bytes = local_file::read("Google credentials", path, Guard::Given)?;
    let unfit =
        |what: &str| KeyError::config(format!("Google credentials {}: {what}", path.display()));
    let contents: Contents = serde_json::from_slice(&bytes)
        .map_err(|_error| unfit("expected JSON with a type, as the console or gcloud makes it"))?;
    let uri = contents.token_uri.as_deref().unwrap_or(TOKEN_URI);
    let url = Endpoint::parse(uri)?.join([]);
    match contents.kind.as_str() {
        "service_account" => {
            let who = contents.client_email.as_deref().unwrap_or_default();
            let assertion =
                assertion(&contents, uri).ok_or_else(|| unfit("no usable private key"))?;
            let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            let fields = [("grant_type", grant), ("assertion", &assertion)];
            oauth::ask(client, url, &wire::said(who), &fields)
        }
        "authorized_user" => {
            let (Some(id), Some(secret), Some(refresh)) = (
                &contents.client_id,
                &contents.client_secret,
                &contents.refresh_token,
            ) else {
                return Err(unfit(
                    "client_id, client_secret or refresh_token is missing",
                ));
            };
            let fields = [
                ("grant_type", "refresh_token"),
                ("client_id", id),
                ("client_secret", secret),
                ("refresh_token", refresh),
            ];
            oauth::ask(client, url, "the user of gcloud", &fields)
        }
        other => Err(unfit(&format!(
            "credentials of type {} are not followed: use a service_account's",
            wire::said(other)
        ))),
    }
}

/// A JSON Web Token (RFC 7519) that the service account signs; `None` where its key is none.
fn assertion(contents: &Contents, audience: &str) -> Option<Zeroizing<String>> {
    let blocks = pem::blocks(contents.private_key.as_ref()?.as_bytes()).ok()?;
    let block = blocks.iter().find(|block| block.label == "PRIVATE KEY")?;
    let key = RsaKeyPair::from_pkcs8(&block.der).ok()?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    let header = JwtHeader {
        alg: "RS256",
        typ: "JWT",
        kid: contents.private_key_id.as_deref(),
    };
    let claims = Claims {
        iss: contents.client_email.as_deref()?,
        scope: SCOPE,
        aud: audience,
        iat: now.as_secs(),
        exp: now.as_secs().saturating_add(ASSERTION_SECONDS),
    };
    let parts = [
        serde_json::to_vec(&header).ok()?,
        serde_json::to_vec(&claims).ok()?,
    ];
    let signed = parts.map(|part| BASE64URL_NOPAD.encode(&part)).join(".");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .ok()?;
    let signature = BASE64URL_NOPAD.encode(&signature);
    Some(Zeroizing::new(format!("{signed}.{signature}")))
}

fn of_metadata(address: &Endpoint, client: &Client) -> Result<Lease, KeyError> {
    let path = "computeMetadata/v1/instance/service-accounts/default/token";
    let request = Request::get(address.join(path.split('/')));
    let response = client.send(request.header("metadata-flavor", "Google")?);
    let response = response.map_err(|error| {
        KeyError::unavailable(format!(
            "no Google credentials: GOOGLE_APPLICATION_CREDENTIALS is not set, and there is no metadata service: {}",
            error.message()
        ))
    })?;
    if response.header("metadata-flavor") != Some("Google") {
        return Err(wire::stranger(&response, "the machine's own access token"));
    }
    oauth::granted(&response, "the machine's service account")
}
