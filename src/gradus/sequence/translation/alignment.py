"""Translations with what they rest on: scores, tokens, and which source token each target token came from.

    A_tj = how much the decoder looked at source token j when it wrote target token t,      Σ_j A_tj = 1

References:
    Bahdanau, Cho and Bengio 2015, Neural machine translation by jointly learning to align and translate (figure 3).
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

__all__ = ["BLANK", "FINISH", "Alignment", "Translation"]

BLANK, FINISH = "␣", "¶"
"""What stands beside a picture for a token of blanks, and for the end of a text."""


class Alignment(NamedTuple):
    """Where a decoder looked.

    Attributes:
        source: tokens of the source as they stand in it, ¶ for its end.
        target: tokens of the translation, ¶ for its end where it came to one.
        weights: A; rows sum to 1.
    """

    source: list[str]
    target: list[str]
    weights: Float[Tensor, "target source"]


class Translation(NamedTuple):
    """One translation of a text.

    Attributes:
        text: the translation.
        score: its normalised log-probability, by which it was chosen.
        log_prob: log p(y | x), the end included.
        ended: whether it came to its end; else it was cut.
        alignment: where the decoder looked; None if it does not look, or it was not asked for.
    """

    text: str
    score: float
    log_prob: float
    ended: bool
    alignment: Alignment | None = None
