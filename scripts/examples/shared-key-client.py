"""The other half of shared-key-server.js: gets the message, has its key opened by the key service, opens it.

    shared-key-client.py PORT        writes the message to its standard output
"""

import base64
import json
import sys
import urllib.request

from alibaba_client import connect
from alibabacloud_kms20160120 import models
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

with urllib.request.urlopen(f"http://127.0.0.1:{int(sys.argv[1])}/", timeout=10) as answer:
    message = json.load(answer)
opened = connect().decrypt(models.DecryptRequest(ciphertext_blob=message["wrappedKey"]))
key = base64.b64decode(opened.body.plaintext)
nonce, sealed = (base64.b64decode(message[name]) for name in ("nonce", "sealed"))
sys.stdout.buffer.write(AESGCM(key).decrypt(nonce, sealed, None))
