"""Markov chain Monte Carlo: known posteriors, exact balance, reversible and volume-keeping leapfrogs, resumption."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Beta

from gradus.errors import GradusError
from gradus.prob import (
    HMC,
    Chains,
    Conditional,
    Gibbs,
    MetropolisHastings,
    RandomWalk,
    Sampling,
    Sigmoid,
    gaussian_conditionals,
    leapfrog,
    mcse,
    pulled_back,
    sample_chain,
    symmetric,
)
from gradus.prob.adaptation import windows
from gradus.prob.hamiltonian import Phase
from gradus.prob.kernel import density_and_gradient

F64 = torch.float64


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def standard(x: torch.Tensor) -> torch.Tensor:
    return -(x**2).sum(-1) / 2


def agrees(draws: torch.Tensor, expected: torch.Tensor, errors: float = 4.0) -> None:
    """Assert that the means of (draws, chains, *event) are the expected ones, in units of their Monte Carlo errors."""
    far = ((draws.flatten(0, 1).mean(0) - expected) / mcse(draws)).abs()
    assert float(far.max()) < errors, f"{float(far.max()):.1f} Monte Carlo errors away"


def coin(theta: torch.Tensor) -> torch.Tensor:
    """Seven heads of ten tosses, under a prior Beta(2, 2): the posterior is Beta(9, 5)."""
    inside = (theta > 0) & (theta < 1)
    safe = torch.where(inside, theta, 0.5)
    return torch.where(inside, 8 * safe.log() + 4 * torch.log1p(-safe), -torch.inf).squeeze(-1)


def _multiplied(theta: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
    """An asymmetric proposal: θ times a log-normal factor, with log q(y, x) − log q(x, y) = log y − log x."""
    factor = (0.4 * torch.randn(theta.shape, generator=generator, dtype=theta.dtype)).exp()
    return theta * factor, factor.log().squeeze(-1)


COIN_KERNELS = {
    "random walk": lambda: RandomWalk(coin),
    "asymmetric": lambda: MetropolisHastings(coin, _multiplied),
    "independent": lambda: MetropolisHastings(
        coin, symmetric(lambda x, g: torch.rand(x.shape, generator=g, dtype=x.dtype))
    ),
    "hmc of the logit": lambda: HMC(pulled_back(coin, Sigmoid()), steps=3),
}


@pytest.mark.parametrize("name", COIN_KERNELS)
def test_the_coins_posterior(name):
    kernel, generator = COIN_KERNELS[name](), dice(3)
    start = torch.rand(48, 1, generator=generator, dtype=F64) * 0.8 + 0.1
    draws = 200 if isinstance(kernel, HMC) else 600
    chains = sample_chain(kernel, start, draws=draws, warmup=100, generator=generator)
    if isinstance(kernel, HMC):
        chains = chains.through(Sigmoid())
    posterior = Beta(torch.tensor(9.0, dtype=F64), torch.tensor(5.0, dtype=F64))
    theta = chains.samples
    agrees(theta, posterior.mean)
    agrees((theta - posterior.mean) ** 2, posterior.variance)
    agrees((theta < 0.5).double(), torch.tensor(1093 / 8192, dtype=F64))
    assert float(chains.summary.rhat) < 1.02


def correlated(dim: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and covariance of a normal distribution with scales from ½ to 5 and strong correlations."""
    scales = torch.logspace(math.log10(0.5), math.log10(5), dim, dtype=F64)
    lags = (torch.arange(dim).unsqueeze(1) - torch.arange(dim)).abs()
    return torch.linspace(-3, 3, dim, dtype=F64), 0.7**lags * torch.outer(scales, scales)


MEAN, SIGMA = correlated()
PRECISION = torch.linalg.inv(SIGMA)


def gaussian(x: torch.Tensor) -> torch.Tensor:
    return -((x - MEAN) @ PRECISION * (x - MEAN)).sum(-1) / 2


