//! Keys: what they are, and everything that changes them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::views::{GrantView, KeyView, Part, TagView, VersionView, days, page};
use super::{Asking, WebError};
use crate::kms::engine::model::{
    Alias, KeyId, KeyRef, KeySpec, KeyUsage, KeyVersionId, Origin, ProtectionLevel, Tag,
};
use crate::kms::engine::ops::access::{GetKeyPolicy, ListGrants};
use crate::kms::engine::ops::admin::GetKeyUse;
use crate::kms::engine::ops::keys as lives;
use crate::kms::engine::ops::names::{
    CreateAlias, DeleteAlias, ListAliases, ListResourceTags, TagResource, UntagResource,
};
use crate::kms::engine::ops::versions::{
    CreateKeyVersion, ListKeyVersions, SetKeyVersionEnabled, UpdateRotation,
};

/// The members of what is about one key alone.
#[derive(Deserialize)]
pub(super) struct OfKey {
    pub(super) key: String,
}

#[derive(Deserialize)]
pub(super) struct FromOffset {
    #[serde(default)]
    pub(super) offset: u64,
}

#[derive(Serialize)]
pub(super) struct Keys {
    keys: Vec<KeyView>,
    total: u64,
    next: Option<u64>,
}

pub(super) async fn list_keys(asking: Asking<'_>, asked: FromOffset) -> Result<Keys, WebError> {
    let filter = lives::KeyFilter::default();
    let page = page(asked.offset);
    let page = asking.perform(lives::ListKeys { filter, page }).await?;
    // Who may not list aliases sees keys without them.
    let mut aliases = asking.aliases(None).await.unwrap_or_default();
    let (next, total) = (page.next_offset(), page.total);
    let keys = page.items.into_iter().map(|key| {
        let names = aliases.remove(&key.id).unwrap_or_default();
        KeyView::from(key).named(names)
    });
    Ok(Keys {
        keys: keys.collect(),
        total,
        next,
    })
}

/// A key's page.
#[derive(Serialize)]
pub(super) struct WholeKey {
    key: KeyView,
    versions: Part<Vec<VersionView>>,
    aliases: Part<Vec<String>>,
    tags: Part<Vec<TagView>>,
    policy: Part<String>,
    grants: Part<Vec<GrantView>>,
}

pub(super) async fn get_key(asking: Asking<'_>, asked: OfKey) -> Result<WholeKey, WebError> {
    let key = asking.door.key(&asked.key)?;
    let described = asking.perform(lives::DescribeKey { key }).await?;
    let id = described.id.clone();
    let key = KeyRef::Id(id.clone());
    let aliases = asking.aliases(Some(key.clone())).await;
    let policy = asking.perform(GetKeyPolicy { key: key.clone() }).await;
    Ok(WholeKey {
        versions: asking.versions(&key).await.into(),
        aliases: aliases
            .map(|mut all| all.remove(&id).unwrap_or_default())
            .into(),
        tags: asking.tags(&key).await.into(),
        grants: asking.grants(key).await.into(),
        policy: policy.into(),
        key: described.into(),
    })
}

impl Asking<'_> {
    /// Names of aliases by their keys.
    async fn aliases(&self, key: Option<KeyRef>) -> Result<HashMap<KeyId, Vec<String>>, WebError> {
        let mut aliases: HashMap<_, Vec<_>> = HashMap::new();
        let mut next = Some(0);
        while let Some(offset) = next {
            let (key, page) = (key.clone(), page(offset));
            let page = self.perform(ListAliases { key, page }).await?;
            next = page.next_offset();
            for Alias { key, name, .. } in page.items {
                aliases.entry(key).or_default().push(name);
            }
        }
        Ok(aliases)
    }

    async fn versions(&self, key: &KeyRef) -> Result<Vec<VersionView>, WebError> {
        let (key, page) = (key.clone(), page(0));
        let uses = self.perform(GetKeyUse { key: key.clone() }).await;
        let uses = uses.unwrap_or_default();
        let versions = self.perform(ListKeyVersions { key, page }).await?;
        let versions = versions.items.into_iter();
        Ok(versions
            .map(|version| VersionView::new(version, &uses))
            .collect())
    }

    async fn tags(&self, key: &KeyRef) -> Result<Vec<TagView>, WebError> {
        let (key, page) = (key.clone(), page(0));
        let tags = self.perform(ListResourceTags { key, page }).await?;
        let tags = tags.items.into_iter();
        Ok(tags
            .map(|Tag { key, value }| TagView { key, value })
            .collect())
    }

    async fn grants(&self, key: KeyRef) -> Result<Vec<GrantView>, WebError> {
        let list = ListGrants {
            key,
            id: None,
            grantee: None,
            page: page(0),
        };
        let grants = self.perform(list).await?;
        Ok(grants.items.into_iter().map(Into::into).collect())
    }
}

