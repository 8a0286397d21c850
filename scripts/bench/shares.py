"""What part of a profile went to what, as a Markdown table; for scripts/flamegraph.sh.

    shares.py NAME.folded…

A folded file has a stack a line, outermost frame first, and how many nanoseconds were spent in it. A stack counts for the first
kind whose pattern one of its frames has, looked for from the innermost outwards.
"""

import os
import re
import sys
from collections import Counter

KINDS = {
    "copies between the kernel's pages and the daemon, for requests and replies": r"^fuse_copy|^fuse_dev_splice",
    "the rest of the crossing: reading and answering /dev/fuse, waking and waiting": r"^fuse_|^schedule|^try_to_wake|^do_poll",
    "encryption and authentication of content": r"^aws_lc_.*(gcm|ghash|aes|ctr)|^aesni_|^gcm_|EVP_AEAD|aead",
    "header, names and keys: HMAC, HKDF, AES-SIV, random": r"sha2|sha256|hmac|hkdf|siv|cmac|aes::|RAND_|getrandom|ctr_drbg",
    "the ciphertext folder: copies": r"^copy_page|^copy_folio|^_?copy_(to|from)_(user|iter)|^rep_movs|^copy_user|^memcpy_orig|^clear_page|^clear_huge|^fault_in",
    "the ciphertext folder: files and names in the kernel": r"^shmem_|^vfs_|^ksys_|^path_|^do_(sys_)?open|^__x64_sys_|^filename_",
    "locks": r"^futex|parking_lot|^__lll_lock|^do_futex|Mutex|RwLock",
    "memory: allocator, copies, zeroes in the daemon": r"^_*(malloc|free|calloc|realloc|memalign)|^_int_|^__?mem(cpy|move|set)|alloc::",
}


def kind_of(frames):
    for frame in reversed(frames):
        for kind, pattern in PATTERNS:
            if pattern.search(frame):
                return kind
    return "all else in the daemon" if any("envelopefs" in frame for frame in frames) else "all else in the kernel and libraries"


def shares(path):
    counts = Counter()
    with open(path, encoding="utf-8", errors="replace") as stacks:
        for row in stacks:
            stack, spent = row.rsplit(" ", 1)
            counts[kind_of(stack.split(";"))] += int(spent)
    return counts


PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in KINDS.items()]


def main():
    profiles = {os.path.basename(path).removesuffix(".folded"): shares(path) for path in sys.argv[1:]}
    print("| part of the time | " + " | ".join(profiles) + " |")
    print("|---|" + "---:|" * len(profiles))
    for kind in [*KINDS, "all else in the daemon", "all else in the kernel and libraries"]:
        cells = (f"{100 * counts[kind] / counts.total():.1f} %" for counts in profiles.values())
        print(f"| {kind} | " + " | ".join(cells) + " |")
    print("| seconds of processor time | " + " | ".join(f"{counts.total() / 1e9:.1f}" for counts in profiles.values()) + " |")


main()
