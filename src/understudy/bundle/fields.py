"""Typed access to the fields of a parsed JSON object; every refusal names the field and shows the value."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import BundleError
from .jsonio import plain, shown, text

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Fields:
    """The fields of one JSON object, each asked for once; `done` refuses what nobody asked for."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise BundleError(f"{where} should be an object and is {kind_of(value)}")
        self.where = where
        self._left = dict(value)

    def take(self, name: str) -> tuple[Any, str]:
        """The value of `name` and how to call it in an error."""
        if name not in self._left:
            raise BundleError(f"{self.where}: the field '{name}' is missing")
        return self._left.pop(name), f"{self.where}: the field '{name}'"

    def string(self, name: str, limit: int, pattern: re.Pattern[str] | None = None) -> str:
        """Text of at most `limit` characters that matches `pattern` from end to end."""
        value, what = self.take(name)
        if not isinstance(value, str):
            raise BundleError(f"{what} should be text and is {kind_of(value)}")
        if len(value) > limit:
            raise BundleError(f"{what} is {len(value)} characters long (the limit is {limit})")
        text(value, what)
        if pattern and not pattern.fullmatch(value):
            raise BundleError(f"{what} is {shown(value)}, which does not match {pattern.pattern}")
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer in [low, high]; true and 1.0 are not integers."""
        value, what = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise BundleError(f"{what} should be an integer and is {kind_of(value)}")
        if not low <= value <= high:
            raise BundleError(f"{what} is {value}, outside {low} to {high}")
        return value

    def real(self, name: str, low: float, high: float) -> float:
        """A number in [low, high]."""
        value, what = self.take(name)
        return real(value, what, low, high)

    def items(self, name: str, limit: int) -> tuple[list[Any], str]:
        """A list of at most `limit` entries, and how to call it in an error."""
        value, what = self.take(name)
        if not isinstance(value, list):
            raise BundleError(f"{what} should be a list and is {kind_of(value)}")
        if len(value) > limit:
            raise BundleError(f"{what} has {len(value)} entries (the limit is {limit})")
        return value, what

    def mapping(self, name: str, limit: int) -> tuple[dict[str, Any], str]:
        """An object of at most `limit` keys, and how to call it in an error."""
        value, what = self.take(name)
        if not isinstance(value, dict):
            raise BundleError(f"{what} should be an object and is {kind_of(value)}")
        if len(value) > limit:
            raise BundleError(f"{what} has {len(value)} keys (the limit is {limit})")
        return value, what

    def plain_mapping(self, name: str) -> dict[str, Any]:
        """An object of any plain JSON."""
        value, what = self.mapping(name, 10_000)
        plain(value, what)
        return value

    def optional(self, name: str, read: Callable[[str], Any]) -> Any:
        """What `read(name)` makes of the field, or None where it is null."""
        if self._left.get(name, "") is None:
            del self._left[name]
            return None
        return read(name)

    def done(self) -> None:
        """Raises BundleError when a field is left that this format does not have."""
        if self._left:
            raise BundleError(f"{self.where}: the field {shown(min(self._left))} is not one this format has")


def real(value: Any, what: str, low: float, high: float) -> float:
    """`value` as a float in [low, high]; `what` names it in errors."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise BundleError(f"{what} should be a number and is {kind_of(value)}")
    if not low <= value <= high:
        raise BundleError(f"{what} is {value}, outside {low:g} to {high:g}")
    return float(value)


def kind_of(value: Any) -> str:
    """What JSON calls the type of `value`, with the value where it is short."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "an integer", float: "a number"}
    name = "null" if value is None else names.get(type(value), type(value).__name__)
    return name if value is None or isinstance(value, (dict, list)) else f"{name} ({shown(value)})"
