"""The parts of a run that learns to tag, as its recipe asks for them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor, nn

from gradus.data.ragged import SequenceSource
from gradus.data.tagged import TaggedSet, TaggedSplits
from gradus.data.tokenizer import Tokenizer, train_tokenizer
from gradus.engine.descent import Descend
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.sequence.encoder.building import SPECIALS
from gradus.sequence.encoder.models import adopt
from gradus.sequence.starting import product_of, spell
from gradus.sequence.tagging.measures import of_tags
from gradus.sequence.tagging.product import build_tagger, log_probabilities
from gradus.sequence.tagging.reading import NONE, Reader
from gradus.sequence.tagging.recipes import RATES, Tag

__all__ = ["build", "tag_entropy", "truth_of"]


def tag_entropy(network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean cross-entropy of the tags of a batch, and the share of right ones.

    L = −1/n Σ_t ln p(y_t | x),   over the n tokens of all its sentences

    Args:
        network: ids and lengths to scores.
        batch: `tokens`, their lengths, and `tags`, which are `NONE` where no token begins.
    """
    tags = batch["tags"].flatten()
    scores = network(batch["tokens"], batch["tokens_lengths"]).flatten(0, 1).float()
    loss = F.cross_entropy(scores, tags, ignore_index=NONE)
    there = tags != NONE
    right = ((scores.detach().argmax(1) == tags) & there).sum() / there.sum()
    return loss, {"accuracy": right}


def truth_of(part: TaggedSet, names: Sequence[str]) -> Int64[Tensor, " tokens"]:
    """Return the tags of all tokens, as places in their names."""
    place = {name: i for i, name in enumerate(names)}
    return torch.tensor([place[tag] for tags in part.tags for tag in tags], dtype=torch.int64)


def build(recipe: Tag, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    splits = recipe.splits()
    origin = product_of(run, recipe.from_run, recipe.model, "no text encoder; pretrain one with sequence/pretrain")
    reader, network, settings = _network(recipe, run, splits, origin)
    read = reader.read(splits.train.tokens)
    network = run.prepare(network)
    source = SequenceSource(
        {"tokens": read.tokens, "tags": read.tagged(truth_of(splits.train, splits.tags))},
        batch_size=min(recipe.batch_size, len(read.tokens)), seed=run.streams.derive("data"),
        pad={"tokens": reader.padding, "tags": NONE}, by="tokens", device=run.device, rank=run.ranks.rank,
        world=run.ranks.world,
    )  # fmt: skip
    steps = recipe.planned_steps(source.batches_per_epoch)
    rate = RATES.get(recipe.model) if recipe.lr is None and recipe.optimizer == "adamw" else None
    update = (recipe if rate is None else dataclasses.replace(recipe, lr=rate)).updater(network, steps)
    facts = (reader, splits.tags, {"model": recipe.model, "settings": settings, "spans": splits.spans})
    learner = Descend(network, update, tag_entropy, facts, splits.fingerprint)
    val = splits.val
    seen, truth = reader.read(val.tokens), truth_of(val, splits.tags)
    lengths = [len(sentence) for sentence in val.tokens]

    def validate() -> dict[str, float]:
        logs = log_probabilities(learner.network, seen, reader.padding, run.device)
        return of_tags(logs, truth, splits.tags, lengths, splits.spans, "val")

    watchers = recipe.watchers(run, learner, validate if len(val) else None, source.batches_per_epoch)
    notes: dict[str, Any] = {
        "model": recipe.model, "parameters": sum(p.numel() for p in network.parameters()), "vocabulary": len(reader),
        "train": len(splits.train), "val": len(val), "test": len(splits.test), "tags": len(splits.tags),
        "steps": steps, "data": splits.fingerprint[:12],
    }  # fmt: skip
    if read.parts:
        notes["note"] = f"{read.parts:,} sentences longer than {reader.longest} tokens are read in parts"
    return Build(learner, source, steps, watchers, notes)


def _network(recipe: Tag, run: Run, splits: TaggedSplits, origin: Any) -> tuple[Reader, nn.Module, dict[str, Any]]:
    """Return the reader, the network on the CPU as the run begins with it, and the settings that rebuild it."""
    takes = recipe.parts()["model"].parameters
    settings = dict(recipe.settings()["model"])
    if origin is not None:
        theirs = origin.settings
        settings = {**{k: v for k, v in theirs.items() if k in takes and k not in recipe.fixed()}, **settings}
    longest = settings.get("context", takes["context"].default) if "context" in takes else None
    tokenizer = origin.tokenizer if origin is not None else _tokenizer(recipe, splits)
    with run.stream("init"):
        network = build_tagger(
            recipe.model, vocabulary=len(tokenizer), classes=len(splits.tags), padding=tokenizer.id("[PAD]"),
            **settings,
        )  # fmt: skip
    reader = Reader(tokenizer, longest, getattr(network, "frame", ()))
    spell(network, tokenizer.tokens)
    if origin is not None:
        adopt(network, origin.module)
    if recipe.freeze == "trunk":
        network.get_submodule("trunk").requires_grad_(False)
    return reader, network, settings


def _tokenizer(recipe: Tag, splits: TaggedSplits) -> Tokenizer:
    kind = ("wordpiece" if recipe.model == "bert" else "word") if recipe.tokenizer == "auto" else recipe.tokenizer
    texts = [" ".join(sentence) for sentence in splits.train.tokens]
    return train_tokenizer(
        kind, texts, size=recipe.vocabulary, specials=SPECIALS.get(recipe.model, ("[PAD]", "[UNK]")),
        lowercase=recipe.lowercase, least=recipe.least,
    )  # fmt: skip
