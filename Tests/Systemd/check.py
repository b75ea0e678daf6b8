# What a package must do under systemd, in order; the first thing that is not so ends the run with its name and the journal. Runs inside the
# namespaces that run and boot make.

import asyncio
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time

from load import Load

PACKAGE = sys.argv[1]
SERVICE, SOCKET = "durable-streams.service", "durable-streams.socket"
PORT = 4437
EVENTS = {
    "recovered": "13101b16daf34646b494528929192843",
    "reload refused": "61fa80c043d645709646b7848d4702e1",
    "not started": "b077d69d9d534f56b5d7870a35441459",
}


def run(*command, check=True, timeout=120):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    assert not check or result.returncode == 0, f"{' '.join(command)}: status {result.returncode}\n{result.stdout}"
    return result


def output(*command):
    return run(*command).stdout


def systemctl(*arguments, check=True):
    return run("systemctl", *arguments, check=check)


def show(unit, name):
    return output("systemctl", "show", unit, "-p", name, "--value").strip()


def until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def journal(*matches):
    """Events of the journal, as dictionaries."""
    run("journalctl", "--sync")
    return [json.loads(line) for line in output("journalctl", "-o", "json", "--no-pager", "-q", *matches).splitlines()]


def ask(method, path, fields=(), body=b"", address=("127.0.0.1", PORT), timeout=30):
    """One exchange over a connection of its own: status, fields, content."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as peer:
        peer.settimeout(timeout)
        peer.connect(address)
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        peer.sendall((head + "".join(f + "\r\n" for f in fields) + "\r\n").encode() + body)
        answer = b""
        while piece := peer.recv(65536):
            answer += piece
    head, _, content = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    found = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}
    return int(lines[0].split()[1]), found, content


def pid():
    return int(show(SERVICE, "MainPID"))


def drop_in(unit, name, text):
    os.makedirs(f"/etc/systemd/system/{unit}.d", exist_ok=True)
    with open(f"/etc/systemd/system/{unit}.d/{name}.conf", "w") as file:
        file.write(text)
    systemctl("daemon-reload")


def configure(text):
    with open("/etc/durable-streams/config.yaml", "w") as file:
        file.write(text)


NOT_OURS = {
    "/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd", "/var/lib/PackageKit", "/var/cache", "/var/log", "/var/tmp", "/run/systemd",
    "/run/log", "/run/udev", "/run/lock", "/run/user", "/run/credentials", "/run/durable-streams-test"
}


def files():
    """Every file and directory that a package may have touched, apart from what dpkg and apt keep for themselves."""
    ours = set()
    for root in ("/etc", "/usr", "/var", "/run"):
        for folder, folders, names in os.walk(root):
            folders[:] = [
                name for name in folders
                if os.path.join(folder, name) not in NOT_OURS
            ]
            ours.update(os.path.join(folder, name) for name in folders + names)
    return ours


def account(name):
    lines = open("/etc/passwd").read().splitlines() + open("/etc/group").read().splitlines()
    return [line for line in lines if line.startswith(name + ":")]


class HeldThread:
    """Holds one thread of a process (ptrace), as if it were stuck."""

    def __init__(self, process, name):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        threads = f"/proc/{process}/task"
        self.thread = next(int(t) for t in os.listdir(threads) if open(f"{threads}/{t}/comm").read().strip() == name)
        for request in (0x4206, 0x4207):  # PTRACE_SEIZE, PTRACE_INTERRUPT
            assert self.libc.ptrace(request, self.thread, None, None) == 0, os.strerror(ctypes.get_errno())
        os.waitpid(self.thread, 0x40000000)

    def bury(self):
        """A held thread that has been killed stays until its holder has taken notice."""
        try:
            os.waitpid(self.thread, 0x40000000 | os.WNOHANG)
        except ChildProcessError:
            pass


# Steps


def installs():
    """apt installs it; nothing is enabled or started; the units are in order"""
    output("apt-get", "install", "-y", "--no-install-recommends", PACKAGE)
    for unit in (SERVICE, SOCKET):
        assert systemctl("is-enabled", unit, check=False).stdout.strip() == "disabled", unit
        assert systemctl("is-active", unit, check=False).stdout.strip() == "inactive", unit
    assert len(account("durable-streams")) == 2
    units = [SERVICE, SOCKET, "durable-streams@blue.service", "durable-streams@blue.socket"]
    said = run("systemd-analyze", "verify", "--man=yes", *units, check=False)
    assert said.returncode == 0 and said.stdout == "", said.stdout
    for unit in (SERVICE, "durable-streams@.service"):
        table = output("systemd-analyze", "security", "--offline=true", f"/lib/systemd/system/{unit}")
        exposure = float(table.strip().splitlines()[-1].split(":")[1].split()[0])
        assert exposure <= 1.5, table
    catalog = output("journalctl", "--list-catalog", "--no-pager")
    assert all(identity in catalog for identity in EVENTS.values()), catalog
    return f"exposure {exposure}"


def starts_at_the_first_connection():
    """systemctl enable --now durable-streams.socket; the first connection starts the server"""
    systemctl("enable", "--now", SOCKET)
    assert show(SERVICE, "ActiveState") == "inactive"
    assert ask("PUT", "/v1/stream/first", ["Content-Type: text/plain"], b"hello")[0] == 201
    assert show(SERVICE, "ActiveState") == "active"
    assert ask("GET", "/v1/stream/first", address=("::1", PORT))[2] == b"hello"
    until(lambda: show(SERVICE, "StatusText") == "serving 1 stream, 0 live readers", "the status")


def is_confined():
    """an ordinary user, no capabilities, filtered system calls, a directory that nobody else reads"""
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid()}/status").read().splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, status
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
    assert status["Uid"].split()[1] != "0"

    def descriptors(process):
        return open(f"/proc/{process}/limits").read().split("Max open files")[1].split()[:2]

    # Where systemd itself may not raise its limit, the server has that one.
    assert descriptors(pid()) in (["1048576"] * 2, descriptors(1)), descriptors(pid())
    assert os.stat("/var/lib/durable-streams").st_mode & 0o777 == 0o700
    with open(f"/proc/{pid()}/environ") as file:
        assert "LISTEN_FDNAMES=http" in file.read()


def is_checked_for_production():
    """check-config --production names the open address, and nothing once it is a local one"""
    said = run("durable-streams", "check-config", "--production", check=False)
    assert said.returncode == 1 and "[::]:4437" in said.stdout and said.stdout.count("finding:") == 1, said.stdout
    addresses = ["", "127.0.0.1:4437", "/run/durable-streams-sockets/http.sock"]
    drop_in(SOCKET, "address", "[Socket]\n" + "".join(f"ListenStream={address}\n" for address in addresses))
    systemctl("restart", SOCKET)
    said = run("durable-streams", "check-config", "--production", check=False)
    assert said.returncode == 0 and "nothing was found" in said.stdout, said.stdout


def serves_several_sockets():
    """addresses that a drop-in adds are served: TCP and Unix, the latter for members of the group"""
    path = "/run/durable-streams-sockets/http.sock"
    assert ask("GET", "/v1/stream/first", address=path)[2] == b"hello"
    assert ask("GET", "/v1/stream/first")[2] == b"hello"
    assert os.stat(path).st_mode & 0o777 == 0o660


def reloads():
    """systemctl reload: what can takes effect, the rest is named; a configuration with faults is refused"""
    before = pid()
    configure("long-poll-timeout: 20ms\naccess-log: true\njournal-size: 1GiB\n")
    systemctl("reload", SERVICE)
    assert pid() == before and show(SERVICE, "ActiveState") == "active"
    # The kill of ExecReload= does not wait, the status tells.
    until(lambda: any("read again" in e["MESSAGE"] for e in journal("-u", SERVICE)), "the configuration read again")
    began = time.monotonic()
    assert ask("GET", "/v1/stream/first?offset=now&live=long-poll")[0] == 204 and time.monotonic() - began < 10
    assert any("next start only" in e["MESSAGE"] and e.get("SETTINGS") == "journal-size" for e in journal("-u", SERVICE))
    configure("long-poll-timeout: never\n")
    assert systemctl("reload", SERVICE, check=False).returncode != 0
    assert any("config.yaml:1: long-poll-timeout" in e["MESSAGE"] for e in journal("-u", SERVICE))
    assert pid() == before and ask("GET", "/v1/stream/first")[0] == 200
    # The signal alone is refused by the server itself.
    os.kill(before, signal.SIGHUP)
    until(lambda: journal("MESSAGE_ID=" + EVENTS["reload refused"]), "the event in the journal")
    until(lambda: "faults" in show(SERVICE, "StatusText"), "the status")
    configure("long-poll-timeout: 30s\naccess-log: true\n")
    systemctl("reload", SERVICE)
    until(lambda: "faults" not in show(SERVICE, "StatusText"), "the status")


def logs_with_fields():
    """the journal has the fields of an event, and the catalog explains those that have an identity"""
    ask("PUT", "/v1/stream/logged/name")
    event = next(e for e in journal("-u", SERVICE, "STREAM=logged/name"))
    assert event["PRIORITY"] == "6" and event["CODE_FILE"] == "Server/Exchange.swift" and event["STATUS"] == "201", event
    assert event["MESSAGE"].startswith("PUT /v1/stream/logged/name") and event["SYSLOG_IDENTIFIER"] == "durable-streams", event
    assert event["_TRANSPORT"] == "journal"
    text = output("journalctl", "-x", "--no-pager", "-q", "MESSAGE_ID=" + EVENTS["reload refused"])
    assert "refused as a whole" in text, text
    # Without access log from here on.
    configure("")
    systemctl("reload", SERVICE)


def serves_https():
    """https and its redirect by socket units, the certificate by LoadCredential=; a renewed one by restart"""
    folder = "/run/durable-streams-test"
    certificate, key = f"{folder}/tls.pem", f"{folder}/tls.key"

    def renew():
        output("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
               "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate)

    def fetch(*flags, url="https://localhost/v1/stream/first"):
        shape = "%{http_version} %{http_code} %{redirect_url}"
        return output("curl", "-sS", "--max-time", "30", "--cacert", certificate, "-o", "/dev/null", "-w", shape, *flags, url).strip()

    renew()
    sockets = {"https": 443, "redirect": 80}
    for name, port in sockets.items():
        with open(f"/etc/systemd/system/durable-streams-{name}.socket", "w") as file:
            file.write(f"[Socket]\nListenStream={port}\nFileDescriptorName={name}\nService={SERVICE}\nBacklog=65535\n")
    drop_in(SERVICE, "tls", f"[Service]\nLoadCredential=tls.pem:{certificate}\nLoadCredential=tls.key:{key}\n")
    configure("tls-certificate: credential:tls.pem\ntls-key: credential:tls.key\n")
    systemctl("stop", SERVICE)
    for name in sockets:
        systemctl("start", f"durable-streams-{name}.socket")
    assert fetch("--http2") == "2 200" and fetch("--http1.1") == "1.1 200"
    assert fetch(url="http://localhost/v1/stream/first") == "1.1 308 https://localhost/v1/stream/first"
    assert ask("GET", "/v1/stream/first")[0] == 200
    renew()
    # The copy is made when the unit starts.
    systemctl("restart", SERVICE)
    assert fetch("--http2") == "2 200"
    for name in sockets:
        systemctl("stop", f"durable-streams-{name}.socket")
        os.remove(f"/etc/systemd/system/durable-streams-{name}.socket")
    os.remove(f"/etc/systemd/system/{SERVICE}.d/tls.conf")
    configure("")
    systemctl("daemon-reload")
    systemctl("restart", SOCKET)


def is_verified_online():
    """verify checks the data beside the running server"""
    drop = ["setpriv", "--reuid", "durable-streams", "--regid", "durable-streams", "--clear-groups"]
    run(*drop, "durable-streams", "verify", "--data-dir", "/var/lib/durable-streams", "--online")


def is_restarted_under_load():
    """restarts with 200 writers and 1,000 readers: nobody is refused, nothing acknowledged is lost"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    load = Load(PORT, streams=100, writers=200, readers=1000, pause=0.5)
    gaps = []

    async def restart(*command):
        load.longest_wait = 0.0
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0
        await load.until_more(2)
        gaps.append(load.longest_wait)

    async def during(load):
        await load.until_more(2)
        await restart("systemctl", "restart", SERVICE)
        await restart("systemctl", "restart", SERVICE)
        # Killed, and started again by systemd.
        drop_in(SERVICE, "quick", "[Service]\nRestartSec=100ms\n")
        await restart("systemctl", "kill", "-s", "SIGKILL", "--kill-who=main", SERVICE)
        # Stopped: the next connection, which comes at once, starts it.
        await restart("systemctl", "stop", SERVICE)

    asyncio.run(load.run(during))
    assert load.refused == 0, f"{load.refused} connections were refused"
    until(lambda: show(SERVICE, "ActiveState") == "active", "the service")
    waits = ", ".join(f"{gap:.2f}" for gap in gaps)
    return (f"{sum(load.acknowledged)} appends acknowledged, 0 connections refused, {load.broken} exchanges repeated; "
            f"longest wait at restart, restart, kill -9, stop: {waits} s")


