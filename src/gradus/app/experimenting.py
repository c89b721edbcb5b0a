"""`gradus experiment NAME`: measure a table, draw its figures, tell what was found."""

from collections.abc import Sequence

from gradus import canon
from gradus.app.launching import Order, learn, make_folder, order, place
from gradus.app.verb import Answer, shown
from gradus.errors import GradusError, nearest

__all__ = ["Experiment"]

PREFIX = "experiments/"


class Experiment:
    """Runs a registered experiment in a run folder.

    Args:
        asked: which one, and how to start and show it.
    """

    def __init__(self, asked: Order) -> None:
        self.asked, self.json = asked, asked.launch.json

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "Experiment":
        """Return the command that `NAME [flags]` means.

        Raises:
            GradusError: if there is no such experiment.
        """
        found = {e.id.removeprefix(PREFIX): e for e in canon.of_kind("experiment").values()}
        words = list(argv)
        name = words.pop(0).removeprefix(PREFIX) if words and not words[0].startswith("-") else ""
        if not name and {"-h", "--help"} & set(words):
            print("usage: gradus experiment NAME [flags]\n")
            print("\n".join(f"  {key:<24} {entry.summary}" for key, entry in sorted(found.items())))
            raise SystemExit(0)
        if name not in found:
            told = "name an experiment" if not name else f"there is no experiment {name!r}"
            raise GradusError(f"{told}{nearest(name, found)}; `gradus experiment --help` lists them")
        return cls(order([PREFIX + name, *words], "experiment"))

    def __call__(self) -> Answer:
        """Measure every cell, draw, and tell the findings."""
        id, recipe, launch = self.asked
        if launch.seeds > 1 or launch.ensemble > 1:
            raise GradusError("an experiment makes one table: leave --seeds and --ensemble out, see its own flags")
        folder = make_folder(place(self.asked), id, recipe)
        answer = learn(recipe, folder, launch)
        if answer.code:
            return answer
        return tell(folder.path.name, answer)


def tell(name: str, answer: Answer) -> Answer:
    """Add what was found to the answer of a finished experiment.

    Args:
        name: of the run.
        answer: of its training, with the run's path.
    """
    from pathlib import Path

    from gradus.engine.product import read_product

    path = Path(answer.data["path"])
    numbers = read_product(path / "product")["numbers"]
    figures = sorted(str(file) for file in (path / "plots").iterdir())
    lines = [name, *(f"  {key:<32} {value:.6g}" for key, value in numbers.items())]
    lines += [f"  {shown(Path(figure))}" for figure in figures]
    return Answer({**answer.data, "findings": numbers, "figures": figures}, "\n".join(lines))
