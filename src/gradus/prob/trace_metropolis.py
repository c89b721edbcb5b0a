"""Metropolis–Hastings on whole runs of a program: change one choice, keep the others, accept or not.

    x′: site s drawn anew from its prior, sites that x has no value for drawn too, all others kept
    log α = log p(x′, y) − log p(x, y) + log |x| − log |x′| + log p(stale | x) − log p(fresh | x′)

|x| is the number of latent sites, *fresh* are the sites drawn, *stale* those whose value was dropped. It needs no
gradient and no fixed set of variables, so it is the sampler for programs that branch on discrete choices. Where a hard
constraint ties sites together, so that none may change alone, it cannot move: enumerate, or soften the constraint. It
runs one chain; where the variables are fixed and continuous, `sample_posterior` walks many at once.

References:
    Wingate, Stuhlmüller and Goodman 2011, Lightweight implementations of probabilistic programming languages via
    transformational compilation. Milch and Russell 2006, General-purpose MCMC inference over relational structures.
"""

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.prob.many_runs import unchecked
from gradus.prob.program import Handler, Program, Site, Trace, handled, seeded, trace
from gradus.prob.weighted import Weighted, gathered

__all__ = ["single_site"]

TRIES = 1000


class _Reusing(Handler):
    """Keeps the values of an earlier run; a value that no longer fits rules the proposal out."""

    def __init__(self, values: dict[str, Tensor]) -> None:
        self.values = values
        self.reused: set[str] = set()
        self.possible = True

    def before(self, site: Site) -> None:
        distribution = site.distribution
        if distribution is None or site.value is not None or site.name not in self.values:
            return
        value = self.values[site.name]
        fits = value.shape == distribution.batch_shape + distribution.event_shape
        if fits and bool(site.support.check(value).all()):
            site.value = value
            self.reused.add(site.name)
        else:
            self.possible = False


def single_site(
    program: Program,
    draws: int,
    *,
    warmup: int = 0,
    thin: int = 1,
    generator: torch.Generator | None = None,
) -> Weighted:
    """Return draws of a program's runs from one Markov chain that changes one site at a time.

    Args:
        program: with the data observed; its latent variables may be discrete, continuous, and differ between runs.
        draws: runs kept.
        warmup: steps before the first one.
        thin: steps to a draw.
        generator: the dice.

    Returns:
        Runs of equal weight; they say nothing of the evidence.

    Raises:
        GradusError: for numbers out of range, a program without latent variables, or no start that explains the data.
    """
    if draws < 1 or thin < 1 or warmup < 0:
        raise GradusError(f"draws={draws} and thin={thin} must be at least 1, and warmup={warmup} at least 0")
    kept: list[Trace] = []
    with seeded(generator), unchecked():
        run = _start(program)
        density = float(run.log_joint)
        for step in range(warmup + draws * thin):
            run, density = _step(program, run, density)
            if step >= warmup and (step - warmup + 1) % thin == 0:
                kept.append(run)
    return gathered(kept, torch.zeros(draws))


def _start(program: Program) -> Trace:
    for _ in range(TRIES):
        run = trace(program).check()
        if not run.values:
            raise GradusError("this program has no latent variable to infer; sample one")
        if bool(run.log_joint.isfinite()):
            return run
    raise GradusError(
        f"none of {TRIES} runs explains the observations, so no chain can start; soften `require` into `factor`"
    )


def _step(program: Program, run: Trace, density: float) -> tuple[Trace, float]:
    """Return the next run and its log-density."""
    names = list(run.values)
    chosen = names[int(torch.randint(len(names), ()))]
    reusing = _Reusing({name: value for name, value in run.values.items() if name != chosen})
    with handled(reusing):
        proposed = trace(program)
    if not reusing.possible:
        return run, density
    fresh = [proposed.sites[name].log_prob for name in proposed.values if name not in reusing.reused]
    stale = [run.sites[name].log_prob for name in names if name not in reusing.reused]
    new = float(proposed.log_joint)
    sizes = torch.tensor([len(names), len(proposed.values)]).log()
    log_ratio = new - density + float(sizes[0] - sizes[1]) + float(sum(stale)) - float(sum(fresh))
    # Written so that a ratio which is not a number is no acceptance.
    return (proposed, new) if float(torch.rand(()).log()) < log_ratio else (run, density)
