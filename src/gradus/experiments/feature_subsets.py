"""Feature-subset selection by cross-validation: which few columns predict, by forward selection and by trying them all.

    CV(S) = (1/k) Σ_f (1/n_f) Σ_{i in fold f} (y_i − x_{i,S} · w_f − b_f)²

where w_f and b_f are fitted by least squares to the rows of the other folds. Of every size the subset with the least CV
error is kept; of the sizes, by the rule of one standard error, the smallest whose CV error is at most that of the best
plus the standard error of the best. Every fit of every subset comes from the Gram matrices of the folds: with
D = [1, X, y] and G_f = D_fᵀ D_f, the normal equations of S are rows and columns of Σ_{g≠f} G_g, so that all subsets of
a size and all folds are one batched solve.

The CV error of a chosen subset is optimistic, because the same folds chose it. On planted data the true error of the
chosen model is known and is told beside it: E (y − x · w)² = σ² + (w − w*)ᵀ Σ (w − w*) + b².

References:
    Stone 1974, Cross-validatory choice and assessment of statistical predictions.
    Breiman, Friedman, Olshen and Stone 1984, Classification and regression trees (the rule of one standard error).
    Hastie, Tibshirani and Friedman 2009, The elements of statistical learning, sections 3.3 and 7.10.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gradus.canon import canon
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.experiments.experiment import Cell, Experiment, Row

if TYPE_CHECKING:
    from torch import Tensor

    from gradus.engine.run import Run

__all__ = ["FeatureSubsets", "Folded"]

MOST_EXHAUSTIVE = 12
TITLES = {"forward": "forward selection", "exhaustive": "best of all subsets"}


@canon(
    "experiments/feature-subsets", kind="experiment",
    paper="Stone 1974, Cross-validatory choice and assessment of statistical predictions",
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class FeatureSubsets(Experiment):
    """Choose features of a linear regression by cross-validation, on planted data or on a table of one's own."""

    data: str | None = None
    """A registered table or a CSV file; data with planted features when left out."""
    data_dir: str | None = None
    """Where data sets are looked for; GRADUS_DATA when left out."""
    target: str | None = None
    """The column to predict, a number."""
    examples: int = 200
    """Planted rows."""
    features: int = 10
    """Planted columns, from N(0, 1)."""
    informative: int = 3
    """Planted columns that the target depends on, with weights of size 0.5 to 1.5."""
    noise: float = 1.0
    """Standard deviation of the planted target's noise."""
    correlation: float = 0.0
    """Correlation of any two planted columns."""
    folds: int = 10
    """Folds of the cross-validation."""
    rule: Literal["one-standard-error", "least"] = "one-standard-error"
    """How the size is chosen: the smallest within one standard error of the best, or the best."""
    largest: int | None = None
    """Most features of a subset; all when left out."""
    repeats: int = 10
    """Draws of the planted data, or of the folds of a table."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        positive(self, "examples", "features", "informative", "largest", "repeats")
        if self.informative > self.features:
            raise GradusError(f"--informative must be at most --features {self.features}, got {self.informative}")
        if not 0 <= self.correlation < 1:
            raise GradusError(f"--correlation must be at least 0 and below 1, got {self.correlation}")
        if self.noise < 0 or not math.isfinite(self.noise):
            raise GradusError(f"--noise must not be negative, got {self.noise}")
        if self.folds < 2 or (self.data is None and self.folds > self.examples):
            raise GradusError(f"--folds must be at least 2, and at most as many as rows, got {self.folds}")
        if self.data is None and self.target is not None:
            raise GradusError(f"--target {self.target} is a column of a table: name the table with --data")

    def _columns(self) -> int:
        return self.features if self.data is None else self._table()[0].shape[1]

    def _table(self) -> tuple[Any, Any, tuple[str, ...]]:
        """Return the features of a table's rows, the target, and the names of the features."""
        from gradus.data.table_loading import load_table
        from gradus.tabular.encoder import fit_encoder

        assert self.data is not None
        table = load_table(
            self.data, target=self.target, task="regress", data_dir=self.data_dir, val_fraction=0.0, test_fraction=0.0
        ).table
        if len(table) < self.folds:
            raise GradusError(f"--folds {self.folds}: {self.data} has {len(table)} rows")
        encoder = fit_encoder(table)  # affine maps of columns, which least squares does not notice
        names = encoder.names(table.schema.features, table.schema.categories)
        return encoder(table.values), table.target, names

    def cells(self) -> Sequence[Cell]:
        """Return one cell a method and repetition."""
        methods = ("forward", "exhaustive") if self._columns() <= MOST_EXHAUSTIVE else ("forward",)
        repeats = 2 if self.fast_dev_run else self.repeats
        return [{"method": method, "repeat": repeat} for repeat in range(repeats) for method in methods]

    def build(self, run: "Run") -> Build:
        """Read the table once, to refuse it before anything is measured."""
        if self.data is not None:
            self._table()
        return super().build(run)

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Choose a subset in one way."""
        import torch

        from gradus.data.draws import generator
        from gradus.data.splits import folds_of

        if self.data is None:
            planted = self._plant(generator(self.seed, "planted", cell["repeat"]))  # the same for every method
            x, y = planted.x, planted.y
        else:
            planted = None
            x, y, names = self._table()
        fold = folds_of(torch.zeros(len(x), dtype=torch.int64), self.folds, 1000 * self.seed + cell["repeat"])
        folded = Folded(x, y, fold)
        path = folded.forward(self.largest) if cell["method"] == "forward" else folded.exhaustive(self.largest)
        size = self._size(path)
        row = {
            "size": size, "cv_error": path[size].mean, "chosen": list(path[size].subset),
            "errors": [list(one.errors) for one in path], "subsets": [list(one.subset) for one in path],
        }  # fmt: skip
        if planted is None:
            return {**row, "names": list(names)}
        return {
            **row, "planted": planted.subset, "recovered": float(row["chosen"] == planted.subset),
            "true_error": planted.error(folded.weights(path[size].subset)),
        }  # fmt: skip

    def _size(self, path: "Sequence[Candidate]") -> int:
        """Return the size of the subset to take."""
        best = min(path, key=lambda one: one.mean)
        slack = best.standard_error if self.rule == "one-standard-error" else 0.0
        return next(size for size, one in enumerate(path) if one.mean <= best.mean + slack)

    def _plant(self, generator: Any) -> "Planted":
        """Return planted data."""
        import torch

        wide: Any = {"generator": generator, "dtype": torch.float64}
        own, shared = torch.randn(self.examples, self.features, **wide), torch.randn(self.examples, 1, **wide)
        x = math.sqrt(1 - self.correlation) * own + math.sqrt(self.correlation) * shared
        subset = torch.randperm(self.features, generator=generator)[: self.informative].sort().values
        signs = 1 - 2 * torch.randint(2, (self.informative,), generator=generator)
        weights = torch.zeros(self.features, dtype=torch.float64)
        weights[subset] = signs * (0.5 + torch.rand(self.informative, **wide))
        y = x @ weights + self.noise * torch.randn(self.examples, **wide)
        return Planted(x, y, subset.tolist(), weights, self.noise, self.correlation)

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return by method the share of draws in which the planted subset was found, its size, and errors."""
        found: dict[str, float] = {}
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [row for row in rows if row["method"] == method]
            for key in ("recovered", "size", "cv_error", "true_error"):
                if key in own[0]:
                    found[f"{method}_{key}"] = math.fsum(row[key] for row in own) / len(own)
        return found

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Draw the CV error against the size of the subset, and which features were taken."""
        from gradus.experiments.figures import COLOURS, canvas

        methods = list(dict.fromkeys(row["method"] for row in rows))
        first = [next(row for row in rows if row["method"] == method) for method in methods]
        with canvas(folder / "feature-subsets.png", columns=2, size=(5.4, 4.0)) as (left, right):
            for row, colour, offset in zip(first, COLOURS, (-0.06, 0.06), strict=False):
                _draw_path(left, row, colour, offset if len(first) > 1 else 0.0)
            left.set(xlabel="features of the subset", ylabel="squared error in the folds")
            left.set_title("Cross-validation (first draw; bars: one standard error)")
            left.legend()
            _draw_chosen(right, rows, methods)


def _draw_path(axes: Any, row: Row, colour: str, offset: float) -> None:
    """Draw the CV errors of one row's subsets, with the standard errors over the folds, and mark the chosen one."""
    path = [Candidate(tuple(s), tuple(e)) for s, e in zip(row["subsets"], row["errors"], strict=True)]
    sizes = [size + offset for size in range(len(path))]
    means, spread = [one.mean for one in path], [one.standard_error for one in path]
    axes.errorbar(sizes, means, spread, color=colour, marker="o", markersize=4, linewidth=1.4, capsize=2,
                  label=f"{TITLES[row['method']]}, {row['size']} chosen")  # fmt: skip
    chosen = row["size"]
    axes.plot(sizes[chosen], means[chosen], "o", markersize=11, markerfacecolor="none", markeredgecolor=colour,
              markeredgewidth=1.6)  # fmt: skip


