"""Which words an answer rests on: `gradus explain RUN "a text"`, for products that read text piece by piece.

    integrated-gradients   a_i = Σ_d (e_id − e′_id) ∫₀¹ ∂s/∂e_id (e′ + α (e − e′)) dα        Σ_i a_i = s(e) − s(e′)
    gradient-times-input   a_i = Σ_d (e_id − e′_id) ∂s/∂e_id (e)
    occlusion              a_i = s(e) − s(e with e′_i in place of e_i)

e_i is what is read at piece i, e′_i what is read where nothing stands, s the score (logit) of a class. Pieces may lie
over each other (terms of two words do): on a page each stretch of text is coloured by what its pieces say together, a
piece's share being spread evenly over its characters.

References:
    Sundararajan, Taly & Yan 2017, Axiomatic attribution for deep networks.
    Zeiler & Fergus 2014, Visualizing and understanding convolutional networks.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gradus.app.verb import Answer, is_path, shown
from gradus.errors import GradusError, nearest

__all__ = [
    "METHODS", "Highlighted", "Piece", "answer", "coloured", "highlight", "markup", "stretches", "texts",
]  # fmt: skip

STEPS = 64
FULL = 0.92
Shares = Callable[[Any, Any, Any, int], Any]


class Piece(NamedTuple):
    """A piece of a text with its share in the score."""

    text: str
    start: int
    end: int
    share: float


@dataclass(frozen=True)
class Highlighted:
    """A text, what a classifier says of it, and what each piece of it contributes.

    Attributes:
        text: as it was given.
        predicted: the likeliest class.
        probability: of that class.
        explained: the class whose score is divided among the pieces.
        method: by which.
        pieces: in order, those that are somewhere in the text.
        score: s(e), of the class that is explained.
        absent: s(e′), of a text of nothing.
        rest: what special tokens around the text contribute.
    """

    text: str
    predicted: str
    probability: float
    explained: str
    method: str
    pieces: tuple[Piece, ...]
    score: float
    absent: float
    rest: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return all as JSON literals."""
        return {
            "text": self.text, "class": self.predicted, "probability": self.probability, "explained": self.explained,
            "method": self.method, "score": self.score, "score_of_nothing": self.absent, "rest": self.rest,
            "pieces": [piece._asdict() for piece in self.pieces],
        }  # fmt: skip


def _along_the_path(scores: Callable[[Any], Any], embedded: Any, absent: Any, target: int) -> Any:
    from gradus.explain import integrated_gradients

    return integrated_gradients(scores, embedded, target=target, baselines=absent, steps=STEPS).sum(2)


def _by_gradient(scores: Callable[[Any], Any], embedded: Any, absent: Any, target: int) -> Any:
    from gradus.explain.gradients import gradient

    return (gradient(scores, embedded, target=target) * (embedded - absent)).sum(2)


def _by_occlusion(scores: Callable[[Any], Any], embedded: Any, absent: Any, target: int) -> Any:
    from gradus.explain import occlusion

    # Explainers of sequences want channels in front of time.
    turned, nothing = embedded.transpose(1, 2), absent.transpose(1, 2)
    fallen = occlusion(
        lambda x: scores(x.transpose(1, 2)), turned, target=target, window=1, stride=1, baselines=nothing
    )
    return fallen[:, 0]


METHODS: dict[str, Shares] = {
    "integrated-gradients": _along_the_path,
    "gradient-times-input": _by_gradient,
    "occlusion": _by_occlusion,
}


def highlight(
    product: Any, text: str | tuple[str, str], method: str = "integrated-gradients", target: str | None = None
) -> Highlighted:
    """Return what each piece of a text contributes to the score of a class.

    Args:
        product: is `Highlights`, and predicts.
        text: what is explained; a pair of texts is shown as one, with a line break between.
        method: integrated-gradients, gradient-times-input or occlusion.
        target: the class; the predicted one when left out.

    Raises:
        GradusError: if there is no such method or class.
    """
    from gradus.app.looking import class_index
    from gradus.nn.probe import frozen

    shares_by = METHODS.get(method.replace("_", "-"))
    if shares_by is None:
        raise GradusError(f"there is no way to highlight text called {method!r}{nearest(method, METHODS)}")
    chosen = None if target is None else class_index(product.classes, target)
    probabilities = product.predict([text])[0].tolist()
    guess = max(range(len(probabilities)), key=probabilities.__getitem__)
    aim = guess if chosen is None else chosen
    spans = product.pieces(text)
    embedded, absent = product.embedded(text), product.absent(text)
    with frozen(product.module):
        shares = shares_by(product.scores_of, embedded, absent, aim)[0].double().tolist()
        score, nothing = (float(product.scores_of(end).detach()[0, aim]) for end in (embedded, absent))
    placed = [(*span, share) for span, share in zip(spans, shares, strict=False)]
    whole = text if isinstance(text, str) else "\n".join(text)
    pieces = tuple(Piece(whole[start:end], start, end, share) for start, end, share in placed if end > start)
    return Highlighted(
        whole, product.classes[guess], probabilities[guess], product.classes[aim], method.replace("_", "-"), pieces,
        score, nothing, sum(share for start, end, share in placed if end <= start),
    )  # fmt: skip


def stretches(found: Highlighted) -> list[tuple[str, float]]:
    """Return the text cut where pieces begin and end, each stretch with its weight in [-1, 1]; 1 is the strongest.

    Args:
        found: a text with its pieces.
    """
    cuts = sorted({0, len(found.text), *(p.start for p in found.pieces), *(p.end for p in found.pieces)})
    parts = list(itertools.pairwise(cuts))
    begins = {start: i for i, (start, _) in enumerate(parts)}
    totals = [0.0] * len(parts)
    for piece in found.pieces:
        own = range(begins[piece.start], begins.get(piece.end, len(parts)))
        solid = [i for i in own if found.text[slice(*parts[i])].strip()] or list(own)
        length = sum(parts[i][1] - parts[i][0] for i in solid)
        for i in solid:
            totals[i] += piece.share * (parts[i][1] - parts[i][0]) / length
    limit = max(map(abs, totals), default=0.0) or 1.0
    return [(found.text[start:end], total / limit) for (start, end), total in zip(parts, totals, strict=True)]


