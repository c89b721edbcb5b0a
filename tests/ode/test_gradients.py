"""Gradients through solves: three ways, one answer; what each costs in memory."""

import copy
import math
import weakref

import pytest
import torch
from torch import nn

from gradus.errors import GradusError
from gradus.ode import Statistics, odeint
from gradus.ode.solving import GRADIENTS

DOUBLE = torch.float64


class Field(nn.Module):
    """A small field of state and time, with a parameter it never uses."""

    def __init__(self, width: int = 3, hidden: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.inner = nn.Parameter(torch.randn(width, hidden, generator=generator, dtype=DOUBLE))
        self.outer = nn.Parameter(0.5 * torch.randn(hidden, width, generator=generator, dtype=DOUBLE))
        self.unused = nn.Parameter(torch.ones(2, dtype=DOUBLE))

    def forward(self, t, y):
        return torch.tanh(y @ self.inner + t) @ self.outer


def start() -> torch.Tensor:
    return torch.linspace(-1, 1, 12, dtype=DOUBLE).view(4, 3)


def gradients(gradient, t, **settings):
    """Return the gradients of a generic function of all outputs, by state, times and parameters."""
    field, y0, t = Field(), start().requires_grad_(), t.clone().requires_grad_()
    found = odeint(field, y0, t, gradient=gradient, **settings)
    weights = torch.linspace(1, 2, found.numel(), dtype=DOUBLE).view(found.shape)
    return torch.autograd.grad((found * weights).sin().sum(), [y0, t, field.inner, field.outer])


TIMES = {
    "forwards": torch.tensor([0.0, 0.7, 1.0, 2.0], dtype=DOUBLE),
    "backwards": torch.tensor([1.0, 0.2, -1.0], dtype=DOUBLE),
    "two": torch.tensor([0.0, 1.5], dtype=DOUBLE),
}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("norm", ["mixed", "seminorm"])
def test_the_adjoint_is_backpropagation_within_the_tolerance(times, norm):
    settings = {"rtol": 1e-8, "atol": 1e-10, "options": {"adjoint_norm": norm}}
    exact = gradients("backprop", TIMES[times], **settings)
    for ours, theirs in zip(gradients("adjoint", TIMES[times], **settings), exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_adjoint_gets_closer_with_the_tolerance():
    gaps = []
    for tol in (1e-3, 1e-5, 1e-7, 1e-9):
        pairs = zip(*(gradients(g, TIMES["two"], rtol=tol, atol=tol) for g in ("adjoint", "backprop")), strict=True)
        gaps.append(max(float((a - b).abs().max()) for a, b in pairs))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4 * gaps[0]


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(
    "method, options",
    [
        ("euler", {"steps": 30}),
        ("rk4", {"steps": 13}),
        ("dopri5", {"steps": 3}),
        ("dopri5", {}),
        ("trbdf2", {"steps": 3}),
    ],
)
def test_checkpointed_is_backpropagation_bit_for_bit(times, method, options):
    settings = {"method": method, "options": options, "rtol": 1e-5, "atol": 1e-6}
    ours, theirs = (gradients(gradient, TIMES[times], **settings) for gradient in ("checkpointed", "backprop"))
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_with_respect_to_times_are_those_of_the_flow(gradient):
    t = torch.tensor([0.3, 1.0, 2.0], dtype=DOUBLE, requires_grad=True)
    found = odeint(
        lambda t, y: t * y, torch.ones(1, dtype=DOUBLE), t, gradient=gradient, params=(), rtol=1e-9, atol=1e-11
    )
    exact = torch.exp((t**2 - t[0] ** 2) / 2)
    for i in range(3):
        ours, theirs = (torch.autograd.grad(y[i].sum(), t, retain_graph=True)[0] for y in (found, exact))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_structures_have_gradients_as_their_vector_has(gradient):
    rate = torch.tensor(0.8, dtype=DOUBLE, requires_grad=True)
    a, b = start().requires_grad_(), torch.ones(2, dtype=DOUBLE, requires_grad=True)

    def field(t, y):
        return {"b": -rate * y["b"] + y["a"].mean(), "a": torch.cos(t) * y["a"]}

    found = odeint(field, {"a": a, "b": b}, TIMES["two"], gradient=gradient, params=[rate], rtol=1e-9, atol=1e-9)
    # b(T) = e^(−rT) b + (mean a) ∫ e^(−r(T−s) + sin s) ds
    ours = torch.autograd.grad(found["b"][-1].sum(), (rate, a, b))
    step = 1e-5
    with torch.no_grad():
        ends = []
        for r in (0.8 + step, 0.8 - step):
            rate.fill_(r)
            ends.append(odeint(field, {"a": a, "b": b}, TIMES["two"], rtol=1e-10, atol=1e-12)["b"][-1].sum())
        rate.fill_(0.8)
    assert float(ours[0]) == pytest.approx(float((ends[0] - ends[1]) / (2 * step)), abs=1e-5)
    torch.testing.assert_close(ours[2], torch.full_like(b, math.exp(-0.8 * 1.5)), rtol=1e-6, atol=0)
    assert float((ours[1] - ours[1].mean()).abs().max()) < 1e-9


def test_parameters_are_found_in_a_module_and_asked_for_otherwise():
    field = Field()
    for gradient in GRADIENTS:
        field.zero_grad()
        odeint(field, start(), TIMES["two"], gradient=gradient)[-1].sum().backward()
        assert field.inner.grad.abs().sum() > 0, gradient
        assert field.unused.grad is None or float(field.unused.grad.abs().sum()) == 0
    for gradient in ("adjoint", "checkpointed"):
        with pytest.raises(GradusError, match=r"make it an nn\.Module, or name the tensors"):
            odeint(lambda t, y: field(t, y), start(), TIMES["two"], gradient=gradient)


def test_frozen_parameters_and_no_grad_take_the_fast_path():
    field = Field().requires_grad_(False)
    for gradient in GRADIENTS:
        assert not odeint(field, start(), TIMES["two"], gradient=gradient).requires_grad
    with torch.no_grad():
        assert not odeint(Field(), start().requires_grad_(), TIMES["two"]).requires_grad


def test_fast_and_differentiable_steps_make_the_same_numbers():
    for method in ("rk4", "dopri5", "bosh3"):
        settings = {"method": method, "options": {"steps": 20} if method == "rk4" else {}, "rtol": 1e-6}
        counted = Statistics(), Statistics()
        fast = odeint(Field().requires_grad_(False), start(), TIMES["forwards"], statistics=counted[0], **settings)
        slow = odeint(Field(), start(), TIMES["forwards"], statistics=counted[1], **settings)
        torch.testing.assert_close(fast, slow.detach(), rtol=0, atol=1e-12)
        assert counted[0] == counted[1]


def test_parameters_that_are_not_leaves_have_gradients_too():
    base = torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)
    for gradient in GRADIENTS:
        rate = base**2
        found = odeint(
            lambda t, y, rate=rate: -rate * y,
            torch.ones(1, dtype=DOUBLE),
            [0.0, 1.0],
            gradient=gradient,
            params=(rate,),
        )
        (ours,) = torch.autograd.grad(found[-1].sum(), base)
        assert float(ours) == pytest.approx(-math.exp(-0.25), abs=1e-6)


def test_a_copy_of_the_field_is_not_needed_to_train_it():
    """Two steps of descent through each gradient leave the same weights."""
    ends = []
    for gradient in GRADIENTS:
        field = copy.deepcopy(Field())
        for _ in range(2):
            loss = (odeint(field, start(), TIMES["two"], gradient=gradient, rtol=1e-8, atol=1e-9)[-1] ** 2).mean()
            for p, g in zip(
                (field.inner, field.outer), torch.autograd.grad(loss, (field.inner, field.outer)), strict=True
            ):
                p.data -= 0.1 * g
        ends.append(field.inner.detach())
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-6)
    assert torch.equal(ends[2], ends[0])


