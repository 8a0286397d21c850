//! Word to systemd, for units of `Type=notify` (sd_notify(3)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::periodic::Periodic;

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

/// Still at work. Nothing where no service manager waits.
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn alive() -> io::Result<()> {
    tell("WATCHDOG=1")
}

/// How often the manager wants to hear [`alive`]: half the time after which it takes the process for dead
/// (`WatchdogSec=`). None where it does not.
pub fn watchdog_period() -> Option<Duration> {
    let variable = |name| std::env::var_os(name);
    period(
        variable("WATCHDOG_USEC"),
        variable("WATCHDOG_PID"),
        std::process::id(),
    )
}

fn period(micros: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    if let Some(pid) = pid
        && pid.to_str()?.parse() != Ok(own)
    {
        return None;
    }
    let micros: u64 = micros?.to_str()?.parse().ok()?;
    Some(Duration::from_micros(micros / 2)).filter(|period| !period.is_zero())
}

/// Tells the manager again and again that the process is at work, until it is dropped.
#[derive(Debug)]
pub struct Heartbeat(#[expect(dead_code, reason = "works until it is dropped")] Periodic<()>);

impl Heartbeat {
    /// Calls `check` before each word to the manager: where it does not return, there is none, and the manager ends the
    /// process. None where no manager wants to hear.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(check: impl Fn() + Send + 'static) -> io::Result<Option<Self>> {
        watchdog_period()
            .map(|period| {
                Self::beat(period, move || {
                    check();
                    if let Err(error) = alive() {
                        tracing::debug!(%error, "the service manager could not be told");
                    }
                })
            })
            .transpose()
    }

    fn beat(period: Duration, once: impl Fn() + Send + 'static) -> io::Result<Self> {
        let work = move |(): &()| {
            once();
            Some(period)
        };
        Periodic::start("watchdog", (), work).map(Self)
    }
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
    use std::sync::mpsc;

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
    fn the_period_is_half_of_what_the_manager_waits_and_for_this_process_alone() {
        let set = |text: &str| Some(OsString::from(text));
        let half = Some(Duration::from_secs(15));
        assert_eq!(period(set("30000000"), None, 7), half);
        assert_eq!(period(set("30000000"), set("7"), 7), half);
        for (micros, pid) in [
            (None, None),
            (None, set("7")),
            (set(""), None),
            (set("0"), None),
            (set("1"), None),
            (set("-2"), None),
            (set("30s"), None),
            (set("30000000"), set("8")),
            (set("30000000"), set("x")),
        ] {
            assert_eq!(period(micros.clone(), pid, 7), None, "{micros:?}");
        }
    }

    #[test]
    fn a_heart_beats_until_it_is_dropped() {
        let (sender, beats) = mpsc::channel();
        let heart = Heartbeat::beat(Duration::from_millis(1), move || sender.send(()).unwrap());
        for _ in 0..3 {
            beats.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        drop(heart);
        // The thread is gone, and with it the sender.
        assert_eq!(beats.iter().find(|()| false), None);
    }

    #[test]
    fn a_missing_manager_is_an_error() {
        assert!(send(OsStr::new("/nonexistent/notify"), "READY=1").is_err());
        assert!(send(OsStr::new(&"x".repeat(300)), "READY=1").is_err());
    }
}
