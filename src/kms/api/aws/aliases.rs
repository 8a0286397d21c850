//! Aliases and tags.

use serde::{Deserialize, Serialize};

use super::error::AwsError;
use super::keys::Tag;
use super::wire::{Epoch, More, Paging, required, text};
use crate::kms::api::Asking;
use crate::kms::api::place::Cloud;
use crate::kms::engine::model::Alias;
use crate::kms::engine::ops::names as engine;

const ALIAS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AliasOfKey {
    alias_name: Option<String>,
    target_key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteAlias {
    alias_name: Option<String>,
}

pub(super) async fn create_alias(asking: Asking<'_>, input: AliasOfKey) -> Result<(), AwsError> {
    let operation = engine::CreateAlias {
        name: text(input.alias_name, "aliasName", 1, ALIAS_MAX)?,
        key: asking.aws_key(input.target_key_id, "targetKeyId")?,
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

pub(super) async fn update_alias(asking: Asking<'_>, input: AliasOfKey) -> Result<(), AwsError> {
    let operation = engine::UpdateAlias {
        name: text(input.alias_name, "aliasName", 1, ALIAS_MAX)?,
        key: asking.aws_key(input.target_key_id, "targetKeyId")?,
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

pub(super) async fn delete_alias(asking: Asking<'_>, input: DeleteAlias) -> Result<(), AwsError> {
    let name = text(input.alias_name, "aliasName", 1, ALIAS_MAX)?;
    let operation = engine::DeleteAlias { name };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfKey {
    key_id: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Aliases {
    aliases: Vec<ListedAlias>,
    #[serde(flatten)]
    more: More,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedAlias {
    alias_arn: String,
    alias_name: String,
    target_key_id: String,
    creation_date: Epoch,
    last_updated_date: Epoch,
}

pub(super) async fn list_aliases(asking: Asking<'_>, input: OfKey) -> Result<Aliases, AwsError> {
    let named = input.key_id.is_some();
    let operation = engine::ListAliases {
        key: named
            .then(|| asking.aws_key(input.key_id, "keyId"))
            .transpose()?,
        page: input.paging.request()?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    let more = More::after(&page);
    let listed = |alias: Alias| ListedAlias {
        alias_arn: asking.place.alias_arn(Cloud::Aws, &alias.name),
        alias_name: alias.name,
        target_key_id: alias.key.0,
        creation_date: Epoch(alias.created),
        last_updated_date: Epoch(alias.updated),
    };
    Ok(Aliases {
        aliases: page.items.into_iter().map(listed).collect(),
        more,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagResource {
    key_id: Option<String>,
    tags: Option<Vec<Tag>>,
}

pub(super) async fn tag_resource(asking: Asking<'_>, input: TagResource) -> Result<(), AwsError> {
    let tags = required(input.tags, "tags")?;
    let operation = engine::TagResource {
        key: asking.aws_key(input.key_id, "keyId")?,
        tags: tags.into_iter().map(Into::into).collect(),
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagResource {
    key_id: Option<String>,
    tag_keys: Option<Vec<String>>,
}

pub(super) async fn untag_resource(
    asking: Asking<'_>,
    input: UntagResource,
) -> Result<(), AwsError> {
    let operation = engine::UntagResource {
        key: asking.aws_key(input.key_id, "keyId")?,
        tag_keys: required(input.tag_keys, "tagKeys")?,
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tags {
    tags: Vec<Tag>,
    #[serde(flatten)]
    more: More,
}

pub(super) async fn list_resource_tags(asking: Asking<'_>, input: OfKey) -> Result<Tags, AwsError> {
    let operation = engine::ListResourceTags {
        key: asking.aws_key(input.key_id, "keyId")?,
        page: input.paging.request()?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    let more = More::after(&page);
    Ok(Tags {
        tags: page.items.into_iter().map(Tag::from).collect(),
        more,
    })
}
