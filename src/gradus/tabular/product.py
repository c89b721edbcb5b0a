"""Models of tables ready to be used: raw rows of a CSV file in; class probabilities, or numbers, out.

`product.json` holds the schema and the encoder, so that a product reads any file like the one it was trained on;
`model.txt` beside it says in words which columns it reads and what a linear model or a tree has learned.
"""

from abc import ABC
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.data.table import TableSchema
from gradus.engine.capabilities import InputBatch
from gradus.engine.folder import write_atomically
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.tabular.encoder import Encoder
from gradus.tabular.network import TableModel, empty
from gradus.tabular.wording import in_words

__all__ = ["TableClassifier", "TableProduct", "TableRegressor"]

AT_ONCE = 4096


class TableProduct(ABC):
    """What classifiers and regressors of tables share.

    Args:
        module: raw rows to outputs, preprocessing included.
        schema: how a file is read.
        facts: further constructor arguments, as `facts_of` gives them.
    """

    name: ClassVar[str]

    def __init__(self, module: TableModel, schema: TableSchema, facts: State) -> None:
        self.module, self.schema, self.facts = module, schema, facts

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return next(self.module.network.parameters()).device

    def outputs(self, rows: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows outputs"]:
        """Return the module's outputs for any number of raw rows, without gradients."""
        with torch.inference_mode():
            return torch.cat([self.module(part).float() for part in rows.split(AT_ONCE)])

    def read(self, path: Path, batch_size: int = AT_ONCE) -> Iterator[InputBatch]:
        """Read a CSV file in batches as raw inputs: numbers, places of categories, NaN where a value is missing.

        Raises:
            GradusError: naming file, row and column of what cannot be read.
        """
        raw = self.schema.read(path)
        values = self.schema.values(raw)
        for start in range(0, len(raw), batch_size):
            part = values[start : start + batch_size]
            yield InputBatch([f"row {start + i + 1}" for i in range(len(part))], part)

    def exportable(self) -> tuple[TableModel, Tensor]:
        """Return the module to export and an example input; a program takes encoded rows, in float32."""
        return self.module, torch.zeros(2, len(self.schema.features))

    def in_words(self) -> str:
        """Return in words what is read from a file and, for a linear model or a tree, what was learned."""
        learned = in_words(self.module.network, self.schema, self.module.encoder)
        return f"{self.schema}\n" + (f"\n{learned}\n" if learned else "")

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, schema, encoder, and the model in words."""
        classes = {"classes": list(self.schema.classes)} if self.schema.classes else {}
        facts = {**self.facts, **classes, "schema": self.schema.to_json(), "encoder": self.module.encoder.to_json()}
        save_product(folder, self.name, facts, {"model": dict(self.module.state_dict())})
        write_atomically(folder / "model.txt", self.in_words())

    @classmethod
    def load(cls, folder: Path, facts: State) -> Any:
        """Build the model from `product.json` and load its weights."""
        network = empty(facts["form"], facts["network"])
        module = TableModel(Encoder.from_json(facts["encoder"]), network, facts["centre"], facts["scale"])
        load_weights(module, folder)
        kept = {key: facts[key] for key in ("model", "form", "network", "centre", "scale", "chosen")}
        return cls(module.eval(), TableSchema.from_json(facts["schema"]), kept)


@canon("tabular/table-classifier", kind="product")
class TableClassifier(TableProduct):
    """A classifier of table rows.

    Args:
        module: raw rows to scores.
        schema: how a file is read.
        facts: further constructor arguments.
    """

    kind, name = "a classifier of tables", "table-classifier"

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of the scores."""
        return self.schema.classes

    def __repr__(self) -> str:
        return f"TableClassifier({self.facts['model']}, {len(self.schema.used)} columns, {len(self.classes)} classes)"

    def scores(self, inputs: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows classes"]:
        """Return the logits of raw rows; differentiable in their numbers."""
        return self.module(inputs)

    def predict(self, inputs: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows classes"]:
        """Return class probabilities of raw rows."""
        return self.outputs(inputs).softmax(1)


@canon("tabular/table-regressor", kind="product")
class TableRegressor(TableProduct):
    """A regression on table rows.

    Args:
        module: raw rows to numbers.
        schema: how a file is read.
        facts: further constructor arguments.
    """

    kind, name = "a regression on tables", "table-regressor"

    @property
    def target(self) -> str:
        """Name of what is predicted."""
        return self.schema.target

    def __repr__(self) -> str:
        return f"TableRegressor({self.facts['model']}, {len(self.schema.used)} columns, {self.target!r})"

    def predict(self, inputs: Float[Tensor, "rows columns"]) -> Float[Tensor, " rows"]:
        """Return the numbers predicted for raw rows."""
        return self.outputs(inputs)[:, 0]
