"""What a layer over a sequence costs, how much of it must wait, and how far apart it keeps the ends of the sequence.

    per layer, n tokens of d features       multiply-adds      in sequence      path between the ends
    self-attention                          n² d + n d²        O(1)             O(1)
    local attention, window w               n w d + n d²       O(1)             O(n / w)
    linear attention                        n d²               O(1)             O(1)
    convolution, kernel k                   n k d²             O(1)             O(n / k)
    recurrent                               n d²               O(n)             O(n)

Nothing is taken from the table: multiply-adds are counted while the layer runs, "in sequence" is the longest path of
its autograd graph, and layers are stacked until the last output depends on the first input (its gradient is not zero)
to find the path, the longest one through the graph of that stack. Weights are positive, so nothing cancels.

References:
    Vaswani et al. 2017, Attention is all you need (table 1).
    Katharopoulos et al. 2020, Transformers are RNNs. Beltagy, Peters and Cohan 2020, Longformer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradus.canon import canon
from gradus.engine.recipe import positive
from gradus.errors import GradusError
from gradus.experiments.experiment import Cell, Experiment, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradus.engine.run import Run

__all__ = ["SequenceLayers"]

KINDS = ("attention", "local", "linear", "convolution", "recurrent")
MEASURES = {"multiply_adds": "multiply-adds", "sequential": "operations in sequence", "path": "path between the ends"}


@canon("experiments/sequence-layers", kind="experiment", paper="Vaswani et al. 2017, Attention is all you need")
@dataclass(frozen=True, kw_only=True)
class SequenceLayers(Experiment):
    """Attention, convolution and recurrence side by side: cost of a layer, what must wait, path between the ends."""

    kinds: tuple[str, ...] = KINDS
    """Layers: attention, local, linear, convolution, recurrent."""
    lengths: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Tokens of the sequences."""
    width: int = 32
    """Features of a token."""
    window: int = 8
    """Tokens that local attention looks back."""
    kernel: int = 3
    """Tokens that a convolution takes in."""

    def __post_init__(self) -> None:
        """Check the sizes and the names of the layers."""
        super().__post_init__()
        positive(self, "width", "window", "kernel")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise GradusError(f"--kinds takes {', '.join(KINDS)}, got {', '.join(unknown) or 'nothing'}")
        if len(set(self.lengths)) < 2 or min(self.lengths) < 2:
            raise GradusError("--lengths needs two different lengths of at least 2, to see how measures grow")
        if min(self.window, self.kernel) < 2:
            raise GradusError("--window and --kernel must be at least 2, to take in another token at all")

    def cells(self) -> Sequence[Cell]:
        """Return one cell a layer and length."""
        lengths = self.lengths[:2] if self.fast_dev_run else self.lengths
        return [{"layer": kind, "length": length} for kind in self.kinds for length in lengths]

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Count one layer's multiply-adds and the depth of its graph; stack layers until the ends are connected."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        length = cell["length"]
        x = torch.rand(1, length, self.width, generator=run.generator("tokens"), dtype=torch.float64)
        x = x.to(run.device).requires_grad_()
        layer = self._layer(cell["layer"], run)
        with FlopCounterMode(display=False) as counted:
            sequential = _depth(layer(x))
        layers, y = 1, layer(x)
        while not _reaches(y, x):
            layers, y = layers + 1, layer(y)
        multiply_adds = counted.get_total_flops() // 2
        return {"multiply_adds": multiply_adds, "sequential": sequential, "layers": layers, "path": _depth(y)}

    def _layer(self, kind: str, run: "Run") -> "nn.Module":
        """Return a causal layer with positive weights, which every input it sees passes through."""
        import torch
        from torch import nn

        from gradus.nn.attention import SelfAttention
        from gradus.nn.recurrent import Recurrent

        class Causal(nn.Module):
            """A layer as a map from tokens to tokens."""

            def __init__(self, inner: nn.Module, past: int = 0) -> None:
                super().__init__()
                self.inner, self.past = inner, past

            def forward(self, x: "Tensor") -> "Tensor":
                if isinstance(self.inner, SelfAttention):
                    return self.inner(x, causal=True)
                if isinstance(self.inner, Recurrent):
                    return self.inner(x)[0]
                return self.inner(nn.functional.pad(x.mT, (self.past, 0))).mT

        if kind == "recurrent":
            inner: nn.Module = Recurrent("rnn_relu", self.width, self.width, fused=False)
        elif kind == "convolution":
            inner = nn.Conv1d(self.width, self.width, self.kernel)
        else:
            windowed = {"kernel": "local", "window": self.window} if kind == "local" else {}
            inner = SelfAttention(self.width, 1, **({"kernel": "linear"} if kind == "linear" else windowed))  # type: ignore[arg-type]
        with torch.no_grad():
            for weight in inner.parameters():
                weight.fill_(1 / self.width if weight.ndim > 1 else 0)
        return Causal(inner, self.kernel - 1).double().to(run.device)

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return how measures grow with the length n: the exponent of n between the two longest sequences."""
        import math

        found: dict[str, float] = {}
        for kind in dict.fromkeys(row["layer"] for row in rows):
            short, long = sorted((row for row in rows if row["layer"] == kind), key=lambda row: row["length"])[-2:]
            ratio = math.log(long["length"] / short["length"])
            found |= {f"{kind}_{name}_exponent": math.log(long[name] / short[name]) / ratio for name in MEASURES}
        return found

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Draw every measure against the length, on logarithmic axes."""
        from gradus.experiments.figures import canvas

        with canvas(folder / "sequence-layers.png", columns=len(MEASURES), size=(4.2, 3.6)) as axes:
            for plot, (name, title) in zip(axes, MEASURES.items(), strict=True):
                for kind in dict.fromkeys(row["layer"] for row in rows):
                    points = [(row["length"], row[name]) for row in rows if row["layer"] == kind]
                    plot.plot(*zip(*points, strict=True), marker="o", markersize=3, label=kind)
                plot.set(xscale="log", yscale="log", xlabel="tokens", title=title)
                lengths = sorted({row["length"] for row in rows})
                plot.set_xticks(lengths, [str(length) for length in lengths])
                plot.minorticks_off()
            axes[0].legend()


def _reaches(y: "Tensor", x: "Tensor") -> bool:
    """Return whether the last output depends on the first input."""
    y[:, -1].sum().backward(retain_graph=True)
    assert x.grad is not None
    found = bool(x.grad[:, 0].any())
    x.grad = None
    return found


def _depth(y: "Tensor") -> int:
    """Return how many operations the longest path of a tensor's autograd graph has."""
    depths: dict[Any, int] = {}
    waiting: list[Any] = [y.grad_fn]
    while waiting:
        node = waiting[-1]
        below = [fn for fn, _ in node.next_functions if fn is not None]
        todo = [fn for fn in below if fn not in depths]
        if todo:
            waiting += todo
        else:
            depths[waiting.pop()] = 1 + max((depths[fn] for fn in below), default=0)
    return depths[y.grad_fn]
