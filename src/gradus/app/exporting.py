"""`gradus export`: the product as one `torch.export` program with its preprocessing inside, checked against it."""

from dataclasses import dataclass
from pathlib import Path

from gradus.app.using import RunVerb
from gradus.app.verb import Answer, shown
from gradus.errors import GradusError

__all__ = ["Export"]

TOLERANCE = 1e-4


@dataclass(kw_only=True)
class Export(RunVerb):
    """Write the product as a program that runs without Gradus: gradus export RUN --out model.pt2."""

    out: str | None = None
    """The file; `<run>/product/model.pt2` when left out, of a group `<run>/model.pt2`."""

    def __call__(self) -> Answer:
        """Export with a dynamic batch, save, load again, and compare on another batch size."""
        import torch

        from gradus.engine.capabilities import ask

        folder = self.folder(self.run)
        product = ask(self.product(self.run, "cpu"), "export", self.run)
        module, example = product.exportable()
        batch = torch.export.Dim("batch", min=1, max=4096)
        with torch.no_grad():
            program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},))
        place = folder.product if folder.product.is_dir() else folder.path
        path = Path(self.out) if self.out else place / "model.pt2"
        if not path.parent.is_dir():
            raise GradusError(f"--out {path}: the folder {path.parent} does not exist; make it first")
        torch.export.save(program, path)
        other = torch.rand(5, *example.shape[1:])
        with torch.no_grad():
            difference = (torch.export.load(path).module()(other) - module(other)).abs().max().item()
        if difference > TOLERANCE:
            path.unlink()
            raise RuntimeError(f"the exported program differs from the product by {difference:.2g}")
        data = {
            "run": folder.name,
            "path": str(path),
            "max_difference": difference,
            "input": list(example.shape[1:]),
        }
        takes = ", ".join(map(str, example.shape[1:]))
        text = f"{shown(path)}: takes raw inputs (batch, {takes}); differs by {difference:.1e}"
        return Answer(data, text)
