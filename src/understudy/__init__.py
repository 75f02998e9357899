"""Understudy: train, distil, shrink, prove and run small language models that you own, on an ordinary CPU."""

from ._version import __version__

__all__ = ["__version__"]
