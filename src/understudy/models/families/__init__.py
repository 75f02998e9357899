"""Families of decoders: one file per family says, as plain data, how its checkpoint becomes a GGUF file.

A family is found by the `model_type` of config.json: every module in this folder that holds a `FAMILY` is one, so a new
family is a new file. Nothing here imports torch.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from ...errors import DataError
from .config import Config
from .family import Family, Tensor

__all__ = ["Config", "Family", "Tensor", "families", "find_family"]


@cache
def families() -> dict[str, Family]:
    """Every family by the `model_type` it answers to."""
    found: dict[str, Family] = {}
    for module in pkgutil.iter_modules(__path__):
        family = getattr(import_module(f"{__name__}.{module.name}"), "FAMILY", None)
        if isinstance(family, Family):
            found.update(dict.fromkeys(family.model_types, family))
    return found


def find_family(config: Mapping[str, Any], where: str = "config.json") -> Family:
    """The family of a checkpoint's config. Raises DataError for an unknown model_type or a head that does not generate."""
    kind = config.get("model_type")
    known = families()
    if not isinstance(kind, str) or kind not in known:
        raise DataError(f"{where} has the model_type {str(kind)[:60]!r}, which is not a family this library knows",
                        hint=f"known families: {', '.join(sorted(known))}")
    heads = config.get("architectures")
    if not isinstance(heads, list) or not any(head in known[kind].architectures for head in heads):
        raise DataError(f"{where} names the architectures {str(heads)[:80]}, not {' or '.join(known[kind].architectures)}",
                        hint="only a model that generates text (…ForCausalLM) can become a .gguf")
    return known[kind]
