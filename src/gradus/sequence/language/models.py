"""What language models have in common, whatever they are: the registered builders of kind `language-model`.

    p(x_{t+1} | x_1 … x_t) = softmax(forward(x)_t)

A model reads sequences from their beginning or, given the state that an earlier call returned, from where that stopped.
"""

import inspect
from collections.abc import Mapping
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gradus import canon

__all__ = ["LanguageModel", "device_of", "make"]


@runtime_checkable
class LanguageModel(Protocol):
    """A module that gives the logits of the next token.

    Attributes:
        context: the longest sequence it can see; None for any.
    """

    context: int | None

    def start(self, batch: int, device: torch.device | str) -> Any:
        """Return the state before any token of a batch of sequences."""

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return logits (batch, time, vocabulary) and the state behind the tokens; no state: from the beginning."""

    def reorder(self, state: Any, rows: Tensor) -> Any:
        """Return the state in which row i goes on as a copy of row `rows[i]`."""


def make(name: str, vocabulary: int, context: int, settings: Mapping[str, Any]) -> nn.Module:
    """Return a new language model.

    Args:
        name: a registered one: ngram, markov, rnn, gru, lstm, gpt.
        vocabulary: number of tokens.
        context: the longest sequence, for a model that needs to know it.
        settings: further keywords of its builder.

    Raises:
        GradusError: for an unknown name, or settings that make no model.
    """
    builder = canon.find("language-model", name)
    takes = inspect.signature(builder).parameters
    given = {key: value for key, value in (("name", name), ("context", context)) if key in takes}
    return builder(vocabulary=vocabulary, **given, **settings)


def device_of(model: nn.Module) -> torch.device:
    """Return where a model computes; one of counts has buffers only."""
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
