"""The contract of Markov chain samplers: what every registered one keeps, on a correlated normal target.

Many chains at once make the theorems themselves testable: started from exact draws of the target, one step of 20,000
chains must leave every moment where it is (invariance), and the pairs (x_t, x_{t+1}) must look the same backwards
(detailed balance). `check_sampler` needs no test framework; it raises an AssertionError that says what was broken.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError
from gradus.prob.bijector import LogDensity
from gradus.prob.chains import Sampling, sample_chain
from gradus.prob.diagnostics import mcse
from gradus.prob.kernel import Kernel

__all__ = ["Target", "check_sampler", "target"]

MANY = 20_000
SIGMAS = 5.0


class Target(NamedTuple):
    """A distribution that is known exactly.

    Attributes:
        log_prob: (chains, dim) -> (chains,), up to a constant.
        mean: of the distribution.
        covariance: of the distribution.
    """

    log_prob: LogDensity
    mean: Float[Tensor, " dim"]
    covariance: Float[Tensor, "dim dim"]


def target() -> Target:
    """Return a normal distribution of three correlated variables of different scales."""
    mean = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
    covariance = torch.tensor([[1.0, 0.6, 0.0], [0.6, 2.0, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64)
    precision = torch.linalg.inv(covariance)

    def log_prob(position: Tensor) -> Tensor:
        centred = position - mean.to(position)
        return -(centred @ precision.to(position) * centred).sum(-1) / 2

    return Target(log_prob, mean, covariance)


Make = Callable[[Target], Kernel]


def check_sampler(make: Make) -> None:
    """Assert the contract of a sampler.

    It leaves its target invariant, and is reversible if it says so; it moves; chains do not see each other; a step is a
    pure function of state and generator, touches no other dice and never waits for the device; its state is plain, and
    resumes bit for bit; it adapts in the warm-up only, and finds the target from a scattered start; dtypes are kept;
    starts and targets that cannot be are refused.

    Args:
        make: gives the sampler for a target.

    Raises:
        AssertionError: for the first clause that fails.
    """
    for check in CHECKS:
        check(make)


def _exact(count: int, seed: int = 0) -> Tensor:
    known = target()
    noise = torch.randn(count, len(known.mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return known.mean + noise @ torch.linalg.cholesky(known.covariance).mT


def _dice(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _zero(values: Tensor) -> Tensor:
    """Return how many standard errors each column's mean is away from zero."""
    return (values.mean(0) / (values.std(0) / len(values) ** 0.5).clamp_min(1e-300)).abs()


def _features(x: Tensor) -> Tensor:
    """Return functions of a position whose means say much about its distribution."""
    products = x.unsqueeze(-1) * x.unsqueeze(-2)
    return torch.cat([x, products.flatten(1), x.sin(), (x > 0.3).to(x.dtype)], dim=1)


def _is_pure(make: Make) -> None:
    kernel = make(target())
    state = kernel.init(_exact(6))
    before = json.dumps(_written(state))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        dice = torch.get_rng_state()
        ends = [kernel.step(state, _dice())[0]["position"] for _ in range(2)]
        assert torch.equal(dice, torch.get_rng_state()), "a step throws torch's global dice, not the generator's"
    assert json.dumps(_written(state)) == before, "a step changed the state it was given"
    assert torch.equal(*ends), "the same state and dice gave two different steps"
    other = kernel.step(state, _dice(2))[0]["position"]
    assert not torch.equal(other, ends[0]), "other dice gave the same step"


def _written(state: Any) -> Any:
    """Return what a checkpoint would hold: numbers, lists and dictionaries only."""
    if isinstance(state, Tensor):
        return {"dtype": str(state.dtype), "values": state.tolist()}
    if isinstance(state, dict):
        return {str(key): _written(value) for key, value in state.items()}
    assert state is None or isinstance(state, bool | int | float | str), f"the state holds a {type(state).__name__}"
    return state


def _keeps_its_shapes(make: Make) -> None:
    for dtype in (torch.float32, torch.float64):
        kernel, start = make(target()), _exact(5).to(dtype)
        state, info = kernel.step(kernel.init(start), _dice())
        assert state["position"].dtype == dtype, f"chains of {dtype} became {state['position'].dtype}"
        assert state["position"].shape == start.shape, f"chains of shape {tuple(start.shape)} changed their shape"
        assert info.accept.shape == info.divergent.shape == (5,), "info has not one value a chain"
        assert bool(((info.accept >= 0) & (info.accept <= 1)).all()), "an acceptance probability is outside [0, 1]"
        if "log_prob" in state:
            expected = target().log_prob(state["position"])
            assert torch.allclose(state["log_prob"], expected, rtol=1e-4), "log_prob is not that of the position"


def _never_waits(make: Make) -> None:
    """A tensor on the meta device has no values: whoever asks for one in a step, or while adapting, fails."""
    kernel = make(target())
    state = _on_meta(kernel.init(_exact(5)))
    try:
        for step in range(30):
            state, info = kernel.step(state)
            state = kernel.adapt(state, info, step, 30)
    except (RuntimeError, NotImplementedError) as stop:
        raise AssertionError(f"a step waits for the device: {str(stop).splitlines()[0]}") from stop


def _on_meta(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _on_meta(value) for key, value in state.items()}
    return state.to("meta") if isinstance(state, Tensor) else state