def watchdog_of_the_process():
    """SIGSTOP: the watchdog ends the process, systemd starts it again, everything is there"""
    drop_in(SERVICE, "quick", "[Service]\nRestartSec=100ms\nWatchdogSec=2s\nTimeoutAbortSec=5s\n")
    systemctl("restart", SERVICE)
    return caught_by_the_watchdog(lambda process: os.kill(process, signal.SIGSTOP))


def watchdog_of_the_journal_thread():
    """the journal's thread stuck and nothing else: caught as well"""
    return caught_by_the_watchdog(lambda process: HeldThread(process, "ds-journal"))


def watchdog_of_the_reactor():
    """the reactor stuck and nothing else: caught as well"""
    return caught_by_the_watchdog(lambda process: HeldThread(process, "durable-streams"))


def caught_by_the_watchdog(stop):
    assert ask("POST", "/v1/stream/first", ["Content-Type: text/plain"], b"!")[0] == 204
    content = ask("GET", "/v1/stream/first")[2]
    before, restarts = pid(), int(show(SERVICE, "NRestarts"))
    # Well beyond the limit, and it has not been touched: nothing but a stuck thread ends it.
    until_time = time.monotonic() + 5
    until(lambda: time.monotonic() > until_time, "five seconds")
    assert pid() == before
    held = stop(before)
    began = time.monotonic()

    def is_restarted():
        if held:
            held.bury()
        return int(show(SERVICE, "NRestarts")) == restarts + 1

    until(is_restarted, "the restart", 30)
    seconds = time.monotonic() - began
    until(lambda: show(SERVICE, "ActiveState") == "active" and pid() not in (0, before), "the service")
    assert ask("GET", "/v1/stream/first")[2] == content
    assert any("watchdog" in e["MESSAGE"].lower() for e in journal("UNIT=" + SERVICE)), "systemd does not speak of the watchdog"
    return f"started again after {seconds:.1f} s (WatchdogSec=2s)"


