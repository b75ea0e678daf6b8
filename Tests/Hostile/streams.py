"""Scenarios about what a server keeps: producers, names, forks, ends of life, very many streams."""

import itertools
import re
import time
from datetime import datetime, timezone

from client import EventStream, request_bytes
from harness import scenario

TEXT = {"Content-Type": "text/plain"}


def producer(identity, sequence, epoch=0):
    return {**TEXT, "Producer-Id": identity, "Producer-Epoch": epoch, "Producer-Seq": sequence}


def pipeline(client, requests, ahead=200):
    """Sends the requests with so many under way, and yields the answers."""
    waiting = 0
    for request in requests:
        client.send(request)
        waiting += 1
        if waiting >= ahead:
            yield client.answer()
            waiting -= 1
    for _ in range(waiting):
        yield client.answer()


@scenario(rows=(9,), rss=(200, 150))
def long_values(run):
    """Values that a stream has to remember: just within their bounds, just beyond, and 4,000 producers with names of 30,000 bytes.

    Producer-Id has 256 bytes, Stream-Seq and Content-Type 1,024, Stream-Expires-At 64. What is longer is answered 400.
    """
    run.create("kept")
    client = run.honest()
    moment = "2099-01-01T00:00:00."
    wide = "text/plain;a=" + "b" * (1024 - 13)
    cases = [
        (200, "POST", "kept", b"x", producer("p" * 256, 0), "Producer-Id of 256 bytes"),
        (400, "POST", "kept", b"x", producer("p" * 257, 0), "Producer-Id of 257 bytes"),
        (400, "POST", "kept", b"x", producer("p" * 30_000, 0), "Producer-Id of 30,000 bytes"),
        (204, "POST", "kept", b"x", {**TEXT, "Stream-Seq": "s" * 1024}, "Stream-Seq of 1,024 bytes"),
        (400, "POST", "kept", b"x", {**TEXT, "Stream-Seq": "t" * 1025}, "Stream-Seq of 1,025 bytes"),
        (201, "PUT", "wide", None, {"Content-Type": wide}, "Content-Type of 1,024 bytes"),
        (400, "PUT", "wider", None, {"Content-Type": wide + "b"}, "Content-Type of 1,025 bytes"),
        (201, "PUT", "late", None, {"Stream-Expires-At": moment + "0" * 43 + "Z"}, "Stream-Expires-At of 64 bytes"),
        (400, "PUT", "later", None, {"Stream-Expires-At": moment + "0" * 44 + "Z"}, "Stream-Expires-At of 65 bytes"),
    ]
    for status, method, name, body, fields, words in cases:
        answer = client.request(method, name, body, fields)
        run.check(answer.status == status, f"{words} is answered {answer.status}, not {status}")
    requests = (request_bytes("POST", "kept", b"x", producer(f"{index:05d}" + "p" * 29_995, 0)) for index in range(run.choose(4000, 1000)))
    with run.beside():
        statuses = {answer.status for answer in pipeline(run.client(), requests, 10)}
    run.check(statuses == {400}, f"producers with names of 30,000 bytes are answered {statuses}")


@scenario(rows=(38,), rss=200)
def many_producers(run):
    """16,384 producers of one append each on one stream, and 16 more.

    Those beyond the bound are answered 429. Known producers, their repetitions, and appends without a producer go on.
    """
    run.create("crowd")
    requests = (request_bytes("POST", "crowd", b"x", producer(f"p-{index}", 0)) for index in range(16384 + 16))
    with run.beside():
        answers = list(pipeline(run.client(), requests))
    run.check({answer.status for answer in answers[:16384]} == {200}, "one of the first 16,384 producers is refused")
    beyond = {answer.status for answer in answers[16384:]}
    run.check(beyond == {429}, f"producers beyond the bound are answered {beyond}, not 429")
    client = run.honest()
    run.check(client.request("POST", "crowd", b"x", producer("p-5", 1)).status == 200, "a known producer is refused")
    run.check(client.request("POST", "crowd", b"x", producer("p-5", 1)).status == 204, "a repetition is no duplicate")
    run.check(client.request("POST", "crowd", b"x", TEXT).status == 204, "an append without a producer is refused")


