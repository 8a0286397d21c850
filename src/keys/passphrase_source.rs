//! Where a passphrase comes from, and how it is kept: asked for once, held in locked memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;

/// The longest passphrase in bytes.
pub const PASSPHRASE_MAX: usize = 4096;

/// Where a passphrase comes from.
#[derive(Clone)]
pub enum PassphraseSource {
    /// Whoever answers for systemd: a boot splash, a desktop, another terminal (systemd-ask-password(1)). What is asked.
    Agent(String),
    /// The terminal, without echo.
    Prompt,
    /// The first line of a file.
    File(PathBuf),
    /// The first line of what a command, run by `/bin/sh -c`, writes to its standard output. It
    /// has this process's standard input and error, so that it may ask for itself.
    Command(String),
    /// These bytes.
    #[cfg(test)]
    Fixed(Vec<u8>),
}

/// Whether a prompt asks twice, as it should where a new key is made: a slip would lock all out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirm {
    /// Ask once: a wrong passphrase opens nothing, and that is soon seen.
    #[default]
    No,
    /// Ask twice and compare.
    Yes,
}

impl fmt::Debug for PassphraseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(text) => f.debug_tuple("Agent").field(text).finish(),
            Self::Prompt => f.write_str("Prompt"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // A command line may hold the passphrase itself.
            Self::Command(_) => f.write_str("Command(..)"),
            #[cfg(test)]
            Self::Fixed(_) => f.write_str("Fixed(..)"),
        }
    }
}

impl PassphraseSource {
    /// Asks for the passphrase. May block on the terminal or the command.
    ///
    /// # Errors
    /// `Config` where there is no terminal, file or command to ask, where it gives no passphrase
    /// or one over [`PASSPHRASE_MAX`] bytes, and where a confirmation differs.
    pub fn ask(&self, confirm: Confirm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let passphrase = match self {
            Self::Agent(text) => of_agent(text)?,
            Self::Prompt => prompt(confirm, &mut terminal)?,
            Self::File(path) => of_file(path)?,
            Self::Command(command) => of_command(command)?,
            #[cfg(test)]
            Self::Fixed(passphrase) => Zeroizing::new(passphrase.clone()),
        };
        match passphrase.len() {
            0 => Err(KeyError::config("the passphrase is empty")),
            1..=PASSPHRASE_MAX => Ok(passphrase),
            _ => Err(too_long()),
        }
    }
}

fn prompt(
    confirm: Confirm,
    ask: &mut dyn FnMut(&str) -> io::Result<String>,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut ask = |text: &str| {
        let answer = ask(text).map_err(prompt_error)?;
        Ok::<_, KeyError>(Zeroizing::new(answer.into_bytes()))
    };
    match confirm {
        Confirm::No => ask("Passphrase: "),
        Confirm::Yes => {
            let first = ask("New passphrase: ")?;
            if ask("The same again: ")? != first {
                return Err(KeyError::config("the two passphrases differ"));
            }
            Ok(first)
        }
    }
}

fn prompt_error(error: io::Error) -> KeyError {
    let given_up = [io::ErrorKind::Interrupted, io::ErrorKind::UnexpectedEof];
    let message = if given_up.contains(&error.kind()) {
        "no passphrase was entered"
    } else {
        "no terminal to ask for the passphrase: give a passphrase file or command"
    };
    KeyError::config(message).caused_by(error)
}

fn terminal(text: &str) -> io::Result<String> {
    rpassword::prompt_password(text)
}

fn of_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let read = File::open(path).and_then(|mut file| first_line(&mut file));
    let line = read.map_err(|error| {
        let message = format!("cannot read passphrase file {}: {error}", path.display());
        KeyError::config(message).caused_by(error)
    })?;
    line.ok_or_else(too_long)
}

fn of_command(command: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut shell = Command::new("/bin/sh");
    first_line_of(shell.arg("-c").arg(command), "passphrase command")
}

/// The program that asks agents.
pub const AGENT: &str = "systemd-ask-password";

fn of_agent(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut ask = Command::new(AGENT);
    let ask = ask.args(["--id=envelopefs", "--icon=dialog-password", "--"]);
    first_line_of(ask.arg(text).stdin(Stdio::null()), AGENT)
}

/// What a program prints first; `name` is for messages.
fn first_line_of(program: &mut Command, name: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |error: io::Error| {
        KeyError::config(format!("cannot run the {name}: {error}")).caused_by(error)
    };
    let mut child = program.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let line = match child.stdout.take() {
        Some(mut stdout) => {
            let line = first_line(&mut stdout);
            // What follows the first line is read too, or the command would die of SIGPIPE.
            let rest = io::copy(&mut stdout, &mut io::sink());
            line.and_then(|line| rest.map(|_len| line))
        }
        None => Ok(None),
    };
    // Waited for in any case: no zombie stays behind.
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        let message = format!("the {name} failed: {status}");
        return Err(KeyError::config(message));
    }
    line.map_err(failed)?.ok_or_else(too_long)
}

