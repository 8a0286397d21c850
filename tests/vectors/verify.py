#!/usr/bin/env python3
"""An independent reader of the format's test vectors, written from docs/FORMAT.md.

It shares no code with the Rust implementation: Python's standard library and the package
`cryptography` (OpenSSL). Every must-pass case must open to what it says, every must-fail case
that it knows how to read must be refused. Usage: python3 tests/vectors/verify.py
"""

import base64
import hashlib
import hmac
import json
import pathlib
import re
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

HERE = pathlib.Path(__file__).parent


class Refused(Exception):
    """The bytes are not what the format allows, or not authentic."""


def need(condition, why):
    if not condition:
        raise Refused(why)


def un(text):
    return bytes.fromhex(text)


def hkdf(ikm, salt, label):
    prk = hmac.digest(salt, ikm, "sha256")
    return hmac.digest(prk, b"envelopefs/v1/" + label.encode() + b"\x01", "sha256")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def un64(text):
    need(re.fullmatch(r"[A-Za-z0-9_-]*", text) and len(text) % 4 != 1, "alphabet")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(b64(data) == text, "not canonical")
    return data


def xaes_key(key, nonce):
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    top = int.from_bytes(aes.update(bytes(16)), "big")
    k1 = (top << 1 ^ (0x87 if top >> 127 else 0)) & (1 << 128) - 1
    block = lambda i: int.from_bytes(bytes([0, i]) + b"X\0" + nonce[:12], "big") ^ k1
    return b"".join(aes.update(block(i).to_bytes(16, "big")) for i in (1, 2))


def xaes_open(key, nonce, tag, data, aad):
    need(len(nonce) == 24 and len(tag) == 16, "short")
    try:
        return AESGCM(xaes_key(key, nonce)).decrypt(nonce[12:], data + tag, aad or None)
    except InvalidTag:
        raise Refused("forged")


def siv_open(key, aad, data):
    need(len(data) >= 16, "short")
    try:
        # AESSIV refuses an empty plaintext, which S2V defines; no vector that must pass has one.
        return AESSIV(key).decrypt(data, [aad])
    except (InvalidTag, ValueError):
        raise Refused("forged")


class Volume:
    def __init__(self, case):
        self.key, self.id = un(case["volume_key"]), un(case.get("volume_id", ""))

    def derive(self, use):
        return hkdf(self.key, self.id, "volume/" + use)

    def pair(self, use):
        return self.derive(use + "/1") + self.derive(use + "/2")


# -- header and file


def read_epochs(data):
    at = 0

    def take(count):
        nonlocal at
        need(count <= len(data) - at, "short")
        at += count
        return data[at - count : at]

    def number():
        return struct.unpack("<Q", take(8))[0]

    def slot():
        uri, version, wrapped = (take(number()) for _ in range(3))
        need(re.fullmatch(rb"[a-z][a-z0-9]*:[!-~]*", uri) and len(uri) <= 512, "URI")
        need(re.fullmatch(rb"[!-~]{0,256}", version), "version")
        need(24 <= len(wrapped) <= 1024, "wrapped key")

    epochs = []
    count = number()
    need(1 <= count <= 4, "epochs")
    for _ in range(count):
        epoch, commitment = struct.unpack("<I32s", take(36))
        slots = number()
        need(1 <= slots <= 8, "slots")
        for _ in range(slots):
            slot()
        need(epoch > (epochs[-1][0] if epochs else 0), "order")
        epochs.append((epoch, commitment))
    need(at == len(data), "length")
    return epochs


def read_header(data):
    need(len(data) >= 144, "short")
    magic, version, suite, log2, units, zero, file_id, committed, generation, flags, newest, length, zero2 = (
        struct.unpack("<8sHHBBH16sQQIIII", data[:64])
    )
    need(magic == b"ENVLPFS\0" and version == 1 and suite == 1, "identity")
    need(12 <= log2 <= 20 and units in (1, 2, 4) and zero == zero2 == 0 and flags < 2, "fields")
    size = units * 512
    need(len(data) >= size and length <= size - 144, "length")
    need(not any(data[144 + length : size]), "padding")
    block = 1 << log2
    full = (1 << 63) // block - 1
    need(committed <= (block - size - 48) + (full - 1) * (block - 48), "committed")
    epochs = read_epochs(data[144 : 144 + length])
    need(epochs[-1][0] == newest, "newest")
    return dict(
        block=block, size=size, file_id=file_id, committed=committed, sparse=flags & 1,
        epochs=epochs, tag=data[64:96], membership=data[96:128],
        volume_id=data[128:144], prefix=data[:56],
    )


def check_header(header, dek, volume=None):
    number, commitment = header["epochs"][-1]
    need(hkdf(dek, header["file_id"], "commit") == commitment, "commitment")
    bindings = b"".join(struct.pack("<I32s", *epoch) for epoch in header["epochs"])
    message = header["prefix"] + header["membership"] + header["volume_id"] + bindings
    tag = hmac.digest(hkdf(dek, header["file_id"], "header"), message, "sha256")
    need(tag == header["tag"], "header tag")
    if volume and any(header["membership"]):
        tag = hmac.digest(volume.derive("membership"), header["file_id"] + commitment, "sha256")
        need(tag == header["membership"], "membership")


