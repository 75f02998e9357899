"""The floors of the service: requests a second beside a plain FastAPI handler, the tail, overload, idle memory, streams of a chat.

    python bench/serve.py --work .cache/serve --out records/2026-11-28-serve
    python bench/serve.py --work .cache/serve --parts rate tail

The model has the shape of our `tiny` rung with random weights: what it says is nonsense, what it costs is not. The handler is what
FastAPI's own documentation would have one write: a typed body, a `def`, a dictionary as the answer; `fastapi-async` is the same as an
`async def`, which answers on the event loop. One worker process each, one ONNX Runtime thread. Rounds alternate; figures are medians over
rounds. `cpu_us` is processor time of the server per request, which other programs on the machine disturb least. The other parts: `floors.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import floors

from understudy.serve.loadtest import _Load

LABELS = ("card", "delivery", "refund")
TEXT = "where is my card and why is it late"
SHAPES = {"ours": "/v1/classify", "fastapi": "/predict", "fastapi-async": "/predict-async"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the model that is made here")
    parser.add_argument("--out", type=Path, help="folder for the record; without it the record is printed only")
    parser.add_argument("--parts", nargs="+", choices=["rate", *floors.PARTS], default=["rate", *floors.PARTS])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement of `rate`; some of the other parts take up to 4 times as long")
    parser.add_argument("--chat", type=Path, help="a bundle that chats, for the part of that name")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def made_bundle(folder: Path, shape: tuple[int, int, int] | None = None) -> Path:
    """A bundle whose only rung is a transformer over a WordPiece vocabulary of letters and a few words: of the tiny rung's shape, or (width, layers, hidden)."""
    if (folder / "manifest.json").is_file():
        return folder
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from understudy.bundle import Manifest, Rung, write_bundle
    from understudy.models.bert import Classifier, Shape
    from understudy.models.tiny import TinyConfig
    from understudy.shrink.graph import build

    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *TEXT.split()]
    words = list(dict.fromkeys([*pieces, *(f"word{number}" for number in range(2000))]))
    tokenizer = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(words[:4])
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    torch.manual_seed(0)
    size = TinyConfig()
    width, layers, hidden = shape or (size.width, size.layers, size.hidden)
    model = Classifier(Shape(len(words), width, layers, 4, hidden, size.positions), len(LABELS)).eval()
    rung = Rung(name="tiny", kind="encoder", path="tiny", parameters=sum(one.numel() for one in model.parameters()), precision="int8", mix={"tiny": 1.0}, max_tokens=64)
    files = {"tiny/onnx/model_quantized.onnx": build(model, whole=[]), "tiny/tokenizer.json": tokenizer.to_str().encode()}
    write_bundle(folder, files, Manifest(name=folder.name, version="0.1.0", labels=LABELS, rungs=(rung,)))
    return folder


def peer(bundle: Path, port: int) -> None:
    """The plain handler, in this process."""
    import numpy as np
    import onnxruntime as ort
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(bundle / "tiny/onnx/model_quantized.onnx"), options)
    tokenizer = Tokenizer.from_file(str(bundle / "tiny/tokenizer.json"))
    app = FastAPI()

    def predict(body):
        ids = np.array([tokenizer.encode(body.inputs).ids[:64]], np.int64)
        logits = session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
        odds = np.exp(logits - logits.max())
        best = int(odds.argmax())
        return {"label": LABELS[best], "confidence": float(odds[best] / odds.sum())}

    async def predict_async(body):
        return predict(body)

    class Body(BaseModel):
        inputs: str

    predict.__annotations__["body"] = predict_async.__annotations__["body"] = Body
    app.post("/predict")(predict)
    app.post("/predict-async")(predict_async)
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def request(port: int, path: str, times: int = 1) -> bytes:
    """One request, of the text several times over."""
    body = json.dumps({"inputs": " ".join([TEXT] * times)}).encode()
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    told = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


async def once(port: int, pid: int, path: str, connections: int, seconds: float) -> dict[str, float]:
    async with _Load(port, [request(port, path)], connections).opened() as load:
        await load.flat_out(0.3)
        before = cpu(pid)
        rate = await load.flat_out(seconds)
        if rate.failed or rate.refused:
            raise SystemExit(f"{path}: {rate.failed} failed, {rate.refused} refused")
        return {"per_second": rate.answered, "p50_ms": rate.p50_ms, "p99_ms": rate.p99_ms, "cpu_us": 1e6 * (cpu(pid) - before) / (rate.answered * seconds)}


def started(bundle: Path, name: str) -> tuple[subprocess.Popen, int]:
    command = [sys.executable, "-m", "understudy.cli", "serve", str(bundle), "--port", "{port}"]
    if name != "ours":
        command = [sys.executable, __file__, "--work", ".", "--peer", str(bundle), "--port", "{port}"]
    return floors.opened(command)


def rates(told: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Every run, and the table."""
    bundle = made_bundle(told.work / "tiny")
    servers = {name: started(bundle, name) for name in ("ours", "fastapi")}
    runs: list[dict[str, Any]] = []
    try:
        for number in range(told.rounds):
            for connections in told.connections:
                for name, path in SHAPES.items():
                    process, port = servers[name.split("-")[0]]
                    runs.append({"part": "rate", "round": number, "contender": name, "connections": connections,
                                 **asyncio.run(once(port, process.pid, path, connections, told.seconds))})
    finally:
        for process, _ in servers.values():
            process.terminate()
            process.wait()
    lines = ["| contender | connections | requests/s | p50, ms | p99, ms | processor time a request, µs |", "|---|---:|---:|---:|---:|---:|"]
    for connections in told.connections:
        for name in SHAPES:
            mine = [run for run in runs if run["contender"] == name and run["connections"] == connections]
            middle = {key: statistics.median(run[key] for run in mine) for key in ("per_second", "p50_ms", "p99_ms", "cpu_us")}
            lines.append(f"| {name} | {connections} | {middle['per_second']:,.0f} | {middle['p50_ms']:.2f} | {middle['p99_ms']:.2f} | {middle['cpu_us']:.0f} |")
    return runs, lines


def main() -> None:
    told = arguments()
    if told.peer is not None:
        return peer(told.peer, told.port)
    if "rate" in told.parts and find_spec("fastapi") is None:
        raise SystemExit("the part 'rate' needs FastAPI: pip install --constraint constraints.txt fastapi")
    told.work.mkdir(parents=True, exist_ok=True)
    runs: list[dict[str, Any]] = []
    lines: list[str] = []
    for part in dict.fromkeys(told.parts):
        found, table = rates(told) if part == "rate" else floors.PARTS[part](told, made_bundle, request)
        runs += found
        lines += [f"{part}:", "", *table, ""]
        print("\n".join(lines[-len(table) - 3:]), flush=True)
        if told.out is not None:
            told.out.mkdir(parents=True, exist_ok=True)
            (told.out / "results.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs), "utf-8")
            (told.out / "table.md").write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    main()
