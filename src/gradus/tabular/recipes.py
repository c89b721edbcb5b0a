"""The recipes of tables, as flat typed data. Imports no torch: building does."""

import copy
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.options import Divided, Optimised, between
from gradus.engine.recipe import Build, positive
from gradus.engine.validated import Validated
from gradus.errors import GradusError

if TYPE_CHECKING:
    from torch import Tensor

    from gradus.data.table import Table, TableSplits
    from gradus.engine.descent import Descend
    from gradus.engine.run import Run
    from gradus.tabular.learning import FitTable
    from gradus.tabular.product import TableProduct

__all__ = ["Classify", "Regress", "TableRecipe"]

AT_ONCE = 4096
NETWORK = (
    "hidden", "activation", "dropout", "norm", "embedding", "batch_size", "optimizer", "lr", "schedule", "warmup",
    "ema", "clip", "accumulate", "snapshots",
)  # fmt: skip
USERS = {
    "alpha": ("softmax", "logistic", "ridge", "lasso"), "max_depth": ("tree",), "min_leaf": ("tree",),
    "criterion": ("tree",), **dict.fromkeys(NETWORK, ("mlp",)),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TableRecipe(Optimised, Divided, Validated, ABC):
    """Flags of both recipes of tables."""

    data: str = ""
    """A registered table (`gradus list --kind table`) or a CSV file, gzipped or not."""
    target: str | None = None
    """The column to predict; a registered table knows its own."""
    data_dir: str | None = None
    """Where registered tables are looked for; GRADUS_DATA when left out."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Whether the first row of the file has the names of the columns."""
    delimiter: str | None = None
    """What separates fields, as a character or tab, comma, semicolon, bar, space; found out when left out."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    categorical: tuple[str, ...] = ()
    """Columns whose numbers (or dates) are names of categories."""
    cross: tuple[str, ...] = ()
    """Columns to cross, as a*b: products of numbers, joint categories."""
    limit: int | None = None
    """Use at most this many rows of each split."""
    model: str = ""
    """The method."""
    alpha: float | None = None
    """Strength of the penalty on coefficients; of ridge and lasso chosen on the validation part when left out."""
    max_depth: int | None = None
    """Most questions of a tree on the way to a leaf; chosen on the validation part when left out."""
    min_leaf: int = 5
    """Fewest training rows of a leaf."""
    criterion: Literal["auto", "gini", "entropy", "variance"] = "auto"
    """What a tree's questions decrease; auto is gini for classes and variance for numbers."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the network's hidden layers."""
    activation: str = "relu"
    """Nonlinearity of the network (`gradus list --kind activation`)."""
    dropout: float = 0.0
    """Probability of dropping a hidden unit."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Normalisation in front of the network's nonlinearities."""
    embedding: int = 0
    """Dimensions that the network embeds categories in; 0 leaves them one-hot."""
    batch_size: int = 128
    """Rows per step of the network, over all processes."""

    task: ClassVar[Literal["classify", "regress"]]

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "limit", "max_depth", "min_leaf", "batch_size")
        between(self, 0, 1, "dropout")
        if self.embedding < 0 or min(self.hidden, default=1) < 1:
            raise GradusError("--embedding must not be negative, and --hidden needs at least one unit in every layer")
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise GradusError(f"--alpha must not be negative, got {self.alpha}")
        registry.lookup("activation", self.activation)
        for field in dataclasses.fields(self):
            users = USERS.get(field.name, (self.model,))
            if self.model not in users and getattr(self, field.name) != field.default:
                flag = field.name.replace("_", "-")
                others = " or ".join(users)
                raise GradusError(f"--{flag}: the model {self.model} takes none; leave it out, or use {others}")

    @property
    def at_once(self) -> bool:
        """Whether the model is fitted in one step."""
        return self.model != "mlp"

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: the method, optimiser and schedule."""
        own = {"model": registry.lookup("estimator", self.model)} if self.at_once else {}
        return {**own, **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "classes", "weights", "alpha", "max_depth", "min_leaf", "criterion")

    def splits(self) -> "TableSplits":
        """Return the data of the run."""
        from gradus.data.table_loading import load_table

        return load_table(
            self.data, target=self.target, task=self.task, data_dir=self.data_dir,
            header={"auto": None, "yes": True, "no": False}[self.header], delimiter=self.delimiter, drop=self.drop,
            categorical=self.categorical, limit=self.limit, **self.division,
        )  # fmt: skip

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.tabular.building import build

        return build(self, run)

    def weights(self, splits: "TableSplits") -> "Tensor | None":
        """Return the weight of each training row; None where they count the same."""
        return None

    @property
    @abstractmethod
    def best(self) -> tuple[str, Literal["min", "max"]]:  # type: ignore[override]
        """The metric by which the best weights are kept, and whether less or more of it is better."""

    @abstractmethod
    def measure(self, outputs: "Tensor", table: "Table", split: str) -> dict[str, float]:
        """Return the metrics of outputs, in the units of the targets, named `split/metric`."""

    def product(self, learner: "FitTable | Descend") -> "TableProduct":
        """Return the model that the learner holds, averaged weights where there are any."""
        from gradus.tabular import product
        from gradus.tabular.network import TableModel

        facts = learner.facts
        with learner.averaged():
            network: Any = copy.deepcopy(learner.network).float().eval()
        module = TableModel(facts.encoder, network, facts.centre, facts.scale)
        kind = product.TableClassifier if self.task == "classify" else product.TableRegressor
        described = {"model": self.model, "form": network.form, "network": network.facts(), "centre": facts.centre,
                     "scale": facts.scale, "chosen": getattr(learner, "chosen", {})}  # fmt: skip
        return kind(module, facts.schema, described)

    def evaluate(self, product: "TableProduct", split: str, device: str = "auto") -> dict[str, float]:
        """Return the product's metrics on a split."""
        import torch

        splits = self.splits()
        if splits.schema != getattr(product, "schema", splits.schema):  # an ensemble has none of its own
            raise GradusError(f"the data {self.data!r} has other columns or values now than when the run was trained")
        part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        if not len(part):
            raise GradusError(f"the {split} part of {self.data!r} is empty: choose another --split")
        with torch.inference_mode():
            outputs = torch.cat([product.module(rows).float().cpu() for rows in part.values.split(AT_ONCE)])
        return self.measure(outputs, part, split)


