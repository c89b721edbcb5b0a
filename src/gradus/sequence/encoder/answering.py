"""The parts of a run that learns to find answers, and how good its answers are.

    L = −mean ½ [log p(begin) + log p(end)],    a window without the answer says so by its first place
    exact = both alike once small letters, articles and punctuation are left out of account
    F₁ = 2 P R / (P + R) of the words that answer and truth share

References:
    Rajpurkar, Zhang, Lopyrev, Liang 2016, SQuAD: 100,000+ questions for machine comprehension of text.
    Devlin et al. 2019, BERT: pre-training of deep bidirectional Transformers for language understanding.

Deviations:
    A text of nothing but punctuation, as `()` is, counts as it stands.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradus import canon as registry
from gradus.data.ragged import Ragged, SequenceSource, in_batches
from gradus.data.tokenizer import Tokenizer, train_tokenizer
from gradus.engine.descent import Descend
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.encoder.building import SPECIALS, origin
from gradus.sequence.encoder.models import adopt
from gradus.sequence.encoder.questions import Question, QuestionSplits, load_questions
from gradus.sequence.encoder.recipes import Answer
from gradus.sequence.encoder.span_finder import SpanFinder, span_scores, windows

__all__ = ["build", "evaluate", "exact", "f1", "normalised", "span_loss"]

Batch = Mapping[str, Tensor]
Columns = dict[str, Ragged | Tensor]
GLANCE = 64  # questions of each part that a fast_dev_run looks at
AT_ONCE = 64


def normalised(text: str) -> str:
    """Return a text as answers are compared: small letters, no articles, no punctuation, single blanks."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    words = " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())
    return words or " ".join(text.split())


def exact(found: str, truth: str) -> float:
    """Return 1 if an answer is the true one, 0 if not.

    Args:
        found: the answer.
        truth: what it should be.
    """
    return float(normalised(found) == normalised(truth))


def f1(found: str, truth: str) -> float:
    """Return the harmonic mean of precision and recall of an answer's words.

    Args:
        found: the answer.
        truth: what it should be.
    """
    said, wanted = normalised(found).split(), normalised(truth).split()
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted)) if said and wanted else float(said == wanted)


