"""Probabilistic programs: exact answers by enumeration, the same answers by every other inference, plain refusals."""

from functools import partial

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Exponential,
    Gamma,
    HalfCauchy,
    Multinomial,
    Normal,
    Poisson,
    Uniform,
)

from gradus.errors import GradusError
from gradus.optim.adam import adam
from gradus.prob import (
    HMC,
    RandomWalk,
    Unconstrained,
    condition,
    enumerate_runs,
    factor,
    fit_posterior,
    full_rank,
    importance_sampling,
    observe,
    plate,
    replay,
    require,
    sample,
    sample_posterior,
    seeded,
    single_site,
    trace,
)

F64 = torch.float64


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coins() -> torch.Tensor:
    a, b, c = (sample(name, Bernoulli(0.5)) for name in "abc")
    require("a + b = 1", a + b == 1)
    return a + b + c


def test_three_coins_given_that_two_sum_to_one_are_exact() -> None:
    runs = enumerate_runs(coins)
    assert runs.table(runs.result) == {0.0: 0.0, 1.0: 0.5, 2.0: 0.5, 3.0: 0.0}
    assert float(runs.log_evidence.exp()) == pytest.approx(0.5)
    assert len(runs.log_weights) == 8


def test_importance_sampling_agrees_within_its_error() -> None:
    runs = importance_sampling(coins, 20_000, generator=dice())
    assert float(runs.probability(runs.result == 1)) == pytest.approx(0.5, abs=4 * 0.5 / float(runs.ess) ** 0.5)
    assert float(runs.log_evidence.exp()) == pytest.approx(0.5, abs=4 * 0.5 / 20_000**0.5)
    # The weights are zeros and ones, so as many draws are worth something as explain the data.
    assert float(runs.ess) == pytest.approx(float((runs.weights > 0).sum()), rel=1e-3)


def sprinkler() -> torch.Tensor:
    """Pearl's lawn: rain, a sprinkler that rain discourages, and wet grass that was seen."""
    rain = sample("rain", Bernoulli(0.2))
    sprinkler = sample("sprinkler", Bernoulli(torch.where(rain == 1, 0.2, 0.5)))
    wet = torch.tensor([[0.2, 0.9], [0.8, 0.99]])[rain.long(), sprinkler.long()]
    observe("wet", Bernoulli(wet), 1.0)
    return rain


def test_every_inference_finds_the_rain() -> None:
    wet_rain = 0.2 * (0.8 * 0.8 + 0.2 * 0.99)
    exact = wet_rain / (wet_rain + 0.8 * (0.5 * 0.2 + 0.5 * 0.9))
    assert float(enumerate_runs(sprinkler).mean("rain")) == pytest.approx(exact, abs=1e-6)
    weighted = importance_sampling(sprinkler, 20_000, generator=dice())
    assert float(weighted.mean("rain")) == pytest.approx(exact, abs=0.02)
    chain = single_site(sprinkler, 1500, warmup=50, generator=dice(1))
    # Some four steps to an independent draw: an error of √(0.21 · 4 / 1500), some four times.
    assert float(chain.mean("rain")) == pytest.approx(exact, abs=0.08)


def growing() -> torch.Tensor:
    """A program whose variables differ from run to run: a second coin only after heads."""
    if sample("first", Bernoulli(0.3)) == 1:
        second = sample("second", Bernoulli(0.6))
        observe("seen", Bernoulli(0.2 + 0.6 * second), 1.0)
        return 1 + second
    observe("seen", Bernoulli(0.5), 1.0)
    return torch.zeros(())


def test_a_program_that_branches_is_enumerated_sampled_and_walked() -> None:
    weights = torch.tensor([0.7 * 0.5, 0.3 * 0.4 * 0.2, 0.3 * 0.6 * 0.8])
    exact = (weights / weights.sum()).tolist()
    runs = enumerate_runs(growing)
    assert list(runs.table(runs.result).values()) == pytest.approx(exact, abs=1e-6)
    assert int(runs["second"].isnan().sum()) == 1
    drawn = importance_sampling(growing, 1000, generator=dice(), vectorise=False)
    assert [drawn.table(drawn.result)[i] for i in (0.0, 1.0, 2.0)] == pytest.approx(exact, abs=0.06)
    walked = single_site(growing, 1500, warmup=50, generator=dice(1))
    assert [walked.table(walked.result)[i] for i in (0.0, 1.0, 2.0)] == pytest.approx(exact, abs=0.08)
    with pytest.raises(GradusError, match="vectorise=False"):
        importance_sampling(growing, 10)


