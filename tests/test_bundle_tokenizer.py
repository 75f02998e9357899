"""MAL-6: a tokenizer.json is made of known parts, known regular expressions and numbers with limits, or it is refused."""

from __future__ import annotations

import copy
import json
import random
import time

import pytest

from bundle_helpers import tokenizer_dict
from understudy.bundle.tokenizer_check import REGEXES, check_tokenizer
from understudy.errors import BundleError


def changed(**changes: object) -> bytes:
    """The tokenizer with `a__b` fields replaced."""
    body = copy.deepcopy(tokenizer_dict())
    for path, value in changes.items():
        *steps, last = path.split("__")
        inner = body
        for step in steps:
            inner = inner[step]
        inner[last] = value
    return json.dumps(body).encode()


def split(pattern: object) -> dict:
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def replace(pattern: str, content: str) -> dict:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def steps(part: str, *inner: object) -> dict:
    return {"type": "Sequence", part: list(inner)}


def template(**changes: object) -> dict:
    return {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}} | changes


def deep(depth: int) -> dict:
    body: dict = {"type": "NFC"}
    for _ in range(depth):
        body = steps("normalizers", body)
    return body


HOSTILE = [
    (changed(pre_tokenizer=split({"Regex": "(a+)+$"})), r"'pre_tokenizer' has the regular expression '\(a\+\)\+\$', which is not one of the known ones"),
    (changed(pre_tokenizer=steps("pretokenizers", {"type": "Digits"}, split({"Regex": "(.*)*x"}))), r"'pre_tokenizer'\[1\] has the regular expression"),
    (changed(normalizer={"type": "Replace", "pattern": {"Regex": "(a|aa)+$"}, "content": ""}), "'normalizer' has the regular expression"),
    (changed(decoder={"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}), "'decoder' has the regular expression"),
    (changed(pre_tokenizer=split({"Regex": [1]})), "regular expression 'list'"), (changed(pre_tokenizer=split({"String": ""})), "'pattern' is empty"),
    (changed(pre_tokenizer=split({"String": "x" * 65})), "is 65 characters long"), (changed(pre_tokenizer=split({"Glob": "*"})), "should be a String or a Regex"), (changed(pre_tokenizer=split("x")), "'pattern' should be an object"),
    (changed(pre_tokenizer=split({"String": "x"}) | {"behavior": "Explode"}), "'behavior' is 'Explode'"),
    (changed(normalizer=replace("a", "b" * 65)), "'content' is 65 characters"), (changed(normalizer=steps("normalizers", *[replace("a", "aa")] * 64)), "can make a text .* times as long"),
    (changed(normalizer=steps("normalizers", *[deep(1)] * 65)), "at most 64 steps"), (changed(normalizer=deep(3)), "nests sequences more than 2 deep"), (changed(normalizer=deep(300)), "nests sequences more than 2 deep"),
    (changed(normalizer={"type": "Python", "code": "x"}), "'normalizer' has the type 'Python', which is not one of BertNormalizer"), (changed(normalizer={"type": ["NFC"]}), "has the type 'list'"),
    (changed(normalizer={"type": "NFC", "hook": "x"}), r"\(NFC\) has the field 'hook'"), (changed(normalizer=[1]), "'normalizer' should be an object and is a list"),
    (changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "!!"}), "not base64"), (changed(normalizer={"type": "Precompiled", "precompiled_charsmap": 3}), "should be text of at most"),
    (changed(normalizer={"type": "Prepend", "prepend": "x" * 1000}), "'prepend' is 1000 characters"), (changed(normalizer={"type": "BertNormalizer", "lowercase": [1]}), "'lowercase' is a list"),
    (changed(decoder={"type": "CTC"}), "'decoder' has the type 'CTC'"), (changed(decoder={"type": "Strip", "content": " ", "start": 10**9, "stop": 0}), "'start' is an integer"),
    (changed(post_processor={"type": "BertProcessing", "sep": ["[SEP]", -1], "cls": ["[CLS]", 1]}), "'sep' should be a token and its id"),
    (changed(post_processor=template(single=[{"Sequence": {"id": "A", "type_id": 0}}] * 65)), "'single' should be a list of at most 64"), (changed(post_processor=template(single=None)), "'single' should be a list"),
    (changed(post_processor=template(pair=[{"Code": {}}])), "'pair' has a piece that is neither"), (changed(post_processor=template(single=[{"SpecialToken": {"id": "[X]", "type_id": 0}}])), r"names '\[X\]', which is not defined"),
    (changed(post_processor=template(special_tokens={"a": {"id": "a", "ids": [1, 2], "tokens": ["a"]}})), "as many 'ids' as 'tokens'"), (changed(post_processor=template(special_tokens=[])), "'special_tokens' should be an object"),
    (changed(model__type="Neural"), "the model has the type 'Neural', which is not one of WordPiece"), (changed(model=None), "'model' should be an object and is null"), (changed(model__hook=1), "the model has the field 'hook'"),
    (changed(model__vocab={f"t{n}": n for n in range(500_001)}), "the vocabulary has 500,001 entries"), (changed(model__vocab={"x" * 1025: 0}), "a token of the vocabulary is 1,025 bytes"),
    (changed(model__vocab={"\u20ac" * 400: 0}), "is 1,200 bytes long"), (changed(model__vocab={"a": -1}), "the token 'a' has the id -1"), (changed(model__vocab={"a": 2**40}), "the token 'a' has the id"),
    (changed(model__vocab={"a": True}), "has the id True"), (changed(model__vocab={"a": 0, "b": 0}), "two tokens of the vocabulary have the same id"), (changed(model__vocab={}), "should be an object of token and id, and not empty"),
    (changed(model__max_input_chars_per_word=10**9), "'max_input_chars_per_word' is an integer"), (changed(model__unk_token=5), "'unk_token' should be text"),
    (changed(model={"type": "BPE", "vocab": {"a": 0}, "merges": {}}), "merges should be a list"), (changed(model={"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b", "c"]]}), "not two tokens"),
    (changed(model={"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}), "at random"), (changed(model={"type": "BPE", "vocab": {"a": 0}, "merges": [], "fuse_unk": "yes"}), "'fuse_unk' is text"),
    (changed(model={"type": "Unigram", "vocab": [["a"]]}), "not a token and a score"), (changed(model={"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 7}), "'unk_id' is 7"), (changed(model={"type": "Unigram", "vocab": []}), "and not empty"),
    (changed(added_tokens={}), "'added_tokens' should be a list"), (changed(added_tokens=[{"id": 0, "content": ""}]), "is empty, which would match everywhere"), (changed(added_tokens=[{"id": 0, "content": "x" * 1025}]), "1,025 bytes"),
    (changed(added_tokens=[{"id": -1, "content": "a"}]), "has the id -1"), (changed(added_tokens=[{"id": 0, "content": "a", "regex": True}]), "and nothing else"), (changed(added_tokens=[{"id": 0, "content": "a", "special": "no"}]), "'special' is text"),
    (changed(added_tokens=[{"id": n, "content": str(n)} for n in range(10_001)]), "has 10,001 entries"), (changed(added_tokens=["a"]), "and nothing else"),
    (changed(truncation={"max_length": 10**12}), "'truncation.max_length' is an integer"), (changed(padding={"strategy": {"Fixed": 10**9}}), "'padding.strategy' is .*not a fixed length up to 100,000"),
    (changed(padding={"pad_to_multiple_of": 10**9}), "'padding.pad_to_multiple_of'"), (changed(truncation=3), "'truncation' should be an object"), (changed(plugin="x"), "has the field 'plugin'"),
    (b"[]", "should be an object"), (b"", "not JSON"), (b"\xef\xbb\xbf{}", "byte order mark"), (b"\x80\x04K\x01.", "not UTF-8"), (b'{"model": {"type": "BPE", "type": "X"}}', "the key 'type' twice"),
    (b"[" * 100_000, "nested too deeply"), (b'{"a": NaN}', "NaN"), (b'{"model": {"type": "WordLevel", "vocab": {"\\ud800": 0}}}', "lone surrogate"), (b" " * (64 * 1024 * 1024 + 1), "limit for a tokenizer is 67,108,864"),
]


@pytest.mark.parametrize(("data", "words"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_tokenizers_are_refused_by_part(data, words):
    start = time.process_time()
    with pytest.raises(BundleError, match=f"b/tokenizer.json.*{words}"):
        check_tokenizer(data, "b/tokenizer.json")
    assert time.process_time() - start < (4 if len(data) > 10**6 else 1)


def test_an_old_file_without_a_model_type_is_told_what_to_do():
    body = tokenizer_dict()
    del body["model"]["type"]
    with pytest.raises(BundleError, match="the model has the type None") as caught:
        check_tokenizer(json.dumps(body).encode(), "t")
    assert "loading and saving" in caught.value.hint


def test_everything_the_library_writes_within_the_list_is_taken():
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    parts = {
        "normalizer": [normalizers.BertNormalizer(), normalizers.Strip(), normalizers.StripAccents(), normalizers.NFKC(), normalizers.Lowercase(), normalizers.Nmt(), normalizers.ByteLevel(),
                       normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])],
        "pre_tokenizer": [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(), pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(),
                          pre_tokenizers.CharDelimiterSplit("-"), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(True), pre_tokenizers.UnicodeScripts(), pre_tokenizers.Split(" ", "removed"),
                          *[pre_tokenizers.Split(Regex(regex), "isolated") for regex in sorted(REGEXES)], pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()])],
        "post_processor": [processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0)), processors.RobertaProcessing(("</s>", 1), ("<s>", 0)), processors.ByteLevel(),
                           processors.TemplateProcessing("[CLS] $A", "[CLS] $A $B:1", [("[CLS]", 0)]), processors.Sequence([processors.ByteLevel()])],
        "decoder": [decoders.WordPiece(), decoders.ByteLevel(), decoders.Metaspace(), decoders.BPEDecoder(), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
                    decoders.Replace("▁", " "), decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 1, 0)])],
    }
    for part, choices in parts.items():
        for choice in choices:
            tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
            setattr(tokenizer, part, choice)
            check_tokenizer(tokenizer.to_str().encode(), f"{part} {type(choice).__name__}")
    for model in (models.WordPiece({"a": 0}), models.Unigram([("a", 0.0)], 0, True), models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])):
        tokenizer = Tokenizer(model)
        tokenizer.enable_truncation(128)
        tokenizer.enable_padding(length=128)
        tokenizer.add_special_tokens(["[MASK]"])
        check_tokenizer(tokenizer.to_str().encode(), type(model).__name__)
    Tokenizer.from_str(json.dumps(tokenizer_dict()))


def test_an_accepted_tokenizer_is_fast_on_long_dull_texts():
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    for regex in sorted(REGEXES):
        tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(regex), "isolated")
        check_tokenizer(tokenizer.to_str().encode(), "t")
        for letter in ("a", " ", "\n", "^", "👩‍🚀", "0"):
            start = time.process_time()
            tokenizer.encode((letter * 20_000)[:20_000] + "b")
            assert time.process_time() - start < 2, (regex, letter)


def test_only_a_bundle_error_ever():
    chance, whole = random.Random(3), changed()
    values: list = [None, True, -1, 2**80, 1.5, "", "x" * 2000, [], {}, [[]], {"type": "Sequence"}, {"type": 3}]
    body = tokenizer_dict()
    for part in body:
        for value in values:
            with_value = json.dumps(body | {part: value}).encode()
            try:
                check_tokenizer(with_value, "t")
            except BundleError as error:
                assert str(error)
    for _ in range(500):
        broken = bytearray(whole)
        broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            check_tokenizer(bytes(broken), "t")
        except BundleError as error:
            assert str(error)
