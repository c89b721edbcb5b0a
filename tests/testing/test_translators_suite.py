"""`check_translator` and `check_pair_set` pass what is registered, and reject each of a family of planted bugs."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.data.pair_sets import NamedPairs, Pairs, reversal
from gradus.errors import GradusError
from gradus.sequence.translation.beam_search import Shared
from gradus.sequence.translation.models import EncoderDecoder
from gradus.sequence.translation.recurrent import AttentionTranslator, RecurrentTranslator
from gradus.sequence.translation.transformer import TransformerTranslator
from gradus.testing.pair_sets import check_pair_set
from gradus.testing.translators import check_translator

IDS = sorted(id for id, entry in canon.scan().items() if entry.kind == "translator")
SETS = sorted(canon.names("pair-set"))
EMBEDDED = {"dates", "date-lists", "reversal", "sorting"}


@pytest.mark.parametrize("id", IDS)
def test_every_registered_translator_keeps_the_contract(id: str) -> None:
    canon.load(canon.scan()[id])
    make = canon.example(id)
    assert make is not None, f"{id} has no example"
    check_translator(make)


SMALL: dict[str, Any] = {"embedding": 6, "hidden": 8}


@pytest.mark.parametrize("decoder", ["luong", "bahdanau"])
@pytest.mark.parametrize("score", ["dot", "multiplicative", "additive", "scaled"])
@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_attention_keeps_it(decoder: Any, score: Any, cell: Any) -> None:
    check_translator(lambda: AttentionTranslator(11, 9, decoder=decoder, attention=score, cell=cell, **SMALL))


def test_other_forms_keep_it_too() -> None:
    check_translator(lambda: RecurrentTranslator(11, 9, reverse=False, cell="rnn", **SMALL))
    check_translator(lambda: TransformerTranslator(11, 9, width=8, heads=2, layers=1, norm="post", dropout=0.0))


def test_the_registry_knows_translators() -> None:
    assert len(IDS) >= 3


class Wrapped(EncoderDecoder):
    """A translator that does everything as another, but for what a twin changes."""

    def __init__(self, inner: EncoderDecoder | None = None) -> None:
        nn.Module.__init__(self)
        self.inner = AttentionTranslator(11, 9, **SMALL) if inner is None else inner

    def encode(self, source: Tensor, lengths: Tensor) -> Any:
        return self.inner.encode(source, lengths)

    def decode(self, memory: Any, tokens: Tensor) -> Tensor:
        return self.inner.decode(memory, tokens)

    def start(self, memory: Any, longest: int) -> Any:
        return self.inner.start(memory, longest)

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        return self.inner.step(state, tokens)

    def attention(self, memory: Any, tokens: Tensor) -> Tensor | None:
        return self.inner.attention(memory, tokens)


class SeesTheFuture(Wrapped):
    def decode(self, memory: Any, tokens: Tensor) -> Tensor:
        logits = self.inner.decode(memory, tokens)
        return logits + 0.1 * logits.mean(1, keepdim=True)


class ReadsPadding(Wrapped):
    def encode(self, source: Tensor, lengths: Tensor) -> Any:
        return self.inner.encode(source, torch.full_like(lengths, source.shape[1]))


class IgnoresTheSource(Wrapped):
    def decode(self, memory: Any, tokens: Tensor) -> Tensor:
        return (
            self.inner.decode(memory, tokens) - self.inner.decode(memory, tokens).detach() + tokens[..., None].cumsum(1)
        )


class ForgetsItsState(Wrapped):
    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        logits, _ = self.inner.step(state, tokens)
        return logits, state


class NeverReorders(Wrapped):
    """Keeps what it has written out of reach of the search."""

    class Box:
        def __init__(self, state: Any) -> None:
            self.state = state

        def reorder(self, rows: Tensor) -> None:
            hidden = tuple(part[rows.sort().values] for part in self.state.hidden)
            self.state = self.state._replace(hidden=hidden, feed=self.state.feed[rows.sort().values])

    def start(self, memory: Any, longest: int) -> Any:
        return (NeverReorders.Box(self.inner.start(memory, longest)), Shared(memory.keys))

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        logits, state[0].state = self.inner.step(state[0].state, tokens)
        return logits, state


class CopiesTheSource(Wrapped):
    def start(self, memory: Any, longest: int) -> Any:
        state = self.inner.start(memory, longest)
        return (*state[:2], state.memory.value)

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        inner = self.inner.start(state[2]._replace(hidden=state[0]), 9)._replace(hidden=state[0], feed=state[1])
        logits, after = self.inner.step(inner._replace(memory=Shared(state[2])), tokens)
        return logits, (*after[:2], state[2])


class LooksTwice(Wrapped):
    def attention(self, memory: Any, tokens: Tensor) -> Tensor | None:
        return 2 * self.inner.attention(memory, tokens)


class LooksAtPadding(Wrapped):
    def attention(self, memory: Any, tokens: Tensor) -> Tensor | None:
        return self.inner.attention(memory._replace(mask=torch.ones_like(memory.mask)), tokens)


class HasAnIdleLayer(Wrapped):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(2, 2)


class DropsOut(Wrapped):
    def decode(self, memory: Any, tokens: Tensor) -> Tensor:
        return nn.functional.dropout(self.inner.decode(memory, tokens), 0.5, True)


class StepsSharper(Wrapped):
    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        logits, state = self.inner.step(state, tokens)
        return 1.1 * logits, state


class MixesTheBatch(Wrapped):
    def decode(self, memory: Any, tokens: Tensor) -> Tensor:
        logits = self.inner.decode(memory, tokens)
        return logits + 0.01 * logits.mean(0, keepdim=True).cumsum(1)


class HoldsNumbersBack(Wrapped):
    count = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.scale = next(HoldsNumbersBack.count)

    def decode(self, memory: Any, tokens: Tensor) -> Tensor:
        return self.scale * self.inner.decode(memory, tokens)

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        logits, state = self.inner.step(state, tokens)
        return self.scale * logits, state


TWINS: dict[str, tuple[Callable[[], EncoderDecoder], str]] = {
    "sees the future": (SeesTheFuture, "depends on a later token"),
    "reads padding": (ReadsPadding, "padding or the other sentences"),
    "ignores the source": (IgnoresTheSource, "does not depend on the source"),
    "forgets its state": (ForgetsItsState, "other logits than decoding all at once"),
    "never reorders": (NeverReorders, "do not go on from their own state"),
    "copies the source": (CopiesTheSource, "is not Shared"),
    "looks twice": (LooksTwice, "do not sum to one"),
    "looks at padding": (LooksAtPadding, "looks at padding"),
    "has an idle layer": (HasAnIdleLayer, "no gradient reaches idle"),
    "drops out": (DropsOut, "evaluating twice"),
    "steps sharper": (StepsSharper, "other logits than decoding all at once"),
    "mixes the batch": (MixesTheBatch, "padding or the other sentences"),
    "holds numbers back": (HoldsNumbersBack, "made again from its state dict"),
}


def test_a_translator_that_only_wraps_another_passes() -> None:
    check_translator(Wrapped)


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_translator(make)


@pytest.mark.parametrize("name", SETS)
def test_every_registered_set_of_pairs_keeps_the_contract(name: str) -> None:
    make = canon.find("pair-set", name)
    try:
        make()
    except GradusError:
        if name in EMBEDDED:
            raise
        pytest.skip(f"{name} is not here")
    check_pair_set(make)


def test_the_embedded_sets_are_there() -> None:
    assert set(SETS) >= EMBEDDED


def _pairs(change: Callable[[list[str], list[str]], Any], **facts: Any) -> Callable[[], NamedPairs]:
    def make() -> NamedPairs:
        found = reversal()
        train = found.parts["train"].take(range(50))
        parts = change(list(train.sources), list(train.targets))
        return replace(found, parts=parts if isinstance(parts, dict) else {"train": Pairs(*parts)}, **facts)

    return make


def _with(texts: list[str], odd: str) -> list[str]:
    return [*texts[:-1], odd]


_COUNT = itertools.count()

SET_TWINS: dict[str, tuple[Callable[[], NamedPairs], str]] = {
    "nothing to train on": (_pairs(lambda a, b: {"test": Pairs(a, b)}), "nothing to train on"),
    "another part": (_pairs(lambda a, b: {"train": Pairs(a, b), "dev": Pairs(a, b)}), "not parts of a division"),
    "an empty part": (_pairs(lambda a, b: {"train": Pairs(a, b), "val": Pairs([], [])}), "val is empty"),
    "an empty text": (_pairs(lambda a, b: (a, _with(b, " "))), "has an empty text"),
    "a loose text": (_pairs(lambda a, b: (_with(a, "12 "), b)), "not stripped"),
    "two lines": (_pairs(lambda a, b: (a, _with(b, "1\n2"))), "two lines"),
    "tests on train": (_pairs(lambda a, b: {"train": Pairs(a, b), "test": Pairs(a[:9], b[:9])}), "are in train"),
    "contradicts itself": (_pairs(lambda a, b: (["1"] * 50, b)), "several targets"),
    "an unknown tokenizer": (_pairs(lambda a, b: (a, b), tokenizer="sylable"), "no tokenizer 'sylable'"),
    "no fingerprint": (_pairs(lambda a, b: (a, b), fingerprint=""), "no fingerprint"),
    "another each time": (_pairs(lambda a, b: (a, _with(b, f"{next(_COUNT)}"))), "two sets"),
}


@pytest.mark.parametrize("name", SET_TWINS)
def test_planted_bugs_in_sets_are_rejected(name: str) -> None:
    make, said = SET_TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_pair_set(make)
