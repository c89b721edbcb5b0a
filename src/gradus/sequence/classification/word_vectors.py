"""Classifiers that begin with a vector for each token: s = f(E[token_1], …, E[token_n])."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["WordClassifier", "WordVectors"]


class WordVectors(nn.Embedding):
    """A vector for each token, zero for padding.

    Args:
        vocabulary: number of tokens.
        width: features of a vector.
        padding: id of the padding.
        spread: standard deviation that they start with.
    """

    def __init__(self, vocabulary: int, width: int, padding: int, spread: float = 0.1) -> None:
        super().__init__(vocabulary, width, padding_idx=padding)
        with torch.no_grad():
            self.weight.normal_(0, spread)[padding] = 0


class WordClassifier(nn.Module, ABC):
    """A classifier whose trunk holds the vectors of its tokens."""

    @property
    def vectors(self) -> WordVectors:
        """The vectors of the tokens."""
        return self.get_submodule("trunk.vectors")  # type: ignore[return-value]

    def embed(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time width"]:
        """Return the vector of each token."""
        return self.vectors(tokens)

    @abstractmethod
    def from_embedded(
        self, embedded: Float[Tensor, "batch time width"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes, given the vectors of the tokens."""

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the rows, on the CPU; all as long as the batch by default.
            segments: not looked at; the second text of a pair follows the first.
        """
        return self.from_embedded(self.embed(tokens), lengths)
