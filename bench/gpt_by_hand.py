"""Language models as people write and train them by hand, as generators that yield the loss of every step.

`by_hand` is nanoGPT's loop after its description: a GPT of plain modules with torch's fused attention, batches of
windows stacked one by one from a file mapped into memory, AdamW of `torch.optim` with decay on matrices alone,
gradients clipped at 1, warm-up and cosine. It can take batches gathered by index, or torch's fused AdamW, to show what
each brings. `transformers_loop` trains transformers' `GPT2LMHeadModel` in the plain loop of its documentation.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ByHand", "by_hand", "gathered", "stacked", "transformers_loop"]

BETAS, DECAY, WARM, CLIP = (0.9, 0.999), 0.01, 50, 1.0

Batches = Iterator[tuple[Tensor, Tensor]]


class Attention(nn.Module):
    """Causal attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = self.qkv(x).split(self.width, dim=2)
        q, k, v = (part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0, is_causal=True)
        return self.drop(self.proj(y.transpose(1, 2).contiguous().view(b, t, c)))


class Block(nn.Module):
    """Attention and perceptron, each on a normalised copy and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.attention = Attention(width, heads)
        self.rise, self.fall = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.gelu, self.drop = nn.GELU(), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.drop(self.fall(self.gelu(self.rise(self.norm2(x)))))


class ByHand(nn.Module):
    """The same GPT as ours, without biases.

    Args:
        weights: ours, in the order of `gradus`' GPT.
        sizes: vocabulary, context, layers, heads, width.
    """

    def __init__(self, weights: list[Tensor], sizes: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        vocabulary, context, layers, heads, width = sizes
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.drop = nn.Dropout(0.0)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.wte.weight = self.head.weight
        mine: list[Tensor] = [self.wte.weight, self.wpe.weight]
        for block in self.blocks:
            assert isinstance(block, Block)
            parts = (block.norm1, block.attention.qkv, block.attention.proj, block.norm2, block.rise, block.fall)
            mine += [part.weight for part in parts]
        with torch.no_grad():
            for own, given in zip([*mine, self.norm.weight], weights, strict=True):
                own.copy_(given)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the loss."""
        x = self.drop(self.wte(tokens) + self.wpe(torch.arange(tokens.size(1))))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def stacked(path: Path, batch: int, context: int) -> Batches:
    """Yield windows cut one by one out of a file of uint16 that is mapped anew for every batch."""
    while True:
        data = np.memmap(path, dtype=np.uint16, mode="r")
        places = torch.randint(len(data) - context, (batch,))
        x = torch.stack([torch.from_numpy(data[i : i + context].astype(np.int64)) for i in places])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + context].astype(np.int64)) for i in places])
        yield x, y


def gathered(path: Path, batch: int, context: int) -> Batches:
    """Yield windows gathered by index from tokens in memory."""
    windows = torch.from_numpy(np.fromfile(path, dtype=np.uint16).astype(np.int64)).unfold(0, context + 1, 1)
    while True:
        rows = windows[torch.randint(len(windows), (batch,))]
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def by_hand(
    network: Callable[[Tensor, Tensor], Tensor],
    parameters: list[Tensor],
    batches: Batches,
    *,
    lr: float,
    total: int,
    fused: bool | None = None,
    constant: bool = False,
) -> Iterator[Tensor]:
    """Train: warm-up and cosine, loss, backward, clip, AdamW.

    Args:
        network: tokens and targets to the loss.
        parameters: what is trained.
        batches: of tokens and targets.
        lr: largest learning rate.
        total: steps of the cosine.
        fused: torch's fused kernel; nanoGPT takes it on GPUs alone.
        constant: leave the schedule out.
    """
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=fused)
    for step, (x, y) in enumerate(batches):
        rate = min(1.0, (step + 1) / WARM) * (1 + math.cos(math.pi * min(1.0, step / total))) / 2
        for group in optimizer.param_groups:
            group["lr"] = lr * (1.0 if constant else rate)
        loss = network(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.detach()


def transformers_loop(
    network: nn.Module, batches: Batches, *, lr: float, total: int, half: bool = False
) -> Iterator[Tensor]:
    """Train a model of transformers in the same loop: it shifts the labels itself, so they are the tokens.

    Args:
        network: the model.
        batches: of tokens and targets.
        lr: largest learning rate.
        total: steps of the cosine.
        half: compute in bfloat16 by autocast.
    """
    network.train()

    def loss(x: Tensor, _: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return network(input_ids=x, labels=x).loss

    return by_hand(loss, list(network.parameters()), batches, lr=lr, total=total)
