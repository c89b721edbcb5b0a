"""Explicit Runge–Kutta steps, in two forms that make the same steps.

`Preallocated` writes all stages into one matrix K of shape (stages, n) and combines them with matrix–vector products,
y + Kᵀ(h a_i): no gradients, nothing allocated but what the field is given. `Functional` keeps the stages as separate
tensors and adds them up out of place, so that autograd can follow.

A stepper holds the first derivative of the next step once it is known: the last one of an accepted step where the
method allows it (`fsal`), the one that was tried before where a step is rejected.
"""

import math
from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gradus.ode.state import Field
from gradus.ode.tableaus import Tableau

__all__ = ["ErrorNorm", "Functional", "Preallocated", "Staged", "Stepper"]


@runtime_checkable
class Stepper(Protocol):
    """What the loops over steps ask of a method."""

    field: Field
    tableau: Tableau

    def enter(self, y: Tensor) -> Tensor:
        """Return a packed state in the stepper's own form."""
        ...

    def leave(self, y: Tensor) -> Tensor:
        """Return the packed state behind the stepper's own form."""
        ...

    def slope(self, t: float, y: Tensor) -> Tensor:
        """Return f(t, y), kept as the first derivative of the step to come."""
        ...

    def know(self, slope: Tensor) -> None:
        """Take the first derivative of the step to come as given."""
        ...

    def evaluate(self, t: float, y: Tensor) -> Tensor:
        """Return f(t, y) and keep nothing."""
        ...

    def advance(self, t: float, h: float, end: float, y: Tensor) -> Tensor | None:
        """Return y at `end` = t + h; None where an implicit stage has no solution in reach."""
        ...

    def deviation(self, h: float) -> Tensor:
        """Return the estimate of the last step's local error, h Σ e_i k_i."""
        ...

    def accept(self) -> None:
        """Make the last step the past."""
        ...

    def between(self, t: float, h: float, y: Tensor, end: tuple[float, Tensor], theta: float) -> Tensor:
        """Return y(t + θh) within the last step, which went from y at t to `end`, before it is accepted."""
        ...

    def close(self, end: tuple[float, Tensor]) -> Tensor | list[Tensor]:
        """Return the stages of the last step with all that its dense output needs."""
        ...


class ErrorNorm:
    """The size of an error in units of the tolerance: ‖e / (atol + rtol max(|y_n|, |y_{n+1}|))‖, at most 1 if good.

    ‖·‖ is the root mean square, of the whole state or, with several parts, the largest of theirs.

    Args:
        rtol: relative tolerance.
        atol: absolute tolerance.
        like: a state, for dtype and device.
        sizes: numbers of elements of the parts that count, from the front; what lies behind them is left out.
    """

    def __init__(self, rtol: float, atol: float, like: Tensor, sizes: list[int]) -> None:
        self.rtol, self.span = rtol, sum(sizes)
        # Nothing over nothing would be NaN where atol = 0 and a component stays 0.
        self.atol = torch.tensor(max(atol, torch.finfo(like.dtype).tiny), dtype=like.dtype, device=like.device)
        self.sizes = sizes
        self.roots = torch.tensor([n**-0.5 if n else 0.0 for n in sizes], dtype=like.dtype, device=like.device)
        self._seen: Tensor | None = None
        self._magnitude = like

    def __call__(self, error: Tensor, before: Tensor, after: Tensor) -> float:
        """Return the size; `before` is usually the `after` of the last call, whose magnitude is kept."""
        if before is not self._seen:
            self._magnitude = self._flat(before).abs()
        magnitude = self._flat(after).abs()
        scale = torch.add(self.atol, torch.maximum(self._magnitude, magnitude), alpha=self.rtol)
        self._after, self._after_magnitude = after, magnitude
        return self._mean(torch.div(self._flat(error), scale, out=scale))

    def accept(self) -> None:
        """Keep the magnitude of the last `after`, which is the next `before`."""
        self._seen, self._magnitude = self._after, self._after_magnitude

    def against(self, value: Tensor, y: Tensor) -> float:
        """Return ‖value / (atol + rtol |y|)‖."""
        return self._mean(self._flat(value) / torch.add(self.atol, self._flat(y).abs(), alpha=self.rtol))

    def _flat(self, y: Tensor) -> Tensor:
        flat = y.detach().reshape(-1)
        return flat if flat.shape[0] == self.span else flat[: self.span]

    def _mean(self, scaled: Tensor) -> float:
        if len(self.sizes) == 1:
            return torch.linalg.vector_norm(scaled).item() / math.sqrt(self.span)
        norms = torch.stack(torch._foreach_norm(scaled.split(self.sizes)))
        return norms.mul_(self.roots).max().item()


