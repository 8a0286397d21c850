"""What scripts/bench.sh measured, as a table, as JSON, as docs/BENCHMARKS.md, or held against the targets.

    report.py table|json|markdown|check FACTS MEASURED

MEASURED has the columns line, system, value, processor seconds of the daemon, calls for keys; one row for each round.
FACTS is a JSON object: the machine and the sizes. Less is better in every line, so that a ratio is always the peer's value
divided by envelopefs's: how many times as good envelopefs is.
"""

import json
import statistics
import sys
from collections import defaultdict

OWN = "envelopefs"
BARE = "passthrough_hp"
STREAM, OTHER = 1.2, 1.0
# What a byte may cost more than in a daemon that does not encrypt.
CPU = 1.3

# name: (what it is, unit, at least so many times as good as gocryptfs, as passthrough_hp)
LINES = {
    "write": ("stream write, fsync at the end", "MiB/s", 3.0, STREAM),
    "read": ("stream read, cold", "MiB/s", 3.5, STREAM),
    "readers": ("eight parallel readers, cold", "MiB/s", OTHER, OTHER),
    "untar": ("untar", "s", 2.0, OTHER),
    "md5sum": ("md5sum of all files", "s", 2.0, OTHER),
    "ls": ("ls -lR", "s", 2.0, OTHER),
    "rm": ("rm -rf", "s", 1.5, OTHER),
    "create": ("new files of 1 KiB", "s", OTHER, OTHER),
    "git-clone": ("git clone", "s", OTHER, OTHER),
    "git-status": ("git status, cold", "s", OTHER, OTHER),
    "grep": ("grep -r, cold", "s", OTHER, OTHER),
    "rand-read": ("4 KiB random read", "op/s", 1.5, OTHER),
    "rand-read-direct": ("4 KiB random read, O_DIRECT", "op/s", 1.5, OTHER),
    "rand-write": ("4 KiB random write, fsync at the end", "op/s", 1.5, OTHER),
    "rand-write-direct": ("4 KiB random write, O_DIRECT", "op/s", 1.5, OTHER),
    "rand-write-fsync": ("4 KiB random write, fsync each", "op/s", 1.5, OTHER),
    "sqlite": ("sqlite, a transaction each insert", "op/s", OTHER, OTHER),
    "sqlite-wal": ("the same with a write-ahead log", "op/s", OTHER, OTHER),
    "cpu-write": ("processor time of the daemon, stream write", "s/GiB", None, 1 / CPU),
    "cpu-read": ("processor time of the daemon, stream read", "s/GiB", None, 1 / CPU),
    "memory": ("most memory that the daemon had", "MiB", None, None),
}


def load(path):
    """Values by line and system, and calls for keys by line."""
    values, calls = defaultdict(lambda: defaultdict(list)), defaultdict(list)
    with open(path, encoding="ascii") as rows:
        for row in rows:
            line, system, value, cpu, asked = row.split()
            values[line][system].append(float(value))
            if line in ("write", "read") and float(cpu) > 0:
                values[f"cpu-{line}"][system].append(float(cpu))
            if system == OWN and asked != "-":
                calls[line].append(int(asked))
    return values, calls


def summary(line, found, calls):
    """One line: medians, bests and worsts of each system, ratios of medians and of bests, what they have to be."""
    systems = {}
    for system, values in found.items():
        if line == "memory":
            # Each mount of the run had a peak; the highest is what a user sees.
            values = [max(values)]
        systems[system] = {"median": statistics.median(values), "best": min(values), "worst": max(values)}
    own = systems.get(OWN)
    ratios = {
        peer: {part: values[part] / own[part] for part in ("median", "best")}
        for peer, values in systems.items()
        if own and peer != OWN
    }
    _, _, over_gocryptfs, over_bare = LINES[line]
    targets = {"gocryptfs": over_gocryptfs, BARE: over_bare}
    return {
        "line": line,
        "systems": systems,
        "times_as_good": ratios,
        "must_be": {peer: round(least, 2) for peer, least in targets.items() if least and peer in ratios},
        "provider_calls": max(calls) if calls else None,
    }


