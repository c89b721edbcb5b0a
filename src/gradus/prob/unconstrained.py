"""A program as a density over unconstrained vectors: what gradients, random walks and guides need.

    log p̃(u) = log p(x(u), y) + Σ_sites log |det ∂x_s/∂u_s|,    x_s = f_s(u_s) inside the support of site s

Each site takes its stretch of the vector through the bijector onto its support. The bijector is made when the program
comes to the site, so a support may depend on what was drawn before.

References:
    Kucukelbir et al. 2017, Automatic differentiation variational inference.
    Carpenter et al. 2017, Stan: a probabilistic programming language (transforms; starts in (−2, 2)).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError
from gradus.prob.composition import to_support
from gradus.prob.many_runs import each
from gradus.prob.program import Handler, Program, Site, Trace, handled, trace

__all__ = ["Unconstrained"]


class _Free(Handler):
    """Gives every latent site its stretch of the vector, sent onto the site's support."""

    def __init__(self, vector: Tensor, blocks: dict[str, tuple[int, torch.Size]]) -> None:
        self.vector, self.blocks = vector, blocks
        self.log_volume: Tensor = vector.new_zeros(())

    def before(self, site: Site) -> None:
        if site.distribution is None or site.value is not None:
            return
        if site.name not in self.blocks:
            raise GradusError(
                f"site {site.name!r} appears in some runs only; a program whose variables change has no fixed space to "
                "move in, so take single_site"
            )
        start, shape = self.blocks[site.name]
        free = self.vector[start : start + shape.numel()].reshape(shape)
        site.value, logdet = to_support(site.support)(free)
        self.log_volume = self.log_volume + logdet.sum()


class Unconstrained:
    """The posterior of a program over vectors of real numbers.

    Args:
        program: with the data observed and continuous latent variables, the same in every run.
        generator: dice of the one run that shows the variables.
        vectorise: evaluate all vectors at once by `vmap`; else one by one.

    Raises:
        GradusError: for a discrete site, a support that no bijector leads onto, or nothing to infer.
    """

    def __init__(self, program: Program, *, generator: torch.Generator | None = None, vectorise: bool = True) -> None:
        self.program, self.vectorise = program, vectorise
        self.blocks: dict[str, tuple[int, torch.Size]] = {}
        self.dim = 0
        for name, site in trace(program, generator).check().sites.items():
            if not site.latent:
                continue
            assert site.value is not None, f"site {name} was not decided"
            if site.support.is_discrete:
                raise GradusError(
                    f"site {name!r} is discrete, and gradients need continuous ones; take enumerate_runs, "
                    "importance_sampling or single_site, or sum it out"
                )
            shape = to_support(site.support).preimage_shape(site.value.shape)
            self.blocks[name] = (self.dim, shape)
            self.dim += shape.numel()
        if not self.blocks:
            raise GradusError("this program has no latent variable to infer; sample one")

    def _run(self, vector: Tensor) -> tuple[Trace, Tensor]:
        free = _Free(vector, self.blocks)
        with handled(free):
            return trace(self.program), free.log_volume

    def log_joint(self, vectors: Float[Tensor, "many dim"]) -> Float[Tensor, " many"]:
        """Return log p̃(u) of each vector.

        Args:
            vectors: u, one row a run.
        """

        def one(vector: Tensor) -> Tensor:
            run, log_volume = self._run(vector)
            return run.log_joint + log_volume

        return each(one, vectors, vectorise=self.vectorise)

    def values(self, vectors: Float[Tensor, "*many dim"]) -> dict[str, Tensor]:
        """Return the latent variables of each vector by name, inside their supports, (*many, *shape).

        Args:
            vectors: u, one row a run.
        """
        batch = vectors.shape[:-1]
        rows = vectors.detach().reshape(math.prod(batch), self.dim)
        found = each(lambda row: self._run(row)[0].values, rows, vectorise=self.vectorise)
        return {name: value.reshape(*batch, *value.shape[1:]) for name, value in found.items()}

    def start(
        self, chains: int, generator: torch.Generator | None = None, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "chains dim"]:
        """Return vectors drawn from (−2, 2), which spreads the chains over most posteriors.

        Args:
            chains: how many.
            generator: the dice, whose device the vectors are on.
            dtype: of the vectors.
        """
        device = None if generator is None else generator.device
        return 4 * torch.rand(chains, self.dim, generator=generator, dtype=dtype, device=device) - 2
