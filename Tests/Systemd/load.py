# Writers and readers that keep at it while the server is restarted under them, and the account of what they saw.
#
#   writers   each has a producer of its own and appends numbered lines to its stream; what is not answered is sent again under the same
#             number, over a new connection
#   readers   follow a stream, half of them by long-polling and half by server-sent events; what ends is resumed at the last offset
#
# Counted: connections that were refused (there must be none), acknowledgements, and the longest time that a writer waited for one. In the
# end every stream must hold each acknowledged line once, in its writer's order, and every reader must have received exactly the stream.

import asyncio
import json
import time


class Load:
    def __init__(self, port, streams, writers, readers, pause):
        self.port = port
        self.streams = [f"/v1/stream/load/{n}" for n in range(streams)]
        self.writer_count, self.reader_count, self.pause = writers, readers, pause
        self.refused = 0
        self.broken = 0
        self.acknowledged = [0] * writers
        self.longest_wait = 0.0
        self.received = [bytearray() for _ in range(readers)]
        self.waiting = 0
        self.stopping = False
        self.ends = {}

    async def connect(self):
        try:
            return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        except ConnectionRefusedError:
            self.refused += 1
            raise

    @staticmethod
    async def head(reader):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return int(lines[0].split()[1]), fields

    async def exchange(self, streams, method, target, fields=(), body=b""):
        reader, writer = streams
        text = f"{method} {target} HTTP/1.1\r\nHost: a\r\n" + "".join(f + "\r\n" for f in fields)
        if body or method in ("POST", "PUT"):
            text += f"Content-Length: {len(body)}\r\n"
        writer.write(text.encode() + b"\r\n" + body)
        await writer.drain()
        status, answer = await self.head(reader)
        content = b""
        if method != "HEAD" and status not in (204, 304):
            content = await reader.readexactly(int(answer["content-length"]))
        return status, answer, content

    async def once(self, *arguments):
        streams = await self.connect()
        try:
            return await self.exchange(streams, *arguments)
        finally:
            streams[1].close()

    # Writers

    async def write(self, index):
        target = self.streams[index % len(self.streams)]
        number = 0
        streams = None
        while not self.stopping:
            line = f"{index}:{number}\n".encode()
            fields = ["Content-Type: text/plain", f"Producer-Id: {index}", "Producer-Epoch: 0", f"Producer-Seq: {number}"]
            began = time.monotonic()
            while True:
                try:
                    if streams is None:
                        streams = await self.connect()
                    status, answer, content = await self.exchange(streams, "POST", target, fields, line)
                    if status in (200, 204):
                        if answer.get("connection") == "close":
                            streams[1].close()
                            streams = None
                        break
                    if status != 503:
                        raise AssertionError(f"append answered {status}: {content!r}")
                except (OSError, asyncio.IncompleteReadError):
                    pass
                self.broken += 1
                if streams:
                    streams[1].close()
                streams = None
            self.longest_wait = max(self.longest_wait, time.monotonic() - began)
            number += 1
            self.acknowledged[index] = number
            await asyncio.sleep(self.pause)
        if streams:
            streams[1].close()

    # Readers

    async def read(self, index):
        target = self.streams[index % len(self.streams)]
        offset = "-1"
        follow = self.poll if index % 2 == 0 else self.events
        while True:
            try:
                streams = await self.connect()
                try:
                    async for offset in follow(streams, target, offset, self.received[index]):
                        end = self.ends.get(target)
                        if end is not None and len(self.received[index]) >= end:
                            return
                finally:
                    streams[1].close()
            except (OSError, asyncio.IncompleteReadError):
                pass

    async def poll(self, streams, target, offset, received):
        """Yields the offset after each answer."""
        cursor = ""
        while True:
            self.waiting += 1
            try:
                status, answer, content = await self.exchange(
                    streams, "GET", f"{target}?offset={offset}&live=long-poll{cursor}")
            finally:
                self.waiting -= 1
            if status not in (200, 204):
                raise AssertionError(f"long-poll answered {status}: {content!r}")
            received += content
            offset = answer["stream-next-offset"]
            if "stream-cursor" in answer:
                cursor = "&cursor=" + answer["stream-cursor"]
            yield offset
            if answer.get("connection") == "close":
                return

    async def events(self, streams, target, offset, received):
        """Data counts only with the control event behind it, which has the offset to resume at."""
        reader, writer = streams
        writer.write(f"GET {target}?offset={offset}&live=sse HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await writer.drain()
        status, _ = await self.head(reader)
        if status != 200:
            raise AssertionError(f"event stream answered {status}")
        kind, data, pending = None, [], b""
        self.waiting += 1
        try:
            while True:
                line = (await reader.readuntil(b"\n"))[:-1]
                if line.startswith(b"event: "):
                    kind = line[7:]
                elif line.startswith(b"data:"):
                    data.append(line[5:])
                elif not line and kind == b"data":
                    pending += b"\n".join(data)
                    data = []
                elif not line and kind == b"control":
                    received += pending
                    pending = b""
                    offset = json.loads(b"\n".join(data))["streamNextOffset"]
                    data = []
                    yield offset
        finally:
            self.waiting -= 1

    # All of it

    async def run(self, during):
        """`during` runs while the load is on. Returns the account; whatever is wrong is raised."""
        for target in self.streams:
            status, _, content = await self.once("PUT", target, ["Content-Type: text/plain"])
            assert status in (200, 201), (status, content)
        readers = [asyncio.create_task(self.read(n)) for n in range(self.reader_count)]
        deadline = time.monotonic() + 60
        while self.waiting < self.reader_count:
            await self.alive(readers)
            assert time.monotonic() < deadline, f"{self.waiting} of {self.reader_count} readers wait"
            await asyncio.sleep(0.05)
        writers = [asyncio.create_task(self.write(n)) for n in range(self.writer_count)]
        await during(self)
        self.stopping = True
        await asyncio.wait_for(asyncio.gather(*writers), 120)
        contents = {}
        for target in self.streams:
            content, offset = b"", "-1"
            while True:
                status, answer, piece = await self.once("GET", f"{target}?offset={offset}")
                assert status == 200, (status, piece)
                content += piece
                offset = answer["stream-next-offset"]
                if "stream-up-to-date" in answer:
                    break
            contents[target] = content
            self.ends[target] = len(content)
            # Readers that have everything already wait for one thing more to look at.
            status, _, _ = await self.once("POST", target, ["Content-Type: text/plain"], b"end\n")
            assert status == 204
        await asyncio.wait_for(asyncio.gather(*readers), 120)
        self.check(contents)
        return self

    async def alive(self, tasks):
        for task in tasks:
            if task.done():
                task.result()

    def check(self, contents):
        for index, count in enumerate(self.acknowledged):
            target = self.streams[index % len(self.streams)]
            prefix = f"{index}:".encode()
            numbers = [int(line[len(prefix):]) for line in contents[target].split(b"\n") if line.startswith(prefix)]
            assert numbers == list(range(count)), f"writer {index}: {count} acknowledged, stored {numbers[-3:]} of {len(numbers)}"
        for index, received in enumerate(self.received):
            content = contents[self.streams[index % len(self.streams)]]
            received = bytes(received)
            assert received.removesuffix(b"end\n") == content, (
                f"reader {index}: {len(received)} bytes, the stream has {len(content)}")

    async def until_more(self, count):
        """Until every writer has had so many more acknowledgements."""
        wanted = [n + count for n in self.acknowledged]
        deadline = time.monotonic() + 60
        while any(have < want for have, want in zip(self.acknowledged, wanted)):
            assert time.monotonic() < deadline, "the writers do not get on"
            await asyncio.sleep(0.02)
