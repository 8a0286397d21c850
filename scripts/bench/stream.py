"""Writes and reads a stream of any length in bounded space; for scripts/bench-growth.sh.

    stream.py FILE MEGABYTES

Window by window, of a GiB at most: write, sync, drop what the kernel has cached of it, read, compare; and where another window
follows, punch a hole in the place of this one, so that no more than a window is ever stored. Each byte is written and read at its
own place in a file of that length. Short streams are done as many times as make up 256 MiB. Prints the seconds for each MiB of
writing and of reading.
"""

import os
import sys
import time
from ctypes import CDLL, c_int, c_long, get_errno

BLOCK = 128 << 10
WINDOW = 1 << 30
LEAST = 256 << 20
PUNCH_HOLE, KEEP_SIZE = 2, 1

libc = CDLL(None, use_errno=True)


def punch(descriptor, at, length):
    if libc.fallocate(c_int(descriptor), c_int(PUNCH_HOLE | KEEP_SIZE), c_long(at), c_long(length)):
        raise OSError(get_errno(), "fallocate")


def write(descriptor, at, length, block):
    start = time.perf_counter()
    for place in range(at, at + length, BLOCK):
        os.pwrite(descriptor, block, place)
    os.fsync(descriptor)
    return time.perf_counter() - start


def read(descriptor, at, length, block):
    os.posix_fadvise(descriptor, at, length, os.POSIX_FADV_DONTNEED)
    buffer, wrong = bytearray(BLOCK), 0
    start = time.perf_counter()
    for place in range(at, at + length, BLOCK):
        os.preadv(descriptor, [buffer], place)
        wrong += buffer[-16:] != block[-16:]
    took = time.perf_counter() - start
    if wrong:
        sys.exit(f"{wrong} blocks are not what was written")
    return took


def stream(path, length, block):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    written = fetched = 0.0
    for at in range(0, length, WINDOW):
        window = min(WINDOW, length - at)
        written += write(descriptor, at, window, block)
        fetched += read(descriptor, at, window, block)
        if at + window < length:
            punch(descriptor, at, window)
    os.close(descriptor)
    os.unlink(path)
    return written, fetched


def main():
    path, megabytes = sys.argv[1], int(sys.argv[2])
    length, block = megabytes << 20, os.urandom(BLOCK)
    times = max(1, LEAST // length)
    runs = [stream(path, length, block) for _ in range(times)]
    written, fetched = map(sum, zip(*runs))
    print(f"{written / times / megabytes:.9f} {fetched / times / megabytes:.9f}")


main()
