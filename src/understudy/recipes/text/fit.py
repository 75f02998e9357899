"""From checked pairs to a trained decoder: pieces learned from the text, sequences, the loop, the best weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ...errors import DataError, UsageError
from ...home import cache_dir
from ...models.based import Based
from ...models.checkpoint import find_checkpoint, fingerprint
from ...models.decoder import Decoder, save_hub
from ...models.pieces import BOS, EOS, PAD, SEP, encode, learn_pieces, special_id
from ...shrink.model_folder import read_file
from ...shrink.whole_tokenizer import MAX_TOKENIZER
from ...shrink.whole_tokenizer import opened as open_tokenizer
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import ROLES, Conversation
from ...teach.language import LanguageConfig, Progress, evaluate, train_language
from ...teach.sequences import Sequences, cut, sequences_of
from ..events import Event, Listener
from .config import SIZES, TextConfig

TURNS = tuple(f"<|{role}|>" for role in ROLES)
_HELD = 400
_ADAPTER_RATE = 1e-3
_FULL_RATE = 5e-5
_SAMPLE = 30_000_000
"""Characters that the pieces are learned from."""


@dataclass(frozen=True)
class Marks:
    """The token ids that a prompt is made with: before everything, between the source and the answer, after the answer, by role."""

    begin: int | None
    mark: int | None
    end: int
    roles: dict[str, int]


@dataclass(frozen=True)
class Fitted:
    """A trained decoder: `save(folder)` writes it as a Hugging Face checkpoint, `encode` splits texts as it does.

    `nats` is the held-out loss per predicted token, `tokens` what it was trained on.
    """

    save: Callable[[Path], None]
    encode: Callable[[Sequence[str]], list[list[int]]]
    marks: Marks
    parameters: int
    context: int
    nats: float
    tokens: int
    steps: int


def fit(train: Sequence[Pair | Conversation], config: TextConfig, seconds: float | None, listen: Listener, stop: Callable[[], bool]) -> Fitted:
    """Trains a decoder on pairs (an empty source: plain text) or on conversations. Interrupted runs go on where they were."""
    if config.base:
        return _from_base(train, config, seconds, listen, stop)
    size = SIZES[config.size]
    talking = isinstance(train[0], Conversation)
    tokenizer = learn_pieces(_sample(train), config.pieces or size.pieces, TURNS if talking else ())
    marks = Marks(special_id(tokenizer, BOS), special_id(tokenizer, SEP), special_id(tokenizer, EOS),
                  {role: special_id(tokenizer, f"<|{role}|>") for role in ROLES} if talking else {})

    def split(texts: Sequence[str]) -> list[list[int]]:
        return encode(tokenizer, texts)

    torch.manual_seed(config.seed)
    model = Decoder(size.shape(tokenizer.get_vocab_size(), config.context))
    pad = special_id(tokenizer, PAD)
    dropout, smoothing = _against_overfitting(train, config)
    loop = LanguageConfig(epochs=config.epochs, seconds=seconds, dropout=dropout, smoothing=smoothing)
    listen(Event("write", f"{tokenizer.get_vocab_size():,} pieces, {model.shape.parameters:,} parameters"
                          + (f", dropout {dropout:g}, smoothing {smoothing:g}" if dropout or smoothing else "")))
    nats, tokens, steps = _run(model, encoded(train, split, marks, config.context), loop, config, listen, stop, str(asdict(model.shape)))
    return Fitted(lambda folder: save_hub(model, tokenizer.to_str(), folder, bos=special_id(tokenizer, BOS), eos=special_id(tokenizer, EOS), pad=pad),
                  split, marks, model.shape.parameters, config.context, nats, tokens, steps)


def _against_overfitting(train: Sequence[Pair | Conversation], config: TextConfig) -> tuple[float, float]:
    """(dropout, smoothing). A tenth of each is worth 2 BLEU where pairs are passed several times; text is passed a few times at most."""
    usual = 0.1 if isinstance(train[0], Pair) and train[0].source else 0.0
    for name, value in (("dropout", config.dropout), ("smoothing", config.smoothing)):
        if value is not None and not 0 <= value < 1:
            raise UsageError(f"--{name} is {value:g}, and nothing would be learned", hint="a share from 0 to below 1; 0.1 is usual")
    return usual if config.dropout is None else config.dropout, usual if config.smoothing is None else config.smoothing


def _from_base(train: Sequence[Pair | Conversation], config: TextConfig, seconds: float | None, listen: Listener, stop: Callable[[], bool]) -> Fitted:
    """The same for a checkpoint: adapters on its layers, or all its weights, and a line break between source and answer."""
    if config.dropout:
        raise UsageError(f"--dropout {config.dropout:g} is for models from scratch; a base keeps its layers as they are", hint="leave it out")
    if isinstance(train[0], Conversation):
        raise UsageError("chat cannot be trained on a base yet", hint="--task generate with prompt and answer columns, or chat from scratch")
    folder = find_checkpoint(str(config.base))
    where = folder / "tokenizer.json"
    tokenizer = open_tokenizer(read_file(where, MAX_TOKENIZER), str(where))
    tokenizer.encode_special_tokens = True  # names of its specials in a text are text
    torch.manual_seed(config.seed)
    model = Based(folder, full=config.full)
    begin, end = model.marks()
    marks = Marks(begin, tokenizer.encode("\n", add_special_tokens=False).ids[-1], end, {})

    def split(texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    context = min(config.context, model.context)
    rate = _FULL_RATE if config.full else _ADAPTER_RATE
    loop = LanguageConfig(epochs=config.epochs, seconds=seconds, rate=rate, embedding_rate=rate, muon=False, tokens=2048, warm_up=0.05,
                          smoothing=config.smoothing or 0.0)
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters()) - (0 if config.full else learned)
    listen(Event("write", f"{config.base}: {whole:,} parameters" + (f", {learned:,} of them learn" if config.full else f" and {learned:,} in adapters")))
    nats, tokens, steps = _run(model, encoded(train, split, marks, context), loop, config, listen, stop, fingerprint(folder) + str(config.full))
    return Fitted(model.save, split, marks, whole, context, nats, tokens, steps)


def _run(model: Decoder | Based, sequences: Sequences, loop: LanguageConfig, config: TextConfig, listen: Listener, stop: Callable[[], bool],
         what: str) -> tuple[float, int, int]:
    """Trains; (held-out nats, training tokens, steps)."""
    if not len(sequences):
        raise DataError("no row is short enough for the context", hint=f"raise --context above {config.context}")
    rng = np.random.default_rng([config.seed, 7])
    held_rows = rng.permutation(len(sequences))[: min(_HELD, len(sequences) // 20)]
    held, rest = subset(sequences, held_rows), subset(sequences, np.setdiff1d(np.arange(len(sequences)), held_rows))
    listen(Event("write", f"{len(rest.ids):,} tokens to learn from"))
    key = _key(rest, what, loop, config.seed)
    last = train_language(model, rest, loop, config.seed, state=cache_dir("runs") / f"{key[:32]}.safetensors", key=key, stop=stop,
                          progress=lambda now: listen(Event("write", _line(now), now.share)), trouble=lambda text: listen(Event("write", text)))
    nats = evaluate(model, held) if len(held) else float("nan")
    listen(Event("write", f"{last.step:,} steps, loss {last.loss:.3f}" + (f", held-out loss {nats:.3f} nats a token" if len(held) else "")))
    return nats, len(rest.ids), last.step


def encoded(rows: Sequence[Pair | Conversation], split: Callable[[Sequence[str]], list[list[int]]], marks: Marks, context: int) -> Sequences:
    """Begin, source, mark | target, end. Plain text has no source and no mark; long text is cut, long pairs are left out.

    Of a conversation the assistant's turns are learned; of one that is too long, its beginning.
    """
    talks = [row for row in rows if isinstance(row, Conversation)]
    if talks:
        return sequences_of([one for talk in talks if (one := _turns(talk, split, marks, context))])
    pairs = [row for row in rows if isinstance(row, Pair)]
    begin = [marks.begin] if marks.begin is not None else []
    mark = [marks.mark] if marks.mark is not None else []
    sources, targets = split([pair.source for pair in pairs]), split([pair.target for pair in pairs])
    parts = [[([*begin, *source, *mark] if source else begin, False), ([*target, marks.end], True)]
             for source, target in zip(sources, targets, strict=True)]
    if any(sources):
        return sequences_of([one for one in parts if sum(len(stretch) for stretch, _ in one) <= context])
    return cut(sequences_of(parts), context)


def _turns(talk: Conversation, split: Callable[[Sequence[str]], list[list[int]]], marks: Marks, context: int) -> list[tuple[list[int], bool]]:
    made: list[tuple[list[int], bool]] = [([marks.begin] if marks.begin is not None else [], False)]
    room = context - 1
    for (role, _), ids in zip(talk.turns, split([text for _, text in talk.turns]), strict=True):
        room -= len(ids) + 2
        if room < 0:
            break
        made += [([marks.roles[role]], False), ([*ids, marks.end], role == "assistant")]
    return made if any(wanted for _, wanted in made) else []


def subset(sequences: Sequences, rows: np.ndarray) -> Sequences:
    """Some of the sequences, in the order of `rows`."""
    lengths = sequences.lengths[rows]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    at = np.repeat(sequences.starts[:-1][rows] - starts[:-1], lengths) + np.arange(starts[-1])
    return Sequences(sequences.ids[at], sequences.wanted[at], starts)


def _sample(rows: Sequence[Pair | Conversation]) -> Iterator[str]:
    used = 0
    for row in rows:
        for text in (row.source, row.target) if isinstance(row, Pair) else [text for _, text in row.turns]:
            if text:
                yield text
                used += len(text)
        if used > _SAMPLE:
            return


def _key(sequences: Sequences, what: str, loop: LanguageConfig, seed: int) -> str:
    # Without the time: what reading took differs from run to run, and a run that goes on may be given more.
    told = json.dumps([what, {**asdict(loop), "seconds": None}, seed], sort_keys=True).encode()
    return hashlib.sha256(told + sequences.ids.tobytes() + sequences.starts.tobytes()).hexdigest()


def _line(now: Progress) -> str:
    return f"loss {now.loss:.3f}, {now.rate:,.0f} tokens/s, {now.left / 60:.0f} min left"
