"""`gradus inspect`: the data doctor. It finds out what data is, images, a table, a text, …, and looks it over."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gradus.app.verb import Answer, Verb
from gradus.errors import GradusError, nearest

__all__ = ["Inspect"]


@dataclass(kw_only=True)
class Inspect(Verb):
    """The data doctor: gradus inspect DATA looks a data set, a folder or a file over before training."""

    data: str = "digits"
    """A registered set, a folder of images or texts, or a file (also given as the first word)."""
    kind: str | None = None
    """What it is: images, table, corpus, texts (with classes), pairs, tags or series; found out when left out."""
    target: str | None = None
    """The column to predict, or of pairs the file of the other side; its own, or the last one, when left out."""
    text_column: str | None = None
    """The column of texts; the one that is called so when left out."""
    data_dir: str | None = None
    """Where data sets are looked for; GRADUS_DATA when left out."""

    operands: ClassVar[tuple[str, ...]] = ("data",)

    def __call__(self) -> Answer:
        """Read everything and say what is there and what is wrong."""
        from gradus.data.kinds import KINDS, kind_of

        if self.kind is not None and self.kind not in KINDS:
            raise GradusError(f"--kind: there is no {self.kind!r}{nearest(self.kind, KINDS)}")
        kind = self.kind or kind_of(self.data, self.target)
        if self.text_column is not None and kind not in ("texts", "corpus"):
            raise GradusError(f"--text-column: {self.data!r} is read as {kind}, which has none; leave it out")
        started = time.perf_counter()
        data, lines = {"images": self._images, "table": self._table, "series": self._series}.get(kind, self._text)(kind)
        return Answer(data, "\n".join([*lines, f"  looked at in {time.perf_counter() - started:.1f} s"]))

    def _images(self, kind: str) -> tuple[dict[str, Any], list[str]]:
        """Look every image over."""
        from gradus.data.inspect import inspect

        found = inspect(self.data, data_dir=self.data_dir)
        return found.to_json(), _of_images(found)

    def _table(self, kind: str) -> tuple[dict[str, Any], list[str]]:
        """Say what the columns of a table are taken for."""
        from gradus.app.candidates import task_of
        from gradus.data.table_loading import load_table

        asked = task_of(self.data, self.target, self.data_dir)
        task: Any = asked.recipe.split("/")[1]
        found = load_table(self.data, target=asked.options.get("target"), task=task, data_dir=self.data_dir)
        rows = sum(len(part) for part in found.parts.values())
        notes = list(found.notes)
        told = {"data": self.data, "kind": kind, "rows": rows, "recipe": asked.recipe}
        lines = [f"{self.data}: {rows:,} rows, for {asked.recipe}", str(found.schema), *notes]
        return {**told, "schema": found.schema.to_json(), "notes": notes}, lines

    def _series(self, kind: str) -> tuple[dict[str, Any], list[str]]:
        """Say how long a series is, where it is divided, and whether it repeats itself."""
        from gradus.data.series import load_series

        found = load_series(self.data, target=self.target, data_dir=self.data_dir)
        values = found.values[:, 0]
        low, high, mean = values.min().item(), values.max().item(), values.mean().item()
        parts = {part: len(found.range(part)) for part in ("train", "val", "test")}
        lines = [
            f"{self.data}: a series of {len(values):,} steps, for sequence/forecast",
            "  " + ", ".join(f"{part} {count:,}" for part, count in parts.items()) + ", in the order of time",
            f"  {found.columns[0]}: {low:.4g} to {high:.4g}, on average {mean:.4g}",
            f"  repeats itself every {found.season} steps" if found.season > 1 else "  does not repeat itself",
        ]
        told = {"data": self.data, "kind": kind, "recipe": "sequence/forecast", "counts": parts}
        facts = {"target": found.columns[0], "least": low, "most": high, "mean": mean, "season": found.season}
        return {**told, **facts}, lines

    def _text(self, kind: str) -> tuple[dict[str, Any], list[str]]:
        """Look a text over, whatever its form."""
        from gradus.data.inspect_texts import LOOKS

        given: dict[str, Any] = {}
        if kind in ("texts", "corpus") and self.text_column is not None:
            given["text" if kind == "texts" else "field"] = self.text_column
        if kind in ("texts", "pairs"):
            given["target"] = self.target
        elif self.target is not None:
            raise GradusError(f"--target: {self.data!r} is read as {kind}, which has none; leave it out")
        found = LOOKS[kind](self.data, data_dir=self.data_dir, **given)
        return found.to_json(), _of_text(found)


def _of_images(found: Any) -> list[str]:
    """Return what the doctor of images found, for people."""
    lines = [f"{found.data}: {sum(found.images.values()):,} images"]
    for split, classes in found.classes.items():
        lines.append(f"  {split}: {found.images[split]:,} in {len(classes)} classes")
        lines += _bars(classes)
    lines.append("  sizes: " + ", ".join(f"{size} ({n:,})" for size, n in list(found.sizes.items())[:5]))
    lines.append("  colours: " + ", ".join(f"{kind} ({n:,})" for kind, n in found.channels.items()))
    if found.near_duplicates.groups:
        lines.append(
            f"  nearly equal images: {found.near_duplicates.images:,}, e.g. {found.near_duplicates.examples[0]}"
        )
    return [*lines, *_told(found.problems)]


# What is counted of each kind of text.
COUNTED = {"corpus": "documents", "texts": "texts", "pairs": "pairs", "tags": "sentences"}


def _of_text(found: Any) -> list[str]:
    """Return what the doctor of texts found, for people."""
    noun = COUNTED[found.kind]
    size, of = (found.characters, "characters") if found.kind == "corpus" else (found.counts, noun)
    lines = [f"{found.data}: {sum(size.values()):,} {of}, for {found.recipe}"]
    for split, count in found.counts.items():
        told = f"  {split}: {count:,} {noun}, {found.characters.get(split, 0):,} characters"
        lines.append(told + (f", {len(found.classes[split])} {_classes(found.kind)}" if found.classes else ""))
        if split == "train":
            lines += _bars(found.classes.get(split, {}))
    words = found.words
    if words.least < words.most:
        few, many = f"{words.least:,}", f"{words.most:,}"
        lines.append(f"  words each: {words.median:,} (median), {words.most95:,} (95 %), {few} to {many}")
    lines.append(
        f"  vocabulary: {found.vocabulary:,} words, {found.once:,} of them once; {found.alphabet:,} characters; "
        f"unseen in test: {found.unseen:.1%} of the words"
    )
    if found.repeated:
        lines.append(f"  repeated {noun}: {found.repeated:,}")
    return [*lines, *(f"  {note}" for note in found.notes), *_told(found.problems)]


def _classes(kind: str) -> str:
    return "tags" if kind == "tags" else "classes"


def _bars(classes: Mapping[str, int]) -> list[str]:
    """Return a bar for each class."""
    widest, most = max(map(len, classes), default=0), max(classes.values(), default=0) or 1
    bars = [f"    {name:<{widest}} {n:>7,} {'█' * round(24 * n / most)}" for name, n in classes.items()]
    return bars if len(bars) <= 24 else [*bars[:20], f"    … and {len(bars) - 20} more"]


def _told(problems: Iterable[str]) -> list[str]:
    found = [f"    {problem}" for problem in problems]
    return ["  problems:", *found] if found else ["  no problems"]