@scenario(rows=(38,), rss=200, flags=("--producer-retention", "2s"), setting="producer-retention")
def forgotten_producers(run):
    """16,384 producers that are silent for longer than producer-retention, and then 100 more.

    The new ones are accepted.
    """
    run.create("crowd")
    requests = (request_bytes("POST", "crowd", b"x", producer(f"p-{index}", 0)) for index in range(16384))
    with run.beside():
        first = {answer.status for answer in pipeline(run.client(), requests)}
        time.sleep(3)
        requests = (request_bytes("POST", "crowd", b"x", producer(f"q-{index}", 0)) for index in range(100))
        later = {answer.status for answer in pipeline(run.client(), requests)}
    run.check(first == {200}, f"the first 16,384 producers are answered {first}")
    run.check(later == {200}, f"producers after the retention are answered {later}")


# Pairs of 14 bytes, in hex. FNV-1a with 64 bits has the same state behind both members of a pair, if the bytes before them are 440 times `k` and
# any members of the earlier pairs. A short vector of the lattice that the hash's multiplier spans gives such pairs in less than a second.
COLLIDING = [pair.split() for pair in """
47406b4870463a6b5364574a3234 47343b356e462d605a503c4a7932
282977306762314e2835275e585f 296f5b35282c69583b535f6a6055
673b78763470634057763b584331 67264e776c7c654d4c295671773c
5c5e3d723d573e432b5129744a62 4146304f6621277c385027377c6f
64772d214f54377037324e5b5451 646365224b4830273e4a47354b5b
404963672c6c4e514b6827274e5b 425e3a372170765d4f6b60394a5e
41303e73513a24414e632729656d 446c2b46626c4f44396e21587568
4f686e58226d71552955535e447e 49282a49592149392c4a38435478
5e26436a2242364f2d686b3d226b 2b6d332d764f5c383d5e5d286073
635840696829285a276d5a6b4871 66543d445f73274b247c4c245e7c
534247242c475739477124396333 514f5c50394d412d43726f276130
772a4b52247e754e70226a582970 7729535b544e334b735f29312175
493355376d42214353355a755e46 7e7e763a6654395b4b337d2b427c
2973337e573b3642317e524f665e 244d3c516e712d5b324b487e7059
453d37476f5553493b7a6e625d6d 40773c7a34433c44264964634568
""".strip().splitlines()]
PREFIX = b"k" * 440


def fnv(name):
    state = 0xCBF29CE484222325
    for byte in name:
        state = (state ^ byte) * 0x100000001B3 % (1 << 64)
    return state


def colliding_names(count):
    """So many names of 650 bytes with one FNV-1a hash."""
    pairs = [[bytes.fromhex(member) for member in pair] for pair in COLLIDING]
    for choice in itertools.islice(itertools.product((0, 1), repeat=len(pairs)), count):
        yield PREFIX + b"".join(pair[side] for pair, side in zip(pairs, choice))


def escaped(name):
    return "".join(chr(byte) if chr(byte).isalnum() else f"%{byte:02X}" for byte in name)


@scenario(rows=(10,), rss=(400, 250), flags=("--checkpoint-interval", "2s"))
def colliding_keys(run):
    """6,000 streams whose long names have one FNV-1a hash and one beginning, beside as many with other names of the same length.

    Creating them costs what creating the others costs, and so do appends behind them and the end.
    """
    count = run.choose(6000, 3000)
    hostile = list(colliding_names(count))
    run.check(len(set(hostile)) == count and len({fnv(name) for name in hostile[:200]}) == 1, "the names do not collide")
    plain = [name[:-6] + b"%06d" % index for index, name in enumerate(hostile)]

    def create(names):
        """Processor seconds that creating takes, with the checkpoint behind it; gives up after 20 s."""
        before = run.server.processor_seconds()
        limit = time.monotonic() + 20
        client = run.client()
        for answer in pipeline(client, (request_bytes("PUT", escaped(name), b"", TEXT) for name in names), 100):
            run.check(answer.status == 201, f"PUT is answered {answer.status}")
            if time.monotonic() > limit:
                break
        time.sleep(4)
        return run.server.processor_seconds() - before

    with run.beside():
        ordinary = create(plain)
        collided = create(hostile)
    words = f"creating {count} streams takes {collided:.1f} s of processor time when names collide, {ordinary:.1f} s otherwise"
    run.check(collided <= 2 * ordinary + 0.3, words)


