//! Wrapping anew, wrapping for a key that has no slot yet, and proving what was made.

use std::sync::Arc;

use crate::crypto::SecretKey;
use crate::format::header::KeySlot;
use crate::keys::{EncryptionContext, KeyError, KeyErrorKind, KeyProvider as _, WrappedDek};
use crate::units::KeyUri;

use super::Renewal;
use crate::volume::slots::{Plan, Step};
use crate::volume::wrapping::Wrapping;

/// The work on the slots of one key.
pub(super) struct Work<'a> {
    pub(super) renewal: &'a Renewal,
    pub(super) wrapping: &'a Wrapping,
    /// What the key is wrapped for.
    pub(super) context: EncryptionContext,
    /// Gets at the key by the slots that there are.
    pub(super) unwrap: &'a dyn Fn() -> Result<Arc<SecretKey>, KeyError>,
    /// Whether a key is the one.
    pub(super) opens: &'a dyn Fn(&SecretKey) -> bool,
    /// A slot that does not open any more is made anew from another that does. Not where a stranger may have added it.
    pub(super) mends: bool,
    pub(super) key: Option<Arc<SecretKey>>,
    /// Whether some slot of the result was seen to open.
    pub(super) proven: bool,
}

impl Work<'_> {
    /// The slots that the plan makes.
    pub(super) fn carry_out(mut self, plan: Plan) -> Result<Vec<KeySlot>, KeyError> {
        let mut slots = Vec::with_capacity(plan.steps.len());
        for step in plan.steps {
            slots.push(match step {
                Step::Keep(slot) => slot,
                Step::Wrap(uri) => self.wrap(&uri)?,
                Step::Rewrap(slot) => match self.rewrap(&slot) {
                    Ok(slot) => slot,
                    Err(error) if !self.mends => return Err(error),
                    Err(error) => self.wrap(&slot.key_uri).map_err(|_also| error)?,
                },
            });
        }
        if plan.drops > 0 && self.renewal.verify && !self.proven {
            self.prove_one_of(&mut slots)?;
        }
        Ok(slots)
    }

    fn rewrap(&mut self, slot: &KeySlot) -> Result<KeySlot, KeyError> {
        if self.renewal.plan.has_folder_keys() {
            // Under this key's name a stranger may have put what a folder's key wrapped. A service that wraps anew without giving
            // the key out need not look by which key it was wrapped.
            self.key = Some(Arc::new(self.unwrapped(slot)?));
            return self.wrap(&slot.key_uri);
        }
        let provider = self.wrapping.providers.open(&slot.key_uri)?;
        self.renewal.pace.wait();
        let wrapped = provider.rewrap(&wrapped_in(slot), &self.context)?;
        self.proved(KeySlot {
            key_uri: slot.key_uri.clone(),
            key_version: wrapped.key_version,
            wrapped_dek: wrapped.bytes,
        })
    }

    fn wrap(&mut self, uri: &KeyUri) -> Result<KeySlot, KeyError> {
        let key = self.key()?;
        self.renewal.pace.wait();
        let slot = self.wrapping.wrap_slot(uri, &key, &self.context)?;
        self.proved(slot)
    }

    fn key(&mut self) -> Result<Arc<SecretKey>, KeyError> {
        if self.key.is_none() {
            self.key = Some((self.unwrap)()?);
        }
        self.key
            .clone()
            .ok_or_else(|| KeyError::new(KeyErrorKind::Corrupt, "no key"))
    }

    /// A new slot, once it was seen to open.
    fn proved(&mut self, slot: KeySlot) -> Result<KeySlot, KeyError> {
        if self.renewal.verify {
            self.prove(&slot).map_err(|error| match error.kind() {
                KeyErrorKind::Denied => {
                    let message = format!(
                        "the new slot cannot be verified, for this host may not unwrap by the key ({}); --no-verify goes without",
                        error.message()
                    );
                    KeyError::new(KeyErrorKind::Denied, message).at(&slot.key_uri)
                }
                _ => error,
            })?;
        }
        Ok(slot)
    }

    fn prove(&mut self, slot: &KeySlot) -> Result<(), KeyError> {
        self.unwrapped(slot)?;
        self.proven = true;
        Ok(())
    }

    /// The key, by this very slot.
    fn unwrapped(&self, slot: &KeySlot) -> Result<SecretKey, KeyError> {
        self.renewal.pace.wait();
        self.wrapping.opened(slot, &self.context, self.opens)
    }

    /// Before a slot goes, one of those that stay is seen to open. One that was altered is made anew from those that
    /// there still are.
    fn prove_one_of(&mut self, slots: &mut [KeySlot]) -> Result<(), KeyError> {
        let mut failure = KeyError::new(KeyErrorKind::Corrupt, "no slot would be left");
        for slot in slots {
            match self.prove(slot) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == KeyErrorKind::Corrupt => {
                    match self.wrap(&slot.key_uri.clone()) {
                        Ok(made) => {
                            *slot = made;
                            return Ok(());
                        }
                        Err(error) => failure = error,
                    }
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn wrapped_in(slot: &KeySlot) -> WrappedDek {
    WrappedDek {
        key_version: slot.key_version.clone(),
        bytes: slot.wrapped_dek.clone(),
    }
}
