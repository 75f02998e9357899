"""From checked pairs to a trained decoder: pieces learned from the text, sequences, the loop, the best weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import DataError
from ...home import cache_dir
from ...models.decoder import Decoder
from ...models.pieces import BOS, EOS, SEP, encode, learn_pieces, special_id
from ...tasks.reading.pairs import Pair
from ...teach.language import LanguageConfig, Progress, evaluate, train_language
from ...teach.sequences import Sequences, cut, sequences_of
from ..events import Event, Listener
from .config import SIZES, TextConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HELD = 400
_SAMPLE = 30_000_000
"""Characters that the pieces are learned from."""


@dataclass(frozen=True)
class Fitted:
    """A trained decoder and its tokenizer; `nats` is the held-out loss per predicted token, `tokens` what it was trained on."""

    model: Decoder
    tokenizer: Tokenizer
    nats: float
    tokens: int
    steps: int
    notes: tuple[str, ...]


def fit(train: Sequence[Pair], config: TextConfig, seconds: float | None, listen: Listener, stop: Callable[[], bool],
        loop: LanguageConfig | None = None) -> Fitted:
    """Trains a decoder on pairs (an empty source: plain text). Interrupted runs go on where they were."""
    size = SIZES[config.size]
    tokenizer = learn_pieces(_sample(train), config.pieces or size.pieces)
    sequences = encoded(train, tokenizer, config.context)
    if not len(sequences):
        raise DataError("no pair is short enough for the context", hint=f"raise --context above {config.context}")
    rng = np.random.default_rng([config.seed, 7])
    held_rows = rng.permutation(len(sequences))[: min(_HELD, len(sequences) // 20)]
    held, rest = subset(sequences, held_rows), subset(sequences, np.setdiff1d(np.arange(len(sequences)), held_rows))
    torch.manual_seed(config.seed)
    model = Decoder(size.shape(tokenizer.get_vocab_size(), config.context))
    listen(Event("write", f"{tokenizer.get_vocab_size():,} pieces, {len(rest.ids):,} tokens, {model.shape.parameters:,} parameters"))
    loop = loop or LanguageConfig(epochs=config.epochs, seconds=seconds)
    key = _key(rest, model, loop, config.seed)
    last = train_language(model, rest, loop, config.seed, state=cache_dir("runs") / f"{key[:32]}.safetensors", key=key, stop=stop,
                          progress=lambda now: listen(Event("write", _line(now), now.share)))
    nats = evaluate(model, held) if len(held) else float("nan")
    listen(Event("write", f"{last.step:,} steps, loss {last.loss:.3f}, held-out loss {nats:.3f} nats a token"))
    return Fitted(model, tokenizer, nats, len(rest.ids), last.step, ())


def encoded(pairs: Sequence[Pair], tokenizer: Tokenizer, context: int) -> Sequences:
    """Begin, source, answer mark | target, end. Plain text has no source and no mark; long text is cut, long pairs are left out."""
    begin, end, mark = (special_id(tokenizer, name) for name in (BOS, EOS, SEP))
    sources = encode(tokenizer, [pair.source for pair in pairs])
    targets = encode(tokenizer, [pair.target for pair in pairs])
    parts = [[([begin, *source, mark] if source else [begin], False), ([*target, end], True)]
             for source, target in zip(sources, targets, strict=True)]
    if any(sources):
        return sequences_of([one for one in parts if sum(len(stretch) for stretch, _ in one) <= context])
    return cut(sequences_of(parts), context)


def subset(sequences: Sequences, rows: np.ndarray) -> Sequences:
    """Some of the sequences, in the order of `rows`."""
    lengths = sequences.lengths[rows]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    at = np.repeat(sequences.starts[:-1][rows] - starts[:-1], lengths) + np.arange(starts[-1])
    return Sequences(sequences.ids[at], sequences.wanted[at], starts)


def _sample(pairs: Sequence[Pair]):
    used = 0
    for pair in pairs:
        for text in (pair.source, pair.target):
            if text:
                yield text
                used += len(text)
        if used > _SAMPLE:
            return


def _key(sequences: Sequences, model: Decoder, loop: LanguageConfig, seed: int) -> str:
    told = json.dumps([asdict(model.shape), asdict(loop), seed], sort_keys=True).encode()
    return hashlib.sha256(told + sequences.ids.tobytes() + sequences.starts.tobytes()).hexdigest()


def _line(now: Progress) -> str:
    return f"loss {now.loss:.3f}, {now.rate:,.0f} tokens/s, {now.left / 60:.0f} min left"