BLOCKS = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
GAUSSIAN_KERNELS = {
    "hmc": (HMC(gaussian, steps=8), 60),
    "hmc with dense mass": (HMC(gaussian, mass="dense", steps=3), 100),
    "random walk": (RandomWalk(gaussian), 600),
    "gibbs": (Gibbs(gaussian_conditionals(MEAN, SIGMA)), 150),
    "blocked gibbs": (Gibbs(gaussian_conditionals(MEAN, SIGMA, BLOCKS), scan="palindrome"), 150),
}


@pytest.mark.parametrize("name", GAUSSIAN_KERNELS)
def test_moments_of_a_correlated_normal_in_ten_dimensions(name):
    kernel, draws = GAUSSIAN_KERNELS[name]
    generator = dice(1)
    start = MEAN + 5 * torch.randn(100, 10, generator=generator, dtype=F64)
    chains = sample_chain(kernel, start, draws=draws, warmup=150, generator=generator)
    centred = chains.samples - MEAN
    agrees(centred, torch.zeros(10, dtype=F64))
    rows, columns = torch.triu_indices(10, 10)
    agrees(centred[..., rows] * centred[..., columns], SIGMA[rows, columns])


def test_a_dense_mass_makes_a_correlated_normal_round():
    """With the right metric, ten leapfrog steps are as good as independent draws, whatever the correlations."""
    generator = dice(2)
    start = MEAN + torch.randn(40, 10, generator=generator, dtype=F64)
    values = {}
    for mass in ("identity", "dense"):
        chains = sample_chain(HMC(gaussian, mass=mass, steps=4), start, draws=80, warmup=100, generator=generator)
        values[mass] = float(chains.summary.ess_bulk.min())
    assert values["dense"] > 0.5 * 80 * 40
    assert values["dense"] > 5 * values["identity"]


def test_detailed_balance_is_exact_on_a_finite_space():
    """π(x) P(x, y) = π(y) P(y, x) with P's entries read off the kernel: one chain a pair (x, y), y proposed to it."""
    states = 7
    generator = dice(5)
    log_pi = torch.randn(states, generator=generator, dtype=F64)
    q = torch.rand(states, states, generator=generator, dtype=F64) + 0.05
    q = q / q.sum(1, keepdim=True)
    pairs = torch.cartesian_prod(torch.arange(states), torch.arange(states))
    x, y = pairs.T

    def proposal(position, generator):
        return y.unsqueeze(1), (q[y, x] / q[x, y]).log()

    kernel = MetropolisHastings(lambda position: log_pi[position.squeeze(-1)], proposal)
    state, info = kernel.step(kernel.init(x.unsqueeze(1)), dice())
    flow = (q * info.accept.view(states, states)) * log_pi.softmax(0).unsqueeze(1)
    torch.testing.assert_close(flow, flow.mT, rtol=1e-12, atol=1e-15)
    # What is not accepted stays, so the transition matrix has π as its fixed point.
    off = (q * info.accept.view(states, states)).fill_diagonal_(0)
    transition = off + torch.diag(1 - off.sum(1))
    torch.testing.assert_close(log_pi.softmax(0) @ transition, log_pi.softmax(0), rtol=1e-12, atol=0)
    assert bool(((state["position"] == x.unsqueeze(1)) | (state["position"] == y.unsqueeze(1))).all())


def test_a_discrete_chain_visits_states_as_often_as_it_should():
    pi = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=F64)
    step = symmetric(lambda x, g: (x + 1 - 2 * torch.randint(0, 2, x.shape, generator=g)) % 4)
    kernel = MetropolisHastings(lambda x: pi[x.squeeze(-1)].log(), step)
    chains = sample_chain(kernel, torch.zeros(100, 1, dtype=torch.int64), draws=400, warmup=50, generator=dice())
    agrees((chains.samples == torch.arange(4)).double(), pi)


def ising(position: torch.Tensor, column: int, coupling: float) -> torch.Tensor:
    neighbours = position[:, [(column - 1) % 5, (column + 1) % 5]].double().sum(1, keepdim=True)
    return torch.sigmoid(2 * coupling * neighbours)


