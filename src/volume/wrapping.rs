//! Data keys wrapped for keys and by the volume key, and unwrapped by whichever of their slots answers.

use std::sync::Arc;
use std::time::Instant;

use crate::crypto::{LockedMemoryError, SecretKey, kwp, random};
use crate::format::file_keys;
use crate::format::header::{KeyEpoch, KeySlot};
use crate::format::volume_config::KeyScope;
use crate::keys::{
    DekRequest, EncryptionContext, KeyError, KeyErrorKind, KeyProvider as _, NamedKey, Providers,
    WrappedDek,
};
use crate::units::{EpochId, FileId, KeyUri, VolumeId};

use super::audit::{Attempt, Told};
use super::file_keys::FileMaterial;
use super::live::LiveConfig;
use super::pools::{Ahead, FileKeys};
use super::secrets::VolumeSecrets;
use super::vault::Vault;

/// The scheme of a slot that the volume key itself wraps.
pub const VOLUME_SCHEME: &str = "volume";
const FIRST_EPOCH: EpochId = EpochId(1);

/// What it takes to make and unwrap data keys.
#[derive(Debug)]
pub(super) struct Wrapping {
    pub(super) volume_id: VolumeId,
    pub(super) live: Arc<LiveConfig>,
    pub(super) vault: Arc<Vault>,
    pub(super) providers: Arc<Providers>,
    pub(super) told: Arc<Told>,
}

impl Wrapping {
    pub(super) fn make_ahead(&self, keys: &FileKeys) -> Result<Ahead, KeyError> {
        let generation = self.live.generation();
        Ok(Ahead {
            material: self.make(keys)?,
            generation,
        })
    }

    /// Whether the keys of these files are to be had without waiting for a provider.
    pub(super) fn is_local(&self, keys: &FileKeys) -> bool {
        keys.scope == KeyScope::Volume || self.providers.all_local(&keys.keys)
    }

    /// Whether a data key can be unwrapped without waiting for a provider, whichever slot opens.
    pub(super) fn is_at_hand(&self, request: &DekRequest) -> bool {
        let by_volume = |slot: &&KeySlot| slot.key_uri.scheme() == VOLUME_SCHEME;
        let mut uris: Vec<_> = self
            .known(&request.slots)
            .into_iter()
            .map(|slot| slot.key_uri)
            .collect();
        uris.retain(|uri| self.providers.may_use(uri));
        let some = !uris.is_empty() || request.slots.iter().any(|slot| by_volume(&slot));
        // Where one is not known, another mount's change may have to be read first.
        let may_change = self.live.is_shared() && self.has_unknown(&request.slots);
        some && !may_change && self.providers.all_local(&uris)
    }

    fn make(&self, keys: &FileKeys) -> Result<FileMaterial, KeyError> {
        let (secrets, made) = (self.vault.secrets()?, Instant::now());
        let (dek, file_id) = (
            SecretKey::random().map_err(no_locked_memory)?,
            FileId(random::array()),
        );
        let slots = wrap_for_file(
            keys.scope,
            &keys.keys,
            &dek,
            self.volume_id,
            file_id,
            &secrets,
            &self.providers,
        )?;
        let commitment = file_keys::commitment(&dek, &file_id);
        Ok(FileMaterial {
            file_id,
            volume_id: Some(self.volume_id),
            membership_tag: secrets.membership.tag(&[&file_id.0, &commitment]),
            epoch: KeyEpoch {
                epoch: FIRST_EPOCH,
                commitment,
                slots,
            },
            dek: Arc::new(dek),
            made,
        })
    }

