"""f-divergences, and their lower bounds by a critic that sees samples only.

    D_f(p ‖ q) = Σ q f(p / q),    f convex, f(1) = 0
    D_f(p ‖ q) ≥ E_p[T] − E_q[f*(T)]    for every T into the domain of f*,    with equality at T = f′(p / q)

f* is the convex conjugate. A critic network gives any number v; the activation g sends it into the domain of f*. Each
divergence is a row of data: f, f′, f*, g. Training T is estimating the divergence; training q against it is a GAN.

References:
    Ali and Silvey 1966, A general class of coefficients of divergence. Csiszár 1967, Information-type measures.
    Nguyen, Wainwright and Jordan 2010, Estimating divergence functionals by convex risk minimization.
    Nowozin, Cseke and Tomioka 2016, f-GAN: training generative neural samplers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gradus.canon import canon
from gradus.errors import GradusError, nearest

__all__ = ["FDIVERGENCES", "FDivergence", "critic_bound", "f_divergence", "optimal_critic"]

Map = Callable[[Tensor], Tensor]
LOG_2 = math.log(2)


@dataclass(frozen=True)
class FDivergence:
    """A divergence as data; the functions are elementwise.

    Attributes:
        f: the convex function, of the ratio u = p / q ≥ 0.
        slope: f′, also the best critic as a function of u.
        conjugate: f*(t) = sup_u (u t − f(u)).
        activation: g, from all numbers into the domain of f*.
        vertical: lim f(u) / u as u grows: what p's mass costs where q has none.
    """

    f: Map
    slope: Map
    conjugate: Map
    activation: Map
    vertical: float = math.inf


FDIVERGENCES: dict[str, FDivergence] = {
    "kl": FDivergence(
        f=lambda u: torch.xlogy(u, u), slope=lambda u: u.log() + 1, conjugate=lambda t: (t - 1).exp(),
        activation=lambda v: v,
    ),
    "reverse-kl": FDivergence(
        f=lambda u: -u.log(), slope=lambda u: -1 / u, conjugate=lambda t: -1 - (-t).log(),
        activation=lambda v: -v.exp(), vertical=0.0,
    ),
    "js": FDivergence(
        f=lambda u: (torch.xlogy(u, u) - (1 + u) * ((1 + u) / 2).log()) / 2,
        slope=lambda u: (2 * u / (1 + u)).log() / 2, conjugate=lambda t: -(2 - (2 * t).exp()).log() / 2,
        activation=lambda v: (LOG_2 + F.logsigmoid(v)) / 2, vertical=LOG_2 / 2,
    ),
    "gan": FDivergence(
        f=lambda u: torch.xlogy(u, u) - (1 + u) * (1 + u).log() + 2 * LOG_2,
        slope=lambda u: (u / (1 + u)).log(), conjugate=lambda t: -torch.log(-torch.expm1(t)) - 2 * LOG_2,
        activation=F.logsigmoid, vertical=0.0,
    ),
    "pearson": FDivergence(
        f=lambda u: (u - 1) ** 2, slope=lambda u: 2 * (u - 1),
        conjugate=lambda t: torch.where(t >= -2, t**2 / 4 + t, -torch.ones_like(t)), activation=lambda v: v,
    ),
    "neyman": FDivergence(
        f=lambda u: (1 - u) ** 2 / u, slope=lambda u: 1 - u**-2, conjugate=lambda t: 2 - 2 * (1 - t).sqrt(),
        activation=lambda v: -torch.expm1(v), vertical=1.0,
    ),
    "hellinger": FDivergence(
        f=lambda u: (u.sqrt() - 1) ** 2, slope=lambda u: 1 - u**-0.5, conjugate=lambda t: t / (1 - t),
        activation=lambda v: -torch.expm1(v), vertical=1.0,
    ),
    "total-variation": FDivergence(
        f=lambda u: (u - 1).abs() / 2, slope=lambda u: (u - 1).sign() / 2, conjugate=lambda t: t,
        activation=lambda v: v.tanh() / 2, vertical=0.5,
    ),
}  # fmt: skip


def _named(name: str) -> FDivergence:
    key = name.replace("_", "-").lower()
    if key not in FDIVERGENCES:
        raise GradusError(f"there is no f-divergence {name!r}{nearest(name, FDIVERGENCES)}")
    return FDIVERGENCES[key]


@canon(
    "prob/f-divergence",
    kind="divergence",
    paper="Ali and Silvey 1966, A general class of coefficients of divergence",
    example=lambda: lambda p, q: f_divergence(p, q, "hellinger"),
)
def f_divergence(
    p: Float[Tensor, "*#batch k"], q: Float[Tensor, "*#batch k"], name: str = "kl"
) -> Float[Tensor, "*batch"]:
    """Return D_f(p ‖ q) = Σ q f(p / q), where q is zero the limit p · lim f(u) / u.

    Args:
        p: probabilities.
        q: probabilities.
        name: a key of `FDIVERGENCES`; "gan" is 2 JS, the value of the GAN game plus log 4.

    Raises:
        GradusError: for an unknown name.
    """
    row = _named(name)
    p, q = torch.broadcast_tensors(p, q)
    there = q > 0
    inside = torch.where(there, q * row.f(p / torch.where(there, q, torch.ones_like(q))), torch.zeros_like(q))
    missed = (p > 0) & ~there
    # An infinite price is a constant: times p, its zeros would be NaN in the gradient.
    cost = torch.full_like(p, math.inf) if math.isinf(row.vertical) else p * row.vertical
    outside = torch.where(missed, cost, torch.zeros_like(p))
    return (inside + outside).sum(-1)


def optimal_critic(ratio: Float[Tensor, "*shape"], name: str) -> Float[Tensor, "*shape"]:
    """Return f′(p / q), the critic for which the bound is the divergence.

    Args:
        ratio: p / q at some points.
        name: a key of `FDIVERGENCES`.

    Raises:
        GradusError: for an unknown name.
    """
    return _named(name).slope(ratio)


def critic_bound(
    on_p: Float[Tensor, " draws_of_p"], on_q: Float[Tensor, " draws_of_q"], name: str, *, activate: bool = True
) -> Float[Tensor, ""]:
    """Return mean T(x ~ p) − mean f*(T(x ~ q)): in expectation no more than D_f(p ‖ q), whatever the critic is.

    Args:
        on_p: the critic's numbers v at draws of p.
        on_q: and at draws of q.
        name: a key of `FDIVERGENCES`.
        activate: send v into the domain of f* first; False where they are values of T already.

    Raises:
        GradusError: for an unknown name.
    """
    row = _named(name)
    if activate:
        on_p, on_q = row.activation(on_p), row.activation(on_q)
    return on_p.mean() - row.conjugate(on_q).mean()
