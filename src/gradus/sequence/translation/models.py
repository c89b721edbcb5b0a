"""What every translator is: an encoder that reads the source once, and a decoder that writes the target by it.

    p(y | x) = Π_t p(y_t | y_{<t}, m(x)),      m the memory that the encoder makes

`decode` gives all steps of a known target at once (teacher forcing), `step` one token after the other; both are the
same function. Sources end with [EOS]; targets begin with [BOS] and end with [EOS]; padding stands behind.

References:
    Sutskever, Vinyals and Le 2014, Sequence to sequence learning with neural networks. Cho et al. 2014, Learning phrase
    representations using RNN encoder–decoder for statistical machine translation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradus import canon
from gradus.errors import GradusError
from gradus.sequence.translation.beam_search import Shared

__all__ = ["EncoderDecoder", "make", "present", "stepper"]


class EncoderDecoder(nn.Module, ABC):
    """A translator of token ids.

    Args:
        source_vocabulary: tokens of the source.
        target_vocabulary: tokens of the target.
        shared: whether both are one vocabulary, with one embedding.
        embedding: features of a token.
        spread: standard deviation that embeddings start with.

    Raises:
        GradusError: if a vocabulary is empty, or is said to be shared and is not.
    """

    def __init__(
        self, source_vocabulary: int, target_vocabulary: int, shared: bool, embedding: int, spread: float
    ) -> None:
        super().__init__()
        if min(source_vocabulary, target_vocabulary, embedding) < 1:
            raise GradusError(f"a translator needs tokens on both sides, not {source_vocabulary}, {target_vocabulary}")
        if shared and source_vocabulary != target_vocabulary:
            raise GradusError(
                f"a shared vocabulary has one size, not {source_vocabulary} and {target_vocabulary}: share it or do not"
            )
        self.target = nn.Embedding(target_vocabulary, embedding)
        self.source = None if shared else nn.Embedding(source_vocabulary, embedding)
        for table in (self.target, self.source):
            if table is not None:
                nn.init.normal_(table.weight, std=spread)

    @property
    def source_embedding(self) -> nn.Embedding:
        """The embedding of source tokens."""
        return self.target if self.source is None else self.source

    @abstractmethod
    def encode(self, source: Int[Tensor, "batch source"], lengths: Int[Tensor, " batch"]) -> Any:
        """Return the memory of the sources, one row a sentence.

        Args:
            source: tokens, padded.
            lengths: of the sources.
        """

    @abstractmethod
    def decode(self, memory: Any, tokens: Int[Tensor, "batch target"]) -> Float[Tensor, "batch target vocabulary"]:
        """Return the logits of the token behind each of some target tokens.

        Args:
            memory: of the sources.
            tokens: targets, from [BOS] on.
        """

    @abstractmethod
    def start(self, memory: Any, longest: int) -> Any:
        """Return the state before [BOS]: rows for each hypothesis, and the memory as `Shared`.

        Args:
            memory: of the sources.
            longest: the most tokens that will be asked for.
        """

    @abstractmethod
    def step(self, state: Any, tokens: Int[Tensor, " rows"]) -> tuple[Float[Tensor, "rows vocabulary"], Any]:
        """Return the logits of the next token of every hypothesis, and the state then.

        Args:
            state: as `start` or `step` gave it.
            tokens: the last of every hypothesis; those of a sentence are side by side.
        """

    def attention(
        self, memory: Any, tokens: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target source"] | None:
        """Return where the decoder looked when it wrote the token behind each; None if it does not look.

        Args:
            memory: of the sources.
            tokens: targets, from [BOS] on.
        """
        return None

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        lengths: Int[Tensor, " batch"],
        tokens: Int[Tensor, "batch target"],
    ) -> Float[Tensor, "batch target vocabulary"]:
        """Return the logits of the token behind each target token.

        Args:
            source: tokens, padded.
            lengths: of the sources.
            tokens: targets, from [BOS] on.
        """
        return self.decode(self.encode(source, lengths), tokens)


def present(lengths: Int[Tensor, " batch"], time: int, device: torch.device) -> Bool[Tensor, "batch time"]:
    """Return where there is a token and no padding."""
    return torch.arange(time, device=device) < lengths.to(device)[:, None]


def stepper(
    network: EncoderDecoder, never: Int[Tensor, " tokens"]
) -> Callable[[Any, Tensor], tuple[Float[Tensor, "rows vocabulary"], Any]]:
    """Return the network's step as a beam search takes it.

    Args:
        network: which.
        never: tokens that it must not write, such as padding.
    """

    def step(state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        logits, state = network.step(state, tokens)
        return logits.float().index_fill(1, never, -torch.inf).log_softmax(1), state

    return step


def make(name: str, **settings: Any) -> EncoderDecoder:
    """Return the network that a user's name means.

    Args:
        name: rnn, rnn-attention or transformer.
        settings: keywords of its class.
    """
    return canon.find("translator", name)(**settings)


def shared_value(state: Any) -> Any:
    """Return what a `Shared` part of a state holds."""
    assert isinstance(state, Shared)
    return state.value
