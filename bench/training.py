"""How fast a small decoder trains: our loop beside a plain `transformers.Trainer`, the same shape, weights, data and threads.

    python bench/training.py --pairs ../shared/data/translation-tatoeba/en-de.train.tsv.gz \\
        --text ../shared/data/text-openstax/train.txt.gz --out records/2026-01-31-training

Two kinds of data: pairs, of which the target side is learned, and plain text, all of which is. Every round asks each contender in
turn for some seconds of training from the same start; what counts is the tokens that were predicted, neither padding nor a source.
Both are given the same pieces and about the same number of real tokens a step. The Trainer pads to the longest of a batch, as its
users do, and once more sorts rows by length; plain text comes to it in blocks of the context, as in `run_clm`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from understudy.models.decoder import Decoder, save_hub
from understudy.models.pieces import BOS, EOS, PAD, SEP, encode, learn_pieces, special_id
from understudy.recipes.text.config import SIZES
from understudy.recipes.text.encoding import Marks, encoded
from understudy.tasks.reading.pairs import Pair
from understudy.tasks.reading.plain_text import blocks, read_text
from understudy.teach.device import halves
from understudy.teach.language import LanguageConfig, train_language
from understudy.teach.sequences import Sequences, cut, epoch

SEED = 0
Contender = Callable[[], tuple[int, int, float]]
"""(tokens predicted, steps, seconds) of one stretch of training."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, help="tab-separated file with a header, source first, .gz or not")
    parser.add_argument("--text", type=Path, help="plain text, .gz or not")
    parser.add_argument("--size", default="base", choices=tuple(SIZES))
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--rows", type=int, default=20_000, help="pairs, or blocks of text, that are used")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens a step")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, each contender and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for the record; without it the record is printed only")
    return parser.parse_args()


def rows_of(args: argparse.Namespace) -> Iterator[tuple[str, list[Pair]]]:
    """(name, pairs or blocks of text) of what was given."""
    if args.pairs:
        with (gzip.open if args.pairs.suffix == ".gz" else open)(args.pairs, "rt", encoding="utf-8", newline="") as file:
            lines = islice(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1, args.rows + 1)
            yield "pairs", [Pair(cells[0], cells[1]) for cells in lines if len(cells) >= 2]
    if args.text:
        yield "text", [Pair("", block) for block in blocks(read_text(args.text))[: args.rows]]


