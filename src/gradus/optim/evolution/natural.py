"""Natural evolution strategies: follow the natural gradient of expected utility over the parameters of a Gaussian.

    J(m, A) = E_{z ~ N(0, I)} u(f(m + A z)),   u from ranks: u_k ∝ max(0, ln(λ/2 + 1) − ln k), less its mean
    G_m = Σ u_k z_k,   G_M = Σ u_k (z_k z_kᵀ − I)

in the exponential coordinates in which the Fisher matrix is the identity, so that no inverse is needed:

    full (xNES)       m ← m + η_m σ B G_m,   σ ← σ exp(η_σ tr(G_M) / 2n),   B ← B exp(η_B (G_M − tr(G_M)/n I) / 2)
    diagonal (SNES)   m ← m + η_m s ∘ G_m,   s ← s ∘ exp(η_s diag(G_M) / 2)
    isotropic         m ← m + η_m σ G_m,     σ ← σ exp(η_s tr(G_M) / 2n)

with A = σB and det B = 1 throughout. Antithetic sampling draws half of the z and mirrors them.

References:
    Wierstra, Schaul, Glasmachers, Sun, Peters and Schmidhuber 2014, Natural evolution strategies: equations and rates.
    Glasmachers et al. 2010, Exponential natural evolution strategies. Schaul et al. 2011, High dimensions and heavy
    tails for natural evolution strategies.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.optim.evolution.journal import Array, Journal, Journalled, State, shaped, size
from gradus.optim.settings import inside

__all__ = ["NES", "log_utilities"]


def log_utilities(popsize: int) -> Array:
    """Return u_k ∝ max(0, ln(λ/2 + 1) − ln k) from the best rank to the worst, summing to 1, less 1/λ."""
    raw = np.maximum(0.0, math.log(popsize / 2 + 1) - np.log(np.arange(1, popsize + 1)))
    return raw / raw.sum() - 1 / popsize


@canon(
    "optim/natural-es",
    kind="strategy",
    paper="Wierstra et al. 2014, Natural evolution strategies",
    names=("nes", "natural-es"),
)
@final
class NES(Journalled):
    """Natural evolution strategy: xNES, SNES or one common standard deviation, by `covariance`.

    Args:
        x0: m at the start, (n,); its dtype and device are those of the points.
        sigma0: standard deviation at the start, in the units of `x0`.
        popsize: λ, by default 4 + ⌊3 ln n⌋, made even for mirrored points.
        generator: source of the noise; by default one of the strategy's own.
        covariance: "full" costs n³ a generation; "diagonal" and "isotropic" n.
        antithetic: draw points in mirrored pairs.
        lr_mean: η_m.
        lr_spread: η_σ, η_s and η_B; by default the paper's.
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
        covariance: Literal["full", "diagonal", "isotropic"] = "full",
        antithetic: bool = True,
        lr_mean: float = 1.0,
        lr_spread: float | None = None,
        tolx: float = 1e-12,
    ) -> None:
        self._journal = Journal("NES", x0, sigma0, generator)
        n = len(x0)
        default = 4 + int(3 * math.log(n))
        self.popsize = size("NES", popsize, default + default % 2 * antithetic, least=4, even=antithetic)
        self._journal.popsize = self.popsize
        self.kind, self.antithetic, self.tolx = covariance, antithetic, tolx
        slow = math.sqrt(n) * (n if covariance == "full" else 1)
        rate = (3 + math.log(n)) / (5 * slow) * (3 if covariance == "full" else 1)
        self.lr_mean = inside("NES", "lr_mean", lr_mean, 0)
        self.lr_spread = rate if lr_spread is None else inside("NES", "lr_spread", lr_spread, 0)
        self._sigma0 = float(sigma0)
        self._utilities = log_utilities(self.popsize)
        self._mean = x0.detach().clone()
        self._sigma = torch.full_like(self._mean if covariance == "diagonal" else self._mean[0], self._sigma0)
        self._shape = torch.eye(n).to(self._mean) if covariance == "full" else None
        self._noise: Tensor | None = None

    def __repr__(self) -> str:
        return f"NES(n={len(self._mean)}, popsize={self.popsize}, covariance={self.kind!r})"

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """m."""
        return self._mean.clone()

    @property
    def factor(self) -> Float[Tensor, "n n"]:
        """A, with covariance A Aᵀ."""
        if self._shape is not None:
            return self._sigma * self._shape
        return torch.diag(self._sigma.expand_as(self._mean))

    @property
    def stop(self) -> dict[str, float]:
        """Why to stop, as reason and measured value: `tolx`, for the largest standard deviation."""
        spread = self._sigma if self._shape is None else self._sigma * self._shape.norm(dim=1)
        widest = float(spread.max())
        return {"tolx": widest} if widest < self.tolx * self._sigma0 else {}

    def ask(self) -> Float[Tensor, "popsize n"]:
        """Return λ points drawn from N(m, A Aᵀ), mirrored ones in the second half; asking again draws anew."""
        if self.antithetic:
            half = self._journal.normal(self.popsize // 2, len(self._mean))
            self._noise = torch.cat((half, -half))
        else:
            self._noise = self._journal.normal(self.popsize, len(self._mean))
        return self._mean + self._moved(self._noise)

    def _moved(self, noise: Tensor) -> Tensor:
        """Return A z for every row."""
        return (noise if self._shape is None else noise @ self._shape.mT) * self._sigma

    def tell(self, values: Float[Tensor, " popsize"]) -> None:
        """Learn from the objective at the points asked for last.

        Args:
            values: (popsize,), to be minimised; +∞ ranks last.

        Raises:
            GradusError: for NaN, −∞, nothing but +∞, another shape, or without a population.
        """
        found = self._journal.judge(values, self.popsize, self._noise is not None)
        noise = self._noise
        assert noise is not None
        self._journal.note(found, lambda index: self._mean + self._moved(noise)[index])
        self._noise = None
        utility = torch.from_numpy(shaped(found, self._utilities)).to(noise)
        self._mean = self._mean + self.lr_mean * self._moved(utility @ noise)
        if self._shape is not None:
            gradient = (utility[:, None] * noise).mT @ noise  # −I drops out: the utilities sum to zero
            mean_square = gradient.trace() / len(self._mean)
            gradient.diagonal().sub_(mean_square)
            self._shape = self._shape @ torch.linalg.matrix_exp(self.lr_spread / 2 * gradient)
            self._sigma = self._sigma * torch.exp(self.lr_spread / 2 * mean_square)
        else:
            squares = utility @ noise.square()
            self._sigma = self._sigma * torch.exp(
                self.lr_spread / 2 * (squares if self.kind == "diagonal" else squares.mean())
            )

    def state_dict(self) -> State:
        """Return a copy of everything that changes, between `ask` and `tell` too."""
        held = {"mean": self._mean, "sigma": self._sigma, "shape": self._shape, "noise": self._noise}
        return {
            "journal": self._journal.state_dict(),
            **{name: None if tensor is None else tensor.clone() for name, tensor in held.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; raises GradusError if it belongs to another dimension."""
        self._journal.load_state_dict(state["journal"])
        copied = self._journal.copied
        self._mean, self._sigma, self._shape, self._noise = (
            copied(state[name]) for name in ("mean", "sigma", "shape", "noise")
        )
