"""What a run begins with: the product of another run, and the spellings of its tokens."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from gradus.engine.run import Run
from gradus.errors import GradusError

__all__ = ["product_of", "spell"]


def product_of(run: Run, name: str | None, model: str, otherwise: str) -> Any:
    """Return the product of the run to start from, on the CPU; None where there is none.

    Args:
        run: that starts.
        name: of the other run.
        model: which it has to hold.
        otherwise: what is said of a run that holds nothing to start from.

    Raises:
        GradusError: if it reads no text, or holds another model.
    """
    if name is None:
        return None
    found = run.load(name, device="cpu")
    if not all(hasattr(found, part) for part in ("tokenizer", "model", "settings")):
        raise GradusError(f"--from {name}: that run holds {otherwise}")
    if found.model != model:
        raise GradusError(f"--from {name}: that run holds another model; add --model {found.model}")
    return found


def spell(network: nn.Module, tokens: Sequence[str]) -> None:
    """Tell every part of a network that reads characters how the tokens are spelled."""
    for module in network.modules():
        if hasattr(module, "spell"):
            module.spell(tokens)  # type: ignore[operator]
