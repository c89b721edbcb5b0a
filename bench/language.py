"""Language models side by side: what a recurrent network is worth beside the counts it has to beat.

Both sides read the same training text by the same tokenizer, are chosen on nothing else, and are measured on the same
test text, token by token, words outside the vocabulary as [UNK].
"""

import math
from typing import Any

from gradus.engine.loop import fit
from gradus.engine.run import Run
from gradus.sequence.language.building import build, product
from gradus.sequence.language.recipes import LanguageModel

__all__ = ["against_ngram"]


def against_ngram(
    data: str = "python-source",
    vocabulary: int = 10_000,
    order: int = 5,
    width: int = 512,
    embedding: int = 256,
    dropout: float = 0.4,
    epochs: int = 10,
    steps: int | None = None,
    limit: int | None = None,
    precision: str = "float32",
    seed: int = 0,
) -> dict[str, float]:
    """A word-level LSTM against an interpolated modified Kneser–Ney n-gram: perplexities on the test text.

    `ratio` is the LSTM's perplexity over the n-gram's.

    Args:
        data: a corpus.
        vocabulary: most words; the others are [UNK].
        order: of the n-gram.
        width: hidden units of the LSTM.
        embedding: features of a word, read and written by the same matrix.
        dropout: of the LSTM.
        epochs: of its training.
        steps: in place of epochs.
        limit: most characters of each split.
        precision: of the LSTM's training.
        seed: of the division and the training.
    """
    shared: dict[str, Any] = {"data": data, "tokenizer": "word", "vocabulary": vocabulary, "limit": limit, "seed": seed}
    lstm: dict[str, Any] = {"model": "lstm", "context": 48, "max_epochs": epochs, "max_steps": steps, "warmup": 0.02,
            "val_tokens": 20_000, "evaluate_every": 1000, "precision": precision,
            "set": (f"width={width}", f"embedding={embedding}", f"dropout={dropout}")}  # fmt: skip
    found = {
        "ngram": _measured(LanguageModel(**shared, model="ngram", set=(f"order={order}",))),
        "lstm": _measured(LanguageModel(**shared, **lstm)),
    }
    perplexity = {side: values["test/perplexity"] for side, values in found.items()}
    gain = math.log(perplexity["ngram"] / perplexity["lstm"])
    unknown = found["ngram"].get("test/unknown", 0.0)
    return {**perplexity, "ratio": perplexity["lstm"] / perplexity["ngram"], "nats_gained": gain, "unknown": unknown}


def _measured(recipe: LanguageModel) -> dict[str, float]:
    """Train a recipe and measure it on its test text."""
    run = Run.ephemeral(seed=recipe.seed, device="auto", precision=recipe.precision)
    parts = build(recipe, run)
    fit(parts.learner, parts.source, run=run, steps=parts.steps, watchers=parts.watchers)
    return recipe.evaluate(product(parts.learner), "test")  # type: ignore[arg-type]
