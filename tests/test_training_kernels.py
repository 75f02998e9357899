"""Attention by blocks and the fused loss: the same values and gradients as PyTorch's own, whatever the mask and the numbers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from understudy.models import attention
from understudy.models.attention import angles, attend, turned, visible
from understudy.models.decoder import first_of
from understudy.models.norm import Norm
from understudy.teach.losses import next_piece

PACKED = [[0] * 70 + [1] * 60 + [2] * 15, [0] * 3 + [1] * 140 + [-1] * 2, [0] * 145]
"""Segments of three rows of 145 tokens: two whole blocks and a rest; some borders inside a block."""


def mixed(kv_heads: int, segments: torch.Tensor | None, tokens: int, halves: bool) -> list[torch.Tensor]:
    """What attention gives, and the gradients of what goes in."""
    torch.manual_seed(tokens)
    q, k, v = (torch.randn(3, heads, tokens, 16).requires_grad_() for heads in (4, kv_heads, kv_heads))
    with torch.autocast("cpu", torch.bfloat16, enabled=halves):
        mask = visible(segments, tokens, q.device)
        assert (mask is not None and mask.dtype == torch.bfloat16) == halves
        out = attend(q / 4, k, v, mask)
    out.float().backward(torch.randn(out.shape))
    return [out.detach().float(), *(x.grad for x in (q, k, v))]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(("tokens", "segments"), [(145, torch.tensor(PACKED)), (145, None), (64, None), (24, None), (1, None)])
@pytest.mark.parametrize("kept", [1024, 10])
def test_blocks_are_pytorchs_attention(monkeypatch, kv_heads, tokens, segments, kept):
    monkeypatch.setattr(attention, "_KEPT", kept)
    for ours, theirs in zip(mixed(kv_heads, segments, tokens, True), mixed(kv_heads, segments, tokens, False), strict=True):
        assert distance(ours, theirs) < 0.012 or theirs.abs().max() < 1e-5  # bfloat16 has 8 bits; of one token alone nothing depends on q and k


def test_a_block_sees_no_later_token_and_no_other_segment():
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 145, 16) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        mask = visible(torch.tensor(PACKED), 145, q.device)
        before = attend(q, k, v, mask)
        k[:, :, 100:], v[:, :, 100:] = 50.0, 50.0
        after = attend(q, k, v, mask)
        k[:, :, :70], v[:, :, :70] = 50.0, 50.0
        other = attend(q, k, v, mask)
    assert torch.equal(before[:, :, :100], after[:, :, :100])
    assert torch.equal(after[0, :, 70:], other[0, :, 70:])
    assert not torch.equal(before[0, :, 100:], after[0, :, 100:]) and not torch.equal(after[1, :, 70:], other[1, :, 70:])


def test_positions_turn_as_in_hugging_faces_llama():
    """Neighbours are one number here, halves there: the same dot products."""
    torch.manual_seed(0)
    positions = torch.arange(9)[None] - first_of(torch.tensor([[0] * 4 + [1] * 5]))
    x, y = (torch.randn(1, 9, 2, 8, requires_grad=True) for _ in range(2))
    turn = angles(positions, 8, 10_000.0)

    def theirs(some):
        left, right = some.transpose(1, 2).unflatten(-1, (-1, 2)).unbind(-1)
        return torch.cat([left * turn.real - right * turn.imag, right * turn.real + left * turn.imag], -1)

    ours = turned(x, turn) @ turned(y, turn).mT
    reference = theirs(x) @ theirs(y).mT
    assert torch.allclose(ours, reference, atol=1e-5)
    weights = torch.randn(ours.shape)
    for one, other in zip(torch.autograd.grad((ours * weights).sum(), (x, y)), torch.autograd.grad((reference * weights).sum(), (x, y)), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_the_norm_is_pytorchs():
    torch.manual_seed(0)
    norm, x, g = Norm(32, eps=1e-2), torch.randn(3, 5, 32, requires_grad=True), torch.randn(3, 5, 32)
    torch.nn.init.normal_(norm.weight)
    with torch.autocast("cpu", torch.bfloat16):
        ours = norm(x)
    theirs = norm(x)
    assert ours.dtype == torch.bfloat16 and theirs.dtype == torch.float32 and distance(ours.detach(), theirs.detach()) < 0.004
    for one, other in zip(torch.autograd.grad(ours, (x, norm.weight), g.bfloat16()), torch.autograd.grad(theirs, (x, norm.weight), g), strict=True):
        assert distance(one, other) < 0.004


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("halves", "near"), [(False, 1e-5), (True, 0.01)])
def test_the_loss_of_the_next_piece_is_cross_entropy(smoothing, halves, near):
    torch.manual_seed(0)
    h, e, wanted = torch.randn(1100, 32, requires_grad=True), torch.randn(300, 32, requires_grad=True), torch.randint(0, 300, (1100,))
    with torch.autocast("cpu", torch.bfloat16, enabled=halves):
        ours = next_piece.loss(h, e, wanted, smoothing)
    reference = F.cross_entropy(h @ e.T, wanted, label_smoothing=smoothing)
    assert ours.item() == pytest.approx(reference.item(), rel=near / 10)
    for one, other in zip(torch.autograd.grad(3 * ours, (h, e)), torch.autograd.grad(3 * reference, (h, e)), strict=True):
        assert distance(one, other) < near
    with torch.no_grad():
        assert next_piece.loss(h, e, wanted, smoothing).item() == pytest.approx(reference.item(), rel=1e-5)


def test_the_loss_of_a_piece_that_cannot_be_is_large_and_finite():
    h, e = torch.tensor([[1000.0, 0.0]], requires_grad=True), torch.eye(2)
    found = next_piece.loss(h, e, torch.tensor([1]))
    found.backward()
    assert 80 < found.item() < 100 and h.grad.tolist() == [[1.0, -1.0]]
