"""Recurrent cells: one layer in one direction, written from its equations.

    Elman    h = φ(W x + U h + b)
    Jordan   y = V tanh(W x + U y + b) + c                          the output, not the hidden units, is fed back
    GRU      r, z = σ(W x + U h + b),   n = tanh(Wₙ x + bₙ + r ⊙ (Uₙ h + cₙ)),   h = (1 − z) ⊙ n + z ⊙ h
    LSTM     i, f, o = σ(W x + U h + b),   g = tanh(…),   c = f ⊙ c + i ⊙ g,   h = o ⊙ tanh(c)

The products W x of all steps are one product; only U h has to wait for the step before. `unroll` is this written out
and the reference. Where torch has a kernel for the whole loop (`torch.lstm`, `torch.gru`, `torch.rnn_tanh`,
`torch.rnn_relu`), `forward` calls that: the same numbers to rounding, and an LSTM on the CPU in a third of the time or
less where its products are small. Kernels know neither `torch.func.vmap` nor, some of them, second derivatives:
`fused=False` is for those.

Both W and U come with a bias, one more than the equations need, so that weights can be exchanged with torch and cuDNN.

References:
    Elman 1990, Finding structure in time. Jordan 1986, Serial order: a parallel distributed processing approach.
    Hochreiter, Schmidhuber 1997, Long short-term memory. Gers, Schmidhuber, Cummins 2000, Learning to forget.
    Cho et al. 2014, Learning phrase representations using RNN encoder–decoder.
    Le, Jaitly, Hinton 2015, A simple way to initialize recurrent networks of rectified linear units.

Deviations:
    The GRU resets behind the product, as cuDNN has it; the paper resets h in front of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus.nn.initialisation import orthogonal, xavier

__all__ = ["CELLS", "Cell", "ElmanCell", "GRUCell", "JordanCell", "LSTMCell", "RectifiedCell", "Span"]

Span = tuple[int, int, int]
"""First step, step behind the last, and how many sequences, the longest ones, are as long as that."""

State = tuple[Float[Tensor, "batch size"], ...]
"""What a cell carries from step to step: (h,), (y,) or (h, c)."""


class Cell(nn.Module, ABC):
    """A recurrent layer in one direction.

    Weights start by Xavier's rule, recurrent ones orthogonal, gate by gate; biases at zero.

    Args:
        inputs: features of a step's input.
        hidden: hidden units.
        outputs: features of a step's output; the hidden units, but for Jordan's cell.
        fused: whether torch's kernel may run the loop.
    """

    gates: ClassVar[int] = 1
    """How many blocks of `hidden` rows the weights have."""

    carries: ClassVar[int] = 1
    """How many tensors the state has."""

    def __init__(self, inputs: int, hidden: int, *, outputs: int | None = None, fused: bool = True) -> None:
        super().__init__()
        self.inputs, self.hidden, self.fused = inputs, hidden, fused
        self.outputs = hidden if outputs is None else outputs
        rows = self.gates * hidden
        self.weight_input = nn.Parameter(torch.empty(rows, inputs))
        self.weight_hidden = nn.Parameter(torch.empty(rows, self.outputs))
        self.bias_input = nn.Parameter(torch.zeros(rows))
        self.bias_hidden = nn.Parameter(torch.zeros(rows))
        for weight, fill in ((self.weight_input, xavier), (self.weight_hidden, orthogonal)):
            for block in weight.detach().split(hidden):
                fill(block)

    @abstractmethod
    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """Return the state after one step; its first tensor is the output.

        Args:
            projected: W x + b of this step, as `project` gives it.
            state: before the step.
        """

    @abstractmethod
    def kernel(self, x: Float[Tensor, "batch time inputs"], state: State) -> tuple[Tensor, State] | None:
        """Return outputs and last state by torch's kernel for the whole loop; `None` where there is none."""

    def project(self, x: Float[Tensor, "batch time inputs"]) -> Float[Tensor, "time batch rows"]:
        """Return W x + b for all steps at once, both biases included."""
        return F.linear(x.transpose(0, 1), self.weight_input, self.bias_input + self.bias_hidden)

    def unroll(
        self, x: Float[Tensor, "batch time inputs"], state: State
    ) -> tuple[Float[Tensor, "batch time outputs"], State]:
        """Return all outputs and the last state, step by step from the equations.

        Args:
            x: sequences without padding.
            state: before the first step.
        """
        outputs = []
        for projected in self.project(x).unbind(0):
            state = self.step(projected, state)
            outputs.append(state[0])
        return torch.stack(outputs, 1), state

    def forward(
        self, x: Float[Tensor, "batch time inputs"], state: State, spans: Sequence[Span]
    ) -> tuple[Float[Tensor, "batch time outputs"], State]:
        """Return the outputs, zero in the padding, and the state at each sequence's end.

        Args:
            x: sequences, the longest first.
            state: before the first step.
            spans: stretches of time in which the same sequences are alive.
        """
        batch, time, _ = x.shape
        pieces: list[Tensor] = []
        ended: list[State] = []
        for start, stop, alive in spans:
            ended.append(tuple(part[alive:] for part in state))
            state = tuple(part[:alive] for part in state)
            y, state = self._run(x[:alive, start:stop], state)
            pieces.append(y if alive == batch else F.pad(y, (0, 0, 0, 0, 0, batch - alive)))
        ended.append(state)
        steps = sum(piece.shape[1] for piece in pieces)
        if steps < time or not pieces:
            pieces.append(x.new_zeros(batch, time - steps, self.outputs))
        whole = pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)
        # Who ended last comes first.
        return whole, tuple(torch.cat(parts[::-1]) if len(parts) > 1 else parts[0] for parts in zip(*ended))

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        # On the meta device the written-out form shows a summary every product.
        found = self.kernel(x, state) if self.fused and not x.is_meta else None
        return self.unroll(x, state) if found is None else found

    def _weights(self) -> list[Tensor]:
        return [self.weight_input, self.weight_hidden, self.bias_input, self.bias_hidden]

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.hidden}" + (f", outputs={self.outputs}" if self.outputs != self.hidden else "")


