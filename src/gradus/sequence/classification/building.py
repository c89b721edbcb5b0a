"""The parts of a run that learns to classify texts, as its recipe asks for them."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus.data.labelled_text import TextSplits
from gradus.data.ragged import SequenceSource
from gradus.data.tokenizer import SPECIALS, Tokenizer, train_tokenizer
from gradus.engine.descent import Descend
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.engine.state import State
from gradus.errors import GradusError
from gradus.sequence.classification import models
from gradus.sequence.classification.measures import of_texts
from gradus.sequence.classification.product import log_probabilities
from gradus.sequence.classification.reading import Reader
from gradus.sequence.classification.recipes import Classify
from gradus.sequence.classification.terms import Terms, fit_terms
from gradus.sequence.embedding.vector_files import read_vectors
from gradus.sequence.starting import product_of, spell

__all__ = ["ClassEntropy", "Facts", "build"]


class Facts(NamedTuple):
    """What the product needs besides the network.

    Attributes:
        reader: texts to ids.
        classes: their names.
        model: what rebuilds the network, and the columns of the data.
    """

    reader: Reader
    classes: tuple[str, ...]
    model: State


class ClassEntropy:
    """The objective: cross-entropy of the classes.

    L = −1/B Σ_i w_{y_i} Σ_k q_k ln p(k | x_i),   q = 1 − ε + ε/K for the class y_i and ε/K for the others

    Args:
        weights: w of each class; None for ones.
        smoothing: ε.
    """

    def __init__(self, weights: Float[Tensor, " classes"] | None = None, smoothing: float = 0.0) -> None:
        self.weights, self.smoothing = weights, smoothing

    def __call__(self, network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, and the share of right answers."""
        labels = batch["labels"]
        scores = network(batch["tokens"], batch["tokens_lengths"], batch.get("segments"))
        loss = F.cross_entropy(scores.float(), labels, weight=self.weights, label_smoothing=self.smoothing)
        return loss, {"accuracy": (scores.detach().argmax(1) == labels).float().mean()}


