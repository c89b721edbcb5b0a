"""Is a derivative written by hand right? Central differences, with control of the step, say so for every parameter.

    D(h) = (L(θ + h) − L(θ − h)) / 2h = L′(θ) + h²/6 L‴(θ) + O(h⁴)          R = (4 D(h/2) − D(h)) / 3 = L′(θ) + O(h⁴)

R is Richardson's extrapolation: two steps whose quadratic errors cancel. A large h leaves the series' tail, a small one
the rounding of L, about ε |L| / h; with an error in h⁴ the two meet near h = ε^(1/5) ≈ 7e-4, times the size of θ. How
far D(h/2) and R lie apart tells how far to trust R: where they differ too much (a corner of ReLU or of max between
θ − h and θ + h), the step is cut to an eighth until they agree.

The error of an entry is |analytic − R| over the greater of the two, but at least over a thousandth of the parameter's
greatest entry and over what rounding alone can explain. So entries that happen to be near zero do not raise a false
alarm, and a wrong sign, whose error is 2, raises a true one wherever the gradient stands out from rounding.

References:
    Richardson 1911; Ridders 1982, Accurate computation of F′(x) and F′(x) F″(x) (choosing the step).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from gradus.backprop.layer import Array, Layer
from gradus.errors import GradusError

__all__ = ["Checked", "Report", "check_gradients", "check_layer", "numeric_gradient"]

EPS = float(np.finfo(np.float64).eps)
STEP = EPS**0.2
CUTS = 5


@dataclass(frozen=True)
class Checked:
    """One array's gradient, compared.

    Attributes:
        name: of the parameter or input.
        error: the greatest relative error of an entry.
        ok: whether it is within the tolerance.
        worst: index of that entry.
        analytic: what `backward` says of it.
        numeric: what central differences say of it.
        entries: how many entries were compared, of how many.
    """

    name: str
    error: float
    ok: bool
    worst: tuple[int, ...]
    analytic: float
    numeric: float
    entries: tuple[int, int]


@dataclass(frozen=True)
class Report:
    """What a gradient check found; `print` it to see a line for each parameter.

    Attributes:
        rows: one for each array.
        tolerance: the greatest relative error that passes.
    """

    rows: tuple[Checked, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every gradient is right."""
        return all(row.ok for row in self.rows)

    @property
    def wrong(self) -> list[str]:
        """The names of those that are not."""
        return [row.name for row in self.rows if not row.ok]

    def __str__(self) -> str:
        width = max((len(row.name) for row in self.rows), default=0)
        lines = []
        for row in self.rows:
            line = f"{row.name:<{width}}  {row.error:8.1e}  {'ok' if row.ok else 'WRONG'}"
            if not row.ok:
                line += f"  at {list(row.worst)}: backward {row.analytic:.6g}, differences {row.numeric:.6g}"
            lines.append(line)
        return "\n".join(lines)


def check_layer(
    layer: Layer, x: Float64[Array, "*input"], *, tolerance: float = 1e-6, most: int = 100, seed: int = 0
) -> Report:
    """Compare a layer's `backward` with central differences, for its input (named `x`) and every parameter.

    What is differentiated is L = Σ w ⊙ forward(x) with random w, for which dy = w.

    Args:
        layer: in float64 (`layer.cast(np.float64)`), in training or evaluation; it is left as it was.
        x: an input, away from corners.
        tolerance: the greatest relative error that passes.
        most: entries to compare of each array, chosen at random where it has more.
        seed: of w and of the choice.

    Raises:
        GradusError: as `check_gradients` does.
    """
    rng = np.random.default_rng(seed)
    x, buffers = x.copy(), {name: array.copy() for name, array in layer.buffers.items()}
    weights = rng.standard_normal(layer.forward(x).shape)
    dx = layer.backward(weights)
    arrays = {"x": x, **layer.params}
    grads = {"x": dx, **layer.grads}
    report = check_gradients(
        lambda: float((weights * layer.forward(x)).sum()), arrays, grads, tolerance=tolerance, most=most, seed=seed
    )
    for name, array in buffers.items():  # running statistics have moved with every forward pass
        layer.buffers[name][...] = array
    return report


