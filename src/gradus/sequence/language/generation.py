"""Generation: tokens one after the other, each drawn given all before it, for a batch of prompts at once.

    t_{i+1} ~ decoding(model(t_1 … t_i))

A model keeps a state, so that a new token costs one step and not a pass over all before. One that sees `context` tokens
at most and can `read` rows anew goes beyond its context by this rule:

    of a prompt longer than the context, the last `context` tokens are read;
    when the context is full, the last half of it is read anew, and generation goes on from there.

So every token is drawn given at least the last half of a context, and a pass over half a context is needed once in
half a context. Models without a longest sequence (recurrent ones, n-grams) never read anew.

References:
    Radford et al. 2019, Language models are unsupervised multitask learners.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.sequence.language.decoding import Decoding, choose
from gradus.sequence.language.models import device_of

__all__ = ["OVER", "Rereads", "generate"]

OVER = -1
"""Stands in place of a token where a row is over."""


@runtime_checkable
class Rereads(Protocol):
    """A language model that reads rows of any lengths in one pass, up to a context."""

    context: int

    def read(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Any]: ...


class _Rows:
    """Rows that are read together.

    Args:
        model: the language model.
        rows: their tokens; of equal lengths, unless the model reads different ones.
        places: of the rows in the batch.
    """

    def __init__(self, model: Any, rows: Sequence[Sequence[int]], places: Sequence[int]) -> None:
        self.model, self.places = model, list(places)
        self.device = device_of(model)
        self.logits: Float[Tensor, "rows vocabulary"]
        self.limit: int | None = model.context if isinstance(model, Rereads) else None
        if self.limit is None:
            tokens = torch.tensor([list(row) for row in rows], device=self.device)
            self._forward(tokens, model.start(len(rows), self.device))
        else:
            self.windows = [list(row[-self.limit :]) for row in rows]
            self.logits, self.state = model.read(self.windows)
            self.held = max(map(len, self.windows))

    def _forward(self, tokens: Int[Tensor, "rows time"], state: Any) -> None:
        logits, self.state = self.model(tokens, state)
        self.logits = logits[:, -1]

    def go_on(self, drawn: Int[Tensor, " rows"]) -> None:
        """Take one more token a row."""
        if self.limit is not None:
            for window, token in zip(self.windows, drawn.tolist(), strict=True):
                window.append(token)
            if self.held == self.limit:
                self._read_anew()
                return
            self.held += 1
        self._forward(drawn[:, None], self.state)

    def _read_anew(self) -> None:
        """Read the last half of every full window, and the others whole, so that no row depends on its neighbours."""
        assert self.limit is not None
        half = max(1, self.limit // 2)
        self.windows = [window[-half:] if len(window) > self.limit else window for window in self.windows]
        self.logits, self.state = self.model.read(self.windows)
        self.held = max(map(len, self.windows))

    def without(self, drawn: Int[Tensor, " rows"], stops: frozenset[int]) -> Int[Tensor, " kept"]:
        """Let go of the rows that a token has ended; return the tokens of the others."""
        kept = [i for i, token in enumerate(drawn.tolist()) if token not in stops] if stops else range(len(drawn))
        if len(kept) == len(drawn):
            return drawn
        rows = torch.tensor(kept, dtype=torch.long, device=self.device)
        self.places = [self.places[i] for i in kept]
        self.state = self.model.reorder(self.state, rows)
        if self.limit is not None:
            self.windows = [self.windows[i] for i in kept]
        return drawn[rows]


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    decoding: Decoding | None = None,
    stop_ids: Iterable[int] = (),
    generator: torch.Generator | None = None,
) -> Iterator[Int[Tensor, " batch"]]:
    """Return an iterator over the next tokens, one for each prompt a step.

    A row is over behind a stop token, which is given, or after `max_new_tokens`; `OVER`, −1, stands in its place from
    then on. Greedy rows do not depend on the others in the batch.

    Args:
        model: a language model in evaluation mode.
        prompts: their tokens, one at least in each.
        max_new_tokens: the most tokens a row gets.
        decoding: how tokens are chosen; drawn from the model's own distribution when left out.
        stop_ids: tokens that end a row.
        generator: source of randomness, on the model's device.

    Raises:
        GradusError: for an empty prompt or a number of tokens that is not positive.
    """
    if max_new_tokens < 1:
        raise GradusError(f"max_new_tokens={max_new_tokens} asks for nothing: give 1 at least")
    if not prompts or not all(prompts):
        raise GradusError("a prompt needs one token at least: begin with a token that begins texts, or with a newline")
    return _generated(model, prompts, max_new_tokens, decoding or Decoding(), frozenset(stop_ids), generator)


@torch.inference_mode()
def _generated(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    most: int,
    decoding: Decoding,
    stops: frozenset[int],
    generator: torch.Generator | None,
) -> Iterator[Int[Tensor, " batch"]]:
    groups = [_Rows(model, [prompts[i] for i in places], places) for places in _together(model, prompts)]
    seen = _seen(groups, prompts) if decoding.repetition_penalty != 1 else None
    for left in range(most - 1, -1, -1):
        alone = len(groups[0].places) == len(prompts)
        drawn = None if alone else torch.full((len(prompts),), OVER, device=groups[0].device)
        for group in groups:
            mine = None if seen is None else seen[group.places]
            chosen = choose(group.logits, decoding, mine, generator)
            if drawn is None:
                drawn = chosen
            else:
                drawn[group.places] = chosen
            if seen is not None:
                seen[group.places, chosen] = True
            chosen = group.without(chosen, stops)
            if left and group.places:
                group.go_on(chosen)
        assert drawn is not None
        yield drawn
        groups = [group for group in groups if group.places]
        if not groups:
            return


def _together(model: nn.Module, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return which prompts are read together: all by a model that reads different lengths, else those of one length."""
    if isinstance(model, Rereads):
        return [list(range(len(prompts)))]
    lengths: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        lengths.setdefault(len(prompt), []).append(i)
    return list(lengths.values())


def _seen(groups: Sequence[_Rows], prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return which tokens stand in each prompt."""
    logits = groups[0].logits
    seen = torch.zeros(len(prompts), logits.shape[-1], dtype=torch.bool, device=logits.device)
    for row, prompt in zip(seen, prompts, strict=True):
        row[list(prompt)] = True
    return seen
