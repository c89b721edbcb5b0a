"""Noise injection: leaves a saddle, is annealed as stated, and is a function of the seed and the step alone."""

import math

import pytest
import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.adam import adamw
from gradus.optim.noise import noisy, noisy_sgd
from gradus.optim.rule import Bound, Rule, restore
from gradus.optim.sgd import sgd


def _descend(rule: Rule, point: list[float], steps: int) -> Tensor:
    """Descend on f(x, y) = x² / 2 − y² / 2 + y⁴ / 4: a saddle at the origin, minima at y = ±1."""
    place = torch.tensor(point, dtype=torch.float64)
    state = rule.init([place])
    for _ in range(steps):
        x, y = place
        rule.update([place], [torch.stack([x, y**3 - y])], state, rule.lr)
    return place


def test_noise_leaves_a_saddle_and_without_it_descent_stays() -> None:
    """From the saddle itself, and from its stable manifold, the line y = 0, along which descent walks into it."""
    for start in ([0.0, 0.0], [1.0, 0.0]):
        assert _descend(sgd(lr=0.1), start, 300)[1].item() == 0.0
        ends = [_descend(noisy_sgd(lr=0.1, scale=1e-4, seed=seed), start, 300) for seed in range(6)]
        assert all(abs(abs(end[1].item()) - 1) < 0.05 and abs(end[0].item()) < 0.05 for end in ends)
        assert len({end[1].item() > 0 for end in ends}) == 2, "the side is left to chance"


def test_the_variance_is_annealed_as_stated() -> None:
    """σ_t² = ν / (1 + t)^γ, with t the number of steps made before."""
    rule, zero = noisy_sgd(lr=1.0, scale=0.3, decay=0.55), torch.zeros(200_000)
    param = zero.clone()
    state = rule.init([param])
    for t in range(4):
        before = param.clone()
        rule.update([param], [zero], state, 1.0)
        noise = param - before
        assert noise.var().item() == pytest.approx(0.3 / (1 + t) ** 0.55, rel=0.02)
        assert abs(noise.mean().item()) < 0.01


def test_constant_noise_samples_the_temperature_it_is_said_to_have() -> None:
    """Langevin dynamics on x² / 2 at the temperature T = η ν / 2 has the stationary variance T, to first order in η."""
    lr, scale = 0.05, 4.0
    rule, chains = noisy_sgd(lr=lr, scale=scale, decay=0.0), torch.zeros(40_000, dtype=torch.float64)
    state = rule.init([chains])
    for _ in range(150):
        rule.update([chains], [chains.clone()], state, lr)
    exact = lr**2 * scale / (1 - (1 - lr) ** 2)
    assert chains.var().item() == pytest.approx(exact, rel=0.03)
    assert exact == pytest.approx(lr * scale / 2, rel=0.03)


def test_noise_is_a_function_of_seed_step_and_place_alone() -> None:
    """Not of the global generator, of memory layout, of who else is stepped, nor of a restart in between."""
    shapes = [(4, 3, 2, 2), (5,), (5,)]

    def walk(steps: list[int], last: bool = False, only: int | None = None, seed: int = 0) -> list[Tensor]:
        rule = noisy_sgd(lr=1.0, scale=1.0, seed=seed)
        params = [torch.zeros(shape) for shape in shapes]
        if last:
            params[0] = params[0].contiguous(memory_format=torch.channels_last)
        state = rule.init(params)
        for count in steps:
            fresh = restore(rule.init(params), state)
            state = fresh
            for _ in range(count):
                torch.rand(3)
                grads = [None if only not in (None, i) else torch.zeros_like(p) for i, p in enumerate(params)]
                rule.update(params, grads, state, 1.0)
        return params

    whole = walk([4])
    assert all(torch.equal(a, b) for a, b in zip(whole, walk([1, 3]), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole, walk([4], last=True), strict=True))
    assert torch.equal(whole[1], walk([4], only=1)[1])
    assert not torch.equal(whole[1], whole[2])
    assert not torch.equal(whole[0], walk([4], seed=1)[0])


def test_noise_goes_with_any_rule_and_a_bound_one_too() -> None:
    """`noisy` steps as the rule does on noisy gradients, fused kernel included; without noise it is the rule itself."""
    grads = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
    ends = {}
    for name, rule in {"plain": adamw(), "none": noisy(adamw(), scale=0.0), "some": noisy(adamw(), scale=0.1)}.items():
        for bound in (False, True):
            param = torch.ones(5, 4)
            state = rule.init([param])
            stepper = Bound(rule, [param], state)
            for grad in grads:
                stepper.step([grad], 0.1) if bound else rule.update([param], [grad], state, 0.1)
            ends[name, bound] = param
    assert torch.equal(ends["plain", False], ends["none", True])
    assert torch.equal(ends["some", False], ends["some", True])
    assert not torch.equal(ends["some", True], ends["plain", True])


def test_noise_leaves_gradients_and_missing_ones_alone() -> None:
    rule, grad = noisy_sgd(), torch.ones(3)
    params = [torch.zeros(3), torch.zeros(3)]
    rule.update(params, [grad, None], rule.init(params), 0.1)
    assert grad.tolist() == [1.0] * 3
    assert params[1].tolist() == [0.0] * 3
    with pytest.raises(GradusError, match="dense gradients"):
        rule.update([params[0]], [torch.ones(3).to_sparse()], rule.init([params[0]]), 0.1)


@pytest.mark.parametrize("settings", [{"scale": -1}, {"decay": -0.1}, {"scale": math.nan}, {"seed": -1}])
def test_mistakes_are_told_in_one_sentence(settings: dict) -> None:
    with pytest.raises(GradusError, match=f"{next(iter(settings))}=.* is out of range"):
        noisy_sgd(**settings)
