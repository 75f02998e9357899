"""JSON as bundles use it: read strictly, written in exactly one way.

Python's own reader accepts NaN, duplicate keys, byte order marks and lone surrogates, and answers deep nesting or a
5,000-digit number with errors of three different types; none of that may pass this door.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ..errors import BundleError

MAX_DEPTH = 64
MAX_INTEGER = 2**63


def strict_json(data: bytes, where: str) -> Any:
    """The value in UTF-8 JSON `data`; `where` names the file in errors.

    Raises BundleError for a byte order mark, bytes that are not UTF-8, NaN or infinity, a duplicate key, a lone
    surrogate, an integer outside ±2^63, nesting deeper than Python can follow, or anything after the value.
    """
    if data[:3] == b"\xef\xbb\xbf" or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BundleError(f"{where} starts with a byte order mark, which JSON in a bundle may not have")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{where} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}") from None

    try:
        value = json.loads(text, **_hooks(where))
    except json.JSONDecodeError as error:
        raise BundleError(f"{where} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BundleError(f"{where} is nested too deeply") from None
    if "\\u" in text:
        _refuse_surrogates(value, where)
    return value


def _hooks(where: str) -> dict[str, Any]:
    """What `json.loads` asks about each object and number, so that it refuses what it would let pass."""
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise BundleError(f"{where} has the key {shown(twice)} twice in one object")
        return found

    def constant(word: str) -> NoReturn:
        raise BundleError(f"{where} holds {word}, which is not a number")

    def real(word: str) -> float:
        value = float(word)
        if value in (float("inf"), float("-inf")):
            raise BundleError(f"{where} holds {shown(word)}, which is too large for a number")
        return value

    def integer(word: str) -> int:
        if len(word) > 20 or not -MAX_INTEGER <= int(word) < MAX_INTEGER:
            raise BundleError(f"{where} holds the integer {shown(word)}, which does not fit in 64 bits")
        return int(word)

    return {"object_pairs_hook": pairs, "parse_constant": constant, "parse_float": real, "parse_int": integer}


def canonical_json(value: Any, where: str) -> bytes:
    """`value` as UTF-8 JSON with sorted keys, an indent of 1 and a trailing newline: one value, one byte string.

    Raises BundleError when `value` is not plain JSON (another type, NaN, a key that is not a string).
    """
    plain(value, where)
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def plain(value: Any, where: str, depth: int = 0) -> None:
    """Raises BundleError naming the place in `value` that is not plain JSON: dict, list, str, int, finite float, bool, None."""
    if depth > MAX_DEPTH:
        raise BundleError(f"{where[:200]} is nested too deeply (the limit is {MAX_DEPTH} levels)")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        text(value, where)
    elif isinstance(value, int):
        if not -MAX_INTEGER <= value < MAX_INTEGER:
            raise BundleError(f"{where} is an integer that does not fit in 64 bits")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise BundleError(f"{where} is {value}, which is not a number")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            plain(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise BundleError(f"{where} has the key {shown(key)}, which is not text")
            text(key, f"a key of {where}")
            plain(item, f"{where}.{key[:64]}", depth + 1)
    else:
        raise BundleError(f"{where} is of type {type(value).__name__}, which is not plain JSON")


def text(value: str, where: str) -> None:
    """Raises BundleError for text that cannot be written as UTF-8 or that holds a NUL."""
    if "\x00" in value:
        raise BundleError(f"{where} holds a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BundleError(f"{where} holds a lone surrogate, which is not text") from None


def shown(value: Any) -> str:
    """`value` as an error may quote it: on one line, printable ASCII, at most 80 characters."""
    quoted = ascii(value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__)
    return quoted if len(quoted) <= 80 else quoted[:76] + "…" + quoted[0] * isinstance(value, str)


def _refuse_surrogates(value: Any, where: str) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            text(item.replace("\x00", ""), where)
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
