"""What an engine answers with: pieces of a stream, whole completions, scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Timings:
    """Figures of one request. Seconds are the worker's wall clock from receiving the request.

    `cached` tokens of the prompt were known from an earlier request, the others took `seconds_prompt`; `guessed` and `accepted` count
    speculated tokens.
    """

    prompt_tokens: int
    tokens: int
    cached: int
    seconds_first: float
    tokens_per_second: float
    guessed: int = 0
    accepted: int = 0
    seconds_prompt: float = 0.0


@dataclass(frozen=True)
class Choice:
    """A token that was chosen: its natural-log probability, and the likeliest tokens at its place with theirs."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Piece:
    """A part of a stream. `text` ends with a whole character; bytes that are none become U+FFFD, and are left out at the very end.

    `ids` are the tokens that completed it; tokens held back inside a character or a possible stop string are not reported
    (`Completion.ids` has all of them). The last piece has `finish`: 'end' (the model ended the text), 'stop' (a stop
    string) or 'length' (`max_tokens` or the context was reached); its text may be empty.
    """

    text: str
    ids: tuple[int, ...] = ()
    finish: str | None = None
    timings: Timings | None = None
    chosen: tuple[Choice, ...] = ()
    """The tokens with their probabilities, where `Sampling.logprobs` asks for them."""


@dataclass(frozen=True)
class Completion:
    """A whole answer. `ids` are all tokens, those of a stop string or end token included; `finish` as in `Piece`."""

    text: str
    ids: tuple[int, ...] = field(repr=False)
    finish: str
    prompt_tokens: int
    tokens: int
    seconds_first: float
    tokens_per_second: float
    timings: Timings = field(repr=False)

    @classmethod
    def of(cls, frame: dict[str, Any]) -> Self:
        """From the worker's last frame."""
        figures = timings(frame)
        return cls(frame["text"], tuple(frame["ids"]), frame["finish"], figures.prompt_tokens, figures.tokens, figures.seconds_first,
                   figures.tokens_per_second, figures)


@dataclass(frozen=True)
class ScoredToken:
    """A token of a scored text: its natural-log probability, None for a first token that nothing comes before."""

    id: int
    piece: str
    bytes: int
    logprob: float | None


@dataclass(frozen=True)
class Score:
    """`perplexity` is per token, `bits_per_byte` per UTF-8 byte, both over the tokens that have a probability (nan without any)."""

    tokens: tuple[ScoredToken, ...] = field(repr=False)
    perplexity: float
    bits_per_byte: float

    @classmethod
    def of(cls, tokens: Sequence[ScoredToken]) -> Self:
        """From the tokens."""
        known = [(token.logprob, token.bytes) for token in tokens if token.logprob is not None]
        nats, length = -sum(one for one, _ in known), sum(count for _, count in known)
        perplexity = math.exp(min(nats / len(known), 700.0)) if known else math.nan
        return cls(tuple(tokens), perplexity, nats / math.log(2) / length if length else math.nan)


def piece_of(frame: dict[str, Any]) -> Piece:
    """A piece from a worker's frame, 'piece' or 'done'."""
    chosen = tuple(Choice(one["token"], one["logprob"], tuple((top["token"], top["logprob"]) for top in one.get("top_logprobs", ())))
                   for one in frame.get("chosen") or ())
    if frame["event"] == "done":
        return Piece(frame["text"], tuple(frame["ids"]), frame["finish"], timings(frame), chosen)
    return Piece(frame["text"], tuple(frame["ids"]), chosen=chosen)


def timings(frame: dict[str, Any]) -> Timings:
    """The figures in a worker's last frame."""
    return Timings(frame["prompt_tokens"], frame["tokens"], frame["cached"], frame["seconds_first"], frame["tokens_per_second"],
                   frame["guessed"], frame["accepted"], frame["seconds_prompt"])