def span_loss(network: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the loss of a batch of windows, and the share of spans that are right at both ends.

    Args:
        network: question and context to scores of beginnings and ends.
        batch: `tokens`, `tokens_lengths`, `segments`, `begin` and `end`.
    """
    device = next(network.parameters()).device
    lengths = batch["tokens_lengths"]
    scores = network(batch["tokens"].to(device), lengths, batch["segments"].to(device))
    padding = (torch.arange(batch["tokens"].shape[1]) >= lengths[:, None]).to(device)
    begin, end = (part.float().masked_fill(padding, -torch.inf) for part in scores)
    wanted = batch["begin"].to(device), batch["end"].to(device)
    loss = 0.5 * sum(nn.functional.cross_entropy(s, t) for s, t in zip((begin, end), wanted, strict=True))
    right = (begin.detach().argmax(1) == wanted[0]) & (end.detach().argmax(1) == wanted[1])
    return torch.as_tensor(loss), {"exact": right.float().mean()}


def build(recipe: Answer, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    splits = _splits(recipe)
    start = None if recipe.from_run is None else origin(run, recipe.from_run, "bert")
    tokenizer = _tokenizer(recipe, splits.train) if start is None else start.tokenizer
    settings = _settings(recipe) if start is None else start.settings
    with run.stream("init"):
        network = span_scores(tokenizer, settings)
    if start is not None:
        adopt(network, start.module)
    network = run.prepare(network)  # type: ignore[assignment]
    columns = _columns(splits.train, tokenizer, network.context, recipe.stride)
    source = SequenceSource(
        columns, batch_size=min(recipe.batch_size, len(columns["tokens"])), seed=run.streams.derive("data"),
        pad={"tokens": tokenizer.id("[PAD]"), "segments": 0}, rank=run.ranks.rank, world=run.ranks.world,
    )  # fmt: skip
    steps = recipe.planned_steps(source.batches_per_epoch)
    facts: dict[str, Any] = {
        "tokenizer": tokenizer,
        "settings": settings,
        "stride": recipe.stride,
        "longest": recipe.longest,
    }
    learner = Descend(network, recipe.updater(network, steps), span_loss, facts, splits.fingerprint)

    def validate() -> dict[str, float]:
        return _measured(SpanFinder(network, **facts), splits.val, "val")

    notes = {
        "parameters": sum(p.numel() for p in network.parameters()), "tokens": len(tokenizer),
        "train": len(splits.train), "val": len(splits.val), "test": len(splits.test), "steps": steps,
        "data": splits.fingerprint[:12],
    }  # fmt: skip
    watchers = recipe.watchers(run, learner, validate if splits.val else None, source.batches_per_epoch)
    return Build(learner, source, steps, watchers, notes)


def _splits(recipe: Answer) -> QuestionSplits:
    limit = min(recipe.limit or GLANCE, GLANCE) if recipe.fast_dev_run else recipe.limit
    return load_questions(recipe.data, **recipe.division, limit=limit)


def _tokenizer(recipe: Answer, questions: Sequence[Question]) -> Tokenizer:
    texts = [*dict.fromkeys(q.context for q in questions), *(q.question for q in questions)]
    return train_tokenizer(
        recipe.tokenizer, texts, size=recipe.vocabulary, specials=SPECIALS["bert"], lowercase=recipe.lowercase
    )


def _settings(recipe: Answer) -> dict[str, Any]:
    entry = registry.lookup("text-encoder", "bert")
    chosen = {k: p.default for k, p in entry.parameters.items() if k not in recipe.fixed()} | recipe.settings()["model"]
    return {**chosen, "context": recipe.context, "next_sentence": False}


def _columns(questions: Sequence[Question], tokenizer: Tokenizer, length: int, stride: int) -> Columns:
    """Return all windows of some questions, and in each where the answer begins and ends."""
    asked = tokenizer.encode_batch([q.question for q in questions])
    read = tokenizer.encode_batch([q.context for q in questions])
    parts, begins, ends = [], [], []
    for question, ids, context in zip(questions, asked, read, strict=True):
        stop = question.start + len(question.answer)
        spans = tokenizer.spans(question.context)
        places = [i for i, (a, b) in enumerate(spans) if a < stop and b > question.start]
        for window in windows(ids, context, tokenizer, length, stride):
            shift = window.offset - window.first
            held = places and places[0] >= window.first and places[-1] < window.first + window.size
            parts.append(window)
            begins.append(places[0] + shift if held else 0)
            ends.append(places[-1] + shift if held else 0)
    return {
        "tokens": Ragged.of([window.tokens for window in parts]),
        "segments": Ragged.of([window.segments for window in parts]),
        "begin": torch.tensor(begins),
        "end": torch.tensor(ends),
    }


def _measured(finder: SpanFinder, questions: Sequence[Question], split: str) -> dict[str, float]:
    """Return loss, exactness and F₁ on some questions."""
    columns = _columns(questions, finder.tokenizer, finder.module.context, finder.stride)
    sums, count = 0.0, 0
    pads = {"tokens": finder.tokenizer.id("[PAD]"), "segments": 0}
    for batch in in_batches(columns, batch_size=AT_ONCE, pad=pads):
        loss, _ = span_loss(finder.module, batch)
        sums, count = sums + float(loss) * len(batch["begin"]), count + len(batch["begin"])
    pairs = list(zip(finder.answer(questions), questions, strict=True))
    return {
        f"{split}/loss": sums / count,
        f"{split}/exact": sum(exact(found.text, question.answer) for found, question in pairs) / len(pairs),
        f"{split}/f1": sum(f1(found.text, question.answer) for found, question in pairs) / len(pairs),
    }


def evaluate(recipe: Answer, product: SpanFinder, split: str) -> dict[str, float]:
    """Return a finder's metrics on a part of the recipe's questions.

    Raises:
        GradusError: if that part is empty.
    """
    splits = _splits(recipe)
    questions = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
    if not questions:
        raise GradusError(f"the {split} part of {recipe.data!r} is empty: choose another --split")
    with torch.inference_mode():
        return _measured(product, questions, split)
