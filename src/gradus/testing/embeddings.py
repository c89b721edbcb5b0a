"""The contract of embeddings: ways to word vectors whose gradients are worked out by hand.

    gradients(batch) = ∂ objective(batch)/∂ tables, in the rows it names and zero in all others

`check_embedding` needs no test framework; it raises an AssertionError that says what was broken.
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradus.data.ragged import Ragged
from gradus.data.sources import TensorSource
from gradus.sequence.embedding.bands import lay_out
from gradus.sequence.embedding.cooccurrence import cooccurrences
from gradus.sequence.embedding.learning import LearnVectors
from gradus.sequence.embedding.sampling import Noise, keep_chances
from gradus.sequence.embedding.similarity import nearest_rows, unit
from gradus.sequence.embedding.stretches import Stretches
from gradus.sequence.embedding.tables import Embedding, Gradient
from gradus.sequence.embedding.vocabulary import Vocabulary

__all__ = ["check_embedding"]

Build = Callable[..., Embedding]
WORDS, TOPICS, SIZE, WINDOW = 24, 2, 8, 3
TOLERANCE = 1e-6


def check_embedding(build: Build) -> None:
    """Assert the contract of a way to word vectors.

    It starts from the generator it is given, with a finite vector for each word; its gradients are those of its loss,
    to 1e-6, and the loss of a batch is the sum over its parts; a small step lowers the loss; its state brings its
    vectors back; on a text of two topics the nearest neighbours of a word come to be of its topic.

    Args:
        build: `build(vocabulary, vector_size=…, generator=…)`.

    Raises:
        AssertionError: naming what was broken.
    """
    vocabulary = Vocabulary(tuple(f"w{i:02d}" for i in range(WORDS)), torch.arange(WORDS, 0, -1))
    _check_start(build, vocabulary)
    model = _made(build, vocabulary, 1)
    _fill(model)
    batch = _batch(model)
    _check_gradients(model, batch)
    _check_parts(model, batch)
    _check_step(model, batch)
    _check_state(build, vocabulary, model)
    _check_learning(build)


def _made(build: Build, vocabulary: Vocabulary, seed: int, **settings: Any) -> Embedding:
    known = {"vector_size": SIZE, "negative": 3} | settings
    takes = {key: value for key, value in known.items() if key in inspect.signature(build).parameters}
    return build(vocabulary, **takes, generator=torch.Generator().manual_seed(seed))


def _fill(model: Embedding) -> None:
    """Give every table double precision and numbers other than zero."""
    generator = torch.Generator().manual_seed(3)
    model.double()
    for table in model.parameters():
        table.data.copy_(torch.randn(table.shape, generator=generator, dtype=torch.float64) * 0.4)


def _batch(model: Embedding) -> Any:
    """Return a batch in which words come several times, windows end early and noise meets what it must not."""
    generator = torch.Generator().manual_seed(4)
    words = torch.randint(0, WORDS // 2, (44,), generator=generator)
    documents = torch.tensor([0] * 18 + [1] * 1 + [2] * 25)
    table = next(model.parameters())
    if model.reads == "cooccurrences":
        return cooccurrences(Ragged(words, torch.tensor([0, 18, 19, 44])), WORDS, WINDOW).to(table)
    windows = torch.randint(1, WINDOW + 1, (44,), generator=generator)
    noise = torch.randint(0, WORDS // 2, (3, 5), generator=generator) if model.negative else None
    return lay_out(words, documents, windows, WINDOW, noise).to(table)


def _check_start(build: Build, vocabulary: Vocabulary) -> None:
    one, again, other = (_made(build, vocabulary, seed) for seed in (1, 1, 2))
    vectors = one.vectors.detach()
    assert tuple(vectors.shape) == (WORDS, SIZE), f"the vectors have shape {tuple(vectors.shape)}, not (words, size)"
    assert bool(torch.isfinite(vectors).all()), "a vector is not finite"
    assert torch.equal(vectors, again.vectors.detach()), "the same generator gives two starts"
    assert not torch.equal(vectors, other.vectors.detach()), "the start does not come from the generator"
    assert float(vectors.abs().max()) > 0, "the vectors start at zero: all words would stay alike"


def _dense(model: Embedding, gradients: list[Gradient]) -> dict[str, Tensor]:
    names = {id(table): name for name, table in model.named_parameters()}
    found = {name: torch.zeros_like(table.data) for name, table in model.named_parameters()}
    for table, rows, values, _ in gradients:
        assert id(table) in names, "a gradient is of no table of the model"
        whole = found[names[id(table)]]
        whole.add_(values) if rows is None else whole.index_add_(0, rows, values)
    return found


def _check_gradients(model: Embedding, batch: Any) -> None:
    before = copy.deepcopy(dict(model.state_dict()))
    found = _dense(model, model.gradients(batch))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items()), "asking for gradients moves a table"
    tables = dict(model.named_parameters())
    derived = torch.autograd.grad(model.objective(batch), list(tables.values()))
    for name, true in zip(tables, derived, strict=True):
        gap = float((found[name] - true).abs().max()) / max(1.0, float(true.abs().max()))
        assert gap < TOLERANCE, f"the gradient of {name} is {gap:.3g} off the loss's own"


def _check_parts(model: Embedding, batch: Any) -> None:
    with torch.no_grad():
        whole, parts = model.objective(batch), list(batch.split(1))
        summed = sum(model.objective(part) for part in parts)
        counted = sum(float(model.predictions(part)) for part in parts)
    assert len(parts) > 1, "the batch has one part only"
    assert abs(float(whole - summed)) < 1e-8 * abs(float(whole)), "the loss of a batch is not the sum over its parts"
    assert float(model.predictions(batch)) == counted > 0, "the predictions of a batch are not those of its parts"


def _check_step(model: Embedding, batch: Any) -> None:
    model, untouched = copy.deepcopy(model), slice(WORDS // 2, WORDS)
    before = model.vectors.detach()[untouched].clone()
    with torch.no_grad():
        first = float(model.objective(batch))
        model.rule()(model.gradients(batch), 1e-3)
        second = float(model.objective(batch))
    assert second < first, f"a small step takes the loss from {first:.6g} to {second:.6g}"
    moved = model.vectors.detach()[untouched]
    shared = hasattr(getattr(model, "inputs", None), "parts")  # words share n-grams
    assert shared or torch.equal(moved, before), "a step changes vectors of words that are not in the batch"


def _check_state(build: Build, vocabulary: Vocabulary, model: Embedding) -> None:
    other = _made(build, vocabulary, 9).double()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.vectors, model.vectors), "loading the state does not bring the vectors back"


def _check_learning(build: Build) -> None:
    """Half of the words stand in odd documents, half in even ones."""
    generator = torch.Generator().manual_seed(6)
    topic = torch.arange(WORDS) % TOPICS
    documents = [torch.randint(0, WORDS // TOPICS, (40,), generator=generator) * TOPICS + i % TOPICS for i in range(60)]
    text = Ragged(torch.cat(documents), torch.arange(61) * 40)
    counts = torch.bincount(text.values, minlength=WORDS)
    # Names that share no n-grams, so that only what stands together can bring words together.
    names = tuple(chr(ord("a") + i) * 3 for i in range(WORDS))
    model = _made(build, Vocabulary(names, counts), 5)
    if model.reads == "cooccurrences":
        source: Any = TensorSource(tuple(cooccurrences(text, WORDS, WINDOW)), batch_size=64, seed=1)
        learner = LearnVectors(model, lr=0.05, schedule=lambda t: 1.0, chunk=64)
    else:
        noise = Noise(counts) if model.negative else None
        source = Stretches(text, keep_chances(counts, 0), noise, window=WINDOW, batch_size=600, seed=1)
        learner = LearnVectors(model, lr=0.05, schedule=lambda t: 1.0, chunk=2)
    losses = [float(learner.step(next(source))["loss"]) for _ in range(12 * source.batches_per_epoch)]
    vectors = model.vectors.detach()
    assert bool(torch.isfinite(vectors).all()), "a vector is no longer finite after training"
    assert sum(losses[-20:]) < sum(losses[:20]), "training does not lower the loss"
    rows, _ = nearest_rows(unit(vectors), vectors, 3, [[i] for i in range(WORDS)])
    share = float((topic[rows] == topic[:, None]).double().mean())
    assert share > 0.9, f"of the nearest neighbours only {share:.0%} are of the word's own topic"
