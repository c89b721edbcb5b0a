"""The parts of a translator's run, as its recipe asks for them."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from gradus.data.pair_sets import Pairs
from gradus.data.pairs import PairSplits
from gradus.data.ragged import Ragged, SequenceSource
from gradus.data.tokenizer import Tokenizer, train_tokenizer
from gradus.engine.descent import Descend
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.translation.models import EncoderDecoder, make
from gradus.sequence.translation.objectives import Teach, falling
from gradus.sequence.translation.product import BOS, EOS, PAD, UNK, Translator, encoded, nats_of, worth
from gradus.sequence.translation.recipes import USERS, Translate

__all__ = ["Facts", "build", "product_of"]

DEFAULT_SIZE = {"bpe": 8000, "wordpiece": 8000, "word": 10_000}
LOOKED_AT = 200  # pairs of val that are translated while training
ENDS = 2  # [BOS] and [EOS] of a target, which its length does not count


class Facts(NamedTuple):
    """What the product needs besides the network.

    Attributes:
        source: the tokenizer of sources.
        target: that of targets.
        described: facts of the product.
    """

    source: Tokenizer
    target: Tokenizer
    described: dict[str, Any]


def build(recipe: Translate, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    splits = recipe.splits()
    source, target = _tokenizers(recipe, splits)
    columns, left_out = _columns(recipe, splits.train, source, target)
    lengths = {name: int(column.lengths.sum()) for name, column in columns.items()}
    settings = _settings(recipe, source, target)
    described = {
        "model": recipe.model, "settings": settings, "ratio": lengths["target"] / lengths["source"],
        "beam": recipe.beam, "length_penalty": recipe.length_penalty,
    }  # fmt: skip
    with run.stream("init"):
        network = make(recipe.model, **settings)
    network = run.prepare(network)  # type: ignore[assignment]
    padding = target.id(PAD)
    feed = SequenceSource(
        columns, batch_size=min(recipe.batch_size, len(columns["source"])), seed=run.streams.derive("data"),
        pad=padding, by="source", device=run.device, rank=run.ranks.rank, world=run.ranks.world,
    )  # fmt: skip
    steps = recipe.planned_steps(feed.batches_per_epoch)
    learner = Descend(
        network, recipe.updater(network, steps), _objective(recipe, padding, steps), Facts(source, target, described),
        splits.fingerprint,
    )  # fmt: skip
    counts = {part: len(pairs) for part, pairs in splits.parts.items()}
    told = [*splits.notes, *([f"{left_out:,} pairs longer than --longest left out"] if left_out else [])]
    notes = {
        "model": recipe.model, "parameters": sum(p.numel() for p in network.parameters()),
        "tokenizer": f"{source.kind}, {len(source):,} → {len(target):,}", **counts, "steps": steps,
        "data": splits.fingerprint[:12], **({"note": "; ".join(told)} if told else {}),
    }  # fmt: skip
    validate = _validation(recipe, splits.val, learner, padding) if len(splits.val) else None
    return Build(learner, feed, steps, recipe.watchers(run, learner, validate, feed.batches_per_epoch), notes)


def _tokenizers(recipe: Translate, splits: PairSplits) -> tuple[Tokenizer, Tokenizer]:
    """Return the tokenizers of both sides, learned from the training pairs alone."""
    kind = splits.tokenizer if recipe.tokenizer == "auto" else recipe.tokenizer
    size = recipe.vocabulary or DEFAULT_SIZE.get(kind)

    def learned(*texts: Any) -> Tokenizer:
        return train_tokenizer(kind, (t for some in texts for t in some), size=size, specials=(PAD, UNK, BOS, EOS))

    train = splits.train
    if recipe.shared_vocabulary:
        both = learned(train.sources, train.targets)
        return both, both
    return learned(train.sources), learned(train.targets)


def _columns(recipe: Translate, pairs: Pairs, source: Tokenizer, target: Tokenizer) -> tuple[dict[str, Ragged], int]:
    """Return the tokens of the training pairs, and how many pairs were too long."""
    columns = {
        "source": encoded(source, pairs.sources, ends=True),
        "target": encoded(target, pairs.targets, begins=True, ends=True),
    }
    if recipe.longest is None:
        return columns, 0
    fits = (columns["source"].lengths < recipe.longest + ENDS) & (columns["target"].lengths <= recipe.longest + ENDS)
    rows = fits.nonzero().squeeze(1)
    if not len(rows):
        raise GradusError(f"--longest {recipe.longest} leaves no pair to learn from: raise it")
    return {name: column.take(rows) for name, column in columns.items()}, int((~fits).sum())


def _settings(recipe: Translate, source: Tokenizer, target: Tokenizer) -> dict[str, Any]:
    """Return the keywords that make the network."""
    own = {flag: getattr(recipe, flag) for flag, users in USERS.items() if recipe.model in users}
    sizes = {"source_vocabulary": len(source), "target_vocabulary": len(target), "shared": recipe.shared_vocabulary}
    return {**sizes, **own, **recipe.settings()["model"]}


def _objective(recipe: Translate, padding: int, steps: int) -> Teach:
    if recipe.teacher_forcing is None:
        return Teach(padding, smoothing=recipe.label_smoothing)
    truth = falling(recipe.scheduled_sampling, max(1, steps), recipe.teacher_forcing)
    return Teach(padding, smoothing=recipe.label_smoothing, truth=truth)


def _validation(recipe: Translate, val: Pairs, learner: Descend, padding: int) -> Callable[[], dict[str, float]]:
    """Return what measures the network on val: nats on all of it, a greedy translation of its first pairs."""
    few = val.take(range(min(LOOKED_AT, len(val))))
    if recipe.monitor not in ("val/loss", *worth(few.targets, few.targets, "val")):
        raise GradusError("--monitor val/bleu: no target has the four words that BLEU needs; monitor val/exact")
    facts: Facts = learner.facts
    columns = Translator(learner.network, facts.source, facts.target, facts.described).columns(val)  # type: ignore[arg-type]

    def validate() -> dict[str, float]:
        network: Any = learner.network
        product = Translator(network, facts.source, facts.target, facts.described)
        return {"val/loss": nats_of(network, columns, padding), **product.written(few, "val", beam=1)}

    return validate


def product_of(learner: Descend) -> Translator:
    """Return the translator that the learner holds, averaged weights where there are any."""
    facts: Facts = learner.facts
    with learner.averaged():
        module: EncoderDecoder = copy.deepcopy(learner.network).eval()  # type: ignore[assignment]
    for p in module.parameters():
        p.requires_grad_(False)
    return Translator(module.to(torch.float32), facts.source, facts.target, facts.described)
