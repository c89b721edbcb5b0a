"""The contract of guides: what every registered variational family keeps.

A guide is a normalised distribution that can be drawn from and whose parameters can be learned. In two dimensions both
can be tested exactly: its density sums to one over a grid (or over all vectors of zeros and ones), and the moments of
its draws are those of its density. `check_guide` needs no test framework; it raises an AssertionError that says what
was broken.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from gradus.prob.guides import Guide, PushedNormal

__all__ = ["check_guide"]

Make = Callable[[int], Guide]
MANY = 20_000
SIGMAS = 5.0


def check_guide(make: Make) -> None:
    """Assert the contract of a guide.

    Its density is normalised and is that of its draws, for other parameters than those it starts with too; draws are a
    function of the generator; gradients reach every parameter, by the path where it has one and by the score; a state
    round-trips; dtypes are kept.

    Args:
        make: gives the guide of so many numbers.

    Raises:
        AssertionError: for the first clause that fails.
    """
    for check in (_density, _dice, _gradients, _state):
        check(make)


def _moved(make: Make, dim: int = 2) -> Guide:
    """Return a guide in double precision whose parameters are not what they were at the start."""
    torch.manual_seed(0)
    guide = make(dim).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for param in guide.parameters():
            param += 0.1 * torch.randn(param.shape, generator=generator, dtype=param.dtype)
    return guide


def _support(draws: Tensor) -> tuple[Tensor, float]:
    """Return points that cover the support, and the volume of each: all bits, or a grid."""
    if bool(((draws == 0) | (draws == 1)).all()):
        return torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)), dtype=draws.dtype), 1.0
    ticks = torch.linspace(-12, 12, 601, dtype=draws.dtype)
    return torch.cartesian_prod(ticks, ticks), (24 / 600) ** 2


def _density(make: Make) -> None:
    guide = _moved(make)
    with torch.no_grad():
        draws = guide.sample(MANY, torch.Generator().manual_seed(2))
        points, volume = _support(draws)
        mass = guide.log_prob(points).exp() * volume
    assert draws.shape == (MANY, 2), f"{MANY} draws of 2 numbers have shape {tuple(draws.shape)}"
    assert not draws.requires_grad, "sample gives draws with a graph"
    assert abs(float(mass.sum()) - 1) < 1e-3, f"the density sums to {float(mass.sum()):.4f}, not to one"
    for power in (1, 2):
        expected, found = mass @ points**power, draws**power
        error = found.std(0) / MANY**0.5 + 1e-12
        far = float(((found.mean(0) - expected).abs() / error).max())
        assert far < SIGMAS, f"moment {power} of the draws is {far:.1f} errors from that of the density"
    product = (mass * points.prod(1)).sum()
    found = draws.prod(1)
    far = float((found.mean() - product).abs() / (found.std() / MANY**0.5))
    assert far < SIGMAS, f"the draws' correlation is {far:.1f} errors from that of the density"
    if isinstance(guide, PushedNormal):
        x, log_q = guide.push(guide.noise(20, torch.Generator().manual_seed(3)))
        assert torch.allclose(log_q, guide.log_prob(x), atol=1e-8), "push and log_prob give different densities"


def _dice(make: Make) -> None:
    guide = _moved(make, 6)
    before = torch.get_rng_state()
    first, second = (guide.sample(20, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second), "the same generator gives different draws"
    assert torch.equal(before, torch.get_rng_state()), "draws with a generator turn torch's global dice"
    assert not torch.equal(first, guide.sample(20, torch.Generator().manual_seed(5))), "all generators give one draw"
    assert first.dtype == torch.float64, f"a guide in double precision draws {first.dtype}"


def _gradients(make: Make) -> None:
    guide = _moved(make)
    params = dict(guide.named_parameters())
    draws = guide.sample(50, torch.Generator().manual_seed(6))
    values = {"score": guide.log_prob(draws).sum()}
    if isinstance(guide, PushedNormal):
        values["path"] = (guide.rsample(50, torch.Generator().manual_seed(6)) ** 2).sum()
    for name, value in values.items():
        grads = torch.autograd.grad(value, list(params.values()), allow_unused=True)
        for param, grad in zip(params, grads, strict=True):
            reached = grad is not None and bool((grad != 0).any())
            assert reached, f"no gradient by the {name} reaches {param}"
            assert bool(grad.isfinite().all()), f"the gradient by the {name} of {param} is not finite"


def _state(make: Make) -> None:
    guide, other = _moved(make), make(2).double()
    other.load_state_dict(guide.state_dict())
    x = guide.sample(5, torch.Generator().manual_seed(7))
    assert torch.equal(guide.log_prob(x), other.log_prob(x)), "a state does not restore the density"
