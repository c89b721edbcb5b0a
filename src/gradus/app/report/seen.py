"""What is told of a classifier of images: classes, calibration, worst mistakes, robustness, its layers."""

from typing import Any

from gradus.app.report import sections, trained
from gradus.app.report.attacked import attack_images
from gradus.app.report.held_out import held_out
from gradus.app.report.measure import Measured, effort_of, look_at_mistakes, measure
from gradus.app.report.page import Section, tile, value
from gradus.app.report.svg import compact, count, percent, text
from gradus.app.report.told import Subject, Told, lead
from gradus.engine.capabilities import Explains, Exports
from gradus.errors import GradusError
from gradus.metrics.intervals import wilson

__all__ = ["classifier_tiles", "tell_images"]


def tell_images(subject: Subject) -> Told:
    """Measure a classifier on its test images; where they are gone, tell of the model only."""
    facts, product = subject.facts, subject.product
    summary = _summary(product) if isinstance(product, Exports) else None
    parameters = summary.parameters if summary is not None else None
    out = Told(lead=lead(facts, parameters))
    splits = _data(subject, out)
    if splits is not None:
        measured = measure(product, splits.test, "test")
        out.metrics, out.tiles = measured.metrics, classifier_tiles(measured)
        out.chapters += _chapters(subject, splits.test, measured)
        out.lead = _recognises(out.lead, measured, splits, facts.product.get("model"), parameters)
        out.data = _data_facts(splits)
    if summary is not None:
        work = f"{compact(summary.multiply_adds)} multiply-adds"
        out.tiles.append(tile("Parameters", value(summary.parameters, count(summary.parameters)), text(work)))
        out.chapters.append(trained.model(summary, facts.product.get("model", type(product).__name__)))
    return out


def _summary(product: Any) -> Any:
    from gradus.nn.summary import summary

    _, example = product.exportable()
    return summary(product.module, (1, *example.shape[1:]))


def _data(subject: Subject, out: Told) -> Any:
    """Return the splits of the run's data; note why not if they are gone."""
    facts = subject.facts
    try:
        splits = held_out(facts.body, facts.name, tuple(subject.product.classes))
    except GradusError as error:
        out.notes.append(f"The data of this run is not there, so only what the run folder holds is shown: {error}.")
        return None
    if not len(splits.test):
        out.notes.append("The data has no test images, so only what the run folder holds is shown.")
        return None
    return splits


def _chapters(subject: Subject, images: Any, measured: Measured) -> list[Section]:
    """Return what the test images say; a look inside only where the product lets one look."""
    product = subject.product
    classes = product.classes
    found = [sections.classes(measured.confusion, classes), sections.calibration(measured)]
    if isinstance(product, Explains) and isinstance(product, Exports):
        effort = effort_of(product)
        worst = look_at_mistakes(product, images, measured, effort)
        found.append(sections.mistakes(worst, classes, len(measured.mistakes())))
        if subject.attacked:
            curve = attack_images(product, images, effort, subject.attacked)
            found.append(sections.robustness(curve, classes))
    return found


def classifier_tiles(measured: Measured) -> list[str]:
    """Return accuracy with its interval, loss and calibration error as headline facts."""
    accuracy = measured.metrics["test/accuracy"]
    _, low, high = wilson(int((measured.guesses == measured.labels).sum()), len(measured.labels))
    between = f"95 % interval {100 * low:.1f} to {percent(high)}"
    tiles = [tile("Test accuracy", value(accuracy, percent(accuracy, 2)), text(between))]
    for name, shown in (("test/loss", "Test loss"), ("test/ece", "Calibration error")):
        tiles.append(tile(shown, value(measured.metrics[name], f"{measured.metrics[name]:.4f}")))
    return tiles


def _recognises(said: str, measured: Measured, splits: Any, model: str | None, parameters: int | None) -> str:
    """Return the run in a sentence, with what it is worth."""
    subject = f"The model {model}" if model else said.partition(",")[0]
    if model and parameters is not None:
        subject += f" with {count(parameters)} parameters"
    total = len(measured.labels)
    hits = int((measured.guesses == measured.labels).sum())
    trained_on = f", trained on {count(len(splits.train))} images of {splits.name}"
    return f"{subject}{trained_on}, recognises {count(hits)} of {count(total)} images it has never seen."


def _data_facts(splits: Any) -> dict[str, object]:
    size = " × ".join(map(str, (splits.train.channels, *splits.train.image_size)))
    parts = " / ".join(count(len(part)) for part in (splits.train, splits.val, splits.test))
    return {
        "Data": splits.name, "Train / val / test": parts, "Classes": len(splits.classes), "Images": size,
        "Fingerprint": splits.fingerprint,
    }  # fmt: skip
