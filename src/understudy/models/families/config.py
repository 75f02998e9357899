"""Typed access to a checkpoint's config.json: every value is checked before anything is computed from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import DataError

_MAX_SIZE = 1 << 24
_MISSING = object()


class Config:
    """The values of a config.json, checked as they are read. Raises DataError naming the key and the file."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json") -> None:
        self.values, self.where = values, where

    def get(self, key: str, default: Any = None) -> Any:
        """The raw value, or `default` where the key is absent."""
        return self.values.get(key, default)

    def has(self, key: str) -> bool:
        """Whether the key is there and is not null."""
        return self.values.get(key) is not None

    def size(self, key: str, default: Any = _MISSING) -> int:
        """A positive integer of sane magnitude; a null counts as absent."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MAX_SIZE:
            raise self.bad(key, value, f"a whole number from 1 to {_MAX_SIZE:,}")
        return value

    def real(self, key: str, default: Any = _MISSING) -> float:
        """A positive finite number."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
            raise self.bad(key, value, "a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false; a null counts as absent."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.bad(key, value, "true or false")
        return value

    def reals(self, key: str, count: int) -> list[float]:
        """A list of `count` positive numbers."""
        value = self._value(key, _MISSING)
        if not isinstance(value, list) or len(value) != count:
            raise self.bad(key, f"{len(value)} values" if isinstance(value, list) else value, f"a list of {count} numbers")
        return [Config({key: item}, self.where).real(key) for item in value]

    def part(self, key: str) -> Config:
        """An object inside the config; empty where it is absent."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.bad(key, value, "an object")
        return Config(value or {}, f"{key} of {self.where}")

    def bad(self, key: str, value: Any, wanted: str) -> DataError:
        """The error for a value that is not what the family needs."""
        return DataError(f"{self.where} has {key} = {str(value)[:60]}, which should be {wanted}")

    def refuse(self, key: str, value: Any, why: str) -> DataError:
        """The error for a setting that llama.cpp cannot express."""
        return DataError(f"{self.where} has {key} = {str(value)[:60]}: {why}")

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        if value is not None:
            return value
        if default is _MISSING:
            raise DataError(f"{self.where} has no {key}")
        return default
