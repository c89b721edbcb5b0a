"""`check_fixed_point` passes every registered search, and rejects each of a family of planted bugs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.ode.fixed_points import FixedPoint, iterate
from gradus.testing.fixed_points import check_fixed_point


@pytest.mark.parametrize("name", canon.names("fixed_point"))
def test_every_registered_search_keeps_the_contract(name: str) -> None:
    check_fixed_point(canon.find("fixed_point", name))


def _last_value(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    """What the last evaluation gave, whose own residual nobody has seen."""
    seen: list[Tensor] = []

    def watched(z: Tensor) -> Tensor:
        seen.append(f(z))
        return seen[-1]

    return replace(iterate(watched, z0, **settings), z=seen[-1])


def _always_sure(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    found = iterate(f, z0, **settings)
    return replace(found, converged=torch.ones_like(found.converged))


def _miscounts(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    found = iterate(f, z0, **settings)
    return replace(found, nfev=found.nfev + 1)


def _overdraws(f: Any, z0: Tensor, tol: float, max_iterations: int) -> FixedPoint:
    return iterate(f, z0, tol=tol, max_iterations=max_iterations + 1 if max_iterations else 0)


def _writes_into_its_start(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    found = iterate(f, z0.detach().clone(), **settings)
    z0.detach().copy_(found.z)
    return found


def _measures_all_together(f: Any, z0: Tensor, tol: float, max_iterations: int) -> FixedPoint:
    """One step length for the whole batch, as a line search on the joint residual would choose."""

    def damped(z: Tensor) -> Tensor:
        step = f(z) - z
        return z + step / (1 + step.norm())

    found = iterate(damped, z0, tol=tol / 10, max_iterations=max_iterations)
    size = (f(found.z) - found.z).flatten(1).norm(dim=1) / found.z[0].numel() ** 0.5
    size = size / (1 + found.z.flatten(1).norm(dim=1) / found.z[0].numel() ** 0.5)
    return replace(found, residual=size, converged=size <= tol)


def _forgets_the_shape(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    found = iterate(f, z0, **settings)
    return replace(found, z=found.z.flatten(1))


def _always_double(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    return iterate(f, z0.double(), **settings)


def _keeps_graphs(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    found = iterate(f, z0, **settings)
    return replace(found, z=found.z + 0 * z0)


def _never_rests(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    return iterate(f, z0 + 1e-3, **settings)


def _stops_early(f: Any, z0: Tensor, tol: float, max_iterations: int) -> FixedPoint:
    return iterate(f, z0, tol=1e3 * tol, max_iterations=max_iterations)


def _gives_back_what_is_lost(f: Any, z0: Tensor, **settings: Any) -> FixedPoint:
    found = iterate(f, z0, **settings)
    return replace(found, z=torch.where(found.converged.view(-1, *[1] * (z0.dim() - 1)), found.z, torch.nan))


def _takes_anything(f: Any, z0: Tensor, tol: float, max_iterations: int) -> FixedPoint:
    return iterate(f, z0, tol=abs(tol), max_iterations=max(1, max_iterations))


TWINS: dict[str, tuple[Callable[..., FixedPoint], str]] = {
    "gives the value after its best": (_last_value, "residual told"),
    "always sure": (_always_sure, "converged is not"),
    "miscounts": (_miscounts, "evaluations were told"),
    "overdraws": (_overdraws, "more evaluations"),
    "writes into its start": (_writes_into_its_start, "start was changed"),
    "measures all together": (_measures_all_together, "company|not solved|hundred evaluations|spoils|told"),
    "forgets the shape": (_forgets_the_shape, "shape of the state"),
    "always double": (_always_double, "dtype"),
    "keeps graphs": (_keeps_graphs, "keeps graphs"),
    "never rests": (_never_rests, "went on"),
    "stops early": (_stops_early, "is wrong|converged is not"),
    "gives back what is lost": (_gives_back_what_is_lost, "residual told|not finite"),
    "takes anything": (_takes_anything, "without a GradusError"),
}


@pytest.mark.parametrize("bug", TWINS)
def test_planted_bugs_are_rejected(bug: str) -> None:
    search, said = TWINS[bug]
    with pytest.raises(AssertionError, match=said):
        check_fixed_point(search)
