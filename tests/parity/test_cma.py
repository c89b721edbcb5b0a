"""CMA-ES beside pycma: the same constants, and as many evaluations from the same starts."""

import math

import pytest
import torch

from gradus.optim.evolution.cma_es import CMAES, Constants

cma = pytest.importorskip("cma")

from bench.evolution import evaluations, generations, restarts  # noqa: E402


@pytest.mark.parametrize("n", [2, 10, 40])
@pytest.mark.parametrize("popsize", [None, 40])
def test_constants_are_pycmas(n: int, popsize: int | None) -> None:
    """All but c_σ, which pycma takes as (μ_eff + 2)/(n + μ_eff + 3) and clips; the tutorial has 5 for 3."""
    options = {"verbose": -9} | ({"popsize": popsize} if popsize else {})
    peer = cma.CMAEvolutionStrategy([0.0] * n, 1.0, options)
    assert CMAES(torch.zeros(n), 1.0, popsize).popsize == peer.popsize
    ours, theirs = Constants.of(n, peer.popsize), peer.sp
    assert ours.weights.tolist() == pytest.approx(list(theirs.weights), rel=1e-9)
    assert ours.mueff == pytest.approx(theirs.weights.mueff)
    assert ours.rank_one == pytest.approx(theirs.c1)
    assert ours.rank_mu == pytest.approx(theirs.cmu)
    assert ours.path_rate == pytest.approx(theirs.cc)


@pytest.mark.parametrize(
    ("problem", "seeds", "solved"),
    [("sphere", 5, 1), ("ellipsoid", 3, 1), ("rosenbrock", 5, 0.8), ("rastrigin", 3, 1)],
)
def test_evaluations_are_within_fifteen_per_cent_of_pycmas(problem: str, seeds: int, solved: float) -> None:
    """10-D to 1e-8, medians; Rosenbrock's and Rastrigin's local minima catch a few runs of either side."""
    found = evaluations(seeds, names=(problem,))
    assert found[problem] == pytest.approx(1, abs=0.15)
    assert found[f"{problem}_solved"] >= solved
    assert found[f"{problem}_pycma_solved"] >= solved


def test_the_benchmarks_run_and_say_nothing_about_time_here() -> None:
    found = generations((3,), rounds=2, chunk=3)
    assert found.keys() >= {"ratio_3", "ratio_3_with_stop", "gradus_ms_3", "pycma_ms_3"}
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    found = restarts(1, 2)
    assert found["solved"] == found["pycma_solved"] == 1
