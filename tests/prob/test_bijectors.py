"""Bijectors beyond their contract: densities, supports, what a composition is, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions, nn
from torch.distributions import constraints

from gradus.errors import GradusError
from gradus.prob import (
    Affine,
    Autoregressive,
    Blocks,
    Compose,
    Coupling,
    Exp,
    Identity,
    Independent,
    Inverse,
    LeakyReLU,
    Permutation,
    Power,
    RationalQuadraticSpline,
    Sigmoid,
    StickBreaking,
    Tanh,
    Triangular,
    pulled_back,
    pushed_forward,
    spline_element,
    to_support,
)

F64 = torch.float64


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_pushed_forward_densities_are_the_known_ones():
    normal = distributions.Normal(torch.tensor(0.0, dtype=F64), torch.tensor(1.0, dtype=F64))
    y = noise(50).exp()
    log_normal = pushed_forward(normal.log_prob, Compose(Affine(0.3, 0.7), Exp()))
    expected = distributions.LogNormal(torch.tensor(0.3, dtype=F64), torch.tensor(0.7, dtype=F64)).log_prob(y)
    torch.testing.assert_close(log_normal(y), expected)
    # A uniform number's logit is logistic: both ways round.
    x = noise(50, seed=1)
    logistic = -x - 2 * torch.nn.functional.softplus(-x)
    torch.testing.assert_close(pulled_back(torch.zeros_like, Sigmoid())(x), logistic)
    torch.testing.assert_close(pushed_forward(torch.zeros_like, Inverse(Sigmoid()))(x), logistic)


def test_a_triangular_map_gives_the_multivariate_normal():
    root = noise(4, 4, seed=2)
    sigma = root @ root.mT + torch.eye(4, dtype=F64)
    mean = noise(4, seed=3)
    bijector = Triangular.from_cholesky(mean, torch.linalg.cholesky(sigma))
    base = pushed_forward(lambda z: -(z**2).sum(-1) / 2 - 2 * math.log(2 * math.pi), bijector)
    x = 2 * noise(20, 4, seed=4)
    torch.testing.assert_close(base(x), distributions.MultivariateNormal(mean, sigma).log_prob(x))
    torch.testing.assert_close(bijector.matrix() @ bijector.matrix().mT, sigma)


def test_a_dirichlet_pulled_back_through_stick_breaking_integrates_to_one():
    dirichlet = distributions.Dirichlet(torch.tensor([1.5, 2.0, 3.0], dtype=F64))
    side = torch.linspace(-12, 12, 401, dtype=F64)
    grid = torch.cartesian_prod(side, side)
    mass = pulled_back(dirichlet.log_prob, StickBreaking())(grid).exp().sum() * (side[1] - side[0]) ** 2
    assert float(mass) == pytest.approx(1, abs=1e-6)
    uniform, _ = StickBreaking()(torch.zeros(4, dtype=F64))
    torch.testing.assert_close(uniform, torch.full((5,), 0.2, dtype=F64))


def test_a_density_of_the_wrong_shape_is_refused():
    density = pulled_back(lambda y: y, Triangular(torch.zeros(2), torch.zeros(2), torch.zeros(2, 2)))
    with pytest.raises(GradusError, match="one log-density an event"):
        density(torch.zeros(3, 2))


SUPPORTS = [
    constraints.real,
    constraints.positive,
    constraints.nonnegative,
    constraints.greater_than(2.0),
    constraints.less_than(-1.0),
    constraints.unit_interval,
    constraints.interval(-2.0, 5.0),
    constraints.interval(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 4.0])),
    constraints.half_open_interval(0.0, 3.0),
    constraints.real_vector,
    constraints.independent(constraints.positive, 1),
    constraints.simplex,
    distributions.Beta(torch.ones(3), torch.ones(3)).support,
    distributions.HalfCauchy(torch.ones(3)).support,
]


@pytest.mark.parametrize("constraint", SUPPORTS, ids=str)
def test_every_support_is_reached(constraint):
    bijector = to_support(constraint)
    y, logdet = bijector(2 * noise(200, 3))
    assert bool(constraint.check(y).all())
    assert bijector.codomain is constraint
    assert logdet.shape == (200, 3)[: 2 - constraint.event_dim]
    assert bijector.event_dims == constraint.event_dim


def test_supports_without_a_map_are_refused():
    with pytest.raises(GradusError, match="no bijector leads onto"):
        to_support(constraints.nonnegative_integer)


def test_blocks_map_a_models_parameters_side_by_side():
    bijector = Blocks([Exp(), Identity(), StickBreaking()], [1, 2, 2])
    x = noise(7, 5)
    y, logdet = bijector(x)
    assert y.shape == (7, 6)
    torch.testing.assert_close(y[:, 0], x[:, 0].exp())
    torch.testing.assert_close(y[:, 1:3], x[:, 1:3])
    torch.testing.assert_close(y[:, 3:].sum(-1), torch.ones(7, dtype=F64))
    torch.testing.assert_close(logdet, x[:, 0] + StickBreaking()(x[:, 3:])[1])
    with pytest.raises(GradusError, match="last dimension of 5"):
        bijector(noise(7, 4))
    with pytest.raises(GradusError, match="one size to each"):
        Blocks([Exp()], [1, 2])
    with pytest.raises(GradusError, match="several dimensions"):
        Blocks([Independent(Exp(), 2)], [2])


def test_composition_associates_and_the_empty_one_is_the_identity():
    f, g, h = Affine(0.3, 2.0), LeakyReLU(0.4), Tanh()
    x = noise(5, 3)
    left, right = Compose(Compose(f, g), h)(x), Compose(f, Compose(g, h))(x)
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(left[1], f(x)[1] + g(f(x)[0])[1] + h(g(f(x)[0])[0])[1])
    y, logdet = Compose()(x)
    assert torch.equal(y, x)
    assert torch.equal(logdet, torch.zeros_like(x))


def test_numbers_take_the_precision_of_the_input():
    y, logdet = Affine(0.1, 3.3)(torch.ones(1, dtype=F64))
    assert float(y) == pytest.approx(3.4, abs=1e-15)
    assert float(logdet) == pytest.approx(math.log(3.3), abs=1e-15)


def test_an_untrained_spline_is_the_identity_and_so_is_one_beyond_its_bound():
    x = torch.linspace(-5, 5, 101, dtype=F64)
    y, logdet = RationalQuadraticSpline(torch.zeros(23, dtype=F64))(x)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(logdet, torch.zeros_like(x), rtol=0, atol=1e-12)
    spline = RationalQuadraticSpline(noise(23, seed=5), bound=3.0)
    far = torch.tensor([-7.0, -3.0, 3.0, 4.0], dtype=F64)
    torch.testing.assert_close(spline(far)[0], far)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=14, max_size=14), st.lists(st.floats(-4, 4), min_size=2, max_size=6))
def test_any_parameters_give_a_monotone_invertible_spline(raw, points):
    spline = RationalQuadraticSpline(torch.tensor(raw, dtype=F64))
    x = torch.tensor(sorted(points), dtype=F64)
    y, logdet = spline(x)
    assert bool((y.diff() >= -1e-12).all())
    assert bool(logdet.isfinite().all())
    torch.testing.assert_close(spline(spline.inverse(y)[0])[0], y, rtol=0, atol=1e-6)


class Conditioner(nn.Module):
    """A network from two kept numbers of four to spline parameters."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4 * k)).double()
        self.k = k

    def forward(self, kept: torch.Tensor) -> torch.Tensor:
        return self.net(kept).unflatten(-1, (4, self.k))