@scenario(rows=(8,))
def fork_chain(run):
    """A chain of forks as deep as it may be, and four connections that pipeline 128 GETs of the deepest.

    A chain has 1,000 forks; the next is answered 409 in words that say so. Each GET gives the source's content.
    """
    run.create("fork-0", body=b"root")
    deep = run.choose(5000, 1500)
    requests = (request_bytes("PUT", f"fork-{index}", b"", {"Stream-Forked-From": f"/v1/stream/fork-{index - 1}"}) for index in range(1, deep + 1))
    with run.beside():
        answers = list(pipeline(run.client(), requests, 100))
        made = [answer.status for answer in answers].count(201)
        run.check(made == 1000, f"a chain of {made} forks is made, not of 1,000")
        if made < deep:
            refused = answers[made]
            says_so = b"1000" in refused.body.replace(b",", b"")
            run.check(refused.status == 409 and says_so, f"a fork too deep is answered {refused.status} {refused.body!r}")

        def attack():
            for answer in pipeline(run.client(), [request_bytes("GET", f"fork-{made}?offset=-1")] * 128, 128):
                run.check(answer.status == 200 and answer.body == b"root", f"GET of the deepest fork is answered {answer.status}")

        for _ in range(run.choose(3, 1)):
            run.together([attack] * 4, 60)


@scenario(rows=(7,), rss=(500, 300), flags=("--checkpoint-interval", "1s"))
def expiry_storm(run):
    """40,000 streams that all end at one moment.

    Each is answered 404 from then on. 15 s later the server has none of them.
    """
    count = run.choose(40_000, 10_000)
    moment = time.time() + run.choose(8, 3)
    stamp = datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    requests = (request_bytes("PUT", f"soon-{index}", b"12345678", {**TEXT, "Stream-Expires-At": stamp}) for index in range(count))
    with run.beside():
        statuses = {answer.status for answer in pipeline(run.client(), requests)}
        run.check(statuses == {201}, f"PUT is answered {statuses}")
        time.sleep(max(0, moment - time.time()) + 0.5)
        answer = run.once("GET", f"soon-{count - 1}?offset=-1")
        run.check(answer.status == 404, f"GET of an expired stream is answered {answer.status}")
        time.sleep(run.choose(15, 12))
    run.restart()
    left = int(re.findall(r" streams=(\d+)", run.server.log())[-1]) - 2
    run.check(left == 0, f"{left} of {count} expired streams are still there")


@scenario(rows=(13, 40), rss=(600, 400), flags=("--durability", "none", "--checkpoint-interval", "3s"))
def creation_flood(run):
    """Streams created as fast as four pipelining connections can, far beyond the number that is kept in memory.

    Each creation is answered 201.
    """
    limit = time.monotonic() + run.choose(10, 4)

    def create(worker):
        client = run.client()
        for start in itertools.count(step=500):
            if time.monotonic() > limit:
                return
            client.send(b"".join(request_bytes("PUT", f"many-{worker}-{start + index}", b"", TEXT) for index in range(500)))
            statuses = {client.answer().status for _ in range(500)}
            run.check(statuses == {201}, f"PUT is answered {statuses}")

    with run.beside():
        run.together([lambda worker=worker: create(worker) for worker in range(4)], 40)
        time.sleep(run.choose(6, 1))


@scenario(rows=(6,))
def expiry_behind_reader(run):
    """A stream of 30 MB with a TTL of 2 s, whose only reader is a slow one of events that is still catching up.

    The stream stays until the reader leaves, and ends when the TTL has passed since.
    """
    run.create("short", Stream_TTL=2)
    client = run.honest()
    for _ in range(30):
        run.check(client.request("POST", "short", b"y" * 1_000_000, TEXT).status == 204, "an append is refused")
    events = EventStream(run.client(receive=16384), "short")
    with run.beside():
        limit = time.monotonic() + run.choose(8, 5)
        while time.monotonic() < limit and events.end is None:
            events.piece()
            time.sleep(0.05)
        run.check(events.end is None, f"the event stream of a slow reader is {events.end} while its TTL should be kept alive")
        status = client.request("HEAD", "short").status
        run.check(status == 200, f"a stream with a slow reader of events expires: HEAD is answered {status}")
        events.client.close()
        time.sleep(4)
        status = client.request("HEAD", "short").status
        run.check(status == 404, f"4 s after its reader left, a stream with a TTL of 2 s is answered {status}")
