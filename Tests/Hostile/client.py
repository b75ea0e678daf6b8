"""A small HTTP/1.1 client over one connection, for peers that have to do what an ordinary library hides or refuses."""

import socket
import time
from dataclasses import dataclass

BASE = "/v1/stream/"


class Incomplete(Exception):
    """The connection ends before the message does."""


@dataclass
class Answer:
    """One answer; the names of its fields are in lower case."""

    status: int
    fields: dict
    body: bytes = b""


class ChunkDecoder:
    """Takes the bytes of a chunked body in any pieces and gives the content."""

    def __init__(self):
        self.rest = bytearray()
        self.left = 0
        self.within = False
        self.last = self.finished = False

    def take(self, data):
        """The content in these bytes. What belongs to a later chunk's head waits in `rest`."""
        self.rest += data
        content = bytearray()
        while not self.finished and self._step(content):
            pass
        return bytes(content)

    def _step(self, content):
        if self.left:
            part = self.rest[: self.left]
            content += part
            self.left -= len(part)
            del self.rest[: len(part)]
            return bool(part)
        end = self.rest.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self.rest[:end])
        del self.rest[: end + 2]
        if self.within:
            if line:
                raise Incomplete("a chunk does not end where its size says")
            self.within = False
            self.finished = self.last
            return True
        self.left = int(line.split(b";")[0], 16)
        self.within = True
        self.last = self.left == 0
        return True


class Client:
    """One connection. What has arrived and is not used yet stays in its buffer."""

    def __init__(self, connection):
        self.socket = connection
        self.buffer = bytearray()

    def send(self, data):
        self.socket.sendall(data)

    def close(self):
        self.socket.close()

    def request(self, method, name, body=None, fields=(), timeout=30):
        """Sends a request and reads the whole answer."""
        self.socket.settimeout(timeout)
        self.send(request_bytes(method, name, body, fields))
        return self.answer(method)

    def answer(self, method="GET"):
        """Reads the next whole answer that is not 1xx."""
        answer = self.head()
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        answer.body = b"".join(self.pieces(answer))
        return answer

    def head(self):
        """Reads the next status line and fields; the content stays unread."""
        while True:
            lines = self._until(b"\r\n\r\n").split(b"\r\n")
            status = int(lines[0].split()[1])
            if status >= 200:
                break
        fields = {}
        for line in lines[1:]:
            name, value = line.split(b":", 1)
            fields[name.decode("latin1").lower()] = value.strip().decode("latin1")
        return Answer(status, fields)

    def pieces(self, answer):
        """Yields the content as it arrives, without its framing. Raises Incomplete if it is cut."""
        if answer.fields.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in answer.fields:
            yield from self._counted(int(answer.fields["content-length"]))
        else:
            yield from self._rest()

    def receive(self, limit=1 << 18):
        """What has arrived: first the buffer, then the socket. Empty at the end of the connection."""
        if self.buffer:
            data = bytes(self.buffer[:limit])
            del self.buffer[:limit]
            return data
        return self.socket.recv(limit)

    def _until(self, mark):
        while (end := self.buffer.find(mark)) < 0:
            data = self.socket.recv(65536)
            if not data:
                raise Incomplete("the connection ends inside a head")
            self.buffer += data
        found = bytes(self.buffer[:end])
        del self.buffer[: end + len(mark)]
        return found

    def _counted(self, count):
        while count:
            data = self.receive(min(count, 1 << 20))
            if not data:
                raise Incomplete(f"{count} bytes are missing")
            count -= len(data)
            yield data

    def _chunks(self):
        decoder = ChunkDecoder()
        while not decoder.finished:
            data = self.receive()
            if not data:
                raise Incomplete("the last chunk is missing")
            yield decoder.take(data)
        self.buffer[:0] = decoder.rest

    def _rest(self):
        while data := self.receive():
            yield data


def request_bytes(method, name, body=None, fields=()):
    """The bytes of one request on a stream; a length is given if there is a body."""
    lines = [f"{method} {BASE}{name} HTTP/1.1", "Host: localhost"]
    lines += [f"{field}: {value}" for field, value in dict(fields).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin1") + b"\r\n\r\n" + (body or b"")


def event_parts(text):
    """The events of a whole event stream, as (event, data, id), and the comments."""
    events, comments = [], []
    kind, data, identity = "message", [], None
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if data:
                events.append((kind, "\n".join(data), identity))
            kind, data, identity = "message", [], None
        elif line.startswith(":"):
            comments.append(line[1:])
        else:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                kind = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                identity = value
    return events, comments


class EventStream:
    """One reader of events. `read` gathers text until a condition holds, the stream ends, or the time is over."""

    def __init__(self, client, name, offset="-1", version="1.1"):
        self.client = client
        client.socket.settimeout(30)
        client.send(f"GET {BASE}{name}?offset={offset}&live=sse HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        self.head = client.head()
        self.chunks = ChunkDecoder() if self.head.fields.get("transfer-encoding") == "chunked" else None
        self.text = bytearray()
        self.end = None

    def read(self, seconds, until=lambda text: False):
        """Returns the text so far. `end` is then None, "complete", "cut" or "reset"."""
        limit = time.monotonic() + seconds
        while self.end is None and not until(self.text):
            left = limit - time.monotonic()
            if left <= 0:
                break
            self.client.socket.settimeout(left)
            try:
                self.text += self.piece()
            except socket.timeout:
                break
        return bytes(self.text)

    def piece(self):
        """What comes next, without its framing; empty at the end."""
        try:
            data = self.client.receive()
        except ConnectionError:
            self.end = "reset"
            return b""
        if not data:
            self.end = "cut" if self.chunks else "complete"
        elif self.chunks:
            data = self.chunks.take(data)
            if self.chunks.finished:
                self.end = "complete"
        return data

    def events(self):
        """The events in the text so far."""
        return event_parts(self.text.decode("utf-8", "replace"))[0]