class Kept:
    """What autograd keeps, in bytes: the largest sum at any one time, forward and backward."""

    def __init__(self) -> None:
        self.now, self.peak = 0, 0

    def pack(self, tensor):
        box = [tensor]
        holder = _Box(box)
        size = tensor.numel() * tensor.element_size()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(holder, self._release, size)
        return holder

    def _release(self, size):
        self.now -= size

    @staticmethod
    def unpack(holder):
        return holder.box[0]


class _Box:
    def __init__(self, box) -> None:
        self.box = box


def peak_bytes(gradient: str, steps: int) -> int:
    kept, field = Kept(), Field()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        y0 = start().requires_grad_()
        found = odeint(field, y0, TIMES["two"], method="rk4", gradient=gradient, options={"steps": steps})
        found[-1].sum().backward()
    return kept.peak


def test_memory_is_flat_by_adjoint_and_of_the_root_by_checkpoints():
    counts = (10, 100, 1000)
    adjoint = [peak_bytes("adjoint", steps) for steps in counts]
    assert adjoint[0] == adjoint[1] == adjoint[2]
    backprop = [peak_bytes("backprop", steps) for steps in counts[:2]]
    assert 9 < backprop[1] / backprop[0] < 11
    checkpointed = [peak_bytes("checkpointed", steps) for steps in counts]
    assert checkpointed[2] < 5 * checkpointed[1]
    assert checkpointed[2] < backprop[1]
    assert adjoint[0] < backprop[0] / 10
