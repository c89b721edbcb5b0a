"""Bregman divergences: how far a convex function is above its tangent.

    D_F(p, q) = F(p) − F(q) − ⟨∇F(q), p − q⟩ ≥ 0

One strictly convex F is one divergence; its gradient is autograd's, so F is all that has to be written down.

    squared Euclidean   F = ½ |x|²            D = ½ |p − q|²
    KL                  F = Σ x log x − x     D = Σ p log(p / q) − p + q
    Itakura–Saito       F = −Σ log x          D = Σ p/q − log(p/q) − 1

The mean of any distribution minimises E D_F(x, ·), whatever F is; and the KL divergence of two members of an
exponential family is the Bregman divergence of its log-partition function.

References:
    Bregman 1967, The relaxation method of finding the common point of convex sets.
    Banerjee et al. 2005, Clustering with Bregman divergences.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError, nearest

__all__ = ["GENERATORS", "bregman_divergence"]

Generator = Callable[[Tensor], Tensor]

GENERATORS: dict[str, Generator] = {
    "squared-euclidean": lambda x: (x**2).sum(-1) / 2,
    "kl": lambda x: (torch.xlogy(x, x) - x).sum(-1),
    "itakura-saito": lambda x: -x.log().sum(-1),
}


@canon(
    "prob/bregman",
    kind="divergence",
    paper="Bregman 1967, The relaxation method of finding the common point of convex sets",
    example=lambda: lambda p, q: bregman_divergence(p, q, "itakura-saito"),
)
def bregman_divergence(
    p: Float[Tensor, "*#batch k"], q: Float[Tensor, "*#batch k"], generator: str | Generator = "squared-euclidean"
) -> Float[Tensor, "*batch"]:
    """Return D_F(p, q) = F(p) − F(q) − ⟨∇F(q), p − q⟩.

    Args:
        p: points where F is finite.
        q: points where F has a gradient.
        generator: F, (…, k) -> (…), convex; or its name.

    Raises:
        GradusError: for an unknown name, or an F that does not give one number a point.
    """
    if isinstance(generator, str):
        if generator not in GENERATORS:
            raise GradusError(f"there is no Bregman generator {generator!r}{nearest(generator, GENERATORS)}")
        generator = GENERATORS[generator]
    learning = torch.is_grad_enabled() and q.requires_grad
    with torch.enable_grad():
        at = q if learning else q.detach().requires_grad_()
        value = generator(at)
        if value.shape != q.shape[:-1]:
            raise GradusError(
                f"the Bregman generator gave shape {tuple(value.shape)} for points of shape {tuple(q.shape)}; "
                "sum over the last dimension"
            )
        (slope,) = torch.autograd.grad(value.sum(), at, create_graph=learning)
    tangent = (value if learning else value.detach()) + (slope * (p - q)).sum(-1)
    return generator(p) - tangent
