//! The daemon's side of the control socket.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::Shutdown;

use super::{Answer, MAX_REQUEST, Op, Request, read_line, write_line};
use crate::daemon::runs::{Event, FailureClass, RunFailure, RunReport, RunRequest};
use crate::daemon::runtime;

/// The mount behind the socket. Calls may take their time: each runs on its connection's own thread. A mount
/// that does not say otherwise refuses what is more than to tell of it and to lock it.
pub trait Served: Send + Sync {
    /// What is told about the mount.
    fn status(&self) -> serde_json::Value;

    /// The same without asking any key provider: at once, and as often as one likes.
    fn counters(&self) -> serde_json::Value {
        self.status()
    }

    /// Drops every key, and what the kernel has cached, as the user `uid` asks.
    fn lock(&self, uid: u32);

    /// Gets at the keys again, by a passphrase where a human gave one, as the user `uid` asks.
    ///
    /// # Errors
    /// [`NotUnlocked`]
    fn unlock(&self, _passphrase: Option<&[u8]>, _uid: u32) -> Result<(), NotUnlocked> {
        Err(NotUnlocked::Unavailable(NOT_HERE.to_owned()))
    }

    /// Carries out a run over all files; `tell` answers whether anybody still listens.
    ///
    /// # Errors
    /// Why nothing was done, or not all.
    fn run(
        &self,
        _request: &RunRequest,
        _tell: &mut dyn FnMut(Event) -> bool,
    ) -> Result<RunReport, RunFailure> {
        Err(RunFailure {
            class: FailureClass::Usage,
            why: NOT_HERE.to_owned(),
        })
    }

    /// Does what the user `uid` asks with the policy, and gives the one that is in force then.
    ///
    /// # Errors
    /// [`PolicyRefusal`]
    fn policy(&self, _call: PolicyCall, _uid: u32) -> Result<Option<String>, PolicyRefusal> {
        Err(PolicyRefusal::Other(NOT_HERE.to_owned()))
    }
}

/// Why nothing was done with a policy, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyRefusal {
    /// The volume's keys are not there: the mount is locked.
    NoKeys(String),
    /// Any other reason.
    Other(String),
}

const NOT_HERE: &str = "this mount does not do that";

/// Why a mount stays locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotUnlocked {
    /// The provider refuses, or the passphrase is wrong.
    Denied(String),
    /// A human has to give the passphrase.
    PassphraseWanted,
    /// No provider answers.
    Unavailable(String),
}

/// For tests that need a status alone. A policy is not set, but said.
#[cfg(test)]
impl<F: Fn() -> serde_json::Value + Send + Sync> Served for F {
    fn status(&self) -> serde_json::Value {
        self()
    }

    fn lock(&self, _uid: u32) {}

    fn policy(&self, call: PolicyCall, _uid: u32) -> Result<Option<String>, PolicyRefusal> {
        match call {
            PolicyCall::Set(text) if text == "bad" => {
                Err(PolicyRefusal::Other("it is bad".to_owned()))
            }
            PolicyCall::Set(text) if text == "early" => {
                Err(PolicyRefusal::NoKeys("it is locked".to_owned()))
            }
            PolicyCall::Set(text) => Ok(Some(text)),
            PolicyCall::Remove => Ok(None),
            other => Ok(Some(format!("{other:?}"))),
        }
    }
}

/// What is asked of a mount's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyCall {
    /// The text of the one in force.
    Get,
    /// Take the one that stands in the ciphertext folder.
    Reload,
    /// Have none.
    Remove,
    /// Have this one.
    Set(String),
}

/// Connections served at the same time; more are told to come again.
pub(super) const MAX_CONNECTIONS: usize = 16;
/// Clients that wait for the end at the same time.
const MAX_WAITERS: usize = 64;
/// How long a client may take to send its request or to take its answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A control socket that is served until [`ControlServer::finish`] or drop.
#[derive(Debug)]
pub struct ControlServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    socket: SocketFile,
}

