"""Scenarios about the content of requests: large, slow, silent, and expensive to understand."""

import contextlib
import time

from client import Incomplete, request_bytes
from harness import HOST, scenario
from http2 import DATA, END_HEADERS, END_STREAM, HEADERS, frame, request_block

MIB = 1 << 20
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
BODY_LIMIT = 64 * MIB


def lines_at_reader(events, seconds):
    """Reads events until the first control event is whole. Returns how many `event: data`, `data:` lines and `event: control` there are."""
    marks = (b"event: data\n", b"\ndata:", b"event: control\n")
    counts = [0, 0, 0]
    last = b""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and events.end is None:
        piece = events.piece()
        text = last + piece
        for index, mark in enumerate(marks):
            counts[index] += text.count(mark) - last.count(mark)
        last = text[-64:] if counts[2] == 0 else text[-400:]
        if counts[2] and last.endswith(b"\n\n"):
            break
    return counts


@scenario(rows=(2,), rss=(500, 120))
def newlines_live_reader(run):
    """One POST of 64 MiB of newlines, with a live reader of events who takes everything.

    The append is stored. The reader gets it as one data event with a line for each newline and one more, and one control event behind it.
    """
    count = run.choose(BODY_LIMIT, 8 * MIB)
    run.create("lines")
    events = run.events("lines", "now")
    events.read(5, lambda text: b"event: control" in text and text.endswith(b"\n\n"))
    seen = []

    def read():
        events.client.socket.settimeout(20)
        seen.append(lines_at_reader(events, 30))

    def write():
        answer = run.client().request("POST", "lines", b"\n" * count, TEXT)
        run.check(answer.status == 204, f"POST is answered {answer.status}")

    with run.beside():
        run.together([read, write], 40)
    if run.check(bool(seen), "the reader gets nothing"):
        data, lines, control = seen[0]
        run.check((data, control) == (1, 1), f"the reader gets {data} data and {control} control events, not one of each")
        run.check(lines == count + 2, f"the reader gets {lines - 1} lines of data, not {count + 1}")


@scenario(rows=(2,), rss=(700, 300))
def newlines_idle_readers(run):
    """Eight streams, each with a reader of events who takes nothing, and an append of 32 MiB of newlines to each.

    All appends are stored. What waits for the readers stays bounded.
    """
    size = run.choose(32 * MIB, 8 * MIB)
    for index in range(8):
        run.create(f"lines-{index}")
        run.events(f"lines-{index}", "now", receive=16384)
    body = b"\n" * size
    with run.beside():
        for index in range(8):
            answer = run.once("POST", f"lines-{index}", body, TEXT, source=run.attacker)
            run.check(answer.status == 204, f"POST is answered {answer.status}")
        time.sleep(run.choose(3, 1))


