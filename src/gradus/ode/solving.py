"""Solving initial-value problems, with gradients three ways.

    dy/dt = f(t, y),    y(t_0) = y_0    →    y(t_0), y(t_1), …

Gradients: "backprop" follows the steps (discretise, then optimise); "checkpointed" gives the same numbers in memory of
√steps, taking the steps again; "adjoint" solves a second equation backwards in memory that does not grow. Gradients
with respect to the times are those of the exact flow, dy(t_i)/dt_i = f and dy(t_i)/dt_0 = −(∂y(t_i)/∂y_0) f.

References:
    Hairer, Nørsett and Wanner 1993, Solving ordinary differential equations I.
    Chen, Rubanova, Bettencourt and Duvenaud 2018, Neural ordinary differential equations.
Deviations:
    `odeint` is called as torchdiffeq's. Unlike there, steps end at the last time instead of passing it, and fixed steps
    end at every output time, so that no output is interpolated to a lower order than the method's.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gradus.errors import GradusError, nearest
from gradus.ode.adaptive import Step, Watch
from gradus.ode.adjoint import solve_by_adjoint
from gradus.ode.checkpointed import solve_checkpointed
from gradus.ode.dense import DenseOutput
from gradus.ode.events import Event, EventWatch
from gradus.ode.problem import Problem
from gradus.ode.settings import Options, Statistics, read
from gradus.ode.state import Field, Layout, State
from gradus.ode.stepping import Stepper
from gradus.ode.tableaus import Tableau, make

__all__ = ["Solution", "odeint", "odeint_event", "solve"]

GRADIENTS = ("backprop", "adjoint", "checkpointed")
Times = Tensor | Sequence[float]
Func = Callable[..., State]


@dataclass(frozen=True)
class Solution:
    """A solved initial-value problem.

    Attributes:
        t: output times reached, of shape (times,); fewer than asked for where an event ended the solve.
        y: the state at each, with a leading axis of times.
        statistics: evaluations and steps.
        events: for each event its times and the states there.
        dense: the solution at any time between, where it was asked for.
    """

    t: Tensor
    y: State
    statistics: Statistics
    events: list[tuple[Tensor, State]] = field(default_factory=list)
    dense: DenseOutput | None = None


def odeint(
    func: Func,
    y0: State,
    t: Times,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str | Tableau = "dopri5",
    gradient: str = "backprop",
    params: Iterable[Tensor] | None = None,
    options: Mapping[str, Any] | Options | None = None,
    statistics: Statistics | None = None,
) -> State:
    """Integrate dy/dt = func(t, y) from y(t[0]) = y0.

    Args:
        func: (t, y) → dy/dt; t is 0-dimensional, y and dy/dt are as y0.
        y0: a tensor of any shape, or a tuple, list or dict of tensors.
        t: times of shape (times,), increasing or decreasing.
        rtol: relative tolerance.
        atol: absolute tolerance.
        method: name of a solver, or a tableau of one's own.
        gradient: "backprop", "adjoint" or "checkpointed".
        params: what func depends on and gradients are wanted for, for the last two; by default the parameters of func,
            an `nn.Module`.
        options: see `gradus.ode.settings.Options`.
        statistics: counts evaluations and steps, those of the backward pass included.

    Returns:
        y at all times, with a leading axis of times, y0 first.

    Raises:
        GradusError: for what cannot be solved as asked: a wrong name or shape, a derivative that is not finite, a
            singularity, or a stiff problem given to an explicit method.
    """
    problem, y, times = _prepare(func, y0, t, rtol, atol, method, options, statistics)
    found = _differentiable(problem, y, times, gradient, params)
    return problem.layout.unpack(found, (len(problem.times),))


def solve(
    func: Func,
    y0: State,
    t: Times,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str | Tableau = "dopri5",
    options: Mapping[str, Any] | Options | None = None,
    events: Sequence[Event] = (),
    dense: bool = False,
) -> Solution:
    """Integrate dy/dt = func(t, y) and tell all about it; without gradients.

    Args:
        func: (t, y) → dy/dt.
        y0: a tensor of any shape, or a tuple, list or dict of tensors.
        t: times of shape (times,), increasing or decreasing.
        rtol: relative tolerance.
        atol: absolute tolerance.
        method: name of a solver, or a tableau of one's own.
        options: see `gradus.ode.settings.Options`.
        events: what to look for on the way; a terminal one ends the solve.
        dense: keep the continuous solution.

    Returns:
        The solution with its statistics, events and dense output.

    Raises:
        GradusError: as `odeint` does.
    """
    problem, y, times = _prepare(func, y0, t, rtol, atol, method, options, None)
    layout = problem.layout
    with torch.no_grad():
        recorder = DenseOutput(problem.tableau, layout) if dense else None
        watch = EventWatch(events, layout, problem.times[0], y.detach()) if events else None
        found = problem.without_gradients(y, _both(recorder.record if recorder else None, watch))
        located = [_located(times, hits, layout, y) for hits in watch.found] if watch else []
    return Solution(
        times.detach()[: len(found)],
        layout.unpack(found, (len(found),)),
        problem.statistics,
        located,
        recorder,
    )


def odeint_event(
    func: Func,
    y0: State,
    t0: Tensor | float,
    *,
    event_fn: Callable[[Tensor, State], Tensor],
    reverse_time: bool = False,
    direction: int = 0,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str | Tableau = "dopri5",
    gradient: str = "backprop",
    params: Iterable[Tensor] | None = None,
    options: Mapping[str, Any] | Options | None = None,
) -> tuple[Tensor, State]:
    """Integrate until event_fn(t, y) = 0; the time of the event is differentiable as the state is.

    The event is found without gradients first, and the solve is then repeated up to it.

    Args:
        func: this, y0 and the settings are as in `odeint`; methods with fixed steps need `options["step_size"]`, and
            `options["max_steps"]` bounds the search.
        y0: initial state.
        t0: start.
        event_fn: g(t, y), one number.
        reverse_time: solve towards smaller times.
        direction: 1 for g rising, −1 for g falling along the solve, 0 for both.

    Returns:
        The time of the event, 0-dimensional, and y at the start and there, with a leading axis of 2.

    Raises:
        GradusError: as `odeint` does, and where no event is met within `max_steps`.
    """
    start = t0.reshape(()) if isinstance(t0, Tensor) else torch.tensor(float(t0), dtype=torch.float64)
    horizon = torch.stack([start.detach(), start.new_tensor(-math.inf if reverse_time else math.inf)])
    problem, y, _ = _prepare(func, y0, horizon, rtol, atol, method, options, None)
    end = _first_hit(problem, y, Event(event_fn, terminal=True, direction=direction))
    times = torch.stack([start, start.new_tensor(end)])
    problem = problem.until([problem.times[0], end])
    found = _differentiable(problem, y, times, gradient, params)
    moment, state = times[-1], found[-1]
    if state.requires_grad:
        moment, state = _implicit_time(problem, event_fn, moment.detach(), state)
    return moment, problem.layout.unpack(torch.stack([found[0], state]), (2,))


def _first_hit(problem: Problem, y: Tensor, event: Event) -> float:
    """Return when a terminal event is met first.

    Raises:
        GradusError: for fixed steps of no given length, and where there is no event within `max_steps`.
    """
    options = problem.options
    if (options.fixed or not problem.tableau.adaptive) and options.step_size is None:
        raise GradusError(f"method {problem.tableau.name!r} looks for events with options={{'step_size': …}} only")
    with torch.no_grad():
        watch = EventWatch([event], problem.layout, problem.times[0], y.detach())
        problem.without_gradients(y, watch)
    assert watch.end is not None
    return watch.end


def _prepare(
    func: Func,
    y0: State,
    t: Times,
    rtol: float,
    atol: float,
    method: str | Tableau,
    options: Mapping[str, Any] | Options | None,
    statistics: Statistics | None,
) -> tuple[Problem, Tensor, Tensor]:
    """Return the problem, the packed initial state, and the times as a tensor."""
    layout = Layout(y0)
    times = t if isinstance(t, Tensor) else torch.tensor(list(t), dtype=torch.float64)
    if times.dim() != 1 or len(times) < 2 or not times.is_floating_point():
        raise GradusError(
            f"the times t, of shape {tuple(times.shape)} and {times.dtype}, are no vector of at least two "
            "floating-point numbers"
        )
    moments: list[float] = times.tolist()
    steps = [later - earlier for earlier, later in pairwise(moments)]
    if not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        raise GradusError(
            "the times t are neither strictly increasing nor strictly decreasing; sort them, drop doubles"
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not 0 <= value < math.inf:
            raise GradusError(f"odeint: {name}={value} is no tolerance; give a small number, such as 1e-6")
    if rtol == atol == 0:
        raise GradusError("odeint: rtol and atol are both 0, which no step can meet; give one of them, such as 1e-6")
    statistics = statistics or Statistics()
    tableau = method if isinstance(method, Tableau) else make(method)
    packed = Field(func, layout, statistics)
    problem = Problem(packed, moments, tableau, float(rtol), float(atol), read(options), statistics)
    return problem, layout.pack(y0), times


def _differentiable(
    problem: Problem, y: Tensor, times: Tensor, gradient: str, params: Iterable[Tensor] | None
) -> Tensor:
    """Return the packed states at the times, stacked, with the gradient that was asked for."""
    if gradient not in GRADIENTS:
        raise GradusError(f"there is no gradient {gradient!r}{nearest(gradient, GRADIENTS)}")
    timed = torch.is_grad_enabled() and times.requires_grad
    if timed:
        y = y - (times[0] - times[0].detach()).to(y) * _slopes(problem, times[:1], y[None])[0]
    if gradient == "backprop":
        found = _through_steps(problem, y)
    else:
        tracked = _tracked(problem, y, gradient, params)
        if tracked is None:
            found = problem.without_gradients(y)
        elif gradient == "checkpointed":
            found = solve_checkpointed(problem, y, tracked)
        elif problem.tableau.explicit:
            found = solve_by_adjoint(problem, y, tracked)
        else:
            raise GradusError(
                f"{problem.tableau.name!r} is for stiff problems, which no adjoint can solve backwards in time; use "
                "gradient='checkpointed'"
            )
    return _moving(problem, found, times) if timed else found


def _through_steps(problem: Problem, y: Tensor) -> Tensor:
    """Return the states by steps that autograd follows where anything needs a gradient, by the fastest ones if not."""
    module = problem.field.func
    needed = torch.is_grad_enabled() and (
        y.requires_grad or (isinstance(module, nn.Module) and any(p.requires_grad for p in module.parameters()))
    )
    if torch.is_grad_enabled() and not needed:
        # A closure does not say what it depends on; its first value does, and is not wasted.
        stepper = problem.functional(y)
        needed = stepper.slope(problem.times[0], y).requires_grad
        if not needed:
            return _from_first(problem, stepper, y)
        return torch.stack(problem.run(stepper, y))
    return torch.stack(problem.run(problem.functional(y), y)) if needed else problem.without_gradients(y)


def _from_first(problem: Problem, probe: Any, y: Tensor) -> Tensor:
    """Return the states by the fastest steps, the first derivative being known."""
    with torch.no_grad():
        stepper = problem.fastest(y)
        if probe.first is not None:
            stepper.know(probe.first)
        return torch.stack(problem.run(stepper, y.detach()))


def _tracked(problem: Problem, y: Tensor, gradient: str, params: Iterable[Tensor] | None) -> tuple[Tensor, ...] | None:
    """Return the tensors that gradients are wanted for, or None where there are none.

    Raises:
        GradusError: if they cannot be known.
    """
    if not torch.is_grad_enabled():
        return None
    module = problem.field.func
    if params is None:
        if not isinstance(module, nn.Module):
            raise GradusError(
                f"gradient={gradient!r} has to know what func depends on: make it an nn.Module, or name the tensors, "
                "params=(…) (empty if there are none)"
            )
        params = module.parameters()
    tracked = tuple({id(p): p for p in params if p.requires_grad}.values())
    return tracked if tracked or y.requires_grad else None


def _moving(problem: Problem, found: Tensor, times: Tensor) -> Tensor:
    """Return the states as functions of their times too: y_i + (t_i − t̄_i) f(t_i, y_i)."""
    shift = (times - times.detach()).to(found).view(-1, *[1] * (found.dim() - 1))
    return found + shift * _slopes(problem, times, found)


def _slopes(problem: Problem, times: Tensor, states: Tensor) -> Tensor:
    """Return f at packed states, stacked, without gradients."""
    with torch.no_grad():
        return torch.stack([problem.field(t, y) for t, y in zip(times.to(states), states, strict=True)])


def _implicit_time(
    problem: Problem, event_fn: Callable[[Tensor, State], Tensor], moment: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return time and state of an event as functions of everything the state depends on."""
    layout = problem.layout
    with torch.enable_grad():
        t, y = moment.to(state.dtype, copy=True).requires_grad_(), state.detach().requires_grad_()
        value = event_fn(t, layout.unpack(y)).reshape(())
        by_time, by_state = torch.autograd.grad(value, (t, y), allow_unused=True)
    with torch.no_grad():
        slope = problem.field(t.detach(), state)
    by_state = torch.zeros_like(state) if by_state is None else by_state
    rate = (by_state * slope).sum() + (0 if by_time is None else by_time)
    if rate == 0:
        raise GradusError(
            f"the event at t = {moment.item():.6g} touches zero without crossing it, so its time has no gradient"
        )
    shift = -(by_state * (state - state.detach())).sum() / rate
    return moment + shift.to(moment), state + shift * slope


def _both(first: Watch | None, second: Watch | None) -> Watch | None:
    if first is None or second is None:
        return first or second

    def watch(stepper: Stepper, step: Step, y: Tensor, new: Tensor) -> float | None:
        first(stepper, step, y, new)
        return second(stepper, step, y, new)

    return watch


def _located(times: Tensor, hits: list[tuple[float, Tensor]], layout: Layout, like: Tensor) -> tuple[Tensor, State]:
    """Return the times and states of an event's hits."""
    states = torch.stack([state for _, state in hits]) if hits else like.new_empty(0, *layout.shape)
    return times.new_tensor([time for time, _ in hits]), layout.unpack(states, (len(hits),))