struct Shared {
    listener: UnixListener,
    mount: Arc<dyn Served>,
    connections: AtomicUsize,
    stopping: AtomicBool,
    /// None once the end has been announced: who asks then is answered at once.
    waiters: Mutex<Option<Vec<UnixStream>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Serves the control socket of the mount at this canonical path, in the first folder that can be
/// used. A socket that another daemon left there is replaced.
///
/// # Errors
/// No folder can be used, or the socket cannot be made.
pub fn serve(mountpoint: &Path, mount: &Arc<dyn Served>) -> io::Result<ControlServer> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for folder in usable_folders() {
        result = folder.and_then(|folder| serve_in(&folder, mountpoint, Arc::clone(mount)));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The folder in which the socket will most likely be, made if it was missing.
pub fn prepare_folder() -> Option<PathBuf> {
    usable_folders().find_map(Result::ok)
}

/// The folders for sockets, the preferred one first, each made where it was missing; or why it is not to be used.
fn usable_folders() -> impl Iterator<Item = io::Result<PathBuf>> {
    let owner = rustix::process::geteuid().as_raw();
    runtime::folders(owner, runtime::runtime_dir(owner).as_deref())
        .into_iter()
        .map(move |folder| runtime::prepare(&folder, owner).map(|()| folder))
}

pub(super) fn serve_in(
    folder: &Path,
    mountpoint: &Path,
    mount: Arc<dyn Served>,
) -> io::Result<ControlServer> {
    let (listener, socket) = SocketFile::bind(folder, mountpoint)?;
    let shared = Arc::new(Shared {
        listener,
        mount,
        connections: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
        waiters: Mutex::new(Some(Vec::new())),
    });
    let accepting = Arc::clone(&shared);
    let thread = thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || accept_all(&accepting))?;
    Ok(ControlServer {
        shared,
        thread: Some(thread),
        socket,
    })
}

impl ControlServer {
    /// Everything is written and the process is about to exit: tells those who wait, and takes
    /// the socket away.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.socket.remove();
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread in accept, on Linux also for a socket that listens.
        let _ = rustix::net::shutdown(&self.shared.listener, Shutdown::Both);
        let waiters = self.shared.waiters.lock().take();
        for mut waiter in waiters.into_iter().flatten() {
            // Who left meanwhile needs no answer.
            drop(write_line(&mut waiter, &Answer::Done));
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A bound socket's name, and which file it was: another daemon may have replaced it since.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds beside the final name and renames: whatever was there is replaced in one step, and
    /// nobody sees a socket that does not listen.
    fn bind(folder: &Path, mountpoint: &Path) -> io::Result<(UnixListener, Self)> {
        let path = folder.join(runtime::socket_name(mountpoint));
        let fresh = folder.join(format!("{}.new", std::process::id()));
        drop(fs::remove_file(&fresh));
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        let identity = identity(&fresh)?;
        fs::rename(&fresh, &path)?;
        Ok((listener, Self { path, identity }))
    }

    fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // A name that stays does no harm: nobody listens and the next mount replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn accept_all(shared: &Arc<Shared>) {
    loop {
        let accepted = shared.listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, _)) => take_connection(shared, stream),
            Err(error) => {
                tracing::warn!(%error, "control socket");
                // No descriptors left, most likely: trying at once would only burn time.
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Counts a connection for as long as it is served, even if serving it panics.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

fn take_connection(shared: &Arc<Shared>, mut stream: UnixStream) {
    let before = shared.connections.fetch_add(1, Ordering::SeqCst);
    let counted = Counted(Arc::clone(shared));
    if before >= MAX_CONNECTIONS {
        // The socket's own buffer takes the short line without waiting.
        drop(write_line(
            &mut stream,
            &error("too many connections; try again"),
        ));
        return;
    }
    let spawned = thread::Builder::new()
        .name("control-client".to_owned())
        .spawn(move || {
            if let Err(error) = serve_one(&counted.0, stream) {
                tracing::debug!(%error, "control client");
            }
        });
    if let Err(error) = spawned {
        tracing::warn!(%error, "control socket: no thread");
    }
}

fn error(message: impl fmt::Display) -> Answer {
    Answer::Error {
        message: message.to_string(),
    }
}

fn serve_one(shared: &Shared, mut stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(uid) = welcome(&stream)? else {
        return write_line(
            &mut stream,
            &error("only root and the user who mounted are answered"),
        );
    };
    match read_request(&mut stream) {
        Ok(request) => match request.op {
            Op::Run => shared.carry_out(stream, request.work),
            Op::Wait => shared.let_wait(stream),
            _ => write_line(&mut stream, &answer_to(&*shared.mount, request, uid)),
        },
        Err(problem) => write_line(&mut stream, &error(problem)),
    }
}

fn answer_to(mount: &dyn Served, request: Request, uid: u32) -> Answer {
    match request.op {
        Op::PolicyGet => policy_answer(mount, PolicyCall::Get, uid),
        Op::PolicyReload => policy_answer(mount, PolicyCall::Reload, uid),
        Op::PolicyRemove => policy_answer(mount, PolicyCall::Remove, uid),
        Op::PolicySet => match request.policy {
            Some(text) => policy_answer(mount, PolicyCall::Set(text), uid),
            None => error("policy-set without a policy"),
        },
        Op::Counters => Answer::Status {
            status: mount.counters(),
        },
        Op::Status => Answer::Status {
            status: mount.status(),
        },
        Op::Lock => {
            mount.lock(uid);
            Answer::Done
        }
        Op::Unlock => {
            let passphrase = request.passphrase.as_ref();
            let passphrase = passphrase.map(|passphrase| passphrase.bytes().as_slice());
            match mount.unlock(passphrase, uid) {
                Ok(()) => Answer::Done,
                Err(NotUnlocked::Denied(message)) => Answer::Denied { message },
                Err(NotUnlocked::PassphraseWanted) => Answer::Passphrase,
                Err(NotUnlocked::Unavailable(message)) => Answer::Unavailable { message },
            }
        }
        Op::Run | Op::Wait => error("not answered at once"),
    }
}

fn policy_answer(mount: &dyn Served, call: PolicyCall, uid: u32) -> Answer {
    match mount.policy(call, uid) {
        Ok(policy) => Answer::Policy { policy },
        Err(PolicyRefusal::NoKeys(message)) => Answer::Denied { message },
        Err(PolicyRefusal::Other(why)) => error(why),
    }
}

/// The user at the other end, if he is one who is answered.
fn welcome(stream: &UnixStream) -> io::Result<Option<u32>> {
    let uid = rustix::net::sockopt::socket_peercred(stream)?.uid;
    let is_welcome = uid.is_root() || uid == rustix::process::geteuid();
    Ok(is_welcome.then_some(uid.as_raw()))
}

fn read_request(stream: &mut UnixStream) -> io::Result<Request> {
    let line = read_line(stream, MAX_REQUEST)?;
    Ok(serde_json::from_slice(&line)?)
}

impl Shared {
    fn carry_out(&self, mut stream: UnixStream, work: Option<RunRequest>) -> io::Result<()> {
        let Some(request) = work else {
            return write_line(&mut stream, &error("a run without its work"));
        };
        let mut tell = |event| {
            still_there(&stream) && write_line(&mut &stream, &Answer::Event { event }).is_ok()
        };
        let answer = match self.mount.run(&request, &mut tell) {
            Ok(report) => Answer::Report { report },
            Err(failure) => Answer::Failure { failure },
        };
        write_line(&mut stream, &answer)
    }

    fn let_wait(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut waiters = self.waiters.lock();
        let answer = match waiters.as_mut() {
            Some(waiting) => {
                waiting.retain(still_there);
                if waiting.len() < MAX_WAITERS {
                    waiting.push(stream);
                    return Ok(());
                }
                error("too many wait already")
            }
            None => Answer::Done,
        };
        drop(waiters);
        write_line(&mut stream, &answer)
    }
}

fn still_there(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(rustix::event::poll(&mut fds, Some(&at_once)), Ok(0))
}
