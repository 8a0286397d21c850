//! `envelopekms init`: makes a service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::cli::cmd::init::{KeyPlaces, default_key_folder};
use crate::cli::errors::key;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kms::args::{JsonArgs, PlaceArgs};
use crate::cli::kms::hand_over::{Shown, exports, reachable};
use crate::cli::kms::place::{Folder, make_folder, quoted, write_new};
use crate::cli::kms::{errors, session};
use crate::cli::providers::GivenKeys;
use crate::cli::{key_files, output};
use crate::crypto::random;
use crate::keys::{Confirm, Providers};
use crate::kms::engine::ids::KeyNames;
use crate::kms::engine::ops::admin::NewAccessKey;
use crate::kms::engine::{Engine, Initial};
use crate::kms::server::Issued;
use crate::units::KeyUri;

const AFTER: &str = "\
EXAMPLES:
  envelopekms init
  envelopekms init /srv/kms --root-key passphrase: --passphrase-file /run/secrets/kms --listen 0.0.0.0:8443 --tls-name kms.example.com
  envelopekms init --root-key 'pkcs11:token=kms;object=root' --store postgres://kms@db/kms
  envelopekms init --tls-cert /etc/ssl/kms.pem --tls-key /etc/ssl/kms.key";

/// Arguments of `init`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct InitArgs {
    /// The service's folder, in place of --dir
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// The key that opens the root key: passphrase:, file:///PATH, credential:NAME, pkcs11:…, or another key service's
    ///
    /// As envelopefs knows them (docs/KEYS.md); credential:NAME is a key file that systemd hands to the service.
    /// Default: a new key file in the folder of key files, which is told.
    #[arg(long, value_name = "URI")]
    pub root_key: Option<KeyUri>,

    /// The region in the names of keys
    #[arg(long, value_name = "NAME", default_value = "local", value_parser = parse_region)]
    pub region: String,

    /// The account id in the names of keys: 12 digits
    #[arg(long, value_name = "DIGITS", default_value = "100000000000", value_parser = parse_account)]
    pub account: String,

    /// The name of the first administrator
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub administrator: String,

    /// Where the service is reached.
    #[command(flatten)]
    pub new: NewPlaceArgs,

    /// How the result is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// What a new folder is made with.
#[derive(Args, Clone, Debug)]
pub struct NewPlaceArgs {
    /// The store: a file, or postgres://USER@HOST/DATABASE
    ///
    /// No password belongs in it, where every user of the machine could read it: ~/.pgpass (or PGPASSFILE) is for that.
    /// With ?sslmode=verify-full&sslrootcert=FILE the database must prove its name; docs/kms/POSTGRESQL.md has more.
    #[arg(long, value_name = "STORE", default_value = "store.db", value_parser = parse_store)]
    pub store: String,

    /// The address that is served
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,

    /// The PKCS#11 token that keys of their own may live in: pkcs11:token=LABEL
    ///
    /// Keys are made there when they are asked for so (`key create --hsm`, ProtectionLevel HSM), and never leave it. Its
    /// query may say where this machine has the module (?module-path=) and the PIN (&pin-source=); see docs/kms/HSM.md.
    #[arg(long, value_name = "URI")]
    pub hsm: Option<KeyUri>,

    /// A host name or address by which clients reach the service, for the certificate; may be given several times
    ///
    /// localhost, the loopback addresses, this host's name and --listen are in it already.
    #[arg(long = "tls-name", value_name = "NAME", conflicts_with = "tls_cert")]
    pub tls_names: Vec<String>,

    /// The certificate (PEM, its issuers behind it), in place of one that is made
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// What clients need to trust --tls-cert (PEM), where they do not already
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
}

/// What a folder is made with for a service that there is already.
#[derive(Args, Clone, Debug)]
pub struct KnownServiceArgs {
    /// The root key, with what is of this machine: pkcs11:…?module-path=…&pin-source=…
    ///
    /// The service names it without that. Default: as the service has it
    #[arg(long, value_name = "URI")]
    pub root_key: Option<KeyUri>,

    /// Where the service is reached.
    #[command(flatten)]
    pub new: NewPlaceArgs,
}