def recovers_from_a_crash():
    """kill -9: started again, everything acknowledged is there, and the event is in the journal"""
    recovered = len(journal("MESSAGE_ID=" + EVENTS["recovered"]))
    assert ask("POST", "/v1/stream/first", ["Content-Type: text/plain"], b"?")[0] == 204
    content = ask("GET", "/v1/stream/first")[2]
    before = pid()
    os.kill(before, signal.SIGKILL)
    # Waits in the backlog.
    assert ask("GET", "/v1/stream/first")[2] == content and pid() not in (0, before)
    until(lambda: len(journal("MESSAGE_ID=" + EVENTS["recovered"])) == recovered + 1, "the event")
    os.remove(f"/etc/systemd/system/{SERVICE}.d/quick.conf")
    systemctl("daemon-reload")
    systemctl("restart", SERVICE)


def explains_failures():
    """systemctl status says why: wrong configuration (not tried again), a start that fails (tried again)"""
    configure("log-level: loud\n")
    systemctl("restart", SERVICE, check=False)
    until(lambda: show(SERVICE, "ActiveState") == "failed", "the failure")
    status = systemctl("status", SERVICE, "--no-pager", check=False).stdout
    assert "status=2/INVALIDARGUMENT" in status and "log-level" in status and "Invalid argument" in status, status
    assert int(show(SERVICE, "NRestarts")) == 0
    configure("")
    # Two servers, one directory.
    holder = subprocess.Popen(
        ["durable-streams", "serve", "--data-dir", "/var/lib/durable-streams", "--listen", "127.0.0.1:0"], stderr=subprocess.DEVNULL)
    until(lambda: os.path.exists("/var/lib/durable-streams/LOCK") and subprocess.run(
        ["flock", "-n", "/var/lib/durable-streams/LOCK", "true"]).returncode != 0, "the other server")
    drop_in(SERVICE, "quick", "[Service]\nRestartSec=200ms\n")
    systemctl("reset-failed", SERVICE)
    systemctl("start", "--no-block", SERVICE)
    until(lambda: int(show(SERVICE, "NRestarts")) > 0, "another try")
    assert any("in use by another server" in e["MESSAGE"] for e in journal("MESSAGE_ID=" + EVENTS["not started"]))
    # Between two tries there is none.
    until(lambda: "in use by another server" in show(SERVICE, "StatusText"), "the status")
    holder.terminate()
    assert holder.wait(30) == 0
    run("chown", "-R", "durable-streams:durable-streams", "/var/lib/durable-streams")
    os.remove(f"/etc/systemd/system/{SERVICE}.d/quick.conf")
    systemctl("daemon-reload")
    systemctl("reset-failed", SERVICE, SOCKET, check=False)
    systemctl("restart", SOCKET)
    assert ask("GET", "/v1/stream/first")[0] == 200


