"""Newton's method: the minimum of the quadratic model, p = −∇²f⁻¹ ∇f, with damping where that is no descent.

Where the Hessian is positive definite, p comes from its Cholesky factors. Elsewhere every eigenvalue λ is replaced by
max(|λ|, δ): the model is bent upwards, so that p descends, leaving saddles along their negative curvature. A line
search damps the step. Near a minimum with a definite Hessian full steps are taken, and the number of right digits
doubles with each.

The Hessian is the derivative of autograd's gradient, row by row, or in one batched pass where there are many rows.

References:
    Nocedal and Wright 2006, Numerical optimization, sections 3.3 and 3.4 (Hessian modification).
    Dauphin et al. 2014, Identifying and attacking the saddle point problem in high-dimensional non-convex optimization.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.descent import Search, Step, descend, search_of
from gradus.optim.objective import Callback, Function, Gradient, Minimum, Objective, Point
from gradus.optim.settings import inside

__all__ = ["hessian", "newton", "newton_direction"]

# Up to here, rows one at a time: the first batched pass of a process imports torch's symbolic shapes, which is seconds.
ROWS = 32


def hessian(fn: Callable[[Tensor], Any], x: Float[Tensor, "*shape"]) -> Float[Tensor, "n n"]:
    """Return ∇²f at a point, over the flattened coordinates, by differentiating autograd's gradient.

    Args:
        fn: maps x to a scalar tensor, by operations that can be differentiated twice.
        x: where.
    """
    leaf = x.detach().requires_grad_()
    n = leaf.numel()
    (grad,) = torch.autograd.grad(fn(leaf), leaf, create_graph=True, materialize_grads=True)
    if not grad.requires_grad:
        return leaf.new_zeros(n, n)
    derive = partial(torch.autograd.grad, inputs=leaf, retain_graph=True, materialize_grads=True)
    if n <= ROWS:
        return torch.stack([derive(slope)[0].reshape(-1) for slope in grad.reshape(-1).unbind()])
    rows = torch.eye(n, dtype=grad.dtype, device=grad.device).view(n, *grad.shape)
    (found,) = derive(grad, grad_outputs=rows, is_grads_batched=True)
    return found.reshape(n, n)


def newton_direction(
    grad: Float[Tensor, "n"], curvature: Float[Tensor, "n n"], damping: float = 0.0
) -> Float[Tensor, "n"]:
    """Return −(∇²f + λI)⁻¹ ∇f.

    Where an eigenvalue of ∇²f + λI is not positive, every eigenvalue μ becomes max(|μ|, δ) with δ = √eps max |μ|.

    Args:
        grad: ∇f.
        curvature: ∇²f.
        damping: λ.
    """
    if damping:
        curvature = curvature + damping * torch.eye(len(grad), dtype=grad.dtype, device=grad.device)
    factor, wrong = torch.linalg.cholesky_ex(curvature)
    if not wrong:
        return torch.cholesky_solve(-grad[:, None], factor)[:, 0]
    values, vectors = torch.linalg.eigh(curvature)
    size = values.abs()
    most = size.max()
    size = torch.where(most > 0, size.clamp_min(most * torch.finfo(grad.dtype).eps ** 0.5), torch.ones_like(size))
    return torch.mv(vectors, torch.mv(vectors.T, -grad) / size)


class Quadratic:
    """The second-order model at every point; nothing is carried over.

    Args:
        objective: f.
        curvature: gives ∇²f; autograd's when None.
        damping: λ.
    """

    def __init__(self, objective: Objective, curvature: Callable[[Tensor], Tensor] | None, damping: float) -> None:
        self.objective, self.curvature, self.damping = objective, curvature, damping
        self._plain = False

    @property
    def natural(self) -> bool:
        """Whether the next direction is Newton's."""
        return not self._plain

    def direction(self, point: Point) -> Float[Tensor, "n"]:
        """Return the modified Newton direction, or −∇f after it led nowhere."""
        if self._plain:
            return -point.grad
        objective = self.objective
        objective.nhev += 1
        x, n = point.x.view(objective.shape), point.x.numel()
        if self.curvature is not None:
            H = self.curvature(x).detach().reshape(n, n)
        elif objective.gradient is None:
            H = hessian(objective.fn, x)
        else:
            raise GradusError("newton needs second derivatives: give hess= beside grad=, or leave grad= to autograd")
        if not bool(H.isfinite().all()):
            raise GradusError("newton: the Hessian is not finite here; use method='bfgs', which needs none")
        return newton_direction(point.grad, (H + H.T) / 2, self.damping)

    def learn(self, step: Step) -> None:
        """Return to Newton's directions."""
        self._plain = False

    def forget(self) -> bool:
        """Fall back on −∇f for one step."""
        had, self._plain = not self._plain, True
        return had


@canon(
    "optim/newton",
    kind="minimizer",
    paper="Nocedal and Wright 2006, Numerical optimization, chapter 3",
    names=("newton",),
)
def newton(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    grad: Gradient = None,
    gtol: float = 1e-5,
    max_iterations: int | None = None,
    line_search: Search = "wolfe",
    callback: Callback = None,
    hess: Callable[[Tensor], Tensor] | None = None,
    damping: float = 0.0,
) -> Minimum:
    """Newton: p = −(∇²f + λI)⁻¹ ∇f, eigenvalues made positive where they are not.

    Args:
        fn, x0, grad, gtol, max_iterations, line_search, callback: as in `gradus.optim.minimize`.
        hess: gives ∇²f `[*shape, *shape]` or `[n, n]`; autograd's when None.
        damping: λ, added to the diagonal.
    """
    inside("minimize", "damping", damping, 0)
    return descend(
        fn, x0, lambda objective: Quadratic(objective, hess, damping), grad=grad, gtol=gtol,
        max_iterations=max_iterations, search=search_of(line_search), callback=callback,
    )  # fmt: skip
