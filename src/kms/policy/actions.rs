//! The names that an action has: the operation's own, and those under which either cloud's policies know it.

/// Other names of an action. A statement that names one of them means the action.
#[must_use]
pub fn other_names(action: &str) -> &'static [&'static str] {
    match action {
        "AsymmetricDecrypt" => &["Decrypt"],
        "AsymmetricEncrypt" => &["Encrypt"],
        "CreateKeyVersion" => &["RotateKeyOnDemand"],
        "DeleteKeyMaterial" => &["DeleteImportedKeyMaterial"],
        "DisableKeyRotation" | "EnableKeyRotation" => &["UpdateRotation", "UpdateRotationPolicy"],
        "GenerateDataKeyPairWithoutPlaintext" => &["GenerateDataKeyPair"],
        "GetKeyRotationStatus" => &["DescribeKey"],
        "ListAliases" => &["ListAliasesByKeyId"],
        "ListResourceTags" => &["ListTagResources"],
        "PutKeyPolicy" => &["SetKeyPolicy"],
        "ReEncryptFrom" | "ReEncryptTo" => &["ReEncrypt"],
        "RotateKeyOnDemand" => &["CreateKeyVersion"],
        "Sign" => &["AsymmetricSign"],
        "TagResource" => &["TagResources"],
        "UntagResource" => &["UntagResources"],
        "Verify" => &["AsymmetricVerify"],
        _ => &[],
    }
}

/// Whether `wanted` says yes to the action under one of its names.
pub(super) fn any_name(action: &str, wanted: impl Fn(&str) -> bool) -> bool {
    wanted(action) || other_names(action).iter().any(|name| wanted(name))
}

/// What a grant can be for (AWS KMS, "Grant operations"), under the names of either cloud.
pub const GRANTABLE: &[&str] = &[
    "AsymmetricDecrypt",
    "AsymmetricEncrypt",
    "AsymmetricSign",
    "AsymmetricVerify",
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "ExportDataKey",
    "GenerateAndExportDataKey",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetPublicKey",
    "ReEncryptFrom",
    "ReEncryptTo",
    "RetireGrant",
    "Sign",
    "Verify",
    "VerifyMac",
];

/// Of [`GRANTABLE`], names that are only another spelling of an action.
const SPELLINGS: &[&str] = &["AsymmetricSign", "AsymmetricVerify"];

/// The actions that a grant for this operation allows.
pub(super) fn allowed_by(operation: &str) -> impl Iterator<Item = &'static str> {
    let actions = GRANTABLE.iter().filter(|name| !SPELLINGS.contains(name));
    actions
        .copied()
        .filter(move |action| any_name(action, |name| name == operation))
}
