"""Scenarios of HTTP/2: frames that cost the sender nothing, header blocks that grow, windows that stay shut."""

import time

from harness import HOST, scenario
from http2 import (CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FIRST_DYNAMIC, HEADERS, INITIAL_WINDOW_SIZE, PING, PREFACE,
                   PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, Peer, frame, indexed, literal, remembered, request_block, setting)
from readers import TakingReader, take_at_random

MIB = 1 << 20
READ = request_block(b"GET", b"/v1/stream/innocent/read?offset=-1")


def get(stream, block=READ):
    """A whole GET on a stream."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)


def flood(run, pieces, seconds):
    """Sends the pieces that `pieces(turn)` gives, on a connection that reads nothing, and again on a new one when it is closed. Returns how often
    the server has closed, and the error codes of its GOAWAYs."""
    limit = time.monotonic() + seconds
    closed, codes = 0, []
    while time.monotonic() < limit:
        peer = run.peer(timeout=1)
        turn = 0
        while time.monotonic() < limit and not peer.ended and turn < 1000:
            try:
                peer.send(pieces(turn))
            except TimeoutError:
                break
            turn += 1
        closed += peer.wait_for_end(2)
        codes.append(peer.goaway)
        peer.socket.close()
    return closed, codes


def check_calm(run, closed, codes, words):
    run.check(closed > 0, f"the server does not close a connection that floods it with {words}")
    run.check(all(code in (None, ENHANCE_YOUR_CALM) for code in codes), f"a flood of {words} is answered with error codes {set(codes)}")


@scenario()
def http2_rapid_reset(run):
    """Requests that are reset at once, as fast as they can be sent (CVE-2023-44487).

    The connection is closed, with ENHANCE_YOUR_CALM if a word comes through.
    """

    def pieces(turn):
        streams = range(1 + 200 * turn, 201 + 200 * turn, 2)
        return b"".join(get(stream) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08") for stream in streams)

    with run.beside():
        closed, codes = flood(run, pieces, run.choose(6, 2))
    check_calm(run, closed, codes, "resets")


@scenario()
def http2_made_resets(run):
    """Requests with a fault behind them, so that the server resets each itself (CVE-2025-8671).

    The connection is closed.
    """

    def pieces(turn):
        streams = range(1 + 200 * turn, 201 + 200 * turn, 2)
        return b"".join(get(stream) + frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\0") for stream in streams)

    with run.beside():
        closed, _ = flood(run, pieces, run.choose(4, 2))
    run.check(closed > 0, "the server does not close a connection that makes it reset streams")


@scenario()
def http2_idle_frames(run):
    """SETTINGS, PING, PRIORITY, WINDOW_UPDATE, and empty DATA without end, from a peer that reads nothing.

    Each connection is closed, with ENHANCE_YOUR_CALM if a word comes through.
    """
    opened = frame(HEADERS, END_HEADERS, 1, request_block(b"POST", b"/v1/stream/innocent/other", fields=[(b"content-type", b"text/plain")]))
    kinds = {
        "SETTINGS": frame(SETTINGS),
        "PING": frame(PING, payload=b"12345678"),
        "PRIORITY": frame(PRIORITY, 0, 3, b"\0\0\0\0\x10"),
        "empty DATA": frame(DATA, 0, 1),
    }
    with run.beside():
        for words, one in kinds.items():
            closed, codes = flood(run, lambda turn: (b"" if turn else opened) + one * 1000, run.choose(2, 0.5))
            check_calm(run, closed, codes, words)


@scenario()
def http2_continuation_flood(run):
    """A header block that never ends: CONTINUATION frames without END_HEADERS (CVE-2024-27316), large, small, and empty.

    Each connection is closed.
    """
    bodies = {"large": literal(b"x", b"y" * 16000), "small": literal(b"x", b"y"), "empty": b""}
    with run.beside():
        for words, body in bodies.items():
            def pieces(turn):
                return (b"" if turn else frame(HEADERS, END_STREAM, 1, READ)) + frame(CONTINUATION, 0, 1, body) * 60
            closed, _ = flood(run, pieces, run.choose(2, 0.7))
            run.check(closed > 0, f"the server does not close a connection whose header block has {words} CONTINUATION frames without end")


@scenario(rows=(12,))
def http2_header_bomb(run):
    """Ten connections with 23 kB of header blocks each that unpack to 60 MB: each request names one large remembered field 60 times.

    Each connection ends early.
    """
    plain = request_block(b"GET", b"/v1/stream/innocent/read?offset=-1")
    first = get(1, plain + remembered(b"x", b"y" * 4000))
    bomb = b"".join(get(stream, plain + indexed(FIRST_DYNAMIC) * 60) for stream in range(3, 483, 2))
    with run.beside():
        for _ in range(run.choose(4, 1)):
            peers = [run.peer() for _ in range(10)]
            for peer in peers:
                peer.send(first)
            time.sleep(0.5)
            for peer in peers:
                peer.send(bomb)
            ended = sum(peer.wait_for_end(1) for peer in peers)
            run.check(ended == len(peers), f"{len(peers) - ended} of {len(peers)} connections go on after a header bomb")


@scenario(rows=(12, 15), rss=(400, 200))
def http2_large_heads(run):
    """200 connections with 200 open requests each, whose heads are just within the limit.

    What is kept for all of them stays bounded.
    """
    run.create("idle")
    fields = [(b"x-large", b"x" * 30_000)]
    block = request_block(b"GET", b"/v1/stream/idle?offset=now&live=long-poll", fields=fields)

    def head(stream):
        parts = [block[at : at + 16384] for at in range(0, len(block), 16384)]
        last = len(parts) - 1
        return b"".join(
            frame(CONTINUATION if index else HEADERS, (END_HEADERS if index == last else 0) | (0 if index else END_STREAM), stream, part)
            for index, part in enumerate(parts))

    with run.beside():
        for _ in range(run.choose(200, 40)):
            peer = run.peer(timeout=1)
            try:
                for stream in range(1, 401, 2):
                    peer.send(head(stream))
            except TimeoutError:
                continue


@scenario(rows=(14, 15), rss=(400, 200))
def http2_window_zero(run):
    """100 connections with 200 GETs of 1 MiB each, whose windows are shut or open by one byte at a time.

    What waits for them stays bounded.
    """
    run.create("large", body=b"x" * MIB)
    request = request_block(b"GET", b"/v1/stream/large?offset=-1")
    count = run.choose(100, 30)
    with run.beside():
        peers = [run.peer(setting(INITIAL_WINDOW_SIZE, index % 2)) for index in range(count)]
        for peer in peers:
            peer.send(b"".join(get(stream, request) for stream in range(1, 401, 2)))
        limit = time.monotonic() + run.choose(5, 1)
        stream = 1
        while time.monotonic() < limit:
            for peer in peers:
                peer.send(frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\1"))
            stream = stream % 399 + 2
            time.sleep(0.1)


@scenario(rows=(5, 15), rss=(1300, 600))
def http2_bodies_that_stop(run):
    """100 connections with 100 uploads each that fill their windows and stop.

    What has arrived is bounded, and the uploads of others are stored.
    """
    run.create("honest")
    run.create("held")
    block = request_block(b"POST", b"/v1/stream/held", fields=[(b"content-type", b"text/plain"), (b"content-length", b"67108864")])
    with run.beside():
        for _ in range(run.choose(100, 30)):
            peer = run.peer(timeout=1)
            try:
                for stream in range(1, 201, 2):
                    peer.send(frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, 0, stream, b"x" * 10_000))
            except TimeoutError:
                continue
        time.sleep(1)
        peer = Peer(run.connect(source=HOST))
        peer.request(1, b"POST", b"/v1/stream/honest", b"hi", [(b"content-type", b"text/plain")])
        status = peer.status(1, 5)
        run.check(status == 204, f"an upload over HTTP/2 beside uploads that stop is answered {status}")
        answer = run.once("POST", "honest", b"h" * 100_000, {"Content-Type": "text/plain"})
        run.check(answer.status == 204, f"an upload beside uploads over HTTP/2 that stop is answered {answer.status}")


@scenario(rows=(2, 32), rss=400)
def http2_event_readers(run):
    """100 readers of events over HTTP/2 who take nothing, and an append of 8 MiB of newlines; one reader beside them takes everything.

    The append is stored. The eager reader gets a line for each newline and one more.
    """
    count = run.choose(8, 2) * MIB
    run.create("lines")
    block = request_block(b"GET", b"/v1/stream/lines?offset=now&live=sse")
    for _ in range(10):
        peer = run.peer(setting(INITIAL_WINDOW_SIZE, 0), receive=16384)
        peer.send(b"".join(get(stream, block) for stream in range(1, 21, 2)))
    eager = run.peer(setting(INITIAL_WINDOW_SIZE, (1 << 31) - 1))
    eager.send(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")) + get(1, block))
    run.check(eager.status(1) == 200, "a reader of events over HTTP/2 is refused")
    lines = [0]

    def read():
        last = b""
        for kind, _, _, payload in eager.frames(20):
            if kind == DATA:
                text = last + payload
                lines[0] += text.count(b"data:\n")
                last = text[-5:]
            if lines[0] > count:
                return

    def write():
        answer = run.client().request("POST", "lines", b"\n" * count, {"Content-Type": "text/plain"})
        run.check(answer.status == 204, f"POST is answered {answer.status}")

    with run.beside():
        run.together([read, write], 40)
    run.check(lines[0] == count + 1, f"the reader gets {lines[0]} lines, not {count + 1}")


class SharedReader(TakingReader):
    """60 GETs of one large stream over HTTP/2 with TLS, whose answers share the connection; its windows are always open."""

    def __init__(self, run, body):
        requests = b"".join(
            get(stream, request_block(b"GET", b"/v1/stream/large?offset=-1", b"https"))
            for stream in range(1, 121, 2))
        windows = frame(SETTINGS, payload=setting(INITIAL_WINDOW_SIZE, (1 << 31) - 1)) + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big"))
        super().__init__(run, PREFACE + windows + requests, "h2")
        self.body, self.filled, self.whole = body, {}, 0

    def compare(self):
        """Compares each piece of DATA with the same piece of what is stored."""
        while len(self.buffer) >= 9 and len(self.buffer) >= 9 + (size := int.from_bytes(self.buffer[:3], "big")):
            kind, stream = self.buffer[3], int.from_bytes(self.buffer[5:9], "big")
            if kind == DATA:
                at = self.filled.get(stream, 0)
                self.run.check(self.buffer[9 : 9 + size] == self.body[at : at + size], "an answer over HTTP/2 with TLS has other bytes")
                self.filled[stream] = at + size
                self.whole += at + size == len(self.body)
            del self.buffer[: 9 + size]
        self.run.check(not self.ended or self.whole == 60, "a connection over HTTP/2 with TLS ends before all its answers")
        self.ended = self.ended or self.whole == 60


@scenario(rows=(1,), rss=500)
def http2_tls_shares(run):
    """24 TLS connections of HTTP/2 with 60 GETs each of 900 kB, which take random amounts at random times.

    Every byte arrives as it is stored, and the server survives.
    """
    body = bytes(range(256)) * 3500
    run.create("large", body=body)
    with run.beside():
        take_at_random(run, lambda: SharedReader(run, body), run.choose(10, 5))
