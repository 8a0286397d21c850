"""Counts the instructions and system calls of the file system's operations; for scripts/budget.sh.

    budget.py check|update PROGRAM FOLDER BUDGET

PROGRAM is examples/budget.rs, built. For each operation BUDGET, a JSON file, has three figures: instructions of AES-GCM and
SHA-256, all other instructions (callgrind counts both), and system calls (strace counts them). Of the thread that does the
operation alone, as the others do not come at the same time in every run. More than the budget and the slack is a failure; with
less than the budget less the slack it has to be made anew, or it would let the next change waste what this one has won.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter

OPERATIONS = ("read", "write", "lookup", "open", "first-open", "create")
SLACK = 0.05
# What is not worth a failure where an operation takes few instructions anyway.
LEAST = 300
# Some are made not each time but after some milliseconds. One more for each operation is never overlooked.
CALLS_SLACK = 0.5
# Names of the libraries' functions; _aesni is assembly with names of its own.
CRYPTO = re.compile(r"^aws_lc_|^_?aesni_|^aead_aes_gcm_|^sha2::")
# A thread that waits for another does so or not, as it happens.
BY_CHANCE = ("futex(", "sched_yield(")


def run(how, program, operation, folder):
    """Runs the program by what `how` begins with, in a new folder; how often it did the operation."""
    volume = tempfile.mkdtemp(dir=folder)
    told = subprocess.run([*how, program, operation, volume], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if told.returncode:
        sys.exit(f"{operation}: {told.stderr[-2000:]}")
    return int(told.stdout)


def instructions(program, operation, folder):
    written = os.path.join(folder, f"{operation}.callgrind")
    valgrind = ["valgrind", "--tool=callgrind", "--toggle-collect=*budget::counted*", f"--callgrind-out-file={written}"]
    times = run(valgrind, program, operation, folder)
    found = Counter(own=0, crypto=0)
    for function, count in self_costs(written).items():
        found["crypto" if CRYPTO.search(function) else "own"] += count
    if not found["own"]:
        sys.exit(f"{operation}: callgrind has counted nothing")
    return {kind: round(count / times) for kind, count in found.items()}


def system_calls(program, operation, folder):
    """Without -f strace follows the first thread alone; what is counted stands between two calls of getppid."""
    written = os.path.join(folder, f"{operation}.strace")
    times = run(["strace", "-o", written], program, operation, folder)
    with open(written, encoding="utf-8", errors="replace") as file:
        parts = file.read().split("getppid()")
    if len(parts) != 3:
        sys.exit(f"{operation}: getppid was called {len(parts) - 1} times, not before and after")
    calls = [row for row in parts[1].splitlines()[1:] if not row.startswith(BY_CHANCE)]
    return round(len(calls) / times, 1)


def self_costs(path):
    """Instructions of each function by itself; callgrind-format(1) is the format."""
    names, costs, function, of_call = {}, Counter(), None, False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if match := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?$", line):
                kind, number, name = match.groups()
                if name:
                    names[number] = name
                if kind == "fn":
                    function = names[number]
            elif line.startswith("calls="):
                of_call = True
            elif re.match(r"[+*\d-]", line):
                # The line after a call has what the called function took.
                if not of_call:
                    costs[function] += int(line.split()[1])
                of_call = False
    return costs


def measure(program, operation, folder):
    counted = instructions(program, operation, folder)
    return {**counted, "system_calls": system_calls(program, operation, folder)}


def verdict(what, allowed, found):
    slack = CALLS_SLACK if what == "system_calls" else max(allowed * SLACK, LEAST)
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
            print(f"{operation:10} {what:13} {found:>10,} of {allowed if allowed is None else format(allowed, ','):>10} {change:>8}  {said}".rstrip())
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
