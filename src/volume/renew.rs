//! Bringing the key slots of files, and of the volume key, to what they should be.

mod work;

use std::sync::Arc;
use std::time::Instant;

use crate::crypto::SecretKey;
use crate::format::file_keys;
use crate::format::header::{FileHeader, HeaderError, KeyEpoch, KeySlot, epochs_len, epochs_room};
use crate::format::volume_config::KeyScope;
use crate::keys::{EncryptionContext, KeyError, KeyErrorKind, KeyProvider as _, Pace};
use crate::policy::folders;
use crate::units::{EpochId, KeyUri, VolumeId};

use super::Volume;
use super::error::VolumeError;
use super::file_keys::{FileMaterial, request_of};
use super::key_plan::{KeyPlan, RunPlan, Standing};
use super::pools::FileKeys;
use super::slots::{Keys, Plan, Step, Target, plan};

use work::Work;

/// How slots are to be renewed.
#[derive(Debug, Clone)]
pub struct RenewalOptions {
    /// The keys that there should be one slot of each of, on every file of no folder with keys of its own.
    pub keys: Vec<KeyUri>,
    /// A key of folders, and the one in its place: for folders that still have it, and for files.
    pub exchange: Option<(KeyUri, KeyUri)>,
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
    /// Every key that some file is to have, and its newest version.
    targets: Vec<Target>,
    plan: RunPlan,
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
        let plan = self.wanted_keys(options)?;
        for uri in keys_of(&plan.keys, &options.keys) {
            let probed = self
                .providers
                .open(&uri)
                .and_then(|provider| provider.probe());
            let newest = probed.map(|health| health.key_version);
            targets.push(Target {
                uri,
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
        let mut leaving = self.live.file_openers();
        leaving.retain(|uri| targets.iter().all(|target| target.uri != *uri));
        Ok(Renewal {
            leaving,
            targets,
            plan,
            silent,
            verify: options.verify,
            anew: options.anew,
            pace: Pace::new(options.calls_per_second),
        })
    }

    /// Which keys files are to have when a run is over.
    fn wanted_keys(&self, options: &RenewalOptions) -> Result<RunPlan, VolumeError> {
        let mut own = self.live.own_keys();
        if own.scope == KeyScope::File {
            own.keys.clone_from(&options.keys);
        }
        let folders = self.live.folders()?;
        let folders = match &options.exchange {
            None => folders.folders.clone(),
            Some((from, to)) => folders::exchanged(&folders.folders, from, to),
        };
        let config = self.config();
        let mut of_volume = [&options.keys[..], &config.keys].concat();
        of_volume.extend(config.slots.iter().map(|slot| slot.key_uri.clone()));
        Ok(RunPlan {
            keys: KeyPlan::new(own, &options.keys, &folders),
            of_volume,
            former: config.former_keys.clone(),
            exchange: options.exchange.clone(),
        })
    }

    /// Whether the slots of a file are not what they should be where it stands. Asks no provider.
    ///
    /// # Errors
    /// [`VolumeError::Stranded`], and where nobody can say which keys the file should have.
    pub fn is_due(
        &self,
        header: &FileHeader,
        standing: Standing<'_>,
        renewal: &Renewal,
    ) -> Result<bool, VolumeError> {
        let plans = self.plans(header, standing, renewal)?;
        Ok(plans.iter().any(|plan| !plan.is_done()))
    }

    /// The key epochs of a file with their slots as they should be where it stands; `None` where they are. Waits for key
    /// providers.
    ///
    /// # Errors
    /// [`VolumeError::Key`]; [`VolumeError::HeaderTooSmall`] where the new slots do not fit; those of [`Volume::is_due`].
    pub fn renew(
        &self,
        header: &FileHeader,
        standing: Standing<'_>,
        renewal: &Renewal,
    ) -> Result<Option<Vec<KeyEpoch>>, VolumeError> {
        let plans = self.plans(header, standing, renewal)?;
        if plans.iter().all(Plan::is_done) {
            return Ok(None);
        }
        let own = self.wrote(header)?;
        let mut epochs = Vec::with_capacity(plans.len());
        for (epoch, plan) in header.epochs.iter().zip(plans) {
            let slots = self.carry_out(header, epoch, plan, renewal, own)?;
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
    /// [`VolumeError::Key`]; [`VolumeError::Stranded`] for a file from elsewhere that names a key which the volume does not;
    /// where nobody can say which keys the file should have.
    pub fn new_file_key(
        &self,
        header: &FileHeader,
        standing: Standing<'_>,
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
        let slots = match own {
            true => {
                if renewal.plan.has_folder_keys() {
                    renewal.pace.wait();
                    drop(self.files.unwrap(&request_of(header, newest))?);
                }
                let targets = self.targets_of(renewal.plan.of_file(header, standing)?, renewal)?;
                let keys = targets.into_iter().map(|target| target.uri);
                self.wrap_new(header, &dek, commitment, keys.collect(), renewal)?
            }
            false => {
                renewal.plan.admit_own_keys(header)?;
                let keys: Vec<_> = newest
                    .slots
                    .iter()
                    .map(|slot| slot.key_uri.clone())
                    .collect();
                let known = |uri: &KeyUri| renewal.targets.iter().any(|target| target.uri == *uri);
                if !keys.iter().all(known) {
                    return Err(VolumeError::Stranded);
                }
                if renewal.plan.has_folder_keys() {
                    self.see_each_open(header, newest, renewal)?;
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

    /// Each slot gives the data key: none was added by somebody who does not have that.
    fn see_each_open(
        &self,
        header: &FileHeader,
        epoch: &KeyEpoch,
        renewal: &Renewal,
    ) -> Result<(), KeyError> {
        let context = context_of(header);
        for slot in &epoch.slots {
            renewal.pace.wait();
            let opens = |key: &SecretKey| {
                file_keys::commitment_matches(key, &header.file_id, &epoch.commitment)
            };
            self.files.wrapping.opened(slot, &context, opens)?;
        }
        Ok(())
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
            wrapping: &self.files.wrapping,
            context: context_of(header),
            unwrap: &|| Ok(Arc::clone(dek)),
            opens: &|key| file_keys::commitment_matches(key, &header.file_id, &commitment),
            mends: false,
            key: None,
            proven: false,
        }
        .carry_out(Plan {
            steps: keys.into_iter().map(Step::Wrap).collect(),
            drops: 0,
        })
    }

    fn plans(
        &self,
        header: &FileHeader,
        standing: Standing<'_>,
        renewal: &Renewal,
    ) -> Result<Vec<Plan>, VolumeError> {
        let keys = match self.wrote(header)? {
            true => Keys::Volume,
            false if renewal.strands(header) => return Err(VolumeError::Stranded),
            false => Keys::Own,
        };
        let targets = match keys {
            Keys::Volume => self.targets_of(renewal.plan.of_file(header, standing)?, renewal)?,
            Keys::Own => {
                renewal.plan.admit_own_keys(header)?;
                renewal.targets.clone()
            }
        };
        let of = |epoch: &KeyEpoch| plan(&epoch.slots, &targets, keys, renewal.anew);
        Ok(header.epochs.iter().map(of).collect())
    }

    /// What slots there are to be of these keys.
    fn targets_of(&self, keys: &FileKeys, renewal: &Renewal) -> Result<Vec<Target>, KeyError> {
        if keys.scope == KeyScope::Volume {
            // Its data key is the volume key's to wrap, whatever wraps that: it has no versions.
            return Ok(vec![Target {
                uri: self.files.wrapping.volume_uri()?,
                newest: None,
            }]);
        }
        let target = |uri: &KeyUri| {
            let known = renewal.targets.iter().find(|target| target.uri == *uri);
            known.cloned().unwrap_or_else(|| Target {
                uri: uri.clone(),
                newest: None,
            })
        };
        Ok(keys.keys.iter().map(target).collect())
    }

    fn carry_out(
        &self,
        header: &FileHeader,
        epoch: &KeyEpoch,
        plan: Plan,
        renewal: &Renewal,
        own: bool,
    ) -> Result<Vec<KeySlot>, KeyError> {
        let request = request_of(header, epoch);
        Work {
            renewal,
            wrapping: &self.files.wrapping,
            context: context_of(header),
            unwrap: &|| match self.files.cached(&request) {
                Some(key) if !renewal.plan.has_folder_keys() => Ok(key),
                _ => {
                    renewal.pace.wait();
                    self.files.unwrap(&request).map(Arc::new)
                }
            },
            opens: &|key| file_keys::commitment_matches(key, &header.file_id, &epoch.commitment),
            mends: own || !renewal.plan.has_folder_keys(),
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
            wrapping: &self.files.wrapping,
            context: self.own_context(),
            unwrap: &|| self.volume_key().map(Arc::new),
            opens: &|key| config.commitment_matches(key),
            mends: true,
            key: None,
            proven: false,
        };
        Ok(Some(work.carry_out(plan)?))
    }
}

/// Every key of a plan, the volume's before those of folders, each once.
fn keys_of(plan: &KeyPlan, volume_keys: &[KeyUri]) -> Vec<KeyUri> {
    let mut uris = volume_keys.to_vec();
    for uri in plan.all().flat_map(|keys| &keys.keys) {
        if !uris.contains(uri) {
            uris.push(uri.clone());
        }
    }
    uris
}

/// What the data keys of a file are wrapped for.
fn context_of(header: &FileHeader) -> EncryptionContext {
    EncryptionContext {
        volume: header.volume_id.unwrap_or(VolumeId::NONE),
        file: Some(header.file_id),
    }
}