def test_gibbs_samples_a_ring_of_spins():
    """A ring of n spins: E[s_i s_{i+1}] = (t + t^{n−1}) / (1 + t^n) with t = tanh β."""
    beta = 0.4

    def conditional(column):
        def draw(position, generator):
            up = torch.rand(len(position), 1, generator=generator, dtype=F64) < ising(position, column, beta)
            return 2 * up.long() - 1

        return Conditional([column], draw)

    start = 2 * torch.randint(0, 2, (200, 5), generator=dice()) - 1
    chains = sample_chain(Gibbs([conditional(i) for i in range(5)]), start, draws=200, warmup=50, generator=dice(1))
    t = math.tanh(beta)
    bonds = (chains.samples * chains.samples.roll(1, -1)).double()
    agrees(bonds, torch.full((5,), (t + t**4) / (1 + t**5), dtype=F64))


def banana(x: torch.Tensor) -> torch.Tensor:
    return -(x[:, 0] ** 2) / 2 - 2 * (x[:, 1] - x[:, 0] ** 2) ** 2


def phase(chains: int = 4, log_prob=banana) -> Phase:
    x, r = torch.randn(2, chains, 2, generator=dice(7), dtype=F64)
    return Phase(x, r, *density_and_gradient(log_prob, x))


SCALES = {
    "diagonal": torch.tensor([0.7, 1.3], dtype=F64),
    "dense": torch.tensor([[0.7, 0.0], [0.4, 1.3]], dtype=F64),
}


@pytest.mark.parametrize("scale", SCALES)
def test_the_leapfrog_is_reversible(scale):
    start, step = phase(), torch.tensor(0.05, dtype=F64)
    end = leapfrog(banana, start, step, SCALES[scale], 20)
    assert float((end.position - start.position).abs().max()) > 0.1
    back = leapfrog(banana, end._replace(momentum=-end.momentum), step, SCALES[scale], 20)
    torch.testing.assert_close(back.position, start.position, rtol=0, atol=1e-10)
    torch.testing.assert_close(-back.momentum, start.momentum, rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", SCALES)
def test_the_leapfrog_keeps_volume(scale):
    """Its Jacobian on phase space, by central differences, has determinant one."""
    start, step, h = phase(1), torch.tensor(0.05, dtype=F64), 1e-5
    z = torch.cat([start.position, start.momentum], dim=1)
    moved = torch.cat([z + h * torch.eye(4, dtype=F64), z - h * torch.eye(4, dtype=F64)])
    x, r = moved[:, :2], moved[:, 2:]
    end = leapfrog(banana, Phase(x, r, *density_and_gradient(banana, x)), step, SCALES[scale], 10)
    image = torch.cat([end.position, end.momentum], dim=1)
    jacobian = (image[:4] - image[4:]) / (2 * h)
    assert float((jacobian - torch.eye(4, dtype=F64)).abs().max()) > 0.1
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-7)


