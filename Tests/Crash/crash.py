"""The load of Tests/Crash/run, and the check that nothing acknowledged is lost.

    round   start ─▶ check everything that earlier rounds left ─▶ load from many connections ─▶ the end (kill -9, or a failed sync)
            ─▶ `verify` of what is on the disk ─▶ the next round

Each writer has its own streams and one request at a time. So of each stream it is known what was acknowledged, and at most one
request is in doubt: it may have been stored, as a whole, or not. Checked after every start, for every stream:
    content        the acknowledged appends in order, each once, then the one in doubt or nothing
    offsets        the tail that goes with that content
    producers      the request in doubt again is a duplicate exactly if it is there; one older than that always is
    closed, deleted, forks (content up to the fork point, 410 of a source that is gone), Stream-Seq
    readers        nothing that any reader saw is gone
Invariant: whatever the seed, every request's content is different, so nothing can be taken for something else.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import time

BINARY, JSON = "application/octet-stream", "application/json"


class Wrong(Exception):
    pass


class Gone(Exception):
    """The server has ended."""


def offset(position):
    return f"{0:016d}_{position:016d}"


class Stream:
    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.start = b""  # of a fork: what it has of its source
        self.parts = []  # acknowledged appends in stored form
        self.doubt = None  # what is in doubt: ("append", stored, closes), ("create",), ("delete",)
        self.exists = self.closed = self.deleted = False
        self.epoch, self.sequence = 0, -1  # of the last acknowledged request of its producer
        self.order = 0  # the last acknowledged Stream-Seq
        self.seen = b""  # the longest content that a reader was given
        self.forks = 0
        self.source = None

    @property
    def content(self):
        return self.start + b"".join(self.parts)


class Connection:
    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def ask(self, method, name, fields={}, body=None, query=""):
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
            lines = [f"{method} /v1/stream/{name}{query} HTTP/1.1", "Host: x"] + [f"{k}: {v}" for k, v in fields.items()]
            if body is not None:
                lines.append(f"Content-Length: {len(body)}")
            self.writer.write("\r\n".join(lines + ["", ""]).encode() + (body or b""))
            await self.writer.drain()
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            answer = {}
            for line in head[1:-2]:
                key, _, value = line.partition(":")
                answer[key.lower()] = value.strip()
            status = int(head[0].split(" ")[1])
            content = b""
            if method != "HEAD" and status not in (204, 304):
                content = await self.reader.readexactly(int(answer["content-length"]))
            if answer.get("connection") == "close":
                self.close()
            return status, answer, content
        except (OSError, EOFError) as fault:
            self.close()
            raise Gone from fault

    def close(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def stored(kind, body):
    return body if kind == BINARY else body + b",\n"


class Crash:
    def __init__(self, arguments):
        self.arguments = arguments
        self.chance = random.Random(arguments.seed)
        self.streams = []
        self.counts = {}
        self.serial = 0
        self.process = None
        self.port = None
        self.answer_in_doubt = 0

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    # MARK: The server

    def start(self, round_number):
        """Starts the server; with faults it may fail to start, which must lose nothing either."""
        data, port = self.arguments.work + "/data", self.arguments.work + "/port"
        for attempt in range(20):
            if os.path.exists(port):
                os.unlink(port)
            environment = {key: value for key, value in os.environ.items() if not key.startswith("DURABLE_STREAMS_")}
            if self.arguments.faults and attempt < 10:
                environment.update(
                    LD_PRELOAD=self.arguments.faults, FAULT_SEED=str(self.arguments.seed * 1000 + round_number * 20 + attempt),
                    FAULT_RATE=str(self.chance.choice((30, 100, 300))), FAULT_AFTER=str(self.chance.choice((0, 100, 400))),
                    FAULT_SYNCS=str(self.chance.choice((0, 1))))
            command = [self.arguments.server, "serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--port-file", port,
                       "--chunk-size", "4KiB", "--segment-size", self.chance.choice(("4KiB", "64KiB")), "--journal-size", "1MiB",
                       "--checkpoint-interval", self.chance.choice(("100ms", "1s")), "--tail-buffer-budget", "1MiB",
                       "--descriptor-cache", "8"]
            with open(self.arguments.work + "/log", "a") as log:
                log.write(f"--- round {round_number}, attempt {attempt}\n")
                log.flush()
                self.process = subprocess.Popen(command, stderr=log, env=environment)
            limit = time.monotonic() + 30
            while time.monotonic() < limit:
                if os.path.exists(port) and (text := open(port).read()).endswith("\n"):
                    self.port = int(text)
                    return
                if self.process.poll() is not None:
                    break
                time.sleep(0.01)
            else:
                raise Wrong("the server does not start within 30 s")
            if not self.arguments.faults and not self.arguments.full:
                raise Wrong(f"the server does not start: status {self.process.returncode}")
            self.count("start that failed")
            self.filler(0)
        raise Wrong("the server does not start")

    def filler(self, size):
        """On a small file system: another user of its space."""
        if not self.arguments.full:
            return
        path = self.arguments.work + "/data/filler"
        try:
            with open(path, "wb") as file:
                for _ in range(size >> 16):
                    file.write(bytes(1 << 16))
        except OSError:
            pass

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        status = self.process.wait()
        if status not in (-signal.SIGKILL, 74):
            raise Wrong(f"the server ended with status {status}")
        self.count("killed" if status < 0 else "ended with 74")

    def verify(self):
        result = subprocess.run([self.arguments.server, "verify", "--data-dir", self.arguments.work + "/data"], capture_output=True, text=True)
        if result.returncode != 0:
            raise Wrong(f"verify: {result.stdout}{result.stderr}")

    # MARK: Load

    def body(self, kind):
        self.serial += 1
        size = self.chance.choice((0, 10, 100, 700, 5000, 70_000))
        text = f"{self.serial}:" + "".join(self.chance.choices("abcdefgh", k=size))
        return text.encode() if kind == BINARY else b'"' + text.encode() + b'"'

    async def load(self, seconds):
        self.over = False
        tasks = [asyncio.create_task(self.writer(number)) for number in range(24)]
        tasks += [asyncio.create_task(self.follower()) for _ in range(6)]
        if self.arguments.full:
            tasks.append(asyncio.create_task(self.fill()))
        try:
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if task.exception() and not isinstance(task.exception(), Gone):
                    task.result()
        finally:
            self.end()
            self.over = True
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, (Gone, asyncio.CancelledError)):
                raise result

    async def fill(self):
        while not self.over:
            self.filler(self.chance.choice((0, 0, 20 << 20, 60 << 20)))
            await asyncio.sleep(self.chance.random() * 0.5)

    async def follower(self):
        connection = Connection(self.port)
        chance = random.Random(self.chance.random())
        while not self.over:
            choices = [stream for stream in self.streams if stream.exists and not stream.deleted]
            if not choices:
                await asyncio.sleep(0.01)
                continue
            stream = chance.choice(choices)
            try:
                content = await self.read(connection, stream)
            except Wrong:
                # Its name may be another stream's by now.
                if not self.is_ending(stream):
                    raise
                connection.close()
                continue
            if isinstance(content, bytes) and len(content) > len(stream.seen) and not self.is_ending(stream):
                stream.seen = content
            await asyncio.sleep(0.005)

    @staticmethod
    def is_ending(stream):
        return stream.deleted or stream.doubt == ("delete",)

    async def read(self, connection, stream):
        """All of a stream's content in stored form, None if it is gone, `"later"` if it cannot be read just now."""
        content = b""
        while True:
            status, fields, body = await connection.ask("GET", stream.name, query=f"?offset={offset(len(content))}")
            if status in (404, 410):
                return None
            if status in (503, 507):
                return "later"
            if status != 200:
                raise Wrong(f"{stream.name}: GET at {len(content)}: {status} {body[:200]!r}")
            if stream.kind == JSON:
                body = body[1:-1] + b",\n" if body != b"[]" else b""
            content += body
            if fields["stream-next-offset"] != offset(len(content)):
                raise Wrong(f"{stream.name}: {len(content)} bytes and offset {fields['stream-next-offset']}")
            if fields.get("stream-up-to-date") == "true":
                return content

    async def writer(self, number):
        connection = Connection(self.port)
        chance = random.Random(self.chance.random())
        mine = [stream for stream in self.streams if not stream.deleted and stream.exists and stream.name.startswith(f"{number}-")]
        while not self.over:
            if not mine or chance.random() < 0.1 and len(mine) < 8:
                stream = await self.create(connection, number, chance, mine)
                if stream is not None:
                    mine.append(stream)
                continue
            stream = chance.choice(mine)
            if chance.random() < 0.04:
                if await self.delete(connection, stream):
                    mine.remove(stream)
                    # Its name again: the new stream shares nothing with it.
                    if chance.random() < 0.5 and stream.forks == 0:
                        again = await self.create(connection, number, chance, mine, stream.name)
                        if again is not None:
                            mine.append(again)
            elif not stream.closed:
                await self.append(connection, stream, chance)

    async def create(self, connection, number, chance, mine, name=None):
        self.serial += 1
        kind = chance.choice((BINARY, JSON))
        sources = [stream for stream in mine if not stream.deleted]
        stream = Stream(name or f"{number}-{self.serial}", kind)
        fields = {"Content-Type": kind}
        if sources and chance.random() < 0.3:
            source = chance.choice(sources)
            stream.kind, stream.source = source.kind, source
            fields = {"Stream-Forked-From": f"/v1/stream/{source.name}"}
            stream.start = source.content
            if source.parts and chance.random() < 0.5:
                stream.start = source.start + b"".join(source.parts[: chance.randrange(len(source.parts))])
                fields["Stream-Fork-Offset"] = offset(len(stream.start))
        stream.doubt = ("create",)
        self.streams.append(stream)
        if stream.source:
            stream.source.forks += 1
        status, fields, body = await connection.ask("PUT", stream.name, fields, b"")
        if status in (503, 507):
            # In doubt in any case, which the check clears up.
            self.refused(stream, body)
            return None
        if status != 201:
            raise Wrong(f"{stream.name}: create: {status} {body[:200]!r}")
        stream.doubt, stream.exists = None, True
        self.count("create" if stream.source is None else "fork")
        return stream

    def refused(self, stream, text):
        """A request that could not be done. Nothing was stored, unless the answer says that it is not known: then the server is about to
        end, and nothing more is asked of the stream, so that only this one request stays in doubt."""
        self.count("refused")
        if b"unknown whether" in text:
            raise Gone

    async def append(self, connection, stream, chance):
        body = self.body(stream.kind)
        closes = chance.random() < 0.02
        fields = {"Content-Type": stream.kind}
        produces = chance.random() < 0.7
        epoch, sequence = stream.epoch, stream.sequence + 1
        order = stream.order
        if produces:
            if chance.random() < 0.05:
                epoch, sequence = epoch + 1, 0
            fields.update({"Producer-Id": "p", "Producer-Epoch": epoch, "Producer-Seq": sequence})
        elif chance.random() < 0.3:
            order += 1
            fields["Stream-Seq"] = f"{order:08d}"
        if closes:
            fields["Stream-Closed"] = "true"
        stream.doubt = ("append", stored(stream.kind, body), closes, produces, epoch, sequence, order, fields, body)
        status, answer, text = await connection.ask("POST", stream.name, fields, body)
        if status in (503, 507):
            self.refused(stream, text)
            stream.doubt = None
            await asyncio.sleep(0.02)
            return
        if status != (200 if produces else 204):
            raise Wrong(f"{stream.name}: append: {status} {text[:200]!r}")
        self.take(stream)
        if answer["stream-next-offset"] != offset(len(stream.content)):
            raise Wrong(f"{stream.name}: tail {answer['stream-next-offset']}, expected {len(stream.content)}")
        self.count("append")

    @staticmethod
    def take(stream):
        _, form, closes, produces, epoch, sequence, order, _, _ = stream.doubt
        stream.parts.append(form)
        stream.closed = stream.closed or closes
        if produces:
            stream.epoch, stream.sequence = epoch, sequence
        stream.order = order
        stream.doubt = None

    async def delete(self, connection, stream):
        stream.doubt = ("delete",)
        status, _, text = await connection.ask("DELETE", stream.name)
        if status in (503, 507):
            self.refused(stream, text)
            stream.doubt = None
            return False
        if status != 204:
            raise Wrong(f"{stream.name}: delete: {status} {text[:200]!r}")
        self.deleted(stream)
        self.count("delete")
        return True

    def deleted(self, stream):
        stream.deleted, stream.doubt = True, None
        while stream is not None and stream.deleted and stream.forks == 0 and stream.source is not None:
            stream.source.forks -= 1
            stream = stream.source

    # MARK: The check

    async def presence(self, connection, stream):
        """What HEAD says, once it can say something: a call may just have failed."""
        for _ in range(200):
            status, _, _ = await connection.ask("HEAD", stream.name)
            if status not in (503, 507):
                break
            await asyncio.sleep(0.05)
        return status

    async def check(self):
        connection = Connection(self.port)
        for stream in list(self.streams):
            if stream.doubt == ("create",):
                status = await self.presence(connection, stream)
                if status == 200:
                    stream.exists, stream.doubt = True, None
                    self.answer_in_doubt += 1
                elif status == 404:
                    # Nothing of it is left.
                    self.streams.remove(stream)
                    if stream.source:
                        stream.deleted = True
                        self.deleted(stream)
                    continue
                else:
                    raise Wrong(f"{stream.name}: a create in doubt: {status}")
            if stream.doubt == ("delete",):
                status = await self.presence(connection, stream)
                if status in (404, 410):
                    self.deleted(stream)
                    self.answer_in_doubt += 1
                else:
                    stream.doubt = None
        names = {stream.name for stream in self.streams if not stream.deleted}
        # A name that was used again may stand for a later stream that is kept for its forks.
        kept = {stream.name for stream in self.streams if stream.deleted and stream.forks}
        for stream in list(self.streams):
            if stream.deleted:
                if stream.name not in names and (stream.forks or stream.name not in kept):
                    status, _, _ = await connection.ask("GET", stream.name, query="?offset=-1")
                    # Another life of this name may have been kept for forks.
                    forks = sum(other.forks for other in self.streams if other.name == stream.name)
                    # One that was kept for forks which are gone goes within seconds; a call may just have failed.
                    for _ in range(100):
                        if status != 503 and (status != 410 or forks):
                            break
                        await asyncio.sleep(0.1)
                        status, _, _ = await connection.ask("GET", stream.name, query="?offset=-1")
                    if status != (410 if forks else 404):
                        raise Wrong(f"{stream.name}: deleted with {forks} forks: {status}")
                if stream.forks == 0:
                    self.streams.remove(stream)
                continue
            content = await self.read(connection, stream)
            for _ in range(200):
                if content != "later":
                    break
                self.filler(0)
                await asyncio.sleep(0.05)
                content = await self.read(connection, stream)
            if content == "later":
                raise Wrong(f"{stream.name}: cannot be read for ten seconds")
            if content is None:
                raise Wrong(f"{stream.name}: acknowledged, and gone")
            expected = stream.content
            if stream.doubt is not None and content == expected + stream.doubt[1]:
                self.answer_in_doubt += 1
                self.take_or_repeat = True
                doubt = stream.doubt
                self.take(stream)
                if doubt[3]:
                    await self.repeat(connection, stream, doubt, 204)
            elif content == expected:
                if stream.doubt is not None:
                    doubt, again = stream.doubt, stream.doubt[3]
                    if again:
                        await self.repeat(connection, stream, doubt, 200)
                        self.take(stream)
                    else:
                        stream.doubt = None
            else:
                at = next((i for i, (a, b) in enumerate(zip(content, expected)) if a != b), min(len(content), len(expected)))
                raise Wrong(f"{stream.name}: {len(content)} bytes, {len(expected)} acknowledged; they differ at {at}")
            if not content.startswith(stream.seen):
                raise Wrong(f"{stream.name}: a reader was given {len(stream.seen)} bytes that are not there now")
            status, fields, _ = await connection.ask("HEAD", stream.name)
            if (fields.get("stream-closed") == "true") != stream.closed:
                raise Wrong(f"{stream.name}: closed is {fields.get('stream-closed')}, expected {stream.closed}")
            if stream.sequence >= 0 and not stream.closed:
                named = {"Content-Type": stream.kind, "Producer-Id": "p", "Producer-Epoch": stream.epoch, "Producer-Seq": stream.sequence}
                status, fields, _ = await connection.ask("POST", stream.name, named, b'"again"')
                if status != 204 or fields.get("producer-seq") != str(stream.sequence):
                    raise Wrong(f"{stream.name}: the last request of its producer again: {status} {fields}")
            if stream.order and not stream.closed:
                old = {"Content-Type": stream.kind, "Stream-Seq": f"{stream.order:08d}"}
                status, _, _ = await connection.ask("POST", stream.name, old, b'"again"')
                if status != 409:
                    raise Wrong(f"{stream.name}: an old Stream-Seq again: {status}")
        connection.close()

    async def repeat(self, connection, stream, doubt, expected):
        """The producer's request in doubt again: stored now, or known. A server that cannot take it now is asked once more."""
        for _ in range(200):
            status, _, text = await connection.ask("POST", stream.name, doubt[7], doubt[8])
            if status not in (503, 507):
                break
            self.filler(0)
            await asyncio.sleep(0.05)
        if status != expected:
            raise Wrong(f"{stream.name}: a request in doubt again: {status}, expected {expected}: {text[:200]!r}")

    async def run(self):
        for number in range(self.arguments.rounds):
            self.start(number)
            try:
                await asyncio.wait_for(self.check(), 120)
            except Gone:
                # Faults may end the server during the check; the next start tells.
                if not self.arguments.faults:
                    raise Wrong("the server ended during the check")
                self.end()
                continue
            await self.load(0.2 + self.chance.random() * 2)
            self.filler(0)
            self.verify()
        self.start(self.arguments.rounds)
        if not self.arguments.faults:
            await asyncio.wait_for(self.check(), 120)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for what in sorted(self.counts):
            print(f"{self.counts[what]:10d}  {what}")
        print(f"{self.answer_in_doubt:10d}  in doubt and there")
        print(f"ok: {self.arguments.rounds} rounds, seed {self.arguments.seed}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("server", "work", "faults"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--full", action="store_true")
    crash = Crash(parser.parse_args())
    try:
        asyncio.run(crash.run())
    except (Wrong, asyncio.TimeoutError) as fault:
        print(f"failed: seed {crash.arguments.seed}: {type(fault).__name__}: {fault}", file=sys.stderr)
        if crash.process and crash.process.poll() is None:
            crash.process.kill()
        sys.exit(1)


main()