def test_plates_of_choices_are_enumerated_jointly() -> None:
    def hidden() -> torch.Tensor:
        bits = sample("bits", plate(Bernoulli(0.5), 3))
        kind = sample("kind", Categorical(torch.tensor([0.2, 0.3, 0.5])))
        require("as many", bits.sum() == kind)
        return kind

    runs = enumerate_runs(hidden)
    weights = torch.tensor([0.2 * 1, 0.3 * 3, 0.5 * 3]) / 8
    assert len(runs.log_weights) == 24
    assert runs["bits"].shape == (24, 3)
    assert [runs.table(runs.result)[i] for i in (0.0, 1.0, 2.0)] == pytest.approx((weights / weights.sum()).tolist())


def coin_bias() -> None:
    theta = sample("theta", Beta(2.0, 2.0))
    observe("heads", Binomial(10, theta), 7.0)


def test_a_coins_bias_has_its_beta_posterior_under_every_sampler() -> None:
    exact = Beta(9.0, 5.0)
    for kernel in (partial(HMC, steps=3), RandomWalk):
        drawn = sample_posterior(coin_bias, draws=20, warmup=40, chains=500, kernel=kernel, generator=dice())
        assert float(drawn.mean("theta")) == pytest.approx(float(exact.mean), abs=0.01)
        assert float(drawn["theta"].std()) == pytest.approx(float(exact.stddev), abs=0.01)
    walked = single_site(coin_bias, 1200, warmup=50, generator=dice())
    assert float(walked.mean("theta")) == pytest.approx(float(exact.mean), abs=0.03)


MEASURED = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools() -> None:
    """Rubin's eight schools, not centred."""
    mu = sample("mu", Normal(0.0, 5.0))
    tau = sample("tau", HalfCauchy(5.0))
    eta = sample("eta", plate(Normal(0.0, 1.0), 8))
    observe("effects", Normal(mu + tau * eta, ERRORS), MEASURED)


def schools_exactly() -> tuple[float, float, float]:
    """Return E[μ | y], E[τ | y] and log p(y): given τ everything is normal, and τ is one integral.

    y_j | μ, τ ~ N(μ, σ_j² + τ²) and μ ~ N(0, 25). With w_j = 1 / (σ_j² + τ²) the posterior of μ has precision
    P = 1/25 + Σ w_j and mean Σ w_j y_j / P. The substitution τ = 5 tan(πu/2) makes the prior of τ uniform in u.
    """
    n = 400_000
    u = (torch.arange(n, dtype=F64) + 0.5) / n
    tau = 5 * (torch.pi * u / 2).tan()
    w = 1 / (ERRORS.double() ** 2 + tau[:, None] ** 2)
    y = MEASURED.double()
    precision = 1 / 25 + w.sum(1)
    linear = (w * y).sum(1)
    log_marginal = (w.log().sum(1) - (w * y**2).sum(1) + linear**2 / precision - precision.log() - torch.log(
        torch.tensor(25.0, dtype=F64))) / 2 - 4 * torch.log(torch.tensor(2 * torch.pi, dtype=F64))  # fmt: skip
    weight = log_marginal.softmax(0)
    evidence = log_marginal.logsumexp(0) - torch.log(torch.tensor(float(n)))
    return float(weight @ (linear / precision)), float((weight * tau).sum()), float(evidence)


def test_eight_schools_by_hamiltonian_monte_carlo_is_within_two_percent() -> None:
    mu, tau, _ = schools_exactly()
    drawn = sample_posterior(schools, draws=30, warmup=60, chains=2500, kernel=partial(HMC, steps=6), generator=dice())
    assert float(drawn.mean("mu")) == pytest.approx(mu, rel=0.02)
    assert float(drawn.mean("tau")) == pytest.approx(tau, rel=0.02)
    assert drawn["eta"].shape == (30, 2500, 8)


