"""The parts of a pretraining run, as its recipe asks for them."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from gradus.data.corpora import Corpus
from gradus.data.draws import generator
from gradus.data.ragged import Ragged, SequenceSource, in_batches
from gradus.data.tokenizer import Tokenizer, train_tokenizer
from gradus.engine.descent import Descend
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.encoder.elmo import ElmoPretraining
from gradus.sequence.encoder.heads import BertPretraining
from gradus.sequence.encoder.masking import Masking
from gradus.sequence.encoder.models import adopt
from gradus.sequence.encoder.objectives import Guess, measure
from gradus.sequence.encoder.product import TextEncoder, encoder
from gradus.sequence.encoder.recipes import Pretrain
from gradus.sequence.encoder.rows import Columns, rows_of, sentences_of
from gradus.sequence.encoder.sentence_pairs import sentences_only
from gradus.sequence.starting import spell

__all__ = ["build", "evaluate", "origin"]

SPECIALS = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "elmo": ("[PAD]", "[UNK]", "[BOS]", "[EOS]"),
}
AUTO = {"bert": "wordpiece", "elmo": "word"}
AT_ONCE = 64
Network = BertPretraining | ElmoPretraining


def build(recipe: Pretrain, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    corpus = recipe.corpus()
    start = None if recipe.from_run is None else origin(run, recipe.from_run, recipe.model)
    tokenizer = _tokenizer(recipe, corpus.train) if start is None else start.tokenizer
    documents = sentences_of(corpus.train.documents(), tokenizer)
    examples = _examples(recipe, corpus.train)
    pairs = recipe.model == "bert" and recipe.next_sentence and examples == "passages" and not sentences_only(documents)
    settings = _settings(recipe, pairs, start)
    network = _network(recipe, run, settings, tokenizer, start)
    context = network.context or recipe.context
    shape: Any = {"context": context, "examples": examples, "pairs": pairs}
    columns = rows_of(documents, tokenizer, network.frame, **shape, seed=recipe.seed)
    source = SequenceSource(
        columns, batch_size=min(recipe.batch_size, _count(columns)), seed=run.streams.derive("data"),
        pad=_pads(tokenizer), by="tokens", rank=run.ranks.rank, world=run.ranks.world,
    )  # fmt: skip
    steps = recipe.planned_steps(source.batches_per_epoch)
    masking = _masking(recipe, tokenizer)
    objective = Guess(masking, run.generator(f"mask/{run.ranks.rank}"))
    facts = {"tokenizer": tokenizer, "model": recipe.model, "settings": settings}
    learner = Descend(network, recipe.updater(network, steps), objective, facts, corpus.fingerprint)
    held = _held_out(recipe, corpus.val, tokenizer, network.frame, shape)

    def validate() -> dict[str, float]:
        assert held is not None
        return _measured(network, held, "val", masking, tokenizer, recipe.seed)

    notes = {
        "model": recipe.model, "parameters": sum(p.numel() for p in network.parameters()), "tokens": len(tokenizer),
        "train": f"{_count(columns)} {'pairs of passages' if pairs else examples}",
        "val": 0 if held is None else _count(held), "steps": steps, "data": corpus.fingerprint[:12],
        **_note(recipe, pairs),
    }  # fmt: skip
    watchers = recipe.watchers(run, learner, None if held is None else validate, source.batches_per_epoch)
    return Build(learner, source, steps, watchers, notes)


def _note(recipe: Pretrain, pairs: bool) -> dict[str, str]:
    if recipe.model != "bert" or pairs or not recipe.next_sentence:
        return {}
    return {"note": "the texts are single lines or of one document, so masked words are learned and not what follows"}


def origin(run: Run, name: str, model: str | None = None) -> TextEncoder:
    """Return the encoder to start from.

    Args:
        run: that starts.
        name: of a run, or a folder that transformers wrote.
        model: which it has to be.

    Raises:
        GradusError: if it is no encoder, or another.
    """
    folder = Path(name).expanduser()
    found = TextEncoder.from_hugging_face(folder) if (folder / "config.json").exists() else run.load(name, device="cpu")
    if not isinstance(found, TextEncoder):
        raise GradusError(f"--from {name}: that run holds no text encoder: name a run of sequence/pretrain")
    if model is not None and found.model != model:
        raise GradusError(f"--from {name}: that run holds {found.model}, not {model}: add --model {found.model}")
    return found


def _tokenizer(recipe: Pretrain, corpus: Corpus) -> Tokenizer:
    kind = AUTO[recipe.model] if recipe.tokenizer == "auto" else recipe.tokenizer
    return train_tokenizer(
        kind, corpus.documents(), size=recipe.vocabulary, specials=SPECIALS[recipe.model], lowercase=recipe.lowercase
    )


def _examples(recipe: Pretrain, corpus: Corpus) -> Literal["lines", "passages"]:
    if recipe.examples == "auto":
        return "passages" if len(corpus) > 1 else "lines"
    return recipe.examples


def _settings(recipe: Pretrain, pairs: bool, start: TextEncoder | None) -> dict[str, Any]:
    """Return what the model is built with, besides what its tokenizer says; defaults too, lest they change one day."""
    takes = recipe.parts()["model"].parameters
    chosen = {"context": recipe.context, **recipe.settings()["model"]} if start is None else start.settings
    settings = {**{key: parameter.default for key, parameter in takes.items()}, **chosen, "next_sentence": pairs}
    return {key: value for key, value in settings.items() if key in takes and key not in ("vocabulary", "padding")}


def _network(
    recipe: Pretrain, run: Run, settings: dict[str, Any], tokenizer: Tokenizer, start: TextEncoder | None
) -> Network:
    with run.stream("init"):
        network = encoder(recipe.model, tokenizer, settings)
    spell(network, tokenizer.tokens)
    if start is not None:
        adopt(network, start.module)
        heads = {key: value for key, value in start.module.state_dict().items() if key in network.state_dict()}
        network.load_state_dict(heads, strict=False)
    return run.prepare(network)  # type: ignore[return-value]


def _masking(recipe: Pretrain, tokenizer: Tokenizer) -> Masking | None:
    if recipe.model != "bert":
        return None
    return Masking.of(tokenizer, rate=recipe.mask, whole_words=recipe.whole_words)


def _held_out(
    recipe: Pretrain, corpus: Corpus, tokenizer: Tokenizer, frame: tuple[str, str], shape: dict[str, Any]
) -> Columns | None:
    """Return the rows of a part that is not trained on, in the order of their lengths; None where it is empty."""
    documents = sentences_of(corpus.documents(), tokenizer)
    if not documents:
        return None
    columns = rows_of(documents, tokenizer, frame, **shape, seed=0)
    tokens = columns["tokens"]
    assert isinstance(tokens, Ragged)
    order = tokens.lengths.argsort(stable=True)
    if recipe.fast_dev_run:
        order = order[-2 * recipe.batch_size :]
    return {name: c.take(order) if isinstance(c, Ragged) else c[order] for name, c in columns.items()}


def _measured(
    network: nn.Module, columns: Columns, split: str, masking: Masking | None, tokenizer: Tokenizer, seed: int
) -> dict[str, float]:
    """Return the metrics on some rows; the same seed hides the same words."""
    batches = in_batches(columns, batch_size=AT_ONCE, pad=_pads(tokenizer))
    return measure(network, batches, split, masking, generator(seed, "mask", split))


def _pads(tokenizer: Tokenizer) -> dict[str, int]:
    return {"tokens": tokenizer.id("[PAD]"), "segments": 0}


def _count(columns: Columns) -> int:
    return len(columns["tokens"])


def evaluate(recipe: Pretrain, product: TextEncoder, split: str) -> dict[str, float]:
    """Return an encoder's metrics on a part of the recipe's text.

    Raises:
        GradusError: if that part is empty.
    """
    corpus = recipe.corpus()
    part = {"train": corpus.train, "val": corpus.val, "test": corpus.test}[split]
    shape = {
        "context": product.module.context or recipe.context, "examples": _examples(recipe, corpus.train),
        "pairs": bool(product.settings.get("next_sentence")),
    }  # fmt: skip
    columns = _held_out(recipe, part, product.tokenizer, product.module.frame, shape)
    if columns is None:
        raise GradusError(f"the {split} part of {recipe.data!r} is empty: choose another --split")
    with torch.inference_mode():
        masking = _masking(recipe, product.tokenizer)
        return _measured(product.module, columns, split, masking, product.tokenizer, recipe.seed)
