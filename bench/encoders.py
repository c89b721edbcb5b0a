"""What pretraining is worth: taggers and classifiers on a pretrained encoder against the same ones without.

`fine_tuning` pretrains a small BERT on the sentences of several sets and fine-tunes it on one of them, beside the same
network from random weights: the same tokenizer, sizes, data, steps and learning rate. Sentences that follow nothing
teach masked words alone, so what is classified is the mean of a sentence's tokens. `features` trains ELMo's two
readers on functions of the standard library and a linear tagger of roles on a learned mix of their layers, beside the
same tagger on the words' own vectors alone (the mix held at layer 0); on neither side are the readers trained further.

Nothing of the target's validation and test parts is pretrained on. Sentences are recognised by their letters and
digits, whatever the punctuation, because one set holds sentences of another; functions by their tokens.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from gradus.data.corpora import load_corpus
from gradus.data.labelled_text import load_labelled
from gradus.data.tagged import load_tagged
from gradus.data.tagged_sets import roles_of
from gradus.engine.loop import fit
from gradus.engine.run import Run
from gradus.sequence.classification.recipes import Classify
from gradus.sequence.encoder.recipes import Pretrain
from gradus.sequence.tagging.recipes import Tag

__all__ = ["features", "fine_tuning"]

TARGET = "movie-review-polarity"
OTHERS = ("sst5", "subj", "trec")
FRACTIONS = {"val_fraction": 0.1, "test_fraction": 0.1}
SPLIT: dict[str, Any] = {"split_seed": 0, **FRACTIONS}
Change = Callable[[Any], None]


def fine_tuning(
    seeds: Sequence[int] = (0, 1, 2),
    target: str = TARGET,
    others: Sequence[str] = OTHERS,
    pretraining_epochs: int = 6,
    epochs: int = 5,
    limit: int | None = None,
    size: Sequence[str] = ("layers=2", "heads=4", "width=128"),
    context: int = 64,
    vocabulary: int = 8192,
) -> dict[str, float]:
    """Return test accuracies of BERT, fine-tuned and from scratch, and the lead of the former: mean over the seeds.

    Args:
        seeds: of the classifiers' weights, order and dropout; pretraining is done once, with the first.
        target: the set to classify.
        others: sets whose sentences are pretrained on too.
        pretraining_epochs: over all sentences.
        epochs: of either classifier.
        limit: the most sentences of every part; all when left out.
        size: of the network.
        context: most tokens of a sentence.
        vocabulary: most pieces.
    """
    shape: dict[str, Any] = {"context": context, "vocabulary": vocabulary, "model": "bert", "set": tuple(size)}
    shape |= {"lowercase": True, "batch_size": 64}
    with tempfile.TemporaryDirectory() as home:
        _pretrained(Path(home), seeds[0], _sentences(target, others, limit), pretraining_epochs, shape)
        given = {"set": (*size, "pool=mean"), "lr": 5e-4, "max_epochs": epochs, "clip": 1.0, "warmup": 0.1}
        sides: dict[str, Change] = {"fine-tuned": lambda network: None, "scratch": _anew}
        return _compared(
            sides,
            lambda seed: Classify(seed=seed, data=target, limit=limit, model="bert", from_run=home, **SPLIT, **given),
            seeds,
        )


def features(
    seeds: Sequence[int] = (0, 1, 2),
    target: str = "python-roles",
    corpus: str = "python-source",
    pretraining_epochs: int = 4,
    epochs: int = 10,
    limit: int | None = None,
    size: Sequence[str] = ("layers=2", "width=256"),
    vocabulary: int = 8192,
) -> dict[str, float]:
    """Return test accuracies on ELMo's mixed layers and on its words' vectors, and the lead of the former.

    Args:
        seeds: of the taggers' weights and order; pretraining is done once, with the first.
        target: the set to tag, of functions.
        corpus: of Python modules, whose functions are pretrained on.
        pretraining_epochs: over all functions.
        epochs: of either tagger.
        limit: the most functions of every part, and a hundred times as many to pretrain on; all when left out.
        size: of the readers.
        vocabulary: most words.
    """
    splits = load_tagged(target, limit=limit, seed=0, **FRACTIONS)
    held = {tuple(tokens) for part in (splits.val, splits.test) for tokens in part.tokens}
    modules = load_corpus(corpus, val_fraction=0.0, test_fraction=0.0, seed=0).train.documents()
    functions = (tokens for module in modules for tokens, _ in roles_of(module))
    kept = (" ".join(tokens) for tokens in functions if tuple(tokens) not in held)
    lines = list(islice(kept, None if limit is None else 100 * limit))
    shape = {"context": 128, "vocabulary": vocabulary, "model": "elmo", "set": tuple(size)}
    with tempfile.TemporaryDirectory() as home:
        _pretrained(Path(home), seeds[0], lines, pretraining_epochs, shape)
        given = {"set": tuple(size), "lr": 0.01, "max_epochs": epochs, "freeze": "trunk", "from_run": home}
        sides: dict[str, Change] = {"mixed": lambda network: None, "static": _words_only}
        return _compared(
            sides, lambda seed: Tag(seed=seed, data=target, limit=limit, model="elmo", **SPLIT, **given), seeds
        )


def _letters(sentence: str) -> str:
    return re.sub(r"[\W_]+", "", sentence.lower())


def _sentences(target: str, others: Sequence[str], limit: int | None) -> list[str]:
    """Return all sentences but those that the target validates and tests on."""
    wanted = load_labelled(target, limit=limit, seed=0, **FRACTIONS)
    held = {_letters(text) for part in (wanted.val, wanted.test) for text in part.texts}
    texts = list(wanted.train.texts)
    for name in others:
        splits = load_labelled(name, limit=limit)
        texts += [text for part in (splits.train, splits.val, splits.test) for text in part.texts]
    return [" ".join(text.split()) for text in texts if _letters(text) not in held]


def _pretrained(home: Path, seed: int, lines: Sequence[str], epochs: int, shape: dict[str, Any]) -> None:
    """Pretrain on lines, in a random order because the last ones are what it is validated on; keep the product."""
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0)).tolist()
    file = home / "lines.txt"
    file.write_text("\n".join(lines[i] for i in order), encoding="utf-8")
    recipe = Pretrain(
        data=str(file), seed=seed, max_epochs=epochs, val_fraction=0.02, test_fraction=0.02, lr=1e-3, **shape
    )
    product = _trained(recipe, lambda network: None)
    product.save(home / "product")
    (home / "recipe.json").write_text("{}")


def _trained(recipe: Any, change: Change) -> Any:
    run = Run.ephemeral(seed=recipe.seed)
    parts = recipe.build(run)
    with run.stream("init"):
        change(parts.learner.network)
    fit(parts.learner, parts.source, run=run, steps=parts.steps, watchers=parts.watchers)
    return recipe.product(parts.learner)


def _anew(network: Any) -> None:
    """Draw the encoder's weights as a fresh one's are."""
    from gradus.sequence.encoder.bert import draw

    draw(network.trunk)
    torch.nn.init.normal_(network.trunk.positions.weight, std=0.02)
    for part in network.trunk.modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.reset_parameters()


def _words_only(network: Any) -> None:
    """Hold the mix at layer 0: the gradient of a softmax that is one vanishes."""
    with torch.no_grad():
        network.mix.scores[0] = 60.0


def _compared(sides: dict[str, Change], recipe_of: Callable[[int], Any], seeds: Sequence[int]) -> dict[str, float]:
    """Return the mean test accuracy of each side, each seed's, and the lead of the first over the second."""
    found: dict[str, float] = {}
    for name, change in sides.items():
        for seed in seeds:
            recipe = recipe_of(seed)
            value = recipe.evaluate(_trained(recipe, change), "test")["test/accuracy"]
            found[f"{name} accuracy, seed {seed}"] = value
            found[f"{name} accuracy"] = found.get(f"{name} accuracy", 0.0) + value / len(seeds)
    first, second = (found[f"{name} accuracy"] for name in sides)
    return {"lead in accuracy": first - second, **found}
