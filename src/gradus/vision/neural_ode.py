"""Neural ODE classifiers: the features flow for a unit of time along a learned field.

    x –stem→ h(0),    dh/dt = f_θ(t, h),    h(1) –norm, ReLU, average→ linear → logits

The field is two 3×3 convolutions that see the time as one more channel. A flow cannot cross itself; with `augment`
zeros appended to h(0) it has room to go around. The stem halves the image twice, as in the paper's MNIST network, which
has 0.2 million weights at 64 channels.

References:
    Chen, Rubanova, Bettencourt and Duvenaud 2018, Neural ordinary differential equations.
    Dupont, Doucet and Teh 2019, Augmented neural ODEs.

Deviations:
    Adaptive steps are chosen for a batch as a whole: an image's logits depend on its neighbours within the tolerance.
    `anode` augments the features behind the same stem, where the paper augments the pixels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier, pooled_linear
from gradus.ode.neural import NeuralODE

__all__ = ["neural_ode"]

AUGMENT = {"node": 0, "anode": 5}


def groups(width: int) -> nn.GroupNorm:
    """Return a group normalisation of at most 32 groups of four channels at least, as many as divide the width.

    A channel that is a group of its own loses its mean, which is all that the average before the last layer sees.
    """
    return nn.GroupNorm(max(n for n in range(1, max(1, min(32, width // 4)) + 1) if width % n == 0), width)


class TimeConvolution(nn.Module):
    """A 3×3 convolution of the features and the time: W ∗ h + t (V ∗ 1) + b.

    Args:
        width: channels, in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(width, width, 3, padding=1)
        self.time = nn.Conv2d(1, width, 3, padding=1, bias=False)

    def forward(
        self, t: Float[Tensor, ""], h: Float[Tensor, "batch width rows columns"]
    ) -> Float[Tensor, "batch width rows columns"]:
        """Return the convolution; the time's part is that of one image of ones, computed once for the batch."""
        return self.features(h) + t * self.time(h.new_ones(1, 1, *h.shape[2:]))


class Field(nn.Module):
    """f_θ(t, h): norm, ReLU, convolution, twice, and a last norm.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (groups(width) for _ in range(3))
        self.conv1, self.conv2 = TimeConvolution(width), TimeConvolution(width)

    def forward(
        self, t: Float[Tensor, ""], h: Float[Tensor, "batch width rows columns"]
    ) -> Float[Tensor, "batch width rows columns"]:
        """Return dh/dt."""
        inner = self.conv1(t, self.norm1(h).relu())
        return self.norm3(self.conv2(t, self.norm2(inner).relu()))


class Flow(NeuralODE):
    """A neural ODE that autocast leaves alone: a field rounded to bf16 looks rough, and a tolerance finer than its
    rounding is met by ever smaller steps only."""

    def forward(self, x: Float[Tensor, "batch width rows columns"]) -> Float[Tensor, "batch wider rows columns"]:
        """Return h(1); on meta tensors, which have shapes and no values, one evaluation stands for all."""
        if x.is_meta:
            h = self.widen(x)
            return h + self.field(h.new_zeros(()), h)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x if x.element_size() >= 4 else x.float())


def stem(channels: int, width: int) -> nn.Sequential:
    """Return the convolutions that bring an image to a quarter of its sides.

    Args:
        channels: of the images.
        width: of the features.
    """
    return chain(
        conv1=nn.Conv2d(channels, width, 3, padding=1),
        norm1=groups(width),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(width, width, 4, stride=2, padding=1),
        norm2=groups(width),
        relu2=nn.ReLU(),
        conv3=nn.Conv2d(width, width, 4, stride=2, padding=1),
    )


@canon(
    "vision/neural-ode",
    kind="classifier",
    paper="Chen, Rubanova, Bettencourt and Duvenaud 2018, Neural ordinary differential equations",
    names=("node", "anode"),
    example=lambda **shape: neural_ode("anode", width=4, method="rk4", steps=2, gradient="backprop", **shape),
)
def neural_ode(
    name: str = "node",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    width: int = 64,
    augment: int | None = None,
    method: str = "dopri5",
    steps: int | None = None,
    rtol: float = 1e-3,
    atol: float = 1e-3,
    gradient: str = "adjoint",
) -> nn.Module:
    """Return a neural ODE classifier, plain or augmented.

    Args:
        name: node or anode.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from 8 pixels goes.
        width: channels of the features.
        augment: zeros appended to them; none for node and 5 for anode by default.
        method: solver, such as dopri5, or rk4 and euler with fixed steps.
        steps: how many fixed steps; those of Euler's method are the blocks of a weight-tied ResNet.
        rtol: relative tolerance of the solve.
        atol: absolute tolerance of the solve.
        gradient: adjoint, backprop or checkpointed.

    Raises:
        GradusError: for a width below one, or what `NeuralODE` refuses.
    """
    if width < 1:
        raise GradusError(f"{name} needs at least one channel of features, not {width}")
    extra = AUGMENT[name] if augment is None else augment
    field = Field(width + extra)
    trunk = chain(
        stem=stem(channels, width),
        flow=Flow(
            field,
            method=method,
            rtol=rtol,
            atol=atol,
            gradient=gradient,
            augment=extra,
            options=None if steps is None else {"steps": steps},
        ),
        norm=groups(width + extra),
        relu=nn.ReLU(),
    )
    return Classifier(trunk, pooled_linear(width + extra, classes), feature_map="trunk.relu", minimum_size=8)
