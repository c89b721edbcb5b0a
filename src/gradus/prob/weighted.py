"""Weighted runs of a program: what enumeration and importance sampling give.

    E[g | y] ≈ Σ_i w̄_i g(x_i),    w̄_i = w_i / Σ_j w_j,    p(y) ≈ Σ_i w_i,    ESS = 1 / Σ_i w̄_i²

References:
    Kong, Liu and Wong 1994, Sequential imputations and Bayesian missing data problems (effective sample size).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from gradus.errors import GradusError, nearest
from gradus.prob.program import Trace

__all__ = ["Weighted", "gathered"]


@dataclass(frozen=True)
class Weighted:
    """Runs with weights.

    Attributes:
        values: of the latent variables, one row a run; NaN where a run did not come to a variable.
        log_weights: log w, so that their sum of exponentials is (an estimate of) the evidence.
        result: what the program returned, one row a run, where that is numbers of one shape; else a list.
    """

    values: dict[str, Tensor]
    log_weights: Float[Tensor, " runs"]
    result: Any = None

    @property
    def log_evidence(self) -> Float[Tensor, ""]:
        """log p(y)."""
        return self.log_weights.logsumexp(0)

    @property
    def weights(self) -> Float[Tensor, " runs"]:
        """The normalised weights w̄."""
        return self.log_weights.softmax(0)

    @property
    def ess(self) -> Float[Tensor, ""]:
        """The number of unweighted draws that would be as good, 1 / Σ w̄²."""
        return 1 / (self.weights**2).sum()

    def __getitem__(self, name: str) -> Shaped[Tensor, "runs *shape"]:
        if name not in self.values:
            raise GradusError(f"no run has a latent variable {name!r}{nearest(name, self.values)}")
        return self.values[name]

    def expectation(self, of: Shaped[Tensor, "runs *shape"]) -> Float[Tensor, "*shape"]:
        """Return Σ w̄ g; only runs of some weight count.

        Args:
            of: g, one row a run, such as `weighted["a"] ** 2` or `weighted.result`.
        """
        weights = self.weights.view(-1, *[1] * (of.dim() - 1))
        return torch.where(weights > 0, weights * of.to(weights.dtype), 0).sum(0)

    def mean(self, name: str) -> Float[Tensor, "*shape"]:
        """Return the posterior mean of a latent variable."""
        return self.expectation(self[name])

    def variance(self, name: str) -> Float[Tensor, "*shape"]:
        """Return the posterior variance of a latent variable."""
        return self.expectation((self[name].to(self.log_weights.dtype) - self.mean(name)) ** 2)

    def probability(self, event: Bool[Tensor, " runs"]) -> Float[Tensor, ""]:
        """Return the posterior probability of an event, such as `weighted["a"] == 1`."""
        return self.expectation(event)

    def table(self, of: Shaped[Tensor, " runs"]) -> dict[float, float]:
        """Return the posterior probability of each value of a number.

        Args:
            of: one number a run.
        """
        return {float(value): float(self.probability(of == value)) for value in of.unique()}

    def resampled(self, n: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n unweighted draws of the latent variables, drawn with replacement.

        Args:
            n: how many.
            generator: the dice.
        """
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return {name: value[chosen] for name, value in self.values.items()}


def gathered(traces: Sequence[Trace], log_weights: Float[Tensor, " runs"]) -> Weighted:
    """Return runs as tensors, one row a run."""
    names = dict.fromkeys(name for run in traces for name in run.values)
    values = {name: _column([run.values.get(name) for run in traces], name) for name in names}
    result: Any = [run.result for run in traces]
    if all(isinstance(one, Tensor) for one in result) and len({one.shape for one in result}) == 1:
        result = torch.stack(result)
    return Weighted(values, log_weights, result)


def _column(parts: list[Tensor | None], name: str) -> Tensor:
    met = [part for part in parts if part is not None]
    if len({part.shape for part in met}) > 1:
        shapes = sorted({tuple(part.shape) for part in met})
        raise GradusError(f"site {name!r} has shapes {shapes} in different runs; give each shape a name of its own")
    if len(met) == len(parts):
        return torch.stack(met)
    missing = torch.full_like(met[0], torch.nan, dtype=torch.get_default_dtype())
    return torch.stack([missing if part is None else part.to(missing.dtype) for part in parts])
