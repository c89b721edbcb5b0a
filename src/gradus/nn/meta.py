"""Models without values: a twin on the meta device, where tensors have shapes and nothing is computed.

What summaries and receptive fields are found with: no random number is drawn and the model itself is not touched.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

__all__ = ["meta_twin", "run_on_meta"]


def meta_twin(model: nn.Module) -> nn.Module:
    """Return a copy of the model in evaluation mode whose parameters and buffers have shapes and no values.

    Args:
        model: what to copy; it is not touched.
    """
    # Not `functional_call`: where one module has two names it leaves the replacements in the model.
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo).eval()


@torch.no_grad()
def run_on_meta(twin: nn.Module, input_shape: Sequence[int], dtype: torch.dtype | None = None) -> Any:
    """Return the output, without values, for an input of the shape.

    Args:
        twin: a model on the meta device.
        input_shape: batch included.
        dtype: of the input; by default that of the first floating-point parameter.
    """
    if dtype is None:
        dtype = next((p.dtype for p in twin.parameters() if p.is_floating_point()), None)
    with torch.device("meta"):
        return twin(torch.empty(tuple(input_shape), dtype=dtype))