fn parse_store(text: &str) -> Result<String, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(text.to_owned());
    };
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err("expected a file, or postgres://USER@HOST/DATABASE".to_owned());
    }
    let (user, _host) = rest.rsplit_once('@').unwrap_or_default();
    if user.contains(':') || rest.contains("password=") {
        return Err(
            "no password belongs on a command line: ~/.pgpass (PGPASSFILE) or PGPASSWORD are for it"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn parse_account(text: &str) -> Result<String, String> {
    let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_account
        .then(|| text.to_owned())
        .ok_or_else(|| "expected 12 digits".to_owned())
}

fn parse_region(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_region = (1..=32).contains(&text.len()) && text.bytes().all(is_allowed);
    is_region
        .then(|| text.to_owned())
        .ok_or_else(|| "expected 1 to 32 small letters, digits and hyphens".to_owned())
}

/// Makes a service.
///
/// # Errors
/// It cannot be made; nothing is left of it then.
pub fn run(place: &PlaceArgs, args: &InitArgs) -> Result<(), Failure> {
    let folder = Folder::of(place, args.folder.as_deref())?;
    let what = format!("cannot make a key service in {}", folder.0.display());
    session::lock_keys(&what, place)?;
    let is_made = folder.make(&what)?;
    let made = RootKey::of(&what, args.root_key.as_ref()).and_then(|root| {
        let made = make(&what, &folder, place, args, &root);
        if made.is_err() {
            root.take_back();
        }
        Ok((root, made?))
    });
    match made {
        Ok((root, (access_key, ca))) => told(&folder, args, &root, &access_key, ca.as_deref()),
        Err(failure) => {
            folder.take_back(is_made);
            Err(failure)
        }
    }
}

/// The key that opens the root key.
struct RootKey {
    uri: KeyUri,
    keys: GivenKeys,
    /// A key file that was made for it.
    made: Option<PathBuf>,
}

impl RootKey {
    fn of(what: &str, given: Option<&KeyUri>) -> Result<Self, Failure> {
        let mut made = None;
        let uri = match given {
            None => Some(new_key_file(what)?),
            Some(uri) => key_files::missing_key_file(uri),
        };
        let uri = match (uri, given) {
            (Some(path), _) => {
                let uri = key_files::make_key_file(what, &path)?;
                made = Some(path);
                uri
            }
            (None, Some(uri)) => uri.clone(),
            (None, None) => return Err(Failure::usage(what, "no root key")),
        };
        let keys = GivenKeys::parse(what, std::slice::from_ref(&uri))?;
        let uri = keys.uris.first().cloned().unwrap_or(uri);
        Ok(Self { uri, keys, made })
    }

    fn providers(&self, place: &PlaceArgs) -> Arc<Providers> {
        self.keys
            .providers(&session::passphrase(place), Confirm::Yes)
    }

    fn take_back(&self) {
        if let Some(path) = &self.made {
            key_files::take_back(path);
        }
    }
}

fn new_key_file(what: &str) -> Result<PathBuf, Failure> {
    let folder = default_key_folder(&KeyPlaces::of_this_process()).ok_or_else(|| {
        Failure::usage(what, "there is no home folder for a key file")
            .advise("name a root key: --root-key file:///path/to/key.json")
    })?;
    let name = HEXLOWER.encode(&random::array::<8>());
    Ok(folder.join(format!("envelopekms-{name}.json")))
}

fn make(
    what: &str,
    folder: &Folder,
    place: &PlaceArgs,
    args: &InitArgs,
    root: &RootKey,
) -> Result<(NewAccessKey, Option<PathBuf>), Failure> {
    let settings = lay_out(what, folder, &args.new, args.root_key.as_ref())?;
    let hsm = session::hsm(what, &settings.parsed, &root.keys)?;
    if let Some(hsm) = &hsm {
        hsm.probe().map_err(|error| key(what, &error))?;
    }
    let initial = Initial {
        names: KeyNames {
            account: args.account.clone(),
            region: args.region.clone(),
        },
        root: root.uri.clone(),
        administrator: args.administrator.clone(),
    };
    let location = folder.location(&settings.parsed);
    let trail = session::command_trail(folder, &settings.parsed);
    let options = session::options_with(location, root.providers(place), hsm, trail);
    let access_key = session::runtime(what)?.block_on(async {
        let (engine, access_key) = Engine::create(options, initial).await?;
        engine.close().await;
        Ok(access_key)
    });
    let access_key = access_key.map_err(|error| errors::open(what, &error))?;
    settings.write(what, folder)?;
    Ok((access_key, settings.parsed.tls.ca))
}

/// Settings that are to be written.
pub(super) struct NewSettings {
    pub(super) parsed: super::super::place::Settings,
    text: String,
}

impl NewSettings {
    pub(super) fn write(&self, what: &str, folder: &Folder) -> Result<(), Failure> {
        let written = folder.write_settings(&self.text);
        written.map_err(|error| Failure::new(Exit::Failure, what, error))
    }
}

impl KnownServiceArgs {
    /// Makes what is in a new folder but the store.
    pub(super) fn lay_out(&self, what: &str, folder: &Folder) -> Result<NewSettings, Failure> {
        lay_out(what, folder, &self.new, self.root_key.as_ref())
    }
}

/// Makes what is in a new folder but the store.
fn lay_out(
    what: &str,
    folder: &Folder,
    new: &NewPlaceArgs,
    root_key: Option<&KeyUri>,
) -> Result<NewSettings, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failure, what, error);
    make_folder(&folder.audit(), 0o700).map_err(failed)?;
    let (certificate, key, ca) = match (&new.tls_cert, &new.tls_key) {
        (Some(certificate), Some(key)) => {
            let absolute = |path: &Path| std::path::absolute(path).map_err(failed);
            let ca = new.tls_ca.as_deref().map(absolute).transpose()?;
            (absolute(certificate)?, absolute(key)?, ca)
        }
        _ => certificate(what, folder, new)?,
    };
    let text = settings_text(new, root_key, [&certificate, &key], ca.as_deref());
    let parsed = toml::from_str(&text);
    let mut parsed: super::super::place::Settings =
        parsed.map_err(|error| Failure::new(Exit::Failure, what, error.message()))?;
    parsed.tls.ca = ca.map(|ca| folder.path(ca));
    Ok(NewSettings { parsed, text })
}

