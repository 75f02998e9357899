"""What a decoder learns from a teacher's probabilities: the losses against plain NumPy, and the cache that asks once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy.errors import UsageError
from understudy.home import cache_dir
from understudy.models.decoder import Decoder, DecoderShape
from understudy.teach import kept
from understudy.teach.distil import Distil, find_loss
from understudy.teach.distributions import Sparse, dense
from understudy.teach.kept import ask
from understudy.teach.language import LanguageConfig, evaluate, loss_of, train_language
from understudy.teach.live import Heard
from understudy.teach.sequences import epoch, sequences_of

PIECES, PADDED = 40, 48
SHAPE = DecoderShape(vocabulary=PADDED, width=32, layers=2, heads=4, kv_heads=2, hidden=64, context=32)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def folded(p: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The probabilities of some outcomes and of all others together."""
    some = np.take_along_axis(p, ids, -1)
    return np.concatenate([some, 1 - some.sum(-1, keepdims=True)], -1)


def sparse(logits: torch.Tensor, k: int) -> Sparse:
    logp = dense(logits, PIECES).logp
    top = logp.topk(k, 1)
    return Sparse(top.indices, top.values, logp.scatter(1, top.indices, -torch.inf).logsumexp(1), PIECES)


@pytest.mark.parametrize("columns", [PIECES, PADDED])
@pytest.mark.parametrize(("name", "divergence"), [("kl", lambda p, q: (p * np.log(p / q)).sum(-1).mean()),
                                                  ("reverse-kl", lambda p, q: (q * np.log(q / p)).sum(-1).mean())])
def test_the_losses_are_what_numpy_computes(columns, name, divergence):
    """Padded columns hold rubbish on both sides and count on neither."""
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(0, 2, (9, PADDED)), rng.normal(0, 2, (9, columns))
    p, q = softmax(teacher[:, :PIECES]), softmax(student[:, :PIECES])
    loss = find_loss(name)
    theirs, ours = torch.tensor(teacher, dtype=torch.float32), torch.tensor(student, dtype=torch.float32)
    assert loss(ours, dense(theirs, PIECES)).item() == pytest.approx(divergence(p, q), rel=1e-5)
    whole = divergence(p, q)
    for k in (1, 5, 20):
        top = np.argsort(-p, -1)[:, :k]
        said = loss(ours, sparse(theirs, k)).item()
        assert said == pytest.approx(divergence(folded(p, top), folded(q, top)), rel=1e-4)
        assert said < whole + 1e-6
    assert loss(ours, sparse(theirs, PIECES)).item() == pytest.approx(whole, rel=1e-4)
    assert loss(theirs, dense(theirs, PIECES)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["kl", "reverse-kl"])
