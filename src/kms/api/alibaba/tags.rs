//! Tags, by the actions for one key and by those for resources of any kind.

use serde::{Deserialize, Serialize};

use super::Nothing;
use super::error::AlibabaError;
use super::parameters::{flag, optional, required};
use crate::kms::api::Asking;
use crate::kms::api::place::Cloud;
use crate::kms::auth::Form;
use crate::kms::engine::model::{KeyRef, PageRequest, Tag};
use crate::kms::engine::ops::names as engine;

/// All tags that a key can have.
const ALL: PageRequest = PageRequest {
    offset: 0,
    limit: 100,
};

/// How many resources and tags one request may name.
const RESOURCES_MAX: usize = 50;
const TAGS_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireTag {
    tag_key: String,
    #[serde(default)]
    tag_value: String,
}

/// The tags of `Tags`, a JSON array.
pub(super) fn tags(form: &Form, must: bool) -> Result<Vec<Tag>, AlibabaError> {
    let json = match optional(form, "Tags") {
        Some(json) => json,
        None if must => return Err(AlibabaError::missing("Tags")),
        None => return Ok(Vec::new()),
    };
    let tags: Vec<WireTag> =
        serde_json::from_str(json).map_err(|_error| AlibabaError::invalid("Tags"))?;
    let tag = |tag: WireTag| Tag {
        key: tag.tag_key,
        value: tag.tag_value,
    };
    Ok(tags.into_iter().map(tag).collect())
}

/// Secrets and certificates can have tags too: this service has neither.
fn keys_only(form: &Form) -> Result<(), AlibabaError> {
    let other = ["SecretName", "CertificateId"]
        .iter()
        .any(|name| optional(form, name).is_some());
    if other {
        return Err(AlibabaError::unsupported(
            "This service has tags of keys only.",
        ));
    }
    Ok(())
}

