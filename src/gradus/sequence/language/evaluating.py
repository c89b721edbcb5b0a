"""What a text costs a language model: nats a token, perplexity, bits a character.

    L = −1/N Σ_t log p(x_t | what was before),     PPL = exp(L),     bits/character = N L / (C log 2)

N counts every token but the first, which nothing is before, and C the characters. Perplexities compare only between
models of one tokenizer; bits a character compare between all that spell every character.

A model that sees `context` tokens at most reads the text in windows of that length, each from its beginning. Others
read it in segments of 4,096 tokens, each after the 256 tokens before it, which are read and not counted: the answer is
a function of model and text, however many segments are read at once. For an n-gram of up to 257 tokens it is what one
long stream costs, exactly; for a recurrent network nearly.

References:
    Jelinek, Mercer, Bahl and Baker 1977, Perplexity: a measure of the difficulty of speech recognition tasks.
"""

import math
from typing import Any

import torch
from jaxtyping import Int64, Integer
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.metrics.perplexity import Perplexity, TokenCost
from gradus.sequence.language.models import device_of

__all__ = ["measure", "segments", "token_cost"]

SEGMENT, BEFORE, STRETCH = 4096, 256, 128
NUMBERS = 2**23  # logits that are held at once
NOT_COUNTED = -100


def segments(
    tokens: Integer[Tensor, " tokens"], context: int | None
) -> tuple[Int64[Tensor, "rows time"], Int64[Tensor, "rows time"]]:
    """Return the rows that a text is read in, and the token after each place, −100 where it does not count.

    Every token but the first counts once.

    Args:
        tokens: of the text, two at least.
        context: of the model.
    """
    tokens = tokens.long()
    count = len(tokens) - 1
    stride = SEGMENT if context is None else context
    before = BEFORE if context is None else 0
    rows = max(1, -(-(count - before) // stride))
    length = min(stride + before, count)
    places = torch.arange(rows)[:, None] * stride + torch.arange(length)
    there = places < count
    held = places.clamp(max=count - 1)
    # All of the first segment counts: what the others have before them was counted already.
    counted = there & ((torch.arange(length) >= before) | (torch.arange(rows) == 0)[:, None])
    x = torch.where(there, tokens[held], 0)
    return x, torch.where(counted, tokens[held + 1], NOT_COUNTED)


@torch.inference_mode()
def token_cost(model: nn.Module, tokens: Integer[Tensor, " tokens"], at_once: int | None = None) -> TokenCost:
    """Return perplexity, nats a token and number of tokens of a text.

    Args:
        model: a language model.
        tokens: of the text.
        at_once: segments that are read together; as many as fit when left out.

    Raises:
        GradusError: if there are fewer than two tokens, so that none has one before it.
    """
    if len(tokens) < 2:
        raise GradusError("a text of fewer than two tokens has no next token to guess: give a longer one")
    context, device = getattr(model, "context", None), device_of(model)
    x, y = segments(tokens, context)
    quick = getattr(model, "log_probs", None)
    vocabulary = 1 if quick else int(_last_size(model, device))
    stretch = x.shape[1] if quick or context is not None else STRETCH
    rows = at_once or max(1, NUMBERS // (stretch * max(vocabulary, 64)))
    metric, nats, count = Perplexity(ignore=NOT_COUNTED), torch.zeros((), dtype=torch.float64), 0
    for some, truth in zip(x.split(rows), y.split(rows), strict=True):
        state: Any = None if context is not None else model.start(len(some), device)  # type: ignore[operator]
        for part, wanted in zip(some.split(stretch, 1), truth.split(stretch, 1), strict=True):
            part, wanted = part.to(device), wanted.to(device)
            if quick is None:
                logits, state = model(part, state)
                metric.update(logits, wanted)
            else:
                found, state = quick(part, wanted, state)
                chosen = wanted != NOT_COUNTED
                nats -= found[chosen].sum().double().cpu()
                count += int(chosen.sum())
    if quick is None:
        return metric.compute()
    mean = nats / count
    return TokenCost(mean.exp(), mean, torch.tensor(count))


def _last_size(model: nn.Module, device: torch.device) -> int:
    """Return the size of the vocabulary, from the logits of one token."""
    return model(torch.zeros(1, 1, dtype=torch.int64, device=device), None)[0].shape[-1]


def measure(
    model: nn.Module,
    tokens: Integer[Tensor, " tokens"],
    characters: int,
    split: str,
    unknown: int | None = None,
) -> dict[str, float]:
    """Return what a split costs, named `split/metric`: loss, perplexity, bits a character, and the share of [UNK].

    Args:
        model: a language model.
        tokens: of the split.
        characters: of the split's text.
        split: its name.
        unknown: the token of what has none; its share is told where there is any.

    Raises:
        GradusError: if the text is too short, or the model gives it no chance at all.
    """
    cost = token_cost(model, tokens)
    nats = float(cost.nats)
    if math.isinf(nats):
        raise GradusError(
            f"a token of the {split} text has probability zero, so its loss is infinite: maximum likelihood knows only "
            "what it has seen; train with --set k=0.01, or another smoothing"
        )
    bits = nats * int(cost.tokens) / (max(characters, 1) * math.log(2))
    found = {"loss": nats, "perplexity": float(cost.perplexity), "bits_per_character": bits}
    if unknown is not None and (missing := int((tokens == unknown).sum())):
        found["unknown"] = missing / len(tokens)
    return {f"{split}/{name}": value for name, value in found.items()}
