"""The bytes of a data file: opened with care, unpacked with a limit, read in pieces.

    Source.open() ── counted bytes ── gunzip with a limit ──► read(n) -> bytes, b"" at the end

Standard input ("-") can be opened once; a file as often as needed.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import os
import stat
import sys
import zlib
from pathlib import Path
from typing import Protocol

from ...errors import DataError, UsageError
from .magic import EMPTY_HINT, GZIP, refuse_foreign

SAMPLE = 256 * 1024
MAX_EXPANDED = 20_000_000_000
MAX_RATIO = 200
RATIO_FROM = 16 * 1024 * 1024
"""The ratio is looked at from this many expanded bytes on: a small file of equal rows may honestly pack that well."""
_ACCESS_HINT = "check the path, its links and its permissions"


class Reader(Protocol):
    """What the formats read from."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _Count:
    """How many bytes were read; outlives the reader without holding its file open."""

    total = 0


class _Counted:
    """The file's own bytes, counted and hashed; OSErrors become DataErrors. Returns what is there, without waiting."""

    def __init__(self, stream: io.BufferedIOBase, name: str, *, borrowed: bool = False) -> None:
        self._stream, self._name, self._borrowed = stream, name, borrowed
        self.count = _Count()
        self.hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read1(size)
        except (OSError, ValueError) as error:
            raise DataError(f"{self._name} cannot be read: {_reason(error)}", hint=_ACCESS_HINT) from error
        self.count.total += len(data)
        self.hash.update(data)
        return data

    def close(self) -> None:
        if not self._borrowed:
            self._stream.close()


class _Expanded:
    """Gzip unpacked piece by piece, refused when it expands beyond reason."""

    def __init__(self, packed: Reader, raw: _Counted, name: str) -> None:
        self._raw, self._name, self._total = raw, name, 0
        self._gzip = gzip.GzipFile(fileobj=packed, mode="rb")  # type: ignore[call-overload]

    def read(self, size: int) -> bytes:
        try:
            data = self._gzip.read1(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{self._name}: the gzip data is damaged or cut off after {self._total:,} expanded bytes",
                            hint="copy or download the file again; `gzip -t` checks it") from error
        self._total += len(data)
        if self._total > MAX_EXPANDED:
            raise DataError(f"{self._name} expands beyond {MAX_EXPANDED:,} bytes", hint="unpack and split the file")
        if self._total > RATIO_FROM and self._total > MAX_RATIO * self._raw.count.total:
            raise DataError(f"{self._name} expands to more than {MAX_RATIO} times its size, as a gzip bomb does",
                            hint="if the file is honest, unpack it first and give the unpacked file")
        return data

    def close(self) -> None:
        self._gzip.close()
        self._raw.close()


class _Prefixed:
    """A reader whose first bytes were already taken."""

    def __init__(self, first: bytes, rest: Reader) -> None:
        self._first, self._rest = first, rest

    def read(self, size: int) -> bytes:
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._rest.read(size)

    def close(self) -> None:
        self._rest.close()


