//! Who may do what with a key.

use serde::Deserialize;

use super::{Asking, WebError};
use crate::kms::engine::ops::access as engine;

#[derive(Deserialize)]
pub(super) struct KeyPolicy {
    key: String,
    policy: String,
}

pub(super) async fn put_key_policy(asking: Asking<'_>, asked: KeyPolicy) -> Result<(), WebError> {
    let put = engine::PutKeyPolicy {
        key: asking.door.key(&asked.key)?,
        policy: asked.policy,
        bypass_lockout_check: false,
    };
    asking.perform(put).await
}

#[derive(Deserialize)]
pub(super) struct NewGrant {
    key: String,
    name: String,
    grantee: String,
    operations: Vec<String>,
}

/// Its token is for clients that cannot wait a second until every server knows the grant; nobody copies it from a page.
pub(super) async fn create_grant(asking: Asking<'_>, new: NewGrant) -> Result<(), WebError> {
    let create = engine::CreateGrant {
        key: asking.door.key(&new.key)?,
        name: Some(new.name).filter(|name| !name.is_empty()),
        grantee: new.grantee,
        retiring: None,
        operations: new.operations,
        constraint: None,
        dry_run: false,
    };
    asking.perform(create).await.map(drop)
}

#[derive(Deserialize)]
pub(super) struct OneGrant {
    key: String,
    id: String,
}

pub(super) async fn revoke_grant(asking: Asking<'_>, asked: OneGrant) -> Result<(), WebError> {
    let revoke = engine::RevokeGrant {
        key: asking.door.key(&asked.key)?,
        id: asked.id,
        dry_run: false,
    };
    asking.perform(revoke).await
}