def check_gradients(
    value: Callable[[], float],
    arrays: Mapping[str, Array],
    grads: Mapping[str, Array],
    *,
    tolerance: float = 1e-6,
    most: int = 100,
    seed: int = 0,
) -> Report:
    """Compare gradients with central differences of a function of some arrays.

    Args:
        value: returns L, reading the arrays; it must give the same value for the same arrays (a fixed dropout mask).
        arrays: θ by name, float64; changed while this runs, and put back bit for bit.
        grads: what is claimed to be dL/dθ, by the same names.
        tolerance: the greatest relative error that passes.
        most: entries to compare of each array, chosen at random where it has more.
        seed: of the choice.

    Raises:
        GradusError: if a gradient is missing or of another shape, an array is not float64, or L is not finite.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for name, array in arrays.items():
        if name not in grads or grads[name].shape != array.shape:
            found = "is missing" if name not in grads else f"is of shape {grads[name].shape}, not {array.shape}"
            raise GradusError(f"the gradient of {name} {found}: let backward write it to grads[{name!r}]")
        chosen = np.arange(array.size) if array.size <= most else np.sort(rng.choice(array.size, most, replace=False))
        numeric, noise = _differences(value, name, array, chosen, tolerance)
        analytic = grads[name].reshape(-1)[chosen]
        greatest = np.maximum(np.abs(analytic), np.abs(numeric))
        floor = np.maximum(1e-3 * np.abs(numeric).max(initial=0), noise / tolerance)
        errors = np.abs(analytic - numeric) / np.maximum(greatest, floor)
        errors[~np.isfinite(errors)] = np.inf
        at = int(errors.argmax()) if len(errors) else 0
        error = float(errors.max(initial=0))
        place = _place(chosen[at], array) if len(errors) else ()
        values = (float(analytic[at]), float(numeric[at])) if len(errors) else (0.0, 0.0)
        rows.append(Checked(name, error, error <= tolerance, place, *values, (len(chosen), array.size)))
    return Report(tuple(rows), tolerance)


def numeric_gradient(value: Callable[[], float], array: Float64[Array, "*shape"]) -> Float64[Array, "*shape"]:
    """Return dL/dθ for every entry of an array by central differences alone.

    Args:
        value: returns L, reading the array.
        array: θ; changed while this runs, and put back bit for bit.

    Raises:
        GradusError: if L is not finite.
    """
    found, _ = _differences(value, "the array", array, np.arange(array.size), 1e-6)
    return found.reshape(array.shape)


def _differences(
    value: Callable[[], float], name: str, array: Array, chosen: Array, tolerance: float
) -> tuple[Float64[Array, " chosen"], Float64[Array, " chosen"]]:
    """Return R for some entries, and the error that rounding of L may have made in each."""
    if array.dtype != np.float64:
        raise GradusError(f"{name} is {array.dtype}: differences need float64, so cast with .cast(np.float64) first")
    found, noise = np.zeros(len(chosen)), np.zeros(len(chosen))
    for i, entry in enumerate(chosen):
        found[i], noise[i] = _difference(value, name, array, _place(entry, array), tolerance)
    return found, noise


def _place(entry: np.integer, array: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(entry, array.shape))


def _difference(
    value: Callable[[], float], name: str, array: Array, place: tuple[int, ...], tolerance: float
) -> tuple[float, float]:
    """Return R for one entry, from the first step that can be trusted or else the best, and what rounding may add."""
    h = STEP * max(1.0, abs(float(array[place])))
    best, least, noise = 0.0, np.inf, 0.0
    for _ in range(CUTS):
        (wide, _), (narrow, size) = (_central(value, name, array, place, step) for step in (h, h / 2))
        extrapolated = (4 * narrow - wide) / 3
        # The doubt is the h² error of D(h/2), far above that of R; rounding adds a few ulps of L over h to either.
        doubt, rounding = abs(extrapolated - narrow), 16 * EPS * size / h
        if doubt < least:
            best, least, noise = extrapolated, doubt, rounding
        if doubt <= max(tolerance * abs(extrapolated), rounding):
            break
        h /= 8
    return best, noise


def _central(
    value: Callable[[], float], name: str, array: Array, place: tuple[int, ...], h: float
) -> tuple[float, float]:
    """Return (L(θ + h) − L(θ − h)) / 2h and the size of L, leaving θ as it was."""
    kept = float(array[place])
    try:
        array[place] = up = kept + h
        above = value()
        array[place] = down = kept - h
        below = value()
    finally:
        array[place] = kept
    if not (np.isfinite(above) and np.isfinite(below)):
        raise GradusError(f"the function is not finite beside {name}{list(place)}: scale the inputs down")
    # θ ± h are rounded: what was really stepped is the difference of the two.
    return float((above - below) / (up - down)), max(abs(above), abs(below))
