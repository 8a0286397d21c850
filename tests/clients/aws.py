"""Every operation that AWS's clients have and the service serves, done well."""

import hashlib
import json
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from adapters import described, make, off_and_on, state


def run(call, tag):
    """`call` is a client's; `tag` tells this client's names from another's."""
    key_id = keys(call, tag)
    data(call, key_id)
    pairs(call, key_id)
    names(call, key_id, tag)
    rotation(call, key_id)
    access(call, key_id)
    signing(call)
    macs(call)
    imports(call)
    end(call, key_id)


def keys(call, tag):
    key_id = described(call, tag)
    listed = call("ListKeys", {"Limit": 1000})["Keys"]
    assert key_id in [key["KeyId"] for key in listed], listed
    off_and_on(call, key_id)
    assert len(call("GenerateRandom", {"NumberOfBytes": 33})["Plaintext"]) == 33
    return key_id


def data(call, key_id):
    context, plain = {"table": "sales", "row": "7 & 8"}, bytes(range(256))
    sealed = call("Encrypt", {"KeyId": key_id, "Plaintext": plain, "EncryptionContext": context})
    opened = call("Decrypt", {"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionContext": context})
    assert opened["Plaintext"] == plain and opened["KeyId"].endswith(key_id), opened
    made = call("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256", "EncryptionContext": context})
    opened = call("Decrypt", {"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": context})
    assert opened["Plaintext"] == made["Plaintext"] and len(made["Plaintext"]) == 32
    wrapped = call("GenerateDataKeyWithoutPlaintext", {"KeyId": key_id, "NumberOfBytes": 64})
    assert "Plaintext" not in wrapped
    assert len(call("Decrypt", {"CiphertextBlob": wrapped["CiphertextBlob"]})["Plaintext"]) == 64
    other = make(call)
    moved = call(
        "ReEncrypt",
        {
            "CiphertextBlob": sealed["CiphertextBlob"],
            "SourceEncryptionContext": context,
            "DestinationKeyId": other,
        },
    )
    opened = call("Decrypt", {"CiphertextBlob": moved["CiphertextBlob"], "KeyId": other})
    assert opened["Plaintext"] == plain


def pairs(call, key_id):
    made = call("GenerateDataKeyPair", {"KeyId": key_id, "KeyPairSpec": "ECC_NIST_P256"})
    private = serialization.load_der_private_key(made["PrivateKeyPlaintext"], None)
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public == made["PublicKey"]
    opened = call("Decrypt", {"CiphertextBlob": made["PrivateKeyCiphertextBlob"]})
    assert opened["Plaintext"] == made["PrivateKeyPlaintext"]
    made = call("GenerateDataKeyPairWithoutPlaintext", {"KeyId": key_id, "KeyPairSpec": "ECC_NIST_P256"})
    assert "PrivateKeyPlaintext" not in made and made["PublicKey"]


def names(call, key_id, tag):
    alias, other = f"alias/{tag}", make(call)
    call("CreateAlias", {"AliasName": alias, "TargetKeyId": key_id})
    assert call("DescribeKey", {"KeyId": alias})["KeyMetadata"]["KeyId"] == key_id
    listed = call("ListAliases", {"KeyId": key_id})["Aliases"]
    assert [one["AliasName"] for one in listed] == [alias], listed
    call("UpdateAlias", {"AliasName": alias, "TargetKeyId": other})
    assert call("DescribeKey", {"KeyId": alias})["KeyMetadata"]["KeyId"] == other
    call("DeleteAlias", {"AliasName": alias})
    tag_of_key = {"TagKey": "team", "TagValue": "apollo"}
    call("TagResource", {"KeyId": key_id, "Tags": [tag_of_key]})
    assert call("ListResourceTags", {"KeyId": key_id})["Tags"] == [tag_of_key]
    call("UntagResource", {"KeyId": key_id, "TagKeys": ["team"]})
    assert call("ListResourceTags", {"KeyId": key_id})["Tags"] == []


