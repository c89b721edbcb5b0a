"""Beam search: the best of many ways to go on, for many sentences at once.

    S(y) = Σ_t log p(y_t | y_{<t}, x) / lp(|y|),    lp(n) = ((5 + n) / 6)^α  (gnmt),   n^α  (plain)

Of the ways to lengthen a sentence's open hypotheses by one token, the `width` most likely are kept. Those that end
leave the beam for the pool of results, the others go on. |y| counts the end. A width of one is greedy search; with a
width of at least |V|^T nothing is ever dropped, and the search is exhaustive.

As no log-probability is above zero, an open hypothesis of total s can at best reach s / lp(n) at the most forgiving of
the lengths that are left to it. A sentence is done as soon as the pool holds as many results as are wanted and none of
its open hypotheses can beat the last of them; it then leaves the batch, and the other sentences go on without it.

A model is seen through `step(state, tokens) -> (log_probs, state)`, one row a hypothesis, those of a sentence side by
side. States may be tensors, tuples, lists and dicts of them, or objects with a `reorder(rows)`; what all hypotheses of
a sentence have in common (the encoded source) is wrapped in `Shared`, has one row a sentence and is never copied when
hypotheses change places.

References:
    Graves 2012, Sequence transduction with recurrent neural networks. Sutskever, Vinyals and Le 2014, Sequence to
    sequence learning with neural networks (what ends leaves the beam). Wu et al. 2016, Google's neural machine
    translation system (length normalisation). Huang, Zhao and Ma 2017, When to finish? (stopping without loss).
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["Hypothesis", "Normalisation", "Reorder", "Shared", "Step", "beam_search", "reordered"]

Step = Callable[[Any, Tensor], tuple[Tensor, Any]]
"""From a state and the last token of every hypothesis to the log-probabilities of the next, and the state then."""

Reorder = Callable[[Any, Tensor], Any]
"""From a state and rows of it to the state in which row i goes on from row `rows[i]`."""

Normalisation = Literal["gnmt", "plain"]

SURE = 1e-3  # what rounding may put above log 1


class Hypothesis(NamedTuple):
    """One way to go on.

    Attributes:
        tokens: without the end.
        log_prob: of all its tokens, the end included.
        score: the same, normalised by the length.
        ended: whether it came to its end; else it was cut at the longest length.
    """

    tokens: list[int]
    log_prob: float
    score: float
    ended: bool


class Shared(NamedTuple):
    """The part of a state that all hypotheses of a sentence have in common.

    Attributes:
        value: with one row a sentence.
    """

    value: Any


def reordered(state: Any, rows: Int[Tensor, " rows"], sentences: Int[Tensor, " sentences"] | None = None) -> Any:
    """Return a state in which row i goes on from row `rows[i]`.

    Args:
        state: tensors, tuples, lists and dicts of them, objects with a `reorder(rows)` of their own.
        rows: places among the rows there were.
        sentences: which sentences are left, for what is `Shared`; None where all are.
    """
    if isinstance(state, Shared):
        return state if sentences is None else Shared(reordered(state.value, sentences))
    if isinstance(state, Tensor):
        return state.index_select(0, rows)
    if isinstance(state, dict):
        return {key: reordered(part, rows, sentences) for key, part in state.items()}
    if isinstance(state, tuple | list):
        parts = [reordered(part, rows, sentences) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    if hasattr(state, "reorder"):
        state.reorder(rows)
    return state


def beam_search(
    step: Step,
    state: Any,
    first: Int[Tensor, " sentences"],
    *,
    end: int,
    longest: int | Int[Tensor, " sentences"],
    width: int = 5,
    best: int = 1,
    length_penalty: float = 0.6,
    normalisation: Normalisation = "gnmt",
    reorder: Reorder | None = None,
) -> list[list[Hypothesis]]:
    """Return the best hypotheses of every sentence, best first.

    Args:
        step: the model.
        state: before the first token; one row a sentence.
        first: the token that each sentence begins with.
        end: the token that ends one.
        longest: the most tokens of a hypothesis, its end included; one number, or one a sentence.
        width: how many hypotheses of a sentence are followed.
        best: how many are wanted, at most the width.
        length_penalty: α; 0 compares plain log-probabilities, with "plain" 1 compares their mean a token.
        normalisation: gnmt or plain.
        reorder: of the state, where it is none that `reordered` understands.

    Returns:
        For each sentence at most `best` hypotheses, different from each other. One that was cut comes after all that
        ended, and only where fewer than `best` did.

    Raises:
        GradusError: if the numbers cannot be meant, or a step gives no log-probabilities.
    """
    if not 1 <= best <= width:
        raise GradusError(f"a beam of {width} holds between 1 and {width} results, not {best}: widen it")
    if normalisation not in ("gnmt", "plain"):
        raise GradusError(f"lengths are normalised gnmt or plain, not {normalisation!r}")
    limits = torch.as_tensor(longest, device=first.device).expand(len(first))
    if len(first) and int(limits.min()) < 1:
        raise GradusError(f"a hypothesis needs room for a token at least, not {int(limits.min())}")
    search = _Search(first, limits, end, width, best, _Penalty(length_penalty, normalisation))
    while len(search.alive):
        log_probs, state = step(state, search.last)
        rows, left = search.advance(log_probs)
        if not len(search.alive):
            break
        if reorder is not None:
            state = reorder(state, rows)
        elif left is not None or not _in_place(rows, len(log_probs)):
            state = reordered(state, rows, left)
    return search.pool.hypotheses()


def _in_place(rows: Tensor, count: int) -> bool:
    return len(rows) == count and bool((rows == torch.arange(count, device=rows.device)).all())


class _Penalty:
    """lp(n)."""

    def __init__(self, alpha: float, kind: Normalisation) -> None:
        self.alpha, self.kind = alpha, kind

    def __call__(self, length: int | Tensor) -> Any:
        return ((5 + length) / 6 if self.kind == "gnmt" else length * 1.0) ** self.alpha

    def most(self, length: int, limits: Tensor) -> Tensor:
        """Return the largest penalty of the lengths from `length` to the limits; it is monotonic."""
        return self(limits.clamp(min=length).float()).clamp(min=self(length))


class _Search:
    """The open hypotheses of the sentences that are not done.

    Attributes:
        alive: which sentences these are.
        tokens: of each open hypothesis, (sentences, beams, steps).
        totals: its log-probability; −∞ where the place is empty.
    """

    def __init__(self, first: Tensor, limits: Tensor, end: int, width: int, best: int, penalty: _Penalty) -> None:
        self.end, self.width, self.penalty = end, width, penalty
        self.alive, self.limits, self.last = torch.arange(len(first), device=first.device), limits, first
        self.tokens = first.new_empty(len(first), 1, 0)
        self.totals = torch.zeros(len(first), 1, device=first.device)
        self.pool = _Pool(len(first), best, first.device)

    def advance(self, log_probs: Float[Tensor, "rows vocabulary"]) -> tuple[Tensor, Tensor | None]:
        """Take one step.

        Returns:
            The row that each hypothesis comes from, and which of the sentences are left; None where all are.
        """
        beams, parent = self.totals.shape[1], self._lengthen(log_probs)
        length = self.tokens.shape[2]
        ending = self.tokens[..., -1] == self.end
        scores = self.totals / self.penalty(length)
        self.pool.add(self.alive, self.tokens, self.totals, scores.masked_fill(~ending, -torch.inf))
        self.totals = self.totals.masked_fill(ending, -torch.inf)
        open_best = self.totals.amax(1)
        reachable = open_best / self.penalty.most(length + 1, self.limits)
        cut = (length >= self.limits) & open_best.isfinite()
        if bool(cut.any()):
            self.pool.fill(self.alive[cut], self.tokens[cut], self.totals[cut], scores[cut])
        done = (length >= self.limits) | ~open_best.isfinite() | (self.pool.last(self.alive) >= reachable)
        left = (~done).nonzero().squeeze(1)
        rows = torch.arange(len(done), device=parent.device)[:, None] * beams + parent
        if len(left) < len(done):
            self.alive, self.limits = self.alive[left], self.limits[left]
            self.tokens, self.totals, rows = self.tokens[left], self.totals[left], rows[left]
        self.last = self.tokens[..., -1].flatten()
        return rows.flatten(), left if len(left) < len(done) else None

    def _lengthen(self, log_probs: Tensor) -> Int[Tensor, "sentences beams"]:
        """Put the most likely ways to go on in place of the hypotheses; return which hypothesis each comes from."""
        sentences, beams = self.totals.shape
        vocabulary = log_probs.shape[-1]
        each = min(self.width, vocabulary)
        near, token = log_probs.float().view(sentences, beams, vocabulary).topk(each)
        totals = (self.totals[..., None] + near).flatten(1)
        if bool(totals.isnan().any()) or bool((near > SURE).any()):
            raise GradusError("a step of this search gave no log-probabilities (above zero, or no numbers): check it")
        self.totals, place = totals.topk(min(self.width, totals.shape[1]))
        parent = place // each
        tokens = self.tokens.gather(1, parent[..., None].expand(-1, -1, self.tokens.shape[2]))
        self.tokens = torch.cat([tokens, token.flatten(1).gather(1, place)[..., None]], 2)
        return parent


class _Pool:
    """The best results of every sentence so far, best first; a score of −∞ is an empty place."""

    def __init__(self, sentences: int, best: int, device: torch.device) -> None:
        self.best = best
        self.tokens = torch.zeros(sentences, best, 0, dtype=torch.int64, device=device)
        self.scores = torch.full((sentences, best), -torch.inf, device=device)
        self.totals = self.scores.clone()
        self.lengths = torch.zeros(sentences, best, dtype=torch.int64, device=device)
        self.ended = torch.ones(sentences, best, dtype=torch.bool, device=device)

    def last(self, sentences: Int[Tensor, " alive"]) -> Float[Tensor, " alive"]:
        """Return the score that a new result has to beat."""
        return self.scores[sentences, -1]

    def add(self, sentences: Tensor, tokens: Tensor, totals: Tensor, scores: Tensor) -> None:
        """Take in what ended; the others have a score of −∞."""
        if bool(scores.isfinite().any()):
            self._merge(sentences, tokens, totals, scores, torch.ones_like(scores, dtype=torch.bool), by_score=True)

    def fill(self, sentences: Tensor, tokens: Tensor, totals: Tensor, scores: Tensor) -> None:
        """Take in what was cut, behind all that ended."""
        scores = torch.where(totals.isfinite(), scores, -torch.inf)
        self._merge(sentences, tokens, totals, scores, torch.zeros_like(scores, dtype=torch.bool), by_score=False)

    def _merge(
        self, sentences: Tensor, tokens: Tensor, totals: Tensor, scores: Tensor, ended: Bool[Tensor, "some beams"],
        by_score: bool,
    ) -> None:  # fmt: skip
        steps = tokens.shape[2]
        if steps > self.tokens.shape[2]:
            self.tokens = torch.nn.functional.pad(self.tokens, (0, steps - self.tokens.shape[2]))
        both = torch.cat([self.scores[sentences], scores], 1)
        # A stable order leaves those that ended in front; within what was cut the beam is in order already.
        key = both if by_score else both.isfinite().float()
        order = key.argsort(dim=1, descending=True, stable=True)[:, : self.best]
        held = torch.nn.functional.pad(tokens, (0, self.tokens.shape[2] - steps))
        joined = torch.cat([self.tokens[sentences], held], 1)
        self.tokens[sentences] = joined.gather(1, order[..., None].expand(-1, -1, joined.shape[2]))
        lengths = torch.full_like(ended, steps, dtype=torch.int64)
        for name, new in (("scores", scores), ("totals", totals), ("lengths", lengths), ("ended", ended)):
            mine = getattr(self, name)
            mine[sentences] = torch.cat([mine[sentences], new], 1).gather(1, order)

    def hypotheses(self) -> list[list[Hypothesis]]:
        """Return all results as lists."""
        columns = [part.tolist() for part in (self.tokens, self.totals, self.scores, self.lengths, self.ended)]
        return [
            [
                Hypothesis(tokens[: length - ended], total, score, ended)
                for tokens, total, score, length, ended in zip(*rows, strict=True)
                if score > -torch.inf
            ]
            for rows in zip(*columns, strict=True)
        ]
