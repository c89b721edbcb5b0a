"""Gibbs sampling: draw one block of variables after the other from its conditional, given all the rest.

    x_b ~ π(x_b | x_−b),    b = 1, …, B

Each draw leaves π as it is, and so does a sweep of them. A sweep in fixed order is not reversible; one that goes there
and back is.

References:
    Geman and Geman 1984, Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images.
    Gelfand and Smith 1990, Sampling-based approaches to calculating marginal densities.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.kernel import Info, Kernel, State, checked_start

__all__ = ["Conditional", "Gibbs", "gaussian_conditionals"]


class Conditional(NamedTuple):
    """A block of variables and how it is drawn.

    Attributes:
        columns: which entries of the last dimension.
        draw: (position, generator) -> (chains, len(columns)), drawn from π(x_columns | the others), for all chains.
    """

    columns: Sequence[int]
    draw: Callable[[Tensor, torch.Generator | None], Tensor]


def gaussian_conditionals(
    mean: Float[Tensor, " dim"], covariance: Float[Tensor, "dim dim"], blocks: Sequence[Sequence[int]] | None = None
) -> list[Conditional]:
    """Return the conditionals of a normal distribution: N(μ_b − Λ_bb^−1 Λ_b,−b (x_−b − μ_−b), Λ_bb^−1), Λ = Σ^−1.

    Args:
        mean: μ.
        covariance: Σ.
        blocks: columns of each block; one block a variable when left out.
    """
    precision = torch.linalg.inv(covariance)

    def conditional(columns: Sequence[int]) -> Conditional:
        own = list(columns)
        spread = torch.linalg.inv(precision[own][:, own])
        # Over all columns with zeros at the block's own, so that nothing has to be gathered.
        gain = spread @ precision[own].index_fill(1, torch.tensor(own, device=mean.device), 0)
        factor, here = torch.linalg.cholesky(spread), mean[own]

        def draw(position: Tensor, generator: torch.Generator | None) -> Tensor:
            size = (len(position), len(own))
            noise = torch.randn(size, generator=generator, dtype=position.dtype, device=position.device)
            centre, pull, root = mean.to(position), gain.to(position), factor.to(position)
            return here.to(position) - (position - centre) @ pull.mT + noise @ root.mT

        return Conditional(columns, draw)

    return [conditional(block) for block in blocks or [[i] for i in range(len(mean))]]


def _place(columns: Sequence[int]) -> slice | list[int]:
    """Return columns as a slice where they follow each other: writing there needs no indices on the device."""
    first, count = columns[0], len(columns)
    return slice(first, first + count) if list(columns) == list(range(first, first + count)) else list(columns)


@canon(
    "prob/gibbs",
    kind="sampler",
    paper="Geman and Geman 1984, Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images",
    example=lambda: lambda target: Gibbs(gaussian_conditionals(target.mean, target.covariance)),
)
class Gibbs(Kernel):
    """A sweep of draws from conditionals, blocks of variables at a time.

    Args:
        conditionals: the blocks, which together cover all variables.
        scan: "systematic" goes through the blocks in order; "palindrome" there and back, which is reversible.

    Raises:
        GradusError: for no blocks, or one without columns.
    """

    def __init__(
        self, conditionals: Sequence[Conditional], *, scan: Literal["systematic", "palindrome"] = "systematic"
    ) -> None:
        if not conditionals or not all(len(block.columns) for block in conditionals):
            raise GradusError("a conditional without columns draws nothing; give every block at least one")
        self.reversible = scan == "palindrome" or len(conditionals) == 1
        self.blocks = list(conditionals)
        self.sweep = self.blocks + (self.blocks[-2::-1] if scan == "palindrome" else [])

    def init(self, position: Num[Tensor, "*chains dim"]) -> State:
        """Return the chains at their start, which may be of integers.

        Raises:
            GradusError: also for blocks that leave a variable out or reach beyond the last.
        """
        position = checked_start(position, floating=False)
        covered, dim = {column for block in self.blocks for column in block.columns}, position.shape[1]
        if covered != set(range(dim)):
            odd = sorted(covered ^ set(range(dim)))
            raise GradusError(f"the conditionals and {dim} variables disagree about column {odd[0]}; draw each of them")
        return {"position": position}

    def step(self, state: State, generator: torch.Generator | None = None) -> tuple[State, Info]:
        """Return the state after a sweep.

        Raises:
            GradusError: for a conditional that draws another shape than its block's.
        """
        position = state["position"].clone()
        chains = len(position)
        for columns, draw in self.sweep:
            with torch.no_grad():
                drawn = draw(position, generator)
            if drawn.shape != (chains, len(columns)):
                raise GradusError(
                    f"the conditional of columns {list(columns)} drew shape {tuple(drawn.shape)}; draw "
                    f"({chains}, {len(columns)}), one row a chain"
                )
            position[:, _place(columns)] = drawn.to(position.dtype)
        one = torch.ones(chains, device=position.device)
        return {**state, "position": position}, Info(one, torch.zeros_like(one, dtype=torch.bool))
