"""The contract of registered sets of pairs: texts on both sides, the same every time, what is tested kept apart.

`check_pair_set` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

from gradus.canon import names
from gradus.data.pair_sets import NamedPairs

__all__ = ["check_pair_set"]

SHARE = 0.01


def check_pair_set(make: Callable[[], NamedPairs]) -> None:
    """Assert the contract of a registered set of pairs.

    There is a training part, and no part but train, val and test; every pair has text on both sides, stripped and on
    one line; hardly a source of val or test is one of train's; most sources have one target only; there is a known
    tokenizer for it; a second reading gives the same, fingerprint included.

    Args:
        make: returns the set.

    Raises:
        AssertionError: naming what was broken.
    """
    found = make()
    assert "train" in found.parts, "there is nothing to train on"
    assert set(found.parts) <= {"train", "val", "test"}, f"{sorted(found.parts)} are not parts of a division"
    for part, pairs in found.parts.items():
        assert len(pairs), f"{part} is empty"
        for text in (*pairs.sources, *pairs.targets):
            assert text.strip(), f"{part} has an empty text"
            assert text == text.strip(), f"the text {text!r} is not stripped"
            assert "\n" not in text, f"the text {text!r} has two lines"
    train = found.parts["train"]
    known = set(train.sources)
    for part in ("val", "test"):
        seen = sum(source in known for source in found.parts[part].sources) if part in found.parts else 0
        assert seen <= SHARE * len(found.parts.get(part, train)), f"{seen} sources of {part} are in train"
    different = set(zip(train.sources, train.targets, strict=True))
    assert len(different) - len(known) <= 0.1 * len(different), "many sources have several targets"
    assert found.tokenizer in names("tokenizer"), f"there is no tokenizer {found.tokenizer!r}"
    again = make()
    assert found.fingerprint, "it has no fingerprint"
    assert again.fingerprint == found.fingerprint, "reading it twice gives two fingerprints"
    assert all(
        (list(again.parts[part].sources), list(again.parts[part].targets)) == (list(p.sources), list(p.targets))
        for part, p in found.parts.items()
    ), "reading it twice gives two sets"
