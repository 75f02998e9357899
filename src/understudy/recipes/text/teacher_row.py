"""The teacher in the receipt: asked about test rows as its student is, by the prompt that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...bundle import Manifest, Rung, open_bundle, write_bundle
from ...errors import UnderstudyError
from ...run.chatting import open_chat
from ...run.generate.guard import inspect_gguf
from ...run.generate.sampling import Sampling
from ...run.prompts import SPEC, Prompt
from ...run.writing import MODEL, Writer
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import Conversation
from .engines import gguf_of
from .measuring import measured_writer, speed_of_engine
from .metrics import scores_of

_ROWS = 100
"""Test rows: a teacher is slow."""
_LARGEST = 2 << 30
"""Bytes of a teacher that is measured by its student's prompt."""
NAME = "teacher"


@dataclass(frozen=True)
class TeacherRow:
    """Who taught, and what it was told before each text where its answers were learned and it is no bundle."""

    name: str
    instruction: str | None

    def measured(self, rows: Sequence[Pair | Conversation], prompt: Prompt, task: str, scratch: Path, seed: int) -> tuple[dict[str, Any] | None, str | None]:
        """(the receipt's entry or None, why there is none). A model that is no bundle for the task is asked by the student's `prompt`."""
        some = rows[:_ROWS]
        try:
            if self.instruction:
                return self._chatting([row for row in some if isinstance(row, Pair)], prompt.max_tokens, task, seed), None
            with Writer(self._bundle(prompt, task, scratch)) as writer:
                return {**measured_writer(writer, some, seed), "name": NAME, "train_seconds": None}, None
        except UnderstudyError as problem:
            return None, f"the teacher is not in the table: {problem}"

    def _bundle(self, prompt: Prompt, task: str, scratch: Path) -> Any:
        if (Path(self.name) / "manifest.json").is_file() and open_bundle(self.name).manifest.task == task:
            return open_bundle(self.name)
        packed = gguf_of(self.name)
        info = inspect_gguf(packed)
        if info.size > _LARGEST:
            raise UnderstudyError(f"it has {info.size / 1e9:.1f} GB, more than the {_LARGEST / 1e9:.1f} GB that are measured here")
        rung = Rung(name=NAME, kind="gguf", path=NAME, parameters=info.parameters, precision="f16", mix={NAME: 1.0}, max_tokens=min(info.context, 4096))
        write_bundle(scratch / NAME, {f"{NAME}/{MODEL}": packed.read_bytes(), f"{NAME}/{SPEC}": prompt.to_json()},
                     Manifest(name=NAME, version=__version__, labels=(), rungs=(rung,), task=task))
        return open_bundle(scratch / NAME)

    def _chatting(self, pairs: Sequence[Pair], longest: int, task: str, seed: int) -> dict[str, Any]:
        path = gguf_of(self.name)
        info = inspect_gguf(path)
        texts = [f"{self.instruction}\n\n{pair.source}" for pair in pairs]
        with open_chat(path, slots=2) as chat, ThreadPoolExecutor(2) as pool:
            said = list(pool.map(lambda text: chat.once(text, Sampling(max_tokens=longest, stop=chat.stop)), texts))
            speed = speed_of_engine(chat.engine, [chat.ids(text) for text in texts], longest)
        return {"name": NAME, "precision": "gguf", "rows": len(pairs), "parameters": info.parameters, "bytes": info.size,
                "scores": scores_of(task, pairs, [one or "" for one in said], seed), "speed": speed, "cut": sum(one is None for one in said), "train_seconds": None}
