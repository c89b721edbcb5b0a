"""Loops written by hand, as generators that yield after every step: what people write who use no library.

`bare` does what ours does with the least that it takes; `tutorial` is PyTorch's own tutorial loop over a `DataLoader`,
and can take our batches, torch's fused optimiser and the channels-last layout one at a time, to show what each brings.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bench.turns import Advance

__all__ = ["LeNet", "adamw_kernel", "adamw_torch", "advancing", "bare", "batches_by_index", "tutorial"]

Step = Callable[[float], None]
BETAS, EPS, DECAY = (0.9, 0.999), 1e-8, 0.01


class LeNet(nn.Module):
    """LeNet-5 as a tutorial writes it: the same layers and weights as ours."""

    def __init__(self, weights: list[Tensor] | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.linear1 = nn.Linear(400, 120)
        self.linear2 = nn.Linear(120, 84)
        self.linear3 = nn.Linear(84, 10)
        with torch.no_grad():
            for own, given in zip(self.parameters(), weights or [], strict=weights is not None):
                own.copy_(given)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.linear1(x))
        x = F.relu(self.linear2(x))
        return self.linear3(x)


def advancing(loop: Iterator[Any], losses: list[float] | None = None) -> Advance:
    """Return a function that advances a loop by a number of steps, keeping the losses it yields if asked to."""

    def advance(steps: int) -> None:
        for loss in itertools.islice(loop, steps):
            if losses is not None:
                losses.append(float(loss))

    return advance


def bare(
    network: nn.Module,
    step: Step,
    pixels: Tensor,
    labels: Tensor,
    order: Callable[[int], Tensor],
    *,
    mean: Tensor,
    std: Tensor,
    lr: float,
    batch_size: int,
    total: int,
    log: TextIO,
    log_every: int,
) -> Iterator[Tensor]:
    """Train as ours does: bytes gathered by index, standardised; AdamW with a cosine; loss and accuracy logged.

    Args:
        network: takes standardised images; in training mode already.
        step: makes an update at a learning rate.
        pixels: (count, 28, 28, 1) bytes.
        labels: (count,).
        order: epoch to its rows.
        mean: of the training pixels in [0, 1].
        std: likewise.
        lr: before the schedule.
        batch_size: images a step.
        total: steps of the schedule.
        log: where a line goes at every entry.
        log_every: steps between two entries.
    """
    params = list(network.parameters())
    losses: list[Tensor] = []
    hits: list[Tensor] = []
    done = 0
    for epoch in itertools.count():
        rows = order(epoch)
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            images = pixels.index_select(0, chosen).to(torch.float32).div_(255).view(-1, 1, 28, 28)
            targets = labels.index_select(0, chosen)
            logits = network((images - mean) / std)
            loss = F.cross_entropy(logits, targets)
            loss.backward()
            rate = lr * (1 + math.cos(math.pi * done / total)) / 2
            step(rate)
            for p in params:
                p.grad = None
            losses.append(loss.detach())
            hits.append((logits.detach().argmax(1) == targets).float().mean())
            done += 1
            if done % log_every == 0:
                found = torch.stack([torch.stack(losses).double().mean(), torch.stack(hits).double().mean()]).tolist()
                log.write(f"{done},{found[0]!r},{found[1]!r},{rate!r}\n")
                log.flush()
                losses, hits = [], []
            yield loss


def _groups(network: nn.Module) -> list[tuple[list[Tensor], float]]:
    """Weights, which decay, and biases, which do not: as our recipe groups them."""
    params: list[Tensor] = list(network.parameters())
    return [([p for p in params if p.ndim > 1], DECAY), ([p for p in params if p.ndim < 2], 0.0)]


def adamw_kernel(network: nn.Module) -> Step:
    """AdamW as bare calls of torch's fused kernel: the least that an update can cost."""
    held = []
    for params, decay in _groups(network):
        first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
        held.append((params, first, second, [torch.zeros(()) for _ in params], decay))

    def step(lr: float) -> None:
        with torch.no_grad():
            for params, first, second, counts, decay in held:
                torch._foreach_add_(counts, 1)
                grads = [p.grad for p in params if p.grad is not None]
                torch._fused_adamw_(
                    params, grads, first, second, [], counts, lr=lr, beta1=BETAS[0], beta2=BETAS[1],
                    weight_decay=decay, eps=EPS, amsgrad=False, maximize=False,
                )  # fmt: skip

    return step


def adamw_torch(network: nn.Module) -> Step:
    """AdamW of `torch.optim`, fused: what most people write."""
    groups = [{"params": params, "weight_decay": decay} for params, decay in _groups(network)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=BETAS, eps=EPS, fused=True)

    def step(lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()

    return step


def tutorial(
    network: nn.Module, batches: Callable[[], Iterator[Any]], *, lr: float, fused: bool | None = None
) -> Iterator[Tensor]:
    """Train as PyTorch's tutorial does: forward, loss, backward, step, zero_grad; the loss read every 100 batches.

    It counts no right answers and has no schedule: ours does more.

    Args:
        network: to train.
        batches: gives an epoch of (images, labels).
        lr: learning rate of `torch.optim.AdamW`.
        fused: torch's fused kernel; None is torch's default.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, fused=fused)
    loss_fn = nn.CrossEntropyLoss()
    network.train()
    while True:
        for batch, (images, labels) in enumerate(batches()):
            loss = loss_fn(network(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if batch % 100 == 0:
                loss.item()
            yield loss.detach()


def loader(images: Tensor, labels: Tensor, batch_size: int, shuffle: bool = True) -> DataLoader:
    """Return the tutorial's `DataLoader`, everything at its default."""
    return DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=shuffle)


def batches_by_index(
    pixels: Tensor, labels: Tensor, batch_size: int, mean: Tensor, std: Tensor
) -> Callable[[], Iterator[Any]]:
    """Return shuffled epochs of standardised batches gathered by index from (count, 28, 28, 1) bytes."""

    def epoch() -> Iterator[Any]:
        for rows in torch.randperm(len(labels)).split(batch_size):
            images = pixels.index_select(0, rows).to(torch.float32).div_(255).view(-1, 1, 28, 28)
            yield (images - mean) / std, labels.index_select(0, rows)

    return epoch
