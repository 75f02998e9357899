"""Understudy: train, distil, shrink, prove and run small language models that you own, on an ordinary CPU.

    understudy.train("tickets.csv", out="support")      a labelled file → a bundle
    understudy.load("support").predict("where is it?")  a bundle → answers
    understudy.prove("support", "fresh.csv").table()    a bundle and new labelled data → its receipt
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import UnderstudyError

if TYPE_CHECKING:
    from .recipes.inspecting import bench, doctor, show
    from .recipes.proving import prove
    from .recipes.training import train
    from .run.opening import load

__all__ = ["UnderstudyError", "__version__", "bench", "doctor", "load", "prove", "show", "train"]

_HOMES = {"bench": ".recipes.inspecting", "doctor": ".recipes.inspecting", "load": ".run.opening", "prove": ".recipes.proving",
          "show": ".recipes.inspecting", "train": ".recipes.training"}


def __getattr__(name: str) -> Any:
    # Each verb brings its own imports, so that `import understudy` costs next to nothing.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'understudy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