def coloured(found: Highlighted) -> str:
    """Return the text for a terminal: orange speaks for the class, blue against it, as strongly as it is coloured."""
    import io

    from rich.console import Console
    from rich.text import Text

    from gradus.app.report.pictures import AGAINST, FOR

    line = Text()
    for part, weight in stretches(found):
        colour, depth = (FOR if weight > 0 else AGAINST), abs(weight) ** 0.7
        if depth < 0.05 or not part.strip():
            line.append(part)
            continue
        red, green, blue = (round(255 + (c - 255) * FULL * depth) for c in colour)
        dark = depth > 0.6
        line.append(part, style=f"{'#ffffff' if dark else '#000000'} on #{red:02x}{green:02x}{blue:02x}")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=10_000, highlight=False)
    with console.capture() as captured:
        console.print(line, end="", soft_wrap=True)
    return captured.get()


def markup(found: Highlighted) -> str:
    """Return the text as HTML, its words coloured as in `coloured`, each with its share under the pointer."""
    from gradus.app.report.pictures import AGAINST, FOR
    from gradus.app.report.svg import tag, text

    parts = []
    for part, weight in stretches(found):
        red, green, blue = FOR if weight > 0 else AGAINST
        depth = 0.75 * abs(weight) ** 0.7
        if depth < 0.04 or not part.strip():
            parts.append(text(part))
            continue
        style = f"background:rgba({red},{green},{blue},{depth:.2f});border-radius:3px"
        parts.append(tag("mark", text(part), style=f"color:inherit;{style}", data_tip=f"{weight:+.2f}"))
    return "".join(parts)


def _lines(found: Highlighted, colours: bool) -> list[str]:
    """Return a text for people: its words in colour, or each with its number."""
    against = f", explained: {found.explained}" if found.explained != found.predicted else ""
    head = f"{found.predicted} {found.probability:.3f}{against}"
    if colours:
        return [head, f"  {coloured(found)}"]
    width = max((len(piece.text) for piece in found.pieces), default=0)
    rows = [f"  {piece.text:<{width}}  {piece.share:+.4f}" for piece in found.pieces]
    rest = [f"  {'(around the text)':<{width}}  {found.rest:+.4f}"] if found.rest else []
    return [head, *rows, *rest]


def _page(run: str, found: Sequence[Highlighted]) -> str:
    """Return a page of its own with every text."""
    from gradus.app.report.page import Section, page
    from gradus.app.report.sections import KEY
    from gradus.app.report.svg import percent, tag, text

    cards = []
    for one in found:
        other = f", explained: {one.explained}" if one.explained != one.predicted else ""
        said = f"{one.predicted}, {percent(one.probability)} sure{other}"
        cards.append(tag("article", tag("h3", text(said)), tag("p", markup(one), style="white-space:pre-wrap")))
    head = tag("div", text(f"{found[0].method} · {run}"), class_="over") + tag("h1", "What the answers rest on")
    body = tag("p", KEY) + "".join(cards)
    return page(f"{run} · Gradus", head, [Section("texts", "Texts", body)], text("This file stands alone."))


def answer(
    run: str,
    product: Any,
    words: str | Sequence[Any],
    *,
    method: str = "integrated-gradients",
    target: str | None = None,
    count: int = 8,
    out: str | None = None,
    colours: bool | None = None,
) -> Answer:
    """Return the answer of `gradus explain RUN WORDS`: the words are a text, or the path of a file of texts.

    Args:
        run: its name.
        product: is `Highlights`.
        words: a text; or a path that exists, whose first texts are explained; or texts, or pairs of them.
        method: integrated-gradients, gradient-times-input or occlusion.
        target: the class to explain; the predicted one when left out.
        count: the most texts of a file.
        out: write a page here.
        colours: whether the answer is for a terminal that shows colours; found out when left out.

    Raises:
        GradusError: for an unknown method or class, a file without texts, or a page that cannot be written.
    """
    chosen = texts(product, words, count) if isinstance(words, str) else words
    found = [highlight(product, one, method, target) for one in chosen]
    data = {"run": run, "method": found[0].method, "explanations": [one.to_json() for one in found]}
    if out is not None:
        from gradus.engine.folder import write_atomically

        try:
            write_atomically(Path(out), _page(run, found))
        except OSError as error:
            raise GradusError(f"--out {out} cannot be written ({error.strerror})") from None
        return Answer({**data, "path": out}, f"{run}: {found[0].method} of {len(found)} texts in {shown(Path(out))}")
    colours = sys.stdout.isatty() if colours is None else colours
    return Answer(data, "\n".join(line for one in found for line in _lines(one, colours)))


def texts(product: Any, words: str, count: int) -> list[Any]:
    """Return the texts, or pairs of them, that a user's words mean: the first of a file, or else the words themselves.

    Args:
        product: reads files.
        words: a path or a text.
        count: the most texts of a file.

    Raises:
        GradusError: if there is nothing to explain.
    """
    if not words.strip():
        raise GradusError("there is nothing to explain: give a text, or a file of texts")
    if not is_path(words):
        return [words]
    read = (one for batch in product.read(Path(words)) for one in batch.inputs)
    found = list(itertools.islice(read, count))
    if not found:
        raise GradusError(f"{words} has no text to explain: name another file")
    return found
