//! PKCS#11 modules: one of a path is loaded and initialised once in a process, whoever uses it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::types::RawAuthPin;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::failure::{Failure, in_short, is_refused_login};
use super::pin::Pin;
use crate::keys::error::KeyError;

/// A module is initialised anew at most this often: that takes every user's sessions away.
pub(super) const RESTART_EVERY: Duration = Duration::from_secs(2);

/// How long the end of the process waits for calls that are under way.
const LAST_CALLS_MAX: Duration = Duration::from_secs(2);

static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A module, initialised. It must be loaded in the process that uses it: none outlives a fork.
#[derive(Debug)]
pub(super) struct Module {
    path: PathBuf,
    /// Read while a call is made, written while the module is initialised anew: the standard leaves
    /// open what calls do that are under way meanwhile.
    live: RwLock<Live>,
    threads: Threads,
    /// How many sessions whoever uses the module has open.
    sessions: AtomicUsize,
    /// Refused logins by the token's serial number. They hold for the life of the process, whatever
    /// provider asks: a PIN that is wrong is sent once, or the token would lock itself. Locked for a login, and for the logout.
    refused: Mutex<HashMap<String, KeyError>>,
}

/// Has every module let go of its tokens, at the end of the process: what is loaded into a TPM stays there otherwise,
/// where no resource manager clears up. Whoever calls a module after that is told that it is not initialised.
pub fn finalize_all() {
    for module in MODULES.lock().values() {
        // A call that does not end keeps nobody waiting.
        let Some(live) = module.live.try_write_for(LAST_CALLS_MAX) else {
            continue;
        };
        if module.sessions.load(Ordering::Relaxed) > 0 {
            log_out(&live.pkcs11);
        }
        let finalized = live.pkcs11.clone().finalize();
        tracing::debug!(?finalized, module = %module.path.display(), "PKCS#11 module is finalised");
    }
}

/// A module between two initialisations.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) pkcs11: Pkcs11,
    /// Counts the initialisations: sessions and handles of an earlier one mean nothing.
    pub(super) generation: u64,
    since: Instant,
}

/// How many threads may be in a module's calls at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    One,
    Many,
}

/// The right to call a module, for as long as it is held.
#[derive(Debug)]
pub(super) enum Calls<'a> {
    Beside(RwLockReadGuard<'a, Live>),
    Alone(RwLockWriteGuard<'a, Live>),
}

impl Deref for Calls<'_> {
    type Target = Live;

    fn deref(&self) -> &Live {
        match self {
            Self::Beside(live) => live,
            Self::Alone(live) => live,
        }
    }
}

