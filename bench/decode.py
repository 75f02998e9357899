"""How fast small decoders decode: ours in llama.cpp, trimmed and whole, beside transformers and CTranslate2 on the same weights.

    python bench/decode.py --trimmed .cache/trim/small --whole .cache/trim/whole --work .cache/decode --out records/2026-01-31-decode

`--whole` and `--trimmed` are the folders that bench/trim.py leaves in its --work (a Gemma 3 270M shape). The second comparison
is a Llama shape of 125M parameters with random weights, made here. Every round asks each contender once, in turn; the figures
are medians over rounds. A decoder's speed does not depend on what its weights say.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

LLAMA = {"vocab_size": 32_000, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
         "num_key_value_heads": 12, "max_position_embeddings": 2048, "tie_word_embeddings": False}
PROMPT = 32


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", type=Path, help="the untrimmed checkpoint")
    parser.add_argument("--trimmed", type=Path, help="the same, trimmed")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made here (about 1 GB)")
    parser.add_argument("--out", type=Path, help="folder for the record; without it the record is printed only")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def made_llama(folder: Path) -> Path:
    """A Llama of 125M parameters with random weights and a byte-level tokenizer filled up with made-up pieces."""
    if (folder / "tokenizer.json").is_file():
        return folder
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**LLAMA, bos_token_id=0, eos_token_id=1, pad_token_id=None)).save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces, merges = ["<s>", "</s>", *letters], []
    for left in letters:
        for right in letters:
            if len(pieces) < LLAMA["vocab_size"]:
                pieces.append(left + right)
                merges.append((left, right))
    tokenizer = Tokenizer(models.BPE(vocab={piece: place for place, piece in enumerate(pieces)}, merges=merges, fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}')
    return folder


def packed(folder: Path, precision: str, work: Path) -> Path:
    """The folder as a .gguf, made once."""
    from understudy.shrink.gguf.write import write_gguf

    path = work / f"{folder.name}-{precision}.gguf"
    if not path.is_file():
        write_gguf(folder, path, precision=precision)
    return path


def llama_cpp(path: Path, args: argparse.Namespace, stack: ExitStack) -> Callable[[], float]:
    """Tokens a second of one request, decoding alone."""
    from understudy.run.generate.engine import Engine
    from understudy.run.generate.sampling import Sampling

    engine = stack.enter_context(Engine.open(path, threads=args.threads, context=512))
    prompt = list(range(300, 300 + PROMPT))
    return lambda: engine.complete(prompt, Sampling(max_tokens=args.tokens)).tokens_per_second


def transformers(folder: Path, args: argparse.Namespace) -> Callable[[], float]:
    """`generate` in float32, greedy."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = torch.arange(300, 300 + PROMPT)[None]

    def once() -> float:
        def took(tokens: int) -> float:
            started = time.perf_counter()
            with torch.inference_mode():
                model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
            return time.perf_counter() - started

        # Reading the prompt is not decoding: what one more token costs is.
        return (args.tokens - 1) / (took(args.tokens) - took(1))

    return once


def ctranslate2(folder: Path, args: argparse.Namespace) -> Callable[[], float] | None:
    """int8, greedy; None where the package is not installed."""
    try:
        import ctranslate2 as ct
    except ImportError:
        return None
    out = args.work / "ctranslate2"
    if not out.is_dir():
        ct.converters.TransformersConverter(str(folder)).convert(str(out), quantization="int8")
    generator = ct.Generator(str(out), device="cpu", intra_threads=args.threads)
    pieces = json.loads((out / "vocabulary.json").read_text("utf-8"))[300:300 + PROMPT]

    def once() -> float:
        def took(tokens: int) -> float:
            started = time.perf_counter()
            generator.generate_batch([pieces], max_length=tokens, min_length=tokens, sampling_topk=1, include_prompt_in_result=False)
            return time.perf_counter() - started

        return (args.tokens - 1) / (took(args.tokens) - took(1))

    return once


def main() -> None:
    args = arguments()
    # Threads that go to sleep between two products (as the Makefile asks for, for tests on busy machines) halve the speed of all contenders.
    os.environ.pop("OMP_WAIT_POLICY", None)
    args.work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        runs: dict[str, Callable[[], float] | None] = {}
        sizes: dict[str, int] = {}
        for precision in ("q8_0", "q4_0"):
            for name, folder in (("gemma-270m whole", args.whole), ("gemma-270m trimmed", args.trimmed)):
                if folder is not None:
                    path = packed(folder, precision, args.work)
                    sizes[f"{name}, llama.cpp {precision}"] = path.stat().st_size
                    runs[f"{name}, llama.cpp {precision}"] = llama_cpp(path, args, stack)
        llama = made_llama(args.work / "llama-125m")
        sizes["llama-125m, transformers float32"] = sum(one.stat().st_size for one in llama.glob("*.safetensors"))
        for precision in ("q8_0", "q4_0"):
            path = packed(llama, precision, args.work)
            sizes[f"llama-125m, llama.cpp {precision}"] = path.stat().st_size
            runs[f"llama-125m, llama.cpp {precision}"] = llama_cpp(path, args, stack)
        runs["llama-125m, transformers float32"] = transformers(llama, args)
        runs["llama-125m, CTranslate2 int8"] = ctranslate2(llama, args)
        asked = {name: once for name, once in runs.items() if once is not None}
        for once in asked.values():
            once()
        found: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(args.rounds):
            for name, once in asked.items():
                found[name].append(once())
    write(args, found, sizes)


def write(args: argparse.Namespace, found: dict[str, list[float]], sizes: dict[str, int]) -> None:
    """decode.json and README.md, or the table alone."""
    middle = {name: statistics.median(values) for name, values in found.items()}
    rows = [f"| {name} | {middle[name]:.1f} | {min(values):.1f}–{max(values):.1f} | {f'{sizes[name] / 1e6:.0f}' if name in sizes else '–'} |"
            for name, values in found.items()]
    table = "\n".join(["| model and runtime | tokens/s, median | range | MB |", "|---|---:|---:|---:|", *rows])
    command = shlex.join(["python", "bench/decode.py", *sys.argv[1:]])
    text = (f"# Decoding, {args.threads} threads\n\n    {command}\n\nGreedy, {args.tokens} tokens after a prompt of {PROMPT}, one request at a time, "
            f"{args.rounds} rounds, each asking every contender once; random weights. {platform.processor() or platform.machine()}, "
            f"{os.cpu_count()} cores.\n\n{table}\n")
    print(text)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "decode.json").write_text(json.dumps({"command": command, "tokens_per_s": found, "bytes": sizes}, indent=1) + "\n")
        (args.out / "README.md").write_text(text)


if __name__ == "__main__":
    main()
