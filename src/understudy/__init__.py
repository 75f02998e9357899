"""Understudy: train, distil, shrink, prove and run small language models that you own, on an ordinary CPU.

    understudy.train("tickets.csv", out="support")      a labelled file → a bundle
    understudy.load("support").predict("where is it?")  a bundle → answers
    understudy.prove("support", "fresh.csv").table()    a bundle and new labelled data → its receipt
    understudy.score("my-lm", "The capital of").next    a model that writes → its likeliest next words
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import UnderstudyError

if TYPE_CHECKING:
    from .recipes.inspecting import bench, doctor, show
    from .recipes.proving import prove
    from .recipes.text.engines import chat, score
    from .recipes.text.exporting import export, quantize
    from .recipes.text.trimming import trim
    from .recipes.training import train
    from .run.generate.sampling import Sampling
    from .run.opening import load

__all__ = ["Sampling", "UnderstudyError", "__version__", "bench", "chat", "doctor", "export", "load", "prove", "quantize", "score", "show", "train",
           "trim"]

_HOMES = {"Sampling": ".run.generate.sampling", "bench": ".recipes.inspecting", "chat": ".recipes.text.engines", "doctor": ".recipes.inspecting",
          "export": ".recipes.text.exporting", "load": ".run.opening", "prove": ".recipes.proving", "quantize": ".recipes.text.exporting",
          "score": ".recipes.text.engines", "show": ".recipes.inspecting", "train": ".recipes.training", "trim": ".recipes.text.trimming"}


def __getattr__(name: str) -> Any:
    # Each verb brings its own imports, so that `import understudy` costs next to nothing.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'understudy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
