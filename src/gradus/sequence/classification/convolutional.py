"""A convolutional classifier of texts: which runs of words occur anywhere, read by several widths of window.

    c^k_t = relu(w_k · x_{t : t+h} + b_k),   ĉ^k = max_t c^k_t,   s = W dropout(ĉ) + b,   ‖W_j‖₂ ≤ 3

A window may reach over either end of its text, where nothing stands, but it holds one word at least: so a text shorter
than a window is read, and padding adds no window.

References:
    Kim 2014, Convolutional neural networks for sentence classification.
    Collobert et al. 2011, Natural language processing (almost) from scratch.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.places import inside, pooled
from gradus.sequence.classification.word_vectors import WordClassifier, WordVectors

__all__ = ["ConvolutionalClassifier", "cnn"]


class _Trunk(nn.Module):
    """Tokens to the strongest answer of each filter."""

    def __init__(self, vectors: WordVectors, windows: tuple[int, ...], filters: int) -> None:
        super().__init__()
        self.vectors = vectors
        width = vectors.embedding_dim
        self.filters = nn.ModuleList(nn.Conv1d(width, filters, window, padding=window - 1) for window in windows)

    def forward(
        self, embedded: Float[Tensor, "batch time width"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch features"]:
        there = inside(embedded, lengths)
        channels = (embedded * there[..., None]).transpose(1, 2)
        found = []
        for layer in self.filters:
            answers = layer(channels).relu().transpose(1, 2)
            reach = answers.shape[1] - embedded.shape[1]
            ends = (there.sum(1) + reach) * there.any(1)
            found.append(pooled(answers, inside(answers, ends), "max"))
        return torch.cat(found, 1)


class ConvolutionalClassifier(WordClassifier):
    """Word vectors, windows of several widths, the maximum over the text, and a linear layer of bounded weights.

    Args:
        vocabulary: number of tokens.
        classes: number of classes.
        padding: id of the padding.
        width: features of a word's vector.
        windows: how many words a filter sees, one number for each family of filters.
        filters: of each family.
        dropout: probability of dropping a feature in front of the scores.
        bound: largest length ‖W_j‖₂ of a class's weights; None for no bound.

    Raises:
        GradusError: if there is no window, or one of no words.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        padding: int = 0,
        *,
        width: int,
        windows: tuple[int, ...],
        filters: int,
        dropout: float,
        bound: float | None,
    ) -> None:
        super().__init__()
        if not windows or min(*windows, filters, width) < 1:
            raise GradusError("a convolutional classifier needs windows of a word at least, and filters: raise them")
        self.trunk = _Trunk(WordVectors(vocabulary, width, padding), tuple(windows), filters)
        self.dropout, self.bound = nn.Dropout(dropout), bound
        self.head = nn.Linear(len(windows) * filters, classes)

    def from_embedded(
        self, embedded: Float[Tensor, "batch time width"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes, given the vectors of the tokens."""
        weight = self.head.weight
        if self.bound is not None:
            weight = weight * (self.bound / weight.norm(dim=1, keepdim=True).clamp(min=self.bound))
        return F.linear(self.dropout(self.trunk(embedded, lengths)), weight, self.head.bias)

    def extra_repr(self) -> str:
        return f"bound={self.bound}"


@canon(
    "sequence/cnn-classifier",
    kind="text-classifier",
    paper="Kim 2014, Convolutional neural networks for sentence classification",
    names=("cnn",),
    example=lambda: cnn(vocabulary=30, classes=3, width=6, filters=5),
)
def cnn(
    *,
    vocabulary: int,
    classes: int,
    padding: int = 0,
    width: int = 128,
    windows: tuple[int, ...] = (3, 4, 5),
    filters: int = 100,
    dropout: float = 0.5,
    bound: float | None = 3.0,
) -> ConvolutionalClassifier:
    """Windows of words, the strongest answer of each filter, and a linear layer.

    Args:
        vocabulary: number of tokens.
        classes: number of classes.
        padding: id of the padding.
        width: features of a word's vector.
        windows: how many words a filter sees, one number for each family of filters.
        filters: of each family.
        dropout: probability of dropping a feature in front of the scores.
        bound: largest length ‖W_j‖₂ of a class's weights; none for no bound.

    References:
        Kim 2014, Convolutional neural networks for sentence classification.

    Deviations:
        The paper cuts the weights back to the bound after each step; here they are cut where they are used. Its vectors
        have 300 features.
    """
    return ConvolutionalClassifier(
        vocabulary, classes, padding, width=width, windows=windows, filters=filters, dropout=dropout, bound=bound
    )
