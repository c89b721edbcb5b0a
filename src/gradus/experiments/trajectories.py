"""Paths of update rules over surfaces of the plane: following them, drawing them over contours, animating them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gradus.errors import GradusError
from gradus.experiments.experiment import Row
from gradus.optim.rule import make
from gradus.optim.surfaces import SURFACES, Surface

__all__ = ["Trajectory", "animate", "best_path", "draw_paths", "follow"]

DIGITS = 6  # of the points that are kept: a picture shows three


class Trajectory(NamedTuple):
    """Where a rule went.

    Attributes:
        lr: its rate.
        value: the surface at the end; for a surface without a minimum, at the nearest place in the picture.
        x: of the points, the start first.
        y: of the points.
        strays: whether it leaves the picture and should not.
    """

    lr: float
    value: float
    x: list[float]
    y: list[float]
    strays: bool


def follow(surface: Surface, optimizer: str, rates: Sequence[float], steps: int) -> list[Trajectory]:
    """Return the path of a rule for every rate, cut where it stops being finite or leaves a bottomless surface.

    One backward pass serves all rates, because the points do not meet.

    Args:
        surface: what to descend, from its start.
        optimizer: name of the rule.
        rates: learning rates.
        steps: to make.
    """
    points = [torch.tensor(surface.start, dtype=torch.float64, requires_grad=True) for _ in rates]
    rules = [make(optimizer, lr=rate) for rate in rates]
    states = [rule.init([point]) for rule, point in zip(rules, points, strict=True)]
    record = [torch.stack([point.detach() for point in points])]
    for _ in range(steps):
        gradients = torch.autograd.grad(surface.function(torch.stack(points)).sum(), points)
        for rule, point, gradient, state in zip(rules, points, gradients, states, strict=True):
            rule.update([point], [gradient], state, rule.lr)
        record.append(torch.stack([point.detach() for point in points]))
    return [_cut(surface, rate, path) for rate, path in zip(rates, torch.stack(record, 1), strict=True)]


def _cut(surface: Surface, rate: float, path: torch.Tensor) -> Trajectory:
    """Return a path up to where it is worth showing, with its value."""
    low, high = torch.tensor(surface.box, dtype=path.dtype).T
    over = ~(path.isfinite().all(1) & surface.function(path).isfinite())
    lost = bool(over.any())
    if lost:
        path = path[: int(over.nonzero()[0])]
    outside = ((path < low) | (path > high)).any(1).nonzero()
    strays = len(outside) > 0
    if strays and surface.minimiser is None:
        path, lost, strays = path[: int(outside[0]) + 1], False, False
    end = path[-1] if surface.minimiser is not None else path[-1].clamp(low, high)
    value = math.inf if lost else surface.function(end).item()
    x, y = ([float(f"{v:.{DIGITS}g}") for v in column] for column in path.T.tolist())
    return Trajectory(rate, value, x, y, strays)


def best_path(surface: Surface, optimizer: str, rates: Sequence[float], steps: int) -> Trajectory:
    """Return the path that ends lowest, of equal ones the shortest; one that stays in the picture, if any does.

    Raises:
        GradusError: if the rule diverges at every rate.
    """
    best = min(
        follow(surface, optimizer, rates, steps),
        key=lambda path: (math.isinf(path.value), path.strays, path.value, len(path.x)),
    )
    if not math.isfinite(best.value):
        raise GradusError(f"--rates {tuple(rates)}: {optimizer} diverges at all of them; give smaller ones")
    return best


def draw_paths(rows: Sequence[Row], path: Path) -> None:
    """Draw the paths of every surface over its contours.

    Args:
        rows: with surface, optimizer, lr, x and y.
        path: of the picture.
    """
    from gradus.experiments.figures import canvas

    names = list(dict.fromkeys(row["surface"] for row in rows))
    columns = min(2, len(names))
    with canvas(path, rows=-(-len(names) // columns), columns=columns, size=(5.2, 4.6)) as found:
        _panels([found] if len(names) == 1 else found, names, rows)


def _panels(axes: Sequence[Any], names: Sequence[str], rows: Sequence[Row]) -> list[tuple[Any, Any, Row]]:
    """Draw every surface with its paths; return for each path its line, the dot at its end, and the row."""
    from gradus.experiments.figures import COLOURS

    colours = dict(zip(dict.fromkeys(row["optimizer"] for row in rows), COLOURS * 3, strict=False))
    drawn = []
    for panel, name in zip(axes, names, strict=False):
        surface = SURFACES[name]
        _contours(panel, surface)
        for row in rows:
            if row["surface"] == name:
                place = list(colours).index(row["optimizer"])
                style: dict[str, Any] = {"color": colours[row["optimizer"]], "clip_on": True}
                # Thinner ones over thicker ones: paths that coincide are all seen.
                label = f"{row['optimizer']}, rate {row['lr']:g}"
                (line,) = panel.plot(row["x"], row["y"], linewidth=max(1.2, 4.0 - 0.55 * place), label=label, **style)
                (dot,) = panel.plot(row["x"][-1:], row["y"][-1:], "o", markersize=5, zorder=4, **style)
                drawn.append((line, dot, row))
        panel.plot(*surface.start, "o", color="white", markeredgecolor="black", markersize=7, zorder=5)
        if surface.minimiser is not None:
            panel.plot(*surface.minimiser, "*", color="white", markeredgecolor="black", markersize=14, zorder=3)
        panel.set_title(name.capitalize())
        panel.legend(fontsize=7, loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    for panel in axes[len(names) :]:
        panel.set_axis_off()
    return drawn


def _contours(axes: Any, surface: Surface, points: int = 240) -> None:
    """Fill a panel with the surface in grey: height over the minimum in powers of ten, or plain height without one."""
    (left, right), (bottom, top) = surface.box
    x, y = torch.linspace(left, right, points).double(), torch.linspace(bottom, top, points).double()
    z = surface.function(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1))
    if surface.minimiser is not None:
        height = z - surface.minimum
        # The offset keeps the last decades around the minimum from taking most of the greys.
        z = (height + height.quantile(0.003)).log10()
    axes.contourf(x.numpy(), y.numpy(), z.numpy(), levels=14, cmap="Greys", alpha=0.45)
    axes.contour(x.numpy(), y.numpy(), z.numpy(), levels=14, colors="0.55", linewidths=0.4, linestyles="solid")
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.grid(visible=False)


def animate(rows: Sequence[Row], path: Path, frames: int, seconds: float = 8.0) -> None:
    """Write the growing paths as a GIF; the contours are drawn once, and only the lines anew.

    Steps are shown evenly in their square root, because paths make their turns early.

    Args:
        rows: with surface, optimizer, lr, x and y.
        path: ending in .gif.
        frames: how many pictures.
        seconds: that they take, the stand at the end not counted.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    names = list(dict.fromkeys(row["surface"] for row in rows))
    columns = min(2, len(names))
    with rc_context({"font.size": 8, "axes.titlesize": 10, "axes.titlelocation": "left"}):
        figure = Figure(figsize=(4.2 * columns, 3.6 * -(-len(names) // columns)), dpi=80, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = list(figure.subplots(-(-len(names) // columns), columns, squeeze=False).flat)
        drawn = _panels(axes, names, rows)
        for line, dot, _ in drawn:
            line.set_animated(True)
            dot.set_animated(True)
        canvas.draw()
        still = canvas.copy_from_bbox(figure.bbox)
        longest = max(len(row["x"]) for row in rows) - 1
        pictures = []
        for frame in range(frames):
            canvas.restore_region(still)
            step = round(longest * (frame / max(1, frames - 1)) ** 2)
            for line, dot, row in drawn:
                line.set_data(row["x"][: step + 1], row["y"][: step + 1])
                dot.set_data(row["x"][: step + 1][-1:], row["y"][: step + 1][-1:])
                line.axes.draw_artist(line)
                line.axes.draw_artist(dot)
            pictures.append(Image.fromarray(_pixels(canvas)))
    palette = _palette()
    few = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [round(1000 * seconds / frames)] * (frames - 1) + [2500]
    few[0].save(path, save_all=True, append_images=few[1:], duration=durations, loop=0, optimize=False)


def _palette() -> Any:
    """Return a palette of greys and of the lines' colours on grey, which one taken from the pictures would merge."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    from gradus.experiments.figures import COLOURS

    greys = [(level, level, level) for level in range(0, 256, 5)]
    tints = [
        tuple(round(255 * (share * channel + (1 - share) * 0.85)) for channel in to_rgb(colour))
        for colour in COLOURS
        for share in (1.0, 0.9, 0.7, 0.5, 0.3)
    ]
    found = Image.new("P", (1, 1))
    found.putpalette([channel for colour in (*greys, *tints) for channel in colour])
    return found


def _pixels(canvas: Any) -> Any:
    """Return what a canvas shows, `[height, width, 3]`, as numbers of its own."""
    import numpy as np

    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
