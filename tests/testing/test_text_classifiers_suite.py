"""`check_text_classifier` passes every registered classifier of texts, and rejects planted bugs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.sequence.classification.models import build
from gradus.testing.text_classifiers import CLASSES, VOCABULARY, check_text_classifier

NAMES = sorted(canon.names("text-classifier"))
SETTINGS = [
    ("rnn", {"pooling": "last", "layers": 2, "bidirectional": True}),
    ("lstm", {"pooling": "last", "bidirectional": False}),
    ("gru", {"pooling": "mean"}),
    ("cnn", {"windows": (1, 9), "bound": None}),
    ("bow", {"sublinear": True, "normalise": False}),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_text_classifier_keeps_the_contract(name: str) -> None:
    documented = canon.find("text-classifier", name)
    check_text_classifier(lambda: build(name, vocabulary=VOCABULARY, classes=CLASSES), name=name, documented=documented)


@pytest.mark.parametrize("name, settings", SETTINGS)
def test_other_settings_keep_it_too(name: str, settings: dict) -> None:
    check_text_classifier(lambda: build(name, vocabulary=VOCABULARY, classes=CLASSES, **settings), name=name)


def test_examples_are_of_the_size_that_the_suite_wants() -> None:
    for id in {entry.id for entry in canon.names("text-classifier").values()}:
        canon.load(canon.scan()[id])
        make = canon.example(id)
        assert make is not None, f"{id} has no example"
        assert make().head.out_features == CLASSES


class Plain(nn.Module):
    """A sound classifier, whose parts the twins below spoil: the mean of the words' vectors, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Embedding(VOCABULARY, 4, padding_idx=0)
        self.head = nn.Linear(4, CLASSES)

    def there(self, rows: Tensor, lengths: Tensor | None) -> Tensor:
        ends = torch.full((len(rows),), rows.shape[1]) if lengths is None else lengths
        return (torch.arange(rows.shape[1]) < ends[:, None])[..., None]

    def embed(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.trunk(tokens)

    def from_embedded(self, embedded: Tensor, lengths: Tensor | None = None) -> Tensor:
        there = self.there(embedded, lengths)
        return self.head((embedded * there).sum(1) / there.sum(1))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.from_embedded(self.embed(tokens, lengths), lengths)


class AveragesPadding(Plain):
    def from_embedded(self, embedded, lengths=None):
        return self.head((embedded * self.there(embedded, lengths)).mean(1))


class ReadsPadding(Plain):
    def from_embedded(self, embedded, lengths=None):
        return self.head(embedded.mean(1))


class ReadsWhatStandsInThePadding(Plain):
    def there(self, rows, lengths):
        return super().there(rows, lengths) if lengths is None else (rows.abs().sum(2, keepdim=True) > 0)


class LooksAtItsNeighbours(Plain):
    def forward(self, tokens, lengths=None):
        scores = super().forward(tokens, lengths)
        return scores - 0.1 * scores.mean(0)


class IsDeaf(Plain):
    def forward(self, tokens, lengths=None):
        return super().forward(torch.ones_like(tokens), lengths)


class AlwaysDrops(Plain):
    def from_embedded(self, embedded, lengths=None):
        return super().from_embedded(nn.functional.dropout(embedded, 0.5), lengths)


class CutsTheGradient(Plain):
    def from_embedded(self, embedded, lengths=None):
        return super().from_embedded(embedded.detach(), lengths)


class HasTwoWays(Plain):
    def forward(self, tokens, lengths=None):
        return 2 * super().forward(tokens, lengths)


class ChangesItsTokens(Plain):
    def forward(self, tokens, lengths=None):
        return super().forward(tokens.clamp_(max=20), lengths)


class KeepsAWeightIdle(Plain):
    def __init__(self):
        super().__init__()
        self.head.idle = nn.Parameter(torch.zeros(2))


class HidesAWeight(Plain):
    def __init__(self):
        super().__init__()
        self.hidden = [torch.randn(CLASSES)]

    def from_embedded(self, embedded, lengths=None):
        return super().from_embedded(embedded, lengths) + self.hidden[0].to(embedded)


class HasAnotherHead(Plain):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, CLASSES + 1)


class HasNoTrunk(Plain):
    def __init__(self):
        super().__init__()
        self.words = self.trunk
        del self.trunk

    def embed(self, tokens, lengths=None):
        return self.words(tokens)


class IsSeededByTheClock(Plain):
    def __init__(self):
        super().__init__()
        generator = torch.Generator()
        generator.seed()
        nn.init.normal_(self.head.weight, generator=generator)


class FailsOnNothing(Plain):
    def from_embedded(self, embedded, lengths=None):
        return super().from_embedded(embedded, lengths) / (self.there(embedded, lengths).sum(1) - 1)


TWINS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "averages padding": (AveragesPadding, "depend on the batch around it|more padding"),
    "reads padding": (ReadsPadding, "depend on the batch around it"),
    "reads what stands in the padding": (ReadsWhatStandsInThePadding, "stands in the padding|around it"),
    "looks at its neighbours": (LooksAtItsNeighbours, "depend on the batch around it"),
    "is deaf": (IsDeaf, "do not depend on the text"),
    "always drops": (AlwaysDrops, "the second time|without lengths"),
    "cuts the gradient": (CutsTheGradient, "do not depend on what is read|not differentiable"),
    "has two ways": (HasTwoWays, "forward is not from_embedded"),
    "changes its tokens": (ChangesItsTokens, "changed in place"),
    "keeps a weight idle": (KeepsAWeightIdle, "no gradient reaches head.idle"),
    "has no trunk": (HasNoTrunk, ".trunk is no module"),
    "hides a weight": (HidesAWeight, "same state gives other scores"),
    "has another head": (HasAnotherHead, r"scores of 1 texts are \(1, 4\)"),
    "is seeded by the clock": (IsSeededByTheClock, "the same seed|same state"),
    "fails on a text of one word": (FailsOnNothing, "not finite"),
}


def test_the_sound_one_passes() -> None:
    check_text_classifier(Plain, name="plain")


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_text_classifier(make, name=name)


def test_a_silent_docstring_is_rejected() -> None:
    def silent(vocabulary: int) -> None:
        """Say nothing of what it takes."""

    with pytest.raises(AssertionError, match="does not tell of 'vocabulary'"):
        check_text_classifier(Plain, name="plain", documented=silent)
