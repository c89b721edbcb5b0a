"""What batching a beam search brings, and what attention brings where sources are long.

`batched`: one search over many sentences against a loop that calls the same search for one sentence after the other.
The model, the sources, the width, the limits and the penalty are the same on both sides, and so are the results: they
are compared before anything is timed. In both, all hypotheses of a sentence are one batch; the difference is the batch
over sentences, from which a sentence leaves when it is done. The models are fresh and would never end, so a
translation is made to end when it is as long as its source.

`lengths`: the share of exact translations by the length of the source, for a model with attention and one without,
trained alike.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.turns import interleave, milliseconds, paired
from gradus.sequence.translation.beam_search import Hypothesis, Shared, Step, beam_search
from gradus.sequence.translation.models import EncoderDecoder, make, stepper

__all__ = ["batched", "lengths"]

PAD, BEGIN, END = 0, 2, 3
SIZES: dict[str, dict[str, Any]] = {
    "rnn": {"hidden": 512, "embedding": 256},
    "rnn-attention": {"hidden": 512, "embedding": 256},
    "transformer": {"width": 256, "heads": 4, "layers": 3},
}
TOLERANCE = 1e-3
PARTS = 4


def batched(
    rounds: int = 10,
    sentences: int = 64,
    models: tuple[str, ...] | list[str] = tuple(SIZES),
    vocabulary: int = 4000,
    width: int = 5,
    seed: int = 0,
) -> dict[str, float]:
    """Time of the loop over the time of the batch, by model; `ratio` is the least of them.

    Args:
        rounds: how many are kept.
        sentences: that are translated in a turn.
        models: which.
        vocabulary: tokens of each side.
        width: of the search.
        seed: of weights and sources.
    """
    found: dict[str, float] = {}
    differences = []
    for name in models:
        sides = _sides(name, sentences, vocabulary, width, seed)
        with torch.inference_mode():
            together, alone = sides["batch"](), sides["loop"]()
            differences.append(_difference(together, alone))
            times = interleave({side: _repeated(run) for side, run in sides.items()}, chunk=1, rounds=rounds, warmup=1)
        found |= paired(times, "loop", "batch", f"ratio_{name}")
        found |= {f"{name}_{side}": value for side, value in milliseconds(times).items()}
        found[f"{name}_tokens"] = sum(len(some[0].tokens) for some in together) / sentences
    assert max(differences) < TOLERANCE, f"the sides do different work: their scores differ by {max(differences)}"
    found["difference"] = max(differences)
    found["ratio"] = min(found[f"ratio_{name}"] for name in models)
    return found


def _sides(
    name: str, sentences: int, vocabulary: int, width: int, seed: int
) -> dict[str, Callable[[], list[list[Hypothesis]]]]:
    torch.manual_seed(seed)
    model = make(name, source_vocabulary=vocabulary, target_vocabulary=vocabulary, **SIZES[name]).eval()
    counts = torch.randint(6, 25, (sentences,))
    source = torch.randint(4, vocabulary, (sentences, int(counts.max())))
    source[torch.arange(source.shape[1]) >= counts[:, None]] = PAD
    never = torch.tensor([PAD, BEGIN])

    def search(model: EncoderDecoder, rows: slice) -> list[list[Hypothesis]]:
        some = counts[rows]
        memory = model.encode(source[rows, : int(some.max())], some)
        begins = torch.full((len(some),), BEGIN)
        state = (model.start(memory, int(some.max()) + 1), 0, Shared(some))
        return beam_search(_paced(stepper(model, never)), state, begins, end=END, longest=some + 1, width=width)

    return {
        "batch": lambda: search(model, slice(None)),
        "loop": lambda: [search(model, slice(i, i + 1))[0] for i in range(sentences)],
    }


def _paced(step: Step) -> Step:
    """Return a step by which every hypothesis ends when it is as long as its source, and not before."""

    def run(state: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, Any]:
        inner, count, wanted = state
        log_probs, inner = step(inner, tokens)
        due = (wanted.value <= count).repeat_interleave(len(tokens) // len(wanted.value))
        log_probs.masked_fill_(due[:, None], -torch.inf)
        log_probs[:, END] = torch.where(due, 0.0, -torch.inf)
        return log_probs, (inner, count + 1, wanted)

    return run


def _repeated(run: Callable[[], Any]) -> Callable[[int], None]:
    def advance(steps: int) -> None:
        with torch.inference_mode():
            for _ in range(steps):
                run()

    return advance


def _difference(together: list[list[Hypothesis]], alone: list[list[Hypothesis]]) -> float:
    """Return the largest difference of the best scores; rounding may decide between equals, not between others."""
    return max(abs(a[0].score - b[0].score) for a, b in zip(together, alone, strict=True))


def lengths(
    data: str = "date-lists",
    seeds: tuple[int, ...] | list[int] = (0, 1, 2),
    epochs: int = 8,
    limit: int | None = None,
    hidden: int = 128,
) -> dict[str, float]:
    """Share of exact translations with attention and without, by the length of the source.

    Both read and write with `hidden` units, see the same pairs in the same order for as many epochs, and are searched
    by the same beam. The test texts are sorted by length and cut into four parts of one size, 1 the shortest.

    Args:
        data: a registered set of pairs.
        seeds: of the data's division and of the weights; the mean over them is returned.
        epochs: of each training.
        limit: the most pairs of each split; None for all.
        hidden: units.
    """
    sums: dict[str, float] = {}
    for name, model in (("attention", "rnn-attention"), ("without", "rnn")):
        started = time.perf_counter()
        for seed in seeds:
            for part, share in enumerate(_by_length(data, model, seed, epochs, limit, hidden), 1):
                sums[f"{name}_{part}"] = sums.get(f"{name}_{part}", 0.0) + share / len(seeds)
        sums[f"{name}_seconds"] = (time.perf_counter() - started) / len(seeds)
    return {
        **sums,
        "least_with_attention": min(sums[f"attention_{part}"] for part in range(1, PARTS + 1)),
        "lost_without": sums["without_1"] - sums[f"without_{PARTS}"],
    }


def _by_length(data: str, model: str, seed: int, epochs: int, limit: int | None, hidden: int) -> list[float]:
    """Train one model; return its share of exact translations for each part of the test texts."""
    from gradus.engine.folder import RunFolder
    from gradus.engine.recipe import to_json
    from gradus.engine.run import Run
    from gradus.engine.training import train
    from gradus.sequence.translation.product import worth
    from gradus.sequence.translation.recipes import Translate

    recipe = Translate(
        data=data, model=model, seed=seed, max_epochs=epochs, limit=limit, lr=0.004, schedule="one_cycle",  # type: ignore[arg-type]
        evaluate_every=10**6, set=(f"hidden={hidden}", f"embedding={hidden // 2}"), device="cpu",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "run")
        train(recipe, RunFolder.create(folder, "sequence/translate", to_json(recipe)))
        product, test = Run.load(folder, device="cpu"), recipe.splits().test
    found = product.translate(test.sources)
    order = sorted(range(len(test)), key=lambda i: len(test.sources[i]))
    parts = [order[b * len(order) // PARTS : (b + 1) * len(order) // PARTS] for b in range(PARTS)]
    return [worth([found[i] for i in rows], [test.targets[i] for i in rows], "x")["x/exact"] for rows in parts]
