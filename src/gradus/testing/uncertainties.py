"""The contract of methods that know what they do not know, on data from a plane with a little noise.

A method is fitted to (x, y) and gives a function from new inputs to the mean and variance of their targets.
`check_uncertainty` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gradus.prob.monte_carlo_dropout import Moments

__all__ = ["check_uncertainty"]

Fit = Callable[[Tensor, Tensor], Callable[[Tensor], Moments]]
NOISE = 0.1


def check_uncertainty(fit: Fit) -> None:
    """Assert the contract of a predictive distribution.

    The mean is near the truth; variances are positive, not below the noise, and grow off the data in every direction;
    90 % intervals hold at least most of new targets; answers are
    repeatable; dtypes are kept and data left alone.

    Args:
        fit: from inputs (n, 2) and targets (n,) to a function of new inputs.

    Raises:
        AssertionError: for the first clause that fails.
    """
    x, y = _plane(200, 0)
    kept = x.clone(), y.clone()
    predict = fit(x, y)
    new, targets = _plane(500, 1)
    mean, variance = predict(new)
    assert mean.shape == variance.shape == (500,), (
        f"500 inputs give shapes {tuple(mean.shape)}, {tuple(variance.shape)}"
    )
    assert bool(((variance > 0) & variance.isfinite()).all()), "a variance is not positive and finite"
    assert float(((mean - targets) ** 2).mean()) < 4 * NOISE**2, "the mean misses new targets by more than the noise"
    assert float(variance.min()) > 0.6 * NOISE**2, "the variance is less than that of the noise"
    covered = ((mean - targets).abs() < 1.645 * variance.sqrt()).double().mean()
    assert float(covered) > 0.8, f"intervals of 90 % hold {100 * float(covered):.0f} % of new targets"
    directions = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], dtype=x.dtype)
    near, far = (predict(scale * directions).variance for scale in (0.3, 20.0))
    assert bool((far > 1.2 * near).all()), "the variance does not grow off the data"
    again = predict(new)
    assert torch.equal(torch.stack([mean, variance]), torch.stack([*again])), "the same inputs get two answers"
    assert all(torch.equal(a, b) for a, b in zip((x, y), kept, strict=True)), "the fit changed its data"
    single = fit(x.float(), y.float())(new.float())
    assert single.mean.dtype == single.variance.dtype == torch.float32, "single precision is not kept"


def _plane(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    noise = NOISE * torch.randn(n, generator=generator, dtype=torch.float64)
    return x, x @ torch.tensor([1.0, -0.5], dtype=torch.float64) + noise
