"""`check_estimator` passes every registered estimator, and rejects each of a family of planted bugs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.errors import GradusError
from gradus.tabular.lasso_solvers import lasso
from gradus.tabular.linear import Affine, least_squares, ridge
from gradus.testing.estimators import check_estimator

IDS = sorted(id for id, entry in canon.scan().items() if entry.kind == "estimator")


@pytest.mark.parametrize("id", IDS)
def test_every_registered_estimator_keeps_the_contract(id: str) -> None:
    canon.load(canon.scan()[id])
    make = canon.example(id)
    assert make is not None, f"{id} has no example"
    task, fit = make()
    check_estimator(fit, task)


@pytest.mark.parametrize("method", ["coordinate", "ista", "fista"])
def test_the_other_ways_to_the_lasso_keep_it_too(method: str) -> None:
    check_estimator(lambda x, y, weights=None: lasso(x, y, alpha=0.1, method=method, weights=weights), "numbers")


def test_the_registry_knows_estimators() -> None:
    assert len(IDS) >= 7


def _penalises_the_intercept(x: Tensor, y: Tensor) -> nn.Module:
    padded = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    theta = torch.linalg.solve(padded.T @ padded + torch.eye(padded.shape[1], dtype=x.dtype), padded.T @ y)
    return _checked(x, y, Affine(theta[None, :-1], theta[-1:]))


def _checked(x: Tensor, y: Tensor, model: nn.Module) -> nn.Module:
    least_squares(x, y)  # refuses what must be refused
    return model


def _ignores_weights(x: Tensor, y: Tensor, weights: Tensor | None = None) -> nn.Module:
    return ridge(x, y)


def _squares_weights(x: Tensor, y: Tensor, weights: Tensor | None = None) -> nn.Module:
    return ridge(x, y, weights=None if weights is None else weights.square())


def _prefers_the_last(x: Tensor, y: Tensor) -> nn.Module:
    return least_squares(x, y, weights=torch.linspace(0.5, 1, len(y)) if len(y) else None)


def _prefers_the_first_feature(x: Tensor, y: Tensor) -> nn.Module:
    return ridge(x, y, alpha=torch.linspace(1, 50, x.shape[1]).double())


def _constant(x: Tensor, y: Tensor) -> nn.Module:
    return _checked(x, y, Affine(x.new_zeros(1, x.shape[1]), y.mean()[None]))


def _standardises_in_place(x: Tensor, y: Tensor) -> nn.Module:
    least_squares(x, y)
    x -= x.mean(0)
    return least_squares(x, y)


def _draws(x: Tensor, y: Tensor) -> nn.Module:
    return ridge(x, y, alpha=float(torch.rand(()) + 0.1))


class _Forgetful(Affine):
    def facts(self) -> dict[str, int]:
        return {**super().facts(), "outputs": 2}


def _forgets_its_size(x: Tensor, y: Tensor) -> nn.Module:
    found = least_squares(x, y)
    return _Forgetful(found.weight.data, found.bias.data)


def _accepts_anything(x: Tensor, y: Tensor) -> nn.Module:
    count = min(len(x), len(y))
    return least_squares(x[:count].nan_to_num(), y[:count]) if count else Affine(x.new_zeros(1, 4), x.new_zeros(1))


def _fails_in_its_own_words(x: Tensor, y: Tensor) -> nn.Module:
    try:
        return least_squares(x, y)
    except GradusError as error:
        raise ValueError(str(error)) from error


TWINS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "penalises the intercept": (_penalises_the_intercept, "moving a feature by a constant"),
    "ignores weights": (_ignores_weights, "does not count as k rows"),
    "squares weights": (_squares_weights, "does not count as k rows"),
    "prefers the last rows": (_prefers_the_last, "order of the rows"),
    "prefers the first feature": (_prefers_the_first_feature, "order of the features"),
    "constant": (_constant, "hardly beats a constant"),
    "standardises in place": (_standardises_in_place, "changed the features"),
    "draws": (_draws, "fitting twice|made again"),
    "accepts anything": (_accepts_anything, "is accepted"),
    "fails in its own words": (_fails_in_its_own_words, "ends in ValueError"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    fit, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_estimator(fit, "numbers")


def test_a_model_that_forgets_its_size_is_rejected() -> None:
    with pytest.raises((AssertionError, RuntimeError), match=r"size mismatch|made again"):
        check_estimator(_forgets_its_size, "numbers")
