"""The plain REST API, with hash and timestamp: no SDK of anybody.

    rest.py encrypt sales.csv sales.csv.rest       the service makes an AES key, encrypts and wraps it
    rest.py seal sales.csv sales.csv.rest          the same by this program alone, with the public key: the service sees nothing
    rest.py decrypt sales.csv.rest sales.csv       the service decrypts either
"""

import base64
import hashlib
import http.client
import json
import os
import secrets
import ssl
import sys
import time
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = os.environ.get("ENVELOPEKMS_REST_KEY", "alias/app/rest")


class Refused(Exception):
    """What the service answers when it does not do something: its code, its words, its request id."""

    def __init__(self, body):
        super().__init__(f"{body['code']}: {body['message']} ({body['request_id']})")
        self.code = body["code"]


def ask(method, path, members=None):
    context = ssl.create_default_context(cafile=os.environ["ENVELOPEKMS_CA"])
    connection = http.client.HTTPSConnection(os.environ["ENVELOPEKMS_ENDPOINT"], context=context, timeout=30)
    access_key = f"{os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}"
    headers = {"Authorization": "Basic " + base64.b64encode(access_key.encode()).decode()}
    connection.request(method, path, json.dumps(members) if members else None, headers)
    answer = connection.getresponse()
    body = json.load(answer)
    if answer.status != 200:
        raise Refused(body)
    return body


def fresh(data):
    """What makes a request count once: now, never before, and with nothing changed on the way."""
    return {
        "timestamp": time.time(),
        "nonce": secrets.token_urlsafe(24),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def encrypt(plaintext):
    """The service makes an AES key, encrypts with it and wraps it."""
    members = {"key": KEY, "plaintext": base64.b64encode(plaintext).decode(), **fresh(plaintext)}
    return ask("POST", "/encrypt", members)


def encrypt_alone(plaintext):
    """The same without showing the plaintext to anybody: the public key is enough."""
    public = ask("GET", "/keys/public?key=" + quote(KEY, safe=""))
    data_key, nonce = secrets.token_bytes(32), secrets.token_bytes(12)
    aad = "\0".join(["envelopekms-rest-v1", public["key"], public["version"]]).encode()
    ciphertext = nonce + AESGCM(data_key).encrypt(nonce, plaintext, aad)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    rsa = serialization.load_pem_public_key(public["public_key"].encode())
    return {
        "key": public["key"],
        "version": public["version"],
        "ciphertext": base64.b64encode(ciphertext).decode(),
        "wrapped_key": base64.b64encode(rsa.encrypt(data_key, oaep)).decode(),
    }


def decrypt(sealed):
    ciphertext = base64.b64decode(sealed["ciphertext"])
    members = {name: sealed[name] for name in ("key", "version", "ciphertext", "wrapped_key")}
    opened = ask("POST", "/decrypt", {**members, **fresh(ciphertext)})
    plaintext = base64.b64decode(opened["plaintext"])
    if hashlib.sha256(plaintext).hexdigest() != opened["sha256"]:
        raise ValueError("the plaintext is not what the service sent")
    return plaintext


def make_key():
    """Makes an RSA key with the alias, unless there is one. Making keys is for the SDKs; here AWS's."""
    try:
        ask("GET", "/keys/public?key=" + quote(KEY, safe=""))
    except Refused as refused:
        if refused.code not in ("AliasNotFound", "KeyNotFound"):
            raise
        import boto3

        kms = boto3.client("kms")
        made = kms.create_key(KeySpec="RSA_3072", KeyUsage="ENCRYPT_DECRYPT", Description="programs that speak REST")
        kms.create_alias(AliasName=KEY, TargetKeyId=made["KeyMetadata"]["KeyId"])


def main(command, source, target):
    with open(source, "rb") as file:
        data = file.read()
    if command == "decrypt":
        data = decrypt(json.loads(data))
    else:
        make_key()
        sealed = {"encrypt": encrypt, "seal": encrypt_alone}[command](data)
        data = json.dumps(sealed).encode()
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
