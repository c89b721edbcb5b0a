"""`gradus evaluate` and `gradus predict`: what a finished run is worth, and what it says."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from gradus.app.verb import Answer, Verb, shown
from gradus.engine.group import interval, members
from gradus.engine.recipe import from_json, recipe_class
from gradus.errors import GradusError

__all__ = ["Evaluate", "Predict", "RunVerb"]


@dataclass(kw_only=True)
class RunVerb(Verb):
    """A verb whose first word is RUN."""

    run: str = "latest"
    """Which run: a path, a name or `latest` (also given as the first word)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""

    operands: ClassVar[tuple[str, ...]] = ("run",)


@dataclass(kw_only=True)
class Evaluate(RunVerb):
    """Measure a run on a split of its data: gradus evaluate RUN --split test."""

    split: Literal["train", "val", "test"] = "test"
    """Which part of the data."""

    def __call__(self) -> Answer:
        """Load the product and the recipe's data, and measure."""
        folder = self.folder(self.run)
        body = folder.read()
        name = folder.path.name
        if body["recipe"] is None:
            raise GradusError(f"run {name!r} was driven from Python, so its data is not known here: evaluate it there")
        if body.get("members"):
            return self._group(name)
        recipe = from_json(recipe_class(body["recipe"]), body["options"])
        metrics = recipe.evaluate(self.product(self.run, self.device), self.split, self.device)
        lines = [name, *(f"  {key:<16} {value:.4f}" for key, value in metrics.items())]
        return Answer({"run": name, "metrics": metrics}, "\n".join(lines))

    def _group(self, name: str) -> Answer:
        """Measure every member; mean and interval."""
        found = []
        for member in members(self.folder(self.run)):
            one = Evaluate(run=str(member.path), split=self.split, device=self.device)()
            found.append(one.data["metrics"])
        metrics = {key: interval([one[key] for one in found]) for key in found[0]}
        lines = [f"{name}: {len(found)} members"]
        lines += [f"  {key:<16} {v['mean']:.4f} ± {v['half_width']:.4f}" for key, v in metrics.items()]
        data = {
            "run": name,
            "metrics": {key: v["mean"] for key, v in metrics.items()},
            "members": found,
            "intervals": metrics,
        }
        return Answer(data, "\n".join(lines))


@dataclass(kw_only=True)
class Predict(RunVerb):
    """Predict a file or a folder: gradus predict RUN FOLDER --out predictions.csv."""

    target: str | None = None
    """A file or a folder (also given as the second word)."""
    out: str | None = None
    """Write a CSV file with one row per input and one column per class."""

    operands: ClassVar[tuple[str, ...]] = ("run", "target")

    def __call__(self) -> Answer:
        """Read the inputs in batches, predict, and write or print the rows."""
        from gradus.engine.capabilities import ask

        if self.target is None:
            raise GradusError(f"name what to predict: gradus predict {self.run} FOLDER")
        product = ask(self.product(self.run, self.device), "predict", self.run)
        rows = []
        for batch in product.read(Path(self.target)):
            for name, row in zip(batch.names, product.predict(batch.inputs).tolist(), strict=True):
                best = max(range(len(row)), key=row.__getitem__)
                rows.append({"input": name, "class": product.classes[best], "probability": row[best], "all": row})
        if self.out is not None:
            with open(self.out, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["input", "class", "probability", *(f"p({c})" for c in product.classes)])
                writer.writerows([r["input"], r["class"], r["probability"], *r["all"]] for r in rows)
        data = {"run": self.run, "classes": list(product.classes), "predictions": rows}
        if self.out is not None:
            return Answer(data, f"{len(rows)} predictions in {shown(Path(self.out))}")
        return Answer(data, "\n".join(f"{r['input']}  {r['class']}  {r['probability']:.3f}" for r in rows))
