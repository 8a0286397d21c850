//! The keeper of a mount: a small process beside the one that serves, with no key in it, that can take the mount away
//! when the other, in its sandbox, no longer can. It takes that one mount away and nothing else, and ends with the other.

use std::ffi::CStr;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use rustix::process::{Pid, WaitOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::background;
use super::harden::{self, Forked};
use super::sandbox;
use super::unmount::{self, Detach, UnmountError};

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Beside {
    /// The new one, which is to [keep](Duty::keep).
    Keeper(Duty),
    /// The old one, which will serve the mount.
    Server(Keeper),
}

/// Forks the keeper of the mount at this canonical path. Must be called before the process has a second thread and
/// before any key is in memory.
///
/// # Errors
/// The process has threads, or the kernel gives no sockets or process.
pub fn start(mountpoint: &Path) -> io::Result<Beside> {
    let (own, other) = UnixStream::pair()?;
    Ok(match harden::fork()? {
        Forked::Child => Beside::Keeper(Duty {
            wishes: other,
            mountpoint: mountpoint.to_owned(),
        }),
        Forked::Parent(process) => Beside::Server(Keeper {
            line: Mutex::new(own),
            process,
        }),
    })
}

/// The keeper's end.
#[derive(Debug)]
pub struct Duty {
    wishes: UnixStream,
    mountpoint: PathBuf,
}

impl Duty {
    /// Does what it is asked until the other process is gone. It leaves the terminal, and no signal that is meant for a
    /// whole group of processes ends it: the mount may have to be taken away just then.
    ///
    /// # Errors
    /// It cannot leave the terminal, see to signals or drop its capabilities.
    pub fn keep(mut self) -> io::Result<()> {
        stand_aside(c"envelopefs-keep")?;
        sandbox::keep_for_keeper()?;
        let mut wish = [0];
        while self.wishes.read_exact(&mut wish).is_ok() {
            let Some(detach) = wished(wish) else {
                break;
            };
            let done = unmount::unmount(&self.mountpoint, detach);
            if self.wishes.write_all(&encode(&done)).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Has this process leave the terminal, under this name, and outlive signals that are meant for a whole group of processes.
///
/// # Errors
/// What the kernel refuses of that.
pub(super) fn stand_aside(name: &CStr) -> io::Result<()> {
    background::leave_terminal()?;
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(rustix::thread::set_name(name)?)
}

const NOW: [u8; 1] = [b'n'];
const LAZILY: [u8; 1] = [b'l'];

fn wished(wish: [u8; 1]) -> Option<Detach> {
    match wish {
        NOW => Some(Detach::Now),
        LAZILY => Some(Detach::Lazily),
        _ => None,
    }
}

/// The end of who serves the mount. Dropped, it ends the keeper.
#[derive(Debug)]
pub struct Keeper {
    line: Mutex<UnixStream>,
    process: Pid,
}

impl Keeper {
    /// Has the mount taken away.
    ///
    /// # Errors
    /// As [`unmount::unmount`]; `Refused` where the keeper is gone.
    pub fn unmount(&self, detach: Detach) -> Result<(), UnmountError> {
        let mut line = self.line.lock();
        let wish = match detach {
            Detach::Now => NOW,
            Detach::Lazily => LAZILY,
        };
        let gone = |error| UnmountError::Refused(format!("the mount's keeper is gone: {error}"));
        line.write_all(&wish)
            .and_then(|()| answer(&mut line))
            .map_err(gone)?
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Closed or not, the other end reads no more; a keeper that was killed has ended as well.
        drop(self.line.get_mut().shutdown(std::net::Shutdown::Both));
        let _ended = rustix::process::waitpid(Some(self.process), WaitOptions::empty());
    }
}

/// An answer: its kind, the length of its text in two bytes, the text.
fn encode(done: &Result<(), UnmountError>) -> Vec<u8> {
    let (kind, text) = match done {
        Ok(()) => (0, ""),
        Err(UnmountError::Busy) => (1, ""),
        Err(UnmountError::NoFusermount) => (2, ""),
        Err(UnmountError::NotMounted) => (3, ""),
        Err(UnmountError::Refused(why)) => (4, why.as_str()),
    };
    let text: Vec<u8> = text.bytes().take(usize::from(u16::MAX)).collect();
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes();
    [&[kind][..], &len, &text].concat()
}

fn answer(from: &mut UnixStream) -> io::Result<Result<(), UnmountError>> {
    let mut head = [0; 3];
    from.read_exact(&mut head)?;
    let [kind, len @ ..] = head;
    let mut text = vec![0; usize::from(u16::from_le_bytes(len))];
    from.read_exact(&mut text)?;
    Ok(match kind {
        0 => Ok(()),
        1 => Err(UnmountError::Busy),
        2 => Err(UnmountError::NoFusermount),
        3 => Err(UnmountError::NotMounted),
        _ => Err(UnmountError::Refused(
            String::from_utf8_lossy(&text).into_owned(),
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_read_back() {
        for done in [
            Ok(()),
            Err(UnmountError::Busy),
            Err(UnmountError::NoFusermount),
            Err(UnmountError::NotMounted),
            Err(UnmountError::Refused("nö".into())),
        ] {
            let (mut here, mut there) = UnixStream::pair().unwrap();
            here.write_all(&encode(&done)).unwrap();
            let read = answer(&mut there).unwrap();
            assert_eq!(format!("{read:?}"), format!("{done:?}"));
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error() {
        for part in [&b""[..], b"\x04", b"\x04\x02\x00a"] {
            let (mut here, mut there) = UnixStream::pair().unwrap();
            here.write_all(part).unwrap();
            drop(here);
            assert!(answer(&mut there).is_err(), "{part:?}");
        }
    }

    #[test]
    fn there_are_two_wishes() {
        assert_eq!(wished(NOW), Some(Detach::Now));
        assert_eq!(wished(LAZILY), Some(Detach::Lazily));
        assert_eq!(wished([0]), None);
    }
}
