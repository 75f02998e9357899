"""Reading data files: any usual format in, checked examples out, and a word about every row that was left out.

    bytes      source  magic  encodings        a file or a pipe -> text in pieces
    rows       header delimited  jsonrows  parquet  plain  -> table -> Row
    examples   columns  values  examples       Row -> Example, with a report
    cleaning   duplicates, contradictions, leaks, the split
    labels     labels.json
    writer     rows out again

Example: `read_examples("tickets.csv").examples[0]` is Example(text="where is my card?", label="card", line=2).
"""

from __future__ import annotations

from .cleaning import Cleaned, Conflict, check_labels, check_singles, clean, split
from .columns import Columns, find_columns
from .examples import Dataset, ReadReport, read_examples, stream_rows
from .labels import read_label_map
from .problems import MAX_CELL, Row
from .table import Table, open_table
from .writer import RowWriter, open_writer

__all__ = ["MAX_CELL", "Cleaned", "Columns", "Conflict", "Dataset", "ReadReport", "Row", "RowWriter", "Table",
           "check_labels", "check_singles", "clean", "find_columns", "open_table", "open_writer", "read_examples", "read_label_map",
           "split", "stream_rows"]
