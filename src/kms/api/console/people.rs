//! Principals, their policies and their access keys.

use serde::{Deserialize, Serialize};

use super::keys::FromOffset;
use super::views::page;
use super::{Asking, WebError};
use crate::kms::engine::ops::admin as engine;

#[derive(Serialize)]
pub(super) struct Principals {
    principals: Vec<PrincipalView>,
    next: Option<u64>,
}

#[derive(Serialize)]
struct PrincipalView {
    name: String,
    policy: String,
    created: String,
    access_keys: Vec<AccessKeyView>,
}

#[derive(Serialize)]
struct AccessKeyView {
    id: String,
    created: String,
    enabled: bool,
}

pub(super) async fn list_principals(
    asking: Asking<'_>,
    asked: FromOffset,
) -> Result<Principals, WebError> {
    let page = page(asked.offset);
    let page = asking.perform(engine::ListPrincipals { page }).await?;
    let next = page.next_offset();
    let mut access_keys = asking.access_keys().await?;
    let principals = page.items.into_iter().map(|principal| {
        let own = access_keys.extract_if(.., |key| key.principal == principal.name);
        PrincipalView {
            access_keys: own.map(Into::into).collect(),
            name: principal.name,
            policy: principal.policy,
            created: principal.created.to_string(),
        }
    });
    Ok(Principals {
        principals: principals.collect(),
        next,
    })
}

impl Asking<'_> {
    async fn access_keys(&self) -> Result<Vec<engine::AccessKey>, WebError> {
        let (mut all, mut next) = (Vec::new(), Some(0));
        while let Some(offset) = next {
            let list = engine::ListCredentials {
                principal: None,
                page: page(offset),
            };
            let page = self.perform(list).await?;
            next = page.next_offset();
            all.extend(page.items);
        }
        Ok(all)
    }
}

impl From<engine::AccessKey> for AccessKeyView {
    fn from(key: engine::AccessKey) -> Self {
        Self {
            id: key.id,
            created: key.created.to_string(),
            enabled: key.enabled,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct PrincipalPolicy {
    name: String,
    policy: String,
}

pub(super) async fn create_principal(
    asking: Asking<'_>,
    new: PrincipalPolicy,
) -> Result<(), WebError> {
    let create = engine::CreatePrincipal {
        name: new.name,
        policy: new.policy,
    };
    asking.perform(create).await
}

pub(super) async fn put_principal_policy(
    asking: Asking<'_>,
    asked: PrincipalPolicy,
) -> Result<(), WebError> {
    let put = engine::PutPrincipalPolicy {
        name: asked.name,
        policy: asked.policy,
    };
    asking.perform(put).await
}

#[derive(Deserialize)]
pub(super) struct OfPrincipal {
    name: String,
}

pub(super) async fn delete_principal(
    asking: Asking<'_>,
    asked: OfPrincipal,
) -> Result<(), WebError> {
    let delete = engine::DeletePrincipal { name: asked.name };
    asking.perform(delete).await
}

/// The one time that the secret is told.
#[derive(Serialize)]
pub(super) struct MadeAccessKey {
    id: String,
    secret: String,
}

impl Drop for MadeAccessKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

pub(super) async fn create_access_key(
    asking: Asking<'_>,
    asked: OfPrincipal,
) -> Result<MadeAccessKey, WebError> {
    let create = engine::CreateCredential {
        principal: asked.name,
    };
    let made = asking.perform(create).await?;
    Ok(MadeAccessKey {
        id: made.id,
        secret: made.secret.to_string(),
    })
}

#[derive(Deserialize)]
pub(super) struct OneAccessKey {
    id: String,
    enabled: bool,
}

pub(super) async fn set_access_key_enabled(
    asking: Asking<'_>,
    asked: OneAccessKey,
) -> Result<(), WebError> {
    let set = engine::SetCredentialEnabled {
        id: asked.id,
        enabled: asked.enabled,
    };
    asking.perform(set).await
}

#[derive(Deserialize)]
pub(super) struct OfAccessKey {
    id: String,
}

pub(super) async fn delete_access_key(
    asking: Asking<'_>,
    asked: OfAccessKey,
) -> Result<(), WebError> {
    let delete = engine::DeleteCredential { id: asked.id };
    asking.perform(delete).await
}
