"""The order of the server's system calls: nothing is acknowledged before the sync that covers it has returned (Tests/Crash/run … sync).

    client ──requests──▶ server ──calls──▶ strace ──▶ log ──▶ what is checked here

strace stops a thread when a call begins and when it returns, writes a line, and only then lets the thread go on. So what a thread does because a
call of another one has returned stands behind that return in the log, whatever the scheduler does; and as every fdatasync is made slow, what does
not wait for it stands before it. The journal is read from the very bytes that the server wrote, by the form in Sources/StreamStore/Journal*.swift:
each request is found again as a record of its kind, its stream and its content.

A record is covered when its write has returned, then an fdatasync of that file began and returned 0; and, so that the file is there after a power
failure, when the file's own header is covered likewise and an fsync of the directory followed each creation, rename and mkdir on the way to it.

    order      every kind of request, one by one and many at once, journal files turned over: its answer begins behind its record's cover.
               A journal file is removed or taken for another one only when what it held is in segments or the catalog, covered as well.
    waiting    who asks again while the first request waits for its sync is answered behind that sync too
    failure    a sync that fails (EIO): status 74, no second sync of that file, nothing acknowledged behind it
Invariant: the client waits for nothing by time, and each condition is checked to have arisen; a run that has not tested anything fails.
"""

import argparse
import functools
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

CREATE, APPEND, DELETE, RENEW = 1, 2, 3, 4
CALLS = ("openat,close,pwrite64,pwritev,?pwritev2,write,writev,fdatasync,fsync,?sync_file_range,fallocate,ftruncate,?rename,?renameat,"
         "renameat2,?unlink,unlinkat,?rmdir,?mkdir,mkdirat,sendto,sendmsg,sendfile,recvfrom")


class Wrong(Exception):
    pass


# MARK: The log