@canon(
    "tabular/classify",
    kind="recipe",
    paper="Theil 1969, A multinomial extension of the linear logit model",
    names=("tabular/classify",),
)
@dataclass(frozen=True, kw_only=True)
class Classify(TableRecipe):
    """Train a classifier of table rows: gradus train tabular/classify --data file.csv --target column."""

    data: str = "iris"
    """A registered table (`gradus list --kind table`) or a CSV file, gzipped or not."""
    model: Literal["softmax", "logistic", "tree", "perceptron", "mlp"] = "softmax"
    """The method: softmax (any number of classes), logistic (two), tree, perceptron, or mlp (a network)."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weigh the classes in the loss; balanced makes each count the same."""
    monitor: str = "val/loss"
    """Metric by which the best weights are kept: val/loss, val/accuracy or val/f1."""

    capabilities: ClassVar[tuple[str, ...]] = ("predict", "export")
    task: ClassVar[Literal["classify", "regress"]] = "classify"

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        if self.monitor not in ("val/loss", "val/accuracy", "val/f1"):
            raise GradusError(f"--monitor is val/loss, val/accuracy or val/f1, got {self.monitor!r}")
        if self.criterion == "variance":
            raise GradusError("--criterion variance is for numbers: take gini or entropy for classes")
        if self.model == "perceptron" and self.class_weights != "none":
            raise GradusError("--class-weights: the perceptron rule weighs no rows; leave it out, or use softmax")

    @property
    def best(self) -> tuple[str, Literal["min", "max"]]:  # type: ignore[override]
        """The metric by which the best weights are kept, and whether less or more of it is better."""
        return self.monitor, "min" if self.monitor == "val/loss" else "max"

    def splits(self) -> "TableSplits":
        """Return the data of the run."""
        found = super().splits()
        if self.model == "logistic" and len(found.classes) > 2:
            raise GradusError(
                f"--model logistic tells two classes apart, and {found.schema.target!r} has {len(found.classes)}: "
                "use softmax"
            )
        return found

    def weights(self, splits: "TableSplits") -> "Tensor | None":
        """Return the weight of each training row; None where they count the same."""
        if self.class_weights == "none":
            return None
        import torch

        target = splits.train.target
        counts = torch.bincount(target, minlength=len(splits.classes)).clamp(min=1).double()
        return (len(target) / (len(counts) * counts))[target]

    def measure(self, outputs: "Tensor", table: "Table", split: str) -> dict[str, float]:
        """Return loss, accuracy, F₁ and, for two classes, the area under the ROC curve."""
        from gradus.tabular.measures import of_classes

        return of_classes(outputs, table.target, split)


@canon(
    "tabular/regress",
    kind="recipe",
    paper="Hoerl and Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems",
    names=("tabular/regress",),
)
@dataclass(frozen=True, kw_only=True)
class Regress(TableRecipe):
    """Train a regression on table rows: gradus train tabular/regress --data file.csv --target column."""

    data: str = "diabetes"
    """A registered table (`gradus list --kind table`) or a CSV file, gzipped or not."""
    model: Literal["linear", "ridge", "lasso", "tree", "mlp"] = "ridge"
    """The method: linear (least squares), ridge, lasso, tree, or mlp (a network)."""

    capabilities: ClassVar[tuple[str, ...]] = ("regress", "export")
    task: ClassVar[Literal["classify", "regress"]] = "regress"

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        if self.criterion in ("gini", "entropy"):
            raise GradusError(f"--criterion {self.criterion} is for classes: take variance for numbers")
        if self.snapshots is not None:
            raise GradusError("--snapshots makes an ensemble of class probabilities: leave it out for numbers")

    @property
    def best(self) -> tuple[str, Literal["min", "max"]]:  # type: ignore[override]
        """The metric by which the best weights are kept, and whether less or more of it is better."""
        return "val/mse", "min"

    def measure(self, outputs: "Tensor", table: "Table", split: str) -> dict[str, float]:
        """Return mean squared and absolute error and R²."""
        from gradus.tabular.measures import of_numbers

        return of_numbers(outputs[:, 0], table.target, split)
