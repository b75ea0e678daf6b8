"""What all scenarios share: the server's process, the innocent client beside an attack, and the verdict.

    scenario    a function with @scenario; it gets a Run, prepares, and attacks within `with run.beside():`
    Run         one scenario against one fresh server; it gathers what is violated
    Server      the process, its memory and processor time from /proc, also when it dies
    Innocent    the program innocent.c
"""

import contextlib
import functools
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from client import Client, EventStream
from http2 import Peer

FOLDER = Path(__file__).resolve().parent
HOST = "127.0.0.1"
P99_BOUND, LONGEST_BOUND = 20, 100  # milliseconds above idle
ENOUGH_FOR_P99 = 100  # waits
END_BOUND = 10  # seconds from SIGTERM to the end
HARD_LIMIT = 150  # seconds for a whole scenario
TICKS = os.sysconf("SC_CLK_TCK")


class Skipped(Exception):
    """The machine cannot run this scenario; the text says why."""


class OutOfTime(Exception):
    """The scenario runs longer than HARD_LIMIT."""


@dataclass
class Scenario:
    function: object
    rows: tuple
    rss: tuple
    flags: tuple
    descriptors: int
    setting: str
    longest: dict
    disk: int

    @property
    def name(self):
        return self.function.__name__.replace("_", "-")


SCENARIOS = []


def scenario(rows=(), rss=400, flags=(), descriptors=None, setting=None, longest=None, disk=None):
    """Registers a scenario.

    rows         the rows of the table of faults that it covers
    rss          the bound for VmHWM in MB; or two, the second with --short
    flags        of the server
    descriptors  the server's RLIMIT_NOFILE
    setting      one that the server must know
    longest      other bounds than LONGEST_BOUND for kinds of waits, such as {"tls": 300}; such a kind has no bound for p99
    disk         the size of the file system that holds the data, in MB
    """

    def register(function):
        bounds = rss if isinstance(rss, tuple) else (rss, rss)
        SCENARIOS.append(Scenario(function, tuple(rows), bounds, tuple(flags), descriptors, setting, longest or {}, disk))
        return function

    return register


class Work:
    """The temporary folder of a whole run: the certificate, the innocent client's program, and the servers' data."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.path = Path(tempfile.mkdtemp(prefix="durable-streams-hostile.", dir=folder))
        self.innocent = self.path / "innocent"
        self.certificate, self.key = self.path / "certificate.pem", self.path / "key.pem"
        self.help = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        subprocess.run(
            ["cc", "-O2", "-o", self.innocent, FOLDER / "innocent.c", "-lssl", "-lcrypto", "-lpthread"], check=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-keyout", self.key, "-out", self.certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Server:
    """One server process. `peak` and `cpu` keep their last values when it ends."""

    def __init__(self, work, folder, flags=(), descriptors=None):
        self.folder = folder
        self.log_file = folder / "log"
        self.peak, self.cpu = 0, 0.0
        port_file = folder / "port"
        port_file.unlink(missing_ok=True)
        command = [work.binary, "serve", "--data-dir", folder / "data", "--listen", HOST + ":0", "--listen-tls", HOST + ":0",
                   "--tls-certificate", work.certificate, "--tls-key", work.key, "--port-file", port_file, "--drain-timeout", "5s", *flags]
        limit = None
        if descriptors:
            def limit():
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, preexec_fn=limit)
        self.port, self.tls_port = self._wait_for(port_file)
        threading.Thread(target=self._sample, daemon=True).start()

    def _wait_for(self, port_file):
        limit = time.monotonic() + 60
        while time.monotonic() < limit and self.process.poll() is None:
            text = port_file.read_text() if port_file.exists() else ""
            if text.count("\n") == 2:
                return map(int, text.split())
            time.sleep(0.02)
        self.kill()
        raise RuntimeError("the server does not start: " + self.log()[-500:])

    def _sample(self):
        while self.alive():
            self.look()
            time.sleep(0.05)

    def look(self):
        """Takes VmHWM and the processor time from /proc, if they are still there."""
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            self.peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            self.cpu = (int(fields[11]) + int(fields[12])) / TICKS

    def processor_seconds(self):
        """User and system time so far."""
        self.look()
        return self.cpu

    @contextlib.contextmanager
    def paused(self):
        """The process stands still within the block."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def alive(self):
        return self.process.poll() is None

    def descriptors(self):
        """How many descriptors the process has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def log(self):
        return self.log_file.read_text(errors="replace")

    def stop(self):
        """Sends SIGTERM. Returns the status, or None if the process does not end in time and is killed."""
        self.look()
        self.process.terminate()
        try:
            return self.process.wait(END_BOUND)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()


class Innocent:
    """The innocent client, from its start until `stop`."""

    def __init__(self, work, server, appends=True):
        paths = ["/v1/stream/innocent/read", "/v1/stream/innocent/append" if appends else "-"]
        self.process = subprocess.Popen(
            [work.innocent, HOST, str(server.port), str(server.tls_port), *paths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop(self):
        """Ends it and returns its waits by kind."""
        return json.loads(self.process.communicate(timeout=30)[0])


@functools.cache
def tls_context(protocol):
    """A client's side of TLS, which trusts everybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocol:
        context.set_alpn_protocols([protocol])
    return context


