"""The contract of evolution strategies, as checks that need no test framework: an AssertionError says what broke.

A strategy passes when its points have the shape, dtype and noise it was given, when it learns from ranks and nothing
else, wherever the origin lies, keeps all it knows in a plain state that restores bit for bit at any moment, reports the
best point it was told of, refuses values that cannot be ranked without losing its place, and gets down a bowl.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradus.engine.state import join, split
from gradus.errors import GradusError
from gradus.optim.evolution.strategy import Strategy

__all__ = ["check_strategy"]

MakeStrategy = Callable[[Tensor, float, torch.Generator], Strategy]
Objective = Callable[[Tensor], Tensor]
N = 4


def check_strategy(make: MakeStrategy) -> None:
    """Run the whole contract on a strategy.

    Args:
        make: gives it anew for a start (n,), a standard deviation and a generator; called many times.

    Raises:
        AssertionError: for the first clause that fails.
    """
    for check in CHECKS:
        check(make)


def _fresh(make: MakeStrategy, seed: int = 0, dtype: torch.dtype = torch.float64, shift: float = 0.0) -> Strategy:
    return make(torch.ones(N, dtype=dtype) + shift, 0.5, torch.Generator().manual_seed(seed))


def _bowl(points: Tensor) -> Tensor:
    return points.square().sum(1) + 0.1


def _walk(strategy: Strategy, generations: int, fn: Objective = _bowl) -> list[Tensor]:
    """Return the populations of some generations."""
    asked = []
    for _ in range(generations):
        points = strategy.ask()
        asked.append(points.clone())
        strategy.tell(fn(points))
    return asked


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(map(torch.equal, left, right))


def _asks_what_it_says(make: MakeStrategy) -> None:
    for dtype in (torch.float32, torch.float64):
        strategy = _fresh(make, dtype=dtype)
        points = strategy.ask()
        assert len(points) == strategy.popsize, f"ask gives {len(points)} points, popsize says {strategy.popsize}"
        assert not points.requires_grad, "points are recorded by autograd"
        for points in _walk(strategy, 5):
            assert points.shape[1:] == (N,), f"points have shape {tuple(points.shape)}, not ({strategy.popsize}, {N})"
            assert points.dtype == dtype, f"a start of {dtype} gives points of {points.dtype}"
            assert bool(points.isfinite().all()), "a point is not finite"
            assert len(points.unique(dim=0)) == len(points), "a population holds the same point twice"


def _throws_its_own_dice(make: MakeStrategy) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        dice = torch.get_rng_state()
        walks = [_walk(_fresh(make), 6) for _ in range(2)]
        assert torch.equal(dice, torch.get_rng_state()), "it throws torch's global dice, not the generator's"
    assert _same(*walks), "the same generator gave two different walks"
    assert not _same(walks[0], _walk(_fresh(make, seed=1), 6)), "another generator gave the same walk"
    assert not torch.equal(walks[0][0], walks[0][1]), "two generations are the same points"


def _knows_ranks_only(make: MakeStrategy) -> None:
    expected = _walk(_fresh(make), 12)
    for fn in (lambda x: torch.log(_bowl(x)), lambda x: 7 * _bowl(x) ** 3 - 1e3):
        assert _same(_walk(_fresh(make), 12, fn), expected), (
            "an increasing transformation of the values changed the walk"
        )


def _knows_no_origin(make: MakeStrategy) -> None:
    shift = 3.25
    here = _walk(_fresh(make), 6)
    there = _walk(_fresh(make, shift=shift), 6, lambda points: _bowl(points - shift))
    far = max(float((a + shift - b).abs().max()) for a, b in zip(here, there, strict=True))
    assert far < 1e-8, f"moving start and objective by {shift} moved the walk by {far:g} more"


def _ranks_inf_last(make: MakeStrategy) -> None:
    def fenced(outside: float) -> Objective:
        def fn(points: Tensor) -> Tensor:
            values = _bowl(points)
            return torch.where(values == values.max(), outside, values)

        return fn

    walks = [_walk(_fresh(make), 8, fenced(value)) for value in (math.inf, 1e9)]
    assert _same(*walks), "an infinite value does not rank as the largest"


def _keeps_what_it_is_given(make: MakeStrategy) -> None:
    """Points and values belong to the caller, who may write on them; the strategy may not."""
    expected = _walk(_fresh(make), 6)
    strategy, start = _fresh(make), torch.ones(N, dtype=torch.float64)
    held = make(start, 0.5, torch.Generator())
    start.fill_(9.0)
    assert float((held.ask() - 1).abs().max()) < 6, "it kept the caller's x0, and moved when that was changed"
    for points in expected:
        asked = strategy.ask()
        assert torch.equal(asked, points), "writing on the points it gave out changed the walk"
        values = _bowl(asked)
        before = values.clone()
        asked.zero_()
        strategy.tell(values)
        assert torch.equal(values, before), "tell changed the values it was given"


def _draws_anew(make: MakeStrategy) -> None:
    """A second `ask` stands for the first; values belong to the last population."""
    strategy = _fresh(make)
    first = strategy.ask()
    second = strategy.ask()
    values = _bowl(second)
    strategy.tell(values)
    lowest = second[int(values.argmin())]
    assert torch.allclose(strategy.best.x, lowest, rtol=1e-12), "told of the second population, it thought of the first"
    assert first.shape == second.shape, "asking twice changed the population's shape"


def _reports_the_best(make: MakeStrategy) -> None:
    strategy, lowest, told = _fresh(make), math.inf, 0
    assert strategy.best.value == math.inf, "before anything was told there is a best value already"
    for _ in range(25):
        points = strategy.ask()
        values = _bowl(points)
        strategy.tell(values)
        told += len(values)
        lowest = min(lowest, float(values.min()))
        assert strategy.best.value == lowest, f"best says {strategy.best.value}, the lowest value told was {lowest}"
        found = float(_bowl(strategy.best.x[None])[0])
        assert math.isclose(found, lowest, rel_tol=1e-12), "best.x is not the point of best.value"
        assert strategy.evaluations == told, f"it counts {strategy.evaluations} evaluations after {told}"
    strategy.best.x.fill_(5.0)
    assert float(_bowl(strategy.best.x[None])[0]) < 1, "writing on best.x changed the best point"


def _resumes(make: MakeStrategy) -> None:
    """At any moment, through JSON, into a strategy that is not fresh."""
    for done, between in ((0, False), (0, True), (3, False), (7, True), (40, False)):
        strategy = _fresh(make)
        _walk(strategy, done)
        waiting = strategy.ask() if between else None
        arrays: dict[str, Tensor] = {}
        try:
            text = json.dumps(split(strategy.state_dict(), arrays))
        except TypeError as error:
            raise AssertionError(f"its state holds more than arrays, numbers, lists and dicts: {error}") from error
        other = _fresh(make, seed=5)
        _walk(other, 2)
        for going in (strategy, other):
            if going is other:
                going.load_state_dict(join(json.loads(text), arrays))
            if waiting is not None:
                going.tell(_bowl(waiting))
        best = (strategy.best.value, other.best.value)
        assert best[0] == best[1], f"restored after {done} generations, the best value is {best[1]}, not {best[0]}"
        when = f"after {done} generations{' and an ask' if between else ''}"
        assert _same(_walk(other, 5), _walk(strategy, 5)), f"restored {when}, the walk went elsewhere"


def _state_is_a_copy(make: MakeStrategy) -> None:
    strategy = _fresh(make)
    _walk(strategy, 3)
    strategy.ask()
    kept: dict[str, Tensor] = {}
    saved = strategy.state_dict()
    before = json.dumps(split(saved, kept))
    strategy.tell(_bowl(strategy.ask()))
    _walk(strategy, 3)
    now: dict[str, Tensor] = {}
    same = json.dumps(split(saved, now)) == before and all(torch.equal(now[key], kept[key]) for key in kept)
    assert same, "a saved state changes with the strategy"
    other = _fresh(make)
    other.load_state_dict(saved)
    _walk(other, 2)
    again: dict[str, Tensor] = {}
    split(saved, again)
    assert all(torch.equal(again[key], kept[key]) for key in kept), (
        "a strategy writes on the state it was restored from"
    )


def _refuses(make: MakeStrategy) -> None:
    """What cannot be ranked is refused, and the strategy goes on as if it had not been told."""
    strategy, expected = _fresh(make), _walk(_fresh(make), 4)
    _refused("values before any population", lambda: strategy.tell(torch.zeros(strategy.popsize)))
    for points in expected:
        assert torch.equal(strategy.ask(), points), "a refused generation changed the walk"
        values = _bowl(points)
        for what, wrong in {
            "a NaN": values.index_fill(0, torch.tensor([1]), math.nan),
            "−inf": values.index_fill(0, torch.tensor([0]), -math.inf),
            "a generation of inf": torch.full_like(values, math.inf),
            "too few values": values[:-1],
        }.items():
            _refused(what, lambda wrong=wrong: strategy.tell(wrong))
        strategy.tell(values)
    _refused("values told twice", lambda: strategy.tell(_bowl(expected[-1])))
    x0, generator = torch.ones(N, dtype=torch.float64), torch.Generator()
    _refused("a standard deviation of 0", lambda: make(x0, 0.0, generator))
    _refused("a start that is NaN", lambda: make(x0 * math.nan, 0.5, generator))
    _refused("a start without coordinates", lambda: make(x0[:0], 0.5, generator))
    saved = make(torch.ones(N + 1, dtype=torch.float64), 0.5, generator).state_dict()
    _refused("a state of another dimension", lambda: strategy.load_state_dict(saved))


def _refused(what: str, act: Callable[[], Any]) -> None:
    try:
        act()
    except GradusError:
        return
    raise AssertionError(f"{what} was taken without a GradusError")


def _gets_down(make: MakeStrategy) -> None:
    """From the same distance in every direction: an average over starts, since noise may be lucky once."""
    for sign in (1.0, -1.0):
        strategy = make(torch.full((N,), sign, dtype=torch.float64), 0.5, torch.Generator().manual_seed(7))
        start, generations = float(N), 0
        while not strategy.stop and generations < 200:
            points = strategy.ask()
            strategy.tell(points.square().sum(1))
            generations += 1
        reached = strategy.best.value
        assert reached < 0.02 * start, f"{generations} generations took a sphere from {start:g} to {reached:g}"


CHECKS = (
    _asks_what_it_says,
    _throws_its_own_dice,
    _knows_ranks_only,
    _knows_no_origin,
    _ranks_inf_last,
    _keeps_what_it_is_given,
    _draws_anew,
    _reports_the_best,
    _refuses,
    _resumes,
    _state_is_a_copy,
    _gets_down,
)
