#!/usr/bin/env python3
"""The crates that are linked into the programs, for who gets these.

    crates.py bill         which they are: a bill of materials (CycloneDX 1.5, JSON)
    crates.py notices      the texts of their licences and notices, each text once, with the crates whose it is

Run in the project's folder, with all crates fetched. What it prints depends on Cargo.lock and the machine's target alone, and on
SOURCE_DATE_EPOCH. A crate without a licence, or without the text of one, ends it.
"""

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

NOTICE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)([-_.].*)?(?<!\.rs)$", re.IGNORECASE)
# What a crate brings for its own tests and documents is not linked.
NOT_LINKED = {"tests", "benches", "examples", "docs", "fuzz"}


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def linked():
    """The packages that are linked, as cargo metadata has them, by name and version; the programs' own first."""
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    tree = cargo("tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    names = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    packages = {}
    for package in metadata["packages"]:
        if (package["name"], "v" + package["version"]) in names:
            packages[package["id"]] = package
    if len(packages) != len(names):
        sys.exit(f"crates.py: cargo tree names {len(names)} crates, and cargo metadata has {len(packages)} of them")
    own = metadata["resolve"]["root"]
    uses = {node["id"]: node["dependencies"] for node in metadata["resolve"]["nodes"] if node["id"] in packages}
    order = sorted(packages, key=lambda id: (id != own, packages[id]["name"], packages[id]["version"]))
    return [packages[id] for id in order], uses


def label(package):
    return f"{package['name']} {package['version']}"


def licence(package):
    """By SPDX. Older crates have a slash for OR."""
    return (package["license"] or sys.exit(f"crates.py: {label(package)} has no licence")).replace("/", " OR ")


def checksums():
    """SHA-256 of what was fetched, by name and version."""
    blocks = Path("Cargo.lock").read_text(encoding="utf-8").split("[[package]]")[1:]
    fields = [dict(re.findall(r'^(name|version|checksum) = "(.*)"$', block, re.MULTILINE)) for block in blocks]
    return {(one["name"], one["version"]): one["checksum"] for one in fields if "checksum" in one}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, kind, sums):
    made = {
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "description": " ".join((package["description"] or "").split()),
        "licenses": [{"expression": licence(package)}],
        "purl": purl(package),
    }
    checksum = sums.get((package["name"], package["version"]))
    if checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    elif kind == "library":
        made["pedigree"] = {"notes": "a changed copy, in the project's folder vendor"}
    if package["repository"]:
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def bill():
    packages, uses = linked()
    sums = checksums()
    by_id = {package["id"]: package for package in packages}

    def below(package):
        return sorted(purl(by_id[id]) for id in uses[package["id"]] if id in by_id)

    made_at = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), timezone.utc)
    own, *others = packages
    json.dump(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "timestamp": made_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "component": component(own, "application", sums),
            },
            "components": [component(package, "library", sums) for package in others],
            "dependencies": [{"ref": purl(package), "dependsOn": below(package)} for package in packages],
        },
        sys.stdout,
        indent=1,
        ensure_ascii=False,
    )
    print()


def notices_of(package):
    """The texts that a crate has, by their paths in it."""
    folder = Path(package["manifest_path"]).parent
    found = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        in_licences = below.parts[0].upper() == "LICENSES"
        if path.is_file() and not NOT_LINKED & set(below.parts) and (in_licences or NOTICE.match(path.name)):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found[str(below)] = "\n".join(line.rstrip() for line in lines).strip("\n")
    return found or sys.exit(f"crates.py: {label(package)} ({licence(package)}) has no text of its licence")


def notices():
    packages, _uses = linked()
    whose = {}
    print("The crates that are linked into envelopefs and envelopekms, and their licences. The texts follow.\n")
    for package in packages[1:]:
        print(f"  {label(package)}: {licence(package)}")
        for name, text in notices_of(package).items():
            whose.setdefault(text, []).append(f"{label(package)} ({name})")
    for text, names in whose.items():
        print("\n" + "=" * 100)
        print("\n".join(names))
        print("=" * 100 + "\n")
        print(text)


def main():
    wanted = {"bill": bill, "notices": notices}.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if wanted is None:
        sys.exit(__doc__)
    wanted()


main()
