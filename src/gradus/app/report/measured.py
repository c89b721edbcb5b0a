"""What is told of a product that has no teller of its own: what `gradus evaluate` says of its test data."""

from gradus.app.report.held_out import recipe_of
from gradus.app.report.page import tile, value
from gradus.app.report.told import Subject, Told, figure, lead, plain
from gradus.errors import GradusError

__all__ = ["tell_measured"]


def tell_measured(subject: Subject) -> Told:
    """Measure a product on its test data; where that cannot be, say why."""
    out = Told(lead=lead(subject.facts))
    kind = getattr(subject.product, "kind", type(subject.product).__name__)
    try:
        recipe = recipe_of(subject.facts.body, subject.facts.name)
        out.metrics = recipe.evaluate(subject.product, "test")
    except GradusError as error:
        out.notes.append(f"This run holds {kind}, of which its curves and recipe are shown: {error}.")
    out.tiles = [tile(plain(name), value(number, figure(name, number))) for name, number in out.metrics.items()]
    return out
