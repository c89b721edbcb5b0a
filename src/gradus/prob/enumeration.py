"""Exact inference by enumeration: every run of a program of finitely many discrete choices, with its probability.

    p(x | y) = p(x, y) / Σ_x' p(x', y)

Runs are found by backtracking: a run follows the choices decided so far, and each choice that is new becomes a branch
for each of its values. Nothing is assumed about which sites a run comes to, so programs may branch on what they drew.

References:
    Goodman and Stuhlmüller 2014, The design and implementation of probabilistic programming languages (enumeration).
"""

import itertools
from functools import partial

import torch
from jaxtyping import Shaped
from torch import Tensor

from gradus.errors import GradusError
from gradus.prob.program import Handler, Program, Site, Trace, handled, trace
from gradus.prob.weighted import Weighted, gathered

__all__ = ["enumerate_runs"]


class _Branching(Handler):
    """Follows the choices decided, takes the first value of every new one, and keeps the others for later."""

    def __init__(self, decided: dict[str, Tensor], limit: int) -> None:
        self.path, self.limit = dict(decided), limit
        self.open: list[dict[str, Tensor]] = []

    def before(self, site: Site) -> None:
        if site.value is not None or site.distribution is None:
            return
        if site.name not in self.path:
            first, *others = _choices(site, self.limit)
            self.open += [{**self.path, site.name: other} for other in others]
            self.path[site.name] = first
        site.value = self.path[site.name]


def _choices(site: Site, limit: int) -> list[Shaped[Tensor, "*shape"]]:
    """Return all values of a site, each with the batch and event dimensions of a draw."""
    distribution = site.distribution
    assert distribution is not None, f"factor {site.name} has no choices"
    if not distribution.has_enumerate_support:
        raise GradusError(
            f"site {site.name!r} of {type(distribution).__name__} has no finite list of values; enumerate discrete "
            "sites only, and take importance sampling or Hamiltonian Monte Carlo for the others"
        )
    support = distribution.enumerate_support(expand=False)
    shape = distribution.batch_shape
    if len(support) ** shape.numel() > limit:
        raise _too_many(limit)
    one_each = support.reshape(len(support), *distribution.event_shape)
    joint = itertools.product(one_each, repeat=shape.numel())
    return [torch.stack(values).reshape(shape + distribution.event_shape) for values in joint]


def _too_many(limit: int) -> GradusError:
    return GradusError(
        f"the program has more than {limit} runs; raise max_runs, or take importance sampling or Metropolis–Hastings"
    )


def enumerate_runs(program: Program, *, max_runs: int = 100_000) -> Weighted:
    """Return every run of a program with its exact weight p(x, y).

    Args:
        program: whose latent variables are all discrete, with finitely many values.
        max_runs: beyond which it is given up.

    Returns:
        All runs; `log_evidence` is exact.

    Raises:
        GradusError: for a continuous or infinite site, too many runs, a log-density that is not finite, or
            observations that no run can explain.
    """
    runs: list[Trace] = []
    open_paths: list[dict[str, Tensor]] = [{}]
    while open_paths:
        if len(runs) + len(open_paths) > max_runs:
            raise _too_many(max_runs)
        branching = _Branching(open_paths.pop(), max_runs)
        runs.append(trace(partial(_followed, program, branching)).check())
        open_paths += branching.open
    log_weights = torch.stack([run.log_joint for run in runs])
    if not bool(log_weights.isfinite().any()):
        raise GradusError("no run explains the observations; they have probability zero under the program")
    return gathered(runs, log_weights)


def _followed(program: Program, branching: _Branching) -> object:
    # Outside the program's own handlers, so that what `condition` or `replay` decides is decided first.
    with handled(branching):
        return program()
