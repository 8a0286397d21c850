//! Bringing key slots to what they should be: wrapping anew, wrapping for a key that has no slot yet, and proving
//! what was made before anything goes.

use std::sync::Arc;
use std::time::Instant;

use crate::crypto::SecretKey;
use crate::format::file_keys;
use crate::format::header::{FileHeader, HeaderError, KeyEpoch, KeySlot, epochs_len, epochs_room};
use crate::format::volume_config::KeyScope;
use crate::keys::{
    DekRequest, EncryptionContext, KeyError, KeyErrorKind, KeyProvider as _, Pace, Providers,
    WrappedDek,
};
use crate::units::{EpochId, KeyUri, VolumeId};

use super::Volume;
use super::error::VolumeError;
use super::file_keys::{FileMaterial, VOLUME_SCHEME};
use super::slots::{Keys, Plan, Step, Target, plan};

/// How slots are to be renewed.
#[derive(Debug, Clone)]
pub struct RenewalOptions {
    /// The keys that there should be one slot of each of, on every file of the volume.
    pub keys: Vec<KeyUri>,
    /// Each new slot is unwrapped once, and held against the commitment, before an old one goes.
    pub verify: bool,
    /// Slots of the newest version are wrapped anew too.
    pub anew: bool,
    /// Calls of key providers a second, at most; 0 for no limit.
    pub calls_per_second: u32,
}

/// What slots should be, as the providers say at the beginning of a run over many files.
#[derive(Debug)]
pub struct Renewal {
    targets: Vec<Target>,
    /// Keys that are on their way out: they still open files, and their slots go.
    leaving: Vec<KeyUri>,
    silent: Vec<KeyError>,
    verify: bool,
    anew: bool,
    pace: Pace,
}

impl Renewal {
    /// What the providers said that did not tell their newest version: their slots stay of whatever version they are.
    pub fn silent(&self) -> &[KeyError] {
        &self.silent
    }

    /// A file that its maker's choice of keys leaves out of reach once those that are leaving are gone.
    fn strands(&self, header: &FileHeader) -> bool {
        let stays = |slot: &KeySlot| !self.leaving.contains(&slot.key_uri);
        !header
            .epochs
            .iter()
            .all(|epoch| epoch.slots.iter().any(stays))
    }
}

impl Volume {
    /// Asks every provider for its newest key version. The data keys made ahead are made anew from here on: none of an
    /// older version, or for other keys, gets into a new file.
    ///
    /// # Errors
    /// [`VolumeError::Key`] where not one provider answers.
    pub fn renewal(&self, options: &RenewalOptions) -> Result<Renewal, VolumeError> {
        let mut silent = Vec::new();
        let mut targets = Vec::new();
        for uri in &options.keys {
            let probed = self
                .providers
                .open(uri)
                .and_then(|provider| provider.probe());
            let newest = probed.map(|health| health.key_version);
            targets.push(Target {
                uri: uri.clone(),
                newest: newest.map_err(|error| silent.push(error)).ok(),
            });
        }
        if silent.len() == targets.len()
            && let Some(error) = silent.pop()
        {
            return Err(error.into());
        }
        self.files.outdate();
        let slots = &self.config().slots;
        let is_leaving = |uri: &&KeyUri| !options.keys.contains(uri);
        Ok(Renewal {
            leaving: slots
                .iter()
                .map(|slot| &slot.key_uri)
                .filter(is_leaving)
                .cloned()
                .collect(),
            targets,
            silent,
            verify: options.verify,
            anew: options.anew,
            pace: Pace::new(options.calls_per_second),
        })
    }

    /// Whether the slots of a file are not what they should be. Asks no provider.
    ///
    /// # Errors
    /// [`VolumeError::Stranded`].
    pub fn is_due(&self, header: &FileHeader, renewal: &Renewal) -> Result<bool, VolumeError> {
        let plans = self.plans(header, renewal)?;
        Ok(plans.iter().any(|plan| !plan.is_done()))
    }

    /// The key epochs of a file with their slots as they should be; `None` where they are. Waits for key providers.
    ///
    /// # Errors
    /// [`VolumeError::Key`]; [`VolumeError::HeaderTooSmall`] where the new slots do not fit; [`VolumeError::Stranded`].
    pub fn renew(
        &self,
        header: &FileHeader,
        renewal: &Renewal,
    ) -> Result<Option<Vec<KeyEpoch>>, VolumeError> {
        let plans = self.plans(header, renewal)?;
        if plans.iter().all(Plan::is_done) {
            return Ok(None);
        }
        let mut epochs = Vec::with_capacity(plans.len());
        for (epoch, plan) in header.epochs.iter().zip(plans) {
            let slots = self.carry_out(header, epoch, plan, renewal)?;
            epochs.push(KeyEpoch {
                slots,
                ..epoch.clone()
            });
        }
        let (needed, room) = (epochs_len(&epochs), epochs_room(header.layout));
        if needed > room {
            return Err(HeaderError::SlotsTooLong { needed, room }.into());
        }
        Ok(Some(epochs))
    }

