"""The perceptron as a classifier of tables: one threshold unit for two classes, else one for each against the rest.

    scores_k = (w_k · x + b_k) / ‖w_k‖                 the signed distance from the unit's plane

Units learned apart have weights of any length; distances can be compared.

References:
    Rosenblatt 1958, The perceptron: a probabilistic model for information storage and organization in the brain.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.nn.perceptron import Perceptron
from gradus.tabular.linear import Affine, check_rows, count_classes

__all__ = ["perceptron"]


@canon(
    "tabular/perceptron",
    kind="estimator",
    paper="Rosenblatt 1958, The perceptron: a probabilistic model for information storage in the brain",
    names=("perceptron",),
    example=lambda: ("classes", perceptron),
)
def perceptron(
    x: Float[Tensor, "rows features"], y: Int[Tensor, " rows"], *, classes: int | None = None, epochs: int = 20
) -> Affine:
    """Learn threshold units from their mistakes, row after row.

    Args:
        x: features, in the order in which they are gone through.
        y: class indices.
        classes: how many; one more than the largest index when left out.
        epochs: most times that all rows are gone through; it ends after one without a mistake.

    Returns:
        The affine map to the scores.

    Raises:
        GradusError: for labels outside the classes, or rows that cannot be learned from.

    References:
        Rosenblatt 1958, The perceptron: a probabilistic model for information storage and organization in the brain.
    """
    check_rows(x, y)
    count = count_classes(y, classes)
    units = [_distance(x.double(), y == k, epochs) for k in (range(1, 2) if count == 2 else range(count))]
    if count == 2:
        units = [torch.zeros_like(units[0]), units[0]]
    both = torch.stack(units)
    return Affine(both[:, :-1].contiguous(), both[:, -1].clone())


def _distance(x: Tensor, positive: Tensor, epochs: int) -> Tensor:
    """Return weight and bias of one unit, divided by the weight's length."""
    unit = Perceptron(x.shape[1]).double()
    unit.fit(x, positive, max_epochs=epochs)
    length = torch.linalg.vector_norm(unit.weight).clamp(min=1e-12)
    return torch.cat([unit.weight, unit.bias[None]]) / length
