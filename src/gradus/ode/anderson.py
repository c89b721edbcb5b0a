"""Anderson's acceleration: the combination of recent values of f whose residuals cancel best.

    min over α with Σ α_i = 1 of ‖Σ α_i g_i‖,    g_i = f(z_i) − z_i,    z ← Σ α_i (z_i + β g_i)

On a linear map, with a window as long as needed, it is GMRES. A window slides over the last m values, for all samples
at once: the normal equations of the differences to the newest residual are a batch of m × m systems.

References:
    Anderson 1965, Iterative procedures for nonlinear integral equations.
    Walker and Ni 2011, Anderson acceleration for fixed-point iterations.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.ode.fixed_points import FixedPoint, Map, Search

__all__ = ["anderson"]


@canon("ode/anderson", kind="fixed_point", paper="Anderson 1965, Iterative procedures for nonlinear integral equations")
@torch.no_grad()
def anderson(
    f: Map,
    z0: Float[Tensor, "batch *shape"],
    tol: float = 1e-5,
    max_iterations: int = 100,
    window: int = 6,
    beta: float = 1.0,
) -> FixedPoint:
    """Mix the last values so that their residuals cancel.

    Args:
        f: keeps the shape.
        z0: where to start.
        tol: bound of ‖f(z) − z‖ / (1 + ‖z‖).
        max_iterations: evaluations of f at most.
        window: m, how many earlier values are remembered.
        beta: β in (0, 1], how far to go from the mixed point to its mixed value.

    Raises:
        GradusError: where f is not finite at z0 or changes the shape, or for a setting out of range.
    """
    if window < 1 or not 0 < beta <= 1:
        raise GradusError(
            f"anderson: window={window} and beta={beta} are out of range; give window >= 1, 0 < beta <= 1"
        )
    search, z = Search(f, z0, tol, max_iterations), z0.reshape(len(z0), -1)
    batch, n = z.shape
    points, residuals = z.new_zeros(2, batch, window, n).unbind()
    past, held = (z, z), 0
    while search.running:
        residual = search.value(z) - z
        residual = torch.where(search.open[:, None], residual, torch.zeros_like(residual))
        if search.nfev > 1:
            slot = held % window
            points[:, slot], residuals[:, slot] = z - past[0], residual - past[1]
            held += 1
        past = (z, residual)
        m = min(held, window)
        z = z + beta * residual
        if m:
            weights = _weights(residuals[:, :m], residual)
            z = z - torch.einsum("bm,bmn->bn", weights, points[:, :m] + beta * residuals[:, :m])
    return search.result()


def _weights(differences: Float[Tensor, "batch m n"], residual: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
    """Return argmin over γ of ‖g − Σ γ_i Δg_i‖, with columns scaled to length 1 and a ridge of a few roundings."""
    scale = differences.norm(dim=2)
    # A difference that is nothing (a sample that is done) takes no part.
    inverse = torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))
    unit = differences * inverse[:, :, None]
    gram = unit @ unit.transpose(1, 2)
    ridge = 10 * torch.finfo(gram.dtype).eps
    gram = gram + torch.diag_embed(torch.where(scale > 0, ridge, 1.0).to(gram.dtype))
    return torch.linalg.solve_ex(gram, torch.einsum("bmn,bn->bm", unit, residual))[0] * inverse
