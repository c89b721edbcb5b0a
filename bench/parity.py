"""Parity of bits, many steps in and one answer out: a long short-term memory solves it, a plain network does not.

    y = x_1 ⊕ x_2 ⊕ … ⊕ x_n,   x_t ∈ {0, 1},   n = 50

No bit says anything about the answer unless all the others are known, so that all of them have to be carried to the
end. A plain network has as many hidden units as the memory, a wide one as many weights. All learn from the same strings
of random lengths from 1 to n in the same order, by the same rule and rate, in at most as many steps, and are tested on
strings of n bits. None is told of anything but the answer; each stops when 100 batches in a row are judged rightly.

References:
    Hochreiter, Schmidhuber 1997, Long short-term memory. Minsky, Papert 1969, Perceptrons (parity).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.engine.updater import Updater
from gradus.optim.rule import make as make_rule
from gradus.sequence.classification.models import build

__all__ = ["bits", "strings_of_bits", "train"]

TESTED = 4096
ENOUGH = 100  # batches in a row without a mistake


def bits(count: int, length: int, generator: torch.Generator, *, fixed: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return strings of bits as tokens (1 for 0 and 2 for 1, padding 0), their lengths and their parities.

    Args:
        count: how many.
        length: of the longest.
        generator: of the draws.
        fixed: all as long as the longest; else each of a length from 1 on.
    """
    drawn = torch.randint(0, 2, (count, length), generator=generator)
    ends = torch.randint(1, length + 1, (count,), generator=generator)
    lengths = torch.full((count,), length) if fixed else ends.sort().values
    inside = torch.arange(length) < lengths[:, None]
    return (drawn + 1) * inside, lengths, (drawn * inside).sum(1) % 2


def train(
    kind: str, *, length: int, hidden: int, steps: int, seed: int, batch: int = 64, lr: float = 3e-3, clip: float = 1.0
) -> nn.Module:
    """Return a network that learned parity, in evaluation.

    Args:
        kind: rnn, gru or lstm.
        length: of the longest strings.
        hidden: hidden units.
        steps: most updates.
        seed: of weights and strings.
        batch: strings of a step.
        lr: learning rate.
        clip: largest norm of the gradient.
    """
    torch.manual_seed(seed)
    network = build(
        kind, vocabulary=3, classes=2, width=4, hidden=hidden, bidirectional=False, pooling="last", dropout=0.0
    )
    update = Updater(network, make_rule("adam", lr=lr), clip=clip)
    generator = torch.Generator().manual_seed(seed)
    streak = 0
    for _ in range(steps):
        # Strings of one length make a batch, so that no step is spent on padding.
        now = int(torch.randint(1, length + 1, (), generator=generator))
        tokens, lengths, labels = bits(batch, now, generator, fixed=True)
        scores = network(tokens, lengths)
        update(F.cross_entropy(scores, labels))
        streak = streak + 1 if torch.equal(scores.argmax(1), labels) else 0
        if streak == ENOUGH:
            break
    return network.eval()


def strings_of_bits(
    length: int = 50, hidden: int = 32, steps: int = 4000, seeds: int = 3, batch: int = 64, lr: float = 0.01
) -> dict[str, float]:
    """Return how many strings of `length` bits each network judges rightly: the worst of the seeds, and the best.

    Args:
        length: n.
        hidden: hidden units of the memory and of the plain network.
        steps: most updates of each.
        seeds: of weights and strings, from 0.
        batch: strings of a step.
        lr: learning rate of all.
    """
    inputs, lengths, labels = bits(TESTED, length, torch.Generator().manual_seed(10**6), fixed=True)
    found: dict[str, float] = {}
    # An LSTM of h units has 4 h (h + w) weights, w = 4 being those of a bit's vector; so has a plain one of about 2 h.
    sides = {"lstm": ("lstm", hidden), "rnn": ("rnn", hidden), "wide rnn": ("rnn", 2 * hidden + 2)}
    for name, (kind, units) in sides.items():
        shares = []
        for seed in range(seeds):
            network = train(kind, length=length, hidden=units, steps=steps, seed=seed, batch=batch, lr=lr)
            with torch.inference_mode():
                right = (network(inputs, lengths).argmax(1) == labels).double().mean()
            shares.append(float(right))
        found |= {f"{name} worst": min(shares), f"{name} best": max(shares)}
    return found
