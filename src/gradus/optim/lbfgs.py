"""L-BFGS: BFGS that remembers its last m steps instead of a matrix, in O(mn).

With rows s_i of S and y_i of Y, the oldest first, and D_i = s_i·y_i, the two loops of the recursion for p = −H ∇f are

    backwards   α_i = s_i·q / D_i,  q ← q − α_i y_i        that is   R α = S ∇f,        q = ∇f − Yᵀ α
    r = γ q                                                            γ = s·y / y·y of the last step
    forwards    β_i = y_i·r / D_i,  r ← r + (α_i − β_i) s_i    that is   Rᵀ δ = D α − γ Y q,  −p = γ q + Sᵀ δ

where R_ij = s_i·y_j for i ≤ j is upper triangular. Two triangular solves of size m and four products replace 4m
vector operations, and nothing waits for the device.

References:
    Nocedal 1980, Updating quasi-Newton matrices with limited storage.
    Liu and Nocedal 1989, On the limited memory BFGS method for large scale optimization.
    Byrd, Nocedal and Schnabel 1994, Representations of quasi-Newton matrices (the triangular form).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.optim.descent import Search, Step, descend, search_of
from gradus.optim.objective import Callback, Function, Gradient, Minimum, Point
from gradus.optim.settings import inside

__all__ = ["Limited", "lbfgs"]


class Limited:
    """The last m pairs (s, y); the model behind L-BFGS.

    Rows live in buffers twice as long as the memory: the window moves down by one a step and is copied back to the
    top once every m steps, so it is always one contiguous block in the order of time.

    Args:
        start: the first point, for size, dtype and device.
        memory: m.
        scaled: whether γ is that of the last step, or 1.
    """

    def __init__(self, start: Float[Tensor, "n"], memory: int, scaled: bool = True) -> None:
        self.memory, self.scaled = memory, scaled
        self._steps, self._changes = (start.new_empty(0, start.numel()) for _ in range(2))
        self._products = start.new_zeros(memory, memory)
        self._top = self._held = 0
        self._scale = 1.0

    @property
    def natural(self) -> bool:
        """Whether a pair has given H a scale."""
        return self._held > 0

    def direction(self, point: Point) -> Float[Tensor, "n"]:
        """Return −H ∇f."""
        if not self._held:
            return -point.grad
        window = slice(self._top, self._top + self._held)
        S, Y = self._steps[window], self._changes[window]
        R = self._products[: self._held, : self._held]
        alpha = torch.linalg.solve_triangular(R, torch.mv(S, point.grad)[:, None], upper=True)[:, 0]
        q = torch.addmv(point.grad, Y.T, alpha, alpha=-1)
        right = torch.addmv(R.diagonal() * alpha, Y, q, alpha=-self._scale)
        delta = torch.linalg.solve_triangular(R.T, right[:, None], upper=False)[:, 0]
        return torch.addmv(q, S.T, delta, beta=-self._scale, alpha=-1)

    def learn(self, step: Step) -> None:
        """Add a pair, dropping the oldest when the memory is full; one without curvature is left out."""
        y = step.after.grad - step.before.grad
        s = step.direction * step.length
        curvature, square = torch.dot(s, y).item(), torch.dot(y, y).item()
        if not curvature > torch.finfo(y.dtype).eps * square * (self._scale if self._held else 1.0) >= 0:
            return
        self._make_room()
        row = self._top + self._held - 1
        self._steps[row], self._changes[row] = s, y
        self._products[: self._held, self._held - 1] = torch.mv(self._steps[self._top : row + 1], y)
        self._scale = curvature / square if self.scaled else 1.0

    def _make_room(self) -> None:
        if self._held < self.memory:
            self._held += 1
        else:
            self._top += 1
            self._products[:-1, :-1] = self._products[1:, 1:].clone()
        size, end = len(self._steps), self._top + self._held
        if end <= size:
            return
        if size < 2 * self.memory:
            # Memory grows as it is filled: few problems need all of a long one.
            more = self._steps.new_empty(min(2 * self.memory, max(2 * size, 8)) - size, self._steps.shape[1])
            self._steps, self._changes = (torch.cat((held, more)) for held in (self._steps, self._changes))
        if end > len(self._steps):
            for held in (self._steps, self._changes):
                held[: self.memory - 1] = held[self._top : self._top + self.memory - 1].clone()
            self._top = 0

    def forget(self) -> bool:
        """Drop every pair."""
        had = self._held > 0
        self._top = self._held = 0
        self._scale = 1.0
        return had


@canon(
    "optim/lbfgs",
    kind="minimizer",
    paper="Liu and Nocedal 1989, On the limited memory BFGS method for large scale optimization",
    names=("lbfgs", "l-bfgs"),
)
def lbfgs(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    grad: Gradient = None,
    gtol: float = 1e-5,
    max_iterations: int | None = None,
    line_search: Search = "wolfe",
    callback: Callback = None,
    memory: int = 10,
    scaled: bool = True,
) -> Minimum:
    """L-BFGS: p = −H ∇f with H from the last m steps, never formed.

    Args:
        fn, x0, grad, gtol, max_iterations, line_search, callback: as in `gradus.optim.minimize`.
        memory: m.
        scaled: start the recursion from γ = s·y / y·y of the last step; from 1, as BFGS here does, otherwise.
    """
    inside("minimize", "memory", memory, 1)
    return descend(
        fn, x0, lambda objective: Limited(objective.start, memory, scaled), grad=grad, gtol=gtol,
        max_iterations=max_iterations, search=search_of(line_search), callback=callback,
    )  # fmt: skip
