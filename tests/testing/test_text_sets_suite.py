"""`check_text_set` passes every registered text set that is on this machine, and rejects planted bugs."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gradus import canon
from gradus.data.labelled_text_sets import NamedTexts
from gradus.errors import GradusError
from gradus.testing.text_sets import check_text_set

NAMES = sorted(canon.names("text-set"))
SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_text_set_keeps_the_contract(name: str) -> None:
    make = functools.partial(canon.find("text-set", name), data_dir=SHARED)
    try:
        make()
    except GradusError:
        if name == "python-docs":
            raise
        pytest.skip(f"{name} is not here")
    check_text_set(make)


GOOD = NamedTexts(["a b", "c d", "e f", "g h"], [0, 1, 0, 1], ("x", "y"), {"train": range(3), "test": range(3, 4)}, "1")
_COUNT = iter(range(100))

TWINS: dict[str, tuple[Callable[[], NamedTexts], str]] = {
    "empty text": (lambda: replace(GOOD, texts=["a b", "", "e f", "g h"]), "empty or not stripped"),
    "loose text": (lambda: replace(GOOD, texts=["a b", " c", "e f", "g h"]), "empty or not stripped"),
    "two lines": (lambda: replace(GOOD, texts=["a b", "c\nd", "e f", "g h"]), "more than a line"),
    "label of no class": (lambda: replace(GOOD, labels=[0, 2, 0, 1]), "no place among 2"),
    "a label short": (lambda: replace(GOOD, labels=[0, 1, 0]), "3 labels for 4 texts"),
    "one class": (lambda: replace(GOOD, classes=("x",), labels=[0] * 4), "not two or more"),
    "one name twice": (lambda: replace(GOOD, classes=("x", "x")), "not two or more"),
    "a row in two splits": (lambda: replace(GOOD, parts={"train": range(4), "test": range(3, 4)}), "share out"),
    "a row in no split": (lambda: replace(GOOD, parts={"train": range(3)}), "share out"),
    "a split of its own": (lambda: replace(GOOD, parts={"train": range(3), "dev": range(3, 4)}), "not train, val"),
    "a class only in test": (lambda: replace(GOOD, labels=[0, 0, 0, 1]), "'y' is not in train"),
    "pairs for some": (lambda: replace(GOOD, pairs=["a"]), "second texts"),
    "no fingerprint": (lambda: replace(GOOD, fingerprint=""), "no fingerprint"),
    "another each time": (lambda: replace(GOOD, texts=[f"a {next(_COUNT)}", "c", "e", "g"]), "two sets"),
}


def test_a_good_one_passes() -> None:
    check_text_set(lambda: GOOD)


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_text_set(make)
