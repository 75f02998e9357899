"""What a larger model writes for the training sources: more pairs to learn from (Kim and Rush 2016, arXiv 1606.07947).

Every answer is kept on disk under the teacher's fingerprint, the instruction and the text, so that a second run asks for nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ...bundle import open_bundle
from ...errors import TeacherError, UsageError
from ...home import cache_dir
from ...run.chatting import open_chat
from ...run.generate.sampling import Sampling
from ...run.writing import Writer
from ...tasks.reading.pairs import Pair
from ..events import Event, Listener
from .engines import gguf_of

_BATCH = 32


def taught(pairs: Sequence[Pair], extra: Sequence[str], teacher: str, task: str, instruction: str | None, longest: int, listen: Listener,
           stop: Callable[[], bool]) -> list[Pair]:
    """A pair with the teacher's answer for every source of `pairs` and every text of `extra`; where it says the same as a gold target, none.

    `teacher` is a bundle for the same task, or a model that chats: that one is given the `instruction` and the text. `longest`
    bounds an answer in tokens; cut answers are not learned. Raises TeacherError for a teacher that does not fit.
    """
    sources = list(dict.fromkeys([*(pair.source for pair in pairs), *extra]))
    known = {(pair.source, reference) for pair in pairs for reference in pair.references}
    key, answer = _teacher(teacher, task, instruction, longest)
    path = cache_dir("answers") / f"{key[:32]}.jsonl"
    said = _read(path)
    left = [source for source in sources if source not in said]
    with answer() as ask, path.open("a", encoding="utf-8") as kept:
        for start in range(0, len(left), _BATCH):
            if stop():
                break
            some = left[start:start + _BATCH]
            for source, text in zip(some, ask(some), strict=True):
                said[source] = text
                kept.write(json.dumps([source, text], ensure_ascii=False) + "\n")
            kept.flush()
            listen(Event("teacher", f"{start + len(some):,} of {len(left):,} answers", (start + len(some)) / len(left)))
    found = [Pair(source, text) for source in sources if (text := said.get(source)) and (source, text) not in known]
    listen(Event("teacher", f"{teacher}: {len(found):,} answers to learn from, {len(left):,} asked now"))
    return found


def _read(path: Path) -> dict[str, str | None]:
    """Kept answers; a line cut short by a kill is left out."""
    found: dict[str, str | None] = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            source, text = json.loads(line)
        except ValueError:
            continue
        found[source] = text
    return found


def _teacher(teacher: str, task: str, instruction: str | None, longest: int) -> tuple[str, Callable]:
    """(what its answers depend on, a context manager that gives texts → answers)."""
    if (Path(teacher) / "manifest.json").is_file():
        bundle = open_bundle(teacher)
        if bundle.manifest.task != task or bundle.manifest.rungs[-1].kind != "gguf":
            raise TeacherError(f"the teacher {teacher} was made for the task {bundle.manifest.task} and this one is {task}",
                               hint="a bundle teaches its own task; a model that chats can be told any: --instruction")

        @contextmanager
        def by_bundle() -> Iterator[Callable[[list[str]], list[str | None]]]:
            with Writer(bundle) as writer:
                yield lambda texts: [one.text if one.finish != "length" else None
                                     for one in writer.predict(texts, Sampling(max_tokens=longest))]

        return _hashed(bundle.manifest.id, task, longest), by_bundle
    if not instruction:
        raise UsageError(f"the teacher {teacher} has to be told what to do", hint='--instruction "Translate into German. Answer with the translation alone."')
    path = gguf_of(teacher)

    @contextmanager
    def by_chat() -> Iterator[Callable[[list[str]], list[str | None]]]:
        with open_chat(path, slots=2) as chat, ThreadPoolExecutor(2) as pool:
            yield lambda texts: list(pool.map(lambda text: chat.once(f"{instruction}\n\n{text}", Sampling(max_tokens=longest, stop=chat.stop)), texts))

    return _hashed(hashlib.sha256(path.read_bytes()).hexdigest(), instruction, longest), by_chat


def _hashed(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
