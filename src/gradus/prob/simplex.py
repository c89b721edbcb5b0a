"""Stick-breaking: K − 1 numbers onto the simplex of K probabilities.

    z_k = σ(x_k − log(K − k)),    y_k = z_k Π_{j<k} (1 − z_j),    y_K = Π_j (1 − z_j)
    log |det| = Σ_k [log z_k + log(1 − z_k) + Σ_{j<k} log(1 − z_j)]

The offset makes x = 0 the uniform distribution. The Jacobian is that of the first K − 1 coordinates, the measure in
which the density of a Dirichlet is written. All products are sums of logarithms.

References:
    Linderman, Johnson and Adams 2015, Dependent multinomial models made easy: stick-breaking with the Pólya-gamma
    augmentation. Carpenter et al. 2017, Stan: a probabilistic programming language.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from gradus.canon import canon
from gradus.prob.bijector import Bijector

__all__ = ["StickBreaking"]


def _offset(x: Tensor) -> Tensor:
    return torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device).log()


@canon(
    "prob/stick-breaking",
    kind="bijector",
    paper="Linderman, Johnson and Adams 2015, Dependent multinomial models made easy",
)
class StickBreaking(Bijector):
    """R^(K−1) onto the simplex of K probabilities, by breaking a stick K − 1 times."""

    event_dims = 1
    domain = constraints.real_vector
    codomain = constraints.simplex

    def forward(self, x: Float[Tensor, "*batch less"]) -> tuple[Float[Tensor, "*batch k"], Float[Tensor, "*batch"]]:
        """Return the probabilities and the log-determinant onto the first K − 1 of them."""
        u = x - _offset(x)
        log_z, log_rest = F.logsigmoid(u), F.logsigmoid(-u)
        left = log_rest.cumsum(-1)
        before = left - log_rest
        y = torch.cat([(log_z + before).exp(), left[..., -1:].exp()], dim=-1)
        return y, (log_z + left).sum(-1)

    def inverse(self, y: Float[Tensor, "*batch k"]) -> tuple[Float[Tensor, "*batch less"], Float[Tensor, "*batch"]]:
        """Return the numbers that break the stick into y, and minus the log-determinant."""
        after = y.flip(-1).cumsum(-1).flip(-1)[..., 1:].log()
        head = y[..., :-1].log()
        stick = torch.logaddexp(head, after)
        logdet = -(head + after - stick).sum(-1)
        return head - after + _offset(after), logdet

    def image_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape with one more probability than numbers."""
        return torch.Size([*shape[:-1], shape[-1] + 1])

    def preimage_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape with one number less than probabilities."""
        return torch.Size([*shape[:-1], shape[-1] - 1])
