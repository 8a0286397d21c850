//! The key service itself: keys, their states and versions, and each operation on them.
//!
//! A dialect makes a [`Caller`] of a request whose signature holds ([`Engine::credential`]) and an [`Operation`] of its
//! parameters, and calls [`Engine::perform`], the one way in: it finds the keys, asks policies and grants, looks at the
//! keys' states, does it and tells the audit trail, in this order.

mod admit;
pub mod backup;
mod cache;
mod caches;
pub mod caller;
mod census;
pub mod context;
pub mod credential;
mod entry;
pub mod error;
mod holder;
pub mod ids;
pub mod model;
pub mod open;
pub mod operation;
pub mod ops;
pub mod service;
pub mod sessions;
mod sharing;
#[cfg(test)]
mod tests;
mod upkeep;
mod worker;

pub use caller::{Caller, Dialect};
pub use context::EncryptionContext;
pub use credential::Credential;
pub use error::{ErrorKind, KmsError};
pub use open::{EngineOptions, Initial, OpenError};
pub use operation::Operation;
pub use service::Engine;
pub use upkeep::InHsm;
