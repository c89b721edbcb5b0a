"""The contract of estimators: functions that fit rows at once and return a model of them.

    fit(x, y) is a function of the set of rows; a row of weight k counts as k rows; moving a feature by a constant moves
    nothing; a model is its facts and its weights

`check_estimator` needs no test framework; it raises an AssertionError that says what was broken.
"""

import inspect
import json
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.tabular.network import empty

__all__ = ["check_estimator"]

Fit = Callable[..., nn.Module]
ROWS, FEATURES = 80, 4
TOLERANCE = 1e-6


def check_estimator(fit: Fit, task: Literal["classes", "numbers", "both"]) -> None:
    """Assert the contract of an estimator.

    It fits the same rows alike, twice and in any order of rows and features; it beats a constant; moving a feature or
    the targets by a constant moves nothing but the targets; a row of weight k counts as k rows; what it is given stays
    as it was; rows that are not finite, not as many as the targets or not there are refused; its model can be made
    again from facts and weights. Where `fit` takes `epochs` it goes over the rows one after the other, and the order
    and place of rows may matter.

    Args:
        fit: `fit(x, y)`, or `fit(x, y, weights=…)`.
        task: whether targets are classes, numbers, or either.

    Raises:
        AssertionError: naming what was broken.
    """
    takes = inspect.signature(fit).parameters
    for kind in ("classes", "numbers") if task == "both" else (task,):
        x, y = _rows(kind)
        _check_model(fit, x, y)
        _check_order(fit, x, y, "epochs" in takes)
        if "epochs" not in takes:
            _check_place(fit, x, y)
        if "weights" in takes:
            _check_weights(fit, x, y)
        _check_refusals(fit, x, y)


def _rows(kind: str) -> tuple[Tensor, Tensor]:
    """Return features and noisy targets that depend on them."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(ROWS, FEATURES, generator=generator, dtype=torch.float64)
    noise = torch.randn(ROWS, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([2.0, -1.0, 0.5, 0.0], dtype=torch.float64) + 0.5 * noise
    return x, (y > 0).long() if kind == "classes" else y


def _outputs(model: nn.Module, x: Tensor) -> Tensor:
    found = model(x)
    assert found.ndim == 2, f"the outputs have shape {tuple(found.shape)}, not (rows, outputs)"
    assert len(found) == len(x), f"the outputs have shape {tuple(found.shape)}, not (rows, outputs)"
    assert bool(torch.isfinite(found).all()), "an output is not finite"
    return found.detach()


def _near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def _check_model(fit: Fit, x: Tensor, y: Tensor) -> None:
    given = x.clone(), y.clone()
    model = fit(x, y)
    assert torch.equal(x, given[0]), "fitting changed the features"
    assert torch.equal(y, given[1]), "fitting changed the targets"
    found = _outputs(model, x)
    if y.is_floating_point():
        assert found.shape[1] == 1, f"a number is one output, not {found.shape[1]}"
        error = float((found[:, 0] - y).square().mean())
        assert error < 0.5 * float(y.var()), f"the squared error {error:.3g} hardly beats a constant's"
    else:
        right = float((found.argmax(1) == y).double().mean())
        assert right > 0.5 + 0.5 * float(y.double().mean().sub(0.5).abs()) + 0.2, f"only {right:.0%} are right"
    facts = json.loads(json.dumps(model.facts()))  # type: ignore[operator]
    again = empty(model.form, facts).double()  # type: ignore[arg-type]
    again.load_state_dict(model.state_dict())
    assert torch.equal(_outputs(again, x), found), "the model made again from its facts and weights differs"
    assert torch.equal(_outputs(fit(x, y), x), found), "fitting twice gives two models"


def _check_order(fit: Fit, x: Tensor, y: Tensor, rows_matter: bool) -> None:
    found = _outputs(fit(x, y), x)
    columns = torch.tensor([2, 0, 3, 1])
    assert _near(_outputs(fit(x[:, columns], y), x[:, columns]), found), "the order of the features matters"
    if not rows_matter:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(6))
        assert _near(_outputs(fit(x[order], y[order]), x), found), "the order of the rows matters"


def _check_place(fit: Fit, x: Tensor, y: Tensor) -> None:
    found = _outputs(fit(x, y), x)
    moved = x + torch.tensor([10.0, 0.0, -3.0, 0.0], dtype=x.dtype)
    assert _near(_outputs(fit(moved, y), moved), found), "moving a feature by a constant changes the outputs"
    if y.is_floating_point():
        assert _near(_outputs(fit(x, y + 7), x), found + 7), "moving the targets does not move the outputs as much"


def _check_weights(fit: Fit, x: Tensor, y: Tensor) -> None:
    counts = torch.tensor([1, 2, 3, 1]).repeat(ROWS // 4)
    weighted = _outputs(fit(x, y, weights=counts.double()), x)
    repeated = _outputs(fit(x.repeat_interleave(counts, 0), y.repeat_interleave(counts)), x)
    assert _near(weighted, repeated), "a row of weight k does not count as k rows"
    assert not _near(weighted, _outputs(fit(x, y), x)), "weights make no difference"


def _check_refusals(fit: Fit, x: Tensor, y: Tensor) -> None:
    broken = x.clone()
    broken[3, 1] = float("nan")
    wrong: dict[str, Callable[[], Any]] = {
        "a feature that is not a number": lambda: fit(broken, y),
        "fewer targets than rows": lambda: fit(x, y[:-1]),
        "no rows": lambda: fit(x[:0], y[:0]),
    }
    for what, attempt in wrong.items():
        try:
            attempt()
        except (GradusError, TypeCheckError):  # where shapes are checked at run time, that check speaks first
            continue
        except Exception as error:
            raise AssertionError(f"{what} ends in {type(error).__name__}: {error}") from error
        raise AssertionError(f"{what} is accepted")