    pub(super) fn unwrap(&self, request: &DekRequest) -> Result<SecretKey, KeyError> {
        self.vault.secrets()?;
        self.told.may_ask(request.file)?;
        let tell = |attempt: &Attempt<'_>| self.told.tell(request.file, attempt);
        let opens = |key: &SecretKey| {
            file_keys::commitment_matches(key, &request.file, &request.commitment)
        };
        let mut by_volume = request
            .slots
            .iter()
            .filter_map(|slot| Some((slot, self.unwrap_by_volume(slot)?)));
        if let Some((slot, key)) = by_volume.find(|(_slot, key)| opens(key)) {
            let result = Ok(None);
            tell(&Attempt { slot, result });
            return Ok(key);
        }
        let volume = request.volume.unwrap_or(VolumeId::NONE);
        let context = EncryptionContext {
            volume,
            file: Some(request.file),
        };
        self.unwrap_by_known(&request.slots, |slots| {
            unwrap_slots_told(slots, &context, &self.providers, opens, tell)
        })
    }

    /// Has `unwrap` try the slots of known keys; and where they do not open, those that become known by what another mount
    /// may have written since.
    fn unwrap_by_known(
        &self,
        slots: &[KeySlot],
        unwrap: impl Fn(&[KeySlot]) -> Result<SecretKey, KeyError>,
    ) -> Result<SecretKey, KeyError> {
        let known = self.known(slots);
        let failure = match known.is_empty() {
            true => {
                let message =
                    "the file names no key of this volume, nor was its data key wrapped by it";
                KeyError::new(KeyErrorKind::Corrupt, message)
            }
            false => match unwrap(&known) {
                Ok(key) => return Ok(key),
                Err(error) => error,
            },
        };
        if !self.has_unknown(slots) {
            return Err(failure);
        }
        self.live.refresh();
        let mut more = self.known(slots);
        more.retain(|slot| !known.contains(slot));
        match (more.is_empty(), known.is_empty()) {
            (true, _) => Err(failure),
            (false, true) => unwrap(&more),
            // What the key says that opened last stays the verdict: a new slot that is an outage makes no outage of a refusal.
            (false, false) => unwrap(&more).map_err(|error| match self.goes_by(&known) {
                true => failure.after(&error),
                false => more_hopeful(failure, error),
            }),
        }
    }

    /// Whether some key of these slots has opened one.
    fn goes_by(&self, slots: &[KeySlot]) -> bool {
        let opened = |slot: &KeySlot| self.providers.last_success(&slot.key_uri) > 0;
        slots.iter().any(opened)
    }

    /// Whether a slot is neither of a known key nor of the volume key.
    fn has_unknown(&self, slots: &[KeySlot]) -> bool {
        let openers = self.live.file_openers();
        let is_known = |slot: &KeySlot| {
            slot.key_uri.scheme() == VOLUME_SCHEME || openers.contains(&slot.key_uri)
        };
        !slots.iter().all(is_known)
    }

    /// The slots of key URIs that `volume.json` names, or the policy that it names. Slots stand under no tag: a stranger's
    /// URI in one must not make this process open files, ask for passphrases or call hosts of the stranger's choice.
    fn known(&self, slots: &[KeySlot]) -> Vec<KeySlot> {
        let openers = self.live.file_openers();
        let known = |slot: &&KeySlot| openers.contains(&slot.key_uri);
        slots.iter().filter(known).cloned().collect()
    }

    /// A slot of a key for `uri`, which may be the volume key's.
    pub(super) fn wrap_slot(
        &self,
        uri: &KeyUri,
        key: &SecretKey,
        context: &EncryptionContext,
    ) -> Result<KeySlot, KeyError> {
        if uri.scheme() == VOLUME_SCHEME {
            let secrets = self.vault.secrets()?;
            let slots = wrap_by_volume(key, self.volume_id, &secrets)?;
            let only = slots.into_iter().next();
            return only.ok_or_else(|| KeyError::new(KeyErrorKind::Corrupt, "no slot"));
        }
        let wrapped = self.providers.open(uri)?.wrap(key, context)?;
        Ok(KeySlot {
            key_uri: uri.clone(),
            key_version: wrapped.key_version,
            wrapped_dek: wrapped.bytes,
        })
    }

