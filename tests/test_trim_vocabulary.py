"""Trimming a decoder's vocabulary: the same pieces for the texts, the same string for every other text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from trim_helpers import DOMAIN, KINDS, WIDE, byte_level, sentencepiece
from understudy.errors import DataError, ParityError, TeacherError, UsageError
from understudy.shrink.corpus import texts_of
from understudy.shrink.decoder_vocabulary import trim_tokenizer
from understudy.shrink.piece_models import Bpe, piece_model

CACHE: dict = {}


def trimmed(kind: str):
    """(the whole tokenizer, the trimmed one, the trimming), once per kind."""
    if kind not in CACHE:
        done = trim_tokenizer(KINDS[kind]().encode(), DOMAIN)
        CACHE[kind] = Tokenizer.from_str(KINDS[kind]()), Tokenizer.from_str(done.tokenizer.decode()), done
    return CACHE[kind]


kinds = pytest.mark.parametrize("kind", sorted(KINDS))


@kinds
def test_the_texts_keep_their_pieces_and_their_order(kind):
    whole, small, done = trimmed(kind)
    assert len(DOMAIN) > 3
    for text in DOMAIN:
        old, new = whole.encode(text), small.encode(text)
        assert old.ids == done.keep[new.ids].tolist() and old.tokens == new.tokens
    assert done.changed == 0 and done.tokens_before == done.tokens_after == sum(len(whole.encode(text, add_special_tokens=False).ids) for text in DOMAIN)
    assert len(done.keep) < done.pieces_before == whole.get_vocab_size() and (np.diff(done.keep) > 0).all()
    for special in ("<|begin|>", "<|end|>", "<|turn|>", "<table>"):
        assert done.keep[small.token_to_id(special)] == whole.token_to_id(special)


@kinds
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_part_of_the_texts_that_starts_and_ends_with_a_word_keeps_its_pieces(kind, data):
    whole, small, done = trimmed(kind)
    words = data.draw(st.sampled_from(DOMAIN)).split(" ")
    text = " ".join(data.draw(st.permutations(words[1:])))
    old, new = whole.encode(f"{words[0]} {text}").ids, small.encode(f"{words[0]} {text}").ids
    if set(old) <= set(done.keep.tolist()):
        assert old == done.keep[new].tolist()


@kinds
@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.text(max_size=40) | st.lists(st.sampled_from(" ".join(WIDE).split(" ")), max_size=8).map(" ".join))
def test_any_text_at_all_comes_back_as_it_did(kind, text):
    whole, small, _ = trimmed(kind)
    text = text.encode("utf-8", "replace").decode("utf-8")
    assert small.decode(small.encode(text).ids, skip_special_tokens=False) == whole.decode(whole.encode(text).ids, skip_special_tokens=False)


@kinds
def test_a_cap_drops_the_rarest_and_texts_still_come_back(kind):
    whole = KINDS[kind]()
    full = trimmed(kind)[2]
    most = len(full.keep) - 25
    done = trim_tokenizer(whole.encode(), iter(DOMAIN), most=most)
    small = Tokenizer.from_str(done.tokenizer.decode())
    assert len(done.keep) == most and 0 < done.changed <= len(DOMAIN) and done.tokens_after > done.tokens_before
    reader = Tokenizer.from_str(whole)
    for text in [*DOMAIN, *WIDE[-6:]]:
        assert small.decode(small.encode(text).ids) == reader.decode(reader.encode(text).ids)
    assert trim_tokenizer(whole.encode(), DOMAIN, most=len(full.keep)).changed == 0


def test_the_rarest_piece_goes_first():
    texts = [" harbour"] * 9 + [" repaired"]
    full = trim_tokenizer(byte_level().encode(), texts)
    done = trim_tokenizer(byte_level().encode(), texts, most=len(full.keep) - 1)
    assert "Ġharbour" in Tokenizer.from_str(done.tokenizer.decode()).encode(" harbour").tokens
    assert done.changed == 1


def test_spare_texts_stay_whole_under_any_cap():
    done = trim_tokenizer(byte_level().encode(), DOMAIN, most=320, spare=[" harbour crane"])
    small = Tokenizer.from_str(done.tokenizer.decode())
    assert len(done.keep) == 320
    assert small.encode(" harbour crane").tokens == Tokenizer.from_str(byte_level()).encode(" harbour crane").tokens


@pytest.mark.parametrize(("most", "multiple"), [(None, 64), (400, 64), (None, 1)])
def test_a_multiple_is_reached_with_real_pieces(most, multiple):
    done = trim_tokenizer(byte_level().encode(), DOMAIN, most=most, multiple=multiple)
    assert len(done.keep) % multiple == 0 and len(done.keep) <= (most or 10**6)
    assert len(set(done.keep.tolist())) == len(done.keep)


def test_merges_keep_their_order_and_every_survivor():
    told, small = json.loads(byte_level()), json.loads(trimmed("byte-level")[2].tokenizer)
    pieces = small["model"]["vocab"]
    assert small["model"]["merges"] == [[a, b] for a, b in told["model"]["merges"] if a in pieces and b in pieces and a + b in pieces]
    assert {key: value for key, value in small["model"].items() if key not in ("vocab", "merges")} == \
           {key: value for key, value in told["model"].items() if key not in ("vocab", "merges")}


def test_without_the_merge_path_the_check_catches_it(monkeypatch):
    monkeypatch.setattr(Bpe, "path", lambda self, piece: set())
    with pytest.raises(ParityError, match=r"splits the text '.*' differently"):
        trim_tokenizer(sentencepiece().encode(), DOMAIN)


def test_early_files_write_merges_with_a_space_and_no_type():
    told = json.loads(byte_level())
    told["model"]["merges"] = [" ".join(pair) for pair in told["model"]["merges"]]
    done = trim_tokenizer(json.dumps(told).encode(), DOMAIN)
    assert isinstance(json.loads(done.tokenizer)["model"]["merges"][0], str)
    assert done.keep.tolist() == trimmed("byte-level")[2].keep.tolist()
    del told["model"]["type"]
    assert isinstance(piece_model(told, "it"), Bpe)


def test_prefixes_and_suffixes_of_words_are_followed():
    vocabulary = {piece: old for old, piece in enumerate(["l", "##o", "##w", "##w</w>", "##ow</w>", "low</w>", "##ow", "z", "low"])}
    model = piece_model({"model": {"type": "BPE", "vocab": vocabulary, "merges": [["##o", "##w</w>"], ["##o", "##w"], ["l", "##ow</w>"]],
                                   "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"}}, "it")
    assert model.path("low</w>") == {0, 1, 3, 4}
    assert model.path("low") == set()


def test_an_empty_added_token_is_none():
    told = json.loads(byte_level())
    told["added_tokens"][-1]["content"] = ""
    assert trim_tokenizer(json.dumps(told).encode(), DOMAIN).changed == 0


def test_placeholders_go_when_asked():
    reader = Tokenizer.from_str(byte_level())
    reader.add_special_tokens(["<unused0>", "<|reserved_special_token_1|>", "<|keep_me|>", "<unused1>"])
    done = trim_tokenizer(reader.to_str().encode(), [*DOMAIN, "see <unused1>"], drop_reserved=True)
    left = Tokenizer.from_str(done.tokenizer.decode()).get_vocab()
    assert {"<|keep_me|>", "<unused1>"} <= left.keys() and not {"<unused0>", "<|reserved_special_token_1|>"} & left.keys()
    assert "<unused0>" in Tokenizer.from_str(trim_tokenizer(reader.to_str().encode(), DOMAIN).tokenizer.decode()).get_vocab()


def test_the_unknown_edge_of_a_unigram_does_not_become_cheaper():
    pieces = [["<unk>", 0.0], *[[f"<0x{value:02X}>", 0.0] for value in range(256)], ["ab", -8.0], ["cd", -8.0], ["ef", -8.0],
              ["bcdef", -1.0], ["a", -40.0], ["rare", -100.0]]
    told = {"version": "1.0", "added_tokens": [], "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": pieces}}
    done = trim_tokenizer(json.dumps(told).encode(), ["abcdef", "bcdef"])
    small = Tokenizer.from_str(done.tokenizer.decode())
    assert small.encode("abcdef").tokens == ["ab", "cd", "ef"] and small.token_to_id("a") is None
    # Without the piece of the lowest score the byte for 'a' and 'bcdef' would win.
    told["model"]["vocab"] = [one for one in pieces if one[0] not in ("a", "rare")]
    assert Tokenizer.from_str(json.dumps(told)).encode("abcdef").tokens == ["<0x61>", "bcdef"]


@pytest.mark.parametrize(("texts", "words"), [([], "there is no text"), (["", ""], "the 2 texts are empty"),
                                              (["<|end|>", "<|turn|><|end|>"], "the 2 texts hold special tokens only")])
def test_texts_that_say_nothing_are_refused(texts, words):
    with pytest.raises(DataError, match=words):
        trim_tokenizer(byte_level().encode(), texts)


def _broken(change) -> bytes:
    told = json.loads(byte_level())
    change(told)
    return json.dumps(told).encode()


@pytest.mark.parametrize(("data", "words"), [
    (b"", "is not JSON"), (b"[1]", "holds list"), (b"{}", "has no 'model'"), (b'{"model": {"type": "WordLevel", "vocab": {"a": 0}}}', "type 'WordLevel'"),
    (b'{"model": {"type": "WordPiece", "vocab": {"a": 0}}}', "type 'WordPiece'"), (b'{"model": {"type": "BPE", "vocab": {}}}', "should map pieces"),
    (b'{"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}}', "two pieces share one id"),
    (b'{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}', "has the id -1"),
    (b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}}', "merge 0 is 'a'"),
    (b'{"model": {"type": "Unigram", "vocab": [["a"]]}}', r"list of \[piece, score\]"),
    (b'{"model": {"type": "Unigram", "vocab": [["a", 1.0]], "unk_id": 4}}', "'unk_id' is 4"),
    (b'{"model": {"type": "Unigram", "vocab": [["a", 1.0], ["a", 2.0]]}}', "is there twice"), (b'{"model": {"type": 7}}', "type 7"), (b"\xff\xfe", "byte order mark"),
    (_broken(lambda told: told.update(pre_tokenizer={"type": "Nonsense"})), "cannot be opened as a tokenizer"),
    (_broken(lambda told: told["model"].update(merges=[["zz", "qq"]])), "cannot be opened as a tokenizer"),
    (_broken(lambda told: told["added_tokens"].append("x")), "cannot be opened|added token"),
    (_broken(lambda told: told["model"]["vocab"].update(far=len(told["model"]["vocab"]) + 1)), "'far' share the id"),
    (_broken(lambda told: told["post_processor"]["special_tokens"]["<|begin|>"].update(ids=[99999])), "the id 99999 around texts"),
], ids=range(19))
def test_a_broken_tokenizer_is_an_error_in_words(data, words):
    with pytest.raises(TeacherError, match=words):
        trim_tokenizer(data, DOMAIN)


def test_wrong_arguments():
    with pytest.raises(UsageError, match=r"most=10 is less than the 2\d\d pieces that must stay"):
        trim_tokenizer(byte_level().encode(), DOMAIN, most=10)
    with pytest.raises(UsageError, match="should be at least 1"):
        trim_tokenizer(byte_level().encode(), DOMAIN, multiple=0)
    with pytest.raises(UsageError, match="the texts are one string"):
        trim_tokenizer(byte_level().encode(), "one string")
    with pytest.raises(UsageError, match="a text is int"):
        trim_tokenizer(byte_level().encode(), [3])  # type: ignore[list-item]


def test_a_lone_surrogate_is_no_crash():
    assert trim_tokenizer(byte_level().encode(), ["the \ud800 baker"]).texts == 1


def test_texts_come_from_files_again_and_again(tmp_path):
    (tmp_path / "a.txt").write_text("one line\n\nanother\n")
    (tmp_path / "b.jsonl").write_text('{"note": "x", "text": "third"}\n')
    (tmp_path / "c.csv").write_text("body,label\nfourth,1\n")
    texts = texts_of([tmp_path / "a.txt", tmp_path / "b.jsonl"])
    assert list(texts) == list(texts) == ["one line", "another", "third"]
    assert list(texts_of(tmp_path / "c.csv", column="body")) == ["fourth"]
    with pytest.raises(UsageError, match="no file"):
        texts_of([])
    with pytest.raises(UsageError, match="read twice"):
        texts_of("-")
    with pytest.raises(UsageError, match="there is no file"):
        list(texts_of(tmp_path / "absent.txt"))


@pytest.mark.parametrize("kind", ["gemma", "llama-2", "unigram"])
def test_the_visible_space_stays_a_piece_even_if_no_text_has_one(kind):
    whole = Tokenizer.from_str(KINDS[kind]())
    small = Tokenizer.from_str(trim_tokenizer(KINDS[kind]().encode(), ["baker"]).tokenizer.decode())
    for text in ("a b", " lead", "two  spaces", "▁ visible"):
        assert small.decode(small.encode(text).ids) == whole.decode(whole.encode(text).ids)


def test_half_of_the_bytes_are_no_fallback():
    told = json.loads(sentencepiece())
    for value in range(128, 256):
        del told["model"]["vocab"][f"<0x{value:02X}>"]
    order = sorted(told["model"]["vocab"], key=told["model"]["vocab"].get)
    told["model"]["vocab"] = {piece: place for place, piece in enumerate(order)}
    told.update(added_tokens=[], post_processor=None)
    whole, small = Tokenizer.from_str(json.dumps(told)), Tokenizer.from_str(trim_tokenizer(json.dumps(told).encode(), DOMAIN).tokenizer.decode())
    assert small.token_to_id("桌") is not None
    for text in WIDE[-6:]:
        assert small.decode(small.encode(text).ids) == whole.decode(whole.encode(text).ids)


def test_dropout_of_training_does_not_disturb():
    told = json.loads(byte_level())
    told["model"]["dropout"] = 0.5
    done = trim_tokenizer(json.dumps(told).encode(), DOMAIN)
    assert done.keep.tolist() == trimmed("byte-level")[2].keep.tolist() and json.loads(done.tokenizer)["model"]["dropout"] == 0.5
