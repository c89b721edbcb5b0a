"""Neural ODEs: what a flow cannot do, what more dimensions make of it, and residual networks as Euler's method."""

import pytest
import torch
from torch import nn

from gradus.errors import GradusError
from gradus.ode import NeuralODE, odeint
from gradus.optim.rule import make


class Field(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.middle, self.outer = (
            nn.Linear(width, hidden),
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, width),
        )

    def forward(self, t, y):
        return self.outer(torch.tanh(self.middle(torch.tanh(self.inner(y)))))


def train(model: nn.Module, loss, steps: int, lr: float) -> float:
    params = list(model.parameters())
    rule = make("adam", lr=lr)
    state = rule.init(params)
    for _ in range(steps):
        rule.update(params, torch.autograd.grad(loss(), params), state, lr)
    return float(loss().detach())


def flow(augment: int, width: int, hidden: int, seed: int) -> NeuralODE:
    torch.manual_seed(seed)
    field = Field(width + augment, hidden)
    return NeuralODE(field, augment=augment, method="rk4", gradient="backprop", options={"steps": 8})


@pytest.mark.parametrize("seed", [0, 1])
def test_a_flow_on_the_line_cannot_turn_it_round_and_an_augmented_one_can(seed):
    """g(x) = −x: trajectories in one dimension keep their order, so that the best loss for ∓1 is 1, at 0 and 0."""
    x = torch.tensor([[-1.0], [1.0]])
    plain, augmented = flow(0, 1, 16, seed), flow(1, 1, 16, seed)
    stuck = train(plain, lambda: ((plain(x) + x) ** 2).mean(), 120, 0.02)
    solved = train(augmented, lambda: ((augmented(x)[:, :1] + x) ** 2).mean(), 120, 0.02)
    left, right = plain(x)[:, 0].tolist()
    assert left < right
    assert 1.0 <= stuck < 1.05
    assert solved < 1e-3


def circles(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of a disc, and of a ring around it."""
    radius = torch.cat([0.5 * torch.rand(count, generator=generator), 1 + 0.5 * torch.rand(count, generator=generator)])
    angle = 2 * torch.pi * torch.rand(2 * count, generator=generator)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    return points, torch.cat([torch.zeros(count), torch.ones(count)])


@pytest.mark.parametrize("seed", [0, 2])
def test_nested_circles_come_apart_in_more_dimensions_only(seed):
    """The image of the ring goes round that of the disc: no line separates them, however long one trains."""
    generator = torch.Generator().manual_seed(seed)
    (x, labels), (unseen, truth) = circles(64, generator), circles(1000, generator)
    losses, wrong = [], []
    for augment in (0, 3):
        torch.manual_seed(seed)
        options = {"steps": 6}
        body = NeuralODE(Field(2 + augment, 32), augment=augment, method="rk4", gradient="backprop", options=options)
        model = nn.Sequential(body, nn.Linear(2 + augment, 1), nn.Flatten(0))
        losses.append(train(model, lambda model=model: nn.BCEWithLogitsLoss()(model(x), labels), 100, 0.01))
        with torch.no_grad():
            wrong.append(int(((model(unseen) > 0) != (truth > 0)).sum()))
    assert wrong[0] > 20
    assert wrong[1] < wrong[0] / 4
    assert losses[1] < losses[0] / 5


def test_a_residual_stack_is_eulers_method():
    torch.manual_seed(0)
    blocks = nn.ModuleList(Field(3, 8) for _ in range(5))

    class Staircase(nn.Module):
        """The field that the blocks of a stack are, one after another in time."""

        def __init__(self) -> None:
            super().__init__()
            self.blocks = blocks

        def forward(self, t, y):
            return self.blocks[int(t)](t, y)

    x = torch.randn(4, 3)
    y = x
    for block in blocks:
        y = y + block(None, y)
    solved = NeuralODE(Staircase(), (0.0, 5.0), method="euler", gradient="backprop", options={"steps": 5})
    assert torch.equal(solved(x), y)
    with torch.no_grad():
        assert torch.equal(solved(x), y)
    ours, theirs = (torch.autograd.grad(out.sum(), list(blocks.parameters())) for out in (solved(x), y))
    assert all(map(torch.equal, ours, theirs))


def test_a_tied_stack_with_shorter_steps_goes_to_the_flow():
    torch.manual_seed(1)
    field, x = Field(3, 8).double(), torch.randn(4, 3, dtype=torch.float64)
    limit = odeint(field, x, [0.0, 1.0], rtol=1e-9, atol=1e-9)[-1]
    gaps = []
    for depth in (16, 32):
        y = x
        for _ in range(depth):
            y = y + field(None, y) / depth
        gaps.append(float((y - limit).abs().max().detach()))
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.2)


def test_evaluations_are_reported_and_grow_with_the_tolerance():
    torch.manual_seed(0)
    x = torch.randn(8, 2)
    counts = []
    for tol in (1e-2, 1e-4, 1e-6):
        layer = NeuralODE(Field(2, 16), (0.0, 10.0), rtol=tol, atol=tol)
        layer(x).sum().backward()
        assert layer.nfev == 2 + 6 * (layer.statistics.accepted + layer.statistics.rejected)
        assert layer.nfev_backward > 0
        counts.append(layer.nfev)
    assert counts[0] < counts[1] < counts[2]


def test_images_are_augmented_by_channels():
    layer = NeuralODE(nn.ModuleList(), augment=2)
    wide = layer.widen(torch.ones(2, 3, 5, 4))
    assert wide.shape == (2, 5, 5, 4)
    assert float(wide[:, 3:].abs().sum()) == 0
    assert float(wide[:, :3].min()) == 1


def test_a_trajectory_passes_through_the_output():
    torch.manual_seed(0)
    layer, x = NeuralODE(Field(3, 8), augment=1, rtol=1e-5, atol=1e-6), torch.randn(4, 2)
    path = layer.trajectory(x, torch.linspace(0, 1, 5))
    assert path.shape == (5, 4, 3)
    torch.testing.assert_close(path[-1], layer(x), rtol=0, atol=1e-4)
    assert torch.equal(path[0], layer.widen(x))


def test_state_and_repr_are_those_of_a_module():
    layer = NeuralODE(Field(2, 4), method="bosh3", augment=1)
    assert set(layer.state_dict()) == {f"field.{name}" for name in Field(2, 4).state_dict()}
    assert "method='bosh3'" in repr(layer)
    assert "augment=1" in repr(layer)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"augment": -1}, "augment=-1 is negative"),
        ({"span": (1.0, 1.0)}, "has no length"),
        ({"gradient": "direct"}, "no gradient 'direct'"),
        ({"method": "dopri"}, "did you mean"),
        ({"options": {"stepsize": 1}}, "no option 'stepsize'"),
    ],
)
def test_what_cannot_be_built_is_told(settings, said):
    with pytest.raises(GradusError, match=said):
        NeuralODE(Field(2, 4), **settings)