def build(recipe: Classify, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    splits = recipe.splits()
    origin = product_of(run, recipe.from_run, recipe.model, "no text encoder and no classifier of texts")
    tokenizer = origin.tokenizer if origin is not None else _tokenizer(recipe, splits)
    network, described = _network(recipe, run, splits, tokenizer, origin)
    context = getattr(network.get_submodule("trunk"), "context", None)
    most = recipe.most if context is None else min(context, recipe.most or context)
    reader = Reader(tokenizer, most, described["frame"])
    read = reader.read(splits.train.texts, splits.train.pairs)
    if hasattr(network, "observe") and origin is None:
        network.observe(read.columns["tokens"])  # type: ignore[operator]
    network = run.prepare(network)
    source = SequenceSource(
        {**read.columns, "labels": splits.train.labels}, batch_size=min(recipe.batch_size, len(splits.train)),
        seed=run.streams.derive("data"), pad={"tokens": reader.padding}, by="tokens", device=run.device,
        rank=run.ranks.rank, world=run.ranks.world,
    )  # fmt: skip
    steps = recipe.planned_steps(source.batches_per_epoch)
    objective = ClassEntropy(_class_weights(recipe, splits, run), recipe.label_smoothing)
    facts = Facts(reader, splits.classes, described)
    learner = Descend(network, recipe.updater(network, steps), objective, facts, splits.fingerprint)
    val = splits.val

    def validate() -> dict[str, float]:
        logs = log_probabilities(learner.network, reader, val.texts, val.pairs, run.device)
        return of_texts(logs.cpu(), val.labels, "val")

    watchers = recipe.watchers(run, learner, validate if len(val) else None, source.batches_per_epoch)
    said = [*splits.notes, *_said_of_length(read.cut, most)]
    notes = {
        "model": recipe.model, "parameters": sum(p.numel() for p in network.parameters()), "vocabulary": len(reader),
        "train": len(splits.train), "val": len(val), "test": len(splits.test), "classes": len(splits.classes),
        "steps": steps, "data": splits.fingerprint[:12], **({"note": "; ".join(said)} if said else {}),
    }  # fmt: skip
    return Build(learner, source, steps, watchers, notes)


def _said_of_length(cut: int, most: int | None) -> list[str]:
    """Warn of texts that were cut, and return the note."""
    if not cut:
        return []
    said = f"{cut:,} training texts are longer than {most} tokens and were cut there"
    warnings.warn(f"{said}: raise --longest to read them whole", stacklevel=1)
    return [said]


def _tokenizer(recipe: Classify, splits: TextSplits) -> Tokenizer | Terms:
    """Return what texts are cut into, learned from the training texts."""
    train = splits.train
    texts = [*train.texts, *(train.pairs or ())]
    if recipe.bag:
        grams = [int(number) for number in recipe.ngrams.split(",")]
        return fit_terms(
            texts, size=recipe.vocabulary, least=recipe.least or 1, lowercase=recipe.lowercase, ngrams=grams,
            stop_words=recipe.stop_words == "english", stem=recipe.stem,
        )  # fmt: skip
    kind = ("wordpiece" if recipe.model == "bert" else "word") if recipe.tokenizer == "auto" else recipe.tokenizer
    specials = SPECIALS if recipe.special else ("[PAD]", "[UNK]", *(["[SEP]"] if train.pairs is not None else []))
    return train_tokenizer(
        kind, texts, size=recipe.vocabulary, specials=specials, lowercase=recipe.lowercase, least=recipe.least or 2
    )


def _network(
    recipe: Classify, run: Run, splits: TextSplits, tokenizer: Any, origin: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network on the CPU, its weights as the run begins with them, and the facts that rebuild it."""
    takes = recipe.parts()["model"].parameters
    kept = {} if origin is None else {key: value for key, value in origin.settings.items() if key in takes}
    settings = {**kept, **recipe.settings()["model"]}
    if "context" in takes:
        settings.setdefault("context", recipe.most)
    vectors = _vectors(recipe, tokenizer)
    if vectors:
        settings["width"] = len(next(iter(vectors.values())))
    with run.stream("init"):
        network = models.build(
            recipe.model, vocabulary=len(tokenizer), classes=len(splits.classes), padding=tokenizer.id("[PAD]"),
            **settings,
        )  # fmt: skip
    if vectors:
        models.adopt_vectors(network, {token: id for id, token in enumerate(tokenizer.tokens)}, vectors)
    spell(network, tokenizer.tokens)
    if origin is not None:
        same = getattr(origin, "classes", None) == splits.classes
        models.transfer(origin.module, network, same, recipe.from_run or "")
    if recipe.freeze == "trunk":
        network.get_submodule("trunk").requires_grad_(False)
    frame = list(getattr(network, "frame", ()))
    facts = {"model": recipe.model, "settings": settings, "frame": frame, "columns": list(splits.columns)}
    return network, facts


def _vectors(recipe: Classify, tokenizer: Any) -> dict[str, Tensor]:
    """Return the vectors that a file of the user's has of known tokens, or else of their small letters."""
    if recipe.vectors is None:
        return {}
    tokens: list[str] = tokenizer.tokens
    words, rows = read_vectors(Path(recipe.vectors).expanduser(), wanted={*tokens, *map(str.lower, tokens)})
    places = {word: row for row, word in enumerate(words)}
    near = {token: places.get(token, places.get(token.lower())) for token in tokens}
    found = {token: rows[place] for token, place in near.items() if place is not None}
    if not found:
        raise GradusError(f"--vectors {recipe.vectors}: none of its words is among the {len(tokenizer):,} tokens")
    return found


def _class_weights(recipe: Classify, splits: TextSplits, run: Run) -> Float[Tensor, " classes"] | None:
    if recipe.class_weights == "none":
        return None
    counts = torch.bincount(splits.train.labels, minlength=len(splits.classes)).clamp(min=1).float()
    return (counts.sum() / (len(counts) * counts)).to(run.device)