class Source:
    """A data file or standard input.

    `name` is how messages call it, `head` its first bytes (expanded; at most 256 KB, from a pipe what was there with
    the first line), `whole` whether head is everything. Raises UsageError for a path that does not exist, DataError
    for one that is no ordinary file, is empty, or is another kind of file altogether.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.is_stdin = os.fspath(path) == "-"
        self.name = "standard input" if self.is_stdin else str(path)
        self.path = None if self.is_stdin else Path(path)
        self._pipe: Reader | None = None
        self._raw: _Counted | None = None
        self._latest: _Count | None = None
        if self.path is None:
            self.gzipped = self._peek_stdin()
        else:
            self._stat = _ordinary(self.path, self.name)
            self.gzipped = self._peek_file()
        refuse_foreign(self.head, self.name)

    def open(self) -> Reader:
        """A reader from the first byte. Standard input can be opened once: UsageError after that."""
        if self.path is not None:
            return self._open_file()
        if self._pipe is None:
            raise UsageError("standard input was already read", hint="save it to a file to read it twice")
        reader, self._pipe = self._pipe, None
        return reader

    @property
    def size(self) -> int | None:
        """The size of the file; None for standard input and for a gzipped file."""
        return None if self.path is None or self.gzipped else self._stat.st_size

    @property
    def share(self) -> float | None:
        """How much of the file the latest reader has read, 0–1; None for standard input."""
        return None if self.path is None or self._latest is None else min(1.0, self._latest.total / self._stat.st_size)

    def check_unchanged(self) -> None:
        """Raises DataError when the file was changed, replaced or removed since it was opened."""
        if self.path is None:
            return
        try:
            now = os.stat(self.path)
        except OSError as error:
            raise DataError(f"{self.name} vanished while it was being read: {_reason(error)}",
                            hint="run again when nothing writes to it") from error
        if _identity(now) != _identity(self._stat):
            raise DataError(f"{self.name} was changed while it was being read", hint="run again when nothing writes to it")

    def sha256(self) -> str:
        """The hash of the file's own bytes, hexadecimal; for standard input of the bytes read so far."""
        if self._raw is not None:
            return self._raw.hash.hexdigest()
        reader = self._open_raw()
        try:
            while reader.read(1 << 20):
                pass
        finally:
            reader.close()
        return reader.hash.hexdigest()

    def _open_raw(self) -> _Counted:
        assert self.path is not None
        try:
            return _Counted(open(self.path, "rb"), self.name)
        except OSError as error:
            raise DataError(f"{self.name} cannot be opened: {_reason(error)}", hint=_ACCESS_HINT) from error

    def _open_file(self) -> Reader:
        raw = self._open_raw()
        self._latest = raw.count
        return _Expanded(raw, raw, self.name) if self.gzipped else raw

    def _peek_file(self) -> bool:
        raw = self._open_raw()
        try:
            self.gzipped = raw.read(2) == GZIP
        finally:
            raw.close()
        reader = self._open_file()
        try:
            self.head, self.whole = _fill(reader, SAMPLE)
        finally:
            reader.close()
        return self.gzipped

    def _peek_stdin(self) -> bool:
        self._raw = _Counted(_stdin(), self.name, borrowed=True)
        first = self._raw.read(SAMPLE)
        while len(first) == 1 and (more := self._raw.read(SAMPLE)):
            first += more
        reader: Reader = _Prefixed(first, self._raw)
        gzipped = first.startswith(GZIP)
        if gzipped:
            reader = _Expanded(reader, self._raw, self.name)
        self.head, self.whole = _first_line(reader)
        self._pipe = _Prefixed(self.head, reader)
        return gzipped


def _fill(reader: Reader, size: int) -> tuple[bytes, bool]:
    pieces: list[bytes] = []
    have = 0
    while have < size:
        data = reader.read(size - have)
        if not data:
            return b"".join(pieces), True
        pieces.append(data)
        have += len(data)
    return b"".join(pieces), not reader.read(1)


def _first_line(reader: Reader) -> tuple[bytes, bool]:
    head = b""
    while b"\n" not in head and len(head) < SAMPLE:
        data = reader.read(SAMPLE)
        if not data:
            return head, True
        head += data
    return head, False


def _stdin() -> io.BufferedIOBase:
    if sys.stdin is None:
        raise UsageError("there is no standard input to read '-' from", hint="give a file")
    buffer = getattr(sys.stdin, "buffer", None)
    if buffer is None:
        return io.BytesIO(sys.stdin.read().encode("utf-8", "surrogatepass"))
    return buffer


def _ordinary(path: Path, name: str) -> os.stat_result:
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {name!r}", hint=_close_names(path)) from error
    except ValueError as error:
        raise UsageError(f"{name!r} is not a possible file name: {error}") from error
    except OSError as error:
        raise DataError(f"{name} cannot be opened: {_reason(error)}", hint=_ACCESS_HINT) from error
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{name} is a folder, not a data file", hint="name one file in it")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{name} is a {_kind(found.st_mode)}, not an ordinary file",
                        hint="to read from a pipe, give - as the path and pipe into the command")
    if found.st_size == 0:
        raise DataError(f"{name} is empty (0 bytes)", hint=EMPTY_HINT)
    return found


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "named pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _close_names(path: Path) -> str:
    try:
        near = difflib.get_close_matches(path.name, [entry.name for entry in os.scandir(path.parent)], n=3)
    except OSError:
        return f"the folder {str(path.parent)!r} does not exist"
    return f"did you mean {' or '.join(repr(name) for name in near)}?" if near else "check the spelling and the folder"


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
