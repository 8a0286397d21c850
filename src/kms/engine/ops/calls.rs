//! Who used what, and when.

use jiff::Timestamp;

use crate::kms::audit::recent::{Minute, RecentCall};
use crate::kms::engine::error::KmsError;
use crate::kms::engine::model::KeyRef;
use crate::kms::engine::operation::{Call, Needs, Operation, States};

/// The last calls that this server answered.
#[derive(Debug, Clone)]
pub struct ListCalls {
    /// `Some` for those that were about one key; who may ask for no more gets no counts of others.
    pub key: Option<KeyRef>,
}

/// Calls since the server began, as many as it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    pub since: Timestamp,
    /// Newest first.
    pub calls: Vec<RecentCall>,
    /// Calls of the last hour by minute, oldest first; empty where one key's were asked for.
    pub minutes: Vec<Minute>,
}

impl Operation for ListCalls {
    const ACTION: &'static str = "ListCalls";
    type Answer = Calls;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(match &self.key {
            Some(key) => Needs::key(key, States::Any),
            None => Needs::service(),
        })
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let recent = call.engine.trail.recent();
        let key = call.first.as_ref().map(|entry| entry.key.id.0.as_str());
        Ok(Calls {
            since: recent.since(),
            calls: recent.calls(|call| key.is_none() || call.key.as_deref() == key),
            minutes: match key {
                None => recent.minutes(call.now),
                Some(_) => Vec::new(),
            },
        })
    }
}
