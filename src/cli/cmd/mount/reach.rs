//! What of this machine a mount reaches when it is there: files that it reads again or writes, and ports of key services.
//! What nobody named here and the providers' own files do not tell is out of its reach.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::{AuditTo, MountRequest};
use crate::cli::args::PassphraseFrom;
use crate::cli::config;
use crate::daemon::sandbox::Reach;
use crate::keys::{file, gcpkms, percent, rsa};
use crate::units::KeyUri;

/// Variables that name files and folders of providers begin so.
const OF_PROVIDERS: &[&str] = &[
    "ALIBABA_CLOUD_",
    "AWS_",
    "AZURE_",
    "BAO_",
    "CLOUDSDK_",
    "CREDENTIALS_DIRECTORY",
    "ENVELOPEFS_ALIKMS_",
    "ENVELOPEFS_KMIP_",
    "ENVELOPEFS_RSA_",
    "GOOGLE_",
    "SSL_CERT_",
    "VAULT_",
];

/// Where providers look below the home folder if no variable says otherwise.
const AT_HOME: &[&str] = &[".aliyun", ".aws", ".config/gcloud", ".vault-token"];

/// Where containers of Kubernetes have the tokens of their services.
const OF_CONTAINERS: &[&str] = &["/var/run/secrets"];

/// Ports of HTTP, of HTTPS, and of Vault where nothing else is said.
const USUAL_PORTS: [u16; 3] = [80, 443, 8200];

/// Of a mount of a volume that `stored` keys open; `metrics` is the whole path of a file.
pub(super) fn of(request: &MountRequest, stored: &[KeyUri], metrics: Option<&Path>) -> Reach {
    let keys = if request.keys.is_empty() {
        stored
    } else {
        &request.keys
    };
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let mut reach = Reach::default();
    for path in config::files() {
        reach.read_file(&config::from_start(&path));
    }
    if let PassphraseFrom::File(path) = &request.passphrase {
        reach.read_file(&config::from_start(path));
    }
    if let AuditTo::File(path) = &request.audit {
        reach.keep_file(&config::from_start(path));
    }
    if let Some(path) = metrics {
        reach.keep_file(path);
    }
    of_keys(&mut reach, keys);
    of_environment(&mut reach, &environment);
    reach.read.extend(OF_CONTAINERS.iter().map(PathBuf::from));
    reach.ports = ports(&request.keys, &environment);
    reach
}

/// A key file gets new versions, so its folder is written too.
fn of_keys(reach: &mut Reach, keys: &[KeyUri]) {
    for key in keys {
        let (rest, query) = key.rest().split_once('?').unwrap_or((key.rest(), ""));
        let main = rest.split(';').next().unwrap_or_default();
        let main = decoded(main.strip_prefix("//").unwrap_or(main));
        if key.scheme() == file::SCHEME {
            reach.keep_file(&main);
        } else if key.scheme() == rsa::SCHEME {
            reach.read_file(&main);
        }
        for attribute in query.split(['&', ';']) {
            let value = attribute.split_once('=').map_or("", |(_name, value)| value);
            let path = decoded(value);
            if path.is_absolute() {
                reach.read_file(&path);
            }
        }
    }
}

fn decoded(text: &str) -> PathBuf {
    let bytes = percent::decode(text, |_byte| true).unwrap_or_default();
    PathBuf::from(OsString::from_vec(bytes))
}

fn of_environment(reach: &mut Reach, environment: &[(OsString, OsString)]) {
    let of_providers = |name: &OsStr| {
        OF_PROVIDERS
            .iter()
            .any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
    };
    for (name, value) in environment {
        if of_providers(name) {
            add(reach, Path::new(value));
        } else if name == "HOME" {
            // These alone, and not all that lies beside them.
            let below = AT_HOME.iter().map(|below| Path::new(value).join(below));
            reach.read.extend(below);
        }
    }
}

fn add(reach: &mut Reach, path: &Path) {
    if path.is_dir() {
        reach.read.insert(path.to_owned());
    } else if path.is_absolute() {
        reach.read_file(path);
    }
}

