//! Primitives and locked memory; knows of no file and no key provider.
//!
//! * [`secret`]: 32-byte keys in locked memory
//! * [`random`], [`derive`](mod@derive), [`passphrase`]: where keys come from
//! * [`xaes`]: what seals data; [`xaes_reference`]: the same by other hands; [`backend`]: either one
//! * [`siv`]: what seals names; [`kwp`]: what wraps keys
//! * [`wiped`]: buffers that leave nothing behind

pub mod backend;
pub mod derive;
pub mod kwp;
pub mod passphrase;
pub mod random;
pub mod secret;
pub mod siv;
#[cfg(test)]
mod testing;
pub mod wiped;
pub mod xaes;
pub mod xaes_reference;

pub use backend::{Backend, GcmCipher};
pub use derive::{Label, MacKey, derive, derive_commitment};
pub use kwp::KwpError;
pub use passphrase::{Argon2Params, Argon2ParamsError, PassphraseError};
pub use secret::{
    LockedMemoryError, LockedMemoryReport, MemoryKind, MemoryPolicy, SecretKey, SecretKeyError,
    configure_locked_memory, locked_memory_report,
};
pub use siv::SivKey;
pub use wiped::move_wiped;
pub use xaes::{NONCE_LEN, OpenError, Subkey, TAG_LEN, XaesKey};
