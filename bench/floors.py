"""The floors of the service but the rate: its tail, what it does when asked too much, what it holds idle, and streams of a chat.

    tail      p50 and p99 at 80 % of the peak rate, server and generator on a core each; beside it what the server itself measured
    overload  ten times the peak rate of a slower model: answers as a share of the peak, and how soon the rest is refused
    idle      20 mixed bundles loaded: memory of all processes beyond the sum of their files
    chat      tokens a second of 4 streams, ours and llama.cpp's own server (the one inside `xllamacpp`) on the same file, in turns
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pace import Pace, Seen

Found = tuple[list[dict[str, Any]], list[str]]
Made, Request = Callable[..., Path], Callable[..., bytes]
MIDDLE = (384, 6, 1536)
"""The shape of a MiniLM: some 5 ms an answer, so that there is a line before it."""
MIDDLING = (512, 8, 8, 1408)
"""Width, layers, heads and feed-forward width of a decoder that computes something."""
_PEER = """
import sys, time, xllamacpp
model, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
told = xllamacpp.CommonParams()
told.model.path, told.port, told.hostnames = model, port, ["127.0.0.1"]
told.n_ctx, told.n_parallel, told.kv_unified = 4 * 512, 4, False
told.cpuparams.n_threads = told.cpuparams_batch.n_threads = threads
told.n_gpu_layers, told.fit_params, told.warmup, told.verbosity, told.cache_ram_mib = 0, False, False, 0, 0
told.use_jinja = told.enable_chat_template = False
told.chat_template = "chatml"
server = xllamacpp.Server(told)
time.sleep(3600)
"""


def opened(command: list[str], *, core: int | None = None, log: Any = subprocess.DEVNULL, ready: str = "/openapi.json") -> tuple[subprocess.Popen, int]:
    """A server's process and port; `{port}` in its command is a free one. `core`: the only one it may use."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    process = subprocess.Popen([part.replace("{port}", str(port)) for part in command], stdout=subprocess.DEVNULL, stderr=log, preexec_fn=pin)
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=1).close()
            return process, port
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise SystemExit(f"it did not start: {' '.join(command)[:300]}")


@contextlib.contextmanager
def _server(*given: str, core: int | None = None, log: Any = subprocess.DEVNULL) -> Iterator[tuple[subprocess.Popen, int]]:
    process, port = opened([sys.executable, "-m", "understudy.cli", "serve", *given, "--port", "{port}"], core=core, log=log)
    try:
        yield process, port
    finally:
        process.terminate()
        process.wait()


def _asked(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}), timeout=120) as answer:
        return json.loads(answer.read())