def runs_several_instances():
    """durable-streams@blue: its own configuration, data and address"""
    systemctl("enable", "--now", "durable-streams@blue.socket")
    with open("/etc/durable-streams/instances/blue.yaml", "w") as file:
        file.write("long-poll-timeout: 10ms\n")
    path = "/run/durable-streams-sockets/blue.sock"
    assert ask("PUT", "/v1/stream/of-blue", address=path)[0] == 201
    assert ask("GET", "/v1/stream/of-blue?offset=now&live=long-poll", address=path)[0] == 204
    assert ask("GET", "/v1/stream/first", address=path)[0] == 404 and ask("GET", "/v1/stream/of-blue")[0] == 404
    assert os.path.isfile("/var/lib/durable-streams-instances/blue/FORMAT")
    assert show("durable-streams@blue.service", "ActiveState") == "active"


def is_upgraded():
    """an upgrade starts the servers anew and keeps their sockets"""
    before, blue = pid(), show("durable-streams@blue.service", "MainPID")
    output("apt-get", "install", "-y", "--reinstall", PACKAGE)
    assert ask("GET", "/v1/stream/first")[0] == 200
    assert pid() not in (0, before) and show("durable-streams@blue.service", "MainPID") not in ("0", blue)
    assert systemctl("is-enabled", SOCKET).stdout.strip() == "enabled"


