"""`gradus translate`: texts by a translator, the n best of each, and a picture of where it looked."""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gradus.app.using import RunVerb
from gradus.app.verb import Answer, shown
from gradus.engine.recipe import positive
from gradus.errors import GradusError

__all__ = ["Translate", "draw"]

PICTURES = (".png", ".pdf", ".svg")
NAMED = 5  # characters never seen that a warning names


@dataclass(kw_only=True)
class Translate(RunVerb):
    """Translate texts: gradus translate RUN "3rd of March, '97" --best 3."""

    texts: tuple[str, ...] = ()
    """The texts (also given as the words after RUN)."""
    file: str | None = None
    """A file of texts, one a line."""
    out: str | None = None
    """Write the translations to this file, one a line; with --best, as CSV with scores."""
    beam: int | None = None
    """Width of the search, 1 for greedy; the run's own when left out."""
    length_penalty: float | None = None
    """How much longer translations are preferred; the run's own when left out."""
    best: int = 1
    """How many translations of each text."""
    alignment: str | None = None
    """Draw where the translator looked, into this .png, .pdf or .svg file; one file a text."""

    operands: ClassVar[tuple[str, ...]] = ("run",)
    rest: ClassVar[str | None] = "texts"

    def __call__(self) -> Answer:
        """Translate, and write or print."""
        positive(self, "beam", "best")
        texts = self._read()
        from gradus.engine.capabilities import ask

        product = ask(self.product(self.run, self.device), "translate", self.run)
        self._tell_unknown(product, texts)
        found = product.translations(
            texts, beam=self._width(product), length_penalty=self.length_penalty, best=self.best,
            alignments=self.alignment is not None,
        )  # fmt: skip
        data: dict[str, Any] = {
            "run": self.run,
            "translations": [_told(*pair) for pair in zip(texts, found, strict=True)],
        }
        if self.alignment is not None:
            data["pictures"] = self._draw(found)
        if self.out is None:
            return Answer(data, "\n".join(self._lines(found)))
        self._write(found)
        return Answer(data, f"{len(texts)} translations in {shown(Path(self.out))}")

    def _read(self) -> list[str]:
        """Return the texts, from the words or the file."""
        if self.alignment is not None and not self.alignment.lower().endswith(PICTURES):
            raise GradusError(f"--alignment {self.alignment}: a picture ends in {', '.join(PICTURES)}")
        if self.file is not None:
            if self.texts:
                raise GradusError("texts come from words or from --file, not from both: leave one out")
            from gradus.data.text_files import read_lines

            return read_lines(self.file)
        if not self.texts:
            raise GradusError(f'name a text to translate: gradus translate {self.run} "TEXT", or --file FILE')
        return list(self.texts)

    def _width(self, product: Any) -> int | None:
        """Return the width of the search: wide enough for the results that are wanted, unless one was named."""
        if self.beam is not None:
            return self.beam
        own = getattr(product, "facts", {}).get("beam", 1)
        return max(own, self.best)

    def _tell_unknown(self, product: Any, texts: Sequence[str]) -> None:
        """Warn of what the translator has never seen."""
        tokenizer = getattr(product, "source", None)
        odd = dict.fromkeys(piece for text in texts for piece in tokenizer.unknown(text)) if tokenizer else {}
        if odd:
            named = ", ".join(repr(piece) for piece in list(odd)[:NAMED]) + (", …" if len(odd) > NAMED else "")
            warnings.warn(f"never seen in training, and read as unknown: {named}", stacklevel=1)

    def _lines(self, found: Sequence[Sequence[Any]]) -> list[str]:
        """Return what is printed: a line a translation, scores in front where there are several."""
        if self.best == 1:
            return [some[0].text for some in found]
        lines = []
        for i, some in enumerate(found):
            lines += [""] * bool(i) + [f"{one.score:8.3f}  {one.text}" for one in some]
        return lines

    def _write(self, found: Sequence[Sequence[Any]]) -> None:
        assert self.out is not None
        if self.best == 1:
            Path(self.out).write_text("".join(f"{some[0].text}\n" for some in found), encoding="utf-8")
            return
        with open(self.out, "w", newline="", encoding="utf-8") as file:
            rows = [
                [i, rank, one.score, one.text] for i, some in enumerate(found, 1) for rank, one in enumerate(some, 1)
            ]
            csv.writer(file).writerows([["line", "rank", "score", "translation"], *rows])

    def _draw(self, found: Sequence[Sequence[Any]]) -> list[str]:
        """Draw the alignment of each text's best translation; return the files."""
        assert self.alignment is not None
        path, files = Path(self.alignment), []
        for i, some in enumerate(found):
            if some[0].alignment is None:
                if not some[0].text:
                    continue
                raise GradusError(
                    f"--alignment: run {self.run!r} holds a translator that looks at nothing: train another"
                )
            place = path if len(found) == 1 else path.with_stem(f"{path.stem}-{i + 1}")
            draw(some[0].alignment, place)
            files.append(str(place))
        return files


def _told(text: str, found: Sequence[Any]) -> dict[str, Any]:
    """Return a text's translations as JSON literals."""
    best = [{"text": one.text, "score": one.score, "log_prob": one.log_prob, "ended": one.ended} for one in found]
    told: dict[str, Any] = {"source": text, "translation": found[0].text, "best": best}
    look = found[0].alignment
    if look is not None:
        told["alignment"] = {"source": look.source, "target": look.target, "weights": look.weights.tolist()}
    return told


def draw(alignment: Any, path: Path) -> None:
    """Draw an alignment: source tokens across, target tokens down, the darker the more the decoder looked.

    Args:
        alignment: of a translation.
        path: where to; .png, .pdf or .svg.
    """
    from matplotlib.figure import Figure

    rows, columns = alignment.weights.shape
    figure = Figure(figsize=(1.4 + 0.28 * columns, 1.2 + 0.28 * rows), layout="constrained")
    axes = figure.subplots()
    axes.imshow(alignment.weights.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="equal")
    turned = max(map(len, alignment.source)) > 2
    axes.set_xticks(range(columns), alignment.source, rotation=90 if turned else 0, fontsize=9)
    axes.set_yticks(range(rows), alignment.target, fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xticks([i - 0.5 for i in range(1, columns)], minor=True)
    axes.set_yticks([i - 0.5 for i in range(1, rows)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
