"""What the handlers of all shapes share: texts in, answers of the fleet out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from ..errors import BusyError
from ..fleet.entry import Entry, Version
from ..fleet.pool import Job, Lane
from ..run.answer import Understudy
from ..run.summarising import Summariser
from ..tasks.summarise import Summary
from .call import Call
from .problems import Problem, bad

_SHORT = 400
"""Characters of a text that a quick model answers without leaving the event loop."""


class Sorted(NamedTuple):
    """A classifier's answer: `label` is None where it abstains; `probs` are over the model's labels."""

    label: str | None
    best: str
    confidence: float
    rung: str
    probs: np.ndarray


def listed(inputs: str | Sequence[str], call: Call, param: str = "inputs") -> list[str]:
    """The texts of a request, as a list. Raises 400 for none, too many, or an empty one."""
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    most = call.service.config.inputs
    if not texts:
        raise bad(f"{param} is empty", param=param)
    if len(texts) > most:
        raise bad(f"{param} holds {len(texts)} texts; at most {most} may be asked in one request", param=param, code="too_many_inputs")
    if not all(text and not text.isspace() for text in texts):
        raise bad(f"{param} holds an empty text", param=param, code="empty_input")
    return texts


def wanted(version: Version, *sorts: str) -> None:
    """Raises 424 where a model is of another sort than the route asks for."""
    sort = version.loaded.sort
    if sort not in sorts:
        verbs = {"classify": "sorts texts", "summarize": "chooses sentences", "write": "writes"}
        raise Problem(424, "wrong_kind_of_model", f"this model {verbs[sort]}, which is not what this route is for", param="model")


async def sort_texts(call: Call, model: str | None, texts: list[str]) -> tuple[Entry, Version, list[Sorted]]:
    """Labels for texts. Raises what the fleet raises, and 424 where the model does not sort."""
    fleet = call.service.fleet
    entry = fleet.entry(model)
    version = entry.chosen(texts[0]) or await within(call, fleet.ready(entry))
    wanted(version, "classify")
    with fleet.using(entry, version):
        note(call, entry, version)
        opened = cast(Understudy, version.loaded.model)
        if version.loaded.quick and len(texts) == 1 and len(texts[0]) <= _SHORT:
            return entry, version, _sorted(opened, texts)
        return entry, version, await in_line(call, version, texts, lambda some: _sorted(opened, some), "sort")


def _sorted(model: Understudy, texts: list[str]) -> list[Sorted]:
    said = model.answer(texts)
    labels, rungs = model.labels, model.manifest.rungs
    best = said.probs.argmax(1)
    return [Sorted(labels[b] if sure else None, labels[b], float(p[b]), rungs[r].name, p)
            for p, b, r, sure in zip(said.probs, best, said.rung, said.answered, strict=True)]


async def choose_sentences(call: Call, model: str | None, texts: list[str], length: dict[str, Any]) -> tuple[Entry, Version, list[Summary]]:
    """Extractive summaries. Raises what the fleet raises, and 424 where the model does not choose sentences."""
    async with call.service.fleet.lease(model, texts[0]) as (entry, version):
        wanted(version, "summarize")
        note(call, entry, version)
        opened = cast(Summariser, version.loaded.model)
        return entry, version, await in_line(call, version, texts, lambda some: opened.predict(some, **length), tuple(length.items()))


async def in_line(call: Call, version: Version, texts: list[str], answer: Callable[[list[str]], Any], key: Hashable) -> list[Any]:
    """One answer per text, from the threads that classifiers share."""
    future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    call.service.fleet.pool.submit(cast(Lane, version.lane), Job(texts, answer, key, call.deadline, future))
    return await future


async def within(call: Call, waiting: Any) -> Any:
    """Waits until the request's deadline. Raises 503 with Retry-After: what is waited for (a model that loads) goes on without us."""
    task = asyncio.ensure_future(waiting)
    try:
        return await asyncio.wait_for(asyncio.shield(task), call.deadline - time.monotonic())
    except TimeoutError:
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise BusyError("the model is still being loaded", retry_after=2.0) from None


def note(call: Call, entry: Entry, version: Version) -> None:
    """Remembers for log and metrics who answered."""
    call.notes["model"], call.notes["version"] = entry.name, version.loaded.id[:12]
