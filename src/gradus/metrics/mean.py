"""The weighted mean of a stream of values.

m = Σ wᵢ vᵢ / Σ wᵢ
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.metrics.metric import Metric, wide

__all__ = ["Mean"]


@canon("metrics/mean", kind="metric", names=("mean",))
class Mean(Metric):
    """Mean of values, such as a loss over batches of unequal size.

    m = Σ wᵢ vᵢ / Σ wᵢ
    """

    def __init__(self) -> None:
        super().__init__(
            {"total": torch.zeros((), dtype=torch.float64), "weight": torch.zeros((), dtype=torch.float64)}
        )

    def update(self, values: Float[Tensor, "*shape"] | float, weights: Float[Tensor, "..."] | float = 1.0) -> None:
        """Add values.

        Args:
            values: one or many.
            weights: of each value, broadcasting to the values; for a batch's mean loss, the batch's size.
        """
        values = torch.as_tensor(values)
        dtype = wide(values.device)
        weights = torch.as_tensor(weights, device=values.device).to(dtype).expand_as(values)
        self._add(total=(values.to(dtype) * weights).sum(), weight=weights.sum())

    def compute(self) -> Float[Tensor, ""]:
        """Return the weighted mean."""
        return self.sums["total"] / self.sums["weight"]
