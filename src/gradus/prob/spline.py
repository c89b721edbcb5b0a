"""Monotone rational-quadratic splines: an elementwise bijector of [−B, B], the identity outside.

Within the bin from (x_k, y_k) to (x_{k+1}, y_{k+1}), with slope s = Δy/Δx, derivatives δ_k at the knots and
ξ = (x − x_k) / Δx,

    y = y_k + Δy (s ξ² + δ_k ξ(1 − ξ)) / D,    D = s + (δ_{k+1} + δ_k − 2s) ξ(1 − ξ)
    dy/dx = s² (δ_{k+1} ξ² + 2 s ξ(1 − ξ) + δ_k (1 − ξ)²) / D²

and the inverse is a root of a quadratic, in the form that does not cancel.

References:
    Durkan et al. 2019, Neural spline flows.
    Gregory and Delbourgo 1982, Piecewise rational quadratic interpolation to monotonic data.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.bijector import Bijector, like

__all__ = ["RationalQuadraticSpline"]

Pair = tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]
LEAST = 1e-3  # the smallest share of a bin, and the smallest derivative


class _Bin(NamedTuple):
    """The bin each number falls into: its corner, widths, and derivatives at both ends."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left: Tensor
    right: Tensor

    @property
    def slope(self) -> Tensor:
        return self.height / self.width

    @property
    def bend(self) -> Tensor:
        """δ_{k+1} + δ_k − 2s."""
        return self.right + self.left - 2 * self.slope


def _example() -> "RationalQuadraticSpline":
    raw = torch.linspace(-2, 2, 33, dtype=torch.float64).sin().mul(3).view(3, 11)
    return RationalQuadraticSpline(raw, bound=2.0)


@canon(
    "prob/spline",
    kind="bijector",
    paper="Durkan et al. 2019, Neural spline flows",
    names=("rational-quadratic-spline",),
    example=lambda: _example(),
)
class RationalQuadraticSpline(Bijector):
    """A monotone spline of K bins for every number; any parameters at all give one, and zeros give the identity.

    Args:
        raw: K widths and K heights before a softmax, K − 1 inner derivatives before a softplus, in the last
            dimension; the others broadcast against the input from the right.
        bound: B.

    Raises:
        GradusError: for a last dimension that is not 3K − 1, or a bound that is not positive.
    """

    raw: Tensor

    def __init__(self, raw: Float[Tensor, "*shape three_k_less_one"], bound: float = 3.0) -> None:
        super().__init__()
        bins, rest = divmod(raw.shape[-1] + 1, 3)
        if rest or bins < 1:
            raise GradusError(f"a spline of K bins takes 3K − 1 parameters, not {raw.shape[-1]}; give 23 for 8 bins")
        if not (bound > 0 and math.isfinite(bound)):
            raise GradusError(f"a spline cannot reach from −{bound} to {bound}; give a positive bound")
        if bins * LEAST >= 1:
            raise GradusError(f"{bins} bins leave none of them its least share of {LEAST}; give fewer bins")
        self._hold("raw", raw)
        self.bins, self.bound = bins, bound

    def _knots(self, like_x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x_k, y_k and δ_k of all K + 1 knots."""
        raw = like(self.raw, like_x)
        widths, heights, inner = raw.split([self.bins, self.bins, self.bins - 1], dim=-1)
        # Zeros give derivative 1, so that an untrained spline is the identity; outside it is, so the ends have 1 too.
        one = math.log(math.expm1(1 - LEAST))
        ends = torch.ones_like(widths[..., :1])
        slopes = torch.cat([ends, LEAST + F.softplus(inner + one), ends], dim=-1)
        return self._cumulated(widths), self._cumulated(heights), slopes

    def _cumulated(self, raw: Tensor) -> Tensor:
        shares = LEAST + (1 - LEAST * self.bins) * raw.softmax(-1)
        inner = self.bound * (2 * shares[..., :-1].cumsum(-1) - 1)
        end = torch.full_like(raw[..., :1], self.bound)
        return torch.cat([-end, inner, end], dim=-1)

    def _bin(self, value: Tensor, inverse: bool) -> _Bin:
        xs, ys, slopes = self._knots(value)
        edges = ys if inverse else xs
        index = (value.unsqueeze(-1) >= edges[..., 1:-1]).sum(-1, keepdim=True)

        def at(knots: Tensor, shift: int = 0) -> Tensor:
            return knots.expand(*value.shape, knots.shape[-1]).gather(-1, index + shift).squeeze(-1)

        x, y = at(xs), at(ys)
        return _Bin(x, y, at(xs, 1) - x, at(ys, 1) - y, at(slopes), at(slopes, 1))

    def _log_slope(self, part: _Bin, xi: Tensor) -> Tensor:
        across = xi * (1 - xi)
        above = part.right * xi**2 + 2 * part.slope * across + part.left * (1 - xi) ** 2
        return 2 * part.slope.log() + above.log() - 2 * (part.slope + part.bend * across).log()

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return the spline's values and the logarithms of its slopes."""
        within = x.clamp(-self.bound, self.bound)
        part = self._bin(within, inverse=False)
        xi = (within - part.x) / part.width
        across = xi * (1 - xi)
        rise = part.height * (part.slope * xi**2 + part.left * across) / (part.slope + part.bend * across)
        inside = x.abs() <= self.bound
        logdet = self._log_slope(part, xi)
        return torch.where(inside, part.y + rise, x), torch.where(inside, logdet, torch.zeros_like(logdet))

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return where the spline takes the values, and minus the logarithms of its slopes there."""
        within = y.clamp(-self.bound, self.bound)
        part = self._bin(within, inverse=True)
        rise = within - part.y
        a = part.height * (part.slope - part.left) + rise * part.bend
        b = part.height * part.left - rise * part.bend
        c = -part.slope * rise
        # Just below a knot, rounding may leave the discriminant a hair under zero.
        root = (b**2 - 4 * a * c).clamp_min(0).sqrt()
        xi = 2 * c / (-b - root)
        inside = y.abs() <= self.bound
        logdet = -self._log_slope(part, xi)
        x = part.x + xi * part.width
        return torch.where(inside, x, y), torch.where(inside, logdet, torch.zeros_like(logdet))
