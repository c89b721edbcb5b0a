"""Update rules: each against its equations, where torch has no peer to ask; refusals; what a step imports."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from gradus.errors import GradusError
from gradus.optim import rule as rules
from gradus.optim.adam import adam, adamw
from gradus.optim.rmsprop import rmsprop
from gradus.optim.rule import make, restore
from gradus.optim.sgd import momentum, nesterov, sgd


def test_a_full_step_of_every_rule_imports_neither_torch_optim_nor_dynamo() -> None:
    code = """
import sys
from gradus import canon
from gradus.optim.rule import make
from gradus.optim.ema import EMA
from gradus.optim.clip import clip_norm_
import torch
loaded = {name for name in sys.modules}
for name in canon.names("optimizer"):
    rule = make(name)
    params = [torch.ones(3, 2, requires_grad=True)]
    state, average = rule.init(params), EMA(params)
    for _ in range(2):
        (params[0] ** 2).sum().backward()
        clip_norm_([params[0].grad], 1.0)
        rule.update(params, [params[0].grad], state, rule.lr)
        average.update()
    assert state["step"] == [2]
assert "torch._dynamo" not in sys.modules, "dynamo"
assert "gradus.optim.adapters" not in sys.modules, "adapters"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_package_and_the_schedules_import_no_torch() -> None:
    code = """
import sys
import gradus.optim
from gradus.optim.schedules import make
assert make("cosine", total_steps=4)(0) == 1.0
assert "torch" not in sys.modules
assert "AdamW" in dir(gradus.optim)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_lazy_names_resolve_and_unknown_ones_do_not() -> None:
    import gradus.optim as room

    assert all(getattr(room, name) is not None for name in room.__all__)
    assert set(dir(room)) == set(room.__all__)
    with pytest.raises(AttributeError, match="Yogurt"):
        room.Yogurt


def test_first_step_of_adam_is_the_learning_rate_in_the_direction_of_the_sign() -> None:
    param, grad = torch.zeros(4, dtype=torch.float64), torch.tensor([1e-3, -2.0, 5.0, -1e4], dtype=torch.float64)
    rule = adam(lr=0.25, eps=0.0)
    rule.update([param], [grad], rule.init([param]), 0.25)
    assert torch.allclose(param, -0.25 * grad.sign(), rtol=1e-12)


def test_decoupled_decay_does_not_pass_through_the_second_moment() -> None:
    """Without a gradient AdamW shrinks every weight by one factor; Adam's L2 term moves every weight by one amount."""
    ends = {}
    for make_rule in (adam, adamw):
        param = torch.tensor([10.0, 0.1], dtype=torch.float64)
        rule = make_rule(lr=0.01, weight_decay=0.5)
        rule.update([param], [torch.zeros_like(param)], rule.init([param]), 0.01)
        ends[rule.name] = param.tolist()
    assert ends["adam"] == pytest.approx([10 - 0.01, 0.1 - 0.01])
    assert ends["adamw"] == pytest.approx([10 * (1 - 0.01 * 0.5), 0.1 * (1 - 0.01 * 0.5)])


@pytest.mark.parametrize("rule", [momentum(momentum=0.8), sgd(momentum=0.8, dampening=0.8)])
def test_velocity_is_the_sum_or_the_average_of_gradients(rule: rules.Rule) -> None:
    """A constant gradient g: heavy ball tends to g / (1 − μ); with d = μ the velocity stays the average g."""
    param, grad = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    state = rule.init([param])
    for _ in range(200):
        rule.update([param], [grad], state, rule.lr)
    limit = 1.0 if rule.settings["dampening"] else 1 / (1 - 0.8)
    assert state["momentum_buffer"][0].item() == pytest.approx(limit, rel=1e-12)


def test_amsgrad_converges_where_adam_does_not() -> None:
    """Reddi's counter-example on [−1, 1]: f_t(x) = C x at every third step, −x otherwise, β₁ = 0, β₂ = 1 / (1 + C²).

    With C > 2 the sum of the f_t is least at x = −1, and Adam goes to +1.
    """
    large, ends = 3.0, {}
    for amsgrad in (False, True):
        x = torch.zeros(1, dtype=torch.float64)
        rule = adam(betas=(0.0, 1 / (1 + large**2)), amsgrad=amsgrad)
        state = rule.init([x])
        for t in range(3000):
            grad = torch.tensor([large if t % 3 == 0 else -1.0], dtype=torch.float64)
            rule.update([x], [grad], state, 0.5 / (1 + t) ** 0.5)
            x.clamp_(-1, 1)
        ends[amsgrad] = x.item()
    assert ends[False] > 0.95
    assert ends[True] < -0.95


def test_nesterov_beats_plain_descent_on_an_ill_conditioned_quadratic() -> None:
    """Condition number 1000: error after n steps of order (1 − 1/κ)^n against (1 − 1/√κ)^n."""
    curvature = torch.logspace(-3, 0, 20, dtype=torch.float64)
    left = {}
    for rule in (sgd(lr=1.0), nesterov(lr=1.0, momentum=(1 - 1000**-0.5) / (1 + 1000**-0.5))):
        x = torch.ones(20, dtype=torch.float64)
        state = rule.init([x])
        for _ in range(600):
            rule.update([x], [curvature * x], state, rule.lr)
        left[rule.settings["nesterov"]] = x.norm().item()
    assert left[True] < 1e-4 < 0.1 < left[False]


