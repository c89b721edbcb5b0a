"""Attention of a decoder over an encoder's states, with the three scores of the alignment literature.

    dot             q · k
    scaled          q · k / √d
    multiplicative  q · W k
    additive        v · tanh(W q + U k)

    α_ij = softmax_j score(q_i, k_j),    c_i = Σ_j α_ij v_j

The weights are returned, because here they are looked at: which source word a target word came from.

References:
    Bahdanau, Cho and Bengio 2015, Neural machine translation by jointly learning to align and translate.
    Luong, Pham and Manning 2015, Effective approaches to attention-based neural machine translation.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gradus.errors import GradusError

__all__ = ["Score", "ScoredAttention"]

Score = Literal["dot", "scaled", "multiplicative", "additive"]


class ScoredAttention(nn.Module):
    """Single-headed attention with a named score.

    Args:
        score: dot, scaled, multiplicative or additive.
        queries: features of a query.
        keys: features of a key.
        hidden: units of the additive score; as many as a query has by default.

    Raises:
        GradusError: for an unknown score, or a dot product of unlike widths.
    """

    def __init__(self, score: Score, queries: int, keys: int, *, hidden: int | None = None) -> None:
        super().__init__()
        if score not in ("dot", "scaled", "multiplicative", "additive"):
            raise GradusError(f"the score of an attention is dot, scaled, multiplicative or additive, not {score!r}")
        if score in ("dot", "scaled") and queries != keys:
            raise GradusError(f"a dot product needs equal widths, not {queries} and {keys}: choose multiplicative")
        self.score: Score = score
        hidden = queries if hidden is None else hidden
        if score == "multiplicative":
            self.weight = nn.Linear(keys, queries, bias=False)
        elif score == "additive":
            self.query, self.key = nn.Linear(queries, hidden, bias=False), nn.Linear(keys, hidden)
            self.vector = nn.Linear(hidden, 1, bias=False)

    def prepare(self, keys: Float[Tensor, "batch source keys"]) -> Float[Tensor, "batch source hidden"]:
        """Return what of the keys stays the same for every query, to be passed as `prepared`."""
        if self.score == "multiplicative":
            return self.weight(keys)
        return self.key(keys) if self.score == "additive" else keys

    def forward(
        self,
        query: Float[Tensor, "batch target queries"],
        keys: Float[Tensor, "batch source keys"],
        values: Float[Tensor, "batch source values"] | None = None,
        *,
        mask: Bool[Tensor, "batch source"] | None = None,
        prepared: Float[Tensor, "batch source hidden"] | None = None,
    ) -> tuple[Float[Tensor, "batch target values"], Float[Tensor, "batch target source"]]:
        """Return the contexts and the weights.

        Args:
            query: one or several a sequence.
            keys: of the source.
            values: the keys where left out.
            mask: true where there is a source token.
            prepared: of the same keys, when many calls share them.
        """
        prepared = self.prepare(keys) if prepared is None else prepared
        if self.score == "additive":
            scores = self.vector((self.query(query)[:, :, None] + prepared[:, None]).tanh()).squeeze(-1)
        else:
            scores = query @ prepared.transpose(1, 2)
            if self.score == "scaled":
                scores = scores / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        weights = scores.softmax(-1)
        return weights @ (keys if values is None else values), weights

    def extra_repr(self) -> str:
        return self.score
