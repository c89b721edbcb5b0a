"""What is told of word vectors: neighbours of frequent words, a map of them, sizes, the loss on held-out text.

The map is the projection of unit vectors on the two directions in which they differ most (principal components).
"""

from typing import Any

import torch
from torch import Tensor

from gradus.app.report.held_out import recipe_of
from gradus.app.report.page import Section, table, tile, value
from gradus.app.report.svg import Frame, count, percent, tag, text
from gradus.app.report.told import Subject, Told, figure, lead, plain
from gradus.errors import GradusError

__all__ = ["tell_vectors"]

SKIPPED, ASKED, NEIGHBOURS = 50, 24, 8  # the most frequent words are articles and the like
MAPPED = 60


def tell_vectors(subject: Subject) -> Told:
    """Tell of word vectors; where the data is gone, without their loss."""
    product = subject.product
    out = Told(lead=lead(subject.facts))
    try:
        recipe: Any = recipe_of(subject.facts.body, subject.facts.name)
        out.metrics = recipe.evaluate(product, "test")
        out.tiles += [tile(plain(n), value(v, figure(n, v)), "own objective") for n, v in out.metrics.items()]
    except GradusError as error:
        out.notes.append(f"The data of this run is not there, so no loss is measured: {error}.")
    counts = product.vocabulary.counts
    out.tiles.append(tile("Words", count(len(product.words)), text(f"of {count(int(counts.sum()))} in the text")))
    out.tiles.append(tile("Numbers of a vector", count(product.vector_size)))
    out.lead = (
        f"The {product.facts['method']} model gives each of {count(len(product.words))} words a vector of "
        f"{product.vector_size} numbers, learned from {count(int(counts.sum()))} of their occurrences."
    )
    chosen = _chosen(product)
    out.chapters.append(_neighbours(product, chosen[:ASKED]))
    out.chapters.append(_map(product, chosen[:MAPPED]))
    out.data = {"Text": f"{count(int(counts.sum()))} words", "Window": product.facts.get("window")}
    return out


def _chosen(product: Any) -> list[int]:
    """Return frequent words with some meaning: behind the most frequent ones, of three letters or more."""
    skipped = min(SKIPPED, len(product.words) // 4)
    return [i for i, word in enumerate(product.words) if i >= skipped and len(word) > 2 and word.isalpha()][:MAPPED]


def _neighbours(product: Any, chosen: list[int]) -> Section:
    rows = []
    for i in chosen:
        found = product.most_similar(product.words[i], topn=NEIGHBOURS)
        near = ", ".join(f"{word} {cosine:.2f}" for word, cosine in found)
        cells = [tag("td", count(int(product.vocabulary.counts[i]))), tag("td", text(near))]
        rows.append(tag("tr", tag("th", text(product.words[i]), scope="row"), *cells))
    said = "The words whose vectors point in the most similar direction, with the cosine of the angle between them."
    inside = table(["word", "occurs", "nearest words"], rows, "words", "Nearest words of frequent words")
    return Section("neighbours", "Neighbours", tag("p", text(said)) + inside)


def _projected(vectors: Tensor) -> tuple[Tensor, float]:
    """Return unit vectors on their two principal components, and the share of their variance that these have."""
    units = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-30)
    centred = (units - units.mean(0)).double().cpu()
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    if len(sizes) < 2:
        return torch.zeros(len(vectors), 2).double(), 1.0
    total = float(sizes.square().sum()) or 1.0
    return left[:, :2] * sizes[:2], float(sizes[:2].square().sum()) / total


def _map(product: Any, chosen: list[int]) -> Section:
    if not chosen:
        return Section("map", "Map", tag("p", "There are too few words for a map."))
    places, share = _projected(product.vectors[chosen])
    frame = Frame(width=600, height=400, left=16, bottom=16, right=70)
    low, high = places.amin(0).tolist(), places.amax(0).tolist()
    x, y = frame.x(low[0], high[0]), frame.y(low[1], high[1])
    marks = []
    for i, (across, up) in zip(chosen, places.tolist(), strict=True):
        word, n = product.words[i], int(product.vocabulary.counts[i])
        marks.append(tag("circle", class_="point", cx=x(across), cy=y(up), r=2.6, data_tip=f"{word}: {count(n)} times"))
        marks.append(tag("text", text(word), class_="tick", x=x(across) + 5, y=y(up) + 3.5))
    label = f"{count(len(chosen))} frequent words, those of alike vectors near each other"
    svg = frame.drawing(*marks, label=label)
    said = f"Frequent words by the two directions in which they differ most, {percent(share, 0)} of their variance."
    return Section("map", "Map", tag("p", text(said)) + tag("figure", svg, class_="chart"))
