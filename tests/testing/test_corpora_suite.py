"""`check_corpus` passes every registered corpus that is on this machine, and rejects each of a family of bugs."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from gradus import canon
from gradus.data.corpora import NamedCorpus
from gradus.data.documents import Text
from gradus.errors import GradusError
from gradus.testing.corpora import check_corpus

NAMES = sorted(canon.names("corpus"))
EMBEDDED = {"python-source"}
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_corpus_keeps_the_contract(name: str) -> None:
    make = lambda: canon.find("corpus", name)(data_dir=os.environ.get("GRADUS_DATA") or SHARED)
    try:
        make()
    except GradusError:
        if name in EMBEDDED:
            raise
        pytest.skip(f"{name} is not here")
    check_corpus(make)


def test_the_embedded_corpus_is_there() -> None:
    assert set(NAMES) >= EMBEDDED


HONEST = NamedCorpus([Text(f"document {i}, some text") for i in range(20)], "of twenty documents")


@dataclass(frozen=True)
class Odd:
    """A document that may lie about itself."""

    text: str
    characters: int
    mark: str

    def chunks(self) -> Iterator[str]:
        yield self.text


_TIMES = count()


@dataclass(frozen=True)
class Restless(Odd):
    def chunks(self) -> Iterator[str]:
        yield f"{next(_TIMES) % 7}"


def _with(*documents: object) -> Callable[[], NamedCorpus]:
    return lambda: replace(HONEST, documents=[*HONEST.documents, *documents])


TWINS: dict[str, tuple[Callable[[], NamedCorpus], str]] = {
    "no documents": (lambda: replace(HONEST, documents=[]), "no documents"),
    "an empty one": (_with(Text(" \n")), "a document is empty"),
    "binary": (_with(Text("a\0b")), "zero byte"),
    "miscounts": (_with(Odd("abc", 4, "m")), "has 3 characters, not 4"),
    "restless": (_with(Restless("", 1, "m")), "gives two texts"),
    "no fingerprint": (lambda: replace(HONEST, fingerprint=""), "no fingerprint"),
    "new fingerprints": (lambda: replace(HONEST, fingerprint=str(next(_TIMES))), "two fingerprints"),
    "new documents": (lambda: _with(Text(f"number {next(_TIMES)}"))(), "other documents"),
    "one mark": (_with(Odd("abc", 3, "m"), Odd("abd", 3, "m")), "have one mark"),
    "two marks": (_with(Odd("abc", 3, "m"), Odd("abc", 3, "n")), "have different marks"),
    "all test": (lambda: replace(HONEST, test_share=1.0), "nothing to train on"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_corpus(make)


def test_an_honest_corpus_passes() -> None:
    check_corpus(lambda: HONEST)
