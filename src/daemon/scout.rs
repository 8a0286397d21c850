//! The scout of a mount: a small process beside the one that serves, with no key in it, that looks where the other, in
//! its sandbox, cannot: at the programs of other processes, and at the names of users, groups and hosts. The code that
//! name services bring along runs there, and not beside keys. It also opens files of keys that came to the volume after
//! the sandbox was closed, and no others. It reads and tells, and changes nothing.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::harden::{self, Forked};
use super::{keeper, sandbox};
use crate::keys::{self, local_file};
use crate::lookups::{Account, Lookups};
use crate::storage::{Executable, accounts};

mod wire;

use wire::Question;

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Beside {
    /// The new one, which is to [answer](Duty::answer).
    Scout(Duty),
    /// The old one, which will serve the mount.
    Server(Scout),
}

/// Forks the scout. Must be called before the process has a second thread and before any key is in memory, and before
/// the [keeper] is forked, whose end this one would hold open.
///
/// # Errors
/// The process has threads, or the kernel gives no sockets or process.
pub fn start() -> io::Result<Beside> {
    let (own, other) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(match harden::fork()? {
        Forked::Child => Beside::Scout(Duty { questions: other }),
        Forked::Parent(_scout) => Beside::Server(Scout { questions: own }),
    })
}

/// The scout's end.
#[derive(Debug)]
pub struct Duty {
    questions: OwnedFd,
}

/// Names that are looked up at once, at most: each may wait for servers.
const NAMES_AT_ONCE: usize = 32;

impl Duty {
    /// Answers until nobody can ask any more.
    ///
    /// # Errors
    /// It cannot leave the terminal, see to signals or drop its capabilities; the line broke.
    pub fn answer(self) -> io::Result<()> {
        keeper::stand_aside(c"envelopefs-look")?;
        sandbox::keep_for_scout()?;
        let at_work = Arc::new(());
        while let Some((question, line)) = receive(&self.questions)? {
            let busy = Arc::strong_count(&at_work) > NAMES_AT_ONCE;
            match (question, line) {
                (Some(question @ Question::Executable(_)), Some(line)) => tell(line, &question),
                (Some(question), Some(line)) if !busy => {
                    let one = Arc::clone(&at_work);
                    // Without a thread the line is dropped, which is an answer too.
                    drop(std::thread::Builder::new().spawn(move || {
                        tell(line, &question);
                        drop(one);
                    }));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A question, and where its answer is to go; None: nobody asks any more.
fn receive(from: &OwnedFd) -> io::Result<Option<(Option<Question>, Option<UnixStream>)>> {
    let mut bytes = [0; wire::QUESTION_MAX];
    let (len, line) = take(from, &mut bytes)?;
    if len == 0 {
        return Ok(None);
    }
    let question = bytes.get(..len).and_then(Question::decode);
    Ok(Some((question, line.map(UnixStream::from))))
}

fn tell(mut line: UnixStream, question: &Question) {
    let file = match question {
        Question::KeyFile(path) => Some(key_file(path)),
        Question::Executable(_) | Question::Account(..) | Question::Host(_) => None,
    };
    // Who has stopped waiting needs no answer.
    match file {
        Some(Ok(file)) => drop(send(
            &line,
            &wire::encode_answer(&Ok(Vec::new())),
            file.as_fd(),
        )),
        Some(Err(error)) => drop(line.write_all(&wire::encode_answer(&Err(error)))),
        None => drop(line.write_all(&wire::encode_answer(&look(question)))),
    }
}

/// A file that holds a key, and nothing but that: whoever asks cannot read others' files in this way.
fn key_file(path: &Path) -> io::Result<File> {
    match keys::file::open_keyring(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => local_file::open_public(path),
        opened => opened,
    }
    .map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::from(Errno::ACCESS),
        _ => error,
    })
}

/// Sends a message, and a descriptor with it.
fn send(to: impl AsFd, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [descriptor];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let parts = [IoSlice::new(bytes)];
    retry_on_intr(|| sendmsg(&to, &parts, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives a message, and a descriptor that may be with it. Nothing: nobody sends any more.
fn take(from: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let received = retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(bytes)];
        recvmsg(&from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received.bytes, descriptor))
}

fn look(question: &Question) -> io::Result<Vec<u8>> {
    match question {
        Question::Executable(pid) => {
            let Executable { path, file } = Executable::seen(*pid)?;
            Ok(wire::encode_executable(&path, file))
        }
        Question::Account(kind, name) => Ok(wire::encode_number(accounts::look_up(*kind, name))),
        Question::Host(name) => {
            let found = (name.as_str(), 0).to_socket_addrs()?;
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|address| address.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(wire::encode_addresses(&addresses))
        }
        Question::KeyFile(_) => Err(wire::garbled()),
    }
}

/// The end of who serves the mount. The scout ends when its last copy is closed.
#[derive(Debug)]
pub struct Scout {
    questions: OwnedFd,
}

/// How long a look at a process is waited for, and one at names, for which servers may be asked.
const OF_PROCESSES: Duration = Duration::from_secs(5);
const OF_NAMES: Duration = Duration::from_secs(30);

impl Scout {
    fn ask(&self, question: &Question, within: Duration) -> io::Result<Vec<u8>> {
        let line = self.pose(question, within)?;
        let mut answer = Vec::new();
        line.take(wire::ANSWER_MAX).read_to_end(&mut answer)?;
        wire::decode_answer(&answer)
    }

    /// Where the answer will come.
    fn pose(&self, question: &Question, within: Duration) -> io::Result<UnixStream> {
        let bytes = question.encode().ok_or(Errno::NAMETOOLONG)?;
        let (own, other) = UnixStream::pair()?;
        own.set_read_timeout(Some(within))?;
        send(&self.questions, &bytes, other.as_fd()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                io::Error::other("the mount's scout is gone")
            }
            _ => error,
        })?;
        Ok(own)
    }
}

impl Lookups for Scout {
    fn executable(&self, pid: u32) -> io::Result<(PathBuf, (u64, u64))> {
        let answer = self.ask(&Question::Executable(pid), OF_PROCESSES)?;
        wire::decode_executable(&answer).ok_or_else(wire::garbled)
    }

    fn account(&self, kind: Account, name: &str) -> io::Result<Option<u32>> {
        let question = Question::Account(kind, name.to_owned());
        let answer = self.ask(&question, OF_NAMES)?;
        wire::decode_number(&answer).ok_or_else(wire::garbled)
    }

    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let answer = self.ask(&Question::Host(host.to_owned()), OF_NAMES)?;
        wire::decode_addresses(&answer).ok_or_else(wire::garbled)
    }

    fn key_file(&self, path: &Path) -> io::Result<OwnedFd> {
        let line = self.pose(&Question::KeyFile(path.to_owned()), OF_NAMES)?;
        let mut answer = [0; 1024];
        let (len, file) = take(&line, &mut answer)?;
        wire::decode_answer(answer.get(..len).unwrap_or_default())?;
        file.ok_or_else(wire::garbled)
    }
}
