"""A request followed from elsewhere: pieces are delivered as they come, in the thread that reads them, and it can be cancelled by its number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import UnderstudyError
from .process import WorkerProcess
from .results import Piece, piece_of
from .sampling import Sampling, check_answer

Deliver = Callable[[Piece | UnderstudyError], None]


class Following:
    """One running request. `deliver` gets pieces, the last one with `finish`, or an error; it is called in another thread and must be quick."""

    def __init__(self, worker: WorkerProcess, body: dict[str, Any], sampling: Sampling, explain: Callable[[dict[str, Any]], UnderstudyError],
                 deliver: Deliver) -> None:
        self._worker, self._sampling, self._explain, self._deliver = worker, sampling, explain, deliver
        self._text, self._ended = "", False
        self.number, _ = worker.submit("generate", body, self)

    def put(self, frame: dict[str, Any]) -> None:
        """Takes the next frame."""
        if frame["event"] in ("gone", "error"):
            self._ended = True
            self._deliver(self._explain(frame))
            return
        if "text" not in frame:
            return  # the last word of a request that was cancelled
        self._text += frame["text"]
        piece: Piece | UnderstudyError = piece_of(frame)
        if frame["event"] == "done":
            self._ended = True
            try:
                check_answer(self._sampling, self._text, frame["finish"])
            except UnderstudyError as problem:
                piece = problem
        self._deliver(piece)

    def close(self) -> None:
        """Forgets the request, and cancels it where it still runs. To be called once, however it ended."""
        self._worker.forget(self.number, cancel=not self._ended)
