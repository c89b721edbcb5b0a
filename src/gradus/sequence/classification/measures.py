"""What classifying texts is worth: loss, accuracy and F₁.

L = −1/n Σ ln p(y_i | x_i)        F₁ = 2 TP / (2 TP + FP + FN), mean over the classes
"""

from jaxtyping import Float, Int
from torch import Tensor

from gradus.metrics.precision_recall_f1 import PrecisionRecallF1

__all__ = ["of_texts"]


def of_texts(logs: Float[Tensor, "texts classes"], labels: Int[Tensor, " texts"], prefix: str) -> dict[str, float]:
    """Return loss, accuracy and F₁.

    Args:
        logs: log-probabilities of the classes.
        labels: class of each text.
        prefix: name of the split.
    """
    wide = logs.double()
    counter = PrecisionRecallF1(logs.shape[1])
    counter.update(wide, labels)
    return {
        f"{prefix}/loss": -float(wide.gather(1, labels[:, None]).mean()),
        f"{prefix}/accuracy": float((wide.argmax(1) == labels).double().mean()),
        f"{prefix}/f1": float(counter.compute().f1),
    }
