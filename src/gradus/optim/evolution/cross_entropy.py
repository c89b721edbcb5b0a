"""The cross-entropy method: fit the sampling distribution to the best points by maximum likelihood.

    x_k ~ N(m, diag(v)),   elite = the best ρλ points
    m ← α mean(elite) + (1 − α) m,   v ← α var(elite) + (1 − α) v + (ε σ₀)² max(0, 1 − t/T)

Minimising the cross-entropy between "a good point" and the Gaussian gives these moments, about the elite's own mean:
unlike an evolution strategy's they shrink on a slope, so the method can stop short of the optimum. A variance that is
added and fades (ε, T) keeps it going. Covariances are not fitted, since along the slope they would collapse at once in
more than a few dimensions; `CMAES` learns them about the mean before.

References:
    Rubinstein 1999, The cross-entropy method for combinatorial and continuous optimization.
    De Boer, Kroese, Mannor and Rubinstein 2005, A tutorial on the cross-entropy method: smoothing by α.
    Szita and Lőrincz 2006, Learning Tetris using the noisy cross-entropy method: the fading variance.
"""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.evolution.journal import Journal, Journalled, State, shaped, size
from gradus.optim.settings import inside

__all__ = ["CrossEntropy"]


@canon(
    "optim/cross-entropy-method",
    kind="strategy",
    paper="Rubinstein 1999, The cross-entropy method for combinatorial and continuous optimization",
    names=("cross-entropy", "cem"),
)
@final
class CrossEntropy(Journalled):
    """Cross-entropy method: independent Gaussians refitted to the elite of each generation.

    Args:
        x0: m at the start, (n,); its dtype and device are those of the points.
        sigma0: standard deviation at the start, in the units of `x0`.
        popsize: λ, by default 10n, at least 50.
        generator: source of the noise; by default one of the strategy's own.
        elite: ρ, the share of points that is fitted; at least two points are.
        smoothing: α; 1 forgets the last distribution.
        noise: ε, the standard deviation that is added at first, in units of `sigma0`.
        noise_generations: T, after which nothing is added.
        tolx: stop when every standard deviation is below this times `sigma0`.

    Raises:
        GradusError: for a start or a setting out of range.
    """

    def __init__(
        self,
        x0: Float[Tensor, " n"],
        sigma0: float,
        popsize: int | None = None,
        generator: torch.Generator | None = None,
        *,
        elite: float = 0.2,
        smoothing: float = 0.7,
        noise: float = 0.0,
        noise_generations: int = 100,
        tolx: float = 1e-12,
    ) -> None:
        owner = "CrossEntropy"
        self._journal = Journal(owner, x0, sigma0, generator)
        self.popsize = size(owner, popsize, max(50, 10 * len(x0)), least=4)
        self._journal.popsize = self.popsize
        self.elite = max(2, round(inside(owner, "elite", elite, 0, 1) * self.popsize))
        self.smoothing = inside(owner, "smoothing", smoothing, 0, 1)
        self.noise = inside(owner, "noise", noise, 0)
        if noise_generations < 1:
            raise GradusError(f"{owner}: noise_generations={noise_generations} is too small; give at least 1")
        self.noise_generations, self.tolx, self._sigma0 = noise_generations, tolx, float(sigma0)
        self._mean = x0.detach().clone()
        self._deviation = torch.full_like(self._mean, self._sigma0)
        self._noise: Tensor | None = None

    def __repr__(self) -> str:
        return f"CrossEntropy(n={len(self._mean)}, popsize={self.popsize}, elite={self.elite})"

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """m."""
        return self._mean.clone()

    @property
    def deviation(self) -> Float[Tensor, " n"]:
        """√v."""
        return self._deviation.clone()

    @property
    def stop(self) -> dict[str, float]:
        """Why to stop, as reason and measured value: `tolx`, for the largest standard deviation."""
        widest = float(self._deviation.max())
        return {"tolx": widest} if widest < self.tolx * self._sigma0 else {}

    def ask(self) -> Float[Tensor, "popsize n"]:
        """Return λ points drawn from N(m, diag(v)); asking again draws anew."""
        self._noise = self._journal.normal(self.popsize, len(self._mean))
        return self._mean + self._deviation * self._noise

    def tell(self, values: Float[Tensor, " popsize"]) -> None:
        """Learn from the objective at the points asked for last.

        Args:
            values: (popsize,), to be minimised; +∞ ranks last.

        Raises:
            GradusError: for NaN, −∞, nothing but +∞, another shape, or without a population.
        """
        found = self._journal.judge(values, self.popsize, self._noise is not None)
        noise, mean, deviation = self._noise, self._mean, self._deviation
        assert noise is not None
        self._journal.note(found, lambda index: mean + deviation * noise[index])
        self._noise = None
        utilities = np.zeros(self.popsize)
        utilities[: self.elite] = 1 / self.elite
        weights = torch.from_numpy(shaped(found, utilities)).to(noise)
        centre = weights @ noise
        spread = weights @ (noise - centre).square()
        alpha, fading = self.smoothing, max(0.0, 1 - self._journal.generations / self.noise_generations)
        added = fading * (self.noise * self._sigma0) ** 2
        self._mean = mean + alpha * deviation * centre
        self._deviation = ((alpha * spread + 1 - alpha) * deviation.square() + added).sqrt()

    def state_dict(self) -> State:
        """Return a copy of everything that changes, between `ask` and `tell` too."""
        return {
            "journal": self._journal.state_dict(),
            "mean": self._mean.clone(),
            "deviation": self._deviation.clone(),
            "noise": None if self._noise is None else self._noise.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; raises GradusError if it belongs to another dimension."""
        self._journal.load_state_dict(state["journal"])
        copied = self._journal.copied
        self._mean, self._deviation, self._noise = (copied(state[name]) for name in ("mean", "deviation", "noise"))
