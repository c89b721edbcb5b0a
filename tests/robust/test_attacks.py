"""Attacks: the closed form on linear models, orders between attacks, and balls kept exactly."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from gradus.errors import GradusError
from gradus.robust import fgsm, pgd, robust_curve
from gradus.robust.ball import BALLS, move
from gradus.testing.attacks import distance
from gradus.testing.explainers import SmallNet


def dyadic_linear():
    """A linear model and inputs whose every number is a small multiple of 1/64, so that sums are exact."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-64, 65, (40,), generator=generator).double() / 64
    inputs = torch.randint(16, 49, (9, 40), generator=generator).double() / 64
    labels = torch.arange(9) % 2
    fn = lambda x: torch.stack([torch.zeros(len(x)).double(), x @ weights], dim=1)
    sign = 2.0 * labels - 1
    return fn, weights, inputs, labels, lambda x: sign * (x @ weights)


def narrow():
    """A network whose classes lie close together on these inputs, so that small budgets fool some rows, not all."""
    model = SmallNet(seed=3)
    inputs = torch.rand(64, 2, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        centre = model(inputs).mean(0)
        labels = (model(inputs) - centre).argmax(1)
    return lambda x: model(x) - centre, inputs, labels


def losses(model, inputs, labels):
    with torch.no_grad():
        scores = model(inputs)
    return F.cross_entropy(scores, labels, reduction="none"), scores.argmax(1) != labels


@pytest.mark.parametrize("eps", [1 / 64, 1 / 8, 1 / 4])
def test_fgsm_reaches_the_worst_case_of_a_linear_model_exactly(eps):
    fn, weights, inputs, labels, margin = dyadic_linear()
    for attack in (fgsm, lambda *args, eps: pgd(*args, eps=eps, steps=5, step_size=eps)):
        fall = margin(attack(fn, inputs, labels, eps=eps)) - margin(inputs)
        assert torch.equal(fall, (-eps * weights.abs().sum()).expand(9))


def test_pgd_reaches_the_worst_case_of_a_linear_model_in_l2():
    fn, weights, inputs, labels, margin = dyadic_linear()
    fall = margin(pgd(fn, inputs, labels, eps=0.25, norm="l2", steps=40, step_size=0.1)) - margin(inputs)
    torch.testing.assert_close(fall, (-0.25 * weights.norm()).expand(9), rtol=1e-3, atol=0)
    assert bool((fall >= -0.25 * weights.norm()).all())


def test_pgd_whose_first_step_is_fgsm_is_nowhere_weaker():
    model, inputs, labels = narrow()
    for eps in (0.02, 0.05, 0.1):
        one, fooled_one = losses(model, fgsm(model, inputs, labels, eps=eps), labels)
        many, fooled_many = losses(
            model, pgd(model, inputs, labels, eps=eps, step_size=eps, random_start=False), labels
        )
        assert bool((fooled_many >= fooled_one).all())
        same = fooled_many == fooled_one
        assert bool((many[same] >= one[same] - 1e-12).all())


def test_pgd_beats_fgsm_and_restarts_beat_one_start():
    model, inputs, labels = narrow()
    eps = 0.05
    one, _ = losses(model, fgsm(model, inputs, labels, eps=eps), labels)
    many, fooled = losses(model, pgd(model, inputs, labels, eps=eps, steps=20), labels)
    assert float(many.mean()) > float(one.mean())
    more, fooled_more = losses(model, pgd(model, inputs, labels, eps=eps, steps=20, restarts=4), labels)
    assert bool((fooled_more >= fooled).all())
    same = fooled_more == fooled
    assert bool((more[same] >= many[same] - 1e-12).all())


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("targeted", [False, True])
def test_early_exit_fools_the_same_rows_for_less_work(norm, targeted):
    model, inputs, labels = narrow()
    goal = (labels + 1) % 3 if targeted else labels
    rows = []

    def fn(x: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return model(x)

    settings = {
        "eps": {"linf": 0.01, "l2": 0.1}[norm] * (1 + 2 * targeted),
        "norm": norm,
        "targeted": targeted,
        "restarts": 2,
    }
    full = pgd(fn, inputs, goal, **settings)
    work, rows = sum(rows), []
    early = pgd(fn, inputs, goal, **settings, early_exit=True)
    assert sum(rows) < 0.9 * work
    answers = [model(x).argmax(1) == goal for x in (full, early)]
    assert torch.equal(*answers)
    assert bool(answers[0].any())
    assert bool((~answers[0]).any())


def test_rows_already_wrong_are_left_alone_by_early_exit():
    model, inputs, labels = narrow()
    wrong = (labels + 1) % 3
    assert torch.equal(pgd(model, inputs, wrong, eps=0.1, early_exit=True), inputs)


def test_a_point_that_fools_beats_a_point_of_higher_loss():
    """Between 0.6 and 0.7 the loss of class 0 still rises, but the probability it loses goes to two classes at once."""
    table = torch.tensor([[0.9, 0.05, 0.05], [0.45, 0.55, 1e-9], [0.4, 0.3, 0.3]], dtype=torch.float64)

    def fn(x: torch.Tensor) -> torch.Tensor:
        place = ((x - 0.5) * 10).clamp(0, 2 - 1e-12)
        left = place.detach().floor().long()[:, 0]
        return (table[left] + (place - left[:, None]) * (table[left + 1] - table[left])).log()

    start, label = torch.tensor([[0.5 + 1e-9]], dtype=torch.float64), torch.tensor([0])
    for early_exit in (False, True):
        found = pgd(fn, start, label, eps=0.2, steps=2, step_size=0.1, random_start=False, early_exit=early_exit)
        assert float(found) == pytest.approx(0.6, abs=1e-6)


@pytest.mark.parametrize("attack", [fgsm, pgd, lambda *args, eps: pgd(*args, eps=eps, norm="l2")])
def test_a_model_that_overflows_drives_nothing_out_of_the_ball(attack):
    inputs = torch.rand(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = attack(lambda x: (x - 0.5).sqrt() @ torch.ones(6, 3).double(), inputs, torch.zeros(4).long(), eps=0.1)
    assert bool((distance(found, inputs, "linf") <= 0.1).all())


def test_a_generator_decides_the_starts():
    model, inputs, labels = narrow()
    once, again, other, default, default_again = (
        pgd(model, inputs, labels, eps=0.1, steps=1, generator=generator)
        for generator in (*(torch.Generator().manual_seed(seed) for seed in (1, 1, 2)), None, None)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(default, default_again)


@settings(max_examples=200, deadline=None)
@given(
    x=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
    step=st.floats(-1.5, 1.5, allow_subnormal=False),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_move_never_exceeds_its_step(x, step, dtype):
    inputs = torch.tensor(x, dtype=dtype)
    steps = torch.full_like(inputs, step)
    found = move(inputs, steps)
    assert bool(((found >= 0) & (found <= 1)).all())
    from fractions import Fraction

    for before, after, asked in zip(inputs.tolist(), found.tolist(), steps.tolist()):
        moved = Fraction(after) - Fraction(before)
        assert abs(moved) <= abs(Fraction(asked))
        # Nor does it lose more than two units in the last place, unless a face stopped it.
        if 0 < after < 1:
            assert abs(moved - Fraction(asked)) <= 2 * Fraction(torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("eps", [1e-3, 8 / 255, 0.3, 2.0])
@pytest.mark.parametrize("shape", [(16, 1, 28, 28), (2, 3, 224, 224)], ids=["small", "large"])
def test_shrinking_puts_any_step_into_the_ball(dtype, norm, eps, shape):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(shape, generator=generator, dtype=dtype)
    for scale in (1e-6, 1, 1e6):
        steps = scale * torch.randn(shape, generator=generator, dtype=dtype)
        found = move(inputs, BALLS[norm].shrink(steps, eps))
        assert float(distance(found, inputs, norm).max()) <= eps
        order = {"linf": math.inf, "l2": 2}[norm]
        assert float(torch.linalg.vector_norm((found - inputs).flatten(1), ord=order, dim=1).max()) <= eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", BALLS)
def test_from_zero_where_no_rounding_helps_steps_stay_in_the_ball(dtype, norm):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.zeros(2000, 40, dtype=dtype)
    steps = torch.rand(inputs.shape, generator=generator, dtype=dtype)
    for eps in (8 / 255, 0.1, 1 / 3):
        assert float(distance(move(inputs, BALLS[norm].shrink(steps, eps)), inputs, norm).max()) <= eps


@pytest.mark.parametrize("norm", BALLS)
def test_steepest_steps_have_norm_one_even_for_vanishing_gradients(norm):
    for scale in (1e-30, 1.0, 1e30):
        steps = BALLS[norm].steepest(scale * torch.rand(3, 50) + scale)
        size = steps.norm(dim=1) if norm == "l2" else steps.abs().amax(1)
        torch.testing.assert_close(size, torch.ones(3))
    assert not BALLS[norm].steepest(torch.zeros(3, 50)).any()


def test_draws_are_uniform_in_the_ball():
    """In n dimensions (‖x‖/ε)ⁿ is uniform on [0, 1] in the ball's own norm."""
    for norm, order in (("linf", math.inf), ("l2", 2)):
        like = torch.zeros(20_000, 3, dtype=torch.float64)
        drawn = BALLS[norm].draw(like, 0.5, torch.Generator().manual_seed(0))
        volume = (torch.linalg.vector_norm(drawn, ord=order, dim=1) / 0.5) ** 3
        assert float(volume.max()) <= 1 + 1e-12
        assert float(volume.mean()) == pytest.approx(0.5, abs=0.01)
        assert float((volume < 0.1).double().mean()) == pytest.approx(0.1, abs=0.01)
        assert float(drawn.mean(0).abs().max()) < 0.01


@pytest.mark.parametrize("attack", [None, fgsm], ids=["pgd", "fgsm"])
def test_the_curve_falls_from_the_clean_accuracy(attack):
    model, inputs, labels = narrow()
    labels = labels.clone()
    labels[:8] = (labels[:8] + 1) % 3
    batches = list(zip(inputs.split(10), labels.split(10)))
    curve = robust_curve(model, batches, eps=[0.3, 0, 0.02, 0.05, 0.1, 0.02], attack=attack)
    assert curve.eps == (0, 0.02, 0.05, 0.1, 0.3)
    assert curve.samples == 64
    assert curve.accuracy[0] == 56 / 64
    assert list(curve.accuracy) == sorted(curve.accuracy, reverse=True)
    assert curve.accuracy[0] > curve.accuracy[2] > curve.accuracy[-1]


def test_the_curve_of_a_linear_model_is_its_margins_distribution():
    _, weights, inputs, _, _ = dyadic_linear()
    bias = (inputs @ weights).sort().values[3:5] @ torch.tensor([0.75, 0.25]).double()
    fn = lambda x: torch.stack([torch.zeros(len(x)).double(), x @ weights - bias], dim=1)
    labels = (inputs @ weights > bias).long()
    distances = (inputs @ weights - bias).abs() / weights.abs().sum()
    budgets = [0.0, *(distances.sort().values.unfold(0, 2, 2).mean(1)).tolist()]
    curve = robust_curve(fn, [(inputs, labels)], eps=budgets, attack=fgsm)
    assert curve.accuracy == tuple(float((distances > eps).double().mean()) for eps in budgets)
    assert len(set(curve.accuracy)) == 5


def test_the_curve_attacks_only_what_still_stands():
    model, inputs, labels = narrow()
    seen = []

    def spy(fn, images, labels, *, eps):
        seen.append(len(images))
        return fgsm(fn, images, labels, eps=eps)

    curve = robust_curve(model, [(inputs, labels)], eps=[0, 0.02, 0.05, 0.1], attack=spy)
    assert seen == [round(64 * accuracy) for accuracy in curve.accuracy[:3]]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"norm": "l22"}, "did you mean 'l2'"),
        ({"steps": -1}, "steps of at least 0"),
        ({"restarts": 0}, "restarts of at least 1"),
        ({"restarts": 2, "random_start": False}, "set random_start=True"),
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"eps": -1.0}, "finite number of at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, complaint):
    model, inputs, labels = narrow()
    with pytest.raises(GradusError, match=complaint):
        pgd(model, inputs, labels, **settings)


def test_curves_that_make_no_sense_are_refused():
    model, inputs, labels = narrow()
    for batches, eps in (([(inputs, labels)], []), ([], [0.1]), ([(inputs, labels)], [-0.1])):
        with pytest.raises(GradusError):
            robust_curve(model, batches, eps=eps)
