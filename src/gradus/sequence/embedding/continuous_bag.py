"""Continuous bag of words: the mean of the words around a place tells the word there from noise.

    L = Σ_i [ −log σ(h_i · o_i) − negative/N Σ_n log σ(−h_i · o_n) ],     h_i = 1/m_i Σ_(c near i) u_c

over the places i with m_i > 0 words around them and the N noise words that a block shares (see `bands`). With
g_i = σ(h_i · o_i) − 1 and G_in = negative/N σ(h_i · o_n),

    ∂L/∂h_i = g_i o_i + Σ_n G_in o_n,    ∂L/∂u_c = Σ_(i near c) 1/m_i ∂L/∂h_i,    ∂L/∂o_n = Σ_i G_in h_i

References:
    Mikolov et al. 2013, Efficient estimation of word representations in vector space; İrsoy, Benton and Stratos 2021,
    Corrected CBOW performs as well as skip-gram (on the factor 1/m_i).

Deviations:
    The word2vec program and gensim leave the factor 1/m_i out of ∂L/∂u_c; here it is there, as the mean demands. Noise
    is shared by the places of a block and weighted; the program draws it anew for every place, and leaves out the word
    itself.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.sequence.embedding.bands import Bands
from gradus.sequence.embedding.tables import Embedding, Gradient, started
from gradus.sequence.embedding.vocabulary import Vocabulary

__all__ = ["ContinuousBag", "cbow"]


class ContinuousBag(Embedding):
    """The mean of a window's words, with negative sampling.

    Args:
        words: how many there are.
        size: numbers of a vector.
        negative: noise words for each place.
        generator: of the start.
    """

    predicts = "own"

    def __init__(self, words: int, size: int, negative: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.negative = negative
        self.inputs = started(words, size, generator)
        self.outputs = nn.Parameter(torch.zeros(words, size))

    @property
    def vectors(self) -> Float[Tensor, "words size"]:
        """The input vector of each word."""
        return self.inputs

    def predictions(self, batch: Bands) -> Float[Tensor, ""]:
        """Return the number of places with a word around them."""
        return (batch.pairs > 0).sum().to(batch.near)

    def _means(self, batch: Bands) -> tuple[Tensor, Tensor, Tensor]:
        """Return the matrix of means, h, and 1 where there is something to predict from."""
        pairs = batch.pairs
        means = batch.near / pairs.clamp(min=1)[:, :, None]
        u = self.inputs.index_select(0, batch.contexts.reshape(-1)).view(*batch.contexts.shape, -1)
        return means, means @ u, (pairs > 0).to(batch.near)

    def _share(self, batch: Bands, there: Tensor) -> Tensor:
        """Return how much each noise word counts at each place: negative/N, or 0."""
        return there[:, :, None] * (self.negative / max(1, batch.noise.shape[1]))

    def objective(self, batch: Bands) -> Float[Tensor, ""]:
        """Return −Σ log σ(h · o) − negative/N Σ log σ(−h · o_n)."""
        _, h, there = self._means(batch)
        own, noise = self.outputs[batch.centres], self.outputs[batch.noise]
        right = there * F.logsigmoid((h * own).sum(2))
        return -right.sum() - (self._share(batch, there) * F.logsigmoid(-(h @ noise.mT))).sum()

    def gradients(self, batch: Bands) -> list[Gradient]:
        """Return the gradients: of the input rows around the places, and of the output rows of words and noise."""
        with torch.no_grad():
            means, h, there = self._means(batch)
            words, drawn = batch.centres.reshape(-1), batch.noise.reshape(-1)
            own = self.outputs.index_select(0, words).view_as(h)
            noise = self.outputs.index_select(0, drawn).view(*batch.noise.shape, -1)
            right = (h * own).sum(2).sigmoid_().sub_(1).mul_(there)[:, :, None]
            wrong = (h @ noise.mT).sigmoid_().mul_(self._share(batch, there))
            to_h = torch.baddbmm(right * own, wrong, noise)
            return [
                Gradient(self.inputs, batch.contexts.reshape(-1), (means.mT @ to_h).flatten(0, 1)),
                Gradient(self.outputs, words, (right * h).flatten(0, 1)),
                Gradient(self.outputs, drawn, (wrong.mT @ h).flatten(0, 1)),
            ]


@canon(
    "sequence/cbow",
    kind="embedding",
    paper="Mikolov et al. 2013, Efficient estimation of word representations in vector space",
)
def cbow(
    vocabulary: Vocabulary, *, vector_size: int = 100, negative: int = 5, generator: torch.Generator | None = None
) -> ContinuousBag:
    """Continuous bag of words with negative sampling (word2vec).

    Args:
        vocabulary: the words.
        vector_size: numbers of a vector.
        negative: noise words for each word predicted.
        generator: of the start.
    """
    return ContinuousBag(len(vocabulary.words), vector_size, negative, generator)
