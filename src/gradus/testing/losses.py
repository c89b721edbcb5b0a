"""The contract of losses: honest about shapes, right in its gradients, and stable where logits are huge.

`check_loss` needs no test framework; it raises an AssertionError that says what was broken.
"""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.testing.differences import central_differences

__all__ = ["check_loss", "sample"]

Loss = Callable[..., Tensor]
ROWS, CLASSES = 7, 4
HUGE = 1e4
FIRST_TWO = (("prediction", "target"), ("logit", "target"), ("logits", "labels"))


def sample(loss: Loss, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return predictions and targets that fit a loss, told by the names of its first two parameters.

    Args:
        loss: takes (prediction, target), (logit, target) or (logits, labels).
        dtype: of the predictions.
    """
    first, second = list(inspect.signature(loss).parameters)[:2]
    assert (first, second) in FIRST_TWO, f"a loss begins with one of {FIRST_TWO}, not {(first, second)}"
    generator = torch.Generator().manual_seed(5)
    width = CLASSES if second == "labels" else 3
    values = 2 * torch.randn(ROWS, width, generator=generator, dtype=torch.float64).to(dtype)
    if second == "labels":
        return values, torch.randint(CLASSES, (ROWS,), generator=generator)
    if first == "logit":
        return values, torch.randint(2, values.shape, generator=generator).to(dtype)
    return values, torch.randn(values.shape, generator=generator, dtype=torch.float64).to(dtype)


def check_loss(loss: Loss) -> None:
    """Assert the contract of a loss.

    It is never negative; "sum" and "mean" are the sum and mean of "none", whose entries depend on their own sample
    alone; its gradient is that of central differences, and a step against it lowers the loss; values and gradients
    stay finite, and right in single precision, at ±10⁴; what is wrong by that much still costs more than what is wrong
    by less, and still has a gradient; shapes that do not fit are refused in a sentence; its arguments and the random
    state are left alone.

    Args:
        loss: takes predictions, targets and `reduction=`.

    Raises:
        AssertionError: naming what was broken.
    """
    for check in (_reduces, _keeps_samples_apart, _descends, _is_stable, _keeps_pulling, _refuses, _leaves_no_trace):
        check(loss)


def _same(left: Tensor, right: Tensor, tolerance: float = 1e-9) -> bool:
    return left.shape == right.shape and torch.allclose(left.double(), right.double(), rtol=tolerance, atol=tolerance)


def _gradient(loss: Loss, y: Tensor, t: Tensor) -> Tensor:
    leaf = y.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, t, reduction="sum"), leaf)[0]


def _reduces(loss: Loss) -> None:
    y, t = sample(loss)
    each = loss(y, t, reduction="none")
    assert each.shape in (y.shape, y.shape[:1]), f"'none' gives {tuple(each.shape)} for {tuple(y.shape)}"
    assert bool((each >= 0).all()), "the loss is negative somewhere"
    assert _same(loss(y, t, reduction="sum"), each.sum()), "'sum' is not the sum of 'none'"
    assert _same(loss(y, t, reduction="mean"), each.mean()), "'mean' is not the mean of 'none'"
    assert _same(loss(y, t), each.mean()), "the default is not the mean"
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert loss(*sample(loss, dtype)).dtype == dtype, f"predictions in {dtype} give a loss of another type"


def _keeps_samples_apart(loss: Loss) -> None:
    y, t = sample(loss)
    each = loss(y, t, reduction="none")
    for row in range(ROWS):
        alone = loss(y[row : row + 1], t[row : row + 1], reduction="none")
        assert _same(each[row : row + 1], alone), "a sample's loss depends on the other samples"


def _descends(loss: Loss) -> None:
    y, t = sample(loss)
    found = _gradient(loss, y, t)
    expected = central_differences(lambda y: loss(y, t, reduction="sum"), y)
    assert _same(found, expected, 1e-6), "the gradient is not that of central differences"
    assert bool(loss(y - 1e-3 * found, t) < loss(y, t)), "a step against the gradient does not lower the loss"


def _is_stable(loss: Loss) -> None:
    y, t = sample(loss)
    for scale in (HUGE, 0.0, -HUGE):
        far = scale * y.sign()
        each, gradient = loss(far, t, reduction="none"), _gradient(loss, far, t)
        single = far.float(), t.float() if t.is_floating_point() else t
        for what, exact, rough in (
            ("value", each, loss(*single, reduction="none")),
            ("gradient", gradient, _gradient(loss, *single)),
        ):
            assert bool(exact.isfinite().all() and rough.isfinite().all()), f"at ±{abs(scale):g} a {what} is not finite"
            assert _same(rough, exact, 1e-5), f"at ±{abs(scale):g} a {what} in single precision is wrong"


def _keeps_pulling(loss: Loss) -> None:
    y, t = sample(loss, torch.float32)
    if t.ndim < y.ndim:
        worse = -torch.nn.functional.one_hot(t, y.shape[1]).to(y.dtype)
    else:
        worse = 1 - 2 * t if "logit" in inspect.signature(loss).parameters else torch.ones_like(y)
    little, much = (loss(scale * worse, t, reduction="none") for scale in (HUGE / 100, HUGE))
    assert bool((much > little).all()), f"wrong by {HUGE:g} costs no more than wrong by {HUGE / 100:g}"
    assert bool((_gradient(loss, HUGE * worse, t).flatten(1).norm(dim=1) > 0).all()), f"no gradient is left at {HUGE:g}"


def _refuses(loss: Loss) -> None:
    y, t = sample(loss)
    for broken in (t[:-1], t.unsqueeze(-1), t[:, None, None] if t.ndim == 1 else t[:, :1]):
        try:
            loss(y, broken)
        except GradusError:
            continue
        except Exception as error:
            raise AssertionError(
                f"a target of shape {tuple(broken.shape)} ends in a {type(error).__name__}, not in a GradusError"
            ) from error
        raise AssertionError(f"a target of shape {tuple(broken.shape)} was taken for one of {tuple(t.shape)}")


def _leaves_no_trace(loss: Loss) -> None:
    y, t = sample(loss)
    before, dice = (y.clone(), t.clone()), torch.get_rng_state()
    values = [loss(y, t) for _ in range(2)]
    assert torch.equal(values[0], values[1]), "asking twice gives two values"
    assert all(torch.equal(a, b) for a, b in zip((y, t), before, strict=True)), "an argument was changed"
    assert torch.equal(torch.get_rng_state(), dice), "the global random state was used"
