"""`gradus report`: one self-contained HTML file about a run or a group."""

from dataclasses import dataclass
from pathlib import Path

from gradus.app.using import RunVerb
from gradus.app.verb import Answer, shown
from gradus.engine.folder import write_atomically
from gradus.errors import GradusError

__all__ = ["Report"]


@dataclass(kw_only=True)
class Report(RunVerb):
    """Write one self-contained HTML report: gradus report RUN."""

    out: str | None = None
    """The file; `<run>/report.html` when left out."""
    count: int = 256
    """Attack at most this many test images; 0 leaves the attack out."""

    def __call__(self) -> Answer:
        """Measure, draw, and write the page whole or not at all."""
        from gradus.app.report.writing import write

        if self.count < 0:
            raise GradusError(f"--count must not be negative, got {self.count}")
        folder = self.folder(self.run)
        path = Path(self.out) if self.out else folder.path / "report.html"
        if not path.parent.is_dir():
            raise GradusError(f"--out {path}: the folder {path.parent} does not exist; make it first")
        if path.is_dir():
            raise GradusError(f"--out {path} is a folder: name a file in it")
        found = write(folder, self.device, self.count)
        try:
            write_atomically(path, found.html)
        except OSError as error:
            raise GradusError(f"the report cannot be written to {path} ({error.strerror}): see --out") from None
        data = {"run": folder.name, "report": str(path.resolve()), "metrics": found.metrics}
        lines = [f"{shown(path)}: open it in a browser"]
        lines += [f"  {key:<16} {value:.4f}" for key, value in found.metrics.items()]
        return Answer(data, "\n".join([*lines, *(f"  {note}" for note in found.notes)]))
