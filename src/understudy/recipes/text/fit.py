"""From checked pairs to a trained decoder: pieces learned from the text, sequences, the loop, the best weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import DataError
from ...home import cache_dir
from ...models.decoder import Decoder
from ...models.pieces import BOS, EOS, SEP, encode, learn_pieces, special_id
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import ROLES, Conversation
from ...teach.language import LanguageConfig, Progress, evaluate, train_language
from ...teach.sequences import Sequences, cut, sequences_of
from ..events import Event, Listener
from .config import SIZES, TextConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TURNS = tuple(f"<|{role}|>" for role in ROLES)
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


def fit(train: Sequence[Pair | Conversation], config: TextConfig, seconds: float | None, listen: Listener, stop: Callable[[], bool],
        loop: LanguageConfig | None = None) -> Fitted:
    """Trains a decoder on pairs (an empty source: plain text) or on conversations. Interrupted runs go on where they were."""
    size = SIZES[config.size]
    talking = isinstance(train[0], Conversation)
    tokenizer = learn_pieces(_sample(train), config.pieces or size.pieces, TURNS if talking else ())
    sequences = encoded(train, tokenizer, config.context)
    if not len(sequences):
        raise DataError("no row is short enough for the context", hint=f"raise --context above {config.context}")
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
    listen(Event("write", f"{last.step:,} steps, loss {last.loss:.3f}" + (f", held-out loss {nats:.3f} nats a token" if len(held) else "")))
    return Fitted(model, tokenizer, nats, len(rest.ids), last.step, ())


def encoded(rows: Sequence[Pair | Conversation], tokenizer: Tokenizer, context: int) -> Sequences:
    """Begin, source, answer mark | target, end. Plain text has no source and no mark; long text is cut, long pairs are left out.

    Of a conversation the assistant's turns are learned; of one that is too long, its beginning.
    """
    talks = [row for row in rows if isinstance(row, Conversation)]
    if talks:
        return sequences_of([one for talk in talks if (one := _turns(talk, tokenizer, context))])
    pairs = [row for row in rows if isinstance(row, Pair)]
    begin, end, mark = (special_id(tokenizer, name) for name in (BOS, EOS, SEP))
    sources = encode(tokenizer, [pair.source for pair in pairs])
    targets = encode(tokenizer, [pair.target for pair in pairs])
    parts = [[([begin, *source, mark] if source else [begin], False), ([*target, end], True)]
             for source, target in zip(sources, targets, strict=True)]
    if any(sources):
        return sequences_of([one for one in parts if sum(len(stretch) for stretch, _ in one) <= context])
    return cut(sequences_of(parts), context)


def _turns(talk: Conversation, tokenizer: Tokenizer, context: int) -> list[tuple[list[int], bool]]:
    end = special_id(tokenizer, EOS)
    made: list[tuple[list[int], bool]] = [([special_id(tokenizer, BOS)], False)]
    room = context - 1
    for (role, _), ids in zip(talk.turns, encode(tokenizer, [text for _, text in talk.turns]), strict=True):
        room -= len(ids) + 2
        if room < 0:
            break
        made += [([special_id(tokenizer, f"<|{role}|>")], False), ([*ids, end], role == "assistant")]
    return made if any(wanted for _, wanted in made) else []


def subset(sequences: Sequences, rows: np.ndarray) -> Sequences:
    """Some of the sequences, in the order of `rows`."""
    lengths = sequences.lengths[rows]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    at = np.repeat(sequences.starts[:-1][rows] - starts[:-1], lengths) + np.arange(starts[-1])
    return Sequences(sequences.ids[at], sequences.wanted[at], starts)


def _sample(rows: Sequence[Pair | Conversation]) -> Iterator[str]:
    used = 0
    for row in rows:
        for text in (row.source, row.target) if isinstance(row, Pair) else [text for _, text in row.turns]:
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