    /// A new data key for a file, under the next number, wrapped for the keys that the file should have. Waits for key
    /// providers.
    ///
    /// # Errors
    /// [`VolumeError::Key`]; [`VolumeError::Stranded`] for a file from elsewhere that names a key which the volume does not.
    pub fn new_file_key(
        &self,
        header: &FileHeader,
        renewal: &Renewal,
    ) -> Result<FileMaterial, VolumeError> {
        let dek = Arc::new(SecretKey::random()?);
        let commitment = file_keys::commitment(&dek, &header.file_id);
        let newest = header.newest();
        let number = newest.epoch.0.checked_add(1);
        let too_many = || {
            KeyError::new(
                KeyErrorKind::Config,
                "the file has had every number of a data key",
            )
        };
        let epoch = EpochId(number.ok_or_else(too_many)?);
        let own = self.wrote(header)?;
        let slots = match (own, self.config().key_scope) {
            (true, KeyScope::Volume) => self.files.wrap_by_volume(&dek)?,
            (true, KeyScope::File) => {
                let keys = renewal.targets.iter().map(|target| target.uri.clone());
                self.wrap_new(header, &dek, commitment, keys.collect(), renewal)?
            }
            (false, _) => {
                let keys: Vec<_> = newest
                    .slots
                    .iter()
                    .map(|slot| slot.key_uri.clone())
                    .collect();
                let known = |uri: &KeyUri| renewal.targets.iter().any(|target| target.uri == *uri);
                if !keys.iter().all(known) {
                    return Err(VolumeError::Stranded);
                }
                self.wrap_new(header, &dek, commitment, keys, renewal)?
            }
        };
        Ok(FileMaterial {
            made: Instant::now(),
            file_id: header.file_id,
            volume_id: header.volume_id,
            membership_tag: match own {
                true => self
                    .vault
                    .secrets()?
                    .membership
                    .tag(&[&header.file_id.0, &commitment]),
                false => header.membership_tag,
            },
            epoch: KeyEpoch {
                epoch,
                commitment,
                slots,
            },
            dek,
        })
    }

    fn wrap_new(
        &self,
        header: &FileHeader,
        dek: &Arc<SecretKey>,
        commitment: [u8; 32],
        keys: Vec<KeyUri>,
        renewal: &Renewal,
    ) -> Result<Vec<KeySlot>, KeyError> {
        Work {
            renewal,
            providers: &self.providers,
            context: context_of(header),
            unwrap: &|| Ok(Arc::clone(dek)),
            opens: &|key| file_keys::commitment_matches(key, &header.file_id, &commitment),
            key: None,
            proven: false,
        }
        .carry_out(Plan {
            steps: keys.into_iter().map(Step::Wrap).collect(),
            drops: 0,
        })
    }

    fn plans(&self, header: &FileHeader, renewal: &Renewal) -> Result<Vec<Plan>, VolumeError> {
        let keys = match self.wrote(header)? {
            true => Keys::Volume,
            false if renewal.strands(header) => return Err(VolumeError::Stranded),
            false => Keys::Own,
        };
        let by_volume = |epoch: &KeyEpoch| {
            let mut slots = epoch.slots.iter();
            slots.any(|slot| slot.key_uri.scheme() == VOLUME_SCHEME)
        };
        let of = |epoch: &KeyEpoch| match (keys, self.config().key_scope) {
            // Its data key is the volume key's to wrap, whatever wraps that.
            (Keys::Volume, KeyScope::Volume) if by_volume(epoch) => {
                plan(&epoch.slots, &[], Keys::Own, false)
            }
            _ => plan(&epoch.slots, &renewal.targets, keys, renewal.anew),
        };
        Ok(header.epochs.iter().map(of).collect())
    }

    fn carry_out(
        &self,
        header: &FileHeader,
        epoch: &KeyEpoch,
        plan: Plan,
        renewal: &Renewal,
    ) -> Result<Vec<KeySlot>, KeyError> {
        let request = DekRequest {
            file: header.file_id,
            volume: header.volume_id,
            epoch: epoch.epoch,
            commitment: epoch.commitment,
            slots: epoch.slots.clone(),
        };
        Work {
            renewal,
            providers: &self.providers,
            context: context_of(header),
            unwrap: &|| match self.files.cached(&request) {
                Some(key) => Ok(key),
                None => {
                    renewal.pace.wait();
                    self.files.unwrap(&request).map(Arc::new)
                }
            },
            opens: &|key| file_keys::commitment_matches(key, &header.file_id, &epoch.commitment),
            key: None,
            proven: false,
        }
        .carry_out(plan)
    }

