"""Finite-state machines, and recurrent networks that are one exactly.

    machine      q_t = δ(q_{t−1}, a_t),      o_t = λ(q_t)
    network      h_t = f(W h_{t−1} + U x_t + b),   o_t = argmax V h_t

There is a unit for every pair (state before, symbol read), and one for the start; exactly one is on, and V reads it
off. The unit (q, a) hears the symbol a and every unit that leads to q, and is on when it hears both: W has a 1 from
(p, c) to (q, a) where δ(p, c) = q, U a 1 from a, and the threshold lies between one and two.

    threshold    f = 1[· > 0],   b = −3/2
    relu         f = max(·, 0),  b = −1           units are 0 or 1, exactly
    tanh         f = tanh,       gain 40          units are −1 or 1: tanh(±40) is ±1 in floating point

References:
    Minsky 1967, Computation: finite and infinite machines.
    Omlin, Giles 1996, Constructing deterministic finite-state automata in recurrent neural networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from gradus.errors import GradusError, nearest
from gradus.nn.recurrent import Recurrent

__all__ = ["Machine", "StateNetwork", "realise"]

GAIN = 40.0


@dataclass(frozen=True, eq=False)
class Machine:
    """A deterministic machine that gives an output at every step (Moore's form); an acceptor's outputs are 0 and 1.

    Attributes:
        transitions: δ, the next state for each state and symbol.
        outputs: λ, the output in each state.
        start: the first state.
    """

    transitions: Int64[Tensor, "states symbols"]
    outputs: Int64[Tensor, " outputs"]
    start: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no machine."""
        states = len(self.transitions)
        if not self.transitions.numel() or not 0 <= self.start < states:
            raise GradusError(f"a machine needs a state, a symbol, and a start among its {states} states")
        if int(self.transitions.min()) < 0 or int(self.transitions.max()) >= states:
            raise GradusError(f"a transition leads out of the {states} states: number them from 0")
        if len(self.outputs) != states or int(self.outputs.min()) < 0:
            raise GradusError(f"there are {len(self.outputs)} outputs for {states} states: give one from 0 on each")

    @property
    def symbols(self) -> int:
        """How many symbols it reads."""
        return self.transitions.shape[1]

    def run(self, strings: Int[Tensor, "batch time"]) -> Int64[Tensor, "batch time"]:
        """Return the output after every symbol.

        Args:
            strings: symbols, from 0.
        """
        state = torch.full((len(strings),), self.start)
        found = []
        for symbol in strings.unbind(1):
            state = self.transitions[state, symbol]
            found.append(self.outputs[state])
        return torch.stack(found, 1) if found else strings.new_zeros(strings.shape, dtype=torch.int64)

    @staticmethod
    def acceptor(transitions: Sequence[Sequence[int]], accepting: Sequence[int], start: int = 0) -> "Machine":
        """Return the machine that says 1 in the accepting states and 0 in the others.

        Args:
            transitions: the next state for each state and symbol.
            accepting: states.
            start: the first state.
        """
        outputs = torch.zeros(len(transitions), dtype=torch.int64)
        outputs[list(accepting)] = 1
        return Machine(torch.tensor(transitions), outputs, start)


class _Thresholds(nn.Module):
    """A recurrent layer of McCulloch and Pitts's units; like `Recurrent` otherwise."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.zeros(hidden, inputs), requires_grad=False)
        self.weight_hidden = nn.Parameter(torch.zeros(hidden, hidden), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(hidden), requires_grad=False)
        self.start = nn.Parameter(torch.zeros(hidden), requires_grad=False)

    def forward(self, x: Float[Tensor, "batch time inputs"]) -> tuple[Tensor, Tensor]:
        heard = F.linear(x, self.weight_input, self.bias)
        h, found = self.start.expand(len(x), -1), []
        for step in heard.unbind(1):
            h = (step + F.linear(h, self.weight_hidden) > 0).to(x.dtype)
            found.append(h)
        return torch.stack(found, 1), h


class StateNetwork(nn.Module):
    """A recurrent network over symbols.

    Args:
        symbols: how many it reads.
        units: of its one layer.
        outputs: how many it gives.
        activation: threshold, relu or tanh.

    Raises:
        GradusError: for an unknown activation.
    """

    def __init__(self, symbols: int, units: int, outputs: int, activation: str = "tanh") -> None:
        super().__init__()
        kinds = {"relu": "rnn_relu", "tanh": "rnn", "threshold": ""}
        if activation not in kinds:
            raise GradusError(f"there is no activation {activation!r} for states{nearest(activation, kinds)}")
        self.symbols, self.activation = symbols, activation
        self.layer: nn.Module
        if activation == "threshold":
            self.layer = _Thresholds(symbols, units)
        else:
            self.layer = Recurrent(kinds[activation], symbols, units, initial="learned")
        self.read = nn.Linear(units, outputs)

    def forward(self, strings: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time outputs"]:
        """Return the scores of the outputs after every symbol.

        Args:
            strings: symbols, from 0.
        """
        if not strings.numel():
            return self.read.weight.new_zeros(*strings.shape, self.read.out_features)
        hidden, _ = self.layer(F.one_hot(strings.long(), self.symbols).to(self.read.weight.dtype))
        return self.read(hidden)


@torch.no_grad()
def realise(machine: Machine, activation: str = "tanh") -> StateNetwork:
    """Return a recurrent network whose likeliest output equals the machine's after every symbol of every string.

    It has states × symbols + 1 units, of which exactly one is on. With relu or tanh its layer is an ordinary
    `Recurrent`, so that training can go on from there.

    Args:
        machine: any.
        activation: of the units.

    References:
        Minsky 1967, Computation: finite and infinite machines.
        Omlin, Giles 1996, Constructing deterministic finite-state automata in recurrent neural networks.
    """
    states, symbols = machine.transitions.shape
    units = states * symbols + 1
    leads = torch.cat([machine.transitions.flatten(), torch.tensor([machine.start])])  # where each unit leads
    hears_state = torch.zeros(units, units)
    hears_state[:-1] = (torch.arange(states)[:, None] == leads).float().repeat_interleave(symbols, 0)
    hears_symbol = torch.zeros(units, symbols)
    hears_symbol[:-1] = torch.eye(symbols).repeat(states, 1)
    on = torch.zeros(units)
    on[-1] = 1
    says = F.one_hot(machine.outputs[leads], int(machine.outputs.max()) + 1).float().mT
    network = StateNetwork(symbols, units, len(says), activation)
    network.read.weight.copy_(says)
    network.read.bias.zero_()
    if activation == "threshold":
        assert isinstance(network.layer, _Thresholds)
        parts = (hears_symbol, hears_state, torch.full((units,), -1.5), on)
        held = (network.layer.weight_input, network.layer.weight_hidden, network.layer.bias, network.layer.start)
        for parameter, value in zip(held, parts, strict=True):
            parameter.copy_(value)
        return network
    assert isinstance(network.layer, Recurrent)
    cell = network.layer.cells[0]
    if activation == "relu":
        weights = {"weight_input": hears_symbol, "weight_hidden": hears_state, "bias_input": torch.full((units,), -1.0)}
    else:
        # With units of −1 and 1 a unit hears (h + 1)/2; twice the gain makes ±1/2 the gain, up or down.
        weights = {
            "weight_input": 2 * GAIN * hears_symbol, "weight_hidden": GAIN * hears_state,
            "bias_input": GAIN * (hears_state.sum(1) - 3),
        }  # fmt: skip
        on = 2 * on - 1
        network.read.weight.copy_(says / 2)
        network.read.bias.copy_(says.sum(1) / 2)
    for name, value in (weights | {"bias_hidden": torch.zeros(units)}).items():
        cell.get_parameter(name).copy_(value)
    network.layer.start.copy_(on.expand_as(network.layer.start))
    return network
