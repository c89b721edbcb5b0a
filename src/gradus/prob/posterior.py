"""The posterior of a program: by Markov chains in an unconstrained space, or by the nearest member of a family.

    posterior = sample_posterior(schools, chains=500, warmup=200, draws=100, generator=generator)
    posterior["tau"]                      # (draws, chains): inside the support
    print(posterior.chains)               # R̂ and effective sample sizes of the unconstrained numbers

    fitted = fit_posterior(schools, guide=full_rank, steps=1000, generator=generator)
    fitted.sample(1000)["tau"]

References:
    Kucukelbir et al. 2017, Automatic differentiation variational inference.
    Neal 2011, MCMC using Hamiltonian dynamics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from gradus.errors import GradusError, nearest
from gradus.prob.bijector import LogDensity
from gradus.prob.chains import Chains, sample_chain
from gradus.prob.guides import PushedNormal, mean_field
from gradus.prob.hamiltonian import HMC
from gradus.prob.kernel import Kernel
from gradus.prob.program import Program
from gradus.prob.unconstrained import Unconstrained
from gradus.prob.variational import fit_guide

__all__ = ["Fitted", "Posterior", "fit_posterior", "sample_posterior"]


@dataclass(frozen=True)
class Posterior:
    """Draws of a program's latent variables.

    Attributes:
        values: by name, (draws, chains, *shape), inside their supports.
        chains: the same draws in the unconstrained space, with acceptance, divergences and diagnostics.
    """

    values: dict[str, Tensor]
    chains: Chains

    def __getitem__(self, name: str) -> Shaped[Tensor, "draws chains *shape"]:
        if name not in self.values:
            raise GradusError(f"the posterior has no variable {name!r}{nearest(name, self.values)}")
        return self.values[name]

    def mean(self, name: str) -> Float[Tensor, "*shape"]:
        """Return the posterior mean of a variable, over all draws of all chains."""
        return self[name].flatten(0, 1).mean(0)


def sample_posterior(
    program: Program,
    *,
    draws: int,
    warmup: int,
    chains: int = 100,
    thin: int = 1,
    kernel: Callable[[LogDensity], Kernel] = HMC,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    vectorise: bool = True,
) -> Posterior:
    """Return draws of a program's latent variables by many Markov chains at once.

    Args:
        program: with the data observed; its latent variables are continuous and the same in every run.
        draws: kept of each chain.
        warmup: steps before the first draw, which tune the kernel.
        chains: how many walk side by side, in one tensor.
        thin: steps to a draw.
        kernel: from a log-density to how the chains move: `HMC`, `RandomWalk`, or a `functools.partial` of one.
        generator: the dice, whose device the chains walk on.
        dtype: of the chains.
        vectorise: evaluate all chains at once by `vmap`; else one by one.

    Raises:
        GradusError: for a program without continuous latent variables, or chains that cannot start.
    """
    space = Unconstrained(program, generator=generator, vectorise=vectorise)
    start = space.start(chains, generator, dtype=dtype)
    walked = sample_chain(kernel(space.log_joint), start, draws=draws, warmup=warmup, thin=thin, generator=generator)
    return Posterior(space.values(walked.samples), walked)


@dataclass(frozen=True)
class Fitted:
    """A guide fitted to a program's posterior.

    Attributes:
        space: between the guide's vectors and the program's variables.
        guide: q, over unconstrained vectors.
        history: estimates of the ELBO on the way.
    """

    space: Unconstrained
    guide: PushedNormal
    history: Float[Tensor, " steps"]

    def sample(self, n: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n draws of the latent variables by name, (n, *shape), inside their supports.

        Args:
            n: how many.
            generator: the dice.
        """
        return self.space.values(self.guide.sample(n, generator))


def fit_posterior(
    program: Program,
    *,
    steps: int,
    guide: Callable[[int], PushedNormal] = mean_field,
    generator: torch.Generator | None = None,
    vectorise: bool = True,
    **settings: Any,
) -> Fitted:
    """Return the member of a family that is closest to a program's posterior.

    Args:
        program: with the data observed; its latent variables are continuous and the same in every run.
        steps: of the optimiser.
        guide: from the number of unconstrained variables to a family: `mean_field`, `full_rank`, `flow_guide`.
        generator: the dice.
        vectorise: evaluate all draws at once by `vmap`; else one by one.
        settings: those of `fit_guide`.

    Raises:
        GradusError: for a program without continuous latent variables, or a log-joint that is not finite.
    """
    space = Unconstrained(program, generator=generator, vectorise=vectorise)
    family = guide(space.dim)
    history = fit_guide(space.log_joint, family, steps, generator=generator, **settings)
    return Fitted(space, family, history)