    /// Whether a slot of the volume key is of an older version.
    pub fn is_own_due(&self, renewal: &Renewal) -> bool {
        let slots = &self.config().slots;
        !plan(slots, &renewal.targets, Keys::Own, renewal.anew).is_done()
    }

    /// The volume key's own slots as they should be; `None` where they are. Slots of keys that are leaving stay.
    pub(super) fn renewed_own_slots(
        &self,
        renewal: &Renewal,
    ) -> Result<Option<Vec<KeySlot>>, VolumeError> {
        let config = self.config();
        let plan = plan(&config.slots, &renewal.targets, Keys::Own, renewal.anew);
        if plan.is_done() {
            return Ok(None);
        }
        let work = Work {
            renewal,
            providers: &self.providers,
            context: self.own_context(),
            unwrap: &|| self.volume_key().map(Arc::new),
            opens: &|key| config.commitment_matches(key),
            key: None,
            proven: false,
        };
        Ok(Some(work.carry_out(plan)?))
    }
}

/// The work on the slots of one key.
struct Work<'a> {
    renewal: &'a Renewal,
    providers: &'a Providers,
    /// What the key is wrapped for.
    context: EncryptionContext,
    /// Gets at the key by the slots that there are.
    unwrap: &'a dyn Fn() -> Result<Arc<SecretKey>, KeyError>,
    /// Whether a key is the one.
    opens: &'a dyn Fn(&SecretKey) -> bool,
    key: Option<Arc<SecretKey>>,
    /// Whether some slot of the result was seen to open.
    proven: bool,
}

impl Work<'_> {
    fn carry_out(mut self, plan: Plan) -> Result<Vec<KeySlot>, KeyError> {
        let mut slots = Vec::with_capacity(plan.steps.len());
        for step in plan.steps {
            slots.push(match step {
                Step::Keep(slot) => slot,
                Step::Wrap(uri) => self.wrap(&uri)?,
                // A slot that does not open any more is made anew from another that does.
                Step::Rewrap(slot) => match self.rewrap(&slot) {
                    Ok(slot) => slot,
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
        let provider = self.providers.open(&slot.key_uri)?;
        self.renewal.pace.wait();
        let wrapped = provider.rewrap(&wrapped_in(slot), &self.context)?;
        self.proved(&slot.key_uri, wrapped)
    }

    fn wrap(&mut self, uri: &KeyUri) -> Result<KeySlot, KeyError> {
        let key = self.key()?;
        let provider = self.providers.open(uri)?;
        self.renewal.pace.wait();
        let wrapped = provider.wrap(&key, &self.context)?;
        self.proved(uri, wrapped)
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
    fn proved(&mut self, uri: &KeyUri, wrapped: WrappedDek) -> Result<KeySlot, KeyError> {
        let slot = KeySlot {
            key_uri: uri.clone(),
            key_version: wrapped.key_version,
            wrapped_dek: wrapped.bytes,
        };
        if self.renewal.verify {
            self.prove(&slot).map_err(|error| match error.kind() {
                KeyErrorKind::Denied => {
                    let message = format!(
                        "the new slot cannot be verified, for this host may not unwrap by the key ({}); --no-verify goes without",
                        error.message()
                    );
                    KeyError::new(KeyErrorKind::Denied, message).at(uri)
                }
                _ => error,
            })?;
        }
        Ok(slot)
    }

    fn prove(&mut self, slot: &KeySlot) -> Result<(), KeyError> {
        self.renewal.pace.wait();
        let provider = self.providers.open(&slot.key_uri)?;
        let key = provider.unwrap(&wrapped_in(slot), &self.context)?;
        if !(self.opens)(&key) {
            let message = "the slot holds another key";
            return Err(KeyError::new(KeyErrorKind::Corrupt, message).at(&slot.key_uri));
        }
        self.proven = true;
        Ok(())
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

/// What the data keys of a file are wrapped for.
fn context_of(header: &FileHeader) -> EncryptionContext {
    EncryptionContext {
        volume: header.volume_id.unwrap_or(VolumeId::NONE),
        file: Some(header.file_id),
    }
}

fn wrapped_in(slot: &KeySlot) -> WrappedDek {
    WrappedDek {
        key_version: slot.key_version.clone(),
        bytes: slot.wrapped_dek.clone(),
    }
}
