"""`check_learner` passes honest learners, image classification with everything on among them, and rejects twins."""

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.data.sources import TensorSource
from gradus.engine import Evaluate, Run, State, Updater, collect, restore
from gradus.optim.adam import adam, adamw
from gradus.optim.schedules import make as schedule
from gradus.testing import check_learner
from gradus.testing.learners import differences
from gradus.vision.recipes import Classify


class Honest:
    """Classifies noisy images by a convolution, with dropout, schedule, clipping, accumulation and average."""

    def __init__(self, run: Run) -> None:
        self.run = run
        with run.stream("init"):
            layers = [
                nn.Conv2d(3, 4, 3),
                nn.ReLU(),
                nn.Conv2d(4, 4, 3),
                nn.Dropout(0.2),
                nn.Flatten(),
                nn.Linear(64, 3),
            ]
            self.model = run.prepare(nn.Sequential(*layers))
        self.update = self.updater()
        self.seen = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.update})"

    def updater(self) -> Updater:
        return Updater(
            self.model, adam(1e-2), schedule=schedule("cosine", total_steps=9), clip=1.0, accumulate=2, ema=0.9
        )

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor | float]:
        """Make one update."""
        self.seen += 1
        info = self.update(self.loss(batch) * (1 + 0.01 * self.seen))
        return {"loss": info.loss, "seen": self.seen}

    def state_dict(self) -> State:
        return {**collect(model=self.model, update=self.update), "seen": self.seen}

    def load_state_dict(self, state: State) -> None:
        restore(state, model=self.model, update=self.update)
        self.seen = state["seen"]


def data(run: Run) -> tuple[Tensor, Tensor]:
    images = torch.rand(40, 3, 8, 8, generator=run.generator("images"))
    return images, torch.arange(40) % 3


def made(run: Run, learner: type[Honest] = Honest, source: type[TensorSource] = TensorSource) -> Any:
    return learner(run), source(data(run), batch_size=16, seed=run.streams.derive("data"))


def validate(run: Run, learner: Honest) -> list[Evaluate]:
    def measure() -> dict[str, float]:
        learner.model.eval()
        with torch.no_grad():
            value = float(learner.loss(data(Run.ephemeral(seed=3)))) + float(torch.rand(()))
        learner.model.train()
        return {"val/loss": value}

    return [Evaluate(run, measure, every_steps=2)]


def test_an_honest_learner_passes_and_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_learner(made, watch=validate)
    assert torch.equal(torch.rand(3), expected)


def test_torch_optimisers_pass() -> None:
    class Torch(Honest):
        def updater(self) -> Updater:
            return Updater(self.model, torch.optim.Adam(self.model.parameters(), fused=True), accumulate=2)

    check_learner(partial(made, learner=Torch))


def test_image_classification_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Classify(
        data="digits", channels=3, model="lenet", limit=160, batch_size=32, augment="flip,crop=1,noise=0.1", ema=0.9,
        clip=1.0, warmup=0.2, label_smoothing=0.1, class_weights="balanced", patience=5, evaluate_every=2, max_steps=6,
    )  # fmt: skip
    watchers = {}

    def build(run: Run) -> Any:
        found = recipe.build(run)
        watchers[run] = found.watchers
        return found.learner, found.source

    check_learner(build, watch=lambda run, learner: watchers[run])


# -- twins with one planted bug each -----------------------------------------------------------------------------------


class ForgetsOptimiser(Honest):
    def state_dict(self) -> State:
        return {**collect(model=self.model), "seen": self.seen}

    def load_state_dict(self, state: State) -> None:
        restore(state, model=self.model)
        self.seen = state["seen"]


class ForgetsCounter(Honest):
    def state_dict(self) -> State:
        return collect(model=self.model, update=self.update)

    def load_state_dict(self, state: State) -> None:
        restore(state, model=self.model, update=self.update)


class LoadsHalf(Honest):
    def load_state_dict(self, state: State) -> None:
        restore(state, model=self.model, update=self.update)


class LoadsContiguous(Honest):
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.update.groups[0].bind(self.update.rule, state["update"]["groups"][0])


class LoadsContiguousAverage(Honest):
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.update.ema.shadow = list(state["update"]["ema"]["shadow"])


class ReplacesParameters(Honest):
    def load_state_dict(self, state: State) -> None:
        self.model.load_state_dict(state["model"], assign=True)
        restore(state, update=self.update)
        self.seen = state["seen"]


class OwnDice(Honest):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.dice = random.Random(0)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return super().loss(batch) * self.dice.uniform(0.5, 1.5)


class UnseededDice(OwnDice):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.dice = random.Random()


class OwnGenerator(Honest):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.dice = torch.Generator().manual_seed(run.seed)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return super().loss(batch) * torch.rand((), generator=self.dice)


class UnusedPart(Honest):
    def __init__(self, run: Run) -> None:
        self.spare = nn.Linear(2, 2)
        super().__init__(run)


class OnlyDecays(UnusedPart):
    def updater(self) -> Updater:
        return Updater([*self.model.parameters(), *self.spare.parameters()], adamw(1e-2, weight_decay=0.1))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return super().loss(batch) + sum(0 * p.sum() for p in self.spare.parameters())


class TouchesFrozen(Honest):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.target = nn.Linear(2, 2).requires_grad_(False)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        with torch.no_grad():
            self.target.weight.mul_(0.9)
        return super().loss(batch)


