"""Double descent: test error falls, rises to a peak where the model can just fit its noisy labels, and falls again.

    f(x) = Σ_j a_j max(0, w_j · x + b_j),   w_j, b_j drawn once,   a = Φ⁺ y   (the least-squares fit of least norm)

With n training images the fit interpolates from width n on: there the smallest singular value of Φ is least, ‖a‖ is
largest, and so is the test error. A part of the training labels is wrong, which is what the peak amplifies.

References:
    Belkin, Hsu, Ma and Mandal 2019, Reconciling modern machine-learning practice and the classical bias–variance
    trade-off.
    Nakkiran et al. 2020, Deep double descent: where bigger models and more data hurt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gradus.canon import canon
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.experiments.experiment import Cell, Experiment, Row

if TYPE_CHECKING:
    from gradus.engine.run import Run

__all__ = ["DoubleDescent"]

# Multiples of the number of training images: dense around the threshold.
SHAPE = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95, 1.0, 1.05, 1.15, 1.35, 1.7, 2.5, 4.0, 8.0, 16.0)


@canon(
    "experiments/double-descent", kind="experiment",
    paper="Belkin et al. 2019, Reconciling modern machine-learning practice and the classical bias-variance trade-off",
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class DoubleDescent(Experiment):
    """Test error of random-feature networks against their width, with a part of the labels wrong."""

    data: str = "digits"
    """A registered image data set or a folder of images."""
    data_dir: str | None = None
    """Where data sets are looked for; GRADUS_DATA when left out."""
    examples: int = 400
    """Training images."""
    label_noise: float = 0.2
    """Part of the training labels replaced by random other ones."""
    repeats: int = 5
    """Draws of training set, wrong labels and features for each width."""
    widths: tuple[int, ...] = ()
    """Widths; spread around the number of training images when left out."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        positive(self, "examples", "repeats")
        if not 0 <= self.label_noise < 1:
            raise GradusError(f"--label-noise must be at least 0 and below 1, got {self.label_noise}")
        if any(width < 1 for width in self.widths):
            raise GradusError(f"--widths must be positive, got {self.widths}")

    def cells(self) -> Sequence[Cell]:
        """Return one cell a width and repetition."""
        widths = self.widths or tuple(max(1, round(share * self.examples)) for share in SHAPE)
        if self.fast_dev_run:
            return [{"width": width, "repeat": 0} for width in widths[:2]]
        return [{"width": width, "repeat": repeat} for width in widths for repeat in range(self.repeats)]

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Fit one network of random features, and test it."""
        import torch

        x, y, test_x, test_y, classes = self._images()
        generator = torch.Generator().manual_seed(1000 * self.seed + cell["repeat"])  # the same sets at every width
        rows = torch.randperm(len(x), generator=generator)[: self.examples]
        x, y = x[rows], y[rows]
        wrong = torch.rand(len(y), generator=generator) < self.label_noise
        shift = torch.randint(1, classes, y.shape, generator=generator)
        y = torch.where(wrong, (y + shift) % classes, y)
        inputs = x.shape[1]
        weights = torch.randn(inputs, cell["width"], generator=generator, dtype=x.dtype) / math.sqrt(inputs)
        biases = torch.randn(cell["width"], generator=generator, dtype=x.dtype)
        features = (x @ weights + biases).relu() / math.sqrt(cell["width"])
        targets = torch.nn.functional.one_hot(y, classes).to(x.dtype) - 1 / classes
        fitted = torch.linalg.pinv(features, rtol=1e-12) @ targets
        scores = ((test_x @ weights + biases).relu() / math.sqrt(cell["width"])) @ fitted
        truth = torch.nn.functional.one_hot(test_y, classes).to(x.dtype) - 1 / classes
        return {
            "train_error": ((features @ fitted).argmax(1) != y).double().mean().item(),
            "test_error": (scores.argmax(1) != test_y).double().mean().item(),
            "test_squared_error": (scores - truth).square().sum(1).mean().item(),
            "norm": fitted.norm().item(),
        }

    def build(self, run: "Run") -> Build:
        """Read the images once, to refuse too few of them before anything is measured."""
        self._images()
        return super().build(run)

    def _images(self):  # type: ignore[no-untyped-def]
        """Return what `standardised` does.

        Raises:
            GradusError: if there are fewer training images than examples.
        """
        found = standardised(self.data, self.data_dir, self.seed)
        if len(found[0]) < self.examples:
            raise GradusError(f"--examples {self.examples}: {self.data} has {len(found[0])} training images")
        return found

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the error at the peak, the least before it and the least after it, means over the repetitions."""
        mean = {
            w: _mean([r["test_error"] for r in rows if r["width"] == w]) for w in sorted({r["width"] for r in rows})
        }
        peak = max((w for w in mean if w >= self.examples / 2), key=lambda w: mean[w], default=max(mean))
        before = [error for width, error in mean.items() if width < peak] or [mean[peak]]
        after = [error for width, error in mean.items() if width > peak] or [mean[peak]]
        return {
            "peak_width": peak, "peak_error": mean[peak], "least_error_before": min(before),
            "least_error_after": min(after), "error_at_the_widest": mean[max(mean)],
        }  # fmt: skip

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Draw errors and the norm of the fit against the width."""
        from gradus.experiments.figures import band, canvas

        widths = sorted({row["width"] for row in rows})
        of = {key: [[r[key] for r in rows if r["width"] == w] for w in widths] for key in rows[0]}
        with canvas(folder / "double-descent.png", columns=2) as (errors, norm):
            band(errors, widths, of["test_error"], "test")
            band(errors, widths, of["train_error"], "train, wrong labels included")
            band(norm, widths, of["norm"], "‖a‖", log=True)
            for axes, title in ((errors, "The second descent"), (norm, "Norm of the fit")):
                axes.axvline(self.examples, color="grey", linestyle=":", linewidth=1)
                axes.set_xscale("log")
                axes.set_xlabel("random features (dotted: as many as training images)")
                axes.set_title(title)
            errors.set_ylabel("error")
            norm.set_yscale("log")
            errors.legend()


@lru_cache(maxsize=1)
def standardised(data: str, data_dir: str | None, seed: int):  # type: ignore[no-untyped-def]
    """Return training and test images as standardised rows in double precision with their labels, and the classes."""
    import torch

    from gradus.data.registry import load_images

    splits = load_images(data, data_dir=data_dir, seed=seed)
    parts = [torch.cat([b.images.flatten(1) for b in p.batches(1024)]).double() for p in (splits.train, splits.test)]
    mean, std = parts[0].mean(), parts[0].std()
    x, test = ((part - mean) / std for part in parts)
    return x, splits.train.labels, test, splits.test.labels, len(splits.classes)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
