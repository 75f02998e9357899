"""`understudy.train`: one verb, one recipe per kind of task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .events import Listener, silent
from .text.config import TASKS

if TYPE_CHECKING:
    from .classify import TrainResult
    from .text.train import TextResult

def train(data: str | Path | Sequence[str | Path], *, out: str | Path, task: str = "classify", config: Any = None, listen: Listener = silent,
          **dials: Any) -> TrainResult | TextResult:
    """Makes a bundle for `task` (classify, translate, summarize, generate, lm or chat) from data files and writes it to `out`.

    Dials are those of TrainConfig for classify, of TextConfig for the others. Raises UnderstudyError.
    """
    if task == "classify":
        from .classify import train as train_classifier

        return train_classifier(_one(data), out=out, config=config, listen=listen, **dials)
    if task in TASKS:
        from .text.train import train_text

        return train_text(data, task, out=out, config=config, listen=listen, **dials)
    raise UsageError(f"the task is {task!r}", hint=f"one of classify, {', '.join(TASKS)}")


def _one(data: str | Path | Sequence[str | Path]) -> str | Path:
    files = [data] if isinstance(data, str | Path) else list(data)
    if len(files) != 1:
        raise UsageError(f"{len(files)} data files are named, and a classifier takes one", hint="put the rows into one file")
    return files[0]
