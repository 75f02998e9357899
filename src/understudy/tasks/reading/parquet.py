"""Rows of a Parquet file, batch by batch, through pyarrow (the extra `parquet`). A row's line is its number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any

from ...errors import DataError, UnderstudyError, missing_extra
from .problems import BadRows, BadValue, Row, checked
from .source import Source

BATCH = 1024


def parquet_columns(source: Source) -> tuple[str, ...]:
    """The column names. Raises MissingExtraError without pyarrow, DataError for a file that is no Parquet."""
    with ExitStack() as stack:
        names = tuple(_open(source, stack).schema_arrow.names)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{source.name} has the column {twice[:80]!r} twice", hint="give each column a name of its own")
    return names


def parquet_rows(source: Source, bad: BadRows, max_cell: int) -> Iterator[Row]:
    """One Row per row. Raises DataError where the file is damaged."""
    number = 0
    with ExitStack() as stack:
        for rows in _batches(_open(source, stack), source.name):
            for values in rows:
                number += 1
                try:
                    row = Row(number, checked(values, max_cell))
                except BadValue as error:
                    bad.add(number, str(error), error.hint)
                else:
                    yield row


def _batches(file: Any, name: str) -> Iterator[list[dict[str, object]]]:
    batches = file.iter_batches(batch_size=BATCH)
    while True:
        try:
            batch = next(batches, None)
            rows = None if batch is None else batch.to_pylist()
        except Exception as error:  # pyarrow raises many kinds for damaged data
            raise _damaged(name, error) from error
        if rows is None:
            return
        yield rows


def _open(source: Source, stack: ExitStack) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("Reading Parquet", "parquet") from error
    try:
        return stack.enter_context(pyarrow.parquet.ParquetFile(_seekable(source, stack)))
    except UnderstudyError:
        raise
    except Exception as error:  # as above
        raise _damaged(source.name, error) from error


def _seekable(source: Source, stack: ExitStack) -> IO[bytes]:
    """Parquet is read from its end: what cannot be sought is unpacked to a temporary file first."""
    assert source.path is not None
    if not source.gzipped:
        return stack.enter_context(open(source.path, "rb"))
    handle: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 the stack closes it
    reader = source.open()
    stack.callback(reader.close)
    while data := reader.read(1 << 20):
        handle.write(data)
    handle.seek(0)
    return handle


def _damaged(name: str, error: Exception) -> DataError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{name} cannot be read as Parquet: {first[:200]}", hint="is the file cut off? write it again")