def missed(lines):
    for line in lines:
        for peer, least in line["must_be"].items():
            ratio = line["times_as_good"][peer]["median"]
            if round(ratio, 2) < least:
                yield f"{line['line']} is {ratio:.2f} times as good as {peer}, not {least:.2f}"


def amount(line, value, facts):
    """How a value is shown: a rate where there is one, for the sizes of this run."""
    unit = LINES[line][1]
    if unit == "MiB/s":
        return f"{facts['megabytes'] / value:.0f} {unit}"
    if unit == "op/s":
        return f"{facts['operations'][line] / value:.0f} {unit}"
    if unit == "s/GiB":
        return f"{value * 1024 / facts['megabytes']:.2f} {unit}"
    return f"{value:.0f} {unit}" if unit == "MiB" else f"{value:.2f} {unit}"


def table(lines, facts):
    peers = [system for system in facts["systems"] if system != OWN]
    yield ["", *facts["systems"], *(f"× {peer}" for peer in peers), "calls for keys"]
    for line in lines:
        row = [LINES[line["line"]][0]]
        for system in facts["systems"]:
            values = line["systems"].get(system)
            row.append(amount(line["line"], values["median"], facts) if values else "")
        for peer in peers:
            ratio, least = line["times_as_good"].get(peer), line["must_be"].get(peer)
            shown = f"{ratio['median']:.2f} ({ratio['best']:.2f})" if ratio else ""
            row.append(shown + (f" ≥ {least:.2f}" if least else ""))
        row.append("" if line["provider_calls"] is None else str(line["provider_calls"]))
        yield row


def aligned(rows):
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        yield "  ".join(cells).rstrip()


def about(facts):
    return (
        f"Medians of {facts['rounds']} rounds on {facts['processors']} processors ({facts['model']}), {facts['memory']} GiB, "
        f"Linux {facts['kernel']}; " + ", ".join(facts["versions"]) + "."
    )


def print_table(lines, facts):
    print(about(facts))
    print("× is how many times as good envelopefs is by the medians, (by the bests), and ≥ what it has to be.\n")
    print("\n".join(aligned(table(lines, facts))))


def print_json(lines, facts):
    print(json.dumps({**facts, "lines": lines, "missed": list(missed(lines))}, indent=2))


def print_markdown(lines, facts):
    print(PAGE.format(about=about(facts), command=facts["command"], tree=facts["files"]), end="")
    rows = list(table(lines, facts))
    rule = ["---", *("---:" for _ in rows[0][1:])]
    for row in (rows[0], rule, *rows[1:]):
        print("| " + " | ".join(row) + " |")
    below = list(missed(lines))
    print("\n## Below its target\n")
    print("\n".join(f"* {one}" for one in below) if below else "Nothing.")


def check(lines, _facts):
    below = list(missed(lines))
    if below:
        sys.exit("\n".join(below))


PAGE = """# How fast it is

Written by a run; do not edit it. {about}

<!-- not run: it takes an hour, on a machine that does nothing else -->
```sh
{command}
```

Each round takes every step on every system, in turns, with the ciphertext on a tmpfs so that no disk is measured. Figures of one
machine say little about another: the columns × are what to read. They are how many times as good envelopefs is in the same run,
by the medians of all rounds, in brackets by the best round of each, and after ≥ what it has to be. gocryptfs encrypts too;
passthrough_hp, an example of libfuse, passes all through without encrypting and is the limit of an ordinary FUSE daemon.
Reads called cold follow a new mount. The tree has {tree} small source files. Calls for keys are those to the key provider while a
line runs, the most of any round.

"""


def main():
    how, facts_path, measured_path = sys.argv[1:]
    with open(facts_path, encoding="utf-8") as file:
        facts = json.load(file)
    values, calls = load(measured_path)
    lines = [summary(line, values[line], calls[line]) for line in LINES if values[line]]
    {"table": print_table, "json": print_json, "markdown": print_markdown, "check": check}[how](lines, facts)


main()
