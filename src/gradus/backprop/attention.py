"""Scaled dot-product attention, and its gradients with respect to queries, keys and values.

    S = Q Kᵀ / √d,      A = softmax(S) over the keys,      Y = A V

Two products and a softmax, each backwards by its own rule, the last one first:

    dV = Aᵀ dY,      dA = dY Vᵀ
    dS = A ⊙ (dA − Σ_k A_k dA_k)
    dQ = dS K / √d,      dK = dSᵀ Q / √d

A mask says which keys a query may look at; where it may not, S is −∞, hence A = 0 and dS = 0, and nothing flows. A
query that may look at nothing answers 0. The causal mask lets position t look at positions up to t.

References:
    Vaswani et al. 2017, Attention is all you need, section 3.2.1.
"""

import numpy as np
from jaxtyping import Bool, Float

from gradus.backprop.layer import Array
from gradus.errors import GradusError

__all__ = ["Attention", "causal_mask"]


def causal_mask(queries: int, keys: int) -> Bool[Array, "queries keys"]:
    """Return which keys each query may look at: those that do not come after it."""
    return np.tri(queries, keys, dtype=bool)


class Attention:
    """softmax(Q Kᵀ / √d) V; any axes before the last two are batches (of samples, of heads).

    It is no `Layer`, because it has three inputs: `backward` returns a gradient for each.

    Args:
        causal: let no query look at keys that come after it.
    """

    def __init__(self, causal: bool = False) -> None:
        self.causal = causal
        self._kept: tuple[Array, ...] | None = None

    def __repr__(self) -> str:
        return f"Attention({'causal' if self.causal else ''})"

    def forward(
        self,
        q: Float[Array, "*batch queries d"],
        k: Float[Array, "*batch keys d"],
        v: Float[Array, "*batch keys values"],
        mask: Bool[Array, "..."] | None = None,
    ) -> Float[Array, "*batch queries values"]:
        """Return A V.

        Args:
            q: queries.
            k: keys.
            v: values.
            mask: True where a query (second last axis) may look at a key (last axis); broadcast over the batch.

        Raises:
            GradusError: if the mask does not fit.
        """
        scores = q @ k.swapaxes(-1, -2) * q.dtype.type(q.shape[-1] ** -0.5)
        allowed = causal_mask(*scores.shape[-2:]) if self.causal else None
        if mask is not None:
            allowed = mask if allowed is None else allowed & mask
        if allowed is not None:
            try:
                scores = np.where(np.broadcast_to(allowed, scores.shape), scores, -np.inf)
            except ValueError:
                raise GradusError(f"a mask of {allowed.shape} does not fit scores of {scores.shape}") from None
        weights = _softmax_where_possible(scores)
        self._kept = (q, k, v, weights)
        return weights @ v

    def backward(
        self, dy: Float[Array, "*batch queries values"]
    ) -> tuple[Float[Array, "*batch queries d"], Float[Array, "*batch keys d"], Float[Array, "*batch keys values"]]:
        """Return dQ, dK and dV for the last forward pass.

        Raises:
            GradusError: if there was none.
        """
        if self._kept is None:
            raise GradusError("Attention.backward needs what forward keeps: call forward first")
        q, k, v, weights = self._kept
        dv = weights.swapaxes(-1, -2) @ dy
        dweights = dy @ v.swapaxes(-1, -2)
        dscores = weights * (dweights - (weights * dweights).sum(-1, keepdims=True))
        dscores *= q.shape[-1] ** -0.5
        return dscores @ k, dscores.swapaxes(-1, -2) @ q, dv


def _softmax_where_possible(scores: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return softmax over the last axis, and zeros where every score is −∞."""
    highest = scores.max(-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isfinite(highest), highest, 0))
    total = powers.sum(-1, keepdims=True)
    return powers / np.where(total > 0, total, 1)
