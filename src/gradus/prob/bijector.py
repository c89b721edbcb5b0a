"""Bijectors: invertible maps that know how they change volume, as modules whose parameters can be learned.

    y = f(x),    log p_Y(y) = log p_X(x) − log |det ∂f/∂x|

`bijector(x)` and `bijector.inverse(y)` both return the image and the log-determinant of *their own* Jacobian, so the
two add up to zero. The last `event_dims` dimensions of a tensor are one event, the others are batch: the
log-determinant has one value an event. An elementwise map has no event dimensions and gives one value a number.

References:
    Tabak and Turner 2013, A family of nonparametric density estimation algorithms.
    Papamakarios et al. 2021, Normalizing flows for probabilistic modeling and inference.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import constraints

from gradus.errors import GradusError

__all__ = ["Bijector", "LogDensity", "pulled_back", "pushed_forward", "summed"]

LogDensity = Callable[[Tensor], Tensor]


class Bijector(nn.Module, ABC):
    """An invertible map f with its log |det ∂f/∂x|.

    Attributes:
        event_dims: how many of the last dimensions are one event.
        domain: where x may lie, as torch's constraint over as many event dimensions.
        codomain: where y lies.
        event_shape: the shape of an event of the domain, where f is made for one only; None takes any.
    """

    event_dims: int = 0
    domain: constraints.Constraint = constraints.real
    codomain: constraints.Constraint = constraints.real
    event_shape: torch.Size | None = None

    @abstractmethod
    def forward(self, x: Float[Tensor, "*x"]) -> tuple[Float[Tensor, "*y"], Float[Tensor, "*batch"]]:
        """Return f(x) and log |det ∂f/∂x|.

        Args:
            x: points of the domain, batch dimensions first.
        """

    @abstractmethod
    def inverse(self, y: Float[Tensor, "*y"]) -> tuple[Float[Tensor, "*x"], Float[Tensor, "*batch"]]:
        """Return f⁻¹(y) and log |det ∂f⁻¹/∂y|.

        Args:
            y: points of the codomain, batch dimensions first.
        """

    def image_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape of the image of an event; most bijectors keep it."""
        return shape

    def preimage_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape of the event whose image has the shape given."""
        return shape

    def _hold(self, name: str, value: Tensor | float) -> None:
        """Keep a setting: a parameter is learned, a tensor moves with the module, a number takes the input's dtype."""
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)


def summed(logdet: Float[Tensor, "*shape"], dims: int) -> Float[Tensor, "*batch"]:
    """Return log-determinants summed over the last `dims` dimensions: those of independent parts add."""
    return logdet.sum(tuple(range(-dims, 0))) if dims else logdet


def like(value: Tensor | float, x: Tensor) -> Tensor:
    """Return a setting as a tensor of the input's dtype and device."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


def pulled_back(log_prob: LogDensity, bijector: Bijector) -> LogDensity:
    """Return the log-density of x where y = f(x) has the density given: log p_X(x) = log p_Y(f(x)) + log |det ∂f/∂x|.

    This is how a sampler that knows no bounds, such as Hamiltonian Monte Carlo, works on a constrained target: it
    walks in x, and its draws are sent through f.

    Args:
        log_prob: (batch, *event of y) to (batch,), up to a constant.
        bijector: f, from where one walks to where the density lives.
    """

    def density(x: Tensor) -> Tensor:
        y, logdet = bijector(x)
        value = log_prob(y)
        return value + _matched(logdet, value)

    return density


def pushed_forward(log_prob: LogDensity, bijector: Bijector) -> LogDensity:
    """Return the log-density of y = f(x) where x has the one given: log p_Y(y) = log p_X(f⁻¹(y)) + log |det ∂f⁻¹/∂y|.

    Args:
        log_prob: (batch, *event of x) to (batch,).
        bijector: f, from the base to the data.
    """

    def density(y: Tensor) -> Tensor:
        x, logdet = bijector.inverse(y)
        value = log_prob(x)
        return value + _matched(logdet, value)

    return density


def _matched(logdet: Tensor, value: Tensor) -> Tensor:
    """Return the log-determinant summed to the batch of the density: its event may have more dimensions than f's."""
    if logdet.dim() < value.dim() or logdet.shape[: value.dim()] != value.shape:
        raise GradusError(
            f"the log-density has shape {tuple(value.shape)} and the log-determinant {tuple(logdet.shape)}; "
            "return one log-density an event, over at least the bijector's event dimensions"
        )
    return summed(logdet, logdet.dim() - value.dim())
