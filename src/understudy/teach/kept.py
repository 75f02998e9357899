"""What a teacher says about the next tokens, asked once: its k likeliest pieces per token, on disk under a content hash.

A folder per teacher and k under the cache's `logits`, a file per 32,768 tokens to be predicted. A file's name is the SHA-256 of
the sequences it answers, so that a rerun, another student or seed, or a run that was killed half-way asks only for what is missing.
A file is a NumPy array, one row per token, and a SHA-256 over that name and those bytes: a damaged file, or one that belongs
to another text, is seen and asked for again. All teachers' files together stay below 4 GB, the ones unused for longest go first.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..errors import UsageError
from ..home import cache_dir
from .device import moved
from .distributions import Dense, Sparse
from .sequences import Batch, Sequences, epoch

FILE_TOKENS = 32_768
LARGEST = 4 << 30
"""Bytes that the files of all teachers may take together."""
_VERSION = b"next-tokens-1"
_TOKENS, _ROWS, _SEAL, _HEAD = 4096, 1024, 32, 512


class Answers(Protocol):
    """What was heard about a batch, some of its wanted tokens at a time."""

    def rows(self, begin: int, end: int) -> Dense:
        """Of the wanted tokens `begin` to `end`."""
        ...


class Teacher(Protocol):
    """A teacher as the cache sees it."""

    @property
    def key(self) -> str:
        """Changes whenever the teacher would say something else."""
        ...

    @property
    def pieces(self) -> int:
        """Pieces of its vocabulary."""
        ...

    def of(self, batch: Batch) -> Answers:
        """Its answers about a batch whose rows hold one sequence each."""
        ...


class Kept:
    """Kept answers about the wanted tokens of some sequences. `asked` and `damaged` count the files that had to be made, and those
    of them that lay there broken."""

    packs = True

    def __init__(self, files: list[np.ndarray], pieces: int, asked: int, damaged: int, numbers: np.ndarray | None = None) -> None:
        self._files, self._pieces, self.asked, self.damaged = files, pieces, asked, damaged
        self._ends = np.cumsum([len(one) for one in files])
        self._numbers = numbers

    def subset(self, sequences: Sequences, rows: np.ndarray) -> Kept:
        """The answers about `sequences.subset(rows)`, where `sequences` are those that were asked about."""
        return Kept(self._files, self._pieces, self.asked, self.damaged, sequences.numbers(rows))

    def of(self, batch: Batch) -> Sparse:
        """What the teacher said about the wanted tokens of a batch, on the batch's device."""
        numbers = batch.numbers if self._numbers is None else self._numbers[batch.numbers]
        found = np.empty(len(numbers), self._files[0].dtype)
        places = np.searchsorted(self._ends, numbers, "right")
        for place in np.unique(places):
            mine = places == place
            begin = self._ends[place] - len(self._files[place])
            found[mine] = self._files[place][numbers[mine] - begin]
        # float16 rounds each by itself; together they are a distribution again.
        logp = torch.from_numpy(found["logp"].astype(np.float32)).to(batch.at.device).log_softmax(1)
        ids = torch.from_numpy(found["ids"].astype(np.int64)).to(batch.at.device)
        return Sparse(ids, logp[:, :-1].contiguous(), logp[:, -1].contiguous(), self._pieces)


