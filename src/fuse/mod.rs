//! The thin adapter between the kernel protocol and `fs`.
//!
//! An operation here converts, calls `fs`, and replies, once: through `settle` in `adapter`. What
//! the kernel offers and this file system asks for, or leaves, stands with its reason in `capabilities`.

mod adapter;
mod cache;
mod capabilities;
mod convert;
mod locks;
mod session;
mod stale;

pub use session::{MountConfig, Mounted, Transport, mount};
