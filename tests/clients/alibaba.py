"""Every operation that Alibaba Cloud's clients have and the service serves, done well."""

import base64
import hashlib
import json
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from adapters import described, make, off_and_on, state


def b64(data):
    return base64.b64encode(data).decode()


def run(call, tag):
    """`call` is a client's; `tag` tells this client's names from another's."""
    key_id = keys(call, tag)
    data(call, key_id)
    names(call, key_id, tag)
    versions(call, key_id)
    access(call, key_id)
    export(call, key_id)
    signing(call)
    encryption(call)
    macs(call)
    imports(call)
    end(call, key_id)


def keys(call, tag):
    key_id = described(call, tag)
    listed = call("ListKeys", {"PageNumber": 1, "PageSize": 100})
    assert key_id in [key["KeyId"] for key in listed["Keys"]["Key"]], listed
    off_and_on(call, key_id)
    if call.has("DescribeRegions"):
        regions = call("DescribeRegions", {})["Regions"]["Region"]
        assert regions[0]["RegionId"], regions
    return key_id


def data(call, key_id):
    context = {"table": "sales", "row": "7 & 8"}
    text = "password=häßlich; 中文 +/%"
    sealed = call("Encrypt", {"KeyId": key_id, "Plaintext": text, "EncryptionContext": context})
    assert sealed["KeyId"] == key_id
    opened = call("Decrypt", {"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionContext": context})
    assert opened["Plaintext"] == text and opened["KeyId"] == key_id, opened
    made = call("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256", "EncryptionContext": context})
    opened = call("Decrypt", {"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": context})
    assert opened["Plaintext"] == made["Plaintext"] and len(base64.b64decode(made["Plaintext"])) == 32
    wrapped = call("GenerateDataKeyWithoutPlaintext", {"KeyId": key_id, "NumberOfBytes": 64})
    assert not wrapped.get("Plaintext")
    opened = call("Decrypt", {"CiphertextBlob": wrapped["CiphertextBlob"]})
    assert len(base64.b64decode(opened["Plaintext"])) == 64
    if call.has("ReEncrypt"):
        re_encrypt(call, sealed["CiphertextBlob"], context, text)


def re_encrypt(call, blob, context, text):
    other = make(call)
    moved = call(
        "ReEncrypt",
        {
            "CiphertextBlob": blob,
            "SourceEncryptionContext": context,
            "DestinationKeyId": other,
        },
    )
    opened = call("Decrypt", {"CiphertextBlob": moved["CiphertextBlob"]})
    assert opened["Plaintext"] == text and opened["KeyId"] == other, opened


def names(call, key_id, tag):
    alias, other = f"alias/{tag}", make(call)
    call("CreateAlias", {"AliasName": alias, "KeyId": key_id})
    assert call("DescribeKey", {"KeyId": alias})["KeyMetadata"]["KeyId"] == key_id
    listed = call("ListAliases", {"PageNumber": 1, "PageSize": 100})["Aliases"]["Alias"]
    assert alias in [one["AliasName"] for one in listed]
    listed = call("ListAliasesByKeyId", {"KeyId": key_id, "PageNumber": 1, "PageSize": 10})["Aliases"]["Alias"]
    assert [one["AliasName"] for one in listed] == [alias], listed
    call("UpdateAlias", {"AliasName": alias, "KeyId": other})
    assert call("DescribeKey", {"KeyId": alias})["KeyMetadata"]["KeyId"] == other
    call("DeleteAlias", {"AliasName": alias})
    tags = json.dumps([{"TagKey": "team", "TagValue": "apollo"}])
    call("TagResource", {"KeyId": key_id, "Tags": tags})
    listed = call("ListResourceTags", {"KeyId": key_id})["Tags"]["Tag"]
    assert [(one["TagKey"], one["TagValue"]) for one in listed] == [("team", "apollo")], listed
    call("UntagResource", {"KeyId": key_id, "TagKeys": json.dumps(["team"])})
    assert call("ListResourceTags", {"KeyId": key_id})["Tags"]["Tag"] == []
    resource_tags(call, key_id)


def resource_tags(call, key_id):
    if not call.has("TagResources"):
        return
    common = {"RegionId": "local", "ResourceType": "key", "ResourceId": [key_id]}
    call("TagResources", {**common, "Tag": [{"Key": "stage", "Value": "test"}]})
    listed = call("ListTagResources", common)["TagResources"]["TagResource"]
    assert [(one["TagKey"], one["TagValue"]) for one in listed] == [("stage", "test")], listed
    call("UntagResources", {**common, "TagKey": ["stage"]})
    assert call("ListTagResources", common)["TagResources"]["TagResource"] == []


def versions(call, key_id):
    old = call("Encrypt", {"KeyId": key_id, "Plaintext": "old"})
    made = call("CreateKeyVersion", {"KeyId": key_id})["KeyVersion"]
    assert call("Encrypt", {"KeyId": key_id, "Plaintext": "new"})["KeyVersionId"] == made["KeyVersionId"]
    assert call("Decrypt", {"CiphertextBlob": old["CiphertextBlob"]})["Plaintext"] == "old"
    listed = call("ListKeyVersions", {"KeyId": key_id, "PageNumber": 1, "PageSize": 10})
    assert listed["TotalCount"] == 2, listed
    told = call("DescribeKeyVersion", {"KeyId": key_id, "KeyVersionId": made["KeyVersionId"]})["KeyVersion"]
    assert told["KeyId"] == key_id and told["CreationDate"], told
    call("UpdateRotationPolicy", {"KeyId": key_id, "EnableAutomaticRotation": True, "RotationInterval": "30d"})
    told = call("DescribeKey", {"KeyId": key_id})["KeyMetadata"]
    assert told["AutomaticRotation"] == "Enabled" and told["RotationInterval"], told


