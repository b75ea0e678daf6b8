"""Scenarios about connections themselves: very many, silent, half open, and with requests that wait behind each other."""

import select
import time

from client import Client, Incomplete, request_bytes
from harness import scenario

SPREAD = [f"127.0.0.{index}" for index in range(2, 18)]


@scenario()
def connection_flood(run):
    """Connections that open and close as fast as one program can, with 4,000 silent ones beside them.

    New connections of others are served.
    """
    with run.beside():
        silent = [run.connect() for _ in range(run.descriptors(run.choose(4000, 1000)))]
        limit = time.monotonic() + run.choose(5, 1)
        while time.monotonic() < limit:
            run.connect().close()
            run.sockets.pop()
    run.check(all(silent), "connections are refused")


def hold_silent_tls(run, count, seconds, sources, opening):
    """Holds so many TLS connections that say only `opening`. Those that the server closes are opened again."""
    poll = select.epoll()
    held = {}

    def open_one(index):
        connection = run.connect(tls=False, source=sources[index % len(sources)], to_tls=True, wait=False)
        held[connection.fileno()] = (connection, index)
        poll.register(connection, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLOUT)

    for index in range(count):
        open_one(index)
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        for number, event in poll.poll(0.1, 512):
            connection, index = held[number]
            if event & (select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
                poll.unregister(number)
                del held[number]
                connection.close()
                open_one(index)
            elif opening:
                poll.modify(number, select.EPOLLIN | select.EPOLLRDHUP)
                connection.send(opening)
            else:
                poll.modify(number, select.EPOLLIN | select.EPOLLRDHUP)


@scenario(rows=(11,), longest={"tls": 300})
def tls_silent(run):
    """12,000 TLS connections of one address that say nothing, and come back when they are closed.

    An honest handshake waits less than 300 ms.
    """
    with run.beside():
        hold_silent_tls(run, run.descriptors(run.choose(12000, 5000)), run.choose(8, 3), [run.attacker], b"")


@scenario(rows=(11,), longest={"tls": 300})
def tls_silent_spread(run):
    """The same from 16 addresses, with the first four bytes of a handshake.

    An honest handshake waits less than 300 ms.
    """
    with run.beside():
        hold_silent_tls(run, run.descriptors(run.choose(12000, 5000)), run.choose(8, 3), SPREAD, bytes.fromhex("16030100"))


@scenario(rows=(11,))
def tls_handshake_flood(run):
    """Four threads that finish handshakes as fast as they can, and leave.

    Others make theirs beside them.
    """
    limit = time.monotonic() + run.choose(6, 2)

    def shake():
        while time.monotonic() < limit:
            run.connect(tls=True).close()

    with run.beside():
        run.together([shake] * 4, 20)


@scenario(flags=("--header-timeout", "3s"))
def half_heads(run):
    """4,000 connections that send half a head and then one byte a second; a head has 3 s.

    Each is answered 408, or closed, within 6 s.
    """
    with run.beside():
        held = [run.connect() for _ in range(run.descriptors(run.choose(4000, 1000)))]
        for connection in held:
            connection.sendall(b"GET /v1/stream/innocent/read HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        for _ in range(6):
            time.sleep(1)
            for connection in held:
                try:
                    connection.send(b"x")
                except OSError:
                    pass
    answers = [first_bytes(connection) for connection in held]
    left = sum(answer is None for answer in answers)
    run.check(left == 0, f"{left} connections with half a head are held for more than 6 s")
    other = sum(bool(answer) and not answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    run.check(other == 0, f"{other} connections with half a head are answered otherwise than 408")


def first_bytes(connection):
    """What has arrived; empty if the connection is closed, None if nothing has come."""
    connection.settimeout(0.01)
    try:
        return connection.recv(100)
    except TimeoutError:
        return None
    except OSError:
        return b""


@scenario(rows=(15,), rss=(400, 290))
def heads_behind_waiting(run):
    """8,000 connections that wait in a long-poll and send further requests of 90 KiB behind it.

    What is kept for all of them together stays bounded.
    """
    run.create("idle")
    big = request_bytes("GET", "idle?offset=-1", fields={"X-Large": "x" * 30_000})
    waiting = request_bytes("GET", "idle?offset=now&live=long-poll") + 3 * big
    with run.beside():
        for _ in range(run.descriptors(run.choose(8000, 3500))):
            connection = run.connect(timeout=1)
            try:
                connection.sendall(waiting)
            except TimeoutError:
                pass
            except OSError:
                continue
        time.sleep(1)


@scenario(rows=(15,))
def pipelined_in_order(run):
    """Long-polls with requests behind them on 200 connections; then an append ends the waiting.

    Each connection gets all its answers, in the order of its requests.
    """
    run.create("news")
    run.create("other", body=b"other")
    clients = [run.client() for _ in range(200)]
    for client in clients:
        client.send(request_bytes("GET", "news?offset=now&live=long-poll") + request_bytes("GET", "other?offset=-1") + request_bytes("HEAD", "news"))
    with run.beside():
        time.sleep(1)
        run.once("POST", "news", b"news", {"Content-Type": "text/plain"})
        for client in clients:
            try:
                first, second, third = client.answer(), client.answer(), client.answer("HEAD")
            except (OSError, Incomplete):
                run.check(False, "a pipelined request is not answered")
                continue
            run.check((first.body, second.body, third.status) == (b"news", b"other", 200), "pipelined answers come in another order")


@scenario(rows=(15,), flags=("--connection-limit", "300"))
def beyond_the_limit(run):
    """400 connections where 300 are the limit.

    Those beyond it are answered 503 and closed. Those within it go on, and there is room again when the others leave.
    """
    first = run.honest()
    run.check(first.request("GET", "innocent/read?offset=-1").status == 200, "a connection within the limit is not served")
    held = [run.connect() for _ in range(400)]
    time.sleep(0.3)
    answers = [first_bytes(connection) for connection in held]
    refused = sum(answer is not None for answer in answers)
    run.check(refused >= 100, f"only {refused} connections beyond the limit are refused")
    run.check(all(answer.startswith(b"HTTP/1.1 503 ") for answer in answers if answer), "a refusal is another status than 503")
    run.check(first.request("GET", "innocent/read?offset=-1").status == 200, "a connection within the limit is cut")
    for connection in held:
        connection.close()
    time.sleep(0.5)
    with run.beside():
        time.sleep(1)


@scenario(descriptors=256, flags=("--descriptor-cache", "16"))
def few_descriptors(run):
    """A server with 256 descriptors: 400 connections, and reads of 40 streams that lie in files.

    Refused connections get 503. The open connection goes on, and everything is served when the others have gone.
    """
    client = run.honest()
    for index in range(40):
        client.request("PUT", f"file-{index}", bytes([65 + index % 26]) * 300_000, {"Content-Type": "text/plain"})
    held = []
    for _ in range(400):
        try:
            held.append(run.connect(timeout=2))
        except OSError:
            break
    time.sleep(0.5)
    for index in range(40):
        answer = client.request("GET", f"file-{index}?offset=-1")
        run.check(answer.status in (200, 503), f"GET without descriptors is answered {answer.status}")
        run.check(answer.status != 200 or answer.body == bytes([65 + index % 26]) * 300_000, "GET without descriptors gives other bytes")
    for connection in held:
        connection.close()
    time.sleep(0.5)
    with run.beside():
        time.sleep(2)
    for index in range(40):
        run.check(run.once("GET", f"file-{index}?offset=-1").status == 200, "GET is not served when there are descriptors again")


@scenario()
def half_closed(run):
    """Clients that close their sending side: behind a complete request, in a body, and with TLS in the handshake.

    A complete request is answered; nothing of the incomplete body is stored.
    """
    run.create("target")
    with run.beside():
        for _ in range(100):
            client = run.client()
            client.send(request_bytes("GET", "innocent/read?offset=-1"))
            client.socket.shutdown(1)
            run.check(client.answer().status == 200, "a request of a client that half-closes is not answered")
            body = run.client()
            body.send(request_bytes("POST", "target", fields={"Content-Type": "text/plain", "Content-Length": 10}) + b"half")
            body.socket.shutdown(1)
            silent = Client(run.connect(to_tls=True))
            silent.socket.shutdown(1)
    run.check(run.once("GET", "target?offset=-1").body == b"", "a part of a body is stored")