def elements(element, size):
    """A JSON array of so many bytes, or a few less."""
    return b"[" + element + (b"," + element) * ((size - 2 - len(element)) // (len(element) + 1)) + b"]"


def json_writer(run, name, body, limit, timeout):
    """What appends a body again and again until `limit`, and the list of what became of it: stored, or refused with 503 and Retry-After."""
    stored = []

    def write():
        client = run.client()
        while time.monotonic() < limit:
            answer = client.request("POST", name, body, JSON, timeout=timeout)
            stored.append(answer.status == 204)
            run.check(answer.status == 204 or (answer.status == 503 and "retry-after" in answer.fields), f"POST is answered {answer.status}")

    return write, stored


@scenario(rows=(2, 3), rss=800)
def json_small_elements(run):
    """Two connections that post a JSON array of 64 MiB of small elements again and again, with a live reader of events.

    Each append is stored, or refused with 503 and Retry-After.
    """
    body = elements(b"1", run.choose(BODY_LIMIT, 8 * MIB))
    run.create("numbers", "application/json")
    events = run.events("numbers", "now")
    limit = time.monotonic() + run.choose(9, 2)
    write, stored = json_writer(run, "numbers", body, limit, 60)

    def read():
        events.client.socket.settimeout(1)
        while time.monotonic() < limit and events.end is None:
            events.piece()

    with run.beside():
        run.together([write, write, read], 60)
    run.check(any(stored), "no append is stored")


@scenario(rows=(3,), rss=500)
def json_late_error(run):
    """JSON arrays of 64 MiB whose only error is the last byte, on two connections in a loop.

    Each is answered 400, and nothing is stored.
    """
    body = elements(b"1", run.choose(BODY_LIMIT, 8 * MIB))[:-1] + b"}"
    run.create("numbers", "application/json")
    limit = time.monotonic() + run.choose(6, 2)

    def write():
        client = run.client()
        while time.monotonic() < limit:
            answer = client.request("POST", "numbers", body, JSON, timeout=60)
            run.check(answer.status == 400, f"POST of false JSON is answered {answer.status}")
            if answer.fields.get("connection") == "close":
                client = run.client()

    with run.beside():
        run.together([write, write], 60)
    read = run.once("GET", "numbers?offset=-1")
    run.check(read.body == b"[]", "something of the false JSON is stored")


@scenario(rows=(3,), rss=700)
def json_shapes(run):
    """JSON bodies of 32 MiB in the shapes that cost most: empty arrays, empty strings, deep nesting, escapes, whitespace.

    Each is valid and stored. A JSON text that is nested deeper than 1,024 levels is answered 400.
    """
    size = run.choose(32 * MIB, 4 * MIB)
    shapes = {
        "empty arrays": elements(b"[]", size),
        "empty strings": elements(b'""', size),
        "nesting": elements(b"[" * 1000 + b"]" * 1000, size),
        "escapes": b'"' + b"\\u0041" * (size // 6 - 1) + b'"',
        "whitespace": b"[" + b" " * (size - 3) + b"1]",
    }
    run.create("shapes", "application/json")
    with run.beside():
        client = run.client()
        for name, body in shapes.items():
            answer = client.request("POST", "shapes", body, JSON, timeout=60)
            run.check(answer.status == 204, f"POST of {name} is answered {answer.status}")
        answer = run.client().request("POST", "shapes", b"[" * 2000 + b"]" * 2000, JSON)
        run.check(answer.status == 400, f"POST of 2,000 levels is answered {answer.status}")


@scenario(rows=(4,), rss=500, flags=("--journal-size", "16MiB"))
def json_journal_full(run):
    """24 writers of JSON of 3.5 MB, with a journal of 16 MiB.

    Each append is stored in its turn, or refused with 503 and Retry-After.
    """
    body = b"[" + b",".join(b'{"k":%d,"v":"abcdefghij"}' % index for index in range(120_000)) + b"]"
    run.create("wide", "application/json")
    limit = time.monotonic() + run.choose(8, 3)
    write, stored = json_writer(run, "wide", body, limit, 30)

    with run.beside():
        run.together([write] * 24, 50)
    run.check(any(stored), "no append is stored")


def trickle(run, connections, data, seconds):
    """Sends the same few bytes on each connection once a second. Returns how many the server has closed."""
    closed = set()
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        for connection in connections:
            try:
                connection.send(data)
            except OSError:
                closed.add(connection)
        time.sleep(1)
    return len(closed)


def honest_uploads(run, source, words):
    """Uploads as ordinary clients make them, beside held bodies: in one segment, in two, chunked, of 100 kB, and over HTTP/2."""
    head = request_bytes("POST", "honest", fields={**TEXT, "Content-Length": 5})
    chunked = request_bytes("POST", "honest", fields={**TEXT, "Transfer-Encoding": "chunked"})
    ways = {"one segment": [head + b"hello"], "two segments": [head, b"hello"], "chunked": [chunked, b"5\r\nhello\r\n", b"0\r\n\r\n"],
            "100 kB": [request_bytes("POST", "honest", b"h" * 100_000, TEXT)]}
    for name, parts in ways.items():
        client = run.client(source=source)
        try:
            for part in parts:
                client.send(part)
                time.sleep(0.05)
            status = client.answer().status
        except (OSError, Incomplete):
            status = "not at all"
        client.close()
        run.check(status == 204, f"an upload ({name}) {words} is answered {status}")
    peer = run.peer(source=source)
    peer.request(1, b"POST", b"/v1/stream/honest", b"hi", [(b"content-type", b"text/plain")])
    status = peer.status(1, 5)
    peer.socket.close()
    run.check(status == 204, f"an upload (HTTP/2) {words} is answered {status}")


@scenario(rows=(5,))
def held_bodies(run):
    """16 uploads of Content-Length 67108864 at about 1 KiB/s.

    Every other upload is stored, also from the same address.
    """
    run.create("honest")
    run.create("held")
    head = request_bytes("POST", "held", fields={**TEXT, "Content-Length": BODY_LIMIT})
    with run.beside():
        held = []
        for _ in range(16):
            held.append(run.connect())
            held[-1].sendall(head + b"x" * 1000)
        time.sleep(0.3)
        honest_uploads(run, HOST, "beside 16 held bodies")
        honest_uploads(run, run.attacker, "beside 16 held bodies of the same address")
        trickle(run, held, b"x" * 1100, run.choose(6, 1))
        honest_uploads(run, HOST, "beside 16 held bodies")


@scenario(rows=(5, 15), rss=1300)
def bodies_that_stop(run):
    """32 uploads of 64 MiB that stop 1 MiB before their end: 2 GiB offered by one address.

    What has arrived is bounded, and the uploads of another address are stored.
    """
    run.create("honest")
    run.create("held")
    part = b"x" * MIB
    count = run.choose(63, 15)
    head = request_bytes("POST", "held", fields={**TEXT, "Content-Length": (count + 1) * MIB})

    def hold():
        connection = run.connect(timeout=4)
        connection.sendall(head)
        for _ in range(count):
            connection.sendall(part)

    with run.beside():
        run.together([hold] * 32, 15)
        honest_uploads(run, HOST, "beside large bodies that stop")


@scenario(rows=(5,))
def slow_bodies(run):
    """2,000 uploads of 64 MiB that send ten bytes a second.

    Every other upload is stored.
    """
    run.create("honest")
    run.create("held")
    head = request_bytes("POST", "held", fields={**TEXT, "Content-Length": BODY_LIMIT})
    with run.beside():
        held = []
        for _ in range(run.descriptors(run.choose(2000, 500))):
            held.append(run.connect())
            held[-1].sendall(head)
        trickle(run, held, b"x" * 10, run.choose(6, 1))
        honest_uploads(run, HOST, "beside 2,000 slow bodies")


@scenario(rows=(33,))
def slow_tokens(run):
    """Uploads at 160 bytes per second for 25 s, as a program streams a model's answer: chunked, with a length, and over HTTP/2.

    Each is answered 204 and stored whole.
    """
    tokens = run.choose(1000, 480)
    whole = b"".join(b"%03d " % (index % 1000) for index in range(tokens))
    for name in ("chunked", "counted", "framed"):
        run.create(name)

    def paced(send):
        start = time.monotonic()
        for index in range(tokens):
            time.sleep(max(0, start + index / 40 - time.monotonic()))
            send(whole[4 * index : 4 * index + 4], index == tokens - 1)

    def over_http1(name, fields, wrap):
        client = run.client()
        client.send(request_bytes("POST", name, fields={**TEXT, **fields}))
        with contextlib.suppress(OSError):  # The answer says why the server has closed.
            paced(lambda token, last: client.send(wrap(token, last)))
        return client.answer().status

    def chunked():
        def chunk(token, last):
            return b"4\r\n" + token + b"\r\n" + (b"0\r\n\r\n" if last else b"")

        return over_http1("chunked", {"Transfer-Encoding": "chunked"}, chunk)

    def counted():
        return over_http1("counted", {"Content-Length": 4 * tokens}, lambda token, last: token)

    def framed():
        peer = run.peer()
        peer.send(frame(HEADERS, END_HEADERS, 1, request_block(b"POST", b"/v1/stream/framed", fields=[(b"content-type", b"text/plain")])))
        paced(lambda token, last: peer.send(frame(DATA, END_STREAM if last else 0, 1, token)))
        return peer.status(1)

    def judged(upload):
        def call():
            try:
                status = upload()
            except (OSError, Incomplete):
                status = "not at all"
            run.check(status == 204, f"an upload at 160 bytes/s ({upload.__name__}) is answered {status}")
        return call

    with run.beside():
        run.together([judged(upload) for upload in (chunked, counted, framed)], 60)
    for name in ("chunked", "counted", "framed"):
        run.check(run.once("GET", name + "?offset=-1").body == whole, f"the upload at 160 bytes/s ({name}) is not stored whole")
