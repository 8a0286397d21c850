"""Bulk data under a data key that is kept, encrypted, in front of it (envelope encryption).

    sales-by-envelope.py encrypt sales.csv sales.csv.cipher
    sales-by-envelope.py decrypt sales.csv.cipher decrypted_sales.csv

The file: the length of the encrypted data key (4 bytes, big-endian), that key, a nonce of 12 bytes, AES-256-GCM.
"""

import base64
import json
import os
import struct
import sys

from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkkms.request.v20160120 import (
    CreateAliasRequest,
    CreateKeyRequest,
    DecryptRequest,
    DescribeKeyRequest,
    GenerateDataKeyRequest,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ALIAS = "alias/sales"
CONTEXT = json.dumps({"table": "sales"})


def connect():
    _, port = os.environ["ENVELOPEKMS_ENDPOINT"].rsplit(":", 1)
    return AcsClient(
        os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"],
        os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
        "cn-hangzhou",
        port=int(port),
        verify=os.environ["ENVELOPEKMS_CA"],
    )


def call(client, request):
    host, _ = os.environ["ENVELOPEKMS_ENDPOINT"].rsplit(":", 1)
    request.set_endpoint(host)
    request.set_protocol_type("https")
    request.set_accept_format("json")
    return json.loads(client.do_action_with_exception(request))


def make_key(client):
    describe = DescribeKeyRequest.DescribeKeyRequest()
    describe.set_KeyId(ALIAS)
    try:
        call(client, describe)
        return
    except ServerException as error:
        if error.get_error_code() != "Forbidden.AliasNotFound":
            raise
    key = call(client, CreateKeyRequest.CreateKeyRequest())["KeyMetadata"]["KeyId"]
    alias = CreateAliasRequest.CreateAliasRequest()
    alias.set_AliasName(ALIAS)
    alias.set_KeyId(key)
    call(client, alias)


def encrypt(client, source, target):
    make_key(client)
    request = GenerateDataKeyRequest.GenerateDataKeyRequest()
    request.set_KeyId(ALIAS)
    request.set_KeySpec("AES_256")
    request.set_EncryptionContext(CONTEXT)
    data_key = call(client, request)
    wrapped = data_key["CiphertextBlob"].encode()
    nonce = os.urandom(12)
    with open(source, "rb") as plain, open(target, "wb") as cipher:
        sealed = AESGCM(base64.b64decode(data_key["Plaintext"])).encrypt(nonce, plain.read(), wrapped)
        cipher.write(struct.pack(">I", len(wrapped)) + wrapped + nonce + sealed)


def decrypt(client, source, target):
    with open(source, "rb") as cipher:
        (length,) = struct.unpack(">I", cipher.read(4))
        wrapped, nonce, sealed = cipher.read(length), cipher.read(12), cipher.read()
    request = DecryptRequest.DecryptRequest()
    request.set_CiphertextBlob(wrapped.decode())
    request.set_EncryptionContext(CONTEXT)
    data_key = base64.b64decode(call(client, request)["Plaintext"])
    with open(target, "wb") as plain:
        plain.write(AESGCM(data_key).decrypt(nonce, sealed, wrapped))


if __name__ == "__main__":
    {"encrypt": encrypt, "decrypt": decrypt}[sys.argv[1]](connect(), sys.argv[2], sys.argv[3])
