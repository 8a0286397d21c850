//! What the service keeps: SQLite in one file, or PostgreSQL for several servers.
//!
//! * [`connect`]: the two databases, and how each is set up
//! * [`write`](mod@write): a transaction that changes something and tells the other servers
//! * [`changes`]: what others changed
//! * `access`, `hsm_objects`, `import`, `keys`, `names`, `seen`, `sessions`, `settings`: one file for each family of tables
//! * [`dump`]: all tables as one portable text, and back
//!
//! The SQL is one for both; what differs is in [`connect`] and [`write`](mod@write). Secrets come and go wrapped.

pub mod access;
pub mod changes;
pub mod connect;
pub mod dump;
pub mod error;
pub mod hsm_objects;
pub mod import;
pub mod keys;
pub mod names;
pub mod seen;
pub mod sessions;
pub mod settings;
pub mod write;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use changes::{Change, ChangeKind};
pub use connect::{Backend, Location, Store};
pub use error::StoreError;
pub use write::Write;
