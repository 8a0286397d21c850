//! The key service itself: keys, their states and versions, and each operation on them.
//!
//! A dialect makes a [`Caller`] of a request whose signature holds and an [`Operation`] of its
//! parameters, and calls [`Engine::perform`], the one way in: it resolves the key, asks whether the
//! caller may, looks at the key's state, does it and tells the audit trail, in this order.

pub mod caller;
pub mod context;
pub mod error;
pub mod model;
pub mod operation;
pub mod ops;

pub use caller::{Caller, Dialect};
pub use context::EncryptionContext;
pub use error::{ErrorKind, KmsError};
pub use operation::{Engine, Operation};
