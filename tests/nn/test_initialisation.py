"""Initialisation keeps signals alive through fifty layers, is orthogonal where it says so, and breaks symmetry."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn.initialisation import fans, he, initialise, orthogonal, output_bias, small_normal, xavier

WIDTH, LAYERS = 512, 50


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def growth(fill: Callable[..., Tensor], activation: Callable[[Tensor], Tensor], backward: bool = False) -> float:
    """Return the factor by which fifty layers change the mean square of activations, or of gradients going back."""
    noise = generator()
    x = torch.randn(64, WIDTH, generator=noise).requires_grad_()
    y = x
    for _ in range(LAYERS):
        y = activation(y @ fill(torch.empty(WIDTH, WIDTH), generator=noise).T)
    if not backward:
        return (y.square().mean() / x.square().mean()).item()
    sent = torch.randn(64, WIDTH, generator=noise)
    (received,) = torch.autograd.grad((y * sent).sum(), x)
    return (received.square().mean() / sent.square().mean()).item()


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize(
    "fill, activation",
    [(he, F.relu), (partial(he, slope=1.0), lambda x: x), (xavier, lambda x: x)],
    ids=["he-relu", "he-linear", "xavier-linear"],
)
def test_variance_through_fifty_layers(fill: Callable[..., Tensor], activation: Callable, uniform: bool) -> None:
    assert 0.5 < growth(partial(fill, uniform=uniform), activation) < 2


def test_orthogonal_keeps_lengths_through_fifty_layers() -> None:
    assert growth(orthogonal, lambda x: x) == pytest.approx(1, abs=1e-3)


def test_gradients_through_fifty_layers() -> None:
    assert 0.5 < growth(partial(he, mode="fan_out"), F.relu, backward=True) < 2


def test_small_normal_and_xavier_under_relu_vanish() -> None:
    """Why He's factor of two is there: without it half is lost at every layer."""
    assert growth(small_normal, F.relu) < 1e-30
    assert growth(xavier, F.relu) == pytest.approx(2.0**-LAYERS, rel=1.0)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (16, 4, 3, 3), (100, 2, 3)])
def test_orthogonal_has_equal_singular_values(shape: tuple[int, ...]) -> None:
    weight = orthogonal(torch.empty(shape, dtype=torch.float64), gain=1.5, generator=generator())
    values = torch.linalg.svdvals(weight.flatten(1))
    torch.testing.assert_close(values, torch.full_like(values, 1.5))


def test_orthogonal_is_uniform() -> None:
    """Under the uniform distribution the trace of a random rotation has mean 0 and variance 1."""
    noise = generator()
    traces = torch.stack([orthogonal(torch.empty(4, 4), generator=noise).trace() for _ in range(2000)])
    assert abs(traces.mean()) < 0.1
    assert abs(traces.var() - 1) < 0.15


def test_fans_of_a_kernel() -> None:
    assert fans(torch.empty(8, 4, 3, 5)) == (60, 120)
    weight = torch.empty(256, 64, 3, 3)
    for fill, std in ((he, (2 / 576) ** 0.5), (partial(he, mode="fan_out"), (2 / 2304) ** 0.5)):
        assert fill(weight, generator=generator()).std() == pytest.approx(std, rel=0.01)
    assert xavier(weight, generator=generator()).std() == pytest.approx((2 / 2880) ** 0.5, rel=0.01)
    assert weight.abs().max() < 6 * (2 / 2880) ** 0.5
    bound = (3 * 2 / 576) ** 0.5
    assert bound * 0.999 < he(weight, uniform=True, generator=generator()).abs().max() <= bound


def test_the_generator_decides() -> None:
    for fill in (small_normal, xavier, he, partial(he, uniform=True), orthogonal):
        state = torch.get_rng_state()
        first, second, other = (fill(torch.empty(6, 6), generator=generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, second)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), state)


def test_equal_weights_stay_equal_and_random_ones_do_not() -> None:
    """Symmetry: hidden units that start alike get the same gradients and stay alike for ever."""

    def distinct_units(fill: Callable[..., Tensor]) -> int:
        noise = generator()
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        initialise(model, {nn.Linear: fill}, generator=noise)
        x = torch.randn(32, 3, dtype=torch.float64, generator=noise)
        y = x[:, :1] * x[:, 1:2]
        for _ in range(50):
            gradients = torch.autograd.grad((model(x) - y).square().mean(), list(model.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter -= 0.1 * gradient
        return len(model[0].weight.unique(dim=0))

    assert distinct_units(lambda weight, generator: weight.fill_(0.3)) == 1
    assert distinct_units(xavier) == 8


def test_initialise_by_type_with_biases() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1, bias=False), nn.Linear(3, 4))
    linear = model[3].weight.clone()
    initialise(model, {nn.Conv2d: lambda weight, generator: weight.fill_(2.0)}, bias=0.1)
    assert (model[0].weight == 2).all()
    assert (model[0].bias == 0.1).all()
    assert (model[1].weight == 1).all()
    assert torch.equal(model[3].weight, linear)


class TestOutputBias:
    @pytest.mark.parametrize(
        "name, targets, loss",
        [
            ("cross_entropy", torch.tensor([0, 0, 1, 2, 2, 2]), lambda b, t: F.cross_entropy(b.expand(len(t), -1), t)),
            (
                "logistic",
                torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0]]),
                lambda b, t: F.binary_cross_entropy_with_logits(b.expand(len(t), -1), t.to(b)),
            ),
            (
                "squared",
                torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]),
                lambda b, t: F.mse_loss(b.expand(len(t), -1), t.to(b)),
            ),
        ],
    )
    def test_no_gradient_is_left(self, name: str, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        bias = output_bias(targets, loss=name).double().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(bias, targets), bias)
        assert gradient.abs().max() < 1e-6
        if name == "cross_entropy":
            frequencies = torch.tensor([2, 1, 3], dtype=torch.float64) / 6
            entropy = -(frequencies * frequencies.log()).sum()
            torch.testing.assert_close(loss(bias, targets), entropy, rtol=1e-6, atol=1e-6)

    def test_what_was_never_seen_stays_finite(self) -> None:
        bias = output_bias(torch.tensor([0, 0, 2]), classes=4)
        assert bias.shape == (4,)
        assert bias.isfinite().all()
        assert bias[1] == bias[3] < bias[2] < bias[0]
        assert output_bias(torch.ones(5), loss="logistic").isfinite().all()

    def test_mistakes(self) -> None:
        with pytest.raises(GradusError, match="cross_entropy"):
            output_bias(torch.ones(3), loss="hinge")
        with pytest.raises(GradusError, match="fan_in"):
            he(torch.empty(2, 2), mode="fan_avg")
