"""Variational inference: the exact posterior where the family holds it, unbiased gradients, variance taken out."""

import math

import pytest
import torch

from gradus.errors import GradusError
from gradus.optim.adam import adam
from gradus.optim.sgd import sgd
from gradus.prob import (
    Bits,
    Exp,
    Independent,
    MovingBaseline,
    PushedNormal,
    bits_guide,
    elbo,
    fit_guide,
    flow_guide,
    full_rank,
    leave_one_out,
    mean_field,
)

F64 = torch.float64


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class LinearGaussian:
    """w ~ N(0, 1), y = A w + noise of standard deviation σ: posterior and evidence in closed form."""

    def __init__(self, seed: int = 0) -> None:
        generator = dice(seed)
        self.design = torch.randn(12, 3, generator=generator, dtype=F64)
        self.sigma = 0.7
        truth = torch.tensor([1.0, -2.0, 0.5], dtype=F64)
        self.y = self.design @ truth + self.sigma * torch.randn(12, generator=generator, dtype=F64)
        self.precision = torch.eye(3, dtype=F64) + self.design.mT @ self.design / self.sigma**2
        self.covariance = torch.linalg.inv(self.precision)
        self.mean = self.covariance @ self.design.mT @ self.y / self.sigma**2
        marginal = self.design @ self.design.mT + self.sigma**2 * torch.eye(12, dtype=F64)
        normal = torch.distributions.MultivariateNormal(torch.zeros(12, dtype=F64), marginal)
        self.log_evidence = float(normal.log_prob(self.y))

    def log_joint(self, w: torch.Tensor) -> torch.Tensor:
        prior = -(w**2).sum(-1) / 2 - 1.5 * math.log(2 * math.pi)
        residual = (self.y - w @ self.design.mT) / self.sigma
        return prior - (residual**2).sum(-1) / 2 - 12 * math.log(self.sigma * math.sqrt(2 * math.pi))


def sigma_points(dim: int) -> torch.Tensor:
    """Points of mean 0 and covariance 1: means of quadratic functions over them are exact expectations."""
    directions = torch.eye(dim, dtype=F64) * math.sqrt(dim)
    return torch.cat([directions, -directions])


def exact_elbo(model: LinearGaussian, guide: PushedNormal) -> torch.Tensor:
    x, log_q = guide.push(sigma_points(3))
    return (model.log_joint(x) - log_q).mean()


def test_full_rank_reaches_the_exact_posterior_and_the_evidence() -> None:
    model, guide = LinearGaussian(), full_rank(3, dtype=F64)
    fit_guide(model.log_joint, guide, 600, rule=adam(0.1), draws=8, estimator="sticking", generator=dice())
    factor = guide.bijector.matrix().detach()
    assert torch.allclose(guide.bijector.shift, model.mean, atol=1e-8)
    assert torch.allclose(factor @ factor.mT, model.covariance, atol=1e-8)
    x = guide.sample(100, dice(1))
    gap = (model.log_joint(x) - guide.log_prob(x)).detach() - model.log_evidence
    # At the posterior log p(x, y) − log q(x) is log p(y) at every x, not only on average.
    assert float(gap.abs().max()) < 1e-6


def test_mean_field_finds_the_known_optimum() -> None:
    """For a normal target the best independent normals have its mean and the inverse diagonal of its precision."""
    model, guide = LinearGaussian(), mean_field(3, dtype=F64)
    for _ in range(800):
        params = list(guide.parameters())
        grads = torch.autograd.grad(exact_elbo(model, guide), params)
        with torch.no_grad():
            for param, grad in zip(params, grads, strict=True):
                param += 0.02 * grad
    affine = guide.bijector.bijector
    assert torch.allclose(affine.shift, model.mean, atol=1e-8)
    assert torch.allclose((2 * affine.scale).exp(), 1 / model.precision.diagonal(), atol=1e-8)
    # The gap that is left is KL(q ‖ p) = ½ (Σ log Λ_ii − log det Λ).
    gap = (model.precision.diagonal().log().sum() - torch.linalg.slogdet(model.precision)[1]) / 2
    assert float(exact_elbo(model, guide).detach()) == pytest.approx(model.log_evidence - float(gap), abs=1e-9)
    assert float(gap) > 0.01


