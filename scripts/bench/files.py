"""Works on many small files, and prints how many seconds that took; for scripts/bench.sh and scripts/bench-growth.sh.

    files.py create FOLDER FIRST LAST BYTES
    files.py stat|read|unlink FOLDER FIRST LAST [STEP]
    files.py list FOLDER

Files are called by their numbers, FIRST to LAST. With STEP, only each so manieth is worked on.
"""

import os
import sys
import time


def create(name, content):
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)


def read(name):
    descriptor = os.open(name, os.O_RDONLY)
    os.read(descriptor, 1 << 16)
    os.close(descriptor)


def entries(folder):
    with os.scandir(folder) as listed:
        return sum(1 for _ in listed)


def work(operation, folder, numbers):
    os.chdir(folder)
    first, last, *rest = map(int, numbers)
    if operation == "create":
        content = b"\x5a" * rest[0]
        for number in range(first, last + 1):
            create(str(number), content)
        return
    act = {"stat": os.stat, "read": read, "unlink": os.unlink}[operation]
    for number in range(first, last + 1, rest[0] if rest else 1):
        act(str(number))


def main():
    operation, folder, *numbers = sys.argv[1:]
    start = time.perf_counter()
    if operation == "list":
        print(entries(folder), end=" ")
    else:
        work(operation, folder, numbers)
    print(f"{time.perf_counter() - start:.6f}")


main()
