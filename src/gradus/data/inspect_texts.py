"""The data doctor for text: looks corpora, labelled texts, pairs of texts and tagged sentences over before training.

It counts texts, words and characters by split, says how long texts are and how many words of the test part were never
seen in training, and finds what spoils results: equal texts in more than one split or under more than one class, texts
decoded wrongly, markup left over, characters that are none. What it finds wrong is told in sentences; nothing is
printed or changed. A corpus is read piece by piece and may be larger than memory.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradus.data.corpora import Corpus, load_corpus
from gradus.data.findings import number, some, unbalanced
from gradus.data.labelled_text import load_labelled
from gradus.data.pairs import load_pairs
from gradus.data.tagged import load_tagged
from gradus.data.tokenizer_layouts import WORD

__all__ = ["LOOKS", "Spread", "TextInspection", "look_at_corpus", "look_at_labelled", "look_at_pairs", "look_at_tagged"]

SHOWN = 5
STRETCHED = 9  # times as long is one side of a pair as the other
FEW = 20  # characters, below which a ratio of lengths says nothing
LITTLE = 20_000  # characters of a corpus
UNSEEN = 0.25  # share of the test part's words
WORDS = re.compile(WORD)
# What a text should not hold, and what to do about it.
FAULTS = {
    "garbled": (
        re.compile("[ÃÂ][\u0080-\u00bf]|â[€\u0080][\u0080-\u00bf™œ˜“”]|\ufffd"),  # UTF-8 taken for Latin-1, and lost
        "characters that were decoded wrongly: write the file anew as UTF-8",
    ),
    "odd": (
        re.compile("[\u0000-\u0008\u000b\u000e-\u001f\u007f\u200b\u2060\ufeff\ue000-\uf8ff]"),
        "control, invisible or private characters: remove them",
    ),
    "markup": (
        re.compile(r"</?(?:br|p|div|span|a|b|i|li|ul|td|tr)\b[^<>]*>|&(?:amp|lt|gt|quot|nbsp|#\d+);", re.IGNORECASE),
        "HTML: take it out, unless it is what you want to model",
    ),
    "decomposed": (
        re.compile("[A-Za-z][\u0300-\u036f]"),
        "letters and their accents apart (not Unicode's form NFC), which are not equal to the letters in one",
    ),
}


@dataclass(frozen=True)
class Spread:
    """How large something is over many texts.

    Attributes:
        least: of all.
        median: half are no larger.
        most95: 95 % are no larger.
        most: of all.
    """

    least: int
    median: int
    most95: int
    most: int

    @staticmethod
    def of(sizes: Sequence[int]) -> "Spread":
        """Return the spread of some numbers, at least one."""
        found = np.quantile(np.asarray(sizes), (0.0, 0.5, 0.95, 1.0), method="inverted_cdf")
        return Spread(*(int(size) for size in found))


@dataclass(frozen=True)
class TextInspection:
    """What is known of text.

    Attributes:
        data: the name, file or folder that was asked for.
        kind: what it was read as: corpus, texts, pairs or tags.
        recipe: the recipe that it suits first.
        counts: documents, texts, pairs or sentences by split.
        classes: how many by split and class; of tags, tokens by split and tag; empty where there are none.
        words: how many words a text has, of train.
        characters: characters by split.
        vocabulary: different words of train.
        once: those of them that occur once.
        unseen: share of the words of test, counted as often as they occur, that train does not have.
        alphabet: different characters of train.
        repeated: texts that occur more than once, counted once each.
        across_splits: names of the first equal texts in more than one split, and how many there are.
        across_classes: the same for more than one class.
        notes: what loading left out.
        problems: what is wrong, in sentences.
    """

    data: str
    kind: str
    recipe: str
    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    words: Spread
    characters: dict[str, int]
    vocabulary: int
    once: int
    unseen: float
    alphabet: int
    repeated: int
    across_splits: tuple[int, list[str]]
    across_classes: tuple[int, list[str]]
    notes: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return everything as a tree that JSON takes."""
        return asdict(self)


