"""How much the end of a sequence still depends on each earlier moment, by kind of recurrent cell.

    ‖∂ Σ h_T / ∂ s_t‖     s_t: the whole state after step t

Elman    ∂h_T / ∂h_t = Π_k diag(1 − h_k²) U: a product of contractions, which vanishes exponentially in T − t.
LSTM     ∂c_k / ∂c_{k−1} = f_k + …: with the forget gate open (f ≈ 1) and the input gate shut the product stays near 1.
GRU      ∂h_k / ∂h_{k−1} = z_k + …: the same with the update gate open.

"Open" adds `opening` to the bias of the forget gate (LSTM) or the update gate (GRU) and takes it from that of the input
gate; a fresh LSTM has a forget bias of one already. Everything is computed in double precision.

References:
    Bengio, Simard and Frasconi 1994, Learning long-term dependencies with gradient descent is difficult.
    Hochreiter and Schmidhuber 1997, Long short-term memory.
    Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradus.canon import canon
from gradus.engine.recipe import positive
from gradus.errors import GradusError
from gradus.experiments.experiment import Cell, Experiment, Row

if TYPE_CHECKING:
    from gradus.engine.run import Run
    from gradus.nn.recurrent import Recurrent

__all__ = ["GradientsThroughTime"]

# By cell: its blocks of biases whose gates are opened (+1) or shut (−1).
GATES = {"rnn": {}, "rnn_relu": {}, "gru": {1: 1}, "lstm": {0: -1, 1: 1}}
NAMES = {"rnn": "tanh", "rnn_relu": "ReLU, U = I", "gru": "GRU", "lstm": "LSTM"}
SMALLEST = 1e-300  # what is drawn and reported in place of an exact zero


@canon(
    "experiments/gradients-through-time", kind="experiment",
    paper="Bengio, Simard and Frasconi 1994, Learning long-term dependencies with gradient descent is difficult",
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class GradientsThroughTime(Experiment):
    """Gradient norms back through the steps of a sequence: open gates keep them, a tanh network loses them."""

    kinds: tuple[str, ...] = ("rnn", "rnn_relu", "gru", "lstm")
    """Recurrent cells: rnn, rnn_relu, gru, lstm."""
    length: int = 100
    """Steps of the sequences."""
    hidden: int = 32
    """Hidden units."""
    inputs: int = 3
    """Features of a step's input, drawn from N(0, 1)."""
    sequences: int = 8
    """Sequences whose gradients are taken together."""
    opening: float = 12.0
    """What is added to the bias of a gate to open it, and taken from it to shut it."""
    repeats: int = 5
    """Draws of weights and sequences."""

    def __post_init__(self) -> None:
        """Check the numbers and the names of the cells."""
        super().__post_init__()
        positive(self, "hidden", "inputs", "sequences", "opening", "repeats")
        if self.length < 2:
            raise GradusError(f"--length must be at least 2, got {self.length}")
        unknown = [kind for kind in self.kinds if kind not in GATES]
        if unknown or not self.kinds:
            raise GradusError(f"--kinds takes {', '.join(GATES)}, got {', '.join(unknown) or 'nothing'}")

    def cells(self) -> Sequence[Cell]:
        """Return one cell a kind, state of its gates, and repetition."""
        repeats = 1 if self.fast_dev_run else self.repeats
        return [
            {"kind": kind, "gates": gates, "repeat": repeat}
            for kind in self.kinds
            for gates in (("fresh", "open") if GATES[kind] else ("none",))
            for repeat in range(repeats)
        ]

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Differentiate the last outputs of one layer with respect to its states at all times."""
        import torch

        from gradus.nn.recurrent import Recurrent, gradient_norms

        layer = Recurrent(cell["kind"], self.inputs, self.hidden).double()
        if cell["gates"] == "open":
            self._open(layer)
        shape = (self.sequences, self.length, self.inputs)
        x = torch.randn(shape, generator=run.generator("sequences"), dtype=torch.float64)
        norms = gradient_norms(layer.to(run.device), x.to(run.device)).tolist()
        return {"kept": norms[0] / norms[-2], "norms": norms}

    def _open(self, layer: "Recurrent") -> None:
        """Shift the biases of a layer's gates."""
        import torch

        with torch.no_grad():
            cell: Any = layer.cells[0]
            blocks = cell.bias_input.split(self.hidden)
            for block, sign in GATES[layer.kind].items():
                blocks[block].add_(sign * self.opening)

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the share of the gradient that reaches the start, ‖∂h_T/∂s_0‖ / ‖∂h_T/∂s_{T−1}‖, geometric means."""
        found = {}
        for kind, gates in _groups(rows):
            shares = [max(r["kept"], SMALLEST) for r in rows if (r["kind"], r["gates"]) == (kind, gates)]
            name = kind if gates == "none" else f"{kind}_{gates}"
            found[f"{name}_kept"] = math.exp(math.fsum(map(math.log, shares)) / len(shares))
        return found

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Draw the norms, as shares of the last, against the steps back from the end."""
        from gradus.experiments.figures import COLOURS, band, canvas

        colours = dict(zip(dict.fromkeys(r["kind"] for r in rows), COLOURS, strict=False))
        with canvas(folder / "gradients-through-time.png", size=(6.4, 4.2)) as axes:
            for kind, gates in _groups(rows):
                series = [r["norms"][-2::-1] for r in rows if (r["kind"], r["gates"]) == (kind, gates)]
                shares = [[max(norm / one[0], SMALLEST) for norm in one] for one in series]
                label = NAMES[kind] + ("" if gates == "none" else f", {gates} gates")
                style: dict[str, Any] = {"color": colours[kind], "linestyle": "--" if gates == "fresh" else "-"}
                style["linewidth"] = 4.5 if (kind, gates) == ("gru", "open") else 1.8  # the open LSTM lies on it
                back = [1 + step for step in range(len(shares[0]))]
                band(axes, back, list(zip(*shares, strict=True)), label, log=True, **style)
            axes.set_yscale("log")
            axes.set(xlabel="steps back from the end", ylabel="gradient norm, as a share of the last step's")
            axes.set_title("Open gates carry the gradient")
            axes.legend()


def _groups(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the kinds with the states of their gates, in the order of the table."""
    return list(dict.fromkeys((row["kind"], row["gates"]) for row in rows))
