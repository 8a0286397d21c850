//! Word to systemd, for units of `Type=notify` (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The mount works. Nothing where no service manager waits.
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn ready() -> io::Result<()> {
    tell("READY=1")
}

/// The mount is about to end. Nothing where no service manager waits.
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn stopping() -> io::Result<()> {
    tell("STOPPING=1")
}

fn tell(message: &str) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(name) if !name.is_empty() => send(&name, message),
        Some(_) | None => Ok(()),
    }
}

/// A name that begins with `@` is of the abstract kind (unix(7)).
fn send(name: &OsStr, message: &str) -> io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(message.as_bytes(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> Vec<u8> {
        let mut buf = [0; 64];
        let len = manager.recv(&mut buf).unwrap();
        buf[..len].to_vec()
    }

    #[test]
    fn a_socket_with_a_path_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&manager), b"READY=1");
    }

    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("envelopefs-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(received(&manager), b"STOPPING=1");
    }

    #[test]
    fn a_missing_manager_is_an_error() {
        assert!(send(OsStr::new("/nonexistent/notify"), "READY=1").is_err());
        assert!(send(OsStr::new(&"x".repeat(300)), "READY=1").is_err());
    }
}
