"""What tagging is worth: loss and accuracy of the tokens, F₁ of the tags or of the spans that they mark.

    L = −1/n Σ ln p(y_t | x)        F₁ = 2 TP / (2 TP + FP + FN)

Where tags mark spans (B-… begins one, I-… goes on, O is outside), what counts is the span: right where it begins, ends
and is named as in truth. Otherwise F₁ is the mean over the tags.

References:
    Tjong Kim Sang, De Meulder 2003, Introduction to the CoNLL-2003 shared task.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gradus.metrics.precision_recall_f1 import PrecisionRecallF1

__all__ = ["of_tags", "span_f1", "spans_of"]

Span = tuple[int, int, str]


def spans_of(tags: Sequence[str]) -> set[Span]:
    """Return the spans that tags mark: (first, behind the last, name).

    An I-… that goes on with nothing, or with a span of another name, begins one.

    Args:
        tags: B-name, I-name or O, one for each token.
    """
    found: set[Span] = set()
    begin, name = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        goes_on = tag[:2] == "I-" and tag[2:] == name
        if name and not goes_on:
            found.add((begin, place, name))
            name = ""
        if tag != "O" and not goes_on:
            begin, name = place, tag[2:]
    return found


def span_f1(found: Iterable[Sequence[str]], true: Iterable[Sequence[str]]) -> float:
    """Return F₁ of the spans of sentences; 1 where there are none on either side.

    Args:
        found: tags of each sentence.
        true: as they should be.
    """
    both = either = 0
    for one, other in zip(found, true, strict=True):
        a, b = spans_of(one), spans_of(other)
        both += len(a & b)
        either += len(a) + len(b)
    return 2 * both / either if either else 1.0


def of_tags(
    logs: Float[Tensor, "tokens tags"], truth: Int64[Tensor, " tokens"], names: Sequence[str], lengths: Sequence[int],
    spans: bool, prefix: str,
) -> dict[str, float]:  # fmt: skip
    """Return loss, accuracy and F₁.

    Args:
        logs: log-probabilities of the tags of all tokens.
        truth: the right tag of each.
        names: of the tags.
        lengths: tokens of each sentence.
        spans: whether the tags mark spans.
        prefix: name of the split.
    """
    wide = logs.double()
    best = wide.argmax(1)
    if spans:
        mine, right = ([[names[i] for i in part.tolist()] for part in t.split(list(lengths))] for t in (best, truth))
        f1 = span_f1(mine, right)
    else:
        counter = PrecisionRecallF1(len(names))
        counter.update(wide, truth)
        f1 = float(counter.compute().f1)
    return {
        f"{prefix}/loss": -float(wide.gather(1, truth[:, None]).mean()),
        f"{prefix}/accuracy": float((best == truth).to(torch.float64).mean()),
        f"{prefix}/f1": f1,
    }
