"""Evolution strategies: CMA-ES beside pycma, in evaluations and in time, and a controller of CartPole.

`evaluations`: how many either needs to 1e-8, from the same starts, with the same population sizes.
`generations`: the time of a generation, with an objective that takes the whole population at once on both sides.
`cartpole`: what strategies make of a linear controller, in full episodes of Gymnasium's vectorised environment.
"""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.turns import Advance, interleave, milliseconds, paired
from gradus import canon
from gradus.optim.evolution.cma_es import CMAES
from gradus.optim.evolution.restarts import RestartedCMAES
from gradus.optim.evolution.strategy import Strategy, evolve
from gradus.optim.surfaces import ellipsoid, rastrigin, rosenbrock, sphere

__all__ = ["PROBLEMS", "cartpole", "evaluations", "generations", "restarts"]


class Problem(NamedTuple):
    """An objective with the start of the search; a population size where the default one would meet local minima."""

    fn: Callable[[Tensor], Tensor]
    start: float
    sigma: float
    popsize: int | None = None


PROBLEMS: dict[str, Problem] = {
    "sphere": Problem(sphere, 1.0, 1.0),
    "ellipsoid": Problem(ellipsoid, 1.0, 1.0),
    "rosenbrock": Problem(rosenbrock, 0.0, 0.5),
    "rastrigin": Problem(rastrigin, 3.0, 2.0, 600),
}
TARGET = 1e-8


def evaluations(seeds: int = 11, n: int = 10, names: tuple[str, ...] = tuple(PROBLEMS)) -> dict[str, float]:
    """Evaluations until the first value of at most 1e-8: ours over pycma's, medians over seeds that get there.

    Both sides start at the same point with the same σ and λ, and evaluate the same torch function in float64. pycma
    has its default options (active updates, no restarts), and neither stops before the target for another reason but
    convergence elsewhere. `<problem>_solved` and `_pycma_solved` are the shares of seeds that reach the target: a
    fall into one of Rosenbrock's or Rastrigin's local minima is not counted among the evaluations.

    Args:
        seeds: runs of either side.
        n: dimension.
        names: which problems.
    """
    found: dict[str, float] = {}
    for name in names:
        problem = PROBLEMS[name]
        ours = [_ours(problem, n, seed) for seed in range(1, seeds + 1)]
        theirs = [_theirs(problem, n, seed) for seed in range(1, seeds + 1)]
        here, there = ([count for count in side if count is not None] for side in (ours, theirs))
        assert min(len(here), len(there)) > 0, f"{name}: no seed reached {TARGET}"
        found |= {
            name: statistics.median(here) / statistics.median(there),
            f"{name}_evaluations": float(statistics.median(here)),
            f"{name}_pycma_evaluations": float(statistics.median(there)),
            f"{name}_solved": len(here) / seeds,
            f"{name}_pycma_solved": len(there) / seeds,
        }
    ratios = [found[name] for name in names]
    return {"largest": max(ratios), "smallest": min(ratios), **found}


def _ours(problem: Problem, n: int, seed: int) -> int | None:
    start = torch.full((n,), problem.start, dtype=torch.float64)
    dice = torch.Generator().manual_seed(seed)
    strategy = CMAES(start, problem.sigma, problem.popsize, dice)
    found = evolve(strategy, problem.fn, max_evaluations=20_000 * n, target=TARGET)
    return found.nfev if found.fun <= TARGET else None


def _theirs(problem: Problem, n: int, seed: int) -> int | None:
    strategy = _pycma(problem, n, seed)
    while not strategy.stop():
        points = strategy.ask()
        strategy.tell(points, problem.fn(torch.from_numpy(np.asarray(points))).tolist())
        if strategy.best.f <= TARGET:
            return int(strategy.countevals)
    return None


def _pycma(problem: Problem, n: int, seed: int, popsize: int | None = None) -> Any:
    import cma

    options: dict[str, Any] = {"seed": seed, "verbose": -9, "maxfevals": 20_000 * n}
    if popsize or problem.popsize:
        options["popsize"] = popsize or problem.popsize
    return cma.CMAEvolutionStrategy(np.full(n, problem.start), problem.sigma, options)


def restarts(seeds: int = 9, n: int = 10) -> dict[str, float]:
    """Evaluations to 1e-8 on Rastrigin from small populations with BIPOP restarts: ours over pycma's, medians.

    Restarts begin uniformly in [−5, 5]ⁿ with σ₀ = 2 on both sides. The counts vary by a factor of three between seeds,
    with the size of the population that happens to fall into the right basin.

    Args:
        seeds: runs of either side.
        n: dimension.
    """
    import cma

    def start() -> np.ndarray:
        return np.random.uniform(-5, 5, n)  # noqa: NPY002, pycma seeds NumPy's global generator

    here, there = [], []
    for seed in range(1, seeds + 1):
        first = torch.full((n,), 3.0, dtype=torch.float64)
        strategy = RestartedCMAES(first, 2.0, generator=torch.Generator().manual_seed(seed), box=(-5.0, 5.0))
        here.append(evolve(strategy, rastrigin, max_evaluations=10**6, target=TARGET))
        best, run = cma.fmin2(
            lambda x: float(rastrigin(torch.from_numpy(np.asarray(x)))), start, 2.0,
            {"seed": seed, "verbose": -9, "ftarget": TARGET}, restarts=9, bipop=True,
        )  # fmt: skip
        there.append((float(rastrigin(torch.from_numpy(best))), float(run.result.evaluations)))
    ours, theirs = statistics.median(run.nfev for run in here), statistics.median(count for _, count in there)
    return {
        "ratio": ours / theirs,
        "evaluations": float(ours),
        "pycma_evaluations": float(theirs),
        "solved": sum(run.fun <= TARGET for run in here) / seeds,
        "pycma_solved": sum(value <= TARGET for value, _ in there) / seeds,
    }