    /// The key in a slot, which may be the volume key's.
    pub(super) fn unwrap_slot(
        &self,
        slot: &KeySlot,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        if slot.key_uri.scheme() == VOLUME_SCHEME {
            return self.unwrap_by_volume(slot).ok_or_else(|| {
                let message = "the volume key does not open its slot";
                KeyError::new(KeyErrorKind::Corrupt, message).at(&slot.key_uri)
            });
        }
        let wrapped = WrappedDek {
            key_version: slot.key_version.clone(),
            bytes: slot.wrapped_dek.clone(),
        };
        self.providers
            .open(&slot.key_uri)?
            .unwrap(&wrapped, context)
    }

    /// As [`Wrapping::unwrap_slot`], of a key that `opens` what it is for.
    pub(super) fn opened(
        &self,
        slot: &KeySlot,
        context: &EncryptionContext,
        opens: impl Fn(&SecretKey) -> bool,
    ) -> Result<SecretKey, KeyError> {
        let key = self.unwrap_slot(slot, context)?;
        if opens(&key) {
            return Ok(key);
        }
        let message = "the slot holds another key";
        Err(KeyError::new(KeyErrorKind::Corrupt, message).at(&slot.key_uri))
    }

    /// The URI of the slots that the volume key wraps.
    pub(super) fn volume_uri(&self) -> Result<KeyUri, KeyError> {
        volume_uri(self.volume_id)
    }

    /// The data key of a slot that the volume key wraps; `None` for other slots.
    fn unwrap_by_volume(&self, slot: &KeySlot) -> Option<SecretKey> {
        let own = slot.key_uri.scheme() == VOLUME_SCHEME;
        let secrets = own.then(|| self.vault.secrets().ok())??;
        kwp::unwrap(&secrets.dek_wrap, &slot.wrapped_dek).ok()
    }
}

/// The slots of a file's data key: one by the volume, or one by each key URI.
pub(super) fn wrap_for_file(
    scope: KeyScope,
    keys: &[KeyUri],
    dek: &SecretKey,
    volume: VolumeId,
    file: FileId,
    secrets: &VolumeSecrets,
    providers: &Providers,
) -> Result<Vec<KeySlot>, KeyError> {
    match scope {
        KeyScope::Volume => wrap_by_volume(dek, volume, secrets),
        KeyScope::File => wrap_slots(
            keys,
            dek,
            &EncryptionContext {
                volume,
                file: Some(file),
            },
            providers,
        ),
    }
}

fn volume_uri(volume: VolumeId) -> Result<KeyUri, KeyError> {
    let uri = format!("{VOLUME_SCHEME}:{volume}").parse();
    uri.map_err(|error| {
        KeyError::new(KeyErrorKind::Config, "the volume's own key URI").caused_by(error)
    })
}

/// The one slot of a data key that the volume key wraps.
fn wrap_by_volume(
    dek: &SecretKey,
    volume: VolumeId,
    secrets: &VolumeSecrets,
) -> Result<Vec<KeySlot>, KeyError> {
    let key_uri = volume_uri(volume)?;
    let wrapped_dek = kwp::wrap(&secrets.dek_wrap, dek);
    Ok(vec![KeySlot {
        key_uri,
        key_version: String::new(),
        wrapped_dek,
    }])
}

/// One slot for each key URI.
///
/// # Errors
/// What the provider said that failed, with its URI.
pub fn wrap_slots(
    keys: &[KeyUri],
    key: &SecretKey,
    context: &EncryptionContext,
    providers: &Providers,
) -> Result<Vec<KeySlot>, KeyError> {
    let wrap = |uri: &KeyUri| {
        let provider = providers.open(uri);
        let wrapped = provider.and_then(|provider| provider.wrap(key, context));
        let wrapped = wrapped.map_err(|error| error.at(uri))?;
        Ok(KeySlot {
            key_uri: uri.clone(),
            key_version: wrapped.key_version,
            wrapped_dek: wrapped.bytes,
        })
    };
    keys.iter().map(wrap).collect()
}

