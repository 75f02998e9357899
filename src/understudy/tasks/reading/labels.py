"""labels.json: the labels with a description each."""

from __future__ import annotations

import json
import os

from ...errors import DataError
from .encodings import find_encoding, head_text
from .jsonrows import DECODER
from .problems import BadValue, check_string
from .source import SAMPLE, Source

_HINT = 'write {"card_lost": "The customer lost a card", …}'
_MAX_LABEL = 1000


def read_label_map(path: str | os.PathLike[str]) -> dict[str, str]:
    """The descriptions by label, in file order, from {"label": "description"} or {"labels": {…}}.

    At most 256 KB. Raises DataError, naming the label, for anything else.
    """
    source = Source(path)
    if not source.whole:
        raise DataError(f"{source.name} is longer than {SAMPLE:,} bytes, too long for a label map", hint=_HINT)
    text = head_text(source, find_encoding(source, None, skipping=False, max_line=None))
    found = _decoded(text.removeprefix("\ufeff"), source.name)
    if isinstance(found, dict) and isinstance(found.get("labels"), dict):
        found = found["labels"]
    if not isinstance(found, dict) or not found:
        raise DataError(f"{source.name} holds no label map", hint=_HINT)
    for label, description in found.items():
        if not isinstance(description, str):
            raise DataError(f"{source.name}: the description of the label {label[:80]!r} is not a string", hint=_HINT)
        _check(label, description, source.name)
    return found


def _decoded(text: str, name: str) -> object:
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}, line {error.lineno}: not valid JSON: {error.msg} (column {error.colno})", hint=_HINT) from error
    except BadValue as error:
        raise DataError(f"{name}: {error}", hint=error.hint) from error
    except RecursionError as error:
        raise DataError(f"{name}: the JSON is nested too deeply", hint=_HINT) from error


def _check(label: str, description: str, name: str) -> None:
    if not label.strip():
        raise DataError(f"{name}: a label is empty", hint=_HINT)
    try:
        check_string(label, _MAX_LABEL)
        check_string(description, SAMPLE)
    except BadValue as error:
        raise DataError(f"{name}: the label {label[:80]!a}: {error}", hint=_HINT) from error
