"""What encoders learn from unlabelled text, and how well they do it.

    BERT   L = −mean log p(hidden token | the rest) − mean log p(follows | both passages)
    ELMo   L = −mean ½ [log p(w_{t+1} | w_{≤t}) + log p(w_t | w_{>t})]

Texts are hidden on the CPU, where they lie: the number of places differs from batch to batch, and a device would have
to be waited for.

References:
    Devlin, Chang, Lee, Toutanova 2019, BERT: pre-training of deep bidirectional Transformers for language
    understanding. Peters et al. 2018, Deep contextualized word representations.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gradus.sequence.encoder.elmo import ElmoPretraining
from gradus.sequence.encoder.heads import BertPretraining
from gradus.sequence.encoder.masking import Masking

__all__ = ["Costs", "Guess", "costs", "measure"]

Batch = Mapping[str, Tensor]


class Costs(NamedTuple):
    """What a batch costs.

    Attributes:
        nats: −log p of each word asked for.
        right: whether it has the highest score.
        follows: −log p of whether each pair's second passage follows; None where that is not asked.
        follows_right: whether that is right.
    """

    nats: Float[Tensor, " words"]
    right: Bool[Tensor, " words"]
    follows: Float[Tensor, " pairs"] | None = None
    follows_right: Bool[Tensor, " pairs"] | None = None


def costs(network: nn.Module, batch: Batch, masking: Masking | None, generator: torch.Generator) -> Costs:
    """Return what a batch costs a network.

    Args:
        network: of kind `text-encoder`.
        batch: `tokens` with `tokens_lengths`, perhaps `segments` and `follows` (0 where the second passage follows).
        masking: hides words of BERT's texts.
        generator: of the masking.
    """
    if isinstance(network, ElmoPretraining):
        return _neighbours(network, batch)
    assert isinstance(network, BertPretraining), f"{type(network).__name__} has no objective"
    assert masking is not None, "BERT guesses at what a masking hides"
    device = next(network.parameters()).device
    tokens, lengths = batch["tokens"], batch["tokens_lengths"]
    read, places, targets = (part.to(device, non_blocking=True) for part in masking(tokens, lengths, generator))
    segments = batch["segments"].to(device) if "segments" in batch else None
    words, follows = network(read, lengths, segments, places)
    nats, right = _judged(words, targets)
    if follows is None or "follows" not in batch:
        return Costs(nats, right)
    return Costs(nats, right, *_judged(follows, batch["follows"].to(device)))


def _neighbours(network: ElmoPretraining, batch: Batch) -> Costs:
    tokens, lengths = batch["tokens"], batch["tokens_lengths"]
    device = next(network.parameters()).device
    places = (torch.arange(tokens.shape[1]) < lengths[:, None] - 1).flatten().nonzero().squeeze(1)
    flat = tokens.flatten()
    targets = torch.stack([flat[places + 1], flat[places]]).to(device)
    return Costs(*_judged(network(tokens.to(device), lengths, places.to(device)).flatten(0, 1), targets.flatten()))


def _judged(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return F.cross_entropy(scores.float(), targets, reduction="none"), scores.detach().argmax(-1) == targets


class Guess:
    """The objective of `Descend`: words, and where batches are pairs whether they follow.

    Args:
        masking: hides words of BERT's texts; None for ELMo.
        generator: of the masking; a seed stream of the run, so that it is checkpointed.
    """

    def __init__(self, masking: Masking | None, generator: torch.Generator) -> None:
        self.masking, self.generator = masking, generator

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss, and the share of words that were right."""
        found = costs(network, batch, self.masking, self.generator)
        loss = found.nats.mean()
        logged = {"accuracy": found.right.float().mean()}
        if found.follows is not None and found.follows_right is not None:
            loss = loss + found.follows.mean()
            logged["next_sentence_accuracy"] = found.follows_right.float().mean()
        return loss, logged


def measure(
    network: nn.Module, batches: Iterable[Batch], split: str, masking: Masking | None, generator: torch.Generator
) -> dict[str, float]:
    """Return what texts cost a network in evaluation mode: nats a word, perplexity, shares that are right.

    Args:
        network: of kind `text-encoder`.
        batches: of the texts, each once.
        split: put in front of the names.
        masking: hides words of BERT's texts.
        generator: of the masking; the same seed hides the same words.
    """
    sums = torch.zeros(5, dtype=torch.float64)
    for batch in batches:
        found = costs(network, batch, masking, generator)
        parts = [found.nats.double().sum(), found.right.sum(), found.nats.numel()]
        if found.follows_right is not None:
            parts += [found.follows_right.sum(), found.follows_right.numel()]
        sums[: len(parts)] += torch.stack([torch.as_tensor(part).double().cpu() for part in parts])
    nats, right, words, follows, pairs = sums.tolist()
    loss = nats / words
    name = "accuracy" if masking is None else "masked_accuracy"
    told = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), name: right / words}
    if pairs:
        told["next_sentence_accuracy"] = follows / pairs
    return {f"{split}/{key}": value for key, value in told.items()}
