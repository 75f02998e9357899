"""What the handlers of all shapes share: texts in, answers of the fleet out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ..errors import UsageError
from ..fleet.entry import Entry, Version
from ..fleet.pool import Job, Lane
from ..run.answer import Understudy
from ..run.summarising import Summariser
from ..tasks.summarise import Summary
from .call import Call
from .problems import Problem, bad, later

if TYPE_CHECKING:
    from ..fleet.fleet import Fleet
    from .large.labels import Handed

LARGE = "large"
"""The rung of an answer that the large model gave."""
_SHORT = 400
"""Characters of a text that a quick model answers without leaving the event loop."""


class Sorted(NamedTuple):
    """A classifier's answer: `label` is None where it abstains; `probs` are over the model's labels, `ranked` says in which order."""

    label: str | None
    best: str
    confidence: float
    rung: str
    probs: Sequence[float]

    def ranked(self) -> list[int]:
        """Places of the labels, the most probable first."""
        return sorted(range(len(self.probs)), key=lambda index: -self.probs[index])


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


def wanted(entry: Entry, *kinds: str) -> None:
    """Raises 424 where a model is for another task than the route."""
    if kinds and entry.task not in kinds:
        raise Problem(424, "wrong_kind_of_model", f"{entry.name} was made for the task {entry.task}, and this route is for {' and '.join(kinds)}", param="model",
                      headers=((b"x-should-retry", b"false"),))


async def sort_texts(call: Call, model: str | None, texts: list[str]) -> tuple[Entry, Version, list[Sorted]]:
    """Labels for texts. Raises what the fleet raises, and 424 where the model does not sort."""
    fleet = call.service.fleet
    entry = fleet.entry(model, "classify")
    wanted(entry, "classify")
    version = await _present(call, entry, texts[0])
    with fleet.using(entry, version):
        note(call, entry, version)
        return entry, version, await sort_with(call, version, texts)


class Asked(NamedTuple):
    """One short text for a version that is loaded and quick; `answer` makes the route's answer of what the model says, or None where that takes waiting."""

    entry: Entry
    version: Version
    text: str
    answer: Callable[[Sorted], Any]


def quick(call: Call, model: str | None, inputs: str | Sequence[object]) -> tuple[Entry, Version, str] | None:
    """The version that can answer one short text without leaving the event loop; None for anything else, errors among it."""
    found = _lone(call.service.fleet, model, inputs)
    return (found[0], found[1], cast(str, inputs)) if found is not None and found[2] else None


def no_room(fleet: Fleet, model: str | None, inputs: str | Sequence[object]) -> tuple[str, float] | None:
    """The asked model's name and the seconds until asking again may help, where one text would have to stand in its line and that is full."""
    found = _lone(fleet, model, inputs)
    if found is None or found[2] or found[1].lane not in fleet.pool.full:
        return None
    return found[0].name, cast(Lane, found[1].lane).retry_after(fleet.pool.threads)


def _lone(fleet: Fleet, model: str | None, inputs: str | Sequence[object]) -> tuple[Entry, Version, bool] | None:
    """Who labels one text, in memory already, and whether without a line; None for anything else. Raises UnknownModelError."""
    if not isinstance(inputs, str) or not inputs or inputs.isspace():
        return None
    entry = fleet.entry(model, "classify")
    version = entry.chosen(inputs)
    if version is None or entry.task != "classify":
        return None
    return entry, version, version.loaded.quick and len(inputs) <= _SHORT


def sorted_by(version: Version, texts: list[str]) -> list[Sorted]:
    """What a classifier says, in this thread."""
    return _sorted(cast(Understudy, version.loaded.model), texts)


async def sort_with(call: Call, version: Version, texts: list[str]) -> list[Sorted]:
    """Labels from a version that is in use."""
    opened = cast(Understudy, version.loaded.model)
    if version.loaded.quick and len(texts) == 1 and len(texts[0]) <= _SHORT:
        return _sorted(opened, texts)
    return await in_line(call, version, texts, lambda some: _sorted(opened, some), "sort")


