"""L-BFGS: the triangular form is the two loops, and with a memory as long as the way it is BFGS."""

import pytest
import torch

from gradus.errors import GradusError
from gradus.optim import minimize
from gradus.optim.descent import Step
from gradus.optim.lbfgs import Limited
from gradus.optim.objective import Objective
from gradus.optim.quasi_newton import bfgs_update
from gradus.optim.surfaces import rosenbrock


def two_loops(pairs, grad, scale):
    """The recursion as Nocedal and Wright's algorithm 7.4 has it."""
    q, alphas = grad.clone(), []
    for s, y in reversed(pairs):
        alphas.append(torch.dot(s, q) / torch.dot(s, y))
        q = q - alphas[-1] * y
    r = scale * q
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + (alpha - torch.dot(y, r) / torch.dot(s, y)) * s
    return -r


def fed(memory, steps, n=7, scaled=True, seed=0):
    """Return a model after a row of random steps on a quadratic, with the pairs it was given and the last point."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(n, n, generator=generator, dtype=torch.float64)
    matrix = matrix @ matrix.T + 0.1 * torch.eye(n, dtype=torch.float64)
    objective = Objective(lambda x: 0.5 * torch.dot(x, matrix @ x), torch.randn(n, generator=generator).double())
    model, point, pairs = Limited(objective.start, memory, scaled), objective.at(objective.start), []
    for _ in range(steps):
        direction = torch.randn(n, generator=generator, dtype=torch.float64)
        after = objective.at(point.x + 0.5 * direction)
        model.learn(Step(point, direction, 0.5, torch.dot(point.grad, direction).item(), after))
        pairs.append((after.x - point.x, after.grad - point.grad))
        point = after
    return model, pairs, point


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("memory", [1, 2, 5])
def test_the_triangular_form_is_the_two_loops(memory, scaled):
    for steps in range(14):
        model, pairs, point = fed(memory, steps, scaled=scaled)
        kept = pairs[-memory:]
        s, y = pairs[-1] if pairs else (point.x, point.x)
        scale = torch.dot(s, y) / torch.dot(y, y) if scaled else torch.ones(())
        torch.testing.assert_close(model.direction(point), two_loops(kept, point.grad, scale), rtol=1e-8, atol=1e-9)


def test_with_memory_enough_and_no_scale_the_direction_is_that_of_bfgs():
    model, pairs, point = fed(20, 6, scaled=False)
    H = torch.eye(7, dtype=torch.float64)
    for s, y in pairs:
        assert bfgs_update(H, s, y)
    torch.testing.assert_close(model.direction(point), -H @ point.grad, rtol=1e-8, atol=1e-9)


def test_the_walk_is_that_of_bfgs_while_the_memory_lasts():
    x0 = torch.tensor([-1.2, 1.0, -0.5, 0.8], dtype=torch.float64)
    paths = {}
    for method, settings in (("bfgs", {}), ("lbfgs", {"memory": 25, "scaled": False})):
        path = paths[method] = []
        minimize(
            rosenbrock, x0, method=method, max_iterations=25, **settings,
            callback=lambda found, path=path: path.append(found.x),
        )  # fmt: skip
    torch.testing.assert_close(torch.stack(paths["bfgs"]), torch.stack(paths["lbfgs"]), rtol=1e-6, atol=1e-7)


def test_memory_is_bounded():
    model, _, _ = fed(4, 30)
    assert len(model._steps) == len(model._changes) == 8


def test_few_steps_of_a_long_memory_are_cheap():
    model, _, _ = fed(1000, 5)
    assert len(model._steps) <= 16


def test_a_hundred_thousand_unknowns():
    """Where a dense H would take 80 GB."""
    pull = torch.linspace(1, 10, 100_000, dtype=torch.float64)
    found = minimize(lambda x: (pull * (x - 1)).cosh().log().sum(), torch.zeros_like(pull), method="lbfgs")
    assert found.success
    assert (found.x - 1).abs().max() < 1e-4


def test_longer_memory_needs_fewer_steps():
    x0 = torch.tensor([-1.2, 1.0], dtype=torch.float64).repeat(5)
    counts = [minimize(rosenbrock, x0, method="lbfgs", memory=memory).nit for memory in (1, 10)]
    assert counts[1] < counts[0]


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(GradusError, match="memory"):
        minimize(rosenbrock, torch.zeros(2), method="lbfgs", memory=0)
