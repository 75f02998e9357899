"""What trimming a vocabulary is worth: a checkpoint in the shape of Gemma 3 270M with random weights, whole and trimmed.

    python bench/trim.py --keep-for DATA/train.csv --held-out DATA/test.csv --column text \\
        --train-on BOOKS/emma.txt.gz BOOKS/dracula.txt.gz --work .cache/trim --out records/2026-01-31-trim

Random weights cost the same time and memory as trained ones; what the model says means nothing, so quality is not looked at
(logits of kept pieces are compared). With --tokenizer a real tokenizer.json takes the place of the one that is made here:
BPE over characters with bytes to fall back on, trained on --train-on and filled up with made-up pieces to 262,144.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

PIECES = 262_144
SHAPE = {"hidden_size": 640, "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
         "intermediate_size": 2048}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-for", nargs="+", required=True, help="files with the texts to keep pieces for")
    parser.add_argument("--held-out", nargs="+", required=True, help="files with texts of the same kind, not kept for")
    parser.add_argument("--column", help="the text column of those files")
    parser.add_argument("--train-on", nargs="+", default=[], help="plain text to train the tokenizer on")
    parser.add_argument("--tokenizer", help="a tokenizer.json to use instead")
    parser.add_argument("--trained-pieces", type=int, default=40_000)
    parser.add_argument("--work", required=True, help="folder for the checkpoints (about 1 GB)")
    parser.add_argument("--out", help="folder for the record; without it the record is printed only")
    parser.add_argument("--most", type=int)
    parser.add_argument("--multiple", type=int, default=64)
    parser.add_argument("--drop-reserved", action="store_true")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def made_tokenizer(files: list[str], pieces: int) -> str:
    """A tokenizer.json in Gemma's manner, trained on `files`, with random pairs of pieces as further merges up to PIECES."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    from understudy.shrink.corpus import texts_of

    reader = Tokenizer(models.BPE())
    reader.normalizer = normalizers.Replace(" ", "▁")
    reader.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    reader.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trained = Tokenizer(models.BPE())
    trained.normalizer, trained.pre_tokenizer = reader.normalizer, pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(texts_of(files), trainers.BpeTrainer(vocab_size=pieces, show_progress=False))
    told = json.loads(trained.to_str())["model"]
    ours = sorted(told["vocab"], key=told["vocab"].get)
    every = dict.fromkeys(["<pad>", "<eos>", "<bos>", "<unk>", *[f"<0x{value:02X}>" for value in range(256)], *ours])
    rng = random.Random(0)
    while len(every) < PIECES:
        left, right = rng.choice(ours), rng.choice(ours).removeprefix("▁")
        if right in told["vocab"] and left + right not in every:
            every[left + right] = None
    # Gemma's own file lists every way to split a piece into two others, in the order of the pieces.
    merges = [(piece[:at], piece[at:]) for piece in list(every)[260:] for at in range(1, len(piece)) if piece[:at] in every and piece[at:] in every]
    reader.model = models.BPE(vocab={piece: place for place, piece in enumerate(every)}, merges=merges, byte_fallback=True,
                              unk_token="<unk>", fuse_unk=True)
    reader.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>"])
    return str(reader.to_str())


def make(folder: Path, tokenizer: str) -> None:
    """The checkpoint with random weights, in bfloat16, embeddings tied."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    config = Gemma3TextConfig(vocab_size=PIECES, pad_token_id=0, eos_token_id=1, bos_token_id=2, tie_word_embeddings=True,
                              sliding_window=512, **SHAPE)
    torch.set_default_dtype(torch.bfloat16)
    Gemma3ForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    (folder / "tokenizer.json").write_text(tokenizer, "utf-8")


def work(folder: str, tokens: int, threads: int) -> dict[str, float]:
    """Loads a checkpoint in float32 and times greedy decoding and reading, in this process alone."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    loaded = time.perf_counter() - start
    with torch.inference_mode():
        prompt = torch.arange(300, 364)[None]
        model(input_ids=prompt[:, :8])
        start = time.perf_counter()
        out = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
        read = time.perf_counter() - start
        steps = []
        for _ in range(tokens):
            start = time.perf_counter()
            out = model(input_ids=out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
            steps.append(time.perf_counter() - start)
    return {"load_s": loaded, "read_64_ms": 1000 * read, "token_ms": 1000 * statistics.median(steps),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def timed(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """`work` in a process of its own."""
    command = [sys.executable, __file__, "--worker", str(folder), "--tokens", str(args.tokens), "--threads", str(args.threads),
               "--keep-for", "-", "--held-out", "-", "--work", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the timing of {folder} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def held_out(whole: Path, small: Path, args: argparse.Namespace) -> dict[str, Any]:
    """How texts fare that the vocabulary was not kept for."""
    from tokenizers import Tokenizer

    from understudy.shrink.corpus import texts_of

    old, new = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (whole, small))
    texts = same = before = after = back = 0
    for text in texts_of(args.held_out, column=args.column):
        first, second = old.encode(text), new.encode(text)
        texts, same = texts + 1, same + (first.tokens == second.tokens)
        before, after = before + len(first.ids), after + len(second.ids)
        back += old.decode(first.ids) == new.decode(second.ids)
    return {"texts": texts, "same_pieces": same, "come_back": back, "tokens_before": before, "tokens_after": after}


def main() -> None:
    args = arguments()
    if args.worker:
        print(json.dumps(work(args.worker, args.tokens, args.threads)))
        return
    from understudy.shrink.corpus import texts_of
    from understudy.shrink.decoder_checkpoint import trim_checkpoint
    from understudy.shrink.same_generation import same_generation

    folder = Path(args.work)
    whole, small = folder / "whole", folder / "small"
    if not (whole / "tokenizer.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        make(whole, Path(args.tokenizer).read_text("utf-8") if args.tokenizer else made_tokenizer(args.train_on, args.trained_pieces))
        os.execv(sys.executable, [sys.executable, *sys.argv])  # so that the peak of memory below is that of trimming
    shutil.rmtree(small, ignore_errors=True)
    start = time.perf_counter()
    report = trim_checkpoint(whole, texts_of(args.keep_for, column=args.column), small, most=args.most, multiple=args.multiple,
                             drop_reserved=args.drop_reserved)
    trimming = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("\n".join([*report.lines(), f"trimming took {trimming:.1f} s"]), flush=True)
    unseen = held_out(whole, small, args)
    print("held out", json.dumps(unseen), flush=True)
    runs = [(timed(whole, args), timed(small, args)) for _ in range(args.repeats)]
    best = {name: {key: min(run[place][key] for run in runs) for key in runs[0][place]} for place, name in enumerate(("whole", "small"))}
    prompts = [text for text, _ in zip(texts_of(args.keep_for, column=args.column), range(3), strict=False)]
    same = same_generation(whole, small, prompts, tokens=2)
    record = {"command": shlex.join([Path(sys.executable).name, "bench/trim.py", *sys.argv[1:]]), "machine": platform.machine(),
              "cores": os.cpu_count(), "report": asdict(report), "trimming_s": trimming, "trimming_peak_mb": peak,
              "held_out": unseen, "runs": runs, "best": best,
              "ratio": {key: best["whole"][key] / best["small"][key] for key in best["whole"]}, "logit_difference": same.difference}
    print(json.dumps({key: record[key] for key in ("best", "ratio", "logit_difference", "trimming_s", "trimming_peak_mb")}, indent=1))
    if args.out:
        Path(args.out).mkdir(parents=True, exist_ok=True)
        (Path(args.out) / "trim.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