@pytest.mark.parametrize("make", [mean_field, full_rank])
def test_the_bound_rises_with_every_exact_gradient_step_and_never_passes_the_evidence(make) -> None:
    model, guide = LinearGaussian(1), make(3, dtype=F64)
    params, rule = list(guide.parameters()), sgd(lr=0.01)
    state, bounds = rule.init(params), []
    for _ in range(300):
        value = exact_elbo(model, guide)
        bounds.append(float(value.detach()))
        rule.update(params, torch.autograd.grad(-value, params), state, rule.lr)
    rises = torch.tensor(bounds, dtype=F64).diff()
    assert float(rises.min()) > -1e-12
    assert bounds[-1] <= model.log_evidence + 1e-9
    assert bounds[-1] > bounds[0] + 10


def test_the_bound_rises_in_expectation_under_stochastic_gradients() -> None:
    model = LinearGaussian(2)
    runs = []
    for seed in range(4):
        guide = full_rank(3, dtype=F64)
        runs.append(fit_guide(model.log_joint, guide, 200, draws=64, generator=dice(seed)))
    average = torch.stack(runs).mean(0).view(10, 20).mean(1)
    assert bool((average.diff() > -0.05).all())
    assert float(average[-1]) == pytest.approx(model.log_evidence, abs=0.1)


def banana(x: torch.Tensor) -> torch.Tensor:
    """A normalised bent density: x₁ ~ N(0, 1), x₂ | x₁ ~ N(x₁² − 1, ½)."""
    return -(x[:, 0] ** 2) / 2 - (x[:, 1] - x[:, 0] ** 2 + 1) ** 2 / (2 * 0.25) - math.log(2 * math.pi) - math.log(0.5)


def test_a_flow_bends_where_a_normal_cannot() -> None:
    bounds = {}
    for name, guide in (("normal", full_rank(2)), ("flow", flow_guide(2, layers=3, hidden=16, generator=dice()))):
        fit_guide(banana, guide, 500, draws=64, generator=dice(1))
        bounds[name] = float(elbo(banana, guide, 20_000, dice(2)).detach())
    # The evidence is 0, so a bound is minus the divergence that is left.
    assert bounds["normal"] < -0.4
    assert bounds["normal"] / 4 < bounds["flow"] < 0.01


def target(x: torch.Tensor) -> torch.Tensor:
    """A bent density whose logarithm is far from zero, as that of data under a model is."""
    return -10 - ((x - 1.0) ** 2).sum(-1) - 0.3 * (x[:, 0] * x[:, 1]) ** 2


def gradients(estimator: str, baseline=None, *, repeats: int = 300, draws: int = 8) -> torch.Tensor:
    guide, generator = mean_field(2, scale=0.8, dtype=F64), dice(3)
    params = list(guide.parameters())
    found = []
    for _ in range(repeats):
        value = elbo(target, guide, draws, generator, estimator=estimator, baseline=baseline)
        found.append(torch.cat(torch.autograd.grad(value, params)))
    return torch.stack(found)


def test_all_estimators_agree_and_control_variates_take_variance_out() -> None:
    found = {
        "pathwise": gradients("pathwise"),
        "sticking": gradients("sticking"),
        "score": gradients("score"),
        "others": gradients("score", leave_one_out),
        "moving": gradients("score", MovingBaseline(0.9)),
    }
    exact = found["pathwise"].mean(0)
    variance = {name: float(rows.var(0).sum()) for name, rows in found.items()}
    for name, rows in found.items():
        error = ((rows.var(0) + found["pathwise"].var(0)) / len(rows)).sqrt()
        assert float(((rows.mean(0) - exact) / error).abs().max()) < 4.5, name
    assert variance["others"] < 0.5 * variance["score"]
    assert variance["moving"] < 0.5 * variance["score"]
    assert variance["pathwise"] < 0.5 * variance["others"]


def test_sticking_the_landing_has_no_variance_at_the_posterior() -> None:
    guide = mean_field(2, dtype=F64)

    def standard(x: torch.Tensor) -> torch.Tensor:
        return -(x**2).sum(-1) / 2

    params = list(guide.parameters())
    still = torch.autograd.grad(elbo(standard, guide, 4, dice(), estimator="sticking"), params)
    noisy = torch.autograd.grad(elbo(standard, guide, 4, dice(), estimator="pathwise"), params)
    assert all(float(grad.abs().max()) < 1e-14 for grad in still)
    assert float(noisy[1].abs().max()) > 1e-2


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    signal = torch.tensor([1.0, 2.0, 6.0])
    assert leave_one_out(signal).tolist() == [4.0, 3.5, 1.5]


