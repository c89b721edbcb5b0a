"""Many runs of a program at once: a program is written for one run, and `vmap` gives its tensors a batch dimension.

The program itself stays as it is: no plate dimension, no broadcasting by hand. What it cannot do is decide by `if` on a
drawn value, because all runs go the same way; such a program runs one by one, with `vectorise=False`.

References:
    Phan, Pradhan and Jankowiak 2019, Composable effects for flexible and accelerated probabilistic programming.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Cauchy, Distribution, Exponential, HalfCauchy, Independent
from torch.utils import _pytree as pytree

from gradus.errors import GradusError
from gradus.prob.program import Handler, Site

__all__ = ["Quantiles", "each", "unchecked"]

REFUSALS = ("vmap", "data-dependent", "Batching rule", "functorch")


class Quantiles(Handler):
    """Draws by the inverse distribution function where torch fills a tensor in place, which no batch of runs can."""

    def before(self, site: Site) -> None:
        """Draw the site, if it is one of those."""
        distribution = site.distribution
        while isinstance(distribution, Independent):
            distribution = distribution.base_dist
        if site.value is None and isinstance(distribution, Cauchy | Exponential | HalfCauchy):
            shape = distribution.batch_shape + distribution.event_shape
            scale = distribution.rate if isinstance(distribution, Exponential) else distribution.scale
            # The ends are quantiles too, but infinite ones.
            tiny = torch.finfo(scale.dtype).eps
            site.value = distribution.icdf(torch.rand(shape, dtype=scale.dtype, device=scale.device).clamp_min(tiny))


@contextmanager
def unchecked() -> Iterator[None]:
    """Let distributions be made without looking at their parameters, which a batch of runs cannot decide on."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def each(one: Callable[[Tensor], Any], inputs: Tensor, *, vectorise: bool) -> Any:
    """Return what a function of one row gives for every row, stacked; random numbers differ from row to row.

    Args:
        one: from a row to tensors, in dictionaries or tuples if there are several.
        inputs: one row a run.
        vectorise: by `vmap`; else one by one.

    Raises:
        GradusError: where the program decides by `if` on a drawn value, or draws what cannot be drawn in a batch.
    """
    with unchecked():
        if not vectorise:
            return pytree.tree_map(lambda *parts: torch.stack(parts), *[one(row) for row in inputs])
        try:
            return torch.vmap(one, randomness="different")(inputs)
        except (RuntimeError, ValueError) as error:
            if any(word in str(error) for word in REFUSALS):
                raise GradusError(
                    "this program cannot run in a batch, because it decides by `if` on a drawn value or uses an "
                    "operation without a batched form; pass vectorise=False to run it one by one, or write the choice "
                    f"with torch.where ({str(error).splitlines()[0][:120]})"
                ) from error
            raise
