"""The parts of a run that learns word vectors, as its recipe asks for them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from gradus import canon
from gradus.data.ragged import Ragged
from gradus.data.sources import TensorSource
from gradus.data.tokenizer import Tokenizer, train_tokenizer
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.engine.validated import RARELY
from gradus.engine.watchers import Checkpoint, EarlyStopping, Evaluate, MaxTime
from gradus.errors import GradusError
from gradus.optim.schedules import make as make_schedule
from gradus.sequence.embedding.cooccurrence import Cooccurrences, cooccurrences
from gradus.sequence.embedding.learning import LearnVectors, chunk_for
from gradus.sequence.embedding.recipes import Embed
from gradus.sequence.embedding.sampling import Noise, keep_chances
from gradus.sequence.embedding.stretches import Stretches
from gradus.sequence.embedding.threads import one_thread
from gradus.sequence.embedding.vocabulary import Vocabulary, numbered, tokens_of

__all__ = ["Facts", "build", "measure"]

HELD_OUT = 20_000  # words that an evaluation reads: its standard error is below a hundredth of the loss
SEED = 0  # of an evaluation's draws, the same every time


class Facts(NamedTuple):
    """What the product needs besides the tables.

    Attributes:
        vocabulary: the words.
        tokenizer: how texts are read.
    """

    vocabulary: Vocabulary
    tokenizer: Tokenizer


def build(recipe: Embed, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    if run.ranks.world > 1:
        raise GradusError("word vectors are learned in one process: start it without torchrun")
    splits = recipe.splits()
    tokenizer = train_tokenizer(
        "word", (text for text, _ in splits.train.pieces()), specials=("[UNK]",), lowercase=recipe.lowercase,
        least=recipe.min_count,
    )  # fmt: skip
    read = tokens_of(splits.train, tokenizer)
    vocabulary = Vocabulary.of(
        tokenizer.tokens, read.values, min_count=recipe.min_count, size=recipe.vocabulary
    )  # fmt: skip
    text = numbered(read, tokenizer.tokens, vocabulary)
    network = canon.find("embedding", recipe.model)(
        vocabulary, **recipe.built_with(), generator=run.generator("init")
    ).to(run.device)
    source, chunk = _source(recipe, network, vocabulary, text, run.streams.derive("data"))
    per_epoch = source.batches_per_epoch
    steps = recipe.planned_steps(per_epoch)
    warmup = int(recipe.warmup * steps)
    schedule = make_schedule(
        recipe.schedule, total_steps=steps, warmup_steps=warmup, **recipe.settings()["schedule"]
    )  # fmt: skip
    learner = LearnVectors(
        network, lr=recipe.rate, schedule=schedule, chunk=chunk, facts=Facts(vocabulary, tokenizer),
        fingerprint=splits.fingerprint,
    )  # fmt: skip
    notes = {
        "model": recipe.model, "words": len(vocabulary.words), "text": len(text.values), "vectors": recipe.vector_size,
        "steps": steps, "data": splits.fingerprint[:12],
    }  # fmt: skip
    val = numbered(tokens_of(splits.val, tokenizer), tokenizer.tokens, vocabulary)
    return Build(learner, source, steps, _watchers(recipe, run, learner, val, per_epoch), notes)


def _source(
    recipe: Embed, network: Any, vocabulary: Vocabulary, text: Ragged, seed: int
) -> tuple[TensorSource | Stretches, int]:
    """Return what the model learns from, and how much of it is learned together."""
    if network.reads == "cooccurrences":
        counted = cooccurrences(text, len(vocabulary.words), recipe.window)
        source = TensorSource(tuple(counted), batch_size=min(recipe.batch_size, len(counted.rows)), seed=seed)
        return source, chunk_for(network, torch.ones(1).double(), None, recipe.window, recipe.rate)
    chances = keep_chances(vocabulary.counts, recipe.sample)
    noise = Noise(vocabulary.counts, recipe.ns_exponent) if network.negative else None
    left = vocabulary.counts * chances
    drawn = None if noise is None else noise.chances
    chunk = chunk_for(network, left / left.sum(), drawn, recipe.window, recipe.rate)
    stretches = Stretches(text, chances, noise, window=recipe.window, batch_size=recipe.batch_size, seed=seed)
    return stretches, chunk


def _watchers(recipe: Embed, run: Run, learner: LearnVectors, val: Ragged, per_epoch: int) -> list[Any]:
    """Return what evaluates, saves and stops; the product is what the whole course of the learning rate led to."""
    often = max(per_epoch, RARELY)
    watchers: list[Any] = []
    if len(val.values) > 1:

        def validate() -> Mapping[str, float]:
            return {"val/loss": measure(recipe, learner.network, learner.facts.vocabulary, val)}

        watchers.append(Evaluate(run, validate, every_steps=recipe.evaluate_every or often))
        if recipe.patience is not None:
            watchers.append(EarlyStopping("val/loss", recipe.patience, "min"))
    watchers.append(Checkpoint(run, every_steps=recipe.checkpoint_every or often))
    if recipe.max_time is not None:
        watchers.append(MaxTime(run, recipe.max_time))
    return watchers


def measure(recipe: Embed, network: Any, vocabulary: Vocabulary, text: Ragged) -> float:
    """Return a model's own loss on a text, the mean over what it predicts, drawn the same every time.

    Co-occurrence counts grow with the text: those of a held-out one are brought to the size of the training text.

    Args:
        recipe: how windows and noise are drawn.
        network: the tables.
        vocabulary: the words.
        text: numbers of words, a row a document.
    """
    table = next(network.parameters())
    held = Ragged(text.values[:HELD_OUT], text.offsets.clamp(max=HELD_OUT))
    batch: Any
    if network.reads == "cooccurrences":
        found = cooccurrences(held, len(vocabulary.words), recipe.window)
        grown = float(vocabulary.counts.sum()) / len(held.values)
        batch, together = Cooccurrences(found.rows, found.columns, found.counts * grown), 100_000
    else:
        chances = keep_chances(vocabulary.counts, recipe.sample)
        noise = Noise(vocabulary.counts, recipe.ns_exponent) if network.negative else None
        source = Stretches(held, chances, noise, window=recipe.window, batch_size=HELD_OUT, seed=SEED)
        batch, together = source.stretch(0), 32
    losses, predictions = [], []
    with one_thread(), torch.no_grad():
        for chunk in batch.to(table).split(together):
            losses.append(network.objective(chunk))
            predictions.append(network.predictions(chunk).to(losses[-1]))
        if not losses or not float(sum(predictions)):
            raise GradusError(f"the held-out part of {recipe.data!r} has no two words side by side: bring more text")
        return float(sum(losses) / sum(predictions))
