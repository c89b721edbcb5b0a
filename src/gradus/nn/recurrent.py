"""Recurrent layers: cells stacked, run in both directions, over sequences of different lengths.

    hˡ_t = cell(hˡ⁻¹_t, hˡ_{t−1}),   h⁰ = x,    and back in time beside it where the layer is bidirectional

A sequence's state rests at its own end: padding changes nothing, and the reverse direction starts at that end. The
steps in which the same sequences are alive are run together, so that no time is spent in padding either.

The state that comes back can be given to the next call, for truncated backpropagation through time: `detached`.

References:
    Schuster, Paliwal 1997, Bidirectional recurrent neural networks.
    Williams, Peng 1990, An efficient gradient-based algorithm for on-line training of recurrent network trajectories.
    Zaremba, Sutskever, Vinyals 2014, Recurrent neural network regularization.
    Zimmermann, Tietz, Grothmann 2012, Forecasting with recurrent neural networks: 12 tricks (noise as initial state).
"""

import re
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError, nearest
from gradus.nn.cells import CELLS, Span

__all__ = ["Recurrent", "State", "detached", "gradient_norms", "torch_names"]

State = Float[Tensor, "stack given size"] | tuple[Float[Tensor, "stack given size"], Float[Tensor, "stack given size"]]
"""The state of every layer and direction, layers outermost: h, or (h, c) of an LSTM, or Jordan's y."""