class Preallocated:
    """Explicit steps without gradients, on flat states and one matrix of stages.

    Args:
        field: what is integrated; it may read a leading part of the state only (`reads`), as an adjoint's does.
        tableau: an explicit method.
        like: a packed state, for dtype and device.
    """

    def __init__(self, field: Field, tableau: Tableau, like: Tensor) -> None:
        assert tableau.explicit
        self.field, self.tableau = field, tableau
        s, n, self.reads = tableau.stages, field.writes, field.reads
        self.partial = self.reads != n
        self.dtype, self.device, self.shape = like.dtype, like.device, like.shape
        rows = s + tableau.slope_needed
        self.slopes = like.new_empty(rows, n)
        self.targets = [field.layout.views(row) for row in self.slopes]
        table = [[*row, *[0.0] * (s - len(row))] for row in (*tableau.a, tableau.b, tableau.error or (0.0,) * s)]
        self.table = torch.tensor(table, dtype=like.dtype, device=like.device)
        self.scaled = torch.empty_like(self.table)
        self.weights = [self.scaled[i, :i] for i in range(s)]
        self.columns = [self.slopes[:i, : self.reads].T for i in range(s)]
        self.closing = (self.slopes[: s - 1].T, self.scaled[s - 1, : s - 1]) if tableau.fsal else None
        self.every, self.final, self.errors = self.slopes[:s].T, self.scaled[s], self.scaled[s + 1]
        self.offsets = tableau.c
        self.ready = False
        self._sloped = False

    def enter(self, y: Tensor) -> Tensor:
        """Return a packed state as a vector."""
        return y.detach().reshape(-1)

    def leave(self, y: Tensor) -> Tensor:
        """Return a vector as a packed state."""
        return y.view(self.shape)

    def _time(self, t: float) -> Tensor:
        return torch.tensor(t, dtype=self.dtype, device=self.device)

    def _read(self, y: Tensor) -> Tensor:
        return y[: self.reads] if self.partial else y

    def slope(self, t: float, y: Tensor) -> Tensor:
        """Return f(t, y), kept as the first derivative of the step to come."""
        if not self.ready:
            self.field.into(self.targets[0], self._time(t), self._read(y))
            self.ready = True
        return self.slopes[0]

    def evaluate(self, t: float, y: Tensor) -> Tensor:
        """Return f(t, y) and keep nothing."""
        value = torch.empty_like(self.slopes[0])
        self.field.into(self.field.layout.views(value), self._time(t), self._read(y))
        return value

    def know(self, slope: Tensor) -> None:
        """Take the first derivative of the step to come as given."""
        self.slopes[0].copy_(slope.reshape(-1))
        self.ready = True

    def forget(self) -> None:
        """Drop the kept derivative: the state has been changed from outside."""
        self.ready = False

    def advance(self, t: float, h: float, end: float, y: Tensor) -> Tensor:
        """Return y at `end` = t + h."""
        torch.mul(self.table, h, out=self.scaled)
        moments = [end if c == 1 else t + c * h for c in self.offsets]
        times = torch.tensor(moments, dtype=self.dtype, device=self.device).unbind()
        read, into, targets = self._read(y), self.field.into, self.targets
        if not self.ready:
            into(targets[0], times[0], read)
            self.ready = True
        columns, weights = self.columns, self.weights
        last = len(columns) - 1
        for i in range(1, last + (self.closing is None)):
            into(targets[i], times[i], torch.addmv(read, columns[i], weights[i]))
        self._sloped = False
        if self.closing is None:
            return torch.addmv(y, self.every, self.final)
        result = torch.addmv(y, *self.closing)
        into(targets[last], times[last], self._read(result))
        return result

    def deviation(self, h: float) -> Tensor:
        """Return the estimate of the last step's local error."""
        return torch.mv(self.every, self.errors)

    def accept(self) -> None:
        """Make the last step the past."""
        self.ready = self.tableau.fsal or self._sloped
        if self.ready:
            self.slopes[0].copy_(self.slopes[-1])
        self._sloped = False

    def between(self, t: float, h: float, y: Tensor, end: tuple[float, Tensor], theta: float) -> Tensor:
        """Return y(t + θh) within the last step."""
        self.close(end)
        weights = [h * weight for weight in self.tableau.dense_weights(theta)]
        return torch.addmv(y, self.slopes.T, torch.tensor(weights, dtype=self.dtype, device=self.device))

    def close(self, end: tuple[float, Tensor]) -> Tensor:
        """Return the stages of the last step with all that its dense output needs."""
        if self.tableau.slope_needed and not self._sloped:
            self.field.into(self.targets[-1], self._time(end[0]), self._read(end[1]))
            self._sloped = True
        return self.slopes


