"""Whether a trimmed decoder still says what the whole one says: logits of the kept pieces side by side, and the greedy text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, TeacherError, missing_extra


@dataclass(frozen=True)
class PromptRun:
    """One prompt through both models.

    `steps` greedy tokens were compared; `difference` is the largest |Δ logit| over kept pieces. `left_at` is the step at
    which the whole model chose a piece that is gone, `left_for` that piece, both None when it never did. `differs_at` is the
    first step at which the trimmed model chose another kept piece. `resplit`: the trimmed tokenizer splits the prompt
    differently, so nothing was compared. `text` is the whole model's text of the compared steps.
    """

    prompt: str
    steps: int
    difference: float
    left_at: int | None
    left_for: str | None
    differs_at: int | None
    resplit: bool
    text: str


@dataclass(frozen=True)
class SameGeneration:
    """All prompts of a comparison."""

    runs: tuple[PromptRun, ...]

    @property
    def same(self) -> bool:
        """Every prompt was compared, and no step chose another piece."""
        return all(not run.resplit and run.differs_at is None and run.left_at is None for run in self.runs)

    @property
    def difference(self) -> float:
        """The largest |Δ logit| over kept pieces, 0.0 when they are equal bit for bit."""
        return max((run.difference for run in self.runs), default=0.0)

    def lines(self) -> list[str]:
        """The comparison in words."""
        steps = sum(run.steps for run in self.runs)
        out = [f"{len(self.runs)} prompts, {steps} greedy tokens compared, largest difference of a kept logit {self.difference:.3g}"]
        for run in self.runs:
            start = repr(run.prompt if len(run.prompt) <= 40 else run.prompt[:37] + "...")
            if run.resplit:
                out.append(f"{start}: split differently by the trimmed tokenizer; not compared")
            if run.differs_at is not None:
                out.append(f"{start}: token {run.differs_at + 1} differs")
            if run.left_at is not None:
                out.append(f"{start}: at token {run.left_at + 1} the whole model chose {run.left_for!r}, "
                           "which is not in the vocabulary any more")
        return out


def same_generation(original: Path | str, trimmed: Path | str, prompts: Iterable[str], tokens: int = 32) -> SameGeneration:
    """Greedy decoding of both folders beside each other, in float32 on the CPU, both fed the whole model's choices.

    A prompt stops at `tokens` tokens, at the end of text, or where the whole model leaves the trimmed vocabulary. Raises
    TeacherError for folders that transformers cannot open or whose pieces do not match, MissingExtraError without torch.
    """
    try:
        import torch
    except ImportError:
        raise missing_extra("Comparing generations", "train") from None
    whole_reader, whole = _opened(Path(original))
    small_reader, small = _opened(Path(trimmed))
    old = whole_reader.get_vocab(with_added_tokens=True)
    rows = small.get_output_embeddings().weight.shape[0]
    try:
        keep = [old[piece] for piece, _ in sorted(small_reader.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])[:rows]]
    except KeyError as problem:
        raise TeacherError(f"{trimmed} has the piece {problem} and {original} has not: it was not trimmed from it") from None
    ends = whole.generation_config.eos_token_id
    compare = _Compare(torch, whole_reader, small_reader, whole, small, keep, set(ends if isinstance(ends, list) else [ends]))
    with torch.inference_mode():
        return SameGeneration(tuple(compare.run(prompt, tokens) for prompt in prompts))


def _opened(folder: Path) -> tuple[Any, Any]:
    from .model_folder import read_file
    from .whole_tokenizer import MAX_TOKENIZER, opened

    reader = opened(read_file(folder / "tokenizer.json", MAX_TOKENIZER), str(folder / "tokenizer.json"))
    try:
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    except ImportError:
        raise missing_extra("Comparing generations", "train") from None
    except Exception as problem:
        if isinstance(problem, MissingExtraError):
            raise
        reason = (str(problem).splitlines() or [repr(problem)])[0]
        raise TeacherError(f"{folder} cannot be opened by transformers: {reason}") from None
    return reader, model


@dataclass(frozen=True)
class _Compare:
    torch: Any
    whole_reader: Any
    small_reader: Any
    whole: Any
    small: Any
    keep: list[int]
    ends: set[int | None]

    def run(self, prompt: str, tokens: int) -> PromptRun:
        ids = self.whole_reader.encode(prompt).ids
        new_id = {old: new for new, old in enumerate(self.keep)}
        small_ids = self.small_reader.encode(prompt).ids
        if not ids or [new_id.get(old) for old in ids] != small_ids:
            return PromptRun(prompt, 0, 0.0, None, None, None, bool(ids), "")
        columns = self.torch.tensor(self.keep)
        feed, small_feed, cache, small_cache = ids, small_ids, None, None
        said: list[int] = []
        difference, differs_at = 0.0, None
        while len(said) < tokens:
            first = self.whole(input_ids=self.torch.tensor([feed]), past_key_values=cache, use_cache=True)
            second = self.small(input_ids=self.torch.tensor([small_feed]), past_key_values=small_cache, use_cache=True)
            cache, small_cache = first.past_key_values, second.past_key_values
            difference = max(difference, float((first.logits[0][:, columns] - second.logits[0][:, :len(columns)]).abs().max()))
            chosen = int(first.logits[0, -1].argmax())
            if chosen not in new_id:
                return PromptRun(prompt, len(said), difference, len(said), self.whole_reader.id_to_token(chosen), differs_at, False,
                                 self.whole_reader.decode(said))
            if differs_at is None and int(second.logits[0, -1].argmax()) != new_id[chosen]:
                differs_at = len(said)
            said.append(chosen)
            if chosen in self.ends:
                break
            feed, small_feed = [chosen], [new_id[chosen]]
        return PromptRun(prompt, len(said), difference, None, None, differs_at, False, self.whole_reader.decode(said))
