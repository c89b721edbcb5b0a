"""Deep equilibrium classifiers: a layer applied to itself until nothing changes, in the memory of one layer.

    z* = norm(ReLU(z* + norm(x + V ∗ norm(ReLU(U ∗ z*))))),    x = stem(image),    logits = linear(average(norm(z*)))

Depth is a number of iterations that the tolerance decides; gradients come from the implicit function theorem.

References:
    Bai, Kolter and Koltun 2019, Deep equilibrium models.
    Bai, Koltun and Kolter 2020, Multiscale deep equilibrium models.

Deviations:
    One scale. Anderson's acceleration in place of Broyden's method, which `method` still offers.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier, pooled_linear
from gradus.ode.neural import DeepEquilibrium
from gradus.vision.neural_ode import groups, stem

__all__ = ["equilibrium"]


class Cell(nn.Module):
    """One application of the layer.

    Args:
        width: channels of z.
        inner: channels between the two convolutions.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        self.norm1, self.norm2, self.norm3 = groups(inner), groups(width), groups(width)
        for conv in (self.conv1, self.conv2):
            nn.init.normal_(conv.weight, std=0.01)  # a map that hardly moves z is a contraction to begin with

    def forward(
        self, z: Float[Tensor, "batch width rows columns"], x: Float[Tensor, "batch width rows columns"]
    ) -> Float[Tensor, "batch width rows columns"]:
        """Return the next z."""
        inner = self.norm1(self.conv1(z).relu())
        return self.norm3((z + self.norm2(x + self.conv2(inner))).relu())


class Equilibrium(DeepEquilibrium):
    """A deep equilibrium that autocast leaves alone: bf16 cannot come nearer to a fixed point than its rounding."""

    def forward(
        self, x: Float[Tensor, "batch width rows columns"], z0: Float[Tensor, "batch width rows columns"] | None = None
    ) -> Float[Tensor, "batch width rows columns"]:
        """Return z*; on meta tensors, which have shapes and no values, one evaluation stands for all."""
        if x.is_meta:
            return self.cell(torch.zeros_like(x), x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x if x.element_size() >= 4 else x.float(), z0)


@canon(
    "vision/equilibrium",
    kind="classifier",
    paper="Bai, Kolter and Koltun 2019, Deep equilibrium models",
    names=("deq",),
    example=lambda **shape: equilibrium("deq", width=4, inner=6, tol=1e-11, iterations=400, **shape),
)
def equilibrium(
    name: str = "deq",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    width: int = 48,
    inner: int = 64,
    method: str = "anderson",
    tol: float = 1e-3,
    iterations: int = 30,
) -> nn.Module:
    """Return a deep equilibrium classifier.

    Args:
        name: deq.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from 8 pixels goes.
        width: channels of the equilibrium.
        inner: channels inside the layer.
        method: anderson, broyden or iterate.
        tol: of the search, forwards and backwards.
        iterations: evaluations at most, each way.

    Raises:
        GradusError: for widths below one.
    """
    if min(width, inner) < 1:
        raise GradusError(f"{name} needs at least one channel, not width={width} and inner={inner}")
    trunk = chain(
        stem=stem(channels, width),
        equilibrium=Equilibrium(Cell(width, inner), method=method, tol=tol, max_iterations=iterations),
        norm=groups(width),
    )
    return Classifier(trunk, pooled_linear(width, classes), feature_map="trunk.norm", minimum_size=8)
