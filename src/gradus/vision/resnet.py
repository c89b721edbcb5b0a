"""Residual networks: a stem, stages of residual blocks, an average, a linear layer. A network is a list of stages.

    name            block        blocks per stage            widths
    resnet18, 34    basic        2 2 2 2, 3 4 6 3            64 128 256 512
    resnet50…152    bottleneck   3 4 6 3, 3 4 23 3, 3 8 36 3 64 128 256 512   (times 4 out)
    resnet20…110    basic        n n n with depth 6n + 2     16 32 64         the form for CIFAR: 3×3 stem, shortcut A

A name ending in `v2` has pre-activated blocks.

References:
    He et al. 2016, Deep residual learning for image recognition.
    He et al. 2016, Identity mappings in deep residual networks.
    Goyal et al. 2017, Accurate, large minibatch SGD (the zero start of each block's last γ).
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier, pooled_linear
from gradus.nn.convolution import image_stem
from gradus.nn.initialisation import he, initialise
from gradus.nn.normalisation import normalisation
from gradus.nn.residual import BASIC, BOTTLENECK, Plan, PreActivation, expansion, residual

__all__ = ["FORMS", "Form", "peer_names", "residual_network", "resnet"]


@dataclass(frozen=True)
class Form:
    """What tells one residual network from another.

    Attributes:
        plan: the convolutions of a block.
        blocks: how many blocks each stage has.
        widths: the width of each stage; the stem has the first.
        small: the form for small images: a 3×3 stem without pooling, and shortcuts without parameters.
    """

    plan: Plan
    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    small: bool = False


FORMS = {
    "18": Form(BASIC, (2, 2, 2, 2)),
    "34": Form(BASIC, (3, 4, 6, 3)),
    "50": Form(BOTTLENECK, (3, 4, 6, 3)),
    "101": Form(BOTTLENECK, (3, 4, 23, 3)),
    "152": Form(BOTTLENECK, (3, 8, 36, 3)),
    **{str(6 * n + 2): Form(BASIC, (n, n, n), (16, 32, 64), small=True) for n in (3, 5, 7, 9, 18)},
}


@canon(
    "vision/resnet",
    kind="classifier",
    paper="He et al. 2016, Deep residual learning for image recognition",
    names=(
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet20",
        "resnet32",
        "resnet44",
        "resnet56",
        "resnet110",
        "resnet18v2",
        "resnet34v2",
        "resnet50v2",
        "resnet101v2",
        "resnet152v2",
        "resnet20v2",
        "resnet32v2",
        "resnet44v2",
        "resnet56v2",
        "resnet110v2",
    ),
    example=lambda **shape: resnet("resnet20", **shape),
)
def resnet(
    name: str = "resnet18",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    small_stem: bool = False,
    shortcut: str = "auto",
    norm: str = "batch",
    dropout: float = 0.0,
    zero_init: bool = False,
) -> nn.Module:
    """Return a residual network.

    Args:
        name: resnet18, 34, 50, 101, 152; resnet20, 32, 44, 56, 110 for small images; `v2` behind it for pre-activation.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from `minimum_size` goes.
        small_stem: a 3×3 stem without stride or pooling, for small images; the CIFAR forms always have it.
        shortcut: "A" (zero padding), "B" (1×1 convolution) or "auto": A in the CIFAR forms, else B.
        norm: batch, group, instance, layer or none.
        dropout: probability, before the last layer.
        zero_init: start every block as the identity.

    Raises:
        GradusError: for an unknown shortcut or normalisation.
    """
    form = FORMS[name.removeprefix("resnet").removesuffix("v2")]
    return residual_network(
        form,
        classes=classes,
        channels=channels,
        preactivated=name.endswith("v2"),
        small_stem=small_stem,
        shortcut=shortcut,
        norm=norm,
        dropout=dropout,
        zero_init=zero_init,
    )


def residual_network(
    form: Form,
    *,
    classes: int,
    channels: int,
    preactivated: bool = False,
    small_stem: bool = False,
    shortcut: str = "auto",
    norm: str = "batch",
    dropout: float = 0.0,
    zero_init: bool = False,
    reduction: int = 0,
) -> nn.Module:
    """Return the network of a form; see `resnet` for the settings.

    Args:
        reduction: of squeeze-and-excitation in every block; 0 for none.
    """
    if shortcut not in ("auto", "A", "B"):
        raise GradusError(f"shortcut is 'auto', 'A' or 'B', not {shortcut!r}")
    small = form.small or small_stem
    make_norm = normalisation(norm)
    block = partial(
        residual,
        plan=form.plan,
        norm=make_norm,
        preactivated=preactivated,
        shortcut=("A" if form.small else "B") if shortcut == "auto" else shortcut,
        reduction=reduction,
    )
    stages: dict[str, nn.Module] = {
        "stem": image_stem(channels, form.widths[0], small=small, norm=None if preactivated else make_norm)
    }
    inputs = form.widths[0]
    for i, (count, width) in enumerate(zip(form.blocks, form.widths, strict=True)):
        blocks = []
        for j in range(count):
            blocks.append(block(inputs, width, stride=2 if i > 0 and j == 0 else 1))
            inputs = width * expansion(form.plan)
        stages[f"stage{i + 1}"] = nn.Sequential(*blocks)
    last = f"trunk.stage{len(form.blocks)}"
    if preactivated:
        stages["final"] = chain(norm=make_norm(inputs), relu=nn.ReLU())
        last = "trunk.final"
    model = Classifier(
        chain(**stages),
        pooled_linear(inputs, classes, dropout=dropout),
        feature_map=last,
        minimum_size=2 ** (len(form.blocks) - 1) * (1 if small else 4),
    )
    initialise(model, {nn.Conv2d: partial(he, mode="fan_out")})
    if zero_init:
        _start_at_identity(model)
    return model


@torch.no_grad()
def _start_at_identity(model: nn.Module) -> None:
    """Zero what scales each block's branch: γ of its last normalisation, or its last convolution if pre-activated."""
    for path, block in model.named_modules():
        branch = getattr(block, "branch", None)
        if branch is not None:
            kind = "conv" if isinstance(block, PreActivation) else "norm"
            last = [layer for name, layer in branch.named_children() if name.startswith(kind)][-1]
            if getattr(last, "weight", None) is None:
                raise GradusError(f"zero_init needs a normalisation with a weight to zero, and {path} has none")
            last.weight.zero_()


