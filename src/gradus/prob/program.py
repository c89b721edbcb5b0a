"""Probabilistic programs: ordinary functions that say `sample` and `observe`, and handlers that decide what it means.

    def coins():
        a = sample("a", Bernoulli(0.5))
        b = sample("b", Bernoulli(0.5))
        require("a + b = 1", a + b == 1)
        return a + b

    trace(coins).log_joint          # log p(latent, observed) of one run
    condition(coins, {"a": 1.0})    # the same program, with a observed
    replay(coins, {"a": 1.0})       # the same program, with a given but still latent

Each statement makes a *site*, and sends it through the handlers in force, the innermost first; one that nobody decided
is drawn from its distribution. A trace is what happened: every site with its value and log-density, in order. A
distribution is any of `torch.distributions`; its batch dimensions are conditionally independent, and a site's
log-density is summed over them.

torch.distributions draw from torch's global dice. Whatever here takes a `generator` seeds those dice from it and puts
them back afterwards, so that an answer is a function of the generator and nothing else is disturbed.

References:
    Goodman et al. 2008, Church: a language for generative models. Plotkin and Pretnar 2009, Handlers of algebraic
    effects. Bingham et al. 2019, Pyro: deep universal probabilistic programming.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, constraints

from gradus.errors import GradusError, nearest

__all__ = [
    "Handler",
    "Program",
    "Site",
    "Trace",
    "condition",
    "factor",
    "handled",
    "observe",
    "plate",
    "replay",
    "require",
    "sample",
    "seeded",
    "trace",
]

Program = Callable[[], Any]
Values = Mapping[str, Tensor | float]


@dataclass
class Site:
    """One statement of a run.

    Attributes:
        name: unique in a run.
        distribution: of the value; None for a factor.
        value: drawn, given or observed; None as long as nobody decided.
        observed: whether the value is data.
        log_factor: log-weight of a factor.
    """

    name: str
    distribution: Distribution | None
    value: Tensor | None = None
    observed: bool = False
    log_factor: Tensor | None = None

    @property
    def log_prob(self) -> Float[Tensor, ""]:
        """The site's log-density or log-weight, summed over all dimensions."""
        if self.distribution is None:
            assert self.log_factor is not None, f"factor {self.name} has no weight"
            return self.log_factor.sum()
        assert self.value is not None, f"site {self.name} was not decided"
        return self.distribution.log_prob(self.value).sum()

    @property
    def support(self) -> constraints.Constraint:
        """Where the value may lie."""
        found = None if self.distribution is None else self.distribution.support
        if found is None:
            raise GradusError(
                f"site {self.name!r} of {type(self.distribution).__name__} does not say its support; give it a "
                "distribution that does"
            )
        return found

    @property
    def latent(self) -> bool:
        """Whether inference is to find the value."""
        return self.distribution is not None and not self.observed


class Handler:
    """What may decide a site on its way, and look at it once it is decided; does neither by itself."""

    def before(self, site: Site) -> None:
        """Decide the site, or leave it to the handlers further out."""

    def after(self, site: Site) -> None:
        """Look at the decided site."""


_HANDLERS: ContextVar[tuple[Handler, ...]] = ContextVar("handlers", default=())


@contextmanager
def handled(*handlers: Handler) -> Iterator[None]:
    """Put handlers in force, the last one innermost."""
    token = _HANDLERS.set((*_HANDLERS.get(), *handlers))
    try:
        yield
    finally:
        _HANDLERS.reset(token)


def _sent(site: Site) -> Site:
    handlers = _HANDLERS.get()
    for handler in reversed(handlers):
        handler.before(site)
    if site.value is None and site.distribution is not None:
        site.value = site.distribution.sample()
    for handler in reversed(handlers):
        handler.after(site)
    return site


def sample(name: str, distribution: Distribution) -> Tensor:
    """Return the value of a latent variable.

    Args:
        name: unique in a run.
        distribution: of `torch.distributions`; its batch dimensions are independent.
    """
    value = _sent(Site(name, distribution)).value
    assert value is not None, f"site {name} was not decided"
    return value


def observe(name: str, distribution: Distribution, value: Tensor | float) -> Tensor:
    """Return the data, whose density weighs the run.

    Args:
        name: unique in a run.
        distribution: of the data.
        value: the data.
    """
    found = _sent(Site(name, distribution, _tensor(value), observed=True)).value
    assert found is not None, f"site {name} was not decided"
    return found


def factor(name: str, log_weight: Tensor | float) -> None:
    """Weigh the run by any positive number.

    Args:
        name: unique in a run.
        log_weight: its logarithm; of a tensor, the sum.
    """
    _sent(Site(name, None, observed=True, log_factor=_tensor(log_weight)))