/// The first line without its end (`\n` or `\r\n`); `None` where it is longer than a passphrase
/// may be. One buffer of full size: growing would leave copies behind.
pub(super) fn first_line(from: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_MAX.saturating_add(2)));
    let mut byte = Zeroizing::new([0]);
    while line.len() < line.capacity() {
        match from.read(byte.as_mut_slice()) {
            Ok(0) => break,
            Ok(_) if *byte == [b'\n'] => {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                break;
            }
            Ok(_) => line.extend_from_slice(byte.as_slice()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((line.len() <= PASSPHRASE_MAX).then_some(line))
}

fn too_long() -> KeyError {
    KeyError::config(format!(
        "the passphrase is longer than {PASSPHRASE_MAX} bytes"
    ))
}

/// A passphrase that is asked for at most once, on its first use, and kept in locked memory.
///
/// A failure to ask is kept as well: a prompt that was refused does not come up again with every
/// file that is opened.
#[derive(Debug)]
pub struct Passphrase {
    source: PassphraseSource,
    confirm: Confirm,
    asked: Mutex<Asked>,
}

#[derive(Debug)]
enum Asked {
    NotYet,
    Known(Result<Locked, KeyError>),
    /// It was known, and is not to be asked for at a terminal again: that may be gone.
    Forgotten,
}

impl Passphrase {
    /// Nothing is asked yet.
    pub fn new(source: PassphraseSource, confirm: Confirm) -> Self {
        Self {
            source,
            confirm,
            asked: Mutex::new(Asked::NotYet),
        }
    }

    /// Asks now, if not asked yet: for a program that leaves its terminal afterwards.
    /// It has to be the process that goes on: locked memory does not outlive a fork.
    ///
    /// # Errors
    /// Those of [`PassphraseSource::ask`], the same each time.
    pub fn ask(&self) -> Result<(), KeyError> {
        self.reveal().map(drop)
    }

    /// The passphrase, in a buffer that is wiped when dropped.
    pub(crate) fn reveal(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // Held while asking, on purpose: two prompts at once on one terminal help nobody.
        let mut asked = self.asked.lock();
        let kept = match &*asked {
            Asked::Known(kept) => kept,
            Asked::Forgotten if self.is_prompt() => return Err(forgotten()),
            Asked::NotYet | Asked::Forgotten => {
                *asked = Asked::Known(self.ask_source());
                match &*asked {
                    Asked::Known(kept) => kept,
                    Asked::NotYet | Asked::Forgotten => return Err(forgotten()),
                }
            }
        };
        kept.as_ref().map(Locked::reveal).map_err(Clone::clone)
    }

    /// Drops the passphrase. A file or command is asked again when it is next needed; one that came
    /// from the terminal has to be [given](Passphrase::give).
    pub fn forget(&self) {
        *self.asked.lock() = Asked::Forgotten;
    }

    /// Whether it was forgotten, and only a human can tell it.
    pub fn is_wanted(&self) -> bool {
        self.is_prompt() && matches!(*self.asked.lock(), Asked::Forgotten)
    }

    /// Takes a passphrase that was asked for elsewhere.
    ///
    /// # Errors
    /// `Config` where it is empty or too long; `Unavailable` where no memory can be locked.
    pub fn give(&self, passphrase: &[u8]) -> Result<(), KeyError> {
        match passphrase.len() {
            0 => return Err(KeyError::config("the passphrase is empty")),
            1..=PASSPHRASE_MAX => {}
            _ => return Err(too_long()),
        }
        *self.asked.lock() = Asked::Known(Ok(Locked::new(passphrase)?));
        Ok(())
    }

    fn ask_source(&self) -> Result<Locked, KeyError> {
        Locked::new(&self.source.ask(self.confirm)?)
    }

    fn is_prompt(&self) -> bool {
        matches!(self.source, PassphraseSource::Prompt)
    }
}

fn forgotten() -> KeyError {
    KeyError::config("the passphrase was forgotten: run `envelopefs unlock`")
}

/// Bytes of any length in the locked slots of [`SecretKey`]; the last slot is filled with zeros.
#[derive(Debug)]
pub(super) struct Locked {
    slots: Vec<SecretKey>,
    len: usize,
}

impl Locked {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        let slots: Result<_, _> = bytes.chunks(SecretKey::LEN).map(lock_chunk).collect();
        Ok(Self {
            slots: slots?,
            len: bytes.len(),
        })
    }

    pub(super) fn reveal(&self) -> Zeroizing<Vec<u8>> {
        let room = self.slots.len().saturating_mul(SecretKey::LEN);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        for slot in &self.slots {
            bytes.extend_from_slice(slot.expose());
        }
        bytes.truncate(self.len);
        bytes
    }
}

fn lock_chunk(chunk: &[u8]) -> Result<SecretKey, KeyError> {
    let filled = SecretKey::init(|slot| {
        slot.iter_mut()
            .zip(chunk)
            .for_each(|(to, from)| *to = *from);
    });
    Ok(filled?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn ask(source: &PassphraseSource) -> Result<Vec<u8>, String> {
        let answer = source.ask(Confirm::No);
        answer
            .map(|passphrase| passphrase.to_vec())
            .map_err(|error| error.to_string())
    }

    fn file(contents: &[u8]) -> Result<Vec<u8>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(contents).unwrap();
        ask(&PassphraseSource::File(file.path().to_owned()))
    }

    fn command(command: &str) -> Result<Vec<u8>, String> {
        ask(&PassphraseSource::Command(command.to_owned()))
    }

    #[test]
    fn a_file_gives_its_first_line() {
        for contents in [&b"p w"[..], b"p w\n", b"p w\r\n", b"p w\nsecond\n"] {
            assert_eq!(file(contents), Ok(b"p w".to_vec()));
        }
        assert_eq!(
            file(b" p\xff \n"),
            Ok(b" p\xff ".to_vec()),
            "nothing else is cut"
        );
    }

    #[test]
    fn empty_lines_and_endless_ones_are_refused() {
        for contents in [&b""[..], b"\n", b"\r\n", b"\nsecond"] {
            assert!(file(contents).is_err());
        }
        assert_eq!(file(&[b'x'; PASSPHRASE_MAX]).unwrap().len(), PASSPHRASE_MAX);
        assert!(file(&[b'x'; PASSPHRASE_MAX + 1]).is_err());
        assert!(file(&[b'x'; PASSPHRASE_MAX + 9]).is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = ask(&PassphraseSource::File("/nonexistent/pw".into())).unwrap_err();
        assert!(error.contains("/nonexistent/pw"), "{error}");
    }

    #[test]
    fn a_command_gives_the_first_line_of_its_output() {
        assert_eq!(command("echo one; echo two"), Ok(b"one".to_vec()));
        assert_eq!(
            command("printf one; seq 100000 | sed 's/^/ /;1s/$/\\n/'").unwrap()[..3],
            *b"one"
        );
    }

    #[test]
    fn a_command_that_fails_gives_none_and_is_not_quoted() {
        for text in [
            "echo hunter2; exit 3",
            "kill -9 $$ # hunter2",
            "hunter2-not-a-command",
            "true",
        ] {
            let error = command(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_confirmed_prompt_asks_twice_and_compares() {
        let ask = |confirm, answers: &[&str]| {
            let mut answers = answers.iter();
            let given = prompt(confirm, &mut |_text| {
                Ok((*answers.next().unwrap()).to_owned())
            });
            given.map(|passphrase| passphrase.to_vec()).ok()
        };
        assert_eq!(ask(Confirm::No, &["a"]), Some(b"a".to_vec()));
        assert_eq!(ask(Confirm::Yes, &["a", "a"]), Some(b"a".to_vec()));
        assert_eq!(ask(Confirm::Yes, &["a", "b"]), None);
    }

    #[test]
    fn without_a_terminal_the_error_says_what_else_there_is() {
        let error = prompt(Confirm::No, &mut |_text| Err(io::Error::other("no tty"))).unwrap_err();
        assert!(
            error.message().contains("passphrase file or command"),
            "{error}"
        );
        let interrupted = |_text: &str| Err(io::ErrorKind::Interrupted.into());
        let error = prompt(Confirm::No, &mut { interrupted }).unwrap_err();
        assert_eq!(error.message(), "no passphrase was entered");
    }

    #[test]
    fn it_is_asked_once_and_a_failure_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("asked");
        for (end, ok) in [("echo pw", true), ("exit 1", false)] {
            let command = format!("echo x >> {}; {end}", asked.display());
            let passphrase = Passphrase::new(PassphraseSource::Command(command), Confirm::No);
            for _ in 0..3 {
                assert_eq!(passphrase.ask().is_ok(), ok);
            }
            assert_eq!(std::fs::read(&asked).unwrap(), b"x\n");
            std::fs::remove_file(&asked).unwrap();
        }
    }

    #[test]
    fn locked_bytes_come_back_whatever_their_length() {
        for len in [0, 1, 31, 32, 33, 64, 100] {
            let bytes = vec![7; len];
            assert_eq!(*Locked::new(&bytes).unwrap().reveal(), bytes);
        }
    }

    #[test]
    fn debug_shows_neither_passphrase_nor_command() {
        for source in [
            PassphraseSource::Fixed(b"hunter2".to_vec()),
            PassphraseSource::Command("echo hunter2".to_owned()),
        ] {
            let passphrase = Passphrase::new(source, Confirm::No);
            passphrase.ask().unwrap();
            let text = format!("{passphrase:?}");
            assert!(
                !text.contains("hunter2") && !text.contains("104, 117"),
                "{text}"
            );
        }
    }
}
