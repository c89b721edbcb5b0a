"""Second-order MAML on sinusoids: a pure `adapt`, tasks batched with `vmap`, one outer Updater.

    θ'_i = θ − α ∇_θ L(θ; S_i),      min_θ Σ_i L(θ'_i; Q_i)

Every task has its own copy of the parameters in a stacked tensor, the network is applied through `functional_call`, and
since no task sees another's copy the gradient of the summed losses is every task's own. Nothing is cloned or patched.

References:
    Finn, Abbeel and Levine 2017, Model-agnostic meta-learning for fast adaptation of deep networks.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from gradus.data.draws import generator
from gradus.engine import History, Run, State, Updater, collect, restore
from gradus.optim.adam import adam

from .driving import drive

__all__ = ["MAML", "Sinusoids", "Tasks", "main", "make"]

Params = dict[str, Tensor]


class Tasks(NamedTuple):
    """Points of as many sinusoids as there are rows: what a task adapts to, and what it is judged by."""

    support: tuple[Tensor, Tensor]
    query: tuple[Tensor, Tensor]


class Sinusoids:
    """The source: y = a sin(x − φ), a in [0.1, 5], φ in [0, π], x in [−5, 5]; batch i is a function of (seed, i)."""

    def __init__(self, seed: int, tasks: int = 32, shots: int = 10) -> None:
        self.seed, self.tasks, self.shots, self.drawn = seed, tasks, shots, 0

    def __iter__(self) -> Iterator[Tasks]:
        return self

    def __next__(self) -> Tasks:
        uniform = torch.rand(self.tasks, 2 + 2 * self.shots, 1, generator=generator(self.seed, "tasks", self.drawn))
        self.drawn += 1
        amplitude, phase, x = 0.1 + 4.9 * uniform[:, :1], math.pi * uniform[:, 1:2], 10 * uniform[:, 2:] - 5
        y = amplitude * torch.sin(x - phase)
        half = self.shots
        return Tasks((x[:, :half], y[:, :half]), (x[:, half:], y[:, half:]))

    def state_dict(self) -> State:
        """Return how many batches were drawn."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state: State) -> None:
        """Go on behind that batch."""
        self.drawn = state["drawn"]


class MAML:
    """The learner: the outer loss after a few inner gradient steps, differentiated through them."""

    def __init__(self, run: Run, rate: float = 0.05, inner_steps: int = 1) -> None:
        with run.stream("init"):
            layers = [nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1)]
            self.network = run.prepare(nn.Sequential(*layers))
        self.rate, self.inner_steps = rate, inner_steps
        self.update = Updater(self.network, adam(2e-3))

    def __repr__(self) -> str:
        return f"MAML(rate={self.rate}, inner_steps={self.inner_steps}, {self.update})"

    def losses(self, params: Params, x: Tensor, y: Tensor) -> Tensor:
        """Return every task's mean squared error under its own parameters; a pure function."""
        predict = vmap(lambda own, inputs: functional_call(self.network, own, (inputs,)))
        return (predict(params, x) - y).square().mean((1, 2))

    def adapt(self, params: Params, x: Tensor, y: Tensor) -> Params:
        """Return every task's parameters after its inner steps; differentiable in `params`."""
        for _ in range(self.inner_steps):
            loss = self.losses(params, x, y).sum()
            grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {name: p - self.rate * grad for (name, p), grad in zip(params.items(), grads, strict=True)}
        return params

    def step(self, batch: Tasks) -> dict[str, Tensor]:
        """Make one outer update; returns the query loss before and after adapting."""
        count = len(batch.query[0])
        start = {name: p.expand(count, *p.shape) for name, p in self.network.named_parameters()}
        info = self.update(self.losses(self.adapt(start, *batch.support), *batch.query).mean())
        with torch.no_grad():
            before = self.losses(start, *batch.query).mean()
        return {"loss": info.loss, "loss_before": before}

    def state_dict(self) -> State:
        """Return the network's and the Updater's state."""
        return collect(network=self.network, update=self.update)

    def load_state_dict(self, state: State) -> None:
        """Put both back in place."""
        restore(state, network=self.network, update=self.update)


def make(run: Run) -> tuple[MAML, Sinusoids]:
    """Return the learner and its source."""
    return MAML(run), Sinusoids(run.streams.derive("data"))


def main(argv: Sequence[str] | None = None) -> History:
    """Train in a run folder."""
    return drive(make, 600, argv=argv)


if __name__ == "__main__":
    main()
