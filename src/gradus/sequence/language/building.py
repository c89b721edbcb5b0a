"""The parts of a run that learns a language model, as its recipe asks for them."""

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from gradus.data.corpora import Corpus, CorpusSplits
from gradus.data.corpus_sources import StreamSource, Tokens, WindowSource, encode_corpus
from gradus.data.sources import TensorSource
from gradus.data.tokenizer import Tokenizer, train_tokenizer
from gradus.engine.descent import Descend
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.engine.state import State
from gradus.engine.watchers import Checkpoint, Evaluate
from gradus.errors import GradusError
from gradus.sequence.language.evaluating import measure
from gradus.sequence.language.gpt2_weights import pretrained
from gradus.sequence.language.models import make
from gradus.sequence.language.objectives import CountTokens, NextToken
from gradus.sequence.language.product import TextModel
from gradus.sequence.language.recipes import LanguageModel

__all__ = ["build", "evaluate", "product"]

OFTEN = 250  # steps between two evaluations of a text whose epochs are long


class Facts(NamedTuple):
    """What the product needs besides the network.

    Attributes:
        tokenizer: text to tokens.
        model: what `product.json` says of the model.
    """

    tokenizer: Tokenizer
    model: State


def build(recipe: LanguageModel, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    origin = _origin(recipe, run)
    splits = recipe.splits()
    tokenizer = _tokenizer(recipe, splits) if origin is None else origin.tokenizer
    cache = None if run.folder is None else run.folder.path / "cache"
    tokens = encode_corpus(splits.train, tokenizer, cache)
    _require_text(recipe, tokens)
    facts = Facts(tokenizer, _facts(recipe, tokenizer, splits, origin))
    val = _evaluated(splits.val, tokenizer, recipe.val_tokens if not recipe.fast_dev_run else 2 * recipe.context)
    notes = {
        "model": facts.model["model"], "tokenizer": tokenizer.kind, "vocabulary": len(tokenizer),
        "tokens": len(tokens), "train": splits.train.characters, "val": splits.val.characters,
        "test": splits.test.characters, "data": splits.fingerprint[:12],
    }  # fmt: skip
    if recipe.counted:
        return _counting(recipe, run, facts, tokens, val, splits.fingerprint, notes)
    source, kept = _source(recipe, run, tokens)
    steps = recipe.planned_steps(source.batches_per_epoch)
    network = _network(facts.model, origin, run)
    objective = NextToken(label_smoothing=recipe.label_smoothing, carry=kept, ranks=run.ranks)
    learner = Descend(network, recipe.updater(network, steps), objective, facts, splits.fingerprint)
    validate = None if val is None else lambda: measure(learner.network, val[0], val[1], "val")
    watchers = recipe.watchers(run, learner, validate, min(source.batches_per_epoch, OFTEN))
    notes |= {"parameters": sum(p.numel() for p in network.parameters()), "steps": steps}
    return Build(learner, source, steps, watchers, notes)


def _origin(recipe: LanguageModel, run: Run) -> TextModel | None:
    """Return the product of the run to go on from, or the model of a folder in Hugging Face's format."""
    if recipe.from_run is None:
        return None
    folder = Path(recipe.from_run).expanduser()
    published = (folder / "config.json").is_file()
    origin = pretrained(folder) if published else run.load(recipe.from_run, device="cpu")
    if not isinstance(origin, TextModel):
        raise GradusError(f"--from {recipe.from_run}: that run holds {getattr(origin, 'kind', 'something else')}")
    if origin.facts["model"] != recipe.model:
        raise GradusError(
            f"--from {recipe.from_run}: that run holds the model {origin.facts['model']}, and this is to be "
            f"{recipe.model}: add --model {origin.facts['model']}"
        )
    return origin


def _tokenizer(recipe: LanguageModel, splits: CorpusSplits) -> Tokenizer:
    least = recipe.min_count or (2 if recipe.tokenizer == "word" else 1)
    specials = ("[EOS]",) if recipe.tokenizer == "bpe" else ("[UNK]", "[EOS]")
    return train_tokenizer(
        recipe.tokenizer, splits.train.documents(), size=recipe.vocabulary, specials=specials,
        lowercase=recipe.lowercase, least=least,
    )  # fmt: skip


def _require_text(recipe: LanguageModel, tokens: Tokens) -> None:
    if len(tokens) < 2:
        raise GradusError(f"the training part of {recipe.data!r} has {len(tokens)} tokens: bring a longer text")


def _facts(
    recipe: LanguageModel, tokenizer: Tokenizer, splits: CorpusSplits, origin: TextModel | None
) -> dict[str, Any]:
    """Return what `product.json` says of the model."""
    settings = recipe.settings()["model"]
    documents = len(splits.train) > 1 and "[EOS]" in tokenizer.specials
    if origin is not None:
        return {**origin.facts, "settings": {**origin.facts["settings"], **settings}, "documents": documents}
    return {
        "model": recipe.model, "vocabulary": len(tokenizer), "context": recipe.context, "settings": settings,
        "documents": documents, "tokenizer": tokenizer.fingerprint,
    }  # fmt: skip


def _network(facts: State, origin: TextModel | None, run: Run) -> nn.Module:
    """Return the network of a run on its device, fresh or with the weights of another run."""
    with run.stream("init"):
        network = make(facts["model"], facts["vocabulary"], facts["context"], facts["settings"])
    if origin is not None:
        try:
            network.load_state_dict(origin.module.state_dict())
        except RuntimeError:
            raise GradusError("--set changes the shape of the weights that --from brings: leave that out") from None
    return run.prepare(network)


def _source(recipe: LanguageModel, run: Run, tokens: Tokens) -> tuple[StreamSource | WindowSource, bool]:
    """Return what batches are read from, and whether the state is carried from one to the next."""
    place: dict[str, Any] = {"device": run.device, "rank": run.ranks.rank, "world": run.ranks.world}
    if recipe.carried:
        size = min(recipe.batch_size, (len(tokens) - 1) // run.ranks.world * run.ranks.world)
        return StreamSource(tokens, batch_size=size, context=recipe.context, **place), True
    seed = run.streams.derive("data")
    return WindowSource(tokens, batch_size=recipe.batch_size, context=recipe.context, seed=seed, **place), False


def _evaluated(corpus: Corpus, tokenizer: Tokenizer, most: int | None = None) -> tuple[Tensor, int] | None:
    """Return the tokens of a corpus and the characters they spell; the first ones only where there is a limit."""
    if not corpus.characters:
        return None
    tokens = torch.from_numpy(encode_corpus(corpus, tokenizer).astype(np.int32))
    if len(tokens) < 2:
        return None
    if most is None or len(tokens) <= most:
        return tokens, corpus.characters
    return tokens[:most], round(corpus.characters * most / len(tokens))


def _counting(
    recipe: LanguageModel, run: Run, facts: Facts, tokens: Tokens, val: Any, fingerprint: str, notes: dict[str, Any]
) -> Build:
    """Return the parts of a run that counts."""
    model = facts.model
    make(
        model["model"], model["vocabulary"], model["context"], model["settings"]
    )  # mistakes show before the first step
    learner = CountTokens(model["model"], model["vocabulary"], model["settings"], facts, fingerprint)
    stream: Int64[Tensor, "1 tokens"] = torch.from_numpy(tokens.astype(np.int64))[None]
    source = TensorSource(stream, batch_size=1, shuffle=False)
    watchers: list[Any] = []
    if val is not None:
        watchers.append(Evaluate(run, lambda: measure(learner.network, val[0], val[1], "val"), every_steps=1))
    watchers.append(Checkpoint(run, every_steps=1))
    return Build(learner, source, 1, watchers, {**notes, "steps": 1})


def product(learner: Descend | CountTokens) -> TextModel:
    """Return the model that a learner holds, averaged weights where there are any."""
    facts, raw = learner.facts, None
    if isinstance(learner, Descend) and learner.update.ema is not None:
        raw = {name: value.clone() for name, value in learner.network.state_dict().items()}
    with learner.averaged():
        module = copy.deepcopy(learner.network).eval()
    return TextModel(module, facts.tokenizer, facts.model, raw)


def evaluate(recipe: LanguageModel, model: TextModel, split: str) -> dict[str, float]:
    """Return the metrics of a product on a split of the recipe's data, read by the product's tokenizer."""
    splits = recipe.splits()
    corpus = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
    found = _evaluated(corpus, model.tokenizer)
    if found is None:
        raise GradusError(f"the {split} part of {recipe.data!r} is empty: choose another --split")
    unknown = model.tokenizer.id("[UNK]") if "[UNK]" in model.tokenizer.specials else None
    return measure(model.module, *found, split, unknown)