def generations(
    dimensions: tuple[int, ...] = (10, 40), rounds: int = 40, chunk: int = 50, seed: int = 1
) -> dict[str, float]:
    """Time of a generation, ours over pycma's, on the sphere: ask, evaluate the population at once, tell.

    The same λ and the same number of generations from the same start; every turn is a new search, made off the clock.
    Ours gets the population as a tensor and evaluates it with torch; pycma gives and takes lists, which its side turns
    into one array, evaluates with NumPy, and turns back. `_with_stop` asks both for their termination criteria in
    every generation as well, as a loop until convergence does.

    Args:
        dimensions: of the search space.
        rounds: how many are kept.
        chunk: generations of a turn.
        seed: of the first search.
    """
    found: dict[str, float] = {}
    for n in dimensions:
        for asking, tail in ((False, ""), (True, "_with_stop")):
            seeds = range(seed, seed + rounds + 2)
            sides = {"gradus": _advance_ours(n, seeds, asking), "pycma": _advance_theirs(n, seeds, asking)}
            times = interleave(sides, chunk=chunk, rounds=rounds)
            found |= paired(times, "gradus", "pycma", f"ratio_{n}{tail}")
            found |= {f"{key}_{n}{tail}": value for key, value in milliseconds(times).items()}
    return found


def _advance_ours(n: int, seeds: range, asking: bool) -> Advance:
    problem = PROBLEMS["sphere"]
    start = torch.full((n,), problem.start, dtype=torch.float64)
    searches = iter([CMAES(start, problem.sigma, None, torch.Generator().manual_seed(seed)) for seed in seeds])

    def advance(steps: int) -> None:
        strategy = next(searches)
        for _ in range(steps):
            strategy.tell(sphere(strategy.ask()))
            assert not (asking and strategy.stop)

    return advance


def _advance_theirs(n: int, seeds: range, asking: bool) -> Advance:
    problem = PROBLEMS["sphere"]
    popsize = CMAES(torch.zeros(n), 1.0).popsize
    searches = iter([_pycma(problem, n, seed, popsize) for seed in seeds])

    def advance(steps: int) -> None:
        strategy = next(searches)
        for _ in range(steps):
            points = strategy.ask()
            strategy.tell(points, np.square(points).sum(1).tolist())
            assert not (asking and strategy.stop())

    return advance


def cartpole(
    strategy: str = "cma-es", seeds: int = 3, generations: int = 30, popsize: int = 16, episodes: int = 4,
    examined: int = 100,
) -> dict[str, float]:  # fmt: skip
    """Mean return of a linear controller of CartPole-v1, in episodes that were not used to find it; 500 is the most.

    The controller pushes right where w·s + b > 0. It is searched by the mean return of a few episodes a point, until
    all of them are full or the generations are used up; the mean of the final distribution is examined.

    Args:
        strategy: a registered strategy.
        seeds: searches, each with its own episodes.
        generations: at most.
        popsize: points a generation.
        episodes: for each point.
        examined: episodes of the examination.
    """
    returns, used = [], []
    for seed in range(seeds):
        dice = torch.Generator().manual_seed(seed)
        search: Any = canon.find("strategy", strategy)(torch.zeros(5, dtype=torch.float64), 0.5, popsize, dice)
        used.append(_search(search, Poles(popsize * episodes, seed), generations, episodes))
        examination = Poles(examined, seeds + seed)
        returns.append(float(examination.play(search.mean.expand(examined, -1)).mean()))
    return {
        "return": statistics.mean(returns),
        "lowest": min(returns),
        "generations": statistics.mean(used),
        "episodes": statistics.mean(used) * popsize * episodes,
    }


def _search(strategy: Strategy, poles: "Poles", generations: int, episodes: int) -> int:
    """Return the generations used until every episode of one was full."""
    for generation in range(1, generations + 1):
        points = strategy.ask()
        returns = poles.play(points.repeat_interleave(episodes, 0)).view(len(points), episodes)
        strategy.tell(-returns.mean(1))
        if bool((returns == 500).all()):
            return generation
    return generations


class Poles:
    """Many poles at once, each balanced for one episode by a linear controller of its own.

    Args:
        count: how many.
        seed: of the first states.
    """

    def __init__(self, count: int, seed: int) -> None:
        import gymnasium

        self.env = gymnasium.make_vec("CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point")
        self.env.reset(seed=seed)

    def play(self, controllers: Tensor) -> Tensor:
        """Return the return of an episode for each controller (w, b), shape (count, 5) to (count,)."""
        weights, bias = controllers[:, :4].numpy(), controllers[:, 4].numpy()
        states, _ = self.env.reset()
        running, total = np.ones(len(weights), bool), np.zeros(len(weights))
        while running.any():
            actions = (np.einsum("ij,ij->i", states, weights) + bias > 0).astype(np.int64)
            states, rewards, ended, cut, _ = self.env.step(actions)
            total += np.where(running, rewards, 0.0)
            running &= ~(ended | cut)  # what comes after an end is a reset, then another episode
        return torch.from_numpy(total)
