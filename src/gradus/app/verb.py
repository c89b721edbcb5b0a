"""What a verb of the command line is: a dataclass whose fields are its flags, called to give an answer."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from gradus.app.parsing import gather, parse
from gradus.engine.folder import RunFolder, find_run

__all__ = ["Answer", "Verb", "is_path", "shown"]


@dataclass
class Answer:
    """What a verb found.

    Attributes:
        data: printed as one JSON object under `--json`.
        text: printed for people otherwise.
        code: the exit code.
    """

    data: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    code: int = 0


@dataclass(kw_only=True)
class Verb:
    """Flags of every verb."""

    json: bool = False
    """Print exactly one JSON object on standard output."""
    runs_dir: str | None = None
    """Where runs live; GRADUS_RUNS or ./runs when left out."""

    operands: ClassVar[tuple[str, ...]] = ()
    rest: ClassVar[str | None] = None
    repeated: ClassVar[str] = "--set"

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "Verb":
        """Return the verb that words mean: leading words fill the fields named in `operands`, flags the others.

        All further words up to the first flag go to the field named in `rest`, where there is one, in front of what its
        flag gives. The flag `repeated` may be given many times. A lone `-` is a word.
        """
        words = list(argv)
        count = next((i for i, word in enumerate(words) if word.startswith("-") and word != "-"), len(words))
        leading, flags = words[:count], words[count:]
        given: dict[str, Any] = dict(zip(cls.operands, leading, strict=False))
        further = leading[len(given) :]
        if cls.rest is None:
            flags, further = [*further, *flags], []
        found = parse(cls, gather(flags, cls.repeated), f"gradus {cls.__name__.lower()}")
        if further and cls.rest is not None:
            given[cls.rest] = (*further, *getattr(found, cls.rest))
        return dataclasses.replace(found, **given)

    def folder(self, run: str) -> RunFolder:
        """Return the folder that RUN means: a path, a name or `latest`."""
        return RunFolder(find_run(run, self.runs_dir))

    def product(self, run: str, device: str = "auto") -> Any:
        """Return a run's product on a device."""
        from gradus.engine.product import load_product

        return load_product(find_run(run, self.runs_dir), device)

    def __call__(self) -> Answer:
        """Do it."""
        return Answer()


def is_path(words: str) -> bool:
    """Return whether words are the path of something that exists."""
    try:
        return Path(words).exists()
    except (OSError, ValueError):  # a long text is no file name
        return False


def shown(path: Path) -> str:
    """Return a path as a person would type it here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
