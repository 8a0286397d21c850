//! From the refusals of the key service to what a user is told.

use crate::audit::AuditError;
use crate::cli::errors::{key, locked_memory};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, chain};
use crate::kms::engine::{ErrorKind, KmsError, OpenError};
use crate::kms::root::RootError;
use crate::kms::server::ServerError;
use crate::kms::store::StoreError;

/// A service that could not be made or opened, while doing `what`.
pub(super) fn open(what: &str, error: &OpenError) -> Failure {
    match error {
        OpenError::AlreadyThere => Failure::new(Exit::ServiceExists, what, error)
            .advise("name an empty store: another file, or another database"),
        OpenError::NotThere => Failure::new(Exit::NoService, what, error),
        OpenError::Audit(AuditError::LockedMemory(error)) | OpenError::Memory(error) => {
            locked_memory(what, error)
        }
        OpenError::Audit(_) => Failure::new(Exit::Failure, what, chain(error)).advise(
            "see that nothing else serves from this folder, and that its audit folder is yours",
        ),
        OpenError::Backup(_) => Failure::new(Exit::BackupUnusable, what, error)
            .advise("give a file that `envelopekms backup` made, as it was made"),
        OpenError::Names(_) => Failure::usage(what, error),
        OpenError::Refused(error) => refused(what, error),
        OpenError::Root(error) => root(what, error),
        OpenError::Store(error) => store(what, error),
    }
}

pub(super) fn root(what: &str, error: &RootError) -> Failure {
    match error {
        RootError::Key(error) => key(what, error),
        RootError::Memory(error) => locked_memory(what, error),
        RootError::Credential(_) => Failure::new(Exit::KeyUnavailable, what, error)
            .advise("add LoadCredentialEncrypted=NAME to the unit, or name another root key"),
        RootError::NoSlot => Failure::new(Exit::NoService, what, error),
        RootError::Uri(_) => Failure::usage(what, error),
    }
}

pub(super) fn store(what: &str, error: &StoreError) -> Failure {
    match error {
        StoreError::Unavailable(_) | StoreError::Raced => {
            Failure::new(Exit::StoreUnavailable, what, chain(error))
                .advise("see that the database runs, and that this user may use it")
        }
        StoreError::Refused(_) => Failure::new(Exit::StoreUnavailable, what, chain(error))
            .advise("see the database's own log; the password is taken from ~/.pgpass (PGPASSFILE), or PGPASSWORD"),
        StoreError::Migrate(_) => Failure::new(Exit::NewerVolume, what, chain(error))
            .advise("use the version of envelopekms that wrote it, or a newer one"),
        StoreError::Corrupt(_) | StoreError::Exists => {
            Failure::new(Exit::Failure, what, chain(error)).advise("restore a backup")
        }
        StoreError::Unusable(_) => Failure::new(Exit::NoService, what, chain(error)),
    }
}

/// An operation that was refused.
pub(super) fn refused(what: &str, error: &KmsError) -> Failure {
    let exit = match error.kind() {
        ErrorKind::AccessKeyNotFound
        | ErrorKind::AliasNotFound
        | ErrorKind::GrantNotFound
        | ErrorKind::KeyNotFound
        | ErrorKind::KeyVersionNotFound
        | ErrorKind::PrincipalNotFound => Exit::NotFound,
        ErrorKind::HsmUnavailable => Exit::KeyUnavailable,
        ErrorKind::Unavailable => Exit::StoreUnavailable,
        ErrorKind::Internal => Exit::Failure,
        _ => Exit::Refused,
    };
    Failure::new(exit, what, error)
}

pub(super) fn server(what: &str, error: &ServerError) -> Failure {
    match error {
        ServerError::Listen(_, _) => Failure::new(Exit::Listen, what, error)
            .advise("see what listens there already, or name another address: --listen"),
        ServerError::Certificate(_) => Failure::new(Exit::Failure, what, chain(error))
            .advise("see [tls] in the service's envelopekms.toml"),
        ServerError::Socket(_) => Failure::new(Exit::Listen, what, error)
            .advise("the socket unit must have one ListenStream= with an address and a port"),
        ServerError::NotLoopback(_) => Failure::usage(what, error),
        ServerError::Place(_) => Failure::new(Exit::Failure, what, chain(error)),
        ServerError::Store(error) => refused(what, error),
    }
}
