"""One half of one run, in a process of its own: `worker.py fit JOB.json` or `worker.py answer JOB.json`.

Two processes, so that what the training held in memory is not counted where the answers are measured, and so that the
answers come from files. Each writes JOB-fit.json or JOB-answer.json beside the job.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from base import Context, Peer
from data import read_rows
from ours import Ours
from peers import PEERS

WARM_UP = 20


def contenders() -> dict[str, Peer]:
    """Every contender by name, ours last."""
    return {peer.name: peer for peer in (*PEERS, Ours())}


def peak_bytes() -> int:
    """The most memory this process held so far (VmHWM, which starts anew with each program, unlike ru_maxrss)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fit(peer: Peer, job: dict[str, Any], context: Context) -> dict[str, Any]:
    """Trains into the job's folder. The notes' `fit_seconds` leave out choosing settings; cached work counts as if done now."""
    rows = read_rows(context.train_file)
    notes = peer.fit([text for text, _ in rows], [label for _, label in rows], job["seed"], Path(job["folder"]), context)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"notes": notes, "fit_peak_bytes": max(peak_bytes(), children)}


def answer(peer: Peer, job: dict[str, Any], context: Context) -> dict[str, Any]:
    """Answers one text at a time, then all of them at once; saves the probabilities."""
    texts = [text for text, _ in read_rows(context.test_file)]
    start = time.perf_counter()
    model = peer.load(Path(job["folder"]), context)
    model.answer_one(texts[0])
    first = time.perf_counter() - start
    taken = _one_by_one(model, texts, job["singles"])
    single_peak = peak_bytes()
    start = time.perf_counter()
    proba = np.asarray(model.predict_proba(texts), np.float32)
    batch = time.perf_counter() - start
    Path(job["predictions"]).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(job["predictions"], proba=proba.astype(np.float16), best=proba.argmax(1).astype(np.int16),
                        labels=np.array(model.labels))
    p50, p95, p99 = np.percentile(taken, (50, 95, 99))
    return {"bytes": model.bytes_on_disk(), "first_answer_seconds": first, "p50_ms": p50 * 1e3, "p95_ms": p95 * 1e3,
            "p99_ms": p99 * 1e3, "mean_ms": float(np.mean(taken)) * 1e3, "rows_per_second": len(texts) / batch,
            "single_peak_bytes": single_peak, "batch_peak_bytes": peak_bytes()}


def _one_by_one(model: Any, texts: list[str], singles: int) -> np.ndarray:
    chosen = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:singles]]
    for text in chosen[:WARM_UP]:
        model.answer_one(text)
    taken = np.empty(len(chosen))
    for i, text in enumerate(chosen):
        start = time.perf_counter()
        model.answer_one(text)
        taken[i] = time.perf_counter() - start
    return taken


def main() -> int:
    half, path = sys.argv[1], Path(sys.argv[2])
    job = json.loads(path.read_text())
    context = Context(job["threads"], Path(job["cache"]), Path(job["encoder"]), Path(job["train_file"]),
                      Path(job["test_file"]), tuple(job["ours_args"]))
    peer = contenders()[job["contender"]]
    try:
        out = (fit if half == "fit" else answer)(peer, job, context)
    except Exception as error:  # one contender that fails must not end the bench; its row says why
        traceback.print_exc()
        out = {"error": f"{type(error).__name__}: {error}"}
    path.with_name(f"{path.stem}-{half}.json").write_text(json.dumps(out))
    return 1 if "error" in out else 0


if __name__ == "__main__":
    raise SystemExit(main())
