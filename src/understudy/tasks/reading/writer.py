"""Rows out: to a file that is there whole or not at all, or streamed to standard output.

Cells that begin with = + - or @ are written as they are. A spreadsheet may take such a cell for a formula: import
untrusted texts as text, since altering them here would change the data.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ...errors import DataError, UsageError

FORMATS = ("csv", "tsv", "jsonl")
_BY_SUFFIX = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def open_writer(path: str | os.PathLike[str], columns: Sequence[str], format: str | None = None) -> RowWriter:
    """A RowWriter for a file (format by its suffix, `.gz` packed) or for standard output ("-", CSV unless named).

    Raises UsageError for a format that is not csv, tsv or jsonl, DataError where the file cannot be created.
    """
    name = os.fspath(path)
    chosen = format or ("csv" if name == "-" else _BY_SUFFIX.get(os.path.splitext(name.lower().removesuffix(".gz"))[1]))
    if chosen not in FORMATS:
        what = f"the output format {format!r} is not known" if format else f"the suffix of {name!r} names no output format"
        raise UsageError(what, hint=f"formats are {', '.join(FORMATS)}; add .gz to pack the file")
    return RowWriter(name, columns, chosen)


class RowWriter:
    """Writes rows of the given columns; a context manager that keeps the file only when no error was raised.

    Made by `open_writer`. An OSError (disk full, no permission) becomes a DataError with the path, except a broken
    pipe, which the command line ends quietly: there is nobody to tell.
    """

    def __init__(self, path: str, columns: Sequence[str], format: str) -> None:
        self.path, self.columns, self.format = path, tuple(columns), format
        self.rows = 0
        self._partial: str | None = None
        self._files: list[Any] = []
        self._open = True
        with self._told():
            self._write = self._to_stdout() if path == "-" else self._to_file()
        mark = "\t" if format == "tsv" else ","
        self._line = io.StringIO()
        self._plain = csv.writer(self._line, delimiter=mark, lineterminator="\n")
        self._quoted = csv.writer(self._line, delimiter=mark, lineterminator="\n", quoting=csv.QUOTE_ALL)
        if format != "jsonl":
            self._put(self._cells(self.columns))

    def write(self, values: Mapping[str, object]) -> None:
        """One row; missing columns are empty, others are left out. Raises DataError where it cannot be written."""
        if self.format == "jsonl":
            self._put(json.dumps({name: _json(values.get(name)) for name in self.columns}, ensure_ascii=False) + "\n")
        else:
            self._put(self._cells([_cell(values.get(name)) for name in self.columns]))
        self.rows += 1

    def flush(self) -> None:
        """Hand on what was written so far, for a reader at the other end of a pipe."""
        with self._told():
            self._files[0].flush()

    def close(self) -> None:
        """Finish: the file appears under its name, whole and on disk. Calling it again does nothing."""
        if not self._open:
            return
        with self._told():
            for file in reversed(self._files[1:]):
                file.close()
            if self._files:
                self._files[0].flush()
            if self._partial is not None:
                os.fsync(self._files[0].fileno())
            if self.path != "-":
                self._files[0].close()
            if self._partial is not None:
                os.replace(self._partial, self._target)
                _sync_folder(self._target)
        self._open = False

    def discard(self) -> None:
        """Give up: nothing appears under the file's name, and what was there before stays."""
        if not self._open:
            return
        self._open = False
        for file in reversed(self._files if self.path != "-" else []):
            with suppress(OSError, ValueError):
                file.close()
        if self._partial is not None:
            with suppress(OSError):
                os.unlink(self._partial)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _to_stdout(self) -> Callable[[bytes], object]:
        if sys.stdout is None:
            raise ValueError("there is no standard output")
        self._files = [getattr(sys.stdout, "buffer", sys.stdout)]
        if self._files[0] is sys.stdout:
            return lambda data: sys.stdout.write(data.decode())
        return self._files[0].write

    def _to_file(self) -> Callable[[bytes], object]:
        self._target = os.path.realpath(self.path)
        if os.path.isdir(self._target):
            raise IsADirectoryError(21, "it is a folder")
        place = self._target
        if not os.path.exists(place) or stat.S_ISREG(os.stat(place).st_mode):
            folder, name = os.path.split(place)
            place = self._partial = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}.partial")
        flags = os.O_WRONLY | (os.O_CREAT | os.O_EXCL if self._partial else 0)
        self._files.append(os.fdopen(os.open(place, flags, 0o666), "wb", buffering=1 << 16))
        if self.path.lower().endswith(".gz"):
            self._files.append(gzip.GzipFile(filename="", mode="wb", fileobj=self._files[0], mtime=0, compresslevel=6))
        return self._files[-1].write

    def _cells(self, cells: Sequence[str]) -> str:
        self._line.seek(0)
        self._line.truncate()
        # the csv module leaves a lone CR unquoted when lines end with LF
        (self._quoted if any("\r" in cell for cell in cells) else self._plain).writerow(cells)
        return self._line.getvalue()

    def _put(self, line: str) -> None:
        with self._told():
            self._write(line.encode())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.discard()
            raise
        except (OSError, ValueError) as error:
            self.discard()
            where = "standard output" if self.path == "-" else self.path
            raise DataError(f"{where} cannot be written: {getattr(error, 'strerror', None) or error}",
                            hint="is the disk full, or the folder missing or protected?") from error


def _sync_folder(path: str) -> None:
    handle = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)


def _json(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float, bool, list, dict)) else str(value)