impl Module {
    /// The module at `path`, loaded and initialised where it is not yet.
    ///
    /// # Errors
    /// `Config` where there is no such module; mostly `Unavailable` where it does not initialise, as tpm2-pkcs11
    /// while its TPM is away.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, KeyError> {
        let mut modules = MODULES.lock();
        if let Some(module) = modules.get(path) {
            return Ok(Arc::clone(module));
        }
        let failed = |error: Error| {
            let path = path.display();
            KeyError::config(format!(
                "cannot load PKCS#11 module {path}: {}",
                in_short(&error)
            ))
        };
        let pkcs11 = Pkcs11::new(path).map_err(failed)?;
        let threads = initialise(&pkcs11).map_err(|error| {
            Failure::from(error).into_error(&format!("starting PKCS#11 module {}", path.display()))
        })?;
        let live = Live {
            pkcs11,
            generation: 0,
            since: Instant::now(),
        };
        let module = Arc::new(Self {
            path: path.to_owned(),
            live: RwLock::new(live),
            threads,
            sessions: AtomicUsize::new(0),
            refused: Mutex::default(),
        });
        modules.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The module for calls. Held by a thread at most once, and not while it calls `restart`.
    pub(super) fn live(&self) -> Calls<'_> {
        match self.threads {
            Threads::Many => Calls::Beside(self.live.read()),
            Threads::One => Calls::Alone(self.live.write()),
        }
    }

    /// Initialises the module anew: several look for tokens only then. Does nothing where that
    /// has just happened.
    pub(super) fn restart(&self, generation: u64) -> Result<(), Failure> {
        let mut live = self.live.write();
        if live.generation != generation || live.since.elapsed() < RESTART_EVERY {
            return Ok(());
        }
        tracing::debug!(module = %self.path.display(), "PKCS#11 module is initialised anew");
        // One that has lost itself says that it was not initialised: what counts is what comes next.
        let finalized = live.pkcs11.clone().finalize();
        tracing::debug!(?finalized, "PKCS#11 module is finalised");
        self.sessions.store(0, Ordering::Relaxed);
        live.generation = live.generation.saturating_add(1);
        live.since = Instant::now();
        initialise(&live.pkcs11)?;
        Ok(())
    }

    /// Opens a session and counts it: before it is there, so that whoever closes the last one but this does not log out.
    pub(super) fn opened(
        &self,
        open: impl FnOnce() -> Result<Session, Error>,
    ) -> Result<Session, Error> {
        self.sessions.fetch_add(1, Ordering::AcqRel);
        open().inspect_err(|_error| {
            self.one_less();
        })
    }

    /// Whether it was the last session.
    fn one_less(&self) -> bool {
        let less = |count: usize| count.checked_sub(1);
        let earlier = self
            .sessions
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        earlier == Ok(1)
    }

    /// Closes a session, and logs out with the last one: tpm2-pkcs11 leaves keys loaded in the TPM else, though closing
    /// the last session should log out.
    pub(super) fn close(&self, session: Session) {
        {
            // Nobody finds himself logged in, and has an operation under way, when the logout takes both from him.
            let _logins = self.refused.lock();
            if self.one_less() {
                let logged_out = session.logout();
                tracing::debug!(?logged_out, "the last PKCS#11 session is closed");
            }
        }
        if let Err(error) = session.close() {
            tracing::debug!(%error, "a PKCS#11 session was gone before it was closed");
        }
    }

    #[cfg(test)]
    pub(super) fn threads(&self) -> Threads {
        self.threads
    }

    /// Tokens that have refused a PIN.
    #[cfg(test)]
    pub(super) fn refused_logins(&self) -> usize {
        self.refused.lock().len()
    }

    /// Logs the user in, where no session of this process has.
    pub(super) fn log_in(
        &self,
        session: &Session,
        token: &TokenNames,
        pin: &Pin,
    ) -> Result<(), Failure> {
        // One at a time: two threads with a wrong PIN would send it twice.
        let mut refused = self.refused.lock();
        if let Some(error) = refused.get(&token.serial) {
            return Err(Failure::Known(error.clone()));
        }
        let state = session.get_session_info()?.session_state();
        if matches!(state, SessionState::RoUser | SessionState::RwUser) {
            return Ok(());
        }
        let sent = if token.own_pin_pad {
            session.login(UserType::User, None)
        } else {
            let mut pin = pin.reveal(&token.in_words)?;
            let pin = RawAuthPin::new(Box::new(std::mem::take(&mut *pin)));
            session.login_with_raw(UserType::User, &pin)
        };
        match sent {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(code, _)) if is_refused_login(code) => {
                let error = refusal(token, code);
                refused.insert(token.serial.clone(), error.clone());
                Err(Failure::Known(error))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// How a token is called, and how it takes its PIN.
#[derive(Clone, Debug)]
pub(super) struct TokenNames {
    pub(super) in_words: String,
    pub(super) serial: String,
    pub(super) own_pin_pad: bool,
}

fn refusal(token: &TokenNames, code: RvError) -> KeyError {
    let message = format!(
        "{} refuses the PIN ({code:?}); it is not sent again before envelopefs is started anew, since a token locks itself",
        token.in_words
    );
    KeyError::new(crate::keys::error::KeyErrorKind::Denied, message)
}

/// The login is the process's: any session ends it.
fn log_out(pkcs11: &Pkcs11) {
    for slot in pkcs11.get_slots_with_token().unwrap_or_default() {
        let session = pkcs11.open_ro_session(slot);
        let logged_out = session.and_then(|session| session.logout());
        tracing::debug!(?logged_out, ?slot, "PKCS#11 token is logged out from");
    }
}

/// Initialises the module, and says how many threads may be in it. A module that cannot lock says so (PKCS #11 3.1, 5.4).
fn initialise(pkcs11: &Pkcs11) -> Result<Threads, Error> {
    let begin = |flags| match pkcs11.initialize(CInitializeArgs::new(flags)) {
        // The same library under another path.
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        initialised => initialised,
    };
    match begin(CInitializeFlags::OS_LOCKING_OK) {
        Err(Error::Pkcs11(RvError::CantLock, _)) => {
            begin(CInitializeFlags::empty())?;
            Ok(Threads::One)
        }
        initialised => {
            initialised?;
            threads_of(pkcs11)
        }
    }
}

/// tpm2-pkcs11 says that it locks, and 1.9.0 touches sessions and tokens outside of its locks: with several threads in
/// it, it loses operations or ends the process. A TPM does one thing at a time anyway.
fn threads_of(pkcs11: &Pkcs11) -> Result<Threads, Error> {
    const OF_TPM2_PKCS11: &str = "tpm2-software.github.io";
    let library = pkcs11.get_library_info()?;
    Ok(match library.manufacturer_id().trim_end() {
        OF_TPM2_PKCS11 => Threads::One,
        _ => Threads::Many,
    })
}
