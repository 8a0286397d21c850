"""Runs real clients of both clouds against a key service: every operation that a client has and the service serves,
and what clients are told when they may not. Holds docs/kms/CLIENTS.md against what came out.

    run.py PROJECT GUEST-ID DISABLED-ID [--update]    secrets in KMS_GUEST_SECRET, KMS_DISABLED_SECRET; the rest as
                                                      scripts/lib.sh exports it
"""

import concurrent.futures
import importlib.metadata
import json
import os
import pathlib
import re
import sys
import time
import traceback

# All of what the clients are made of, before there are threads: two of them that import at once can wait for each other in
# Python 3.11 (the garbage collector takes the import lock when it meets a module's lock that has gone).
import alibabacloud_kms20160120.client
import alibabacloud_tea_openapi.models
import aliyunsdkcore.client
import boto3
import botocore.config
import Tea.exceptions

import adapters
import alibaba
import aws
import proxy
import refusals

PROJECT = pathlib.Path(sys.argv[1])
DOCUMENT = PROJECT / "docs/kms/CLIENTS.md"
# For how long a request of a scheme without nonce may come again, as src/kms/auth/replay.rs has it, and a little.
REPEAT_MAX = 63

OPEN = adapters.Place(
    os.environ["ENVELOPEKMS_ENDPOINT"],
    os.environ["ENVELOPEKMS_CA"],
    os.environ["AWS_ACCESS_KEY_ID"],
    os.environ["AWS_SECRET_ACCESS_KEY"],
    os.environ["AWS_REGION"],
)
GUEST = OPEN.changed(key_id=sys.argv[2], secret=os.environ["KMS_GUEST_SECRET"])
DISABLED = OPEN.changed(key_id=sys.argv[3], secret=os.environ["KMS_DISABLED_SECRET"])


class Recorded:
    """A client's `call` that keeps in mind which operations went well."""

    def __init__(self, client, operations):
        self.client, self.operations, self.done = client, operations, set()

    def has(self, operation):
        return operation in self.operations

    def __call__(self, operation, parameters):
        try:
            answer = self.client.call(operation, parameters)
        except Exception as error:
            raise RuntimeError(f"{operation} {parameters}: {error!r}") from error
        self.done.add(operation)
        return answer


def served(dialect):
    """The operations in the service's own table of a dialect."""
    text = (PROJECT / f"src/kms/api/{dialect}/mod.rs").read_text()
    return set(re.findall(r'^\s+"([A-Z]\w+)" => \w+::\w+', text, re.MULTILINE))


class Outcome:
    """What came of one client."""

    def __init__(self, adapter):
        self.adapter, self.done, self.refusals, self.faults = adapter, set(), {}, []
        self.operations = adapter.operations()

    def run(self):
        tag = re.sub(r"\W+", "-", self.adapter.name).strip("-")
        module = alibaba if self.adapter in adapters.ALIBABA else aws
        works = [lambda: self.operate(module, tag), lambda: self.refuse(tag), self.replay]
        with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
            list(pool.map(self.attempt, works))
        return self

    def attempt(self, work):
        try:
            work()
        except Exception:
            self.faults.append(traceback.format_exc(limit=-3))

    def operate(self, module, tag):
        with refusals.connected(self.adapter, OPEN) as client:
            recorded = Recorded(client, self.operations)
            try:
                module.run(recorded, tag)
            finally:
                self.done = recorded.done

    def refuse(self, tag):
        cases = refusals.Cases(self.adapter, OPEN, GUEST, tag)
        self.refusals.update(cases.run())
        describe = ("DescribeKey", {"KeyId": cases.key})
        self.refusals["disabled access key"] = refusals.told(self.adapter, DISABLED, *describe)

    def replay(self):
        self.refusals[refusals.REPLAYED] = self.told_at_replay(("ListKeys", {}))

    def told_at_replay(self, call):
        folder = pathlib.Path(os.environ["ENVELOPEKMS_DIR"]) / "tls"
        between = proxy.Proxy(OPEN.address, OPEN.ca, folder / "server.pem", folder / "server.key")
        place = OPEN.changed(address=between.address)
        if self.adapter in adapters.ALIBABA:
            between.twice = True
            return refusals.told(self.adapter, place, *call)
        # A signature of AWS has no nonce: it may come again for a minute, and not after.
        assert refusals.told(self.adapter, place, *call)[0] == "answered"
        time.sleep(REPEAT_MAX)
        head, _, body = between.send(between.requests[-1]).partition(b"\r\n\r\n")
        return (json.loads(body)["__type"], int(head.split()[1]))


