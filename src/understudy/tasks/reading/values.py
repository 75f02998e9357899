"""What a cell means as a text or as a label, whatever type the format gave it."""

from __future__ import annotations

import datetime
import decimal
import math
import numbers

from .problems import BadValue

NULL_WORDS = ("none", "null", "na", "n/a")
"""Words that other programs write for a missing value, and that may as well be real labels."""


def is_missing(value: object) -> bool:
    """None, a float that is not a number, or nothing but white space."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def as_text(value: object) -> str:
    """The text in a cell, unchanged where it is a string. Raises BadValue where there is none."""
    if isinstance(value, str) and value and not value.isspace():
        return value
    if is_missing(value):
        raise BadValue("the text is empty")
    return _plain(value, "text")


def as_label(value: object) -> str:
    """The label in a cell without outer white space; 1, 1.0 and "1" are the same. Raises BadValue where there is none.

    "nan" is none in any spelling: programs write it for a missing number, and nobody calls a class so.
    """
    if isinstance(value, str) and (label := value.strip()):
        if label.casefold() == "nan":
            raise BadValue(f"the label is {label!r}, which other programs write where there is none", "give it a name, if it is a class of its own")
        return label
    if is_missing(value):
        raise BadValue("the label is empty")
    if isinstance(value, (list, tuple, set)):
        raise BadValue(f"the label is a list of {len(value)}; several labels per text (multi-label) are not supported",
                       "keep one label per text")
    return _plain(value, "label")


def _plain(value: object, role: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return format(value.normalize(), "f")
    if isinstance(value, (str, numbers.Number, datetime.date, datetime.time)):
        return str(value)
    raise BadValue(f"the {role} is {_kind(value)}, not a string")


def _kind(value: object) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", bytes: "bytes"}
    return names.get(type(value), f"a {type(value).__name__}")
