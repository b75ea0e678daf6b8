"""Scenarios about a disk that is full."""

import os
import re
import time

from harness import scenario

MIB = 1 << 20
BINARY = {"Content-Type": "application/octet-stream"}
SMALL = ("--journal-size", "16MiB", "--segment-size", "4MiB", "--checkpoint-interval", "1s")


def fill_up(run, name):
    """Appends 1 MiB again and again until one is refused. Returns what was acknowledged and the refusal."""
    run.create(name, "application/octet-stream")
    client = run.honest()
    stored = []
    for _ in range(200):
        body = os.urandom(MIB)
        answer = client.request("POST", name, body, BINARY)
        if answer.status != 204:
            return stored, answer
        stored.append(body)
    return stored, None


@scenario(rows=(29,), disk=64, flags=SMALL)
def full_disk(run):
    """A data directory of 64 MB that fills, and writers who go on appending to it.

    An append that does not fit is answered 507 with Retry-After, and the log says so. What is stored is read as before. Deleting works, and
    makes room.
    """
    stored, refusal = fill_up(run, "large")
    if not run.check(refusal is not None, "200 MB fit into 64 MB"):
        return
    run.check(refusal.status == 507 and "retry-after" in refusal.fields, f"an append to a full disk is answered {refusal.status}")

    def write():
        client = run.client()
        limit = time.monotonic() + run.choose(5, 2)
        while time.monotonic() < limit:
            answer = client.request("POST", "large", b"x" * 4 * MIB, BINARY)
            run.check(answer.status == 507, f"a large append to a full disk is answered {answer.status}")

    with run.beside(appends=False):
        run.together([write] * 4, 30)
    run.check(re.search(r"(?i)space|full", run.server.log()), "the log has no line about the full disk")
    run.check(run.whole("large") == b"".join(stored), "a full disk changes what is stored")
    run.check(run.once("DELETE", "large").status == 204, "DELETE on a full disk is refused")
    limit = time.monotonic() + 10
    while run.once("POST", "innocent/append", b"x", {"Content-Type": "text/plain"}).status != 204 and time.monotonic() < limit:
        time.sleep(0.2)
    with run.beside():
        time.sleep(1)


@scenario(rows=(29,), disk=64, flags=SMALL)
def full_disk_restart(run):
    """A data directory that is full when the server stops, and gets more room.

    The server stops with status 0. It starts again when the file system has become larger, and has everything that it acknowledged.
    """
    stored, refusal = fill_up(run, "large")
    run.check(refusal is not None, "200 MB fit into 64 MB")
    status = run.server.stop()
    run.check(status == 0, f"the server ends with {status} on a full disk")
    run.enlarge(128)
    run.start()
    run.check(run.whole("large") == b"".join(stored), "a full disk changes what is stored")
    with run.beside():
        time.sleep(1)
