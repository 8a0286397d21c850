"""Counts the instructions of the file system's operations under callgrind; for scripts/budget.sh.

    budget.py check|update PROGRAM FOLDER BUDGET

PROGRAM is examples/budget.rs, built. For each operation BUDGET, a JSON file, has three figures: instructions of AES-GCM and
other assembly of the crypto library, all other instructions of the process, and system calls. Instructions may be SLACK more
than the budget, system calls none. With less than the budget less SLACK the budget has to be made anew, or it would let the
next change waste what this one has won.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter

OPERATIONS = ("read", "write", "lookup", "open", "create")
SLACK = 0.05
# What is not worth a failure where an operation takes few instructions anyway.
LEAST = 200
CRYPTO = re.compile(r"^aws_lc_|^aesni_|^gcm_|^bn_|^sha256_")


def run(program, operation, folder):
    """What callgrind wrote, and how often the operation was done."""
    written = os.path.join(folder, f"{operation}.callgrind")
    volume = os.path.join(folder, operation)
    os.mkdir(volume)
    command = ["valgrind", "--quiet", "--tool=callgrind", "--toggle-collect=*budget::counted*", "--collect-systime=usec"]
    command += [f"--callgrind-out-file={written}", program, operation, volume]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return written, int(told.stdout)


def self_costs(path):
    """Costs of each function by itself, as {function: {event: count}}; callgrind-format(1) is the format."""
    names, costs, events, function, of_call = {}, {}, [], None, False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith("events: "):
                events = line.split()[1:]
            elif match := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?$", line):
                kind, number, name = match.groups()
                if name:
                    names[number] = name
                if kind == "fn":
                    function = names[number]
            elif line.startswith("calls="):
                of_call = True
            elif re.match(r"[+*\d-]", line):
                if not of_call:
                    counts = map(int, line.split()[1:])
                    costs.setdefault(function, Counter()).update(dict(zip(events, counts)))
                of_call = False
    return costs


def measure(program, operation, folder):
    written, times = run(program, operation, folder)
    found = Counter()
    for function, costs in self_costs(written).items():
        found["crypto" if CRYPTO.search(function) else "own"] += costs["Ir"]
        found["system_calls"] += costs["sysCount"]
    if not found["own"]:
        sys.exit(f"{operation}: callgrind has counted nothing")
    per_time = {what: found[what] / times for what in ("own", "crypto", "system_calls")}
    return {what: round(count, 1) if what == "system_calls" else round(count) for what, count in per_time.items()}


def verdict(what, allowed, found):
    slack = 0 if what == "system_calls" else max(allowed * SLACK, LEAST)
    if found > allowed + slack:
        return "more than its budget"
    if found < allowed - slack:
        return "less: make the budget anew"
    return ""


def compare(budget, measured):
    wrong = False
    for operation, figures in measured.items():
        for what, found in figures.items():
            allowed = budget.get(operation, {}).get(what)
            said = "no budget" if allowed is None else verdict(what, allowed, found)
            change = f"{100 * (found / allowed - 1):+.1f} %" if allowed else ""
            print(f"{operation:8} {what:13} {found:>10,} of {allowed if allowed is None else format(allowed, ','):>10} {change:>8}  {said}".rstrip())
            wrong |= bool(said)
    if wrong:
        sys.exit("instructions are not what the budget says; if they have to be, ENVELOPEFS_UPDATE_BUDGET=1 makes it anew")


def main():
    how, program, folder, path = sys.argv[1:]
    measured = {operation: measure(program, operation, folder) for operation in OPERATIONS}
    if how == "update":
        with open(path, "w", encoding="ascii") as file:
            file.write(json.dumps(measured, indent=2) + "\n")
        print(json.dumps(measured, indent=2))
        return
    with open(path, encoding="ascii") as file:
        compare(json.load(file), measured)


main()
