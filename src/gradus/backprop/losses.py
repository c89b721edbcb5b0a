"""Losses: where the gradient begins. Each is the mean over the batch, and `backward` takes no dy because dL/dL = 1.

    softmax-cross-entropy   p = softmax(z),  L = −(1/B) Σ_i Σ_k y_ik log p_ik       dz = (p − y) / B
    mean squared error      L = mean((ŷ − y)²)                                      dŷ = 2 (ŷ − y) / (number of values)

The first is one function for a reason. Apart, ∂L/∂p_k = −y_k / p_k grows without bound as p_k falls, and the derivative
of softmax takes it back: dz_j = Σ_k (−y_k / p_k) p_k (δ_kj − p_j) = −y_j + p_j Σ_k y_k = p_j − y_j. Done together,
nothing is divided by p, and log p_k = z_k − log Σ_j e^{z_j} is exact however small p is.

References:
    Bridle 1990, Probabilistic interpretation of feedforward classification network outputs.
"""

import numpy as np
from jaxtyping import Float, Int

from gradus.backprop.layer import Array
from gradus.errors import GradusError

__all__ = ["MeanSquaredError", "SoftmaxCrossEntropy"]


class SoftmaxCrossEntropy:
    """−mean log p of the true class, p = softmax(z)."""

    def forward(
        self,
        logits: Float[Array, "batch classes"],
        labels: Int[Array, " labels"] | Float[Array, "labels classes"],
    ) -> float:
        """Return L.

        Args:
            logits: z.
            labels: the true class of each row, or a distribution y over the classes.

        Raises:
            GradusError: if a class is out of range, or there is not one label a row.
        """
        if labels.ndim == 1:
            labels = _one_hot(labels, logits)
        shifted = logits - logits.max(1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        self._kept = np.exp(log_p), labels
        return float(-(labels * log_p).sum(dtype=np.float64) / len(logits))

    def backward(self) -> Float[Array, "batch classes"]:
        """Return dz = (p − y) / B of the last forward pass (for y that sum to one)."""
        p, y = self._kept
        return (p - y) / len(p)


class MeanSquaredError:
    """mean((ŷ − y)²) over all values."""

    def forward(self, predictions: Float[Array, "*shape"], targets: Float[Array, "*targets"]) -> float:
        """Return L.

        Args:
            predictions: ŷ.
            targets: y, of the same shape: broadcasting would compare every prediction with every target.

        Raises:
            GradusError: if the shapes differ.
        """
        if predictions.shape != targets.shape:
            raise GradusError(f"predictions {predictions.shape} and targets {targets.shape} must be of one shape")
        self._kept = predictions - targets
        return float((self._kept * self._kept).mean(dtype=np.float64))

    def backward(self) -> Float[Array, "*shape"]:
        """Return dŷ = 2 (ŷ − y) / n of the last forward pass."""
        return self._kept * (2 / self._kept.size)


def _one_hot(labels: Int[Array, " labels"], logits: Float[Array, "rows classes"]) -> Float[Array, "rows classes"]:
    rows, classes = logits.shape
    if len(labels) != rows:
        raise GradusError(f"there are {len(labels)} labels for {rows} rows of scores: give one a row")
    if labels.min() < 0 or labels.max() >= classes:
        raise GradusError(f"labels must lie between 0 and {classes - 1}, got {labels.min()} to {labels.max()}")
    y = np.zeros_like(logits)
    y[np.arange(rows), labels] = 1
    return y
