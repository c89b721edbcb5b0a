"""GoogLeNet (Inception v1): nine Inception blocks, and in training two auxiliary heads that feed the middle.

    loss = loss(main) + 0.3 loss(auxiliary₁) + 0.3 loss(auxiliary₂)

References:
    Szegedy et al. 2015, Going deeper with convolutions.
    Ioffe, Szegedy 2015, Batch normalization (which replaces local response normalisation here).

Deviations:
    The "5×5" branches have 3×3 kernels by default, a slip in the weights that everybody uses; `large_kernel=5` is
    the paper's.
"""

from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier, pooled_linear
from gradus.nn.convolution import conv_norm_relu
from gradus.nn.inception import Inception, Widths
from gradus.nn.initialisation import he, initialise

__all__ = ["AUXILIARY", "BLOCKS", "GoogLeNet", "googlenet", "peer_names"]

BLOCKS = {
    "inception3a": Widths(64, 96, 128, 16, 32, 32),
    "inception3b": Widths(128, 128, 192, 32, 96, 64),
    "inception4a": Widths(192, 96, 208, 16, 48, 64),
    "inception4b": Widths(160, 112, 224, 24, 64, 64),
    "inception4c": Widths(128, 128, 256, 24, 64, 64),
    "inception4d": Widths(112, 144, 288, 32, 64, 64),
    "inception4e": Widths(256, 160, 320, 32, 128, 128),
    "inception5a": Widths(256, 160, 320, 32, 128, 128),
    "inception5b": Widths(384, 192, 384, 48, 128, 128),
}
POOLED_AFTER = {"inception3b": 3, "inception4e": 2}  # block to kernel, with stride 2
AUXILIARY = ("inception4a", "inception4d")
AUXILIARY_WEIGHT = 0.3


class GoogLeNet(nn.Module):
    """A `Classifier` with auxiliary heads, which only `training_outputs` computes.

    Args:
        classifier: the network without them.
        auxiliary: head by the name of the trunk's module that it reads.
    """

    def __init__(self, classifier: Classifier, auxiliary: dict[str, nn.Module]) -> None:
        super().__init__()
        self.trunk = classifier.trunk
        self.head = classifier.head
        self.auxiliary = nn.ModuleDict(auxiliary)
        self.minimum_size = classifier.minimum_size
        self.feature_map_path = classifier.feature_map_path

    @property
    def feature_map(self) -> nn.Module:
        """The module whose output is the last map of features with positions."""
        return self.get_submodule(self.feature_map_path)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return one logit per class."""
        return self.head(self.trunk(x))

    def training_outputs(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> list[tuple[float, Float[Tensor, "batch classes"]]]:
        """Return the main logits and the auxiliary ones, each with its weight in the loss."""
        outputs = []
        for name, module in self.trunk.named_children():
            x = module(x)
            if name in self.auxiliary:
                outputs.append((AUXILIARY_WEIGHT, self.auxiliary[name](x)))
        return [(1.0, self.head(x)), *outputs]


@canon(
    "vision/googlenet",
    kind="classifier",
    paper="Szegedy et al. 2015, Going deeper with convolutions",
    names=("googlenet",),
)
def googlenet(
    name: str = "googlenet",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    auxiliary: bool = True,
    large_kernel: int = 3,
    dropout: float = 0.2,
    auxiliary_dropout: float = 0.7,
) -> nn.Module:
    """Return GoogLeNet.

    Args:
        name: googlenet.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from 32 pixels goes.
        auxiliary: whether training has the two auxiliary heads.
        large_kernel: of the third branch of each block.
        dropout: probability, before the last layer.
        auxiliary_dropout: probability, before the last layer of each auxiliary head.
    """
    # The ε of the weights in use.
    norm = partial(nn.BatchNorm2d, eps=0.001)
    layers: dict[str, nn.Module] = {
        "conv1": conv_norm_relu(channels, 64, 7, stride=2, norm=norm),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        "conv2": conv_norm_relu(64, 64, norm=norm),
        "conv3": conv_norm_relu(64, 192, 3, norm=norm),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
    }
    heads: dict[str, nn.Module] = {}
    width = 192
    for block, widths in BLOCKS.items():
        layers[block] = Inception(width, widths, large=large_kernel, norm=norm)
        width = widths.out
        if block in POOLED_AFTER:
            layers[f"pool_{block}"] = nn.MaxPool2d(POOLED_AFTER[block], 2, ceil_mode=True)
        if auxiliary and block in AUXILIARY:
            heads[block] = chain(
                pool=nn.AdaptiveAvgPool2d(4),
                conv=conv_norm_relu(width, 128, norm=norm),
                flatten=nn.Flatten(),
                linear1=nn.Linear(128 * 4 * 4, 1024),
                relu=nn.ReLU(),
                dropout=nn.Dropout(auxiliary_dropout),
                linear=nn.Linear(1024, classes),
            )
    model = Classifier(
        chain(**layers),
        pooled_linear(width, classes, dropout=dropout),
        feature_map="trunk.inception5b",
        minimum_size=32,
    )
    return initialise(GoogLeNet(model, heads) if auxiliary else model, {nn.Conv2d: he})


def peer_names(name: str) -> list[tuple[str, str]]:
    """Return regular expressions from torchvision's parameter names to ours, applied in order."""
    blocks = [
        (r"\.branch1\.", ".one."),
        (r"\.branch2\.0\.", ".three.reduce."),
        (r"\.branch2\.1\.", ".three.conv."),
        (r"\.branch3\.0\.", ".five.reduce."),
        (r"\.branch3\.1\.", ".five.conv."),
        (r"\.branch4\.1\.", ".pool.conv."),
        (r"\.bn\.", ".norm."),
        (r"^(conv\d|inception)", r"trunk.\1"),
        (r"^fc\.", "head.linear."),
    ]
    heads = [(rf"^aux{i}\.", f"auxiliary.{block}.") for i, block in enumerate(AUXILIARY, start=1)]
    return [*blocks, *heads, (r"^(aux.*)\.fc1\.", r"\1.linear1."), (r"^(aux.*)\.fc2\.", r"\1.linear.")]
