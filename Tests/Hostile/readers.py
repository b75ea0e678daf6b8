"""Scenarios about readers: slow, silent, cut off, and those who read what nobody can show as it is."""

import random
import re
import select
import socket
import ssl
import time

from client import BASE, request_bytes
from harness import scenario

MIB = 1 << 20
TEXT = {"Content-Type": "text/plain"}


def fill(run, name, megabytes, kind="text/plain", **fields):
    """A stream of so many appends of 1 MiB."""
    run.create(name, kind, **fields)
    client = run.honest()
    for index in range(megabytes):
        answer = client.request("POST", name, bytes([97 + index % 26]) * MIB, {"Content-Type": kind})
        run.check(answer.status == 204, f"POST is answered {answer.status}")
    client.close()


@scenario(rows=(1,), rss=500)
def tls_pipelined_shares(run):
    """24 TLS connections with 60 pipelined GETs each of about 1 MiB, which take random amounts at random times.

    Every byte arrives as it is stored, and the server survives.
    """
    dice = random.Random(1)
    bodies = {}
    for index in range(8):
        bodies[index] = bytes([97 + index]) * (700_000 + dice.randrange(300_000))
        run.create(f"large-{index}", body=bodies[index])

    def start():
        return PipelinedReader(run, [(f"large-{index}?offset=-1", bodies[index]) for index in (dice.randrange(8) for _ in range(60))])

    with run.beside():
        take_at_random(run, start, run.choose(14, 10))


def take_at_random(run, start, seconds):
    """24 readers that `start` makes take random amounts at random times; one that has ended is followed by another."""
    dice = random.Random(2)
    readers = [start() for _ in range(24)]
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and run.server.alive():
        for reader in readers:
            reader.want = dice.choice((0, 60_000, 200_000, 500_000, 900_000))
        # The server stands still while the readers take, as on a busy machine, so that it meets all of them in one turn.
        with run.server.paused():
            for reader in readers * 4:
                reader.take()
        for reader in readers:
            reader.compare()
        readers = [start() if reader.ended else reader for reader in readers]
        time.sleep(0.004)


class TakingReader:
    """A TLS connection that has asked for everything, and takes `want` bytes at a time."""

    def __init__(self, run, request, protocol=None):
        self.run = run
        self.connection = run.connect(tls=True, receive=400_000, segment=1400, protocol=protocol)
        self.connection.sendall(request)
        self.connection.setblocking(False)
        self.buffer = bytearray()
        self.want = 0
        self.ended = False

    def take(self):
        """Takes what has arrived, up to what it wants."""
        while self.want > 0 and not self.ended:
            try:
                data = self.connection.recv(min(self.want, 65536))
            except (ssl.SSLWantReadError, BlockingIOError):
                return
            except OSError:
                data = b""
            self.ended = not data
            self.buffer += data
            self.want -= len(data)


class PipelinedReader(TakingReader):
    """One that has sent many requests over HTTP/1.1."""

    def __init__(self, run, targets):
        super().__init__(run, b"".join(request_bytes("GET", name) for name, _ in targets))
        self.bodies = [body for _, body in targets]

    def compare(self):
        """Compares the answers that are whole with what is stored."""
        while self.bodies and (end := self.buffer.find(b"\r\n\r\n")) >= 0 and len(self.buffer) >= end + 4 + len(self.bodies[0]):
            body = self.bodies.pop(0)
            whole = end + 4 + len(body)
            good = self.buffer.startswith(b"HTTP/1.1 200 ") and self.buffer[end + 4 : whole] == body
            self.run.check(good, "an answer over TLS has other bytes")
            del self.buffer[:whole]
        self.run.check(not self.ended or not self.bodies, "a connection ends before all its answers")
        self.ended = self.ended or not self.bodies


class TakingEventReader(TakingReader):
    """One that reads the events of a stream whose text is one letter, over and over."""

    def __init__(self, run, name, letter):
        super().__init__(run, request_bytes("GET", f"{name}?offset=-1&live=sse"))
        self.letter = letter

    def compare(self):
        """Long runs have to consist of that letter only; then what has been seen is dropped."""
        for line in bytes(self.buffer).split(b"\n")[:-1]:
            if line.startswith(b"data:" + self.letter * 100):
                text = re.sub(rb"\r\n[0-9a-f]+\r", b"", line[5:])
                self.run.check(text.strip(self.letter + b"\r") == b"", "an event over TLS has other bytes")
        del self.buffer[: self.buffer.rfind(b"\n") + 1]


