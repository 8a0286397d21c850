//! What the pages' scripts may ask, by name.

use super::{Asking, Done, UNKNOWN, WebError, access, calls, keys, people, run};

macro_rules! operations {
    ($name:expr, $asking:expr, $body:expr, { $($op:literal => $done:path,)* }) => {
        match $name {
            $($op => ($op, run($asking, $body, $done).await),)*
            _ => (UNKNOWN, Err(WebError::no_such_path())),
        }
    };
}

pub(super) async fn dispatch(name: &str, asking: Asking<'_>, body: &[u8]) -> (&'static str, Done) {
    operations!(name, asking, body, {
        "CancelKeyDeletion" => keys::cancel_key_deletion,
        "CreateAccessKey" => people::create_access_key,
        "CreateAlias" => keys::create_alias,
        "CreateGrant" => access::create_grant,
        "CreateKey" => keys::create_key,
        "CreatePrincipal" => people::create_principal,
        "DeleteAccessKey" => people::delete_access_key,
        "DeleteAlias" => keys::delete_alias,
        "DeletePrincipal" => people::delete_principal,
        "DisableKey" => keys::disable_key,
        "EnableKey" => keys::enable_key,
        "GetKey" => keys::get_key,
        "ListCalls" => calls::list_calls,
        "ListKeys" => keys::list_keys,
        "ListPrincipals" => people::list_principals,
        "PutKeyPolicy" => access::put_key_policy,
        "PutPrincipalPolicy" => people::put_principal_policy,
        "RevokeGrant" => access::revoke_grant,
        "RotateKey" => keys::rotate_key,
        "ScheduleKeyDeletion" => keys::schedule_key_deletion,
        "SetAccessKeyEnabled" => people::set_access_key_enabled,
        "SetKeyVersionEnabled" => keys::set_key_version_enabled,
        "TagKey" => keys::tag_key,
        "UntagKey" => keys::untag_key,
        "UpdateKeyDescription" => keys::update_key_description,
        "UpdateRotation" => keys::update_rotation,
    })
}
