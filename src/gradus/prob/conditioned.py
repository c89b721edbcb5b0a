"""Bijectors whose parameters come out of a conditioner: coupling and autoregressive maps.

    coupling          y_i = x_i (i kept),    y_i = g(x_i; θ_i(x_kept))
    autoregressive    y_i = g(x_i; θ_i(x_1, …, x_{i−1}))

g is an elementwise bijector (affine, spline) made from θ_i. The Jacobian is triangular, whatever the conditioner is, so
the log-determinant is Σ log |∂g/∂x_i|. A coupling runs in one pass both ways; the autoregressive map runs in one pass
forward (from noise: inverse autoregressive flow), and its inverse in d passes; swapped by `Inverse` it is the masked
autoregressive flow.

References:
    Dinh, Sohl-Dickstein and Bengio 2017, Density estimation using Real NVP.
    Kingma et al. 2016, Improved variational inference with inverse autoregressive flow.
    Papamakarios, Pavlakou and Murray 2017, Masked autoregressive flow for density estimation.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import constraints

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.bijector import Bijector, summed
from gradus.prob.elementwise import Affine
from gradus.prob.spline import RationalQuadraticSpline

__all__ = ["Autoregressive", "Coupling", "affine_element", "spline_element"]

Answer = tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]
Conditioner = Callable[[Tensor], Tensor]
Element = Callable[[Tensor], Bijector]


def affine_element(raw: Float[Tensor, "*event two"], limit: float = 5.0) -> Bijector:
    """Return y = a + e^s x with (a, s) in the last dimension; |s| stays below `limit`, and zeros give the identity.

    Args:
        raw: two parameters a number.
        limit: bound of s, which keeps an untrained network from overflowing.
    """
    shift, log_scale = raw.unbind(-1)
    return Affine(shift, log_scale=limit * torch.tanh(log_scale / limit))


def spline_element(raw: Float[Tensor, "*event three_k_less_one"], bound: float = 3.0) -> Bijector:
    """Return a rational-quadratic spline of K bins, from 3K − 1 parameters in the last dimension.

    Args:
        raw: 3K − 1 parameters a number; zeros give the identity.
        bound: the spline is the identity outside [−bound, bound].
    """
    return RationalQuadraticSpline(raw, bound=bound)


def _checked(raw: Tensor, x: Tensor, what: str) -> Tensor:
    if raw.dim() != x.dim() + 1 or raw.shape[:-1] != x.shape:
        raise GradusError(
            f"the conditioner of the {what} gave shape {tuple(raw.shape)} for an input of shape {tuple(x.shape)}; "
            "give every number its parameters in one more last dimension"
        )
    return raw


def _running(kept: Tensor) -> Tensor:
    """A conditioner for examples: parameters of every number, from all that is kept."""
    total = (kept * torch.arange(1, kept.shape[-1] + 1, dtype=kept.dtype)).sum(-1, keepdim=True).expand_as(kept)
    return torch.stack([total.sin(), (0.7 * total).cos()], dim=-1)


def _strictly_before(x: Tensor) -> Tensor:
    """A conditioner for examples: parameters of every number, from those before it."""
    before = x.cumsum(-1) - x
    return torch.stack([before.sin(), (0.7 * before).cos()], dim=-1)


@canon(
    "prob/coupling",
    kind="bijector",
    paper="Dinh, Sohl-Dickstein and Bengio 2017, Density estimation using Real NVP",
    example=lambda: Coupling(torch.tensor([True, False, True, False]), _running),
)
class Coupling(Bijector):
    """Some numbers of an event are kept, and decide how the others are mapped.

    Args:
        mask: True where a number is kept; its shape is an event's, of any dimensions (halves of a vector, a
            checkerboard or channels of an image).
        conditioner: from events whose other numbers are zero, (*batch, *event), to parameters of every number,
            (*batch, *event, k); those of kept numbers are not used. A module's parameters are learned.
        element: from parameters (…, k) to an elementwise bijector.

    Raises:
        GradusError: for a mask that keeps all or nothing.
    """

    mask: Tensor

    def __init__(
        self, mask: Bool[Tensor, "*event"], conditioner: Conditioner, element: Element = affine_element
    ) -> None:
        super().__init__()
        if bool(mask.all()) or not bool(mask.any()):
            raise GradusError("a coupling that keeps all numbers or none does nothing; keep some and map the others")
        self.register_buffer("mask", mask)
        self.conditioner, self.element = conditioner, element
        self.event_dims, self.event_shape = mask.dim(), mask.shape
        self.domain = self.codomain = constraints.independent(constraints.real, mask.dim())

    def _element(self, value: Tensor) -> Bijector:
        raw = _checked(self.conditioner(value.masked_fill(~self.mask, 0)), value, "coupling")
        # Kept numbers get the parameters zero, so that nothing that overflows there can poison a gradient.
        return self.element(raw.masked_fill(self.mask.unsqueeze(-1), 0))

    def _mapped(self, value: Tensor, answer: tuple[Tensor, Tensor]) -> Answer:
        image, logdet = answer
        return torch.where(self.mask, value, image), summed(logdet.masked_fill(self.mask, 0), self.event_dims)

    def forward(self, x: Float[Tensor, "*shape"]) -> Answer:
        """Return the event with the other numbers mapped, and the log-determinant."""
        return self._mapped(x, self._element(x)(x))

    def inverse(self, y: Float[Tensor, "*shape"]) -> Answer:
        """Return the event with the other numbers mapped back, and the log-determinant."""
        return self._mapped(y, self._element(y).inverse(y))


@canon(
    "prob/autoregressive",
    kind="bijector",
    paper="Kingma et al. 2016, Improved variational inference with inverse autoregressive flow",
    example=lambda: Autoregressive(_strictly_before),
)
class Autoregressive(Bijector):
    """Each number is mapped as those before it decide.

    Args:
        conditioner: from vectors (*batch, d) to parameters (*batch, d, k), where those of number i depend on numbers
            before i only (a masked network). A module's parameters are learned.
        element: from parameters (…, k) to an elementwise bijector.
    """

    event_dims = 1
    domain = codomain = constraints.real_vector

    def __init__(self, conditioner: Conditioner, element: Element = affine_element) -> None:
        super().__init__()
        self.conditioner, self.element = conditioner, element

    def _element(self, value: Tensor) -> Bijector:
        return self.element(_checked(self.conditioner(value), value, "autoregressive map"))

    def forward(self, x: Float[Tensor, "*shape"]) -> Answer:
        """Return the mapped vectors and the log-determinant, in one pass."""
        y, logdet = self._element(x)(x)
        return y, logdet.sum(-1)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Answer:
        """Return the vectors mapped back and the log-determinant, in d passes: each makes one more number known."""
        length = y.shape[-1]
        x, logdet = torch.zeros_like(y), torch.zeros_like(y)
        position = torch.arange(length, device=y.device)
        for known in range(length):
            x, logdet = self._element(x).inverse(y)
            # What is not known yet would only be noise, and might overflow.
            x = x.masked_fill(position > known, 0)
        return x, logdet.sum(-1)
