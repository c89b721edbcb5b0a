"""The contract of forecasters: networks from a stretch of history to the next values of its first column.

    f(x) has a value for each step of the horizon;   f(x + c) = f(x) + c for a constant c on all columns

`check_forecaster` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["check_forecaster"]

COLUMNS, HISTORY, HORIZON, SEASON = 2, 8, 3, 4
TOLERANCE = 1e-5


def check_forecaster(make: Callable[[], nn.Module]) -> None:
    """Assert the contract of a forecaster of 3 steps from 8 of two columns, with a season of 4.

    It gives finite values for every step; a series does not see the others of its batch; asked twice it answers the
    same; before any training a series that repeats itself is forecast exactly; moving the level of a series moves its
    forecast as much; what it is given stays as it was; every parameter gets a gradient within a few steps; its state
    goes into a new one.

    Args:
        make: gives a fresh network.

    Raises:
        AssertionError: naming what was broken.
    """
    network = make().eval()
    generator = torch.Generator().manual_seed(9)
    history = torch.randn(5, HISTORY, COLUMNS, generator=generator)
    given = history.clone()
    with torch.no_grad():
        found = network(history)
        assert found.shape == (5, HORIZON), f"the forecast has shape {tuple(found.shape)}, not (series, steps)"
        assert bool(found.isfinite().all()), "a value is not finite"
        assert torch.equal(history, given), "forecasting changed the history"
        assert torch.equal(network(history), found), "asked twice it answers differently"
        season = torch.randn(5, SEASON, COLUMNS, generator=generator)
        repeated = network(season.repeat(1, HISTORY // SEASON, 1))
        assert _near(repeated, season[:, :HORIZON, 0]), "untrained, it does not go on with a series that repeats itself"
    _learn(network, history, generator)
    network.eval()
    with torch.no_grad():
        found = network(history)
        for row in range(5):
            assert _near(network(history[row : row + 1])[0], found[row]), "a series alone is forecast otherwise"
        moved = network(history + 3)
        assert torch.allclose(moved, found + 3, atol=1e-4), "moving the level does not move the forecast as much"
        fresh = make().eval()
        fresh.load_state_dict(network.state_dict())
        assert torch.equal(fresh(history), found), "the state does not go into a new network"


def _near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def _learn(network: nn.Module, history: Tensor, generator: torch.Generator) -> None:
    """Make a few steps; every parameter must get a gradient in one of them, for a layer at zero hides what is below."""
    params = dict(network.named_parameters())
    if not params:
        return
    reached: set[str] = set()
    target = torch.randn(len(history), HORIZON, generator=generator)
    network.train()
    for _ in range(3):
        loss = (network(history) - target).square().mean()
        grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        with torch.no_grad():
            for (name, p), grad in zip(params.items(), grads, strict=True):
                if grad is not None:
                    p -= 0.1 * grad
                    reached |= {name} if bool(grad.abs().sum() > 0) else set()
    missing = params.keys() - reached
    assert not missing, f"no gradient reaches {', '.join(sorted(missing))}"
