"""A large model elsewhere, behind OpenAI's interface: asked where a small one abstains, and passed on to by its own name."""

from __future__ import annotations

from .client import Large

__all__ = ["Large"]