@contextlib.contextmanager
def _pinned(core: int | None) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _inside(log: Path, since: float) -> tuple[float, float]:
    """(p50, p99) of the milliseconds in the server's log, from a moment on: from a request that is whole to its answer being written."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    times = [line["ms"] for line in lines if line.get("event") == "request" and line["time"] >= since]
    return float(np.percentile(times, 50)), float(np.percentile(times, 99))


def tail(told: argparse.Namespace, made: Made, request: Request) -> Found:
    """Evenly spaced requests and such as independent clients send; three rounds each."""
    cores = sorted(os.sched_getaffinity(0))
    ours, mine = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    runs: list[dict[str, Any]] = []
    log, seconds = told.work / "tail.log", 4 * told.seconds
    with open(log, "w") as file, _server(str(made(told.work / "tiny")), core=ours, log=file) as (_, port), _pinned(mine):
        pace = Pace(port, request(port, "/v1/classify"), 32)
        pace.flat_out(1.0)
        for number in range(3):
            peak = pace.flat_out(seconds / 3).told()["per_second"]
            for spread in ("even", "poisson"):
                time.sleep(0.3)
                since = time.time()
                seen = pace.at(0.8 * peak, seconds / 2, spread).told()
                time.sleep(0.3)
                inside = _inside(log, since)
                runs.append({"part": "tail", "round": number, "spread": spread, "peak": peak, **seen, "inside_p50_ms": inside[0], "inside_p99_ms": inside[1]})
        pace.close()
    lines = ["| requests come | peak/s | p50, ms | p99, ms | p99 / p50 | in the server p50, ms | p99, ms | generator late p99, ms |", "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for spread in ("even", "poisson"):
        some = [run for run in runs if run["spread"] == spread]
        peak, p50, p99, in50, in99, late = (statistics.median(run[key] for run in some) for key in ("peak", "p50_ms", "p99_ms", "inside_p50_ms", "inside_p99_ms", "late_p99_ms"))
        lines.append(f"| {spread} | {peak:,.0f} | {p50:.2f} | {p99:.2f} | {p99 / p50:.1f} | {in50:.2f} | {in99:.2f} | {late:.2f} |")
    return runs, lines


def overload(told: argparse.Namespace, made: Made, request: Request) -> Found:
    """Ten times what it can answer, on 800 connections; three rounds, with a text of 9 words and with one of 63.

    The generator has the server's cores: what it takes of them at ten times the rate is no fault of the server. So the peak is measured twice,
    by itself and beside a process that takes as much of a processor as the generator did; both shares are told.
    """
    runs: list[dict[str, Any]] = []
    with _server(str(made(told.work / "middle", MIDDLE))) as (_, port):
        for times in (1, 7):
            pace, few = (Pace(port, request(port, "/v1/classify", times), count) for count in (800, 32))
            for number in range(3):
                peak, least = _with_share(lambda few=few: few.flat_out(2 * told.seconds, 1.0))
                time.sleep(0.3)
                seen, most = _with_share(lambda pace=pace, peak=peak: pace.at(10 * peak["per_second"], 4 * told.seconds, spin=False, settle=2.0))
                time.sleep(0.3)
                with _taking(max(0.0, most - least)):
                    beside, _ = _with_share(lambda few=few: few.flat_out(2 * told.seconds, 1.0))
                runs.append({"part": "overload", "words": 9 * times, "round": number, "peak": peak["per_second"], "peak_beside": beside["per_second"],
                             "generator_share": round(most, 3), **seen})
            pace.close()
            few.close()
    lines = ["| words | peak/s | beside a generator/s | asked/s | its share of a core | answered/s | of the peak, % | of that beside, % | refused | refused p99, ms | failed |",
             "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    lines += [f"| {run['words']} | {run['peak']:,.0f} | {run['peak_beside']:,.0f} | {10 * run['peak']:,.0f} | {run['generator_share']:.2f} | {run['per_second']:,.0f} | "
              f"{100 * run['per_second'] / run['peak']:.0f} | {100 * run['per_second'] / run['peak_beside']:.0f} | {run['refused']:,} | {run['refused_p99_ms']:.1f} | {run['failed']} |"
              for run in runs]
    return runs, lines


def _with_share(measured: Callable[[], Seen]) -> tuple[dict[str, float], float]:
    """What a load saw, and which share of a core this process took for it."""
    began, before = time.perf_counter(), time.process_time()
    seen = measured().told()
    return seen, (time.process_time() - before) / (time.perf_counter() - began)


@contextlib.contextmanager
def _taking(share: float) -> Iterator[None]:
    """A process beside that takes a share of a core, in slices of two milliseconds as the generator does."""
    code = (f"import time\nwhile True:\n    end = time.thread_time() + 0.002 * {share}\n    while time.thread_time() < end: pass\n    time.sleep(0.002 * (1 - {share}))")
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _resident(pid: int) -> int:
    """Bytes of a process and its children, pages that several share counted in parts."""
    own = next(int(line.split()[1]) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")) * 1024
    return own + sum(_resident(int(child)) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split())


def _writer(path: Path, seed: int = 0, **given: Any) -> Path:
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
    from tiny_writer import make_writer

    return path if path.exists() else make_writer(path, seed=seed, **given)


def idle(told: argparse.Namespace, made: Made, request: Request) -> Found:
    """Ten tiny encoders, four of MiniLM's shape, six that write; each has answered once."""
    root = told.work / "fleet"
    root.mkdir(exist_ok=True)
    sorting = [made(root / f"tiny-{number}") for number in range(10)] + [made(root / f"middle-{number}", MIDDLE) for number in range(4)]
    writing = [_writer(root / f"chat-{number}", number) for number in range(6)]
    files = sum(file.stat().st_size for path in (*sorting, *writing) for file in path.rglob("*") if file.is_file())
    with _server("--models", str(root), "--memory", "8GB") as (process, port):
        empty = _resident(process.pid)
        for path in sorting:
            _asked(port, "/v1/classify", {"model": path.name, "inputs": "where is my card"})
        for path in writing:
            _asked(port, "/v1/chat/completions", {"model": path.name, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4})
        time.sleep(1)
        held = _resident(process.pid)
    run = {"part": "idle", "bundles": len(sorting) + len(writing), "files": files, "empty": empty, "held": held}
    return [run], ["| bundles | their files, MB | service without any, MB | with all, MB | beyond their files, MB |", "|---:|---:|---:|---:|---:|",
                   f"| {run['bundles']} | {files / 1e6:.0f} | {empty / 1e6:.0f} | {held / 1e6:.0f} | {(held - files) / 1e6:.0f} |"]


