"""Minimax dynamics: two players on one function, x descending and y ascending.

    min_x max_y f(x, y)

    gda               x ← x − η_x ∇_x f,   y ← y + η_y ∇_y f
    negative_momentum the same in turns, with a velocity that is partly taken back (μ < 0)
    ogda              x ← x − η (2 ∇_x f_t − ∇_x f_{t-1}), y likewise: the gradient expected next

On f = x · y every step of gda leads away from the only equilibrium; the other two come to it. `gradus.optim.ridge` has
dynamics that use second derivatives.

References:
    Arrow, Hurwicz and Uzawa 1958, Studies in linear and non-linear programming (gda).
    Daskalakis et al. 2018, Training GANs with optimism.
    Gidel et al. 2019, Negative momentum for improved game dynamics.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from gradus import canon as registry
from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.settings import accept, inside

__all__ = [
    "Dynamics",
    "Equilibrium",
    "Pair",
    "Payoff",
    "State",
    "find_minimax",
    "gda",
    "negative_momentum",
    "nothing",
    "ogda",
    "rates_of",
    "tracked",
]

Payoff = Callable[[Tensor, Tensor], Tensor]
State = dict[str, Any]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Dynamics:
    """How two players move: state by `init`, one step by `step`; holds settings and functions, never tensors.

    Attributes:
        name: what users type.
        init: state at the points (x, y).
        step: new points from (f, x, y, state, gradients). The points are left as they are, the state is changed in
            place, and the gradients at the points are None where they are not known yet.
        settings: shown by `repr`.
    """

    name: str
    init: Callable[[Tensor, Tensor], State]
    step: Callable[[Payoff, Tensor, Tensor, State, Pair | None], Pair]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.settings.items())})"


@dataclass(frozen=True)
class Equilibrium:
    """Where two players came to.

    Attributes:
        x: of the player who descends.
        y: of the player who ascends.
        value: f(x, y).
        gradient: ‖∇f(x, y)‖.
        nit: steps made.
        success: whether the gradient is within the tolerance.
        message: why it ended.
        path: x and y flattened into one row a step, the start included, where it was asked for.
    """

    x: Tensor
    y: Tensor
    value: float
    gradient: float
    nit: int
    success: bool
    message: str
    path: Float[Tensor, "points numbers"] | None = None


@canon("optim/gda", kind="minimax", paper="Arrow, Hurwicz and Uzawa 1958, Studies in linear and non-linear programming")
def gda(lr: float = 0.05, lr_y: float | None = None, alternating: bool = False) -> Dynamics:
    """Gradient descent-ascent: x ← x − η_x ∇_x f, y ← y + η_y ∇_y f.

    Args:
        lr: η_x.
        lr_y: η_y; η_x when left out.
        alternating: y answers the new x instead of the old one.

    Raises:
        GradusError: for a setting out of range.
    """
    rates = rates_of("gda", lr, lr_y)
    settings = {"lr": lr, "lr_y": lr_y, "alternating": alternating}
    return Dynamics("gda", nothing, partial(_descend_ascend, rates=rates, alternating=alternating), settings)


@canon(
    "optim/negative_momentum",
    kind="minimax",
    paper="Gidel et al. 2019, Negative momentum for improved game dynamics",
)
def negative_momentum(
    lr: float = 0.05, lr_y: float | None = None, momentum: float = -0.5, alternating: bool = True
) -> Dynamics:
    """Descent-ascent in turns with negative momentum: v ← μ v − η_x ∇_x f, x ← x + v; y likewise, upwards.

    Args:
        lr: η_x.
        lr_y: η_y; η_x when left out.
        momentum: μ in (−1, 1); −½ makes bilinear games converge, where players move in turns.
        alternating: y answers the new x instead of the old one.

    Raises:
        GradusError: for a setting out of range.
    """
    inside("negative_momentum", "momentum", momentum, -1, 1, open=True)
    rates = rates_of("negative_momentum", lr, lr_y)
    settings = {"lr": lr, "lr_y": lr_y, "momentum": momentum, "alternating": alternating}
    step = partial(_with_velocity, rates=rates, momentum=momentum, alternating=alternating)
    return Dynamics("negative_momentum", _two_zeros, step, settings)


@canon("optim/ogda", kind="minimax", paper="Daskalakis et al. 2018, Training GANs with optimism")
def ogda(lr: float = 0.05, lr_y: float | None = None) -> Dynamics:
    """Optimistic gradient descent-ascent: x ← x − η_x (2 ∇_x f_t − ∇_x f_{t-1}); y likewise, upwards.

    Args:
        lr: η_x.
        lr_y: η_y; η_x when left out.

    Raises:
        GradusError: for a setting out of range.
    """
    rates = rates_of("ogda", lr, lr_y)
    return Dynamics("ogda", _two_zeros, partial(_optimistic, rates=rates), {"lr": lr, "lr_y": lr_y})


def find_minimax(
    fn: Payoff,
    x0: Shaped[Tensor, "*shape"],
    y0: Shaped[Tensor, "*other"],
    method: str | Dynamics = "follow_the_ridge",
    *,
    steps: int = 1000,
    tol: float = 1e-8,
    record: bool = False,
    **settings: Any,
) -> Equilibrium:
    """Let two players move until the gradient vanishes: min over x, max over y of f.

    Args:
        fn: f, from x and y to one number; twice differentiable for `follow_the_ridge`.
        x0: where x starts, of any shape.
        y0: where y starts, of any shape.
        method: registered dynamics by name, or made.
        steps: how many at most.
        tol: the norm of the gradient that ends it.
        record: keep the path.
        settings: of the method, where it is a name.

    Returns:
        The last point.

    Raises:
        GradusError: for an unknown method or setting, or a function that is not one finite number at the start.
    """
    inside("find_minimax", "steps", steps, 0)
    inside("find_minimax", "tol", tol, 0)
    dynamics = _made(method, settings)
    if not (x0.is_floating_point() and y0.is_floating_point()):
        raise GradusError(f"x0 and y0 are {x0.dtype} and {y0.dtype}; the players need floating-point numbers to move")
    x, y = x0.detach().clone(), y0.detach().clone()
    state, path, done = dynamics.init(x, y), [], 0
    while True:
        found, gradients = _measure(fn, x, y)
        value, norm = found.item(), torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
        if record:
            path.append(torch.cat([x.flatten(), y.flatten()]))
        message = _ending(value, norm, tol, done, steps)
        if message is not None:
            break
        x, y = dynamics.step(fn, x, y, state, gradients)
        done += 1
    return Equilibrium(x, y, value, norm, done, norm <= tol, message, torch.stack(path) if record else None)


def _ending(value: float, norm: float, tol: float, done: int, steps: int) -> str | None:
    """Return why the play ends here, or None while it goes on."""
    if not math.isfinite(value) or not math.isfinite(norm):
        if done == 0:
            raise GradusError(f"f is {value} and its gradient {norm} at the start; start where both are finite")
        return f"the players left every bound after {done} steps; lower lr"
    if norm <= tol:
        return f"the gradient is within {tol:g}"
    return f"{steps} steps were made" if done == steps else None


def _made(method: str | Dynamics, settings: Mapping[str, Any]) -> Dynamics:
    if isinstance(method, Dynamics):
        if settings:
            raise GradusError(f"{method.name} is made already; give it {', '.join(settings)} where you make it")
        return method
    entry = registry.lookup("minimax", method, "minimax method")
    accept(entry, settings)
    return registry.load(entry)(**settings)


def rates_of(owner: str, lr: float, lr_y: float | None) -> tuple[float, float]:
    """Return (η_x, η_y), checked.

    Raises:
        GradusError: for one out of range.
    """
    first = inside(owner, "lr", lr, 0)
    return first, first if lr_y is None else inside(owner, "lr_y", lr_y, 0)


def nothing(x: Tensor, y: Tensor) -> State:
    """Return the state of dynamics that need none."""
    return {}


def _two_zeros(x: Tensor, y: Tensor) -> State:
    return {"step": 0, "x": torch.zeros_like(x), "y": torch.zeros_like(y)}


def tracked(fn: Payoff, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x and y as leaves of a new graph, and f of them."""
    with torch.enable_grad():
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        value = fn(x, y)
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise GradusError("a minimax problem needs one number of x and y; return a scalar tensor")
    if not value.requires_grad:
        raise GradusError(
            "the value does not depend on x or y in a way that can be differentiated; use torch operations"
        )
    return x, y, value.reshape(())


