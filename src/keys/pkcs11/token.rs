//! A token: found by what a URI says of it, with a bounded pool of sessions that are logged in.

use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use cryptoki::slot::{Limit, Slot, TokenInfo};
use parking_lot::{Condvar, Mutex};

use super::failure::Failure;
use super::module::{Live, Module, TokenNames};
use super::pin::Pin;
use super::uri::KeyPath;
use crate::keys::error::KeyError;

/// Sessions at once, at most. An HSM serves a few; smart cards have one that works.
pub(super) const SESSIONS_MAX: usize = 8;

/// Names what handles are good for: they end with the module's initialisation, the token's absence or the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    module: u64,
    token: u64,
}

/// What is done in a token's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Its keys are used.
    Use,
    /// They are made and destroyed besides.
    Change,
}

/// The token that a URI names.
#[derive(Debug)]
pub(super) struct Token {
    module: Arc<Module>,
    wanted: KeyPath,
    pin: Pin,
    access: Access,
    pool: Mutex<Sessions>,
    freed: Condvar,
}

#[derive(Debug)]
struct Sessions {
    /// Logged in and unused. Those of an earlier epoch are never in here.
    idle: Vec<Session>,
    epoch: Epoch,
    /// How many there are, idle ones among them.
    open: usize,
    /// How many threads have a session or are opening one.
    busy: usize,
    most: usize,
}

impl Sessions {
    /// Passes over those of an earlier initialisation of the module: their handles went with it, and may be another's by now.
    fn be_of(&mut self, generation: u64) {
        if self.epoch.module != generation {
            self.idle.clear();
            self.open = 0;
            self.epoch.module = generation;
        }
    }
}

impl Drop for Token {
    /// The library closes no session by itself here.
    fn drop(&mut self) {
        self.forget();
    }
}

impl Token {
    /// The token is looked for when it is first used: it may not be there yet.
    pub(super) fn new(module: Arc<Module>, wanted: KeyPath, pin: Pin, access: Access) -> Self {
        let pool = Sessions {
            idle: Vec::new(),
            epoch: Epoch {
                module: 0,
                token: 0,
            },
            open: 0,
            busy: 0,
            most: SESSIONS_MAX,
        };
        Self {
            module,
            wanted,
            pin,
            access,
            pool: Mutex::new(pool),
            freed: Condvar::new(),
        }
    }

    pub(super) fn module(&self) -> &Module {
        &self.module
    }

    #[cfg(test)]
    pub(super) fn idle_sessions(&self) -> usize {
        self.pool.lock().idle.len()
    }

    /// Does some work in a session that is logged in; where the token went away meanwhile, once more
    /// in a new one.
    pub(super) fn with_session<T>(
        &self,
        work: &dyn Fn(&Session, Epoch) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self.in_one_session(work) {
            (generation, Err(failure)) if failure.is_stale() => {
                tracing::debug!(?failure, "PKCS#11 token is opened anew");
                self.renew(generation)?;
                self.in_one_session(work).1
            }
            (_, done) => done,
        }
    }

    fn in_one_session<T>(
        &self,
        work: &dyn Fn(&Session, Epoch) -> Result<T, Failure>,
    ) -> (u64, Result<T, Failure>) {
        let _permit = Permit::of(self);
        let live = self.module.live();
        let done = self.session(&live).and_then(|(session, epoch)| {
            let done = work(&session, epoch);
            let usable = !done
                .as_ref()
                .is_err_and(|failure| failure.is_stale() || failure.is_of_call());
            self.put_back(session, epoch, usable);
            done
        });
        (live.generation, done)
    }

    fn session(&self, live: &Live) -> Result<(Session, Epoch), Failure> {
        let (idle, epoch) = {
            let mut pool = self.pool.lock();
            pool.be_of(live.generation);
            (pool.idle.pop(), pool.epoch)
        };
        match idle {
            Some(session) => Ok((session, epoch)),
            None => self.open(live),
        }
    }

    fn open(&self, live: &Live) -> Result<(Session, Epoch), Failure> {
        let (slot, info) = self.find(&live.pkcs11)?;
        let most = match self.access {
            Access::Use => info.max_session_count(),
            Access::Change => info.max_rw_session_count(),
        };
        if let Limit::Max(most) = most {
            let most = usize::try_from(most).unwrap_or(SESSIONS_MAX);
            self.pool.lock().most = most.clamp(1, SESSIONS_MAX);
        }
        // Sessions are closed by `close`: one of an earlier generation must not close another's.
        let session = self.module.opened(|| match self.access {
            Access::Use => live.pkcs11.open_ro_session_no_drop(slot),
            Access::Change => live.pkcs11.open_rw_session_no_drop(slot),
        })?;
        // The epoch as it is from here on: it does not end by the login while this session is open.
        let epoch = {
            let mut pool = self.pool.lock();
            pool.open = pool.open.saturating_add(1);
            pool.epoch
        };
        if info.login_required() {
            let token = TokenNames {
                in_words: self.wanted.token_in_words(),
                serial: info.serial_number().to_owned(),
                own_pin_pad: info.protected_authentication_path(),
            };
            if let Err(failure) = self.module.log_in(&session, &token, &self.pin) {
                self.close(session);
                return Err(failure);
            }
        }
        Ok((session, epoch))
    }

