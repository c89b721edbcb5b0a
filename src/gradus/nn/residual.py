"""Residual blocks: y = σ(F(x) + S(x)), and pre-activated y = F(σ(norm(x))) + S(x).

F is a plan of convolutions, given as data; S is the identity where the shape stays, else a 1×1 convolution ("B") or
the identity subsampled and padded with zero channels ("A", no parameters).

References:
    He et al. 2016, Deep residual learning for image recognition.
    He et al. 2016, Identity mappings in deep residual networks.

Deviations:
    The stride of a bottleneck sits on its 3×3 convolution, as everybody's weights have it, not on the first 1×1.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus.nn.chain import chain
from gradus.nn.convolution import Norm, convolution
from gradus.nn.squeeze_excitation import SqueezeExcitation

__all__ = ["BASIC", "BOTTLENECK", "Plan", "PreActivation", "Residual", "ZeroPad", "expansion", "residual"]

Plan = tuple[tuple[int, int], ...]
"""The convolutions of a branch: (kernel, output channels as a multiple of the block's width)."""

BASIC: Plan = ((3, 1), (3, 1))
BOTTLENECK: Plan = ((1, 1), (3, 1), (1, 4))


class Residual(nn.Module):
    """A residual block of the first kind: relu(branch(x) + shortcut(x)).

    Args:
        branch: F.
        shortcut: S.
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.relu = nn.ReLU()

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch out rows columns"]:
        """Return the block's output."""
        return self.relu(self.branch(x) + self.shortcut(x))


class PreActivation(nn.Module):
    """A residual block of the second kind: branch(a) + x with a = relu(norm(x)); where the shape changes, + S(a).

    Args:
        entry: normalisation and ReLU that come first.
        branch: F.
        shortcut: S, or `None` for the untouched identity.
    """

    def __init__(self, entry: nn.Module, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.entry = entry
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch out rows columns"]:
        """Return the block's output."""
        active = self.entry(x)
        return self.branch(active) + (x if self.shortcut is None else self.shortcut(active))


class ZeroPad(nn.Module):
    """The shortcut without parameters ("A"): every `stride`-th pixel, and zeros for the channels that are new.

    Args:
        extra: number of channels to add.
        stride: pixels between those kept.
    """

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra = extra
        self.stride = stride

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch out rows columns"]:
        """Return the subsampled and padded map."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))

    def extra_repr(self) -> str:
        return f"extra={self.extra}, stride={self.stride}"


def expansion(plan: Plan) -> int:
    """Return a block's output channels as a multiple of its width."""
    return plan[-1][1]


def residual(
    channels: int,
    width: int,
    plan: Plan,
    *,
    stride: int = 1,
    norm: Norm = nn.BatchNorm2d,
    preactivated: bool = False,
    shortcut: str = "B",
    reduction: int = 0,
) -> nn.Module:
    """Return a residual block from its plan.

    Args:
        channels: input channels.
        width: the number that the plan multiplies.
        plan: the convolutions of the branch.
        stride: of the branch's first 3×3 convolution and of the shortcut.
        norm: makes the normalisations.
        preactivated: whether normalisation and ReLU precede each convolution.
        shortcut: "A" or "B", where the shape changes.
        reduction: ends the branch with squeeze-and-excitation of this reduction; 0 for none.
    """
    out = width * expansion(plan)
    strided = next(i for i, (kernel, _) in enumerate(plan) if kernel > 1)
    layers: dict[str, nn.Module] = {}
    inputs = channels
    for i, (kernel, multiple) in enumerate(plan):
        if preactivated and i > 0:
            layers |= {f"norm{i + 1}": norm(inputs), f"relu{i + 1}": nn.ReLU()}
        outputs = width * multiple
        layers[f"conv{i + 1}"] = convolution(inputs, outputs, kernel, stride=stride if i == strided else 1)
        if not preactivated:
            layers[f"norm{i + 1}"] = norm(outputs)
            if i + 1 < len(plan):
                layers[f"relu{i + 1}"] = nn.ReLU()
        inputs = outputs
    if reduction:
        layers["se"] = SqueezeExcitation(out, reduction)
    branch = chain(**layers)
    changes = stride != 1 or channels != out
    if shortcut == "A":
        skip: nn.Module = ZeroPad(out - channels, stride)
    else:
        skip = chain(conv=convolution(channels, out, stride=stride), norm=None if preactivated else norm(out))
    if preactivated:
        return PreActivation(chain(norm=norm(channels), relu=nn.ReLU()), branch, skip if changes else None)
    return Residual(branch, skip if changes else nn.Identity())
