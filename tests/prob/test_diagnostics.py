"""Diagnostics against closed forms: autoregressive chains have known autocorrelations."""

import math

import pytest
import torch

from gradus.errors import GradusError
from gradus.prob import ess, ess_bulk, ess_tail, mcse, rhat
from gradus.prob.diagnostics import autocovariance, rank_normalised

F64 = torch.float64


def autoregressive(rho: float, draws: int = 4000, chains: int = 16, seed: int = 0) -> torch.Tensor:
    """Return x_{t+1} = ρ x_t + √(1 − ρ²) ξ, started in its stationary distribution N(0, 1)."""
    noise = torch.randn(draws, chains, generator=torch.Generator().manual_seed(seed), dtype=F64)
    x = [noise[0]]
    for t in range(1, draws):
        x.append(rho * x[-1] + (1 - rho**2) ** 0.5 * noise[t])
    return torch.stack(x)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.3, 0.8, 0.95])
def test_ess_of_an_autoregressive_chain(rho):
    """Σ_t ρ^|t| = (1 + ρ)/(1 − ρ)."""
    x = autoregressive(rho)
    expected = x.numel() * (1 - rho) / (1 + rho)
    assert float(ess(x)) == pytest.approx(expected, rel=0.12)
    assert float(ess_bulk(x)) == pytest.approx(expected, rel=0.12)


def test_mcse_is_the_error_that_means_have():
    x = autoregressive(0.7, draws=400, chains=400, seed=1)
    errors = mcse(x.view(400, 4, 100))
    means = x.view(400, 4, 100).mean((0, 1))
    assert float((means**2).mean().sqrt() / (errors**2).mean().sqrt()) == pytest.approx(1, abs=0.15)


def test_ess_of_the_tail_of_independent_draws():
    x = autoregressive(0.0, draws=1000)
    assert float(ess_tail(x)) == pytest.approx(x.numel(), rel=0.15)


def test_tails_may_mix_worse_than_the_bulk():
    """Chains that differ in scale agree about the mean, and not about the tails."""
    x = autoregressive(0.0, draws=1000) * torch.logspace(-0.5, 0.5, 16, dtype=F64)
    assert float(ess_tail(x)) < 0.1 * float(ess_bulk(x))


def test_rhat_of_good_and_bad_chains():
    good = autoregressive(0.3, draws=1000)
    assert float(rhat(good)) < 1.01
    shift = torch.zeros(16, dtype=F64)
    shift[3] = 2.0
    assert float(rhat(good + shift)) > 1.05
    scale = torch.ones(16, dtype=F64)
    scale[:8] = 4.0
    assert float(rhat(good * scale)) > 1.1, "chains of other scale have the same mean"
    drift = torch.linspace(0, 2, 1000, dtype=F64).unsqueeze(1)
    assert float(rhat(good + drift)) > 1.1, "all chains drift together"
    cauchy = torch.tan(math.pi * (torch.rand(1000, 16, generator=torch.Generator().manual_seed(2), dtype=F64) - 0.5))
    assert float(rhat(cauchy)) < 1.01, "no variance is needed"


def test_rhat_in_closed_form():
    """Two chains that alternate, a hundred apart: of four normal scores, their halves take z₁, z₂ or z₃, z₄."""
    wave = torch.tensor([-1.0, 1.0], dtype=F64).repeat(50)
    x = torch.stack([wave, wave + 100.0], dim=1)
    z = torch.special.ndtri((torch.tensor([25.5, 75.5, 125.5, 175.5], dtype=F64) - 0.375) / 200.25)
    within = 50 / 49 * ((z[1] - z[0]) / 2) ** 2
    between = 4 / 3 * ((z[0] + z[1]) / 2) ** 2
    torch.testing.assert_close(rhat(x), ((49 / 50 * within + between) / within).sqrt())


def test_autocovariances_by_fourier_are_the_sums():
    x = autoregressive(0.5, draws=37, chains=3)
    centred = x - x.mean(0)
    for lag in (0, 1, 5, 36):
        direct = (centred[: 37 - lag] * centred[lag:]).sum(0) / 37
        torch.testing.assert_close(autocovariance(x)[lag], direct)


def test_every_entry_is_judged_alone():
    x = torch.stack([autoregressive(rho, draws=300, chains=4) for rho in (0.1, 0.5, 0.9)], dim=-1)
    for measure in (ess, ess_bulk, ess_tail, mcse, rhat):
        alone = torch.stack([measure(x[..., i]) for i in range(3)])
        torch.testing.assert_close(measure(x), alone)


def test_ranks_are_normal_and_ties_share_them():
    z = rank_normalised(torch.randn(500, 4, generator=torch.Generator().manual_seed(0), dtype=F64) ** 3)
    assert float(z.mean()) == pytest.approx(0, abs=1e-12)
    assert float(z.std()) == pytest.approx(1, abs=0.01)
    tied = rank_normalised(torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=F64))
    assert float(tied[0, 0]) == float(tied[0, 1])
    assert float(tied[1, 0]) < float(tied[1, 1])


def test_constants_have_no_effective_sample_size_and_few_draws_are_refused():
    assert bool(ess(torch.ones(10, 2)).isnan())
    with pytest.raises(GradusError, match="at least 4"):
        rhat(torch.ones(3, 2))
