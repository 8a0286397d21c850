//! The names that an action has: the operation's own, and those under which either cloud's policies know it.

/// Other names of an action. A statement that names one of them means the action.
#[must_use]
pub fn other_names(action: &str) -> &'static [&'static str] {
    match action {
        "AsymmetricDecrypt" => &["Decrypt"],
        "AsymmetricEncrypt" => &["Encrypt"],
        "CreateKeyVersion" => &["RotateKeyOnDemand"],
        "DeleteKeyMaterial" => &["DeleteImportedKeyMaterial"],
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
        "UpdateRotation" => &[
            "DisableKeyRotation",
            "EnableKeyRotation",
            "UpdateRotationPolicy",
        ],
        "Verify" => &["AsymmetricVerify"],
        _ => &[],
    }
}

/// Whether `wanted` says yes to the action under one of its names.
pub(super) fn any_name(action: &str, wanted: impl Fn(&str) -> bool) -> bool {
    wanted(action) || other_names(action).iter().any(|name| wanted(name))
}

/// What a grant can be for (AWS KMS, "Grant operations"), under the names of either cloud. Not `CreateGrant`: who holds
/// a grant could give more than was given.
pub const GRANTABLE: &[&str] = &[
    "AsymmetricDecrypt",
    "AsymmetricEncrypt",
    "AsymmetricSign",
    "AsymmetricVerify",
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
