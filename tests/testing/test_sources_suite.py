"""`check_source` accepts what is right and rejects each planted bug with a sentence that names it."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradus.data.draws import generator
from gradus.testing.sources import check_source, plain, same


class Honest:
    """A small source with nothing wrong: batches of numbers, and a table of noise to go with them."""

    size, batch_size = 10, 4
    batches_per_epoch = 3

    def __init__(self) -> None:
        self.epoch, self.cursor = 0, 0
        self.values = torch.arange(self.size)

    def order(self, epoch: int) -> torch.Tensor:
        return torch.randperm(self.size, generator=generator(0, epoch))

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        batch = self.values[self.order(self.epoch)[self.cursor : self.cursor + self.batch_size]]
        self.forward()
        return {"value": batch}

    def forward(self) -> None:
        self.cursor += self.batch_size
        if self.cursor >= self.size:
            self.epoch, self.cursor = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "cursor": self.cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.cursor = state["epoch"], state["cursor"]


class ForgetsCursor(Honest):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.cursor = state["epoch"], 0


class ForgetsEpoch(Honest):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.cursor = state["cursor"]


class ResumesOneLate(Honest):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.forward()


class KeepsOldOrder(Honest):
    """Caches the order of the epoch, and does not drop it when another position is loaded."""

    held: torch.Tensor | None = None

    def order(self, epoch: int) -> torch.Tensor:
        if self.held is None or self.cursor == 0:
            self.held = super().order(epoch)
        return self.held


class AdvancesWhenSaved(Honest):
    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        self.forward()
        return state


class UsesTorchsGenerator(Honest):
    def order(self, epoch: int) -> torch.Tensor:
        torch.manual_seed(epoch)
        return torch.randperm(self.size)


class DependsOnNumpys(Honest):
    def order(self, epoch: int) -> torch.Tensor:
        return super().order(epoch + int(np.random.get_state()[1][0] % 7))  # noqa: NPY002


class AdvancesPythons(Honest):
    def __next__(self) -> Any:
        random.random()
        return super().__next__()


class DropsTheLast(Honest):
    def order(self, epoch: int) -> torch.Tensor:
        return super().order(epoch)[: self.size - 2]


class RepeatsSome(Honest):
    def order(self, epoch: int) -> torch.Tensor:
        order = super().order(epoch)
        order[0] = order[1]
        return order


class OneOrderForAll(Honest):
    def order(self, epoch: int) -> torch.Tensor:
        return super().order(0)


class GivesOneBuffer(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.buffer = torch.zeros(self.batch_size, dtype=torch.int64)

    def __next__(self) -> Any:
        batch = super().__next__()["value"]
        self.buffer[: len(batch)] = batch
        return {"value": self.buffer[: len(batch)]}


class GivesViewsOfTheData(Honest):
    def order(self, epoch: int) -> torch.Tensor:
        return torch.arange(self.size)

    def __next__(self) -> Any:
        batch = self.values[self.cursor : self.cursor + self.batch_size]
        self.forward()
        return {"value": batch}


class Ends(Honest):
    def __next__(self) -> Any:
        if self.epoch:
            raise StopIteration
        return super().__next__()


class MakesIterators(Honest):
    def __iter__(self) -> Any:
        return iter([next(self)])


class SavesAnObject(Honest):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": torch.Generator()}


def test_an_honest_source_passes() -> None:
    check_source(Honest, items=lambda batch: batch["value"].tolist(), count=10)
    check_source(Honest)


PLANTED: dict[type[Honest], str] = {
    ForgetsCursor: "resumed after",
    ForgetsEpoch: "goes astray",
    ResumesOneLate: "resumed after",
    KeepsOldOrder: "resumed after|set back",
    AdvancesWhenSaved: "disturbs the source",
    UsesTorchsGenerator: "changes the global random state",
    DependsOnNumpys: "depends on the global random state",
    AdvancesPythons: "changes the global random state",
    DropsTheLast: "shows 8 items of 10",
    RepeatsSome: "different items",
    OneOrderForAll: "same order",
    GivesOneBuffer: "changes after it was given",
    GivesViewsOfTheData: "alias the data",
    SavesAnObject: r"neither JSON nor safetensors takes: state\['generator'\] is a Generator",
    MakesIterators: "must be the source itself",
}


@pytest.mark.parametrize("bug", list(PLANTED), ids=lambda bug: bug.__name__)
def test_planted_bugs_are_rejected(bug: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError, match=PLANTED[bug]):
        check_source(bug, items=lambda batch: batch["value"].tolist(), count=10)


def test_a_source_that_ends_is_rejected() -> None:
    with pytest.raises((AssertionError, StopIteration)):
        check_source(Ends)


def test_plain_says_where_a_state_is_not() -> None:
    assert plain({"a": [1, 2.5, None, "x", {"b": torch.ones(1), 3: (np.ones(1), True)}]}) == ""
    assert plain({"a": [{"b": {1, 2}}]}) == "state['a'][0]['b'] is a set"
    assert plain({"a": Path()}).startswith("state['a'] is a")
    assert "key" in plain({(1, 2): 3})


def test_same_tells_types_apart() -> None:
    assert same({"a": [torch.ones(2), 1]}, {"a": [torch.ones(2), 1]})
    assert not same(torch.ones(2), torch.ones(2, dtype=torch.float64))
    assert not same(1, 1.0)
    assert not same([1], (1,))