#[derive(Deserialize)]
pub(super) struct NewKey {
    description: String,
    spec: String,
    usage: String,
    /// Empty for none.
    alias: String,
    /// Whether its owner brings the material.
    #[serde(default)]
    external: bool,
    /// Whether it is to live in the HSM.
    #[serde(default)]
    hsm: bool,
    /// `None` for no schedule.
    rotation_days: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct MadeKey {
    id: String,
    /// Why the key has no alias, where one was asked for.
    alias: Option<Part<()>>,
}

pub(super) async fn create_key(asking: Asking<'_>, new: NewKey) -> Result<MadeKey, WebError> {
    let unknown = |member| WebError::invalid(member, "The service has no such keys.");
    let create = lives::CreateKey {
        description: new.description,
        spec: KeySpec::of_name(&new.spec).ok_or_else(|| unknown("spec"))?,
        usage: KeyUsage::of_name(&new.usage).ok_or_else(|| unknown("usage"))?,
        origin: if new.external {
            Origin::External
        } else {
            Origin::Service
        },
        protection: match new.hsm {
            true => ProtectionLevel::Hsm,
            false => ProtectionLevel::Software,
        },
        rotation_period: new.rotation_days.map(days),
        tags: Vec::new(),
        policy: None,
    };
    let key = asking.perform(create).await?;
    let alias = match new.alias.as_str() {
        "" => None,
        name => {
            let create = CreateAlias {
                name: name.to_owned(),
                key: KeyRef::Id(key.id.clone()),
            };
            // The key is there: its maker learns of it in either case.
            Some(asking.perform(create).await.into())
        }
    };
    Ok(MadeKey {
        id: key.id.0,
        alias,
    })
}

pub(super) async fn enable_key(asking: Asking<'_>, asked: OfKey) -> Result<(), WebError> {
    let key = asking.door.key(&asked.key)?;
    asking.perform(lives::EnableKey { key }).await
}

pub(super) async fn disable_key(asking: Asking<'_>, asked: OfKey) -> Result<(), WebError> {
    let key = asking.door.key(&asked.key)?;
    asking.perform(lives::DisableKey { key }).await
}

pub(super) async fn rotate_key(asking: Asking<'_>, asked: OfKey) -> Result<(), WebError> {
    let key = asking.door.key(&asked.key)?;
    asking.perform(CreateKeyVersion { key }).await.map(drop)
}

#[derive(Deserialize)]
pub(super) struct Destroy {
    key: String,
    days: u32,
    /// The key's id or one of its aliases, written by hand.
    confirm: String,
}

pub(super) async fn schedule_key_deletion(
    asking: Asking<'_>,
    asked: Destroy,
) -> Result<(), WebError> {
    let key = asking.door.key(&asked.key)?;
    let confirmed = asking.door.key(&asked.confirm);
    let id = asking.perform(lives::DescribeKey { key }).await?.id;
    // An alias may go to another key meanwhile, and that was not confirmed.
    let key = KeyRef::Id(id.clone());
    let is_confirmed = match confirmed {
        Ok(KeyRef::Id(given)) => given == id,
        Ok(KeyRef::Alias(name)) => {
            let aliases = asking.aliases(Some(key.clone())).await?;
            aliases.get(&id).is_some_and(|names| names.contains(&name))
        }
        Err(_no_name) => false,
    };
    if !is_confirmed {
        return Err(WebError::new(
            400,
            "NotConfirmed",
            "What was typed is neither the key's id nor one of its aliases.",
        ));
    }
    let days = asked.days;
    let schedule = lives::ScheduleKeyDeletion { key, days };
    asking.perform(schedule).await.map(drop)
}

pub(super) async fn cancel_key_deletion(asking: Asking<'_>, asked: OfKey) -> Result<(), WebError> {
    let key = asking.door.key(&asked.key)?;
    let cancel = lives::CancelKeyDeletion { key };
    asking.perform(cancel).await.map(drop)
}

#[derive(Deserialize)]
pub(super) struct Described {
    key: String,
    description: String,
}

pub(super) async fn update_key_description(
    asking: Asking<'_>,
    asked: Described,
) -> Result<(), WebError> {
    let key = asking.door.key(&asked.key)?;
    let description = asked.description;
    asking
        .perform(lives::UpdateKeyDescription { key, description })
        .await
}

#[derive(Deserialize)]
pub(super) struct Rotating {
    key: String,
    /// `None` for no schedule.
    days: Option<u32>,
}

pub(super) async fn update_rotation(asking: Asking<'_>, asked: Rotating) -> Result<(), WebError> {
    let key = asking.door.key(&asked.key)?;
    let period = asked.days.map(days);
    asking.perform(UpdateRotation { key, period }).await
}

#[derive(Deserialize)]
pub(super) struct OneVersion {
    key: String,
    version: String,
    enabled: bool,
}

pub(super) async fn set_key_version_enabled(
    asking: Asking<'_>,
    asked: OneVersion,
) -> Result<(), WebError> {
    let set = SetKeyVersionEnabled {
        key: asking.door.key(&asked.key)?,
        version: KeyVersionId(asked.version),
        enabled: asked.enabled,
    };
    asking.perform(set).await
}

#[derive(Deserialize)]
pub(super) struct Named {
    key: String,
    name: String,
}

pub(super) async fn create_alias(asking: Asking<'_>, asked: Named) -> Result<(), WebError> {
    let key = asking.door.key(&asked.key)?;
    let name = asked.name;
    asking.perform(CreateAlias { name, key }).await
}

#[derive(Deserialize)]
pub(super) struct Name {
    name: String,
}

pub(super) async fn delete_alias(asking: Asking<'_>, asked: Name) -> Result<(), WebError> {
    asking.perform(DeleteAlias { name: asked.name }).await
}

#[derive(Deserialize)]
pub(super) struct Tagged {
    key: String,
    tag: String,
    value: String,
}

pub(super) async fn tag_key(asking: Asking<'_>, asked: Tagged) -> Result<(), WebError> {
    let tag = Tag {
        key: asked.tag,
        value: asked.value,
    };
    let (key, tags) = (asking.door.key(&asked.key)?, vec![tag]);
    asking.perform(TagResource { key, tags }).await
}

#[derive(Deserialize)]
pub(super) struct Untagged {
    key: String,
    tag: String,
}

pub(super) async fn untag_key(asking: Asking<'_>, asked: Untagged) -> Result<(), WebError> {
    let (key, tag_keys) = (asking.door.key(&asked.key)?, vec![asked.tag]);
    asking.perform(UntagResource { key, tag_keys }).await
}
