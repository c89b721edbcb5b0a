"""What a model is made of: its layer tree with shapes, parameters, multiply-adds, memory and receptive fields.

A twin of the model runs once on the meta device, where tensors have shapes and no values: nothing is computed, no
random number is drawn, and the model itself is not touched. Multiply-adds are counted where they happen, operation by
operation, so that functional calls and attention count too:

    convolution   taps · C/groups · D · positions        product of (n, k) and (k, m)   n · k · m
    attention     2 · batch · heads · queries · keys · width

Additions of biases, normalisations and activations are not counted.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradus.nn.meta import meta_twin, run_on_meta
from gradus.nn.receptive_field import Fields, ReceptiveField

__all__ = ["Row", "Summary", "summary"]


@dataclass(frozen=True)
class Row:
    """One module of the tree; counts are of the module with everything inside it.

    Attributes:
        path: dotted name; empty for the model itself.
        kind: class name.
        depth: how deep in the tree; 0 for the model itself.
        output_shape: of its last call, batch included, the first of several tensors; empty if it was never called or
            gives none.
        parameters: number of weights.
        multiply_adds: of the whole batch.
        output_bytes: memory of the outputs of the leaves, for the whole batch; views take none.
        receptive_field: what a position of the output map sees of the image; `None` where there is no map or image.
    """

    path: str
    kind: str
    depth: int
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    output_bytes: int
    receptive_field: ReceptiveField | None = None


@dataclass(frozen=True)
class Summary:
    """The layer tree of a model and its totals; `str()` is a table.

    Attributes:
        rows: the modules in the order of definition, the model itself first.
        input_shape: batch included.
        parameters: number of weights, shared ones once.
        trainable: those that need gradients.
        parameter_bytes: their memory.
        multiply_adds: of one forward pass of the whole batch.
        activation_bytes: memory of every leaf's output, which training keeps for the backward pass.
    """

    rows: tuple[Row, ...]
    input_shape: tuple[int, ...]
    parameters: int
    trainable: int
    parameter_bytes: int
    multiply_adds: int
    activation_bytes: int

    def __str__(self) -> str:
        return self.table()

    def table(self, depth: int | None = None) -> str:
        """Return the tree and the totals as text.

        Args:
            depth: leave out modules deeper than this; `None` for all.
        """
        maps = any(row.receptive_field for row in self.rows)
        table: list[tuple[str, ...]] = [("layer", "output shape", "sees", "parameters", "multiply-adds")]
        for row in self.rows:
            if depth is not None and row.depth > depth:
                continue
            name = row.path.rsplit(".", 1)[-1]
            label = f"{'  ' * row.depth}{name + ': ' if name else ''}{row.kind}"
            shape = "×".join(map(str, row.output_shape)) or "–"
            table.append((label, shape, _sight(row), f"{row.parameters:,}", f"{row.multiply_adds:,}"))
        lines = _aligned(table if maps else [line[:2] + line[3:] for line in table], left=3 if maps else 2)
        rule = "─" * len(lines[0])
        totals = (
            f"{self.parameters:,} parameters ({self.trainable:,} trainable, {_bytes(self.parameter_bytes)}), "
            f"{self.multiply_adds:,} multiply-adds and {_bytes(self.activation_bytes)} of activations "
            f"for an input of {'×'.join(map(str, self.input_shape))}"
        )
        return "\n".join([lines[0], rule, *lines[1:], rule, totals])


def summary(model: nn.Module, input_shape: Sequence[int], *, dtype: torch.dtype | None = None) -> Summary:
    """Return the layer tree of a model for an input shape.

    Args:
        model: anything that maps one tensor to tensors.
        input_shape: with the batch first, as in (1, 3, 224, 224); four axes are taken for images.
        dtype: of the input, such as `torch.int64` for tokens; by default that of the weights.
    """
    notes = _Notes(tuple(input_shape))
    twin = meta_twin(model)
    notes.watch(twin)
    with notes.counter, notes.fields or nullcontext():
        run_on_meta(twin, input_shape, dtype)
    rows = tuple(notes.row(path, module) for path, module in model.named_modules())
    parameters = list(model.parameters())
    return Summary(
        rows=rows,
        input_shape=tuple(input_shape),
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        multiply_adds=notes.counter.counts.get("", 0),
        activation_bytes=rows[0].output_bytes,
    )


class _Notes:
    """What one pass shows of every module: shapes, memory, multiply-adds and, of images, receptive fields."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        self.image = (input_shape[-2], input_shape[-1]) if len(input_shape) == 4 else (0, 0)
        self.counter = _Counter()
        self.fields = Fields() if len(input_shape) == 4 else None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.sizes: dict[str, int] = {}
        self.seen: dict[str, ReceptiveField] = {}

    def watch(self, twin: nn.Module) -> None:
        """Hook every module of the twin that will run."""
        if self.fields is not None:
            begin = self.fields.start
            twin.register_forward_pre_hook(lambda module, inputs: begin(inputs[0]))
        for path, module in twin.named_modules():
            module.register_forward_pre_hook(lambda module, inputs, path=path: self.counter.running.append(path))
            module.register_forward_hook(partial(self._leave, path))

    def _leave(self, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self.counter.running.pop()
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if not tensors:
            return
        self.shapes[path] = tuple(tensors[0].shape)
        if tensors[0].ndim == 4 and self.fields is not None and tensors[0] in self.fields.known:
            self.seen[path] = self.fields.of(tensors[0], self.image)
        if next(module.children(), None) is None:
            known = {_storage(leaf) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)}
            for tensor in tensors:
                if _storage(tensor) not in known:
                    known.add(_storage(tensor))
                    self.sizes[path] = self.sizes.get(path, 0) + tensor.numel() * tensor.element_size()

    def row(self, path: str, module: nn.Module) -> Row:
        """Return the row of a module of the model."""
        inside = [key for key in self.sizes if not path or key == path or key.startswith(path + ".")]
        return Row(
            path=path,
            kind=type(module).__name__,
            depth=path.count(".") + 1 if path else 0,
            output_shape=self.shapes.get(path, ()),
            parameters=sum(p.numel() for p in module.parameters()),
            multiply_adds=self._work(path, module),
            output_bytes=sum(self.sizes[key] for key in inside),
            receptive_field=self.seen.get(path),
        )

    def _work(self, path: str, module: nn.Module) -> int:
        if path in self.counter.counts:
            return self.counter.counts[path]
        # A list of modules never runs itself.
        return sum(self._work(f"{path}.{name}".strip("."), child) for name, child in module.named_children())


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class _Counter(TorchDispatchMode):
    """Adds the multiply-adds of every operation to all the modules that are running."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.running: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        work = _multiply_adds(func.overloadpacket.__name__, args, out)
        if work:
            for path in set(self.running):
                self.counts[path] = self.counts.get(path, 0) + work
        return out


def _multiply_adds(name: str, args: tuple, out: Any) -> int:
    """Return the multiply-adds of one operation of torch's core set."""
    if name == "convolution":
        x, weight, transposed = args[0], args[1], args[6]
        positions = x if transposed else out
        return math.prod(positions.shape[2:]) * positions.shape[0] * weight.numel()
    if name in ("mm", "bmm"):
        return out.numel() * args[0].shape[-1]
    if name in ("addmm", "baddbmm"):
        return out.numel() * args[1].shape[-1]
    if "scaled_dot_product" in name:
        query, key, value = args[:3]
        return query.numel() * key.shape[-2] + query.shape[:-1].numel() * key.shape[-2] * value.shape[-1]
    return 0


def _sight(row: Row) -> str:
    if row.receptive_field is None:
        return "–" if row.output_shape else ""
    sides = row.receptive_field.size
    return "all" if math.inf in sides else f"{sides[0]:.0f}×{sides[1]:.0f}"


def _aligned(table: list[tuple[str, ...]], left: int) -> list[str]:
    """Return the lines of a table whose first `left` columns are text and whose others are numbers."""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return ["  ".join(f"{cell:{'<' if i < left else '>'}{widths[i]}}" for i, cell in enumerate(line)) for line in table]


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
