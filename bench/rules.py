"""Update rules on ten million parameters beside `torch.optim`, like for like; and what hypergradient descent recovers.

`rules`: ours over torch's, time of an update, foreach against foreach and fused against fused. Both sides step copies
of the same parameters with the same gradient tensors, take turns in one process, and are compared afterwards. Yogi,
which torch does not have, and NAdam are also set beside torch's foreach Adam.
`hypergradient`: an MLP on digits from learning rates a hundred times too small and ten times too large.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.optimisers import ours as our_side
from bench.optimisers import theirs as their_side
from bench.turns import interleave, milliseconds, paired
from gradus.optim.rule import make

__all__ = ["hypergradient", "rules"]

# name: our rule, torch's class, the settings of both
FOREACH: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sgd": ("sgd", "SGD", {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}),
    # With decay, as without it torch adds the velocity into the gradients it was given, and the next step is another.
    "nesterov": ("sgd", "SGD", {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    "adam": ("adam", "Adam", {"lr": 1e-4}),
    "adamw": ("adamw", "AdamW", {"lr": 1e-4, "weight_decay": 0.01}),
    "amsgrad": ("adam", "Adam", {"lr": 1e-4, "amsgrad": True}),
    "rmsprop": ("rmsprop", "RMSprop", {"lr": 1e-4}),
    "adagrad": ("adagrad", "Adagrad", {"lr": 1e-3}),
    "adadelta": ("adadelta", "Adadelta", {}),
    "nadam": ("nadam", "NAdam", {"lr": 1e-4}),
}
FUSED = ("sgd", "nesterov", "adam", "adamw", "amsgrad", "adagrad")
BESIDE_ADAM = ("yogi", "nadam")

# name: our rule, the plain one, a good rate of the plain one
LEARNED = {"sgd_hd": ("sgd", 0.2), "nesterov_hd": ("nesterov", 0.1), "adam_hd": ("adam", 0.02)}
STARTS = {"small": 0.01, "large": 10.0}


def rules(rounds: int = 40, chunk: int = 1, width: int = 1024, only: Sequence[str] = ()) -> dict[str, float]:
    """Time of our updates over torch's, foreach, fused and beside Adam, as `<rule>_<which>`; below 1 ours is quicker.

    Args:
        rounds: how many are kept of each pair.
        chunk: updates of a turn.
        width: side of the square weights; 1024 makes ten million parameters.
        only: the rules to time; all when left out.
    """
    found: dict[str, float] = {}
    for name, (ours, theirs, settings) in FOREACH.items():
        for kind in ("foreach", "fused") if name in FUSED else ("foreach",):
            if not only or name in only:
                path = {"fused": kind == "fused"} if name in FUSED else {}
                sides = (ours, {**settings, **path}), (theirs, {**settings, kind: True})
                found |= _pair(f"{name}_{kind}", *sides, rounds, chunk, width, alike=True)
    for name in BESIDE_ADAM:
        if not only or name in only:
            sides = (name, {"lr": 1e-4}), ("Adam", {"lr": 1e-4, "foreach": True})
            found |= _pair(f"{name}_beside_adam", *sides, rounds, chunk, width, alike=False)
    like = [value for key, value in found.items() if key.endswith(("_foreach", "_fused"))]
    beside = [value for key, value in found.items() if key.endswith("_beside_adam")]
    return (
        found
        | ({"largest_like_for_like": max(like)} if like else {})
        | ({"largest_beside_adam": max(beside)} if beside else {})
    )


def _pair(
    title: str,
    ours: tuple[str, dict[str, Any]],
    theirs: tuple[str, dict[str, Any]],
    rounds: int,
    chunk: int,
    width: int,
    alike: bool,
) -> dict[str, float]:
    source = torch.Generator().manual_seed(0)
    shapes = [(width, width)] * 9 + [(width // 2, width)] + [(width,)] * 20
    start = [torch.randn(shape, generator=source) for shape in shapes]
    grads = [1e-2 * torch.randn(shape, generator=source) for shape in shapes]
    held = [[param.clone() for param in start] for _ in range(2)]
    sides = {"ours": our_side(*ours, held[0], grads), "theirs": their_side(*theirs, held[1], grads)}
    times = interleave(sides, chunk=chunk, rounds=rounds)
    far = max(float((a - b).abs().max()) for a, b in zip(*held, strict=True))
    assert not alike or far < 1e-4, f"{title}: the two sides end {far} apart"
    named = {f"{title}_{key}": value for key, value in milliseconds(times).items()}
    return paired(times, "ours", "theirs", title) | named | ({f"{title}_difference": far} if alike else {})


def hypergradient(seeds: Sequence[int] = (0, 1, 2, 3, 4), steps: int = 400, batch_size: int = 128) -> dict[str, float]:
    """Loss on the training digits and accuracy on the others after so many steps, means over the seeds.

    `<rule>_<start>_…` is the rule that learns its rate, from 1/100 (small) or 10 times (large) a good rate of the plain
    rule; `<rule>_plain_<start>_…` is the plain rule there, `<rule>_good_…` the plain rule at the good rate.
    `worst_gap` is the largest shortfall of accuracy from the good rate, over the three rules and both starts;
    `plain_gap` the smallest one of the plain rules.

    Args:
        seeds: of weights and batches.
        steps: of the training.
        batch_size: digits a step.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    found: dict[str, float] = {}
    for name, (plain, good) in LEARNED.items():
        cases = {f"{name}_good": (plain, good)}
        for start, factor in STARTS.items():
            cases |= {f"{name}_{start}": (name, good * factor), f"{name}_plain_{start}": (plain, good * factor)}
        for case, (rule, lr) in cases.items():
            ends = [_train(rule, lr, x, y, seed, steps, batch_size) for seed in seeds]
            found[f"{case}_loss"], found[f"{case}_accuracy"] = (
                statistics.mean(part) for part in zip(*ends, strict=True)
            )
    gaps = {
        kind: [
            found[f"{name}_good_accuracy"] - found[f"{name}_{kind}{start}_accuracy"]
            for name in LEARNED
            for start in STARTS
        ]
        for kind in ("", "plain_")
    }
    return found | {"worst_gap": max(gaps[""]), "plain_gap": min(gaps["plain_"])}


def _train(
    name: str, lr: float, x: Tensor, y: Tensor, seed: int, steps: int, batch_size: int, train: int = 1500
) -> tuple[float, float]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    params, rule = list(network.parameters()), make(name, lr=lr)
    state, source = rule.init(params), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(train, (batch_size,), generator=source)
        loss = F.cross_entropy(network(x[rows]), y[rows])
        rule.update(params, torch.autograd.grad(loss, params), state, lr)
    with torch.no_grad():
        logits = network(x)
    right = (logits.argmax(1) == y)[train:].float().mean().item()
    return F.cross_entropy(logits[:train], y[:train]).item(), right
