"""Importance sampling of a program: draw the latent variables from their prior, weigh by the likelihood.

    x_i ~ p(x),    w_i = p(y | x_i),    p(y) ≈ (1/n) Σ w_i,    E[g | y] ≈ Σ w_i g(x_i) / Σ w_i

Another proposal than the prior is another program: `proposal` draws the variables it names from a distribution nearer
to the posterior, and the weight becomes p(x, y) / q(x).

References:
    Robert and Casella 2004, Monte Carlo statistical methods (self-normalised importance sampling).
    Fung and Chang 1990, Weighing and integrating evidence (likelihood weighting).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from gradus.errors import GradusError, nearest
from gradus.prob.many_runs import Quantiles, each
from gradus.prob.program import Handler, Program, Site, handled, seeded, trace
from gradus.prob.weighted import Weighted

__all__ = ["importance_sampling"]


class _Proposing(Handler):
    """Draws sites from other distributions than their own, and keeps the log-density of what was drawn."""

    def __init__(self, proposal: Mapping[str, Distribution]) -> None:
        self.proposal = proposal
        self.log_proposal: Tensor | float = 0.0
        self.seen: list[str] = []

    def before(self, site: Site) -> None:
        if site.distribution is None or site.value is not None:
            return
        self.seen.append(site.name)
        if site.name in self.proposal:
            drawn = Site(site.name, self.proposal[site.name])
            Quantiles().before(drawn)
            site.value = self.proposal[site.name].sample() if drawn.value is None else drawn.value

    def after(self, site: Site) -> None:
        if site.latent and site.value is not None:
            distribution = self.proposal.get(site.name, site.distribution)
            assert distribution is not None, f"site {site.name} has no distribution"
            self.log_proposal = self.log_proposal + distribution.log_prob(site.value).sum()


def importance_sampling(
    program: Program,
    draws: int,
    *,
    proposal: Mapping[str, Distribution] | None = None,
    generator: torch.Generator | None = None,
    vectorise: bool = True,
) -> Weighted:
    """Return weighted runs, whose latent variables were drawn from the prior or a proposal.

    Args:
        program: with the data observed.
        draws: how many runs.
        proposal: distributions to draw variables from, by name; the others come from their prior.
        generator: the dice.
        vectorise: all runs at once; else one by one, which a program that branches on drawn values needs.

    Returns:
        The runs; `ess` tells whether there were enough of them.

    Raises:
        GradusError: for no draws, a proposal for a site that is not there, weights that are not numbers, or
            observations that no run explains.
    """
    if draws < 1:
        raise GradusError(f"draws={draws} estimates nothing; take at least one")
    proposal = {} if proposal is None else proposal

    def one(_: Tensor) -> tuple[dict[str, Tensor], Tensor, Any]:
        proposing = _Proposing(proposal)
        with handled(Quantiles(), proposing):
            run = trace(program)
        for name in proposal:
            if name not in proposing.seen:
                raise GradusError(
                    f"the program has no latent site {name!r} to propose for{nearest(name, proposing.seen)}"
                )
        weight = run.log_joint - proposing.log_proposal
        return run.values, weight, run.result if isinstance(run.result, Tensor) else torch.zeros(())

    with seeded(generator):
        values, log_weights, result = _runs(one, draws, vectorise)
    if bool(log_weights.isnan().any()) or not bool((log_weights < math.inf).all()):
        raise GradusError("a run has a weight that is not a number; trace the program, and `.check()` names the site")
    if not bool(log_weights.isfinite().any()):
        raise GradusError(
            f"none of {draws} runs explains the observations; take more draws, or a proposal nearer to the posterior"
        )
    return Weighted(values, log_weights - math.log(draws), result)


def _runs(one: Any, draws: int, vectorise: bool) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    rows = torch.arange(draws)
    if vectorise:
        return each(one, rows, vectorise=True)
    parts = [each(one, row[None], vectorise=False) for row in rows]
    names = dict.fromkeys(name for values, _, _ in parts for name in values)
    columns = {name: _padded([values.get(name) for values, _, _ in parts]) for name in names}
    return columns, torch.cat([weight for _, weight, _ in parts]), torch.cat([result for _, _, result in parts])


def _padded(parts: list[Tensor | None]) -> Tensor:
    """Return the rows, NaN for runs that did not come to the variable."""
    met = next(part for part in parts if part is not None)
    missing = torch.full_like(met, torch.nan, dtype=torch.get_default_dtype())
    full = all(part is not None for part in parts)
    return torch.cat([missing if part is None else part if full else part.to(missing.dtype) for part in parts])
