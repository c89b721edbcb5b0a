"""What a model is made of: its layer tree with shapes, parameters, multiply-adds and memory.

A twin of the model runs once on the meta device, where tensors have shapes and no values: nothing is computed, no
random number is drawn, and the model itself is not touched. Multiply-adds are counted where they happen, operation by
operation, so that functional calls and attention count too:

    convolution   taps · C/groups · D · positions        product of (n, k) and (k, m)   n · k · m
    attention     2 · batch · heads · queries · keys · width

Additions of biases, normalisations and activations are not counted.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Row", "Summary", "meta_twin", "run_on_meta", "summary"]


@dataclass(frozen=True)
class Row:
    """One module of the tree; counts are of the module with everything inside it.

    Attributes:
        path: dotted name; empty for the model itself.
        kind: class name.
        depth: how deep in the tree; 0 for the model itself.
        output_shape: of its last call, batch included; empty if it was never called or gives no tensor.
        parameters: number of weights.
        multiply_adds: of the whole batch.
        output_bytes: memory of the outputs of the leaves, for the whole batch; views take none.
    """

    path: str
    kind: str
    depth: int
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    output_bytes: int


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
        table = [("layer", "output shape", "parameters", "multiply-adds")]
        for row in self.rows:
            if depth is not None and row.depth > depth:
                continue
            name = row.path.rsplit(".", 1)[-1]
            label = f"{'  ' * row.depth}{name + ': ' if name else ''}{row.kind}"
            shape = "×".join(map(str, row.output_shape)) or "–"
            table.append((label, shape, f"{row.parameters:,}", f"{row.multiply_adds:,}"))
        widths = [max(len(line[i]) for line in table) for i in range(4)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in table]
        rule = "─" * len(lines[0])
        totals = (
            f"{self.parameters:,} parameters ({self.trainable:,} trainable, {_bytes(self.parameter_bytes)}), "
            f"{self.multiply_adds:,} multiply-adds and {_bytes(self.activation_bytes)} of activations "
            f"for an input of {'×'.join(map(str, self.input_shape))}"
        )
        return "\n".join([lines[0], rule, *lines[1:], rule, totals])


def summary(model: nn.Module, input_shape: Sequence[int]) -> Summary:
    """Return the layer tree of a model for an input shape.

    Args:
        model: anything that maps one tensor to tensors.
        input_shape: with the batch first, as in (1, 3, 224, 224).
    """
    shapes: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}
    counter = _Counter()
    twin = meta_twin(model)
    _watch(twin, counter, shapes, sizes)
    with counter:
        run_on_meta(twin, input_shape)
    rows = tuple(_row(path, module, shapes, sizes, counter.counts) for path, module in model.named_modules())
    parameters = list(model.parameters())
    return Summary(
        rows=rows,
        input_shape=tuple(input_shape),
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        multiply_adds=counter.counts.get("", 0),
        activation_bytes=rows[0].output_bytes,
    )


def meta_twin(model: nn.Module) -> nn.Module:
    """Return a copy of the model in evaluation mode whose parameters and buffers have shapes and no values.

    Args:
        model: what to copy; it is not touched.
    """
    # Not `functional_call`: where one module has two names it leaves the replacements in the model.
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo).eval()


@torch.no_grad()
def run_on_meta(twin: nn.Module, input_shape: Sequence[int]) -> Any:
    """Return the output, without values, for an input of the shape.

    Args:
        twin: a model on the meta device.
        input_shape: batch included.
    """
    dtype = next((p.dtype for p in twin.parameters() if p.is_floating_point()), None)
    with torch.device("meta"):
        return twin(torch.empty(tuple(input_shape), dtype=dtype))


def _row(
    path: str, module: nn.Module, shapes: dict[str, tuple[int, ...]], sizes: dict[str, int], counts: dict[str, int]
) -> Row:
    inside = [key for key in sizes if not path or key == path or key.startswith(path + ".")]
    return Row(
        path=path,
        kind=type(module).__name__,
        depth=path.count(".") + 1 if path else 0,
        output_shape=shapes.get(path, ()),
        parameters=sum(p.numel() for p in module.parameters()),
        multiply_adds=counts.get(path, 0),
        output_bytes=sum(sizes[key] for key in inside),
    )


def _watch(twin: nn.Module, counter: "_Counter", shapes: dict[str, tuple[int, ...]], sizes: dict[str, int]) -> None:
    """Tell the counter which module is running, and note every output's shape and every leaf's output's size."""

    def attach(path: str, module: nn.Module) -> None:
        def enter(module: nn.Module, inputs: Any) -> None:
            counter.running.append(path)

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            counter.running.pop()
            if isinstance(output, Tensor):
                shapes[path] = tuple(output.shape)
                if next(module.children(), None) is None and not _shares_memory(output, inputs):
                    sizes[path] = sizes.get(path, 0) + output.numel() * output.element_size()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    for path, module in twin.named_modules():
        attach(path, module)


def _shares_memory(output: Tensor, inputs: tuple) -> bool:
    storage = output.untyped_storage()._cdata
    return any(isinstance(x, Tensor) and x.untyped_storage()._cdata == storage for x in inputs)


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


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
