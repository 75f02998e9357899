"""What training starts from: a fresh decoder with pieces of its own or of a teacher, or somebody's checkpoint, whole or pruned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import DataError, TeacherError
from ...home import cache_dir
from ...models.based import Based
from ...models.decoder import Decoder, save_hub
from ...models.pieces import BOS, EOS, PAD, SEP, encode, learn_pieces, special_id
from ...models.prune import prune
from ...run.generate.chat_templates import CHAT_TEMPLATES, begins
from ...shrink.model_folder import read_object
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import ROLES, Conversation
from ...teach.language import LanguageConfig
from ..events import Event, Listener
from .config import SIZES, TextConfig
from .encoding import Marks, Split, turns_of
from .opened import Opened

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TURNS = tuple(f"<|{role}|>" for role in ROLES)
_ADAPTER_RATE = 1e-3
_FULL_RATE = 5e-5
_HEALING_RATE = 5e-4
"""Of a base that lost layers or width: nearer to that of a fresh model than to fine-tuning."""
_SAMPLE = 30_000_000
"""Characters that the pieces are learned from."""
_PRUNED_TEXTS, _PRUNED_TOKENS = 128, 256
"""Texts, and tokens of each, that say what of a base matters."""


@dataclass(frozen=True)
class Start:
    """A model that is ready to be trained: `split` makes ids of texts, `save(folder)` writes a Hugging Face checkpoint of it as it is then,
    `loop` is how its kind is trained, `what` changes whenever it starts from something else."""

    model: Decoder | Based
    tokenizer: Tokenizer
    split: Split
    marks: Marks
    save: Callable[[Path], None]
    parameters: int
    context: int
    loop: LanguageConfig
    what: str


def from_scratch(rows: Sequence[Pair | Conversation], config: TextConfig, teacher: Opened | None, listen: Listener) -> Start:
    """A decoder of the dial's size, with pieces learned from the rows, or with those of a teacher whose probabilities it will learn."""
    size, talking = SIZES[config.size], isinstance(rows[0], Conversation)
    context = min(config.context, teacher.context) if teacher else config.context
    if teacher:
        tokenizer, pieces = teacher.tokenizer, teacher.pieces
        marks, template = marks_of(teacher, talking)
        pad = teacher.config.get("pad_token_id")
    else:
        tokenizer = learn_pieces(_sample(rows), config.pieces or size.pieces, TURNS if talking else ())
        pieces, pad, template = tokenizer.get_vocab_size(), special_id(tokenizer, PAD), None
        marks = Marks(special_id(tokenizer, BOS), special_id(tokenizer, SEP), special_id(tokenizer, EOS),
                      {role: special_id(tokenizer, f"<|{role}|>") for role in ROLES} if talking else {})
    torch.manual_seed(config.seed)
    model = Decoder(size.shape(pieces, context))
    dropout, smoothing = _against_overfitting(rows, config, teacher is not None)
    listen(Event("write", f"{pieces:,} pieces, {model.shape.parameters:,} parameters"
                          + (f", dropout {dropout:g}, smoothing {smoothing:g}" if dropout or smoothing else "")
                          + (f"; the pieces are those of {teacher.name}" if teacher else "")))
    begin, end = teacher.ends() if teacher else (marks.begin, marks.end)

    def save(folder: Path) -> None:
        save_hub(model, tokenizer.to_str(), folder, bos=begin, eos=end, pad=pad)
        _tell(folder, marks, template)

    return Start(model, tokenizer, lambda texts: encode(tokenizer, texts), marks, save, model.shape.parameters, context,
                 LanguageConfig(epochs=config.epochs, dropout=dropout, smoothing=smoothing), str(asdict(model.shape)) + (teacher.fingerprint if teacher else ""))


def _against_overfitting(rows: Sequence[Pair | Conversation], config: TextConfig, taught: bool) -> tuple[float, float]:
    """(dropout, smoothing). A tenth of each is worth 2 BLEU where pairs are passed several times; text is passed a few times at most.

    A teacher's probabilities say where the goal is to be spread: with those it is not smoothed besides.
    """
    usual = 0.1 if isinstance(rows[0], Pair) and rows[0].source else 0.0
    return usual if config.dropout is None else config.dropout, (0.0 if taught else usual) if config.smoothing is None else config.smoothing


