"""Configuration and a TLS private key, encrypted by the key service itself (up to 6 KB each).

    config-and-tls-key.py encrypt certs/key.pem      writes certs/key.pem.cipher
    config-and-tls-key.py decrypt certs/key.pem      writes certs/key.pem from it, as a server does when it starts
"""

import os
import sys

from alibaba_client import connect
from alibabacloud_kms20160120 import models
from Tea.exceptions import TeaException

ALIAS = "alias/Apollo/WorkKey"


def make_key(client):
    """Makes a key with the alias, unless there is one."""
    try:
        client.describe_key(models.DescribeKeyRequest(key_id=ALIAS))
    except TeaException as error:
        if error.code != "Forbidden.AliasNotFound":
            raise
        made = client.create_key(models.CreateKeyRequest(description="configuration of Apollo"))
        key_id = made.body.key_metadata.key_id
        client.create_alias(models.CreateAliasRequest(alias_name=ALIAS, key_id=key_id))


def encrypt(client, path):
    make_key(client)
    with open(path, encoding="utf-8") as plain:
        request = models.EncryptRequest(key_id=ALIAS, plaintext=plain.read())
    with open(path + ".cipher", "w", encoding="ascii") as cipher:
        cipher.write(client.encrypt(request).body.ciphertext_blob)


def decrypt(client, path):
    with open(path + ".cipher", encoding="ascii") as cipher:
        request = models.DecryptRequest(ciphertext_blob=cipher.read())
    plaintext = client.decrypt(request).body.plaintext
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as plain:
        plain.write(plaintext)


if __name__ == "__main__":
    {"encrypt": encrypt, "decrypt": decrypt}[sys.argv[1]](connect(), sys.argv[2])
