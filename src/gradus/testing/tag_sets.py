"""The contract of registered tag sets: sentences whose every token has a tag, and one meaning a set.

`check_tag_set` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

from gradus.data.tagged_sets import NamedTags

__all__ = ["check_tag_set"]


def check_tag_set(make: Callable[[], NamedTags]) -> None:
    """Assert the contract of a registered tag set.

    Every sentence has a token, and a tag for each; tokens and tags are text without blanks; there are two
    tags at least; no two sentences of train are alike; the parts do not overlap, are those that are known, and every
    tag of val and test is in train; a second reading gives the same.

    Args:
        make: returns the set.

    Raises:
        AssertionError: naming what was broken.
    """
    found = make()
    assert found.fingerprint, "it has no fingerprint"
    for row, (tokens, tags) in enumerate(found.sentences):
        assert tokens, f"sentence {row} is empty"
        assert len(tokens) == len(tags), f"sentence {row} has {len(tokens)} tokens and {len(tags)} tags"
        loose = next((word for word in (*tokens, *tags) if not word or any(c.isspace() for c in word)), None)
        assert loose is None, f"{loose!r} in sentence {row} is no token and no tag"
    assert "train" in found.parts, "there is no train"
    assert set(found.parts) <= {"train", "val", "test"}, f"{', '.join(found.parts)} are not all known parts"
    rows = [row for part in found.parts.values() for row in part]
    assert len(set(rows)) == len(rows), "two parts share a sentence"
    assert all(0 <= row < len(found.sentences) for row in rows), "a part goes beyond the sentences"
    train = [found.sentences[row] for row in found.parts["train"]]
    known = {tag for _, tags in train for tag in tags}
    assert len(known) >= 2, "there is one tag only"
    assert len({tuple(tokens) for tokens, _ in train}) == len(train), "a sentence of train is there twice"
    strange = {tag for row in rows for tag in found.sentences[row][1]} - known
    assert not strange, f"the tag {min(strange, default='')!r} is not in train"
    again = make()
    assert again.fingerprint == found.fingerprint, "reading it twice gives two fingerprints"
    assert list(again.sentences) == list(found.sentences), "reading it twice gives two sets"
