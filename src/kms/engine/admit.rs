//! Whether a call may be made: its keys are found, policies and grants asked, states looked at.

use std::sync::Arc;

use jiff::Timestamp;

use super::caller::{Caller, Dialect};
use super::entry::Entry;
use super::error::{ErrorKind, KmsError};
use super::operation::{Need, Needs};
use super::service::Engine;
use crate::kms::audit::Record;
use crate::kms::policy::{Decision, Policy, Request, Rules, decide};

/// The most grant tokens that a request may bring.
const GRANT_TOKENS_MAX: usize = 10;

/// The keys of a call that may be made.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) first: Option<Arc<Entry>>,
    pub(super) second: Option<Arc<Entry>>,
}

impl Engine {
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        action: &'static str,
        needs: Needs<'_>,
        now: Timestamp,
        record: &mut Record<'_>,
    ) -> Result<Admitted, KmsError> {
        let Needs { first, second } = needs;
        if let Some(context) = first.as_ref().and_then(|need| need.context) {
            record.context(context);
        }
        let entries = [
            self.find(first.as_ref(), now).await?,
            self.find(second.as_ref(), now).await?,
        ];
        if let Some(entry) = &entries[0] {
            record.key(&entry.key.id);
        }
        if let Some(entry) = &entries[1] {
            record.other_key(&entry.key.id);
        }
        let own = match caller.dialect {
            Dialect::Local => None,
            _ => self.principal_policy(&caller.principal).await?,
        };
        let needed = || {
            let needs = [first.as_ref(), second.as_ref()];
            let pairs = needs.into_iter().zip(&entries);
            pairs.filter_map(|(need, entry)| Some((need?, entry.as_deref())))
        };
        for (need, entry) in needed() {
            let action = need.action.unwrap_or(action);
            self.authorise(caller, action, need, entry, own.as_deref(), now)
                .await?;
        }
        for (need, entry) in needed() {
            if let Some(entry) = entry {
                need.states.check(entry.state(now))?;
            }
        }
        let [first, second] = entries;
        Ok(Admitted { first, second })
    }

    async fn find(
        &self,
        need: Option<&Need<'_>>,
        now: Timestamp,
    ) -> Result<Option<Arc<Entry>>, KmsError> {
        let Some(need) = need else { return Ok(None) };
        match &need.key {
            None => Ok(None),
            Some(key) => match self.entry(key, now).await {
                Err(error) if need.of_ciphertext && error.kind() == ErrorKind::KeyNotFound => {
                    Err(KmsError::of_no_ciphertext())
                }
                found => found.map(Some),
            },
        }
    }

    async fn authorise(
        &self,
        caller: &Caller,
        action: &'static str,
        need: &Need<'_>,
        entry: Option<&Entry>,
        own: Option<&Policy>,
        now: Timestamp,
    ) -> Result<(), KmsError> {
        let mut decision = judge(caller, action, need, entry, own, now);
        // A grant that was made on another server a moment ago: its token says so.
        if let (Decision::NotAllowed, Some(entry), false) =
            (decision, entry, caller.grant_tokens.is_empty())
            && self.has_grant_of(caller, entry).await?
        {
            let entry = self.load(&entry.key.id).await?;
            decision = judge(caller, action, need, Some(&entry), own, now);
        }
        match decision {
            Decision::Allowed => Ok(()),
            Decision::Denied => Err(refused(caller, action, entry, "is explicitly denied")),
            Decision::NotAllowed => Err(refused(caller, action, entry, "is not allowed")),
        }
    }

    /// Whether one of the caller's tokens is of a grant of the key that is not known here yet.
    async fn has_grant_of(&self, caller: &Caller, entry: &Entry) -> Result<bool, KmsError> {
        for token in caller.grant_tokens.iter().take(GRANT_TOKENS_MAX) {
            let Some(record) = self.store.grant_of_token(token).await? else {
                continue;
            };
            let is_new = !entry.grants.iter().any(|grant| grant.id == record.grant.id);
            if record.grant.key == entry.key.id && is_new {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn judge(
    caller: &Caller,
    action: &'static str,
    need: &Need<'_>,
    entry: Option<&Entry>,
    own: Option<&Policy>,
    now: Timestamp,
) -> Decision {
    if caller.dialect == Dialect::Local {
        return Decision::Allowed;
    }
    let rules = Rules {
        principal: own,
        key: entry.map(|entry| &entry.policy),
        grants: entry.map_or(&[], |entry| &entry.grants),
    };
    let request = Request {
        principal: &caller.principal,
        action,
        key: entry.map(|entry| &entry.facts),
        context: need.context,
        address: caller.address,
        now,
    };
    decide(&rules, &request)
}

fn refused(caller: &Caller, action: &str, entry: Option<&Entry>, how: &str) -> KmsError {
    let principal = &caller.principal;
    let what = entry.map_or_else(String::new, |entry| format!(" on key {}", entry.key.id.0));
    let message = format!("{principal} {how} to do kms:{action}{what}.");
    KmsError::new(ErrorKind::AccessDenied, message)
}
