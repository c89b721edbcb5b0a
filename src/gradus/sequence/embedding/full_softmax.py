"""Skip-gram with the softmax over all words: the model that negative sampling stands in for.

    L = −Σ_(i,c) log softmax(O h_i)_c = Σ_i [ m_i log Σ_w exp(o_w · h_i) − Σ_c o_c · h_i ]

over the places i of a text and the m_i words c within their windows. With P = softmax(H O^T) and the counts C_iw of
each word near each place,

    G = ∂L/∂S = m ∘ P − C,    ∂L/∂H = G O,    ∂L/∂O = G^T H

Every output vector changes at every step, so a step costs as much as there are words: for thousands, not millions.

References:
    Mikolov et al. 2013, Efficient estimation of word representations in vector space; Rong 2014, word2vec parameter
    learning explained.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.sequence.embedding.bands import Bands
from gradus.sequence.embedding.skip_gram import WordTable
from gradus.sequence.embedding.tables import Embedding, Gradient
from gradus.sequence.embedding.vocabulary import Vocabulary

__all__ = ["FullSoftmax", "skipgram"]


class FullSoftmax(Embedding):
    """Skip-gram with the softmax over all words.

    Args:
        inputs: words to input vectors.
        words: how many there are.
        size: numbers of a vector.
    """

    def __init__(self, inputs: WordTable, words: int, size: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.outputs = nn.Parameter(torch.zeros(words, size))

    @property
    def vectors(self) -> Float[Tensor, "words size"]:
        """The input vector of each word."""
        return self.inputs.vectors

    def predictions(self, batch: Bands) -> Float[Tensor, ""]:
        """Return the number of pairs."""
        return batch.near.sum()

    def objective(self, batch: Bands) -> Float[Tensor, ""]:
        """Return −Σ near · log softmax(H O^T)."""
        h = self.inputs.look_up(batch.centres.reshape(-1)).view(*batch.centres.shape, -1)
        logs = (h @ self.outputs.T).log_softmax(2)
        said = logs.gather(2, batch.contexts[:, None].expand(-1, logs.shape[1], -1))
        return -(batch.near * said).sum()

    def gradients(self, batch: Bands) -> list[Gradient]:
        """Return the gradients: of the input rows at the places, and of all output rows."""
        with torch.no_grad():
            words = batch.centres.reshape(-1)
            h = self.inputs.look_up(words)
            g = (h @ self.outputs.T).softmax(1).mul_(batch.pairs.view(-1, 1)).view(*batch.centres.shape, -1)
            g.scatter_add_(2, batch.contexts[:, None].expand(-1, g.shape[1], -1), -batch.near)
            g = g.flatten(0, 1)
            return [*self.inputs.spread(words, g @ self.outputs), Gradient(self.outputs, None, g.T @ h)]


@canon(
    "sequence/skipgram",
    kind="embedding",
    paper="Mikolov et al. 2013, Efficient estimation of word representations in vector space",
)
def skipgram(
    vocabulary: Vocabulary, *, vector_size: int = 100, generator: torch.Generator | None = None
) -> FullSoftmax:
    """Skip-gram with the softmax over all words.

    Args:
        vocabulary: the words.
        vector_size: numbers of a vector.
        generator: of the start.
    """
    words = len(vocabulary.words)
    return FullSoftmax(WordTable(words, vector_size, generator), words, vector_size)