def from_base(base: Opened, talking: bool, config: TextConfig, listen: Listener, *, pruned: bool = False) -> Start:
    """A checkpoint: adapters on its layers, or all its weights where the config says so or it is `pruned`."""
    marks, template = marks_of(base, talking)
    full = config.full or pruned
    torch.manual_seed(config.seed)
    model = Based(base.folder, full=full)
    rate = _HEALING_RATE if pruned else _FULL_RATE if full else _ADAPTER_RATE
    loop = LanguageConfig(epochs=config.epochs, rate=rate, embedding_rate=rate, muon=False, tokens=2048, warm_up=0.05,
                          smoothing=config.smoothing or 0.0)
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters()) - (0 if full else learned)
    listen(Event("write", f"{base.name}: {whole:,} parameters" + (f", {learned:,} of them learn" if full else f" and {learned:,} in adapters")))

    def save(folder: Path) -> None:
        model.save(folder)
        _tell(folder, marks, template)

    return Start(model, base.tokenizer, base.split, marks, save, whole, min(config.context, model.context), loop, base.fingerprint + str(full))


def marks_of(opened: Opened, talking: bool) -> tuple[Marks, str | None]:
    """(how prompts for this checkpoint are made, the name of the chat template of ours that they follow or None).

    A bundle says it itself. For another checkpoint a line break stands between source and answer, and a chat follows our template of
    its family, or plain words where it has none. Raises TeacherError where the checkpoint names no token that ends a text.
    """
    begin, end = opened.ends()
    told = opened.prompt
    if told and talking == (told.form == "chat"):
        mark = opened.tokenizer.token_to_id(SEP) if told.mark is None else told.mark
        return Marks(told.begin, None if talking else mark, told.end if told.end is not None else end, told.roles, told.turns), None
    if not talking:
        mark = opened.tokenizer.token_to_id(SEP)
        return Marks(begin, opened.split(["\n"])[0][-1] if mark is None else mark, end, {}), None
    name = opened.template()
    for template in ("lines" if name == "plain" else name, "lines"):
        turns = turns_of(template, opened.tokenizer, end)
        assistant = turns["assistant"] if turns else None
        if assistant:
            return Marks(begin if begins(template) else None, None, assistant.after[0], {}, turns), template
    raise TeacherError(f"the token {opened.tokenizer.id_to_token(end)!r} that ends a text is no special token in {opened.folder}/tokenizer.json, "
                       "so a user could write it", hint="mark it as special there")


def _tell(folder: Path, marks: Marks, template: str | None) -> None:
    """Puts what ends an answer, and our template, beside a chat's weights; a template that came with the checkpoint goes."""
    if marks.turns is None:
        return
    for name in ("chat_template.jinja", "chat_template.json"):
        (folder / name).unlink(missing_ok=True)
    settings = read_object(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **({"chat_template": CHAT_TEMPLATES[template]} if template else {})}, indent=1) + "\n")
    where = folder / "generation_config.json"
    told = read_object(where) if where.is_file() else {}
    ends = told.get("eos_token_id", read_object(folder / "config.json").get("eos_token_id"))
    every = dict.fromkeys([marks.end, *(ends if isinstance(ends, list) else [ends])])
    where.write_text(json.dumps({**told, "eos_token_id": [one for one in every if one is not None]}, indent=1) + "\n")


def smaller(base: Opened, config: TextConfig, texts: Sequence[str], listen: Listener) -> Opened:
    """The base with fewer layers or less width, chosen by these texts; made once and kept."""
    ids = [one[:_PRUNED_TOKENS] for one in base.split(list(texts[:_PRUNED_TEXTS])) if one]
    if not ids:
        raise DataError("there is no text to see by what the base does with it", hint="bring rows that are not empty")
    key = hashlib.sha256(json.dumps([base.fingerprint, config.keep_layers, config.keep_width, ids]).encode()).hexdigest()
    folder = cache_dir("pruned") / key[:32]
    if not (folder / "pruned.json").is_file():
        before, after = prune(base.folder, folder, ids, layers=config.keep_layers, share=config.keep_width)
        (folder / "pruned.json").write_text(json.dumps({"before": str(before), "after": str(after)}))
    told = read_object(folder / "pruned.json")
    listen(Event("write", f"{base.name}: {told['before']} -> {told['after']}"))
    return replace(base, folder=folder)


def texts_of(rows: Sequence[Pair | Conversation]) -> Iterator[str]:
    """Every text of the rows that is not empty."""
    for row in rows:
        yield from (text for text in ((row.source, row.target) if isinstance(row, Pair) else [text for _, text in row.turns]) if text)


def _sample(rows: Sequence[Pair | Conversation]) -> Iterator[str]:
    used = 0
    for text in texts_of(rows):
        if used > _SAMPLE:
            return
        yield text
        used += len(text)
