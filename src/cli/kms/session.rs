//! A service that is opened for one command.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::args::PlaceArgs;
use super::errors;
use super::place::{Folder, Settings};
use crate::cli::args::PassphraseFrom;
use crate::cli::errors::key;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::providers::{GivenKeys, lock_memory};
use crate::crypto::MemoryPolicy;
use crate::keys::{Confirm, Providers};
use crate::kms::audit::TrailOptions;
use crate::kms::engine::open::KEYS_CACHED;
use crate::kms::engine::{Caller, Engine, EngineOptions, Operation};
use crate::kms::hsm::Hsm;
use crate::kms::store::Location;

/// An open service, and who asks.
pub(super) struct Session {
    runtime: Runtime,
    pub(super) engine: Arc<Engine>,
    caller: Caller,
}

impl Session {
    /// Opens the service for `work`, and closes it again.
    ///
    /// # Errors
    /// It cannot be opened; those of `work`; the audit trail was not written.
    pub(super) fn with<T>(
        what: &str,
        place: &PlaceArgs,
        work: impl FnOnce(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let folder = Folder::of(place, None)?;
        let settings = folder.settings()?;
        let lock = folder.lock();
        let _lock = lock.map_err(|error| Failure::new(Exit::Failure, what, error))?;
        lock_keys(what, place)?;
        let options = options(what, &folder, &settings, place)?;
        let runtime = runtime(what)?;
        let opened = runtime.block_on(Engine::open(options));
        let session = Self {
            engine: opened.map_err(|error| errors::open(what, &error))?,
            runtime,
            caller: local_caller(),
        };
        let done = work(&session);
        session.close(what, done)
    }

    fn close<T>(self, what: &str, done: Result<T, Failure>) -> Result<T, Failure> {
        let is_noted = self.runtime.block_on(self.engine.close());
        // A call of an HSM that does not answer keeps nobody waiting.
        self.runtime.shutdown_background();
        let done = done?;
        if is_noted {
            return Ok(done);
        }
        Err(Failure::new(
            Exit::Failure,
            what,
            "it was done, and the audit trail could not be written",
        )
        .advise("see that the disk of the service's audit folder is not full"))
    }

    /// Does one operation, as whoever holds the service.
    ///
    /// # Errors
    /// It was refused.
    pub(super) fn perform<O: Operation>(
        &self,
        what: &str,
        operation: O,
    ) -> Result<O::Answer, Failure> {
        let done = self
            .runtime
            .block_on(self.engine.perform(&self.caller, operation));
        done.map_err(|error| errors::refused(what, &error))
    }

    /// Waits for something of the engine.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// The account that runs this program.
pub(super) fn local_caller() -> Caller {
    Caller::local(&format!("uid-{}", rustix::process::getuid().as_raw()))
}

/// A runtime for a command: what it waits for, it waits for one after the other.
pub(super) fn runtime(what: &str) -> Result<Runtime, Failure> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::new(Exit::Failure, what, error))
}

/// Whether keys may lie in memory that is not locked, before the first key.
pub(super) fn lock_keys(what: &str, place: &PlaceArgs) -> Result<(), Failure> {
    let policy = match place.allow_unlocked_memory {
        true => MemoryPolicy::BestEffort,
        false => MemoryPolicy::Required,
    };
    lock_memory(what, policy)
}

/// Where a passphrase comes from.
pub(super) fn passphrase(place: &PlaceArgs) -> PassphraseFrom {
    PassphraseFrom::from(place.passphrase.clone())
}

/// What a command opens the engine with.
fn options(
    what: &str,
    folder: &Folder,
    settings: &Settings,
    place: &PlaceArgs,
) -> Result<EngineOptions, Failure> {
    let keys = GivenKeys::parse(what, &settings.root_keys)?;
    Ok(options_with(
        folder.location(settings),
        keys.providers(&passphrase(place), Confirm::No),
        hsm(what, settings, &keys)?,
        command_trail(folder, settings),
    ))
}

/// What the engine is opened with.
pub(super) fn options_with(
    location: Location,
    providers: Arc<Providers>,
    hsm: Option<Arc<Hsm>>,
    trail: TrailOptions,
) -> EngineOptions {
    EngineOptions {
        location,
        providers,
        trail,
        hsm,
        keys_cached: KEYS_CACHED,
    }
}

/// The HSM of the settings, which is not looked for yet.
///
/// # Errors
/// Its URI names no token, or there is no module for it.
pub(super) fn hsm(
    what: &str,
    settings: &Settings,
    keys: &GivenKeys,
) -> Result<Option<Arc<Hsm>>, Failure> {
    let open = |uri| Hsm::new(uri, keys.pkcs11()).map(Arc::new);
    let opened = settings.hsm.as_ref().map(open).transpose();
    opened.map_err(|error| key(what, &error))
}

/// The trail of commands: a file for each user, since only its owner may write to one.
pub(super) fn command_trail(folder: &Folder, settings: &Settings) -> TrailOptions {
    let name = format!("commands-{}.log", rustix::process::geteuid().as_raw());
    TrailOptions {
        file: Some(folder.audit().join(name)),
        when_full: settings.audit.when_full.into(),
    }
}