def test_a_network_of_couplings_learns():
    torch.manual_seed(0)
    mask = torch.tensor([True, True, False, False])
    flow = Compose(Coupling(mask, Conditioner(2)), Coupling(~mask, Conditioner(11), spline_element))
    names = dict(flow.named_parameters())
    assert len(names) == 8
    base = lambda z: -(z**2).sum(-1) / 2
    data = noise(256, 4)
    data[:, 2:] = data[:, 2:] * 0.3 + data[:, :2] ** 2
    losses = []
    for _ in range(40):
        loss = -pushed_forward(base, flow)(data).mean()
        for param, slope in zip(names.values(), torch.autograd.grad(loss, list(names.values())), strict=True):
            param.data -= 0.05 * slope
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.3
    z, _ = flow.inverse(data)
    torch.testing.assert_close(flow(z)[0], data, rtol=0, atol=1e-8)


def test_a_coupling_masks_images_as_well():
    checkerboard = (torch.arange(4).unsqueeze(1) + torch.arange(4)) % 2 == 0
    mask = checkerboard.expand(2, 4, 4)
    coupling = Coupling(mask, lambda kept: torch.stack([kept.flip(-1), kept.flip(-2)], -1))
    x = noise(3, 2, 4, 4)
    y, logdet = coupling(x)
    assert logdet.shape == (3,)
    assert torch.equal(y[:, mask], x[:, mask])
    torch.testing.assert_close(coupling.inverse(y)[0], x)


def test_what_overflows_for_kept_numbers_poisons_no_gradient():
    mask = torch.tensor([True, False])
    scale = torch.tensor(1.0, dtype=F64, requires_grad=True)
    element = lambda raw: Affine(raw[..., 0], log_scale=raw[..., 1])
    coupling = Coupling(mask, lambda kept: torch.stack([kept * scale, kept * scale * 1e3], -1), element)
    x = torch.tensor([[1.0, 2.0]], dtype=F64)
    (slope,) = torch.autograd.grad(coupling(x)[0].sum(), scale)
    assert bool(slope.isfinite())


def test_the_autoregressive_inverse_takes_one_pass_a_number():
    calls = []

    def conditioner(x):
        calls.append(1)
        before = x.cumsum(-1) - x
        return torch.stack([before, 0.1 * before], -1)

    flow = Autoregressive(conditioner)
    y, _ = flow(noise(3, 6))
    calls.clear()
    flow.inverse(y)
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Affine(0.0, 0.0), "no inverse"),
        (lambda: Affine(0.0, 2.0, log_scale=torch.zeros(1)), "not both"),
        (lambda: Power(0.0), "no inverse"),
        (lambda: LeakyReLU(0.0), "positive slope"),
        (lambda: Permutation([0, 0, 1]), "not a permutation"),
        (lambda: Triangular.from_cholesky(torch.zeros(2), torch.ones(2, 2)), "lower-triangular"),
        (lambda: RationalQuadraticSpline(torch.zeros(22)), "3K − 1 parameters, not 22"),
        (lambda: RationalQuadraticSpline(torch.zeros(23), bound=-1.0), "positive bound"),
        (lambda: Coupling(torch.tensor([True, True]), lambda x: x), "does nothing"),
        (lambda: Coupling(torch.tensor([True, False]), lambda x: x)(torch.zeros(3, 2)), "its parameters"),
        (lambda: Autoregressive(lambda x: x)(torch.zeros(3, 2)), "its parameters"),
    ],
)
def test_refusals(make, said):
    with pytest.raises(GradusError, match=said):
        make()
