"""The state of a differential equation and its field: what users see, and the vectors that solvers work on.

A state is a tensor, or a tuple, list or dict of tensors of one dtype. `Layout` packs it: a tensor stays as it is, the
others become one vector. `Field` evaluates the user's f on packed states, counts, and refuses shapes that cannot be a
derivative.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.ode.settings import Statistics

__all__ = ["Field", "Layout", "State"]

State = Tensor | tuple[Tensor, ...] | list[Tensor] | dict[str, Tensor]


class Layout:
    """How a user's state becomes a vector and back.

    Args:
        y: an example, whose kind, names, shapes and dtype are kept.

    Raises:
        GradusError: where it is no real floating-point tensor, nor several of one dtype and device.
    """

    def __init__(self, y: State) -> None:
        self.kind: type = Tensor if isinstance(y, Tensor) else dict if isinstance(y, Mapping) else type(y)
        self.names = tuple(y) if isinstance(y, Mapping) else ()
        parts = self._parts(y)
        if not parts or not all(isinstance(part, Tensor) for part in parts):
            raise GradusError("the state y0 is a tensor, or a tuple, list or dict of tensors; nest no further")
        if len({(part.dtype, part.device) for part in parts}) > 1:
            raise GradusError("the tensors of y0 differ in dtype or device; bring them to one before solving")
        if not parts[0].is_floating_point():
            raise GradusError(
                f"y0 is {parts[0].dtype}, and a solver needs real floating-point numbers: use .float(), .double() or "
                "torch.view_as_real"
            )
        self.shapes = [part.shape for part in parts]
        self.sizes = [part.numel() for part in parts]
        self.size = sum(self.sizes)
        if not self.size:
            raise GradusError("y0 has no elements; give at least one state")

    @property
    def single(self) -> bool:
        """Whether the state is one tensor."""
        return self.kind is Tensor

    @property
    def shape(self) -> torch.Size:
        """Shape of a packed state."""
        return self.shapes[0] if self.single else torch.Size([self.size])

    def _parts(self, y: Any) -> list[Tensor]:
        if isinstance(y, Tensor):
            return [y]
        if isinstance(y, Mapping):
            return [y[name] for name in self.names] if y.keys() == set(self.names) else []
        return list(y) if isinstance(y, tuple | list) else []

    def pack(self, y: State, what: str = "y0") -> Tensor:
        """Return a state as one tensor: itself, or the vector of all its parts.

        Raises:
            GradusError: if it has other parts or shapes than the layout.
        """
        if self.single:
            if not isinstance(y, Tensor) or y.shape != self.shapes[0]:
                raise GradusError(f"{what} {_shapes(y)} does not match the state's {tuple(self.shapes[0])}; {_ADVICE}")
            return y
        parts = self.match(y, what)
        return torch.cat([part.reshape(-1) for part in parts])

    def match(self, y: State, what: str) -> list[Tensor]:
        """Return the parts of a state in order, where it has the layout's.

        Raises:
            GradusError: otherwise.
        """
        parts = self._parts(y)
        if len(parts) != len(self.shapes) or any(p.shape != s for p, s in zip(parts, self.shapes, strict=True)):
            wanted = [tuple(shape) for shape in self.shapes]
            raise GradusError(f"{what} {_shapes(y)} does not match the state's {wanted}; {_ADVICE}")
        return parts

    def unpack(self, packed: Tensor, lead: tuple[int, ...] = ()) -> State:
        """Return the user's state from packed ones, with leading axes kept in front of every part."""
        if self.single:
            return packed
        pieces = zip(packed.split(self.sizes, -1), self.shapes, strict=True)
        return self.join([part.view(*lead, *shape) for part, shape in pieces])

    def join(self, parts: list[Tensor]) -> State:
        """Return the user's state from its parts."""
        if self.single:
            return parts[0]
        if self.kind is dict:
            return dict(zip(self.names, parts, strict=True))
        make: Callable[[list[Tensor]], State] = getattr(self.kind, "_make", self.kind)
        return make(parts)

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return the parts of a vector in their own shapes, sharing its memory."""
        return [part.view(shape) for part, shape in zip(flat.split(self.sizes), self.shapes, strict=True)]


_ADVICE = "dy/dt has the structure and shapes of y"
_VALUE = "the field's value"


def _shapes(y: Any) -> str:
    if isinstance(y, Tensor):
        return f"of shape {tuple(y.shape)}"
    if isinstance(y, Mapping):
        return f"with {sorted(map(str, y))}"
    return f"of {len(y)} tensors" if isinstance(y, Sequence) else f"of type {type(y).__name__}"


class Field:
    """f(t, y) on packed states, counted.

    Args:
        func: the user's (t, y) → dy/dt.
        layout: of the state.
        statistics: whose `nfev` counts the evaluations.
    """

    def __init__(self, func: Callable[..., State], layout: Layout, statistics: Statistics | None = None) -> None:
        self.func, self.layout, self.statistics = func, layout, statistics or Statistics()
        self.reads, self.writes = layout.size, layout.size

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Return dy/dt, packed as y is.

        Args:
            t: 0-dimensional.
            y: a packed state.
        """
        self.statistics.nfev += 1
        layout = self.layout
        if layout.single:
            slope = self.func(t, y)
            return slope if isinstance(slope, Tensor) and slope.shape == y.shape else layout.pack(slope, _VALUE)
        return layout.pack(self.func(t, layout.unpack(y)), _VALUE)

    def into(self, rows: list[Tensor], t: Tensor, flat: Tensor) -> None:
        """Write dy/dt at a flat state into `rows`, its parts in their own shapes."""
        self.statistics.nfev += 1
        layout = self.layout
        if layout.single:
            shape = layout.shapes[0]
            slope = self.func(t, flat.view(shape))
            rows[0].copy_(slope if isinstance(slope, Tensor) and slope.shape == shape else layout.pack(slope, _VALUE))
        else:
            slopes = layout.match(self.func(t, layout.unpack(flat)), _VALUE)
            for row, slope in zip(rows, slopes, strict=True):
                row.copy_(slope)
