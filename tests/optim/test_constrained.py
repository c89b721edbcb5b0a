"""Constraints: multipliers of known programs, projections, proximal steps, and that different roads meet."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.optim import (
    augmented_lagrangian,
    fista,
    ista,
    minimize,
    project_ball,
    project_box,
    project_l1_ball,
    project_simplex,
    projected_gradient,
    soft_threshold,
)

PROJECTIONS = {
    "box": partial(project_box, low=-0.5, high=1.0),
    "ball": partial(project_ball, radius=1.5, centre=0.3),
    "simplex": partial(project_simplex, total=2.0),
    "l1 ball": partial(project_l1_ball, radius=1.2),
}


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def program(n=6, seed=0):
    """Return ½ x·Q x + c·x with its Q and c."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    Q, c = root @ root.T + 0.1 * torch.eye(n, dtype=torch.float64), torch.randn(n, generator=generator).double()
    return (lambda x: 0.5 * torch.dot(x, Q @ x) + torch.dot(c, x)), Q, c


# Lagrange multipliers ------------------------------------------------------------------------------------------------


def test_a_known_quadratic_program():
    """Nocedal and Wright, example 16.4: the solution is (1.4, 1.7), and only the first constraint is active."""
    A = torch.tensor([[-1.0, 2], [1, 2], [1, -2], [-1, 0], [0, -1]], dtype=torch.float64)
    b = vector(2, 6, 2, 0, 0)

    def fn(x):
        return (x[0] - 1) ** 2 + (x[1] - 2.5) ** 2

    found = augmented_lagrangian(fn, vector(2, 0), inequality=lambda x: A @ x - b, gtol=1e-8)
    assert found.success
    torch.testing.assert_close(found.x, vector(1.4, 1.7), atol=1e-7, rtol=0)
    torch.testing.assert_close(found.multipliers["inequality"], vector(0.8, 0, 0, 0, 0), atol=1e-6, rtol=0)
    assert found.fun == pytest.approx(0.8)


@pytest.mark.parametrize("inner", ["bfgs", "lbfgs", "newton"])
def test_the_kkt_residual_of_a_program_with_both_kinds_of_constraint(inner):
    """The conditions are worked out here from Q, c and the multipliers, not from what the solver says."""
    fn, Q, c = program()
    A, G = torch.ones(1, 6, dtype=torch.float64), -torch.eye(6, dtype=torch.float64)
    found = minimize(
        fn, torch.zeros(6, dtype=torch.float64), method=inner, gtol=1e-7,
        equality=lambda x: A @ x - 1, inequality=lambda x: G @ x,
    )  # fmt: skip
    x, equal, push = found.x, found.multipliers["equality"], found.multipliers["inequality"]
    residual = max(
        (Q @ x + c + A.T @ equal + G.T @ push).abs().max().item(),
        (A @ x - 1).abs().max().item(),
        (G @ x).max().item(),
        -push.min().item(),
        (push * (G @ x)).abs().max().item(),
    )
    assert found.success
    assert residual < 1e-6
    assert found.residual <= 1e-7
    assert push.max() > 0.1  # some bound is active, or the program would not test anything


def test_the_multiplier_is_the_price_of_the_constraint():
    """df*/db = −λ for h(x) = a·x − b."""
    fn, _, _ = program(4, 1)

    def best(b):
        return augmented_lagrangian(fn, torch.zeros(4).double(), equality=lambda x: x.sum() - b, gtol=1e-9)

    price = (best(1.01).fun - best(0.99).fun) / 0.02
    assert best(1.0).multipliers["equality"].item() == pytest.approx(-price, rel=1e-5)


def test_multipliers_do_what_a_penalty_alone_does_not():
    """After one round at a fixed μ the violation is about λ*/μ; after a few rounds it is gone, at the same μ."""
    x0, violations = vector(0, 0), []
    augmented_lagrangian(
        lambda x: x.square().sum(), x0, equality=lambda x: x.sum() - 1, penalty=10.0, gtol=1e-9,
        callback=lambda found: violations.append(abs(found.x.sum().item() - 1)),
    )  # fmt: skip
    assert violations[0] == pytest.approx(1 / 11, rel=0.2)
    assert violations[-1] < 1e-9


def test_a_curved_constraint():
    """The point of the unit circle nearest to (2, 1), from inside and from outside."""
    goal = vector(2, 1)
    for start in (vector(0.1, 0.1), vector(5, -3)):
        found = minimize(
            lambda x: (x - goal).square().sum(), start, equality=lambda x: x.square().sum() - 1, gtol=1e-7
        )  # fmt: skip
        torch.testing.assert_close(found.x, goal / goal.norm(), atol=1e-6, rtol=0)


def test_an_inactive_constraint_costs_nothing():
    found = minimize(lambda x: (x - 1).square().sum(), vector(0, 0), inequality=lambda x: x.sum() - 10)
    assert found.multipliers["inequality"].item() == 0
    torch.testing.assert_close(found.x, vector(1, 1), atol=1e-5, rtol=0)


