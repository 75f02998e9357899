"""Token sequences as training batches: pairs grouped by length, long texts packed; nothing sees across a border.

A sequence is ids (n,) with a mask of the positions whose token is to be predicted: all of a text, the target side of a pair,
the assistant's turns of a conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

PAD_SEGMENT = -1
_STEP = 8
"""Rows are as wide as a multiple of this. A CPU prepares and keeps a program for every shape of a product, megabytes each: a run in which
all batches differ grows by gigabytes and waits for those programs."""


@dataclass(frozen=True)
class Sequences:
    """n token sequences end to end: `ids` (total,) int32, `wanted` (total,) bool, and where each starts, (n + 1,)."""

    ids: np.ndarray
    wanted: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, (n,)."""
        return np.diff(self.starts)

    @cached_property
    def before(self) -> np.ndarray:
        """Wanted tokens that stand before each sequence, (n + 1,), the last one all of them: wanted tokens are numbered in order."""
        return np.concatenate([[0], np.cumsum(self.wanted)])[self.starts].astype(np.int64)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the wanted tokens of some sequences, in the order of `rows`."""
        counts = np.diff(self.before)[rows]
        return np.repeat(self.before[:-1][rows] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())

    def subset(self, rows: np.ndarray) -> Sequences:
        """Some of the sequences, in the order of `rows`."""
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.repeat(self.starts[:-1][rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Sequences(self.ids[at], self.wanted[at], starts)


@dataclass(frozen=True)
class Batch:
    """`ids` (rows, tokens) int64; `segments` the same shape or None where every row is one sequence; `at` flat positions whose
    hidden state predicts a wanted token, `next` those tokens, and `numbers` which of the wanted tokens they are."""

    ids: torch.Tensor
    segments: torch.Tensor | None
    at: torch.Tensor
    next: torch.Tensor
    tokens: int
    numbers: np.ndarray


def sequences_of(parts: Sequence[Sequence[tuple[Sequence[int], bool]]]) -> Sequences:
    """From sequences given as stretches of ids, each with whether it is to be predicted. A first token never is: nothing precedes it."""
    ids = np.fromiter((token for stretches in parts for stretch, _ in stretches for token in stretch), np.int32)
    flags = [np.full(len(stretch), wanted) for stretches in parts for stretch, wanted in stretches]
    wanted = np.concatenate([*flags, np.zeros(0, bool)])
    lengths = np.array([sum(len(stretch) for stretch, _ in stretches) for stretches in parts], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    wanted[starts[:-1][lengths > 0]] = False
    return Sequences(ids, wanted, starts)


def joined(one: Sequences, other: Sequences) -> Sequences:
    """The sequences of both, in order."""
    return Sequences(np.concatenate([one.ids, other.ids]), np.concatenate([one.wanted, other.wanted]), np.concatenate([one.starts, one.starts[-1] + other.starts[1:]]))


def cut(sequences: Sequences, context: int) -> Sequences:
    """Sequences longer than `context` split into several; each piece after the first begins with its predecessor's last token."""
    if not len(sequences) or int(sequences.lengths.max()) <= context:
        return sequences
    ids, wanted, lengths = [], [], []
    for start, end in zip(sequences.starts[:-1], sequences.starts[1:], strict=True):
        at = int(start)
        while at < end:
            stop = min(at + context, int(end))
            flags = sequences.wanted[at:stop].copy()
            flags[:1] = False
            ids.append(sequences.ids[at:stop])
            wanted.append(flags)
            lengths.append(stop - at)
            at = stop if stop == end else stop - 1
    return Sequences(np.concatenate(ids), np.concatenate(wanted), np.concatenate([[0], np.cumsum(lengths)]))


def epoch(sequences: Sequences, tokens: int, context: int, rng: np.random.Generator, *, pack: bool = True, first: int = 0) -> Iterator[Batch]:
    """Every sequence once, in batches of about `tokens` tokens and in random order; from batch number `first` on.

    Short sequences are grouped by length, one to a row, because causal attention without a mask over rows of one length is
    several times cheaper than a masked square; where most are long enough for that they are packed side by side, if `pack`.
    """
    groups, packed = _groups(sequences.lengths, tokens, context, rng, pack)
    for index in rng.permutation(len(groups))[first:]:
        yield _batch(sequences, groups[index], packed, context)


def count_batches(sequences: Sequences, tokens: int, context: int, rng: np.random.Generator, *, pack: bool = True) -> int:
    """How many batches `epoch` gives with the same arguments, without making them."""
    return len(_groups(sequences.lengths, tokens, context, rng, pack)[0])


def _groups(lengths: np.ndarray, tokens: int, context: int, rng: np.random.Generator, pack: bool) -> tuple[list[list[np.ndarray]], bool]:
    """The rows of every batch, and whether rows hold several sequences."""
    if not len(lengths):
        return [], False
    packed = pack and float(np.quantile(lengths, 0.9)) * 2 > context
    rows = _packed(lengths, context, rng) if packed else _by_length(lengths, rng)
    return _grouped(rows, [_wide(int(lengths[row].sum()), context) for row in rows], tokens), packed


def _wide(size: int, context: int) -> int:
    return max(size, min(-(-size // _STEP) * _STEP, context))


def _by_length(lengths: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    return [order[i:i + 1] for i in range(len(order))]


def _packed(lengths: np.ndarray, context: int, rng: np.random.Generator) -> list[np.ndarray]:
    """First fit in random order over a few open rows."""
    done: list[list[int]] = []
    open_: list[tuple[int, list[int]]] = []
    for index in rng.permutation(len(lengths)):
        size = int(lengths[index])
        for place, (used, row) in enumerate(open_):
            if used + size <= context:
                row.append(int(index))
                open_[place] = (used + size, row)
                break
        else:
            open_.append((size, [int(index)]))
            if len(open_) > 16:
                done.append(open_.pop(int(np.argmax([used for used, _ in open_])))[1])
    return [np.array(row) for row in (*done, *(row for _, row in open_))]


def _grouped(rows: list[np.ndarray], sizes: list[int], tokens: int) -> list[list[np.ndarray]]:
    groups: list[list[np.ndarray]] = [[]]
    longest = 0
    for row, size in zip(rows, sizes, strict=True):
        longest = max(longest, size)
        if groups[-1] and longest * (len(groups[-1]) + 1) > tokens:
            groups.append([])
            longest = size
        groups[-1].append(row)
    return groups


def _batch(sequences: Sequences, rows: list[np.ndarray], packed: bool, context: int) -> Batch:
    sizes = [int(sequences.lengths[row].sum()) for row in rows]
    longest = _wide(max(sizes), context)
    ids = np.zeros((len(rows), longest), np.int64)
    segments = np.full((len(rows), longest), PAD_SEGMENT, np.int64)
    wanted = np.zeros((len(rows), longest), bool)
    for place, row in enumerate(rows):
        at = 0
        for number, index in enumerate(row):
            start, end = int(sequences.starts[index]), int(sequences.starts[index + 1])
            size = end - start
            ids[place, at:at + size] = sequences.ids[start:end]
            wanted[place, at:at + size] = sequences.wanted[start:end]
            segments[place, at:at + size] = number
            at += size
    flat = np.flatnonzero(wanted.reshape(-1))
    return Batch(torch.from_numpy(ids), torch.from_numpy(segments) if packed else None, torch.from_numpy(flat - 1),
                 torch.from_numpy(ids.reshape(-1)[flat]), sum(sizes), sequences.numbers(np.concatenate(rows)))
