//! AWS KMS as its clients speak it: JSON 1.1, the operation in `X-Amz-Target`.
//! <https://docs.aws.amazon.com/kms/latest/APIReference/API_Operations.html>
//!
//! What AWS has and this service has not (custom key stores, keys in several regions, key agreement,
//! key encapsulation, Nitro enclaves) answers `UnsupportedOperationException`.

mod access;
mod aliases;
mod asymmetric;
mod data;
mod error;
mod import;
mod keys;
mod names;
mod rotation;
mod wire;

use std::future::Future;

use serde::{Deserialize, Serialize};

use super::{Answer, Asking, Body};

pub use error::AwsError;

/// Before each operation in `X-Amz-Target`.
const SERVICE: &str = "TrentService.";

/// Operations that AWS KMS has and this service has not.
const NOT_SERVED: &[&str] = &[
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "Decapsulate",
    "DeleteCustomKeyStore",
    "DeriveSharedSecret",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "Encapsulate",
    "GetKeyLastUsage",
    "ReplicateKey",
    "UpdateCustomKeyStore",
    "UpdatePrimaryRegion",
];

type Done = Result<Body, AwsError>;

/// Does what a proven request asks.
pub async fn answer(asking: Asking<'_>, target: &str, body: &[u8]) -> Answer {
    let request_id = asking.caller.request_id.clone();
    let (operation, done) = match target.strip_prefix(SERVICE) {
        Some(name) => dispatch(name, asking, body).await,
        None => (UNKNOWN, Err(unknown(target))),
    };
    match done {
        Ok(body) => Answer {
            status: 200,
            operation,
            ..framed(request_id, body)
        },
        Err(error) => refusal(&error, operation, request_id),
    }
}

/// The answer to a request that comes to nothing.
#[must_use]
pub fn refusal(error: &AwsError, operation: &'static str, request_id: String) -> Answer {
    Answer {
        status: error.status,
        operation,
        error: Some(error.code),
        ..framed(request_id, Body::json(&error.wire()))
    }
}

/// The label of operations that are none.
pub const UNKNOWN: &str = "unknown";

fn framed(request_id: String, body: Body) -> Answer {
    Answer {
        status: 200,
        content_type: "application/x-amz-json-1.1",
        request_id_header: "x-amzn-requestid",
        request_id,
        operation: UNKNOWN,
        error: None,
        body,
    }
}

fn unknown(target: &str) -> AwsError {
    let shown: String = target.chars().take(100).collect();
    AwsError::new(
        "UnknownOperationException",
        format!("{shown} is no operation of this service."),
    )
}

/// Reads the members, does it, writes the members of the answer.
async fn run<'a, I, O, F>(asking: Asking<'a>, body: &'a [u8], done: fn(Asking<'a>, I) -> F) -> Done
where
    I: Deserialize<'a>,
    O: Serialize,
    F: Future<Output = Result<O, AwsError>>,
{
    let body = if body.is_empty() { b"{}" } else { body };
    // What serde says may have a part of a secret in it.
    let input = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        AwsError::new(
            "SerializationException",
            format!("The body is not the operation's JSON at line {line}, column {column}."),
        )
    })?;
    Ok(Body::json(&done(asking, input).await?))
}

/// An answer without members: AWS has no body then.
async fn run_empty<'a, I, F>(
    asking: Asking<'a>,
    body: &'a [u8],
    done: fn(Asking<'a>, I) -> F,
) -> Done
where
    I: Deserialize<'a>,
    F: Future<Output = Result<(), AwsError>>,
{
    run(asking, body, done).await.map(|_null| Body::empty())
}

macro_rules! operations {
    ($name:expr, $asking:expr, $body:expr,
     { $($op:literal => $done:path,)* }, without answer { $($bare:literal => $bare_done:path,)* }) => {
        match $name {
            $($op => ($op, run($asking, $body, $done).await),)*
            $($bare => ($bare, run_empty($asking, $body, $bare_done).await),)*
            other => (UNKNOWN, Err(not_served(other))),
        }
    };
}

fn not_served(name: &str) -> AwsError {
    if NOT_SERVED.contains(&name) {
        return AwsError::unsupported(format!("This service does not have {name}."));
    }
    unknown(name)
}

async fn dispatch(name: &str, asking: Asking<'_>, body: &[u8]) -> (&'static str, Done) {
    operations!(name, asking, body, {
        "CancelKeyDeletion" => keys::cancel_key_deletion,
        "CreateGrant" => access::create_grant,
        "CreateKey" => keys::create_key,
        "Decrypt" => data::decrypt,
        "DeleteImportedKeyMaterial" => import::delete_imported_key_material,
        "DescribeKey" => keys::describe_key,
        "Encrypt" => data::encrypt,
        "GenerateDataKey" => data::generate_data_key,
        "GenerateDataKeyPair" => data::generate_data_key_pair,
        "GenerateDataKeyPairWithoutPlaintext" => data::generate_data_key_pair_without_plaintext,
        "GenerateDataKeyWithoutPlaintext" => data::generate_data_key_without_plaintext,
        "GenerateMac" => asymmetric::generate_mac,
        "GenerateRandom" => data::generate_random,
        "GetKeyPolicy" => access::get_key_policy,
        "GetKeyRotationStatus" => rotation::get_key_rotation_status,
        "GetParametersForImport" => import::get_parameters_for_import,
        "GetPublicKey" => asymmetric::get_public_key,
        "ImportKeyMaterial" => import::import_key_material,
        "ListAliases" => aliases::list_aliases,
        "ListGrants" => access::list_grants,
        "ListKeyPolicies" => access::list_key_policies,
        "ListKeyRotations" => rotation::list_key_rotations,
        "ListKeys" => keys::list_keys,
        "ListResourceTags" => aliases::list_resource_tags,
        "ListRetirableGrants" => access::list_retirable_grants,
        "ReEncrypt" => data::re_encrypt,
        "RotateKeyOnDemand" => rotation::rotate_key_on_demand,
        "ScheduleKeyDeletion" => keys::schedule_key_deletion,
        "Sign" => asymmetric::sign,
        "Verify" => asymmetric::verify,
        "VerifyMac" => asymmetric::verify_mac,
    }, without answer {
        "CreateAlias" => aliases::create_alias,
        "DeleteAlias" => aliases::delete_alias,
        "DisableKey" => keys::disable_key,
        "DisableKeyRotation" => rotation::disable_key_rotation,
        "EnableKey" => keys::enable_key,
        "EnableKeyRotation" => rotation::enable_key_rotation,
        "PutKeyPolicy" => access::put_key_policy,
        "RetireGrant" => access::retire_grant,
        "RevokeGrant" => access::revoke_grant,
        "TagResource" => aliases::tag_resource,
        "UntagResource" => aliases::untag_resource,
        "UpdateAlias" => aliases::update_alias,
        "UpdateKeyDescription" => keys::update_key_description,
    })
}
