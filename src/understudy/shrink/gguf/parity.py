"""Does llama.cpp answer from a .gguf as transformers answers from the checkpoint? Tokens, distributions and greedy text, compared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ...errors import DataError, missing_extra
from .tokens import open_tokenizer
from .weights import read_json

_TOP = 64
_LIKELY = math.log(0.01)


@dataclass(frozen=True)
class Difference:
    """One text on which the two disagree: what transformers and what llama.cpp says, token ids."""

    text: str
    transformers: tuple[int, ...]
    llama: tuple[int, ...]


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    tokens: texts tokenized differently. greedy: texts continued differently. gap: the largest difference of a log-probability in
    nats, over the 64 likeliest next tokens after the prompt and after 1, 2, 4, … more tokens; likely_gap: the same over tokens of at
    least 1 % only, which is what quantising should be judged by. positions: how many such places.
    """

    texts: int
    tokens: tuple[Difference, ...]
    greedy: tuple[Difference, ...]
    gap: float
    likely_gap: float
    positions: int

    @property
    def same(self) -> bool:
        """Whether tokens and greedy text are equal everywhere."""
        return not self.tokens and not self.greedy


def compare(folder: Path, gguf: Path, texts: Sequence[str], *, tokens: int = 32, context: int | None = None,
            threads: int = 1) -> Parity:
    """Compares the checkpoint in `folder` with a .gguf made from it on `texts`, each continued by up to `tokens` tokens.

    Special tokens written in a text are text, on both sides. llama.cpp computes with float32 keys and values here, in a context of
    `context` tokens (as many as the longest text needs, where None).
    Raises DataError for files that cannot be opened, MissingExtraError without xllamacpp, torch or transformers.
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise missing_extra("comparing with transformers", "train")
    tokenizer = open_tokenizer(Path(folder))
    tokenizer.encode_special_tokens = True
    prompts = [tokenizer.encode(text).ids for text in texts]
    model, ends = _model(Path(folder)), _ends(Path(folder))
    plain = tokenizer.encode("a", add_special_tokens=False).ids[-1]
    different, continued, gaps = [], [], [(0.0, 0.0)]
    with serving(gguf, context=context or max(map(len, prompts), default=0) + tokens + 8, threads=threads) as ask:
        for text, prompt in zip(texts, prompts, strict=True):
            theirs = ask("/tokenize", {"content": text, "add_special": True, "parse_special": False})["tokens"]
            if theirs != prompt:
                different.append(Difference(text, tuple(prompt), tuple(theirs)))
            if not prompt:
                continue
            answer = ask("/completion", {"prompt": prompt, "n_predict": tokens, "temperature": 0, "return_tokens": True,
                                         "cache_prompt": False})
            theirs = [token for token in answer["tokens"] if token not in ends]
            ours = _greedy(model, prompt, tokens, ends)
            if ours != theirs:
                continued.append(Difference(text, tuple(ours), tuple(theirs)))
            gaps += [_gap(model, so_far, likely) for so_far, likely in _distributions(ask, prompt, theirs, plain)]
    everywhere, likely = (max(column) for column in zip(*gaps, strict=True))
    return Parity(len(texts), tuple(different), tuple(continued), everywhere, likely, len(gaps) - 1)


@contextmanager
def serving(gguf: Path, *, context: int, threads: int = 1) -> Iterator[Any]:
    """A llama.cpp server in this process with one .gguf open; yields ask(path, request) → answer, JSON objects both."""
    if find_spec("xllamacpp") is None:
        raise missing_extra("running a .gguf", "generate")
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = context, 1, threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.warmup, parameters.fit_params, parameters.verbosity = False, False, 0
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    try:
        server = xllamacpp.Server(parameters)
    except Exception as problem:
        raise DataError(f"llama.cpp cannot open {gguf}: {str(problem)[:200]}") from None

    address = server.listening_address

    def ask(path: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            sent = Request(address + path, json.dumps(request).encode(), {"Content-Type": "application/json"})
            with urlopen(sent, timeout=600) as answer:
                return json.load(answer)
        except HTTPError as problem:
            raise DataError(f"llama.cpp refused {path}: {problem.read(400).decode('utf-8', 'replace')}") from None

    try:
        yield ask
    finally:
        del server


def _model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    except Exception as problem:
        raise DataError(f"transformers cannot open {folder}: {str(problem)[:200]}") from None


def _ends(folder: Path) -> frozenset[int]:
    for name in ("generation_config.json", "config.json"):
        found = read_json(folder / name, required=False).get("eos_token_id")
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()


def _greedy(model: Any, prompt: list[int], count: int, ends: frozenset[int]) -> list[int]:
    """The likeliest continuation, token by token, up to an end token, which is left out."""
    import torch

    found: list[int] = []
    with torch.inference_mode():
        step = model(torch.tensor([prompt]), use_cache=True)
        while len(found) < count:
            token = int(step.logits[0, -1].argmax())
            if token in ends:
                break
            found.append(token)
            step = model(torch.tensor([[token]]), past_key_values=step.past_key_values, use_cache=True)
    return found


def _distributions(ask: Any, prompt: list[int], continuation: list[int], plain: int) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """llama.cpp's likeliest next tokens after the prompt and after 1, 2, 4, … tokens of its continuation.

    llama.cpp reports none for a token that ends inside a character, so it is made to choose a plain letter; that does not touch
    the probabilities, which are those before sampling.
    """
    at = 0
    while at <= len(continuation):
        tokens = prompt + continuation[:at]
        answer = ask("/completion", {"prompt": tokens, "n_predict": 1, "temperature": 0, "n_probs": _TOP, "logit_bias": [[plain, 1e6]]})
        if answer["completion_probabilities"]:
            yield tokens, answer["completion_probabilities"][0]["top_logprobs"]
        at = max(1, at * 2)


def _gap(model: Any, tokens: list[int], likely: list[dict[str, Any]]) -> tuple[float, float]:
    """The largest difference of a log-probability after `tokens`: over llama.cpp's likeliest ones, and over those of at least 1 %."""
    import torch

    with torch.inference_mode():
        ours = model(torch.tensor([tokens])).logits[0, -1].float().log_softmax(-1)
    found = [(abs(float(ours[item["id"]]) - item["logprob"]), max(float(ours[item["id"]]), item["logprob"])) for item in likely]
    return max(gap for gap, _ in found), max((gap for gap, level in found if level > _LIKELY), default=0.0)