def test_a_moving_baseline_shows_the_past_only_and_resumes() -> None:
    baseline = MovingBaseline(0.5)
    assert float(baseline(torch.tensor([4.0, 6.0]))) == 0
    assert float(baseline(torch.tensor([1.0]))) == pytest.approx(5.0)
    other = MovingBaseline(0.5)
    other.load_state_dict(baseline.state_dict())
    assert float(other(torch.tensor([0.0]))) == float(baseline(torch.tensor([0.0])))


def test_coins_learn_a_discrete_posterior_by_the_score_function() -> None:
    """p(x) ∝ exp(2 x₁ − x₂) has independent coins as its posterior: logits 2 and −1, evidence Σ log(1 + e^logit)."""
    weights, guide = torch.tensor([2.0, -1.0], dtype=F64), bits_guide(2, dtype=F64)
    history = fit_guide(
        lambda x: x @ weights, guide, 600, draws=32, estimator="score", baseline=leave_one_out, generator=dice()
    )
    assert isinstance(guide, Bits)
    assert torch.allclose(guide.logits, weights, atol=1e-3)
    assert float(history[-1]) == pytest.approx(float(torch.log1p(weights.exp()).sum()), abs=1e-4)


def test_a_guide_goes_onto_a_support() -> None:
    """The posterior of a rate under Gamma(3, 2) by a log-normal: the bound is below zero, and draws are positive."""
    gamma = torch.distributions.Gamma(torch.tensor(3.0, dtype=F64), torch.tensor(2.0, dtype=F64))
    guide = mean_field(1, dtype=F64).onto(Independent(Exp(), 1))
    fit_guide(lambda x: gamma.log_prob(x).sum(-1), guide, 400, draws=16, estimator="sticking", generator=dice())
    draws = guide.sample(40_000, dice(1))
    # KL(logN(m, s²) ‖ Gamma(a, b)) is least at s² = 1 / a, m = log(a / b) − s² / 2, where the mean is the gamma's.
    assert bool((draws > 0).all())
    assert float(draws.log().std()) == pytest.approx(3**-0.5, abs=0.01)
    assert float(draws.mean()) == pytest.approx(1.5, abs=0.02)


def test_model_parameters_get_their_gradient_under_every_estimator() -> None:
    """∂/∂μ E_q[log N(x; μ, 1)] = E_q[x] − μ."""
    for estimator in ("pathwise", "sticking", "score"):
        shift = torch.tensor(2.0, dtype=F64, requires_grad=True)
        guide = mean_field(1, dtype=F64)
        value = elbo(lambda x, s=shift: -((x - s) ** 2).sum(-1) / 2, guide, 5000, dice(), estimator=estimator)
        (grad,) = torch.autograd.grad(value, shift)
        assert float(grad) == pytest.approx(-2.0, abs=0.06)


def test_bad_inputs_are_told() -> None:
    guide = mean_field(2)
    with pytest.raises(GradusError, match="log_joint is -inf at a draw"):
        elbo(lambda x: torch.full((len(x),), -torch.inf), guide)
    with pytest.raises(GradusError, match="log_joint is nan"):
        fit_guide(lambda x: x.sum(-1) * torch.nan, guide, 3)
    with pytest.raises(GradusError, match="log_joint gave shape"):
        elbo(lambda x: x, guide)
    with pytest.raises(GradusError, match="has no pathwise gradient"):
        elbo(lambda x: x.sum(-1), bits_guide(2))
    with pytest.raises(GradusError, match="uses no baseline"):
        elbo(lambda x: x.sum(-1), guide, baseline=leave_one_out)
    with pytest.raises(GradusError, match="draws=2 or more"):
        elbo(lambda x: x.sum(-1), guide, 1, estimator="score", baseline=leave_one_out)
    with pytest.raises(GradusError, match="draws=0"):
        elbo(lambda x: x.sum(-1), guide, 0)
    with pytest.raises(GradusError, match="steps=0"):
        fit_guide(lambda x: x.sum(-1), guide, 0)
    with pytest.raises(GradusError, match="no parameters to learn"):
        fit_guide(lambda x: x.sum(-1), PushedNormal(Exp(), 2), 1)
    with pytest.raises(GradusError, match="scale=-1"):
        full_rank(2, scale=-1)
    with pytest.raises(GradusError, match="give dim=2 or more"):
        flow_guide(1)
    with pytest.raises(GradusError, match="decay=1"):
        MovingBaseline(1.0)