@pytest.mark.parametrize("k", [3, PIECES])
def test_gradients_are_finite_and_lead_to_the_teacher(name, k):
    """Also where the teacher is sure of one piece, and the rest is nothing."""
    torch.manual_seed(0)
    teacher = torch.randn(6, PADDED) * 3
    teacher[0, 7] = 90.0
    student = torch.randn(6, PADDED, requires_grad=True)
    loss = find_loss(name)
    first = loss(student, sparse(teacher, k)).item()
    optimiser = torch.optim.Adam([student], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        value = loss(student, sparse(teacher, k))
        value.backward()
        assert torch.isfinite(student.grad).all()
        optimiser.step()
    assert value.item() < first / 50


class Speaker:
    """A small decoder as a teacher; counts the tokens that it was asked about."""

    def __init__(self, key: str = "one", seed: int = 3) -> None:
        torch.manual_seed(seed)
        self.model, self.key, self.pieces, self.asked = Decoder(SHAPE).eval().requires_grad_(False), key, PIECES, 0
        with torch.no_grad():
            for weight in self.model.parameters():
                weight.mul_(3)

    def of(self, batch):
        assert batch.segments is None
        self.asked += len(batch.numbers)
        states = self.model(batch.ids).reshape(-1, SHAPE.width)[batch.at]
        return Heard(states, self.model, self.pieces)


def texts(count: int = 60, seed: int = 0):
    """Sequences whose second half is to be predicted."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 30, count)
    return sequences_of([[(rng.integers(0, PIECES, n // 2).tolist(), False), (rng.integers(0, PIECES, n - n // 2).tolist(), True)] for n in lengths])


@pytest.fixture
def files(monkeypatch):
    """Several files of answers for a few tokens."""
    monkeypatch.setattr(kept, "FILE_TOKENS", 150)


@pytest.mark.parametrize("pack", [False, True])
def test_kept_answers_are_the_teachers_and_stand_at_their_tokens(files, pack):
    made, teacher = texts(), Speaker()
    said = ask(teacher, made, 6)
    assert said.asked == len(list(cache_dir("logits").glob("*/*.npy"))) > 3
    rows = np.random.default_rng(1).permutation(len(made))[:40]
    some, part = made.subset(rows), said.subset(made, rows)
    for batch in epoch(some, 200, 32, np.random.default_rng(2), pack=pack):
        assert (batch.segments is not None) == pack
        found = part.of(batch)
        wanted = dense(teacher.model.logits(teacher.model(batch.ids, batch.segments).reshape(-1, SHAPE.width)[batch.at]), PIECES).logp
        top = wanted.topk(6, 1)
        # float16 on disk: a tie of the last digits may fall the other way.
        assert (found.ids == top.indices).float().mean() > 0.98
        assert (wanted.gather(1, found.ids) - found.logp).abs().max() < 0.01
        assert (found.logp.exp().sum(1) + found.rest.exp() - 1).abs().max() < 1e-5


def test_a_second_run_asks_nothing_and_more_text_asks_for_the_rest(files):
    made, first = texts(), Speaker()
    ask(first, made, 6)
    again, heard = Speaker(), []
    said = ask(again, made, 6, progress=lambda done, total: heard.append((done, total)))
    assert first.asked == made.before[-1] and again.asked == 0 and said.asked == said.damaged == 0
    assert heard[-1] == (made.before[-1], made.before[-1])
    longer = sequences_of([[(one.tolist(), True)] for one in (np.arange(9), np.arange(5))])
    both = type(made)(np.concatenate([made.ids, longer.ids]), np.concatenate([made.wanted, longer.wanted]),
                      np.concatenate([made.starts, made.starts[-1] + longer.starts[1:]]))
    more = Speaker()
    ask(more, both, 6)
    assert 0 < more.asked < 200
    for other in (Speaker("two"), Speaker()):
        ask(other, made, 6 if other.key == "two" else 7)
        assert other.asked == made.before[-1]


def test_a_damaged_file_and_one_of_another_text_are_seen(files):
    made = texts()
    wanted = ask(Speaker(), made, 6)
    paths = sorted(cache_dir("logits").glob("*/*.npy"))
    whole = [path.read_bytes() for path in paths]
    harms = [lambda: paths[0].write_bytes(whole[0][:200] + bytes([whole[0][200] ^ 1]) + whole[0][201:]),
             lambda: paths[0].write_bytes(whole[0][:-40]), lambda: paths[0].write_bytes(b""), lambda: paths[0].write_bytes(whole[1])]
    for harm in harms:
        harm()
        teacher = Speaker()
        said = ask(teacher, made, 6)
        assert said.asked == said.damaged == 1 and 0 < teacher.asked <= 150
        assert paths[0].read_bytes() == whole[0]
    for batch in epoch(made, 200, 64, np.random.default_rng(2)):
        assert torch.equal(said.of(batch).logp, wanted.of(batch).logp)


def test_a_run_that_was_stopped_goes_on(files):
    made, first, second = texts(), Speaker(), Speaker()
    calls = iter(range(3))
    with pytest.raises(KeyboardInterrupt):
        ask(first, made, 6, stop=lambda: next(calls, None) is None)
    ask(second, made, 6)
    assert first.asked > 0 and first.asked + second.asked == made.before[-1]


def test_the_cache_is_bounded(files, monkeypatch):
    import os

    made = texts()
    ask(Speaker("old"), made, 6)
    old = list(cache_dir("logits").glob("*/*.npy"))
    for path in old:
        os.utime(path, (1, 1))
    size = sum(path.stat().st_size for path in old)
    monkeypatch.setattr(kept, "LARGEST", most := size * 7 // 4)
    ask(Speaker("new"), made, 6)
    left = list(cache_dir("logits").glob("*/*.npy"))
    assert sum(path.stat().st_size for path in left) <= most and 0 < len(set(old) & set(left)) < len(old)
    monkeypatch.setattr(kept, "LARGEST", 1000)
    with pytest.raises(UsageError, match=r"6 likeliest pieces of [\d,]+ tokens would take .* GB are kept at most"):
        ask(Speaker(), made, 6)


def test_a_full_disk_costs_memory_not_the_run(files, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "replace", full)
    made = texts()
    said = ask(Speaker(), made, 6)
    assert not [path for path in cache_dir("logits").rglob("*") if path.is_file()]
    batch = next(iter(epoch(made, 200, 64, np.random.default_rng(2))))
    assert said.of(batch).logp.shape == (len(batch.next), 6)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_loss_of_a_step_is_the_mixture(monkeypatch, share):
    from understudy.teach import language

    made, teacher = texts(), Speaker()
    batch = next(iter(epoch(made, 200, 64, np.random.default_rng(2), pack=False)))
    torch.manual_seed(9)
    student = Decoder(SHAPE)
    said = ask(teacher, made, 6)
    logits = student.logits(student(batch.ids).reshape(-1, SHAPE.width)[batch.at]).detach().numpy().astype(float)
    found = said.of(batch)
    p = np.concatenate([found.logp.numpy(), found.rest.numpy()[:, None]], 1).astype(float)
    q = np.log(folded(softmax(logits[:, :PIECES]), found.ids.numpy()))
    gold = -np.log(softmax(logits)[np.arange(len(logits)), batch.next.numpy()]).mean()
    wanted = (1 - share) * gold + share * (np.exp(p) * (p - q)).sum(1).mean()
    monkeypatch.setattr(language, "_ROWS", 7)
    assert loss_of(student, batch, distil=Distil(said, find_loss("kl"), share, "")).item() == pytest.approx(wanted, rel=1e-4)


def test_a_student_of_probabilities_is_better_than_one_of_the_text_alone():
    """Few texts written by the teacher, equal steps: what it says about every piece teaches more than what it happened to write."""
    teacher = Speaker()
    torch.manual_seed(1)

    def written(count: int):
        ids = torch.randint(0, PIECES, (count, 1))
        for _ in range(20):
            logits = teacher.model.logits(teacher.model(ids))[:, -1, :PIECES]
            ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)], 1)
        return sequences_of([[(row.tolist(), True)] for row in ids])

    train, held = written(40), written(100)
    losses = {}
    for name in ("text alone", "kl", "reverse-kl"):
        torch.manual_seed(0)
        student = Decoder(SHAPE)
        distil = None if name == "text alone" else Distil(ask(teacher, train, 16), find_loss(name), 0.9, "")
        last = train_language(student, train, LanguageConfig(epochs=20, tokens=256), 0, distil=distil)
        losses[name] = evaluate(student, held)
        assert last.step == 80
    print(losses)
    assert max(losses["kl"], losses["reverse-kl"]) < losses["text alone"] - 0.1