fn settings_text(
    new: &NewPlaceArgs,
    root_key: Option<&KeyUri>,
    [certificate, key]: [&Path; 2],
    ca: Option<&Path>,
) -> String {
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let hsm = new.hsm.as_ref().map_or_else(String::new, |uri| {
        format!("hsm = {}\n", quoted(uri.as_str()))
    });
    // The store has it without what it says of this machine.
    let root_keys = root_key
        .filter(|uri| uri.as_str().contains('?'))
        .map_or_else(String::new, |uri| {
            format!("root_keys = [{}]\n", quoted(uri.as_str()))
        });
    let ca = ca.map_or_else(String::new, |ca| format!("ca = {}\n", path(ca)));
    format!(
        "# What `envelopekms serve` and every other command of this service go by. Relative paths are below this folder.\n\
         store = {}\nlisten = \"{}\"\n{hsm}{root_keys}\n[tls]\ncertificate = {}\nkey = {}\n{ca}\n[audit]\n\
         # What becomes of calls while the audit trail cannot be written: \"drop\" the line, or \"refuse\" the call.\n\
         when_full = \"drop\"\n",
        quoted(&new.store),
        new.listen,
        path(certificate),
        path(key),
    )
}

type TlsPaths = (PathBuf, PathBuf, Option<PathBuf>);

/// A certificate, and an authority for it alone, which clients are given to trust.
fn certificate(what: &str, folder: &Folder, new: &NewPlaceArgs) -> Result<TlsPaths, Failure> {
    let made = Issued::new(names(new)).map_err(|error| {
        Failure::usage(what, error).advise("give host names and addresses: --tls-name NAME")
    })?;
    let paths = ["tls/server.pem", "tls/server.key", "tls/ca.pem"].map(PathBuf::from);
    let [certificate, key, ca] = &paths;
    let files = [
        (certificate, 0o644, made.certificate.as_bytes()),
        (key, 0o600, made.key.as_bytes()),
        (ca, 0o644, made.authority.as_bytes()),
    ];
    let written = make_folder(&folder.path("tls"), 0o755).and_then(|()| {
        files
            .iter()
            .try_for_each(|(path, mode, bytes)| write_new(&folder.path(path), *mode, bytes))
    });
    written.map_err(|error| Failure::new(Exit::Failure, what, error))?;
    let [certificate, key, ca] = paths;
    Ok((certificate, key, Some(ca)))
}

fn names(new: &NewPlaceArgs) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let listen = new.listen.ip();
    let listen = (!listen.is_unspecified()).then(|| listen.to_string());
    for name in [host]
        .into_iter()
        .chain(listen)
        .chain(new.tls_names.iter().cloned())
    {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn told(
    folder: &Folder,
    args: &InitArgs,
    root: &RootKey,
    access_key: &NewAccessKey,
    ca: Option<&Path>,
) -> Result<(), Failure> {
    let address = reachable(args.new.listen);
    if args.output.json {
        return output::print_json(&json!({
            "dir": folder.0,
            "address": address,
            "region": args.region,
            "account": args.account,
            "ca": ca,
            "root_key": root.uri.as_str(),
            "root_key_file": root.made,
            "access_key": {
                "id": access_key.id,
                "secret": access_key.secret.as_str(),
                "principal": access_key.principal,
            },
        }));
    }
    let made = root.made.as_ref().map_or_else(String::new, |path| {
        format!(
            "New key file: {}\n  It opens the root key. Back it up apart from the service: without it nobody can use any key.\n",
            path.display()
        )
    });
    let secret = access_key.secret.as_str();
    let shown = Shown {
        id: &access_key.id,
        secret,
    };
    output::print(&format!(
        "Made a key service in {}\n{made}Access key of the administrator {}. Its secret is told this once:\n\n{}\nServe it: envelopekms serve {}\n",
        folder.0.display(),
        access_key.principal,
        exports(&address, &args.region, ca, &shown),
        folder.0.display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_taken_from_the_command_line() {
        for wrong in [
            "postgres://u:p@h/d",
            "postgres://u:@h/d",
            "postgresql://h/d?password=p",
            "mysql://h/d",
        ] {
            assert!(parse_store(wrong).is_err(), "{wrong}");
        }
        for right in [
            "store.db",
            "/a b/c",
            "postgres://u@h:5432/d",
            "postgres:///d?host=/run/pg",
        ] {
            assert_eq!(parse_store(right).as_deref(), Ok(right));
        }
    }

    #[test]
    fn accounts_and_regions_that_cannot_stand_in_names_are_refused() {
        for wrong in ["", "1", "12345678901a", "1234567890123"] {
            assert!(parse_account(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "Local", "a b", "a:b", &"a".repeat(33)] {
            assert!(parse_region(wrong).is_err(), "{wrong}");
        }
        assert!(parse_account("123456789012").is_ok() && parse_region("cn-north-1").is_ok());
    }
}
