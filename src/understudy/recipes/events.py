"""What a long recipe says while it works. The command line draws it; a program may ignore it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """`stage` names the step (read, teacher, ngram, …); `text` is one line for a person; `done` is 0–1 within the stage.

    An event without `done` is worth keeping on screen; one with it replaces the last of its stage.
    """

    stage: str
    text: str
    done: float | None = None


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener that hears nothing."""


class Minutes:
    """Passes events on, and keeps what is worth keeping as lines `stage: text`, for whoever reads the result and heard nothing."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen
        self.lines: list[str] = []

    def __call__(self, event: Event) -> None:
        if event.done is None:
            self.lines.append(f"{event.stage}: {event.text}")
        self._listen(event)
