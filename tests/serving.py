"""A real server in a process of its own, on a free port, and plain ways to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiny_bundle import make_bundle

QUESTION = "where is my card"
SOAK = float(os.environ.get("UNDERSTUDY_SOAK") or 0)
"""Which part of its full length a heavy test has: 1 under `make soak`, 0 (as short as it can be) otherwise."""


def much(whole: float, least: float) -> int:
    """A size of a heavy test: `whole` under `make soak`, `least` in a plain run."""
    return round(max(least, whole * SOAK))


def offspring(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


class Served:
    """A running server. `ask` sends one request and gives (status, headers, JSON or bytes)."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.process, self.address, self.log = process, address, log
        self.port = int(address.rsplit(":", 1)[1])

    def ask(self, path: str, body: Any = None, *, method: str | None = None, headers: dict[str, str] | None = None, timeout: float = 20.0) -> tuple[int, dict[str, str], Any]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            given = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method or ("GET" if data is None else "POST"), path, data, {**given, **(headers or {})})
            answer = connection.getresponse()
            said = answer.read()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, json.loads(said) if told.get("content-type", "").startswith("application/json") and said else said

    def raw(self, data: bytes, *, wait: float = 5.0) -> bytes:
        """Sends bytes as they are, and gives all that comes back until the server closes or is silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as sock:
            with contextlib.suppress(OSError):
                sock.sendall(data)
            parts = []
            with contextlib.suppress(OSError):
                while part := sock.recv(65536):
                    parts.append(part)
            return b"".join(parts)

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        time.sleep(0.25)
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def children(self) -> list[int]:
        """Process ids of its worker processes, forked or started on their own."""
        return [pid for child in offspring(self.process.pid) for pid in (offspring(child) if child in self.forkservers() else [child])]

    def forkservers(self) -> list[int]:
        """Process ids of what its workers are forked from."""
        return [pid for pid in offspring(self.process.pid) if b"understudy.run.generate.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def end(self, sign: int = signal.SIGTERM) -> int:
        """Ends it; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def resident(served: Served) -> int:
    """Bytes that the server holds."""
    return int(Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def server(folder: Path, *bundles: Path, flags: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Serves bundles until the block ends. Trials in a child process are left out unless a test asks for them (--no-trust)."""
    log = folder / "server.log"
    with log.open("wb") as errors:
        given = flags if "--no-trust" in flags else ("--trust", *flags)
        command = [sys.executable, "-m", "understudy.cli", "serve", *map(str, bundles), "--port", "0", "--json", *given]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})})
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first, f"the server did not start: {log.read_text('utf-8')}"
        yield Served(process, json.loads(first)["address"], log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def refused(*arguments: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """What `understudy serve` says where it does not start."""
    done = subprocess.run([sys.executable, "-m", "understudy.cli", "serve", *arguments, "--port", "0", "--json"], capture_output=True, text=True, timeout=30,
                          env={**os.environ, **(environment or {})})
    assert done.returncode == 2, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return told


@contextlib.contextmanager
def sorting(folder: Path, *, flags: tuple[str, ...] = ()) -> Iterator[Served]:
    """Serves a small classifier that has answered once; when the block ends its log has no traceback, and it ends well."""
    with server(folder, make_bundle(folder / "bundles" / "support"), flags=flags) as running:
        running.ask("/v1/classify", {"inputs": QUESTION})
        yield running
        assert "Traceback" not in running.log.read_text("utf-8") and running.end() == 0