def rotation(call, key_id):
    old = call("Encrypt", {"KeyId": key_id, "Plaintext": b"old"})["CiphertextBlob"]
    call("EnableKeyRotation", {"KeyId": key_id, "RotationPeriodInDays": 100})
    told = call("GetKeyRotationStatus", {"KeyId": key_id})
    assert told["KeyRotationEnabled"] is True and told["RotationPeriodInDays"] == 100, told
    call("DisableKeyRotation", {"KeyId": key_id})
    assert call("GetKeyRotationStatus", {"KeyId": key_id})["KeyRotationEnabled"] is False
    call("RotateKeyOnDemand", {"KeyId": key_id})
    listed = call("ListKeyRotations", {"KeyId": key_id})["Rotations"]
    assert listed and listed[-1]["RotationType"] == "ON_DEMAND", listed
    assert call("Decrypt", {"CiphertextBlob": old})["Plaintext"] == b"old"


def access(call, key_id):
    assert call("ListKeyPolicies", {"KeyId": key_id})["PolicyNames"] == ["default"]
    policy = json.loads(call("GetKeyPolicy", {"KeyId": key_id, "PolicyName": "default"})["Policy"])
    call("PutKeyPolicy", {"KeyId": key_id, "PolicyName": "default", "Policy": json.dumps(policy)})
    arn = call("DescribeKey", {"KeyId": key_id})["KeyMetadata"]["Arn"]
    account = arn.split(":")[4]
    admin, guest = (f"arn:aws:iam::{account}:user/{name}" for name in ("admin", "guest"))
    asked = {"KeyId": key_id, "GranteePrincipal": guest, "RetiringPrincipal": admin, "Operations": ["Decrypt"]}
    first, second = (call("CreateGrant", {**asked, "Name": name}) for name in ("first", "second"))
    listed = call("ListGrants", {"KeyId": key_id})["Grants"]
    assert {one["GrantId"] for one in listed} == {first["GrantId"], second["GrantId"]}, listed
    listed = call("ListRetirableGrants", {"RetiringPrincipal": admin})["Grants"]
    assert {first["GrantId"], second["GrantId"]} <= {one["GrantId"] for one in listed}, listed
    call("RevokeGrant", {"KeyId": key_id, "GrantId": first["GrantId"]})
    call("RetireGrant", {"GrantToken": second["GrantToken"]})
    assert call("ListGrants", {"KeyId": key_id})["Grants"] == []


def signing(call):
    key_id = make(call, KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    public = serialization.load_der_public_key(call("GetPublicKey", {"KeyId": key_id})["PublicKey"])
    digest = hashlib.sha256(b"a document").digest()
    asked = {
        "KeyId": key_id,
        "Message": digest,
        "MessageType": "DIGEST",
        "SigningAlgorithm": "RSASSA_PSS_SHA_256",
    }
    signature = call("Sign", asked)["Signature"]
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
    public.verify(signature, digest, pss, Prehashed(hashes.SHA256()))
    assert call("Verify", {**asked, "Signature": signature})["SignatureValid"] is True


def macs(call):
    key_id = make(call, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    asked = {"KeyId": key_id, "Message": b"message", "MacAlgorithm": "HMAC_SHA_256"}
    mac = call("GenerateMac", asked)["Mac"]
    assert call("VerifyMac", {**asked, "Mac": mac})["MacValid"] is True


def imports(call):
    key_id = make(call, Origin="EXTERNAL")
    assert state(call, key_id) == "PendingImport"
    asked = {"KeyId": key_id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    told = call("GetParametersForImport", asked)
    public = serialization.load_der_public_key(told["PublicKey"])
    wrapped = public.encrypt(os.urandom(32), padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    given = {
        "KeyId": key_id,
        "EncryptedKeyMaterial": wrapped,
        "ImportToken": told["ImportToken"],
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
    call("ImportKeyMaterial", given)
    sealed = call("Encrypt", {"KeyId": key_id, "Plaintext": b"by own key"})["CiphertextBlob"]
    assert call("Decrypt", {"CiphertextBlob": sealed})["Plaintext"] == b"by own key"
    call("DeleteImportedKeyMaterial", {"KeyId": key_id})
    assert state(call, key_id) == "PendingImport"


def end(call, key_id):
    call("ScheduleKeyDeletion", {"KeyId": key_id, "PendingWindowInDays": 7})
    assert state(call, key_id) == "PendingDeletion"
    call("CancelKeyDeletion", {"KeyId": key_id})
    assert state(call, key_id) == "Disabled"
