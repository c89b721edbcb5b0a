"""Every registered loss keeps the contract, and the contract rejects losses with planted bugs."""

from functools import partial

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.nn.losses import cross_entropy, focal, hinge, lp, multiclass_hinge, squared
from gradus.testing.losses import check_loss

LOSSES = sorted(id for id, entry in canon.scan().items() if entry.kind == "loss")
VARIANTS = {
    "cubed": partial(lp, p=3.0),
    "between one and two": partial(lp, p=1.5),
    "squared hinge": partial(hinge, p=2),
    "largest": partial(multiclass_hinge, form="largest", margin=0.5),
    "squared sum": partial(multiclass_hinge, p=2),
    "smoothed": partial(cross_entropy, smoothing=0.3),
    "hardly focal": partial(focal, gamma=0.5),
    "not focal": partial(focal, gamma=0.0),
}


def test_the_registry_knows_losses() -> None:
    assert {"nn/squared", "nn/lp", "nn/huber", "nn/logistic", "nn/hinge", "nn/cross-entropy", "nn/focal"} <= set(LOSSES)


@pytest.mark.parametrize("id", LOSSES)
def test_contract(id: str) -> None:
    check_loss(canon.load(canon.scan()[id]))


@pytest.mark.parametrize("name", VARIANTS)
def test_contract_of_settings(name: str) -> None:
    check_loss(VARIANTS[name])


@pytest.mark.parametrize("id", LOSSES)
def test_settings_have_defaults_and_a_reduction(id: str) -> None:
    parameters = canon.scan()[id].parameters
    assert parameters["reduction"].default == "mean"
    assert all(parameter.default != canon.REQUIRED for parameter in list(parameters.values())[2:])


def reduced(values: Tensor, reduction: str) -> Tensor:
    return {"mean": values.mean, "sum": values.sum, "none": lambda: values}[reduction]()


def ascends(prediction, target, *, reduction="mean"):
    return reduced(1 / (1 + (prediction - target).square()), reduction).detach() + 0 * prediction.sum()


def broadcasts(prediction, target, *, reduction="mean"):
    return reduced((prediction - target).square(), reduction)


def broadcasts_one_axis(prediction, target, *, reduction="mean"):
    if prediction.shape[0] != target.shape[0] or prediction.ndim != target.ndim:
        squared(prediction, target)
    return reduced((prediction - target).square(), reduction)


def mean_is_a_sum(prediction, target, *, reduction="mean"):
    return squared(prediction, target, reduction="none" if reduction == "none" else "sum")


def sum_is_a_mean(prediction, target, *, reduction="mean"):
    return squared(prediction, target, reduction="none" if reduction == "none" else "mean")


def sum_by_default(prediction, target, *, reduction="sum"):
    return squared(prediction, target, reduction=reduction)


def normalises_over_the_batch(prediction, target, *, reduction="mean"):
    values = squared(prediction, target, reduction="none")
    return reduced(values / values.detach().max(), reduction)


def naive_logistic(logit, target, *, reduction="mean"):
    return reduced(torch.where(target > 0, -logit, logit).exp().log1p() + 0 * (logit - target), reduction)


def clamped_probabilities(logits, labels, *, reduction="mean"):
    probabilities = torch.softmax(logits, 1).clamp(min=1e-7)
    cross_entropy(logits, labels)
    return reduced(-probabilities.gather(1, labels[:, None]).squeeze(1).log(), reduction)


def wrong_gradient(prediction, target, *, reduction="mean"):
    values = squared(prediction, target, reduction="none")
    return reduced(values.detach() + 0.5 * (values - values.detach()), reduction)


def negative(logits, labels, *, reduction="mean"):
    cross_entropy(logits, labels)
    return reduced(-logits.gather(1, labels[:, None]).squeeze(1), reduction)


def changes_its_argument(prediction, target, *, reduction="mean"):
    return squared(prediction, target.mul_(1.5), reduction=reduction)


def rolls_dice(prediction, target, *, reduction="mean"):
    torch.rand(1)
    return squared(prediction, target, reduction=reduction)


def doubles_precision(prediction, target, *, reduction="mean"):
    return squared(prediction.double(), target.double(), reduction=reduction)


def odd_arguments(output, truth, *, reduction="mean"):
    return squared(output, truth, reduction=reduction)


TWINS = {
    ascends: "negative|gradient|lower",
    broadcasts: "not in a GradusError|was taken for one of",
    broadcasts_one_axis: "was taken for one of",
    mean_is_a_sum: "'mean' is not the mean",
    sum_is_a_mean: "'sum' is not the sum",
    sum_by_default: "the default is not the mean",
    normalises_over_the_batch: "depends on the other samples",
    naive_logistic: "not finite",
    clamped_probabilities: "costs no more",
    wrong_gradient: "central differences",
    negative: "negative somewhere",
    changes_its_argument: "argument was changed|is not",
    rolls_dice: "random state",
    doubles_precision: "another type",
    odd_arguments: "a loss begins with",
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_planted_bugs_are_rejected(twin) -> None:
    with pytest.raises(AssertionError, match=TWINS[twin]):
        check_loss(twin)
