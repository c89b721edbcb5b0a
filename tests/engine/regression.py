"""A tiny learner for the engine's tests: least squares with dropout, whose every random number matters."""

import torch
from torch import nn

from gradus.engine import Run, Updater, collect, restore
from gradus.optim.adam import adamw


class Points:
    """Endless random batches from the run's "data" stream."""

    batches_per_epoch = 4

    def __init__(self, run: Run) -> None:
        self.generator = run.generator("data")
        self.drawn = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.drawn += 1
        x = torch.randn(16, 3, generator=self.generator)
        return x, x.sum(1, keepdim=True)

    def state_dict(self):
        return {"drawn": self.drawn}

    def load_state_dict(self, state):
        self.drawn = state["drawn"]


class Regression:
    """Least squares by a small network with dropout."""

    def __init__(self, run: Run, **options) -> None:
        with run.stream("init"):
            self.model = run.prepare(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1)))
        self.update = Updater(self.model, options.pop("rule", None) or adamw(lr=0.01), **options)

    def step(self, batch):
        x, y = batch
        info = self.update((self.model(x) - y).square().mean())
        return {"loss": info.loss, "lr": self.update.lr}

    def state_dict(self):
        return collect(model=self.model, update=self.update)

    def load_state_dict(self, state):
        restore(state, model=self.model, update=self.update)
