#!/usr/bin/env python3
"""Which system calls mounts make once they are in their sandbox, and which of them are not allowed there.

    scripts/syscalls.py LIVE [FILTER…]

LIVE is the compiled program of the live tests (`cargo test --test live --no-run` names it); filters are those of its
tests, none for all. Needs root, strace (package strace) and a built target/debug/envelopefs. Prints the calls with
their numbers, the most frequent first, and fails where one was tried that is not on the list in
src/daemon/sandbox/calls/allowed.rs: it goes into the group whose purpose it has, or the program learns to do without.
"""

import collections
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ROOT / "src/daemon/sandbox/calls/allowed.rs"
PROGRAM = ROOT / "target/debug/envelopefs"
LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed)")
CHILD = re.compile(r"^(\d+) .*\bclone3?(?:\(| resumed).*= (\d+)$")
CLOSED = "seccomp(SECCOMP_SET_MODE_FILTER"


def listed():
    """The calls that stand on the list, by name."""
    return set(re.findall(r"SYS_([a-z]\w*)", LIST.read_text())) | {"fchmodat2"}


def of_trace(trace):
    """The calls of each process in a trace, from the moment on in which it closes its sandbox."""
    process, closed, calls = {}, set(), collections.Counter()
    for line in trace.open(errors="replace"):
        begun = LINE.match(line)
        if not begun:
            continue
        thread, call, _ = begun.groups()
        own = process.setdefault(thread, thread)
        if CLOSED in line:
            closed.add(own)
        if own in closed:
            calls[call] += 1
        child = CHILD.match(line)
        if child:
            # A thread is its process's; what is no thread begins outside the sandbox of this one.
            process[child[2]] = own if "clone3" in line or "CLONE_THREAD" in line or own in closed else child[2]
    return calls


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    live, filters = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="syscalls-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        wrapper = folder / "envelopefs"
        # As the tests call the program. strace is no child that holds on to what the program writes to.
        wrapper.write_text(
            "#!/bin/sh\n"
            f'(strace -f -qq -o "{folder}/trace.$$" -p $$ </dev/null >/dev/null 2>&1 &)\n'
            "until grep -q '^TracerPid:.*[1-9]' /proc/$$/status; do sleep 0.02; done\n"
            f'exec "{PROGRAM}" "$@"\n'
        )
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        tests = subprocess.run([live, *filters], env={**os.environ, "ENVELOPEFS": str(wrapper)}, check=False)
        calls = collections.Counter()
        for trace in folder.glob("trace.*"):
            calls += of_trace(trace)
    if not calls:
        sys.exit("no mount closed its sandbox: nothing was traced")
    allowed = listed()
    missing = [call for call in calls if call not in allowed and call != "clone3"]
    for call, count in calls.most_common():
        print(f"{count:9} {call}{'   NOT ON THE LIST' if call in missing else ''}")
    unused = sorted(allowed - set(calls))
    print("on the list, and not made here:", ", ".join(unused))
    if missing:
        sys.exit("not on the list: " + ", ".join(sorted(missing)))
    if tests.returncode:
        print("some tests failed, as those that measure time do under strace", file=sys.stderr)


if __name__ == "__main__":
    main()
