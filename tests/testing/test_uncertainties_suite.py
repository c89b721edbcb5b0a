"""Every registered method of uncertainty keeps the contract, and the contract rejects planted bugs."""

import pytest
import torch

from gradus import canon
from gradus.prob.bayesian_linear import linear_posterior
from gradus.prob.monte_carlo_dropout import Moments
from gradus.testing.uncertainties import check_uncertainty

METHODS = sorted(id for id, entry in canon.scan().items() if entry.kind == "uncertainty")


def test_the_registry_knows_methods():
    assert {"prob/bayesian-linear", "prob/student-linear", "prob/mc-dropout"} <= set(METHODS)


@pytest.mark.parametrize("id", METHODS)
def test_contract(id):
    canon.load(canon.scan()[id])
    check_uncertainty(canon.example(id)())


def _planted(change, before=lambda x, y: (x, y)):
    def fit(x, y):
        predict = linear_posterior(*before(x, y)).predict
        return lambda new: change(*predict(new))

    return fit


def _spoilt(x, y):
    y.mul_(1.001)
    return x, y


BUGS = {
    "does not grow": _planted(lambda mean, variance: Moments(mean, torch.full_like(variance, 0.01))),
    "misses new targets": _planted(lambda mean, variance: Moments(mean + 1, variance)),
    "less than that of the noise": _planted(lambda mean, variance: Moments(mean, variance - variance.min() + 1e-6)),
    "two answers": _planted(lambda mean, variance: Moments(mean, variance * (1 + 0.01 * torch.rand(())))),
    "positive and finite": _planted(lambda mean, variance: Moments(mean, variance * torch.nan)),
    "changed its data": _planted(Moments, _spoilt),
    "single precision": _planted(lambda mean, variance: Moments(mean.double(), variance)),
    "give shapes": _planted(lambda mean, variance: Moments(mean.unsqueeze(1), variance)),
}


@pytest.mark.parametrize("sentence", BUGS)
def test_planted_bugs_are_found(sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_uncertainty(BUGS[sentence])


def test_the_plant_without_a_bug_passes():
    check_uncertainty(_planted(Moments))