def _measure(fn: Payoff, x: Tensor, y: Tensor) -> tuple[Tensor, Pair]:
    """Return f and its gradients."""
    x, y, value = tracked(fn, x, y)
    down, up = torch.autograd.grad(value, (x, y), materialize_grads=True)
    return value.detach(), (down, up)


def _descend_ascend(
    fn: Payoff,
    x: Tensor,
    y: Tensor,
    state: State,
    gradients: Pair | None = None,
    *,
    rates: tuple[float, float],
    alternating: bool,
) -> Pair:
    down, up = gradients or _measure(fn, x, y)[1]
    ahead = x - rates[0] * down
    if alternating:
        up = _measure(fn, ahead, y)[1][1]
    return ahead, y + rates[1] * up


def _with_velocity(
    fn: Payoff,
    x: Tensor,
    y: Tensor,
    state: State,
    gradients: Pair | None = None,
    *,
    rates: tuple[float, float],
    momentum: float,
    alternating: bool,
) -> Pair:
    down, up = gradients or _measure(fn, x, y)[1]
    state["x"] = momentum * state["x"] - rates[0] * down
    ahead = x + state["x"]
    if alternating:
        up = _measure(fn, ahead, y)[1][1]
    state["y"] = momentum * state["y"] + rates[1] * up
    state["step"] += 1
    return ahead, y + state["y"]


def _optimistic(
    fn: Payoff, x: Tensor, y: Tensor, state: State, gradients: Pair | None = None, *, rates: tuple[float, float]
) -> Pair:
    down, up = gradients or _measure(fn, x, y)[1]
    # Before the first step nothing was seen: the gradient itself stands for the one before.
    last = (state["x"], state["y"]) if state["step"] else (down, up)
    state["x"], state["y"], state["step"] = down, up, state["step"] + 1
    return x - rates[0] * (2 * down - last[0]), y + rates[1] * (2 * up - last[1])
