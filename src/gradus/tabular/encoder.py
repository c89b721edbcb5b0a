"""From raw rows to features: impute, standardise, one-hot, cross; fitted on the training rows only.

    number     (x − μ)/σ, a missing x replaced by the median      1[x is missing], where that occurred
    category   1[x = c] for every category c of the training rows; none of them for one that did not occur
    a × b      the products of every feature of a with every feature of b (joint categories, where both are categories)

The encoder is a few lists of numbers: it lives in `product.json`. It computes in the precision of its input, float64
for tables, because a column of large numbers loses its digits in float32 before it is standardised.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gradus.data.table import Table
from gradus.errors import GradusError, nearest

__all__ = ["Encoder", "fit_encoder"]

MOST_CATEGORIES = 100
MOST_CROSSED = 5_000


@dataclass(frozen=True)
class Encoder:
    """What turns the rows of a table into features.

    Attributes:
        numbers: column, median, mean and deviation of each number.
        missing: columns of which it is a feature that they are missing.
        categories: column and place of each one-hot feature.
        crosses: features whose product is one more, by their index among the former.
    """

    numbers: tuple[tuple[int, float, float, float], ...]
    missing: tuple[int, ...]
    categories: tuple[tuple[int, int], ...]
    crosses: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Make the tensors now: made while a program is traced, they would be the tracer's."""
        assert self._tensors

    @property
    def width(self) -> int:
        """How many features there are."""
        return self.plain + len(self.crosses)

    @property
    def plain(self) -> int:
        """How many features are no crosses."""
        return len(self.numbers) + len(self.missing) + len(self.categories)

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        columns, medians, means, deviations = zip(*self.numbers, strict=True) if self.numbers else ((), (), (), ())
        most = max((len(cross) for cross in self.crosses), default=0)
        one = self.plain  # the index of a feature that is always 1, for crosses of fewer factors
        return {
            "columns": torch.tensor(columns, dtype=torch.int64),
            "medians": torch.tensor(medians, dtype=torch.float64),
            "means": torch.tensor(means, dtype=torch.float64),
            "deviations": torch.tensor(deviations, dtype=torch.float64),
            "missing": torch.tensor(self.missing, dtype=torch.int64),
            "owners": torch.tensor([column for column, _ in self.categories], dtype=torch.int64),
            "places": torch.tensor([float(place) for _, place in self.categories], dtype=torch.float64),
            "factors": torch.tensor(
                [[*cross, *[one] * (most - len(cross))] for cross in self.crosses], dtype=torch.int64
            ),
        }

    def __call__(self, rows: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows features"]:
        """Return the features of raw rows; differentiable in the numbers."""
        own = {key: t.to(rows) if t.is_floating_point() else t.to(rows.device) for key, t in self._tensors.items()}
        numbers = rows[:, own["columns"]]
        filled = torch.where(numbers.isnan(), own["medians"], numbers)
        found = [
            (filled - own["means"]) / own["deviations"],
            rows[:, own["missing"]].isnan().to(rows.dtype),
            self._hot(rows, own).to(rows.dtype),
        ]
        if not self.crosses:
            return torch.cat(found, dim=1)
        base = torch.cat([*found, torch.ones_like(rows[:, :1])], dim=1)
        return torch.cat([base[:, :-1], base[:, own["factors"]].prod(dim=-1)], dim=1)

    def _hot(self, rows: Float[Tensor, "rows columns"], own: Mapping[str, Tensor]) -> Bool[Tensor, "rows hot"]:
        """Return which category each row is of; the place −2 stands for a missing value."""
        values = rows[:, own["owners"]]
        return values.nan_to_num(nan=-2.0) == own["places"]

    def names(self, table_features: Sequence[str], categories: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """Return what to call each feature.

        Args:
            table_features: names of the columns of the rows.
            categories: those of each column.
        """
        plain = [table_features[column] for column, *_ in self.numbers]
        plain += [f"{table_features[column]} is missing" for column in self.missing]
        plain += [
            f"{table_features[c]} = {categories[c][p]}" if p >= 0 else f"{table_features[c]} is missing"
            for c, p in self.categories
        ]
        return (*plain, *(" × ".join(plain[i] for i in cross) for cross in self.crosses))

    def groups(self) -> list[list[int]]:
        """Return the features of each category column."""
        start = len(self.numbers) + len(self.missing)
        found: dict[int, list[int]] = {}
        for i, (column, _) in enumerate(self.categories):
            found.setdefault(column, []).append(start + i)
        return list(found.values())

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as JSON literals."""
        return {
            "numbers": [list(number) for number in self.numbers], "missing": list(self.missing),
            "categories": [list(category) for category in self.categories],
            "crosses": [list(cross) for cross in self.crosses],
        }  # fmt: skip

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Encoder":
        """Return the encoder that `to_json` wrote."""
        return cls(
            tuple((int(c), float(a), float(b), float(s)) for c, a, b, s in facts["numbers"]), tuple(facts["missing"]),
            tuple((c, p) for c, p in facts["categories"]), tuple(tuple(cross) for cross in facts["crosses"]),
        )  # fmt: skip


def fit_encoder(table: Table, crosses: Sequence[str] = (), most_categories: int = MOST_CATEGORIES) -> Encoder:
    """Return the encoder of a table's rows.

    Args:
        table: the training rows.
        crosses: columns to cross, as "a*b" or "a*b*c".
        most_categories: of a column; rarer ones count as unknown.

    Raises:
        GradusError: if a cross names no columns, or makes too many features.
    """
    schema = table.schema
    owner = [column.name for column in schema.used for _ in column.features]
    numbers: list[tuple[int, float, float, float]] = []
    missing: list[int] = []
    hot: list[tuple[int, int]] = []
    for i, categories in enumerate(schema.categories):
        values = table.values[:, i]
        present = values[~values.isnan()]
        if categories:
            hot += [(i, place) for place in _frequent(present, len(categories), most_categories)]
            hot += [(i, -2)] if len(present) < len(values) else []
            continue
        median = float(present.median()) if len(present) else 0.0
        filled = values.nan_to_num(nan=median)
        mean, deviation = float(filled.mean()), float(filled.std(correction=0))
        numbers.append((i, median, mean, deviation if deviation > 1e-12 * max(1.0, abs(mean)) else 1.0))
        missing += [i] if 0 < len(present) < len(values) else []
    plain = Encoder(tuple(numbers), tuple(missing), tuple(hot))
    return _crossed(plain, table, owner, crosses)


def _frequent(values: Float[Tensor, " rows"], count: int, most: int) -> list[int]:
    """Return the places of the categories that occur, at most the `most` frequent ones, in order."""
    counts = torch.bincount(values.long(), minlength=count)
    kept = counts.argsort(descending=True, stable=True)[:most]
    return sorted(kept[counts[kept] > 0].tolist())


def _crossed(plain: Encoder, table: Table, owner: Sequence[str], crosses: Sequence[str]) -> Encoder:
    """Return an encoder with the products that are ever other than zero on the training rows."""
    columns = [*(column for column, *_ in plain.numbers), *plain.missing, *(column for column, _ in plain.categories)]
    features: dict[str, list[int]] = {name: [] for name in owner}
    for i, column in enumerate(columns):
        features[owner[column]].append(i)
    found: list[tuple[int, ...]] = []
    for cross in crosses:
        names = [name.strip() for name in cross.split("*")]
        if len(names) < 2:
            raise GradusError(f"--cross takes columns joined by *, as a*b, got {cross!r}")
        for name in names:
            if name not in features:
                raise GradusError(f"--cross {cross}: there is no column {name!r} in use{nearest(name, features)}")
        if math.prod(len(features[name]) for name in names) > MOST_CROSSED:
            raise GradusError(f"--cross {cross} makes more than {MOST_CROSSED:,} features: cross those of fewer values")
        found += dict.fromkeys(tuple(sorted(factors)) for factors in product(*(features[name] for name in names)))
    found = list(dict.fromkeys(found))
    if not found:
        return plain
    base = plain(table.values)
    kept = tuple(factors for factors in found if bool((base[:, list(factors)].prod(dim=1) != 0).any()))
    return Encoder(plain.numbers, plain.missing, plain.categories, kept)
