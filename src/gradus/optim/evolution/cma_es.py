"""CMA-ES: a Gaussian whose covariance learns the shape of the objective, and whose step size the length of its path.

    x_k = m + σ y_k,   y_k = B D z_k,   z_k ~ N(0, I),   C = B D² Bᵀ
    m   ← m + σ ⟨y⟩,   ⟨y⟩ = Σ_{i≤μ} w_i y_{i:λ}
    p_σ ← (1 − c_σ) p_σ + √(c_σ(2 − c_σ) μ_eff) C^{−½}⟨y⟩,     σ ← σ exp(c_σ/d_σ (‖p_σ‖ / E‖N(0, I)‖ − 1))
    p_c ← (1 − c_c) p_c + h_σ √(c_c(2 − c_c) μ_eff) ⟨y⟩
    C   ← (1 + c_1 δ(h_σ) − c_1 − c_μ Σ w_j) C + c_1 p_c p_cᵀ + c_μ Σ_{i≤λ} w°_i y_{i:λ} y_{i:λ}ᵀ

The worse half has negative weights (active CMA), with w°_i = w_i n / ‖C^{−½} y_i‖² there, which keeps C positive.

A generation in ten dimensions is some twenty operations on arrays of a hundred numbers: torch spends two to four times
as long on each of them as NumPy does. The distribution is therefore held in float64 NumPy arrays on the CPU, whatever
the dtype and device of the points, with a NumPy generator seeded from the torch one; points are torch tensors. C is
decomposed again only after 1/(n(c_1 + c_μ)) generations, in which about an n-th of it is replaced.

References:
    Hansen 2016, The CMA evolution strategy: a tutorial (arXiv:1604.00772), table 1 and appendices B.2, B.3.
    Jastrebski and Arnold 2006, Improving evolution strategies through active covariance matrix adaptation.
Deviations:
    The tutorial's code waits 1/(10n(c_1 + c_μ)) generations for a decomposition; ten times as long costs no
    evaluations. Of its stopping rules, stagnation of medians is left out: it serves noisy objectives.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.optim.evolution.journal import Array, Journal, Journalled, State, size

__all__ = ["CMAES", "Constants"]


@dataclass(frozen=True, eq=False)
class Constants:
    """The strategy's parameters: functions of dimension and population size alone (the tutorial's table 1).

    Attributes:
        weights: w, (λ,), decreasing; positive ones sum to 1.
        parents: μ, how many are positive.
        mueff: μ_eff.
        sigma_rate: c_σ.
        sigma_damping: d_σ.
        path_rate: c_c.
        rank_one: c_1.
        rank_mu: c_μ.
        norm: E‖N(0, I)‖.
    """

    weights: Array
    parents: int
    mueff: float
    sigma_rate: float
    sigma_damping: float
    path_rate: float
    rank_one: float
    rank_mu: float
    norm: float

    @staticmethod
    def of(n: int, popsize: int, active: bool = True) -> "Constants":
        """Return the defaults for n dimensions and λ points."""
        raw = math.log((popsize + 1) / 2) - np.log(np.arange(1, popsize + 1))
        mu = popsize // 2
        good, bad = raw[:mu], raw[mu:]
        mueff, mueff_minus = good.sum() ** 2 / (good**2).sum(), bad.sum() ** 2 / (bad**2).sum()
        c1 = 2 / ((n + 1.3) ** 2 + mueff)
        cmu = min(1 - c1, 2 * (0.25 + mueff + 1 / mueff - 2) / ((n + 2) ** 2 + mueff))
        # In turn: no decay of C on average; no more than the negative half is worth; C stays positive definite.
        mass = min(1 + c1 / cmu, 1 + 2 * mueff_minus / (mueff + 2), (1 - c1 - cmu) / (n * cmu)) if active else 0.0
        weights = np.concatenate((good / good.sum(), bad * (mass / np.abs(bad).sum())))
        sigma_rate = (mueff + 2) / (n + mueff + 5)
        return Constants(
            weights=weights, parents=mu, mueff=float(mueff), sigma_rate=float(sigma_rate),
            sigma_damping=float(1 + 2 * max(0.0, math.sqrt((mueff - 1) / (n + 1)) - 1) + sigma_rate),
            path_rate=float((4 + mueff / n) / (n + 4 + 2 * mueff / n)), rank_one=float(c1), rank_mu=float(cmu),
            norm=math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2)),
        )  # fmt: skip


@canon(
    "optim/cma-es",
    kind="strategy",
    paper="Hansen 2016, The CMA evolution strategy: a tutorial",
    names=("cma-es", "cma"),
)
@final
class CMAES(Journalled):
    """Covariance matrix adaptation: x_k = m + σ N(0, C), with m, σ and C learned from ranks.

    Args:
        x0: m at the start, (n,); its dtype and device are those of the points.
        sigma0: σ at the start, in the units of `x0`: about a third of the range where the optimum may be.
        popsize: λ, by default 4 + ⌊3 ln n⌋; more for objectives with many local minima.
        generator: source of the noise; by default one of the strategy's own.
        active: negative weights for the worse half.
        tolfun: stop when the best values of the last 10 + ⌈30n/λ⌉ generations differ by less.
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
        active: bool = True,
        tolfun: float = 1e-12,
        tolx: float = 1e-12,
    ) -> None:
        self._journal = Journal("CMAES", x0, sigma0, generator)
        n = len(x0)
        self.popsize = size("CMAES", popsize, 4 + int(3 * math.log(n)))
        self._journal.popsize = self.popsize
        self.tolfun, self.tolx = tolfun, tolx
        self.constants = constants = Constants.of(n, self.popsize, active)
        self._sigma0 = self.sigma = float(sigma0)
        self._random = np.random.Generator(np.random.PCG64(self._journal.seed()))
        self._plain = x0.dtype == torch.float64 and x0.device.type == "cpu"
        self._mean: Array = x0.detach().to("cpu", torch.float64, copy=True).numpy()
        self._path_sigma = np.zeros(n)
        self._covariance = np.eye(n)
        self._decomposed = 0
        self._wait = max(1, round(1 / (n * (constants.rank_one + constants.rank_mu))))
        self._noise: Array | None = None
        self._history: deque[float] = deque(maxlen=10 + math.ceil(30 * n / self.popsize))
        self._use(np.eye(n), np.ones(n))

        c, s = constants.path_rate, constants.sigma_rate
        self._path_step = math.sqrt(c * (2 - c) * constants.mueff)
        self._path_sigma_step = math.sqrt(s * (2 - s) * constants.mueff)
        self._best_weights = constants.weights[: constants.parents].copy()
        # One product makes both updates of C: its rows are the steps y, and last the path p_c, which lives there.
        self._rows = np.zeros((self.popsize + 1, n))
        self._path = self._rows[-1]
        self._row_weights = np.append(constants.rank_mu * constants.weights, constants.rank_one)[:, None]
        self._kept = 1 - constants.rank_one - constants.rank_mu * float(constants.weights.sum())

    def __repr__(self) -> str:
        return f"CMAES(n={len(self._mean)}, popsize={self.popsize}, sigma={self.sigma:g})"

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """m, the best guess of the optimum: under noise a better one than `best`."""
        return self._tensor(self._mean.copy())

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """σ²C, in float64."""
        lower = np.tril(self._covariance)
        return torch.from_numpy(self.sigma**2 * (lower + np.tril(lower, -1).T))

    def ask(self) -> Float[Tensor, "popsize n"]:
        """Return λ points drawn from N(m, σ²C); asking again draws anew."""
        self._noise = self._random.standard_normal((self.popsize, len(self._mean)))
        self._steps = self._noise @ self._spread
        return self._tensor(self._mean + self.sigma * self._steps)

    def tell(self, values: Float[Tensor, " popsize"]) -> None:
        """Learn from the objective at the points asked for last.

        Args:
            values: (popsize,), to be minimised; +∞ ranks last.

        Raises:
            GradusError: for NaN, −∞, nothing but +∞, another shape, or without a population.
        """
        found = self._journal.judge(values, self.popsize, self._noise is not None)
        noise, steps, mean, sigma = self._noise, self._steps, self._mean, self.sigma
        assert noise is not None
        self._journal.note(found, lambda index: self._tensor(mean + sigma * steps[index]))
        self._noise = None

        order = found.argsort(kind="stable")
        self._history.append(float(found[order[0]]))
        self._adapt(noise.take(order, 0), steps.take(order, 0, self._rows[:-1]))
        if self._journal.generations - self._decomposed >= self._wait:
            self._decompose()

    def _adapt(self, noise: Array, steps: Array) -> None:
        """Move m, σ, the paths and C, given z and y from the best to the worst."""
        constants, mu, n = self.constants, self.constants.parents, len(self._mean)
        weights = self._best_weights
        step = weights @ steps[:mu]
        self._mean = self._mean + self.sigma * step

        rate = constants.sigma_rate
        whitened = self._axes @ (weights @ noise[:mu])
        self._path_sigma *= 1 - rate
        self._path_sigma += self._path_sigma_step * whitened
        length = math.sqrt(self._path_sigma @ self._path_sigma) / constants.norm
        self.sigma *= math.exp(rate / constants.sigma_damping * (length - 1))

        # A long path means that σ is growing too slowly: p_c stalls meanwhile, lest C stretch instead.
        warm = math.sqrt(1 - (1 - rate) ** (2 * self._journal.generations))
        short = length / warm < 1.4 + 2 / (n + 1)
        c = constants.path_rate
        self._path *= 1 - c
        if short:
            self._path += self._path_step * step

        row_weights = self._row_weights.copy()
        row_weights[mu:-1, 0] *= n / np.einsum("ij,ij->i", noise[mu:], noise[mu:])
        self._covariance *= self._kept + (0.0 if short else constants.rank_one * c * (2 - c))
        self._covariance += self._rows.T @ (row_weights * self._rows)

    def _decompose(self) -> None:
        """Find B and D anew; only the lower triangle of C is read, so rounding cannot make it asymmetric."""
        squares, axes = np.linalg.eigh(self._covariance)
        # Past a condition of 1e14 `stop` says so; who goes on must still meet no root of a negative number.
        self._use(axes, np.sqrt(np.maximum(squares, 1e-20 * squares[-1])))
        self._decomposed = self._journal.generations

    def _use(self, axes: Array, lengths: Array) -> None:
        self._axes, self._lengths = axes, lengths
        self._spread = np.ascontiguousarray((axes * lengths).T)

    def _tensor(self, array: Array) -> Tensor:
        made = torch.from_numpy(array)
        return made if self._plain else made.to(self._journal.device, self._journal.dtype)

    @property
    def stop(self) -> dict[str, float]:
        """Why to stop, as reason and measured value; empty while there is something to gain.

        `tolfun`: range of the recent best values. `tolx`: largest standard deviation. `condition`: of C, above 1e14.
        `tolxup`: σ grew ten-thousandfold, so σ₀ was far too small or the objective is unbounded. `noeffect`: σ, below
        the spacing of floating-point numbers at m.
        """
        found: dict[str, float] = {}
        deviations = self.sigma * np.sqrt(self._covariance.diagonal())
        widest = float(deviations.max())
        if len(self._history) == self._history.maxlen:
            spread = max(self._history) - min(self._history)
            if spread < self.tolfun or spread == 0:
                found["tolfun"] = spread
        if max(widest, self.sigma * float(np.abs(self._path).max())) < self.tolx * self._sigma0:
            found["tolx"] = widest
        condition = float((self._lengths[-1] / self._lengths[0]) ** 2)
        if condition > 1e14:
            found["condition"] = condition
        if self.sigma * float(self._lengths[-1]) > 1e4 * self._sigma0:
            found["tolxup"] = self.sigma
        axis = self._journal.generations % len(self._mean)
        along = 0.1 * self.sigma * self._lengths[axis] * self._axes[:, axis]
        if (self._mean == self._mean + 0.2 * deviations).any() or (self._mean == self._mean + along).all():
            found["noeffect"] = self.sigma
        return found

    def state_dict(self) -> State:
        """Return a copy of everything that changes, between `ask` and `tell` too."""
        arrays = {
            "mean": self._mean, "path_sigma": self._path_sigma, "path": self._path, "covariance": self._covariance,
            "axes": self._axes, "lengths": self._lengths,
        }  # fmt: skip
        return {
            "journal": self._journal.state_dict(),
            "arrays": {name: torch.from_numpy(array.copy()) for name, array in arrays.items()},
            "noise": None if self._noise is None else torch.from_numpy(self._noise.copy()),
            "random": self._random.bit_generator.state,
            "sigma": self.sigma,
            "decomposed": self._decomposed,
            "history": list(self._history),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; raises GradusError if it belongs to another dimension."""
        self._journal.load_state_dict(state["journal"])
        arrays = {name: tensor.numpy().copy() for name, tensor in state["arrays"].items()}
        self._mean, self._covariance = arrays["mean"], arrays["covariance"]
        self._path_sigma = arrays["path_sigma"]
        self._path[:] = arrays["path"]
        self._use(arrays["axes"], arrays["lengths"])
        self._noise = None if state["noise"] is None else state["noise"].numpy().copy()
        if self._noise is not None:
            self._steps = self._noise @ self._spread
        self._random.bit_generator.state = state["random"]
        self.sigma, self._decomposed = float(state["sigma"]), int(state["decomposed"])
        self._history.clear()
        self._history.extend(state["history"])
