//! Aliases.

use serde::Serialize;

use super::Nothing;
use super::error::AlibabaError;
use super::parameters::{Paged, page, required};
use crate::kms::api::Asking;
use crate::kms::api::place::Cloud;
use crate::kms::auth::Form;
use crate::kms::engine::model::{Alias, KeyRef};
use crate::kms::engine::ops::names as engine;

/// What an alias may be is the engine's to say.
fn alias_name(form: &Form) -> Result<String, AlibabaError> {
    required(form, "AliasName").map(str::to_owned)
}

pub(super) async fn create_alias(asking: Asking<'_>, form: &Form) -> Result<Nothing, AlibabaError> {
    let operation = engine::CreateAlias {
        name: alias_name(form)?,
        key: asking.alibaba_key(form, "KeyId")?,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

pub(super) async fn update_alias(asking: Asking<'_>, form: &Form) -> Result<Nothing, AlibabaError> {
    let operation = engine::UpdateAlias {
        name: alias_name(form)?,
        key: asking.alibaba_key(form, "KeyId")?,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

pub(super) async fn delete_alias(asking: Asking<'_>, form: &Form) -> Result<Nothing, AlibabaError> {
    let name = alias_name(form)?;
    let operation = engine::DeleteAlias { name };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    aliases: ListedAliases,
    #[serde(flatten)]
    paged: Paged,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedAliases {
    alias: Vec<ListedAlias>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedAlias {
    alias_arn: String,
    alias_name: String,
    key_id: String,
}

pub(super) async fn list_aliases(asking: Asking<'_>, form: &Form) -> Result<Listed, AlibabaError> {
    list(&asking, None, form).await
}

pub(super) async fn list_aliases_by_key_id(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Listed, AlibabaError> {
    let key = asking.alibaba_key(form, "KeyId")?;
    list(&asking, Some(key), form).await
}

async fn list(
    asking: &Asking<'_>,
    key: Option<KeyRef>,
    form: &Form,
) -> Result<Listed, AlibabaError> {
    let operation = engine::ListAliases {
        key,
        page: page(form)?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    let paged = Paged::of(&page);
    let listed = |alias: Alias| ListedAlias {
        alias_arn: asking.place.alias_arn(Cloud::Alibaba, &alias.name),
        alias_name: alias.name,
        key_id: alias.key.0,
    };
    Ok(Listed {
        aliases: ListedAliases {
            alias: page.items.into_iter().map(listed).collect(),
        },
        paged,
    })
}