def _draw_chosen(axes: Any, rows: Sequence[Row], methods: Sequence[str]) -> None:
    """Draw which features were taken, one line a draw, and which were planted."""
    from gradus.experiments.figures import COLOURS

    for method, colour, marker, size in zip(methods, COLOURS, ("o", "s"), (5, 9), strict=False):
        taken = [(f, row["repeat"]) for row in rows if row["method"] == method for f in row["chosen"]]
        axes.plot([f for f, _ in taken], [r for _, r in taken], marker, color=colour, markersize=size,
                  markerfacecolor=colour if size == 5 else "none", label=TITLES[method])  # fmt: skip
    planted = [(f, row["repeat"]) for row in rows if row["method"] == methods[0] for f in row.get("planted", ())]
    if planted:
        axes.plot([f for f, _ in planted], [r for _, r in planted], "s", color="0.85", markersize=14, zorder=0,
                  markeredgewidth=0, label="planted")  # fmt: skip
    names = rows[0].get("names")
    count = len(names) if names else 1 + max((f for row in rows for s in row["subsets"] for f in s), default=0)
    axes.set_xticks(range(count), names or range(count), rotation=60 if names else 0, ha="right" if names else "center")
    axes.set(xlabel="" if names else "feature", ylabel="draw", xlim=(-0.6, count - 0.4))
    axes.set_yticks(sorted({row["repeat"] for row in rows}))
    axes.set_ylim(max(row["repeat"] for row in rows) + 0.6, -1.6 - 0.06 * len(rows))
    axes.set_title("Chosen features")
    axes.legend(loc="upper center", ncols=3, handletextpad=0.3, columnspacing=1.0)