def chat(told: argparse.Namespace, made: Made, request: Request) -> Found:
    """Random weights: one of 0.2M parameters, where all is overhead, one of 25M in Q8_0, and the bundle that `--chat` names."""
    runs: list[dict[str, Any]] = []
    for bundle in (_writer(told.work / "chat-small", endless=True), _writer(told.work / "chat-middle", shape=MIDDLING, q8=True, endless=True), *([told.chat] if told.chat else [])):
        runs += _in_turns(bundle, told.seconds)
    lines = ["| bundle | parameters | ours, tokens/s of 4 streams | llama.cpp's server | ours / llama.cpp |", "|---|---:|---:|---:|---:|"]
    for name, parameters in dict.fromkeys((run["bundle"], run["parameters"]) for run in runs):
        ours, other = (statistics.median(run["tokens_per_second"] for run in runs if (run["bundle"], run["contender"]) == (name, one)) for one in ("ours", "llama.cpp"))
        lines.append(f"| {name} | {parameters / 1e6:.1f}M | {ours:,.0f} | {other:,.0f} | **{ours / other:.2f}** |")
    return runs, lines


def _in_turns(bundle: Path, seconds: float) -> list[dict[str, Any]]:
    model, runs = next(bundle.glob("*/*.gguf")), []
    parameters = json.loads((bundle / "manifest.json").read_text())["rungs"][0]["parameters"]
    threads = 1 if parameters < 1e6 else len(os.sched_getaffinity(0))  # what each is fastest with
    with _server(str(bundle), "--slots", "4") as (_, port):
        process, other = opened([sys.executable, "-c", _PEER, str(model), "{port}", str(threads)], ready="/health")
        try:
            for number in range(6):
                for name, at in (("ours", port), ("llama.cpp", other)):
                    tokens = _streamed(at, seconds)
                    if number:  # the first ones warm up
                        runs.append({"part": "chat", "bundle": bundle.name, "parameters": parameters, "round": number, "contender": name, "tokens_per_second": tokens})
        finally:
            process.kill()
            process.wait()
    return runs


def _streamed(port: int, seconds: float) -> float:
    """Tokens a second that four clients read, each asking again as soon as its stream has ended."""
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 200, "temperature": 0, "stream": True,
                       "stream_options": {"include_usage": True}}).encode()
    until = time.perf_counter() + seconds

    def read(_: int) -> int:
        tokens = 0
        while time.perf_counter() < until:
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(asked, timeout=60) as answer:
                tokens += next(json.loads(line[6:])["usage"]["completion_tokens"] for line in answer if b'"usage":{' in line)
                answer.read()
        return tokens

    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        total = sum(pool.map(read, range(4)))
    return total / (time.perf_counter() - began)


PARTS = {"tail": tail, "overload": overload, "idle": idle, "chat": chat}