/// Of the keys that alone may be used; None where others may come, or where addresses stand in files: the credentials of
/// Google Cloud.
fn ports(given: &[KeyUri], environment: &[(OsString, OsString)]) -> Option<BTreeSet<u16>> {
    if given.is_empty() || given.iter().any(|key| key.scheme() == gcpkms::SCHEME) {
        return None;
    }
    let mut ports = BTreeSet::from(USUAL_PORTS);
    for key in given {
        ports.extend(ports_in(&decoded(key.as_str()).to_string_lossy()));
    }
    for (name, value) in environment {
        let value = value.to_string_lossy();
        let is_proxy = name
            .to_string_lossy()
            .to_ascii_uppercase()
            .ends_with("_PROXY");
        let value = match is_proxy && !value.contains("://") {
            true => format!("http://{value}"),
            false => value.into_owned(),
        };
        ports.extend(ports_in(&value));
    }
    Some(ports)
}

/// KMIP's (IANA), where none is said.
const KMIP_PORT: u16 = 5696;

/// The ports of all addresses in a text: what follows `://` up to the next `/` and the like.
fn ports_in(text: &str) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    let mut parts = text.split("://");
    let mut before = parts.next().unwrap_or_default();
    for part in parts {
        let authority = part
            .split(['/', '?', '#', '&', ',', ' '])
            .next()
            .unwrap_or_default();
        let said = authority
            .rsplit_once(':')
            .and_then(|(_host, port)| port.parse().ok());
        let usual = before.ends_with("kmip").then_some(KMIP_PORT);
        ports.extend(said.or(usual));
        before = part;
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(all: &[&str]) -> Vec<KeyUri> {
        all.iter().map(|uri| uri.parse().unwrap()).collect()
    }

    fn reached(all: &[&str]) -> Reach {
        let mut reach = Reach::default();
        of_keys(&mut reach, &keys(all));
        reach
    }

    fn set(paths: &[&str]) -> BTreeSet<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn key_files_are_kept_and_what_belongs_to_keys_is_read() {
        let reach = reached(&[
            "file:///no/keys/a%20b",
            "rsa:/no/public/p.pem;oaep=sha1?private-key=/no/private/k.pem",
            "hashivault://transit/k?ca=%2Fno%2Fca%2Fc.pem&timeout=5s",
            "awskms://alias/a?endpoint=https://kms.example/",
        ]);
        assert_eq!(reach.kept, set(&["/no/keys"]));
        assert_eq!(reach.read, set(&["/no/ca", "/no/private", "/no/public"]));
    }

    #[test]
    fn a_key_without_a_file_opens_none() {
        assert_eq!(
            reached(&["passphrase:", "kmip://h:1/etc/k"]),
            Reach::default()
        );
        assert_eq!(reached(&["file:relative"]), Reach::default());
    }

    #[test]
    fn variables_of_providers_name_files_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let token = path.join("token");
        let environment = [
            ("VAULT_TOKEN_FILE", token.as_os_str()),
            ("CLOUDSDK_CONFIG", OsStr::new("/usr")),
            ("OTHER", OsStr::new("/etc/shadow")),
            ("AWS_REGION", OsStr::new("eu-1")),
            ("HOME", OsStr::new("/no/home")),
        ]
        .map(|(name, value)| (name.into(), value.to_owned()));
        let mut reach = Reach::default();
        of_environment(&mut reach, &environment);
        assert!(reach.read.contains(&path) && reach.read.contains(Path::new("/usr")));
        assert!(!reach.read.contains(Path::new("/etc")) && reach.kept.is_empty());
        assert!(!reach.read.contains(Path::new("/no/home")));
    }

    #[test]
    fn ports_are_bounded_where_all_of_them_are_known() {
        let proxy = [("https_proxy".into(), "proxy.example:3128".into())];
        let of = |all: &[&str]| ports(&keys(all), &proxy);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["gcpkms://projects/p"]), None);
        assert_eq!(
            of(&["file:///k", "kmip://h/k"]),
            Some([80, 443, 3128, 5696, 8200].into())
        );
        let given = of(&["awskms://k?endpoint=http%3A%2F%2Flocalhost%3A9000"]);
        assert_eq!(given, Some([80, 443, 3128, 8200, 9000].into()));
    }

    #[test]
    fn ports_stand_behind_hosts() {
        assert_eq!(ports_in("kmip://[::1]:99/k"), [99].into());
        assert_eq!(ports_in("http://a:1,http://b:2/x:3"), [1, 2].into());
        for none in ["", "a:1", "awskms://arn:aws:kms:eu:1x/k", "x://h:70000"] {
            assert!(ports_in(none).is_empty(), "{none}");
        }
    }
}
