"""From logits to the next token: greedy, temperature, top-k, nucleus, repetition penalty, as functions of logits.

    penalty      s_i ← s_i / θ where s_i > 0, else s_i θ        for the tokens i that were there already
    temperature  s ← s / T                                     T → 0 is the largest logit, greedy
    top-k        the k largest stay
    nucleus      the smallest set of tokens whose probability is at least p stays

in this order; what does not stay gets the logit −∞, and the next token is drawn from softmax(s).

References:
    Keskar et al. 2019, CTRL: a conditional Transformer language model for controllable generation (penalty).
    Fan, Lewis and Dauphin 2018, Hierarchical neural story generation (top-k).
    Holtzman et al. 2020, The curious case of neural text degeneration (nucleus).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["Decoding", "allowed", "choose", "distribution", "nucleus", "penalised", "top_k"]

Logits = Float[Tensor, "batch vocabulary"]
Seen = Bool[Tensor, "batch vocabulary"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the next token is chosen.

    Attributes:
        temperature: T; 0 takes the most probable token.
        top_k: draw from the k most probable tokens.
        top_p: draw from the smallest set of tokens with this probability.
        repetition_penalty: θ; 1 for none, above 1 makes tokens that were there already less probable.

    Raises:
        GradusError: for a number out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise GradusError(f"temperature={self.temperature} must be 0 (greedy) or a positive number")
        if self.top_k is not None and self.top_k < 1:
            raise GradusError(f"top_k={self.top_k} leaves no token to draw: give 1 at least")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise GradusError(f"top_p={self.top_p} is no probability to keep: give one above 0 and at most 1")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise GradusError(f"repetition_penalty={self.repetition_penalty} must be a positive number; 1 is none")

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is taken."""
        return self.temperature == 0 or self.top_k == 1


def penalised(logits: Logits, seen: Seen, penalty: float) -> Logits:
    """Return s / θ for positive and s θ for negative logits of the tokens seen, the others as they are.

    Args:
        logits: s.
        seen: true for tokens that were there already.
        penalty: θ.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def top_k(logits: Logits, k: int) -> Logits:
    """Return the logits of the k most probable tokens, −∞ elsewhere; ties with the last of them stay.

    Args:
        logits: s.
        k: how many; more than there are keep all.
    """
    least = logits.topk(min(k, logits.shape[-1]), -1).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def nucleus(logits: Logits, p: float) -> Logits:
    """Return the logits of the smallest set of tokens whose probability is at least p, −∞ elsewhere.

    Args:
        logits: s.
        p: probability to keep; of tokens that tie at the edge, those of the lower numbers stay.
    """
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    shares = ordered.softmax(-1)
    before = shares.cumsum(-1) - shares
    # The most probable token always stays, whatever rounding makes of the sums.
    beyond = (before >= p).index_fill(-1, torch.zeros(1, dtype=torch.long, device=logits.device), False)
    return logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)


def allowed(logits: Logits, decoding: Decoding, seen: Seen | None = None) -> Logits:
    """Return the logits that tokens are drawn from: penalty, temperature, top-k, nucleus, in this order.

    Args:
        logits: of the model.
        decoding: how; greedy keeps the largest logit alone.
        seen: tokens that were there already; needed for a penalty.
    """
    if decoding.repetition_penalty != 1 and seen is not None:
        logits = penalised(logits, seen, decoding.repetition_penalty)
    if decoding.temperature == 0:
        best = logits.argmax(-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter(-1, best, 0.0)
    if decoding.temperature != 1:
        logits = logits / decoding.temperature
    if decoding.top_k is not None:
        logits = top_k(logits, decoding.top_k)
    return nucleus(logits, decoding.top_p) if decoding.top_p is not None and decoding.top_p < 1 else logits


def distribution(
    logits: Logits, decoding: Decoding, seen: Seen | None = None
) -> Float[Tensor, "batch vocabulary"]:  # fmt: skip
    """Return the probabilities of the next token; arguments as of `allowed`."""
    return allowed(logits, decoding, seen).softmax(-1)


def choose(
    logits: Logits, decoding: Decoding, seen: Seen | None = None, generator: torch.Generator | None = None
) -> Int[Tensor, " batch"]:
    """Return a token for each row: the most probable where decoding is greedy, else one drawn.

    Args:
        logits: of the model.
        decoding: how.
        seen: tokens that were there already; needed for a penalty.
        generator: source of randomness, on the device of the logits.
    """
    if decoding.greedy:
        if decoding.repetition_penalty != 1 and seen is not None:
            logits = penalised(logits, seen, decoding.repetition_penalty)
        return logits.argmax(-1)
    return torch.multinomial(distribution(logits.float(), decoding, seen), 1, generator=generator).squeeze(-1)