/// The key that some slot holds and that `opens` what it is for. Slots are tried in the order of their last success,
/// and one that fails does not stop the next. Those of keys that may not be used are passed over.
///
/// # Errors
/// What the slot said that opened last: it is the one that this host goes by. Where none ever opened, the failure
/// that gives most hope. `Corrupt` where a slot gave a key that does not open. The others' words follow its own. `Denied`
/// where this host may use none of the keys: it is as if they all had refused.
pub fn unwrap_slots(
    slots: &[KeySlot],
    context: &EncryptionContext,
    providers: &Providers,
    opens: impl Fn(&SecretKey) -> bool,
) -> Result<SecretKey, KeyError> {
    unwrap_slots_told(slots, context, providers, opens, |_attempt| {})
}

/// As [`unwrap_slots`]; `tell` hears what each slot that was tried came to.
pub(super) fn unwrap_slots_told(
    slots: &[KeySlot],
    context: &EncryptionContext,
    providers: &Providers,
    opens: impl Fn(&SecretKey) -> bool,
    tell: impl Fn(&Attempt<'_>),
) -> Result<SecretKey, KeyError> {
    let usable = |slot: &&KeySlot| providers.may_use(&slot.key_uri);
    let mut ordered: Vec<_> = slots.iter().filter(usable).collect();
    if let (true, Some(slot)) = (ordered.is_empty(), slots.first()) {
        let message = "none of its keys is among those that were given (--key)";
        return Err(KeyError::new(KeyErrorKind::Denied, message).at(&slot.key_uri));
    }
    ordered.sort_by_key(|slot| std::cmp::Reverse(providers.last_success(&slot.key_uri)));
    let mut failure: Option<KeyError> = None;
    let mut goes_by_first = false;
    for (nth, slot) in ordered.into_iter().enumerate() {
        let unwrapped = unwrap_slot(slot, context, providers, &opens);
        let result = unwrapped
            .as_ref()
            .map(|(_key, request_id)| request_id.clone());
        tell(&Attempt { slot, result });
        let error = match unwrapped {
            Ok((key, _request_id)) => {
                providers.note_success(&slot.key_uri);
                return Ok(key);
            }
            Err(error) => error,
        };
        goes_by_first |= nth == 0 && providers.last_success(&slot.key_uri) > 0;
        failure = Some(match failure {
            None => error,
            Some(kept) if goes_by_first => kept.after(&error),
            Some(kept) => more_hopeful(kept, error),
        });
    }
    Err(failure.unwrap_or_else(|| KeyError::new(KeyErrorKind::Corrupt, "there is no key slot")))
}

fn unwrap_slot(
    slot: &KeySlot,
    context: &EncryptionContext,
    providers: &Providers,
    opens: &impl Fn(&SecretKey) -> bool,
) -> Result<NamedKey, KeyError> {
    let wrapped = WrappedDek {
        key_version: slot.key_version.clone(),
        bytes: slot.wrapped_dek.clone(),
    };
    let provider = providers.open(&slot.key_uri)?;
    let (key, request_id) = provider.unwrap_named(&wrapped, context)?;
    if opens(&key) {
        return Ok((key, request_id));
    }
    let error = KeyError::new(KeyErrorKind::Corrupt, "the slot holds another key");
    Err(error.at(&slot.key_uri).of_request(request_id))
}

/// Of two failures the one that gives more hope, the first of equals, with the other's words behind its own.
fn more_hopeful(first: KeyError, second: KeyError) -> KeyError {
    match hope(&first) >= hope(&second) {
        true => first.after(&second),
        false => second.after(&first),
    }
}

/// How likely it is that a slot which failed so opens another time.
fn hope(error: &KeyError) -> u8 {
    match error.kind() {
        KeyErrorKind::Unavailable => 5,
        KeyErrorKind::Revoked => 4,
        KeyErrorKind::Denied => 3,
        KeyErrorKind::NotFound => 2,
        KeyErrorKind::Config => 1,
        KeyErrorKind::Corrupt => 0,
    }
}

fn no_locked_memory(error: LockedMemoryError) -> KeyError {
    KeyError::new(KeyErrorKind::Unavailable, "no locked memory for a key").caused_by(error)
}