class Recurrent(nn.Module):
    """Recurrent layers over (batch, time, features).

    Args:
        kind: rnn (tanh), rnn_relu, gru, lstm, or jordan, which feeds its output back.
        inputs: features of a step's input.
        hidden: hidden units of each layer and direction.
        layers: how many, each on the outputs of the one below.
        bidirectional: whether every layer also runs back in time; outputs of both are side by side.
        dropout: probability of dropping a feature between layers.
        initial: where sequences start: at zero; at learned parameters; or, in training, at a draw from
            N(0, spread²) from the global random state, which makes a network robust to where it starts (evaluation
            starts at the mean, zero).
        spread: standard deviation of the draws.
        outputs: features of a step's output of a jordan layer; `hidden` by default, and for all others.
        fused: use torch's kernels where there are some; false for `torch.func.vmap` and for second derivatives.

    Raises:
        GradusError: for an unknown kind or initial state, sizes below one, or settings that do not fit the kind.
    """

    def __init__(
        self,
        kind: str,
        inputs: int,
        hidden: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initial: Literal["zero", "learned", "sampled"] = "zero",
        spread: float = 0.1,
        outputs: int | None = None,
        fused: bool = True,
    ) -> None:
        super().__init__()
        if kind not in CELLS:
            raise GradusError(f"there is no recurrent cell {kind!r}{nearest(kind, CELLS)}")
        if min(inputs, hidden, layers, hidden if outputs is None else outputs) < 1:
            raise GradusError(
                f"a recurrent layer needs sizes of at least one, not {inputs} → {hidden} in {layers} layers"
            )
        if outputs not in (None, hidden) and kind != "jordan":
            raise GradusError(f"the outputs of a {kind} layer are its hidden units; set hidden, or use a jordan layer")
        if initial not in ("zero", "learned", "sampled"):
            raise GradusError(f"the initial state is zero, learned or sampled, not {initial!r}")
        if not 0 <= dropout < 1:
            raise GradusError(f"dropout={dropout} is no probability below one; give a number in [0, 1)")
        self.kind, self.inputs, self.hidden = kind, inputs, hidden
        self.layers, self.directions = layers, 1 + bidirectional
        self.dropout, self.initial, self.spread = dropout, initial, spread
        cell = CELLS[kind]
        self.width = hidden if outputs is None else outputs
        sizes = [inputs, *[self.features] * (layers - 1)]
        self.cells = nn.ModuleList(
            cell(size, hidden, outputs=outputs, fused=fused) for size in sizes for _ in range(self.directions)
        )
        self.carries = cell.carries
        if initial == "learned":
            shape = (self.carries, len(self.cells), self.width)
            self.start = nn.Parameter(torch.zeros(shape))

    @property
    def features(self) -> int:
        """Features of a step's output: of both directions together."""
        return self.width * self.directions

    def forward(
        self,
        x: Float[Tensor, "batch time inputs"],
        state: State | None = None,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch time features"], State]:
        """Return the last layer's outputs, zero in the padding, and every layer's state at each sequence's end.

        Args:
            x: sequences, padded behind their ends to a common length.
            state: what an earlier call gave back; by default as `initial` says.
            lengths: of the sequences, on the CPU; all are as long as x by default.

        Raises:
            GradusError: if the features, the lengths or the state do not fit.
        """
        if x.shape[-1] != self.inputs:
            raise GradusError(f"this recurrent layer takes {self.inputs} features a step, not {x.shape[-1]}")
        states = self._begin(x, state)
        if lengths is None:
            return self._run(x, states, [(0, x.shape[1], len(x))] if x.numel() else [], None)
        spans, order = _stretches(lengths, x)
        backwards = order.argsort()
        order, backwards = order.to(x.device), backwards.to(x.device)
        states = tuple(part.index_select(1, order) for part in states)
        ends = lengths.to(x.device).index_select(0, order)
        y, last = self._run(x.index_select(0, order), states, spans, ends)
        y = y.index_select(0, backwards)
        if isinstance(last, tuple):
            return y, (last[0].index_select(1, backwards), last[1].index_select(1, backwards))
        return y, last.index_select(1, backwards)

    def _run(
        self, x: Tensor, states: tuple[Tensor, ...], spans: list[Span], ends: Tensor | None
    ) -> tuple[Tensor, State]:
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            sides = []
            for direction in range(self.directions):
                place = layer * self.directions + direction
                start = tuple(part[place] for part in states)
                y, end = self.cells[place](_turned(x, ends) if direction else x, start, spans)
                sides.append(_turned(y, ends) if direction else y)
                last.append(end)
            x = sides[0] if len(sides) == 1 else torch.cat(sides, -1)
        stacked = [torch.stack(parts) for parts in zip(*last)]
        return x, stacked[0] if len(stacked) == 1 else (stacked[0], stacked[1])

    def _begin(self, x: Tensor, state: State | None) -> tuple[Tensor, ...]:
        shape = (len(self.cells), len(x), self.width)
        if state is not None:
            given = state if isinstance(state, tuple) else (state,)
            if len(given) != self.carries or any(part.shape != shape for part in given):
                found = " and ".join(str(tuple(part.shape)) for part in given)
                wanted = f"{shape}" if self.carries == 1 else f"a pair (h, c) of {shape}"
                raise GradusError(f"the state of this {self.kind} layer is {wanted} for this batch, not {found}")
            return given
        if self.initial == "learned":
            return tuple(part.unsqueeze(1).expand(shape) for part in self.start.to(x.dtype).unbind(0))
        draws = self.initial == "sampled" and self.training
        return tuple(
            self.spread * torch.randn(shape, dtype=x.dtype, device=x.device) if draws else x.new_zeros(shape)
            for _ in range(self.carries)
        )

    def extra_repr(self) -> str:
        told = [repr(self.kind), str(self.inputs), str(self.hidden)]
        told += [f"layers={self.layers}"] if self.layers > 1 else []
        told += ["bidirectional=True"] if self.directions > 1 else []
        told += [f"dropout={self.dropout}"] if self.dropout else []
        told += [f"initial={self.initial!r}"] if self.initial != "zero" else []
        return ", ".join(told)


def _stretches(lengths: Tensor, x: Tensor) -> tuple[list[Span], Tensor]:
    """Return the spans of time in which the same sequences are alive, and the order by falling length."""
    if lengths.shape != x.shape[:1]:
        raise GradusError(f"there are {tuple(lengths.shape)} lengths for a batch of {len(x)}: give one a sequence")
    falling, order = lengths.cpu().sort(descending=True, stable=True)
    ends = falling.tolist()
    if ends and (ends[-1] < 0 or ends[0] > x.shape[1]):
        wrong = ends[0] if ends[0] > x.shape[1] else ends[-1]
        raise GradusError(f"a length of {wrong} is outside the {x.shape[1]} steps there are")
    spans: list[Span] = []
    start = 0
    for alive in range(len(ends), 0, -1):
        if ends[alive - 1] > start:
            spans.append((start, ends[alive - 1], alive))
            start = ends[alive - 1]
    return spans, order


def _turned(x: Tensor, ends: Tensor | None) -> Tensor:
    """Return every sequence back to front, its padding in place."""
    if ends is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    mirrored = ends[:, None] - 1 - time
    index = torch.where(mirrored >= 0, mirrored, time)
    return x.gather(1, index[..., None].expand(x.shape))


def detached(state: State) -> State:
    """Return a state cut from the graph that made it: where truncated backpropagation through time stops.

    Args:
        state: what a recurrent layer gave back.
    """
    return (state[0].detach(), state[1].detach()) if isinstance(state, tuple) else state.detach()


def gradient_norms(layer: Recurrent, x: Float[Tensor, "batch time inputs"]) -> Float[Tensor, " times"]:
    """Return how much the end still depends on each moment: ‖∂ Σ h_T / ∂ s_t‖ for t = 0 … T, s being the whole state.

    Args:
        layer: in one direction.
        x: sequences of T steps without padding.

    Raises:
        GradusError: if the layer runs in both directions, so that no state separates before from after.
    """
    if layer.directions > 1:
        raise GradusError("a bidirectional layer has no state between before and after; ask one in one direction")
    _, state = layer(x[:, :0])
    moments: list[tuple[Tensor, ...]] = []
    for t in range(x.shape[1] + 1):
        parts = state if isinstance(state, tuple) else (state,)
        moments.append(tuple(part if part.requires_grad else part.requires_grad_() for part in parts))
        if t < x.shape[1]:
            now = moments[-1]
            _, state = layer(x[:, t : t + 1], now if len(now) == 2 else now[0])
    leaves = [part for parts in moments for part in parts]
    found = torch.autograd.grad(moments[-1][0][-1].sum(), leaves, allow_unused=True)
    squares = [torch.zeros(()).to(x) if gradient is None else gradient.square().sum() for gradient in found]
    return torch.stack(squares).view(len(moments), -1).sum(1).sqrt()


def torch_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a `torch.nn.RNN`, `GRU` or `LSTM` under the names they have here.

    Args:
        state: the peer's `state_dict()`.
    """
    directions = 1 + any(name.endswith("_reverse") for name in state)
    names = {
        "weight_ih": "weight_input",
        "weight_hh": "weight_hidden",
        "bias_ih": "bias_input",
        "bias_hh": "bias_hidden",
    }
    found = {}
    for name, value in state.items():
        matched = re.fullmatch(r"(\w+_[ih]h)_l(\d+)(_reverse)?", name)
        if matched is None:
            raise GradusError(f"{name!r} is no weight of a torch.nn.RNN, GRU or LSTM without projections")
        place = int(matched[2]) * directions + (matched[3] is not None)
        found[f"cells.{place}.{names[matched[1]]}"] = value
    return found