def test_the_leapfrogs_energy_error_is_of_second_order():
    errors = []
    for steps in (20, 40, 80):
        start = phase(64)
        end = leapfrog(banana, start, torch.tensor(1.0 / steps, dtype=F64), torch.ones(2, dtype=F64), steps)
        errors.append(float((end.energy() - start.energy()).abs().mean()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.15)


def test_one_gradient_a_leapfrog_step_for_all_chains():
    calls = []

    def counted(x):
        calls.append(len(x))
        return standard(x)

    kernel = HMC(counted, steps=7)
    state = kernel.init(torch.randn(50, 3, generator=dice()))
    calls.clear()
    kernel.step(state, dice())
    assert calls == [50] * 7


def test_one_leapfrog_step_is_the_langevin_proposal():
    kernel = HMC(banana, steps=1, step_size=0.3, jitter=0.0)
    start = torch.randn(1, 2, generator=dice(3), dtype=F64)
    state = kernel.init(start)
    noise = torch.randn(1, 2, generator=dice(4), dtype=F64)
    _, gradient = density_and_gradient(banana, start)
    proposal = start + 0.3**2 / 2 * gradient + 0.3 * noise
    moved, info = kernel.step(state, dice(4))
    # Its acceptance is that of Metropolis and Hastings with the normal proposal's two densities.
    _, back = density_and_gradient(banana, proposal)
    there = -((proposal - start - 0.045 * gradient) ** 2).sum() / 0.18
    return_ = -((start - proposal - 0.045 * back) ** 2).sum() / 0.18
    expected = (banana(proposal) - banana(start) + return_ - there).clamp_max(0).exp()
    torch.testing.assert_close(info.accept, expected)
    assert torch.equal(moved["position"], start) or torch.allclose(moved["position"], proposal)


def test_the_joint_distribution_of_parameters_and_data_is_kept():
    """Geweke's test: θ ~ prior, then in turn y ~ p(y | θ) and θ by steps for p(θ | y); θ stays prior-distributed."""
    generator = dice(11)
    theta = torch.randn(10_000, 1, generator=generator, dtype=F64)
    for _ in range(6):
        y = theta + 0.7 * torch.randn(theta.shape, generator=generator, dtype=F64)
        kernel = HMC(lambda t, y=y: (-(t**2) / 2 - (y - t) ** 2 / 0.98 - 0 * t).squeeze(-1), steps=3, step_size=0.4)
        state, _ = kernel.step(kernel.init(theta), generator)
        theta = state["position"]
    assert abs(float(theta.mean())) < 4 / 100
    assert abs(float(theta.var()) - 1) < 4 * (2 / 10_000) ** 0.5
    assert abs(float((theta**4).mean()) - 3) < 4 * (96 / 10_000) ** 0.5


@pytest.mark.parametrize("kernel", [HMC(gaussian, steps=4), RandomWalk(gaussian, mass="diagonal")], ids=["hmc", "walk"])
def test_the_warmup_finds_acceptance_and_scales(kernel):
    generator = dice(4)
    start = MEAN + SIGMA.diagonal().sqrt() * torch.randn(100, 10, generator=generator, dtype=F64)
    going = Sampling(kernel, start, warmup=200, generator=generator)
    chains = going.draw(50)
    wanted = 0.8 if isinstance(kernel, HMC) else 0.234
    assert float(chains.accept.mean()) == pytest.approx(wanted, abs=0.06)
    ratio = going.state["tuning"]["scale"] / SIGMA.diagonal().sqrt()
    assert float(ratio.log().abs().max()) < 0.25
    assert not bool(chains.divergent.any())


@pytest.mark.parametrize("warmup", [0, 5, 19, 20, 50, 149, 150, 300, 1000, 1500])
def test_windows_cover_the_warmup_but_its_ends(warmup):
    first, ends = windows(warmup)
    assert all(a < b for a, b in pairwise(ends))
    if warmup >= 20:
        assert 0 < first <= ends[0]
        assert ends[-1] < warmup - 1
    if warmup == 1000:
        assert (first, ends) == (75, (99, 149, 249, 449, 949))


def test_draws_in_turn_are_draws_at_once():
    start = torch.randn(5, 2, generator=dice(), dtype=F64)
    at_once = sample_chain(HMC(banana), start, draws=12, warmup=30, generator=dice(1))
    going = Sampling(HMC(banana), start, warmup=30, generator=dice(1))
    in_turn = going.draw(7) + going.draw(5)
    for name in ("samples", "accept", "divergent", "log_prob"):
        assert torch.equal(getattr(in_turn, name), getattr(at_once, name)), name
    torch.testing.assert_close(at_once.log_prob, banana(at_once.samples.flatten(0, 1)).view(12, 5))
    thinned = sample_chain(HMC(banana), start, draws=4, warmup=30, thin=3, generator=dice(1))
    assert torch.equal(thinned.samples, at_once.samples[2::3])
    torch.testing.assert_close(thinned.accept, at_once.accept.view(4, 3, 5).mean(1))


def test_without_a_generator_torchs_own_decides():
    ends = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        ends.append(sample_chain(RandomWalk(standard), torch.zeros(3, 2), draws=5).samples)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_divergences_are_told_and_refused():
    """Far too long a step on a steep target: no chain moves, and each of them says why."""
    steep = lambda x: -1e6 * (x**4).sum(-1)
    start = torch.full((4, 2), 0.5, dtype=F64)
    chains = sample_chain(HMC(steep, step_size=5.0, steps=5), start, draws=3, generator=dice())
    assert bool(chains.divergent.all())
    assert bool((chains.samples == 0.5).all())
    undefined = lambda x: torch.where(x[:, 0] > 0, standard(x), torch.nan)
    walk = sample_chain(RandomWalk(undefined), start, draws=200, generator=dice())
    assert bool((walk.samples[..., 0] > 0).all())
    assert bool(walk.divergent.any())


def test_chains_tell_what_came_out():
    chains = sample_chain(RandomWalk(standard), torch.zeros(4, 2), draws=50, warmup=20, generator=dice())
    assert isinstance(chains, Chains)
    text = str(chains)
    assert "50 draws of 4 chains" in text
    assert "rhat" in text
    assert chains.pooled.shape == (200, 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: HMC(standard, steps=0), "at least one leapfrog step"),
        (lambda: HMC(standard, jitter=1.0), r"\[0, 1\)"),
        (lambda: HMC(standard, target_accept=1.5), "between 0 and 1"),
        (lambda: HMC(standard, step_size=-1.0).init(torch.zeros(2, 2)), "positive number"),
        (lambda: HMC(standard).init(torch.zeros(2, 2, dtype=torch.int64)), "floating-point start"),
        (lambda: HMC(lambda x: x.detach().sum(-1)).init(torch.zeros(2, 2)), "has no gradient"),
        (lambda: HMC(lambda x: x.abs().sqrt().sum(-1)).init(torch.zeros(2, 2)), "gradient of log_prob is not finite"),
        (lambda: RandomWalk(lambda x: x).init(torch.zeros(2, 3)), r"shape \(2, 3\) for 2 chains"),
        (lambda: RandomWalk(coin).init(torch.tensor([[0.5], [1.5]])), "chain 1 starts where log_prob is not finite"),
        (lambda: Gibbs([Conditional([0], lambda x, g: x)]).init(torch.zeros(2, 2)), "column 1"),
        (
            lambda: sample_chain(Gibbs([Conditional([0], lambda x, g: x[:1])]), torch.zeros(2, 1), draws=1),
            "one row a chain",
        ),
        (
            lambda: sample_chain(MetropolisHastings(standard, lambda x, g: (x[:1], 0.0)), torch.zeros(2, 1), draws=1),
            "propose one row",
        ),
        (
            lambda: sample_chain(
                MetropolisHastings(standard, lambda x, g: (x, torch.zeros(2, 1))), torch.zeros(2, 1), draws=1
            ),
            "one value a chain",
        ),
        (lambda: Gibbs([Conditional([], lambda x, g: x)]), "at least one"),
        (lambda: sample_chain(RandomWalk(standard), torch.zeros(2, 1), draws=0), "at least 1"),
        (lambda: sample_chain(RandomWalk(standard), torch.zeros(2, 1), draws=1, warmup=-1), "negative"),
    ],
)
def test_refusals(make, said):
    with pytest.raises(GradusError, match=said):
        make()


def test_a_state_of_something_else_is_refused():
    going = Sampling(HMC(standard), torch.zeros(3, 2))
    with pytest.raises(GradusError, match="as many chains"):
        going.load_state_dict(Sampling(HMC(standard), torch.zeros(4, 2)).state_dict())
    with pytest.raises(GradusError, match="same kernel"):
        going.load_state_dict(Sampling(RandomWalk(standard), torch.zeros(3, 2)).state_dict())
