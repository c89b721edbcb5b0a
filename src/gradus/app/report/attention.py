"""What self-attention looks at, as pictures: one square for each layer and head, a row for each token that looks.

    A = softmax(q kᵀ / √d),     row i: where token i looks

The weights are computed anew from what enters each layer, because the kernels that are quick never hold them.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.app.report.page import Section
from gradus.app.report.pictures import data_uri, enlarged
from gradus.app.report.svg import tag, text
from gradus.nn.attention import SelfAttention
from gradus.nn.positions import rotate

__all__ = ["attention_maps", "looks"]

MOST_LAYERS, MOST_HEADS = 6, 8
PAPER, INK = torch.tensor([251.0, 251.0, 249.0]), torch.tensor([11.0, 99.0, 171.0])


def looks(module: nn.Module, run: Callable[[], Any], causal: bool) -> list[Float[Tensor, "heads tokens tokens"]]:
    """Return the attention weights of the first of a batch in every full self-attention, in the order of their calls.

    Args:
        module: whose layers are looked into.
        run: computes with the module.
        causal: whether a token sees only itself and those before.
    """
    found: list[Tensor] = []

    def watch(layer: SelfAttention, given: tuple[Tensor, ...]) -> None:
        query, key, _ = layer.qkv(given[0][:1]).unflatten(-1, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)
        if layer.rotary:
            places = torch.arange(query.shape[-2], device=query.device)
            query, key = rotate(query, places), rotate(key, places)
        scores = (query @ key.mT / query.shape[-1] ** 0.5)[0]
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores[0], dtype=torch.bool).triu(1), -torch.inf)
        found.append(scores.softmax(-1).cpu())

    layers = [m for m in module.modules() if isinstance(m, SelfAttention) and m.kernel == "full"]
    handles = [layer.register_forward_pre_hook(watch) for layer in layers]  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found


def attention_maps(maps: list[Float[Tensor, "heads tokens tokens"]], passage: str) -> Section | None:
    """Return the weights as small pictures; None where there are none.

    Args:
        maps: one a layer.
        passage: the text that was read.
    """
    if not maps:
        return None
    figures = []
    for layer, heads in enumerate(maps[:MOST_LAYERS], 1):
        for head, weights in enumerate(heads[:MOST_HEADS], 1):
            share = (weights / weights.max().clamp(min=1e-9)).sqrt()[..., None]
            picture = enlarged((PAPER + (INK - PAPER) * share).round().to(torch.uint8).numpy(), 120)
            title = f"layer {layer}, head {head}"
            image = f'<img class="coarse" src="{data_uri(picture)}" alt="{text(f"Attention of {title}")}">'
            figures.append(tag("figure", image, text(title)))
    said = (
        "Each row is a token that looks, each column one that is looked at, from the first to the last; dark is a "
        f"large share of the attention. The text: “{passage.strip()}”"
    )
    left = sum(len(heads) for heads in maps) - len(figures)
    aside = tag("p", text(f"{left} further heads are not shown."), class_="aside") if left else ""
    return Section("attention", "Attention", tag("p", text(said)) + tag("div", *figures, class_="maps") + aside)
