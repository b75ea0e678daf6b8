# What a proxy's configuration must do, for each of the examples. The files are taken as they stand; only addresses and certificates are
# replaced, and a replacement that finds nothing to replace is a failure. All but Caddy listen on Unix sockets and need no port.

import asyncio
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket as socket_module
import subprocess
import sys
import time

BINARY, EXAMPLES, WORK = sys.argv[1:4]
HOST = "streams.example.org"
READERS, APPENDS = 1000, 10

processes = []


def start(*command, **options):
    log = open(f"{WORK}/{os.path.basename(command[0])}.log", "ab")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
    processes.append(process)
    return process


def until(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def example(name, replacements):
    text = open(f"{EXAMPLES}/{name}").read()
    for old, new in replacements:
        assert old in text, f"{name}: there is no {old}"
        text = text.replace(old, new)
    path = f"{WORK}/{name}"
    with open(path, "w") as file:
        file.write(text)
    return path


class Server:
    """The server under test, with an access log in which the requests that reach it are counted."""

    def __init__(self, name, *options):
        self.socket = f"{WORK}/{name}.sock"
        self.log = f"{WORK}/{name}.log"
        self.process = subprocess.Popen(
            [BINARY, "serve", "--data-dir", f"{WORK}/{name}", "--listen", f"unix:{self.socket}", "--access-log", *options],
            stdin=subprocess.DEVNULL, stderr=open(self.log, "wb"))
        processes.append(self.process)
        until(lambda: os.path.exists(self.socket) and " serving " in open(self.log).read(), "the server")

    def requests(self, pattern):
        """How many requests like this have been answered."""
        return len(re.findall(pattern, open(self.log).read()))


def reaching(address):
    """curl's options for a Unix socket, or for a port in place of 443."""
    return ["--unix-socket", address] if isinstance(address, str) else ["--connect-to", f"{HOST}:443:127.0.0.1:{address}"]


def curl(path_or_url, *options, socket, http="--http2", timeout=30, check=True):
    """Status, fields, content, version."""
    url = path_or_url if path_or_url.startswith("http") else f"https://{HOST}{path_or_url}"
    result = subprocess.run(
        ["curl", "-sS", "-k", "-i", *reaching(socket), http, "--max-time", str(timeout), *options, url], stdout=subprocess.PIPE,
        stderr=None if check else subprocess.DEVNULL)
    if result.returncode != 0 and not check:
        return 0, {}, b"", ""
    assert result.returncode == 0, f"curl {url}: {result.returncode}"
    head, _, content = result.stdout.partition(b"\r\n\r\n")
    while head.split()[1:2] == [b"100"]:
        head, _, content = content.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}
    return int(lines[0].split()[1]), fields, content, lines[0].split()[0]