def test_eight_schools_by_importance_sampling_and_its_evidence() -> None:
    mu, tau, evidence = schools_exactly()
    runs = importance_sampling(schools, 100_000, generator=dice())
    assert float(runs.mean("mu")) == pytest.approx(mu, rel=0.05)
    assert float(runs.mean("tau")) == pytest.approx(tau, rel=0.05)
    assert float(runs.log_evidence) == pytest.approx(evidence, abs=0.03)


def test_eight_schools_by_a_full_rank_guide_stays_below_the_evidence() -> None:
    mu, _, evidence = schools_exactly()
    fitted = fit_posterior(schools, guide=full_rank, steps=300, draws=32, generator=dice())
    bound = float(fitted.history[-50:].mean())
    assert evidence - 0.6 < bound < evidence
    assert float(fitted.sample(20_000, dice(1))["mu"].mean()) == pytest.approx(mu, rel=0.1)


def regression(x: torch.Tensor, y: torch.Tensor) -> None:
    w = sample("w", plate(Normal(0.0, 1.0), x.shape[1]))
    observe("y", Normal(x @ w, 0.5), y)


def test_a_linear_program_has_its_normal_posterior_by_svi() -> None:
    x = torch.randn(15, 2, generator=dice())
    y = x @ torch.tensor([1.0, -0.5]) + 0.5 * torch.randn(15, generator=dice(1))
    covariance = torch.linalg.inv(torch.eye(2) + x.mT @ x / 0.25)
    fitted = fit_posterior(
        partial(regression, x, y),
        guide=full_rank,
        steps=400,
        rule=adam(0.1),
        estimator="sticking",
        draws=8,
        generator=dice(),
    )
    factor = fitted.guide.bijector.matrix().detach()
    assert torch.allclose(fitted.guide.bijector.shift, covariance @ x.mT @ y / 0.25, atol=1e-3)
    assert torch.allclose(factor @ factor.mT, covariance, atol=1e-3)


def constrained() -> None:
    low = sample("low", Exponential(1.0))
    sample("between", plate(Uniform(-1.0, 3.0), 2))
    rate = sample("rate", Gamma(2.0, 1.0))
    share = sample("share", Dirichlet(torch.ones(3)))
    observe("count", Poisson(rate + low), 3.0)
    observe("votes", Multinomial(6, share), torch.tensor([1.0, 2.0, 3.0]))


def test_unconstrained_values_lie_inside_their_supports_and_carry_the_volume() -> None:
    space = Unconstrained(constrained, generator=dice())
    assert space.dim == 1 + 2 + 1 + 2
    u = space.start(50, dice())
    values = space.values(u)
    assert bool((values["low"] > 0).all())
    assert bool(((values["between"] > -1) & (values["between"] < 3)).all())
    assert torch.allclose(values["share"].sum(-1), torch.ones(50))
    one_by_one = Unconstrained(constrained, generator=dice(), vectorise=False)
    assert torch.allclose(space.log_joint(u), one_by_one.log_joint(u), atol=1e-4)
    named = {name: value[0] for name, value in values.items()}
    plain = trace(replay(constrained, named)).log_joint
    # What is left is the log-determinant: x = e^u has u, and the volume of a prior integrates to one with it.
    volume = space.log_joint(u[:1])[0] - plain
    share = values["share"][0]
    between = (values["between"][0] + 1) / 4
    expected = u[0, 0] + u[0, 3] + (4 * between * (1 - between)).log().sum() + share.log().sum()
    assert float(volume) == pytest.approx(float(expected), abs=1e-4)


def test_a_support_may_depend_on_what_was_drawn() -> None:
    def nested() -> None:
        top = sample("top", Gamma(3.0, 1.0))
        sample("x", Uniform(torch.zeros(()), top))

    space = Unconstrained(nested, generator=dice(), vectorise=False)
    values = space.values(space.start(20, dice()))
    assert bool(((values["x"] > 0) & (values["x"] < values["top"])).all())


def test_conditioning_is_observing() -> None:
    free = trace(condition(coins, {"a": 1.0}), dice())
    assert not free.sites["a"].latent
    runs = enumerate_runs(condition(coins, {"a": 1.0, "c": 0.0}))
    assert runs.table(runs.result) == {1.0: 1.0, 2.0: 0.0}
    assert float(runs.log_evidence.exp()) == pytest.approx(0.125)


