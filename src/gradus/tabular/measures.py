"""What predictions of a table are worth: of classes, and of numbers.

F₁ = 2 TP / (2 TP + FP + FN), mean over the classes        AUC = P(a positive outranks a negative), ties by half
R² = 1 − Σ (y − ŷ)² / Σ (y − ȳ)²
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradus.metrics.precision_recall_f1 import PrecisionRecallF1

__all__ = ["auc", "of_classes", "of_numbers"]


def auc(scores: Float[Tensor, " rows"], positive: Int[Tensor, " rows"]) -> float:
    """Return the exact area under the ROC curve, from ranks; NaN where there is one class only.

    AUC = (Σ ranks of the positives − n₊(n₊ + 1)/2) / (n₊ n₋)

    Args:
        scores: of being positive.
        positive: 0 or 1.

    References:
        Hanley and McNeil 1982, The meaning and use of the area under a receiver operating characteristic curve.
    """
    _, place, counts = scores.double().unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1) / 2
    ones = float(positive.sum())
    pairs = ones * (len(positive) - ones)
    return (float(ranks[place][positive == 1].sum()) - ones * (ones + 1) / 2) / pairs if pairs else float("nan")


def of_classes(scores: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"], prefix: str) -> dict[str, float]:
    """Return loss, accuracy, F₁ and, for two classes that both occur, AUC.

    Args:
        scores: logits.
        labels: class indices.
        prefix: name of the split.
    """
    wide = scores.double()
    counter = PrecisionRecallF1(scores.shape[1])
    counter.update(scores, labels)
    found = {
        "loss": float(F.cross_entropy(wide, labels)),
        "accuracy": float((wide.argmax(1) == labels).double().mean()),
        "f1": float(counter.compute().f1),
    }
    if scores.shape[1] == 2 and len(labels.unique()) == 2:
        found["auc"] = auc(wide[:, 1] - wide[:, 0], labels)
    return {f"{prefix}/{name}": value for name, value in found.items()}


def of_numbers(predicted: Float[Tensor, " rows"], target: Float[Tensor, " rows"], prefix: str) -> dict[str, float]:
    """Return mean squared error, mean absolute error and, where the targets differ, R².

    Args:
        predicted: ŷ.
        target: y.
        prefix: name of the split.
    """
    error = target.double() - predicted.double()
    found = {"mse": float(error.square().mean()), "mae": float(error.abs().mean())}
    spread = float((target.double() - target.double().mean()).square().mean())
    if spread > 0:
        found["r2"] = 1 - found["mse"] / spread
    return {f"{prefix}/{name}": value for name, value in found.items()}