class ElmanCell(Cell):
    """The simple recurrent cell: h = tanh(W x + U h + b)."""

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """Return (h,) after one step."""
        return (torch.tanh(torch.addmm(projected, state[0], self.weight_hidden.T)),)

    def kernel(self, x: Float[Tensor, "batch time inputs"], state: State) -> tuple[Tensor, State]:
        """Return outputs and last state by torch's kernel."""
        y, h = torch.rnn_tanh(x, state[0][None].contiguous(), self._weights(), True, 1, 0.0, self.training, False, True)
        return y, (h[0],)


class RectifiedCell(Cell):
    """The simple recurrent cell with ReLU: h = max(0, W x + U h + b), U starting as the identity."""

    def __init__(self, inputs: int, hidden: int, *, outputs: int | None = None, fused: bool = True) -> None:
        super().__init__(inputs, hidden, outputs=outputs, fused=fused)
        nn.init.eye_(self.weight_hidden)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """Return (h,) after one step."""
        return (torch.relu(torch.addmm(projected, state[0], self.weight_hidden.T)),)

    def kernel(self, x: Float[Tensor, "batch time inputs"], state: State) -> tuple[Tensor, State]:
        """Return outputs and last state by torch's kernel."""
        y, h = torch.rnn_relu(x, state[0][None].contiguous(), self._weights(), True, 1, 0.0, self.training, False, True)
        return y, (h[0],)


