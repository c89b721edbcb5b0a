"""`gradus evaluate` and `gradus predict`: what a finished run is worth, and what it says."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from gradus.app.verb import Answer, Verb, is_path, shown
from gradus.engine.group import interval, members
from gradus.engine.recipe import Recipe, from_json, recipe_class
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
    combine: Literal["mean", "vote", "weights"] = "mean"
    """How an ensemble joins its members: mean of the probabilities, vote, or mean of the weights."""

    def __call__(self) -> Answer:
        """Load the product and the recipe's data, and measure."""
        folder = self.folder(self.run)
        body = folder.read()
        name = folder.name
        if body["recipe"] is None:
            raise GradusError(f"run {name!r} was driven from Python, so its data is not known here: evaluate it there")
        recipe = from_json(recipe_class(body["recipe"]), body["options"])
        if body.get("members"):
            return self._group(name, recipe if body.get("vary") == "ensemble" else None)
        metrics = self._measure(recipe, self.product(self.run, self.device))
        lines = [name, *(f"  {key:<16} {value:.4f}" for key, value in metrics.items())]
        return Answer({"run": name, "metrics": metrics}, "\n".join(lines))

    def _measure(self, recipe: Recipe, product: Any) -> dict[str, float]:
        """Return the metrics of a product, combined as asked where it is an ensemble."""
        if self.combine != "mean":
            if not hasattr(product, "combined"):
                raise GradusError(f"--combine {self.combine}: run {self.run!r} holds one model, no ensemble")
            product = product.combined(self.combine)
        return recipe.evaluate(product, self.split, self.device)

    def _group(self, name: str, together: Recipe | None) -> Answer:
        """Measure every member, mean and interval; and the ensemble where the members share their test data."""
        found = []
        for member in members(self.folder(self.run)):
            one = Evaluate(run=str(member.path), split=self.split, device=self.device)()
            found.append(one.data["metrics"])
        if not found:
            raise GradusError(f"group {name!r} has no members yet: go on with `gradus resume {name}`")
        metrics = {key: interval([one[key] for one in found]) for key in found[0]}
        lines = [f"{name}: {len(found)} members"]
        lines += [f"  {key:<16} {v['mean']:.4f} ± {v['half_width']:.4f}" for key, v in metrics.items()]
        data: dict[str, Any] = {
            "run": name,
            "metrics": {key: v["mean"] for key, v in metrics.items()},
            "members": found,
            "intervals": metrics,
        }
        if together is not None:
            data["ensemble"] = self._measure(together, self.product(self.run, self.device))
            lines += [f"  {f'ensemble {key}':<24} {value:.4f}" for key, value in data["ensemble"].items()]
        elif self.combine != "mean":
            raise GradusError(f"--combine {self.combine}: the members of {name!r} were not trained as an --ensemble")
        return Answer(data, "\n".join(lines))


@dataclass(kw_only=True)
class Predict(RunVerb):
    """Predict a file, a folder or a text: gradus predict RUN FOLDER --out predictions.csv."""

    target: str | None = None
    """A file or a folder, or a text for what reads text (also given as the second word)."""
    out: str | None = None
    """Write a CSV file with one row per input and one column per class."""
    combine: Literal["mean", "vote", "weights"] = "mean"
    """How an ensemble joins its members."""

    operands: ClassVar[tuple[str, ...]] = ("run", "target")

    def __call__(self) -> Answer:
        """Read the inputs in batches, predict, and write or print the rows."""
        from gradus.engine.capabilities import Answers, Regresses, ask

        if self.target is None:
            raise GradusError(f"name what to predict: gradus predict {self.run} FOLDER")
        product = self.product(self.run, self.device)
        if isinstance(product, Regresses):
            return self._numbers(product)
        if isinstance(product, Answers):
            return self._answers(product)
        product = ask(product, "predict", self.run)
        if hasattr(product, "combined"):
            product = product.combined(self.combine)
        rows = []
        for batch in self._inputs(product):
            for name, row in zip(batch.names, product.predict(batch.inputs).tolist(), strict=True):
                best = max(range(len(row)), key=row.__getitem__)
                rows.append({"input": name, "class": product.classes[best], "probability": row[best], "all": row})
        data = {"run": self.run, "classes": list(product.classes), "predictions": rows}
        header = ["input", "class", "probability", *(f"p({c})" for c in product.classes)]
        table = [[r["input"], r["class"], r["probability"], *r["all"]] for r in rows]
        return self._answer(data, header, table, [f"{r['input']}  {r['class']}  {r['probability']:.3f}" for r in rows])

    def _inputs(self, product: Any) -> Iterator[Any]:
        """Return the user's inputs in batches; words that are no path are a text, where the product takes one."""
        words = self.target or ""
        return (
            iter([product.given(words)])
            if hasattr(product, "given") and not is_path(words)
            else (product.read(Path(words)))
        )

    def _answers(self, product: Any) -> Answer:
        """Find the answer to each question."""
        header = ["input", "answer", "start", "probability"]
        table = [
            [asked.question, found.text, found.start, found.probability]
            for batch in self._inputs(product)
            for asked, found in zip(batch.inputs, product.answer(batch.inputs), strict=True)
        ]
        data = {"run": self.run, "predictions": [dict(zip(header, row, strict=True)) for row in table]}
        lines = [f"{question}  {answer}  {sure:.3f}" for question, answer, _, sure in table]
        return self._answer(data, header, table, lines)

    def _numbers(self, product: Any) -> Answer:
        """Predict a number for each input."""
        rows = [
            {"input": name, product.target: value}
            for batch in self._inputs(product)
            for name, value in zip(batch.names, product.predict(batch.inputs).tolist(), strict=True)
        ]
        data = {"run": self.run, "target": product.target, "predictions": rows}
        table = [list(row.values()) for row in rows]
        lines = [f"{name}  {product.target} {value:.6g}" for name, value in table]
        return self._answer(data, ["input", product.target], table, lines)

    def _answer(self, data: dict[str, Any], header: list[str], table: list[list[Any]], lines: list[str]) -> Answer:
        """Write the rows where they are wanted, or else print them."""
        if self.out is None:
            return Answer(data, "\n".join(lines))
        with open(self.out, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *table])
        return Answer(data, f"{len(table)} predictions in {shown(Path(self.out))}")
