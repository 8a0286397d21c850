"""What clients are told when they may not: each case is asked for by the client itself."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

from adapters import ALIBABA, Refused, faketime

# What each cloud documents for it: the code and the status of HTTP.
EXPECTED = {
    "wrong secret": (("SignatureDoesNotMatch", 400), ("InvalidSignatureException", 400)),
    "unknown access key": (("InvalidAccessKeyId.NotFound", 404), ("UnrecognizedClientException", 400)),
    "disabled access key": (("Forbidden.AccessKey", 403), ("UnrecognizedClientException", 400)),
    "stale: signed 20 minutes ago": (("InvalidTimeStamp.Expired", 400), ("InvalidSignatureException", 400)),
    "replayed": (("SignatureNonceUsed", 400), ("InvalidSignatureException", 400)),
    "no permission": (("Forbidden.NoPermission", 403), ("AccessDeniedException", 400)),
    "no such key": (("Forbidden.KeyNotFound", 404), ("NotFoundException", 400)),
    "no such alias": (("Forbidden.AliasNotFound", 404), ("NotFoundException", 400)),
    "disabled key": (("Rejected.Disabled", 409), ("DisabledException", 400)),
    "key to be deleted": (("Rejected.PendingDeletion", 409), ("KMSInvalidStateException", 400)),
    "key without material": (("Rejected.PendingImport", 409), ("KMSInvalidStateException", 400)),
    "wrong context": (("InvalidParameter", 400), ("InvalidCiphertextException", 400)),
    "no context": (("InvalidParameter", 400), ("InvalidCiphertextException", 400)),
    "changed ciphertext": (("InvalidParameter", 400), ("InvalidCiphertextException", 400)),
    "plaintext over the limit": (("InvalidParameter", 400), ("ValidationException", 400)),
    "alias that is taken": (("AliasAlreadyExists", 400), ("AlreadyExistsException", 400)),
    "key for something else": (("Rejected.UnsupportedOperation", 400), ("InvalidKeyUsageException", 400)),
}
STALE = "stale: signed 20 minutes ago"
REPLAYED = "replayed"


def expected(adapter, case):
    return EXPECTED[case][0 if adapter in ALIBABA else 1]


@contextlib.contextmanager
def connected(adapter, place):
    client = adapter(place)
    try:
        yield client
    finally:
        client.close()


def told(adapter, place, operation, parameters):
    """The code and status of a refusal; what was answered, if it was none."""
    with connected(adapter, place) as client:
        try:
            return ("answered", str(client.call(operation, parameters))[:200])
        except Refused as error:
            return (error.code, error.status)


class Cases:
    """The keys that the cases need, made by the client itself."""

    def __init__(self, adapter, place, guest, tag):
        self.adapter, self.place, self.guest, self.tag = adapter, place, guest, tag
        self.is_alibaba = adapter in ALIBABA
        with connected(adapter, place) as client:
            self.prepare(client.call)

    def prepare(self, call):
        def make(**parameters):
            return call("CreateKey", parameters)["KeyMetadata"]["KeyId"]

        self.key, self.disabled, self.deleted = make(), make(), make()
        self.empty = make(Origin="EXTERNAL")
        self.signer = make(KeySpec="RSA_2048", KeyUsage="SIGN/VERIFY" if self.is_alibaba else "SIGN_VERIFY")
        self.alias = f"alias/refusals-{self.tag}"
        call("CreateAlias", {"AliasName": self.alias, self.target: self.key})
        sealed = {"KeyId": self.key, "Plaintext": self.text("secret"), "EncryptionContext": {"a": "b"}}
        self.blob = call("Encrypt", sealed)["CiphertextBlob"]
        call("DisableKey", {"KeyId": self.disabled})
        call("ScheduleKeyDeletion", {"KeyId": self.deleted, "PendingWindowInDays": 7})

    @property
    def target(self):
        return "KeyId" if self.is_alibaba else "TargetKeyId"

    def text(self, text):
        return text if self.is_alibaba else text.encode()

    def changed(self):
        at = len(self.blob) // 2
        if self.is_alibaba:
            return self.blob[:at] + ("A" if self.blob[at] != "A" else "B") + self.blob[at + 1 :]
        return self.blob[:at] + bytes([self.blob[at] ^ 1]) + self.blob[at + 1 :]

    def simple(self):
        """Cases of one call with the right access key."""
        no_key = "00000000-0000-4000-8000-000000000000"
        limit = 6144 if self.is_alibaba else 4096
        data_key = lambda key: ("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"})
        decrypt = lambda blob, **context: ("Decrypt", {"CiphertextBlob": blob, **context})
        return {
            "no such key": ("DescribeKey", {"KeyId": no_key}),
            "no such alias": ("DescribeKey", {"KeyId": "alias/no-such-" + self.tag}),
            "disabled key": data_key(self.disabled),
            "key to be deleted": data_key(self.deleted),
            "key without material": data_key(self.empty),
            "wrong context": decrypt(self.blob, EncryptionContext={"a": "c"}),
            "no context": decrypt(self.blob),
            "changed ciphertext": decrypt(self.changed(), EncryptionContext={"a": "b"}),
            "plaintext over the limit": ("Encrypt", {"KeyId": self.key, "Plaintext": self.text("x" * (limit + 1))}),
            "alias that is taken": ("CreateAlias", {"AliasName": self.alias, self.target: self.key}),
            "key for something else": data_key(self.signer),
        }

    def run(self):
        describe = ("DescribeKey", {"KeyId": self.key})
        data_key = ("GenerateDataKey", {"KeyId": self.key, "KeySpec": "AES_256"})
        ask = lambda place, call: told(self.adapter, place, *call)
        results = {case: ask(self.place, call) for case, call in self.simple().items()}
        results["wrong secret"] = ask(self.place.changed(secret=self.place.secret[::-1]), describe)
        results["unknown access key"] = ask(self.place.changed(key_id="EKMS" + "A" * 16), describe)
        results["no permission"] = ask(self.guest, data_key)
        results[STALE] = self.stale()
        return results

    def stale(self):
        done = elsewhere(self.adapter, self.place, ("DescribeKey", {"KeyId": self.key}), behind="20m")
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        code, status = done.stdout.split()[-2:]
        return (code, int(status))


def elsewhere(adapter, place, call, behind=None):
    """A call by another process, whose clock may be behind."""
    operation, parameters = call
    environment = {**os.environ, "KMS_BEHIND": behind if behind and adapter.is_process else ""}
    clock = [] if adapter.is_process else faketime(behind)
    command = [*clock, sys.executable, pathlib.Path(__file__), adapter.__name__, place.address, place.ca, place.key_id,
               operation, json.dumps(parameters)]  # fmt: skip
    # The secret comes by stdin: every user of the machine may read a command line.
    return subprocess.run(
        command, env=environment, input=place.secret, capture_output=True, text=True, timeout=120, check=False
    )


def main():
    import adapters

    name, address, ca, key_id, operation, parameters = sys.argv[1:]
    place = adapters.Place(address, ca or None, key_id, sys.stdin.read())
    print(*told(getattr(adapters, name), place, operation, json.loads(parameters)))


if __name__ == "__main__":
    main()
