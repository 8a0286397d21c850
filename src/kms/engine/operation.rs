//! What every operation has in common.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::caller::Caller;
use super::context::EncryptionContext;
use super::entry::Entry;
use super::error::{ErrorKind, KmsError};
use super::model::{KeyId, KeyRef, KeyState};
pub use super::service::Engine;

/// One thing that can be asked of the service.
///
/// An operation is a struct of its parameters, already parsed; a dialect makes it, gives it to
/// [`Engine::perform`], and turns the answer into its own words.
pub trait Operation: Send {
    /// Its name in policies, without the service before it: `Encrypt`.
    const ACTION: &'static str;
    type Answer: Send;

    /// What must be allowed, and in what state the keys must be, before it runs.
    ///
    /// # Errors
    ///
    /// What a look at the parameters alone refuses.
    fn needs(&self) -> Result<Needs<'_>, KmsError>;

    /// Whether only to say whether it would be done.
    fn is_dry_run(&self) -> bool {
        false
    }

    /// Does it. All that [`Operation::needs`] names is there and allowed.
    fn run(self, call: Call<'_>) -> impl Future<Output = Result<Self::Answer, KmsError>> + Send;
}

/// What an operation is about: at most two keys, the first being the one that the audit trail names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs<'a> {
    /// `None`: what may be done is for the operation itself to say, when it runs.
    pub first: Option<Need<'a>>,
    pub second: Option<Need<'a>>,
}

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need<'a> {
    /// The action, if it is not the operation's own.
    pub action: Option<&'static str>,
    /// `None`: of the service as a whole.
    pub key: Option<Cow<'a, KeyRef>>,
    pub states: States,
    /// What conditions of policies, constraints of grants and the audit trail see.
    pub context: Option<&'a EncryptionContext>,
    /// The key is what a ciphertext names: where there is none, the ciphertext is told as wrong.
    pub of_ciphertext: bool,
}

impl<'a> Needs<'a> {
    /// Nothing beforehand.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            first: None,
            second: None,
        }
    }

    /// Of no key.
    #[must_use]
    pub fn service() -> Self {
        Self::one(Need {
            action: None,
            key: None,
            states: States::Any,
            context: None,
            of_ciphertext: false,
        })
    }

    /// Of this key, in one of these states.
    #[must_use]
    pub fn key(key: &'a KeyRef, states: States) -> Self {
        Self::one(Need::key(Cow::Borrowed(key), states))
    }

    #[must_use]
    pub fn one(first: Need<'a>) -> Self {
        Self {
            first: Some(first),
            second: None,
        }
    }

    #[must_use]
    pub fn and(self, second: Need<'a>) -> Self {
        Self {
            second: Some(second),
            ..self
        }
    }
}

impl<'a> Need<'a> {
    #[must_use]
    pub fn key(key: Cow<'a, KeyRef>, states: States) -> Self {
        Self {
            action: None,
            key: Some(key),
            states,
            context: None,
            of_ciphertext: false,
        }
    }

    #[must_use]
    pub fn with_context(self, context: &'a EncryptionContext) -> Self {
        Self {
            context: Some(context),
            ..self
        }
    }

    #[must_use]
    pub fn of_ciphertext(self) -> Self {
        Self {
            of_ciphertext: true,
            ..self
        }
    }

    #[must_use]
    pub fn with_action(self, action: &'static str) -> Self {
        Self {
            action: Some(action),
            ..self
        }
    }
}

/// In which states of its key an operation runs ("Impact of CMK states on API call", Alibaba Cloud
/// KMS; "Key states of AWS KMS keys").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    Any,
    /// It changes the key's state, and cannot from this one: all but `PendingDeletion`.
    Changeable,
    /// Enabled or disabled: a change that needs material.
    Complete,
    /// Only what is to be deleted.
    Deleting,
    /// It uses the key: all but `PendingDeletion`, which is told as such.
    Kept,
    /// It uses the material: enabled.
    Usable,
}

impl States {
    /// Whether an operation of this kind runs in this state.
    ///
    /// # Errors
    ///
    /// The refusal that tells the state.
    pub fn check(self, state: KeyState) -> Result<(), KmsError> {
        use KeyState::{Disabled, Enabled, PendingDeletion, PendingImport};
        let refusal = match (self, state) {
            (Self::Any, _)
            | (Self::Changeable | Self::Kept, Enabled | Disabled | PendingImport)
            | (Self::Complete, Enabled | Disabled)
            | (Self::Deleting, PendingDeletion)
            | (Self::Usable, Enabled) => return Ok(()),
            (Self::Usable, Disabled) => KmsError::new(
                ErrorKind::KeyDisabled,
                "The key is disabled. Enable it first.",
            ),
            (Self::Usable, PendingImport) => KmsError::new(
                ErrorKind::KeyPendingImport,
                "The key has no material: it waits for its import.",
            ),
            (Self::Usable | Self::Kept, PendingDeletion) => KmsError::new(
                ErrorKind::KeyPendingDeletion,
                "The key is scheduled for deletion. Cancel the deletion and enable it first.",
            ),
            (Self::Changeable | Self::Complete | Self::Deleting, state) => KmsError::new(
                ErrorKind::InvalidState,
                format!(
                    "A key that is {} cannot be changed in this way.",
                    state.name()
                ),
            ),
        };
        Err(refusal)
    }
}

/// An operation that may run, and what it is about.
#[derive(Debug)]
pub struct Call<'a> {
    pub engine: &'a Engine,
    pub caller: &'a Caller,
    /// The same moment for all that the call writes.
    pub now: Timestamp,
    pub(super) first: Option<Arc<Entry>>,
    pub(super) second: Option<Arc<Entry>>,
    /// The key that an operation found by itself.
    pub(super) found: &'a OnceLock<KeyId>,
}

impl Call<'_> {
    /// Has the audit trail name a key that [`Operation::needs`] could not.
    pub(super) fn is_about(&self, key: &KeyId) {
        self.found.get_or_init(|| key.clone());
    }

    /// The first key of [`Operation::needs`].
    pub(super) fn key(&self) -> Result<&Arc<Entry>, KmsError> {
        self.first.as_ref().ok_or_else(KmsError::internal)
    }

    /// The second.
    pub(super) fn other(&self) -> Result<&Arc<Entry>, KmsError> {
        self.second.as_ref().ok_or_else(KmsError::internal)
    }
}