def ask(teacher: Teacher, sequences: Sequences, k: int, *, progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False) -> Kept:
    """What the teacher says about every wanted token of the sequences; `progress` hears how many of how many tokens are answered.

    Raises UsageError where the answers would take more than LARGEST bytes, KeyboardInterrupt between files when `stop` says so; what
    was answered until then stays kept. A disk that is full costs memory, not the run.
    """
    k = min(k, teacher.pieces)
    kind = np.dtype([("ids", "<u2" if teacher.pieces <= 1 << 16 else "<u4", (k,)), ("logp", "<f2", (k + 1,))])
    total = int(sequences.before[-1])
    if total * kind.itemsize > LARGEST:
        raise UsageError(f"the teacher's {k} likeliest pieces of {total:,} tokens would take {total * kind.itemsize / 1e9:.1f} GB, and "
                         f"{LARGEST / 1e9:.1f} GB are kept at most", hint="a smaller --distil-top, or --distil-top 0, which keeps nothing and asks at every step")
    every = cache_dir("logits")
    folder = cache_dir("logits", hashlib.sha256(f"{teacher.key} {teacher.pieces} {k}".encode()).hexdigest()[:32])
    plan = [(mine, folder / f"{_name(mine)}.npy") for mine in _groups(sequences)]
    _make_room(every, {path for _, path in plan}, total * kind.itemsize + len(plan) * _HEAD)
    files: list[np.ndarray] = []
    asked = damaged = 0
    for mine, path in plan:
        if stop():
            raise KeyboardInterrupt
        found = _read(path, kind, int(mine.before[-1]))
        if found is None:
            damaged += path.is_file()
            asked += 1
            found = _written(path, _answers(teacher, mine, kind))
        files.append(found)
        progress(sum(map(len, files)), total)
    return Kept(files, teacher.pieces, asked, damaged)


def _groups(sequences: Sequences) -> Iterator[Sequences]:
    """Neighbouring sequences, file by file."""
    begin = 0
    while begin < len(sequences):
        end = max(begin + 1, int(np.searchsorted(sequences.before, sequences.before[begin] + FILE_TOKENS, "right")) - 1)
        yield sequences.subset(np.arange(begin, min(end, len(sequences))))
        begin = end


def _name(sequences: Sequences) -> str:
    digest = hashlib.sha256(_VERSION)
    for part in (sequences.ids.astype("<i4"), sequences.wanted.astype(np.uint8), sequences.starts.astype("<i8")):
        digest.update(part.tobytes())
    return digest.hexdigest()


def _answers(teacher: Teacher, sequences: Sequences, kind: np.dtype) -> np.ndarray:
    out = np.empty(int(sequences.before[-1]), kind)
    k = kind["ids"].shape[0]
    for batch in epoch(sequences, _TOKENS, _TOKENS, np.random.default_rng(0), pack=False):
        said = teacher.of(moved(batch))
        for begin in range(0, len(batch.numbers), _ROWS):
            mine = batch.numbers[begin:begin + _ROWS]
            logp = said.rows(begin, begin + len(mine)).logp
            top = logp.topk(k, 1)
            out["ids"][mine] = top.indices.cpu().numpy()
            rest = logp.scatter(1, top.indices, -torch.inf).logsumexp(1, keepdim=True)
            out["logp"][mine] = torch.cat([top.values, rest], 1).cpu().numpy()
    return out


def _read(path: Path, kind: np.dtype, rows: int) -> np.ndarray | None:
    """The file's rows, mapped and not read into memory; None where it is not there, or not what was written."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            whole = memoryview(data)
            try:
                right = hashlib.sha256(path.name.encode())
                right.update(whole[:-_SEAL])
                if right.digest() != bytes(whole[-_SEAL:]):
                    return None
            finally:
                whole.release()
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        os.utime(path)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == kind and found.shape == (rows,) else None


def _written(path: Path, rows: np.ndarray) -> np.ndarray:
    """The rows from the file where it can be written, else from memory."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            np.save(file, rows, allow_pickle=False)
        seal = hashlib.sha256(path.name.encode())
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                seal.update(chunk)
        with part.open("ab") as file:
            file.write(seal.digest())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        return rows
    found = _read(path, rows.dtype, len(rows))
    return rows if found is None else found


def _make_room(folder: Path, mine: set[Path], needed: int) -> None:
    """Deletes what other runs kept and did not use for longest, until all of it and the `needed` bytes stay below LARGEST."""
    others = []
    for path in folder.glob("*/*.npy"):
        with suppress(OSError):  # another run may delete it first
            told = path.stat()
            others.append((told.st_mtime, told.st_size, path))
    left = sum(size for _, size, path in others if path not in mine)
    for _, size, path in sorted(others):
        if left + needed > LARGEST and path not in mine:
            path.unlink(missing_ok=True)
            left -= size
