"""An image classifier in two halves: logits = head(trunk(image)).

The *trunk* turns pixels into features and is what transfer learning freezes; the *head* pools them and ends in one
linear layer, `head.linear`, which is what a new set of classes replaces. The *feature map* is the last place where
features still have a position in the image: where Grad-CAM looks.
"""

from jaxtyping import Float
from torch import Tensor, nn

from gradus.nn.chain import chain

__all__ = ["Classifier", "pooled_linear"]


class Classifier(nn.Module):
    """Logits of an image: head(trunk(x)).

    Args:
        trunk: images to features.
        head: features to logits; its last layer is named `linear`.
        feature_map: path of the module whose output is the last map, (batch, channels, height, width).
        minimum_size: the smallest height and width in pixels that make sense; smaller images want upsampling.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, *, feature_map: str, minimum_size: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.minimum_size = minimum_size
        # A path, not the module: an attribute would register it twice and double its entries in the state.
        self.feature_map_path = feature_map

    @property
    def feature_map(self) -> nn.Module:
        """The module whose output is the last map of features with positions."""
        return self.get_submodule(self.feature_map_path)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return one logit per class.

        Args:
            x: images, normalised as the trainer chose.
        """
        return self.head(self.trunk(x))

    def extra_repr(self) -> str:
        return f"feature_map={self.feature_map_path!r}, minimum_size={self.minimum_size}"


def pooled_linear(features: int, classes: int, *, dropout: float = 0.0) -> nn.Sequential:
    """Return the head of most convolutional networks: average over positions, dropout, one linear layer.

    Args:
        features: channels of the last map.
        classes: number of logits.
        dropout: probability of dropping a feature.
    """
    return chain(
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(dropout) if dropout else None,
        linear=nn.Linear(features, classes),
    )