class _Reader:
    """Counts over the texts of all splits, each read once; of every fault, where it first shows in each text."""

    def __init__(self) -> None:
        self.words: dict[str, Counter[str]] = defaultdict(Counter)
        self.alphabet: set[str] = set()
        self.characters: Counter[str] = Counter()
        self.faults: dict[str, dict[str, str]] = {fault: {} for fault in FAULTS}

    def read(self, split: str, name: str, text: str) -> int:
        """Take a text, or a piece of one, in; return how many words it has."""
        found = WORDS.findall(text)
        self.words[split].update(word.lower() for word in found)
        self.characters[split] += len(text)
        if split == "train":
            self.alphabet.update(text)
        for fault, (seen, _) in FAULTS.items():
            if place := seen.search(text):
                self.faults[fault].setdefault(name, text[max(0, place.start() - 20) : place.end() + 20])
        return len(found)

    def unseen(self) -> float:
        """Return the share of test's words that train lacks; 0 where there is no test."""
        known, test = self.words["train"], self.words["test"]
        total = sum(test.values())
        return sum(count for word, count in test.items() if word not in known) / total if total else 0.0


def look_at_corpus(data: str, *, data_dir: str | Path | None = None, field: str = "text") -> TextInspection:
    """Return what is in a corpus as `load_corpus` reads it; raises as that does."""
    splits = load_corpus(data, data_dir=data_dir, field=field)
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    reader = _Reader()
    lengths = {part: list(_documents(reader, part, corpus)) for part, corpus in parts.items()}["train"]
    marks = Counter(span.document.mark for span in splits.train.spans)
    return _judged(
        reader, data=data, kind="corpus", recipe="sequence/language-model",
        counts={part: len(corpus) for part, corpus in parts.items()}, classes={}, lengths=lengths,
        repeated=sum(count > 1 for count in marks.values()),
        across_splits=(0, []), across_classes=(0, []), more=(),
    )  # fmt: skip


def _documents(reader: _Reader, split: str, corpus: Corpus) -> Iterator[int]:
    """Yield how many words each document has."""
    words, number = 0, 1
    for piece, ends in corpus.pieces():
        words += reader.read(split, f"{split} document {number}", piece)
        if ends:
            yield words
            words, number = 0, number + 1


def look_at_labelled(
    data: str, *, target: str | None = None, data_dir: str | Path | None = None, text: str | None = None
) -> TextInspection:
    """Return what is in labelled texts as `load_labelled` reads them; raises as that does."""
    splits = load_labelled(data, target=target, text=text, data_dir=data_dir)
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    rows = [
        (part, " ".join(" ".join(text.split()) for text in texts), splits.classes[label])
        for part, held in parts.items()
        for label, *texts in zip(held.labels.tolist(), *_sides(held), strict=True)
    ]
    classes = {part: dict.fromkeys(splits.classes, 0) for part in parts}
    for part, _, label in rows:
        classes[part][label] += 1
    return _rows(
        rows, data=data, kind="texts", recipe="sequence/classify", classes=classes, notes=splits.notes,
        more=unbalanced(classes["train"], "texts"),
    )  # fmt: skip


def _sides(held: Any) -> tuple[Sequence[str], ...]:
    return (held.texts,) if held.pairs is None else (held.texts, held.pairs)


def look_at_pairs(data: str, *, target: str | None = None, data_dir: str | Path | None = None) -> TextInspection:
    """Return what is in pairs of texts as `load_pairs` reads them; raises as that does."""
    splits = load_pairs(data, target=target, data_dir=data_dir)
    rows = [
        (part, f"{source} → {aim}", "")
        for part, pairs in splits.parts.items()
        for source, aim in zip(pairs.sources, pairs.targets, strict=True)
    ]
    return _rows(
        rows, data=data, kind="pairs", recipe="sequence/translate", classes={}, notes=splits.notes,
        more=_odd_pairs(splits.parts),
    )  # fmt: skip