async def handed_over(call: Call, version: Version, texts: list[str], said: list[Sorted]) -> dict[int, Handed]:
    """What the large model says where a classifier abstained, by the text's place; empty where there is none. Never raises what it raises."""
    large, unsure = call.service.large, [place for place, one in enumerate(said) if one.label is None]
    if large is None or not unsure:
        return {}
    from .large.labels import Chooser

    manifest = cast(Understudy, version.loaded.model).manifest
    chosen = await Chooser(large, manifest.labels, manifest.descriptions, large.until(call.deadline)).choose([texts[place] for place in unsure])
    call.notes["large"] = chosen[0].why if len({one.why for one in chosen}) == 1 else "mixed"
    if any(one.label is not None for one in chosen):
        call.notes["rung"] = LARGE
    return dict(zip(unsure, chosen, strict=True))


def _sorted_one(model: Understudy, text: str) -> Sorted:
    probs, rung, sure = model.one(text)
    confidence = max(probs)
    label = model.labels[probs.index(confidence)]
    return Sorted(label if sure else None, label, confidence, model.manifest.rungs[rung].name, probs)


def _sorted(model: Understudy, texts: list[str]) -> list[Sorted]:
    if len(texts) == 1:
        return [_sorted_one(model, texts[0])]
    said = model.answer(texts)
    labels, rungs = model.labels, model.manifest.rungs
    best = said.probs.argmax(1)
    return [Sorted(labels[b] if sure else None, labels[b], float(p[b]), rungs[r].name, p.tolist())
            for p, b, r, sure in zip(said.probs, best, said.rung, said.answered, strict=True)]


async def choose_with(call: Call, version: Version, texts: list[str], length: dict[str, Any]) -> list[Summary]:
    """Extractive summaries from a version that is in use."""
    opened = cast(Summariser, version.loaded.model)
    return await in_line(call, version, texts, lambda some: opened.predict(some, **length), tuple(length.items()))


@contextlib.asynccontextmanager
async def leased(call: Call, model: str | None, text: str, *kinds: str) -> AsyncIterator[tuple[Entry, Version]]:
    """A version in use for as long as the block runs, loaded where it is not. Raises what the fleet raises."""
    fleet = call.service.fleet
    entry = fleet.entry(model, *kinds)
    wanted(entry, *kinds)
    version = await _present(call, entry, text)
    with fleet.using(entry, version):
        note(call, entry, version)
        yield entry, version


async def embed_texts(call: Call, model: str | None, texts: list[str]) -> tuple[Entry, np.ndarray, int]:
    """Vectors (n, width) of texts and the tokens that were read. Raises 424 where the model has none to give."""
    async with leased(call, model, texts[0], "classify") as (entry, version):
        opened = cast(Understudy, version.loaded.model)

        def one_by_one(some: list[str]) -> list[tuple[np.ndarray, int]]:
            return [(vectors[0], tokens) for vectors, tokens in (opened.embed([text]) for text in some)]

        try:
            said = await in_line(call, version, texts, one_by_one, "embed")
        except UsageError as problem:
            raise Problem(424, "wrong_kind_of_model", str(problem), param="model", headers=((b"x-should-retry", b"false"),)) from None
        return entry, np.stack([vector for vector, _ in said]), sum(tokens for _, tokens in said)


async def in_line(call: Call, version: Version, texts: list[str], answer: Callable[[list[str]], Any], key: Hashable) -> list[Any]:
    """One answer per text, from the threads that classifiers share."""
    future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    call.service.fleet.pool.submit(cast(Lane, version.lane), Job(texts, answer, key, call.deadline, future))
    return await future


async def _present(call: Call, entry: Entry, text: str) -> Version:
    """The version that answers a text, in memory when this returns: one that was loaded may have had to leave before its request went on."""
    while (version := entry.chosen(text)) is None:
        await _loading(call, entry)
    return version


async def _loading(call: Call, entry: Entry) -> None:
    """Waits until a model was loaded. Raises 503 with Retry-After at the request's deadline: the loading goes on without it."""
    task = asyncio.ensure_future(call.service.fleet.ready(entry))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waits may be gone by then
    try:
        await asyncio.wait_for(asyncio.shield(task), call.deadline - time.monotonic())
    except TimeoutError:
        raise later(503, "model_loading", "the model is still being loaded", 2.0) from None


def note(call: Call, entry: Entry, version: Version) -> None:
    """Remembers for log and metrics who answered."""
    call.notes["model"], call.notes["version"] = entry.name, version.loaded.id[:12]