def access(call, key_id):
    if call.has("GetKeyPolicy"):
        policy = json.loads(call("GetKeyPolicy", {"KeyId": key_id, "PolicyName": "default"})["Policy"])
        assert policy["Statement"], policy
        call("SetKeyPolicy", {"KeyId": key_id, "PolicyName": "default", "Policy": json.dumps(policy)})


def export(call, key_id):
    if not call.has("GenerateAndExportDataKey"):
        return
    own = rsa.generate_private_key(65537, 2048)
    public = own.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    wrapping = {
        "PublicKeyBlob": b64(public),
        "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
        "WrappingKeySpec": "RSA_2048",
    }
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    made = call("GenerateAndExportDataKey", {"KeyId": key_id, "KeySpec": "AES_256", **wrapping})
    key = own.decrypt(base64.b64decode(made["ExportedDataKey"]), oaep)
    again = call("ExportDataKey", {"CiphertextBlob": made["CiphertextBlob"], **wrapping})
    assert own.decrypt(base64.b64decode(again["ExportedDataKey"]), oaep) == key and len(key) == 32


def asymmetric(call, spec, usage):
    key_id = make(call, KeySpec=spec, KeyUsage=usage)
    listed = call("ListKeyVersions", {"KeyId": key_id, "PageNumber": 1, "PageSize": 10})
    return {"KeyId": key_id, "KeyVersionId": listed["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]}


def signing(call):
    version = asymmetric(call, "RSA_2048", "SIGN/VERIFY")
    pem = call("GetPublicKey", version)["PublicKey"]
    digest = hashlib.sha256(b"a document").digest()
    asked = {**version, "Algorithm": "RSA_PSS_SHA_256", "Digest": b64(digest)}
    signature = call("AsymmetricSign", asked)["Value"]
    public = serialization.load_pem_public_key(pem.encode())
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
    public.verify(base64.b64decode(signature), digest, pss, Prehashed(hashes.SHA256()))
    assert call("AsymmetricVerify", {**asked, "Value": signature})["Value"] is True
    other = b64(hashlib.sha256(b"another").digest())
    assert call("AsymmetricVerify", {**asked, "Digest": other, "Value": signature})["Value"] is False


def encryption(call):
    version = asymmetric(call, "RSA_2048", "ENCRYPT/DECRYPT")
    asked = {**version, "Algorithm": "RSAES_OAEP_SHA_256"}
    sealed = call("AsymmetricEncrypt", {**asked, "Plaintext": b64(b"small")})["CiphertextBlob"]
    opened = call("AsymmetricDecrypt", {**asked, "CiphertextBlob": sealed})["Plaintext"]
    assert base64.b64decode(opened) == b"small"


def macs(call):
    if not call.has("GenerateMac"):
        return
    key_id = make(call, KeySpec="HMAC", KeyUsage="GENERATE/VERIFY")
    asked = {"KeyId": key_id, "Message": b64(b"message"), "Algorithm": "HMAC_SHA_256"}
    mac = call("GenerateMac", asked)["Mac"]
    assert call("VerifyMac", {**asked, "Mac": mac})["Value"] is True


def imports(call):
    key_id = make(call, Origin="EXTERNAL")
    assert state(call, key_id) == "PendingImport"
    asked = {"KeyId": key_id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    told = call("GetParametersForImport", asked)
    public = serialization.load_der_public_key(base64.b64decode(told["PublicKey"]))
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = public.encrypt(os.urandom(32), oaep)
    given = {
        "KeyId": key_id,
        "EncryptedKeyMaterial": b64(wrapped),
        "ImportToken": told["ImportToken"],
        "KeyMaterialExpireUnix": 0,
    }
    call("ImportKeyMaterial", given)
    sealed = call("Encrypt", {"KeyId": key_id, "Plaintext": "by own key"})["CiphertextBlob"]
    assert call("Decrypt", {"CiphertextBlob": sealed})["Plaintext"] == "by own key"
    call("DeleteKeyMaterial", {"KeyId": key_id})
    assert state(call, key_id) == "PendingImport"


def end(call, key_id):
    if call.has("SetDeletionProtection"):
        name = call("DescribeKey", {"KeyId": key_id})["KeyMetadata"]["Arn"]
        protect = {"ProtectedResourceArn": name, "EnableDeletionProtection": True}
        call("SetDeletionProtection", protect)
        assert call("DescribeKey", {"KeyId": key_id})["KeyMetadata"]["DeletionProtection"] == "Enabled"
        call("SetDeletionProtection", {**protect, "EnableDeletionProtection": False})
    call("ScheduleKeyDeletion", {"KeyId": key_id, "PendingWindowInDays": 7})
    assert state(call, key_id) == "PendingDeletion"
    call("CancelKeyDeletion", {"KeyId": key_id})
    assert state(call, key_id) in ("Enabled", "Disabled")
