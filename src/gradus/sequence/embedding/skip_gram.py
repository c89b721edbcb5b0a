"""Skip-gram with negative sampling: a word's vector tells the words around it from noise.

    L = Σ_(i,c) [ −log σ(h_i · o_c) − Σ_k log σ(−h_i · o_n(k)) ]        n(k) ~ P_noise,  k = 1 … negative

over the places i of a text and the m_i words c within their windows; h_i is the input vector of the word at i. With the
noise of a block shared by its places (N words, see `bands`), the second term is estimated by

    Σ_i m_i · negative/N · Σ_n −log σ(−h_i · o_n)

which has the same expectation. Of the scores S = H O^T, in columns of contexts and of noise, is

    G = ∂L/∂S = [ near ∘ (σ(S) − 1),  m negative/N ∘ σ(S) ],    ∂L/∂H = G O,    ∂L/∂O = G^T H

References:
    Mikolov et al. 2013, Distributed representations of words and phrases and their compositionality; Goldberg and Levy
    2014, word2vec explained.

Deviations:
    Noise is shared by the places of a block and weighted; the program draws it anew for every pair, and leaves out a
    noise word that happens to be the one predicted, which the paper does not.
"""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gradus.canon import canon
from gradus.sequence.embedding.bands import Bands
from gradus.sequence.embedding.tables import Embedding, Gradient, started
from gradus.sequence.embedding.vocabulary import Vocabulary

__all__ = ["Inputs", "SkipGram", "WordTable", "sgns"]


@runtime_checkable
class Inputs(Protocol):
    """Where the input vector of a word comes from, and where its gradient goes to."""

    @property
    def vectors(self) -> Tensor: ...

    def look_up(self, words: Tensor) -> Tensor: ...

    def spread(self, words: Tensor, gradient: Tensor) -> list[Gradient]: ...


class WordTable(nn.Module):
    """A row for each word.

    Args:
        words: how many.
        size: numbers of a vector.
        generator: of the start.
    """

    def __init__(self, words: int, size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.rows = started(words, size, generator)

    @property
    def vectors(self) -> Float[Tensor, "words size"]:
        """The vector of each word."""
        return self.rows

    def look_up(self, words: Int64[Tensor, " count"]) -> Float[Tensor, "count size"]:
        """Return the vectors of some words."""
        return self.rows.index_select(0, words)

    def spread(self, words: Int64[Tensor, " count"], gradient: Float[Tensor, "count size"]) -> list[Gradient]:
        """Return the gradient of the table, given that of some words' vectors."""
        return [Gradient(self.rows, words, gradient)]


class SkipGram(Embedding):
    """Skip-gram with negative sampling over any input vectors.

    Args:
        inputs: words to input vectors.
        words: how many there are.
        size: numbers of a vector.
        negative: noise words for each word predicted.
    """

    def __init__(self, inputs: nn.Module, words: int, size: int, negative: int) -> None:
        super().__init__()
        assert isinstance(inputs, Inputs), f"{type(inputs).__name__} gives no input vectors"
        self.inputs, self.negative = inputs, negative
        self.outputs = nn.Parameter(torch.zeros(words, size))

    @property
    def vectors(self) -> Float[Tensor, "words size"]:
        """The input vector of each word."""
        return self.inputs.vectors

    def predictions(self, batch: Bands) -> Float[Tensor, ""]:
        """Return the number of pairs."""
        return batch.near.sum()

    def _looked_up(self, batch: Bands) -> tuple[Tensor, Tensor, Tensor]:
        """Return H, the output words and O, by block."""
        blocks = len(batch.centres)
        words = torch.cat([batch.contexts, batch.noise], 1).view(-1)
        h = self.inputs.look_up(batch.centres.reshape(-1)).view(blocks, batch.centres.shape[1], -1)
        return h, words, self.outputs.index_select(0, words).view(blocks, -1, h.shape[2])

    def _share(self, batch: Bands) -> Tensor:
        """Return how much each noise word counts at each place: m · negative/N."""
        return (batch.pairs * (self.negative / max(1, batch.noise.shape[1])))[:, :, None]

    def objective(self, batch: Bands) -> Float[Tensor, ""]:
        """Return −Σ near · log σ(S) − Σ m · negative/N · log σ(−S)."""
        h, _, o = self._looked_up(batch)
        near, noise = (h @ o.mT).split([batch.contexts.shape[1], batch.noise.shape[1]], 2)
        return -(batch.near * F.logsigmoid(near)).sum() - (self._share(batch) * F.logsigmoid(-noise)).sum()

    def gradients(self, batch: Bands) -> list[Gradient]:
        """Return the gradients of both tables in the rows of the batch's words."""
        with torch.no_grad():
            h, words, o = self._looked_up(batch)
            g = torch.bmm(h, o.mT).sigmoid_()
            near, noise = g.split([batch.contexts.shape[1], batch.noise.shape[1]], 2)
            near.sub_(1).mul_(batch.near)
            noise.mul_(self._share(batch))
            to_h, to_o = torch.bmm(g, o).flatten(0, 1), torch.bmm(g.mT, h).flatten(0, 1)
            return [*self.inputs.spread(batch.centres.reshape(-1), to_h), Gradient(self.outputs, words, to_o)]


@canon(
    "sequence/sgns",
    kind="embedding",
    paper="Mikolov et al. 2013, Distributed representations of words and phrases and their compositionality",
)
def sgns(
    vocabulary: Vocabulary, *, vector_size: int = 100, negative: int = 5, generator: torch.Generator | None = None
) -> SkipGram:
    """Skip-gram with negative sampling (word2vec).

    Args:
        vocabulary: the words.
        vector_size: numbers of a vector.
        negative: noise words for each word predicted.
        generator: of the start.
    """
    words = len(vocabulary.words)
    return SkipGram(WordTable(words, vector_size, generator), words, vector_size, negative)