def stops():
    """the socket stopped is the server stopped; clients are refused only then"""
    systemctl("stop", SOCKET)
    assert show(SERVICE, "ActiveState") == "inactive" and show(SERVICE, "Result") == "success"
    try:
        ask("GET", "/v1/stream/first")
        raise AssertionError("somebody listens")
    except ConnectionRefusedError:
        pass
    systemctl("start", SOCKET)
    assert ask("GET", "/v1/stream/first")[0] == 200


def is_removed(before):
    """remove keeps the data, and another installation finds it; purge leaves nothing"""
    output("apt-get", "remove", "-y", "durable-streams")
    assert show(SERVICE, "ActiveState") == "inactive" and not os.path.exists("/usr/bin/durable-streams")
    output("apt-get", "install", "-y", PACKAGE)
    assert systemctl("is-enabled", SOCKET).stdout.strip() == "enabled"
    systemctl("start", SOCKET)
    content = ask("GET", "/v1/stream/first")[2]
    assert content.startswith(b"hello"), content
    output("apt-get", "purge", "-y", "durable-streams")
    # What this run itself has made: drop-ins, and the directories of links that systemctl enable makes.
    left = {path for path in files() - before if not path.startswith("/etc/systemd/system/durable-streams") and not path.endswith(".wants")}
    # Backups that the system's tools keep of its own files.
    left -= {"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"}
    assert not left, sorted(left)
    assert account("durable-streams") == []


STEPS = [
    installs, starts_at_the_first_connection, is_confined, is_checked_for_production, serves_several_sockets, reloads, logs_with_fields,
    serves_https, is_restarted_under_load, is_verified_online, watchdog_of_the_process, watchdog_of_the_journal_thread, watchdog_of_the_reactor,
    recovers_from_a_crash, explains_failures, runs_several_instances, is_upgraded, stops
]


def main():
    print(output("systemctl", "--version").splitlines()[0])
    before = files()
    for step in STEPS + [lambda: is_removed(before)]:
        name = (step.__doc__ or is_removed.__doc__).strip()
        # The steps start the server more often than ten times a minute.
        systemctl("reset-failed", check=False)
        try:
            result = step()
        except BaseException:
            print(f"FAILED: {name}", flush=True)
            log = run("journalctl", "-n", "60", "--no-pager", "-o", "short-precise", check=False).stdout
            print(log + systemctl("status", SERVICE, SOCKET, "--no-pager", check=False).stdout, flush=True)
            raise
        print(f"ok: {name}" + (f" ({result})" if result else ""), flush=True)


main()
