"""Bijectors made of bijectors: chained, inverted, side by side, or with batch dimensions made part of the event.

    log |det ∂(g ∘ f)/∂x| = log |det ∂f/∂x| + log |det ∂g/∂f(x)|

`to_support` puts them together for a constraint: it is the map from unconstrained numbers onto a distribution's
support, under which samplers and variational families may walk freely.

References:
    Papamakarios et al. 2021, Normalizing flows for probabilistic modeling and inference.
    Kucukelbir et al. 2017, Automatic differentiation variational inference (transformations to the real line).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import constraints

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.bijector import Bijector, summed
from gradus.prob.elementwise import Affine, Exp, Identity, LeakyReLU, Sigmoid
from gradus.prob.simplex import StickBreaking

__all__ = ["Blocks", "Compose", "Independent", "Inverse", "to_support"]

Answer = tuple[Float[Tensor, "*image"], Float[Tensor, "*batch"]]


def raised(constraint: constraints.Constraint, dims: int) -> constraints.Constraint:
    """Return a constraint over `dims` event dimensions: all of an event's parts must keep it."""
    return constraints.independent(constraint, dims - constraint.event_dim)


@canon(
    "prob/inverse",
    kind="bijector",
    paper="Papamakarios et al. 2021, Normalizing flows for probabilistic modeling",
    example=lambda: Inverse(StickBreaking()),
)
class Inverse(Bijector):
    """f⁻¹, by swapping the two directions.

    Args:
        bijector: f.
    """

    def __init__(self, bijector: Bijector) -> None:
        super().__init__()
        self.bijector = bijector
        self.event_dims = bijector.event_dims
        self.domain, self.codomain = bijector.codomain, bijector.domain
        if bijector.event_shape is not None:
            self.event_shape = bijector.image_shape(bijector.event_shape)

    def forward(self, x: Float[Tensor, "*shape"]) -> Answer:
        """Return f⁻¹(x) and its log-determinant."""
        return self.bijector.inverse(x)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Answer:
        """Return f(y) and its log-determinant."""
        return self.bijector(y)

    def image_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape of an event under f⁻¹."""
        return self.bijector.preimage_shape(shape)

    def preimage_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape of an event under f."""
        return self.bijector.image_shape(shape)


@canon(
    "prob/compose",
    kind="bijector",
    paper="Papamakarios et al. 2021, Normalizing flows for probabilistic modeling",
    example=lambda: Compose(Affine(0.5, -1.5), LeakyReLU(0.3), StickBreaking()),
)
class Compose(Bijector):
    """f_n ∘ … ∘ f_1: the first one named is applied first.

    Its codomain is that of f_n, which holds all images; f reaches all of it where each part's images fill the next
    part's domain.

    Args:
        bijectors: f_1, …, f_n.
    """

    def __init__(self, *bijectors: Bijector) -> None:
        super().__init__()
        self.bijectors = nn.ModuleList(bijectors)
        self.event_dims = max((part.event_dims for part in bijectors), default=0)
        if bijectors:
            self.domain = raised(bijectors[0].domain, self.event_dims)
            self.codomain = raised(bijectors[-1].codomain, self.event_dims)
            self.event_shape = next((part.event_shape for part in bijectors if part.event_shape is not None), None)

    def _through(self, value: Tensor, steps: Sequence[Callable[[Tensor], Answer]], dims: Sequence[int]) -> Answer:
        total: Tensor | None = None
        for step, own in zip(steps, dims, strict=True):
            value, logdet = step(value)
            logdet = summed(logdet, self.event_dims - own)
            total = logdet if total is None else total + logdet
        return value, torch.zeros_like(value) if total is None else total

    def forward(self, x: Float[Tensor, "*shape"]) -> Answer:
        """Return f_n(… f_1(x)) and the sum of the log-determinants."""
        parts: list[Any] = list(self.bijectors)
        return self._through(x, parts, [part.event_dims for part in parts])

    def inverse(self, y: Float[Tensor, "*shape"]) -> Answer:
        """Return f_1⁻¹(… f_n⁻¹(y)) and the sum of the log-determinants."""
        parts: list[Any] = list(self.bijectors)[::-1]
        return self._through(y, [part.inverse for part in parts], [part.event_dims for part in parts])

    def image_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape after all parts."""
        for part in self.bijectors:
            shape = part.image_shape(shape)  # type: ignore[operator]
        return shape

    def preimage_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape before all parts."""
        for part in reversed(self.bijectors):
            shape = part.preimage_shape(shape)  # type: ignore[operator]
        return shape


