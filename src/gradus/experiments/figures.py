"""Figures in one style: quiet axes, few colours that a colour-blind reader can tell apart, nothing to interact with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["COLOURS", "band", "canvas"]

# Okabe and Ito 2008, Color universal design, without the yellow that a white page swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

_STYLE = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "axes.titlesize": 11, "axes.titlelocation": "left", "axes.labelsize": 10, "font.size": 9, "grid.alpha": 0.25,
    "legend.frameon": False, "lines.linewidth": 1.8, "savefig.dpi": 160,
}  # fmt: skip


@contextmanager
def canvas(path: Path, rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.2, 3.6)) -> Iterator[Any]:
    """Give one or several axes to draw on, and write them to a file at the end.

    Args:
        path: of the picture, ending in .png or .svg.
        rows: of axes.
        columns: of axes; a single axes object is given for one, a flat list for more.
        size: of one of the axes in inches.
    """
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "axes.prop_cycle": cycler(color=COLOURS)}
    with rc_context(style):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        yield axes[0] if len(axes) == 1 else axes
        figure.savefig(path)


def band(
    axes: Any, x: Sequence[float], values: Sequence[Sequence[float]], label: str, *, log: bool = False, **style: Any
) -> None:
    """Draw the mean of repeated measurements, with a band of one standard deviation.

    Args:
        axes: to draw on.
        x: one a point.
        values: the repetitions of each point.
        label: for the legend.
        log: take mean and deviation of the logarithms, of measurements that differ by factors.
        style: of the line.
    """
    import numpy as np

    repeated = [np.log(v) if log else np.asarray(v) for v in values]
    mean, spread = np.array([v.mean() for v in repeated]), np.array([v.std() for v in repeated])
    middle, low, high = (np.exp(v) if log else v for v in (mean, mean - spread, mean + spread))
    (line,) = axes.plot(x, middle, label=label, **style)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
