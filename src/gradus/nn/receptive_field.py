"""The receptive field: which pixels of the input one position of a map can see.

Along an axis, position i of a map sees the pixels from low + i·jump to high + i·jump. The input has jump 1 and
low = high = 0. A convolution or pooling of kernel k, stride s, dilation d and padding p turns that into

    low − p·jump,   high + ((k − 1)·d − p)·jump,   s·jump

and where branches meet, the lowest low and the highest high count. This is carried along every operation of one pass
on the meta device, so that residual, dense and Inception networks need no description of their own. An operation
that mixes all positions (a global average, attention) makes the field the whole image.

References:
    Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from gradus.errors import GradusError
from gradus.nn.meta import meta_twin, run_on_meta

__all__ = ["Fields", "ReceptiveField", "receptive_field"]

Interval = tuple[float, float, int]
"""Low, high and jump along one axis."""

Field = tuple[Interval, Interval]
Window = tuple[int, int, int, int]

EVERYTHING: Interval = (-math.inf, math.inf, 0)


@dataclass(frozen=True)
class ReceptiveField:
    """What positions of a map see of an input, along (height, width).

    Attributes:
        size: pixels across, padding included; infinite when every position sees the whole image.
        stride: pixels between the fields of neighbours.
        start: first pixel that position 0 sees; negative inside the padding.
        image: height and width of the input.
    """

    size: tuple[float, float]
    stride: tuple[int, int]
    start: tuple[float, float]
    image: tuple[int, int]

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the pixels that a position sees: top, left, bottom and right, the last two exclusive.

        Args:
            row: of the position in the map.
            column: of the position in the map.
        """
        sides = []
        for length, size, stride, start, index in zip(
            self.image, self.size, self.stride, self.start, (row, column), strict=True
        ):
            first, last = (0, length) if math.isinf(size) else (start + index * stride, start + index * stride + size)
            sides.append([int(min(max(edge, 0), length)) for edge in (first, last)])
        (top, bottom), (left, right) = sides
        return top, left, bottom, right


def receptive_field(model: nn.Module, input_shape: Sequence[int], layer: nn.Module | None = None) -> ReceptiveField:
    """Return the receptive field of a layer's output.

    Args:
        model: what maps images to something.
        input_shape: (batch, channels, height, width).
        layer: a module inside the model whose output is a map; the model itself by default.

    Raises:
        GradusError: if the layer is not called, or its output is no map.
    """
    outputs: list[Tensor] = []
    mode = Fields()
    twin = meta_twin(model)
    path = next((path for path, module in model.named_modules() if module is (layer or model)), None)
    twin.register_forward_pre_hook(lambda module, inputs: mode.start(inputs[0]))
    if path is not None:
        twin.get_submodule(path).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with mode:
        run_on_meta(twin, input_shape)
    if not outputs or not isinstance(outputs[0], Tensor) or outputs[0].ndim != 4:
        raise GradusError("a receptive field needs a layer that is called and gives (batch, channels, height, width)")
    return mode.of(outputs[0], (input_shape[-2], input_shape[-1]))


class Fields(TorchDispatchMode):
    """Carries the interval of each axis along every operation. Tensors without one (weights) see nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.known = WeakTensorKeyDictionary()

    def start(self, x: Tensor) -> None:
        """Let every pixel of the input see itself."""
        self.known[x] = ((0, 0, 1), (0, 0, 1))

    def of(self, tensor: Tensor, image: tuple[int, int]) -> ReceptiveField:
        """Return what the positions of a map see.

        Args:
            tensor: a map that depends on the input.
            image: height and width of the input.
        """
        rows, columns = self.known[tensor]
        return ReceptiveField(
            size=(rows[1] - rows[0] + 1, columns[1] - columns[0] + 1),
            stride=(rows[2], columns[2]),
            start=(rows[0], columns[0]),
            image=image,
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sources = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x in self.known]
        if sources:
            fields = _after(func.overloadpacket.__name__, args, sources, [self.known[x] for x in sources], out)
            for tensor in tree_leaves(out):
                if isinstance(tensor, Tensor):
                    self.known[tensor] = fields
        return out


def _after(name: str, args: tuple, sources: list[Tensor], fields: list[Field], out: Any) -> Field:
    """Return the intervals behind one operation of torch's core set."""
    rows, columns = fields[0]
    window = _window(name, args)
    if window is not None:
        return _slide(rows, *window[0]), _slide(columns, *window[1])
    if name == "slice" and sources[0].ndim == 4 and args[1] >= 2:
        _, axis, begin, _, step = [*args, *(None, 0, None, None, 1)[len(args) :]]
        begin = (begin or 0) % sources[0].shape[axis]
        if axis == 2:
            return _slide(rows, 1, step, -begin, 1), columns
        return rows, _slide(columns, 1, step, -begin, 1)
    if name == "constant_pad_nd" and sources[0].ndim == 4:
        left, _, top, _ = [*args[1], 0, 0][:4]
        return _slide(rows, 1, 1, top, 1), _slide(columns, 1, 1, left, 1)
    # The first result only: a batch normalisation also returns its statistics.
    results = [x for x in tree_leaves(out) if isinstance(x, Tensor)][:1]
    shapes = {x.shape[-2:] if x.ndim == 4 else None for x in sources + results}
    if len(shapes) == 1 and None not in shapes:
        return _union([field[0] for field in fields]), _union([field[1] for field in fields])
    return EVERYTHING, EVERYTHING


def _window(name: str, args: tuple) -> list[Window] | None:
    """Return kernel, stride, padding and dilation along each axis of an operation that slides a window."""
    if name == "convolution" and args[0].ndim == 4 and not args[6]:
        settings = [args[1].shape[2:], args[3], args[4], args[5]]
    elif name in ("max_pool2d_with_indices", "avg_pool2d"):
        kernel, stride, padding, dilation = [*args[1:5], *([], 0, 1)[len(args) - 2 :]]
        settings = [kernel, stride or kernel, padding, dilation if name.startswith("max") else 1]
    else:
        return None
    rows, columns = zip(*(value if isinstance(value, Sequence) else (value, value) for value in settings), strict=True)
    return [rows, columns]


def _slide(field: Interval, kernel: int, stride: int, padding: int, dilation: int) -> Interval:
    low, high, jump = field
    return low - padding * jump, high + ((kernel - 1) * dilation - padding) * jump, stride * jump


def _union(fields: list[Interval]) -> Interval:
    """Return the interval that holds all, or everything where their strides differ."""
    if len({jump for _, _, jump in fields}) > 1:
        return EVERYTHING
    return min(low for low, _, _ in fields), max(high for _, high, _ in fields), fields[0][2]
