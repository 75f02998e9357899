"""A byte-level BPE learned from the user's own text: every string has ids, and every id list gives its string back.

Pieces are split by the pattern of GPT-2, which llama.cpp knows by that name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, BOS, EOS, SEP = "<|pad|>", "<|begin|>", "<|end|>", "<|answer|>"
SPECIALS = (PAD, BOS, EOS, SEP)


def learn_pieces(texts: Iterable[str], count: int, extra: Sequence[str] = ()) -> Tokenizer:
    """A tokenizer of at most `count` pieces: 4 specials, 256 bytes, and merges by frequency. `extra` specials follow the four."""
    tokenizer = _bytewise(models.BPE(unk_token=None, fuse_unk=False))
    trainer = trainers.BpeTrainer(vocab_size=count, special_tokens=[_special(name) for name in (*SPECIALS, *extra)], min_frequency=2,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text; the name of a special in a text is text."""
    tokenizer.encode_special_tokens = True
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def rebuilt(pieces: Sequence[str], merges: Sequence[str], special: Collection[int]) -> str:
    """tokenizer.json of a byte-level BPE from its pieces by id, its merges ("a b", by rank) and the ids of its specials."""
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = _bytewise(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=pairs, fuse_unk=False))
    tokenizer.add_special_tokens([_special(pieces[number]) for number in sorted(special)])
    return tokenizer.to_str()


def special_id(tokenizer: Tokenizer, name: str) -> int:
    """The id of one of the specials."""
    number = tokenizer.token_to_id(name)
    assert number is not None, f"learn_pieces puts {name} in"
    return number


def size_of(tokenizer: Tokenizer) -> int:
    """One more than the highest id."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def difference(ours: Tokenizer, theirs: Tokenizer, texts: Sequence[str] = ()) -> str | None:
    """Where two tokenizers part, in words: their sizes and the first id that is another piece, or the first of `texts` that they split
    differently. None where ids mean the same in both."""
    here, there = ({number: piece for piece, number in one.get_vocab(with_added_tokens=True).items()} for one in (ours, theirs))
    part = next((number for number in sorted(here.keys() | there.keys()) if here.get(number) != there.get(number)), None)
    if part is not None:
        return f"{len(here):,} and {len(there):,} pieces, and the first that differs has the id {part}: {_shown(here, part)} and {_shown(there, part)}"
    for text, left, right in zip(texts, encode(ours, texts), encode(theirs, texts), strict=True):
        if left != right:
            return f"the same {len(here):,} pieces, and {text[:60]!r} becomes {len(left)} of them in one and {len(right)} in the other"
    return None


def _shown(pieces: dict[int, str], number: int) -> str:
    return repr(pieces[number][:40]) if number in pieces else "nothing"


def _bytewise(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _special(name: str) -> AddedToken:
    return AddedToken(name, special=True, normalized=False)
