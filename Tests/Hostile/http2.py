"""The few frames of HTTP/2 (RFC 9113) and the part of HPACK (RFC 7541) that a hostile peer needs."""

import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
ENHANCE_YOUR_CALM = 11

# The code of each digit in HPACK's Huffman code, which is all that a status needs.
_DIGITS = {"00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4", "011011": "5", "011100": "6", "011101": "7",
           "011110": "8", "011111": "9"}
_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def setting(identifier, value):
    return struct.pack(">HI", identifier, value)


def number(value, bits, first=0):
    """An integer with a prefix of so many bits (RFC 7541 5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def text(value):
    return number(len(value), 7) + value


def literal(name, value):
    """A field that no table remembers."""
    return b"\x00" + text(name) + text(value)


def remembered(name, value):
    """A field that goes into the dynamic table, as its first entry."""
    return b"\x40" + text(name) + text(value)


def indexed(index):
    return number(index, 7, 0x80)


FIRST_DYNAMIC = 62


def request_block(method, path, scheme=b"http", fields=()):
    """The header block of a request."""
    pairs = [(b":method", method), (b":scheme", scheme), (b":path", path), (b":authority", b"localhost"), *fields]
    return b"".join(literal(name, value) for name, value in pairs)


def status_of(block):
    """The status at the start of an answer's header block; the peer's table has to be of size 0. 0 if it is of no known form."""
    while block and block[0] & 0xE0 == 0x20:
        block = block[1:]
    if not block:
        return 0
    if block[0] & 0x80:
        return _STATUS.get(block[0] & 0x7F, 0)
    if block[0] not in (0x48, 0x08, 0x18) or len(block) < 2:
        return 0
    size, coded = block[1] & 0x7F, block[1] & 0x80
    value = block[2 : 2 + size]
    return int(_digits(value) if coded else value)


def _digits(value):
    bits = "".join(f"{byte:08b}" for byte in value)
    out, code = "", ""
    for bit in bits:
        code += bit
        if code in _DIGITS and len(out) < 3:
            out, code = out + _DIGITS[code], ""
    return out


class Peer:
    """One connection that speaks HTTP/2 without an upgrade."""

    def __init__(self, connection, settings=b""):
        self.socket = connection
        self.buffer = b""
        self.ended = False
        self.goaway = None
        self.send(PREFACE + frame(SETTINGS, payload=setting(HEADER_TABLE_SIZE, 0) + settings))

    def send(self, data):
        """Sends everything, or notes that the server has closed."""
        try:
            self.socket.sendall(data)
        except socket.timeout:
            raise
        except OSError:
            self.ended = True

    def request(self, stream, method, path, body=None, fields=()):
        """Sends a whole request."""
        flags = END_HEADERS | (END_STREAM if body is None else 0)
        out = frame(HEADERS, flags, stream, request_block(method, path, fields=fields))
        if body is not None:
            out += frame(DATA, END_STREAM, stream, body)
        self.send(out)

    def frames(self, seconds):
        """Yields (kind, flags, stream, payload) as frames arrive, until the time is over or the connection ends."""
        limit = time.monotonic() + seconds
        while not self.ended:
            yield from self._whole_frames()
            left = limit - time.monotonic()
            if left <= 0:
                return
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 18)
            except socket.timeout:
                return
            except OSError:
                data = b""
            self.ended = not data
            self.buffer += data

    def _whole_frames(self):
        while len(self.buffer) >= 9:
            size = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + size:
                return
            kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
            payload, self.buffer = self.buffer[9 : 9 + size], self.buffer[9 + size :]
            if kind == GOAWAY:
                self.goaway = int.from_bytes(payload[4:8], "big")
            yield kind, flags, stream, payload

    def status(self, stream, seconds=10):
        """The status of the answer on a stream; 0 if none comes."""
        for kind, _, at, payload in self.frames(seconds):
            if kind == HEADERS and at == stream:
                return status_of(payload)
        return 0

    def wait_for_end(self, seconds):
        """Reads and drops everything until the server closes the connection. Returns whether it does."""
        for _ in self.frames(seconds):
            pass
        return self.ended
