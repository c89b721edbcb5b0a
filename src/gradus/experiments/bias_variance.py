"""The error of a learner, taken apart over resampled training sets.

    E (y − f̂_D(x))² = (f(x) − E_D f̂_D(x))² + Var_D f̂_D(x) + σ²        error = bias² + variance + noise

f(x) = sin(2πx) on [0, 1], y = f(x) + σε, and f̂_D is the least-squares polynomial of a given degree through n points,
one drawn from each n-th of the interval. The three terms are estimated from R training sets, the error itself from
fresh noisy targets that enter none of them, so that their agreement is a measurement and not an identity.

References:
    Geman, Bienenstock and Doursat 1992, Neural networks and the bias/variance dilemma.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradus.canon import canon
from gradus.engine.recipe import positive
from gradus.errors import GradusError
from gradus.experiments.experiment import Cell, Experiment, Row

if TYPE_CHECKING:
    from gradus.engine.run import Run

__all__ = ["BiasVariance"]


@canon(
    "experiments/bias-variance", kind="experiment",
    paper="Geman, Bienenstock and Doursat 1992, Neural networks and the bias/variance dilemma",
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class BiasVariance(Experiment):
    """How much of a polynomial's error is bias, variance and noise, as its degree grows."""

    examples: int = 30
    """Points of each training set."""
    resamples: int = 1000
    """Training sets for each degree."""
    noise: float = 0.3
    """Standard deviation of the targets' noise."""
    degrees: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Degrees of the polynomials."""

    def __post_init__(self) -> None:
        """Refuse polynomials that the points do not determine."""
        super().__post_init__()
        positive(self, "examples", "resamples")
        if not self.degrees or min(self.degrees) < 0 or max(self.degrees) >= self.examples:
            raise GradusError(f"--degrees must be at least 0 and below --examples {self.examples}, got {self.degrees}")
        if self.noise < 0:
            raise GradusError(f"--noise must not be negative, got {self.noise}")

    def cells(self) -> Sequence[Cell]:
        """Return one cell a degree."""
        return [{"degree": degree} for degree in (self.degrees[:2] if self.fast_dev_run else self.degrees)]

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Fit a polynomial to every training set at once, and take the error apart at 101 points."""
        import torch

        generator, wide = run.generator("training sets"), torch.float64
        resamples = 50 if self.fast_dev_run else self.resamples
        x = torch.rand(resamples, self.examples, generator=generator, dtype=wide)
        x = (torch.arange(self.examples) + x) / self.examples
        noise = torch.randn(resamples, self.examples, generator=generator, dtype=wide)
        y = (2 * math.pi * x).sin() + self.noise * noise
        grid = torch.linspace(0, 1, 101, dtype=wide)
        coefficients = torch.linalg.lstsq(_legendre(x, cell["degree"]), y[..., None]).solution
        fitted = (_legendre(grid, cell["degree"]) @ coefficients).squeeze(-1)
        truth = (2 * math.pi * grid).sin()
        fresh = truth + self.noise * torch.randn(fitted.shape, generator=generator, dtype=wide)
        errors = (fresh - fitted).square().mean(1)
        variance = fitted.var(0)
        # The squared deviation of a mean of R sets holds 1/R of their variance, which is no bias.
        bias = (truth - fitted.mean(0)).square() - variance / resamples
        return {
            "bias2": bias.mean().item(), "variance": variance.mean().item(), "noise": self.noise**2,
            "error": errors.mean().item(), "error_std": (errors.std() / math.sqrt(resamples)).item(),
        }  # fmt: skip

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the best degree and how far, in standard errors, the three terms are from the error at worst."""
        best = min(rows, key=lambda row: row["error"])
        gaps = [abs(r["bias2"] + r["variance"] + r["noise"] - r["error"]) / r["error_std"] for r in rows]
        return {
            "best_degree": best["degree"],
            "least_error": best["error"],
            "largest_gap_in_standard_errors": max(gaps),
        }

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Draw the three terms stacked, and the measured error over them."""
        from gradus.experiments.figures import canvas

        x = [row["degree"] for row in rows]
        with canvas(folder / "bias-variance.png") as axes:
            terms = {"bias²": "bias2", "variance": "variance", "noise": "noise"}
            axes.stackplot(
                x, *[[max(r[key], 0) for r in rows] for key in terms.values()], labels=list(terms), alpha=0.55
            )
            axes.plot(x, [r["error"] for r in rows], "o-", color="black", markersize=4, label="measured error")
            axes.set(xlabel="degree of the polynomial", ylabel="squared error", xticks=x)
            axes.set_title("The error is bias² + variance + noise")
            axes.legend()


def _legendre(x, degree: int):  # type: ignore[no-untyped-def]
    """Return the Legendre polynomials of 2x − 1 up to a degree, (…, degree + 1): the well-conditioned monomials."""
    import torch

    z = 2 * x - 1
    found = [torch.ones_like(z), z]
    for k in range(1, degree):
        found.append(((2 * k + 1) * z * found[k] - k * found[k - 1]) / (k + 1))
    return torch.stack(found[: degree + 1], -1)
