//! The lines of a shell that point clients at a service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// An access key; its secret is shown where it is new.
pub(super) struct Shown<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
}

/// `export …` lines for clients of both clouds.
pub(super) fn exports(
    address: &str,
    region: &str,
    ca: Option<&Path>,
    access_key: &Shown<'_>,
) -> String {
    let ca = ca.map(|path| quoted(&path.to_string_lossy()));
    let with_ca = |name: &str| {
        ca.as_ref()
            .map_or_else(String::new, |path| format!(" {name}={path}"))
    };
    let Shown { id, secret } = access_key;
    format!(
        "  export ENVELOPEKMS_ENDPOINT={address}{}\n  \
           export ALIBABA_CLOUD_ACCESS_KEY_ID={id} ALIBABA_CLOUD_ACCESS_KEY_SECRET={secret}\n  \
           export AWS_ENDPOINT_URL_KMS=https://{address}{} AWS_REGION={region}\n  \
           export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret}\n",
        with_ca("ENVELOPEKMS_CA"),
        with_ca("AWS_CA_BUNDLE"),
    )
}

/// Where clients on this machine find a server that listens there.
pub(super) fn reachable(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port()).to_string()
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@,".contains(&byte);
    match text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word() {
        assert_eq!(quoted("/a/b.pem"), "/a/b.pem");
        assert_eq!(quoted("/a b/$(x)'"), r"'/a b/$(x)'\'''");
    }

    #[test]
    fn what_listens_everywhere_is_reached_by_loopback() {
        let of = |text: &str| reachable(text.parse().unwrap());
        assert_eq!(of("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(of("[::]:1"), "[::1]:1");
        assert_eq!(of("10.0.0.1:1"), "10.0.0.1:1");
    }

    #[test]
    fn without_a_ca_no_line_speaks_of_one() {
        let key = Shown {
            id: "i",
            secret: "s",
        };
        let text = exports("h:1", "local", None, &key);
        assert!(!text.contains("CA"), "{text}");
        assert!(
            text.contains("AWS_ENDPOINT_URL_KMS=https://h:1 AWS_REGION=local"),
            "{text}"
        );
        let text = exports("h:1", "local", Some(Path::new("/c")), &key);
        assert!(
            text.contains("ENVELOPEKMS_CA=/c") && text.contains("AWS_CA_BUNDLE=/c"),
            "{text}"
        );
    }
}