def test_one_state_may_hold_devices_dtypes_and_ages_side_by_side() -> None:
    """A parameter's path does not depend on who shares the list, or on when that one had gradients."""
    generator = torch.Generator().manual_seed(0)
    dtypes = [torch.float32, torch.float64, torch.float32, torch.bfloat16]
    start = [torch.randn(6, generator=generator, dtype=torch.float64).to(dtype) for dtype in dtypes]
    together, alone = [t.clone() for t in start], [t.clone() for t in start]
    rule = adamw(weight_decay=0.1)
    state, own = rule.init(together), [rule.init([t]) for t in alone]
    for t in range(9):
        grads = [torch.cos(p + t) if (t + i) % (i + 1) == 0 else None for i, p in enumerate(start)]
        rule.update(together, grads, state, 0.01)
        for param, grad, mine in zip(alone, grads, own, strict=True):
            rule.update([param], [grad], mine, 0.01)
    assert state["step"] == [mine["step"][0] for mine in own]
    assert len(set(state["step"])) > 2
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


def test_a_state_in_another_layout_is_stepped_rightly_though_not_fused() -> None:
    """A fused kernel over channels-last weights and a contiguous state would diverge without an error."""
    torch.manual_seed(0)
    weight = torch.randn(8, 4, 3, 3, dtype=torch.float64).to(memory_format=torch.channels_last)
    peer, grads = weight.clone(), torch.randn(5, 8, 4, 3, 3, dtype=torch.float64)
    rule = adam()
    state, sound = rule.init([weight]), rule.init([peer])
    for grad in grads:
        state["exp_avg"] = [state["exp_avg"][0].contiguous()]
        rule.update([weight], [grad], state, 0.1)
        rule.update([peer], [grad], sound, 0.1)
    assert torch.allclose(weight, peer, rtol=1e-12)
    with pytest.raises(GradusError, match="leave fused out"):
        replace(rule, fused=True).update([weight], [grads[0]], state, 0.1)


def test_a_kernel_that_does_not_run_here_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_KERNELS", {})
    monkeypatch.delattr(torch, "_fused_adamw_")
    param, rule = torch.ones(3), adamw()
    rule.update([param], [torch.ones(3)], rule.init([param]), 0.1)
    assert param[0].item() == pytest.approx(1 - 0.1 * 0.01 - 0.1, abs=1e-6)
    with pytest.raises(GradusError, match="cannot run fused on cpu"):
        replace(rule, fused=True).update([param], [torch.ones(3)], rule.init([param]), 0.1)


def test_empty_and_scalar_parameters_are_stepped() -> None:
    for name in ("sgd", "nesterov", "adamw", "rmsprop"):
        rule, params = make(name), [torch.zeros(0, 3), torch.ones(()), torch.ones(2)]
        state = rule.init(params)
        rule.update(params, [torch.zeros(0, 3), torch.ones(()), torch.ones(2)], state, 0.1)
        assert state["step"] == [1, 1, 1]
        assert params[1] < 1


def test_restore_tells_what_does_not_fit() -> None:
    rule = adam()
    live = rule.init([torch.zeros(3), torch.zeros(2)])
    with pytest.raises(GradusError, match=r"shape \(4,\) where a tensor of shape \(3,\)"):
        restore(live, rule.init([torch.zeros(4), torch.zeros(2)]))
    with pytest.raises(GradusError, match="2 parameters"):
        restore(live, rule.init([torch.zeros(3)]))
    with pytest.raises(GradusError, match="exp_avg"):
        restore(live, sgd(momentum=0.9).init([torch.zeros(3), torch.zeros(2)]))


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda: make("adamm"), "did you mean 'adam"),
        (lambda: make("adam", beta=0.9), "did you mean 'betas'"),
        (lambda: sgd(lr=-1), "lr=-1 is out of range"),
        (lambda: sgd(lr=float("nan")), "lr=nan is out of range"),
        (lambda: adam(lr=float("inf")), "lr=inf is out of range"),
        (lambda: sgd(momentum=1), r"momentum=1 is out of range; give a number in \[0, 1\)"),
        (lambda: sgd(nesterov=True), "nesterov needs momentum"),
        (lambda: adam(betas=(0.9, 1.0)), r"betas\[1\]=1.0 is out of range"),
        (lambda: adamw(weight_decay=-0.1), "weight_decay=-0.1 is out of range"),
        (lambda: rmsprop(alpha=2), "alpha=2 is out of range"),
        (lambda: replace(rmsprop(), fused=True), "no fused kernel"),
        (lambda: sgd().init([torch.zeros(2, dtype=torch.int64)]), "not torch.int64"),
    ],
)
def test_mistakes_are_told_in_one_sentence(act: object, said: str) -> None:
    with pytest.raises(GradusError, match=said):
        act()  # type: ignore[operator]


def test_repr_shows_the_settings() -> None:
    assert repr(adamw(lr=0.5)) == "adamw(lr=0.5, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-08, amsgrad=False)"


@pytest.mark.parametrize("name", ["nesterov", "adamw", "rmsprop", "nadam", "yogi"])
def test_large_parameters_are_stepped_in_pieces_to_the_same_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU a part of more than 2²⁰ numbers comes in pieces; whole, it ends at the same bits."""
    shapes, seen = [(3,), (1024, 700), (1000, 400), (5, 5), (2000, 600), (), (0, 2)], []
    ends = []
    for whole in (False, True):
        rule = make(name, **({"fused": False} if name in ("nesterov", "adamw") else {}))
        counted = replace(rule, step=lambda part, step=rule.step: (seen.append(len(part.params)), step(part))[1])
        params = [torch.linspace(-1, 1, math.prod(shape)).view(shape) for shape in shapes]
        state = counted.init(params)
        if whole:
            monkeypatch.setattr(rules, "_pieces", lambda part: [part])
        for t in range(2):
            counted.update(params, [torch.cos(param + t) for param in params], state, 0.1)
        ends.append(params)
    assert seen == [3, 2, 2] * 2 + [7] * 2
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