def peer_names(name: str) -> list[tuple[str, str]]:
    """Return regular expressions from torchvision's and timm's parameter names to ours, applied in order."""
    common = [
        (r"^(?:fc|head\.fc)\.", "head.linear."),
        (r"^stem\.", "trunk.stem."),
        (r"\.se\.fc1\.", ".se.reduce."),
        (r"\.se\.fc2\.", ".se.expand."),
    ]
    if name.endswith("v2"):
        renumbered = [(rf"^stages\.{i}\.blocks\.", f"trunk.stage{i + 1}.") for i in range(4)]
        inside = [
            (r"(stage\d\.\d+)\.norm1\.", r"\1.entry.norm."),
            (r"(stage\d\.\d+)\.((?:conv|norm)\d)\.", r"\1.branch.\2."),
            (r"\.downsample\.", ".shortcut."),
            (r"^norm\.", "trunk.final.norm."),
        ]
        return common + renumbered + inside
    return [
        *common,
        (r"^conv1\.", "trunk.stem.conv."),
        (r"^bn1\.", "trunk.stem.norm."),
        (r"^layer(\d)\.", r"trunk.stage\1."),
        (r"\.downsample\.0\.", ".shortcut.conv."),
        (r"\.downsample\.1\.", ".shortcut.norm."),
        (r"\.bn(\d)\.", r".norm\1."),
        (r"(stage\d\.\d+)\.((?:conv\d|norm\d|se)\.)", r"\1.branch.\2"),
    ]
