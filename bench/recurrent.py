"""What a recurrent layer costs beside torch's: the same weights and sequences, forward and backward.

`layer` takes turns in one process, a few steps each: ours and `torch.nn.LSTM` (or GRU, RNN) on sequences of one
length, then both on sequences of different lengths, ours by `lengths=` and theirs packed and padded again as its
documentation shows. Before anything is timed the outputs and the gradients of both sides are compared.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bench.turns import interleave, milliseconds, paired
from gradus.nn.recurrent import Recurrent, torch_names

__all__ = ["layer"]

TOLERANCE = 1e-4

Pass = tuple[nn.Module, Callable[[], Tensor]]
"""A layer, and what runs it."""


def layer(
    rounds: int = 40,
    chunk: int = 5,
    kind: str = "lstm",
    batch: int = 32,
    time: int = 100,
    inputs: int = 64,
    hidden: int = 128,
    layers: int = 2,
    seed: int = 0,
) -> dict[str, float]:
    """Ours against torch's layer: `ratio` on sequences of one length, `ratio_padded` on different ones.

    Args:
        rounds: how many are kept.
        chunk: passes of a turn.
        kind: lstm, gru or rnn.
        batch: sequences.
        time: steps of the longest; the others have half as many or more.
        inputs: features of a step.
        hidden: units.
        layers: how many.
        seed: of weights, sequences and lengths.
    """
    torch.manual_seed(seed)
    theirs = getattr(nn, kind.upper())(inputs, hidden, layers, batch_first=True)
    ours = Recurrent(kind, inputs, hidden, layers=layers)
    ours.load_state_dict(torch_names(theirs.state_dict()))
    lengths = torch.randint(time // 2, time + 1, (batch,))
    lengths[0] = time
    passes = _passes(ours, theirs, torch.randn(batch, time, inputs), lengths)
    difference = max(
        _difference(*passes["gradus"], *passes["torch"]), _difference(*passes["gradus_padded"], *passes["torch_packed"])
    )
    assert difference < TOLERANCE, f"the sides do different work: they differ by {difference}"
    sides = {name: _repeated(*both) for name, both in passes.items()}
    times = interleave(sides, chunk=chunk, rounds=rounds)
    return {
        **paired(times, "gradus", "torch"),
        **paired(times, "gradus_padded", "torch_packed", "ratio_padded"),
        **milliseconds(times),
        "difference": difference,
    }


def _passes(ours: Recurrent, theirs: nn.Module, x: Tensor, lengths: Tensor) -> dict[str, Pass]:
    def packed() -> Tensor:
        y, _ = theirs(pack_padded_sequence(x, lengths, True, enforce_sorted=False))
        return pad_packed_sequence(y, batch_first=True)[0]

    return {
        "gradus": (ours, lambda: ours(x)[0]),
        "torch": (theirs, lambda: theirs(x)[0]),
        "gradus_padded": (ours, lambda: ours(x, lengths=lengths)[0]),
        "torch_packed": (theirs, packed),
    }


def _gradients(module: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(run().square().mean(), list(module.parameters()))


def _repeated(module: nn.Module, run: Callable[[], Tensor]) -> Callable[[int], None]:
    def advance(steps: int) -> None:
        for _ in range(steps):
            _gradients(module, run)

    return advance


def _difference(
    ours: nn.Module, our_run: Callable[[], Tensor], theirs: nn.Module, their_run: Callable[[], Tensor]
) -> float:
    """Return the largest difference of outputs and of gradients; both sides keep their weights in one order."""
    pairs = [(our_run(), their_run()), *zip(_gradients(ours, our_run), _gradients(theirs, their_run), strict=True)]
    return max(float((mine - other).detach().abs().max()) for mine, other in pairs)
