//! The whole service as one file, and back, into either database.
//!
//! ```text
//! "envelopekms backup 1" LF | header: one line of JSON: service id, time, slots of the root key | LF | sealed dump
//! ```
//!
//! The dump is sealed under a key derived from the root key, with all that stands before it as associated data; the
//! root key itself is there in its slots, as it is in the store. So a backup is opened by what opens the store.

use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::KmsError;
use super::open::{EngineOptions, OpenError, parse_service, unseal};
use super::operation::{Call, Needs, Operation};
use super::service::Engine;
use crate::kms::store::Store;
use crate::kms::store::settings::RootSlot;

const MAGIC: &str = "envelopekms backup 1\n";
/// The longest header in bytes.
const HEADER_MAX: usize = 1 << 20;

/// What is no backup, or not one of this root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BackupError {
    #[error("the backup was changed, or it is not of the root key in it")]
    Changed,
    #[error("the file is no backup of a key service")]
    NoBackup,
}

#[derive(Serialize, Deserialize)]
struct Header {
    service: String,
    created: String,
    slots: Vec<Slot>,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    uri: String,
    key_version: String,
    wrapped: String,
}

/// All that the service keeps, as of one moment, in one file's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Backup;

impl Operation for Backup {
    const ACTION: &'static str = "Backup";
    type Answer = Vec<u8>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let engine = call.engine;
        engine.add_census().await;
        let slots = engine
            .store
            .root_slots()
            .await?
            .into_iter()
            .map(|slot| Slot {
                uri: slot.uri,
                key_version: slot.key_version,
                wrapped: BASE64.encode(&slot.wrapped),
            });
        let header = Header {
            service: engine.service.clone(),
            created: call.now.to_string(),
            slots: slots.collect(),
        };
        let header = serde_json::to_string(&header).map_err(|_error| KmsError::internal())?;
        let mut file = format!("{MAGIC}{header}\n").into_bytes();
        let dump = engine.store.dump().await?;
        let sealed = engine.root.seal_backup(&file, dump.as_bytes());
        file.extend_from_slice(&sealed);
        Ok(file)
    }
}

impl Engine {
    /// Puts a backup into an empty store, and begins the service that it holds.
    ///
    /// # Errors
    ///
    /// `Backup` for what is none or was changed, `AlreadyThere` for a store that is not empty, else as
    /// [`Engine::open`].
    pub async fn restore(options: EngineOptions, file: &[u8]) -> Result<Arc<Self>, OpenError> {
        let (before, header, sealed) = split(file).ok_or(BackupError::NoBackup)?;
        let service = parse_service(&header.service)?;
        let slots = header.slots.into_iter().map(|slot| {
            let wrapped = BASE64.decode(slot.wrapped.as_bytes());
            Ok(RootSlot {
                uri: slot.uri,
                key_version: slot.key_version,
                wrapped: wrapped.map_err(|_error| BackupError::NoBackup)?,
            })
        });
        let slots = slots.collect::<Result<Vec<_>, BackupError>>()?;
        let root = unseal(Arc::clone(&options.providers), slots, service).await?;
        let dump = root.open_backup(before, sealed);
        let dump = dump.map_err(|_error| BackupError::Changed)?;
        let dump = std::str::from_utf8(&dump).map_err(|_error| BackupError::Changed)?;

        let store = Store::open(options.location.clone(), true).await?;
        let mut write = store.write().await?;
        if !write.is_empty().await? {
            return Err(OpenError::AlreadyThere);
        }
        write.restore(dump).await?;
        write.commit().await?;
        store.close().await;
        tracing::info!(service = HEXLOWER.encode(&service), "a backup was restored");
        Self::open(options).await
    }
}

/// What is authenticated, the header, and what is sealed.
fn split(file: &[u8]) -> Option<(&[u8], Header, &[u8])> {
    let rest = file.strip_prefix(MAGIC.as_bytes())?;
    let len = rest
        .iter()
        .take(HEADER_MAX)
        .position(|byte| *byte == b'\n')?;
    let header = serde_json::from_slice(&rest[..len]).ok()?;
    let (before, sealed) = file.split_at(MAGIC.len() + len + 1);
    Some((before, header, sealed))
}
