"""Strategies balance a pole: a linear controller of Gymnasium's CartPole, from returns alone."""

import pytest
import torch

from bench.evolution import Poles, cartpole


def test_a_pole_falls_without_a_controller_and_its_return_is_counted_once() -> None:
    """Autoreset begins another episode in the same row; a controller that always pushes right falls within a dozen."""
    poles = Poles(32, 0)
    returns = poles.play(torch.tensor([0.0, 0, 0, 0, 1]).expand(32, -1))
    assert 8 <= float(returns.min()) <= float(returns.max()) <= 11
    steady = poles.play(torch.tensor([0.1, 0.5, 2.0, 2.0, 0.0]).expand(32, -1))
    assert float(steady.max()) == 500


@pytest.mark.parametrize("strategy", ["cma-es", "nes"])
def test_a_controller_is_found(strategy: str) -> None:
    found = cartpole(strategy, seeds=1)
    assert found["return"] >= 475
    assert found["generations"] <= 30
