"""`check_language_model` passes every registered language model, and rejects each of a family of planted bugs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.errors import GradusError
from gradus.sequence.language.ngram import NGram
from gradus.sequence.language.recurrent import RecurrentModel
from gradus.testing.language_models import check_language_model

IDS = sorted(id for id, entry in canon.scan().items() if entry.kind == "language-model")


@pytest.mark.parametrize("id", IDS)
def test_every_registered_language_model_keeps_the_contract(id: str) -> None:
    canon.load(canon.scan()[id])
    make = canon.example(id)
    assert make is not None, f"{id} has no example"
    check_language_model(make)


def test_the_registry_knows_language_models() -> None:
    assert {"ngram", "markov", "rnn", "gru", "lstm"} <= set(canon.names("language-model"))


@pytest.mark.parametrize("smoothing", ["kneser-ney", "add-k"])
def test_other_smoothings_keep_it_too(smoothing: Any) -> None:
    stream = torch.randint(11, (3000,), generator=torch.Generator().manual_seed(1))
    check_language_model(lambda vocabulary: NGram(vocabulary, order=3, smoothing=smoothing).fit(stream))


class _Honest(nn.Module):
    """A model that sees the present token and the one before it; its state is the last token."""

    context: int | None = None

    def __init__(self, vocabulary: int = 11, width: int = 8) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, width)
        self.output = nn.Linear(2 * width, vocabulary)

    def start(self, batch: int, device: Any) -> Tensor:
        return torch.full((batch, 1), self.vocabulary)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = self.start(len(tokens), None) if state is None else state
        stream = torch.cat([state, tokens], 1)
        h = torch.cat([self.embedding(stream[:, 1:]), self.embedding(stream[:, :-1])], -1)
        return self.output(h), stream[:, -1:]

    def reorder(self, state: Tensor, rows: Tensor) -> Tensor:
        return state.index_select(0, rows)


def test_the_honest_twin_passes() -> None:
    check_language_model(_Honest)


class _Leaks(_Honest):
    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits, state = super().forward(tokens, state)
        return logits + logits.mean(1, keepdim=True), state


class _Forgets(_Honest):
    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(tokens, None)


class _MixesRows(_Honest):
    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits, state = super().forward(tokens, state)
        return logits - logits[:, :1].mean(0, keepdim=True), state


class _KeepsItsOrder(_Honest):
    def reorder(self, state: Tensor, rows: Tensor) -> Tensor:
        return state[: len(rows)]


class _Draws(_Honest):
    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits, state = super().forward(tokens, state)
        return nn.functional.dropout(logits, 0.1, training=True), state


class _StartsElsewhere(_Honest):
    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(tokens, torch.zeros_like(tokens[:, :1]) if state is None else state)


class _Boundless(_Honest):
    context = 16


class _Clumsy(_Honest):
    context = 16

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if tokens.shape[1] > 16:
            raise IndexError("index out of range in self")
        return super().forward(tokens, state)


class _Idle(_Honest):
    def __init__(self, vocabulary: int = 11) -> None:
        super().__init__(vocabulary)
        self.spare = nn.Linear(3, 3)


class _Deaf(_Honest):
    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(torch.zeros_like(tokens), state)


class _OneShort(_Honest):
    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits, state = super().forward(tokens, state)
        return logits[:, :-1], state


class _Unsaved(_Honest):
    def __init__(self, vocabulary: int = 11) -> None:
        super().__init__(vocabulary)
        self.register_buffer("shift", torch.randn(vocabulary), persistent=False)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits, state = super().forward(tokens, state)
        return logits + self.shift, state


class _Twice(_Honest):
    def __init__(self, vocabulary: int = 11) -> None:
        super().__init__(vocabulary)
        self.again = self.embedding


class _NoState(nn.Module):
    context = None

    def __init__(self, vocabulary: int = 11) -> None:
        super().__init__()

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return torch.zeros(*tokens.shape, 11), None


TWINS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "looks ahead": (_Leaks, "changes the logits before it"),
    "forgets its state": (_Forgets, "reading on from the state"),
    "mixes rows": (_MixesRows, "depends on the other rows"),
    "keeps its order": (_KeepsItsOrder, "after reorder"),
    "draws": (_Draws, "reading twice"),
    "starts elsewhere": (_StartsElsewhere, "reading from `start`"),
    "has no bound": (_Boundless, "as if it were within"),
    "fails in its own words": (_Clumsy, "ends in IndexError"),
    "has idle weights": (_Idle, "no gradient reaches spare"),
    "is deaf": (_Deaf, "do not depend on the tokens"),
    "is one short": (_OneShort, "not \\(4, 9, 11\\)"),
    "does not save all": (_Unsaved, "the same weights give other logits"),
    "saves twice": (_Twice, "under two names"),
    "has no state": (_NoState, "it needs context, start, forward and reorder"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_language_model(make)


def test_a_sentence_is_what_a_text_beyond_the_context_must_end_in() -> None:
    class Bounded(_Honest):
        context = 16

        def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
            if tokens.shape[1] > 16:
                raise GradusError("17 tokens are more than the context of 16: keep the last ones")
            return super().forward(tokens, state)

    check_language_model(Bounded)


def test_recurrent_models_of_all_kinds_and_settings_keep_it() -> None:
    cases: dict[str, dict[str, Any]] = {
        "rnn": {"tie": False, "initial": "learned"},
        "gru": {"layers": 2, "dropout": 0.5, "embedding": 5},
        "lstm": {"variational": True, "dropout": 0.5, "initial": "sampled"},
    }
    for kind, case in cases.items():
        check_language_model(lambda vocabulary, k=kind, s=case: RecurrentModel(k, vocabulary, width=8, **s))
