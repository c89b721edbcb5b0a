"""`check_tag_set` passes every registered tag set that is on this machine, and rejects planted bugs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gradus import canon
from gradus.data.tagged_sets import NamedTags
from gradus.errors import GradusError
from gradus.testing.tag_sets import check_tag_set

NAMES = sorted(canon.names("tag-set"))
EMBEDDED = {"python-roles"}


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_tag_set_keeps_the_contract(name: str) -> None:
    make = canon.find("tag-set", name)
    try:
        make()
    except GradusError:
        if name in EMBEDDED:
            raise
        pytest.skip(f"{name} is not here")
    check_tag_set(make)


def test_the_embedded_set_is_there() -> None:
    assert set(NAMES) >= EMBEDDED


GOOD = NamedTags(
    [(("a", "b"), ("X", "Y")), (("c",), ("X",)), (("d",), ("Y",))], {"train": range(2), "val": range(2, 3)}, "f"
)


def _with(**changes: Any) -> Callable[[], NamedTags]:
    return lambda: replace(GOOD, **changes)


_COUNT = iter(range(100))

TWINS: dict[str, tuple[Callable[[], NamedTags], str]] = {
    "no fingerprint": (_with(fingerprint=""), "no fingerprint"),
    "ragged": (_with(sentences=[(("a", "b"), ("X",))]), "2 tokens and 1 tags"),
    "empty": (_with(sentences=[((), ())]), "is empty"),
    "blanks": (_with(sentences=[(("a b",), ("X",))]), "no token"),
    "no train": (_with(parts={"test": range(3)}), "no train"),
    "strange part": (_with(parts={"train": range(2), "dev": range(2, 3)}), "known parts"),
    "overlapping": (_with(parts={"train": range(3), "val": range(2, 3)}), "share a sentence"),
    "beyond": (_with(parts={"train": range(4)}), "goes beyond"),
    "one tag": (_with(sentences=[(("a",), ("X",)), (("b",), ("X",)), (("c",), ("X",))]), "one tag only"),
    "strange tag": (_with(sentences=[*GOOD.sentences[:2], (("d",), ("Z",))]), "'Z' is not in train"),
    "twice": (_with(sentences=[GOOD.sentences[0]] * 3), "there twice"),
    "another each time": (lambda: replace(GOOD, fingerprint=str(next(_COUNT))), "two fingerprints"),
}


def test_the_good_one_passes() -> None:
    check_tag_set(_with())


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_tag_set(make)
