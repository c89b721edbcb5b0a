"""Hypergradient descent: the paper's algorithms number by number, what scheduling means, and recovery on digits."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.rules import hypergradient
from gradus.errors import GradusError
from gradus.optim.adapters import SGDHD
from gradus.optim.hypergradient import adam_hd, nesterov_hd, sgd_hd
from gradus.optim.rule import Rule, make
from gradus.optim.sgd import sgd

NAMES = ("sgd_hd", "nesterov_hd", "adam_hd")
Array = np.ndarray


def _gradient(x: Array, t: int) -> Array:
    """Of a convex function whose minimum moves a little: stable, so that errors neither grow nor vanish."""
    return np.linspace(0.5, 2, 5) * x + 0.1 * np.cos(0.3 * t + np.arange(5))


def _by_hand(
    name: str, lr: float, beta: float, additive: bool, schedule: Callable[[int], float]
) -> tuple[Array, float]:
    """Return θ and α after 60 steps of the equations, for one vector of parameters."""
    x, alpha = np.linspace(-2, 2, 5), lr
    moved, velocity, first, second = (np.zeros(5) for _ in range(4))
    for t in range(60):
        g = _gradient(x, t)
        if additive:
            alpha += beta * g @ moved
        elif t:
            alpha *= 1 + beta * (g @ moved) / (np.linalg.norm(g) * np.linalg.norm(moved))
        if name == "sgd_hd":
            step = g
        elif name == "nesterov_hd":
            velocity = 0.8 * velocity + g
            step = g + 0.8 * velocity
        else:
            first, second = 0.8 * first + 0.2 * g, 0.9 * second + 0.1 * g**2
            step = first / (1 - 0.8 ** (t + 1)) / (np.sqrt(second / (1 - 0.9 ** (t + 1))) + 1e-6)
        moved = schedule(t) * step
        x = x - alpha * moved
    return x, alpha


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_sixty_steps_follow_the_equations(name: str, additive: bool, scheduled: bool) -> None:
    """The vector is given in two pieces, which share one α."""
    lr, beta = 0.01, 1e-4 if additive else 0.1
    schedule = (lambda t: 1 / (1 + 0.05 * t)) if scheduled else (lambda t: 1.0)
    own = {"sgd_hd": {}, "nesterov_hd": {"momentum": 0.8}, "adam_hd": {"betas": (0.8, 0.9), "eps": 1e-6}}[name]
    rule = make(name, lr=lr, beta=beta, additive=additive, **own)
    whole = torch.linspace(-2, 2, 5, dtype=torch.float64)
    params = [whole[:2].clone(), whole[2:].clone()]
    state = rule.init(params)
    for t in range(60):
        grad = torch.from_numpy(_gradient(torch.cat(params).numpy(), t))
        rule.update(params, [grad[:2], grad[2:]], state, lr * schedule(t))
    x, alpha = _by_hand(name, lr, beta, additive, schedule)
    assert np.abs(torch.cat(params).numpy() - x).max() < 1e-12
    assert [rate.item() for rate in state["rate"]] == pytest.approx([alpha] * 2, rel=1e-12)
    assert alpha != pytest.approx(lr, rel=0.01), "nothing was learned, so nothing was tested"


def test_the_learned_rate_descends_its_own_gradient() -> None:
    """The agreement g_t · p_{t-1} is −∂f(θ_t) / ∂α, by automatic differentiation through the step before."""
    matrix = torch.diag(torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64))
    start, alpha = torch.ones(3, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    after = start - alpha * (matrix @ start)
    (slope,) = torch.autograd.grad(after @ matrix @ after / 2, alpha)
    beta, param = 1e-3, start.clone()
    rule = sgd_hd(lr=0.1, beta=beta, additive=True)
    state = rule.init([param])
    for _ in range(2):
        rule.update([param], [matrix @ param], state, 0.1)
    assert state["rate"][0].item() == pytest.approx(0.1 - beta * slope.item(), rel=1e-12)


def test_rates_of_their_own_are_learned_apart() -> None:
    """shared=False: two tensors together go exactly where each goes alone."""
    grads = [torch.randn(20, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (3, 4)]
    rule = sgd_hd(shared=False)
    together = [torch.zeros(3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)]
    state = rule.init(together)
    for pair in zip(*grads, strict=True):
        rule.update(together, list(pair), state, rule.lr)
    assert state["rate"][0] != state["rate"][1]
    for whole, mine in zip(together, grads, strict=True):
        alone = torch.zeros_like(whole)
        own = rule.init([alone])
        for grad in mine:
            rule.update([alone], [grad], own, rule.lr)
        assert torch.allclose(alone, whole, rtol=1e-12)


def test_the_multiplicative_form_does_not_see_the_scale_of_the_loss() -> None:
    rates = []
    for scale in (1e-6, 1.0, 1e6):
        param, rule = torch.ones(4, dtype=torch.float64), sgd_hd(lr=1e-3)
        state = rule.init([param])
        for t in range(30):
            rule.update([param], [scale * torch.cos(torch.arange(4, dtype=torch.float64) + t)], state, 1e-3)
        rates.append(state["rate"][0].item())
    assert rates == pytest.approx([rates[0]] * 3, rel=1e-9)


@pytest.mark.parametrize("additive", [False, True])
def test_a_schedule_of_zero_is_no_step_and_nothing_learned(additive: bool) -> None:
    param, rule = torch.ones(3), sgd_hd(additive=additive)
    state = rule.init([param])
    for lr in (0.0, 0.0, rule.lr):
        rule.update([param], [torch.ones(3)], state, lr)
    assert state["rate"][0].item() == pytest.approx(rule.lr)
    assert param[0].item() == pytest.approx(1 - rule.lr)


def test_a_rate_never_turns_negative_and_comes_back() -> None:
    """β so large that the additive rule would step uphill: α stops at 0, and rises again when gradients agree."""
    param, rule = torch.zeros(1, dtype=torch.float64), sgd_hd(lr=0.1, beta=10.0, additive=True)
    state, rates = rule.init([param]), []
    for grad in (1.0, -1.0, -1.0):
        rule.update([param], [torch.full_like(param, grad)], state, 0.1)
        rates.append(state["rate"][0].item())
    assert rates == pytest.approx([0.1, 0.0, 10.0])


@pytest.mark.parametrize("rule", [sgd_hd(lr=1e-3), nesterov_hd(lr=1e-4), adam_hd(lr=1e-3)])
def test_on_a_quadratic_a_small_rate_grows_until_steps_turn_back(rule: Rule) -> None:
    param = torch.ones(6, dtype=torch.float64)
    curvature, state = torch.linspace(0.1, 1, 6, dtype=torch.float64), rule.init([torch.ones_like(param)])
    for _ in range(300):
        rule.update([param], [curvature * param], state, rule.lr)
    assert param.norm() < 1e-3
    fixed, plain = torch.ones(6, dtype=torch.float64), sgd(lr=1e-3)
    still = plain.init([fixed])
    for _ in range(300):
        plain.update([fixed], [curvature * fixed], still, plain.lr)
    assert fixed.norm() > 1


def test_the_adapter_learns_from_the_rate_it_was_given() -> None:
    """The additive form has units, so the adapter must know which rate the constructor was given."""
    ends = []
    for adapted in (False, True):
        param = torch.ones(3, dtype=torch.float64, requires_grad=True)
        rule = sgd_hd(lr=0.05, beta=1e-2, additive=True)
        state = rule.init([param])
        optimizer = SGDHD([param], lr=0.05, beta=1e-2, additive=True)
        for t in range(20):
            param.grad = param.detach() + 0.1 * t
            if adapted:
                optimizer.param_groups[0]["lr"] = 0.05 / (1 + t)
                optimizer.step()
            else:
                rule.update([param], [param.grad], state, 0.05 / (1 + t))
        ends.append(param.detach())
    assert torch.equal(*ends)


def test_recovers_from_a_rate_a_hundred_times_too_small_and_ten_times_too_large_on_digits() -> None:
    """From both rates each ends as the plain rule does at a good rate, and as that one does not from there."""
    found = hypergradient(seeds=[1], steps=150)
    for name in NAMES:
        for start in ("small", "large"):
            case = f"{name}_{start}"
            assert found[f"{case}_accuracy"] > found[f"{name}_good_accuracy"] - 0.03, case
            assert found[f"{case}_loss"] < 1.2 * found[f"{name}_good_loss"], case
        assert found[f"{name}_plain_small_loss"] > 5 * found[f"{name}_good_loss"]
        assert found[f"{name}_plain_large_loss"] > 1.2 * found[f"{name}_large_loss"]


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda: sgd_hd(lr=0), "no scale to learn from"),
        (lambda: sgd_hd(beta=1.0), r"beta=1.0 is out of range; give a number in \[0, 1"),
        (lambda: nesterov_hd(momentum=1), "momentum=1 is out of range"),
        (lambda: adam_hd(betas=(0.9, 2)), r"betas\[1\]=2 is out of range"),
    ],
)
def test_mistakes_are_told_in_one_sentence(act: object, said: str) -> None:
    with pytest.raises(GradusError, match=said):
        act()  # type: ignore[operator]
