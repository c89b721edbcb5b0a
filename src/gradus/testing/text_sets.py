"""The contract of registered sets of labelled texts: one line of text each, in classes that all can be learned.

`check_text_set` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

from gradus.data.labelled_text_sets import NamedTexts

__all__ = ["check_text_set"]


def check_text_set(make: Callable[[], NamedTexts]) -> None:
    """Assert the contract of a registered text set.

    Texts are stripped, hold something, and stand on one line; there are as many labels, each the place of a class; the
    classes differ, and every one is in train; the splits are train and perhaps val and test, share no row and together
    hold all; pairs are as many as texts; a second reading gives the same.

    Args:
        make: returns the set.

    Raises:
        AssertionError: naming what was broken.
    """
    found = make()
    count, classes = len(found.texts), found.classes
    assert len(found.labels) == count > 0, f"there are {len(found.labels)} labels for {count} texts"
    assert len(set(classes)) == len(classes) > 1, f"the classes {classes} are not two or more different ones"
    for texts in (found.texts, found.pairs or ()):
        odd = next((text for text in texts if text != text.strip() or not text), None)
        assert odd is None, f"the text {odd!r} is empty or not stripped"
        broken = next((text for text in texts if "\n" in text or "\r" in text), None)
        assert broken is None, f"the text {broken!r} is more than a line"
    assert found.pairs is None or len(found.pairs) == count, "there are not as many second texts as texts"
    wrong = next((label for label in found.labels if not 0 <= label < len(classes)), None)
    assert wrong is None, f"the label {wrong} is no place among {len(classes)} classes"
    assert "train" in found.parts, "there is no train split"
    assert set(found.parts) <= {"train", "val", "test"}, f"{sorted(found.parts)} are not train, val and test"
    rows = sorted(row for part in found.parts.values() for row in part)
    assert rows == list(range(count)), "the splits do not share out the rows: some are left over or in two splits"
    learned = {found.labels[row] for row in found.parts["train"]}
    missing = [name for label, name in enumerate(classes) if label not in learned]
    assert not missing, f"the class {missing[0]!r} is not in train" if missing else ""
    again = make()
    assert found.fingerprint, "it has no fingerprint"
    same = list(again.texts) == list(found.texts) and list(again.labels) == list(found.labels)
    assert same, "reading it twice gives two sets"
    assert again.fingerprint == found.fingerprint, "reading it twice gives two fingerprints"