class KeepsGenerator(Honest):
    def state_dict(self) -> State:
        return {**super().state_dict(), "dice": torch.Generator()}


class SharesMetric(Honest):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.total = torch.zeros(())

    def step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor | float]:
        """Make one update."""
        self.total += super().step(batch)["loss"]
        return {"total": self.total}


class VectorMetric(Honest):
    def step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor | float]:
        """Make one update."""
        return {"loss": super().step(batch)["loss"].expand(2)}


class DrawsWhenAsked(Honest):
    def state_dict(self) -> State:
        torch.rand(())
        return super().state_dict()


class LearnsNothing(Honest):
    def step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor | float]:
        """Make no update."""
        return {"loss": self.loss(batch)}


class Diverges(Honest):
    def step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor | float]:
        """Make one update, and spoil a weight."""
        info = super().step(batch)
        with torch.no_grad():
            self.model[-1].bias[0] = float("inf")
        return {"rate": info["loss"]}


class Silent(Honest):
    __repr__ = object.__repr__


class Undocumented(Honest):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.__class__ = Bare


class Bare:
    """Honest, but with a step that says nothing."""

    __repr__ = Honest.__repr__
    loss, state_dict, load_state_dict = Honest.loss, Honest.state_dict, Honest.load_state_dict

    def step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor | float]:
        return Honest.step(self, batch)


class NoLoading:
    def step(self, batch: object) -> dict[str, float]:
        """Do nothing."""
        return {}

    def state_dict(self) -> State:
        return {}


class StartsAgain(TensorSource):
    def __iter__(self) -> TensorSource:
        return TensorSource(self._form, batch_size=16)


class ForgetsPlace(TensorSource):
    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        pass


class ForgetsEpoch(TensorSource):
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict({**state, "epoch": 0})


TWINS: dict[type, str] = {
    ForgetsOptimiser: "ends elsewhere than an uninterrupted one: /learner/model",
    ForgetsCounter: "ends elsewhere than an uninterrupted one: /learner",
    LoadsHalf: "does not bring back /seen",
    LoadsContiguous: "changed the memory layout of /update/groups/0",
    LoadsContiguousAverage: "changed the memory layout of /update/ema/shadow/0",
    ReplacesParameters: "loading replaced model.0.weight",
    OwnDice: "ends elsewhere than an uninterrupted one",
    UnseededDice: "the same seed gave two results",
    OwnGenerator: "ends elsewhere than an uninterrupted one",
    UnusedPart: "never trained in 6 steps: spare.weight, spare.bias",
    OnlyDecays: "no gradient reached spare.weight, spare.bias",
    TouchesFrozen: "frozen parameters were changed: target.weight",
    KeepsGenerator: "cannot be written",
    SharesMetric: "the metric 'total' changed after it was returned",
    VectorMetric: "the metric 'loss' has shape (2,), and is no number and no row of hits",
    DrawsWhenAsked: "taking a state changed what follows",
    LearnsNothing: "nothing was learnt",
    Diverges: "no longer finite",
    Silent: "repr of the learner",
    Undocumented: "`step` has no docstring",
    StartsAgain: "`__iter__` must return self",
    ForgetsPlace: "ends elsewhere than an uninterrupted one",
    ForgetsEpoch: "the source's state does not bring back /epoch",
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_twins_are_rejected(twin: type) -> None:
    make = partial(made, source=twin) if issubclass(twin, TensorSource) else partial(made, learner=twin)
    with pytest.raises(AssertionError) as caught:
        check_learner(make)
    assert TWINS[twin] in str(caught.value)


def test_what_cannot_be_loaded_is_no_learner() -> None:
    with pytest.raises(AssertionError, match="is no Learner"):
        check_learner(lambda run: (NoLoading(), TensorSource(data(run), batch_size=4)))


def drawing(run: Run, learner: Honest) -> list[Callable[..., Any]]:
    """Evaluate in the steps' own random stream."""
    return [lambda clock, metrics: {"val/loss": float(torch.rand(()))}]


def meddling(run: Run, learner: Honest) -> list[Callable[..., Any]]:
    """Leave the learner in evaluation mode, so that the next step has no dropout."""
    return [lambda clock, metrics: learner.model.eval() and None]


@pytest.mark.parametrize(
    ("watch", "said"), [(drawing, "watching changed the learner"), (meddling, "watching changed the learner")]
)
def test_watchers_that_meddle_are_rejected(watch: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_learner(made, watch=watch)


def test_a_part_that_is_rightly_never_trained_can_be_named() -> None:
    check_learner(partial(made, learner=UnusedPart), steps=3, untrained=["spare.*"])
    with pytest.raises(AssertionError, match=r"spare\.bias"):
        check_learner(partial(made, learner=UnusedPart), untrained=["spare.weight"])


def test_differences_name_the_place() -> None:
    left = {"a": [torch.zeros(2), {"b": 1}], "c": (1.0, float("nan"))}
    right = {"a": [torch.zeros(2), {"b": 2}], "c": (1.0, float("nan"))}
    assert differences(left, right) == ["/a/1/b"]
    assert differences(left, left) == []
    assert differences({"a": torch.zeros(2)}, {"a": torch.zeros(2).double()}) == ["/a"]
