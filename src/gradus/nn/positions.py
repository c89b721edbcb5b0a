"""Where a token stands: sinusoids, learned vectors, rotations.

    sinusoidal  p_{t,2i} = sin(t / 10000^{2i/d}),   p_{t,2i+1} = cos(t / 10000^{2i/d})        added to the token
    learned     p_t = P[t]                                                                  added to the token
    rotary      (x_{2i}, x_{2i+1}) turned by t / 10000^{2i/d}                               queries and keys alone

Sinusoids at a fixed distance are rotations of each other, and the product of two rotated vectors depends on their
distance only: R(s)q · R(t)k = q · R(t − s)k.

References:
    Vaswani et al. 2017, Attention is all you need. Su et al. 2021, RoFormer: enhanced Transformer with rotary position
    embedding.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError

__all__ = ["LearnedPositions", "rotate", "sinusoids"]


def _angles(positions: Int[Tensor, " tokens"], width: int, base: float) -> Float[Tensor, "tokens pairs"]:
    """Return t / base^{2i/d} for each token and pair of features."""
    if width % 2:
        raise GradusError(f"positions turn pairs of features: {width} of them are odd, choose an even width")
    rates = base ** (-torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width)
    return positions.float()[:, None] * rates


def sinusoids(positions: Int[Tensor, " tokens"], width: int, base: float = 10_000.0) -> Float[Tensor, "tokens width"]:
    """Return sinusoidal positions, sines at even features and cosines at odd ones.

    Args:
        positions: t, counted from 0.
        width: d, even.
        base: wavelengths run from 2π to 2π · base.

    Raises:
        GradusError: for an odd width.
    """
    angles = _angles(positions, width, base)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def rotate(
    x: Float[Tensor, "*batch tokens width"], positions: Int[Tensor, " tokens"], base: float = 10_000.0
) -> Float[Tensor, "*batch tokens width"]:
    """Turn each pair of neighbouring features by its token's angle.

    Args:
        x: queries or keys of one head, d even.
        positions: t of each token.
        base: of the wavelengths.

    Raises:
        GradusError: for an odd width.
    """
    angles = _angles(positions, x.shape[-1], base)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class LearnedPositions(nn.Module):
    """A vector for each of a fixed number of positions, drawn from N(0, 0.02²).

    Args:
        count: positions there are.
        width: features of a token.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, positions: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens width"]:
        """Return the vectors of some positions.

        Raises:
            GradusError: if there are fewer positions than asked for.
        """
        if len(positions) > len(self.weight):
            raise GradusError(
                f"{len(positions)} tokens are more than the {len(self.weight)} positions that were learned"
            )
        return self.weight[positions]

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"