class Call:
    """One system call; `begin` and `end` are the lines of the log where it was entered and where it returned."""

    def __init__(self, name, begin):
        self.name, self.begin, self.end = name, begin, None
        self.text = self.result = ""
        self.injected = False

    @property
    def done(self):
        return self.result != "" and not self.result.startswith("-1") and self.result != "?"

    @property
    def number(self):
        """The descriptor that is used."""
        return int(re.match(r"\d+", self.text).group())

    @property
    def path(self):
        """Of the descriptor that is used, or the only or last path that is named."""
        found = re.match(r"\d+<(TCP:\[[^]]*\]|[^>]*)>", self.text)
        return found.group(1) if found else None

    @property
    def names(self):
        return [plain(name) for name in re.findall(r'"((?:[^"\\]|\\.)*)"', self.text)]

    @functools.cached_property
    def data(self):
        """The bytes that are read, written or sent, and whether the log has cut them."""
        parts = re.findall(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?', self.text)
        return b"".join(bytes_of(text) for text, _ in parts), any(more for _, more in parts)

    def __str__(self):
        return f"{self.name}({self.text[:120]}) = {self.result} (lines {self.begin} to {self.end})"


def bytes_of(text):
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def plain(text):
    return bytes_of(text).decode()


def parse(path):
    """All calls in the order in which they began."""
    calls, open_calls = [], {}
    with open(path, encoding="latin-1") as log:
        for number, line in enumerate(log, 1):
            thread, _, text = line.rstrip("\n").partition(" ")
            text = text.lstrip()
            if text.startswith("<... "):
                call = open_calls.pop(thread)
                rest = text.split(" resumed>", 1)[1]
            elif re.match(r"\w+\(", text):
                name, _, rest = text.partition("(")
                call = Call(name, number)
                calls.append(call)
            else:
                continue
            if rest.endswith("<unfinished ...>"):
                call.text += rest[: -len("<unfinished ...>")]
                open_calls[thread] = call
                continue
            found = re.match(r"(.*)\)\s+= (-1 \w+|\?|\w+)(.*)$", call.text + rest)
            if not found:
                raise Wrong(f"line {number} of the log is not understood: {line[:200]}")
            call.text, call.result, call.end = found.group(1), found.group(2), number
            call.injected = "(INJECTED)" in found.group(3)
    return calls


# MARK: The disk, as far as the log tells


class Record:
    def __init__(self, write, kind, stream, name, payload, closes):
        self.write, self.kind, self.stream, self.name, self.payload, self.closes = write, kind, stream, name, payload, closes

    def __str__(self):
        return f"record of kind {self.kind} of stream {self.stream} ({len(self.payload)} bytes), written by {self.write}"


class History:
    """Which writes, names and syncs there were, of everything below the directory that the test made."""

    def __init__(self, calls, root):
        self.calls, self.root = calls, root
        self.data = root + "/parent/data"
        self.writes, self.syncs, self.links, self.removals = {}, {}, {}, []
        self.exchanges = {}
        self.records = []
        synchronous, exists = set(), set()
        for call in calls:
            if call.name == "openat":
                if not call.done:
                    continue
                number, path = int(call.result), call.names[-1]
                synchronous.discard(number)
                if "O_DSYNC" in call.text:
                    synchronous.add(number)
                if "O_CREAT" in call.text and path.startswith(root) and path not in exists:
                    exists.add(path)
                    self.links.setdefault(path, []).append(call)
            elif call.name in ("mkdir", "mkdirat") and call.done:
                self.links.setdefault(call.names[-1], []).append(call)
            elif call.name.startswith("rename") and call.done:
                source, target = call.names
                exists.discard(source)
                exists.add(target)
                self.links.setdefault(target, []).append(call)
                self.removals.append((source, call))
                # What was written under the first name is there under the second.
                if os.path.dirname(source) == os.path.dirname(target) and not source.endswith(".journal"):
                    self.writes.setdefault(target, []).extend(self.writes.get(source, []))
                    self.syncs.setdefault(target, []).extend(self.syncs.get(source, []))
            elif call.name in ("unlink", "unlinkat") and call.done:
                exists.discard(call.names[-1])
                self.removals.append((call.names[-1], call))
            elif call.name in ("fdatasync", "fsync"):
                self.syncs.setdefault(call.path, []).append(call)
            elif call.name in ("pwrite64", "pwritev", "pwritev2", "write", "writev"):
                if call.path and call.path.startswith(root):
                    self.writes.setdefault(call.path, []).append(call)
                    if call.number in synchronous:
                        # O_DSYNC: its own sync.
                        own = Call("O_DSYNC", call.end)
                        own.begin, own.end, own.result = call.end + 0.5, call.end + 0.5, "0"
                        self.syncs.setdefault(call.path, []).append(own)
                elif call.path and call.path.startswith("TCP:"):
                    self.sent(call)
            elif call.name in ("sendto", "sendmsg"):
                self.sent(call)
            elif call.name == "recvfrom" and call.done and int(call.result) > 0:
                self.exchanges.setdefault(self.port(call), []).append(("in", call, call.data[0]))
        for path, writes in self.writes.items():
            if path.endswith(".journal"):
                for write in writes:
                    self.read(write)

    @staticmethod
    def port(call):
        """The client's."""
        return int(re.search(r":(\d+)\]$", call.path).group(1))

    def sent(self, call):
        self.exchanges.setdefault(self.port(call), []).append(("out", call, call.data[0]))

    def answers(self, port):
        """The beginnings of the answers on a connection, each with the request's last piece before it."""
        found, last = [], None
        for direction, call, data in self.exchanges.get(port, []):
            if direction == "in":
                last = call
            elif data.startswith(b"HTTP/1.1 "):
                found.append((call, int(data[9:12]), last))
        return found

    def read(self, write):
        """The records of a write to the journal."""
        data, cut = write.data
        if data[:4] != b"DSB1":
            return
        length = struct.unpack_from("<Q", data, 40)[0]
        if cut or len(data) < 64 + length:
            raise Wrong(f"the log does not hold a whole batch: {write}")
        position = 64
        while position < 64 + length:
            _, size, _, stream, kind, _, _, metadata, _, _ = struct.unpack_from("<IIQQBBHIII", data, position)
            body = data[position + 40 : position + 40 + metadata]
            payload = data[position + 40 + metadata : position + size]
            name = body[4 : 4 + struct.unpack_from("<I", body)[0]].decode() if kind == CREATE else None
            self.records.append(Record(write, kind, stream, name, payload, kind == APPEND and body[16] & 1 == 1))
            position += (size + 7) & ~7

    def covered(self, path, write):
        """Where the first sync that covers a write returned."""
        ends = [sync.end for sync in self.syncs.get(path, []) if sync.done and sync.begin > write.end]
        return min(ends, default=float("inf"))

    def named(self, path, before):
        """Where the name of a path, and of the directories to it that the server has made, had become durable."""
        moment = 0
        while path.startswith(self.root) and path != self.root:
            links = [link for link in self.links.get(path, []) if link.begin < before]
            if links:
                moment = max(moment, self.covered(os.path.dirname(path), links[-1]))
            path = os.path.dirname(path)
        return moment

    def cover(self, record):
        """Where a record of the journal had become durable, with all that is needed to find it again."""
        path = record.write.path
        # The header of this life of the file: the last one before the record.
        header = [write for write in self.writes[path] if write.data[0][:8] == b"DSJOURN1" and write.end < record.write.begin]
        if not header:
            raise Wrong(f"{path}: a record without a header before it")
        moments = {
            "an fdatasync of it": self.covered(path, record.write), "an fdatasync of the file's header": self.covered(path, header[-1]),
            "an fsync of the directories on the way to it": self.named(path, record.write.begin),
            "an fsync of FORMAT's name": self.named(self.data + "/FORMAT", record.write.begin)}
        return max(moments.items(), key=lambda item: item[1])


# MARK: The server and its client


class Server:
    def __init__(self, arguments, work, inject, extra=()):
        self.arguments, self.work = arguments, work
        os.makedirs(work)
        self.work = os.path.realpath(work)
        self.log, port = self.work + "/log", self.work + "/port"
        self.start(port, ["strace", "-f", "-yy", "-x", "-s", "300000", "-o", self.log, "-e", "trace=" + CALLS, "-e", "signal=none"]
                   + (["-e", "inject=" + inject] if inject else []), extra)
        self.exchanges = []
        self.lock = threading.Lock()

    def start(self, port, before, extra=()):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DURABLE_STREAMS_")}
        self.process = subprocess.Popen(
            before + [self.arguments.server, "serve", "--data-dir", self.work + "/parent/data", "--listen", "127.0.0.1:0", "--port-file", port,
                      "--journal-size", "1MiB", "--log-level", "warning", *extra], env=environment, stderr=open(self.work + "/stderr", "a"))
        limit = time.monotonic() + 60
        while not (os.path.exists(port) and open(port).read().endswith("\n")):
            if self.process.poll() is not None or time.monotonic() > limit:
                raise Wrong(f"the server does not start (status {self.process.poll()}): {open(self.work + '/stderr').read()}")
            time.sleep(0.01)
        self.port = int(open(port).read())

    def connect(self):
        return Connection(self)

    def wait(self, condition, what):
        limit = time.monotonic() + 60
        while not condition():
            if time.monotonic() > limit:
                raise Wrong(f"{what}: not within 60 s")
            time.sleep(0.01)

    def logged(self, text):
        """Waits until strace has written a line with this text."""
        def found():
            with open(self.log, encoding="latin-1") as log:
                return text in log.read()
        self.wait(found, f"a call with {text}")

    def stop(self):
        """SIGTERM to the server, which is strace's child. Returns its status."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
            os.kill(int(children.read().split()[0]), signal.SIGTERM)
        return self.process.wait(60)

    def kill(self):
        if self.process.poll() is None:
            # strace lets go of what it traces, and the server goes with its connections' client; so it first.
            try:
                with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
                    for child in children.read().split():
                        os.kill(int(child), signal.SIGKILL)
            except OSError:
                pass
            # It ends by itself then, and only so is its last line whole.
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def history(self):
        return History(parse(self.log), self.work)


class Connection:
    def __init__(self, server):
        self.server = server
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self.port = self.socket.getsockname()[1]
        self.input = self.socket.makefile("rb")
        self.asked = 0

    def send(self, method, name, fields={}, body=None, query=""):
        lines = [f"{method} /v1/stream/{name}{query} HTTP/1.1", "Host: x"] + [f"{key}: {value}" for key, value in fields.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.method = method
        self.socket.sendall("\r\n".join(lines + ["", ""]).encode() + (body or b""))
        self.asked += 1
        return self.asked - 1

    def receive(self):
        head = {}
        status = self.input.readline()
        if not status:
            raise ConnectionError("the server has closed the connection")
        while (line := self.input.readline().strip()):
            key, _, value = line.decode("latin-1").partition(":")
            head[key.lower()] = value.strip()
        status = int(status[9:12])
        body = b"" if self.method == "HEAD" or status == 204 else self.input.read(int(head["content-length"]))
        return status, head, body

    def ask(self, expected, record, method, name, fields={}, body=None, query=""):
        """A request that is answered with a status. `record`: what the answer may not come before."""
        number = self.send(method, name, fields, body, query)
        status, head, content = self.receive()
        if status != expected:
            raise Wrong(f"{method} {name}: {status}, expected {expected}: {content[:200]!r}")
        if record is not None:
            with self.server.lock:
                self.server.exchanges.append((self.port, number, f"{method} {name}", record))
        return head, content


TEXT = {"Content-Type": "text/plain"}


def produced(sequence):
    return {**TEXT, "Producer-Id": "p", "Producer-Epoch": 0, "Producer-Seq": sequence}


# MARK: order


def find(history, names, record):
    """The records that a request has made: (kind, stream's name, content, whether it closes)."""
    kind, name, content, closes = record
    found = [
        found for found in history.records
        if found.kind == kind and (found.name == name if kind == CREATE else names.get(name) == found.stream)
        and content == found.payload and (closes is None or closes == found.closes)]
    # What nobody waits for comes later: the second delete of a stream that was kept for its forks, and renewals that the server
    # records by itself.
    return found[:1] if kind in (DELETE, RENEW) else found


def check_exchanges(server, history):
    names = {record.name: record.stream for record in history.records if record.kind == CREATE}
    for port, number, label, record in server.exchanges:
        answers = history.answers(port)
        if number >= len(answers):
            raise Wrong(f"{label}: the log has no answer {number} on the connection of port {port}")
        answer, _, _ = answers[number]
        found = find(history, names, record)
        if len(found) != 1:
            raise Wrong(f"{label}: {len(found)} records in the journal instead of one")
        what, moment = history.cover(found[0])
        if not moment < answer.begin:
            raise Wrong(f"{label}: answered at line {answer.begin}, and {what} returned at line {moment}; {found[0]}")
    return len(server.exchanges)


def check_removals(history):
    """Nothing of the journal goes before its content is durable elsewhere."""
    removed = 0
    deleted = {record.stream for record in history.records if record.kind == DELETE}
    catalog = history.data + "/catalog/data.mdb"
    copies = {}
    for path, writes in history.writes.items():
        for write in writes if not path.endswith(".journal") else ():
            for word in set(re.findall(rb"word-\d+;", write.data[0])):
                copies.setdefault(word, {}).setdefault(path, []).append(write)
    for path, removal in history.removals:
        if not path.endswith(".journal"):
            continue
        for record in history.records:
            if record.write.path != path or record.write.begin > removal.begin or record.stream in deleted:
                continue
            # A file of this name that was made since is another life of it.
            if any(record.write.end < link.begin < removal.begin for link in history.links[path]):
                continue
            removed += 1
            start = record.write.end
            if record.payload:
                # A content is one word many times over, so each part of it is found. In a segment all parts have to be covered; the
                # catalog writes its pages again with each commit, and the first one counts.
                moments = []
                for where, writes in copies.get(record.payload.split(b";")[0] + b";", {}).items():
                    ends = [history.covered(where, write) for write in writes if start < write.begin < removal.begin]
                    if ends:
                        moments.append(min(ends) if where == catalog else max(ends + [history.named(where, removal.begin)]))
                start = min(moments, default=float("inf"))
            commits = [sync.end for sync in history.syncs.get(catalog, []) if sync.name == "O_DSYNC" and start < sync.end]
            moment = max(min(commits, default=float("inf")), history.named(catalog, removal.begin))
            if not moment < removal.begin:
                raise Wrong(f"{path} is removed at line {removal.begin}, before segment, catalog and their names were durable ({moment}): {record}")
    return removed


def order(arguments, work):
    server = Server(arguments, work, "fdatasync:delay_enter=20000", ("--checkpoint-interval", "100ms"))
    try:
        chance = random.Random(arguments.seed)
        connection = server.connect()
        ask = connection.ask
        serial = iter(range(1, 1 << 30))

        def words(count=1):
            return f"word-{next(serial)};".encode() * count

        ask(201, (CREATE, "empty", b"", None), "PUT", "empty", TEXT)
        body = words()
        ask(201, (CREATE, "full", body, None), "PUT", "full", TEXT, body)
        ask(201, (CREATE, "done", b"", None), "PUT", "done", {**TEXT, "Stream-Closed": "true"})
        for size in (1, 10, 10_000):
            body = words(size)
            ask(204, (APPEND, "empty", body, False), "POST", "empty", TEXT, body)
        body = words()
        ask(200, (APPEND, "full", body, False), "POST", "full", produced(0), body)
        body = words()
        ask(204, (APPEND, "full", body, False), "POST", "full", {**TEXT, "Stream-Seq": "1"}, body)
        source = {"Stream-Forked-From": "/v1/stream/full"}
        ask(201, (CREATE, "fork", b"", None), "PUT", "fork", source)
        body = words()
        ask(204, (APPEND, "fork", body, True), "POST", "fork", {**TEXT, "Stream-Closed": "true"}, body)
        body = words()
        ask(200, (APPEND, "full", body, True), "POST", "full", {**produced(1), "Stream-Closed": "true"}, body)
        # Kept for its fork, and gone with it.
        ask(204, (DELETE, "full", b"", None), "DELETE", "full")
        ask(204, (DELETE, "fork", b"", None), "DELETE", "fork")
        ask(204, (APPEND, "empty", b"", True), "POST", "empty", {"Stream-Closed": "true"})
        ask(204, (DELETE, "done", b"", None), "DELETE", "done")
        ask(201, (CREATE, "lives", b"", None), "PUT", "lives", {**TEXT, "Stream-TTL": 3600})
        ask(200, (RENEW, "lives", b"", None), "GET", "lives")

        # Many at once: batches gather while others are synced, and files are turned over.
        def load(number):
            try:
                own = server.connect()
                name = f"own-{number}"
                own.ask(201, (CREATE, name, b"", None), "PUT", name, TEXT)
                for sequence in range(12):
                    body = words(dice[number].choice((1, 100, 4_000, 8_000)))
                    own.ask(200, (APPEND, name, body, False), "POST", name, produced(sequence), body)
                    body = words()
                    own.ask(204, (APPEND, "all", body, False), "POST", "all", TEXT, body)
            except Exception as fault:
                faults.append(fault)

        faults = []
        dice = [random.Random(chance.random()) for _ in range(8)]
        ask(201, (CREATE, "all", b"", None), "PUT", "all", TEXT)
        threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise faults[0]
        status = server.stop()
        if status != 0:
            raise Wrong(f"stopped with status {status}")
    finally:
        server.kill()
    history = server.history()
    answers, removed = check_exchanges(server, history), check_removals(history)
    files = len({record.write.path for record in history.records})
    shared = len(history.records) - len({record.write.begin for record in history.records})
    segments = sum("/streams/" in path for path in history.writes)
    if files < 2 or shared < 10 or segments < 8 or removed < 100:
        raise Wrong(f"not tested: {files} files, {shared} records in a batch with others, {segments} segments, {removed} records removed")
    # The journal is empty only when its directory says so.
    last = [removal for path, removal in history.removals if path.endswith(".journal")][-1]
    if history.covered(history.data + "/journal", last) == float("inf"):
        raise Wrong(f"no fsync of the journal's directory behind the last removal: {last}")
    print(f"order: {answers} answers behind their syncs, {files} journal files, {shared} records in shared batches, {segments} segments, "
          f"{removed} records removed behind the catalog's commit")


# MARK: waiting


def waiting(arguments, work):
    """The second request is sent when the first one's sync has begun, and has to wait for it."""
    server = Server(arguments, work, "fdatasync:delay_enter=300000")
    try:
        first, second, reader = server.connect(), server.connect(), server.connect()
        cases = []
        connection = server.connect()

        def pair(label, record, statuses, one, two, live=None):
            if live:
                reader.send("GET", live, query="?offset=now&live=long-poll")
                server.logged(f"GET /v1/stream/{live}?offset=now")
            first.send(*one)
            # The server has read it, so whatever comes now comes second; the sync takes 300 ms.
            server.logged(one[3].decode() if one[3] else f"{one[0]} /v1/stream/{one[1]} HTTP/1.1")
            second.send(*two)
            found = (first.receive()[0], second.receive()[0])
            if found != statuses:
                raise Wrong(f"{label}: {found}, expected {statuses}")
            cases.append((label, record, second.port, second.asked - 1))
            if live:
                if reader.receive()[0] != 200:
                    raise Wrong(f"{label}: the reader was refused")
                cases.append((label + ", a reader", record, reader.port, reader.asked - 1))

        pair("create", (CREATE, "a", b"", None), (201, 200), ("PUT", "a", TEXT, b""), ("PUT", "a", TEXT, b""))
        body = b"producer;"
        pair("producer append", (APPEND, "a", body, False), (200, 204), ("POST", "a", produced(0), body), ("POST", "a", produced(0), body), "a")
        body = b"closing;"
        end = {**produced(1), "Stream-Closed": "true"}
        pair("close", (APPEND, "a", body, True), (200, 409), ("POST", "a", end, body), ("POST", "a", TEXT, b"late;"), "a")
        pair("delete", (DELETE, "a", b"", None), (204, 404), ("DELETE", "a", {}, None), ("DELETE", "a", {}, None))
        connection.ask(201, None, "PUT", "ttl", {**TEXT, "Stream-TTL": 3600})
        pair("TTL renewal", (RENEW, "ttl", b"", None), (200, 200), ("GET", "ttl", {}, None), ("GET", "ttl", {}, None))
    finally:
        server.kill()
    history = server.history()
    names = {record.name: record.stream for record in history.records if record.kind == CREATE}
    for label, record, port, number in cases:
        found = find(history, names, record)
        if len(found) != 1:
            raise Wrong(f"{label}: {len(found)} records in the journal instead of one")
        _, moment = history.cover(found[0])
        answer, _, request = history.answers(port)[number]
        if not request.end < moment:
            raise Wrong(f"{label}: not tested, the second request came at line {request.end}, behind the sync at line {moment}")
        if not moment < answer.begin:
            raise Wrong(f"{label}, asked again: answered at line {answer.begin}, and the sync of the first returned at line {moment}")
    print(f"waiting: {len(cases)} answers behind another request's sync")


# MARK: failure


def failure(arguments, work):
    # Counted for each thread: the journal's own is the only one that gets so far.
    server = Server(arguments, work, "fdatasync:error=EIO:when=9+")
    stored = b""
    try:
        connection = server.connect()
        connection.ask(201, None, "PUT", "a", TEXT)
        doubtful = None
        for number in range(100):
            body = f"word-{number};".encode()
            connection.send("POST", "a", TEXT, body)
            try:
                status, _, content = connection.receive()
            except (ConnectionError, OSError):
                doubtful = body
                break
            if status == 503 and b"unknown whether" in content:
                doubtful = body
                break
            if status != 204:
                raise Wrong(f"append: {status} {content[:200]!r}")
            stored += body
        if doubtful is None:
            raise Wrong("not tested: the server does not notice that its syncs fail")
        try:
            status = server.process.wait(60)
        except subprocess.TimeoutExpired:
            raise Wrong("the server goes on after a failed sync")
        if status != 74:
            raise Wrong(f"the server ended with status {status}, not 74")
        calls = parse(server.log)
        failed = [call for call in calls if call.injected]
        path = failed[0].path
        if not path.endswith(".journal"):
            raise Wrong(f"not tested: the failed sync is that of {path}")
        for call in calls:
            if call.begin <= failed[0].begin:
                continue
            if call.name in ("fdatasync", "fsync", "sync_file_range") and call.path == path:
                raise Wrong(f"synced again after it failed at line {failed[0].end}: {call}")
            if call.name in ("sendto", "sendmsg", "write", "writev") and (call.path or "").startswith("TCP:"):
                if call.data[0].startswith(b"HTTP/1.1 2"):
                    raise Wrong(f"acknowledged after a failed sync at line {failed[0].end}: {call}")
        # What was acknowledged is there afterwards; what is in doubt is there as a whole, or not.
        os.unlink(server.work + "/port")
        server.start(server.work + "/port", [])
        _, content = server.connect().ask(200, None, "GET", "a")
        if content not in (stored, stored + doubtful):
            raise Wrong(f"{len(stored)} bytes were acknowledged, and {len(content)} are there after the failed sync")
        server.process.terminate()
        if server.process.wait(60) != 0:
            raise Wrong("the next server does not end in order")
    finally:
        server.kill()
    print(f"failure: status 74 after a failed sync of {os.path.basename(path)}, {len(stored)} bytes acknowledged before it and there after it")


def main():
    parser = argparse.ArgumentParser()
    for name in ("server", "work"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    if shutil.which("strace") is None:
        print("skipped: strace is not installed")
        return
    probe = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        print(f"skipped: strace may not trace here: {probe.stderr.strip()}")
        return
    for number in range(arguments.rounds):
        for part in (order, waiting, failure):
            try:
                part(arguments, f"{arguments.work}/{part.__name__}-{number}")
            except Wrong as fault:
                print(f"failed: {part.__name__}, seed {arguments.seed}: {fault}", file=sys.stderr)
                sys.exit(1)
        arguments.seed += 1
    print(f"ok: {arguments.rounds} rounds, the last with seed {arguments.seed - 1}")


main()
