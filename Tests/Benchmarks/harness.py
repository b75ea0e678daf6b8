"""What the scripts of this folder share: servers to measure, `durable-streams bench` to measure them with, /proc to look at them.

Every process that is started here ends with the `Work` it belongs to, also when a script fails.
"""

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


def say(text=""):
    print(text, flush=True)


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def release_build():
    """The executable: SERVER, or what a release build makes now."""
    if "SERVER" in os.environ:
        return os.environ["SERVER"]
    command = ["swift", "build", "-c", "release", "--package-path", str(ROOT)]
    subprocess.run(command + ["--product", "durable-streams"], check=True, stdout=sys.stderr)
    folder = subprocess.run(command + ["--show-bin-path"], check=True, capture_output=True, text=True).stdout.strip()
    return folder + "/durable-streams"


class Work:
    """A temporary folder and the processes of a script."""

    def __init__(self, folder=None):
        self.binary = release_build()
        self.path = Path(tempfile.mkdtemp(prefix="durable-streams-bench.", dir=folder))
        self.processes = []

    def __enter__(self):
        # So that `timeout` and Ctrl-C end in __exit__ too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.path, ignore_errors=True)

    def start(self, command, port_file=None, **options):
        """Starts a process; with a port file, waits until its port is there. Returns process and port."""
        process = subprocess.Popen([str(part) for part in command], **options)
        self.processes.append(process)
        if port_file is None:
            return process, None
        for _ in range(600):
            text = port_file.read_text() if port_file.exists() else ""
            if text.endswith("\n"):
                return process, int(text.split()[0])
            if process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{command[0]} does not start")

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
        self.processes.remove(process)
        return status

    def server(self, *flags, listen=HOST + ":0"):
        folder = Path(tempfile.mkdtemp(dir=self.path))
        command = [self.binary, "serve", "--data-dir", folder / "data", "--listen", listen, "--port-file", folder / "port", *flags]
        with open(folder / "log", "wb") as log:
            process, port = self.start(command, folder / "port", stderr=log)
        return Server(self, process, port, folder, listen.rsplit(":", 1)[0])

    def bench(self, workload, *options, url, wait=True, timeout=170):
        """Runs bench to its end and returns what it measured; without `wait`, the running process."""
        command = [self.binary, "bench", workload, "--url", url, "--json", *map(str, options)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return self.result(process, timeout) if wait else process

    def result(self, process, timeout=170):
        output, error = process.communicate(timeout=timeout)
        self.processes.remove(process)
        if not output.startswith("{"):
            raise SystemExit(f"{' '.join(process.args)}\nexit {process.returncode}: {error}")
        return json.loads(output)


class Server:
    def __init__(self, work, process, port, folder, host):
        self.work, self.process, self.port, self.folder, self.host = work, process, port, folder, host
        self.pid = process.pid
        self.url = f"http://{host}:{port}/v1/stream"

    def stop(self):
        status = self.work.stop(self.process)
        if status != 0:
            raise SystemExit(f"the server ended with status {status}:\n{(self.folder / 'log').read_text()[-2000:]}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def resident(self):
        """Bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def request(self, method, path, body=None, **fields):
        """One request on a connection of its own; returns the answer, read."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        connection.request(method, "/v1/stream/" + path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {answer.content[:200]}")
        return answer

    def fill(self, name, size, part=1 << 20):
        """Creates a stream of so many bytes, which are multiples of `part`."""
        self.request("PUT", name, Content_Type="application/octet-stream")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        body = os.urandom(part)
        for _ in range(size // part):
            connection.request("POST", "/v1/stream/" + name, body, {"Content-Type": "application/octet-stream"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 204:
                raise SystemExit(f"filling {name}: {answer.status}")
        connection.close()


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def sync_times(folder, pause, count=200):
    """Seconds of write and fdatasync(2) of 4 KiB over a file that is there already, with a pause before each: what the disk adds to an append
    that comes after such a pause. A disk, and a processor, that have been idle take longer than in a loop."""
    path = Path(folder) / "sync"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, bytes(1 << 20))
        os.fsync(descriptor)
        times = []
        for index in range(count):
            time.sleep(pause)
            start = time.perf_counter()
            os.pwrite(descriptor, os.urandom(4096), (index % 256) * 4096)
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(times)


def percentile(values, fraction):
    return sorted(values)[min(len(values) - 1, int(fraction * len(values)))]


def median(values):
    return statistics.median(values)


def table(rows):
    """Aligned, the first and the last column to the left; the first row is the head."""
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last + 1)]
    for row in rows:
        cells = [cell.ljust(width) if column in (0, last) else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))]
        say("  ".join(cells).rstrip())
