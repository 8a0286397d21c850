//! Who used what, and when.

use serde::{Deserialize, Serialize};

use super::views::{CallView, MinuteView};
use super::{Asking, WebError};
use crate::kms::engine::ops::calls as engine;

#[derive(Deserialize)]
pub(super) struct OfSomeKey {
    /// `None` for calls about all keys and none.
    key: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Calls {
    since: String,
    calls: Vec<CallView>,
    minutes: Vec<MinuteView>,
}

pub(super) async fn list_calls(asking: Asking<'_>, asked: OfSomeKey) -> Result<Calls, WebError> {
    let key = asked.key.map(|key| asking.door.key(&key)).transpose()?;
    let recent = asking.perform(engine::ListCalls { key }).await?;
    Ok(Calls {
        since: recent.since.to_string(),
        calls: recent.calls.into_iter().map(Into::into).collect(),
        minutes: recent.minutes.into_iter().map(Into::into).collect(),
    })
}