def test_infeasible_constraints_are_told():
    found = minimize(
        lambda x: x.square().sum(), vector(1, 1), equality=lambda x: torch.stack((x.sum() - 1, x.sum() + 1))
    )  # fmt: skip
    assert not found.success
    assert "infeasible" in found.message


def test_constraints_are_checked():
    def fn(x):
        return x.square().sum()

    with pytest.raises(GradusError, match="equality constraint must return"):
        minimize(fn, vector(1, 1), equality=lambda x: 1.0)
    with pytest.raises(GradusError, match="inequality constraint is not finite at x0"):
        minimize(fn, vector(-1, 1), inequality=lambda x: x.log())
    with pytest.raises(GradusError, match="penalty"):
        minimize(fn, vector(1, 1), equality=lambda x: x.sum(), penalty=-1.0)
    with pytest.raises(GradusError, match="needs prox="):
        minimize(fn, vector(1, 1), equality=lambda x: x.sum(), method="fista")


# Projections ---------------------------------------------------------------------------------------------------------


def points(seed, n, rows=5):
    return 3 * torch.randn(rows, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(list(PROJECTIONS)), st.integers(1, 9), st.integers(0, 2**31))
def test_a_projection_is_the_nearest_point(name, n, seed):
    """(x − P x)·(z − P x) ≤ 0 for every z of the set says so exactly; P z = z tests that z is in it."""
    project = PROJECTIONS[name]
    x, z = points(seed, n), project(points(seed + 1, n))
    near = project(x)
    torch.testing.assert_close(project(near), near, rtol=0, atol=1e-12)
    torch.testing.assert_close(project(z), z, rtol=0, atol=1e-12)
    assert ((x - near) * (z - near)).sum(-1).max() <= 1e-9
    torch.testing.assert_close(near[2], project(x[2]))


def test_the_sets_are_what_they_are_called():
    x = points(0, 7)
    simplex = project_simplex(x, 2.0)
    assert simplex.min() >= 0
    torch.testing.assert_close(simplex.sum(-1), torch.full((5,), 2.0, dtype=torch.float64))
    assert project_l1_ball(x, 1.2).abs().sum(-1).max() <= 1.2 + 1e-12
    assert torch.linalg.vector_norm(project_ball(x, 1.5, 0.3) - 0.3, dim=-1).max() <= 1.5 + 1e-12
    assert project_box(x, vector(*range(7)), math.inf).ge(torch.arange(7)).all()


def test_a_simplex_far_away_is_met_exactly():
    x = torch.tensor([1e15, 1e15 - 1, -1e15], dtype=torch.float64)
    torch.testing.assert_close(project_simplex(x), vector(1, 0, 0), rtol=0, atol=0)


def test_impossible_sets_are_refused():
    for act in (
        lambda: project_box(vector(1, 1), 2.0, 1.0),
        lambda: project_simplex(vector(1, 1), 0.0),
        lambda: project_ball(vector(1, 1), -1.0),
        lambda: project_l1_ball(vector(1, 1), math.nan),
    ):
        with pytest.raises(GradusError):
            act()


# Two roads to one point ----------------------------------------------------------------------------------------------


