"""Every registered guide keeps the contract, and the contract rejects guides with planted bugs."""

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.prob.guides import Bits, PushedNormal, bits_guide, mean_field
from gradus.testing.guides import check_guide

GUIDES = sorted(id for id, entry in canon.scan().items() if entry.kind == "guide")


def test_the_registry_knows_guides():
    assert {"prob/mean-field", "prob/full-rank", "prob/flow-guide", "prob/bits-guide"} <= set(GUIDES)


@pytest.mark.parametrize("id", GUIDES)
def test_contract(id):
    check_guide(canon.load(canon.scan()[id]))


def _normal(bug: str):
    """Return the maker of a mean-field guide with one bug."""

    class Planted(PushedNormal):
        def log_prob(self, x: Tensor) -> Tensor:
            value = super().log_prob(x)
            return {"unnormalised": value + 0.5, "detached": value - value + value.detach()}.get(bug, value)

        def push(self, noise: Tensor):
            x, log_q = super().push(noise)
            return {"shifted": (x + 0.5, log_q), "no volume": (x, log_q + 1)}.get(bug, (x, log_q))

        def sample(self, n, generator=None):
            if bug == "global dice":
                torch.rand(1)
            draws = super().sample(n, None if bug == "deaf" else generator)
            return {"wide": 1.1 * draws, "single": draws.float()}.get(bug, draws)

    return lambda dim: Planted(mean_field(dim).bijector, dim)


@pytest.mark.parametrize(
    "bug,sentence",
    [
        ("unnormalised", "not to one"),
        ("detached", "no gradient by the score"),
        ("shifted", "errors from"),
        ("no volume", "different densities"),
        ("global dice", "global dice"),
        ("deaf", "different draws"),
        ("wide", "errors from"),
        ("single", "double precision draws"),
    ],
)
def test_planted_bugs_are_found(bug, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_guide(_normal(bug))


def test_the_plant_without_a_bug_passes():
    check_guide(_normal("none"))


class Biased(Bits):
    """Coins that are drawn more often than their density says."""

    def sample(self, n, generator=None):
        return (torch.rand(n, len(self.logits), generator=generator).double() < 0.7).double()


def test_biased_coins_are_found():
    with pytest.raises(AssertionError, match="errors from"):
        check_guide(lambda dim: Biased(bits_guide(dim).logits))
