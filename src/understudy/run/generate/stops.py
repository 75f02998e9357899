"""Stop strings and broken characters in a stream: text is let out only when it can no longer turn out to be either.

llama.cpp holds back what may become a stop string, too, but loses it where the answer ends right there.
"""

from __future__ import annotations

from collections.abc import Sequence

REPLACED = "\ufffd"
"""Stands for bytes that are no character."""


class StopFilter:
    """Takes a stream piece by piece; `stopped` once a stop string was met, of which nothing is let out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held, self.stopped = tuple(stops), "", False

    def feed(self, text: str) -> str:
        """The text that is certain after one more piece."""
        whole = self._held + text
        places = [at for at in (whole.find(stop) for stop in self._stops) if at >= 0]
        if places:
            self.stopped, self._held = True, ""
            return whole[: min(places)].rstrip(REPLACED)
        keep = max((self._begun(whole, stop) for stop in self._stops), default=0)
        certain = whole[: len(whole) - keep].rstrip(REPLACED)
        self._held = whole[len(certain) :]
        return certain

    def flush(self) -> str:
        """What was held back, at the end of an answer that met no stop string."""
        held, self._held = self._held, ""
        return held.rstrip(REPLACED)

    @staticmethod
    def _begun(text: str, stop: str) -> int:
        """Characters at the end of `text` that begin `stop`."""
        return next((length for length in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:length])), 0)
