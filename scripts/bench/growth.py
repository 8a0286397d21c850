"""What scripts/bench-growth.sh measured, as tables, as JSON, or held against the bounds.

    growth.py table|json|check MEASURED

MEASURED has the columns what, system, size, value; one row for each round. Times are seconds for each file, entry or MiB.
"""

import json
import statistics
import sys
from collections import defaultdict

OWN = "envelopefs"
FILES = {"create": "create", "stat": "stat", "read": "open, read, close", "list": "list, an entry", "unlink": "unlink"}
STREAMS = {"write": "write, a MiB", "fetch": "read, a MiB"}
MEMORY = {"mounted": "after the mount", "seen": "all files looked up", "forgotten": "all forgotten"}
AT_MOST = {**dict.fromkeys(FILES, 1.5), **dict.fromkeys(STREAMS, 1.2)}
# What the daemon may keep for each file that the kernel has forgotten, in bytes, beyond what it has anyway, in MiB.
KEPT_BYTES, KEPT_ANYWAY = 8, 16


def load(path):
    rounds = defaultdict(list)
    with open(path, encoding="ascii") as rows:
        for row in rows:
            what, system, size, value = row.split()
            rounds[what, system, int(size)].append(float(value))
    return {key: statistics.median(values) for key, values in rounds.items()}


def series(found, what, system):
    """Values by size."""
    return dict(sorted((size, value) for (w, s, size), value in found.items() if (w, s) == (what, system)))


def growth(values):
    """How many times as much the dearest size costs as the smallest."""
    return max(values.values()) / values[min(values)]


def print_times(found, names, unit):
    for system in (OWN, "tmpfs"):
        rows = {name: series(found, what, system) for what, name in names.items()}
        rows = {name: values for name, values in rows.items() if values}
        sizes = sorted({size for values in rows.values() for size in values})
        print(f"{f'{system}, µs, {unit}':26}" + "".join(f"{size:>12,}" for size in sizes) + f"{'grows ×':>10}")
        for name, values in rows.items():
            shown = "".join(f"{values[size] * 1e6:12.1f}" for size in sizes)
            print(f"{name:26}{shown}{growth(values):10.2f}")
        print()


def print_memory(found):
    sizes = sorted({size for what, _, size in found if what == "memory-seen"})
    print(f"{'daemon':26}" + "".join(f"{size:>12,}" for size in sizes))
    for what, form in (("memory", "12.1f"), ("descriptors", "12.0f"), ("inodes", "12.0f")):
        for moment, name in MEMORY.items():
            values = series(found, f"{what}-{moment}", OWN)
            title = f"{'MiB' if what == 'memory' else what} {name}"
            print(f"{title:32}"[:32].ljust(26) + "".join(format(values[size], form) for size in sizes))


def print_table(found):
    print_times(found, FILES, "files")
    print_times(found, STREAMS, "MiB")
    print_memory(found)


def print_json(found):
    print(json.dumps([{"what": w, "system": s, "size": size, "value": value} for (w, s, size), value in sorted(found.items())]))


def missed(found):
    for what, most in AT_MOST.items():
        grows = growth(series(found, what, OWN))
        if round(grows, 2) > most:
            yield f"{what} grows {grows:.2f} times, not {most}"
    kept, before = series(found, "memory-forgotten", OWN), series(found, "memory-mounted", OWN)
    for size, value in kept.items():
        most = before[size] + KEPT_ANYWAY + size * KEPT_BYTES / (1 << 20)
        if value > most:
            yield f"with {size} files looked up and forgotten the daemon keeps {value:.0f} MiB, not {most:.0f}"


def check(found):
    below = list(missed(found))
    if below:
        sys.exit("\n".join(below))


def main():
    how, path = sys.argv[1:]
    {"table": print_table, "json": print_json, "check": check}[how](load(path))


main()
