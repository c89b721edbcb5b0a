"""Clipping: torch's numbers, the bound itself, and a norm that shows when something is not finite."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.clip import clip_norm_, clip_value_, global_norm


def _grads(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 2, 2, generator=generator).to(memory_format=torch.channels_last)
    return [weight, torch.randn(5, generator=generator), torch.randn((), generator=generator)]


@pytest.mark.parametrize("limit", [0.1, 3.0, 1e6])
def test_by_norm_as_torch_does(limit: float) -> None:
    grads = _grads()
    peers = [torch.zeros_like(grad).requires_grad_() for grad in grads]
    for peer, grad in zip(peers, grads, strict=True):
        peer.grad = grad.clone()
    theirs = torch.nn.utils.clip_grad_norm_(peers, limit)
    ours = clip_norm_([*grads, None], limit)
    assert torch.equal(ours, theirs)
    assert all(torch.equal(grad, peer.grad) for grad, peer in zip(grads, peers, strict=True))


@given(st.floats(1e-3, 1e3), st.integers(0, 50))
def test_norm_is_bounded_and_the_direction_kept(limit: float, seed: int) -> None:
    grads = [grad.double() for grad in _grads(seed)]
    flat = torch.cat([grad.flatten() for grad in grads])
    before = clip_norm_(grads, limit)
    now = torch.cat([grad.flatten() for grad in grads])
    assert before.item() == pytest.approx(flat.norm().item(), rel=1e-12)
    assert now.norm() <= limit * (1 + 1e-12)
    assert torch.nn.functional.cosine_similarity(flat, now, dim=0).item() == pytest.approx(1, abs=1e-9)
    if before + 1e-6 <= limit:
        assert torch.equal(flat, now)


def test_by_value() -> None:
    grads = [torch.tensor([-3.0, 0.5, 2.0, float("nan")]), None, torch.tensor([[9.0]], dtype=torch.float64)]
    clip_value_(grads, 1.0)
    assert grads[0][:3].tolist() == [-1.0, 0.5, 1.0]
    assert grads[0][3].isnan()
    assert grads[2].item() == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_norm_that_is_not_finite_is_returned(bad: float) -> None:
    grads = _grads()
    grads[1][2] = bad
    assert not clip_norm_(grads, 1.0).isfinite()


def test_mixed_dtypes_and_half_precision_are_summed_wide() -> None:
    grads = [torch.full((4096,), 0.01, dtype=torch.bfloat16), torch.ones(3, dtype=torch.float64)]
    exact = torch.cat([grad.double() for grad in grads]).norm()
    norm = global_norm(grads)
    assert norm.dtype is torch.float64
    assert norm.item() == pytest.approx(exact.item(), rel=1e-6)
    clip_norm_(grads, 0.5)
    assert [grad.dtype for grad in grads] == [torch.bfloat16, torch.float64]
    assert global_norm(grads).item() == pytest.approx(0.5, rel=1e-2)


def test_nothing_to_clip_has_norm_zero() -> None:
    assert clip_norm_([None, None], 1.0).item() == 0.0
    assert global_norm([]).item() == 0.0


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf")])
def test_limits_that_make_no_sense_are_refused(limit: float) -> None:
    with pytest.raises(GradusError, match="out of range"):
        clip_norm_(_grads(), limit)
    with pytest.raises(GradusError, match="out of range"):
        clip_value_(_grads(), limit)