def event_stream(socket, path, http):
    """curl on an event stream, and a function that waits for a text in what it has received."""
    options = ["curl", "-sS", "-k", "-N", *reaching(socket), http, path if path.startswith("http") else f"https://{HOST}{path}"]
    process = subprocess.Popen(options, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    processes.append(process)
    os.set_blocking(process.stdout.fileno(), False)
    received = bytearray()

    def has(text):
        received.extend(process.stdout.read() or b"")
        return text in received

    return process, has


# In front: HTTPS, HTTP/2, event streams, forwarded addresses


def check_front(name, server, socket):
    stream = f"/v1/stream/{name}"
    type = ["-H", "Content-Type: text/plain"]
    status, fields, _, version = curl(stream, "-X", "PUT", *type, socket=socket)
    assert status == 201 and version == "HTTP/2", (status, version)
    assert fields["location"] == f"https://{HOST}{stream}", fields
    # The address that the client has used, not one that it claims.
    status, fields, _, _ = curl(f"{stream}-2", "-X", "PUT", "-H", "X-Forwarded-Proto: gopher", socket=socket, http="--http1.1")
    assert status == 201 and fields["location"] == f"https://{HOST}{stream}-2", fields

    delays = []
    for http in ("--http2", "--http1.1"):
        process, has = event_stream(socket, f"{stream}?offset=now&live=sse", http)
        until(lambda: has(b"upToDate"), f"{name}: the first control event over {http}")
        for number in range(5):
            text = f"{http}-{number}."
            began = time.monotonic()
            status, _, _, _ = curl(stream, "-X", "POST", *type, "-d", text, socket=socket)
            assert status == 204, status
            until(lambda: has(f"data:{text}".encode()), f"{name}: event {text}")
            delays.append(time.monotonic() - began)
        process.terminate()
        process.wait()
    # The next event is not what pushes one out; a buffering proxy would keep all of them to the end.
    assert max(delays) < 5, delays

    status, fields, content, _ = curl(f"{stream}?offset=-1", socket=socket)
    assert status == 200 and fields["cache-control"].startswith("public, max-age=60") and "stream-next-offset" in fields, fields
    tail = fields["stream-next-offset"]
    assert curl(f"{stream}?offset=-1", "-H", f"If-None-Match: {fields['etag']}", socket=socket)[0] == 304
    status, fields, _, _ = curl(f"{stream}?offset={tail}&live=long-poll", socket=socket)
    assert status == 204 and "stream-cursor" in fields, (status, fields)

    body = os.urandom(8 << 20)
    with open(f"{WORK}/body", "wb") as file:
        file.write(body)
    status, _, _, _ = curl(f"{stream}-2", "-X", "POST", "-H", "Content-Type: application/octet-stream", "--data-binary", f"@{WORK}/body",
                           socket=socket)
    assert status == 204, status
    received, offset = b"", "-1"
    while True:
        status, fields, content, _ = curl(f"{stream}-2?offset={offset}", socket=socket)
        assert status == 200, status
        received += content
        offset = fields["stream-next-offset"]
        if "stream-up-to-date" in fields:
            break
    assert hashlib.sha256(received).digest() == hashlib.sha256(body).digest()
    return f"HTTP/2, events after {sorted(delays)[len(delays) // 2] * 1000:.0f} ms with two curls in between"


def check_nginx(server):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-keyout", f"{WORK}/key.pem",
         "-out", f"{WORK}/certificate.pem"], check=True, stderr=subprocess.DEVNULL)
    socket = f"{WORK}/nginx.sock"
    site = example("nginx.conf", [
        ("server 127.0.0.1:4437;", f"server unix:{server.socket};"),
        ("listen 443 ssl http2;", f"listen unix:{socket} ssl http2;"),
        ("    listen [::]:443 ssl http2;\n", ""),
        ("/etc/ssl/certs/streams.example.org.pem", f"{WORK}/certificate.pem"),
        ("/etc/ssl/private/streams.example.org.key", f"{WORK}/key.pem"),
    ])
    temporary = "".join(f"{kind}_temp_path {WORK}/nginx-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(f"{WORK}/nginx-main.conf", "w") as file:
        file.write(f"user {pwd.getpwuid(os.geteuid()).pw_name}; daemon off; pid {WORK}/nginx.pid; "
                   f"error_log {WORK}/nginx-error.log; events {{ }} http {{ access_log off; {temporary} include {site}; }}")
    start("nginx", "-p", WORK, "-e", f"{WORK}/nginx-error.log", "-c", f"{WORK}/nginx-main.conf")
    until(lambda: os.path.exists(socket), "nginx")
    return check_front("nginx", server, socket)


def check_caddy(server):
    # It sets X-Forwarded-Proto for clients that have an address only, so it gets a port that is free now.
    with socket_module.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = example("Caddyfile", [
        ("reverse_proxy 127.0.0.1:4437", f"reverse_proxy unix/{server.socket}"),
        ("streams.example.org {\n", "streams.example.org {\n\ttls internal\n\tbind 127.0.0.1\n"),
    ])
    with open(file) as example_file:
        text = example_file.read()
    with open(file, "w") as example_file:
        # What would need ports below 1024 and root: the standard port, redirects, the certificate's installation.
        example_file.write(f"{{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n\thttps_port {port}\n}}\n{text}")
    start("caddy", "run", "--config", file, "--adapter", "caddyfile", env=dict(os.environ, HOME=WORK, XDG_DATA_HOME=WORK))
    until(lambda: tls_is_there(port), "Caddy and its certificate")
    return check_front("caddy", server, port)


def tls_is_there(socket):
    return curl("/", socket=socket, check=False)[0] != 0


# The cache


class Readers:
    """Long-pollers of one stream, all through the cache, each on its own connection."""

    def __init__(self, socket, path, count):
        self.socket, self.path, self.count = socket, path, count
        self.received = [bytearray() for _ in range(count)]
        self.answers = [0] * count
        self.empty = [0] * count
        self.sent = 0
        self.stopping = False

    async def read(self, index, offset):
        reader, writer = await asyncio.open_unix_connection(self.socket, limit=1 << 20)
        cursor = ""
        while not self.stopping:
            writer.write(f"GET {self.path}?offset={offset}&live=long-poll{cursor} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await writer.drain()
            self.sent += 1
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            fields = {line.partition(":")[0]: line.partition(":")[2].strip() for line in head[1:] if line}
            status = int(head[0].split()[1])
            assert status in (200, 204), head
            content = await reader.readexactly(int(fields["content-length"])) if status == 200 else b""
            self.received[index] += content
            self.answers[index] += 1
            self.empty[index] += status == 204
            offset = fields["stream-next-offset"]
            cursor = "&cursor=" + fields["stream-cursor"]
        writer.close()


async def exchange(socket, text, body=b""):
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(text.encode() + body)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    return int(head.split()[1]), head


async def collapse(server, socket):
    """A thousand readers through the cache: how many requests reach the server, with appends and without."""
    path = "/v1/stream/shared"
    fields = "Host: a\r\nContent-Type: text/plain\r\n"
    status, _ = await exchange(socket, f"PUT {path} HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n")
    assert status == 201, status
    start_offset = "0000000000000000_0000000000000000"
    readers = Readers(socket, path, READERS)
    tasks = [asyncio.create_task(readers.read(n, start_offset)) for n in range(READERS)]

    def failed():
        for task in tasks:
            if task.done() and task.exception():
                raise task.exception()

    async def until_all(condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            failed()
            assert time.monotonic() < deadline, f"not in time: {what}"
            await asyncio.sleep(0.01)

    pattern = f" GET {path}\\?"
    await until_all(lambda: readers.sent >= READERS, "the readers' first requests")
    await asyncio.sleep(1)

    # Appends: all readers have each before the next one is made.
    before, delays, content = server.requests(pattern), [], b""
    for number in range(APPENDS):
        line = f"append {number}\n".encode()
        content += line
        status, _ = await exchange(socket, f"POST {path} HTTP/1.1\r\n{fields}Content-Length: {len(line)}\r\n\r\n", line)
        assert status == 204, status
        began = time.monotonic()
        await until_all(lambda: all(len(r) == len(content) for r in readers.received), f"append {number}")
        delays.append(time.monotonic() - began)
    per_append = (server.requests(pattern) - before) / APPENDS
    assert all(r == content for r in readers.received)
    assert 1 <= per_append <= 10, f"{per_append} requests per append"

    # Nothing happens: waits end, and are begun again under another cursor, neither at once nor one by one.
    empty, before, began = sum(readers.empty), server.requests(pattern), time.monotonic()
    await asyncio.sleep(10)
    seconds = time.monotonic() - began
    rounds = seconds / LONG_POLL
    answered = (sum(readers.empty) - empty) / READERS
    per_wait = (server.requests(pattern) - before) / rounds
    assert 1 <= answered <= rounds + 2, f"{answered} empty answers to each reader in {rounds:.1f} waits: they loop"
    assert per_wait <= 20, f"{per_wait} requests per wait"

    readers.stopping = True
    await until_all(lambda: all(task.done() for task in tasks), "the readers' end")
    failed()
    return per_append, max(delays), sorted(delays)[len(delays) // 2], per_wait, answered / rounds


LONG_POLL = 3


def check_varnish():
    server = Server("cached", "--long-poll-timeout", f"{LONG_POLL}s")
    socket = f"{WORK}/varnish.sock"
    file = example("varnish.vcl", [('.host = "127.0.0.1";', f'.path = "{server.socket}";'), ('    .port = "4437";\n', "")])
    start("varnishd", "-F", "-j", "none", "-n", f"{WORK}/varnish", "-f", file, "-a", socket, "-s", "malloc,64m", "-p", "listen_depth=4096",
          "-p", "pipe_timeout=90s")
    until(lambda: os.path.exists(socket), "Varnish", 60)
    url = "http://a/v1/stream/read"
    ask = lambda path, *options: curl(path, *options, socket=socket, http="--http1.1")
    type = ["-H", "Content-Type: text/plain"]
    until(lambda: curl(url, "-X", "PUT", *type, "-d", "kept", socket=socket, check=False)[0] in (200, 201), "Varnish and its backend", 60)

    # A read is kept: what the server has been asked once it is not asked again.
    status, fields, content, _ = ask(url + "?offset=-1")
    assert status == 200 and content == b"kept", (status, content)
    etag = fields["etag"]
    until(lambda: int(ask(url + "?offset=-1")[1]["age"]) >= 1, "an answer with Age")
    status, fields, _, _ = ask(url + "?offset=-1", "-H", f"If-None-Match: {etag}")
    assert status == 304 and fields["etag"] == etag, (status, fields)
    assert server.requests(r" GET /v1/stream/read\?offset=-1 ") == 1, open(server.log).read()
    # The server's own fields come through, and what must not be kept is not.
    assert fields["stream-next-offset"] and fields["cache-control"].startswith("public"), fields
    for number in range(3):
        assert ask(url, "-I")[0] == 200
        assert ask(url + "?offset=now")[0] == 200
    assert server.requests(r" HEAD /v1/stream/read ") == 3 and server.requests(r" GET /v1/stream/read\?offset=now ") == 3
    # An event stream goes on as it comes, the first event too, which may be in one packet with the head.
    for number in range(20):
        process, has = event_stream(socket, url + "?offset=-1&live=sse", "--http1.1")
        until(lambda: has(b"data:kept"), "the first event", 10)
        assert ask(url, "-X", "POST", *type, "-d", f"({number})")[0] == 204
        until(lambda: has(f"({number})".encode()), "the next event", 10)
        process.terminate()
        process.wait()

    per_append, slowest, middle, per_wait, empty = asyncio.run(collapse(server, socket))
    return (f"{READERS} long-pollers: {per_append:.1f} requests reach the server per append, the last reader has it after "
            f"{middle * 1000:.0f} ms (slowest {slowest * 1000:.0f}); without appends {per_wait:.1f} per wait, "
            f"{empty:.2f} empty answers to each reader per wait; reads with Age, 304 from the cache")


def main():
    front = Server("front", "--long-poll-timeout", "500ms")
    tested = 0
    for program, check in (("nginx", lambda: check_nginx(front)), ("caddy", lambda: check_caddy(front)), ("varnishd", check_varnish)):
        if not shutil.which(program):
            print(f"SKIPPED: {program} is neither installed nor can it be fetched; its configuration is not tested", file=sys.stderr)
            continue
        try:
            print(f"ok: {program}: {check()}", flush=True)
        except BaseException:
            for name in sorted(os.listdir(WORK)):
                if name.endswith(".log"):
                    with open(f"{WORK}/{name}", errors="replace") as log:
                        print(f"--- {name}\n" + "".join(log.readlines()[-15:]), file=sys.stderr)
            raise
        tested += 1
    return tested


try:
    main()
finally:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
