"""What a translator is trained for: the next token of the target, after the right ones or after its own.

    L = −1/N Σ_t Σ_v q_t(v) log p(v | ỹ_{<t}, x),     q_t = (1 − ε) onehot(y_t) + ε / V

Under teacher forcing ỹ = y. Under scheduled sampling each ỹ_t is the right token with probability p_i and else drawn
from the model's own distribution after ỹ_{<t}; p falls from 1 to f over the I steps i of the run:

    linear        1 − (1 − f) i / I
    exponential   f^(i / I)                      kᴵ = f
    sigmoid       f + (1 − f) k / (k + e^(i/k))     with k ln k = I / 2, so that half of the way is made at half time

What is drawn carries no gradient. Therefore ỹ is drawn first, token by token without gradients, and the loss on it is
then that of one parallel pass: the same gradient as drawing on the way, also for a Transformer.

References:
    Williams and Zipser 1989, A learning algorithm for continually running fully recurrent neural networks (teacher
    forcing). Bengio et al. 2015, Scheduled sampling for sequence prediction with recurrent neural networks.
    Szegedy et al. 2016, Rethinking the Inception architecture for computer vision (label smoothing).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradus.engine.state import State
from gradus.sequence.translation.models import EncoderDecoder

__all__ = ["Sampling", "Teach", "drawn", "falling", "token_losses"]

Sampling = Literal["none", "linear", "exponential", "sigmoid"]


def falling(kind: Sampling, total: int, final: float) -> Callable[[int], float]:
    """Return p: from the step to the probability of the right token.

    Args:
        kind: none keeps it at `final`.
        total: I, steps of the run.
        final: f in [0, 1]; above 0 for an exponential.
    """
    if kind == "none":
        return lambda i: final
    if kind == "linear":
        return lambda i: 1 - (1 - final) * min(i / total, 1.0)
    if kind == "exponential":
        return lambda i: final ** min(i / total, 1.0)
    k = _rate(total / 2)
    return lambda i: final + (1 - final) * k / (k + math.exp(min(i, total) / k))


def _rate(product: float) -> float:
    """Return the k ≥ 1 with k ln k = product, by Newton's method from above, where the function is convex."""
    k = 1 + product
    for _ in range(100):
        step = (k * math.log(k) - product) / (math.log(k) + 1)
        k -= step
        if abs(step) < 1e-12 * k:
            break
    return k


def token_losses(
    logits: Float[Tensor, "batch target vocabulary"],
    labels: Int[Tensor, "batch target"],
    padding: int,
    smoothing: float = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return L, and the cross-entropy without smoothing, both the mean over tokens that are no padding.

    Args:
        logits: of every next token.
        labels: the right ones.
        padding: the label that does not count.
        smoothing: ε.
    """
    counted = labels != padding
    tokens = counted.sum().clamp(min=1)
    if not smoothing:
        # The kernel for flat rows does without a copy of the log-probabilities.
        nats = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=padding, reduction="sum")
        return nats / tokens, (nats / tokens).detach()
    logp = logits.float().log_softmax(-1)
    own = logp.gather(-1, labels[..., None]).squeeze(-1)
    nats = -(own * counted).sum() / tokens
    even = -(logp.mean(-1) * counted).sum() / tokens
    return (1 - smoothing) * nats + smoothing * even, nats.detach()


@torch.no_grad()
def drawn(
    network: EncoderDecoder, memory: Any, tokens: Int[Tensor, "batch target"], truth: float
) -> Int[Tensor, "batch target"]:
    """Return the target with some of its tokens drawn from the model, from left to right; the first stays.

    Args:
        network: what writes.
        memory: of the sources.
        tokens: the right ones, from [BOS] on.
        truth: p, the probability with which a right one stays.
    """
    state, columns = network.start(memory, tokens.shape[1]), [tokens[:, 0]]
    right = torch.rand(tokens.shape, device=tokens.device) < truth
    for t in range(1, tokens.shape[1]):
        logits, state = network.step(state, columns[-1])
        own = logits.float().softmax(-1).multinomial(1).squeeze(1)
        columns.append(torch.where(right[:, t], tokens[:, t], own))
    return torch.stack(columns, 1)


class Teach:
    """The objective of translators: teacher forcing, scheduled sampling, label smoothing.

    Args:
        padding: the id of [PAD].
        smoothing: ε.
        truth: from the step to p; None for teacher forcing throughout.
    """

    def __init__(self, padding: int, *, smoothing: float = 0.0, truth: Callable[[int], float] | None = None) -> None:
        self.padding, self.smoothing, self.truth, self.count = padding, smoothing, truth, 0

    def __repr__(self) -> str:
        told = "" if self.truth is None else f", truth={self.truth(self.count):.3g}"
        return f"Teach(smoothing={self.smoothing:g}{told})"

    def __call__(self, network: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss on a batch, and what is logged: the loss without smoothing, and p.

        Args:
            network: an `EncoderDecoder`.
            batch: `source` with `source_lengths`, and `target` from [BOS] to [EOS], both padded.
        """
        source, lengths, target = batch["source"], batch["source_lengths"], batch["target"]
        inputs, labels = target[:, :-1], target[:, 1:]
        truth = 1.0 if self.truth is None else self.truth(self.count)
        self.count += 1
        if truth < 1:
            with torch.no_grad():
                memory = network.encode(source, lengths)
            inputs = drawn(network, memory, inputs, truth)
        loss, nats = token_losses(network(source, lengths, inputs), labels, self.padding, self.smoothing)
        logged = {"loss": nats}
        return loss, logged if self.truth is None else {**logged, "teacher_forcing": torch.tensor(truth)}

    def state_dict(self) -> State:
        """Return the step that the schedule has reached."""
        return {"count": self.count}

    def load_state_dict(self, state: State) -> None:
        """Put it back."""
        self.count = state["count"]
