"""Our stemmer against NLTK's, on every word of the standard library's source."""

import re
import sysconfig
from pathlib import Path

import pytest

from gradus.sequence.classification.stemming import measure, stem

porter = pytest.importorskip("nltk.stem.porter")


def test_every_word_of_the_standard_library_has_the_same_stem() -> None:
    words: set[str] = set()
    for path in Path(sysconfig.get_path("stdlib")).glob("*.py"):
        words |= set(re.findall(r"[a-z]+", path.read_text("utf-8", "replace").lower()))
    assert len(words) > 5_000
    peer = porter.PorterStemmer(mode=porter.PorterStemmer.ORIGINAL_ALGORITHM)
    assert [(word, stem(word)) for word in words if stem(word) != peer.stem(word)] == []


def test_made_up_words_have_the_same_stem() -> None:
    """Every ending behind stems of every measure, so that each rule is met with its condition true and false."""
    from gradus.sequence.classification.stemming import FOURTH, SECOND, THIRD

    endings = [*SECOND, *THIRD, *FOURTH, "", "s", "es", "ies", "sses", "ss", "eed", "ed", "ing", "y", "e", "ll", "lle"]
    stems = ["", "tr", "tree", "oat", "hop", "hopp", "conflat", "siz", "fizz", "orrer", "controll", "adopt", "box",
             "say", "oaten", "yy"]  # fmt: skip
    peer = porter.PorterStemmer(mode=porter.PorterStemmer.ORIGINAL_ALGORITHM)
    words = [a + b + c for a in stems for b in endings for c in ("", "s", "ing", "e")]
    assert [(word, stem(word)) for word in words if word and stem(word) != peer.stem(word)] == []


def test_measures_are_those_of_the_paper() -> None:
    wanted = {0: "tr ee tree y by", 1: "trouble oats trees ivy", 2: "troubles private oaten orrery"}
    assert all(measure(word) == m for m, words in wanted.items() for word in words.split())
