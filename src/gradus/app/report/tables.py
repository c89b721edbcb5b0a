"""What is told of a model of tables: its worth on test rows, what it reads, and its rules or coefficients."""

from typing import Any

import torch

from gradus.app.report import sections
from gradus.app.report.held_out import recipe_of
from gradus.app.report.measure import measured_scores
from gradus.app.report.page import Section, table, tile, value
from gradus.app.report.scatter import residual_histogram, scatter
from gradus.app.report.seen import classifier_tiles
from gradus.app.report.svg import THIN, count, percent, tag, text
from gradus.app.report.told import Subject, Told, figure, lead, plain
from gradus.data.table import TableSplits
from gradus.errors import GradusError

__all__ = ["tell_table"]

OPEN_LINES = 60
AT_ONCE = 4096


def tell_table(subject: Subject) -> Told:
    """Measure a model on its test rows; where they are gone, tell of the model only."""
    product = subject.product
    out = Told(lead=lead(subject.facts))
    splits = None
    try:
        splits = _splits(subject)
        _measured(subject, splits, out)
    except GradusError as error:
        out.notes.append(f"The data of this run is not there, so only what the run folder holds is shown: {error}.")
    out.tiles.append(tile("Columns", count(len(product.schema.used)), text(f"{product.module.encoder.width} features")))
    out.chapters.append(_schema(product, splits))
    learned = product.in_words().removeprefix(str(product.schema)).strip()
    if learned:
        said = tag("pre", text(learned), class_="said", tabindex=0)
        lines = learned.count("\n") + 1
        heading = tag("summary", "What was learned", tag("small", text(f"{count(lines)} lines")))
        opened = {"open": ""} if lines <= OPEN_LINES else {}
        out.chapters.append(Section("model", "Model", tag("details", heading, tag("div", said), **opened)))
    return out


def _splits(subject: Subject) -> TableSplits:
    recipe: Any = recipe_of(subject.facts.body, subject.facts.name)
    splits = recipe.splits()
    if splits.schema != subject.product.schema:
        raise GradusError(f"the data {splits.name!r} has other columns or values now than when the run was trained")
    if not len(splits.test):
        raise GradusError(f"the test part of {splits.name!r} is empty")
    return splits


def _measured(subject: Subject, splits: TableSplits, out: Told) -> None:
    """Add metrics, tiles and chapters of the test rows; the metrics are those of `gradus evaluate`."""
    product, test = subject.product, splits.test
    with torch.inference_mode():
        outputs = torch.cat([product.module(rows).float().cpu() for rows in test.values.split(AT_ONCE)])
    recipe: Any = recipe_of(subject.facts.body, subject.facts.name)
    out.metrics = recipe.measure(outputs, test, "test")
    model = subject.facts.product.get("model")
    trained_on = f"The {model} model, trained on {count(len(splits.train))} rows of {splits.name},"
    target, total = product.schema.target, count(len(test))
    if splits.classes:
        measured = measured_scores(outputs, test.target, out.metrics)
        out.metrics = measured.metrics
        out.tiles += classifier_tiles(measured)
        rest = [name for name in ("test/f1", "test/auc") if name in out.metrics]
        out.tiles += [tile(_named(name), value(out.metrics[name], f"{out.metrics[name]:.4f}")) for name in rest]
        out.chapters += [sections.classes(measured.confusion, splits.classes, "rows")]
        out.chapters += [sections.calibration(measured, "rows")]
        share = percent(out.metrics["test/accuracy"])
        out.lead = f"{trained_on} predicts {target} of {total} rows it has never seen, {share} of them rightly."
    else:
        out.tiles += [tile(_named(name), value(v, figure(name, v))) for name, v in out.metrics.items()]
        out.chapters.append(_errors(outputs[:, 0].double(), test.target, target))
        mae = figure("test/mae", out.metrics["test/mae"])
        out.lead = f"{trained_on} predicts {target} of {total} rows it has never seen, {mae} off on average."
    parts = " / ".join(count(len(splits.parts[part])) for part in ("train", "val", "test"))
    facts = {"Data": splits.name, "Target": target, "Train / val / test": parts, "Fingerprint": splits.fingerprint}
    out.data = {**facts, "Notes": "; ".join(splits.notes) or None}


def _named(name: str) -> str:
    names = {"mse": "Mean squared error", "mae": "Mean absolute error", "r2": "R²", "auc": "Area under ROC", "f1": "F₁"}
    return names.get(name.partition("/")[2], plain(name))


def _errors(predicted: torch.Tensor, truth: torch.Tensor, target: str) -> Section:
    errors = predicted - truth
    rank = errors.abs().sort().values
    half, most = (figure("", float(rank[int(q * (len(rank) - 1))])) for q in (0.5, 0.95))
    said = f"Half of the predictions are within {half} of the true {target}, 95{THIN}% within {most}."
    figures = scatter(truth.tolist(), predicted.tolist(), target) + residual_histogram(errors.tolist())
    return Section("errors", "Errors", tag("p", text(said)) + tag("div", figures, class_="row"))


def _schema(product: Any, splits: TableSplits | None) -> Section:
    """Return what each column is, how often it is missing, and why some are left out."""
    missing: dict[str, int] = {}
    if splits is not None:
        counts = splits.table.values.isnan().sum(0).tolist()
        missing = dict(zip(splits.schema.features, counts, strict=True))
    rows = []
    for column in product.schema.columns:
        values = ", ".join(column.categories[:6]) + (", …" if len(column.categories) > 6 else "")
        kind = f"date, {column.form}" if column.kind == "date" else column.kind
        gone = count(missing[column.features[0]]) if not column.left_out and splits is not None else "–"
        cells = [kind if not column.left_out else "left out", column.left_out or values or "–", gone]
        look = "usual" if column.left_out else None
        rows.append(
            tag("tr", tag("th", text(column.name), scope="row"), *(tag("td", text(c)) for c in cells), class_=look)
        )
    classes = product.schema.classes
    said = f"To be predicted: {product.schema.target}, " + (
        f"one of {len(classes)} classes." if classes else "a number."
    )
    inside = table(["column", "kind", "values", "missing"], rows, "words", "The columns of the table")
    dropped = sum(bool(column.left_out) for column in product.schema.columns)
    note = f"{len(rows)}, {dropped} of them left out" if dropped else str(len(rows))
    opened = {"open": ""} if len(rows) <= 20 else {}
    heading = tag("summary", "Columns", tag("small", text(note)))
    return Section("columns", "Columns", tag("p", text(said)) + tag("details", heading, tag("div", inside), **opened))
