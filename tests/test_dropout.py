"""Dropout on what a layer adds: its share, its mean, its gradient, and the same elements for the same seed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
from understudy.models.dropout import added  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_share_is_left_out_and_the_rest_makes_up_for_it(dtype):
    torch.manual_seed(0)
    h, x = torch.zeros(40, 50, 30), torch.ones(40, 50, 30, dtype=dtype)
    said = added(h, x, 0.1)
    assert said.dtype == torch.float32 and abs(float((said == 0).float().mean()) - 26 / 256) < 0.01
    assert said.unique().tolist() == pytest.approx([0, 256 / 230]) and abs(float(said.mean()) - 1) < 0.01
    assert torch.equal(added(h, x, 0.0), h + x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_goes_where_the_value_went(dtype):
    torch.manual_seed(1)
    h, x = torch.randn(4, 5, 6, requires_grad=True), torch.ones(4, 5, 6, dtype=dtype, requires_grad=True)
    said = added(h, x.transpose(0, 1).contiguous().transpose(0, 1), 0.5)
    said.sum().backward()
    assert torch.equal(h.grad, torch.ones_like(h))
    assert torch.equal(x.grad.float(), (said - h).detach().round()) and 0 < float(x.grad.mean()) < 2


def test_the_same_seed_leaves_out_the_same_and_the_next_call_others():
    h, x = torch.zeros(64, 64), torch.ones(64, 64)

    def twice():
        torch.manual_seed(7)
        return added(h, x, 0.3), added(h, x, 0.3)

    (first, second), (again, _) = twice(), twice()
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_numbers_of_another_size_fall_back_to_pytorch():
    torch.manual_seed(0)
    x = torch.ones(1000, dtype=torch.float64)
    assert 20 < int((added(torch.zeros_like(x), x, 0.1) == 0).sum()) < 250