def complaints(outcome):
    """What a person has to look at."""
    name, adapter = outcome.adapter.name, outcome.adapter
    table = served("alibaba" if adapter in adapters.ALIBABA else "aws")
    found = [f"{name}: {fault}" for fault in outcome.faults]
    missing = sorted((outcome.operations & table) - outcome.done)
    found += [f"{name}: {operation} was not done" for operation in missing]
    for case in refusals.EXPECTED:
        code, status = refusals.expected(adapter, case)
        got = outcome.refusals.get(case, ("nothing", 0))
        due = [status] if adapter.tells_status else [status, 0]
        if got[0] != code or got[1] not in due:
            found.append(f"{name}: {case}: {code} ({status}) is due, and it was told {got}")
    return found


def untrusted(adapter):
    """Without the private CA no client takes the server for its own; in a process that never trusted it."""
    done = refusals.elsewhere(adapter, OPEN.changed(ca=""), ("DescribeKey", {"KeyId": "alias/none"}))
    said = done.stdout + done.stderr
    if "Forbidden" not in said and "NotFound" not in said and re.search("(?i)certificate|self.signed|unable_to_verify", said):
        return []
    return [f"{adapter.name}: it asks a server that nobody vouches for: {said[-400:]}"]


def version(adapter):
    if adapter is adapters.AlibabaNode:
        package = pathlib.Path(os.environ["NODE_PATH"]) / "@alicloud/kms20160120/package.json"
        return json.loads(package.read_text())["version"]
    return importlib.metadata.version(adapter.name)


def row(cells):
    return "| " + " | ".join(cells) + " |\n"


def operations_table(dialect, outcomes):
    text = row(["operation", *(outcome.adapter.name for outcome in outcomes)])
    text += "|" + "---|" * (len(outcomes) + 1) + "\n"
    for operation in sorted(served(dialect)):
        cell = lambda outcome: (
            "yes" if operation in outcome.done else "FAILED" if operation in outcome.operations else "–"
        )
        text += row([operation, *(cell(outcome) for outcome in outcomes)])
    return text


def refusals_table(outcomes):
    text = row(["what", *(outcome.adapter.name for outcome in outcomes)])
    text += "|" + "---|" * (len(outcomes) + 1) + "\n"
    for case in refusals.EXPECTED:
        cell = lambda outcome: "{} {}".format(*outcome.refusals.get(case, ("FAILED", ""))).removesuffix(" 0")
        text += row([case, *(cell(outcome) for outcome in outcomes)])
    return text


def without(dialect, outcomes):
    every = set().union(*(outcome.operations for outcome in outcomes)) - served(dialect)
    return ", ".join(sorted(every))


def document(outcomes):
    ours = [outcome for outcome in outcomes if outcome.adapter in adapters.ALIBABA]
    theirs = [outcome for outcome in outcomes if outcome.adapter in adapters.AWS]
    clients = ", ".join(f"{outcome.adapter.name} {version(outcome.adapter)}" for outcome in outcomes)
    return f"""# Clients

Made by `scripts/kms-clients.sh --update` out of a run; `scripts/test.sh clients` fails where a run comes to something else.
Each client was asked for each operation that it has and the service serves, over TLS with the service's private CA, and
what came out was held against what went in: {clients}.

`yes`: done, and right. `–`: the client has no such operation.

## Operations of Alibaba Cloud KMS

{operations_table("alibaba", ours)}
Operations of these clients that the service does not have: {without("alibaba", ours)}.

## Operations of AWS KMS

{operations_table("aws", theirs)}
Operations of these clients that the service does not have: {without("aws", theirs)}.

## Refusals

The code and the status of HTTP, as each client tells them; awscli and @alicloud/kms20160120 tell no status. A
plaintext has at most 6,144 bytes with Alibaba Cloud's clients and 4,096 with AWS's. A signature of AWS has no nonce and
may come again for a minute: it was sent again after {REPEAT_MAX} seconds.

{refusals_table(ours)}
{refusals_table(theirs)}"""


def main():
    started = time.monotonic()
    outcomes = [Outcome(adapter) for adapter in adapters.ALIBABA + adapters.AWS]
    with concurrent.futures.ThreadPoolExecutor(len(outcomes)) as pool:
        outcomes = list(pool.map(Outcome.run, outcomes))
        found = [complaint for outcome in outcomes for complaint in complaints(outcome)]
        found += [complaint for told in pool.map(untrusted, adapters.ALIBABA + adapters.AWS) for complaint in told]
    made = document(outcomes)
    if "--update" in sys.argv:
        DOCUMENT.write_text(made)
    elif not DOCUMENT.exists() or DOCUMENT.read_text() != made:
        found.append(f"{DOCUMENT} is not what this run came to: scripts/kms-clients.sh --update writes it anew")
    for complaint in found:
        print(complaint)
    count = sum(len(outcome.done) for outcome in outcomes)
    refused = sum(len(outcome.refusals) for outcome in outcomes)
    print(f"{count} operations and {refused} refusals of {len(outcomes)} clients in {time.monotonic() - started:.0f} s")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