def physical_len(header, length):
    block, first = header["block"], header["block"] - header["size"] - 48
    if length <= first:
        return block + length
    full, tail = divmod(length - first - 1, block - 48)
    return (full + 2) * block + tail + 1


def read_file(data, deks):
    header = read_header(data)
    keys = {}
    for epoch, commitment in header["epochs"]:
        dek = deks[epoch - 1]
        need(hkdf(dek, header["file_id"], "commit") == commitment, "commitment")
        keys[epoch] = hkdf(dek, header["file_id"], "content")
    check_header(header, deks[header["epochs"][-1][0] - 1])
    block, plain = header["block"], b""
    count = len(data) // block
    for index in range(count):
        start = index * block + (header["size"] if index == 0 else 0)
        area = data[start : (index + 1) * block]
        capacity, last = len(area) - 48, index == count - 1
        if not any(area):
            need(not last and (header["sparse"] or len(plain) >= header["committed"]), "hole")
            plain += bytes(capacity)
            continue
        nonce, tag, length, epoch = struct.unpack("<24s16sII", area[:48])
        need(length <= capacity and (last or length == capacity), "length")
        need(not any(area[48 + length :]) and epoch in keys, "padding or epoch")
        aad = struct.pack(
            "<H16sQIIB", 1, header["file_id"], index, length, epoch, block.bit_length() - 1
        )
        plain += xaes_open(keys[epoch], nonce, tag, area[48 : 48 + length], aad)
    committed = header["committed"]
    need(len(plain) >= committed, "cut")
    # The size agrees with the committed length: what the last chunk holds beyond it was never synced.
    # One block is an empty file, or one that was being cut to its first chunk.
    agrees = committed > 0 and len(data) == physical_len(header, committed)
    return plain[:committed] if agrees else plain


# -- the files of vectors


def image(value):
    data = b"".join(map(un, value["hex"]))
    return data + bytes(value["len"] - len(data))


def changed(vectors, change, field):
    (data,) = [image(case[field]) for case in vectors["must_pass"] if case["name"] == change["of"]]
    before, data = data, bytearray(data)
    for copy in change.get("copies", []):
        data[copy["at"] : copy["at"] + copy["len"]] = before[copy["from"] : copy["from"] + copy["len"]]
    for zeros in change.get("zeros", []):
        data[zeros["at"] : zeros["at"] + zeros["len"]] = bytes(zeros["len"])
    for edit in change.get("edits", []):
        data[edit["at"] : edit["at"] + len(un(edit["hex"]))] = un(edit["hex"])
    return bytes(data[: change.get("truncate_to", len(data))])


def original(vectors, change):
    return next(case for case in vectors["must_pass"] if case["name"] == change["of"])


def header_pass(case):
    header = read_header(image(case["bytes"]))
    need(header["volume_id"] == un(case["made_in"]), "volume id")
    check_header(header, un(case["newest_dek"]), Volume(case))
    return bool(any(header["membership"])) == (case["membership"] == "valid")


def header_fail(vectors, change):
    of = original(vectors, change)
    dek = un(change.get("newest_dek", of["newest_dek"]))
    check_header(read_header(changed(vectors, change, "bytes")), dek, Volume(of))


def file_pass(case):
    return read_file(image(case["file"]), list(map(un, case["deks"]))) == image(case["plaintext"])


def file_fail(vectors, change):
    deks = list(map(un, original(vectors, change)["deks"]))
    read_file(changed(vectors, change, "file"), deks)


def open_name(case):
    on_disk, full = case["on_disk"], case["on_disk"]
    need(not on_disk.startswith(".envelopefs"), "reserved")
    if on_disk.startswith("L."):
        need("sidecar" in case, "no sidecar")
        full = case["sidecar"]["target"]
        digest = b64(hashlib.sha256(full.encode()).digest())
        need(on_disk == "L." + digest and case["sidecar"]["name"] == on_disk + ".n", "sidecar")
    need(len(full) <= 362, "long")
    name = siv_open(Volume(case).pair("names"), un(case["dir_id"]), un64(full))
    need(1 <= len(name) <= 255 and name not in (b".", b".."), "name")
    need(b"/" not in name and b"\0" not in name, "name")
    return name


def open_symlink(case):
    need(len(case["sealed"]) <= 4095, "long")
    data = un64(case["sealed"])
    target = xaes_open(Volume(case).derive("symlinks"), data[:24], data[24:40], data[40:], b"")
    need(target and b"\0" not in target, "target")
    return target


