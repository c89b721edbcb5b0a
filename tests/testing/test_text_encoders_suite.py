"""`check_text_encoder` passes every registered text encoder, and rejects each of a family of planted bugs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.sequence.encoder.bert import Bert
from gradus.sequence.encoder.elmo import Elmo, ElmoPretraining
from gradus.sequence.encoder.elmo_models import elmo
from gradus.sequence.encoder.heads import BertPretraining
from gradus.testing import check_text_encoder

IDS = sorted(canon.of_kind("text-encoder"))


@pytest.mark.parametrize("id", IDS)
def test_every_registered_text_encoder_keeps_the_contract(id: str) -> None:
    canon.load(canon.of_kind("text-encoder")[id])
    make = canon.example(id)
    assert make is not None, f"{id} has no example"
    check_text_encoder(make)


def test_the_registry_knows_text_encoders() -> None:
    assert {name for id in IDS for name in canon.of_kind("text-encoder")[id].names} >= {"bert", "elmo"}


def test_elmo_with_letters_and_bert_without_its_second_task_keep_it_too() -> None:
    def spelled() -> nn.Module:
        module = elmo(30, width=16, characters=True)
        module.trunk.words.spell([f"word{i}" for i in range(30)])
        return module

    check_text_encoder(spelled)
    check_text_encoder(lambda: BertPretraining(small(), follows=False))


def small(**settings: Any) -> Bert:
    return Bert(30, **{"layers": 2, "heads": 2, "width": 16, "context": 16, **settings})


class Twin(BertPretraining):
    def __init__(self) -> None:
        super().__init__(small())


class SeesPadding(Twin):
    def features(self, tokens: Tensor, lengths: Any = None, segments: Any = None) -> list[Tensor]:
        return super().features(tokens, None, segments)


class NormalisesTheBatch(Twin):
    def features(self, tokens: Tensor, lengths: Any = None, segments: Any = None) -> list[Tensor]:
        states = super().features(tokens, lengths, segments)
        return [state - state[:, :1].mean(0, keepdim=True) for state in states]


class KnowsNoOrder(Twin):
    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.trunk.positions.weight)


class KnowsNoContext(Twin):
    def features(self, tokens: Tensor, lengths: Any = None, segments: Any = None) -> list[Tensor]:
        return [self.trunk.embed(tokens)] * 2


class MixesAtOnce(Twin):
    def features(self, tokens: Tensor, lengths: Any = None, segments: Any = None) -> list[Tensor]:
        states = super().features(tokens, lengths, segments)
        return [states[-1], *states]


class LooksBackOnly(ElmoPretraining):
    def __init__(self) -> None:
        super().__init__(Elmo(30, width=16))

    def features(self, tokens: Tensor, lengths: Any = None, segments: Any = None) -> list[Tensor]:
        return [torch.cat([s.chunk(2, -1)[0]] * 2, -1) for s in super().features(tokens, lengths)]


class DropsAlways(Twin):
    def features(self, tokens: Tensor, lengths: Any = None, segments: Any = None) -> list[Tensor]:
        self.train()
        return super().features(tokens, lengths, segments)


class HasADeadPart(Twin):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(4, 4)


class ForgetsAPart(Twin):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.randn(16), persistent=False)

    def features(self, tokens: Tensor, lengths: Any = None, segments: Any = None) -> list[Tensor]:
        return [state + self.shift for state in super().features(tokens, lengths, segments)]


class ReadsBesideTheTrunk(Twin):
    def features(self, tokens: Tensor, lengths: Any = None, segments: Any = None) -> list[Tensor]:
        states = super().features(tokens, lengths, segments)
        return [*states[:-1], self.words.transform(states[-1])]


class TellsAnotherWidth(Twin):
    @property
    def width(self) -> int:
        return 17


class IsAlwaysTheSame(Twin):
    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__()


TWINS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sees padding": (SeesPadding, "stands in the padding matters"),
    "normalises the batch": (NormalisesTheBatch, "alone has other features"),
    "knows no order": (KnowsNoOrder, "order of the tokens"),
    "knows no context": (KnowsNoContext, "not seen by what stands"),
    "mixes at once": (MixesAtOnce, "layer 0 sees"),
    "looks back only": (LooksBackOnly, "not seen by what stands before it"),
    "drops always": (DropsAlways, "asking twice"),
    "has a dead part": (HasADeadPart, "does not reach spare"),
    "forgets a part": (ForgetsAPart, "does not hold all"),
    "reads beside the trunk": (ReadsBesideTheTrunk, "trunk's weights do not make"),
    "tells another width": (TellsAnotherWidth, "not batch × time × width"),
    "is always the same": (IsAlwaysTheSame, "two fresh encoders"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_text_encoder(make)
