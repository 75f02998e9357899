"""The decoder, its pieces, its sequences and its loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.models.decoder import Decoder, DecoderShape, save_hub
from understudy.models.pieces import BOS, EOS, PAD, SEP, SPECIALS, encode, learn_pieces, special_id
from understudy.recipes.text.encoding import Marks
from understudy.recipes.text.encoding import encoded as encoded_with
from understudy.tasks.reading.pairs import Pair
from understudy.teach.language import LanguageConfig, evaluate, loss_of, train_language
from understudy.teach.sequences import cut, epoch, sequences_of

SHAPE = DecoderShape(vocabulary=300, width=32, layers=2, heads=4, kv_heads=2, hidden=64, context=64)
TEXTS = ["the red door opens at nine", "the blue door opens at ten", "nobody opens the red gate"] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return learn_pieces(TEXTS, 290)


def encoded(pairs, tokenizer, context):
    marks = Marks(special_id(tokenizer, BOS), special_id(tokenizer, SEP), special_id(tokenizer, EOS), {})
    return encoded_with(pairs, lambda texts: encode(tokenizer, texts), marks, context)


def small(seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(SHAPE).eval()


def test_the_decoder_is_transformers_llama(tmp_path, tokenizer):
    from transformers import AutoModelForCausalLM

    model = small()
    ids = {name: special_id(tokenizer, name) for name in (BOS, EOS, PAD)}
    save_hub(model, tokenizer.to_str(), tmp_path, bos=ids[BOS], eos=ids[EOS], pad=ids[PAD])
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    tokens = torch.randint(0, 290, (2, 40))
    with torch.inference_mode():
        difference = (theirs(tokens).logits - model.logits(model(tokens))).abs().max()
    assert difference < 1e-4
    assert json.loads((tmp_path / "config.json").read_text())["num_key_value_heads"] == 2
    assert sum(p.numel() for p in model.parameters()) == SHAPE.parameters


def test_dropout_is_for_training_only():
    model = small()
    tokens = torch.randint(0, 290, (2, 20))
    plain = model(tokens)
    model.dropout = 0.3
    assert torch.equal(plain, model(tokens))
    assert not torch.allclose(plain, model.train()(tokens))


def test_packed_sequences_do_not_see_each_other():
    model = small()
    first, second = torch.randint(0, 300, (1, 9)), torch.randint(0, 300, (1, 14))
    alone = model(second)
    packed = model(torch.cat([first, second], 1), torch.tensor([[0] * 9 + [1] * 14]))[:, 9:]
    assert (alone - packed).abs().max() < 1e-5
    # the control: without segments the second sees the first
    assert (alone - model(torch.cat([first, second], 1))[:, 9:]).abs().max() > 1e-3


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_every_text_comes_back_and_names_of_specials_are_text(tokenizer, texts):
    texts = [*texts, f"a {EOS} b", "".join(SPECIALS)]
    for text, ids in zip(texts, encode(tokenizer, texts), strict=True):
        assert tokenizer.decode(ids, skip_special_tokens=False) == text.encode("utf-8", "replace").decode()
        assert not set(ids) & set(range(len(SPECIALS)))


def test_only_the_target_side_is_learned(tokenizer):
    pairs = encoded([Pair("the red door", "opens at nine")], tokenizer, 64)
    ids, target = pairs.ids.tolist(), encode(tokenizer, ["opens at nine"])[0]
    assert ids[0] == special_id(tokenizer, BOS) and ids[-1] == special_id(tokenizer, EOS)
    assert pairs.ids[pairs.wanted].tolist() == [*target, special_id(tokenizer, EOS)]
    plain = encoded([Pair("", "the red door")], tokenizer, 64)
    assert plain.wanted.tolist() == [False] + [True] * (len(plain.ids) - 1)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30), st.integers(20, 60), st.integers(40, 200))
@settings(max_examples=60, deadline=None)
def test_an_epoch_asks_for_every_wanted_token_once(lengths, context, tokens):
    made = cut(sequences_of([[(list(range(1, length + 1)), True)] for length in lengths]), context)
    assert int(made.lengths.max()) <= context
    seen = sorted(int(token) for batch in epoch(made, tokens, context, np.random.default_rng(0)) for token in batch.next)
    assert seen == sorted(token for length in lengths for token in range(2, length + 1))
    for batch in epoch(made, tokens, context, np.random.default_rng(0)):
        flat = batch.ids.reshape(-1)
        assert torch.equal(flat[batch.at + 1], batch.next)


def test_batches_have_few_shapes():
    rng = np.random.default_rng(1)
    made = sequences_of([[(list(range(int(length))), True)] for length in rng.integers(5, 61, 3000)])
    shapes = {tuple(batch.ids.shape) for batch in epoch(made, 512, 512, rng)}
    widths = {width for _, width in shapes}
    assert widths == {8, 16, 24, 32, 40, 48, 56, 64} and len(shapes) <= 2 * len(widths) + 1, "every shape costs a CPU megabytes"
    assert max(batch.ids.shape[1] for batch in epoch(made, 512, 61, rng, pack=False)) == 61, "never wider than the context"


def test_it_learns_and_the_loss_is_per_wanted_token(tokenizer):
    made = encoded([Pair("", text) for text in TEXTS], tokenizer, 64)
    model = small()
    before = evaluate(model, made)
    assert before == pytest.approx(np.log(300), abs=0.3)
    train_language(model, made, LanguageConfig(epochs=60, tokens=128), 0)
    assert evaluate(model, made) < before / 2


def test_a_killed_run_resumes_to_the_same_losses(tokenizer, tmp_path):
    made = encoded([Pair("", text) for text in TEXTS], tokenizer, 64)
    config = LanguageConfig(epochs=6, tokens=64, save_every=0.0)
    whole, torn = small(), small()
    train_language(whole, made, config, 0)
    steps = iter(range(7))
    train_language(torn, made, config, 0, state=tmp_path / "s.pt", key="k", stop=lambda: next(steps, None) is None)
    again = small(5)
    train_language(again, made, config, 0, state=tmp_path / "s.pt", key="k")
    for name, one in whole.state_dict().items():
        assert torch.equal(one, again.state_dict()[name]), name
    # another key, or a file cut short, is no state of this run
    (tmp_path / "s.pt").write_bytes((tmp_path / "s.pt").read_bytes()[:1000])
    fresh = small()
    train_language(fresh, made, config, 0, state=tmp_path / "s.pt", key="k")
    assert torch.equal(fresh.model.norm.weight, whole.model.norm.weight)


def test_a_run_ends_with_what_matters_also_after_a_kill(tokenizer, tmp_path, monkeypatch):
    from understudy.teach import language

    wide, own = (encoded([Pair("", text) for text in some], tokenizer, 64) for some in (TEXTS, TEXTS[:1] * 6))
    config, seen, step = LanguageConfig(epochs=8, tokens=64, save_every=0.0), [], language._step

    def noted(model, batch, *rest):
        seen.append((rest[2], {tuple(row) for row in batch.ids.tolist()}))
        return step(model, batch, *rest)

    monkeypatch.setattr(language, "_step", noted)
    whole, torn = small(), small()
    train_language(whole, wide, config, 0, ending=own)
    (last,) = {row for share, rows in seen for row in rows if share >= config.ending}
    assert list(last[:len(own.ids) // 6]) == own.ids[:len(own.ids) // 6].tolist()
    assert len({row for share, rows in seen for row in rows if share < config.ending}) == 3
    steps = iter(range(int(0.9 * len(seen))))
    train_language(torn, wide, config, 0, state=tmp_path / "s", key="k", stop=lambda: next(steps, None) is None, ending=own)
    again = small(5)
    train_language(again, wide, config, 0, state=tmp_path / "s", key="k", ending=own)
    for name, one in whole.state_dict().items():
        assert torch.equal(one, again.state_dict()[name]), name


def test_the_time_budget_ends_the_run(tokenizer):
    made = encoded([Pair("", text) for text in TEXTS], tokenizer, 64)
    last = train_language(small(), made, LanguageConfig(epochs=1e6, seconds=0.5, tokens=64), 0)
    assert 1 < last.step < 1e5 and last.rate > 0


def test_loss_in_parts_is_the_whole_loss(tokenizer, monkeypatch):
    from understudy.teach import language

    made = encoded([Pair("", text) for text in TEXTS], tokenizer, 64)
    batch = next(iter(epoch(made, 256, 64, np.random.default_rng(0))))
    model = small()
    whole = loss_of(model, batch)
    monkeypatch.setattr(language, "_ROWS", 7)
    assert loss_of(model, batch).item() == pytest.approx(whole.item(), rel=1e-5)


def test_a_run_that_is_given_more_time_goes_on_and_another_one_does_not(tokenizer):
    from understudy.recipes.text.fit import _key

    made = encoded([Pair("", text) for text in TEXTS], tokenizer, 64)
    one = _key(made, "shape", LanguageConfig(seconds=10.0), 0)
    assert one == _key(made, "shape", LanguageConfig(seconds=99.5), 0)
    others = {_key(made, "shape", LanguageConfig(epochs=3), 0), _key(made, "other", LanguageConfig(), 0), _key(made, "shape", LanguageConfig(), 1)}
    assert one not in others and len(others) == 3


def test_a_full_disk_does_not_end_the_run(tokenizer, tmp_path, monkeypatch):
    from understudy.teach import language

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(language.os, "replace", full)
    made = encoded([Pair("", text) for text in TEXTS], tokenizer, 64)
    heard: list[str] = []
    last = train_language(small(), made, LanguageConfig(epochs=6, tokens=64, save_every=0.0), 0, state=tmp_path / "s.safetensors", key="k", note=heard.append)
    assert last.share == 1 and len(heard) == 1 and "No space left" in heard[0]
    assert not list(tmp_path.iterdir())
