"""Test functions: their minima, their batches, and what distinguishes them."""

import math

import pytest
import torch

from gradus.errors import GradusError
from gradus.optim import SURFACES
from gradus.optim.surfaces import ellipsoid, himmelblau, rosenbrock, saddle

WITH_MINIMUM = [name for name, surface in SURFACES.items() if surface.minimiser is not None]


def grid(surface, steps=201):
    axes = [torch.linspace(low, high, steps, dtype=torch.float64) for low, high in surface.box]
    return torch.stack(torch.meshgrid(*axes, indexing="xy"), -1)


@pytest.mark.parametrize("name", WITH_MINIMUM)
def test_the_minimum_is_where_it_is_said_to_be(name):
    surface = SURFACES[name]
    at = torch.tensor(surface.minimiser, dtype=torch.float64, requires_grad=True)
    value = surface.function(at)
    assert value.item() == pytest.approx(surface.minimum, abs=1e-12)
    (slope,) = torch.autograd.grad(value, at)
    assert slope.abs().max() < 1e-9
    assert surface.function(grid(surface)).min() >= surface.minimum


@pytest.mark.parametrize("name", [name for name in WITH_MINIMUM if not SURFACES[name].planar])
def test_any_number_of_coordinates_has_the_same_minimiser(name):
    surface = SURFACES[name]
    first, second = surface.minimiser
    assert first == second
    assert surface.function(torch.full((7,), first, dtype=torch.float64)).item() == pytest.approx(surface.minimum)


@pytest.mark.parametrize("name", SURFACES)
def test_leading_dimensions_are_a_batch(name):
    surface = SURFACES[name]
    points = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = surface.function(points)
    assert values.shape == (3, 4)
    torch.testing.assert_close(values[1, 2], surface.function(points[1, 2]))


@pytest.mark.parametrize("name", SURFACES)
def test_pictures_hold_their_start_and_their_minimum(name):
    surface = SURFACES[name]
    for point in (surface.start, surface.minimiser or surface.start):
        assert all(low <= x <= high for x, (low, high) in zip(point, surface.box, strict=True))


def test_known_values():
    assert rosenbrock(torch.tensor([-1.2, 1.0], dtype=torch.float64)).item() == pytest.approx(24.2)
    others = torch.tensor([[-2.805118, 3.131312], [-3.779310, -3.283186], [3.584428, -1.848126]], dtype=torch.float64)
    assert himmelblau(others).max() < 1e-9


def test_the_ellipsoid_has_its_condition_number():
    hessian = torch.autograd.functional.hessian(lambda x: ellipsoid(x, 100.0), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(hessian.diagonal(), 2 * torch.logspace(0, 2, 5, dtype=torch.float64))


def test_the_saddle_has_no_minimum():
    assert SURFACES["saddle"].minimum == -math.inf
    assert saddle(torch.tensor([0.0, 1e3])).item() == -1e6


def test_rosenbrock_needs_two_coordinates():
    with pytest.raises(GradusError, match="at least 2"):
        rosenbrock(torch.zeros(1))