class Planted(NamedTuple):
    """Data whose informative columns are known.

    Attributes:
        x: features.
        y: target.
        subset: the informative columns.
        weights: w*, 0 elsewhere.
        noise: σ.
        correlation: of any two columns.
    """

    x: "Tensor"
    y: "Tensor"
    subset: list[int]
    weights: "Tensor"
    noise: float
    correlation: float

    def error(self, fitted: "Tensor") -> float:
        """Return the expected squared error of an intercept and weights, `[1 + features]`."""
        gap = fitted[1:] - self.weights
        quadratic = (1 - self.correlation) * gap.square().sum() + self.correlation * gap.sum().square()
        return (self.noise**2 + quadratic + fitted[0].square()).item()


class Candidate(NamedTuple):
    """A subset with its mean squared error in each fold."""

    subset: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return math.fsum(self.errors) / len(self.errors)

    @property
    def standard_error(self) -> float:
        """Standard error of that mean."""
        count = len(self.errors)
        return math.sqrt(math.fsum((e - self.mean) ** 2 for e in self.errors) / (count * (count - 1)))


class Folded:
    """The Gram matrices of the folds of a regression, from which every subset is cross-validated.

    Args:
        x: features, `[rows, features]`, in double precision; they are centred here, which least squares with an
            intercept does not notice but the conditioning does.
        y: target, `[rows]`.
        fold: of each row, counted from 0.
    """

    def __init__(self, x: "Tensor", y: "Tensor", fold: "Tensor") -> None:
        import torch

        self.features = x.shape[1]
        self.shift = x.mean(0)
        rows = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x - self.shift, y.to(x.dtype)[:, None]], 1)
        mask = torch.nn.functional.one_hot(fold).to(x.dtype)
        self.counts = mask.sum(0)
        self.test = torch.einsum("nf,ni,nj->fij", mask, rows, rows)
        self.whole = rows.T @ rows
        self.train = self.whole - self.test

    def errors(self, subsets: Sequence[Sequence[int]]) -> "Tensor":
        """Return the mean squared error in each fold, `[subsets, folds]`, of subsets of one size."""
        import torch

        index = torch.tensor([[0, *(1 + j for j in s)] for s in subsets])
        rows, columns, last = index[:, :, None], index[:, None, :], self.features + 1
        # A pseudo-inverse: columns may be collinear in some of the folds.
        fitted = torch.linalg.pinv(self.train[:, rows, columns], rtol=1e-12, hermitian=True)
        w = (fitted @ self.train[:, index, last][..., None])[..., 0]  # [folds, subsets, 1 + size]
        quadratic = torch.einsum("fsi,fsij,fsj->fs", w, self.test[:, rows, columns], w)
        cross = (w * self.test[:, index, last]).sum(-1)
        squares = self.test[:, None, last, last] - 2 * cross + quadratic
        return (squares.clamp(min=0) / self.counts[:, None]).T

    def weights(self, subset: Sequence[int]) -> "Tensor":
        """Return intercept and weights of the fit of a subset to all rows, `[1 + features]`, zero outside it."""
        import torch

        index = torch.tensor([0, *(1 + j for j in subset)])
        inverse = torch.linalg.pinv(self.whole[index[:, None], index], rtol=1e-12, hermitian=True)
        found = torch.zeros(self.features + 1, dtype=self.whole.dtype)
        found[index] = inverse @ self.whole[index, -1]
        found[0] -= found[1:] @ self.shift
        return found

    def forward(self, largest: int | None = None) -> list[Candidate]:
        """Return the path of forward selection: from nothing, always the feature that lowers the CV error most."""
        taken: tuple[int, ...] = ()
        path = [self._best([taken])]
        for _ in range(min(largest or self.features, self.features)):
            path.append(self._best([(*taken, j) for j in range(self.features) if j not in taken]))
            taken = path[-1].subset
        return [Candidate(tuple(sorted(one.subset)), one.errors) for one in path]

    def exhaustive(self, largest: int | None = None) -> list[Candidate]:
        """Return the subset of each size with the least CV error."""
        sizes = range(min(largest or self.features, self.features) + 1)
        return [self._best(list(combinations(range(self.features), size))) for size in sizes]

    def _best(self, subsets: Sequence[tuple[int, ...]]) -> Candidate:
        errors = self.errors(subsets)
        best = int(errors.mean(1).argmin())
        return Candidate(subsets[best], tuple(errors[best].tolist()))
