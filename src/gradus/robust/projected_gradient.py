"""PGD: many small steps along the steepest direction, each projected back into the ball.

    x_{t+1} = Π(x_t + α s(∇ₓ CE(f(x_t), y))) ,    s = sign (L∞) or g / ‖g‖₂ (L2)

Every point on the way is a candidate: the answer is, for each row, the best one seen, the unchanged input included. A
point that reaches the goal beats one that does not; between two of a kind the higher loss wins.

References:
    Madry et al. 2018, Towards deep learning models resistant to adversarial attacks.
    Kurakin, Goodfellow and Bengio 2017, Adversarial examples in the physical world.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.robust.ball import Ball, ball_of, check_eps, move
from gradus.robust.goal import Goal

__all__ = ["pgd"]


@canon(
    "robust/pgd",
    kind="attack",
    paper="Madry et al. 2018, Towards deep learning models resistant to adversarial attacks",
    names=("pgd",),
)
def pgd(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch *shape"],
    labels: Int[Tensor, " batch"],
    *,
    eps: float = 8 / 255,
    steps: int = 10,
    step_size: float | None = None,
    norm: str = "linf",
    random_start: bool = True,
    restarts: int = 1,
    targeted: bool = False,
    early_exit: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Attack by projected gradient ascent, keeping the best point seen.

    x_{t+1} = Π(x_t + α s(∇ₓ ℓ(x_t))) with ℓ = CE(f(x), y), or −CE(f(x), t) towards a target t.

    Args:
        fn: maps a batch in [0, 1] to scores `[batch, classes]`.
        inputs: the batch, in [0, 1].
        labels: the true classes, or, when targeted, the wanted ones.
        eps: radius of the ball, in units of the inputs.
        steps: gradient steps of each start.
        step_size: α; by default 2.5 ε / steps, enough to cross the ball.
        norm: "linf" or "l2".
        random_start: start at a point drawn uniformly from the ball, else at the input.
        restarts: how many starts; more than one needs `random_start`.
        targeted: whether `labels` is what the model shall say.
        early_exit: stop working on a row once its goal is reached: the same rows fall for less work, at a lower loss.
        generator: draws the starts; without one they are the same at every call.

    Returns:
        Adversarial inputs, in [0, 1] and within `eps` exactly. A row that needs no change to reach the goal may
        still be changed, unless `early_exit`.

    Raises:
        GradusError: if inputs lie outside [0, 1], a label is not among the classes, a setting is out of range, or
            `fn` is not differentiable.

    References:
        Madry et al. 2018, section 2.1.

    Deviations:
        The paper returns the last point, here the best.
    """
    _check(eps, steps, step_size, random_start, restarts)
    ball = ball_of(norm)
    inputs = inputs.detach()
    if generator is None:
        generator = torch.Generator(inputs.device).manual_seed(0)
    alpha = 2.5 * eps / max(steps, 1) if step_size is None else step_size
    goal = Goal(fn, inputs, labels, targeted)
    best = _Best(goal)
    for _ in range(restarts):
        # Drawn for every row, reached or not, so that no row's start depends on the rest of the batch's fate.
        drawn = ball.draw(inputs, eps, generator) if random_start else torch.zeros_like(inputs)
        _climb(goal, best, ball, move(inputs, ball.shrink(drawn, eps)), eps, alpha, steps, early_exit)
    return best.points


def _check(eps: float, steps: int, step_size: float | None, random_start: bool, restarts: int) -> None:
    check_eps(eps)
    if steps < 0 or restarts < 1:
        raise GradusError(f"PGD needs steps of at least 0 and restarts of at least 1, not {steps} and {restarts}")
    if step_size is not None and not step_size > 0:
        raise GradusError(f"step_size must be positive, not {step_size}")
    if restarts > 1 and not random_start:
        raise GradusError("restarts from the same point find the same answer; set random_start=True or restarts=1")


class _Best:
    """The best point seen for each row, beginning with the unchanged input."""

    def __init__(self, goal: Goal) -> None:
        self.points = goal.inputs.clone()
        self.losses, self.reached = goal.judge(goal.inputs, torch.arange(len(goal.inputs), device=goal.inputs.device))

    def offer(
        self,
        rows: Int[Tensor, " some"],
        points: Float[Tensor, "some *shape"],
        losses: Float[Tensor, " some"],
        reached: Bool[Tensor, " some"],
    ) -> None:
        """Keep, of some rows, the points that beat what is held."""
        held, kept = self.losses[rows], self.reached[rows]
        better = (reached & ~kept) | ((reached == kept) & (losses > held))
        won = rows[better]
        self.points[won], self.losses[won], self.reached[won] = points[better], losses[better], reached[better]


def _climb(
    goal: Goal,
    best: _Best,
    ball: Ball,
    start: Float[Tensor, "batch *shape"],
    eps: float,
    alpha: float,
    steps: int,
    early_exit: bool,
) -> None:
    """Ascend from one start, offering every point; with `early_exit` the batch shrinks as rows reach the goal."""
    rows = torch.arange(len(start), device=start.device)
    if early_exit:
        rows = rows[~best.reached]
    points = start[rows]
    for _ in range(steps):
        losses, reached, gradients = goal.climb(points, rows)
        best.offer(rows, points, losses, reached)
        if early_exit:
            rows, points, gradients = rows[~reached], points[~reached], gradients[~reached]
            if not len(rows):
                return
        origin = goal.inputs[rows]
        points = move(origin, ball.shrink(points - origin + alpha * ball.steepest(gradients), eps))
    best.offer(rows, points, *goal.judge(points, rows))
