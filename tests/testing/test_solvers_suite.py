"""`check_solver` passes every registered method, and rejects each of a family of planted bugs."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.ode.solving import odeint, solve
from gradus.ode.tableaus import Tableau, dopri5, heun, implicit_euler, make, rk4, trbdf2
from gradus.testing.solvers import check_solver, order_of


@pytest.mark.parametrize("name", canon.names("solver"))
def test_every_registered_solver_keeps_the_contract(name: str) -> None:
    check_solver(lambda: make(name))


def _shifted(row: tuple[float, ...], by: float) -> tuple[float, ...]:
    return (row[0] + by, row[1] - by, *row[2:])


TABLEAUS: dict[str, tuple[Callable[[], Tableau], str]] = {
    "weights a little off": (lambda: replace(rk4(), b=_shifted(rk4().b, 1e-4)), "order conditions give order 1"),
    "a stage at the wrong time": (lambda: replace(rk4(), c=(0.0, 0.5, 0.6, 1.0)), "row sums"),
    "claims too much": (lambda: replace(heun(), order=3), "order 2, not 3"),
    "claims too little": (lambda: replace(rk4(), order=3), "order 4, not 3"),
    "looks ahead": (lambda: replace(heun(), a=((0.0, 0.0), (1.0,))), "later one"),
    "estimate claims too much": (lambda: replace(dopri5(), embedded=5), "estimate has order 4"),
    "estimate of another method": (lambda: replace(trbdf2(), error=(0.1, 0.1, -0.2)), "estimate has order 1"),
    "no estimate": (lambda: replace(heun(), error=(0.0, 0.0), embedded=2), "nothing"),
    "estimate lacks a stage": (lambda: replace(dopri5(), error=(0.1, -0.1)), "every stage"),
    "middle is off": (
        lambda: replace(dopri5(), mid=_shifted(_shifted(dopri5().mid or (), 0.01), 0.0)),
        "dense output has order",
    ),
    "implicit, of lower order": (lambda: replace(implicit_euler(), order=2), "order 1, not 2"),
}


@pytest.mark.parametrize("bug", TABLEAUS)
def test_planted_tableaus_are_rejected(bug: str) -> None:
    make_tableau, said = TABLEAUS[bug]
    with pytest.raises(AssertionError, match=said):
        check_solver(make_tableau)


def _forgets_time(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    return odeint(lambda _, y: func(t[0], y), y0, t, **settings)


def _shifts_time(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    if isinstance(func, torch.nn.Module):
        return odeint(func, y0, t, **settings)
    return odeint(lambda s, y: func(s + 1e-3, y), y0, t, **settings)


def _always_forwards(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    return odeint(func, y0, torch.sort(t).values, **settings)


def _writes_into_its_start(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    found = odeint(func, y0, t, **settings)
    if isinstance(y0, Tensor) and not y0.requires_grad:
        y0.copy_(found[-1])
    return found


def _leaves_out_the_start(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    found = odeint(func, y0, t, **settings)
    return torch.cat([found[1:2], found[1:]]) if isinstance(found, Tensor) else found


def _always_double(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    return odeint(func, y0.double() if isinstance(y0, Tensor) else y0, t, **settings)


def _rolls_dice(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    found = odeint(func, y0, t, **settings)
    if isinstance(found, Tensor) and found.shape[1:] == (2,):
        found[-1] += 1e-13 * torch.randn(2, dtype=found.dtype)
    return found


def _mixes_up_a_tuple(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    found = odeint(func, y0, t, **settings)
    return (found[0] * 1.001, found[1]) if isinstance(found, tuple) else found


def _flattens_a_dict(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    found = odeint(func, y0, t, **settings)
    return {name: value.flatten(1) for name, value in found.items()} if isinstance(found, dict) else found


def _cuts_the_graph(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    found = odeint(func, y0, t, **settings)
    return found.detach() if isinstance(found, Tensor) else found


def _halves_gradients(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    found = odeint(func, y0, t, **settings)
    return found / 2 + found.detach() / 2 if isinstance(found, Tensor) else found


def _checkpoints_differently(func: Any, y0: Any, t: Any, gradient: str = "backprop", **settings: Any) -> Any:
    if gradient == "checkpointed":
        settings["options"] = {"steps": settings["options"]["steps"] + 1}
    return odeint(func, y0, t, gradient=gradient, **settings)


def _adjoint_forgets_parameters(func: Any, y0: Any, t: Any, gradient: str = "backprop", **settings: Any) -> Any:
    params = () if gradient == "adjoint" else None
    return odeint(func, y0, t, gradient=gradient, params=params, **settings)


def _half_the_steps(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    """An order that is right and a step that is not: what one step does gives it away."""
    return odeint(lambda s, y: func(s, y) * 1.01, y0, t, **settings)


DRIVERS: dict[str, tuple[Callable[..., Any], str]] = {
    "forgets the time": (_forgets_time, "measured order"),
    "shifts the time": (_shifts_time, "measured order"),
    "always forwards": (_always_forwards, "does not come back"),
    "writes into its start": (_writes_into_its_start, "initial state was changed"),
    "leaves out the start": (_leaves_out_the_start, "first output"),
    "always double": (_always_double, "dtype"),
    "rolls dice": (_rolls_dice, "two answers"),
    "mixes up a tuple": (_mixes_up_a_tuple, "not solved as its vector"),
    "flattens a dict": (_flattens_a_dict, "lose their shapes"),
    "cuts the graph": (_cuts_the_graph, "has no gradient"),
    "halves gradients": (_halves_gradients, "not the derivative"),
    "checkpoints other steps": (_checkpoints_differently, "checkpointed and plain"),
    "adjoint forgets the parameters": (_adjoint_forgets_parameters, "adjoint|unused|not have been used"),
    "a hundredth too fast": (_half_the_steps, "measured order"),
}


@pytest.mark.parametrize("bug", DRIVERS)
def test_planted_drivers_are_rejected(bug: str) -> None:
    driver, said = DRIVERS[bug]
    with pytest.raises((AssertionError, RuntimeError), match=said):
        check_solver(rk4, odeint=driver)


def _miscounts(*args: Any, **settings: Any) -> Any:
    found = solve(*args, **settings)
    found.statistics.nfev -= 1
    return found


def _one_step_more(*args: Any, **settings: Any) -> Any:
    found = solve(*args, **settings)
    found.statistics.accepted += 1
    return found


def _coarse(*args: Any, **settings: Any) -> Any:
    if "rtol" in settings:
        settings["rtol"], settings["atol"] = 1e4 * settings["rtol"], 1e4 * settings["atol"]
    return solve(*args, **settings)


def _as_it_likes(*args: Any, **settings: Any) -> Any:
    if "rtol" in settings:
        settings["rtol"], settings["atol"] = 1e-10, 1e-10
    return solve(*args, **settings)


def _steps_end_at_outputs(func: Any, y0: Any, t: Any, **settings: Any) -> Any:
    """Every output time ends a step, so that asking changes the answer."""
    if len(t) == 2:
        return solve(func, y0, t, **settings)
    for start, end in pairwise(t):
        found = solve(func, y0, torch.stack([start, end]), **settings)
        y0 = found.y[-1]
    return found


class _Chord:
    """A dense output that draws a line from start to end."""

    def __init__(self, t: Tensor, y: Tensor) -> None:
        self.t, self.y = t, y

    def __call__(self, at: Tensor | float) -> Tensor:
        share = (torch.as_tensor(at, dtype=self.y.dtype) - self.t[0]) / (self.t[-1] - self.t[0])
        return self.y[0] + share[..., None] * (self.y[-1] - self.y[0])


def _draws_chords(*args: Any, **settings: Any) -> Any:
    found = solve(*args, **settings)
    if settings.get("dense"):
        object.__setattr__(found, "dense", _Chord(found.t, found.y))
    return found


SOLVES: dict[str, tuple[Callable[[], Tableau], Callable[..., Any], str]] = {
    "miscounts": (rk4, _miscounts, "evaluations were told"),
    "counts a step more": (rk4, _one_step_more, "number of steps"),
    "coarser than asked": (dopri5, _coarse, "at a tolerance"),
    "a tolerance of its own": (dopri5, _as_it_likes, "finer answer|steps grow"),
    "steps end at outputs": (dopri5, _steps_end_at_outputs, "more output times"),
    "draws chords": (rk4, _draws_chords, "dense output has order"),
}


@pytest.mark.parametrize("bug", SOLVES)
def test_planted_solves_are_rejected(bug: str) -> None:
    make_tableau, solver, said = SOLVES[bug]
    with pytest.raises(AssertionError, match=said):
        check_solver(make_tableau, solve=solver)


def test_rooted_trees_give_the_number_of_order_conditions() -> None:
    from gradus.testing.solvers import _density, _trees

    assert [len(_trees(n)) for n in range(1, 7)] == [1, 1, 2, 4, 9, 20]
    # Σ over trees of n!/(γ σ) is (n − 1)!; already the chain and the bush of four have γ = 24 and 4.
    assert sorted(_density(t) for t in _trees(4)) == [4, 8, 12, 24]


def test_gauss_of_two_stages_has_order_four() -> None:
    root = 3**0.5 / 6
    a = torch.tensor([[1 / 4, 1 / 4 - root], [1 / 4 + root, 1 / 4]], dtype=torch.float64)
    assert order_of(a, torch.tensor([0.5, 0.5], dtype=torch.float64)) == 4
