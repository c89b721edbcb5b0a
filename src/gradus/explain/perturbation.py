"""Many variants of many inputs in few calls: the batching under every explainer that asks "what if?".

A method describes its variants (windows, masks, points on a path); here they are laid out as blocks of at most `chunk`
rows, so that memory is bounded and the model sees large batches. A block is always some variants of some whole rows,
hence every row is summed in the same order whatever the batch around it.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.errors import GradusError
from gradus.nn.probe import target_scores

__all__ = ["blocks", "spread", "variant_scores"]


def blocks(batch: int, variants: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Yield (rows, variants) so that every pair is in one block, and no block has more than `chunk` pairs.

    Args:
        batch: rows there are.
        variants: variants of every row.
        chunk: most pairs at once.

    Raises:
        GradusError: if `chunk` is not positive.
    """
    if chunk < 1:
        raise GradusError(f"chunk must be at least 1 row, not {chunk}")
    for row in range(0, batch, chunk):
        rows = slice(row, min(row + chunk, batch))
        stride = max(1, chunk // (rows.stop - rows.start))
        for variant in range(0, variants, stride):
            yield rows, slice(variant, min(variant + stride, variants))


def spread(target: int | Int[Tensor, " batch"], rows: slice, copies: int) -> int | Int[Tensor, " block"]:
    """Return the targets of a block laid out as `[variants, rows]` and flattened."""
    return target[rows].repeat(copies) if isinstance(target, Tensor) else target


def variant_scores(
    fn: Callable[[Tensor], Tensor],
    build: Callable[[slice, slice], Tensor],
    batch: int,
    variants: int,
    *,
    target: int | Int[Tensor, " batch"],
    chunk: int,
) -> Float[Tensor, "variants batch"]:
    """Return f_target of every variant of every row, without gradients.

    Args:
        fn: maps a batch to scores `[batch, classes]`.
        build: gives the block `[variants, rows, *shape]` of inputs for its rows and variants.
        batch: rows there are.
        variants: variants of every row.
        target: a class, or one for each row.
        chunk: most inputs in one call of `fn`.
    """
    columns: list[Tensor] = []
    with torch.no_grad():
        for rows, some in blocks(batch, variants, chunk):
            inputs = build(rows, some)
            scores = target_scores(fn(inputs.flatten(0, 1)), spread(target, rows, len(inputs)))
            if some.start == 0:
                columns.append(scores.new_empty(variants, rows.stop - rows.start))
            columns[-1][some] = scores.view(len(inputs), -1)
    return torch.cat(columns, dim=1)
