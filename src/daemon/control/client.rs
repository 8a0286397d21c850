//! The side of `status` and `umount`.

#[cfg(test)]
use std::io::Write as _;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::PidfdFlags;

use super::{Answer, MAX_ANSWER, Op, PolicyCall, Request, Secret, read_line, write_line};
use crate::daemon::mounts::Mount;
use crate::daemon::runs::{Event, RunFailure, RunReport, RunRequest};
use crate::daemon::runtime;

/// A daemon that does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It belongs to another user.
    #[error("it belongs to another user")]
    Denied,
    /// A key provider refuses, or the passphrase is wrong.
    #[error("{0}")]
    KeyDenied(String),
    /// No key provider answers.
    #[error("{0}")]
    KeyUnavailable(String),
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
/// Locking waits for what was written, unlocking for key providers.
const KEYS_TIME: Duration = Duration::from_secs(300);
/// What setting a policy may take.
const POLICY_TIME: Duration = Duration::from_secs(60);
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
        match self.ask(&Op::Status.into(), STATUS_TIME)? {
            Answer::Status { status } => Ok(status),
            answer => Err(unexpected(answer)),
        }
    }

    /// The same without asking any key provider.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn counters(mut self) -> Result<serde_json::Value, ControlError> {
        match self.ask(&Op::Counters.into(), STATUS_TIME)? {
            Answer::Status { status } => Ok(status),
            answer => Err(unexpected(answer)),
        }
    }

    /// Asks for the policy of the mount, or has it set; gives the one that is in force then.
    ///
    /// # Errors
    /// The daemon refuses it and says why, [`ControlError::KeyDenied`] where the mount is locked; no answer in time.
    pub fn policy(mut self, call: PolicyCall) -> Result<Option<String>, ControlError> {
        match self.ask(&Request::from(call), POLICY_TIME)? {
            Answer::Policy { policy } => Ok(policy),
            answer => Err(unexpected(answer)),
        }
    }

    /// Has the daemon carry out a run over all files; `tell` hears how far it is. When this process ends, the run stops.
    ///
    /// # Errors
    /// The daemon does not take the request, or goes before it is done. Inside: why the run was not done, or not all.
    pub fn run(
        mut self,
        request: &RunRequest,
        mut tell: impl FnMut(Event),
    ) -> Result<Result<RunReport, RunFailure>, ControlError> {
        let work = Some(request.clone());
        write_line(
            &mut self.stream,
            &Request {
                work,
                ..Op::Run.into()
            },
        )?;
        let mut lines = BufReader::new(&self.stream);
        loop {
            match read_answer_of(&mut lines)? {
                Answer::Event { event } => tell(event),
                Answer::Report { report } => return Ok(Ok(report)),
                Answer::Failure { failure } => return Ok(Err(failure)),
                Answer::Error { message } => return Err(ControlError::Refused(message)),
                _ => return Err(ControlError::Malformed),
            }
        }
    }

    /// Has the daemon drop every key, and what the kernel has cached; returns when that is done.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn lock(mut self) -> Result<(), ControlError> {
        match self.ask(&Op::Lock.into(), KEYS_TIME)? {
            Answer::Done => Ok(()),
            answer => Err(unexpected(answer)),
        }
    }

    /// Has the daemon get at its keys again.
    ///
    /// # Errors
    /// As [`Client::status`]; [`ControlError::KeyDenied`] and [`ControlError::KeyUnavailable`], and the mount stays
    /// locked.
    pub fn unlock(mut self, passphrase: Option<&[u8]>) -> Result<Unlocking, ControlError> {
        let request = Request {
            passphrase: passphrase.map(Secret::of),
            ..Op::Unlock.into()
        };
        match self.ask(&request, KEYS_TIME)? {
            Answer::Done => Ok(Unlocking::Done),
            Answer::Passphrase => Ok(Unlocking::PassphraseWanted),
            answer => Err(unexpected(answer)),
        }
    }

    fn ask(&mut self, request: &Request, limit: Duration) -> Result<Answer, ControlError> {
        self.stream.set_read_timeout(Some(limit))?;
        write_line(&mut self.stream, request)?;
        read_answer(&mut self.stream)
    }

    /// Asks for word of the daemon's end. Before the unmount: after it the daemon may be gone.
    ///
    /// # Errors
    /// The daemon does not take the request.
    pub fn wait_for_end(mut self) -> Result<Waiting, ControlError> {
        write_line(&mut self.stream, &Request::from(Op::Wait))?;
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

/// What came of asking for an unlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlocking {
    /// It is unlocked.
    Done,
    /// It needs a passphrase, and nobody but a human has it.
    PassphraseWanted,
}

/// An answer that is not the one that was hoped for.
fn unexpected(answer: Answer) -> ControlError {
    match answer {
        Answer::Denied { message } => ControlError::KeyDenied(message),
        Answer::Error { message } => ControlError::Refused(message),
        Answer::Unavailable { message } => ControlError::KeyUnavailable(message),
        Answer::Done
        | Answer::Event { .. }
        | Answer::Failure { .. }
        | Answer::Passphrase
        | Answer::Policy { .. }
        | Answer::Report { .. }
        | Answer::Status { .. } => ControlError::Malformed,
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

/// One answer of several.
fn read_answer_of(lines: &mut impl BufRead) -> Result<Answer, ControlError> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_ANSWER).unwrap_or(u64::MAX);
    lines.take(limit).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
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
            Ok(answer) => return Err(unexpected(answer)),
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
