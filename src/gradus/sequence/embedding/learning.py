"""The learner of word vectors: a batch is a stretch of text, learned a chunk after another.

    for each chunk:  table[rows] ← rule(table[rows], ∂L(chunk)/∂table[rows]),    rate = max(10⁻⁴, schedule(t)) · lr

The pairs of a chunk are learned together from the same vectors, where the word2vec program takes one after the other.
So a chunk must be so small that no row moves too far in it. Of its places, the most frequent word makes

    places · pairs · max(share, negative · noise share)

changes of one row; `chunk_for` holds that number times lr below 6. On texts of planted topics (1,300 words)
vectors were as good at 9 as with the smallest chunks, a little worse at 18, and at 35 one training of three diverged.
With the full softmax, where every pair moves every row, the number is held below 1.

Everything happens on one thread, as the products are too small to share out: the bits do not hang on how many there
are.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from gradus.engine.state import State, collect, notice_change, restore
from gradus.sequence.embedding.bands import BLOCK
from gradus.sequence.embedding.cooccurrence import Cooccurrences
from gradus.sequence.embedding.tables import Embedding
from gradus.sequence.embedding.threads import one_thread

__all__ = ["LearnVectors", "chunk_for"]

LEAST_RATE = 1e-4
STEEPEST = 6.0
STEEPEST_SOFTMAX = 1.0
MOST_BLOCKS = 16
ENTRIES = 512


def chunk_for(
    model: Embedding, shares: Float64[Tensor, " words"], noise: Float64[Tensor, " words"] | None, window: int, lr: float
) -> int:
    """Return how many blocks, or entries of X, are learned together.

    Args:
        model: what learns.
        shares: of each word among those that are kept.
        noise: chance of each word as noise; None where there is none.
        window: the farthest that a window reaches.
        lr: the highest learning rate.
    """
    if model.reads == "cooccurrences":
        return ENTRIES
    pairs = window + 1 if model.predicts == "near" else 1
    drawn = 0.0 if noise is None else model.negative * float(noise.max())
    changes = pairs * max(float(shares.max()) * (1 if model.predicts == "near" else 2 * window), drawn)
    steepest = STEEPEST if model.negative else STEEPEST_SOFTMAX
    return max(1, min(MOST_BLOCKS, int(steepest / (lr * changes * BLOCK))))


class LearnVectors:
    """Word vectors that learn from stretches of text, or from co-occurrence counts.

    Args:
        network: the tables.
        lr: the highest learning rate.
        schedule: from the step to a multiplier of it.
        chunk: blocks or entries learned together.
        facts: whatever the product needs besides the tables.
        fingerprint: of the data, to notice on resume that it has changed.
    """

    def __init__(
        self,
        network: Embedding,
        *,
        lr: float,
        schedule: Callable[[int], float],
        chunk: int = 8,
        facts: Any = None,
        fingerprint: str = "",
    ) -> None:
        self.network, self.lr, self.schedule, self.chunk = network, lr, schedule, chunk
        self.facts, self.fingerprint = facts, fingerprint
        self.rule, self.steps = network.rule(), 0

    def __repr__(self) -> str:
        return f"LearnVectors({type(self.network).__name__}, {self.rule}, lr {self.lr:g}, {self.chunk} at once)"

    def step(self, batch: Any) -> Mapping[str, Tensor | float]:
        """Learn one batch, chunk by chunk; returns the mean loss of its first chunk before it was learned."""
        rate = self.lr * max(LEAST_RATE, self.schedule(self.steps))
        table = next(self.network.parameters())
        whole = (batch if self.network.reads == "bands" else Cooccurrences(*batch)).to(table)
        loss = None
        with one_thread(), torch.no_grad():
            for chunk in whole.split(self.chunk):
                if loss is None:
                    loss = self.network.objective(chunk) / self.network.predictions(chunk).clamp(min=1)
                self.rule(self.network.gradients(chunk), rate)
        self.steps += 1
        return {"lr": rate} if loss is None else {"loss": loss, "lr": rate}

    def state_dict(self) -> State:
        """Return the tables, what the rule remembers, and the number of steps."""
        return {**collect(network=self.network, rule=self.rule), "steps": self.steps, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        """Put all back in place."""
        restore(state, network=self.network, rule=self.rule)
        self.steps = state["steps"]
        notice_change(state["fingerprint"], self.fingerprint)
