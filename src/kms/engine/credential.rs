//! Access keys as the check of a signature needs them.

use std::fmt;

use zeroize::Zeroizing;

use super::ops::admin::AccessKey;

/// An access key. The check of a signature compares in constant time, and looks at `enabled` only after it: who has
/// not the secret does not learn whether the key is disabled.
#[derive(Clone)]
pub struct Credential {
    pub access_key_id: String,
    pub principal: String,
    pub enabled: bool,
    secret: Zeroizing<Vec<u8>>,
}

impl Credential {
    /// The longest id that is looked for.
    pub const ID_LEN_MAX: usize = 128;

    pub(super) fn new(access_key: AccessKey, secret: Zeroizing<Vec<u8>>) -> Self {
        Self {
            access_key_id: access_key.id,
            principal: access_key.principal,
            enabled: access_key.enabled,
            secret,
        }
    }

    /// The secret half: text, as its holder has it.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("access_key_id", &self.access_key_id)
            .field("principal", &self.principal)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}
