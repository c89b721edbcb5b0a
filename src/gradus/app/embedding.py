"""`gradus embed`: vectors of words or texts, the words nearest to them, analogies, and files for other programs."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gradus.app.using import RunVerb
from gradus.app.verb import Answer, shown
from gradus.errors import GradusError

__all__ = ["Embed"]

SHOWN = 6


@dataclass(kw_only=True)
class Embed(RunVerb):
    """Give vectors of words or texts: gradus embed RUN WORD… --nearest 10; or --analogy man king woman."""

    texts: tuple[str, ...] = ()
    """Words or texts (also given behind RUN)."""
    nearest: int = 10
    """How many of the nearest words are shown, for word vectors; 0 for none."""
    layer: int | None = None
    """Of an encoder of texts, the layer whose features are taken: 0 the embeddings, the last when left out."""
    pooling: str | None = None
    """Of an encoder of texts: mean over the tokens (when left out) or cls, the token in front."""
    analogy: tuple[str, ...] = ()
    """Three words a b c: what is to c as b is to a?"""
    out: str | None = None
    """Write the vectors, of all words where no text is given: .txt and .bin in word2vec's formats, .csv as a table."""

    operands: ClassVar[tuple[str, ...]] = ("run",)
    rest: ClassVar[str | None] = "texts"

    def __call__(self) -> Answer:
        """Load the product and ask it."""
        from gradus.engine.capabilities import ask

        product = ask(self.product(self.run, self.device), "embed", self.run)
        words = hasattr(product, "most_similar")
        if self.analogy and len(self.analogy) != 3:
            raise GradusError(f"--analogy takes three words a b c, got {len(self.analogy)}")
        if self.analogy and not words:
            raise GradusError(f"--analogy: run {self.run!r} holds {product.kind}, which has no vectors of single words")
        if not (self.texts or self.analogy or (self.out and words)):
            raise GradusError(f"name a word or a text: gradus embed {self.run} WORD; or --out for the vectors of all")
        if self.nearest < 0:
            raise GradusError(f"--nearest must not be negative, got {self.nearest}")
        data: dict[str, Any] = {"run": self.run}
        lines = self._vectors(product, words, data) + self._analogy(product, data)
        if self.out is not None:
            lines.append(self._written(product, data))
        return Answer(data, "\n".join(lines))

    def _vectors(self, product: Any, words: bool, data: dict[str, Any]) -> list[str]:
        """Return lines about each text: its nearest words, or else the beginning of its vector."""
        if not self.texts:
            return []
        vectors = product.embed(list(self.texts), **self._chosen(words)).tolist()
        data["vectors"] = dict(zip(self.texts, vectors, strict=True))
        if not (words and self.nearest):
            return [f"{text}  {_beginning(vector)}" for text, vector in data["vectors"].items()]
        data["nearest"] = {text: product.nearest(text, self.nearest) for text in self.texts}
        lines = []
        for text, found in data["nearest"].items():
            lines += [text, *(f"  {word:<20} {cosine:.3f}" for word, cosine in found)]
        return lines

    def _chosen(self, words: bool) -> dict[str, Any]:
        """Return what of an encoder is wanted."""
        asked = {"layer": self.layer, "pooling": self.pooling}
        given = {name: value for name, value in asked.items() if value is not None}
        if given and words:
            raise GradusError(f"--{next(iter(given))}: word vectors have no layers; leave it out")
        if self.pooling not in (None, "mean", "cls"):
            raise GradusError(f"--pooling is mean or cls, got {self.pooling!r}")
        return given

    def _analogy(self, product: Any, data: dict[str, Any]) -> list[str]:
        if not self.analogy:
            return []
        a, b, c = self.analogy
        data["analogy"] = product.analogy(a, b, c, max(1, self.nearest))
        lines = [f"{a} is to {b} as {c} is to"]
        return lines + [f"  {word:<20} {cosine:.3f}" for word, cosine in data["analogy"]]

    def _written(self, product: Any, data: dict[str, Any]) -> str:
        """Write the vectors; return a line about the file."""
        path = Path(self.out or "")
        names: Sequence[str] = self.texts or product.words
        vectors = product.embed(list(self.texts)) if self.texts else product.vectors
        data["out"] = str(path)
        if path.suffix == ".csv":
            with open(path, "w", newline="", encoding="utf-8") as file:
                header = ["text", *(f"v{i}" for i in range(vectors.shape[1]))]
                rows = ([name, *row] for name, row in zip(names, vectors.tolist(), strict=True))
                csv.writer(file).writerows([header, *rows])
        elif path.suffix in (".txt", ".bin", ".vec"):
            from gradus.sequence.embedding.vector_files import write_vectors

            write_vectors(path, names, vectors)
        else:
            raise GradusError(f"--out {path}: end the name in .txt or .bin (word2vec) or .csv")
        return f"{len(names)} vectors in {shown(path)}"


def _beginning(vector: Sequence[float]) -> str:
    more = " …" if len(vector) > SHOWN else ""
    return " ".join(f"{number:+.3f}" for number in vector[:SHOWN]) + more