def _moves(make: Make) -> None:
    kernel = make(target())
    state = kernel.init(_exact(200))
    start, generator = state["position"], _dice()
    for _ in range(20):
        state, _ = kernel.step(state, generator)
    moved = (state["position"] != start).any(1).double().mean()
    assert moved > 0.5, f"after 20 steps only {float(moved):.0%} of the chains have moved"


def _chains_are_apart(make: Make) -> None:
    kernel, start = make(target()), _exact(4)
    elsewhere = torch.cat([start[:3], start[3:] + 0.5])
    ends = [kernel.step(kernel.init(point), _dice())[0]["position"] for point in (start, elsewhere)]
    assert torch.allclose(ends[0][:3], ends[1][:3], rtol=1e-12, atol=0), "where one chain is moves another"
    together = kernel.init(torch.zeros_like(start))
    moved = torch.cat([kernel.step(together, _dice(seed))[0]["position"] for seed in range(8)]).view(8, 4, -1)
    assert not bool((moved == moved[:, :1]).all()), "all chains throw the same dice"


def _is_invariant(make: Make) -> None:
    kernel, start = make(target()), _exact(MANY)
    state = kernel.init(start)
    generator = _dice()
    for _ in range(3):
        state, _ = kernel.step(state, generator)
    # Each chain against its own start, which is a draw too: what they share cancels.
    drift = float(_zero(_features(state["position"]) - _features(start)).max())
    known = target()
    centred = state["position"] - known.mean
    moments = torch.cat([centred, (centred.unsqueeze(-1) * centred.unsqueeze(-2) - known.covariance).flatten(1)], 1)
    far = max(float(_zero(moments).max()), drift)
    assert far < SIGMAS, f"three steps from exact draws moved a moment by {far:.1f} standard errors: π is not invariant"


def _is_reversible(make: Make) -> None:
    """E[f(x) g(y)] = E[g(x) f(y)] for x ~ π, y ~ K(x, ·), and all f, g: then the joint distribution is symmetric."""
    kernel, start = make(target()), _exact(MANY, 4)
    if not kernel.reversible:
        return
    end = kernel.step(kernel.init(start), _dice(5))[0]["position"]
    f, g = _features(start), _features(end)
    asymmetry = f.unsqueeze(2) * g.unsqueeze(1)
    far = float(_zero((asymmetry - asymmetry.mT).flatten(1)).max())
    assert far < SIGMAS, f"steps look {far:.1f} standard errors different backwards: no detailed balance"


def _resumes(make: Make) -> None:
    known = target()
    for done in (3, 12, 25):
        going = Sampling(make(known), _exact(4), warmup=20, generator=_dice())
        for _ in range(done):
            going.advance()
        saved = going.state_dict()
        _written(saved["kernel"])
        expected = going.draw(10).samples
        resumed = Sampling(make(known), _exact(4, 6), warmup=20, generator=_dice(8))
        resumed.load_state_dict(saved)
        assert torch.equal(resumed.draw(10).samples, expected), f"resumed after {done} steps, the chains went elsewhere"


def _adapts_in_the_warmup_only(make: Make) -> None:
    going = Sampling(make(target()), _exact(8), warmup=40, generator=_dice())
    going.draw(1)
    tuned = _written(going.state.get("tuning"))
    going.draw(10)
    assert _written(going.state.get("tuning")) == tuned, "the kernel still adapts after the warm-up"


def _finds_the_target(make: Make) -> None:
    known, generator = target(), _dice(2)
    start = 4 * torch.randn(64, len(known.mean), generator=generator, dtype=torch.float64)
    chains = sample_chain(make(known), start, draws=300, warmup=150, generator=generator)
    worst = float(chains.summary.rhat.max())
    assert worst < 1.1, f"from a scattered start, the chains have not mixed: R̂ is {worst:.2f}"
    centred = chains.samples - known.mean
    errors = {"mean": centred, "variance": centred**2 - known.covariance.diagonal()}
    for moment, draws in errors.items():
        far = float((draws.flatten(0, 1).mean(0) / mcse(draws)).abs().max())
        assert far < SIGMAS, f"from a scattered start, a {moment} is {far:.1f} Monte Carlo errors away"


def _refuses(make: Make) -> None:
    known = target()
    start = _exact(3)
    broken = start.clone()
    broken[1, 0] = float("nan")
    knows_density = "log_prob" in make(known).init(start)
    cases: dict[str, tuple[Target, Tensor, str]] = {
        "a start of shape (dim,)": (known, start[0], "chains, dim"),
        "a start that is not a number": (known, broken, "chain 1"),
    }
    if knows_density:
        outside = known._replace(
            log_prob=lambda x: known.log_prob(x).masked_fill(torch.arange(len(x)) == 2, -torch.inf)
        )
        cases["a start outside the support"] = (outside, start, "chain 2")
        cases["a log_prob that sums the chains"] = (
            known._replace(log_prob=lambda x: known.log_prob(x).sum()), start, "one value a chain"
        )  # fmt: skip
    for what, (aim, point, said) in cases.items():
        sentence = _refusal(make, aim, point)
        assert sentence is not None, f"{what} was taken without a GradusError"
        assert said in sentence, f"the refusal of {what} does not say {said!r}: {sentence}"


def _refusal(make: Make, aim: Target, point: Tensor) -> str | None:
    try:
        make(aim).init(point)
    except GradusError as error:
        return str(error)
    return None


CHECKS = (
    _refuses,
    _keeps_its_shapes,
    _is_pure,
    _never_waits,
    _moves,
    _chains_are_apart,
    _is_invariant,
    _is_reversible,
    _resumes,
    _adapts_in_the_warmup_only,
    _finds_the_target,
)