pub(super) async fn tag_resource(asking: Asking<'_>, form: &Form) -> Result<Nothing, AlibabaError> {
    keys_only(form)?;
    let operation = engine::TagResource {
        key: asking.alibaba_key(form, "KeyId")?,
        tags: tags(form, true)?,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

pub(super) async fn untag_resource(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    keys_only(form)?;
    let json = required(form, "TagKeys")?;
    let tag_keys = serde_json::from_str(json).map_err(|_error| AlibabaError::invalid("TagKeys"))?;
    let operation = engine::UntagResource {
        key: asking.alibaba_key(form, "KeyId")?,
        tag_keys,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    tags: ListedTags,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedTags {
    tag: Vec<ListedTag>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedTag {
    key_id: String,
    tag_key: String,
    tag_value: String,
}

pub(super) async fn list_resource_tags(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Listed, AlibabaError> {
    let operation = engine::ListResourceTags {
        key: asking.alibaba_key(form, "KeyId")?,
        page: ALL,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    let key_id = required(form, "KeyId")?;
    let listed = |tag: Tag| ListedTag {
        key_id: key_id.to_owned(),
        tag_key: tag.key,
        tag_value: tag.value,
    };
    Ok(Listed {
        tags: ListedTags {
            tag: page.items.into_iter().map(listed).collect(),
        },
    })
}

/// The values of an array: `Name.1`, `Name.2` and so on. None is passed over: one beyond `max`, or behind a gap, is refused.
fn array<'a>(
    form: &'a Form,
    name: &str,
    suffix: &str,
    max: usize,
) -> Result<Vec<&'a str>, AlibabaError> {
    let nth = |nth: usize| form.get(&format!("{name}.{nth}{suffix}"));
    let values: Vec<_> = (1..=max).map_while(nth).collect();
    let is_one = |parameter: &&str| {
        let rest = parameter.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(suffix))
    };
    if form.names().filter(is_one).count() == values.len() {
        Ok(values)
    } else {
        Err(AlibabaError::invalid(name))
    }
}

/// The keys that `ResourceId.1` and so on name.
fn resources(asking: &Asking<'_>, form: &Form) -> Result<Vec<(String, KeyRef)>, AlibabaError> {
    if required(form, "ResourceType")? != "key" {
        return Err(AlibabaError::unsupported(
            "This service has tags of keys only.",
        ));
    }
    let ids = array(form, "ResourceId", "", RESOURCES_MAX)?;
    if ids.is_empty() {
        return Err(AlibabaError::missing("ResourceId"));
    }
    let key = |id: &str| Ok((id.to_owned(), asking.place.key(Cloud::Alibaba, id)?));
    ids.into_iter().map(key).collect()
}

/// The tags that `Tag.1.Key`, `Tag.1.Value` and so on name.
fn tag_array(form: &Form) -> Result<Vec<Tag>, AlibabaError> {
    let keys = array(form, "Tag", ".Key", TAGS_MAX)?;
    let tag = |(nth, key): (usize, &str)| Tag {
        key: key.to_owned(),
        value: form
            .get(&format!("Tag.{}.Value", nth + 1))
            .unwrap_or_default()
            .to_owned(),
    };
    Ok(keys.into_iter().enumerate().map(tag).collect())
}

/// One key after the other: where one is refused, those before it are tagged already.
pub(super) async fn tag_resources(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    let tags = tag_array(form)?;
    if tags.is_empty() {
        return Err(AlibabaError::missing("Tag"));
    }
    for (_id, key) in resources(&asking, form)? {
        let tags = tags.clone();
        let operation = engine::TagResource { key, tags };
        asking.engine.perform(&asking.caller, operation).await?;
    }
    Ok(Nothing {})
}

pub(super) async fn untag_resources(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    let all = flag(form, "All")?;
    let named = array(form, "TagKey", "", TAGS_MAX)?;
    if named.is_empty() && !all {
        return Err(AlibabaError::missing("TagKey"));
    }
    for (_id, key) in resources(&asking, form)? {
        let mut tag_keys: Vec<String> = named.iter().map(|key| (*key).to_owned()).collect();
        if tag_keys.is_empty() {
            let of = engine::ListResourceTags {
                key: key.clone(),
                page: ALL,
            };
            let page = asking.engine.perform(&asking.caller, of).await?;
            tag_keys.extend(page.items.into_iter().map(|tag| tag.key));
        }
        let operation = engine::UntagResource { key, tag_keys };
        asking.engine.perform(&asking.caller, operation).await?;
    }
    Ok(Nothing {})
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ResourceTags {
    tag_resources: TagResourceList,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TagResourceList {
    tag_resource: Vec<ResourceTag>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceTag {
    resource_id: String,
    resource_type: &'static str,
    tag_key: String,
    tag_value: String,
}

/// The tags of the named keys, all on one page; of tags that are named too, only those.
pub(super) async fn list_tag_resources(
    asking: Asking<'_>,
    form: &Form,
) -> Result<ResourceTags, AlibabaError> {
    let wanted = tag_array(form)?;
    let matches = |tag: &Tag| {
        let is =
            |want: &Tag| want.key == tag.key && (want.value.is_empty() || want.value == tag.value);
        wanted.is_empty() || wanted.iter().any(is)
    };
    let mut tag_resource = Vec::new();
    for (id, key) in resources(&asking, form)? {
        let operation = engine::ListResourceTags { key, page: ALL };
        let page = asking.engine.perform(&asking.caller, operation).await?;
        let listed = |tag: Tag| ResourceTag {
            resource_id: id.clone(),
            resource_type: "key",
            tag_key: tag.key,
            tag_value: tag.value,
        };
        tag_resource.extend(page.items.into_iter().filter(matches).map(listed));
    }
    Ok(ResourceTags {
        tag_resources: TagResourceList { tag_resource },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(names: impl IntoIterator<Item = String>) -> Form {
        let pairs: Vec<_> = names.into_iter().map(|name| name + "=v").collect();
        Form::parse(&[&pairs.join("&")]).unwrap()
    }

    #[test]
    fn an_array_is_read_whole_or_not_at_all() {
        let keys = |numbers: &[usize]| form(numbers.iter().map(|nth| format!("TagKey.{nth}")));
        let of = |form: &Form| array(form, "TagKey", "", 3).map(|values| values.len());
        assert_eq!(of(&keys(&[])), Ok(0));
        assert_eq!(of(&keys(&[3, 1, 2])), Ok(3));
        for wrong in [&[1, 2, 3, 4][..], &[1, 3], &[2], &[0]] {
            assert_eq!(of(&keys(wrong)).unwrap_err().code, "InvalidParameter");
        }
        assert!(of(&form(["TagKey.x".to_owned()])).is_err());
        assert_eq!(of(&form(["TagKeys".to_owned()])), Ok(0), "another name");
    }

    #[test]
    fn tags_have_a_key_each_and_perhaps_a_value() {
        let of = |names: &[&str]| tag_array(&form(names.iter().map(|name| (*name).to_owned())));
        let tags = of(&["Tag.1.Key", "Tag.1.Value", "Tag.2.Key"]).unwrap();
        let values: Vec<_> = tags.iter().map(|tag| tag.value.as_str()).collect();
        assert_eq!(values, ["v", ""]);
        assert!(of(&["Tag.1.Key", "Tag.3.Key"]).is_err());
    }
}
