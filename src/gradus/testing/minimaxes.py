"""The contract of minimax dynamics, as checks that need no test framework: an AssertionError says what broke.

Dynamics pass when they find the saddle of a strongly convex-concave game, rest there, move x down and y up, leave what
they are given alone, and keep all they know in a plain state that goes on bit for bit.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.minimax import Dynamics, Pair, find_minimax

__all__ = ["check_minimax"]

MakeDynamics = Callable[[], Dynamics]


def check_minimax(make: MakeDynamics) -> None:
    """Run the whole contract on minimax dynamics.

    Args:
        make: gives the dynamics anew; called several times.

    Raises:
        AssertionError: for the first clause that fails.
    """
    for check in CHECKS:
        check(make)


def _game(x: Tensor, y: Tensor) -> Tensor:
    """Strongly convex in x and concave in y, coupled, with its saddle at `_saddle`; any shapes of 4 and 2 numbers."""
    goal_x, goal_y = _saddle(x.dtype)
    x, y = x.flatten() - goal_x, y.flatten() - goal_y
    curvature = torch.linspace(1, 2, 4, dtype=x.dtype)
    coupling = torch.linspace(-1, 1, 8, dtype=x.dtype).view(2, 4)
    return (curvature * x**2).sum() / 2 + y @ coupling @ x - 0.75 * (y**2).sum()


def _saddle(dtype: torch.dtype) -> Pair:
    return torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=dtype), torch.tensor([-1.0, 2.0], dtype=dtype)


def _start(dtype: torch.dtype = torch.float64) -> Pair:
    return torch.linspace(-1, 2, 4, dtype=dtype).view(2, 2), torch.linspace(0, 1, 2, dtype=dtype).view(2, 1)


def _walk(dynamics: Dynamics, x: Tensor, y: Tensor, state: Any, steps: int) -> Pair:
    for _ in range(steps):
        x, y = dynamics.step(_game, x, y, state, None)
    return x, y


def _finds_the_saddle(make: MakeDynamics) -> None:
    found = find_minimax(_game, *_start(), make(), steps=2000, tol=1e-9)
    goal = _saddle(torch.float64)
    far = float((found.x.flatten() - goal[0]).norm() + (found.y.flatten() - goal[1]).norm())
    assert far < 1e-6, (
        f"{make().name}: after {found.nit} steps it is {far:g} from the saddle of a strongly convex-concave game"
    )


def _rests(make: MakeDynamics) -> None:
    goal = _saddle(torch.float64)
    dynamics = make()
    x, y = _walk(dynamics, *goal, dynamics.init(*goal), 20)
    far = float((x.detach() - goal[0]).norm() + (y.detach() - goal[1]).norm())
    assert far < 1e-12, f"{dynamics.name}: it left the saddle"


def _moves_x_down_and_y_up(make: MakeDynamics) -> None:
    """On f = x − y each step has a sign; where the players do not meet, nothing else moves them."""
    dynamics = make()
    x, y = torch.zeros(3), torch.zeros(2)
    state = dynamics.init(x, y)
    for _ in range(5):
        x, y = dynamics.step(lambda x, y: x.sum() - y.sum(), x, y, state, None)
    assert bool((x < 0).all()), f"{dynamics.name}: x did not go down"
    assert bool((y < 0).all()), f"{dynamics.name}: y did not go up"


def _leaves_its_arguments(make: MakeDynamics) -> None:
    for dtype in (torch.float32, torch.float64):
        dynamics, points = make(), _start(dtype)
        before = [point.clone() for point in points]
        state = dynamics.init(*points)
        after = _walk(dynamics, *points, state, 3)
        assert all(torch.equal(a, b) for a, b in zip(points, before, strict=True)), (
            f"{dynamics.name}: the points were changed in place"
        )
        assert not any(point.requires_grad for point in (*points, *after)), (
            f"{dynamics.name}: points are left in a graph"
        )
        for old, new in zip(before, after, strict=True):
            assert (new.shape, new.dtype) == (old.shape, old.dtype), (
                f"{dynamics.name}: shape or dtype changed in {dtype}"
            )


def _known_gradients_change_nothing(make: MakeDynamics) -> None:
    ends = []
    for known in (False, True):
        dynamics = make()
        x, y = _start()
        state = dynamics.init(x, y)
        for _ in range(4):
            leaves = x.clone().requires_grad_(), y.clone().requires_grad_()
            down, up = torch.autograd.grad(_game(*leaves), leaves)
            x, y = dynamics.step(_game, x, y, state, (down, up) if known else None)
        ends.append((x, y))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True)), (
        f"{make().name}: gradients that were known led elsewhere"
    )


def _goes_on_from_its_state(make: MakeDynamics) -> None:
    dynamics = make()
    x, y = _start()
    state = dynamics.init(x, y)
    x, y = _walk(dynamics, x, y, state, 4)
    try:
        json.dumps({key: value.tolist() if isinstance(value, Tensor) else value for key, value in state.items()})
    except TypeError as error:
        raise AssertionError(f"{dynamics.name}: its state holds more than tensors and numbers: {error}") from error
    saved = copy.deepcopy(state)
    end = _walk(dynamics, x, y, state, 4)
    again = _walk(make(), x, y, saved, 4)
    assert all(torch.equal(a, b) for a, b in zip(end, again, strict=True)), (
        f"{dynamics.name}: resumed from its state it ended elsewhere"
    )


def _refuses(make: MakeDynamics) -> None:
    dynamics, (x, y) = make(), _start()
    state = dynamics.init(x, y)
    try:
        dynamics.step(lambda x, y: x.flatten(), x, y, state, None)
    except GradusError:
        return
    raise AssertionError(f"{dynamics.name}: a value that is not one number was taken without a GradusError")


CHECKS = (
    _rests,
    _moves_x_down_and_y_up,
    _leaves_its_arguments,
    _known_gradients_change_nothing,
    _goes_on_from_its_state,
    _refuses,
    _finds_the_saddle,
)
