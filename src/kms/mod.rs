//! envelopekms: a key service that clients of Alibaba Cloud KMS and of AWS KMS use unchanged.
//!
//! Its rooms, from the top down; each uses only what stands below it:
//!
//! ```text
//! server → api (alibaba, aws, rest, console) → engine → { material, policy, root, store } → auth
//! ```
//!
//! * [`auth`]: pure: is a signed request really from the holder of an access key
//! * [`engine`]: keys, their lives and what is done with them; knows no wire format
//! * [`material`]: pure: what the bytes of a key can do
//! * `api`: the dialects: wire format → operation → wire format, and the one table of errors each
//! * `server`: TLS, connections, limits

pub mod api;
pub mod auth;
pub mod engine;
pub mod material;