def _odd_pairs(parts: Mapping[str, Any]) -> Iterator[str]:
    """Tell of pairs whose sides hardly belong together, and of sources with several translations."""
    stretched, same, total = [], 0, 0
    meanings: dict[str, set[str]] = defaultdict(set)
    for part, pairs in parts.items():
        for i, (source, aim) in enumerate(zip(pairs.sources, pairs.targets, strict=True), 1):
            total, same = total + 1, same + (source == aim)
            meanings[source].add(aim)
            short, long = sorted((len(source), len(aim)))
            if long > FEW and long > STRETCHED * short:
                stretched.append(f"{part} {i}")
    if stretched:
        yield f"{number(len(stretched), 'pair')} with one side over {STRETCHED} times as long: {some(stretched)}"
    if same and same < total:
        yield f"{number(same, 'pair')} with the same text on both sides"
    if several := sum(len(found) > 1 for found in meanings.values()):
        yield f"{number(several, 'source')} with more than one target, of which a model can give one only"


def look_at_tagged(data: str, *, data_dir: str | Path | None = None) -> TextInspection:
    """Return what is in tagged sentences as `load_tagged` reads them; raises as that does."""
    splits = load_tagged(data, data_dir=data_dir)
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    rows = [(part, " ".join(tokens), " ".join(tags)) for part, held in parts.items()
            for tokens, tags in zip(held.tokens, held.tags, strict=True)]  # fmt: skip
    classes = {
        part: dict(Counter(tag for tags in held.tags for tag in tags).most_common()) for part, held in parts.items()
    }
    return _rows(
        rows, data=data, kind="tags", recipe="sequence/tag", classes=classes,
        more=unbalanced(classes["train"], "tokens"),
    )  # fmt: skip


def _rows(rows: Sequence[tuple[str, str, str]], **known: Any) -> TextInspection:
    """Return what is in texts that are held in memory: split, text and label of each."""
    reader = _Reader()
    places: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    counts: Counter[str] = Counter()
    lengths = []
    for split, text, label in rows:
        counts[split] += 1
        name = f"{split} {counts[split]}"
        words = reader.read(split, name, text)
        if split == "train":
            lengths.append(words)
        places[" ".join(text.split())].append((split, name, label))
    groups = [(text, held) for text, held in places.items() if len(held) > 1]
    over = [text for text, held in groups if len({split for split, _, _ in held}) > 1]
    unsure = [text for text, held in groups if len({label for _, _, label in held}) > 1]
    return _judged(
        reader, counts={part: counts[part] for part in ("train", "val", "test")}, lengths=lengths,
        repeated=len(groups), across_splits=(len(over), [_cut(text) for text in over[:SHOWN]]),
        across_classes=(len(unsure), [_cut(text) for text in unsure[:SHOWN]]), **known,
    )  # fmt: skip


def _judged(reader: _Reader, *, lengths: Sequence[int], more: Iterable[str], **known: Any) -> TextInspection:
    words = reader.words["train"]
    found = TextInspection(
        words=Spread.of(lengths), characters=dict(reader.characters), vocabulary=len(words),
        once=sum(count == 1 for count in words.values()), unseen=reader.unseen(), alphabet=len(reader.alphabet),
        **known,
    )  # fmt: skip
    found.problems.extend([*more, *_problems(found, reader.faults)])
    return found


def _problems(found: TextInspection, faults: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    count, examples = found.across_splits
    if count:
        yield f"{number(count, 'text')} in more than one split, which flatters results: {_quoted(examples)}"
    count, examples = found.across_classes
    if count:
        what = "with more than one tagging" if found.kind == "tags" else "under more than one class"
        yield f"{number(count, 'text')} {what}: {_quoted(examples)}"
    for fault, (_, remedy) in FAULTS.items():
        if places := faults[fault]:
            name, excerpt = next(iter(places.items()))
            yield f"{number(len(places), 'text')} with {remedy}; {name} has {excerpt!r}"
    if found.kind == "corpus" and (size := sum(found.characters.values())) < LITTLE:
        yield f"{size:,} characters are little to learn from: a model will know them by heart; bring more text"
    if found.unseen > UNSEEN and found.counts.get("test"):
        yield (
            f"{found.unseen:.0%} of the words of test do not occur in train: a tokenizer of subwords "
            "(--tokenizer bpe) copes with that, one of words does not"
        )


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _quoted(examples: Sequence[str]) -> str:
    return repr(examples[0]) + (", …" if len(examples) > 1 else "")


LOOKS: dict[str, Callable[..., TextInspection]] = {
    "corpus": look_at_corpus, "texts": look_at_labelled, "pairs": look_at_pairs, "tags": look_at_tagged,
}  # fmt: skip
