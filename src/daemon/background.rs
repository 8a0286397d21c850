//! Going to the background: the mount is served by a child, and the process that the user
//! started ends when the mount works, or with the child's error.
//!
//! The child stays on the terminal until then, so it can ask for a passphrase.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::harden::{self, Forked};

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Side {
    /// The one that will serve the mount.
    Mount(Readiness),
    /// The one that the user started.
    Starter(Started),
}

/// Splits the process in two. Must be called before the process has a second thread and before
/// any key is in memory.
///
/// # Errors
/// The process has threads, or the kernel gives no pipe or process.
pub fn split() -> io::Result<Side> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok(match harden::fork()? {
        // Each side drops the other's end, or the pipe would never close.
        Forked::Parent(child) => Side::Starter(Started {
            pipe: File::from(read),
            child,
        }),
        Forked::Child => Side::Mount(Readiness {
            pipe: Some(File::from(write)),
        }),
    })
}

/// How the start of a mount in the background ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// The child reports an error that is to be printed as it is.
    Failed {
        /// The code to exit with.
        exit: u8,
        /// What to print.
        message: String,
    },
    /// The child ended without a word.
    Vanished {
        /// How, as far as it is known.
        how: String,
    },
    /// The mount works.
    Works,
}

/// The starter's end: a child that is at work.
#[derive(Debug)]
pub struct Started {
    pipe: File,
    child: Pid,
}

impl Started {
    /// Waits until the child reports or ends.
    pub fn wait(self) -> StartOutcome {
        let mut bytes = Vec::new();
        // A pipe that cannot be read says as little as one that is closed.
        drop((&self.pipe).take(MAX_REPORT).read_to_end(&mut bytes));
        decode(&bytes).unwrap_or_else(|| StartOutcome::Vanished {
            how: how_it_ended(self.child),
        })
    }
}

fn how_it_ended(child: Pid) -> String {
    match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
        Ok(Some((_, status))) => describe(status),
        Ok(None) | Err(_) => "its end is unknown".to_owned(),
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => format!("it was killed by signal {signal}"),
        (None, Some(code)) => format!("it ended with code {code}"),
        (None, None) => "its end is unknown".to_owned(),
    }
}

/// The mount's end: tells the starter how the start ended. Dropped without a word, the starter
/// says that the mount vanished.
#[derive(Debug)]
pub struct Readiness {
    pipe: Option<File>,
}

impl Readiness {
    /// For a mount that stays in the foreground: nobody waits.
    pub fn foreground() -> Self {
        Self { pipe: None }
    }

    /// The process goes to the background when the mount works.
    pub fn is_background(&self) -> bool {
        self.pipe.is_some()
    }

    /// The mount works: leaves the terminal (own session, `/` as the current folder, stdin,
    /// stdout and stderr to `/dev/null`), then lets the starter end. Nothing in the foreground.
    ///
    /// # Errors
    /// The terminal could not be left; the starter has been told so.
    pub fn works(mut self) -> io::Result<()> {
        let Some(mut pipe) = self.pipe.take() else {
            return Ok(());
        };
        match leave_terminal() {
            Ok(()) => {
                // A starter that was killed meanwhile takes nothing from a mount that works.
                drop(pipe.write_all(&encode(0, "")));
                Ok(())
            }
            Err(error) => {
                let message = format!("envelopefs: cannot go to the background: {error}");
                drop(pipe.write_all(&encode(1, &message)));
                Err(error)
            }
        }
    }

    /// The mount failed: the starter prints `message` and exits with `exit`. In the foreground
    /// the caller prints it himself and false is returned.
    pub fn failed(mut self, exit: u8, message: &str) -> bool {
        match self.pipe.take() {
            // The starter is gone and with it who would read the message.
            Some(mut pipe) => pipe.write_all(&encode(exit, message)).is_ok(),
            None => false,
        }
    }
}

/// Own session, `/` as the current folder, stdin, stdout and stderr to `/dev/null`.
pub(super) fn leave_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    let null: OwnedFd = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?
        .into();
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// A report: a byte that says it is one, the exit code, and the message in UTF-8.
const MARK: u8 = b'R';
const MAX_REPORT: u64 = 65_536;
const MAX_MESSAGE: usize = 32_768;

fn encode(exit: u8, message: &str) -> Vec<u8> {
    let mut bytes = vec![MARK, exit];
    bytes.extend(message.bytes().take(MAX_MESSAGE));
    bytes
}

fn decode(bytes: &[u8]) -> Option<StartOutcome> {
    match bytes {
        [MARK, 0] => Some(StartOutcome::Works),
        [MARK, 0, ..] => None,
        [MARK, exit, message @ ..] => {
            let message = String::from_utf8_lossy(message).into_owned();
            Some(StartOutcome::Failed {
                exit: *exit,
                message,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reports_read_back() {
        assert_eq!(decode(&encode(0, "")), Some(StartOutcome::Works));
        let failed = StartOutcome::Failed {
            exit: 12,
            message: "no: such\n  → key".into(),
        };
        assert_eq!(decode(&encode(12, "no: such\n  → key")), Some(failed));
    }

    #[test]
    fn what_is_no_report_is_none() {
        for bytes in [&b""[..], b"R", b"X\0", b"\0", b"R\0message"] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_mount_in_the_foreground_has_nobody_to_tell() {
        assert!(!Readiness::foreground().is_background());
        assert!(!Readiness::foreground().failed(1, "x"));
        assert!(Readiness::foreground().works().is_ok());
    }

    #[test]
    fn a_message_through_the_pipe_arrives() {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        assert!(
            Readiness {
                pipe: Some(write.into())
            }
            .failed(14, "not empty")
        );
        let child = rustix::process::getpid();
        let outcome = Started {
            pipe: read.into(),
            child,
        }
        .wait();
        assert_eq!(
            outcome,
            StartOutcome::Failed {
                exit: 14,
                message: "not empty".into()
            }
        );
    }

    #[test]
    fn silence_is_told_as_such() {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(Readiness {
            pipe: Some(write.into()),
        });
        let child = rustix::process::getpid(); // not a child: its end cannot be known
        let outcome = Started {
            pipe: read.into(),
            child,
        }
        .wait();
        assert_eq!(
            outcome,
            StartOutcome::Vanished {
                how: "its end is unknown".into()
            }
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            drop(decode(&bytes));
        }
    }
}
