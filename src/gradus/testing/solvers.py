"""The contract of an ODE solver, as checks that need no test framework: an AssertionError says what broke.

A method passes when its tableau meets exactly the order conditions it claims, when steps taken with it show that order
and the growth that its stability function predicts, when its dense output and error estimate are as good as they say,
and when time may run backwards, states may have any structure, gradients agree, and the counts are true.

References:
    Butcher 2016, Numerical methods for ordinary differential equations, chapter 3 (rooted trees and order conditions).
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor, nn

from gradus.ode.solving import odeint, solve
from gradus.ode.tableaus import Tableau

__all__ = ["check_solver", "order_of", "slope"]

MakeTableau = Callable[[], Tableau]
Tree = tuple[Any, ...]
DOUBLE = torch.float64
HIGHEST = 6


def check_solver(make: MakeTableau, *, odeint: Callable[..., Any] = odeint, solve: Callable[..., Any] = solve) -> None:
    """Run the whole contract on a method.

    Args:
        make: gives the tableau.
        odeint: what drives it; another one is checked in its place.
        solve: the same with statistics, events and dense output.

    Raises:
        AssertionError: for the first clause that fails.
    """
    tableau = make()
    _tableau_is_sound(tableau)
    _orders_are_claimed(tableau)
    for check in (_order_is_measured, _growth_is_predicted, _time_runs, _structures_agree, _gradients_agree):
        check(tableau, odeint)
    for look in (_dense_output_is_good, _counts_are_true, _tolerance_is_met):
        look(tableau, solve)


@lru_cache(maxsize=HIGHEST)
def _trees(order: int) -> tuple[Tree, ...]:
    """Return the rooted trees with so many vertices; a tree is the sorted tuple of its branches."""
    if order == 1:
        return ((),)
    return tuple(dict.fromkeys(tuple(sorted(forest)) for forest in _forests(order - 1, order - 1)))


def _forests(vertices: int, largest: int) -> Iterator[tuple[Tree, ...]]:
    """Yield the multisets of trees with so many vertices in all, none of them larger than `largest`."""
    if vertices == 0:
        yield ()
        return
    for size in range(min(vertices, largest), 0, -1):
        for count in range(1, vertices // size + 1):
            for some in combinations_with_replacement(_trees(size), count):
                for rest in _forests(vertices - size * count, size - 1):
                    yield (*some, *rest)


def _size(tree: Tree) -> int:
    return 1 + sum(_size(branch) for branch in tree)


def _density(tree: Tree) -> int:
    """Return γ(t): the product of the sizes of all subtrees."""
    return _size(tree) * math.prod(_density(branch) for branch in tree)


def _stage_weights(tree: Tree, a: Tensor) -> Tensor:
    """Return the elementary weight Φ_i(t) of every stage."""
    weights = torch.ones(len(a), dtype=DOUBLE)
    for branch in tree:
        weights = weights * (a @ _stage_weights(branch, a))
    return weights


def order_of(a: Tensor, b: Tensor, tolerance: float = 1e-11) -> int:
    """Return the order of a Runge–Kutta method: Σ b_i Φ_i(t) = 1/γ(t) for all rooted trees up to it.

    Args:
        a: matrix of shape (stages, stages).
        b: weights of shape (stages,).
        tolerance: of each condition.
    """
    for order in range(1, HIGHEST + 1):
        if any(abs(float(b @ _stage_weights(t, a)) - 1 / _density(t)) > tolerance for t in _trees(order)):
            return order - 1
    return HIGHEST


def _matrix(tableau: Tableau) -> Tensor:
    rows = [[*row, *[0.0] * (tableau.stages - len(row))] for row in tableau.a]
    return torch.tensor(rows, dtype=DOUBLE)


def _tableau_is_sound(tableau: Tableau) -> None:
    s = tableau.stages
    assert len(tableau.a) == len(tableau.c) == s, "a, b and c differ in their number of stages"
    assert all(len(row) <= i + 1 for i, row in enumerate(tableau.a)), "a stage looks at a later one"
    sums = _matrix(tableau).sum(1)
    assert torch.allclose(sums, torch.tensor(tableau.c, dtype=DOUBLE), atol=1e-12), "c is not the row sums of a"
    for weights, total in ((tableau.error, 0.0), (tableau.mid, 0.5)):
        if weights is not None:
            assert len(weights) == s, "error and mid need a weight for every stage"
            assert abs(math.fsum(weights) - total) < 1e-9, f"weights that have to sum to {total} do not"


def _orders_are_claimed(tableau: Tableau) -> None:
    a, b = _matrix(tableau), torch.tensor(tableau.b, dtype=DOUBLE)
    found = order_of(a, b)
    assert found == tableau.order, f"the order conditions give order {found}, not {tableau.order}"
    if tableau.error is not None:
        second = order_of(a, b - torch.tensor(tableau.error, dtype=DOUBLE))
        found = min(found, second)
        assert found == tableau.embedded, f"the error estimate has order {found}, not {tableau.embedded}"
        assert max(map(abs, tableau.error)) > 1e-6, "the error estimate is nothing"


def _curve(t: Tensor, y: Tensor) -> Tensor:
    """A field that is neither autonomous, nor linear, nor uncoupled; its solution is `_exact`."""
    first, second = y.unbind(-1)
    return torch.stack([first * torch.cos(t), second * (torch.cos(t) + 1 - second / first)], -1)


def _exact(t: Tensor) -> Tensor:
    first = torch.exp(torch.sin(t))
    return torch.stack([first, first * torch.sigmoid(t)], -1)


def slope(sizes: list[float], errors: list[float]) -> float:
    """Return the least-squares slope of log error over log size."""
    x, y = torch.tensor(sizes, dtype=DOUBLE).log(), torch.tensor(errors, dtype=DOUBLE).log()
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / (x @ x))


def _steps(tableau: Tableau) -> tuple[int, ...]:
    """Return numbers of steps that are enough for the leading term, and few enough to stay above rounding."""
    return (40, 80) if tableau.order < 2 else (24, 48) if tableau.order < 5 else (24, 48, 96)


def _span(start: float, end: float) -> Tensor:
    return torch.tensor([start, end], dtype=DOUBLE)


def _order_is_measured(tableau: Tableau, odeint: Callable[..., Any]) -> None:
    # Where the leading term of the error rules, and rounding does not.
    end, errors = 1.0 if tableau.order < 5 else 3.0, []
    for steps in _steps(tableau):
        found = odeint(_curve, _exact(_span(0, end))[0], _span(0, end), method=tableau, options={"steps": steps})
        errors.append(float((found[-1] - _exact(_span(0, end))[1]).abs().max()))
    measured = slope([1 / steps for steps in _steps(tableau)], errors)
    assert abs(measured - tableau.order) < 0.1, f"measured order {measured:.2f}, not {tableau.order}"


def _growth_is_predicted(tableau: Tableau, odeint: Callable[..., Any]) -> None:
    limit = tableau.stability
    rates = torch.tensor([-0.1, -1.0, -0.98 * min(limit, 1e4), -1.05 * min(limit, 1e4)], dtype=DOUBLE)
    found = odeint(
        lambda t, y: rates * y, torch.ones(4, dtype=DOUBLE), _span(0, 1), method=tableau, options={"steps": 1}
    )
    for rate, value in zip(rates.tolist(), found[-1].tolist(), strict=True):
        assert math.isclose(value, tableau.growth(rate), rel_tol=1e-6, abs_tol=1e-9), f"a step is not R({rate:g}) y"
    inside, outside = found[-1].abs()[2:].tolist()
    assert inside <= 1 + 1e-6, "the method is not stable within its limit"
    assert math.isinf(limit) or outside > 1, "the method is stable beyond its limit"


def _time_runs(tableau: Tableau, odeint: Callable[..., Any]) -> None:
    settings = {"method": tableau, "options": {"steps": 40}}
    start = _exact(_span(0, 1))[0]
    kept = start.clone()
    there = odeint(_curve, start, _span(0, 1), **settings)
    assert torch.equal(start, kept), "the initial state was changed"
    assert torch.equal(there[0], start), "the first output is not the initial state"
    assert torch.equal(there, odeint(_curve, start, _span(0, 1), **settings)), "the same solve gives two answers"
    bound = 20 * float((there[-1] - _exact(_span(0, 1))[1]).abs().max()) + 1e-9
    back = odeint(_curve, there[-1], _span(1, 0), **settings)[-1]
    assert float((back - start).abs().max()) < bound, "backwards in time it does not come back"
    area = odeint(lambda t, y: 3 * t**2, torch.zeros((), dtype=DOUBLE), _span(1, 2), **settings)[-1]
    assert abs(float(area) - 7) < 0.2, "a field of time alone is not integrated"
    single = odeint(_curve, start.float(), _span(0, 1), **settings)
    assert single.dtype is torch.float32, "the dtype of the state is not kept"


def _structures_agree(tableau: Tableau, odeint: Callable[..., Any]) -> None:
    t = torch.tensor([0.0, 0.3, 1.0], dtype=DOUBLE)
    a, b = torch.linspace(1, 2, 6, dtype=DOUBLE).view(2, 3), torch.linspace(-1, 1, 2, dtype=DOUBLE)
    settings: dict[str, Any] = {"method": tableau, "options": {"steps": 5}}
    whole = odeint(
        lambda t, y: torch.cat([-y[:6] * t, y[:6].view(2, 3).sum(1) - y[6:]]),
        torch.cat([a.flatten(), b]),
        t,
        **settings,
    )
    pair = odeint(lambda t, y: (-y[0] * t, y[0].sum(1) - y[1]), (a, b), t, **settings)
    assert isinstance(pair, tuple), "a tuple of states gives no tuple"
    named = odeint(lambda t, y: {"b": y["a"].sum(1) - y["b"], "a": -y["a"] * t}, {"a": a, "b": b}, t, **settings)
    for first, second in (pair, (named["a"], named["b"])):
        assert first.shape == (3, 2, 3), "states of a tuple or dict lose their shapes"
        assert second.shape == (3, 2), "states of a tuple or dict lose their shapes"
        joined = torch.cat([first.flatten(1), second], 1)
        assert torch.allclose(joined, whole, rtol=0, atol=1e-12), "a tuple or dict is not solved as its vector is"


class _Learned(nn.Module):
    """A small field with parameters, seeded."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=DOUBLE))
        self.bias = nn.Parameter(torch.randn(3, generator=generator, dtype=DOUBLE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ self.weight + self.bias * t)


def _gradients_agree(tableau: Tableau, odeint: Callable[..., Any]) -> None:
    field, t = _Learned(), torch.tensor([0.0, 0.4, 1.0], dtype=DOUBLE)
    start = torch.linspace(-1, 1, 6, dtype=DOUBLE).view(2, 3)

    def loss(y: Tensor, gradient: str, steps: int) -> Tensor:
        # Fewer steps would do, but for a checkpointed solve to have several segments.
        found = odeint(field, y, t, method=tableau, gradient=gradient, options={"steps": steps})
        return (found[1:] ** 2).sum() + found[-1].sum()

    def gradients(gradient: str, steps: int) -> list[Tensor]:
        point = start.clone().requires_grad_()
        value = loss(point, gradient, steps)
        assert value.requires_grad, f"{gradient}: the result has no gradient"
        return list(torch.autograd.grad(value, [point, *field.parameters()]))

    exact = gradients("backprop", 6)
    for index, tensor in enumerate([start, *(p.data for p in field.parameters())]):
        ahead, behind = _nudged(tensor, 1e-6, lambda: loss(start, "backprop", 6).item())
        numeric = (ahead - behind) / 2e-6
        assert abs(numeric - float(exact[index].flatten()[0])) < 1e-6, "backpropagation is not the derivative"
    again = gradients("checkpointed", 6)
    assert all(map(torch.equal, exact, again)), "checkpointed and plain backpropagation differ"
    if tableau.explicit:
        wide, narrow = (_gap(gradients("adjoint", steps), gradients("backprop", steps)) for steps in (4, 16))
        assert narrow < 0.5 * max(1.0, *(float(g.abs().max()) for g in exact)), "the adjoint is not the gradient"
        assert narrow < 1e-9 or narrow < wide / 3, "the adjoint does not approach the gradient as steps get shorter"


def _gap(left: list[Tensor], right: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(left, right, strict=True))


def _nudged(tensor: Tensor, by: float, value: Callable[[], float]) -> tuple[float, float]:
    """Return a value with the first entry of a tensor raised, and lowered."""
    flat = tensor.view(-1)
    kept = flat[0].item()
    flat[0] = kept + by
    ahead = value()
    flat[0] = kept - by
    behind = value()
    flat[0] = kept
    return ahead, behind


def _dense_output_is_good(tableau: Tableau, solve: Callable[..., Any]) -> None:
    t, errors = torch.linspace(0.013, 1.987, 41, dtype=DOUBLE), []
    start = _exact(_span(0, 2))[0]
    for steps in _steps(tableau):
        found = solve(_curve, start, _span(0, 2), method=tableau, options={"steps": steps}, dense=True)
        assert torch.allclose(found.dense(2.0), found.y[-1], rtol=0, atol=1e-10), "the dense output misses the end"
        errors.append(float((found.dense(t) - _exact(t)).abs().max()))
    wanted = min(tableau.order, len(tableau.interpolant[0]) + 1)
    measured = slope([1 / steps for steps in _steps(tableau)], errors)
    assert measured > wanted - 0.15, f"the dense output has order {measured:.2f}, not {wanted}"


def _counts_are_true(tableau: Tableau, solve: Callable[..., Any]) -> None:
    calls = 0

    def counted(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return _curve(t, y)

    options = {} if tableau.adaptive else {"steps": 25}
    found = solve(counted, _exact(_span(0, 1))[0], _span(0, 1), method=tableau, rtol=1e-5, atol=1e-6, options=options)
    assert found.statistics.nfev == calls, f"{found.statistics.nfev} evaluations were told, {calls} were made"
    if not tableau.adaptive:
        assert found.statistics.accepted == 25, "the number of steps is not the one asked for"
    else:
        assert found.statistics.accepted > 0, "no step was counted"


def _tolerance_is_met(tableau: Tableau, solve: Callable[..., Any]) -> None:
    if not tableau.adaptive:
        return
    t, steps, errors = _span(0, 2), [], []
    tolerances = [1e-3, 1e-5, 1e-7] if tableau.order < 3 else [1e-5, 1e-7, 1e-9]
    for tolerance in tolerances:
        found = solve(_curve, _exact(t)[0], t, method=tableau, rtol=tolerance, atol=tolerance)
        errors.append(float((found.y[-1] - _exact(t)[-1]).abs().max()))
        steps.append(found.statistics.accepted)
        # Steps are O(tol^(1/(q+1))) long and their errors add up to O(h^p).
        bound = 10 * tolerance ** (tableau.order / (tableau.embedded + 1))
        assert errors[-1] < bound, f"an error of {errors[-1]:.1e} at a tolerance of {tolerance:g}"
    assert errors == sorted(errors, reverse=True), "a finer tolerance does not give a finer answer"
    power = slope(tolerances[1:], [float(n) for n in steps[1:]])
    wanted = -1 / (tableau.embedded + 1)
    assert abs(power - wanted) < 0.05, f"steps grow as tolerance^{power:.2f}, not ^{wanted:.2f}"
    dense = solve(_curve, _exact(t)[0], torch.linspace(0, 2, 9, dtype=DOUBLE), method=tableau, rtol=1e-5, atol=1e-5)
    bare = solve(_curve, _exact(t)[0], t, method=tableau, rtol=1e-5, atol=1e-5)
    assert torch.equal(dense.y[-1], bare.y[-1]), "asking for more output times changes the solution"