    fn put_back(&self, session: Session, epoch: Epoch, usable: bool) {
        let mut pool = self.pool.lock();
        if pool.epoch == epoch && usable {
            pool.idle.push(session);
        } else {
            drop(pool);
            self.close(session);
        }
    }

    /// With the last session goes the login, and with that what handles are good for.
    fn close(&self, session: Session) {
        {
            let mut pool = self.pool.lock();
            pool.open = pool.open.saturating_sub(1);
            if pool.open == 0 {
                pool.epoch.token = pool.epoch.token.wrapping_add(1);
            }
        }
        self.module.close(session);
    }

    /// Whether the token is in its slot at this moment.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub(super) fn check_there(&self) -> Result<(), Failure> {
        self.find(&self.module.live().pkcs11).map(drop)
    }

    /// Has the module initialised anew, unless that has just happened.
    pub(super) fn start_anew(&self) {
        let generation = self.module.live().generation;
        if let Err(failure) = self.module.restart(generation) {
            tracing::debug!(?failure, "the PKCS#11 module does not start");
        }
    }

    /// Lets go of everything that was opened; where the token is not to be seen, the module looks for
    /// its tokens anew.
    fn renew(&self, generation: u64) -> Result<(), Failure> {
        let gone = {
            let live = self.module.live();
            let mut pool = self.pool.lock();
            pool.epoch.token = pool.epoch.token.wrapping_add(1);
            let idle = std::mem::take(&mut pool.idle);
            drop(pool);
            if live.generation == generation {
                idle.into_iter().for_each(|session| self.close(session));
            }
            self.find(&live.pkcs11).is_err()
        };
        if gone {
            self.module.restart(generation)?;
        }
        Ok(())
    }

    /// Closes the sessions that nobody uses, which logs out with the last one, and drops the PIN where that can be
    /// read again.
    pub(super) fn forget(&self) {
        let live = self.module.live();
        let idle = {
            let mut pool = self.pool.lock();
            pool.be_of(live.generation);
            pool.epoch.token = pool.epoch.token.wrapping_add(1);
            std::mem::take(&mut pool.idle)
        };
        idle.into_iter().for_each(|session| self.close(session));
        self.pin.forget();
    }

    /// The one slot whose token is what the URI says.
    fn find(&self, pkcs11: &Pkcs11) -> Result<(Slot, TokenInfo), Failure> {
        let mut found = None;
        for slot in pkcs11.get_slots_with_token()? {
            // A token that is taken out at this moment is none.
            let Ok(info) = pkcs11.get_token_info(slot) else {
                continue;
            };
            if !info.token_initialized() || !matches(&self.wanted, pkcs11, slot, &info)? {
                continue;
            }
            if found.replace((slot, info)).is_some() {
                let message = format!(
                    "several tokens are {}: add serial=… to the URI",
                    self.wanted.token_in_words()
                );
                return Err(Failure::Known(KeyError::config(message)));
            }
        }
        found.ok_or_else(|| {
            let message = format!(
                "{} is not there (module {})",
                self.wanted.token_in_words(),
                self.module.path().display()
            );
            Failure::Away(KeyError::unavailable(message))
        })
    }
}

/// The right to one session; given back when dropped.
struct Permit<'a> {
    token: &'a Token,
}

impl<'a> Permit<'a> {
    fn of(token: &'a Token) -> Self {
        let mut pool = token.pool.lock();
        while pool.busy >= pool.most {
            token.freed.wait(&mut pool);
        }
        pool.busy = pool.busy.saturating_add(1);
        Self { token }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut pool = self.token.pool.lock();
        pool.busy = pool.busy.saturating_sub(1);
        drop(pool);
        self.token.freed.notify_one();
    }
}

/// Whether everything that the URI says of library, slot and token is so.
fn matches(
    wanted: &KeyPath,
    pkcs11: &Pkcs11,
    slot: Slot,
    info: &TokenInfo,
) -> Result<bool, Failure> {
    let is = |name: &str, value: &str| {
        wanted
            .text(name)
            .is_none_or(|text| text == value.trim_end())
    };
    let token = is("token", info.label())
        && is("serial", info.serial_number())
        && is("manufacturer", info.manufacturer_id())
        && is("model", info.model())
        && wanted.slot_id().is_none_or(|id| id == slot.id());
    if !token {
        return Ok(false);
    }
    let slot = pkcs11.get_slot_info(slot)?;
    let library = pkcs11.get_library_info()?;
    let version = library.library_version();
    Ok(is("slot-description", slot.slot_description())
        && is("slot-manufacturer", slot.manufacturer_id())
        && is("library-description", library.library_description())
        && is("library-manufacturer", library.manufacturer_id())
        && wanted
            .library_version()
            .is_none_or(|wanted| wanted == (version.major(), version.minor())))
}