@scenario(rows=(1,), rss=500)
def tls_event_shares(run):
    """24 readers of events over TLS who take random amounts at random times, while 1 MB is appended again and again.

    Every byte arrives as it is stored, and the server survives.
    """
    run.create("events", body=b"e" * 3_000_000)
    limit = time.monotonic() + run.choose(10, 5)

    def write():
        client = run.client()
        while time.monotonic() < limit:
            answer = client.request("POST", "events", b"e" * 1_000_000, TEXT)
            run.check(answer.status == 204, f"POST is answered {answer.status}")
            time.sleep(0.2)

    with run.beside():
        run.together([write, lambda: take_at_random(run, lambda: TakingEventReader(run, "events", b"e"), limit - time.monotonic())], 40)


@scenario(rows=(1,), rss=400)
def tls_slow_readers(run):
    """200 TLS connections that ask for 16 MiB each and take nothing, 50 of them with events.

    What waits for them stays bounded.
    """
    fill(run, "large", 16)
    with run.beside():
        for index in range(run.choose(200, 50)):
            connection = run.connect(tls=True, receive=16384)
            live = "&live=sse" if index % 4 == 0 else ""
            connection.sendall(b"".join(request_bytes("GET", f"large?offset=-1{live}") for _ in range(16)))
        time.sleep(run.choose(6, 1))


@scenario(rows=(14, 15))
def slow_readers(run):
    """2,000 connections that ask 16 times for 1 MiB each and take nothing.

    What waits for them stays bounded.
    """
    fill(run, "large", 16)
    with run.beside():
        for _ in range(run.descriptors(run.choose(2000, 300))):
            connection = run.connect(receive=16384)
            connection.sendall(b"".join(request_bytes("GET", "large?offset=-1") for _ in range(16)))
        time.sleep(run.choose(4, 1))


