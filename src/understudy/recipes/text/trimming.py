"""A decoder trimmed to texts, from whatever names it, with what that did to its size, its answers and its speed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ...errors import DataError
from ...run.generate.engine import Engine
from ...run.generate.sampling import Sampling
from ...shrink.decoder_checkpoint import TrimReport, trim_checkpoint
from ...shrink.gguf.write import write_gguf
from .opened import open_decoder

_ASKED, _LETTERS, _TOKENS = 5, 60, 32


@dataclass(frozen=True)
class Trimmed:
    """What trimming did, and a comparison in llama.cpp at f16: `same` of `asked` beginnings of the texts are continued by the same text.

    Speeds are greedy tokens a second; `trouble` says why nothing was compared, where nothing was.
    """

    report: TrimReport
    same: int = 0
    asked: int = 0
    tokens_per_s: float = 0.0
    tokens_per_s_before: float = 0.0
    trouble: str | None = None

    def lines(self) -> list[str]:
        """The report in words, a line each."""
        if self.trouble:
            return [*self.report.lines(), f"answers and speed were not compared: {self.trouble}"]
        return [*self.report.lines(), f"answers     {self.same} of {self.asked} texts continued alike; {self.tokens_per_s:,.0f} tokens/s, before "
                f"{self.tokens_per_s_before:,.0f}"]


def trim(model: str, texts: Iterable[str], out: str | Path, *, most: int | None = None, multiple: int = 1, drop_reserved: bool = False) -> Trimmed:
    """Trims `model` (a Hugging Face folder or hub id; a bundle or `.gguf` of ours) to what the texts need and writes the folder `out`.

    `texts` may be iterated more than once. Raises UnderstudyError.
    """
    folder = open_decoder(model).folder
    report = trim_checkpoint(folder, texts, out, most=most, multiple=multiple, drop_reserved=drop_reserved)
    # Cut between words: half a word may be split into pieces that no text needs.
    prompts = [text if len(text) <= _LETTERS else text[: text.rfind(" ", 1, _LETTERS) + 1].rstrip() or text for text in islice(texts, _ASKED)]
    with TemporaryDirectory(prefix="understudy-") as scratch:
        said: list[list[str]] = []
        speeds: list[float] = []
        for source in (folder, Path(out)):
            packed = Path(scratch) / "model.gguf"
            packed.unlink(missing_ok=True)
            try:
                write_gguf(source, packed, precision="f16")
            except DataError as problem:
                return Trimmed(report, trouble=str(problem))
            with Engine.open(packed, threads=1) as engine:
                done = [engine.complete(prompt, Sampling(max_tokens=_TOKENS)) for prompt in prompts]
            said.append([one.text for one in done])
            speeds.append(median([one.tokens_per_second for one in done if one.tokens_per_second] or [0.0]))
    return Trimmed(report, sum(a == b for a, b in zip(*said, strict=True)), len(prompts), speeds[1], speeds[0])