def open_xattr(case):
    name, value = case["stored_name"].encode(), un(case["stored_value"])
    if name.startswith(b"security.") or name.startswith(b"system.posix_acl_"):
        return name, value
    found = re.fullmatch(rb"(user\.|trusted\.)envelopefs\.(.*)", name)
    need(found, "hidden")
    rest = siv_open(Volume(case).pair("xattr-names"), found[1], un64(found[2].decode()))
    name = found[1] + rest
    key = Volume(case).derive("xattr-values")
    return name, xaes_open(key, value[:24], value[24:40], value[40:], name)


CONFIG_FIELDS = (
    "format volume_id block_len header_len names key_scope foreign_files keys commitment slots policy former_keys seal tag"
).split()


def unique(pairs):
    need(len({name for name, _ in pairs}) == len(pairs), "a field twice")
    return dict(pairs)


def open_config(case):
    try:
        config = json.loads(case["volume_json"], object_pairs_hook=unique)
    except json.JSONDecodeError:
        raise Refused("JSON")
    need(isinstance(config, dict) and config.get("format") == 1, "format")
    if config.get("policy", "") is None:
        del config["policy"]
    absent = [field for field in ("policy", "former_keys", "seal") if field not in config]
    need(sorted([*config, *absent]) == sorted(CONFIG_FIELDS), "fields")
    former = config.get("former_keys", [])
    need(isinstance(former, list) and len(former) <= 16, "former keys")
    if not former:
        config.pop("former_keys", None)
    need(all(isinstance(key, str) and re.fullmatch(r"[a-z][a-z0-9]*:[!-~]*", key) for key in former), "former keys")
    policy = config.get("policy", "0" * 64)
    need(isinstance(policy, str) and re.fullmatch(r"[0-9a-f]{64}", policy), "policy")
    if config.get("seal", "") is None:
        del config["seal"]
    seal = config.get("seal", "0" * 64)
    need(isinstance(seal, str) and re.fullmatch(r"[0-9a-f]{64}", seal), "seal")
    need(config["block_len"] in [1 << log2 for log2 in range(12, 21)], "block size")
    need(config["header_len"] in (512, 1024, 2048), "header size")
    need(config["names"] in ("encrypted", "plain"), "names")
    need(re.fullmatch(r"[0-9a-f]{32}", config["volume_id"]), "volume id")
    need(re.fullmatch(r"[0-9a-f]{64}", config["tag"]), "tag")
    need(config["keys"] or config["key_scope"] == "volume", "keys")
    need(all(re.fullmatch(r"[a-z][a-z0-9]*:[!-~]*", key) for key in config["keys"]), "keys")
    need(1 <= len(config["slots"]) <= 8, "slots")
    for slot in config["slots"]:
        need(re.fullmatch(r"[!-~]{0,256}", slot["key_version"]), "version")
        need(24 <= len(un64(slot["wrapped_dek"])) <= 1024, "wrapped key")
    key, volume_id = un(case["volume_key"]), un(config["volume_id"])
    need(hkdf(key, volume_id, "commit").hex() == config["commitment"], "commitment")
    ordered = {name: config[name] for name in CONFIG_FIELDS if name != "tag" and name in config}
    canonical = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    tag = hmac.digest(hkdf(key, volume_id, "volume/config"), canonical, "sha256")
    need(tag.hex() == config["tag"], "forged")
    return True


def dir_id(case):
    need(re.fullmatch(r"[0-9a-f]{32}", case["target"]), "id")
    return un(case["target"])


def derived(case):
    return hkdf(un(case["ikm"]), un(case["salt"]), case["label"].removeprefix("envelopefs/v1/"))


def bad_commitment(case):
    good = hkdf(un(case["dek"]), un(case["file_id"]), "commit")
    need(good == un(case["commitment"]), "commitment")


CHECKS = {
    "keys": (lambda c: derived(c) == un(c["derived"]), lambda v, c: bad_commitment(c)),
    "header": (header_pass, header_fail),
    "one-chunk": (file_pass, file_fail),
    "multi-chunk": (file_pass, file_fail),
    "names": (lambda c: open_name(c) == un(c["plain"]), lambda v, c: open_name(c)),
    "dir-id": (lambda c: dir_id(c) == un(c["id"]), lambda v, c: dir_id(c)),
    "symlink": (lambda c: open_symlink(c) == un(c["target"]), lambda v, c: open_symlink(c)),
    "xattr": (
        lambda c: open_xattr(c) == (c["plain_name"].encode(), un(c["plain_value"])),
        lambda v, c: open_xattr(c),
    ),
    "volume-config": (open_config, lambda v, c: open_config(c)),
}


def refused(check, vectors, case):
    try:
        check(vectors, case)
    except Refused:
        return True
    return False


def main():
    wrong = 0
    for name, (passes, fails) in CHECKS.items():
        vectors = json.loads((HERE / f"{name}.json").read_text())
        bad = [case["name"] for case in vectors["must_pass"] if not passes(case)]
        bad += [case["name"] for case in vectors["must_fail"] if not refused(fails, vectors, case)]
        counts = f"{len(vectors['must_pass'])} pass, {len(vectors['must_fail'])} refused"
        print(f"{name}: " + (f"WRONG: {bad}" if bad else counts))
        wrong += len(bad)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
