"""`check_tagger` passes every registered tagger, and rejects planted bugs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.sequence.tagging.recurrent import RecurrentTagger, recurrent_tagger
from gradus.testing.taggers import check_tagger

IDS = sorted(canon.of_kind("tagger"))


@pytest.mark.parametrize("id", IDS)
def test_every_registered_tagger_keeps_the_contract(id: str) -> None:
    canon.load(canon.of_kind("tagger")[id])
    make = canon.example(id)
    assert make is not None, f"{id} has no example"
    torch.manual_seed(0)
    check_tagger(make)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_every_cell_and_direction_keeps_it(name: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    check_tagger(
        lambda: recurrent_tagger(
            name, vocabulary=20, classes=3, width=8, hidden=8, layers=2, bidirectional=bidirectional, dropout=0.0
        )
    )


def test_the_registry_knows_taggers() -> None:
    assert set(canon.names("tagger")) >= {"rnn", "gru", "lstm"}


def _tagger() -> RecurrentTagger:
    return recurrent_tagger(vocabulary=20, classes=3, width=8, hidden=8, dropout=0.0)


class _Changed(nn.Module):
    def __init__(self, change: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = _tagger(), change

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        assert lengths is not None
        return self.change(self.inner, tokens, lengths)


class _Unused(RecurrentTagger):
    def __init__(self) -> None:
        super().__init__("gru", 20, 3, width=8, hidden=8, layers=1, bidirectional=True, dropout=0.0)
        self.spare = nn.Linear(2, 2)


class _Frozen(RecurrentTagger):
    def __init__(self) -> None:
        super().__init__("gru", 20, 3, width=8, hidden=8, layers=1, bidirectional=True, dropout=0.0)
        self.requires_grad_(False)
        self.head.bias.requires_grad_(True)


class _Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = [_tagger()]
        self.scale = nn.Parameter(torch.ones(3))

    def parameters(self, recurse: bool = True):  # type: ignore[no-untyped-def]
        return iter([self.scale, *self.inner[0].parameters()])

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return self.inner[0](tokens, lengths) * self.scale


TWINS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sees the padding": (lambda: _Changed(lambda f, t, n: f(t)), "padding changes|alone has other"),
    "sees its neighbours": (lambda: _Changed(lambda f, t, n: f(t, n) - f(t, n).mean(0)), "padding|alone has other"),
    "one tag a sentence": (lambda: _Changed(lambda f, t, n: f(t, n).mean(1)), r"not \(sentences"),
    "draws": (lambda: _Changed(lambda f, t, n: f(t, n) + torch.rand(())), "asked twice"),
    "overflows": (lambda: _Changed(lambda f, t, n: f(t, n) / 0.0), "not finite"),
    "looks at nothing": (lambda: _Changed(lambda f, t, n: f(t, n) * 0), "do not depend"),
    "has a spare part": (_Unused, "no gradient reaches spare"),
    "does not learn": (_Frozen, "does not learn"),
    "hides its weights": (_Hidden, "does not go into a new"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=said):
        check_tagger(make)
