"""A separable network, after MobileNet: a 3×3 stem, then thirteen depthwise separable convolutions.

Space within a channel and channels within a pixel are mixed in turns, for about an eighth of a 3×3 convolution's work.
4,231,976 weights at 1000 classes and width 1.

References:
    Howard et al. 2017, MobileNets: efficient convolutional neural networks for mobile vision applications.
    Chollet 2017, Xception: deep learning with depthwise separable convolutions.
"""

from functools import partial

from torch import nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier, pooled_linear
from gradus.nn.convolution import conv_norm_relu, depthwise_separable
from gradus.nn.initialisation import he, initialise
from gradus.nn.normalisation import normalisation

__all__ = ["STAGES", "peer_names", "separable"]

# Output channels of each stage's convolutions; every stage but the first starts with stride 2.
STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))


@canon(
    "vision/separable",
    kind="classifier",
    paper="Howard et al. 2017, MobileNets: efficient convolutional neural networks for mobile vision applications",
    names=("separable",),
    example=lambda **shape: separable(width=0.125, **shape),
)
def separable(
    name: str = "separable",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    width: float = 1.0,
    small_stem: bool = False,
    norm: str = "batch",
    dropout: float = 0.0,
) -> nn.Module:
    """Return a network of depthwise separable convolutions.

    Args:
        name: separable.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from `minimum_size` goes.
        width: factor on all channels.
        small_stem: no stride in the stem, for small images.
        norm: batch, group, instance, layer or none.
        dropout: probability, before the last layer.

    Raises:
        GradusError: for a width that leaves no channels.
    """
    if width * 32 < 1:
        raise GradusError(f"width must be 1/32 at least, not {width}")
    make_norm = normalisation(norm)
    inputs = int(32 * width)
    stages = {"stem": conv_norm_relu(channels, inputs, 3, stride=1 if small_stem else 2, norm=make_norm)}
    for i, widths in enumerate(STAGES):
        blocks = []
        for j, out in enumerate(int(width * value) for value in widths):
            blocks.append(depthwise_separable(inputs, out, stride=2 if i > 0 and j == 0 else 1, norm=make_norm))
            inputs = out
        stages[f"stage{i + 1}"] = nn.Sequential(*blocks)
    model = Classifier(
        chain(**stages),
        pooled_linear(inputs, classes, dropout=dropout),
        feature_map="trunk.stage5",
        minimum_size=16 if small_stem else 32,
    )
    # fan_in: a depthwise kernel feeds one channel, and its weight's shape alone would claim that it feeds all.
    return initialise(model, {nn.Conv2d: partial(he, mode="fan_in")})


def peer_names(name: str) -> list[tuple[str, str]]:
    """Return regular expressions from the parameter names of timm's mobilenetv1_100 to ours, applied in order."""
    stages = [(rf"^blocks\.{i}\.", f"trunk.stage{i + 1}.") for i in range(len(STAGES))]
    return [
        (r"^conv_stem\.", "trunk.stem.conv."),
        (r"^bn1\.", "trunk.stem.norm."),
        *stages,
        (r"\.conv_dw\.", ".depthwise.conv."),
        (r"\.bn1\.", ".depthwise.norm."),
        (r"\.conv_pw\.", ".pointwise.conv."),
        (r"\.bn2\.", ".pointwise.norm."),
        (r"^classifier\.", "head.linear."),
    ]
