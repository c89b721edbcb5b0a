"""Linear bijectors of vectors: permutations and lower-triangular maps.

    y = x_π                    log |det| = 0
    y = a + L x                log |det| = Σ_i log L_ii

The triangular one is a Cholesky factor: it sends a standard normal to N(a, L Lᵀ). It is held as its strictly lower part
and the logarithms of its diagonal, which may be any numbers at all, so that it can be learned without constraints.

References:
    Dinh, Krueger and Bengio 2015, NICE: non-linear independent components estimation (permutations).
    Kingma and Dhariwal 2018, Glow: generative flow with invertible 1×1 convolutions (triangular factors).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import constraints

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.bijector import Bijector, like

__all__ = ["Permutation", "Triangular"]

Answer = tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch"]]


@canon(
    "prob/permutation",
    kind="bijector",
    paper="Dinh, Krueger and Bengio 2015, NICE: non-linear independent components estimation",
    example=lambda: Permutation([2, 0, 3, 1]),
)
class Permutation(Bijector):
    """y_i = x_π(i).

    Args:
        order: π, each of 0, …, d − 1 once.

    Raises:
        GradusError: if it is not a permutation.
    """

    event_dims = 1
    domain = codomain = constraints.real_vector
    order: Tensor
    back: Tensor

    def __init__(self, order: Int[Tensor, " d"] | Sequence[int]) -> None:
        super().__init__()
        indices = torch.as_tensor(order, dtype=torch.int64)
        if not torch.equal(indices.sort().values, torch.arange(len(indices), device=indices.device)):
            raise GradusError(f"{indices.tolist()} is not a permutation; name each of 0 to {len(indices) - 1} once")
        self.register_buffer("order", indices)
        self.register_buffer("back", indices.argsort())
        self.event_shape = torch.Size([len(indices)])

    def forward(self, x: Float[Tensor, "*batch d"]) -> Answer:
        """Return the permuted vectors and zeros."""
        return x.index_select(-1, self.order), x.new_zeros(x.shape[:-1])

    def inverse(self, y: Float[Tensor, "*batch d"]) -> Answer:
        """Return the vectors in their first order and zeros."""
        return y.index_select(-1, self.back), y.new_zeros(y.shape[:-1])


def _example() -> "Triangular":
    matrix = torch.tensor([[1.5, 0.0, 0.0], [-0.7, 0.4, 0.0], [0.2, 1.1, 2.0]], dtype=torch.float64)
    return Triangular.from_cholesky(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), matrix)


@canon(
    "prob/triangular",
    kind="bijector",
    paper="Kingma and Dhariwal 2018, Glow: generative flow with invertible 1×1 convolutions",
    example=lambda: _example(),
)
class Triangular(Bijector):
    """y = a + L x, with L lower-triangular and a positive diagonal.

    Args:
        shift: a.
        log_diagonal: log L_ii.
        below: a matrix whose strictly lower part is that of L; the rest of it is not looked at.
    """

    event_dims = 1
    domain = codomain = constraints.real_vector
    shift: Tensor
    log_diagonal: Tensor
    below: Tensor

    def __init__(
        self, shift: Float[Tensor, " d"], log_diagonal: Float[Tensor, " d"], below: Float[Tensor, "d d"]
    ) -> None:
        super().__init__()
        self._hold("shift", shift)
        self._hold("log_diagonal", log_diagonal)
        self._hold("below", below)
        self.event_shape = torch.Size(shift.shape)

    @classmethod
    def from_cholesky(cls, shift: Float[Tensor, " d"], matrix: Float[Tensor, "d d"]) -> "Triangular":
        """Return the bijector of a given factor.

        Args:
            shift: a.
            matrix: L.

        Raises:
            GradusError: if L is not lower-triangular with a positive diagonal.
        """
        diagonal = matrix.diagonal()
        if not bool((diagonal > 0).all()) or bool(matrix.triu(1).any()):
            raise GradusError("a Cholesky factor is lower-triangular with a positive diagonal; take the factor of a "
                              "positive definite matrix by torch.linalg.cholesky")  # fmt: skip
        return cls(shift, diagonal.log(), matrix)

    def matrix(self) -> Float[Tensor, "d d"]:
        """Return L."""
        return self.below.tril(-1) + torch.diag(self.log_diagonal.exp())

    def forward(self, x: Float[Tensor, "*batch d"]) -> Answer:
        """Return a + L x and Σ log L_ii."""
        y = like(self.shift, x) + x @ like(self.matrix(), x).mT
        return y, like(self.log_diagonal, x).sum().expand(x.shape[:-1])

    def inverse(self, y: Float[Tensor, "*batch d"]) -> Answer:
        """Return L⁻¹ (y − a) and −Σ log L_ii."""
        centred = (y - like(self.shift, y)).unsqueeze(-1)
        x = torch.linalg.solve_triangular(like(self.matrix(), y), centred, upper=False).squeeze(-1)
        return x, -like(self.log_diagonal, y).sum().expand(y.shape[:-1])
