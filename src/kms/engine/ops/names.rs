//! Aliases and tags.

use std::borrow::Cow;
use std::collections::HashSet;

use super::access::page_of;
use super::change::check_page;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::model::{Alias, KeyRef, Page, PageRequest, Tag};
use crate::kms::engine::operation::{Call, Need, Needs, Operation, States};
use crate::kms::store::StoreError;

/// The most aliases of a key.
pub const ALIASES_MAX: u64 = 50;
const ALIAS_LEN_MAX: usize = 255;
/// Kept for the clouds' own keys.
const KEPT_ALIASES: &[&str] = &["alias/acs", "alias/aws/"];
/// The most tags of a key.
pub const TAGS_MAX: u64 = 50;
const TAG_KEY_MAX: usize = 128;
const TAG_VALUE_MAX: usize = 256;

/// Gives a key a name.
#[derive(Debug, Clone)]
pub struct CreateAlias {
    /// With `alias/`, 1 to 255 characters of `[A-Za-z0-9/_-]`; `alias/aws/` and `alias/acs` are kept.
    pub name: String,
    pub key: KeyRef,
}

impl Operation for CreateAlias {
    const ACTION: &'static str = "CreateAlias";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_alias(&self.name)?;
        Ok(Needs::key(&self.key, States::Changeable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (mut write, record) = call.begin_change(States::Changeable).await?;
        if write.alias_count(&record.key.id).await? >= ALIASES_MAX {
            let message = format!("A key has at most {ALIASES_MAX} aliases.");
            return Err(KmsError::new(ErrorKind::LimitExceeded, message));
        }
        let inserted = write
            .insert_alias(&self.name, &record.key.id, call.now)
            .await;
        inserted.map_err(|error| match error {
            StoreError::Exists => KmsError::new(
                ErrorKind::AliasExists,
                format!("{} exists already.", self.name),
            ),
            other => other.into(),
        })?;
        call.engine.commit(write).await
    }
}

/// Gives a name to another key.
#[derive(Debug, Clone)]
pub struct UpdateAlias {
    pub name: String,
    pub key: KeyRef,
}

impl Operation for UpdateAlias {
    const ACTION: &'static str = "UpdateAlias";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_alias(&self.name)?;
        let old = KeyRef::Alias(self.name.clone());
        Ok(Needs::key(&self.key, States::Kept).and(Need::key(Cow::Owned(old), States::Any)))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (mut write, record) = call.begin_change(States::Kept).await?;
        let (old, new) = (&call.other()?.key, &record.key);
        if old.usage != new.usage || old.spec.is_asymmetric() != new.spec.is_asymmetric() {
            return Err(KmsError::invalid(
                "TargetKeyId",
                "An alias goes from one key to another of the same usage and kind only.",
            ));
        }
        // The key that the caller may take the name from must still be the one that has it.
        let moved = write.update_alias(&self.name, &old.id, &new.id, call.now);
        if !moved.await? {
            return Err(moved_meanwhile(&self.name));
        }
        call.engine.commit(write).await
    }
}

/// Takes a name away.
#[derive(Debug, Clone)]
pub struct DeleteAlias {
    pub name: String,
}

impl Operation for DeleteAlias {
    const ACTION: &'static str = "DeleteAlias";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_alias(&self.name)?;
        let key = KeyRef::Alias(self.name.clone());
        Ok(Needs::one(Need::key(Cow::Owned(key), States::Any)))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let mut write = call.engine.store.write().await?;
        if !write.delete_alias(&self.name, &call.key()?.key.id).await? {
            return Err(moved_meanwhile(&self.name));
        }
        call.engine.commit(write).await
    }
}

/// The aliases by name.
#[derive(Debug, Clone)]
pub struct ListAliases {
    /// `Some` for one key's.
    pub key: Option<KeyRef>,
    pub page: PageRequest,
}

