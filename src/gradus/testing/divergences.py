"""The contract of divergences: functions (p, q) of probability vectors that are zero where the two agree.

    D(p, q) ≥ 0,    D(p, q) = 0  ⟺  p = q

`check_divergence` needs no test framework; it raises an AssertionError that says what was broken. What holds for some
only is claimed by keywords: symmetry, the triangle inequality, and the data-processing inequality D(Mp, Mq) ≤ D(p, q)
for every stochastic matrix M.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["check_divergence", "vectors"]

Divergence = Callable[[Tensor, Tensor], Tensor]
OUTCOMES = 6


def vectors(count: int, outcomes: int = OUTCOMES, seed: int = 0, concentration: float = 0.7) -> Tensor:
    """Return probability vectors drawn from a Dirichlet distribution, (count, outcomes) in float64.

    Args:
        count: how many.
        outcomes: their length.
        seed: of the draws.
        concentration: of the distribution; low ones come close to the corners.
    """
    generator = torch.Generator().manual_seed(seed)
    raw = torch._standard_gamma(
        torch.full((count, outcomes), concentration, dtype=torch.float64), generator=generator
    ).clamp_min(1e-12)
    return raw / raw.sum(-1, keepdim=True)


def check_divergence(
    divergence: Divergence, *, symmetric: bool = False, triangle: bool = False, processes: bool = False
) -> None:
    """Assert the contract of a divergence.

    It is never negative, zero for equal vectors and positive for others; a batch of any shape is its rows, and shapes
    broadcast; its gradients are right; dtypes are kept and inputs left
    alone; and what is claimed beyond that holds.

    Args:
        divergence: (…, k), (…, k) -> (…).
        symmetric: claim D(p, q) = D(q, p).
        triangle: claim D(p, r) ≤ D(p, q) + D(q, r).
        processes: claim D(Mp, Mq) ≤ D(p, q).

    Raises:
        AssertionError: for the first clause that fails.
    """
    _is_a_divergence(divergence)
    _is_batched(divergence)
    _has_gradients(divergence)
    p, q, r = (vectors(400, seed=seed) for seed in (1, 2, 3))
    slack = 1e-9
    if symmetric:
        far = float((divergence(p, q) - divergence(q, p)).abs().max())
        assert far < slack, f"D(p, q) and D(q, p) differ by {far:.1e}: it is not symmetric"
    if triangle:
        excess = float((divergence(p, r) - divergence(p, q) - divergence(q, r)).max())
        assert excess < slack, f"D(p, r) exceeds D(p, q) + D(q, r) by {excess:.1e}: the triangle inequality fails"
    if processes:
        mixing = vectors(OUTCOMES, 4, seed=5)
        shuffling = torch.eye(OUTCOMES, dtype=p.dtype)[[3, 0, 5, 2, 1, 4]]
        merging = torch.eye(2, dtype=p.dtype)[[0, 1, 0, 0, 1, 1]]
        before = divergence(p, q)
        for channel in (mixing, shuffling, merging):
            gained = float((divergence(p @ channel, q @ channel) / before).max())
            assert gained < 1 + slack, f"a channel made the divergence {gained:.3f} times larger: it adds information"


def _is_a_divergence(divergence: Divergence) -> None:
    p, q = vectors(400, seed=1), vectors(400, seed=2)
    kept = p.clone(), q.clone()
    found = divergence(p, q)
    assert torch.equal(p, kept[0]), "the first input was changed"
    assert torch.equal(q, kept[1]), "the second input was changed"
    assert bool(found.isfinite().all()), "a divergence of positive vectors is not finite"
    lowest = float(found.min())
    assert lowest > 0, f"two different vectors have divergence {lowest:.1e}, which is not positive"
    equal = divergence(p, p.clone())
    assert float(equal.abs().max()) < 1e-12, f"equal vectors have divergence {float(equal.abs().max()):.1e}, not zero"
    near = divergence(p, 0.999 * p + 0.001 * q)
    assert bool((near < found).all()), "a vector nearly equal is as far away as another one"
    for dtype in (torch.float32, torch.float64):
        value = divergence(p.to(dtype), q.to(dtype))
        assert value.dtype == dtype, f"vectors of {dtype} gave a divergence of {value.dtype}"
        assert torch.allclose(value.double(), found.double(), rtol=1e-3), f"in {dtype} the divergence is another"


def _is_batched(divergence: Divergence) -> None:
    p, q = vectors(6, seed=1), vectors(6, seed=2)
    rows = torch.stack([divergence(a, b) for a, b in zip(p, q, strict=True)])
    for batch in ((6,), (2, 3), (6, 1)):
        found = divergence(p.view(*batch, -1), q.view(*batch, -1))
        assert found.shape == batch, f"a batch of shape {batch} gave shape {tuple(found.shape)}"
        assert torch.allclose(found.flatten(), rows), "a row alone has another divergence than in a batch"
    table = divergence(p.unsqueeze(1), q)
    assert table.shape == (6, 6), "batches of shapes (6, 1) and (6,) do not broadcast to (6, 6)"
    assert torch.allclose(table.diagonal(), rows), "broadcasting changed a value"


def _has_gradients(divergence: Divergence) -> None:
    p, q = (vectors(3, seed=seed, concentration=3.0) for seed in (1, 2))
    for name, inputs in {
        "the first": (p.clone().requires_grad_(), q),
        "the second": (p, q.clone().requires_grad_()),
    }.items():
        try:
            right = torch.autograd.gradcheck(divergence, inputs, raise_exception=False)
        except (RuntimeError, ValueError) as error:
            raise AssertionError(f"the gradient in {name} argument cannot be taken: {error}") from error
        assert right, f"the gradient in {name} argument is not that of finite differences"
