//! Alibaba Cloud KMS (2016-01-20) as its clients speak it: RPC, the parameters in the query or a form,
//! answers in JSON.
//!
//! Served are the actions on keys. Those on secrets, KMS instances, application access points and
//! network rules answer `Rejected.UnsupportedOperation`; XML, which no current SDK asks for, is refused.

mod access;
mod aliases;
mod asymmetric;
mod data;
mod error;
mod import;
mod keys;
mod names;
mod parameters;
mod tags;
mod versions;

use std::future::Future;

use serde::Serialize;

use super::{Answer, Asking, Body};
use crate::kms::auth::Form;

pub use error::AlibabaError;

/// The version of the interface that every client names.
const VERSION: &str = "2016-01-20";

/// The label of actions that are none.
pub const UNKNOWN: &str = "unknown";

/// An action as it was asked for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its name.
    pub action: &'a str,
    /// The version of the interface.
    pub version: &'a str,
    /// All that came, those of the signature too.
    pub parameters: &'a Form,
    /// Requests signed in their headers get JSON; older ones say so by `Format`.
    pub json_by_default: bool,
}

/// What an action answers, with the request's id as every answer has it.
#[derive(Serialize)]
struct Wire<T> {
    #[serde(flatten)]
    answer: T,
    #[serde(rename = "RequestId")]
    request_id: String,
}

/// An answer with nothing but the request's id.
#[derive(Serialize)]
struct Nothing {}

type Done = Result<Body, AlibabaError>;

/// Does what a proven request asks.
pub async fn answer(asking: Asking<'_>, asked: Asked<'_>) -> Answer {
    let request_id = asking.caller.request_id.clone();
    let (operation, done) = match framing(&asked) {
        Ok(()) => dispatch(asked.action, asking, asked.parameters).await,
        Err(error) => (UNKNOWN, Err(error)),
    };
    match done {
        Ok(body) => Answer {
            operation,
            ..framed(request_id, body)
        },
        Err(error) => refusal(&error, operation, request_id),
    }
}

/// The answer to a request that comes to nothing.
#[must_use]
pub fn refusal(error: &AlibabaError, operation: &'static str, request_id: String) -> Answer {
    Answer {
        status: error.status,
        operation,
        error: Some(error.code),
        body: Body::json(&error.wire(&request_id)),
        ..framed(request_id, Body::empty())
    }
}

fn framed(request_id: String, body: Body) -> Answer {
    Answer {
        status: 200,
        content_type: "application/json;charset=utf-8",
        request_id_header: "x-acs-request-id",
        request_id,
        operation: UNKNOWN,
        error: None,
        body,
    }
}

/// The version and the format that are asked for.
fn framing(asked: &Asked<'_>) -> Result<(), AlibabaError> {
    if asked.version != VERSION {
        return Err(AlibabaError::invalid("Version"));
    }
    match asked.parameters.get("Format") {
        None if asked.json_by_default => Ok(()),
        Some(format) if format.eq_ignore_ascii_case("json") => Ok(()),
        None | Some(_) => Err(AlibabaError::new(
            400,
            "InvalidParameter",
            "This service answers in JSON only: send Format=JSON.",
        )),
    }
}

async fn run<'a, O, F>(
    asking: Asking<'a>,
    form: &'a Form,
    done: fn(Asking<'a>, &'a Form) -> F,
) -> Done
where
    O: Serialize,
    F: Future<Output = Result<O, AlibabaError>>,
{
    let request_id = asking.caller.request_id.clone();
    let answer = done(asking, form).await?;
    Ok(Body::json(&Wire { answer, request_id }))
}

macro_rules! actions {
    ($name:expr, $asking:expr, $form:expr, { $($op:literal => $done:path,)* }) => {
        match $name {
            $($op => ($op, run($asking, $form, $done).await),)*
            _other => (UNKNOWN, Err(AlibabaError::no_such_action())),
        }
    };
}

async fn dispatch(name: &str, asking: Asking<'_>, form: &Form) -> (&'static str, Done) {
    actions!(name, asking, form, {
        "AsymmetricDecrypt" => asymmetric::asymmetric_decrypt,
        "AsymmetricEncrypt" => asymmetric::asymmetric_encrypt,
        "AsymmetricSign" => asymmetric::asymmetric_sign,
        "AsymmetricVerify" => asymmetric::asymmetric_verify,
        "CancelKeyDeletion" => keys::cancel_key_deletion,
        "CreateAlias" => aliases::create_alias,
        "CreateKey" => keys::create_key,
        "CreateKeyVersion" => versions::create_key_version,
        "Decrypt" => data::decrypt,
        "DeleteAlias" => aliases::delete_alias,
        "DeleteKeyMaterial" => import::delete_key_material,
        "DescribeKey" => keys::describe_key,
        "DescribeKeyVersion" => versions::describe_key_version,
        "DescribeRegions" => keys::describe_regions,
        "DisableKey" => keys::disable_key,
        "EnableKey" => keys::enable_key,
        "Encrypt" => data::encrypt,
        "ExportDataKey" => data::export_data_key,
        "GenerateAndExportDataKey" => data::generate_and_export_data_key,
        "GenerateDataKey" => data::generate_data_key,
        "GenerateDataKeyWithoutPlaintext" => data::generate_data_key_without_plaintext,
        "GenerateMac" => asymmetric::generate_mac,
        "GetKeyPolicy" => access::get_key_policy,
        "GetParametersForImport" => import::get_parameters_for_import,
        "GetPublicKey" => asymmetric::get_public_key,
        "ImportKeyMaterial" => import::import_key_material,
        "ListAliases" => aliases::list_aliases,
        "ListAliasesByKeyId" => aliases::list_aliases_by_key_id,
        "ListKeyVersions" => versions::list_key_versions,
        "ListKeys" => keys::list_keys,
        "ListResourceTags" => tags::list_resource_tags,
        "ListTagResources" => tags::list_tag_resources,
        "ReEncrypt" => data::re_encrypt,
        "ScheduleKeyDeletion" => keys::schedule_key_deletion,
        "SetDeletionProtection" => keys::set_deletion_protection,
        "SetKeyPolicy" => access::set_key_policy,
        "TagResource" => tags::tag_resource,
        "TagResources" => tags::tag_resources,
        "UntagResource" => tags::untag_resource,
        "UntagResources" => tags::untag_resources,
        "UpdateAlias" => aliases::update_alias,
        "UpdateKeyDescription" => keys::update_key_description,
        "UpdateRotationPolicy" => versions::update_rotation_policy,
        "VerifyMac" => asymmetric::verify_mac,
    })
}
