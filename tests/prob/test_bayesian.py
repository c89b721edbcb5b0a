"""MC dropout and Bayesian linear layers: closed forms, calibration on toy data, uncertainty that grows off the data."""

import math

import pytest
import torch
from torch import nn

from gradus.errors import GradusError
from gradus.optim.adam import adam
from gradus.optim.rule import Bound
from gradus.prob import (
    bayesian_last_layer,
    class_uncertainty,
    dropout_on,
    dropout_samples,
    laplace_logistic,
    linear_posterior,
    predictive_moments,
    student_linear,
)

F64 = torch.float64
Z90 = 1.6448536269514722


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wave(n: int, generator: torch.Generator, sigma: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    x = 4 * torch.rand(n, 1, generator=generator) - 2
    return x, (1.5 * x).sin().squeeze(1) + sigma * torch.randn(n, generator=generator)


def fitted(network: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int, lr: float = 0.01) -> None:
    params = list(network.parameters())
    rule = adam(lr)
    bound = Bound(rule, params, rule.init(params))
    for step in range(steps):
        loss = ((network(x).squeeze(-1) - y) ** 2).mean()
        bound.step(torch.autograd.grad(loss, params), lr * (1 - step / steps))


def binomial_error(share: float, n: int) -> float:
    return math.sqrt(share * (1 - share) / n)


def data(n: int = 30, d: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = dice()
    phi = torch.randn(n, d, generator=generator, dtype=F64)
    return phi, phi @ torch.randn(d, generator=generator, dtype=F64) + 0.3 * torch.randn(
        n, generator=generator, dtype=F64
    )


def test_the_posterior_and_the_evidence_are_those_of_the_joint_normal() -> None:
    phi, y = data()
    found = linear_posterior(phi, y, alpha=0.7, beta=9.0)
    covariance = torch.linalg.inv(0.7 * torch.eye(4, dtype=F64) + 9 * phi.mT @ phi)
    assert torch.allclose(found.covariance, covariance)
    assert torch.allclose(found.mean, 9 * covariance @ phi.mT @ y)
    marginal = phi @ phi.mT / 0.7 + torch.eye(30, dtype=F64) / 9
    normal = torch.distributions.MultivariateNormal(torch.zeros(30, dtype=F64), marginal)
    assert found.log_evidence == pytest.approx(float(normal.log_prob(y)), abs=1e-8)
    mean, variance = found.predict(phi[:3])
    assert torch.allclose(variance, 1 / 9 + torch.einsum("ni,ij,nj->n", phi[:3], covariance, phi[:3]))
    assert torch.allclose(mean, phi[:3] @ found.mean)


def test_evidence_is_stationary_at_the_precisions_found() -> None:
    phi, y = data()
    best = linear_posterior(phi, y)
    for alpha, beta in ((1.02, 1.0), (0.98, 1.0), (1.0, 1.02), (1.0, 0.98)):
        near = linear_posterior(phi, y, alpha=best.alpha * alpha, beta=best.beta * beta)
        assert near.log_evidence < best.log_evidence
    assert 3.5 < best.effective < 4
    # An estimate of a variance from n targets has a relative error of √(2 / n).
    many = linear_posterior(*data(800))
    assert many.beta == pytest.approx(1 / 0.09, rel=4 * (2 / 800) ** 0.5)


def test_more_features_than_data_and_an_exact_fit_stay_finite() -> None:
    phi = torch.randn(5, 20, generator=dice(), dtype=F64)
    for y in (torch.randn(5, generator=dice(1), dtype=F64), torch.zeros(5, dtype=F64)):
        found = linear_posterior(phi, y)
        assert bool(found.covariance.isfinite().all())
        assert bool(found.predict(phi).variance.gt(0).all())


def test_unknown_noise_gives_a_student_distribution() -> None:
    """log p(y) is a Student density of the data: location 0, scale (b/a)(1 + ΦΦᵀ/α), 2a degrees of freedom."""
    phi, y = data(12)
    found = student_linear(phi, y, alpha=0.5, shape=2.0, rate=1.5)
    n, freedom = 12, 4.0
    scale = 1.5 / 2 * (torch.eye(n, dtype=F64) + phi @ phi.mT / 0.5)
    distance = float(y @ torch.linalg.solve(scale, y))
    expected = (
        math.lgamma((freedom + n) / 2) - math.lgamma(freedom / 2) - n / 2 * math.log(freedom * math.pi)
        - float(torch.linalg.slogdet(scale)[1]) / 2 - (freedom + n) / 2 * math.log1p(distance / freedom)
    )  # fmt: skip
    assert found.log_evidence == pytest.approx(expected, abs=1e-8)
    # One step of data at a time ends at the same posterior as all at once; here the evidence is the chain rule's.
    ahead = student_linear(phi[:-1], y[:-1], alpha=0.5, shape=2.0, rate=1.5)
    student = torch.distributions.StudentT(ahead.freedom, phi[-1] @ ahead.mean, ahead.scale(phi[-1:])[0])
    assert found.log_evidence - ahead.log_evidence == pytest.approx(float(student.log_prob(y[-1])), abs=1e-8)
    moments = ahead.predict(phi[-1:])
    assert float(moments.variance) == pytest.approx(float(student.variance), rel=1e-9)


def test_bayesian_regression_is_calibrated_when_the_model_is_true() -> None:
    """Weights from the prior, noise from the model: 90 % intervals hold 90 % of new targets, over 400 data sets."""
    generator, inside, student, n, d = dice(), 0, 0, 400, 3
    for _ in range(n):
        phi = torch.randn(9, d, generator=generator, dtype=F64)
        # Gamma(2, rate ½) is half a chi-squared variable of four degrees of freedom, over the rate.
        beta = float((torch.randn(4, generator=generator, dtype=F64) ** 2).sum())
        w = torch.randn(d, generator=generator, dtype=F64)
        noise = torch.randn(9, generator=generator, dtype=F64) / beta**0.5
        y = phi @ w + noise
        mean, variance = linear_posterior(phi[:8], y[:8], alpha=1.0, beta=beta).predict(phi[8:])
        inside += int(((y[8] - mean).abs() < Z90 * variance.sqrt()).item())
        # There the weights are drawn in units of the noise, so the data are scaled by it.
        scaled = phi @ w / beta**0.5 + noise
        unknown = student_linear(phi[:8], scaled[:8], alpha=1.0, shape=2.0, rate=0.5)
        # The 95 % point of Student's distribution with 2a = 12 degrees of freedom.
        student += int(((scaled[8] - phi[8] @ unknown.mean).abs() < 1.7823 * unknown.scale(phi[8:])).item())
    assert abs(inside / n - 0.9) < 3 * binomial_error(0.9, n)
    assert abs(student / n - 0.9) < 3 * binomial_error(0.9, n)


def test_a_bayesian_last_layer_is_calibrated_and_unsure_off_the_data() -> None:
    generator = dice(1)
    x, y = wave(200, generator)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    fitted(nn.Sequential(body, nn.Linear(32, 1)), x, y, 300)
    layer = bayesian_last_layer(body, x, y)
    x_new, y_new = wave(1000, generator)
    mean, variance = layer.predict(x_new)
    covered = ((y_new - mean).abs() < Z90 * variance.sqrt()).float().mean()
    # The interval's width is estimated from 200 points: an error of 1 / √400 of σ moves coverage by 0.017.
    assert abs(float(covered) - 0.9) < 3 * (binomial_error(0.9, 1000) + 0.017)
    assert layer.linear.beta == pytest.approx(1 / 0.04, rel=0.3)
    near, far = (layer.predict(torch.tensor([[place]])).variance - 1 / layer.linear.beta for place in (0.0, 6.0))
    assert float(far) > 20 * float(near)


def dropping(p: float = 0.1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(1, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 1)
    )


def test_mc_dropout_is_calibrated_and_unsure_off_the_data() -> None:
    generator = dice(2)
    x, y = wave(300, generator)
    network = dropping()
    fitted(network, x, y, 500)
    x_held, y_held = wave(1000, generator)
    x_new, y_new = wave(1000, generator)
    held, new = (dropout_samples(network, place, 100, dice()).squeeze(-1) for place in (x_held, x_new))
    spread = predictive_moments(held)
    # The noise is what held-out errors have beyond the spread of the draws.
    noise = float(((y_held - spread.mean) ** 2 - spread.variance).mean().clamp_min(1e-4))
    mean, variance = predictive_moments(new, noise)
    covered = float(((y_new - mean).abs() < Z90 * variance.sqrt()).float().mean())
    # Both the noise and the coverage are binomial-like errors of 1000 points.
    assert abs(covered - 0.9) < 3 * math.sqrt(2) * binomial_error(0.9, 1000)
    near, far = (float(dropout_samples(network, torch.full((1, 1), place), 500, dice()).var()) for place in (0.5, 8.0))
    assert far > 5 * near


def test_moments_of_linear_dropout_are_known() -> None:
    """With inverted dropout of p, Σ w_i x_i z_i / (1 − p) has mean Σ w_i x_i and variance p / (1 − p) Σ (w_i x_i)²."""
    linear = nn.Linear(6, 1, bias=False)
    network, x = nn.Sequential(nn.Dropout(0.3), linear), torch.randn(4, 6, generator=dice())
    samples = dropout_samples(network, x, 40_000, dice(), at_once=15_000).squeeze(-1)
    part = (x * linear.weight).detach()
    mean, variance = predictive_moments(samples)
    exact = 0.3 / 0.7 * (part**2).sum(1)
    assert bool(((mean - part.sum(1)).abs() < 4.5 * (exact / 40_000).sqrt()).all())
    assert torch.allclose(variance, exact, rtol=0.06)


def test_dropout_alone_is_switched_on_and_modes_come_back() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    network[3].eval()
    modes = [part.training for part in network.modules()]
    before = network[1].running_mean.clone()
    with dropout_on(network):
        assert [part.training for part in network] == [False, False, True, False]
    dropout_samples(network, torch.randn(5, 2), 3)
    assert [part.training for part in network.modules()] == modes
    assert torch.equal(network[1].running_mean, before)


def test_dropout_draws_follow_the_generator_and_differ_between_rows() -> None:
    network, x, state = dropping(0.5), torch.ones(3, 1), torch.get_rng_state()
    first, second = (dropout_samples(network, x, 20, dice(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    assert first.shape == (20, 3, 1)
    assert len(first.unique()) > 30


def test_recurrent_dropout_counts() -> None:
    lstm = nn.LSTM(2, 3, num_layers=2, dropout=0.5)
    with dropout_on(lstm):
        assert lstm.training


def test_class_uncertainty_splits_into_data_and_model() -> None:
    sure, other = torch.tensor([50.0, 0.0]), torch.tensor([0.0, 50.0])
    agree, disagree, noisy = torch.stack([sure, sure]), torch.stack([sure, other]), torch.zeros(2, 2)
    found = class_uncertainty(torch.stack([agree, disagree, noisy], 1))
    log2 = math.log(2)
    assert found.entropy.tolist() == pytest.approx([0, log2, log2], abs=1e-6)
    assert found.mutual_information.tolist() == pytest.approx([0, log2, 0], abs=1e-6)
    assert torch.allclose(found.entropy, found.expected_entropy + found.mutual_information)
    assert found.probabilities[1].tolist() == pytest.approx([0.5, 0.5])


def test_laplace_is_the_mode_its_curvature_and_unsure_off_the_data() -> None:
    generator = dice()
    phi = torch.cat([torch.randn(60, 2, generator=generator, dtype=F64), torch.ones(60, 1, dtype=F64)], 1)
    labels = (phi @ torch.tensor([2.0, -1.0, 0.3], dtype=F64) + torch.randn(60, generator=generator) > 0).long()
    found = laplace_logistic(phi, labels, alpha=0.5)

    def loss(w: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(phi @ w, labels.double(), reduction="sum") + (w @ w) / 4

    w = found.mean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(w), w)
    assert float(gradient.abs().max()) < 1e-8
    hessian = torch.autograd.functional.hessian(loss, found.mean)
    assert torch.allclose(torch.linalg.inv(hessian), found.covariance, atol=1e-8)
    far = 40 * torch.tensor([[1.0, -0.5, 0.0]], dtype=F64)
    mode = float((far @ found.mean).sigmoid())
    assert mode > 1 - 1e-9
    assert 0.8 < float(found.predict(far)) < 0.999


def test_separable_classes_have_a_mode_and_the_evidence_is_near_the_integral() -> None:
    phi = torch.tensor([[-2.0], [-1.0], [1.5], [3.0]], dtype=F64)
    found = laplace_logistic(phi, torch.tensor([0, 0, 1, 1]), alpha=1.0)
    grid = torch.linspace(-8, 8, 4001, dtype=F64)
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=F64)
    log_joint = nn.functional.logsigmoid(sign * (grid[:, None] * phi[:, 0])).sum(1) - grid**2 / 2
    exact = float(log_joint.logsumexp(0)) + math.log(16 / 4000) - math.log(2 * math.pi) / 2
    assert found.log_evidence == pytest.approx(exact, abs=0.1)


def test_bad_inputs_are_told() -> None:
    phi, y = data()
    with pytest.raises(GradusError, match="no dropout to leave on"):
        dropout_samples(nn.Linear(2, 1), torch.ones(1, 2))
    with pytest.raises(GradusError, match="draws=0"):
        dropout_samples(dropping(), torch.ones(1, 1), 0)
    with pytest.raises(GradusError, match="noise_variance is negative"):
        predictive_moments(torch.ones(2, 3), -1.0)
    with pytest.raises(GradusError, match="alpha=0"):
        linear_posterior(phi, y, alpha=0.0)
    with pytest.raises(GradusError, match="rate=-1"):
        student_linear(phi, y, rate=-1)
    with pytest.raises(GradusError, match="not finite"):
        linear_posterior(phi, y * torch.nan)
    with pytest.raises(GradusError, match="one row an input"):
        bayesian_last_layer(lambda x: x.sum(1), torch.ones(3, 2), torch.ones(3))
    with pytest.raises(GradusError, match="labels other than 0 and 1"):
        laplace_logistic(phi, torch.full((30,), 2))