def main() -> None:
    args = arguments()
    import torch

    torch.set_num_threads(args.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for kind, rows in rows_of(args):
        tokenizer = learn_pieces([text for row in rows for text in (row.source, row.target) if text], SIZES[args.size].pieces)
        begin, mark, end, pad = (special_id(tokenizer, name) for name in (BOS, SEP, EOS, PAD))
        sequences = encoded(rows, lambda texts, used=tokenizer: encode(used, texts), Marks(begin, mark, end, {}), args.context)
        shape = SIZES[args.size].shape(tokenizer.get_vocab_size(), args.context)
        with tempfile.TemporaryDirectory() as scratch:
            torch.manual_seed(SEED)
            save_hub(Decoder(shape), tokenizer.to_str(), Path(scratch), bos=begin, eos=end, pad=pad)
            asked = contenders(kind, sequences, shape, Path(scratch), pad, args)
            found = results.setdefault(f"{kind}: {len(sequences):,} sequences of {sequences.lengths.mean():.0f} tokens, {shape.parameters / 1e6:.1f}M parameters", {})
            for once in asked.values():
                once()  # what is made at the first call is no training
            for _ in range(args.rounds):
                for name, once in asked.items():
                    tokens, steps, seconds = once()
                    found.setdefault(name, []).append({"tokens": tokens, "steps": steps, "seconds": seconds})
                    print(f"{kind:>6}  {name}: {tokens / seconds:,.0f} tokens/s, {steps} steps", flush=True)
    write(args, results)


def contenders(kind: str, sequences: Sequences, shape: Any, hub: Path, pad: int, args: argparse.Namespace) -> dict[str, Contender]:
    """What takes part, ours first."""
    asked: dict[str, Contender] = {"Understudy": lambda: ours(sequences, shape, args)}
    items = items_of(sequences) if kind == "pairs" else blocks_of(sequences, args.context)
    batch = max(1, round(args.tokens / (sum(len(ids) for ids, _ in items) / len(items))))
    asked["transformers.Trainer"] = lambda: theirs(hub, items, batch, pad, args, "random")
    if kind == "pairs":
        asked["transformers.Trainer, rows sorted by length"] = lambda: theirs(hub, items, batch, pad, args, "group_by_length")
    return asked


def ours(sequences: Sequences, shape: Any, args: argparse.Namespace) -> tuple[int, int, float]:
    """The package's own loop."""
    import torch

    torch.manual_seed(SEED)
    model = Decoder(shape)
    began = time.perf_counter()
    last = train_language(model, sequences, LanguageConfig(epochs=1e6, seconds=args.seconds, tokens=args.tokens), SEED)
    seconds = time.perf_counter() - began
    return sum(len(batch.next) for batch in islice(every(sequences, args), last.step)), last.step, seconds


def every(sequences: Sequences, args: argparse.Namespace) -> Iterator[Any]:
    """The batches that the loop sees, epoch after epoch."""
    number = 0
    while True:
        yield from epoch(sequences, args.tokens, args.context, np.random.default_rng([SEED, number]))
        number += 1


def items_of(sequences: Sequences) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids, which of them are to be predicted) of every sequence."""
    return [(sequences.ids[a:b], sequences.wanted[a:b]) for a, b in zip(sequences.starts[:-1], sequences.starts[1:], strict=True)]


def blocks_of(sequences: Sequences, context: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """All text end to end, cut into blocks of the context."""
    whole = Sequences(sequences.ids, np.ones(len(sequences.ids), bool), np.array([0, len(sequences.ids)]))
    return items_of(cut(whole, context))


def theirs(hub: Path, items: list[tuple[np.ndarray, np.ndarray]], batch: int, pad: int, args: argparse.Namespace, order: str) -> tuple[int, int, float]:
    """A plain Trainer, as its documentation has it, without saving and reporting."""
    import torch
    from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    counts: list[int] = []

    def collate(some: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(one["input_ids"]) for one in some)
        ids = torch.full((len(some), longest), pad)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, one in enumerate(some):
            size = len(one["input_ids"])
            ids[row, :size], labels[row, :size], mask[row, :size] = torch.tensor(one["input_ids"]), torch.tensor(one["labels"]), 1
        counts.append(int((labels[:, 1:] != -100).sum()))
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    class Timer(TrainerCallback):
        def on_step_end(self, args_: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = time.perf_counter() - began > args.seconds

    rows = [{"input_ids": ids.tolist(), "labels": np.where(wanted, ids, -100).tolist(), "length": len(ids)} for ids, wanted in items]
    with tempfile.TemporaryDirectory() as scratch:
        settings = TrainingArguments(scratch, per_device_train_batch_size=batch, num_train_epochs=1e4, learning_rate=1e-3, use_cpu=True, seed=SEED,
                                     save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False,
                                     train_sampling_strategy=order)
        model = AutoModelForCausalLM.from_pretrained(hub, dtype=torch.float32)
        trainer = Trainer(model, settings, train_dataset=rows, data_collator=collate, callbacks=[Timer()])
        trainer.remove_callback(PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    steps = trainer.state.global_step
    # The next batch is made before a step ends: only those of finished steps count.
    return sum(counts[:steps]), steps, seconds


def write(args: argparse.Namespace, results: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """training.json and README.md, or the table alone."""
    rows = []
    for kind, found in results.items():
        rates = {name: [one["tokens"] / one["seconds"] for one in runs] for name, runs in found.items()}
        middle = {name: statistics.median(values) for name, values in rates.items()}
        for name, values in rates.items():
            # The ratio of each round by itself: what disturbs a round disturbs both.
            times = statistics.median(mine / one for mine, one in zip(rates["Understudy"], values, strict=True))
            rows.append(f"| {kind} | {name} | {middle[name]:,.0f} | {min(values):,.0f}–{max(values):,.0f} | {times:.2f} |")
    head = ["| data | loop | predicted tokens/s, median | range | Understudy against it, median of rounds |", "|---|---|---:|---:|---:|"]
    command = shlex.join(["python", "bench/training.py", *sys.argv[1:]])
    text = (f"# Training, {args.threads} threads\n\n    {command}\n\nSize {args.size}, context {args.context}, about {args.tokens:,} tokens a step, "
            f"float32 weights (our products in {'bfloat16' if halves() else 'float32'}, the Trainer's in float32), {args.rounds} rounds of {args.seconds:g} s each, in turn. Ours as `train` runs it, without dropout and smoothing, which the "
            f"Trainer does not do either; Muon and AdamW against the Trainer's AdamW. {platform.processor() or platform.machine()}, {os.cpu_count()} cores.\n\n"
            + "\n".join([*head, *rows]) + "\n")
    print(text)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "training.json").write_text(json.dumps({"command": command, "runs": results}, indent=1) + "\n")
        (args.out / "README.md").write_text(text)


if __name__ == "__main__":
    main()
