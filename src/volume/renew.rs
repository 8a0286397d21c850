//! Bringing the key slots of files, and of the volume key, to what they should be.

mod work;

use std::sync::Arc;
use std::time::Instant;

use crate::crypto::SecretKey;
use crate::format::file_keys;
use crate::format::header::{FileHeader, HeaderError, KeyEpoch, KeySlot, epochs_len, epochs_room};
use crate::format::volume_config::KeyScope;
use crate::keys::{DekRequest, EncryptionContext, KeyError, KeyErrorKind, KeyProvider as _, Pace};
use crate::units::{EpochId, KeyUri, VolumeId};

use super::Volume;
use super::error::VolumeError;
use super::file_keys::FileMaterial;
use super::slots::{Keys, Plan, Step, Target, plan};
use super::wrapping::VOLUME_SCHEME;

use work::Work;

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
    /// older version, or for other keys, gets into a new file, and those that got one already are found by their names.
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
        self.live.wait_for_older_files();
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

/// What the data keys of a file are wrapped for.
fn context_of(header: &FileHeader) -> EncryptionContext {
    EncryptionContext {
        volume: header.volume_id.unwrap_or(VolumeId::NONE),
        file: Some(header.file_id),
    }
}
