"""Work and precision of the solvers of differential equations, on a smooth problem and on a stiff one.

    smooth   y' = −2 t y²,                      y(0) = 1,    y = 1 / (1 + t²)
    stiff    y' = −λ (y − cos t) − sin t,       y(0) = 1,    y = cos t

Error: the largest at eight times up to t = 2. Work: evaluations of f, linearisations of it by implicit methods added.
On the smooth problem every method takes fixed steps, and the error of one of order p falls as steps^−p. (And as work^−p
but for implicit methods, whose Newton iterations need less a step as the steps get short.) On the stiff one, methods
that can choose their steps do so by a tolerance. An explicit method is bound there to steps of r/λ, r being the end of
its interval of stability, however smooth the solution: with fewer steps it diverges, with just enough the precision
comes for nothing.

References:
    Prothero and Robinson 1974, On the stability and accuracy of one-step methods for solving stiff systems.
    Hairer and Wanner 1996, Solving ordinary differential equations II.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradus import canon as registry
from gradus.canon import canon
from gradus.errors import GradusError
from gradus.experiments.experiment import Cell, Experiment, Row

if TYPE_CHECKING:
    from torch import Tensor

    from gradus.engine.run import Run

__all__ = ["Solvers", "slope"]

END, OUTPUTS = 2.0, 8
ROUNDING = 1e-13  # errors below this are no longer the method's
PROBLEMS = ("smooth", "stiff")


@canon(
    "experiments/solvers", kind="experiment",
    paper="Prothero and Robinson 1974, On the stability and accuracy of one-step methods for solving stiff systems",
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class Solvers(Experiment):
    """Error against work of the solvers, explicit and implicit, on a smooth and on a stiff equation."""

    solvers: tuple[str, ...] = (
        "euler", "midpoint", "heun", "rk4", "bosh3", "dopri5", "implicit_euler", "trapezoid", "trbdf2",
    )  # fmt: skip
    """Solvers of `gradus.ode`."""
    stiffness: float = 1000.0
    """λ of the stiff problem."""
    steps: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024, 2048)
    """Numbers of fixed steps, multiples of 8."""
    tolerances: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
    """Relative tolerances; the absolute ones are the same."""
    target: float = 1e-5
    """Error whose price on the stiff problem is told."""

    def __post_init__(self) -> None:
        """Check names and numbers."""
        super().__post_init__()
        for name in self.solvers:
            registry.lookup("solver", name, "ODE solver")
        if not self.solvers or not self.steps or not self.tolerances:
            raise GradusError("--solvers, --steps and --tolerances must name at least one each")
        if any(steps < OUTPUTS or steps % OUTPUTS for steps in self.steps):
            raise GradusError(f"--steps must be multiples of {OUTPUTS}, got {self.steps}")
        for flag, values in (("--tolerances", self.tolerances), ("--target", (self.target,))):
            if any(not 0 < value < 1 for value in values):
                raise GradusError(f"{flag} must be between 0 and 1, got {values}")
        if not 0 < self.stiffness < math.inf:
            raise GradusError(f"--stiffness must be positive and finite, got {self.stiffness}")

    def cells(self) -> Sequence[Cell]:
        """Return one cell a problem, solver and level of precision."""
        solvers = (self.solvers[0], self.solvers[-1]) if self.fast_dev_run else self.solvers
        solvers = tuple(dict.fromkeys(solvers))
        levels = range(2 if self.fast_dev_run else max(len(self.steps), len(self.tolerances)))
        return [{"problem": p, "solver": s, "level": level} for p in PROBLEMS for s in solvers for level in levels]

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Solve one problem at one level of precision."""
        import torch

        from gradus.ode.settings import Statistics
        from gradus.ode.solving import odeint
        from gradus.ode.tableaus import make

        method = make(cell["solver"])
        chooses = method.adaptive and cell["problem"] == "stiff"
        scale = self.tolerances if chooses else self.steps
        setting = scale[min(cell["level"], len(scale) - 1)]
        options: dict[str, Any] = {"stiffness_every": 0}
        precision = {"rtol": setting, "atol": setting} if chooses else {}
        if not chooses:
            options["steps"] = int(setting) // OUTPUTS
        t = torch.linspace(0, END, OUTPUTS + 1, dtype=torch.float64)
        field, exact = self._problem(cell["problem"])
        work = Statistics()
        try:
            with torch.no_grad():
                y: Any = odeint(field, t.new_ones(1), t, method=method, options=options, statistics=work, **precision)
            error = (y[:, 0] - exact(t)).abs().max().item()
        except GradusError:  # a fixed step outside the interval of stability overflows: that is a result here
            error = math.inf
        return {
            "implicit": not method.explicit, "setting": setting, "work": work.nfev + work.jacobians,
            "error": error if error < 1 else None, "accepted": work.accepted, "rejected": work.rejected,
        }  # fmt: skip

    def _problem(self, name: str) -> "tuple[Callable[..., Tensor], Callable[[Tensor], Tensor]]":
        """Return the field of a problem, and its solution."""
        if name == "smooth":
            return lambda t, y: -2 * t * y.square(), lambda t: 1 / (1 + t.square())
        return lambda t, y: -self.stiffness * (y - t.cos()) - t.sin(), lambda t: t.cos()

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the orders seen on the smooth problem, and the least work for the target on the stiff one."""
        found: dict[str, float] = {}
        for name in dict.fromkeys(row["solver"] for row in rows):
            own = [row for row in rows if (row["solver"], row["problem"]) == (name, "smooth")]
            order = slope([row["setting"] for row in own], [row["error"] for row in own])
            if order is not None:
                found[f"order_{name}"] = order
        for kind, implicit in (("explicit", False), ("implicit", True)):
            good = [
                row["work"] for row in rows
                if row["problem"] == "stiff" and row["implicit"] == implicit
                and row["error"] is not None and row["error"] <= self.target
            ]  # fmt: skip
            if good:
                found[f"stiff_work_{kind}"] = min(good)
        return found

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Draw error against work, explicit methods as lines and implicit ones dashed."""
        import numpy as np

        from gradus.experiments.figures import COLOURS, canvas

        with canvas(folder / "solvers.png", columns=2, size=(5.4, 4.4)) as panels:
            for axes, problem in zip(panels, PROBLEMS, strict=True):
                place = {False: 0, True: 0}
                for name in dict.fromkeys(row["solver"] for row in rows):
                    own = [row for row in rows if (row["solver"], row["problem"]) == (name, problem)]
                    kind = own[0]["implicit"]
                    style = {"linestyle": "--" if kind else "-", "marker": "s" if kind else "o"}
                    colour = COLOURS[place[kind] % len(COLOURS)]
                    place[kind] += 1
                    shown = np.array([(row["work"], row["error"]) for row in own if row["error"]]).reshape(-1, 2)
                    axes.plot(*shown.T, color=colour, markersize=4, linewidth=1.4,
                              label=name.replace("_", " "), **style)  # fmt: skip
                axes.set(xlabel="evaluations and linearisations of f")
                if any(line.get_ydata().size for line in axes.lines):  # every solve of a problem may have failed
                    axes.set(xscale="log", yscale="log")
            panels[0].set(ylabel="largest error", title="Smooth, fixed steps: the slope is the order")
            panels[1].set_title(f"Stiff, λ = {self.stiffness:g}: explicit methods pay for stability")
            panels[0].legend(fontsize=8)


def slope(steps: Sequence[float], errors: Sequence[float | None]) -> float | None:
    """Return p of error ∝ steps^−p by least squares in logarithms over the more precise half of the points.

    Args:
        steps: of each solve.
        errors: None where it failed; errors at the level of rounding are left out.

    Returns:
        The slope; None where fewer than two points are left.
    """
    points = [(math.log(n), math.log(e)) for n, e in zip(steps, errors, strict=True) if e is not None and e > ROUNDING]
    points = sorted(set(points))[len(points) // 2 :] if len(points) > 3 else sorted(set(points))
    if len(points) < 2:
        return None
    middle, height = (math.fsum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = math.fsum((x - middle) ** 2 for x, _ in points)
    return -math.fsum((x - middle) * (y - height) for x, y in points) / spread if spread > 0 else None
