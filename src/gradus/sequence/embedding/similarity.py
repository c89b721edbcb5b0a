"""What vectors are asked: which are alike, what is to c as b is to a, how well they agree with people.

    similarity(a, b) = cos(v_a, v_b)
    most similar to P but not N = argmax_w cos(v_w, Σ_(p∈P) v_p/‖v_p‖ − Σ_(n∈N) v_n/‖v_n‖),   w not among those given
    rank correlation = the correlation of ranks, those of equals being their mean (Spearman)

References:
    Mikolov, Yih and Zweig 2013, Linguistic regularities in continuous space word representations (3CosAdd); Finkelstein
    et al. 2002, Placing search in context (pairs of words that people rated).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float, Float64, Int64
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["Question", "nearest_rows", "ranks", "read_pairs", "read_questions", "spearman", "unit"]


class Question(NamedTuple):
    """a is to b as c is to d.

    Attributes:
        section: the kind of question.
        words: a, b, c and d.
    """

    section: str
    words: tuple[str, str, str, str]


def unit(vectors: Float[Tensor, "*rows size"]) -> Float[Tensor, "*rows size"]:
    """Return vectors of length one; zero stays zero."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-30)


def nearest_rows(
    units: Float[Tensor, "words size"],
    asked: Float[Tensor, "queries size"],
    count: int,
    without: Sequence[Sequence[int]] = (),
) -> tuple[Int64[Tensor, "queries count"], Float[Tensor, "queries count"]]:
    """Return the rows with the largest cosines, and these.

    Args:
        units: vectors of length one.
        asked: any vectors.
        count: how many are wanted; no more than there are.
        without: rows that each query leaves out.
    """
    cosines = unit(asked) @ units.T
    for query, rows in enumerate(without):
        cosines[query, list(rows)] = -2.0
    left_out = max((len(set(rows)) for rows in without), default=0)
    found = cosines.topk(max(0, min(count, len(units) - left_out)), dim=1)
    return found.indices, found.values


def ranks(values: Float[Tensor, " count"]) -> Float64[Tensor, " count"]:
    """Return the rank of each value, from 1; equals have the mean of their ranks."""
    distinct, places, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[places] if len(distinct) else last


def spearman(x: Float[Tensor, " count"], y: Float[Tensor, " count"]) -> float:
    """Return the rank correlation; NaN where either side is constant or has fewer than two values."""
    a, b = (ranks(side) - (len(side) + 1) / 2 for side in (x, y))
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()) if len(x) > 1 else float("nan")


def read_pairs(path: str | Path) -> list[tuple[str, str, float]]:
    """Return the pairs of a file: two words and what people say of their likeness, between tabs, commas or blanks.

    Raises:
        GradusError: if the file has none; lines that are no pair (a header) are left out.
    """
    found = []
    for line in _lines(path):
        fields = line.split("\t") if "\t" in line else line.split(",") if "," in line else line.split()
        try:
            first, second, rating = (field.strip() for field in fields[:3])
            found.append((first, second, float(rating)))
        except ValueError:
            continue
    if not found:
        raise GradusError(f"{path} has no pairs: a line has two words and a number, between tabs")
    return found


def read_questions(path: str | Path) -> list[Question]:
    """Return the questions of a file in the format of questions-words.txt: `: section`, then a b c d in each line.

    Raises:
        GradusError: if the file has none.
    """
    found, section = [], ""
    for line in _lines(path):
        words = line.split()
        if line.startswith(":"):
            section = line[1:].strip()
        elif len(words) == 4:
            found.append(Question(section, (words[0], words[1], words[2], words[3])))
    if not found:
        raise GradusError(f"{path} has no questions: a line has four words, a is to b as c is to d")
    return found


def _lines(path: str | Path) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GradusError(f"{path} cannot be read ({error}): name a text file") from None
    return [line for line in lines if line.strip() and not line.startswith("#")]