@scenario(rows=(14,), flags=("--peer-timeout", "2s"))
def one_byte_reader(run):
    """200 readers of an append of 32 MiB who take one byte every 0.2 s, half of them with events; the time limit for peers is 2 s.

    The server lets go of each of them within 12 s.
    """
    run.create("large", body=b"x" * (32 * MIB))
    without = run.server.descriptors() + 4
    readers = []
    for index in range(run.choose(200, 40)):
        connection = run.connect(receive=2048, segment=536)
        connection.sendall(request_bytes("GET", "large?offset=-1" + ("&live=sse" if index % 2 else "")))
        connection.setblocking(False)
        readers.append(connection)
    with run.beside():
        limit = time.monotonic() + 12
        while time.monotonic() < limit and run.server.descriptors() > without + len(readers) // 20:
            for reader in readers:
                take_one(reader)
            time.sleep(0.2)
        left = run.server.descriptors() - without
    run.check(left <= len(readers) // 20, f"about {left} of {len(readers)} readers of one byte per 0.2 s keep their places after 12 s")


def take_one(connection):
    """One byte, if there is one."""
    try:
        connection.recv(1)
    except OSError:
        pass


@scenario(rows=(14,), rss=(600, 560))
def pinned_tails(run):
    """60 streams with one append of 16 MiB each, and for each a reader who has begun to take it and takes no more.

    All appends are stored. What the readers keep in memory stays bounded.
    """
    with run.beside():
        for index in range(run.choose(60, 30)):
            run.create(f"pinned-{index}", body=b"x" * (16 * MIB))
            run.connect(receive=16384).sendall(request_bytes("GET", f"pinned-{index}?offset=-1"))
        time.sleep(run.choose(3, 1))


@scenario(rows=(14,), flags=("--peer-timeout", "3s"), rss=400)
def trickling_readers(run):
    """100 readers of 64 MiB who take 64 KiB every second, and so never stay silent; others read at an honest pace beside them.

    What waits for them stays bounded, and the honest reader gets every byte.
    """
    fill(run, "large", 64)
    readers = []
    for index in range(100):
        connection = run.connect(receive=32768)
        connection.sendall(b"".join(request_bytes("GET", "large?offset=-1") for _ in range(20)) if index % 2 else
                           request_bytes("GET", "large?offset=-1&live=sse"))
        readers.append(connection)
    with run.beside():
        limit = time.monotonic() + run.choose(8, 3)
        while time.monotonic() < limit:
            for connection in select.select(readers, [], [], 0)[0]:
                try:
                    if not connection.recv(65536):
                        readers.remove(connection)
                except OSError:
                    readers.remove(connection)
            time.sleep(1)
    run.check(len(run.whole("large")) == 64 * MIB, "an honest reader does not get all bytes")


@scenario(rows=(2,), rss=400)
def newlines_many_readers(run):
    """200 readers of events, every second of whom takes nothing, and appends of 1 MB of newlines.

    Each append is stored, and the other readers get all of it.
    """
    appends = run.choose(3, 1)
    readers = run.choose(200, 60)
    run.create("lines")
    for _ in range(readers // 2):
        run.events("lines", "now", receive=16384)
    eager = {events.client.socket: LineCount(events) for events in (run.events("lines", "now") for _ in range(readers // 2))}
    ended = []

    def drain():
        limit = time.monotonic() + run.choose(12, 6)
        while eager and time.monotonic() < limit:
            for connection in select.select(list(eager), [], [], 0.2)[0]:
                reader = eager[connection]
                reader.take()
                if reader.events.end:
                    ended.append(connection)
                if reader.events.end or reader.count >= appends * 1_000_000:
                    del eager[connection]

    def write():
        client = run.client()
        for _ in range(appends):
            answer = client.request("POST", "lines", b"\n" * 1_000_000, TEXT)
            run.check(answer.status == 204, f"POST is answered {answer.status}")

    with run.beside():
        run.together([drain, write], 40)
    run.check(not ended, f"{len(ended)} readers who take everything are cut off")
    run.check(not eager, f"{len(eager)} readers who take everything miss lines")


class LineCount:
    """Counts the empty lines of data that a reader of events gets."""

    def __init__(self, events):
        self.events, self.count, self.last = events, 0, b""

    def take(self):
        """Counts in what has arrived."""
        text = self.last + self.events.piece()
        self.count += text.count(b"data:\n")
        self.last = text[-5:]


def cut_reader(run, end, **options):
    """A slow reader of events, an append of 9 MB, and then the server's end; the reader takes the rest. Returns the reader."""
    run.create("story")
    events = run.events("story", receive=65536, **options)
    events.read(5, lambda text: b"event: control" in text)
    run.once("POST", "story", b"one line of many\n" * 530_000, TEXT)
    events.read(0.3, lambda text: len(text) > 50_000)
    end()
    events.read(15)
    return events


def check_cut(run, events, words):
    """The reader can tell that its body is not whole."""
    run.check(events.head.fields.get("transfer-encoding") == "chunked", "an event stream on HTTP/1.1 is not chunked")
    run.check("content-length" not in events.head.fields, "an event stream has a Content-Length")
    run.check(len(events.text) < 9_000_000, "the reader was not slow enough for this scenario")
    run.check(events.end in ("cut", "reset"), f"an event stream that {words} cuts inside an event looks {events.end}")


@scenario(rows=(32,))
def events_cut_by_kill(run):
    """A slow reader of events, one append of 9 MB, and kill -9.

    The reader sees a chunked body without its end. What the server acknowledged is there after the next start.
    """
    check_cut(run, cut_reader(run, run.server.kill), "kill -9")
    run.start()
    run.check(len(run.whole("story")) == 17 * 530_000, "an acknowledged append is gone after kill -9")


@scenario(rows=(32,), flags=("--drain-timeout", "1s"))
def events_cut_by_stop(run):
    """The same slow reader, and an ordinary stop that outlasts drain-timeout.

    The reader sees a chunked body without its end, and the server ends with status 0.
    """
    statuses = []
    check_cut(run, cut_reader(run, lambda: statuses.append(run.server.stop())), "an ordinary stop")
    run.check(statuses == [0], f"the server ends with {statuses}")
    run.start()


@scenario(rows=(32,), flags=("--sse-interval", "1s"))
def events_whole(run):
    """Event streams that end as they should: of a closed stream, after the interval, and on HTTP/1.0.

    The first two have their last chunk. HTTP/1.0 has no chunks and ends with the connection.
    """
    run.create("ended", body=b"all of it", Stream_Closed="true")
    run.create("open", body=b"some of it")
    for name, words in (("ended", "of a closed stream"), ("open", "whose time is over")):
        events = run.events(name)
        events.read(5)
        run.check(events.head.fields.get("transfer-encoding") == "chunked", "an event stream on HTTP/1.1 is not chunked")
        run.check(events.end == "complete", f"an event stream {words} ends {events.end}")
    run.check('"streamClosed":true' in last_event(run, "ended"), "the last control event of a closed stream does not say so")
    old = run.events("ended", version="1.0")
    old.read(5)
    run.check("transfer-encoding" not in old.head.fields, "an answer to HTTP/1.0 is chunked")
    run.check(old.events()[:1] and old.events()[0][1] == "all of it", "HTTP/1.0 gets other events")


def last_event(run, name):
    """The data of the last event of a stream that is closed."""
    events = run.events(name)
    events.read(5)
    return events.events()[-1][1]


@scenario(rows=(37,))
def events_of_bad_text(run):
    """A text stream with bytes that are no UTF-8, as a reader of events gets them from the start and live.

    Each maximal ill-formed part arrives as U+FFFD; GET gives the bytes as they are. A character that is not complete yet waits for its rest.
    """
    parts = [b"good \xff bad", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\x80 whole", b"\xe2\x82", b"x", b"\xf4\x90\x80\x80", b"\x80\x80"]
    whole = b"".join(parts)
    run.create("text")
    live = run.events("text")
    live.read(2, lambda text: b"event: control" in text)
    client = run.honest()
    for part in parts:
        run.check(client.request("POST", "text", part, TEXT).status == 204, "an append of bad text is refused")
    client.request("POST", "text", None, {"Stream-Closed": "true", "Content-Length": 0})
    late = run.events("text")
    for events, words in ((live, "live"), (late, "from the start")):
        events.read(5)
        try:
            bytes(events.text).decode("utf-8")
        except UnicodeDecodeError:
            run.check(False, f"events ({words}) hold bytes that are no UTF-8")
        data = "".join(value for kind, value, _ in events.events() if kind == "data")
        run.check(data == whole.decode("utf-8", "replace"), f"events ({words}) hold another text: {data!r}")
        run.check(events.end == "complete", f"the event stream ({words}) of a closed stream ends {events.end}")
    run.check(run.once("GET", "text?offset=-1").body == whole, "GET gives other bytes than were appended")


@scenario(rows=(39,), flags=("--sse-heartbeat", "1s"), setting="sse-heartbeat")
def heartbeat(run):
    """An idle reader of events for 4 s, with a heartbeat each second, over HTTP/1.1 and beside 500 others.

    Comment lines arrive, and no event.
    """
    run.create("idle")
    with run.beside():
        events = run.events("idle", "now")
        for _ in range(500):
            run.connect().sendall(request_bytes("GET", "idle?offset=now&live=sse"))
        events.read(4)
    lines = bytes(events.text).split(b"\n")
    beats = sum(line.startswith(b":") for line in lines)
    run.check(2 <= beats <= 5, f"{beats} heartbeats come in 4 s, not one each second")
    run.check(bytes(events.text).count(b"event: ") == 1, "an idle event stream gets events")


@scenario()
def events_have_identities(run):
    """Readers of events who come back with Last-Event-ID.

    Each event ends with an id, a data event with that of the control event behind it, and the reader goes on from there, whatever `offset` says.
    """
    run.create("story", body=b"first,")
    run.once("POST", "story", b"second", TEXT)
    events = run.events("story")
    events.read(3, lambda text: b'"upToDate":true' in text and text.endswith(b"\n\n"))
    found = events.events()
    if not run.check(all(identity for _, _, identity in found), "an event has no id"):
        return
    identities = [identity for _, _, identity in found]
    run.check(identities[0::2] == identities[1::2], "a data event has another id than its control event")
    client = run.client()
    client.send(f"GET {BASE}story?offset=-1&live=sse HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {found[-1][2]}\r\n\r\n".encode())
    run.check(client.head().status == 200, "a reader with Last-Event-ID is refused")
    client.socket.settimeout(1)
    text = b""
    try:
        while data := client.receive():
            text += data
    except socket.timeout:
        pass
    run.check(b"event: control" in text and b"event: data" not in text, "a reader with Last-Event-ID gets what it has already")
    run.once("POST", "story", b"", {"Stream-Closed": "true"})
    answer = run.once("GET", "story?offset=-1&live=sse", fields={"Last-Event-ID": found[-1][2]})
    run.check(answer.status == 204, f"Last-Event-ID at the end of a closed stream is answered {answer.status}")


@scenario(rows=(14, 15))
def resets(run):
    """Connections that reset themselves: in a head, in a body, in an answer, and while they wait.

    The server takes no notice.
    """
    run.create("large", body=b"x" * MIB)
    inputs = [
        b"GET /v1/str",
        request_bytes("POST", "large", fields={**TEXT, "Content-Length": 1000}) + b"x" * 500,
        request_bytes("GET", "large?offset=-1") * 8,
        request_bytes("GET", "large?offset=now&live=long-poll"),
        request_bytes("GET", "large?offset=now&live=sse"),
    ]
    with run.beside():
        limit = time.monotonic() + run.choose(6, 2)
        while time.monotonic() < limit:
            group = [run.connect() for _ in range(50)]
            for index, connection in enumerate(group):
                connection.sendall(inputs[index % len(inputs)])
            for connection in group:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
    read = run.once("GET", "large?offset=-1")
    run.check(len(read.body) == MIB, "a body that was reset is stored")
