//! The side of `status` and `umount`.

use std::io;
#[cfg(test)]
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::PidfdFlags;

use super::{Answer, MAX_ANSWER, Op, PolicyCall, Request, read_line, write_line};
use crate::daemon::mounts::Mount;
use crate::daemon::runtime;

/// A daemon that does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It belongs to another user.
    #[error("it belongs to another user")]
    Denied,
    /// It answers something else than was asked.
    #[error("its answer makes no sense")]
    Malformed,
    /// There is no socket, or nobody behind it.
    #[error("its process has no control socket")]
    NoSocket,
    /// It does not want to.
    #[error("{0}")]
    Refused(String),
    /// The connection failed.
    #[error("its process does not answer: {0}")]
    Unreachable(#[from] io::Error),
}

/// How long a status may take: providers may be asked over the network for it.
const STATUS_TIME: Duration = Duration::from_secs(15);
const SEND_TIME: Duration = Duration::from_secs(5);
/// Between "done" and the process's end are a few system calls.
const EXIT_TIME: Duration = Duration::from_secs(5);

/// A connection to the daemon of a mount.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    process: DaemonProcess,
}

/// The daemon's process; None where the kernel does not tell, as across pid namespaces, and where
/// it is this one, which cannot see itself go.
type DaemonProcess = Option<OwnedFd>;

impl Client {
    /// Connects to the daemon of a mount.
    ///
    /// # Errors
    /// There is none that listens, or it is somebody else's.
    pub fn connect(mount: &Mount) -> Result<Self, ControlError> {
        let own = rustix::process::geteuid().as_raw();
        let owner = mount.owner.unwrap_or(own);
        if own != 0 && own != owner {
            return Err(ControlError::Denied);
        }
        let runtime_dir = runtime::runtime_dir(owner);
        let folders = runtime::folders(owner, runtime_dir.as_deref());
        Self::connect_in(&folders, &mount.mountpoint, owner)
    }

    pub(super) fn connect_in(
        folders: &[PathBuf],
        mountpoint: &Path,
        owner: u32,
    ) -> Result<Self, ControlError> {
        let name = runtime::socket_name(mountpoint);
        let trusted = folders
            .iter()
            .filter(|folder| runtime::check(folder, owner).is_ok());
        for path in trusted.map(|folder| folder.join(&name)) {
            match UnixStream::connect(path) {
                Ok(stream) => return Self::with_daemon(stream, owner),
                Err(error) if nobody_there(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControlError::NoSocket)
    }

    fn with_daemon(stream: UnixStream, owner: u32) -> Result<Self, ControlError> {
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(io::Error::from)?;
        if peer.uid.as_raw() != owner {
            return Err(ControlError::Denied);
        }
        stream.set_write_timeout(Some(SEND_TIME))?;
        let other = Some(peer.pid).filter(|pid| *pid != rustix::process::getpid());
        let process =
            other.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Self { stream, process })
    }

    /// What the daemon tells about its mount.
    ///
    /// # Errors
    /// No answer in time, or none that makes sense.
    pub fn status(mut self) -> Result<serde_json::Value, ControlError> {
        self.stream.set_read_timeout(Some(STATUS_TIME))?;
        write_line(&mut self.stream, &Request::of(Op::Status))?;
        match read_answer(&mut self.stream)? {
            Answer::Status { status } => Ok(status),
            Answer::Error { message } => Err(ControlError::Refused(message)),
            Answer::Done | Answer::Policy { .. } => Err(ControlError::Malformed),
        }
    }

    /// Asks for the policy of the mount, or has it set; gives the one that is in force then.
    ///
    /// # Errors
    /// The daemon refuses it and says why; no answer in time.
    pub fn policy(mut self, call: PolicyCall) -> Result<Option<String>, ControlError> {
        // The keys of folders are tried.
        self.stream.set_read_timeout(Some(STATUS_TIME * 4))?;
        write_line(&mut self.stream, &Request::from(call))?;
        match read_answer(&mut self.stream)? {
            Answer::Policy { policy } => Ok(policy),
            Answer::Error { message } => Err(ControlError::Refused(message)),
            Answer::Done | Answer::Status { .. } => Err(ControlError::Malformed),
        }
    }

    /// Asks for word of the daemon's end. Before the unmount: after it the daemon may be gone.
    ///
    /// # Errors
    /// The daemon does not take the request.
    pub fn wait_for_end(mut self) -> Result<Waiting, ControlError> {
        write_line(&mut self.stream, &Request::of(Op::Wait))?;
        Ok(Waiting {
            stream: self.stream,
            process: self.process,
        })
    }

    /// Sends any bytes; for tests of what the daemon makes of them.
    #[cfg(test)]
    pub(super) fn ask_raw(mut self, request: &[u8]) -> Result<Answer, ControlError> {
        self.stream.set_read_timeout(Some(STATUS_TIME))?;
        self.stream.write_all(request)?;
        read_answer(&mut self.stream)
    }
}

/// The socket's file is missing, or was left by a daemon that is gone.
fn nobody_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn read_answer(stream: &mut UnixStream) -> Result<Answer, ControlError> {
    let line = read_line(stream, MAX_ANSWER)?;
    serde_json::from_slice(&line).map_err(|_error| ControlError::Malformed)
}

/// A daemon that will say when it is done.
#[derive(Debug)]
pub struct Waiting {
    stream: UnixStream,
    process: DaemonProcess,
}

impl Waiting {
    /// Waits up to `limit` and says whether the daemon has written everything: it said so, or it
    /// is gone.
    ///
    /// # Errors
    /// The daemon refuses to say, or waiting itself fails.
    pub fn is_over(&mut self, limit: Duration) -> Result<bool, ControlError> {
        if !readable(&self.stream, limit)? {
            return Ok(false);
        }
        self.stream.set_read_timeout(Some(SEND_TIME))?;
        match read_answer(&mut self.stream) {
            Ok(Answer::Done) => {}
            Ok(Answer::Error { message }) => return Err(ControlError::Refused(message)),
            Ok(Answer::Policy { .. } | Answer::Status { .. }) => {
                return Err(ControlError::Malformed);
            }
            // It closed without a word: it is gone, or was killed.
            Err(ControlError::Unreachable(_)) => {}
            Err(error) => return Err(error),
        }
        self.see_it_go()?;
        Ok(true)
    }

    /// Until the process is gone the volume's lock is held.
    fn see_it_go(&self) -> io::Result<()> {
        match &self.process {
            Some(process) => readable(process, EXIT_TIME).map(drop),
            None => Ok(()),
        }
    }
}

/// Whether there is something to read, or the other end closed, before `limit` has passed.
fn readable(fd: &impl std::os::fd::AsFd, limit: Duration) -> io::Result<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}