class JordanCell(Cell):
    """Jordan's cell: y = V tanh(W x + U y + b) + c, whose state is its output."""

    def __init__(self, inputs: int, hidden: int, *, outputs: int | None = None, fused: bool = True) -> None:
        super().__init__(inputs, hidden, outputs=outputs, fused=fused)
        self.weight_output = nn.Parameter(xavier(torch.empty(self.outputs, hidden)))
        self.bias_output = nn.Parameter(torch.zeros(self.outputs))

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """Return (y,) after one step."""
        hidden = torch.tanh(torch.addmm(projected, state[0], self.weight_hidden.T))
        return (F.linear(hidden, self.weight_output, self.bias_output),)

    def kernel(self, x: Float[Tensor, "batch time inputs"], state: State) -> None:
        """Return `None`: torch has none."""

    def teach(
        self, x: Float[Tensor, "batch time inputs"], targets: Float[Tensor, "batch time outputs"], state: State
    ) -> Float[Tensor, "batch time outputs"]:
        """Return the outputs under teacher forcing: with the right output of the step before in place of its own.

        No step then waits for another, and all are one product.

        Args:
            x: sequences.
            targets: the right outputs.
            state: before the first step.
        """
        before = torch.cat([state[0][:, None], targets[:, :-1]], 1)
        hidden = torch.tanh(self.project(x).transpose(0, 1) + F.linear(before, self.weight_hidden))
        return F.linear(hidden, self.weight_output, self.bias_output)


class GRUCell(Cell):
    """The gated recurrent unit; the rows of its weights are r, z and n."""

    gates = 3

    def project(self, x: Float[Tensor, "batch time inputs"]) -> Float[Tensor, "time batch rows"]:
        """Return W x + b for all steps at once; the bias of Uₙ h stays with it, as r scales both."""
        inner = F.pad(self.bias_hidden[: -self.hidden], (0, self.hidden))
        return F.linear(x.transpose(0, 1), self.weight_input, self.bias_input + inner)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """Return (h,) after one step."""
        (h,) = state
        recurrent = F.linear(h, self.weight_hidden)
        gates, candidate = projected.split((2 * self.hidden, self.hidden), 1)
        r, z = torch.sigmoid(gates + recurrent[:, : 2 * self.hidden]).chunk(2, 1)
        inner = recurrent[:, 2 * self.hidden :] + self.bias_hidden[2 * self.hidden :]
        n = torch.tanh(torch.addcmul(candidate, r, inner))
        return (n + z * (h - n),)

    def kernel(self, x: Float[Tensor, "batch time inputs"], state: State) -> tuple[Tensor, State]:
        """Return outputs and last state by torch's kernel."""
        y, h = torch.gru(x, state[0][None].contiguous(), self._weights(), True, 1, 0.0, self.training, False, True)
        return y, (h[0],)


class LSTMCell(Cell):
    """The long short-term memory with forget gates; the rows of its weights are i, f, g and o.

    The bias of f starts at one, so that a fresh cell remembers.
    """

    gates = 4
    carries = 2

    def __init__(self, inputs: int, hidden: int, *, outputs: int | None = None, fused: bool = True) -> None:
        super().__init__(inputs, hidden, outputs=outputs, fused=fused)
        with torch.no_grad():
            self.bias_input[hidden : 2 * hidden] = 1.0

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """Return (h, c) after one step."""
        h, c = state
        i, f, g, o = torch.addmm(projected, h, self.weight_hidden.T).chunk(4, 1)
        c = torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i), torch.tanh(g))
        return torch.sigmoid(o) * torch.tanh(c), c

    def kernel(self, x: Float[Tensor, "batch time inputs"], state: State) -> tuple[Tensor, State]:
        """Return outputs and last state by torch's kernel."""
        start = [part[None].contiguous() for part in state]
        y, h, c = torch.lstm(x, start, self._weights(), True, 1, 0.0, self.training, False, True)
        return y, (h[0], c[0])


CELLS: dict[str, type[Cell]] = {
    "rnn": ElmanCell,
    "rnn_relu": RectifiedCell,
    "jordan": JordanCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
}