def require(name: str, truth: Tensor | bool) -> None:
    """Rule the run out unless something is true, which conditions on an event.

    Args:
        name: unique in a run.
        truth: of a tensor, all of it.
    """
    true = torch.as_tensor(truth, dtype=torch.bool)
    zero = torch.zeros((), dtype=torch.get_default_dtype(), device=true.device)
    factor(name, torch.where(true, zero, zero - torch.inf))


def plate(distribution: Distribution, *sizes: int) -> Distribution:
    """Return independent copies of a distribution, as batch dimensions before its own.

    Args:
        distribution: of one.
        sizes: how many, in each new dimension.
    """
    return distribution.expand(torch.Size([*sizes, *distribution.batch_shape]))


def _tensor(value: Tensor | float) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.get_default_dtype())


@dataclass
class Trace:
    """What happened in a run.

    Attributes:
        sites: by name, in order.
        result: what the program returned.
    """

    sites: dict[str, Site] = field(default_factory=dict)
    result: Any = None

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.sites or self.sites[name].value is None:
            known = [key for key, site in self.sites.items() if site.value is not None]
            raise GradusError(f"this run has no value {name!r}{nearest(name, known)}")
        return self.sites[name].value  # type: ignore[return-value]

    @property
    def values(self) -> dict[str, Tensor]:
        """The latent variables' values by name."""
        return {name: site.value for name, site in self.sites.items() if site.latent and site.value is not None}

    @property
    def log_joint(self) -> Float[Tensor, ""]:
        """log p(latent, observed), the sum over all sites."""
        return self._summed(list(self.sites.values()))

    @property
    def log_likelihood(self) -> Float[Tensor, ""]:
        """log p(observed | latent), factors included."""
        return self._summed([site for site in self.sites.values() if not site.latent])

    def _summed(self, sites: list[Site]) -> Tensor:
        total = torch.zeros(())
        for site in sites:
            total = total + site.log_prob
        return total

    def check(self) -> "Trace":
        """Return the trace.

        Raises:
            GradusError: where a site's log-density is not a number or +∞, naming the site.
        """
        for site in self.sites.values():
            value = site.log_prob.detach()
            if bool(value.isnan()) or float(value) == float("inf"):
                raise GradusError(
                    f"site {site.name!r} has log-density {float(value)}; give it a distribution with finite "
                    "parameters, and a value inside its support"
                )
        return self


class _Recorder(Handler):
    def __init__(self) -> None:
        self.trace = Trace()

    def after(self, site: Site) -> None:
        if site.name in self.trace.sites:
            raise GradusError(f"two sites are called {site.name!r}; give every site of a run a name of its own")
        self.trace.sites[site.name] = site


class Given(Handler):
    """Decides sites by name; knows which names have been asked for."""

    def __init__(self, values: Values, *, observed: bool) -> None:
        self.values, self.observed = values, observed
        self.met: set[str] = set()
        self.seen: set[str] = set()

    def before(self, site: Site) -> None:
        """Give the site its value."""
        self.seen.add(site.name)
        if site.name in self.values and site.distribution is not None:
            if site.observed:
                raise GradusError(f"site {site.name!r} is observed in the program already; leave it out of the values")
            self.met.add(site.name)
            if site.value is None:
                site.value, site.observed = _tensor(self.values[site.name]), self.observed

    def finish(self) -> None:
        """Raise a GradusError for a value that no site took."""
        for name in self.values:
            if name not in self.met:
                raise GradusError(f"the program has no site {name!r} to give a value to{nearest(name, self.seen)}")


def condition(program: Program, data: Values) -> Program:
    """Return the program with some latent variables observed.

    Args:
        program: what to run.
        data: values by name; every run must come to each of them.

    Raises:
        GradusError: when run, for a name that no site has, or one that is observed already.
    """
    return _giving(program, data, observed=True)


def replay(program: Program, values: Values) -> Program:
    """Return the program with some latent variables at given values; they stay latent.

    Args:
        program: what to run.
        values: by name; every run must come to each of them.

    Raises:
        GradusError: when run, for a name that no site has, or one that is observed.
    """
    return _giving(program, values, observed=False)


def _giving(program: Program, values: Values, *, observed: bool) -> Program:
    def given() -> Any:
        handler = Given(values, observed=observed)
        with handled(handler):
            result = program()
        handler.finish()
        return result

    return given


def trace(program: Program, generator: torch.Generator | None = None) -> Trace:
    """Run a program once and return what happened.

    Args:
        program: a function without arguments; bind them with a closure or `functools.partial`.
        generator: the dice.

    Raises:
        GradusError: for two sites of one name.
    """
    recorder = _Recorder()
    with seeded(generator), handled(recorder):
        recorder.trace.result = program()
    return recorder.trace


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Let torch's global dice follow a generator, and put them back; with None, leave them alone.

    Args:
        generator: gives the seed; it moves on, so that the next time is different.
    """
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    devices = [generator.device.index or 0] if generator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield
