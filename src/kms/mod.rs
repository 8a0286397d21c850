//! envelopekms: a key service that clients of Alibaba Cloud KMS and of AWS KMS use unchanged.
//!
//! Its rooms, from the top down; each uses only what stands below it:
//!
//! ```text
//! server → api (alibaba, aws, rest, console) → engine → { audit, hsm, policy, root, store } → { auth, material }
//! ```
//!
//! * [`auth`]: pure: is a signed request really from the holder of an access key
//! * [`engine`]: keys, their lives and what is done with them; knows no wire format
//! * [`material`]: pure: what the bytes of a key can do
//! * [`store`]: what is kept: SQLite or PostgreSQL
//! * [`hsm`]: keys that never leave a PKCS#11 token
//! * [`root`]: the one key that wraps all others at rest
//! * [`policy`]: who may do what
//! * [`audit`]: the trail of every call
//! * [`api`]: the dialects: wire format → operation → wire format, and the one table of errors each
//! * [`server`]: TLS, connections, limits

#![allow(
    missing_docs,
    reason = "variants and fields whose names say all that there is to say"
)]

pub mod api;
pub mod audit;
pub mod auth;
pub mod engine;
pub mod hsm;
pub mod material;
pub mod policy;
pub mod root;
pub mod server;
pub mod store;