CONSTRAINTS = {
    "box": {"inequality": lambda x: torch.cat((x - 1.0, -0.5 - x))},
    "ball": {"inequality": lambda x: (x - 0.3).square().sum() - 1.5**2},
    "simplex": {"equality": lambda x: x.sum() - 2.0, "inequality": lambda x: -x},
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_projected_gradients_and_multipliers_agree(name):
    fn, _, _ = program()
    x0 = torch.zeros(6, dtype=torch.float64)
    one = projected_gradient(fn, x0, project=PROJECTIONS[name], gtol=1e-8)
    two = minimize(fn, x0, gtol=1e-8, **CONSTRAINTS[name])
    assert one.success
    assert two.success
    torch.testing.assert_close(one.x, two.x, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.x, PROJECTIONS[name](one.x), atol=1e-12, rtol=0)
    assert (one.x - minimize(fn, x0).x).abs().max() > 0.1  # the constraints matter


def test_projected_gradient_falls_with_every_step_and_keeps_the_set():
    fn, _, _ = program()
    seen = []
    projected_gradient(fn, points(3, 6)[0], project=PROJECTIONS["simplex"], gtol=1e-8, callback=seen.append)
    values = [found.fun for found in seen]
    assert all(after <= before + 1e-12 for before, after in pairwise(values))
    assert all(abs(found.x.sum().item() - 2) < 1e-12 for found in seen)


def test_the_first_point_is_projected_before_anything_is_asked():
    asked = []

    def fn(x):
        asked.append(x.detach().clone())
        return x.log().sum().neg()

    found = projected_gradient(fn, vector(-3, 1, 1), project=lambda x: project_box(x, 0.1, 2.0))
    assert asked[0].min() >= 0.1
    torch.testing.assert_close(found.x, vector(2, 2, 2))


# Proximal steps ------------------------------------------------------------------------------------------------------


def lasso(rows=30, n=60, seed=0):
    """Return ½‖A x − b‖² with A, the penalty λ‖x‖₁, its prox, and L."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(rows, n, generator=generator, dtype=torch.float64) / rows**0.5
    b = A[:, :4].sum(1) + 0.01 * torch.randn(rows, generator=generator, dtype=torch.float64)
    weight = 0.05
    fn = lambda x: 0.5 * (A @ x - b).square().sum()
    return fn, {
        "prox": lambda z, t: soft_threshold(z, t * weight),
        "nonsmooth": lambda x: weight * x.abs().sum(),
    }, (A, b, weight, torch.linalg.matrix_norm(A, 2).item() ** 2)  # fmt: skip


@given(st.floats(-5, 5), st.floats(0, 3))
def test_the_soft_threshold_is_the_proximal_map_of_the_l1_norm(z, threshold):
    """0 ∈ x − z + τ ∂|x|."""
    x = soft_threshold(vector(z), threshold).item()
    if x:
        assert x - z + math.copysign(threshold, x) == pytest.approx(0, abs=1e-12)
    else:
        assert abs(z) <= threshold


def optimum():
    fn, parts, known = lasso()
    x0 = torch.zeros(60, dtype=torch.float64)
    best = fista(fn, x0, gtol=1e-11, max_iterations=20_000, **parts)
    assert best.success
    return fn, parts, known, x0, best


def test_the_optimality_conditions_of_the_lasso():
    """Aᵀ(b − A x) is λ sign(x) where x ≠ 0, and at most λ elsewhere; zeros are exact."""
    _, _, (A, b, weight, _), _, best = optimum()
    pull = A.T @ (b - A @ best.x)
    support = best.x != 0
    assert 0 < support.sum() < 30
    torch.testing.assert_close(pull[support], weight * best.x[support].sign(), atol=1e-9, rtol=0)
    assert pull[~support].abs().max() <= weight + 1e-9


@pytest.mark.parametrize("known_step", [True, False])
def test_ista_falls_with_every_step_and_keeps_its_rate(known_step):
    """F(x_k) − F* ≤ L‖x₀ − x*‖² / 2k."""
    fn, parts, (*_, L), x0, best = optimum()
    values = []
    step = 1 / L if known_step else None
    ista(fn, x0, step=step, max_iterations=300, callback=lambda found: values.append(found.fun), **parts)
    assert all(after <= before + 1e-14 for before, after in pairwise(values))
    for k, value in enumerate(values, 1):
        assert value - best.fun <= (1 if known_step else 2) * L * (x0 - best.x).square().sum().item() / (2 * k)


def test_fista_keeps_its_rate_and_overtakes_ista():
    """F(x_k) − F* ≤ 2L‖x₀ − x*‖² / (k + 1)²."""
    fn, parts, (*_, L), x0, best = optimum()
    gaps = {}
    for method in (partial(fista, restart=False), ista):
        gap = gaps[getattr(method, "__name__", "fista")] = []
        method(
            fn, x0, step=1 / L, gtol=0.0, max_iterations=400, **parts,
            callback=lambda found, gap=gap: gap.append(found.fun - best.fun),
        )  # fmt: skip
    for k, value in enumerate(gaps["fista"], 1):
        assert value <= 2 * L * (x0 - best.x).square().sum().item() / (k + 1) ** 2
    assert gaps["fista"][99] < 0.1 * gaps["ista"][99]


def test_restarts_drop_momentum_that_points_uphill():
    fn, parts, (*_, L), x0, _ = optimum()
    counts = [fista(fn, x0, step=1 / L, restart=restart, gtol=1e-9, max_iterations=20_000, **parts).nit
              for restart in (True, False)]  # fmt: skip
    assert counts[0] < 0.5 * counts[1]


def test_all_proximal_methods_meet():
    fn, parts, (*_, L), x0, best = optimum()
    for method, settings_ in ((ista, {}), (fista, {}), (fista, {"step": 1 / L}), (ista, {"step": 1 / L})):
        found = method(fn, x0, gtol=1e-7, max_iterations=20_000, **parts, **settings_)
        assert found.success
        torch.testing.assert_close(found.x, best.x, atol=1e-4, rtol=0)
        assert found.fun == pytest.approx(fn(found.x).item() + parts["nonsmooth"](found.x).item())


def test_a_step_that_is_no_step_is_refused():
    fn, parts, _ = lasso()
    x0 = torch.zeros(60, dtype=torch.float64)
    with pytest.raises(GradusError, match="step=0"):
        ista(fn, x0, step=0.0, **parts)
    with pytest.raises(GradusError, match="keep x's shape"):
        ista(fn, x0, prox=lambda z, t: z[:3])
    with pytest.raises(GradusError, match="inf at iteration 1 with step=1e\\+300; take 1/L"):
        ista(fn, x0, step=1e300, **parts)