def test_replay_keeps_the_site_latent_and_the_density_the_same() -> None:
    run = trace(schools, dice())
    again = trace(replay(schools, run.values))
    assert float(again.log_joint) == pytest.approx(float(run.log_joint))
    assert set(again.values) == {"mu", "tau", "eta"}
    expected = Normal(0.0, 5.0).log_prob(run["mu"]) + HalfCauchy(5.0).log_prob(run["tau"])
    expected = expected + Normal(0.0, 1.0).log_prob(run["eta"]).sum()
    assert float(run.log_joint - run.log_likelihood) == pytest.approx(float(expected), abs=1e-4)


def test_a_generator_decides_everything_and_leaves_the_global_dice_alone() -> None:
    before = torch.get_rng_state()
    first, second = (importance_sampling(schools, 10, generator=dice(3))["mu"] for _ in range(2))
    assert torch.equal(first, second)
    assert len(first.unique()) == 10
    assert torch.equal(before, torch.get_rng_state())
    generator = dice()
    with seeded(generator):
        one = torch.rand(3)
    with seeded(generator):
        other = torch.rand(3)
    assert not torch.equal(one, other)


def test_a_proposal_is_corrected_for() -> None:
    runs = importance_sampling(
        schools, 50_000, proposal={"mu": Normal(4.0, 4.0), "tau": HalfCauchy(4.0)}, generator=dice()
    )
    mu, tau, evidence = schools_exactly()
    assert float(runs.mean("mu")) == pytest.approx(mu, rel=0.05)
    assert float(runs.mean("tau")) == pytest.approx(tau, rel=0.06)
    assert float(runs.log_evidence) == pytest.approx(evidence, abs=0.04)
    assert abs(float(runs.resampled(20_000, dice(1))["mu"].mean()) - mu) < 0.2


def test_factors_weigh_softly() -> None:
    def soft() -> torch.Tensor:
        a = sample("a", Bernoulli(0.5))
        factor("liked", 2.0 * a)
        return a

    assert float(enumerate_runs(soft).mean("a")) == pytest.approx(float(torch.tensor(2.0).sigmoid()), abs=1e-6)


def twice() -> None:
    sample("a", Normal(0.0, 1.0))
    sample("a", Normal(0.0, 1.0))


def wide() -> None:
    observe("y", Normal(0.0, 1.0), sample("x", Normal(0.0, 1.0)) * torch.nan)


def test_bad_programs_are_told() -> None:
    with pytest.raises(GradusError, match="no site 'taw' to give a value to; did you mean 'tau'"):
        trace(condition(schools, {"taw": 1.0}))
    with pytest.raises(GradusError, match="'effects' is observed in the program already"):
        trace(replay(schools, {"effects": 1.0}))
    with pytest.raises(GradusError, match="two sites are called 'a'"):
        trace(twice)
    with pytest.raises(GradusError, match="'mu' of Normal has no finite list of values"):
        enumerate_runs(schools)
    with pytest.raises(GradusError, match="more than 100 runs"):
        enumerate_runs(lambda: sample("bits", plate(Bernoulli(0.5), 20)), max_runs=100)
    with pytest.raises(GradusError, match="no run explains"):
        enumerate_runs(lambda: (sample("a", Bernoulli(0.5)), require("never", False)))
    with pytest.raises(GradusError, match="'a' is discrete"):
        sample_posterior(coins, draws=1, warmup=0)
    with pytest.raises(GradusError, match="no latent variable"):
        Unconstrained(lambda: observe("y", Normal(0.0, 1.0), 1.0))
    with pytest.raises(GradusError, match="not a number"):
        importance_sampling(lambda: (sample("a", Normal(0.0, 1.0)), factor("f", torch.tensor(torch.nan))), 5)
    with pytest.raises(GradusError, match="site 'f' has log-density nan"):
        Unconstrained(lambda: (sample("a", Normal(0.0, 1.0)), factor("f", torch.tensor(torch.nan))))
    with pytest.raises(GradusError, match="none of 5 runs explains"):
        importance_sampling(lambda: (sample("a", Normal(0.0, 1.0)), require("never", False)), 5)
    with pytest.raises(GradusError, match="to propose for"):
        importance_sampling(schools, 5, proposal={"taux": Normal(0.0, 1.0)})
    with pytest.raises(GradusError, match="no value 'x'"):
        trace(schools)["x"]
