"""The load of Tests/Soak/run: writers, and readers of every kind, that know what every answer has to be.

    writers    a third of the connections; each owns one stream at a time:
               create ─▶ append … (idempotent producers with duplicates, lost answers and new epochs; or plain) ─▶ close ─▶ read back
               ─▶ delete ─▶ 404 ─▶ the next stream
    readers    the rest; each follows one writer's stream from its start by catch-up, long-poll or server-sent events

Invariant: the content of append i of a stream is a function of (seed, stream, i), so a reader knows every byte in advance. A reader
must see 0, 1, 2 … without gap or repeat, at the offsets that the stored form gives (PROTOCOL.md 5 and 8), never more than was sent, and,
when it is told that it is up to date, never less than was acknowledged before it asked. A closed stream ends after its last append.
Memory: after the warm-up (a fifth of the time, at most 60 s) neither resident memory nor descriptors may leave their bounds.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import random
import statistics
import sys
import time

HOST = "127.0.0.1"
BINARY, TEXT, JSON = "application/octet-stream", "text/plain", "application/json"


class Wrong(Exception):
    """An answer that is not what it has to be: ends the run."""


class Content:
    """Pseudo-random material from which every append is cut."""

    def __init__(self, seed):
        generator = random.Random(seed)
        self.binary = generator.randbytes(4 << 20)
        alphabet = "abcdefghijklmnopqrstuvwxyz0123456789 .,:;äöüßéñ漢字€😀\n"
        self.text = "".join(generator.choices(alphabet, k=2 << 20))
        self.seed = seed

    def size_and_place(self, stream, index, limit):
        digest = hashlib.blake2b(f"{self.seed}/{stream}/{index}".encode(), digest_size=16).digest()
        kind = digest[0]
        small = int.from_bytes(digest[1:3], "big")
        if kind < 200:
            size = 1 + small % 400
        elif kind < 250:
            size = 1 + small % 8000
        elif kind < 255:
            size = 60_000 + small * 2
        else:
            size = 1_100_000 + small
        size = min(size, limit)
        return size, int.from_bytes(digest[4:8], "big") % (limit - size + 1)

    def append(self, stream, kind, index):
        """The body of an append, and its stored form."""
        if kind == BINARY:
            size, place = self.size_and_place(stream, index, len(self.binary))
            body = self.binary[place : place + size]
            return body, body
        size, place = self.size_and_place(stream, index, len(self.text))
        text = f"{stream} {index} " + self.text[place : place + size]
        if kind == TEXT:
            body = text.encode()
            return body, body
        messages = [{"stream": stream, "index": index, "text": text}]
        if index % 3 == 1:
            messages += [[index, 12345678901234567890, None]] * (1 + index % 5)
        if index % 17 == 2:
            messages += [1] * 25_000  # grows in stored form
        parts = [json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() for message in messages]
        body = parts[0] if len(parts) == 1 else b"[" + b",".join(parts) + b"]"
        return body, b"".join(part + b",\n" for part in parts)


class Stream:
    """What its writer has sent and been told."""

    def __init__(self, name, kind, count):
        self.name, self.kind, self.count = name, kind, count
        self.ends = [0]  # stored position after each append that was sent
        self.stored = []  # stored form of each append that was sent and may still be read
        self.acknowledged = 0
        self.closing = False
        self.deleting = False
        self.readers = 0

    def sent(self, stored):
        self.stored.append(stored)
        self.ends.append(self.ends[-1] + len(stored))


def offset(position):
    return f"{0:016d}_{position:016d}"


def position_of(token):
    if len(token) != 33 or token[:17] != "0" * 16 + "_" or not token[17:].isdigit():
        raise Wrong(f"offset {token!r}")
    return int(token[17:])


class Connection:
    """One HTTP/1.1 connection, reopened when the server or the test has ended it."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def open(self):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(HOST, self.port, limit=8 << 20)

    async def drop(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None
            await asyncio.sleep(0)

    def head(self, method, target, fields, body):
        lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}:{self.port}"] + [f"{name}: {value}" for name, value in fields.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines + ["", ""]).encode()

    async def send(self, method, target, fields={}, body=None, chunked=False):
        await self.open()
        if chunked and body:
            fields = dict(fields, **{"Transfer-Encoding": "chunked"})
            cut = len(body) // 3
            parts = [part for part in (body[:cut], body[cut:]) if part]
            self.writer.write(self.head(method, target, fields, None))
            for part in parts:
                self.writer.write(b"%x\r\n" % len(part) + part + b"\r\n")
            self.writer.write(b"0\r\n\r\n")
        else:
            self.writer.write(self.head(method, target, fields, body) + (body or b""))
        await self.writer.drain()

    async def receive_head(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {}
        for line in head[1:-2]:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return int(head[0].split(" ")[1]), fields

    async def receive(self, method):
        status, fields = await self.receive_head()
        body = b""
        if method != "HEAD" and status not in (204, 304):
            body = await self.reader.readexactly(int(fields["content-length"]))
        if fields.get("connection") == "close":
            await self.drop()
        return status, fields, body

    async def ask(self, method, target, fields={}, body=None, chunked=False):
        for attempt in range(2):
            reused = self.writer is not None
            try:
                await self.send(method, target, fields, body, chunked)
                async with asyncio.timeout(60):
                    return await self.receive(method)
            except (asyncio.IncompleteReadError, ConnectionError):
                await self.drop()
                # A kept-alive connection may have been ended meanwhile; what is not idempotent is not repeated.
                if not reused or attempt or method == "POST":
                    raise
        raise AssertionError


class Soak:
    def __init__(self, arguments):
        self.port, self.pid, self.seconds = arguments.port, arguments.pid, arguments.seconds
        self.connections, self.seed = arguments.connections, arguments.seed
        self.content = Content(self.seed)
        self.streams = {}  # writer number -> stream that readers may follow
        self.ending = False
        self.counts = {}
        self.samples = []

    def count(self, what, by=1):
        self.counts[what] = self.counts.get(what, 0) + by

    # MARK: Writers

    async def writer(self, number):
        chance = random.Random(self.seed * 1_000_003 + number)
        connection = Connection(self.port)
        generation = 0
        while not self.ending:
            kind = (BINARY, TEXT, JSON)[number % 3]
            stream = Stream(f"soak/{number}/{generation}", kind, chance.choice((3, 30, 100, 300)))
            await self.life(stream, connection, chance)
            # Every fourth name is used again: the new stream shares nothing with the old one. Readers follow only the first, and
            # have all been told of its end before: their offsets mean nothing in the second.
            if generation % 4 == 3:
                while stream.readers and not self.ending:
                    await asyncio.sleep(0.05)
                if self.ending:
                    break
                await self.life(Stream(stream.name, kind, 5), connection, chance, followed=False)
            generation += 1
        await connection.drop()

    async def life(self, stream, connection, chance, followed=True):
        target = f"/v1/stream/{stream.name}"
        typed = {"Content-Type": stream.kind}
        status, fields, _ = await connection.ask("PUT", target, dict(typed, **chance.choice(({}, {"Stream-TTL": "3600"}))), b"")
        self.expect(status, (201,), "create", stream)
        self.count("create")
        if followed:
            self.streams[int(stream.name.split("/")[1])] = stream
        produces = chance.random() < 0.75
        epoch = sequence = 0
        early = chance.random() < 0.15  # deleted while it is being read
        for index in range(stream.count):
            if self.ending:
                break
            body, stored = self.content.append(stream.name, stream.kind, index)
            stream.sent(stored)
            if not produces:
                status, fields, _ = await self.patiently(connection, "POST", target, typed, body, chance)
                self.expect(status, (204,), "append", stream)
            else:
                if chance.random() < 0.01:
                    epoch, sequence = epoch + 1, 0
                named = dict(typed, **{"Producer-Id": "p", "Producer-Epoch": epoch, "Producer-Seq": sequence})
                statuses = (200,)
                if chance.random() < 0.03:
                    # The answer is lost: the same request again is taken once.
                    await connection.send("POST", target, named, body)
                    await asyncio.sleep(chance.choice((0, 0, 0.001, 0.02)))
                    await connection.drop()
                    statuses = (200, 204)
                    self.count("lost answer")
                status, fields, _ = await self.patiently(connection, "POST", target, named, body, chance)
                self.expect(status, statuses, "append by a producer", stream)
                if fields.get("producer-seq") != str(sequence) or fields.get("producer-epoch") != str(epoch):
                    raise Wrong(f"{stream.name}: producer state {fields}")
                if chance.random() < 0.05:
                    again, other, _ = await self.patiently(connection, "POST", target, named, body, chance)
                    self.expect(again, (204,), "duplicate", stream)
                    if other["stream-next-offset"] != fields["stream-next-offset"]:
                        raise Wrong(f"{stream.name}: a duplicate moved the tail")
                    self.count("duplicate")
                sequence += 1
            if fields["stream-next-offset"] != offset(stream.ends[-1]):
                raise Wrong(f"{stream.name}: tail {fields['stream-next-offset']} after append {index}, expected {stream.ends[-1]}")
            stream.acknowledged = index + 1
            self.count("append")
            self.count("bytes appended", len(body))
            await asyncio.sleep(chance.expovariate(1 / 0.02))
        if not early:
            stream.closing = True
            status, fields, _ = await self.patiently(connection, "POST", target, {"Stream-Closed": "true"}, b"", chance)
            self.expect(status, (204,), "close", stream)
            if fields.get("stream-closed") != "true" or fields["stream-next-offset"] != offset(stream.ends[-1]):
                raise Wrong(f"{stream.name}: closed at {fields}")
            await self.catch_up(stream, connection, expected_end=len(stream.stored))
            for _ in range(100):
                if stream.readers == 0 or self.ending:
                    break
                await asyncio.sleep(0.1)
        stream.deleting = True
        status, _, _ = await self.patiently(connection, "DELETE", target, {}, None, chance)
        self.expect(status, (204,), "delete", stream)
        status, _, _ = await connection.ask("GET", target + "?offset=-1")
        self.expect(status, (404,), "read after delete", stream)
        self.count("delete")

    async def patiently(self, connection, method, target, fields, body, chance):
        """Asks again as long as the server says that it cannot do it now; that is counted and reported."""
        for _ in range(60):
            answer = await connection.ask(method, target, fields, body, chunked=bool(body) and chance.random() < 0.1)
            if answer[0] not in (503, 507):
                return answer
            if "retry-after" not in answer[1]:
                raise Wrong(f"{answer[0]} without Retry-After")
            self.count(f"{method} answered {answer[0]}")
            await asyncio.sleep(0.2)
        raise Wrong(f"{method} {target}: {answer[0]} for 12 seconds: {answer[2][:200]!r}")

    def expect(self, status, wanted, what, stream):
        if status not in wanted:
            raise Wrong(f"{stream.name}: {what} was answered {status}, expected {wanted}")

    # MARK: Readers

    async def reader(self, number):
        chance = random.Random(self.seed * 7_000_003 + number)
        connection = Connection(self.port)
        follow = (self.catch_up, self.long_poll, self.events, self.events)[number % 4]
        while not self.ending:
            if not self.streams:
                await asyncio.sleep(0.01)
                continue
            stream = self.streams[chance.choice(list(self.streams))]
            if stream.deleting:
                await asyncio.sleep(0.05)
                continue
            stream.readers += 1
            try:
                await follow(stream, connection)
            finally:
                stream.readers -= 1
        await connection.drop()

    def check(self, stream, at, stored, where):
        """Stored bytes that were read from `at`; the position after them."""
        end = at + len(stored)
        if end > stream.ends[-1]:
            raise Wrong(f"{stream.name}: {where} gave bytes up to {end}, only {stream.ends[-1]} were sent")
        low, high = 0, len(stream.ends) - 1  # the last append that begins at or before `at`
        while low < high:
            middle = (low + high + 1) // 2
            if stream.ends[middle] <= at:
                low = middle
            else:
                high = middle - 1
        position = at
        while position < end:
            piece = stream.stored[low][position - stream.ends[low] : end - stream.ends[low]]
            if stored[position - at : position - at + len(piece)] != piece:
                raise Wrong(f"{stream.name}: {where} differs in append {low} (bytes {position} to {position + len(piece)})")
            position += len(piece)
            low += 1
        self.count("bytes read", len(stored))
        return end

    @staticmethod
    def stored_form(stream, body):
        if stream.kind != JSON:
            return body
        if body[:1] != b"[" or body[-1:] != b"]":
            raise Wrong(f"{stream.name}: not a JSON array: {body[:40]!r}")
        return body[1:-1] + b",\n" if body != b"[]" else b""

    def advance(self, stream, at, fields, body, acknowledged, where):
        """Checks a 200 of catch-up or long-poll. Returns the new position and whether the stream has ended."""
        end = self.check(stream, at, self.stored_form(stream, body), where)
        if position_of(fields["stream-next-offset"]) != end:
            raise Wrong(f"{stream.name}: {where} at {at} gave {end - at} bytes and offset {fields['stream-next-offset']}")
        return end, self.ended(stream, end, fields, acknowledged, where)

    def ended(self, stream, end, fields, acknowledged, where):
        if fields.get("stream-up-to-date") == "true" and end < stream.ends[acknowledged]:
            raise Wrong(f"{stream.name}: {where} is up to date at {end}, but {stream.ends[acknowledged]} was acknowledged before")
        if fields.get("stream-closed") == "true":
            if not stream.closing or end != stream.ends[-1]:
                raise Wrong(f"{stream.name}: {where} says closed at {end} of {stream.ends[-1]}")
            return True
        return False

    async def catch_up(self, stream, connection, expected_end=None):
        at = 0
        while not self.ending or expected_end is not None:
            acknowledged = stream.acknowledged
            status, fields, body = await connection.ask("GET", f"/v1/stream/{stream.name}?offset={offset(at) if at else -1}")
            if status == 404 and stream.deleting:
                return
            self.expect(status, (200,), f"catch-up at {at} ({body[:200]!r})", stream)
            self.count("catch-up")
            at, ended = self.advance(stream, at, fields, body, acknowledged, "catch-up")
            if ended:
                return
            if fields.get("stream-up-to-date") == "true":
                if expected_end is not None:
                    raise Wrong(f"{stream.name}: at the end of a closed stream, and not told so")
                await asyncio.sleep(0.1)

    async def long_poll(self, stream, connection):
        at, cursor = 0, None
        while not self.ending:
            acknowledged = stream.acknowledged
            target = f"/v1/stream/{stream.name}?offset={offset(at)}&live=long-poll" + (f"&cursor={cursor}" if cursor else "")
            status, fields, body = await connection.ask("GET", target)
            if status == 404 and stream.deleting:
                return
            self.expect(status, (200, 204), "long-poll", stream)
            self.count(f"long-poll {status}")
            if status == 200:
                if not body or body == b"[]":
                    raise Wrong(f"{stream.name}: an empty long-poll 200")
                at, ended = self.advance(stream, at, fields, body, acknowledged, "long-poll")
            else:
                if position_of(fields["stream-next-offset"]) != at or fields.get("stream-up-to-date") != "true":
                    raise Wrong(f"{stream.name}: long-poll 204 at {at}: {fields}")
                ended = self.ended(stream, at, fields, acknowledged, "long-poll")
            if ended:
                return
            cursor = fields.get("stream-cursor")
            if cursor is None:
                raise Wrong(f"{stream.name}: a long-poll of an open stream without Stream-Cursor")

    async def events(self, stream, connection):
        at = 0
        while not self.ending:
            await connection.drop()
            await connection.send("GET", f"/v1/stream/{stream.name}?offset={offset(at) if at else -1}&live=sse")
            async with asyncio.timeout(60):
                status, fields = await connection.receive_head()
            if status == 404 and stream.deleting:
                await connection.drop()
                return
            self.expect(status, (200,), "server-sent events", stream)
            encoded = fields.get("stream-sse-data-encoding") == "base64"
            if encoded != (stream.kind == BINARY):
                raise Wrong(f"{stream.name}: encoding of {stream.kind}")
            pending = None
            event, lines = None, []
            while True:
                if self.ending:  # what the socket still holds is not waited for
                    await connection.drop()
                    return
                try:
                    async with asyncio.timeout(60):
                        line = await connection.reader.readline()
                except ValueError:
                    raise Wrong(f"{stream.name}: a line of events longer than expected")
                if not line:
                    break
                line = line.rstrip(b"\n").rstrip(b"\r")
                if line.startswith(b"event: "):
                    event = line[7:]
                elif line.startswith(b"data:"):
                    lines.append(line[6:] if line[5:6] == b" " else line[5:])  # as every client strips one space
                elif line == b"" and event is not None:
                    data = b"\n".join(lines)
                    lines = []
                    if event == b"data":
                        if pending is not None:
                            raise Wrong(f"{stream.name}: two data events without a control event")
                        pending = base64.b64decode(data, validate=True) if encoded else data
                    elif event == b"control":
                        control = json.loads(data)
                        end = self.check(stream, at, self.stored_form(stream, pending), "events") if pending is not None else at
                        pending = None
                        if position_of(control["streamNextOffset"]) != end:
                            raise Wrong(f"{stream.name}: events at {at} gave {end - at} bytes and {control}")
                        at = end
                        self.count("event")
                        if control.get("streamClosed"):
                            if not stream.closing or at != stream.ends[-1] or "streamCursor" in control:
                                raise Wrong(f"{stream.name}: events end at {at} of {stream.ends[-1]}: {control}")
                            await connection.drop()
                            return
                        if "streamCursor" not in control:
                            raise Wrong(f"{stream.name}: a control event without cursor")
                    event = None
                elif line and not line.startswith(b":"):
                    raise Wrong(f"{stream.name}: an unexpected line of events {line[:80]!r}")
            if pending is not None or lines:
                raise Wrong(f"{stream.name}: the event stream ended inside an event")
            self.count("event stream")
            if stream.deleting:
                await connection.drop()
                return

    # MARK: The server's memory and descriptors

    def sample(self):
        with open(f"/proc/{self.pid}/status") as status:
            resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        return resident // 1024, len(os.listdir(f"/proc/{self.pid}/fd"))

    async def watch(self, started):
        while True:
            resident, descriptors = self.sample()
            self.samples.append((time.monotonic() - started, resident, descriptors))
            if len(self.samples) % 60 == 0:
                print(f"{len(self.samples):5d} s  {resident} MiB  {descriptors} descriptors  {self.counts.get('append', 0)} appends", flush=True)
            await asyncio.sleep(1)

    def judge(self):
        warm = min(60, self.seconds / 5)
        base = max(resident for moment, resident, _ in self.samples if moment <= warm)
        late = statistics.median(resident for moment, resident, _ in self.samples if moment >= self.seconds * 0.9)
        bound = base * 5 // 4 + 32
        most = max(descriptors for _, _, descriptors in self.samples)
        # Connections, cached segments, and what a server needs for itself; lost answers leave some connections closing.
        descriptor_bound = self.connections + 64 + 64
        print(f"memory: {base} MiB after the warm-up, {late:.0f} MiB at the end (bound {bound}); descriptors: at most {most} (bound {descriptor_bound})")
        if late > bound:
            raise Wrong("resident memory grows")
        if most > descriptor_bound:
            raise Wrong("descriptors grow")

    async def run(self):
        started = time.monotonic()
        writers = max(1, self.connections // 3)
        tasks = [asyncio.create_task(self.writer(number)) for number in range(writers)]
        tasks += [asyncio.create_task(self.reader(number)) for number in range(self.connections - writers)]
        watch = asyncio.create_task(self.watch(started))
        done, _ = await asyncio.wait(tasks + [watch], timeout=self.seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        self.ending = True
        await asyncio.wait_for(asyncio.gather(*tasks), 90)
        watch.cancel()
        await asyncio.sleep(3)
        resident, descriptors = self.sample()
        print(f"after the last connection: {resident} MiB, {descriptors} descriptors")
        if descriptors > 64 + 64:
            raise Wrong("descriptors are not given back")
        for what in sorted(self.counts):
            print(f"{self.counts[what]:12d}  {what}")
        self.judge()


def main():
    parser = argparse.ArgumentParser()
    for name, standard in (("port", None), ("pid", None), ("seconds", 600), ("connections", 200), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=standard, required=standard is None)
    soak = Soak(parser.parse_args())

    async def run():
        try:
            await soak.run()
        except (Wrong, OSError, EOFError, asyncio.TimeoutError) as fault:
            print(f"failed: {type(fault).__name__}: {fault}", file=sys.stderr, flush=True)
            os._exit(1)  # the other connections are in the middle of something

    asyncio.run(run())


main()