class Staged(ABC):
    """Steps out of place, on packed states, their stages separate tensors: what explicit and implicit ones share.

    Args:
        field: what is integrated.
        tableau: the method.
        like: a packed state, for dtype and device.
    """

    def __init__(self, field: Field, tableau: Tableau, like: Tensor) -> None:
        self.field, self.tableau = field, tableau
        self.dtype, self.device = like.dtype, like.device
        self.stages: list[Tensor] = []
        self.first: Tensor | None = None
        self.next: Tensor | None = None

    def enter(self, y: Tensor) -> Tensor:
        """Return the state itself."""
        return y

    def leave(self, y: Tensor) -> Tensor:
        """Return the state itself."""
        return y

    def _time(self, t: float) -> Tensor:
        return torch.tensor(t, dtype=self.dtype, device=self.device)

    def slope(self, t: float, y: Tensor) -> Tensor:
        """Return f(t, y), kept as the first derivative of the step to come where the method starts with it."""
        if self.first is None:
            slope = self.field(self._time(t), y)
            if not self.tableau.starts_explicitly:
                return slope
            self.first = slope
        return self.first

    def know(self, slope: Tensor) -> None:
        """Take the first derivative of the step to come as given."""
        self.first = slope

    def evaluate(self, t: float, y: Tensor) -> Tensor:
        """Return f(t, y) and keep nothing."""
        return self.field(self._time(t), y)

    @abstractmethod
    def advance(self, t: float, h: float, end: float, y: Tensor) -> Tensor | None:
        """Return y at `end` = t + h; None where an implicit stage has no solution in reach."""

    @abstractmethod
    def deviation(self, h: float) -> Tensor:
        """Return the estimate of the last step's local error, which gradients do not see."""

    def accept(self) -> None:
        """Make the last step the past."""
        self.first, self.next = self.next, None

    def between(self, t: float, h: float, y: Tensor, end: tuple[float, Tensor], theta: float) -> Tensor:
        """Return y(t + θh) within the last step."""
        return combine(y, self.close(end), self.tableau.dense_weights(theta), h)

    def close(self, end: tuple[float, Tensor]) -> list[Tensor]:
        """Return the stages of the last step with all that its dense output needs."""
        if not self.tableau.slope_needed:
            return self.stages
        if self.next is None:
            self.next = self.field(self._time(end[0]), end[1])
        return [*self.stages, self.next]


class Functional(Staged):
    """Explicit steps out of place, for autograd to follow.

    Args:
        field: what is integrated.
        tableau: an explicit method.
        like: a packed state, for dtype and device.
    """

    def __init__(self, field: Field, tableau: Tableau, like: Tensor) -> None:
        assert tableau.explicit
        super().__init__(field, tableau, like)

    def advance(self, t: float, h: float, end: float, y: Tensor) -> Tensor | None:
        """Return y at `end` = t + h."""
        tableau = self.tableau
        moments = [end if c == 1 else t + c * h for c in tableau.c]
        times = torch.tensor(moments, dtype=self.dtype, device=self.device).unbind()
        self.stages = [self.slope(t, y)]
        result = y
        for i in range(1, tableau.stages):
            result = combine(y, self.stages, tableau.a[i], h)
            self.stages.append(self.field(times[i], result))
        self.next = self.stages[-1] if tableau.fsal else None
        return result if tableau.fsal else combine(y, self.stages, tableau.b, h)

    def deviation(self, h: float) -> Tensor:
        """Return the estimate of the last step's local error, which gradients do not see."""
        assert self.tableau.error is not None
        with torch.no_grad():
            return combine(torch.zeros_like(self.stages[0]), self.stages, self.tableau.error, h)


def combine(y: Tensor, slopes: list[Tensor], weights: tuple[float, ...] | list[float], h: float) -> Tensor:
    """Return y + h Σ w_i k_i."""
    for slope, weight in zip(slopes, weights, strict=False):
        if weight:
            y = torch.add(y, slope, alpha=h * weight)
    return y
