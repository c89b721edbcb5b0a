"""Squeeze-and-excitation: weigh each channel by what the whole image says of it.

    s = sigmoid(W₂ relu(W₁ mean_hw(x))),   y = s ⊙ x

References:
    Hu, Shen, Sun 2018, Squeeze-and-excitation networks.
"""

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["SqueezeExcitation"]


class SqueezeExcitation(nn.Module):
    """Channel weights in (0, 1) from the average over positions.

    Args:
        channels: channels of the map.
        reduction: the bottleneck has channels / reduction units, one at least.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        # 1×1 convolutions rather than linear layers: the memory format of the map survives.
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """Return the map with each channel scaled by its gate."""
        squeezed = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.expand(self.relu(self.reduce(squeezed))))
