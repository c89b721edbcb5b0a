"""The simple Gaussian evolution strategy: one mean, one standard deviation, no covariance.

(μ, λ), all parents forgotten: the moments of the best μ points, about the mean they were drawn around,

    x_k = m + σ z_k,   m ← 1/μ Σ_{i≤μ} x_{i:λ},   σ² ← 1/(nμ) Σ_{i≤μ} ‖x_{i:λ} − m_old‖²

so that σ grows while the best points lie far out in one direction, and shrinks when they surround the optimum.

(1 + λ), elitist: the parent stays until a child is at least as good, and σ follows the share p of such children,

    σ ← σ exp((p − p*) / ((1 − p*) d)),   p* = 1/(5 + √λ/2),   d = 1 + n/(2λ)

which for λ = 1 is Rechenberg's rule: a fifth of the steps should succeed.

References:
    Rechenberg 1973, Evolutionsstrategie. Larrañaga and Lozano 2001, Estimation of distribution algorithms.
    Igel, Hansen and Roth 2007, Covariance matrix adaptation for multi-objective optimization: p* and d.
"""

import math
from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.evolution.journal import Journal, Journalled, State, shaped, size

__all__ = ["GaussianES"]


@canon(
    "optim/gaussian-es", kind="strategy", paper="Rechenberg 1973, Evolutionsstrategie", names=("gaussian-es", "simple")
)
@final
class GaussianES(Journalled):
    """Simple Gaussian ES: x_k = m + σ N(0, I), with the moments of the best, or one elitist parent.

    Args:
        x0: m at the start, (n,); its dtype and device are those of the points.
        sigma0: σ at the start, in the units of `x0`.
        popsize: λ, by default 4n, at least 12; with `plus`, 4 + ⌊3 ln n⌋.
        generator: source of the noise; by default one of the strategy's own.
        parents: μ, by default λ/4; always 1 with `plus`.
        plus: (1 + λ) with the success rule, in place of (μ, λ).
        tolx: stop when σ is below this times `sigma0`.

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
        parents: int | None = None,
        plus: bool = False,
        tolx: float = 1e-12,
    ) -> None:
        self._journal = Journal("GaussianES", x0, sigma0, generator)
        n = len(x0)
        default = 4 + int(3 * math.log(n)) if plus else max(12, 4 * n)
        self.popsize = size("GaussianES", popsize, default, least=1 if plus else 2)
        self._journal.popsize = self.popsize
        self.parents = max(1, self.popsize // 4) if parents is None else parents
        if not 1 <= self.parents < self.popsize + plus:
            raise GradusError(f"GaussianES: parents={parents} is out of range; give 1 to {self.popsize - 1}")
        if plus and parents not in (None, 1):
            raise GradusError(f"GaussianES: plus=True keeps one parent, not {parents}; leave parents out")
        self.plus, self.tolx = plus, tolx
        self._sigma0 = self.sigma = float(sigma0)
        self._mean, self._value = x0.detach().clone(), math.inf
        self._noise: Tensor | None = None

    def __repr__(self) -> str:
        kind = f"(1 + {self.popsize})" if self.plus else f"({self.parents}, {self.popsize})"
        return f"GaussianES({kind}, n={len(self._mean)}, sigma={self.sigma:g})"

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """m; with `plus`, the parent."""
        return self._mean.clone()

    @property
    def stop(self) -> dict[str, float]:
        """Why to stop, as reason and measured value: `tolx`, for σ."""
        return {"tolx": self.sigma} if self.sigma < self.tolx * self._sigma0 else {}

    def ask(self) -> Float[Tensor, "popsize n"]:
        """Return λ points drawn from N(m, σ²I); asking again draws anew."""
        self._noise = self._journal.normal(self.popsize, len(self._mean))
        return self._mean + self.sigma * self._noise

    def tell(self, values: Float[Tensor, " popsize"]) -> None:
        """Learn from the objective at the points asked for last.

        Args:
            values: (popsize,), to be minimised; +∞ ranks last.

        Raises:
            GradusError: for NaN, −∞, nothing but +∞, another shape, or without a population.
        """
        found = self._journal.judge(values, self.popsize, self._noise is not None)
        noise, mean, sigma = self._noise, self._mean, self.sigma
        assert noise is not None
        self._journal.note(found, lambda index: mean + sigma * noise[index])
        self._noise = None
        if self.plus:
            self._succeed(found, noise)
            return
        utilities = np.zeros(self.popsize)
        utilities[: self.parents] = 1 / self.parents
        weights = torch.from_numpy(shaped(found, utilities)).to(noise)
        self._mean = mean + sigma * (weights @ noise)
        self.sigma = sigma * math.sqrt(float(weights @ noise.square().mean(1)))

    def _succeed(self, values: np.ndarray, noise: Tensor) -> None:
        """Let the best child take the parent's place if it is at least as good, and adapt σ to how many are."""
        rate, goal = float((values <= self._value).mean()), 1 / (5 + math.sqrt(self.popsize) / 2)
        best = int(values.argmin())
        if values[best] <= self._value:
            self._mean, self._value = self._mean + self.sigma * noise[best], float(values[best])
        damping = 1 + len(self._mean) / (2 * self.popsize)
        self.sigma *= math.exp((rate - goal) / ((1 - goal) * damping))

    def state_dict(self) -> State:
        """Return a copy of everything that changes, between `ask` and `tell` too."""
        return {
            "journal": self._journal.state_dict(),
            "mean": self._mean.clone(),
            "noise": None if self._noise is None else self._noise.clone(),
            "sigma": self.sigma,
            "value": self._value,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; raises GradusError if it belongs to another dimension."""
        self._journal.load_state_dict(state["journal"])
        self._mean = self._journal.copied(state["mean"])
        self._noise = self._journal.copied(state["noise"])
        self.sigma, self._value = float(state["sigma"]), float(state["value"])