impl Operation for ListAliases {
    const ACTION: &'static str = "ListAliases";
    type Answer = Page<Alias>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(match &self.key {
            Some(key) => Needs::key(key, States::Any),
            None => Needs::service(),
        })
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let key = call.first.as_ref().map(|entry| &entry.key.id);
        Ok(call.engine.store.aliases(key, self.page).await?)
    }
}

/// Sets tags: at most 50 a key, keys to 128 and values to 256 characters.
#[derive(Debug, Clone)]
pub struct TagResource {
    pub key: KeyRef,
    pub tags: Vec<Tag>,
}

impl Operation for TagResource {
    const ACTION: &'static str = "TagResource";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_tags(&self.tags)?;
        Ok(Needs::key(&self.key, States::Changeable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (mut write, record) = call.begin_change(States::Changeable).await?;
        for tag in &self.tags {
            write.put_tag(&record.key.id, tag).await?;
        }
        if write.tag_count(&record.key.id).await? > TAGS_MAX {
            return Err(too_many_tags());
        }
        call.engine.commit(write).await
    }
}

/// Takes tags away.
#[derive(Debug, Clone)]
pub struct UntagResource {
    pub key: KeyRef,
    pub tag_keys: Vec<String>,
}

impl Operation for UntagResource {
    const ACTION: &'static str = "UntagResource";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_count(self.tag_keys.len())?;
        Ok(Needs::key(&self.key, States::Changeable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (mut write, record) = call.begin_change(States::Changeable).await?;
        for tag in &self.tag_keys {
            write.delete_tag(&record.key.id, tag).await?;
        }
        call.engine.commit(write).await
    }
}

/// A key's tags.
#[derive(Debug, Clone)]
pub struct ListResourceTags {
    pub key: KeyRef,
    pub page: PageRequest,
}

impl Operation for ListResourceTags {
    const ACTION: &'static str = "ListResourceTags";
    type Answer = Page<Tag>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        Ok(page_of(call.key()?.facts.tags.clone(), self.page))
    }
}

fn check_alias(name: &str) -> Result<(), KmsError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    let is_good = name.len() <= ALIAS_LEN_MAX
        && name
            .strip_prefix("alias/")
            .is_some_and(|rest| !rest.is_empty())
        && name.bytes().all(is_allowed);
    if !is_good {
        return Err(KmsError::invalid(
            "AliasName",
            "An alias is alias/ and letters, digits, slashes, underscores and hyphens, at most 255 characters.",
        ));
    }
    if KEPT_ALIASES.iter().any(|kept| name.starts_with(kept)) {
        return Err(KmsError::invalid(
            "AliasName",
            "Aliases that begin with alias/acs or alias/aws/ are kept for the clouds.",
        ));
    }
    Ok(())
}

pub(super) fn check_tags(tags: &[Tag]) -> Result<(), KmsError> {
    let mut keys = HashSet::new();
    for tag in tags {
        let (key, value) = (tag.key.chars().count(), tag.value.chars().count());
        let is_good = (1..=TAG_KEY_MAX).contains(&key) && value <= TAG_VALUE_MAX;
        if !is_good || !keys.insert(&tag.key) {
            let message = format!(
                "A tag has a key of 1 to {TAG_KEY_MAX} characters, which comes once, and a value of at most {TAG_VALUE_MAX}."
            );
            return Err(KmsError::new(ErrorKind::TagInvalid, message));
        }
    }
    check_count(tags.len())
}

/// Other changes wait while one is made: it names no more tags than a key has.
fn check_count(tags: usize) -> Result<(), KmsError> {
    match u64::try_from(tags) {
        Ok(0..=TAGS_MAX) => Ok(()),
        _ => Err(too_many_tags()),
    }
}

fn too_many_tags() -> KmsError {
    let message = format!("A key has at most {TAGS_MAX} tags.");
    KmsError::new(ErrorKind::LimitExceeded, message)
}

fn moved_meanwhile(name: &str) -> KmsError {
    let message =
        format!("{name} went to another key, or away, at the same time. Look where it is.");
    KmsError::new(ErrorKind::InvalidState, message)
}