class Run:
    """One scenario against one fresh server."""

    def __init__(self, work, scenario, short, attacker):
        self.work, self.scenario, self.short, self.attacker = work, scenario, short, attacker
        self.violations = []
        self.sockets = []
        self.idle, self.waits = {}, {}
        self.server = None
        self.folder = Path(tempfile.mkdtemp(dir=work.path))

    # What a scenario calls.

    def check(self, condition, text):
        """Notes a violation unless the condition holds."""
        if not condition and text not in self.violations:
            self.violations.append(text)
        return condition

    def choose(self, full, short):
        """A size or a time that --short makes smaller."""
        return short if self.short else full

    def descriptors(self, wanted):
        """How many sockets the attack may hold: the wanted number, or what this process may open."""
        return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)

    @contextlib.contextmanager
    def beside(self, appends=True):
        """The innocent client runs beside what stands in the block; without appends, where they cannot be stored."""
        innocent = Innocent(self.work, self.server, appends)
        try:
            time.sleep(0.2)
            yield
        finally:
            waits = innocent.stop()
            self.waits.update(waits)

    def connect(self, tls=False, to_tls=False, receive=None, source=None, segment=None, timeout=30, wait=True, protocol=None):
        """A connection of the attacker. It stays open until the server has ended, unless the scenario closes it.

        tls: with a handshake. to_tls: to the port for TLS, without one. receive: SO_RCVBUF. segment: TCP_MAXSEG. wait: for the connection to
        be made; without it the socket does not block. protocol: of ALPN.
        """
        connection = socket.socket()
        self.sockets.append(connection)
        connection.settimeout(timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        if segment:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        connection.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: the port is chosen for this target only
        connection.bind((source or self.attacker, 0))
        target = (HOST, self.server.tls_port if tls or to_tls else self.server.port)
        if wait:
            connection.connect(target)
        else:
            connection.setblocking(False)
            connection.connect_ex(target)
        if tls:
            connection = tls_context(protocol).wrap_socket(connection, server_hostname="localhost")
            self.sockets.append(connection)
        return connection

    def client(self, **options):
        """An HTTP/1.1 client of the attacker."""
        return Client(self.connect(**options))

    def honest(self):
        """An HTTP/1.1 client from the innocent client's address."""
        return self.client(source=HOST)

    def peer(self, settings=b"", **options):
        """An HTTP/2 peer of the attacker, in clear."""
        return Peer(self.connect(**options), settings)

    def events(self, name, offset="-1", version="1.1", **options):
        """A reader of events."""
        return EventStream(self.client(**options), name, offset, version)

    def create(self, name, kind="text/plain", body=None, **fields):
        """Creates a stream from the innocent client's address."""
        client = self.honest()
        answer = client.request("PUT", name, body, {"Content-Type": kind, **{key.replace("_", "-"): value for key, value in fields.items()}})
        client.close()
        self.check(answer.status == 201, f"PUT {name} is answered {answer.status}")
        return answer

    def once(self, method, name, body=None, fields=(), **options):
        """One request on a connection of its own, from the innocent client's address unless said otherwise."""
        client = self.client(**{"source": HOST, **options})
        try:
            return client.request(method, name, body, fields)
        finally:
            client.close()

    def whole(self, name):
        """All of a stream, chunk by chunk, as an honest client reads it."""
        client = self.honest()
        offset, content = "-1", bytearray()
        while True:
            answer = client.request("GET", f"{name}?offset={offset}")
            if not self.check(answer.status == 200, f"GET is answered {answer.status}"):
                return bytes(content)
            content += answer.body
            offset = answer.fields["stream-next-offset"]
            if answer.fields.get("stream-up-to-date") == "true":
                return bytes(content)

    def together(self, functions, seconds):
        """Runs each function in a thread and waits until all end. A connection that the server ends is no violation by itself."""

        def guarded(function):
            try:
                function()
            except (OSError, EOFError):
                pass
            except Exception as error:
                self.check(False, f"{type(error).__name__} in an attack: {error}")

        threads = [threading.Thread(target=guarded, args=(function,), daemon=True) for function in functions]
        for thread in threads:
            thread.start()
        limit = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0, limit - time.monotonic()))
        self.check(not any(thread.is_alive() for thread in threads), f"a part of the attack is not served within {seconds} s")

    def restart(self):
        """Stops the server and starts it again on the same data."""
        status = self.server.stop()
        self.check(status == 0, f"the server ends with {status}")
        self.start()

    def start(self):
        """Starts a server on the scenario's data."""
        self.server = Server(self.work, self.folder, self.scenario.flags, self.scenario.descriptors)

    def enlarge(self, megabytes):
        """Gives the file system of the data another size."""
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", self.folder / "data"], check=True)

    # What the program calls.

    def perform(self):
        """Runs the scenario and returns the line of the report."""
        signal.signal(signal.SIGALRM, self._out_of_time)
        signal.alarm(HARD_LIMIT)
        try:
            self._prepare()
            self.scenario.function(self)
            self._after()
        except Skipped as reason:
            return self._line("skipped: " + str(reason))
        except OutOfTime:
            self.check(False, f"the scenario does not end within {HARD_LIMIT} s")
        except Exception as error:
            dead = self.server and not self.server.alive() and not isinstance(error, RuntimeError)
            self.check(False, self._death() if dead else f"{type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
            self._clean()
        return self._line("; ".join(self.violations) or "ok")

    def _prepare(self):
        if self.scenario.setting and f"--{self.scenario.setting} " not in self.work.help:
            raise RuntimeError(f"the server has no setting {self.scenario.setting}")
        if self.scenario.disk:
            self._mount(self.scenario.disk)
        self.start()
        self.create("innocent/read", body=b"i" * 100)
        self.create("innocent/append")
        innocent = Innocent(self.work, self.server)
        time.sleep(self.choose(2, 0.5))
        self.idle = innocent.stop()

    def _mount(self, megabytes):
        """Puts the data directory of the server on a small file system."""
        target = self.folder / "data"
        target.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", target], capture_output=True)
        if done.returncode:
            raise Skipped("this user may not mount a file system")

    def _after(self):
        if not self.check(self.server.alive(), self._death()):
            return
        self._check_waits()
        self._check_answers()
        status = self.server.stop()
        bound = self.choose(*self.scenario.rss)
        self.check(self.server.peak <= bound, f"RSS {self.server.peak} MB is above {bound} MB")
        if status is None:
            self.check(False, f"the server does not end within {END_BOUND} s of SIGTERM")
        else:
            self.check(status == 0, f"the server ends with {status}")

    def _death(self):
        return f"the server has ended with status {self.server.process.poll()}"

    def _check_waits(self):
        late = []
        for kind, wait in self.waits.items():
            self.check(wait["refused"] == 0, f"{wait['refused']} of {wait['count']} innocent requests ({kind}) are refused")
            self.check(wait["count"] >= wait["due"] / 2, f"only {wait['count']} of {wait['due']} innocent requests ({kind}) are answered in time")
            p99, longest = (wait[figure] - self.idle[kind][figure] for figure in ("p99", "longest"))
            special = self.scenario.longest.get(kind)
            enough = wait["count"] >= ENOUGH_FOR_P99 and special is None
            if longest > (special or LONGEST_BOUND) or (enough and p99 > P99_BOUND):
                late.append(f"{kind} {p99:.0f}/{longest:.0f}")
        if late and not self.short:
            self.check(False, "waits above idle (p99/longest, ms): " + ", ".join(late))

    def _check_answers(self):
        """The server still does all that it is there for, for a client at an address that has attacked nobody."""
        client = self.honest()
        name = "after-the-attack"
        created = client.request("PUT", name, b"one,", {"Content-Type": "text/plain"})
        appended = client.request("POST", name, b"two", {"Content-Type": "text/plain"})
        read = client.request("GET", name + "?offset=-1")
        deleted = client.request("DELETE", name)
        statuses = [answer.status for answer in (created, appended, read, deleted)]
        self.check(statuses == [201, 204, 200, 204], f"PUT, POST, GET, DELETE after the attack are answered {statuses}")
        self.check(read.body == b"one,two", "GET after the attack gives other bytes")

    def _clean(self):
        if self.server and self.server.alive():
            self.server.kill()
        for connection in self.sockets:
            with contextlib.suppress(OSError):
                connection.close()
        if os.path.ismount(self.folder / "data"):
            subprocess.run(["umount", "-l", self.folder / "data"], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _out_of_time(self, *_):
        raise OutOfTime

    def _line(self, verdict):
        return Line(self.scenario.name, self._above("p99"), self._above("longest"), self.server.peak if self.server else 0,
                    self.server.cpu if self.server else 0, verdict)

    def _above(self, figure):
        """The largest of the kinds' figures above idle, in milliseconds."""
        values = [wait[figure] - self.idle[kind][figure] for kind, wait in self.waits.items()]
        return max(0, *values) if values else None


@dataclass
class Line:
    """One line of the report."""

    name: str
    p99: float
    longest: float
    peak: int
    cpu: float
    verdict: str

    HEAD = f"{'scenario':<28} {'p99':>7} {'longest':>8} {'RSS':>6} {'CPU':>6}  verdict"

    def __str__(self):
        def milliseconds(value):
            return "-" if value is None else f"{value:.0f}"

        return (f"{self.name:<28} {milliseconds(self.p99):>7} {milliseconds(self.longest):>8} {self.peak:>6} {self.cpu:>6.1f}"
                f"  {self.verdict}")

    @property
    def failed(self):
        return self.verdict != "ok" and not self.verdict.startswith("skipped")