@canon(
    "prob/independent",
    kind="bijector",
    paper="Papamakarios et al. 2021, Normalizing flows for probabilistic modeling",
    example=lambda: Independent(Exp(), 2),
)
class Independent(Bijector):
    """f with batch dimensions made part of the event: log-determinants are summed over them.

    Args:
        bijector: f.
        dims: how many more dimensions an event has.
    """

    def __init__(self, bijector: Bijector, dims: int = 1) -> None:
        super().__init__()
        self.bijector, self.dims = bijector, dims
        self.event_dims = bijector.event_dims + dims
        self.domain = raised(bijector.domain, self.event_dims)
        self.codomain = raised(bijector.codomain, self.event_dims)

    def forward(self, x: Float[Tensor, "*shape"]) -> Answer:
        """Return f(x) and the summed log-determinant."""
        y, logdet = self.bijector(x)
        return y, summed(logdet, self.dims)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Answer:
        """Return f⁻¹(y) and the summed log-determinant."""
        x, logdet = self.bijector.inverse(y)
        return x, summed(logdet, self.dims)

    def image_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape of an image: that of f's image, with the further dimensions before it."""
        return shape[: self.dims] + self.bijector.image_shape(shape[self.dims :])

    def preimage_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape of an event whose image has the shape given."""
        return shape[: self.dims] + self.bijector.preimage_shape(shape[self.dims :])


class _Side(constraints.Constraint):
    """Each block of the last dimension keeps a constraint of its own."""

    event_dim = 1

    def __init__(self, parts: Sequence[constraints.Constraint], sizes: Sequence[int]) -> None:
        self.parts, self.sizes = parts, list(sizes)

    def check(self, value: Tensor) -> Bool[Tensor, "*batch"]:
        """Return for each event whether every block keeps its constraint."""
        blocks = value.split(self.sizes, dim=-1)
        kept = [raised(part, 1).check(block) for part, block in zip(self.parts, blocks, strict=True)]
        return torch.stack(kept).all(0)


@canon(
    "prob/blocks",
    kind="bijector",
    paper="Kucukelbir et al. 2017, Automatic differentiation variational inference",
    example=lambda: Blocks([Exp(), Identity(), StickBreaking()], [1, 2, 3]),
)
class Blocks(Bijector):
    """Bijectors side by side, each on its own block of the last dimension: a model's parameters in one vector.

    Args:
        bijectors: one a block, with at most one event dimension.
        sizes: lengths of the blocks of the domain.

    Raises:
        GradusError: for as many sizes as there are not bijectors, or an event of more than one dimension.
    """

    event_dims = 1

    def __init__(self, bijectors: Sequence[Bijector], sizes: Sequence[int]) -> None:
        super().__init__()
        if len(bijectors) != len(sizes):
            raise GradusError(f"{len(bijectors)} bijectors and {len(sizes)} sizes; give one size to each bijector")
        wide = [type(part).__name__ for part in bijectors if part.event_dims > 1]
        if wide:
            raise GradusError(f"{wide[0]} has events of several dimensions; blocks take those of one at most")
        self.bijectors = nn.ModuleList(bijectors)
        self.sizes = list(sizes)
        self.image_sizes = [
            part.image_shape(torch.Size([size]))[0] for part, size in zip(bijectors, sizes, strict=True)
        ]
        self.event_shape = torch.Size([sum(self.sizes)])
        self.domain = _Side([part.domain for part in bijectors], self.sizes)
        self.codomain = _Side([part.codomain for part in bijectors], self.image_sizes)

    def forward(self, x: Float[Tensor, "*batch domain"]) -> Answer:
        """Return the images of the blocks, joined, and the sum of their log-determinants."""
        parts: list[Any] = list(self.bijectors)
        return self._joined(x, self.sizes, parts)

    def inverse(self, y: Float[Tensor, "*batch codomain"]) -> Answer:
        """Return the preimages of the blocks, joined, and the sum of their log-determinants."""
        parts: list[Any] = list(self.bijectors)
        return self._joined(y, self.image_sizes, [part.inverse for part in parts])

    def _joined(self, value: Tensor, sizes: list[int], maps: Sequence[Callable[[Tensor], Answer]]) -> Answer:
        if value.shape[-1:] != (sum(sizes),):
            raise GradusError(f"blocks of {sizes} need a last dimension of {sum(sizes)}, not {tuple(value.shape)}")
        parts: list[Any] = list(self.bijectors)
        images, total = [], torch.zeros(value.shape[:-1], dtype=value.dtype, device=value.device)
        for part, block, step in zip(parts, value.split(sizes, dim=-1), maps, strict=True):
            image, logdet = step(block)
            images.append(image)
            total = total + summed(logdet, 1 - part.event_dims)
        return torch.cat(images, dim=-1), total

    def image_shape(self, shape: torch.Size) -> torch.Size:
        """Return the joined length of the images."""
        return torch.Size([sum(self.image_sizes)])

    def preimage_shape(self, shape: torch.Size) -> torch.Size:
        """Return the joined length of the blocks."""
        return torch.Size([sum(self.sizes)])


def _above(bound: Tensor | float) -> Bijector:
    return Exp() if isinstance(bound, float | int) and bound == 0 else Compose(Exp(), Affine(bound))


def _between(low: Tensor | float, high: Tensor | float) -> Bijector:
    plain = isinstance(low, float | int) and isinstance(high, float | int)
    return Sigmoid() if plain and (low, high) == (0, 1) else Compose(Sigmoid(), Affine(low, high - low))


def _beside(parts: Sequence[constraints.Constraint], sizes: Sequence[int]) -> Bijector:
    onto = [to_support(part) for part in parts]
    free = [part.preimage_shape(torch.Size([size]))[0] for part, size in zip(onto, sizes, strict=True)]
    return Blocks(onto, free)


SUPPORTS: dict[type, Callable[[Any], Bijector]] = {
    type(constraints.real): lambda c: Identity(),
    constraints.independent: lambda c: Independent(to_support(c.base_constraint), c.reinterpreted_batch_ndims),
    constraints.greater_than: lambda c: _above(c.lower_bound),
    constraints.greater_than_eq: lambda c: _above(c.lower_bound),
    constraints.less_than: lambda c: Compose(Exp(), Affine(c.upper_bound, -1.0)),
    constraints.interval: lambda c: _between(c.lower_bound, c.upper_bound),
    constraints.half_open_interval: lambda c: _between(c.lower_bound, c.upper_bound),
    type(constraints.simplex): lambda c: StickBreaking(),
    _Side: lambda c: _beside(c.parts, c.sizes),
}


def to_support(constraint: constraints.Constraint) -> Bijector:
    """Return a bijector from unconstrained numbers onto where a constraint holds, such as a distribution's `support`.

    Args:
        constraint: of `torch.distributions.constraints`.

    Raises:
        GradusError: for a constraint without such a map here, discrete ones above all.
    """
    for kind in type(constraint).__mro__:
        if kind in SUPPORTS:
            bijector = SUPPORTS[kind](constraint)
            bijector.codomain = constraint
            return bijector
    raise GradusError(
        f"no bijector leads onto {constraint}; sum discrete variables out, or transform the variable yourself"
    )
