"""Deletion and insertion: against a loop, and they rank a random attribution last."""

import pytest
import torch

from gradus.errors import GradusError
from gradus.explain import deletion, insertion, integrated_gradients
from gradus.testing.explainers import SmallNet

TARGETS = torch.tensor([0, 2, 1, 1])


def images() -> torch.Tensor:
    return torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def linear() -> tuple:
    weights = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return lambda x: torch.einsum("bchw,kchw->bk", x, weights), weights


@pytest.mark.parametrize("curve", [deletion, insertion])
@pytest.mark.parametrize("steps", [1, 7, 64])
def test_against_a_loop(curve, steps):
    model, inputs = SmallNet(), images()
    importance = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = curve(model, inputs, importance, target=TARGETS, baselines=0.25, steps=steps, chunk=11)
    for b in range(4):
        order = importance[b].flatten().argsort(descending=True)
        for s in range(steps + 1):
            count = 64 * s // steps
            image, blank = inputs[b].clone().flatten(1), torch.full((2, 64), 0.25).double()
            into, source = (image, blank) if curve is deletion else (blank, image)
            into[:, order[:count]] = source[:, order[:count]]
            score = model(into.view(1, 2, 8, 8)).softmax(1)[0, TARGETS[b]]
            assert float(found.scores[b, s]) == pytest.approx(float(score), rel=1e-10)
            assert float(found.fractions[s]) == pytest.approx(count / 64)


def test_ends_are_the_image_and_the_baseline():
    model, inputs = SmallNet(), images()
    importance = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    removed, added = (curve(model, inputs, importance, target=TARGETS) for curve in (deletion, insertion))
    torch.testing.assert_close(removed.scores[:, 0], added.scores[:, -1])
    torch.testing.assert_close(removed.scores[:, -1], added.scores[:, 0])


def test_a_random_attribution_ranks_last():
    fn, weights = linear()
    inputs = images()
    exact = weights[TARGETS] * inputs
    others = {
        "integrated": integrated_gradients(fn, inputs, target=TARGETS),
        "noisy": exact + 0.5 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(3)).double(),
        "random": torch.randn(exact.shape, generator=torch.Generator().manual_seed(4)).double(),
        "reversed": -exact,
    }
    fall = {name: float(deletion(fn, inputs, a, target=TARGETS, steps=64).area.mean()) for name, a in others.items()}
    rise = {name: float(insertion(fn, inputs, a, target=TARGETS, steps=64).area.mean()) for name, a in others.items()}
    assert fall["integrated"] < fall["noisy"] < fall["random"] < fall["reversed"]
    assert rise["integrated"] > rise["noisy"] > rise["random"] > rise["reversed"]


def test_no_order_deletes_a_linear_score_faster_than_the_true_contributions():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, generator=generator, dtype=torch.float64)
    fn = lambda x: torch.stack([x @ weights, torch.zeros(len(x)).double()], dim=1)
    row = torch.rand(1, 5, generator=generator, dtype=torch.float64)
    best = deletion(fn, row, weights * row, target=0, steps=5).scores
    for _ in range(120):
        other = deletion(fn, row, torch.rand(1, 5, generator=generator, dtype=torch.float64), target=0, steps=5).scores
        assert bool((best <= other + 1e-12).all())


def test_steps_that_make_no_sense_are_refused():
    with pytest.raises(GradusError, match="steps must be at least 1"):
        deletion(SmallNet(), images(), images(), target=0, steps=0)
